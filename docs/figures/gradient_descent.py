"""Three learning rates on the loss of a line with a weight and a bias."""

from pathlib import Path

import numpy as np
from figure import BLUE, GREEN, GREY, INK, RED, Figure, new, save

import xpconv


def path(x: np.ndarray, target: np.ndarray, lr: float, steps: int) -> np.ndarray:
    """Weight and bias before each step."""
    line, criterion = xpconv.Dense(1, 1, dtype="float64"), xpconv.MSELoss()
    line.weight.data[...], line.bias.data[...] = -0.7, -1.5
    optimizer = xpconv.SGD(line.parameters(), lr=lr)
    places = []
    for _ in range(steps):
        places.append((line.weight.data.item(), line.bias.data.item()))
        criterion(line(x), target)
        optimizer.zero_grad()
        line.backward(criterion.backward())
        optimizer.step()
    return np.array(places)


def draw() -> Figure:
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (100, 1))
    target = 2 * x + 1 + 0.1 * rng.standard_normal((100, 1))
    w, b = np.meshgrid(np.linspace(-1.2, 4.4, 81), np.linspace(-1.9, 3.9, 81))
    loss = ((w[..., None] * x[:, 0] + b[..., None] - target[:, 0]) ** 2).mean(-1)

    figure, axes = new(3.9)
    axes.contour(w, b, loss, levels=np.geomspace(0.05, 12, 9), colors=GREY, linewidths=0.7)
    for lr, steps, color in ((0.03, 30, BLUE), (0.3, 30, GREEN), (0.95, 14, RED)):
        places = path(x, target, lr, steps)
        axes.plot(*places.T, "o-", color=color, markersize=3.5, linewidth=1.2, label=f"lr = {lr}")
    axes.plot([-0.7], [-1.5], "o", color=INK, markersize=6)
    axes.set(xlabel="weight", ylabel="bias", xlim=(-1.2, 4.4), ylim=(-1.9, 3.9), aspect="equal")
    axes.legend(loc="lower right")
    return figure


if __name__ == "__main__":
    save(draw(), Path(__file__).with_suffix(".svg"))
