"""The size of activations and gradients in 30 layers with ReLU, without bias, by initial weights."""

from pathlib import Path

import numpy as np
from figure import BLUE, GREEN, ORANGE, Figure, new, save

import xpconv

DEPTH, WIDTH = 30, 256
INITIAL = {
    "default weights, variance 1/(3n)": (BLUE, lambda weight, rng: None),
    "variance 1/n": (
        ORANGE,
        lambda weight, rng: xpconv.init.kaiming_normal_(weight, nonlinearity="linear", rng=rng),
    ),
    "Kaiming, variance 2/n": (
        GREEN,
        lambda weight, rng: xpconv.init.kaiming_normal_(weight, nonlinearity="relu", rng=rng),
    ),
}


def sizes(start) -> tuple[list[float], list[float]]:
    """The root of the mean square of activations, and of gradients, after each layer."""
    rng = np.random.default_rng(0)
    layers = [xpconv.Dense(WIDTH, WIDTH, bias=False, dtype="float64", rng=rng) for _ in range(DEPTH)]
    for layer in layers:
        start(layer.weight, rng)
    x, relus = rng.standard_normal((64, WIDTH)), [xpconv.ReLU() for _ in layers]
    forward = []
    for layer, relu in zip(layers, relus, strict=True):
        x = relu(layer(x))
        forward.append(float(np.sqrt(np.mean(x**2))))
    grad, backward = rng.standard_normal(x.shape), []
    for layer, relu in zip(layers[::-1], relus[::-1], strict=True):
        grad = layer.backward(relu.backward(grad))
        backward.append(float(np.sqrt(np.mean(grad**2))))
    return forward, backward[::-1]


def draw() -> Figure:
    figure, panels = new(3.3, 1, 2, sharey=True)
    for name, (color, start) in INITIAL.items():
        for panel, values in zip(panels, sizes(start), strict=True):
            panel.semilogy(range(1, DEPTH + 1), values, "o-", color=color, markersize=2.5, label=name)
    for panel, title in zip(panels, ("activations", "gradients"), strict=True):
        panel.set(xlabel="layer", xlim=(0, DEPTH + 1), xticks=(1, 10, 20, 30))
        panel.set_title(title)
    panels[0].set_ylabel("root mean square")
    lines = panels[0].get_legend_handles_labels()
    figure.legend(*lines, loc="outside upper center", ncols=1, title="no bias; n inputs")
    return figure


if __name__ == "__main__":
    save(draw(), Path(__file__).with_suffix(".svg"))
