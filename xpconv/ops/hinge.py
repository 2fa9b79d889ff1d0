"""The hinge loss over all pairs of a target and a non-target class, without an array of the pairs."""

from __future__ import annotations

from typing import Any

from ..backend import Array
from ..sums import occurrences


def listed(xp: Any, target: Array, classes: int) -> Array:
    """How many times each class occurs in a row of `target (N, K)` before the row's first -1: `(N, C)`.

    Indices of `classes` or more are ignored.
    """
    found = (xp.cumsum(target < 0, axis=-1) == 0) & (target < classes)
    place = xp.where(found, target, classes) + xp.arange(len(target))[:, None] * (classes + 1)
    counts = occurrences(xp, place.reshape(-1), len(target) * (classes + 1))
    return counts.reshape(-1, classes + 1)[:, :classes]


def pairwise_hinge(xp: Any, x: Array, times: Array) -> tuple[Array, Array]:
    """`Σ_t times_t Σ_{c: times_c = 0} max(0, 1 - x_t + x_c)` for each row of `x (N, C)`, and its gradient.

    Computed in float64. The scores of the other classes and the thresholds `h_t = x_t - 1` of the targets are
    sorted together. The scores after a threshold are above it; with n such scores, whose sum is S,

        loss = Σ_t times_t (S_t - n_t h_t),    d/dx_t = -times_t n_t,    d/dx_c = Σ_{t: h_t < x_c} times_t

    This takes O(C log C) time and O(C) memory. A score equal to a threshold is sorted before it, so the
    gradient at the kink is 0.
    """
    right, low = times > 0, -xp.inf
    keys = xp.concatenate([xp.where(right, low, x), xp.where(right, x - 1, xp.inf)], axis=-1)
    order = xp.argsort(keys, axis=-1, kind="stable")
    none = xp.zeros_like(times)

    def sort(others: Array, targets: Array) -> Array:
        return xp.take_along_axis(xp.concatenate([others, targets], axis=-1), order, axis=-1)

    keys = xp.take_along_axis(keys, order, axis=-1).astype("float64")
    is_other, weight = sort((~right).astype("int64"), none), sort(none, times)
    above = _sum_from(xp, is_other)
    score = _sum_from(xp, xp.where(is_other > 0, keys, 0))
    hinge = score - above * xp.where(weight > 0, keys, 0)
    loss = (weight * xp.where(weight > 0, hinge, 0)).sum(axis=-1)
    slope = is_other * xp.cumsum(weight, axis=-1) - weight * above
    slope = xp.take_along_axis(slope, xp.argsort(order, axis=-1), axis=-1)
    classes = x.shape[-1]
    return loss, (slope[:, :classes] + slope[:, classes:]).astype("float64")


def _sum_from(xp: Any, x: Array) -> Array:
    """The sum from each element to the end of its row."""
    return xp.cumsum(x[:, ::-1], axis=-1)[:, ::-1]
