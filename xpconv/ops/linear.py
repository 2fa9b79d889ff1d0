"""The affine map over the last axis; leading axes are so many rows of one matrix product."""

from __future__ import annotations

from typing import Any

from ..backend import Array


def linear(xp: Any, x: Array, weight: Array, bias: Array | None) -> Array:
    """`y[…, k] = Σ_c x[…, c] · weight[k, c] + bias[k]`."""
    y = rows(x) @ weight.T
    if bias is not None:
        y += bias
    return y.reshape(*x.shape[:-1], weight.shape[0])


def linear_backward_input(xp: Any, grad: Array, weight: Array) -> Array:
    """`dx[…, c] = Σ_k grad[…, k] · weight[k, c]`."""
    return (rows(grad) @ weight).reshape(*grad.shape[:-1], weight.shape[1])


def linear_backward_weight(xp: Any, grad: Array, x: Array) -> Array:
    """`dweight[k, c] = Σ_… grad[…, k] · x[…, c]`: every row used the same weight."""
    return rows(grad).T @ rows(x)


def linear_backward_bias(xp: Any, grad: Array) -> Array:
    """`dbias[k] = Σ_… grad[…, k]`."""
    return rows(grad).sum(axis=0)


def rows(x: Array) -> Array:
    """All leading axes as one."""
    if x.ndim == 2:
        return x
    count = 1
    for size in x.shape[:-1]:
        count *= size
    return x.reshape(count, x.shape[-1])
