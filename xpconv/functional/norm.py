"""Batch, instance and local response normalisation of `(N, C, *S)`.

The backward functions return the gradients of input, weight and bias; without a weight, the second is the
gradient of a weight of ones. In training the running statistics are updated in place, as in PyTorch; no other
function changes its arguments.
"""

from __future__ import annotations

from math import prod
from typing import Any

from ..arguments import to_bool, to_float
from ..arraylike import is_writable
from ..backend import Array
from ..errors import ShapeError
from ..layers.group_norm import LocalResponseNorm
from ..ops import norm as ops
from ..ops.channels import channel_sum, channelwise
from ..ops.response_norm import response_norm, response_norm_backward
from ._checks import check_shape, enter, public
from ._pointwise import enter_pair, settings

__all__ = [
    "batch_norm",
    "batch_norm_backward",
    "instance_norm",
    "instance_norm_backward",
    "local_response_norm",
    "local_response_norm_backward",
]

Grads = tuple[Array, Array, Array]


@public
def batch_norm(
    input: Array,
    running_mean: Array | None,
    running_var: Array | None,
    weight: Array | None = None,
    bias: Array | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Array:
    """`(x - mean) / √(var + eps) · weight + bias` for each channel, as `torch.nn.functional.batch_norm`.

    `input` is `(N, C, *S)`, the other arrays are `(C,)`; all have one floating dtype.

    Args:
        running_mean, running_var: the statistics. With `training` they may be None; otherwise they are
            updated in place (`running_var` with the unbiased variance of the batch).
        weight, bias: one number for each channel, or None.
        training: whether to use the statistics of the batch.
        momentum: the weight of the batch in the running statistics.
        eps: added to the variance; above 0 with `training`.

    Raises:
        ValueError: no statistics, `eps` not above 0, or read-only running statistics.
        ShapeError: (a ValueError) an array of another shape, or with `training` a single value per channel.
        DTypeError, BackendError: (TypeErrors) arrays of several dtypes or backends, or not floating point.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> mean, var = np.zeros(2), np.ones(2)
        >>> F.batch_norm(np.array([[1.0, 4.0], [3.0, 4.0]]), mean, var, training=True).round(3)
        array([[-1.,  0.],
               [ 1.,  0.]])
        >>> mean
        array([0.2, 0.4])
    """
    where = "functional.batch_norm"
    xp, x, mean, var, w, b = _enter(where, input, running_mean, running_var, weight, bias, 2)
    eps = to_float(f"{where}: eps", eps, finite=True)
    rate = to_float(f"{where}: momentum", momentum, finite=True)
    if not _from_batch(where, x, (0, *range(2, x.ndim)), "training", training, mean, var, eps):
        return ops.batch_norm(xp, x, w, b, mean, ops.inverse_std(xp, var, eps))
    y, new_mean, new_var, _ = ops.normalize_batch(xp, x, w, b, eps)
    count = x.size // x.shape[1]
    if mean is not None:
        ops.track(xp, mean, var, new_mean, new_var, count, rate)
    return y


@public
def batch_norm_backward(
    grad_output: Array,
    input: Array,
    running_mean: Array | None,
    running_var: Array | None,
    weight: Array | None = None,
    training: bool = False,
    eps: float = 1e-5,
) -> Grads:
    """Gradients of `batch_norm` with respect to `input`, `weight` and `bias`, as a tuple.

    `grad_output` has the shape of `input`. Other arguments and errors are those of `batch_norm`. The running
    statistics are used only if `training` is False.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> x, grad = np.array([[1.0], [3.0], [8.0]]), np.array([[1.0], [0.0], [0.0]])
        >>> dx, dweight, dbias = F.batch_norm_backward(grad, x, None, None, training=True)
        >>> dx.ravel().round(3), dweight.round(3), dbias
        (array([ 0.109, -0.152,  0.044]), array([-1.019]), array([1.]))
    """
    where = "functional.batch_norm_backward"
    xp, x, mean, var, w, _ = _enter(where, input, running_mean, running_var, weight, None, 2)
    _, x, grad = enter_pair(where, grad_output, x, "input")
    eps = to_float(f"{where}: eps", eps, finite=True)
    training = _from_batch(where, x, (0, *range(2, x.ndim)), "training", training, mean, var, eps)
    mean, var = ops.statistics(xp, x) if training else (mean.astype("float64"), var)
    inv_std = ops.inverse_std(xp, var, eps)
    dx, dweight, dbias = ops.batch_norm_backward(xp, grad, x, w, mean, inv_std, training, True)
    return dx, dweight.astype(x.dtype), dbias.astype(x.dtype)


@public
def instance_norm(
    input: Array,
    running_mean: Array | None = None,
    running_var: Array | None = None,
    weight: Array | None = None,
    bias: Array | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Array:
    """`batch_norm` with the statistics of each channel of each image, as `torch.nn.functional.instance_norm`.

    `input` is `(N, C, *S)` with at least one axis in S; arguments and errors as for `batch_norm`, with
    `use_input_stats` for `training`.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.instance_norm(np.array([[[1.0, 3.0], [0.0, 9.0]]])).round(3)
        array([[[-1.,  1.],
                [-1.,  1.]]])
    """
    where = "functional.instance_norm"
    xp, x, mean, var, w, b = _enter(where, input, running_mean, running_var, weight, bias, 3)
    eps = to_float(f"{where}: eps", eps, finite=True)
    rate = to_float(f"{where}: momentum", momentum, finite=True)
    axes = tuple(range(2, x.ndim))
    if _from_batch(where, x, axes, "use_input_stats", use_input_stats, mean, var, eps):
        y, new_mean, new_var, _ = ops.normalize(xp, x, axes, eps)
        if mean is not None:
            ops.track_images(xp, mean, var, new_mean, new_var, prod(x.shape[2:]), rate)
    else:
        y, _ = ops.normalize_by(xp, x, mean, var, eps)
    y = y if w is None else y * channelwise(w, x.ndim)
    return y if b is None else y + channelwise(b, x.ndim)


@public
def instance_norm_backward(
    grad_output: Array,
    input: Array,
    running_mean: Array | None = None,
    running_var: Array | None = None,
    weight: Array | None = None,
    use_input_stats: bool = True,
    eps: float = 1e-5,
) -> Grads:
    """Gradients of `instance_norm` with respect to `input`, `weight` and `bias`.

    `grad_output` has the shape of `input`. Other arguments and errors are those of `instance_norm`. The
    running statistics are used only if `use_input_stats` is False.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> x, grad = np.array([[[1.0, 3.0, 8.0]]]), np.array([[[1.0, 0.0, 0.0]]])
        >>> dx, dweight, dbias = F.instance_norm_backward(grad, x)
        >>> dx.ravel().round(3), dweight.round(3), dbias
        (array([ 0.109, -0.152,  0.044]), array([-1.019]), array([1.]))
    """
    where = "functional.instance_norm_backward"
    xp, x, mean, var, w, _ = _enter(where, input, running_mean, running_var, weight, None, 3)
    _, x, grad = enter_pair(where, grad_output, x, "input")
    eps = to_float(f"{where}: eps", eps, finite=True)
    axes = tuple(range(2, x.ndim))
    from_input = _from_batch(where, x, axes, "use_input_stats", use_input_stats, mean, var, eps)
    if from_input:
        x_hat, _, _, inv_std = ops.normalize(xp, x, axes, eps)
    else:
        x_hat, inv_std = ops.normalize_by(xp, x, mean, var, eps)
    dweight, dbias = channel_sum(xp, grad * x_hat), channel_sum(xp, grad)
    grad = grad if w is None else grad * channelwise(w, x.ndim)
    dx = ops.normalize_backward(xp, grad, x_hat, inv_std, axes) if from_input else grad * inv_std
    return dx, dweight, dbias


@public
def local_response_norm(
    input: Array, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> Array:
    """Division by the energy of neighbouring channels, as `torch.nn.functional.local_response_norm`.

        y_c = x_c / (k + alpha/size · Σ x_i²)^beta,  i from c - ⌊size/2⌋ to c + ⌊(size - 1)/2⌋

    `input` is `(N, C, *S)` with at least one axis in S, and has a floating dtype.

    Raises:
        ShapeError: (a ValueError) `input` has fewer than three axes.
        DTypeError, BackendError: (TypeErrors) `input` is not an array of a floating dtype.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.local_response_norm(np.array([[[1.0], [2.0], [3.0]]]), 2, alpha=2.0, beta=1.0).ravel().round(4)
        array([0.5   , 0.3333, 0.2143])
    """
    where = "functional.local_response_norm"
    layer = settings(where, LocalResponseNorm, size, alpha, beta, k)
    xp, x = enter(where, {"input": input})
    _check_rank(where, x, 3)
    return response_norm(xp, x, layer.size, layer.alpha, layer.beta, layer.k)[0]


@public
def local_response_norm_backward(
    grad_output: Array, input: Array, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> Array:
    """Gradient of `local_response_norm` with respect to `input`.

    `grad_output` has the shape of `input`. Other arguments and errors are those of `local_response_norm`.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> x = np.array([[[1.0], [2.0], [3.0]]])
        >>> F.local_response_norm_backward(np.ones_like(x), x, 2, alpha=2.0, beta=1.0).ravel().round(4)
        array([-0.1111, -0.1168, -0.0204])
    """
    where = "functional.local_response_norm_backward"
    layer = settings(where, LocalResponseNorm, size, alpha, beta, k)
    xp, x, grad = enter_pair(where, grad_output, input, "input")
    _check_rank(where, x, 3)
    _, d = response_norm(xp, x, layer.size, layer.alpha, layer.beta, layer.k)
    return response_norm_backward(xp, grad, x, d, layer.size, layer.alpha, layer.beta)


def _enter(
    where: str,
    input: Array,
    mean: Array | None,
    var: Array | None,
    weight: Array | None,
    bias: Array | None,
    rank: int,
) -> tuple[Any, ...]:
    """Check the arrays; return `xp` and the arrays."""
    optional = {"running_mean": mean, "running_var": var, "weight": weight, "bias": bias}
    xp, x, *others = enter(where, {"input": input}, optional)
    _check_rank(where, x, rank)
    if (mean is None) != (var is None):
        raise ValueError(f"{where}: got one of running_mean and running_var, expected both or none")
    for name, array in zip(optional, others, strict=True):
        if array is not None:
            check_shape(where, name, array, x.shape[1:2], "one value for each channel of input")
    return xp, x, *others


def _check_rank(where: str, x: Array, rank: int) -> None:
    if x.ndim < rank or x.shape[1] == 0:
        form = "(N, C, …)" if rank == 2 else "(N, C, …) with spatial axes"
        raise ShapeError(f"{where}: input has shape {x.shape}, expected {form}")


def _from_batch(
    where: str,
    x: Array,
    axes: tuple[int, ...],
    argument: str,
    value: bool,
    mean: Array | None,
    var: Array | None,
    eps: float,
) -> bool:
    """Whether the statistics are those of the input, over `axes`; checks what that requires."""
    from_batch = to_bool(f"{where}: {argument}", value)
    if not from_batch:
        if mean is None:
            raise ValueError(f"{where}: {argument}=False needs running_mean and running_var")
        return False
    if eps <= 0:
        raise ValueError(f"{where}: eps is {eps}, expected above 0 with {argument}=True")
    if prod([x.shape[axis] for axis in axes]) == 1:
        raise ShapeError(f"{where}: input has shape {x.shape}: one value has no variance; use a larger input")
    if not where.endswith("_backward"):
        for name, array in (("running_mean", mean), ("running_var", var)):
            if array is not None and not is_writable(array):
                raise ValueError(f"{where}: {name} is read-only, but it is updated; give a copy")
    return True
