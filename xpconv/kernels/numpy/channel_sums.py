"""Sums over each channel of images, in float32 for a few rows and in float64 from then on."""

from __future__ import annotations

import functools
from collections.abc import Callable
from operator import setitem
from typing import Any, NamedTuple

import numpy as np

from ...backend import Array
from ...layout import batch_last, channels_last, is_batch_last
from ..engine import memory, threads
from ..engine.plans import Part, Recorder
from .blocks import Block, contiguous, cut

ALONE_BYTES = 1 << 19
SHARED_BYTES = 1 << 22  # with several threads, which need longer calls
ROWS = 256  # rows that are added in float32; their sums are added in float64
LANES = 1 << 12  # contiguous numbers that are added so, in a few vector lanes
WIDTH = 8192  # elements of a row of several pixels, as NumPy's loops are faster on long rows
SHORT = 2048  # elements of a row in sums, each of which leaves a partial sum


class Rows(NamedTuple):
    """An `(N, C, *S)` array as rows of `repeat` pixels with all their channels.

    If the batch is last in memory, the rows are the columns of the matrix, each one pixel of one image.
    """

    matrix: Array
    repeat: int
    transposed: bool = False

    def part(self, rows: slice) -> Array:
        """Some rows, in the layout of the matrix."""
        return self.matrix[:, rows] if self.transposed else self.matrix[rows]

    def longer(self) -> Rows:
        """The same memory in longer rows, for elementwise calls."""
        if self.transposed:
            return self
        return _rows(self.matrix, self.matrix.shape[1] // self.repeat, WIDTH)

    def wide(self, do: Part, values: Array) -> Array:
        """`values (…, C)` repeated for every pixel of a row, in the dtype of the matrix."""
        *stack, channels = values.shape
        result = do.scratch("wide", (*stack, self.repeat, channels), self.matrix.dtype)
        do(setitem, result, ..., values[..., None, :])
        return result.reshape(*stack, -1, 1) if self.transposed else result.reshape(*stack, -1)

    def cut(self, sums: bool = False) -> list[Block]:
        """Blocks that fit the cache, and for `sums` of no more rows than float32 can add."""
        rows, row = self.matrix.shape[::-1] if self.transposed else self.matrix.shape
        limit = ALONE_BYTES if threads.share(self.matrix.size) == 1 else SHARED_BYTES
        if sums:
            limit = min(limit, (LANES if self.transposed else ROWS) * row * self.matrix.itemsize)
        return cut(1, rows, row * self.matrix.itemsize, limit, self.matrix.size)


def is_for_reference(x: Array) -> bool:
    """Whether `x` is left to the reference: empty, or of half precision, whose sums need a wider dtype."""
    return not x.size or x.dtype.itemsize == 2


def rows_of(do: Part, name: str, x: Array, like: Array) -> Rows:
    """A view where memory is as that of `like`, channels-last or batch-last, else a copy called `name`."""
    if is_batch_last(like):
        return Rows(contiguous(do, name, batch_last(x)).reshape(x.shape[1], -1), 1, True)
    return _rows(contiguous(do, name, channels_last(x)), x.shape[1], SHORT)


def _rows(last: Array, channels: int, width: int) -> Rows:
    repeat = _repeat(last.size // channels, channels, width)
    return Rows(last.reshape(-1, repeat * channels), repeat)


@functools.lru_cache(maxsize=1024)
def _repeat(pixels: int, channels: int, width: int) -> int:
    return max(r for r in range(1, max(1, width // channels) + 1) if pixels % r == 0)


def sums_of(
    recorder: Recorder,
    a: Rows,
    b: Rows,
    total: Array,
    before: Callable[[Part, slice], None] | None = None,
) -> None:
    """Write `Σ a` and `Σ a·b` of each channel to `total (2, C)`, in float64.

    `before` computes some rows of `a` first.
    """
    blocks = a.cut(sums=True)
    length = a.matrix.shape[0 if a.transposed else 1]
    sums = recorder.scratch("sums", (len(blocks), 2, length), a.matrix.dtype)

    def task(do: Part, i: int) -> None:
        rows = blocks[i].rows
        if before is not None:
            before(do, rows)
        part = a.part(rows)
        if a.transposed:
            do(np.add.reduce, part, 1, None, sums[i, 0])
        else:
            do(np.matmul, _ones(part.shape[0], part.dtype), part, sums[i, 0])
        do(np.einsum, f"ij,ij->{'i' if a.transposed else 'j'}", part, b.part(rows), out=sums[i, 1])

    recorder.share(task, len(blocks), a.matrix.size)
    wide = recorder.scratch("wide sums", sums.shape[1:], np.float64)
    recorder(np.add.reduce, sums, 0, np.float64, wide)
    recorder(np.add.reduce, wide.reshape(2, -1, total.shape[1]), 1, None, total)


@functools.lru_cache(maxsize=64)
def _ones(count: int, dtype: Any) -> Array:
    return memory.constant(np.ones(count, dtype))
