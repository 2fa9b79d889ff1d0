"""Average pooling in one, two and three dimensions."""

from __future__ import annotations

from collections.abc import Sequence

from ..backend import Array
from ..checks import as_images
from ..layers.pool import AvgPool1d, AvgPool2d, AvgPool3d, IntOrTuple, _AvgPool
from ..ops import pool as ops
from ._checks import LINEAR, check_shape, enter, public
from ._pointwise import settings
from ._pooling import as_size, by_parts, pooled_shape

__all__ = [
    "avg_pool1d",
    "avg_pool1d_backward",
    "avg_pool2d",
    "avg_pool2d_backward",
    "avg_pool3d",
    "avg_pool3d_backward",
]


def _avg_pool(where: str, layer: _AvgPool, input: Array) -> Array:
    xp, x = enter(where, {"input": input}, kinds=LINEAR)
    images, batched = as_images(where, x, layer.axes, argument="input")
    pooled_shape(where, layer, x.shape)
    options = layer.ceil_mode, layer.count_include_pad, layer.divisor_override
    y = by_parts(xp, lambda part: ops.avg_pool(xp, part, layer._window, *options), images)
    return y if batched else y[0]


def _avg_pool_backward(where: str, layer: _AvgPool, grad_output: Array, input_size: Sequence[int]) -> Array:
    xp, grad = enter(where, {"grad_output": grad_output}, kinds=LINEAR)
    size = as_size(where, input_size, layer.axes)
    check_shape(where, "grad_output", grad, pooled_shape(where, layer, size), f"for input_size={size}")
    options = layer.count_include_pad, layer.divisor_override
    batched = len(size) == layer.axes + 2
    spatial = size[-layer.axes :]

    def backward(part: Array) -> Array:
        return ops.avg_pool_backward(xp, part, part.shape[:2] + spatial, layer._window, *options)

    dx = by_parts(xp, backward, grad if batched else grad[None])
    return dx if batched else dx[0]


@public
def avg_pool2d(
    input: Array,
    kernel_size: IntOrTuple,
    stride: IntOrTuple | None = None,
    padding: IntOrTuple = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Array:
    """Mean over windows, as `torch.nn.functional.avg_pool2d`.

    `input` `(N, C, H, W)` or `(C, H, W)` gives `(N, C, P, Q)` or `(C, P, Q)`. Floating point or complex.

    Args:
        kernel_size: an int, or one for each axis.
        stride: likewise; default the kernel size.
        padding: likewise, at most half the kernel; padded with zeros.
        ceil_mode: whether to add a last window that extends beyond the end.
        count_include_pad: whether the zeros of the padding count in the mean.
        divisor_override: divide by this int, which is not 0, instead of by the size of the window.

    Raises:
        ValueError: an invalid size, stride or padding.
        ShapeError: (a ValueError) an array of another shape, or smaller than the window.
        DTypeError, BackendError: (TypeErrors) arrays of several dtypes or backends, or of an unsupported
            dtype.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> x = np.array([[[1.0, 5, 4], [9, 2, 1], [6, 3, 2]]])
        >>> F.avg_pool2d(x, 2, stride=1)
        array([[[4.25, 3.  ],
                [5.  , 2.  ]]])
    """
    layer = settings(
        "functional.avg_pool2d",
        AvgPool2d,
        kernel_size,
        stride,
        padding,
        ceil_mode,
        count_include_pad,
        divisor_override,
    )
    return _avg_pool("functional.avg_pool2d", layer, input)


@public
def avg_pool2d_backward(
    grad_output: Array,
    input_size: Sequence[int],
    kernel_size: IntOrTuple,
    stride: IntOrTuple | None = None,
    padding: IntOrTuple = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Array:
    """Gradient of `avg_pool2d` with respect to `input`, which is its adjoint.

    `input_size` is the shape of the input; the other arguments are those of `avg_pool2d`.

    Raises:
        ValueError: an invalid size, stride or padding.
        ShapeError: (a ValueError) an array of another shape, or smaller than the window.
        DTypeError, BackendError: (TypeErrors) arrays of several dtypes or backends, or of an unsupported
            dtype.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.avg_pool2d_backward(np.ones((1, 2, 2)), (1, 3, 3), 2, stride=1)
        array([[[0.25, 0.5 , 0.25],
                [0.5 , 1.  , 0.5 ],
                [0.25, 0.5 , 0.25]]])
    """
    layer = settings(
        "functional.avg_pool2d_backward",
        AvgPool2d,
        kernel_size,
        stride,
        padding,
        ceil_mode,
        count_include_pad,
        divisor_override,
    )
    return _avg_pool_backward("functional.avg_pool2d_backward", layer, grad_output, input_size)


@public
def avg_pool1d(
    input: Array,
    kernel_size: IntOrTuple,
    stride: IntOrTuple | None = None,
    padding: IntOrTuple = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Array:
    """1-D version of `avg_pool2d`, as `torch.nn.functional.avg_pool1d`.

    `input` `(N, C, L)` or `(C, L)` gives `(N, C, P)` or `(C, P)`. Arguments
    and errors are those of `avg_pool2d`.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.avg_pool1d(np.array([[1.0, 5, 4, 2]]), 2)
        array([[3., 3.]])
    """
    layer = settings(
        "functional.avg_pool1d", AvgPool1d, kernel_size, stride, padding, ceil_mode, count_include_pad
    )
    return _avg_pool("functional.avg_pool1d", layer, input)


@public
def avg_pool1d_backward(
    grad_output: Array,
    input_size: Sequence[int],
    kernel_size: IntOrTuple,
    stride: IntOrTuple | None = None,
    padding: IntOrTuple = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Array:
    """Gradient of `avg_pool1d` with respect to `input`; see `avg_pool2d_backward`.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.avg_pool1d_backward(np.ones((1, 2)), (1, 4), 2)
        array([[0.5, 0.5, 0.5, 0.5]])
    """
    layer = settings(
        "functional.avg_pool1d_backward",
        AvgPool1d,
        kernel_size,
        stride,
        padding,
        ceil_mode,
        count_include_pad,
    )
    return _avg_pool_backward("functional.avg_pool1d_backward", layer, grad_output, input_size)


@public
def avg_pool3d(
    input: Array,
    kernel_size: IntOrTuple,
    stride: IntOrTuple | None = None,
    padding: IntOrTuple = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Array:
    """3-D version of `avg_pool2d`, as `torch.nn.functional.avg_pool3d`.

    `input` `(N, C, D, H, W)` or `(C, D, H, W)` gives `(N, C, O, P, Q)` or `(C, O, P, Q)`. Arguments
    and errors are those of `avg_pool2d`.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.avg_pool3d(np.arange(16.0).reshape(1, 2, 2, 4), 2)
        array([[[[6.5, 8.5]]]])
    """
    layer = settings(
        "functional.avg_pool3d",
        AvgPool3d,
        kernel_size,
        stride,
        padding,
        ceil_mode,
        count_include_pad,
        divisor_override,
    )
    return _avg_pool("functional.avg_pool3d", layer, input)


@public
def avg_pool3d_backward(
    grad_output: Array,
    input_size: Sequence[int],
    kernel_size: IntOrTuple,
    stride: IntOrTuple | None = None,
    padding: IntOrTuple = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Array:
    """Gradient of `avg_pool3d` with respect to `input`; see `avg_pool2d_backward`.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.avg_pool3d_backward(np.ones((1, 1, 1, 1)), (1, 2, 2, 2), 2)
        array([[[[0.125, 0.125],
                 [0.125, 0.125]],
        <BLANKLINE>
                [[0.125, 0.125],
                 [0.125, 0.125]]]])
    """
    layer = settings(
        "functional.avg_pool3d_backward",
        AvgPool3d,
        kernel_size,
        stride,
        padding,
        ceil_mode,
        count_include_pad,
        divisor_override,
    )
    return _avg_pool_backward("functional.avg_pool3d_backward", layer, grad_output, input_size)
