"""Pooling to a given output size, in any dimension: one axis after the other, as the mean is separable."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from ..backend import Array
from ..kernels.portable import widened


def adaptive_avg_pool(xp: Any, x: Array, output: tuple[int, ...]) -> Array:
    """Means over windows that share the image out: `y[p] = mean of x[⌊p n/m⌋ … ⌈(p+1) n/m⌉ - 1]` an axis.

    A mean along one axis is a product with a matrix of `1/window` (m × n).
    """
    y = widened(x)
    for axis, m in enumerate(output, start=2):
        y = _along(xp, y, _means(y.shape[axis], m), axis, transposed=False)
    return y.astype(x.dtype, copy=False)


def adaptive_avg_pool_backward(xp: Any, grad: Array, spatial: tuple[int, ...]) -> Array:
    """The transposed matrices: each input gets its part of every window that holds it."""
    dx = widened(grad)
    for axis, n in enumerate(spatial, start=2):
        dx = _along(xp, dx, _means(n, dx.shape[axis]), axis, transposed=True)
    return dx.astype(grad.dtype, copy=False)


def _along(xp: Any, x: Array, rows: tuple[tuple[float, ...], ...], axis: int, transposed: bool) -> Array:
    matrix = xp.asarray(rows, dtype=x.dtype)
    y = xp.tensordot(x, matrix, axes=((axis,), (0 if transposed else 1,)))
    return xp.moveaxis(y, -1, axis)


@lru_cache(maxsize=256)
def _means(n: int, m: int) -> tuple[tuple[float, ...], ...]:
    """The m × n matrix whose row p averages the inputs of window p."""
    rows = []
    for p in range(m):
        start, stop = p * n // m, -(-(p + 1) * n // m)
        rows.append(tuple(1 / (stop - start) if start <= h < stop else 0.0 for h in range(n)))
    return tuple(rows)
