"""Max pooling in one, two and three dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..backend import Array, backend_of
from ..checks import as_images
from ..geometry import Shape, Window
from ..layers.pool import IntOrTuple, MaxPool1d, MaxPool2d, MaxPool3d, _MaxPool
from ..layers.unpool import check_indices
from ..ops import pool as ops
from ._checks import check_shape, enter, public
from ._pointwise import settings
from ._pooling import REAL, array_of, as_size, pooled_shape

__all__ = [
    "max_pool1d",
    "max_pool1d_backward",
    "max_pool2d",
    "max_pool2d_backward",
    "max_pool3d",
    "max_pool3d_backward",
]


UNSET = {1: 255, 4: 2**31 - 1}  # the winner of no tap, by the size of its dtype


def _max_pool(where: str, layer: _MaxPool, input: Array) -> Any:
    xp, x = enter(where, {"input": input}, kinds=REAL)
    images, batched = as_images(where, x, layer.axes, argument="input")
    pooled_shape(where, layer, x.shape)
    y, winner = ops.max_pool(xp, images, layer._window, layer.ceil_mode, layer.return_indices)
    y = y if batched else y[0]
    if not layer.return_indices:
        return y
    indices = ops.max_pool_indices(xp, winner, images.shape[2:], layer._window)
    return y, indices if batched else indices[0]


def _max_pool_backward(
    where: str, layer: _MaxPool, grad_output: Array, indices: Array, input_size: Sequence[int]
) -> Array:
    xp, grad = enter(where, {"grad_output": grad_output})
    size = as_size(where, input_size, layer.axes)
    check_shape(where, "grad_output", grad, pooled_shape(where, layer, size), f"for input_size={size}")
    places = array_of(indices)
    check_indices(where, grad, places, "grad_output", f"max_pool{layer.axes}d")
    batched = len(size) == layer.axes + 2
    if not batched:
        grad, places, size = grad[None], places[None], (1, *size)
    winner = ops.max_pool_winners(xp, places, size[2:], layer._window)
    _check_winners(where, winner, size[2:], layer._window)
    dx = ops.max_pool_backward(xp, grad, winner, size, layer._window)
    return dx if batched else dx[0]


def _check_winners(where: str, winner: Array, spatial: Shape, window: Window) -> None:
    """On NumPy, an error for an index that its window does not read; on a GPU it has no gradient."""
    if backend_of(winner).name != "numpy" or winner.max(initial=0) < UNSET[winner.dtype.itemsize]:
        return
    for n, m, k, s, (lo, _), d in zip(spatial, winner.shape[2:], *window, strict=True):
        if not all(any(0 <= p * s - lo + r * d < n for r in range(k)) for p in range(m)):
            return  # a dilated window that reads only padding has no index of its own
    raise ValueError(
        f"{where}: indices hold one that is not in its window; give the indices, the input_size and the "
        "window of the pooling"
    )


@public
def max_pool2d(
    input: Array,
    kernel_size: IntOrTuple,
    stride: IntOrTuple | None = None,
    padding: IntOrTuple = 0,
    dilation: IntOrTuple = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """Maximum over windows, as `torch.nn.functional.max_pool2d`.

    `input` `(N, C, H, W)` or `(C, H, W)` gives `(N, C, P, Q)` or `(C, P, Q)`. The dtype is real: floating
    point or integers. Of equal values the first in row-major order counts.

    Args:
        kernel_size, dilation: an int, or one for each axis.
        stride: likewise; default the kernel size.
        padding: likewise, at most half the kernel; a padded pixel is never the maximum.
        ceil_mode: whether to add a last window that extends beyond the end.
        return_indices: return `(output, indices)`: the position `h·W + w` of each maximum in its flattened
            image, int64, which `max_pool2d_backward` and `max_unpool2d` take.

    Raises:
        ValueError: an invalid size, stride or padding.
        ShapeError: (a ValueError) an array of another shape, or smaller than the window.
        DTypeError, BackendError: (TypeErrors) arrays of several dtypes or backends, or of an unsupported
            dtype.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> x = np.array([[[1.0, 5, 4], [9, 2, 1], [6, 3, 2]]])
        >>> F.max_pool2d(x, 2, stride=1)
        array([[[9., 5.],
                [9., 3.]]])
        >>> F.max_pool2d(x, 2, stride=1, return_indices=True)[1]
        array([[[3, 1],
                [3, 7]]])
    """
    layer = settings(
        "functional.max_pool2d", MaxPool2d, kernel_size, stride, padding, dilation, return_indices, ceil_mode
    )
    return _max_pool("functional.max_pool2d", layer, input)


@public
def max_pool2d_backward(
    grad_output: Array,
    indices: Array,
    input_size: Sequence[int],
    kernel_size: IntOrTuple,
    stride: IntOrTuple | None = None,
    padding: IntOrTuple = 0,
    dilation: IntOrTuple = 1,
    ceil_mode: bool = False,
) -> Array:
    """Gradient of `max_pool2d` with respect to `input`; `indices` are those that `max_pool2d` returned.

    Each gradient is added at the maximum of its window. `input_size` is the shape of the input, and the other
    arguments are those of `max_pool2d`. An index outside its window has no effect.

    Raises:
        ValueError: an invalid size, stride or padding.
        ShapeError: (a ValueError) an array of another shape, or smaller than the window.
        DTypeError, BackendError: (TypeErrors) arrays of several dtypes or backends, or of an unsupported
            dtype.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> x = np.array([[[1.0, 5, 4], [9, 2, 1], [6, 3, 2]]])
        >>> y, indices = F.max_pool2d(x, 2, stride=1, return_indices=True)
        >>> F.max_pool2d_backward(np.ones_like(y), indices, x.shape, 2, stride=1)
        array([[[0., 1., 0.],
                [2., 0., 0.],
                [0., 1., 0.]]])
    """
    layer = settings(
        "functional.max_pool2d_backward", MaxPool2d, kernel_size, stride, padding, dilation, True, ceil_mode
    )
    return _max_pool_backward("functional.max_pool2d_backward", layer, grad_output, indices, input_size)


@public
def max_pool1d(
    input: Array,
    kernel_size: IntOrTuple,
    stride: IntOrTuple | None = None,
    padding: IntOrTuple = 0,
    dilation: IntOrTuple = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """1-D version of `max_pool2d`, as `torch.nn.functional.max_pool1d`.

    `input` `(N, C, L)` or `(C, L)` gives `(N, C, P)` or `(C, P)`. Arguments
    and errors are those of `max_pool2d`.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.max_pool1d(np.array([[1.0, 5, 4, 2]]), 2)
        array([[5., 4.]])
    """
    layer = settings(
        "functional.max_pool1d", MaxPool1d, kernel_size, stride, padding, dilation, return_indices, ceil_mode
    )
    return _max_pool("functional.max_pool1d", layer, input)


@public
def max_pool1d_backward(
    grad_output: Array,
    indices: Array,
    input_size: Sequence[int],
    kernel_size: IntOrTuple,
    stride: IntOrTuple | None = None,
    padding: IntOrTuple = 0,
    dilation: IntOrTuple = 1,
    ceil_mode: bool = False,
) -> Array:
    """Gradient of `max_pool1d` with respect to `input`; see `max_pool2d_backward`.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> y, indices = F.max_pool1d(np.array([[1.0, 5, 4, 2]]), 2, return_indices=True)
        >>> F.max_pool1d_backward(np.ones_like(y), indices, (1, 4), 2)
        array([[0., 1., 1., 0.]])
    """
    layer = settings(
        "functional.max_pool1d_backward", MaxPool1d, kernel_size, stride, padding, dilation, True, ceil_mode
    )
    return _max_pool_backward("functional.max_pool1d_backward", layer, grad_output, indices, input_size)


@public
def max_pool3d(
    input: Array,
    kernel_size: IntOrTuple,
    stride: IntOrTuple | None = None,
    padding: IntOrTuple = 0,
    dilation: IntOrTuple = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """3-D version of `max_pool2d`, as `torch.nn.functional.max_pool3d`.

    `input` `(N, C, D, H, W)` or `(C, D, H, W)` gives `(N, C, O, P, Q)` or `(C, O, P, Q)`. Arguments
    and errors are those of `max_pool2d`.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.max_pool3d(np.arange(16).reshape(1, 2, 2, 4), 2)
        array([[[[13, 15]]]])
    """
    layer = settings(
        "functional.max_pool3d", MaxPool3d, kernel_size, stride, padding, dilation, return_indices, ceil_mode
    )
    return _max_pool("functional.max_pool3d", layer, input)


@public
def max_pool3d_backward(
    grad_output: Array,
    indices: Array,
    input_size: Sequence[int],
    kernel_size: IntOrTuple,
    stride: IntOrTuple | None = None,
    padding: IntOrTuple = 0,
    dilation: IntOrTuple = 1,
    ceil_mode: bool = False,
) -> Array:
    """Gradient of `max_pool3d` with respect to `input`; see `max_pool2d_backward`.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> y, indices = F.max_pool3d(np.arange(8.0).reshape(1, 2, 2, 2), 2, return_indices=True)
        >>> F.max_pool3d_backward(np.ones_like(y), indices, (1, 2, 2, 2), 2)
        array([[[[0., 0.],
                 [0., 0.]],
        <BLANKLINE>
                [[0., 0.],
                 [0., 1.]]]])
    """
    layer = settings(
        "functional.max_pool3d_backward", MaxPool3d, kernel_size, stride, padding, dilation, True, ceil_mode
    )
    return _max_pool_backward("functional.max_pool3d_backward", layer, grad_output, indices, input_size)
