"""Pooling to a given output size, in any dimension: one axis after the other, as mean and maximum allow.

Output p of m along an axis of n reads inputs `⌊p n/m⌋ … ⌈(p+1) n/m⌉ - 1`.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import product
from math import prod
from typing import Any

from ..backend import Array
from ..geometry import Window
from ..kernels import overridable
from ..layout import empty_images
from ..sums import sum_over, total, widened, widened_for
from .constants import constant
from .pool import avg_pool

MOST_TAPS = 64  # of windows that are pooled tap by tap


def adaptive_avg_pool(xp: Any, x: Array, output: tuple[int, ...]) -> Array:
    """Means over windows that cover the image."""
    if set(output) == {1}:
        return global_avg_pool(xp, x)
    kernel = _equal_windows(x.shape[2:], output)
    if kernel and prod(kernel) <= MOST_TAPS:
        return avg_pool(xp, x, Window(kernel, kernel, ((0, 0),) * len(kernel), (1,) * len(kernel)))
    return _window_means(xp, x, output)


@overridable
def global_avg_pool(xp: Any, x: Array) -> Array:
    """Means of whole images, `(N, C, 1, …)`."""
    return _window_means(xp, x, (1,) * (x.ndim - 2))


@overridable
def image_dot(xp: Any, a: Array, b: Array) -> Array:
    """`Σ_pixels a · b` of two arrays `(N, C, *S)`: `(N, C, 1, …)`."""
    return sum_over(a * b, tuple(range(2, a.ndim)), keepdims=True)


def _window_means(xp: Any, x: Array, output: tuple[int, ...]) -> Array:
    y = xp.moveaxis(widened(x), 1, -1)
    for axis, m in enumerate(output, start=1):
        sizes = _counts(xp, y.shape[axis], m, y, axis)
        y = _window_sums(xp, y, m, axis)
        y /= sizes
    return xp.moveaxis(y, -1, 1).astype(x.dtype, copy=False)


@overridable
def adaptive_avg_pool_backward(xp: Any, grad: Array, spatial: tuple[int, ...]) -> Array:
    """Each input gets its part of every window that holds it.

    Of m windows over n inputs, input h is in windows `⌊h m/n⌋ … ⌈(h+1) m/n⌉ - 1`: so these are the windows of
    a pooling from m to n.
    """
    kernel = _equal_windows(spatial, grad.shape[2:])
    if kernel:  # each input is in one window
        return _repeated(xp, grad / prod(kernel), kernel)
    dx = xp.moveaxis(widened(grad), 1, -1)
    for axis, n in enumerate(spatial, start=1):
        dx = _window_sums(xp, dx / _counts(xp, n, dx.shape[axis], dx, axis), n, axis)
    return xp.moveaxis(dx, -1, 1).astype(grad.dtype, copy=False)


def _equal_windows(spatial: tuple[int, ...], output: tuple[int, ...]) -> tuple[int, ...]:
    """The size of the windows if they are equal and do not overlap, else ()."""
    pairs = list(zip(spatial, output, strict=True))
    return () if any(n % m for n, m in pairs) else tuple(n // m for n, m in pairs)


def _repeated(xp: Any, x: Array, times: tuple[int, ...]) -> Array:
    """Images whose pixels are repeated `times` along each axis."""
    sizes = tuple(m * k for m, k in zip(x.shape[2:], times, strict=True))
    y = empty_images(xp, (*x.shape[:2], *sizes), x.dtype)
    split = [size for m, k in zip(x.shape[2:], times, strict=True) for size in (m, k)]
    pixels = xp.moveaxis(y, 1, -1).reshape(len(x), *split, x.shape[1])  # a view
    each = (slice(None), *(slice(None), None) * len(times))
    pixels[...] = xp.moveaxis(x, 1, -1)[each]
    return y


def _window_sums(xp: Any, x: Array, m: int, axis: int) -> Array:
    """A new array of the sums of `m` windows along an axis, in the dtype of `x`.

    Windows have `⌈n/m⌉` inputs, or one more where m does not divide n. Few windows are summed one by one,
    of many the first inputs are added, then the second ones, and so on. A sum has no other inputs, not even
    times zero: so a NaN stays in its own windows.
    """
    n = x.shape[axis]
    least = -(-n // m)
    if m <= least:
        y = xp.empty((*x.shape[:axis], m, *x.shape[axis + 1 :]), dtype=x.dtype)
        before = (slice(None),) * axis
        for p in range(m):
            output, inputs = (*before, p), (*before, slice(*_bounds(p, n, m)))
            y[output] = total(x[inputs], (axis,))
        return y
    wide = xp.ascontiguousarray(widened_for(x, least))  # else each `take` copies it
    first = xp.arange(m, dtype="int64") * n // m
    y = wide.take(first, axis=axis)
    for r in range(1, least):
        y += wide.take(first + r, axis=axis)
    if n % m:
        holds = _along(first + least < -(-xp.arange(1, m + 1, dtype="int64") * n // m), x, axis)
        y += xp.where(holds, wide.take(xp.minimum(first + least, n - 1), axis=axis), 0)
    return y.astype(x.dtype, copy=False)


def _counts(xp: Any, n: int, m: int, x: Array, axis: int) -> Any:
    """How many of `n` inputs each of `m` windows has, to divide `x` by along an axis."""
    if n % m == 0:
        return n // m
    p = xp.arange(m, dtype="int64")
    return _along((-(-(p + 1) * n // m) - p * n // m).astype(x.dtype), x, axis)


def _along(values: Array, x: Array, axis: int) -> Array:
    """One value for each position of `x` along an axis, to be broadcast."""
    return values.reshape(-1, *(1,) * (x.ndim - 1 - axis))


@overridable
def adaptive_max_pool(xp: Any, x: Array, output: tuple[int, ...]) -> tuple[Array, Array]:
    """Maxima over windows that cover the image, and the position of each in the flattened image, int64.

    The maxima along the last axis are computed first, then the maxima of these along the other axes. So among
    equal values the first in row-major order wins, and among several NaN the last one, as in PyTorch. For
    each axis, the windows are gathered (at most twice the input), and their argmax is computed.
    """
    weight = 1
    y, indices = x, None
    for axis in range(x.ndim - 1, 1, -1):
        windows = constant(xp, _windows(x.shape[axis], output[axis - 2]), "int64")
        places = windows.reshape((-1, windows.shape[1]) + (1,) * (x.ndim - 1 - axis))
        split = (*y.shape[:axis], *windows.shape, *y.shape[axis + 1 :])
        seen = xp.take(y, windows.reshape(-1), axis=axis).reshape(split)
        best = xp.expand_dims(_argmax(xp, seen, axis + 1), axis + 1)
        y = xp.take_along_axis(seen, best, axis=axis + 1).squeeze(axis + 1)
        place = xp.take_along_axis(xp.broadcast_to(places, split), best, axis=axis + 1).squeeze(axis + 1)
        if indices is not None:
            before = xp.take(indices, windows.reshape(-1), axis=axis).reshape(split)
            place = place * weight + xp.take_along_axis(before, best, axis=axis + 1).squeeze(axis + 1)
        indices = place
        weight *= x.shape[axis]
    return y, indices


def _argmax(xp: Any, x: Array, axis: int) -> Array:
    """The position of the first maximum along an axis, or of the last NaN if there is one."""
    first = x.argmax(axis=axis)
    if x.dtype.kind in "iu":
        return first
    nan = (x != x)[(slice(None),) * axis + (slice(None, None, -1),)]
    last = x.shape[axis] - 1 - nan.argmax(axis=axis)
    return xp.where(nan.any(axis=axis), last, first)


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
