"""Softmax and its relatives: functions of all elements along one axis."""

from __future__ import annotations

from typing import Any

from ..backend import Array
from .norm import sum_over


def softmax(xp: Any, x: Array, axis: int) -> Array:
    """`y_i = exp(x_i) / Σ_k exp(x_k)` along `axis`; the maximum is taken out first, so nothing overflows."""
    if not x.size:
        return x
    y = xp.exp(x - x.max(axis=axis, keepdims=True))
    return y / sum_over(y, (axis,), keepdims=True)


def softmax_backward(xp: Any, grad: Array, y: Array, axis: int) -> Array:
    """`dy_k/dx_i = y_k ([i = k] - y_i)`, so `dx_i = y_i (grad_i - Σ_k grad_k y_k)`."""
    return y * (grad - sum_over(grad * y, (axis,), keepdims=True))


def log_softmax(xp: Any, x: Array, axis: int) -> Array:
    """`y = x - log Σ exp(x)` along `axis`; the maximum is taken out first, so nothing overflows."""
    if not x.size:
        return x
    x = x - x.max(axis=axis, keepdims=True)
    return x - xp.log(sum_over(xp.exp(x), (axis,), keepdims=True))


def log_softmax_backward(xp: Any, grad: Array, y: Array, axis: int) -> Array:
    """`dy_k/dx_i = [i = k] - exp(y_i)`, so `dx_i = grad_i - exp(y_i) Σ_k grad_k`."""
    return grad - xp.exp(y) * sum_over(grad, (axis,), keepdims=True)
