"""Which elements of a batch share one mean and one variance: found from the gradient of a single output."""

from pathlib import Path

import numpy as np
from figure import BLUE, PALE, Figure, canvas, cell, label, new, save

import xpconv

IMAGES, CHANNELS, PIXELS = 3, 4, 4
LAYERS = (
    ("BatchNorm2d", xpconv.BatchNorm2d(CHANNELS, dtype="float64")),
    ("LayerNorm", xpconv.LayerNorm((CHANNELS, 2, 2), dtype="float64")),
    ("InstanceNorm2d", xpconv.InstanceNorm2d(CHANNELS, dtype="float64")),
    ("GroupNorm, 2 groups", xpconv.GroupNorm(2, CHANNELS, dtype="float64")),
)


def shared(layer: xpconv.Layer) -> np.ndarray:
    """Where an input changes the output of image 1, channel 1, pixel 0: `(images, channels, pixels)`."""
    x = np.random.default_rng(0).standard_normal((IMAGES, CHANNELS, 2, 2))
    grad = np.zeros_like(layer(x))
    grad[1, 1, 0, 0] = 1
    return (layer.backward(grad) != 0).reshape(IMAGES, CHANNELS, PIXELS)


def draw() -> Figure:
    figure, axes = new(4.6)
    canvas(axes, 14.2, 12.6)
    for i, (name, layer) in enumerate(LAYERS):
        left, top = 1.4 + 7.2 * (i % 2), 1.2 + 6.4 * (i // 2)
        label(axes, left + 2.4, top - 0.7, name, fontsize=10)
        found = shared(layer)
        for n in range(IMAGES):
            for c in range(CHANNELS):
                for p in range(PIXELS):
                    at = left + 1.25 * c + 0.5 * (p % 2), top + 1.25 * n + 0.5 * (p // 2)
                    mark = "•" if (n, c, p) == (1, 1, 0) else ""
                    color = BLUE if found[n, c, p] else PALE
                    cell(axes, *at, mark, color, size=0.5, ink="white", font=11)
        label(axes, left + 2.4, top + 4.1, "channels →", fontsize=9)
        label(axes, left - 0.6, top + 1.75, "images →", fontsize=9, rotation=-90)
    return figure


if __name__ == "__main__":
    save(draw(), Path(__file__).with_suffix(".svg"))
