"""Layer, group and root mean square normalisation, which are the same in training and inference.

The backward functions return the gradients of input, weight and bias (`rms_norm` has no bias); without a
weight, the second is the gradient of a weight of ones.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..backend import Array
from ..errors import ShapeError
from ..layers.group_norm import GroupNorm
from ..layers.layer_norm import LayerNorm, RMSNorm
from ..ops import norm as ops
from ._checks import check_shape, enter, public
from ._pointwise import settings

__all__ = [
    "group_norm",
    "group_norm_backward",
    "layer_norm",
    "layer_norm_backward",
    "rms_norm",
    "rms_norm_backward",
]

Grads = tuple[Array, Array, Array]


@public
def layer_norm(
    input: Array,
    normalized_shape: int | Sequence[int],
    weight: Array | None = None,
    bias: Array | None = None,
    eps: float = 1e-5,
) -> Array:
    """`(x - mean) / √(var + eps) · weight + bias` over the last axes, as `torch.nn.functional.layer_norm`.

    Args:
        input: `(*, *normalized_shape)`.
        normalized_shape: the sizes of the axes, or the size of the last one.
        weight, bias: of `normalized_shape`.
        eps: added to the variance.

    Raises:
        ValueError: `normalized_shape` without axes or with a negative size.
        ShapeError: (a ValueError) `input` does not end in `normalized_shape`.
        DTypeError, BackendError: (TypeErrors) arrays of several dtypes or backends, or not floating point.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.layer_norm(np.array([[1.0, 2, 3], [0, 0, 9]]), 3).round(3)
        array([[-1.225,  0.   ,  1.225],
               [-0.707, -0.707,  1.414]])
    """
    where = "functional.layer_norm"
    layer = settings(where, LayerNorm, normalized_shape, eps, False)
    xp, x, w, b = enter(where, {"input": input}, {"weight": weight, "bias": bias})
    axes = _last_axes(where, x, layer.normalized_shape, weight=w, bias=b)
    y: Array = ops.layer_norm(xp, x, w, b, axes, layer.eps)[0]
    return y


@public
def layer_norm_backward(
    grad_output: Array,
    input: Array,
    normalized_shape: int | Sequence[int],
    weight: Array | None = None,
    eps: float = 1e-5,
) -> Grads:
    """Gradients of `layer_norm` with respect to `input`, `weight` and `bias`.

    `grad_output` has the shape of `input`. Other arguments and errors are those of `layer_norm`.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> grad, x = np.array([[1.0, 0.0, 0.0]]), np.array([[1.0, 3.0, 8.0]])
        >>> dx, dweight, dbias = F.layer_norm_backward(grad, x, 3)
        >>> dx.round(3), dweight.round(3), dbias
        (array([[ 0.109, -0.152,  0.044]]), array([-1.019,  0.   ,  0.   ]), array([1., 0., 0.]))
    """
    where = "functional.layer_norm_backward"
    layer = settings(where, LayerNorm, normalized_shape, eps, False)
    xp, x, grad, w = enter(where, {"input": input, "grad_output": grad_output}, {"weight": weight})
    check_shape(where, "grad_output", grad, x.shape, "that of input")
    axes = _last_axes(where, x, layer.normalized_shape, weight=w)
    _, x_hat, inv_std = ops.layer_norm(xp, x, w, None, axes, layer.eps)
    return _all(ops.layer_norm_backward(xp, grad, x_hat, inv_std, w, axes, (True, True, True)), grad)


@public
def rms_norm(
    input: Array,
    normalized_shape: int | Sequence[int],
    weight: Array | None = None,
    eps: float | None = None,
) -> Array:
    """`x / √(mean(x²) + eps) · weight` over the last axes, as `torch.nn.functional.rms_norm`.

    Args:
        input: `(*, *normalized_shape)`.
        normalized_shape: the sizes of the axes, or the size of the last one.
        weight: of `normalized_shape`.
        eps: added to the mean square; None is the machine epsilon of float32, and of float64 for float64.

    Raises:
        ValueError, ShapeError, DTypeError, BackendError: as for `layer_norm`.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.rms_norm(np.array([[3.0, 4.0], [1.0, -1.0]]), 2).round(3)
        array([[ 0.849,  1.131],
               [ 1.   , -1.   ]])
    """
    where = "functional.rms_norm"
    layer = settings(where, RMSNorm, normalized_shape, eps, False)
    xp, x, w = enter(where, {"input": input}, {"weight": weight})
    axes = _last_axes(where, x, layer.normalized_shape, weight=w)
    y: Array = ops.layer_norm(xp, x, w, None, axes, layer._epsilon(x), centred=False)[0]
    return y


@public
def rms_norm_backward(
    grad_output: Array,
    input: Array,
    normalized_shape: int | Sequence[int],
    weight: Array | None = None,
    eps: float | None = None,
) -> tuple[Array, Array]:
    """Gradients of `rms_norm` with respect to `input` and `weight`.

    `grad_output` has the shape of `input`. Other arguments and errors are those of `rms_norm`.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> dx, dweight = F.rms_norm_backward(np.array([[1.0, 0.0]]), np.array([[3.0, 4.0]]), 2)
        >>> dx.round(3), dweight.round(3)
        (array([[ 0.181, -0.136]]), array([0.849, 0.   ]))
    """
    where = "functional.rms_norm_backward"
    layer = settings(where, RMSNorm, normalized_shape, eps, False)
    xp, x, grad, w = enter(where, {"input": input, "grad_output": grad_output}, {"weight": weight})
    check_shape(where, "grad_output", grad, x.shape, "that of input")
    axes = _last_axes(where, x, layer.normalized_shape, weight=w)
    _, x_hat, inv_rms = ops.layer_norm(xp, x, w, None, axes, layer._epsilon(x), False)
    dx, dweight, _ = ops.layer_norm_backward(xp, grad, x_hat, inv_rms, w, axes, (True, True, False), False)
    return dx, dweight


@public
def group_norm(
    input: Array,
    num_groups: int,
    weight: Array | None = None,
    bias: Array | None = None,
    eps: float = 1e-5,
) -> Array:
    """`(x - mean) / √(var + eps) · weight + bias` over groups of channels.

    As `torch.nn.functional.group_norm`.

    Args:
        input: `(N, C, *S)`.
        num_groups: number of groups; divides C.
        weight, bias: one number for each channel, `(C,)`, or None.
        eps: added to the variance.

    Raises:
        ValueError: `num_groups` does not divide C.
        ShapeError: (a ValueError) arrays of other shapes, or a single value to normalise.
        DTypeError, BackendError: (TypeErrors) arrays of several dtypes or backends, or not floating point.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.group_norm(np.array([[1.0, 3.0, 0.0, 8.0]]), 2).round(3)
        array([[-1.,  1., -1.,  1.]])
    """
    where = "functional.group_norm"
    xp, x, w, b = enter(where, {"input": input}, {"weight": weight, "bias": bias})
    layer = _grouped(where, x, num_groups, eps, weight=w, bias=b)
    y: Array = ops.group_norm(xp, x, w, b, layer.num_groups, layer.eps)[0]
    return y


@public
def group_norm_backward(
    grad_output: Array, input: Array, num_groups: int, weight: Array | None = None, eps: float = 1e-5
) -> Grads:
    """Gradients of `group_norm` with respect to `input`, `weight` and `bias`.

    `grad_output` has the shape of `input`. Other arguments and errors are those of `group_norm`.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> grad, x = np.array([[1.0, 0.0, 0.0]]), np.array([[1.0, 3.0, 8.0]])
        >>> dx, dweight, dbias = F.group_norm_backward(grad, x, 1)
        >>> dx.round(3), dweight.round(3), dbias
        (array([[ 0.109, -0.152,  0.044]]), array([-1.019,  0.   ,  0.   ]), array([1., 0., 0.]))
    """
    where = "functional.group_norm_backward"
    xp, x, grad, w = enter(where, {"input": input, "grad_output": grad_output}, {"weight": weight})
    check_shape(where, "grad_output", grad, x.shape, "that of input")
    layer = _grouped(where, x, num_groups, eps, weight=w)
    groups = layer.num_groups
    _, x_hat, inv_std = ops.group_norm(xp, x, w, None, groups, layer.eps)
    return _all(ops.group_norm_backward(xp, grad, x_hat, inv_std, w, groups, (True, True, True)), grad)


def _last_axes(where: str, x: Array, sizes: tuple[int, ...], **arrays: Array | None) -> tuple[int, ...]:
    """The axes to normalise; a ShapeError if `input` does not end in these sizes."""
    start = x.ndim - len(sizes)
    if start < 0 or x.shape[start:] != sizes:
        form = ", ".join(map(str, sizes))
        raise ShapeError(
            f"{where}: input has shape {x.shape}, expected (…, {form}): normalized_shape={sizes}"
        )
    for name, array in arrays.items():
        if array is not None:
            check_shape(where, name, array, sizes, "normalized_shape")
    return tuple(range(start, x.ndim))


def _grouped(where: str, x: Array, num_groups: int, eps: float, **arrays: Array | None) -> GroupNorm:
    """Check the shapes; return the layer with these settings."""
    if x.ndim < 2 or x.shape[1] == 0:
        raise ShapeError(f"{where}: input has shape {x.shape}, expected (N, C, …)")
    layer = settings(where, GroupNorm, num_groups, x.shape[1], eps, False)
    for name, array in arrays.items():
        if array is not None:
            check_shape(where, name, array, x.shape[1:2], "one value for each channel of input")
    if x.size == layer.num_groups:
        raise ShapeError(
            f"{where}: input has shape {x.shape}: one value per group has no variance; use fewer groups or a "
            "larger input"
        )
    return layer


def _all(grads: tuple[Array | None, Array | None, Array | None], grad_output: Array) -> Grads:
    """All three gradients, copied where a sum over no axes has returned its argument."""
    dx, dweight, dbias = grads
    return dx, dweight, dbias.copy() if dbias is grad_output else dbias
