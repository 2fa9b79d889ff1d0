"""Layers that only look at their input in another shape."""

from __future__ import annotations

from ..backend import Array
from ..errors import ShapeError
from .base import Layer, arguments


class Flatten(Layer):
    """Axes `start_dim` to `end_dim` as one, in row-major order, as `torch.nn.Flatten`.

    Example:
        >>> import numpy as np, xpconv
        >>> xpconv.Flatten()(np.zeros((64, 16, 5, 5))).shape
        (64, 400)
    """

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        self.start_dim = start_dim
        self.end_dim = end_dim

    def forward(self, x: Array) -> Array:
        self._enter(x)
        start, end = (d + x.ndim if d < 0 else d for d in (self.start_dim, self.end_dim))
        if not 0 <= start <= end < x.ndim:
            raise ShapeError(
                f"Flatten.forward: x has shape {x.shape}, so start_dim={self.start_dim} and "
                f"end_dim={self.end_dim} name no axes from first to last"
            )
        size = 1
        for n in x.shape[start : end + 1]:
            size *= n
        return self.keep(x.reshape(*x.shape[:start], size, *x.shape[end + 1 :]), x.shape)

    def backward(self, grad_output: Array, input_grad: bool = True) -> Array | None:
        (shape,) = self.recall(grad_output)
        return grad_output.reshape(shape) if input_grad else None

    def extra_repr(self) -> str:
        return arguments(start_dim=(self.start_dim, 1), end_dim=(self.end_dim, -1))
