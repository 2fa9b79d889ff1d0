"""Batch normalisation with statistics of several sets of samples together, each in a process of its own."""

from __future__ import annotations

from typing import Any

from ..backend import Array
from ..kernels import overridable
from ..locks import update
from ..sums import widened
from .norm import batch_norm, batch_norm_backward_input, statistics


def packed_statistics(xp: Any, x: Array) -> Array:
    """The number of values per channel, their mean and their variance, in one float64 vector."""
    mean, var = statistics(xp, x)
    packed = xp.empty(1 + 2 * len(mean), dtype="float64")
    packed[0] = x.size // x.shape[1]
    packed[1 : 1 + len(mean)] = mean
    packed[1 + len(mean) :] = var
    return packed


def joined_statistics(xp: Any, table: Array) -> tuple[Array, Array, Array]:
    """Mean and variance of several sets of samples together, and their number, a 0-d array.

    Each row of `table` is the `packed_statistics` of one set, n values with mean m and variance v. With
    N = Σ n they are M = Σ n m / N, and Σ n (v + (m - M)²) / N, which cancels nothing if M² ≫ variance.
    """
    channels = table.shape[1] // 2
    counts, means, variances = table[:, :1], table[:, 1 : 1 + channels], table[:, 1 + channels :]
    total = counts.sum()
    shares = counts / xp.maximum(total, 1.0)
    mean = (shares * means).sum(axis=0)
    return mean, (shares * (variances + (means - mean) ** 2)).sum(axis=0), total


def track(
    xp: Any,
    mean: Array,
    var: Array,
    count: Array,
    running_mean: Array,
    running_var: Array,
    batches: Array,
    momentum: float | None,
) -> Array:
    """Update running statistics in place, as `normalize_and_track`, by those of `joined_statistics`."""
    with update:
        batches += 1
        share: Any = (1 / batches).astype(mean.dtype) if momentum is None else momentum
        share = xp.where(count > 0, share, 0.0)
        unbiased = var * (count / xp.maximum(count - 1.0, 1.0))
        running_mean += (share * (mean - running_mean)).astype(running_mean.dtype)
        running_var += (share * (unbiased - running_var)).astype(running_var.dtype)
    return running_mean


@overridable
def joint_input_grad(
    xp: Any, grad: Array, x: Array, weight: Array | None, mean: Array, inv_std: Array, means: Array
) -> Array:
    """The input gradient of a BatchNorm whose statistics are over more samples than those in `x`.

    `means (2, C)` are the means of `grad` and of `grad · x̂` over all these samples. As in
    `batch_norm_backward`, with `scale = weight · inv_std`,

        dx = scale · grad - scale · (means[0] + x̂ · means[1])

    The two terms are computed as a `batch_norm` of `grad` and one of `x`.
    """
    scale = inv_std if weight is None else inv_std * weight
    shift, factor = (-scale * means).astype(widened(x[:0]).dtype)
    dx = batch_norm_backward_input(xp, grad, weight, inv_std)
    dx += batch_norm(xp, x, factor, shift, mean, inv_std)
    return dx
