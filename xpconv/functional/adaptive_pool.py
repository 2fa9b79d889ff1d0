"""Pooling to a given output size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..arguments import check_places, check_room
from ..backend import Array
from ..checks import as_images
from ..layers.adaptive_pool import (
    AdaptiveAvgPool1d,
    AdaptiveAvgPool2d,
    AdaptiveAvgPool3d,
    AdaptiveMaxPool1d,
    AdaptiveMaxPool2d,
    AdaptiveMaxPool3d,
    Size,
    _AdaptiveAvgPool,
    _AdaptiveMaxPool,
    _AdaptivePool,
)
from ..layers.unpool import check_indices, check_inside
from ..ops import adaptive_pool as ops
from ._checks import LINEAR, enter, public
from ._pointwise import settings
from ._pooling import REAL, array_of, as_size, by_parts, check_lead

__all__ = [
    "adaptive_avg_pool1d",
    "adaptive_avg_pool1d_backward",
    "adaptive_avg_pool2d",
    "adaptive_avg_pool2d_backward",
    "adaptive_avg_pool3d",
    "adaptive_avg_pool3d_backward",
    "adaptive_max_pool1d",
    "adaptive_max_pool1d_backward",
    "adaptive_max_pool2d",
    "adaptive_max_pool2d_backward",
    "adaptive_max_pool3d",
    "adaptive_max_pool3d_backward",
]


def _sizes(where: str, layer: _AdaptivePool, images: Array) -> tuple[int, ...]:
    """The size of the output."""
    size = layer._output(images)
    check_room(f"{where}: an output", images.shape[:2] + size, images.dtype.itemsize)
    check_places(f"{where}: an output", size)
    return size


def _avg(where: str, layer: _AdaptiveAvgPool, input: Array) -> Array:
    xp, x = enter(where, {"input": input}, kinds=LINEAR)
    images, batched = as_images(where, x, layer.axes, argument="input")
    size = _sizes(where, layer, images)
    y = by_parts(xp, lambda part: ops.adaptive_avg_pool(xp, part, size), images)
    return y if batched else y[0]


def _avg_backward(where: str, axes: int, grad_output: Array, input_size: Sequence[int]) -> Array:
    xp, grad = enter(where, {"grad_output": grad_output}, kinds=LINEAR)
    size = as_size(where, input_size, axes)
    check_lead(where, grad, size, axes)
    check_room(f"{where}: an input", size, grad.dtype.itemsize)
    batched = len(size) == axes + 2
    grad = grad if batched else grad[None]
    dx = by_parts(xp, lambda part: ops.adaptive_avg_pool_backward(xp, part, size[-axes:]), grad)
    return dx if batched else dx[0]


def _max(where: str, layer: _AdaptiveMaxPool, input: Array) -> Any:
    xp, x = enter(where, {"input": input}, kinds=REAL)
    images, batched = as_images(where, x, layer.axes, argument="input")
    y, indices = ops.adaptive_max_pool(xp, images, _sizes(where, layer, images))
    y, indices = (y, indices) if batched else (y[0], indices[0])
    return (y, indices) if layer.return_indices else y


def _max_backward(
    where: str, axes: int, grad_output: Array, indices: Array, input_size: Sequence[int]
) -> Array:
    xp, grad = enter(where, {"grad_output": grad_output})
    size = as_size(where, input_size, axes)
    check_lead(where, grad, size, axes)
    check_room(f"{where}: an input", size, grad.dtype.itemsize)
    places = array_of(indices)
    check_indices(where, grad, places, "grad_output", f"adaptive_max_pool{axes}d")
    check_inside(where, places, size[-axes:], "inputs", "give the indices and the input_size of the pooling")
    batched = len(size) == axes + 2
    grad, places = (grad, places) if batched else (grad[None], places[None])
    dx = ops.adaptive_max_pool_backward(xp, grad, places, size[-axes:])
    return dx if batched else dx[0]


@public
def adaptive_avg_pool2d(input: Array, output_size: Size) -> Array:
    """Means over windows that divide the image, as `torch.nn.functional.adaptive_avg_pool2d`.

    `input` `(N, C, H, W)` or `(C, H, W)`, floating point or complex, gives `(N, C, *output_size)` or `(C,
    *output_size)`. Output p of m along an axis of n is the mean of inputs `⌊p n/m⌋` to `⌈(p+1) n/m⌉ - 1`.

    Args:
        output_size: an int, or one for each axis; None is the input's.

    Raises:
        ValueError: an invalid size.
        ShapeError: (a ValueError) an array of another shape.
        DTypeError, BackendError: (TypeErrors) arrays of several dtypes or backends, or of an unsupported
            dtype.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.adaptive_avg_pool2d(np.arange(6.0).reshape(1, 2, 3), 1)
        array([[[2.5]]])
    """
    layer = settings("functional.adaptive_avg_pool2d", AdaptiveAvgPool2d, output_size)
    return _avg("functional.adaptive_avg_pool2d", layer, input)


@public
def adaptive_avg_pool2d_backward(grad_output: Array, input_size: Sequence[int]) -> Array:
    """Gradient of `adaptive_avg_pool2d` with respect to `input`, which is its adjoint.

    `input_size` is the shape of the input.

    Raises:
        ValueError: an invalid size.
        ShapeError: (a ValueError) an array of another shape.
        DTypeError, BackendError: (TypeErrors) arrays of several dtypes or backends, or of an unsupported
            dtype.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.adaptive_avg_pool2d_backward(np.ones((1, 1, 2)), (1, 2, 4))
        array([[[0.25, 0.25, 0.25, 0.25],
                [0.25, 0.25, 0.25, 0.25]]])
    """
    return _avg_backward("functional.adaptive_avg_pool2d_backward", 2, grad_output, input_size)


@public
def adaptive_avg_pool1d(input: Array, output_size: Size) -> Array:
    """1-D version of `adaptive_avg_pool2d`, as `torch.nn.functional.adaptive_avg_pool1d`.

    `input` is `(N, C, L)` or `(C, L)`. Arguments
    and errors are those of `adaptive_avg_pool2d`.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.adaptive_avg_pool1d(np.array([[1.0, 2, 3, 4]]), 2)
        array([[1.5, 3.5]])
    """
    layer = settings("functional.adaptive_avg_pool1d", AdaptiveAvgPool1d, output_size)
    return _avg("functional.adaptive_avg_pool1d", layer, input)


@public
def adaptive_avg_pool1d_backward(grad_output: Array, input_size: Sequence[int]) -> Array:
    """Gradient of `adaptive_avg_pool1d` with respect to `input`; see `adaptive_avg_pool2d_backward`.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.adaptive_avg_pool1d_backward(np.ones((1, 2)), (1, 4))
        array([[0.5, 0.5, 0.5, 0.5]])
    """
    return _avg_backward("functional.adaptive_avg_pool1d_backward", 1, grad_output, input_size)


@public
def adaptive_avg_pool3d(input: Array, output_size: Size) -> Array:
    """3-D version of `adaptive_avg_pool2d`, as `torch.nn.functional.adaptive_avg_pool3d`.

    `input` is `(N, C, D, H, W)` or `(C, D, H, W)`. Arguments
    and errors are those of `adaptive_avg_pool2d`.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.adaptive_avg_pool3d(np.zeros((2, 3, 4, 5, 6)), (1, None, 2)).shape
        (2, 3, 1, 5, 2)
    """
    layer = settings("functional.adaptive_avg_pool3d", AdaptiveAvgPool3d, output_size)
    return _avg("functional.adaptive_avg_pool3d", layer, input)


@public
def adaptive_avg_pool3d_backward(grad_output: Array, input_size: Sequence[int]) -> Array:
    """Gradient of `adaptive_avg_pool3d` with respect to `input`; see `adaptive_avg_pool2d_backward`.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.adaptive_avg_pool3d_backward(np.ones((1, 1, 1, 1)), (1, 2, 2, 2))
        array([[[[0.125, 0.125],
                 [0.125, 0.125]],
        <BLANKLINE>
                [[0.125, 0.125],
                 [0.125, 0.125]]]])
    """
    return _avg_backward("functional.adaptive_avg_pool3d_backward", 3, grad_output, input_size)


@public
def adaptive_max_pool2d(input: Array, output_size: Size, return_indices: bool = False) -> Any:
    """Maxima over windows that divide the image, as `torch.nn.functional.adaptive_max_pool2d`.

    Shapes and windows as for `adaptive_avg_pool2d`; the dtype is real: floating point or integers.

    Args:
        output_size: an int, or one for each axis; None is the input's.
        return_indices: return `(output, indices)`: the position of each maximum in its flattened image,
            int64.

    Raises:
        ValueError: an invalid size.
        ShapeError: (a ValueError) an array of another shape.
        DTypeError, BackendError: (TypeErrors) arrays of several dtypes or backends, or of an unsupported
            dtype.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.adaptive_max_pool2d(np.arange(6.0).reshape(1, 2, 3), (1, 2), return_indices=True)
        (array([[[4., 5.]]]), array([[[4, 5]]]))
    """
    layer = settings("functional.adaptive_max_pool2d", AdaptiveMaxPool2d, output_size, return_indices)
    return _max("functional.adaptive_max_pool2d", layer, input)


@public
def adaptive_max_pool2d_backward(grad_output: Array, indices: Array, input_size: Sequence[int]) -> Array:
    """Gradient of `adaptive_max_pool2d` with respect to `input`, by the `indices` of its maxima.

    `input_size` is the shape of the input.

    Raises:
        ValueError: an invalid size; on NumPy, an index outside the image (on a GPU it is ignored).
        ShapeError: (a ValueError) an array of another shape.
        DTypeError, BackendError: (TypeErrors) arrays of several dtypes or backends, or of an unsupported
            dtype.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.adaptive_max_pool2d_backward(np.ones((1, 1, 2)), np.array([[[4, 5]]]), (1, 2, 3))
        array([[[0., 0., 0.],
                [0., 1., 1.]]])
    """
    return _max_backward("functional.adaptive_max_pool2d_backward", 2, grad_output, indices, input_size)


@public
def adaptive_max_pool1d(input: Array, output_size: Size, return_indices: bool = False) -> Any:
    """1-D version of `adaptive_max_pool2d`, as `torch.nn.functional.adaptive_max_pool1d`.

    `input` is `(N, C, L)` or `(C, L)`. Arguments
    and errors are those of `adaptive_max_pool2d`.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.adaptive_max_pool1d(np.array([[1.0, 5, 3, 4]]), 2)
        array([[5., 4.]])
    """
    layer = settings("functional.adaptive_max_pool1d", AdaptiveMaxPool1d, output_size, return_indices)
    return _max("functional.adaptive_max_pool1d", layer, input)


@public
def adaptive_max_pool1d_backward(grad_output: Array, indices: Array, input_size: Sequence[int]) -> Array:
    """Gradient of `adaptive_max_pool1d` with respect to `input`; see `adaptive_max_pool2d_backward`.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.adaptive_max_pool1d_backward(np.ones((1, 2)), np.array([[1, 3]]), (1, 4))
        array([[0., 1., 0., 1.]])
    """
    return _max_backward("functional.adaptive_max_pool1d_backward", 1, grad_output, indices, input_size)


@public
def adaptive_max_pool3d(input: Array, output_size: Size, return_indices: bool = False) -> Any:
    """3-D version of `adaptive_max_pool2d`, as `torch.nn.functional.adaptive_max_pool3d`.

    `input` is `(N, C, D, H, W)` or `(C, D, H, W)`. Arguments
    and errors are those of `adaptive_max_pool2d`.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.adaptive_max_pool3d(np.arange(8).reshape(1, 2, 2, 2), 1)
        array([[[[7]]]])
    """
    layer = settings("functional.adaptive_max_pool3d", AdaptiveMaxPool3d, output_size, return_indices)
    return _max("functional.adaptive_max_pool3d", layer, input)


@public
def adaptive_max_pool3d_backward(grad_output: Array, indices: Array, input_size: Sequence[int]) -> Array:
    """Gradient of `adaptive_max_pool3d` with respect to `input`; see `adaptive_max_pool2d_backward`.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.adaptive_max_pool3d_backward(np.ones((1, 1, 1, 1)), np.full((1, 1, 1, 1), 7), (1, 2, 2, 2))
        array([[[[0., 0.],
                 [0., 0.]],
        <BLANKLINE>
                [[0., 0.],
                 [0., 1.]]]])
    """
    return _max_backward("functional.adaptive_max_pool3d_backward", 3, grad_output, indices, input_size)
