"""Losses of each element, their derivatives with respect to the first array, and sums of losses."""

from __future__ import annotations

import math
from typing import Any

from ..backend import Array
from ..kernels import overridable
from ..sums import sum_over
from .smooth import sigmoid


@overridable
def scaled_sum(xp: Any, x: Array, factor: Any) -> Array:
    """`factor` times the sum of all elements, 0-d."""
    y: Array = (sum_over(x, tuple(range(x.ndim))) * factor).astype(x.dtype)
    return y


@overridable
def binary_entropy(xp: Any, x: Array, t: Array | float, positive: Array | float = 1.0) -> Array:
    """`-w t log σ(x) - (1 - t) log σ(-x)` with w for `positive`, without overflow or cancellation.

    With `log σ(x) = min(x, 0) - log(1 + exp(-|x|))`, the linear parts are `(1 - t) x` for x > 0 and `-w t x`
    for x < 0, and the logarithm has the factor `w t + 1 - t`.
    """
    linear = xp.where(x < 0, -positive * t * x, (1 - t) * x)
    return linear + (positive * t + (1 - t)) * xp.log1p(xp.exp(-xp.abs(x)))


@overridable
def binary_entropy_slope(xp: Any, x: Array, t: Array, positive: Array | float = 1.0) -> Array:
    """`(1 - t) σ(x) - w t σ(-x)`, as `d/dx log σ(x) = σ(-x)`."""
    return (1 - t) * sigmoid(xp, x) - positive * t * sigmoid(xp, -x)


@overridable
def probability_entropy(xp: Any, x: Array, t: Array) -> Array:
    """`-t log x - (1 - t) log(1 - x)`, logarithms no smaller than -100; NaN for an x or t outside [0, 1]."""
    log_x, log_rest = (xp.maximum(xp.log(xp.maximum(p, 1e-45)), -100) for p in (x, 1 - x))
    return xp.where(probable(x) & probable(t), -(t * log_x + (1 - t) * log_rest), math.nan)


@overridable
def probability_entropy_slope(xp: Any, x: Array, t: Array) -> Array:
    """`(x - t) / (x (1 - x))`, the divisor no smaller than 1e-12."""
    slope = (x - t) / xp.maximum(x * (1 - x), 1e-12)
    return xp.where(probable(x) & probable(t), slope, math.nan)


def probable(p: Array) -> Array:
    """Whether it is a probability."""
    return (p >= 0) & (p <= 1)


def sign(xp: Any, d: Array) -> Array:
    """1, 0 or -1; 0 at NaN, as in PyTorch and CuPy, where NumPy has NaN."""
    return xp.where(d == d, xp.sign(d), 0)


@overridable
def smooth_l1(xp: Any, d: Array, beta: float) -> Array:
    """`d² / (2 beta)` where `|d| < beta`, else `|d| - beta/2`."""
    d = xp.abs(d)
    return xp.where(d < beta, d * d * (0.5 / (beta or 1)), d - 0.5 * beta)


@overridable
def smooth_l1_slope(xp: Any, d: Array, beta: float) -> Array:
    """`d / beta` where `|d| < beta`, else the sign of `d`."""
    return xp.where(xp.abs(d) < beta, d / (beta or 1), xp.sign(d))


@overridable
def huber(xp: Any, d: Array, delta: float) -> Array:
    """`d²/2` where `|d| < delta`, else `delta (|d| - delta/2)`."""
    d = xp.abs(d)
    return xp.where(d < delta, 0.5 * d * d, delta * (d - 0.5 * delta))


@overridable
def huber_slope(xp: Any, d: Array, delta: float) -> Array:
    """`min(max(d, -delta), delta)`."""
    return xp.minimum(xp.maximum(d, -delta), delta)


@overridable
def divergence(xp: Any, x: Array, t: Array, log_target: bool) -> Array:
    """Kullback and Leibler's `t (log t - x)`, where 0 · log 0 = 0; with `log_target` `exp(t) (t - x)`."""
    if log_target:
        return xp.exp(t) * (t - x)
    return t * (xp.log(xp.where(t == 0, 1, t)) - x)
