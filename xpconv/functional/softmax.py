"""Softmax, log-softmax and softmin along one axis. Their backward functions take the output."""

from __future__ import annotations

from collections.abc import Callable

from ..arguments import axis_of, to_int
from ..backend import Array
from ..ops import softmax as ops
from ._checks import enter, public
from ._pointwise import enter_pair

__all__ = [
    "log_softmax",
    "log_softmax_backward",
    "softmax",
    "softmax_backward",
    "softmin",
    "softmin_backward",
]


def _along(where: str, function: Callable[..., Array], input: Array, dim: int, sign: int = 1) -> Array:
    """`function(xp, ±input, axis)`."""
    xp, x = enter(where, {"input": input})
    row = x if x.ndim else x.reshape(1)
    axis = axis_of(where, to_int(f"{where}: dim", dim), row.shape, "input")
    y = function(xp, row if sign > 0 else -row, axis).reshape(x.shape)
    return y if x.size else y.copy()


def _back_along(
    where: str, backward: Callable[..., Array], grad_output: Array, output: Array, dim: int
) -> Array:
    """`backward(xp, grad_output, output, axis)`."""
    xp, y, grad = enter_pair(where, grad_output, output, "output")
    row = y if y.ndim else y.reshape(1)
    axis = axis_of(where, to_int(f"{where}: dim", dim), row.shape, "output")
    return backward(xp, grad.reshape(row.shape), row, axis).reshape(y.shape)


@public
def softmax(input: Array, dim: int) -> Array:
    """`exp(x_i) / Σ_k exp(x_k)` along the axis `dim`, as `torch.nn.functional.softmax`.

    `input` has a floating dtype and any shape; a 0-d array counts as an array of one element. `dim` is
    required, since PyTorch deprecates its default.

    Raises:
        ShapeError: (a ValueError) there is no axis `dim`.
        DTypeError, BackendError: (TypeErrors) `input` is not an array of a floating dtype.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.softmax(np.array([[0.0, 0.0], [1.0, 3.0]]), dim=1).round(4)
        array([[0.5   , 0.5   ],
               [0.1192, 0.8808]])
    """
    return _along("functional.softmax", ops.softmax, input, dim)


@public
def softmax_backward(grad_output: Array, output: Array, dim: int) -> Array:
    """Gradient of `softmax` with respect to `input`; `output` is what `softmax` returned.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> y = F.softmax(np.array([[0.0, 0.0], [1.0, 3.0]]), dim=1)
        >>> F.softmax_backward(np.array([[1.0, 0.0], [1.0, 0.0]]), y, dim=1).round(4)
        array([[ 0.25 , -0.25 ],
               [ 0.105, -0.105]])
    """
    return _back_along("functional.softmax_backward", ops.softmax_backward, grad_output, output, dim)


@public
def log_softmax(input: Array, dim: int) -> Array:
    """`log(softmax(x))` along the axis `dim`, as `torch.nn.functional.log_softmax`.

    `input` has a floating dtype and any shape; a 0-d array counts as an array of one element. `dim` is
    required, since PyTorch deprecates its default.

    Raises:
        ShapeError: (a ValueError) there is no axis `dim`.
        DTypeError, BackendError: (TypeErrors) `input` is not an array of a floating dtype.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.log_softmax(np.array([[0.0, 0.0], [1.0, 3.0]]), dim=1).round(4)
        array([[-0.6931, -0.6931],
               [-2.1269, -0.1269]])
    """
    return _along("functional.log_softmax", ops.log_softmax, input, dim)


@public
def log_softmax_backward(grad_output: Array, output: Array, dim: int) -> Array:
    """Gradient of `log_softmax` with respect to `input`; `output` is what `log_softmax` returned.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> y = F.log_softmax(np.array([[0.0, 0.0], [1.0, 3.0]]), dim=1)
        >>> F.log_softmax_backward(np.array([[1.0, 0.0], [1.0, 0.0]]), y, dim=1).round(4)
        array([[ 0.5   , -0.5   ],
               [ 0.8808, -0.8808]])
    """
    return _back_along("functional.log_softmax_backward", ops.log_softmax_backward, grad_output, output, dim)


@public
def softmin(input: Array, dim: int) -> Array:
    """`softmax(-x)` along the axis `dim`, as `torch.nn.functional.softmin`.

    `input` has a floating dtype and any shape; a 0-d array counts as an array of one element. `dim` is
    required, since PyTorch deprecates its default.

    Raises:
        ShapeError: (a ValueError) there is no axis `dim`.
        DTypeError, BackendError: (TypeErrors) `input` is not an array of a floating dtype.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.softmin(np.array([[0.0, 0.0], [1.0, 3.0]]), dim=1).round(4)
        array([[0.5   , 0.5   ],
               [0.8808, 0.1192]])
    """
    return _along("functional.softmin", ops.softmax, input, dim, -1)


@public
def softmin_backward(grad_output: Array, output: Array, dim: int) -> Array:
    """Gradient of `softmin` with respect to `input`; `output` is what `softmin` returned.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> y = F.softmin(np.array([[0.0, 0.0], [1.0, 3.0]]), dim=1)
        >>> F.softmin_backward(np.array([[1.0, 0.0], [1.0, 0.0]]), y, dim=1).round(4)
        array([[-0.25 ,  0.25 ],
               [-0.105,  0.105]])
    """
    return -_back_along("functional.softmin_backward", ops.softmax_backward, grad_output, output, dim)
