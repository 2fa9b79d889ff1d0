"""Pieces of work that fit a cache, and what they see of padded images."""

from __future__ import annotations

from typing import NamedTuple

from ...backend import Array
from ...geometry import Window
from . import memory, threads

ALL = (slice(None),)


class Block(NamedTuple):
    """Some whole images, or some output rows (along the first spatial axis) of one image."""

    images: slice
    rows: slice


def cut(images: int, rows: int, row_bytes: int, limit: int) -> list[Block]:
    """Blocks of at most `limit` bytes (one row at least), and as many as threads if there are rows enough."""
    fit = max(1, limit // max(1, row_bytes))
    share = -(-images * rows // threads.get_num_threads())
    fit = min(fit, max(1, share))
    if fit >= rows:
        step = fit // rows
        return [Block(slice(i, min(i + step, images)), slice(0, rows)) for i in range(0, images, step)]
    pieces = -(-rows // fit)
    cuts = [rows * i // pieces for i in range(pieces + 1)]
    return [Block(slice(i, i + 1), slice(cuts[j], cuts[j + 1])) for i in range(images) for j in range(pieces)]


def shares(work: list[Block]) -> list[list[Block]]:
    """The blocks in as many runs as there are threads, always the same ones: for sums in a fixed order."""
    count = min(threads.get_num_threads(), len(work))
    return [work[i * len(work) // count : (i + 1) * len(work) // count] for i in range(count)]


def padded(x: Array, window: Window, block: Block) -> Array:
    """The part of `x (N, *S, C)` that a block's output looks at, with the window's zeros around it.

    A view where there are none, else the thread's scratch array of that name.
    """
    inside, into, shape = [], [], []
    for axis, (n, k, s, (lo, hi), d) in enumerate(
        zip(x.shape[1:-1], window.kernel, window.stride, window.padding, window.dilation, strict=True)
    ):
        start, stop = -lo, n + hi
        if axis == 0:
            start = block.rows.start * s - lo
            stop = (block.rows.stop - 1) * s - lo + d * (k - 1) + 1
        first = min(max(start, 0), n)
        last = min(max(stop, first), n)
        inside.append(slice(first, last))
        into.append(slice(first - start, last - start))
        shape.append(stop - start)
    part = x[block.images][ALL + tuple(inside)]
    if part.shape[1:-1] == tuple(shape):
        return part
    result = memory.scratch("padded", (part.shape[0], *shape, x.shape[-1]), x.dtype)
    for axis, (here, n) in enumerate(zip(into, shape, strict=True), start=1):
        result[ALL * axis + (slice(0, here.start),)] = 0
        result[ALL * axis + (slice(here.stop, n),)] = 0
    result[ALL + tuple(into)] = part
    return result
