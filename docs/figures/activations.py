"""Six activations and their derivatives, both computed by the layers."""

from pathlib import Path

import numpy as np
from figure import BLUE, GREY, ORANGE, Figure, new, save

import xpconv

LAYERS = (xpconv.ReLU(), xpconv.LeakyReLU(0.1), xpconv.ELU(), xpconv.GELU(), xpconv.SiLU(), xpconv.Sigmoid())


def draw() -> Figure:
    x = np.linspace(-4, 4, 161)
    figure, axes = new(5.2, 3, 2, sharex=True, sharey=True)
    for layer, panel in zip(LAYERS, axes.flat, strict=True):
        y = layer(x)
        slope = layer.backward(np.ones_like(y))
        if isinstance(layer, xpconv.ReLU | xpconv.LeakyReLU):
            slope[x == 0] = np.nan  # a gap in the line, as the slope jumps
        panel.axhline(0, color=GREY, linewidth=0.6)
        panel.axvline(0, color=GREY, linewidth=0.6)
        panel.plot(x, y, color=BLUE, label="$y$")
        panel.plot(x, slope, color=ORANGE, linestyle="--", label="$dy/dx$")
        panel.set(xlim=(-4, 4), ylim=(-1.3, 2.7), xticks=(-3, 0, 3), yticks=(-1, 0, 1, 2))
        panel.set_title(type(layer).__name__)
    axes.flat[0].legend(loc="upper left")
    return figure


if __name__ == "__main__":
    save(draw(), Path(__file__).with_suffix(".svg"))
