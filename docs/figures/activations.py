"""Seven activations and their derivatives, both computed by the layers."""

from pathlib import Path

import numpy as np
from figure import BLUE, GREY, ORANGE, Figure, new, save

import xpconv

# In the order of the table beside the figure.
LAYERS = {
    "ReLU": xpconv.ReLU(),
    "Leaky ReLU, a = 0.1": xpconv.LeakyReLU(0.1),
    "ELU": xpconv.ELU(),
    "sigmoid": xpconv.Sigmoid(),
    "tanh": xpconv.Tanh(),
    "SiLU": xpconv.SiLU(),
    "GELU": xpconv.GELU(),
}


def draw() -> Figure:
    x = np.linspace(-4, 4, 81)
    figure, axes = new(6.6, 4, 2, sharex=True, sharey=True)
    for (name, layer), panel in zip(LAYERS.items(), axes.flat, strict=False):
        y = layer(x)
        slope = layer.backward(np.ones_like(y))
        if isinstance(layer, xpconv.ReLU | xpconv.LeakyReLU):
            slope[x == 0] = np.nan  # a gap in the line, as the slope jumps
        panel.axhline(0, color=GREY, linewidth=0.6)
        panel.axvline(0, color=GREY, linewidth=0.6)
        panel.plot(x, y, color=BLUE, label="$y$")
        panel.plot(x, slope, color=ORANGE, linestyle="--", label="$dy/dx$")
        panel.set(xlim=(-4, 4), ylim=(-1.3, 2.7), xticks=(-3, 0, 3), yticks=(-1, 0, 1, 2))
        panel.set_title(name)
    axes[-1, -1].axis("off")  # seven in a grid of eight
    axes[-1, -1].legend(*axes[0, 0].get_legend_handles_labels(), loc="center")
    axes[-2, -1].tick_params(labelbottom=True)
    return figure


if __name__ == "__main__":
    save(draw(), Path(__file__).with_suffix(".svg"))
