"""Batch normalisation in two passes over memory, forward and backward, in blocks that fit the cache."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ...backend import Array
from .. import portable
from ..portable import Bounds
from . import memory, threads
from .blocks import Block, Ending, cut, shares, wide
from .memory import channels_last
from .pointwise import masked

BLOCK_BYTES = 1 << 22
CLOSE = 8  # standard deviations of the mean from 0: rounding grows as much
SMALL = 1 << 14  # elements below which one sum by NumPy is faster, and pairwise
ROWS = 256  # that float32 adds up one by one; their sums are added in float64
WIDTH = 8192  # elements: rows of several pixels side by side, as NumPy's loops like long rows


class Rows(NamedTuple):
    """An `(N, C, *S)` array as rows of `repeat` pixels with all their channels."""

    matrix: Array
    repeat: int

    def wide(self, *values: Array) -> Array:
        """Some `(C,)`, for every pixel of a row, in the dtype of the matrix."""
        narrow = np.empty((len(values), self.matrix.shape[1] // self.repeat), self.matrix.dtype)
        for row, value in zip(narrow, values, strict=True):
            row[...] = value
        return wide(narrow, self.repeat)

    def narrow(self, sums: Array) -> Array:
        """Sums of a row's elements `(…, C·repeat)` as sums of channels `(…, C)`, float64."""
        parts = sums.astype("float64", copy=False)
        return parts.reshape(*sums.shape[:-1], self.repeat, -1).sum(axis=-2) if self.repeat > 1 else parts


def narrow(x: Array) -> bool:
    """Nothing, or floats of two bytes, whose sums need more: left to the portable way."""
    return not x.size or x.dtype.itemsize == 2


def rows_of(x: Array) -> Rows:
    """A view where memory is channels-last, else a copy."""
    last = channels_last(x)
    if not last.flags.c_contiguous:
        copy = memory.empty(last.shape, x.dtype)
        copy[...] = last
        last = copy
    channels = last.shape[-1]
    repeat = _repeat(last.size // channels, channels)
    return Rows(last.reshape(-1, channels * repeat), repeat)


@functools.lru_cache(maxsize=1024)
def _repeat(pixels: int, channels: int) -> int:
    return max(r for r in range(1, max(1, WIDTH // channels) + 1) if pixels % r == 0)


def channel_sum(xp: Any, x: Array) -> Array:
    """As `portable.channel_sum`."""
    if narrow(x) or x.size < SMALL:
        return portable.channel_sum(xp, x)
    rows = rows_of(x)
    work = _cut(rows, ROWS)
    parts: list[Any] = [None] * len(work)

    def task(i: int) -> None:
        parts[i] = rows.narrow(_column_sums(rows.matrix[work[i].rows]))

    threads.run(task, len(work), x.size)
    return sum(parts)


def statistics(xp: Any, x: Array) -> tuple[Array, Array]:
    """As `portable.statistics`: sums of x and of x², in one pass, where that is exact enough."""
    if narrow(x):
        return portable.statistics(xp, x)
    rows = rows_of(x)
    mean, squares = _sums(rows, rows) / (x.size // x.shape[1])
    var = squares - mean**2
    return (mean, var) if (mean**2 <= CLOSE**2 * var).all() else _centred_statistics(x)


def _centred_statistics(x: Array) -> tuple[Array, Array]:
    """Each block takes its mean out before it squares, while it is in the cache.

    The blocks' means and sums of squares are put together by the formula of Chan, Golub and LeVeque (1983).
    """
    rows = rows_of(x)
    work = _cut(rows, ROWS)
    parts: list[Any] = [None] * len(work)

    def task(i: int) -> None:
        block = rows.matrix[work[i].rows]
        count = block.shape[0] * rows.repeat
        mean = (rows.narrow(_column_sums(block)) / count).astype(x.dtype)
        rest = memory.scratch("centred", block.shape, x.dtype)
        np.subtract(block, rows.wide(mean)[0], out=rest)
        low = rows.narrow(_column_sums(rest)) / count  # what rounding left in the mean
        squares = rows.narrow(np.einsum("ij,ij->j", rest, rest))
        parts[i] = count, mean + low, squares - count * low**2

    threads.run(task, len(work), x.size)
    count, mean, squares = parts[0]
    for n, other, more in parts[1:]:
        step = other - mean
        squares = squares + more + step**2 * (count * n / (count + n))
        mean = mean + step * (n / (count + n))
        count += n
    return mean, squares / count


def _sums(a: Rows, b: Rows, before: Callable[[slice], None] | None = None) -> Array:
    """`Σ a` and `Σ a·b` of the channels, `(2, C)` in float64; each thread sums runs of blocks of its own.

    `before` makes some rows of `a`.
    """
    runs = shares(_cut(a, ROWS))
    parts: list[Any] = [None] * len(runs)

    def task(i: int) -> None:
        total = np.zeros((2, a.matrix.shape[1]))
        sums, products = total
        for block in runs[i]:
            if before is not None:
                before(block.rows)
            part = a.matrix[block.rows]
            np.add(sums, _column_sums(part), out=sums)
            np.add(products, np.einsum("ij,ij->j", part, b.matrix[block.rows]), out=products)
        parts[i] = a.narrow(total)

    threads.run(task, len(runs), a.matrix.size)
    return functools.reduce(np.add, parts)


def batch_norm(
    xp: Any,
    x: Array,
    mean: Array,
    inv_std: Array,
    weight: Array | None,
    bias: Array | None,
    bounds: Bounds = None,
) -> Array:
    """As `portable.batch_norm`, as `x · scale + shift` where the mean is not far from 0."""
    if narrow(x) or _far(mean, inv_std):
        return portable.batch_norm(xp, x, mean, inv_std, weight, bias, bounds)
    y = memory.empty_images(x.shape, x.dtype)
    rows, into = rows_of(x), rows_of(y)
    scale = inv_std if weight is None else inv_std * weight
    shift = -mean * scale if bias is None else bias - mean * scale
    factor, offset = rows.wide(scale, shift)
    ending = Ending(offset, bounds)
    work = _cut(rows)

    def task(i: int) -> None:
        out = into.matrix[work[i].rows]
        np.multiply(rows.matrix[work[i].rows], factor, out=out)
        ending.finish(out)

    threads.run(task, len(work), x.size)
    return y


def batch_norm_backward(
    xp: Any,
    grad: Array,
    x: Array,
    mean: Array,
    inv_std: Array,
    weight: Array | None,
    from_batch: bool,
    input_grad: bool,
    y: Array | None = None,
    bounds: Bounds = None,
) -> tuple[Array | None, Array, Array]:
    """As `portable.batch_norm_backward`, in two passes: sums, then `a · (grad + b · x + c)`.

    With `bounds` the first writes what is left of `grad` to where the second will have `dx`.
    """
    if narrow(x) or _far(mean, inv_std):
        return portable.batch_norm_backward(
            xp, grad, x, mean, inv_std, weight, from_batch, input_grad, y, bounds
        )
    dx = memory.empty_images(x.shape, x.dtype)
    rows, kept, into = rows_of(grad), rows_of(x), rows_of(dx)
    before = None
    if bounds is not None:
        given, seen, (low, high), rows = rows, rows_of(y), bounds, into

        def before(part: slice) -> None:
            masked(given.matrix[part], seen.matrix[part], low, high, into.matrix[part])

    dbias, products = _sums(rows, kept, before)
    dweight = (products - mean * dbias) * inv_std
    if not input_grad:
        return None, dweight, dbias
    scale = inv_std if weight is None else inv_std * weight
    slope = inv_std * dweight / -(x.size // x.shape[1])
    a, b, c = rows.wide(scale, slope, dbias / -(x.size // x.shape[1]) - mean * slope)
    work = _cut(rows)

    def task(i: int) -> None:
        block = work[i].rows
        out = into.matrix[block]
        if not from_batch:
            np.multiply(rows.matrix[block], a, out=out)
            return
        part = rows.matrix[block]
        total = memory.scratch("total", out.shape, out.dtype) if rows is into else out
        np.multiply(kept.matrix[block], b, out=total)
        np.add(total, c, out=total)
        np.add(total, part, out=total)
        np.multiply(total, a, out=out)

    threads.run(task, len(work), x.size)
    return dx, dweight, dbias


def _far(mean: Array, inv_std: Array) -> bool:
    """Whether the mean is so many deviations from 0 that it has to come out first, or digits are lost."""
    return bool((np.abs(mean) * inv_std).max() > CLOSE)


def _column_sums(block: Array) -> Array:
    return _ones(block.shape[0], block.dtype) @ block


@functools.lru_cache(maxsize=64)
def _ones(count: int, dtype: Any) -> Array:
    return np.ones(count, dtype)


def _cut(rows: Rows, most: int = 0) -> list[Block]:
    """Blocks for the cache; of at most so many rows."""
    matrix = rows.matrix
    row = matrix.shape[1] * matrix.itemsize
    return cut(1, matrix.shape[0], row, min(BLOCK_BYTES, most * row or BLOCK_BYTES), matrix.size)
