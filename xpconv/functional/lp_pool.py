"""Lp pooling in one, two and three dimensions: the root of the sum of powers over each window."""

from __future__ import annotations

from ..backend import Array
from ..checks import as_images
from ..layers.lp_pool import LPPool1d, LPPool2d, LPPool3d, _LPPool
from ..layers.pool import IntOrTuple
from ..ops import pool as ops
from ._checks import check_shape, enter, public
from ._pointwise import settings
from ._pooling import pooled_shape

__all__ = [
    "lp_pool1d",
    "lp_pool1d_backward",
    "lp_pool2d",
    "lp_pool2d_backward",
    "lp_pool3d",
    "lp_pool3d_backward",
]


def _lp_pool(where: str, layer: _LPPool, input: Array) -> Array:
    xp, x = enter(where, {"input": input})
    images, batched = as_images(where, x, layer.axes, argument="input")
    pooled_shape(where, layer, x.shape)
    y, _ = ops.lp_pool(xp, images, layer._window, layer.norm_type, layer.ceil_mode)
    return y if batched else y[0]


def _lp_pool_backward(where: str, layer: _LPPool, grad_output: Array, input: Array) -> Array:
    xp, x, grad = enter(where, {"input": input, "grad_output": grad_output})
    images, batched = as_images(where, x, layer.axes, argument="input")
    check_shape(where, "grad_output", grad, pooled_shape(where, layer, x.shape), f"for input {x.shape}")
    _, total = ops.lp_pool(xp, images, layer._window, layer.norm_type, layer.ceil_mode)
    grad = grad if batched else grad[None]
    dx = ops.lp_pool_backward(xp, grad, images, total, layer._window, layer.norm_type)
    return dx if batched else dx[0]


@public
def lp_pool2d(
    input: Array,
    norm_type: float,
    kernel_size: IntOrTuple,
    stride: IntOrTuple | None = None,
    ceil_mode: bool = False,
) -> Array:
    """Root of the sum of powers over windows, as `torch.nn.functional.lp_pool2d`: `(Σ x^q)^(1/q)`.

    `input` `(N, C, H, W)` or `(C, H, W)` gives `(N, C, P, Q)` or `(C, P, Q)`. The root of a negative sum is
    NaN unless `q = ±1`.

    Args:
        norm_type: q, a finite number other than 0.
        kernel_size: an int, or one for each axis.
        stride: likewise; default the kernel size.
        ceil_mode: whether to add a last window that extends beyond the end; it counts as if it were full.

    Raises:
        ValueError: an invalid size, stride or padding.
        ShapeError: (a ValueError) an array of another shape, or smaller than the window.
        DTypeError, BackendError: (TypeErrors) arrays of several dtypes or backends, or of an unsupported
            dtype.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.lp_pool2d(np.array([[[3.0, 4], [5, 12]]]), 2, kernel_size=(1, 2))
        array([[[ 5.],
                [13.]]])
    """
    layer = settings("functional.lp_pool2d", LPPool2d, norm_type, kernel_size, stride, ceil_mode)
    return _lp_pool("functional.lp_pool2d", layer, input)


@public
def lp_pool2d_backward(
    grad_output: Array,
    input: Array,
    norm_type: float,
    kernel_size: IntOrTuple,
    stride: IntOrTuple | None = None,
    ceil_mode: bool = False,
) -> Array:
    """Gradient of `lp_pool2d` with respect to `input`; it is 0 where the sum is 0.

    Other arguments and errors are those of `lp_pool2d`.

    Raises:
        ValueError: an invalid size, stride or padding.
        ShapeError: (a ValueError) an array of another shape, or smaller than the window.
        DTypeError, BackendError: (TypeErrors) arrays of several dtypes or backends, or of an unsupported
            dtype.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.lp_pool2d_backward(np.ones((1, 2, 1)), np.array([[[3.0, 4], [5, 12]]]), 2, (1, 2)).round(4)
        array([[[0.6   , 0.8   ],
                [0.3846, 0.9231]]])
    """
    layer = settings("functional.lp_pool2d_backward", LPPool2d, norm_type, kernel_size, stride, ceil_mode)
    return _lp_pool_backward("functional.lp_pool2d_backward", layer, grad_output, input)


@public
def lp_pool1d(
    input: Array,
    norm_type: float,
    kernel_size: IntOrTuple,
    stride: IntOrTuple | None = None,
    ceil_mode: bool = False,
) -> Array:
    """1-D version of `lp_pool2d`, as `torch.nn.functional.lp_pool1d`.

    `input` `(N, C, L)` or `(C, L)` gives `(N, C, P)` or `(C, P)`. Arguments
    and errors are those of `lp_pool2d`.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.lp_pool1d(np.array([[3.0, 4, 5, 12]]), 2, 2)
        array([[ 5., 13.]])
    """
    layer = settings("functional.lp_pool1d", LPPool1d, norm_type, kernel_size, stride, ceil_mode)
    return _lp_pool("functional.lp_pool1d", layer, input)


@public
def lp_pool1d_backward(
    grad_output: Array,
    input: Array,
    norm_type: float,
    kernel_size: IntOrTuple,
    stride: IntOrTuple | None = None,
    ceil_mode: bool = False,
) -> Array:
    """Gradient of `lp_pool1d` with respect to `input`; see `lp_pool2d_backward`.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.lp_pool1d_backward(np.ones((1, 2)), np.array([[3.0, 4, 5, 12]]), 2, 2).round(4)
        array([[0.6   , 0.8   , 0.3846, 0.9231]])
    """
    layer = settings("functional.lp_pool1d_backward", LPPool1d, norm_type, kernel_size, stride, ceil_mode)
    return _lp_pool_backward("functional.lp_pool1d_backward", layer, grad_output, input)


@public
def lp_pool3d(
    input: Array,
    norm_type: float,
    kernel_size: IntOrTuple,
    stride: IntOrTuple | None = None,
    ceil_mode: bool = False,
) -> Array:
    """3-D version of `lp_pool2d`, as `torch.nn.functional.lp_pool3d`.

    `input` `(N, C, D, H, W)` or `(C, D, H, W)` gives `(N, C, O, P, Q)` or `(C, O, P, Q)`. Arguments
    and errors are those of `lp_pool2d`.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.lp_pool3d(np.ones((1, 2, 2, 2)), 1, 2)
        array([[[[8.]]]])
    """
    layer = settings("functional.lp_pool3d", LPPool3d, norm_type, kernel_size, stride, ceil_mode)
    return _lp_pool("functional.lp_pool3d", layer, input)


@public
def lp_pool3d_backward(
    grad_output: Array,
    input: Array,
    norm_type: float,
    kernel_size: IntOrTuple,
    stride: IntOrTuple | None = None,
    ceil_mode: bool = False,
) -> Array:
    """Gradient of `lp_pool3d` with respect to `input`; see `lp_pool2d_backward`.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.lp_pool3d_backward(np.ones((1, 1, 1, 1)), np.ones((1, 2, 2, 2)), 1, 2)
        array([[[[1., 1.],
                 [1., 1.]],
        <BLANKLINE>
                [[1., 1.],
                 [1., 1.]]]])
    """
    layer = settings("functional.lp_pool3d_backward", LPPool3d, norm_type, kernel_size, stride, ceil_mode)
    return _lp_pool_backward("functional.lp_pool3d_backward", layer, grad_output, input)
