"""Pieces of work that fit a cache, and what they see of padded images."""

from __future__ import annotations

import functools
import itertools
import math
import threading
from typing import Any, NamedTuple

import numpy as np

from ...backend import Array
from ...geometry import Window
from ..portable import Bounds
from . import memory, threads

ALL = (slice(None),)


class Block(NamedTuple):
    """Some whole images, or some output rows (along the first spatial axis) of one image."""

    images: slice
    rows: slice


def cut(images: int, rows: int, row_bytes: int, limit: int, elements: float = math.inf) -> list[Block]:
    """Blocks of at most `limit` bytes (one row at least), and as many as threads share so much work."""
    return _cut(images, rows, row_bytes, limit, threads.share(elements))


@functools.lru_cache(maxsize=1024)
def _cut(images: int, rows: int, row_bytes: int, limit: int, parts: int) -> list[Block]:
    fit = max(1, limit // max(1, row_bytes))
    share = -(-images * rows // parts)
    fit = min(fit, max(1, share))
    if fit >= rows:
        cuts = even(images, fit // rows, parts)
        return [Block(slice(a, b), slice(0, rows)) for a, b in cuts]
    cuts = even(rows, fit, 1 if images % parts == 0 else parts)
    return [Block(slice(i, i + 1), slice(a, b)) for i in range(images) for a, b in cuts]


def even(size: int, most: int, parts: int) -> list[tuple[int, int]]:
    """Slices of 0…size, of at most so many; as many for each of the `parts`, if there are enough."""
    count = -(-size // most)
    count = min(size, -(-count // parts) * parts)
    ends = [size * i // count for i in range(count + 1)] if count else []
    return list(itertools.pairwise(ends))


def shares(work: list[Block]) -> list[list[Block]]:
    """The blocks in as many runs as there are threads, always the same ones: for sums in a fixed order."""
    count = min(threads.get_num_threads(), len(work))
    return [work[i * len(work) // count : (i + 1) * len(work) // count] for i in range(count)]


def wide(values: Array, times: int) -> Array:
    """As `numpy.tile`, which takes five times as long, along the last axis."""
    if times == 1:
        return values
    result = np.empty((*values.shape[:-1], times, values.shape[-1]), values.dtype)
    result[...] = values[..., None, :]
    return result.reshape(*values.shape[:-1], -1)


class Ending(NamedTuple):
    """What is done to a block of a convolution's output while it is in the cache."""

    bias: Array | None = None
    bounds: Bounds = None

    def times(self, pixels: int) -> Ending:
        """The same for rows of so many pixels: NumPy's loops like them long."""
        return self if self.bias is None else self._replace(bias=wide(self.bias, pixels))

    def finish(self, out: Array, source: Array | None = None) -> None:
        """Into `out`, which may be where the `source` is (rows of pixels, if the bias is for such)."""
        if self.bias is not None:
            np.add(out if source is None else source, self.bias, out=out)
        elif source is not None:
            np.copyto(out, source)
        if self.bounds is not None:
            low, high = self.bounds
            np.clip(out, low, np.inf if high is None else high, out=out)


class Seen(NamedTuple):
    """Which part of an image a block sees, and where that goes in a frame of which shape."""

    inside: tuple[slice, ...]
    into: tuple[tuple[int, int], ...]
    shape: tuple[int, ...]
    whole: bool  # no border is seen


@functools.lru_cache(maxsize=4096)
def _seen(spatial: tuple[int, ...], window: Window, first_row: int, last_row: int) -> Seen:
    inside, into, shape = [], [], []
    for axis, (n, k, s, (lo, hi), d) in enumerate(zip(spatial, *window, strict=True)):
        start, stop = -lo, n + hi
        if axis == 0:
            start = first_row * s - lo
            stop = (last_row - 1) * s - lo + d * (k - 1) + 1
        first = min(max(start, 0), n)
        last = min(max(stop, first), n)
        inside.append(slice(first, last))
        into.append((first - start, last - start))
        shape.append(stop - start)
    whole = all(b - a == size for (a, b), size in zip(into, shape, strict=True))
    return Seen(ALL + tuple(inside), tuple(into), tuple(shape), whole)


class Frame:
    """What blocks of output see of the images `x (N, *S, C)`, with the window's border around it."""

    def __init__(self, x: Array, window: Window, border: float = 0.0, name: str = "padded") -> None:
        self.x, self.window, self.border, self.name = x, window, border, name
        self._last: dict[int, tuple[Any, Array, Array]] = {}  # by thread: key, scratch array, its inside

    def of(self, block: Block) -> Array:
        """A view where no border is seen, else the thread's scratch array: valid until the next call.

        The border of the block before is still there if its shape was the same: then it is the same object.
        """
        seen = _seen(self.x.shape[1:-1], self.window, block.rows.start, block.rows.stop)
        part = self.x[block.images][seen.inside]
        if seen.whole:
            return part
        key = part.shape[0], seen
        thread = threading.get_ident()
        before = self._last.get(thread)
        if before is not None and before[0] == key:
            np.copyto(before[2], part)
            return before[1]
        result = memory.scratch(self.name, (part.shape[0], *seen.shape, part.shape[-1]), part.dtype)
        for axis, (a, b) in enumerate(seen.into, start=1):
            result[ALL * axis + (slice(0, a),)] = self.border
            result[ALL * axis + (slice(b, None),)] = self.border
        middle = result[ALL + tuple(slice(a, b) for a, b in seen.into)]
        np.copyto(middle, part)
        self._last[thread] = key, result, middle
        return result
