"""The errors xpconv raises: every one is also a built-in, so `except ValueError` keeps working.

A message names the layer, the argument, what was expected, what came and, where there is one, the fix.
"""

from collections.abc import Mapping
from typing import Any


class LayerError(Exception):
    """What a layer raises; on its way out of a model it learns which layer that was: `(layer 3.body.0)`."""

    path: str = ""
    source: object = None

    def passes(self, layer: object, children: Mapping[str, object]) -> None:
        """Note that it has come out of `layer`, which has these `children`."""
        for name, child in children.items():
            if child is self.source:
                self.path = ".".join(filter(None, (name, self.path)))
                break
        self.source = layer

    def __str__(self) -> str:
        return f"{super().__str__()} (layer {self.path})" if self.path else super().__str__()


class ShapeError(LayerError, ValueError):
    """An array has the wrong rank, number of channels or size for this layer."""


class DTypeError(LayerError, TypeError):
    """An array's dtype is not the layer's, or not one that the operation can take."""


class BackendError(LayerError, TypeError):
    """Arrays of different array modules meet, or an object belongs to no registered backend."""


class OutOfMemoryError(LayerError, MemoryError):
    """A layer of a model found no memory.

    What forwards kept is dropped, and the model is usable with a smaller batch. After a backward some
    parameters have their gradients already: call `zero_grad()` first.
    """

    pool: Any = None  # the array module's, to be cleaned as arrays are let go

    def passes(self, layer: object, children: Mapping[str, object]) -> None:
        super().passes(layer, children)
        if self.pool is not None:
            self.pool.free_all_blocks()


class BackendUnavailableError(RuntimeError):
    """The backend asked for cannot be used on this machine."""


class BackwardError(RuntimeError):
    """`backward` was called without a `forward` to go back through."""


class StateDictError(ValueError):
    """A state dict does not fit the model: missing, unexpected or wrongly shaped entries."""


class DataFileError(ValueError):
    """A data file is truncated, corrupt or does not match its partner."""
