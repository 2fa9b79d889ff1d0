"""Two outputs of three taps by six products and by four; and how many products a 3×3 kernel needs."""

from pathlib import Path

import numpy as np
from figure import BLUE, GREEN, GREY, ORANGE, PALE, Figure, canvas, cell, label, new, save

from xpconv.kernels.numpy import winograd

# F(2, 3): products of a sum of pixels and a sum of taps, and the outputs that they are added to.
B = np.array([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, -1, 0, 1]])
G = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])
A = np.array([[1, 1, 1, 0], [0, 1, -1, 1]])


def combination(row: np.ndarray, name: str) -> str:
    """`(x_0 - x_2)`, for a row of a matrix; a common factor of the row is left out."""
    signs = [(np.sign(value), f"{name}_{i}") for i, value in enumerate(row) if value]
    if signs[0][0] < 0:  # as the text writes it: what is positive first
        signs.sort(key=lambda part: -part[0])
    text = " ".join(f"{'+' if sign > 0 else '-'} {symbol}" for sign, symbol in signs).removeprefix("+ ")
    factor = r"\frac{1}{2}" if abs(row).max() == 0.5 else ""
    return f"{factor}({text})" if len(signs) > 1 else text


def draw() -> Figure:
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal(4), rng.standard_normal(3)
    np.testing.assert_allclose(A @ ((G @ w) * (B @ x)), np.correlate(x, w))

    figure, (top, bars) = new(4.6, 2, height_ratios=(2.3, 1))
    canvas(top, 15.6, 8.2)
    label(top, 2.6, 0.5, "six products", weight="bold")
    label(top, 10.6, 0.5, "four products", weight="bold")
    for j in range(3):
        label(top, 1.6 + 1.3 * j, 1.6, f"$w_{j}$")
    for i in range(4):
        label(top, 0.3, 2.7 + 1.3 * i, f"$x_{i}$")
        for j in range(3):
            output = i - j  # y_output = Σ_j x_(output + j) w_j
            used = output in (0, 1)
            color = (BLUE, ORANGE)[output] if used else PALE
            cell(
                top,
                0.95 + 1.3 * j,
                2.05 + 1.3 * i,
                f"$y_{output}$" if used else "",
                color,
                size=1.3,
                ink="white",
            )
    for i in range(4):
        y = 2.4 + 1.0 * i
        text = f"$m_{i} = {combination(B[i], 'x')} \\; {combination(G[i], 'w')}$"
        label(top, 6.4, y, text, ha="left", color=GREEN, fontsize=10)
    for i, color in ((0, BLUE), (1, ORANGE)):
        label(
            top,
            6.4,
            6.6 + i,
            f"$y_{i} = {combination(A[i], 'm').strip('()')}$",
            ha="left",
            color=color,
            fontsize=10,
        )

    tile = len(winograd.A)
    names = ("definition", "F(2×2, 3×3)", f"F({tile}×{tile}, 3×3)")
    counts = (9, (len(G) / len(A)) ** 2, (len(winograd.G) / tile) ** 2)
    drawn = bars.barh(names, counts, color=(GREY, GREEN, GREEN), height=0.65)
    bars.bar_label(drawn, [f"{count:g}" for count in counts], padding=4)
    bars.invert_yaxis()
    bars.set(xlim=(0, 10), xticks=())
    bars.spines[["bottom", "left"]].set_visible(False)
    bars.tick_params(left=False)
    bars.set_title("products for each pixel of output, 3×3 kernel")
    return figure


if __name__ == "__main__":
    save(draw(), Path(__file__).with_suffix(".svg"))
