"""Powers of two that keep the sums of a Fourier transform from overflowing, for any array module."""

from __future__ import annotations

from functools import reduce
from typing import Any

from ..backend import Array

EXPONENT = 24  # of two; values beyond it, or below its inverse, are scaled


def exponents(xp: Any, x: Array, axis: int) -> Array:
    """Of the powers of two to divide each image (`axis` 0) or channel (1) by; as an array to broadcast."""
    others = tuple(other for other in range(x.ndim) if other != axis)
    parts = (x.real, x.imag) if x.dtype.kind == "c" else (x,)
    bounds = [
        b for part in parts for b in (part.max(others, keepdims=True), -part.min(others, keepdims=True))
    ]
    largest = reduce(xp.maximum, bounds)
    found = xp.frexp(largest)[1]
    return xp.where(xp.isfinite(largest), found - xp.clip(found, -EXPONENT, EXPONENT), 0)


def power(xp: Any, scales: Array, x: Array) -> Array:
    """Two to these scales, in the real dtype of `x`."""
    return xp.ldexp(xp.ones(scales.shape, x.real.dtype), scales)


def scale_back(xp: Any, x: Array, scales: Array, y: Array) -> None:
    """Write `x · 2**scales` to `y`, in two multiplications, as `2**scales` itself may overflow."""
    scales = scales.reshape(*scales.shape, *(1,) * (x.ndim - scales.ndim))
    half = scales // 2
    xp.multiply(x, power(xp, half, x), out=y)
    xp.multiply(y, power(xp, scales - half, x), out=y)
