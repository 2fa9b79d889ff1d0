"""Sums over each channel of images, in float32 for a few rows and in float64 from then on."""

from __future__ import annotations

import functools
from collections.abc import Callable
from operator import setitem
from typing import Any, NamedTuple

import numpy as np

from ...backend import Array
from . import memory, threads
from .blocks import Block, contiguous, cut
from .memory import batch_last, channels_last, is_batch_last
from .plans import Part, Recorder, planned
from .scratch import unplanned

ALONE_BYTES = 1 << 19
SHARED_BYTES = 1 << 22  # with several threads, which need longer calls
SMALL = 1 << 14  # elements below which one sum by NumPy is faster, and pairwise
ROWS = 256  # rows that are added in float32; their sums are added in float64
LANES = 4096  # contiguous products per `einsum`, which adds them in a few vector lanes
WIDTH = 8192  # elements of a row of several pixels, as NumPy's loops are faster on long rows
SHORT = 2048  # elements of a row in sums, each of which leaves a partial sum


class Rows(NamedTuple):
    """An `(N, C, *S)` array as rows of `repeat` pixels with all their channels.

    If the batch is last in memory, the rows are the columns of the matrix, each one pixel of one image.
    """

    matrix: Array
    repeat: int
    transposed: bool = False

    def longer(self) -> Rows:
        """The same memory in longer rows, for elementwise calls."""
        if self.transposed:
            return self
        channels = self.matrix.shape[1] // self.repeat
        repeat = _repeat(self.matrix.size // channels, channels, WIDTH)
        return Rows(self.matrix.reshape(-1, channels * repeat), repeat)

    def part(self, rows: slice) -> Array:
        """Some rows, in the layout of the matrix."""
        return self.matrix[:, rows] if self.transposed else self.matrix[rows]

    def wide(self, do: Part, values: Array) -> Array:
        """`values (…, C)` repeated for every pixel of a row, in the dtype of the matrix."""
        *stack, channels = values.shape
        result = do.scratch("wide", (*stack, self.repeat, channels), self.matrix.dtype)
        do(setitem, result, ..., values[..., None, :])
        return result.reshape(*stack, -1, 1) if self.transposed else result.reshape(*stack, -1)

    def sums(self, do: Part, part: Array, out: Array) -> None:
        """Sums over the rows of a part, one for each element of a row."""
        if self.transposed:
            do(np.add.reduce, part, 1, None, out)
        else:
            do(np.matmul, _ones(part.shape[0], part.dtype), part, out)

    def products(self, do: Part, a: Array, b: Array, out: Array) -> None:
        """Sums over the rows of two parts' products."""
        if not self.transposed:
            do(np.einsum, "ij,ij->j", a, b, out=out)
            return
        count = a.shape[1] // LANES  # pieces
        if not count:
            do(np.einsum, "ij,ij->i", a, b, out=out)
            return
        end = count * LANES
        parts = do.scratch("parts", (len(out), count + 1), out.dtype)
        pieces = (part[:, :end].reshape(-1, count, LANES) for part in (a, b))
        do(np.einsum, "ikj,ikj->ik", *pieces, out=parts[:, :count])
        do(np.einsum, "ij,ij->i", a[:, end:], b[:, end:], out=parts[:, count])
        do(np.add.reduce, parts, 1, None, out)

    def length(self) -> int:
        """The length of a sum of rows."""
        return int(self.matrix.shape[0 if self.transposed else 1])

    def cut(self, most: int = 0) -> list[Block]:
        """Blocks that fit the cache, of at most `most` rows."""
        matrix = self.matrix.T if self.transposed else self.matrix
        row = matrix.shape[1] * matrix.itemsize
        most *= WIDTH // matrix.shape[1] if self.transposed else 1
        limit = ALONE_BYTES if threads.share(matrix.size) == 1 else SHARED_BYTES
        return cut(1, matrix.shape[0], row, min(limit, most * row or limit), matrix.size)


def narrow(x: Array) -> bool:
    """Whether `x` is left to the reference: empty, or of half precision, whose sums need a wider dtype."""
    return not x.size or x.dtype.itemsize == 2


def rows_of(do: Part, name: str, x: Array, like: Array | None = None) -> Rows:
    """A view where memory is as that of `like`, channels-last or batch-last, else a copy called `name`."""
    if is_batch_last(x if like is None else like):
        return Rows(contiguous(do, name, batch_last(x)).reshape(x.shape[1], -1), 1, True)
    last = contiguous(do, name, channels_last(x))
    channels = last.shape[-1]
    repeat = _repeat(last.size // channels, channels, SHORT)
    return Rows(last.reshape(-1, channels * repeat), repeat)


@functools.lru_cache(maxsize=1024)
def _repeat(pixels: int, channels: int, width: int) -> int:
    return max(r for r in range(1, max(1, width // channels) + 1) if pixels % r == 0)


def channel_total(xp: Any, x: Array) -> Array:
    """Sums by matrix products with ones."""
    if narrow(x) or x.size < SMALL:
        return None
    sums = np.empty(x.shape[1])
    _channel_sums(x, sums)
    return sums


@planned
def _channel_sums(recorder: Recorder, x: Array, total: Array) -> None:
    """Write to `total (C,)`, in float64."""
    rows = rows_of(recorder, "x", x)
    blocks = rows.cut(ROWS)
    sums = recorder.scratch("sums", (len(blocks), rows.length()), x.dtype)
    recorder.share(lambda do, i: rows.sums(do, rows.part(blocks[i].rows), sums[i]), len(blocks), x.size)
    wide = recorder.scratch("total", sums.shape[1:], np.float64)
    recorder(np.add.reduce, sums, 0, np.float64, wide)
    recorder(np.add.reduce, wide.reshape(-1, x.shape[1]), 0, None, total)


def statistics(xp: Any, x: Array) -> tuple[Array, Array] | None:
    """Mean and variance without cancellation, even if the mean is far from 0."""
    return None if narrow(x) else unplanned(_centred_statistics, x)


def _centred_statistics(recorder: Recorder, x: Array) -> tuple[Array, Array]:
    """Subtract each block's mean before squaring, while the block is in the cache.

    The blocks' means and sums of squares are combined by the formula of Chan, Golub and LeVeque (1983).
    """
    rows = rows_of(recorder, "x", x)
    blocks = rows.cut(ROWS)
    parts: list[Any] = [None] * len(blocks)

    def task(do: Part, i: int) -> None:
        block = rows.part(blocks[i].rows)
        count = block.size // x.shape[1]
        sums = do.scratch("sums", (rows.length(),), x.dtype)
        rows.sums(do, block, sums)
        mean = (_narrow(sums, x) / count).astype(x.dtype)
        rest = do.scratch("centred", block.shape, x.dtype)
        do(np.subtract, block, rows.wide(do, mean), rest)
        rows.sums(do, rest, sums)
        low = _narrow(sums, x) / count  # the rounding error of the mean
        rows.products(do, rest, rest, sums)
        parts[i] = count, mean + low, _narrow(sums, x) - count * low**2

    recorder.share(task, len(blocks), x.size)
    count, mean, squares = parts[0]
    for n, other, more in parts[1:]:
        step = other - mean
        squares = squares + more + step**2 * (count * n / (count + n))
        mean = mean + step * (n / (count + n))
        count += n
    return mean, squares / count


def sums_of(
    recorder: Recorder, a: Rows, b: Rows, before: Callable[[Part, slice], None] | None = None
) -> Array:
    """`Σ a` and `Σ a·b` of rows, `(2, …)` in float64; `before` computes some rows of `a` first."""
    blocks = a.cut(ROWS)
    sums = recorder.scratch("sums", (len(blocks), 2, a.length()), a.matrix.dtype)

    def task(do: Part, i: int) -> None:
        rows = blocks[i].rows
        if before is not None:
            before(do, rows)
        part = a.part(rows)
        a.sums(do, part, sums[i, 0])
        a.products(do, part, b.part(rows), sums[i, 1])

    recorder.share(task, len(blocks), a.matrix.size)
    total = recorder.scratch("total", sums.shape[1:], np.float64)
    recorder(np.add.reduce, sums, 0, np.float64, total)
    return total


def _narrow(sums: Array, x: Array) -> Array:
    """Sums of a row's elements `(…, repeat·C)` as sums of channels `(…, C)`, float64."""
    parts = sums.astype("float64").reshape(*sums.shape[:-1], -1, x.shape[1])
    return parts[..., 0, :] if parts.shape[-2] == 1 else parts.sum(axis=-2)


def by_channel(recorder: Recorder, sums: Array, x: Array) -> Array:
    """Sums of a row's elements `(2, repeat·C)` as sums of channels `(2, C)`."""
    parts = sums.reshape(2, -1, x.shape[1])
    if parts.shape[1] == 1:
        return parts[:, 0]
    total = recorder.scratch("channels", (2, x.shape[1]), np.float64)
    recorder(np.add.reduce, parts, 1, None, total)
    return total


@functools.lru_cache(maxsize=64)
def _ones(count: int, dtype: Any) -> Array:
    return memory.constant(np.ones(count, dtype))
