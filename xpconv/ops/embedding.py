"""Lookup of the rows of a table by index, and the sum of the gradients of each row."""

from __future__ import annotations

import math
from typing import Any

from ..backend import Array
from ..sums import widened


def embedding(xp: Any, indices: Array, weight: Array) -> Array:
    """`y[i] = weight[indices[i]]` for `(n,)` indices; NaN where there is no such row."""
    valid = (indices >= 0) & (indices < weight.shape[0])
    y = xp.where(valid[:, None], weight[xp.where(valid, indices, 0)], math.nan)
    return y.astype(weight.dtype, copy=False)


def embedding_backward(
    xp: Any, grad: Array, indices: Array, size: int, padding_idx: int | None, scale_grad_by_freq: bool
) -> Array:
    """`dweight[v] = Σ_{i: indices[i] = v} grad[i]`, as `y[i]` is row `indices[i]`.

    The result is deterministic, as it needs no scatter. The gradients are sorted by row, so those of one row
    are adjacent. The round with step s adds element `i + s` to element i if both belong to the same row; then
    each element holds the sum of itself and the next 2s - 1 of its row. After ⌈log2 n⌉ rounds the first
    element of each row holds the total.
    """
    count = len(indices)
    if not count:
        return xp.zeros((size, grad.shape[1]), dtype=grad.dtype)
    order = xp.argsort(indices, kind="stable")
    keys, sums = indices[order], widened(grad)[order]
    step = 1
    while step < count:
        alike = (keys[step:] == keys[:-step])[:, None]
        rest = xp.where(alike, sums[step:], 0)  # as they are before this round
        head = sums[:-step]
        head += rest
        step *= 2
    first, found = _runs(xp, keys, size)
    dweight = xp.where(found[:, None] > 0, sums[xp.minimum(first, count - 1)], 0)
    if scale_grad_by_freq:
        dweight /= xp.maximum(found, 1).astype(dweight.dtype)[:, None]
    if padding_idx is not None:
        dweight[padding_idx] = 0
    return dweight.astype(grad.dtype, copy=False)


def renormalize(xp: Any, indices: Array, weight: Array, max_norm: float, norm_type: float) -> None:
    """Scale down, in place, the rows at `indices` whose norm exceeds `max_norm`, to that norm."""
    if not len(indices):
        return
    _, found = _runs(xp, xp.sort(indices), weight.shape[0])
    wide = widened(weight)
    norm = xp.linalg.norm(wide, norm_type, axis=1)
    over = (found > 0) & (norm > max_norm)
    scale = xp.where(over, max_norm / xp.where(over, norm + 1e-7, 1), 1)
    weight[...] = xp.where(over[:, None], wide * scale[:, None], wide).astype(weight.dtype, copy=False)


def _runs(xp: Any, keys: Array, size: int) -> tuple[Array, Array]:
    """The first position of each of `0 … size - 1` in the sorted `keys`, and how often it occurs."""
    every = xp.arange(size)
    first = xp.searchsorted(keys, every, side="left")
    return first, xp.searchsorted(keys, every, side="right") - first
