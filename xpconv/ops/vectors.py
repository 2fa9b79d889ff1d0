"""Norms of vectors, vectors of norm 1, and the cosine of an angle."""

from __future__ import annotations

import math
from typing import Any

from ..backend import Array
from ..sums import sum_over, widened


def p_norm(xp: Any, v: Array, p: float, axes: tuple[int, ...]) -> tuple[Array, Array]:
    """`n = ‖v‖_p = (Σ |v|^p)^(1/p)` over `axes`, of size 1 in it; and `dn/dv = sign(v) (|v| / n)^(p-1)`.

    The slope is 0 where v is 0. An infinite `p` gives the largest |v|, and equal largest ones share the
    slope; 0 counts the numbers other than 0, with slope 0. The largest |v| is factored out, so that no power
    overflows: with `m = max |v|`, `s = |v| / m` and `S = Σ s^p`, the results are `m S^(1/p)` and `sign(v)
    s^(p-1) S^(1/p - 1)`.
    """
    size = xp.abs(v)
    if p == 0 or not v.size:
        return sum_over((v != 0).astype(v.dtype), axes, keepdims=True), xp.zeros_like(v)
    most = size.max(axis=axes, keepdims=True)
    if p == math.inf:
        top = ((size == most) & (most > 0)).astype(v.dtype)
        return most, xp.sign(v) * top / xp.maximum(sum_over(top, axes, keepdims=True), 1)
    p = min(p, 1e30)  # float32 can represent it, and a larger p gives the same result
    infinite = most == math.inf  # then `share` is 1 for infinities, and 0 for finite numbers
    share = xp.where(infinite, size == most, size / xp.where((most == 0) | infinite, 1, most))
    powers = sum_over(share**p, axes, keepdims=True)  # at least 1, or 0
    slope = xp.where(share == 0, 0, xp.where(share == 0, 1, share) ** (p - 1))
    slope = slope * xp.where(powers == 0, 1, powers) ** (1 / p - 1)
    return powers ** (1 / p) * most, xp.sign(v) * slope


def normalize_vectors(xp: Any, x: Array, p: float, axes: tuple[int, ...], eps: float) -> Array:
    """`y = x / max(‖x‖_p, eps)`."""
    wide = widened(x)
    norm, _ = p_norm(xp, wide, p, axes)
    return _quotient(xp, wide, xp.maximum(norm, eps)).astype(x.dtype, copy=False)


def _quotient(xp: Any, v: Array, norm: Array) -> Array:
    """`v / norm`, without a warning where both are infinite, which is NaN."""
    both = (norm == math.inf) & (xp.abs(v) == math.inf)
    return xp.where(both, math.nan, xp.where(both, 0, v) / norm)


def normalize_vectors_backward(
    xp: Any, grad: Array, x: Array, p: float, axes: tuple[int, ...], eps: float
) -> Array:
    """With `m = max(n, eps)`: `dx = (grad - dn/dx · Σ grad y) / m`; where `n < eps` it is `grad / eps`.

    So it is for `p = 0` too, as the number of numbers other than 0 has no slope.
    """
    wide, g = widened(x), widened(grad)
    norm, slope = p_norm(xp, wide, p, axes)
    most = xp.maximum(norm, eps)
    if p == 0:
        return (g / most).astype(x.dtype, copy=False)
    along = xp.where(norm < eps, 0, sum_over(g * _quotient(xp, wide, most), axes, keepdims=True))
    return ((g - slope * along) / most).astype(x.dtype, copy=False)


def cosine(xp: Any, x1: Array, x2: Array, axis: int, eps: float) -> Array:
    """`Σ u₁ u₂` along `axis`, with `u = x / max(‖x‖, eps)`."""
    u1, u2 = (normalize_vectors(xp, widened(x), 2.0, (axis,), eps) for x in (x1, x2))
    return sum_over(u1 * u2, (axis,)).astype(x1.dtype, copy=False)


def cosine_backward(xp: Any, grad: Array, x1: Array, x2: Array, axis: int, eps: float) -> tuple[Array, Array]:
    """`dx₁ = grad (u₂ - cos · x₁/‖x₁‖) / max(‖x₁‖, eps)`, and likewise for x₂.

    As in PyTorch, the norm has its slope `x/‖x‖` where it is smaller than `eps` too.
    """
    g, wide = widened(xp.expand_dims(grad, axis)), [widened(x) for x in (x1, x2)]
    (n1, slope1), (n2, slope2) = (p_norm(xp, x, 2.0, (axis,)) for x in wide)
    most1, most2 = xp.maximum(n1, eps), xp.maximum(n2, eps)
    u1, u2 = _quotient(xp, wide[0], most1), _quotient(xp, wide[1], most2)
    cos = sum_over(u1 * u2, (axis,), keepdims=True)
    dx1, dx2 = g * (u2 - cos * slope1) / most1, g * (u1 - cos * slope2) / most2
    return dx1.astype(x1.dtype, copy=False), dx2.astype(x2.dtype, copy=False)
