"""Pooling to a given output size, in any dimension: one axis after the other, as mean and maximum allow.

Output p of m along an axis of n reads inputs `⌊p n/m⌋ … ⌈(p+1) n/m⌉ - 1`.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import product
from math import prod
from typing import Any

from ..backend import Array
from ..kernels import overridable
from ..sums import sum_over, widened, widened_for
from .constants import constant
from .linear import matmul, rows
from .resample import axis_taps, resample, resample_backward

FEW = 16  # windows, each of which may have many inputs
LARGE = 1 << 18  # elements of a matrix that is mostly zeros


def adaptive_avg_pool(xp: Any, x: Array, output: tuple[int, ...]) -> Array:
    """Means over windows that cover the image.

    A mean along one axis is a product with a matrix of `1/window` (m × n), or `resample` in mode "area".
    """
    return global_avg_pool(xp, x) if set(output) == {1} else _window_means(xp, x, output)


@overridable
def global_avg_pool(xp: Any, x: Array) -> Array:
    """Means of whole images, `(N, C, 1, …)`."""
    return _window_means(xp, x, (1,) * (x.ndim - 2))


@overridable
def image_dot(xp: Any, a: Array, b: Array) -> Array:
    """`Σ_pixels a · b` of two arrays `(N, C, *S)`: `(N, C, 1, …)`."""
    return sum_over(a * b, tuple(range(2, a.ndim)), keepdims=True)


def _window_means(xp: Any, x: Array, output: tuple[int, ...]) -> Array:
    y = widened(x)
    for axis, m in enumerate(output, start=2):
        y = _along(xp, y, y.shape[axis], m, axis, transposed=False)
    return y.astype(x.dtype, copy=False)


@overridable
def adaptive_avg_pool_backward(xp: Any, grad: Array, spatial: tuple[int, ...]) -> Array:
    """The transposed matrices: each input gets its part of every window that holds it."""
    dx = widened(grad)
    for axis, n in enumerate(spatial, start=2):
        dx = _along(xp, dx, n, dx.shape[axis], axis, transposed=True)
    return dx.astype(grad.dtype, copy=False)


def _along(xp: Any, x: Array, n: int, m: int, axis: int, transposed: bool) -> Array:
    """Means of `n` inputs for `m` windows along an axis: a product, or gathers where the matrix is large."""
    if m > FEW and n * m > LARGE:
        pair: Any = [axis_taps("area", n, m, None, False, False), *[None] * (x.ndim - 1 - axis)]
        return (resample_backward if transposed else resample)(xp, x, tuple(pair))
    matrix = constant(xp, _means(n, m), str(x.dtype))
    x = xp.moveaxis(x, axis, -1)
    y = matmul(xp, rows(x), matrix if transposed else matrix.T)
    return xp.moveaxis(y.reshape(*x.shape[:-1], y.shape[-1]), -1, axis)


@overridable
def adaptive_max_pool(xp: Any, x: Array, output: tuple[int, ...]) -> tuple[Array, Array]:
    """Maxima over windows that cover the image, and the position of each in the flattened image, int64.

    The maxima along the last axis are computed first, then the maxima of these along the other axes. So among
    equal values the first in row-major order wins. For each axis, the windows are gathered (at most twice the
    input), and their argmax is computed.
    """
    weight = 1
    y, indices = x, None
    for axis in range(x.ndim - 1, 1, -1):
        windows = constant(xp, _windows(x.shape[axis], output[axis - 2]), "int64")
        places = windows.reshape((-1, windows.shape[1]) + (1,) * (x.ndim - 1 - axis))
        split = (*y.shape[:axis], *windows.shape, *y.shape[axis + 1 :])
        seen = xp.take(y, windows.reshape(-1), axis=axis).reshape(split)
        best = xp.expand_dims(seen.argmax(axis=axis + 1), axis + 1)
        y = xp.take_along_axis(seen, best, axis=axis + 1).squeeze(axis + 1)
        place = xp.take_along_axis(xp.broadcast_to(places, split), best, axis=axis + 1).squeeze(axis + 1)
        if indices is not None:
            before = xp.take(indices, windows.reshape(-1), axis=axis).reshape(split)
            place = place * weight + xp.take_along_axis(before, best, axis=axis + 1).squeeze(axis + 1)
        indices = place
        weight *= x.shape[axis]
    return y, indices


@overridable
def adaptive_max_pool_backward(xp: Any, grad: Array, indices: Array, spatial: tuple[int, ...]) -> Array:
    """Each input gets the gradients of the windows whose maximum it is.

    dx[n, c, h] = Σ over windows p that hold h, with indices[n, c, p] = h,  of  grad[n, c, p]

    Along an axis the windows that hold h are consecutive, and few: two where m ≤ n.
    """
    here = xp.arange(prod(spatial), dtype="int64").reshape(spatial)
    holders = [_holders(n, m) for n, m in zip(spatial, grad.shape[2:], strict=True)]
    dtype, grad = grad.dtype, widened_for(grad, prod([len(windows[0]) for windows in holders]))
    grad, indices = map(xp.ascontiguousarray, (grad, indices))  # else each `take` copies them
    dx = xp.zeros((*grad.shape[:2], *spatial), dtype=grad.dtype)
    for turn in product(*(range(len(h[0])) for h in holders)):
        won, g = indices, grad
        valid = None
        for axis, (t, holder) in enumerate(zip(turn, holders, strict=True)):
            column = [row[t] for row in holder]
            place = constant(xp, tuple(max(p, 0) for p in column), "int64")
            won, g = xp.take(won, place, axis=axis + 2), xp.take(g, place, axis=axis + 2)
            holds = constant(xp, tuple(p >= 0 for p in column), "bool")
            holds = holds.reshape(-1, *(1,) * (len(spatial) - 1 - axis))
            valid = holds if valid is None else valid & holds
        dx += xp.where((won == here) & valid, g, 0)
    return dx.astype(dtype, copy=False)


def _bounds(p: int, n: int, m: int) -> tuple[int, int]:
    """First input of window p, and the first after it."""
    return p * n // m, -(-(p + 1) * n // m)


@lru_cache(maxsize=256)
def _means(n: int, m: int) -> tuple[tuple[float, ...], ...]:
    """The m × n matrix whose row p averages the inputs of window p."""
    rows = []
    for p in range(m):
        start, stop = _bounds(p, n, m)
        rows.append(tuple(1 / (stop - start) if start <= h < stop else 0.0 for h in range(n)))
    return tuple(rows)


@lru_cache(maxsize=256)
def _windows(n: int, m: int) -> tuple[tuple[int, ...], ...]:
    """Row p: the inputs of window p, the last one repeated where other windows are longer."""
    bounds = [_bounds(p, n, m) for p in range(m)]
    longest = max(stop - start for start, stop in bounds)
    return tuple(tuple(min(start + r, stop - 1) for r in range(longest)) for start, stop in bounds)


@lru_cache(maxsize=256)
def _holders(n: int, m: int) -> tuple[tuple[int, ...], ...]:
    """Row h: the windows that hold input h, filled up with -1."""
    rows = [list(range(h * m // n, -(-(h + 1) * m // n))) for h in range(n)]
    most = max(map(len, rows))
    return tuple((*row, *[-1] * (most - len(row))) for row in rows)
