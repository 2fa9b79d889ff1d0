"""Blocks of images that fit a cache, and the parts of padded images that they read."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable
from contextvars import copy_context
from itertools import chain
from operator import setitem
from typing import Any, NamedTuple

import numpy as np

from ...backend import Array
from ...geometry import Bounds, Shape, Window
from ...layout import channels_first, channels_last
from ...sums import SERIAL
from ..engine import memory, threads
from ..engine.plans import Part, Recorder
from ..engine.scratch import Scratch
from ..engine.threads import even

ALL = (slice(None),)
BUFFER, LARGE = 1024, 8192  # elements: of NumPy's buffer for large windows, and above which arrays are large
PAGE = 4096  # bytes, after which the sets of the first cache repeat
SETS = 1 << 16  # numbers of a pixel times the part of a page between them, up to which they fit the cache
PLANES = 1 << 16  # elements of planes that are copied at a time
FEW_CHANNELS = 4  # up to which images are copied channel by channel
FEW_PIXELS = 4  # pixels are few if there are at least this many channels for each


class Block(NamedTuple):
    """Some whole images, or some output rows (along the first spatial axis) of one image."""

    images: slice
    rows: slice


def cut(images: int, rows: int, row_bytes: int, limit: int, elements: float = math.inf) -> list[Block]:
    """Blocks of at most `limit` bytes (one row at least), and one or more per thread for `elements`."""
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


def channel_pieces(pixels: int, channels: int, elements: float) -> list[slice]:
    """Some output channels for each thread, if there are few pixels; else a piece of all.

    Then reading the weight takes as long as the products: no two threads should read the same part.
    """
    parts = min(channels, threads.share(elements))
    if parts == 1 or FEW_PIXELS * pixels > channels:
        return [slice(None)]
    return [slice(*ends) for ends in even(channels, -(-channels // parts), parts)]


def sum_of_blocks(
    recorder: Recorder,
    blocks: list[Block],
    elements: float,
    shape: Shape,
    dtype: Any,
    add: Callable[[Part, Block, Array, bool], None],
) -> Array:
    """A sum over blocks of images: each thread adds up those of a run of its own, in a fixed order.

    `add(part, block, total, first)` adds a block's part to `total`, which it overwrites if it is the `first`.
    """
    count = min(threads.share(elements), len(blocks))
    totals: list[Array] = [None] * count

    def task(part: Part, run: int) -> None:
        mine = blocks[run * len(blocks) // count : (run + 1) * len(blocks) // count]
        totals[run] = part.scratch(f"total {run}", shape, dtype_of_total(dtype, len(mine)))
        for i, block in enumerate(mine):
            add(part, block, totals[run], i == 0)

    recorder.share(task, count, elements)
    for total in totals[1:]:
        recorder(np.add, totals[0], total, totals[0])
    return totals[0]


def dtype_of_total(dtype: Any, blocks: int) -> Any:
    """The dtype in which to add up the sums of `blocks` blocks: float64 for many in float32, else `dtype`."""
    return np.float64 if blocks > SERIAL and dtype == np.float32 else dtype


def add_windows(do: Scratch, pairs: Iterable[tuple[Array, Array]]) -> None:
    """Add the second array of each pair to the first, a window of images.

    NumPy copies operands whose rows are shorter than its buffer. Large windows are added with a smaller
    buffer, which only these calls use, so that they are not copied; this takes half the time.
    """
    pairs = list(pairs)
    if any(target.size > LARGE for target, _ in pairs):
        do(_add_all, *chain.from_iterable(pairs))
        return
    for target, more in pairs:
        do(np.add, target, more, target)


def _add_all(*arrays: Array) -> None:
    copy_context().run(_add_in_small_buffers, arrays)


def _add_in_small_buffers(arrays: tuple[Array, ...]) -> None:
    np.setbufsize(BUFFER)
    for target, more in zip(arrays[::2], arrays[1::2], strict=True):
        np.add(target, more, target)


def contiguous(do: Scratch, name: str, x: Array) -> Array:
    """`x`, or a contiguous copy of it in a scratch array."""
    if x.flags.c_contiguous:
        return x
    copy = do.scratch(name, x.shape, x.dtype)
    copy_images(do, copy, x)
    return copy


def copy_images(do: Scratch, out: Array, x: Array) -> None:
    """`out[...] = x` for `(n, *S, C)`, of which `x` may be in the order `(n, C, *S)` in memory.

    There the numbers of a pixel are a plane of memory apart. If that is a multiple of a large power of two,
    they share a few sets of the cache, and each is read from memory again for the next pixel. So the planes
    are first copied to others a cache line longer: half the time in all. A few channels are copied one by
    one, as NumPy's loop over the channels of a pixel would be short: a third of the time.
    """
    *pixels, channels = x.shape
    plane = math.prod(pixels[1:])
    if 1 < channels <= FEW_CHANNELS and x.size > LARGE and x.strides[-1] > x.itemsize == out.strides[-1]:
        for channel in range(channels):
            do(setitem, out[..., channel], ..., x[..., channel])
        return
    shared = channels * math.gcd(x.strides[-1], PAGE)
    if shared <= SETS or x.ndim < 3 or x.strides[-2:] != (x.itemsize, plane * x.itemsize):
        do(setitem, out, ..., x)
        return
    step = max(1, PLANES // (channels * plane))
    for first in range(0, len(x), step):
        some = channels_first(x[first : first + step])
        wide = do.scratch("planes", (*some.shape[:2], plane + memory.LINE // x.itemsize), x.dtype)
        planes = wide[..., :plane].reshape(some.shape)
        do(setitem, planes, ..., some)
        do(setitem, out[first : first + step], ..., channels_last(planes))


def in_runs(do: Scratch, images: Array) -> Array:
    """Images `(n, …, width, C)` with contiguous rows: a view, or a copy."""
    *_, by_column, by_channel = images.strides
    if by_channel == images.itemsize and by_column == images.shape[-1] * images.itemsize:
        return images
    copy = do.scratch("values", images.shape, images.dtype)
    copy_images(do, copy, images)
    return copy


def arranged(do: Scratch, weight: Array, order: Callable[[Array], Array]) -> Array:
    """The view `order(weight)`, or a contiguous copy of it in a prepared array."""
    view = order(weight)
    if view.flags.c_contiguous:
        return view
    return do.prepared(
        order.__name__, view.shape, view.dtype, weight, lambda do, out: do(setitem, out, ..., order(weight))
    )


class Ending(NamedTuple):
    """The bias and bounds that are applied to a block of output while it is in the cache."""

    bias: Array | None = None
    bounds: Bounds = None

    def of(self, channels: slice) -> Ending:
        """The same for some of the channels."""
        return self if self.bias is None else self._replace(bias=self.bias[channels])

    def times(self, pixels: int, do: Part) -> Ending:
        """The same for rows of several pixels, as NumPy's loops are faster on long rows."""
        if self.bias is None or pixels == 1:
            return self
        source = self.bias
        shape = pixels, source.size
        bias = do.prepared(
            "bias", shape, source.dtype, source, lambda do, out: do(setitem, out, ..., source), wide=True
        )
        return self._replace(bias=bias.reshape(-1))

    def finish(self, out: Array, do: Scratch) -> None:
        """Add the bias and clip, in place; a row of `out` is a pixel, or as many as the bias is for."""
        if self.bias is not None:
            do(np.add, out, self.bias, out)
        self.clip(out, out, do)

    def clip(self, x: Array, out: Array, do: Scratch) -> None:
        """Clip `x` to the bounds, into `out`."""
        if self.bounds is None:
            return
        low, high = self.bounds
        if high is None:
            do(np.maximum, x, low, out=out)
        else:
            do(np.clip, x, low, high, out)


class Seen(NamedTuple):
    """The part of an image that a block needs, its position in the block's padded frame, and that shape."""

    inside: tuple[slice, ...]
    into: tuple[tuple[int, int], ...]
    shape: Shape
    whole: bool  # it reads no border


@functools.lru_cache(maxsize=4096)
def seen_part(spatial: Shape, window: Window, first_row: int, last_row: int) -> Seen:
    """The part of images of size `spatial` that the windows of these rows of the output see."""
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
    """The parts of images `x (N, *S, C)` that blocks of output read, with the window's border around them.

    A `planar` one is `(N, C, *S)` in memory, if it is a copy.
    """

    def __init__(
        self, x: Array, window: Window, border: float = 0.0, name: str = "padded", planar: bool = False
    ) -> None:
        self.x: Array = x
        self.window: Window = window
        self.planar: bool = planar
        self.border, self.name = border, name
        self._last: dict[int, tuple[Any, Array, Array]] = {}  # by part: key, scratch array, its inside

    def of(self, block: Block, do: Part) -> Array:
        """A view if the block reads no border, else the part's scratch array, valid until the next call.

        If the block before had the same shape, its border is reused: the result is the same object.
        """
        seen = seen_part(self.x.shape[1:-1], self.window, block.rows.start, block.rows.stop)
        part = self.x[block.images][seen.inside]
        if seen.whole:
            return part
        key = part.shape[0], seen
        before = self._last.get(do.slot)
        if before is not None and before[0] == key:
            copy_images(do, before[2], part)
            return before[1]
        images, channels = part.shape[0], part.shape[-1]
        inside = (slice(0, images), *(slice(a, b) for a, b in seen.into))
        if self.planar:
            whole = (inside[0], slice(0, channels), *inside[1:])
            shape = (images, channels, *seen.shape)
            result = channels_last(do.framed(self.name, shape, part.dtype, whole, self.border))
        else:
            shape = (images, *seen.shape, channels)
            result = do.framed(self.name, shape, part.dtype, inside, self.border)
        middle = result[inside]
        copy_images(do, middle, part)
        self._last[do.slot] = key, result, middle
        return result
