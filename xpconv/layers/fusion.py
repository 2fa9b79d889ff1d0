"""Fusion: two layers of a `Sequential` run in one pass over the data.

Training and inference run the same steps:

- A ReLU directly after a layer that can clip its output (it defines `_clipped`) runs within that layer.
- A ReLU before a MaxPool moves after it: max(relu(x)) = relu(max(x)), with the same gradients, since only the
  pixel of the maximum gets one, but with fewer pixels to process and to save.
- A ReLU after a layer that does nothing, such as a placeholder of `fuse`, moves before it.

A layer with a hook runs by itself, in its place.
"""

from __future__ import annotations

from collections.abc import Sequence

from .activation import clips
from .layer import Layer
from .pool import _MaxPool
from .shape import Identity

Step = tuple[Layer, Layer | None]  # a layer, and the ReLU that runs within it


class Steps:
    """The steps of a Sequential, in the order in which they run."""

    layers: list[Layer]

    def __init__(self, steps: list[Step]) -> None:
        self.steps = steps
        self.layers = [layer for layer, _ in steps]  # in the same order; their backwards are called
        self.made_for: object = None  # the layers and their settings


def fused(layers: Sequence[Layer]) -> Steps:
    """The steps for layers that run one after the other."""
    order = list(layers)
    for i in range(len(order) - 1):
        if clips(order[i]) and _commutes(order[i + 1]):
            order[i : i + 2] = order[i + 1], order[i]
    for i in reversed(range(len(order) - 1)):
        j = i
        while j + 1 < len(order) and _does_nothing(order[j]) and clips(order[j + 1]):
            order[j : j + 2] = order[j + 1], order[j]
            j += 1
    steps: list[Step] = []
    for layer in order:
        if steps and steps[-1][1] is None and clips(layer) and _can_clip(steps[-1][0]):
            steps[-1] = steps[-1][0], layer
        else:
            steps.append((layer, None))
    return Steps(steps)


def _can_clip(layer: Layer) -> bool:
    """Whether the layer defines `_clipped` together with its `forward`, and returns only its output."""
    if layer._is_users or layer._hooks is not None or {"forward", "backward"} & vars(layer).keys():
        return False
    owner = next(kind for kind in type(layer).__mro__ if "forward" in vars(kind))
    return owner is not Layer and "_clipped" in vars(owner) and not getattr(layer, "return_indices", False)


def _commutes(layer: Layer) -> bool:
    """Whether the layer is a MaxPool without dilation: a dilated window may contain no pixel."""
    return isinstance(layer, _MaxPool) and _can_clip(layer) and max(layer.dilation) == 1


def _does_nothing(layer: Layer) -> bool:
    return (
        isinstance(layer, Identity)
        and not layer._is_users
        and layer._hooks is None
        and "forward" not in vars(layer)
    )
