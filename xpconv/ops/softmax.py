"""Softmax and its relatives: functions of all elements along one axis."""

from __future__ import annotations

from typing import Any

from ..backend import Array
from ..kernels import in_float32, overridable
from ..sums import sum_over, total, widened


@overridable
@in_float32
def softmax(xp: Any, x: Array, axis: int) -> Array:
    """`y_i = exp(x_i) / Σ_k exp(x_k)` along `axis`; the maximum is subtracted first, so nothing overflows."""
    if not x.size:
        return x
    y = xp.exp(x - x.max(axis=axis, keepdims=True))
    return y / sum_over(y, (axis,), keepdims=True)


@overridable
@in_float32
def softmax_backward(xp: Any, grad: Array, y: Array, axis: int) -> Array:
    """`dy_k/dx_i = y_k ([i = k] - y_i)`, so `dx_i = y_i (grad_i - Σ_k grad_k y_k)`."""
    return y * (grad - sum_over(grad * y, (axis,), keepdims=True))


@overridable
@in_float32
def log_softmax(xp: Any, x: Array, axis: int) -> Array:
    """`y = x - log Σ exp(x)` along `axis`; the maximum is subtracted first, so nothing overflows."""
    if not x.size:
        return x
    x = x - x.max(axis=axis, keepdims=True)
    return x - xp.log(sum_over(xp.exp(x), (axis,), keepdims=True))


@overridable
@in_float32
def log_softmax_backward(xp: Any, grad: Array, y: Array, axis: int) -> Array:
    """`dy_k/dx_i = [i = k] - exp(y_i)`, so `dx_i = grad_i - exp(y_i) Σ_k grad_k`."""
    return grad - xp.exp(y) * sum_over(grad, (axis,), keepdims=True)


@overridable
def cross_entropy(xp: Any, x: Array, t: Array, axis: int) -> tuple[Array, Array, Array]:
    """`-Σ_c t_c log p_c` with `p = softmax(x)`, where 0 · log 0 = 0; `p`; and `Σ_c t_c`, for backward."""
    log_p = x
    if x.size:
        log_p = x - x.max(axis=axis, keepdims=True)
        log_p = log_p - xp.log(sum_over(xp.exp(log_p), (axis,), keepdims=True))
    loss = -sum_over(t * xp.where(t == 0, 0, log_p), (axis,))
    return loss, xp.exp(log_p), sum_over(t, (axis,), keepdims=True)


@overridable
def cross_entropy_backward(xp: Any, p: Array, t: Array, total: Array, scale: Any, axis: int) -> Array:
    """`dx_c = (p_c Σ_k t_k - t_c) · scale`, as `d log p_k / dx_c = [k = c] - p_c`."""
    grad = p * total - t
    grad *= xp.expand_dims(scale, axis) if getattr(scale, "ndim", 0) else scale
    return grad


@overridable
def one_hot(xp: Any, target: Array, classes: int, ignored: int, axis: int, dtype: Any) -> tuple[Array, Array]:
    """One-hot rows along a new `axis` (NaN for an invalid class), and a mask of samples not `ignored`."""
    target = target.astype("int64", copy=False)
    counted = target != ignored
    valid = ((target >= 0) & (target < classes)) | ~counted
    shape = [1] * (target.ndim + 1)
    shape[axis] = classes
    one = (*target.shape[:axis], 1, *target.shape[axis:])  # as expand_dims does, which takes longer
    rows = target.reshape(one) == xp.arange(classes).reshape(shape)
    rows = (rows & counted.reshape(one)).astype(dtype)
    return xp.where(valid.reshape(one), rows, xp.nan), counted


@overridable
def class_entropy(
    xp: Any, x: Array, target: Array, axis: int, ignored: int, mean: bool
) -> tuple[Array, Array, Array, Array, Array]:
    """`cross_entropy` with classes by number, as a sum or mean over the samples that are not `ignored`.

    Returns the loss, a 0-d array; `softmax(x)` in the `widened` dtype; a copy of `target`; `dloss/dsum`: 1,
    or for a mean 1 divided by the number of samples that count, in float64 (NaN if none does); and this
    number, in the `widened` dtype.
    """
    wide = widened(x)
    t, counted = one_hot(xp, target, x.shape[axis], ignored, axis, wide.dtype)
    losses, p, _ = cross_entropy(xp, wide, t, axis)
    count = counted.sum().astype("float64")
    scale = 1 / xp.where(count == 0, xp.nan, count) if mean else xp.ones_like(count)
    loss = total(losses, tuple(range(losses.ndim))) * scale
    return loss.astype(x.dtype), p, target.astype("int64"), scale, count.astype(wide.dtype)


@overridable
def class_entropy_backward(
    xp: Any, p: Array, target: Array, scale: Array, grad: Any, axis: int, ignored: int, dtype: Any
) -> Array:
    """`dx_c = (p_c - [c = target]) · scale · grad`, 0 for samples that are `ignored`, in `dtype`."""
    t, counted = one_hot(xp, target, p.shape[axis], ignored, axis, p.dtype)
    factor = (scale * grad).astype(p.dtype)
    dx = xp.where(xp.expand_dims(counted, axis), (p - t) * factor, 0)
    return dx.astype(dtype)
