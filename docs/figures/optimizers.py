"""Steps of three optimizers on a loss that is 25 times steeper along one parameter than along the other."""

from pathlib import Path

import numpy as np
from figure import BLUE, GREEN, GREY, INK, ORANGE, Figure, new, save

import xpconv

STEEP = np.array([1.0, 25.0])  # L = (x² + 25 y²) / 2
START = np.array([-4.0, 1.0])


def path(make, steps: int = 40) -> np.ndarray:
    """The parameters before each step."""
    p = xpconv.Parameter(START.copy())
    optimizer = make([p])
    places = []
    for _ in range(steps):
        places.append(p.data.copy())
        p.grad = STEEP * p.data
        optimizer.step()
    return np.array(places)


def draw() -> Figure:
    x, y = np.meshgrid(np.linspace(-4.6, 1.6, 81), np.linspace(-1.25, 1.25, 61))
    loss = (x**2 + 25 * y**2) / 2
    runs = (
        ("SGD, lr = 0.07", BLUE, lambda p: xpconv.SGD(p, lr=0.07)),
        ("SGD with momentum, lr = 0.01, μ = 0.9", ORANGE, lambda p: xpconv.SGD(p, lr=0.01, momentum=0.9)),
        ("Adam, lr = 0.3, β = (0.8, 0.95)", GREEN, lambda p: xpconv.Adam(p, lr=0.3, betas=(0.8, 0.95))),
    )
    figure, axes = new(5.6, 3, 1, sharex=True, sharey=True)
    for panel, (name, color, make) in zip(axes, runs, strict=True):
        panel.contour(x, y, loss, levels=np.geomspace(0.1, 18, 7), colors=GREY, linewidths=0.6)
        panel.plot(*path(make).T, "o-", color=color, markersize=3, linewidth=1.1)
        panel.plot(*START, "o", color=INK, markersize=6)
        panel.set(xlim=(-4.6, 1.6), ylim=(-1.25, 1.25), yticks=(-1, 0, 1))
        panel.set_title(name)
        panel.set_ylabel("$y$, steep")
    axes[-1].set_xlabel("$x$, flat")
    return figure


if __name__ == "__main__":
    save(draw(), Path(__file__).with_suffix(".svg"))
