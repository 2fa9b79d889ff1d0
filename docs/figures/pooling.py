"""What 2×2 windows with stride 1 give of an image, and where the gradients of their outputs go."""

from pathlib import Path

import numpy as np
from figure import BLUE, GREEN, ORANGE, PALE, VIOLET, YELLOW, Figure, canvas, cell, label, new, number, save

import xpconv.functional as F

COLORS = (BLUE, ORANGE, GREEN, VIOLET)


def draw() -> Figure:
    x = np.array([[[[1.0, 5.0, 4.0], [9.0, 2.0, 1.0], [6.0, 3.0, 2.0]]]])
    y, indices = F.max_pool2d(x, 2, stride=1, return_indices=True)
    parts = np.eye(4).reshape(4, 1, 2, 2)  # a gradient of 1 for one output at a time
    by_max = [F.max_pool2d_backward(g[None], indices, x.shape, 2, stride=1).reshape(9) for g in parts]
    by_mean = [F.avg_pool2d_backward(g[None], x.shape, 2, stride=1).reshape(9) for g in parts]

    figure, axes = new(4.1)
    canvas(axes, 14.3, 11.6)
    label(axes, 1.9, 0.5, "image $x$")
    for i, value in enumerate(x.reshape(9)):
        winner = i in indices
        at = 0.4 + i % 3, 1 + i // 3
        cell(axes, *at, number(value), YELLOW if winner else PALE, weight="bold" if winner else "normal")
    for p in range(4):  # the four windows, small, with the names of their outputs
        left, up = 0.3 + 0.95 * p, 4.25
        for i in range(9):
            inside = p // 2 <= i // 3 < p // 2 + 2 and p % 2 <= i % 3 < p % 2 + 2
            at = left + 0.25 * (i % 3), up + 0.25 * (i // 3)
            cell(axes, *at, "", COLORS[p] if inside else "white", size=0.25)
        label(axes, left + 0.375, up + 1.1, f"${'abcd'[p]}$", fontsize=8.5)
    label(axes, 4.35, 4.6, "windows", ha="left", fontsize=9)
    label(axes, 6.4, 0.5, "maximum $y$")
    for p, value in enumerate(y.reshape(4)):
        cell(axes, 5.4 + p % 2, 1.5 + p // 2, number(value), COLORS[p], ink="white", weight="bold")
    label(axes, 11.1, 0.5, "gradient $g$ of $y$")
    for p, name in enumerate("abcd"):
        cell(axes, 10.1 + p % 2, 1.5 + p // 2, f"${name}$", COLORS[p], ink="white")
    size, top = 1.45, 6.9
    label(axes, 2.9, 6.3, "gradient of $x$ by the maximum")
    label(axes, 11.0, 6.3, "by the mean, times 4")
    for i in range(9):
        for left, share, factor in ((0.7, by_max, 1), (8.8, by_mean, 4)):
            names = ["abcd"[p] for p in range(4) if share[p][i]]
            assert all(share[p][i] * factor in (0, 1) for p in range(4))
            lines = [" + ".join(names[k : k + 2]) for k in range(0, len(names), 2)]
            text = "\n+ ".join(f"${line}$" for line in lines)
            color = YELLOW if names and factor == 1 else "white" if factor == 1 else PALE
            at = left + size * (i % 3), top + size * (i // 3)
            cell(axes, *at, text or "0", color, size=size, font=9 if len(names) < 4 else 8)
    return figure


if __name__ == "__main__":
    save(draw(), Path(__file__).with_suffix(".svg"))
