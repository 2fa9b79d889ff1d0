"""Max unpooling, the partial inverse of max pooling."""

from __future__ import annotations

from collections.abc import Sequence

from ..arguments import check_room
from ..backend import Array
from ..checks import as_images
from ..layers.pool import IntOrTuple
from ..layers.unpool import MaxUnpool1d, MaxUnpool2d, MaxUnpool3d, _MaxUnpool, check_indices, check_inside
from ..ops import pool as ops
from ._checks import enter, public
from ._pointwise import settings
from ._pooling import array_of, check_lead

__all__ = [
    "max_unpool1d",
    "max_unpool1d_backward",
    "max_unpool2d",
    "max_unpool2d_backward",
    "max_unpool3d",
    "max_unpool3d_backward",
]


def _unpool(
    where: str, layer: _MaxUnpool, input: Array, indices: Array, output_size: Sequence[int] | None
) -> Array:
    xp, x = enter(where, {"input": input})
    images, batched = as_images(where, x, layer.axes, argument="input")
    places = array_of(indices)
    check_indices(where, x, places, "input", f"max_pool{layer.axes}d")
    size = layer._output_size(images.shape[2:], output_size, batched, where, "input")
    check_inside(where, places, size)
    check_room(f"{where}: an output", images.shape[:2] + size, x.dtype.itemsize)
    places = places if batched else places[None]
    y = ops.max_unpool(xp, images, places, size)
    return y if batched else y[0]


def _unpool_backward(where: str, axes: int, grad_output: Array, indices: Array) -> Array:
    xp, grad = enter(where, {"grad_output": grad_output})
    images, batched = as_images(where, grad, axes, argument="grad_output")
    places = array_of(indices)
    check_indices(where, grad, places, "", f"max_pool{axes}d")
    check_lead(where, places, grad.shape, axes, "indices", "that of grad_output")
    check_inside(where, places, images.shape[2:], "a grad_output", f"give the indices of max_unpool{axes}d")
    dx = ops.max_unpool_backward(xp, images, places if batched else places[None])
    return dx if batched else dx[0]


@public
def max_unpool2d(
    input: Array,
    indices: Array,
    kernel_size: IntOrTuple,
    stride: IntOrTuple | None = None,
    padding: IntOrTuple = 0,
    output_size: Sequence[int] | None = None,
) -> Array:
    """Put maxima back at their positions, zeros elsewhere, as `torch.nn.functional.max_unpool2d`.

    `input` and `indices` `(N, C, P, Q)` or `(C, P, Q)`, as `max_pool2d(…, return_indices=True)` returns them,
    give `(N, C, H, W)` or `(C, H, W)` with `H = (P - 1)·stride - 2·padding + kernel`. Of equal indices the
    last one counts.

    Args:
        kernel_size, stride, padding: those of the pooling.
        output_size: `(H, W)`, with or without batch and channels, for sizes that pooling rounds.

    Raises:
        ValueError: an invalid size; on NumPy, an index outside the image (on a GPU it gives NaN).
        ShapeError: (a ValueError) arrays of other shapes, or an impossible `output_size`.
        DTypeError, BackendError: (TypeErrors) `indices` are not int64, or of another backend.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> y, indices = F.max_pool2d(np.array([[[1.0, 5, 4, 2], [9, 2, 1, 0]]]), 2, return_indices=True)
        >>> F.max_unpool2d(y, indices, 2)
        array([[[0., 0., 4., 0.],
                [9., 0., 0., 0.]]])
    """
    layer = settings("functional.max_unpool2d", MaxUnpool2d, kernel_size, stride, padding)
    return _unpool("functional.max_unpool2d", layer, input, indices, output_size)


@public
def max_unpool2d_backward(grad_output: Array, indices: Array) -> Array:
    """Gradient of `max_unpool2d` with respect to `input`; `indices` are those that `max_unpool2d` returned.

    Raises:
        ValueError: on NumPy, an index outside the image (on a GPU it gives NaN).
        ShapeError: (a ValueError) arrays of other shapes.
        ValueError: an index outside of `grad_output`; on a GPU it is not checked.
        DTypeError, BackendError: (TypeErrors) `indices` are not int64, or of another backend.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.max_unpool2d_backward(np.arange(8.0).reshape(1, 2, 4), np.array([[[4, 2]]]))
        array([[[4., 2.]]])
    """
    return _unpool_backward("functional.max_unpool2d_backward", 2, grad_output, indices)


@public
def max_unpool1d(
    input: Array,
    indices: Array,
    kernel_size: IntOrTuple,
    stride: IntOrTuple | None = None,
    padding: IntOrTuple = 0,
    output_size: Sequence[int] | None = None,
) -> Array:
    """1-D version of `max_unpool2d`, as `torch.nn.functional.max_unpool1d`.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.max_unpool1d(np.array([[5.0, 4]]), np.array([[1, 2]]), 2)
        array([[0., 5., 4., 0.]])
    """
    layer = settings("functional.max_unpool1d", MaxUnpool1d, kernel_size, stride, padding)
    return _unpool("functional.max_unpool1d", layer, input, indices, output_size)


@public
def max_unpool1d_backward(grad_output: Array, indices: Array) -> Array:
    """Gradient of `max_unpool1d` with respect to `input`; see `max_unpool2d_backward`.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.max_unpool1d_backward(np.arange(4.0).reshape(1, 4), np.array([[1, 2]]))
        array([[1., 2.]])
    """
    return _unpool_backward("functional.max_unpool1d_backward", 1, grad_output, indices)


@public
def max_unpool3d(
    input: Array,
    indices: Array,
    kernel_size: IntOrTuple,
    stride: IntOrTuple | None = None,
    padding: IntOrTuple = 0,
    output_size: Sequence[int] | None = None,
) -> Array:
    """3-D version of `max_unpool2d`, as `torch.nn.functional.max_unpool3d`.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.max_unpool3d(np.full((1, 1, 1, 1), 7.0), np.full((1, 1, 1, 1), 7), 2)
        array([[[[0., 0.],
                 [0., 0.]],
        <BLANKLINE>
                [[0., 0.],
                 [0., 7.]]]])
    """
    layer = settings("functional.max_unpool3d", MaxUnpool3d, kernel_size, stride, padding)
    return _unpool("functional.max_unpool3d", layer, input, indices, output_size)


@public
def max_unpool3d_backward(grad_output: Array, indices: Array) -> Array:
    """Gradient of `max_unpool3d` with respect to `input`; see `max_unpool2d_backward`.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.max_unpool3d_backward(np.arange(8.0).reshape(1, 2, 2, 2), np.full((1, 1, 1, 1), 7))
        array([[[[7.]]]])
    """
    return _unpool_backward("functional.max_unpool3d_backward", 3, grad_output, indices)
