"""What several models share."""

from __future__ import annotations

from .. import init
from ..layers import Layer, Residual


class Block(Residual):
    """A residual block whose layers' names are its own: `layer1.0.conv1`, not `layer1.0.body.conv1`."""

    names = ("", "downsample")


def zero_biases(model: Layer) -> None:
    """Start all biases at 0."""
    for parameter in model.parameters():
        if parameter.name == "bias":
            init.constant_(parameter, 0)
