"""The errors of xpconv. Each is also a built-in one, so that `except ValueError` catches it.

A message names the layer, the argument, what was expected, what was given and, if there is one, the fix.
"""

from collections.abc import Mapping
from typing import Any


class LayerError(Exception):
    """An error in a layer. Each container that it passes adds to the path in its text: `(layer 3.body.0)`."""

    path: str = ""
    source: object = None

    def passes(self, layer: object, children: Mapping[str, object]) -> None:
        """Add the name of the child from which it comes; called by `layer`, which has these `children`."""
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
    """An array's dtype is not the layer's, or the operation does not support it."""


class BackendError(LayerError, TypeError):
    """Arrays belong to different backends, or an object belongs to none."""


class OutOfMemoryError(LayerError, MemoryError):
    """Memory ran out in a layer of a model.

    What forwards saved is discarded, so the model can be used with a smaller batch. If it was in backward,
    some parameters already have gradients: call `zero_grad()` first.
    """

    pool: Any = None  # the array module's; its unused memory is freed while the error leaves the model

    def passes(self, layer: object, children: Mapping[str, object]) -> None:
        super().passes(layer, children)
        if self.pool is not None:
            self.pool.free_all_blocks()


class BackendUnavailableError(RuntimeError):
    """The requested backend cannot be used on this machine."""


class BackwardError(RuntimeError):
    """`backward` was called, but there is no `forward` that it belongs to."""


class StateDictError(ValueError):
    """A state dict does not fit the model: missing, unexpected or wrongly shaped entries."""


class DataFileError(ValueError):
    """A data file is truncated, corrupt or does not match its partner."""


class OperatorError(ValueError):
    """A model of an ONNX file has operators that xpconv cannot compute."""


class DistributedError(RuntimeError):
    """Processes that train together have other models, or do different things, or one of them has ended."""


class BatchError(RuntimeError):
    """A data set or a transform raised an error, its cause, while a batch was made."""
