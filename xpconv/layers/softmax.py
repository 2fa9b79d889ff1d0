"""Softmax and its relatives: probabilities along one axis. Each saves its output for backward."""

from __future__ import annotations

from typing import ClassVar

from ..arguments import axis_of, to_int
from ..backend import Array
from ..errors import ShapeError
from ..ops import softmax as ops
from .layer import Layer
from .pointwise import Functions

__all__ = ["LogSoftmax", "Softmax", "Softmax2d", "Softmin"]


class Softmax(Layer):
    """`y_i = exp(x_i) / Σ_k exp(x_k)` along the axis `dim`, any shape, as `torch.nn.Softmax`.

    The maximum is subtracted first, so nothing overflows. A number without axes is its own axis 0.
    For training, pass the scores to `SoftmaxCrossEntropyLoss` without this layer.

    Args:
        dim: the axis; required, as PyTorch deprecates its default.

    Raises:
        TypeError: `dim` is not an int.
        ShapeError: (a ValueError) `x` has no axis `dim`.

    Example:
        >>> import numpy as np, xpconv
        >>> xpconv.Softmax(dim=1)(np.array([[0.0, 0.0], [1e4, -1e4]]))
        array([[0.5, 0.5],
               [1. , 0. ]])
    """

    functions: ClassVar[Functions] = (
        ops.softmax,
        ops.softmax_backward,
    )
    sign: ClassVar[int] = 1
    images: ClassVar[bool] = False  # whether `x` must be images

    def __init__(self, dim: int) -> None:
        self.dim: int = to_int(f"{type(self).__name__}: dim", dim)

    def forward(self, x: Array) -> Array:
        xp = self._enter(x)
        if self.images and x.ndim not in (3, 4):
            raise ShapeError(f"Softmax2d.forward: x has shape {x.shape}, expected (N, C, H, W) or (C, H, W)")
        shape, x = x.shape, x if x.ndim else x.reshape(1)
        axis = axis_of(f"{type(self).__name__}.forward", self.dim, x.shape)
        y = self.functions[0](xp, x if self.sign > 0 else -x, axis)
        return self.keep(y.reshape(shape), xp, y, axis)

    def backward(self, grad_output: Array, input_grad: bool = True) -> Array | None:
        xp, y, axis = self.recall(grad_output, input_grad)
        if not input_grad:
            return None
        dx = self.functions[1](xp, grad_output.reshape(y.shape), y, axis).reshape(grad_output.shape)
        return dx if self.sign > 0 else -dx

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


class LogSoftmax(Softmax):
    """`y_i = log(exp(x_i) / Σ_k exp(x_k))` along the axis `dim`, any shape, as `torch.nn.LogSoftmax`.

    Finite at any finite `x`. A number without axes is its own axis 0.

    Args:
        dim: the axis; required.

    Raises:
        TypeError: `dim` is not an int.
        ShapeError: (a ValueError) `x` has no axis `dim`.

    Example:
        >>> import numpy as np, xpconv
        >>> xpconv.LogSoftmax(dim=1)(np.array([[0.0, 0.0], [1e4, -1e4]])).round(4)
        array([[-6.931e-01, -6.931e-01],
               [ 0.000e+00, -2.000e+04]])
    """

    functions: ClassVar[Functions] = (
        ops.log_softmax,
        ops.log_softmax_backward,
    )


class Softmin(Softmax):
    """`y_i = exp(-x_i) / Σ_k exp(-x_k)` along the axis `dim`, any shape, as `torch.nn.Softmin`.

    Args:
        dim: the axis; required.

    Raises:
        TypeError: `dim` is not an int.
        ShapeError: (a ValueError) `x` has no axis `dim`.

    Example:
        >>> import numpy as np, xpconv
        >>> xpconv.Softmin(dim=1)(np.array([[0.0, 0.0], [1e4, -1e4]]))
        array([[0.5, 0.5],
               [0. , 1. ]])
    """

    sign = -1


class Softmax2d(Softmax):
    """Softmax over the channels at every pixel, as `torch.nn.Softmax2d`: `Softmax(dim=-3)`.

    `x` and `y` are `(N, C, H, W)` or `(C, H, W)`.

    Raises:
        ShapeError: (a ValueError) `x` of another rank.

    Example:
        >>> import numpy as np, xpconv
        >>> xpconv.Softmax2d()(np.zeros((1, 4, 2, 2)))[0, :, 0, 0]
        array([0.25, 0.25, 0.25, 0.25])
    """

    fixed: ClassVar[tuple[str, ...]] = ("dim",)
    images = True

    def __init__(self) -> None:
        super().__init__(-3)

    def extra_repr(self) -> str:
        return ""
