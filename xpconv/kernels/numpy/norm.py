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
from .memory import batch_first, batch_last, channels_first, channels_last, is_batch_last
from .pointwise import masked

ALONE_BYTES = 1 << 19
SHARED_BYTES = 1 << 22  # with two threads at work each call has to be long
CLOSE = 8  # standard deviations of the mean from 0: rounding grows as much
SMALL = 1 << 14  # elements below which one sum by NumPy is faster, and pairwise
ROWS = 256  # that float32 adds up one by one; their sums are added in float64
WIDTH = 8192  # elements: rows of several pixels side by side, as NumPy's loops like long rows
SHORT = 2048  # elements of rows that are summed up: the fewer sums are left, the better


class Rows(NamedTuple):
    """An `(N, C, *S)` array as rows of `repeat` pixels with all their channels.

    If the batch is last in memory they are a matrix' columns, of one pixel of one image each.
    """

    matrix: Array
    repeat: int
    turned: bool = False

    def longer(self) -> Rows:
        """The same memory as rows for work element by element."""
        if self.turned:
            return self
        channels = self.matrix.shape[1] // self.repeat
        repeat = _repeat(self.matrix.size // channels, channels, WIDTH)
        return Rows(self.matrix.reshape(-1, channels * repeat), repeat)

    def part(self, rows: slice) -> Array:
        """Some rows, as they lie in the matrix."""
        return self.matrix[:, rows] if self.turned else self.matrix[rows]

    def wide(self, *values: Array) -> Array:
        """Some `(C,)`, for every pixel of a row, in the dtype of the matrix."""
        narrow = np.empty((len(values), values[0].size), self.matrix.dtype)
        for row, value in zip(narrow, values, strict=True):
            row[...] = value
        return narrow[:, :, None] if self.turned else wide(narrow, self.repeat)

    def sums(self, part: Array, out: Array | None = None) -> Array:
        """Over the rows of a part, as many as a row has elements."""
        if self.turned:
            return part.sum(axis=1, out=out)
        return np.matmul(_ones(part.shape[0], part.dtype), part, out=out)

    def products(self, a: Array, b: Array, out: Array | None = None) -> Array:
        """Sums over the rows of two parts' products."""
        return np.einsum("ij,ij->i" if self.turned else "ij,ij->j", a, b, out=out)

    def narrow(self, sums: Array) -> Array:
        """Sums of a row's elements `(…, C·repeat)` as sums of channels `(…, C)`, float64."""
        parts = sums.astype("float64", copy=False)
        return parts.reshape(*sums.shape[:-1], self.repeat, -1).sum(axis=-2) if self.repeat > 1 else parts

    def cut(self, most: int = 0) -> list[Block]:
        """Blocks for the cache; of at most so many rows."""
        matrix = self.matrix.T if self.turned else self.matrix
        row = matrix.shape[1] * matrix.itemsize
        most *= WIDTH // matrix.shape[1] if self.turned else 1
        limit = ALONE_BYTES if threads.share(matrix.size) == 1 else SHARED_BYTES
        return cut(1, matrix.shape[0], row, min(limit, most * row or limit), matrix.size)


def narrow(x: Array) -> bool:
    """Nothing, or floats of two bytes, whose sums need more: left to the portable way."""
    return not x.size or x.dtype.itemsize == 2


def rows_of(x: Array, like: Array | None = None) -> Rows:
    """A view where memory is as that of `like`, channels-last or batch-last, else a copy."""
    if is_batch_last(x if like is None else like):
        return Rows(np.ascontiguousarray(batch_last(x)).reshape(x.shape[1], -1), 1, True)
    last = channels_last(x)
    if not last.flags.c_contiguous:
        copy = memory.empty(last.shape, x.dtype)
        copy[...] = last
        last = copy
    channels = last.shape[-1]
    repeat = _repeat(last.size // channels, channels, SHORT)
    return Rows(last.reshape(-1, channels * repeat), repeat)


@functools.lru_cache(maxsize=1024)
def _repeat(pixels: int, channels: int, width: int) -> int:
    return max(r for r in range(1, max(1, width // channels) + 1) if pixels % r == 0)


def channel_sum(xp: Any, x: Array) -> Array:
    """As `portable.channel_sum`."""
    if narrow(x) or x.size < SMALL:
        return portable.channel_sum(xp, x)
    rows = rows_of(x)
    work = rows.cut(ROWS)
    parts: list[Any] = [None] * len(work)

    def task(i: int) -> None:
        parts[i] = rows.narrow(rows.sums(rows.part(work[i].rows)))

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
    work = rows.cut(ROWS)
    parts: list[Any] = [None] * len(work)

    def task(i: int) -> None:
        block = rows.part(work[i].rows)
        count = block.size // x.shape[1]
        mean = (rows.narrow(rows.sums(block)) / count).astype(x.dtype)
        rest = memory.scratch("centred", block.shape, x.dtype)
        np.subtract(block, rows.wide(mean)[0], out=rest)
        low = rows.narrow(rows.sums(rest)) / count  # what rounding left in the mean
        squares = rows.narrow(rows.products(rest, rest))
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
    runs = shares(a.cut(ROWS))
    parts: list[Any] = [None] * len(runs)

    def task(i: int) -> None:
        total = np.zeros(())
        pair = np.empty((2, a.matrix.shape[0 if a.turned else 1]), a.matrix.dtype)
        for block in runs[i]:
            if before is not None:
                before(block.rows)
            part = a.part(block.rows)
            a.sums(part, pair[0])
            a.products(part, b.part(block.rows), pair[1])
            total = total + pair
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
    rows = rows_of(x).longer()
    y, into = _empty(x.shape, rows)
    scale = inv_std if weight is None else inv_std * weight
    shift = -mean * scale if bias is None else bias - mean * scale
    factor, offset = rows.wide(scale, shift)
    ending = Ending(offset, bounds)
    work = rows.cut()

    def task(i: int) -> None:
        out = into.part(work[i].rows)
        np.multiply(rows.part(work[i].rows), factor, out=out)
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
    rows, kept = rows_of(grad, x), rows_of(x)
    dx, into = _empty(x.shape, kept)
    before = None
    if bounds is not None:
        given, seen, (low, high), rows = rows, rows_of(y, x), bounds, into

        def before(part: slice) -> None:
            masked(given.part(part), seen.part(part), low, high, into.part(part))

    dbias, products = _sums(rows, kept, before)
    dweight = (products - mean * dbias) * inv_std
    if not input_grad:
        return None, dweight, dbias
    scale = inv_std if weight is None else inv_std * weight
    slope = inv_std * dweight / -(x.size // x.shape[1])
    rows, kept, into = rows.longer(), kept.longer(), into.longer()
    a, b, c = rows.wide(scale, slope, dbias / -(x.size // x.shape[1]) - mean * slope)
    work = rows.cut()

    def task(i: int) -> None:
        block = work[i].rows
        out, part = into.part(block), rows.part(block)
        if not from_batch:
            np.multiply(part, a, out=out)
            return
        rest = out if bounds is None else memory.scratch("rest", out.shape, out.dtype)
        np.multiply(kept.part(block), b, out=rest)
        np.add(rest, c, out=rest)
        np.add(part, rest, out=out)
        np.multiply(out, a, out=out)

    threads.run(task, len(work), x.size)
    return dx, dweight, dbias


def _far(mean: Array, inv_std: Array) -> bool:
    """Whether the mean is so many deviations from 0 that it has to come out first, or digits are lost."""
    return bool((np.abs(mean) * inv_std).max() > CLOSE)


@functools.lru_cache(maxsize=64)
def _ones(count: int, dtype: Any) -> Array:
    return np.ones(count, dtype)


def _empty(shape: tuple[int, ...], like: Rows) -> tuple[Array, Rows]:
    """New images of that shape with their axes in memory as those of others, and their rows."""
    images, channels, *spatial = shape
    matrix = memory.empty(like.matrix.shape, like.matrix.dtype)
    rows = Rows(matrix, like.repeat, like.turned)
    if like.turned:
        return batch_first(matrix.reshape(channels, *spatial, images)), rows
    return channels_first(matrix.reshape(images, *spatial, channels)), rows
