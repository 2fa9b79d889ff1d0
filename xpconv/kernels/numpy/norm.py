"""Batch normalisation in two passes over memory, forward and backward, in blocks that fit the cache."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ...backend import Array
from .. import portable
from . import memory, threads
from .blocks import Block, cut, shares
from .memory import channels_last

BLOCK_BYTES = 1 << 22
SMALL = 1 << 14  # elements below which one sum by NumPy is faster, and pairwise
WIDTH = 4096  # elements: rows of several pixels side by side, as NumPy's loops like long rows


class Rows(NamedTuple):
    """An `(N, C, *S)` array as rows of `repeat` pixels with all their channels."""

    matrix: Array
    repeat: int

    def wide(self, values: Array) -> Array:
        """`(C,)` for every pixel of a row."""
        return np.tile(values, self.repeat)

    def narrow(self, sums: Array) -> Array:
        """Sums of a row's elements as sums of channels, float64."""
        return sums.astype("float64").reshape(self.repeat, -1).sum(axis=0)


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
    pixels = last.size // channels
    repeat = max(r for r in range(1, max(1, WIDTH // channels) + 1) if pixels % r == 0)
    return Rows(last.reshape(-1, channels * repeat), repeat)


def channel_sum(xp: Any, x: Array) -> Array:
    """As `portable.channel_sum`."""
    if narrow(x) or x.size < SMALL:
        return portable.channel_sum(xp, x)
    rows = rows_of(x)
    work = _cut(rows)
    parts: list[Any] = [None] * len(work)

    def task(i: int) -> None:
        parts[i] = rows.narrow(_column_sums(rows.matrix[work[i].rows]))

    threads.run(task, len(work), x.size)
    return sum(parts)


def statistics(xp: Any, x: Array) -> tuple[Array, Array]:
    """Mean and biased variance of the channels of `(N, C, *S)`, float64 `(C,)`.

    Each block takes its mean out before it squares, while it is in the cache; the blocks' means and sums of
    squares are put together by the formula of Chan, Golub and LeVeque (1983).
    """
    if narrow(x):
        return portable.statistics(xp, x)
    rows = rows_of(x)
    work = _cut(rows)
    parts: list[Any] = [None] * len(work)

    def task(i: int) -> None:
        block = rows.matrix[work[i].rows]
        count = block.shape[0] * rows.repeat
        mean = (rows.narrow(_column_sums(block)) / count).astype(x.dtype)
        rest = memory.scratch("centred", block.shape, x.dtype)
        np.subtract(block, rows.wide(mean), out=rest)
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


def scale_shift(xp: Any, x: Array, mean: Array, scale: Array, shift: Array) -> Array:
    """As `portable.scale_shift`."""
    if narrow(x):
        return portable.scale_shift(xp, x, mean, scale, shift)
    y = memory.empty_images(x.shape, x.dtype)
    rows, into = rows_of(x), rows_of(y)
    near = mean.astype(x.dtype)
    # What a narrow mean lacks goes into the shift: mean² may be much more than the variance.
    rest = (near - mean) * scale + shift
    centre, factor, offset = (rows.wide(a.astype(x.dtype)) for a in (near, scale, rest))
    work = _cut(rows)

    def task(i: int) -> None:
        out = into.matrix[work[i].rows]
        np.subtract(rows.matrix[work[i].rows], centre, out=out)
        np.multiply(out, factor, out=out)
        np.add(out, offset, out=out)

    threads.run(task, len(work), x.size)
    return y


def centred_sums(xp: Any, grad: Array, x: Array, mean: Array) -> tuple[Array, Array]:
    """As `portable.centred_sums`."""
    if narrow(x):
        return portable.centred_sums(xp, grad, x, mean)
    rows, kept = rows_of(grad), rows_of(x)
    near = mean.astype(x.dtype)
    centre = kept.wide(near)
    work = _cut(rows)
    runs = shares(work)
    parts: list[Any] = [None] * len(runs)

    def task(i: int) -> None:
        total = np.zeros((2, len(near)))
        for block in runs[i]:
            g = rows.matrix[block.rows]
            rest = memory.scratch("centred", g.shape, x.dtype)
            np.subtract(kept.matrix[block.rows], centre, out=rest)
            total[0] += rows.narrow(_column_sums(g))
            total[1] += rows.narrow(np.einsum("ij,ij->j", g, rest))
        parts[i] = total

    threads.run(task, len(runs), x.size)
    sums, products = sum(parts)
    return sums, products - sums * (mean - near)


def combine(xp: Any, grad: Array, x: Array, mean: Array, a: Array, b: Array, c: Array) -> Array:
    """As `portable.combine`."""
    if narrow(x):
        return portable.combine(xp, grad, x, mean, a, b, c)
    dx = memory.empty_images(x.shape, x.dtype)
    rows, kept, into = rows_of(grad), rows_of(x), rows_of(dx)
    near = mean.astype(x.dtype)
    rest = c + b * (near - mean)
    centre, by_grad, by_x, offset = (rows.wide(v.astype(x.dtype)) for v in (near, a, b, rest))
    work = _cut(rows)

    def task(i: int) -> None:
        block = work[i].rows
        out = into.matrix[block]
        part = memory.scratch("centred", out.shape, x.dtype)
        np.subtract(kept.matrix[block], centre, out=out)
        np.multiply(out, by_x, out=out)
        np.multiply(rows.matrix[block], by_grad, out=part)
        np.add(out, part, out=out)
        np.add(out, offset, out=out)

    threads.run(task, len(work), x.size)
    return dx


def _column_sums(block: Array) -> Array:
    return np.ones(block.shape[0], block.dtype) @ block


def _cut(rows: Rows) -> list[Block]:
    matrix = rows.matrix
    return cut(1, matrix.shape[0], matrix.shape[1] * matrix.itemsize, BLOCK_BYTES)
