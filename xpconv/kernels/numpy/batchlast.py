"""Convolution of few channels, with the batch as the innermost axis: `(C, *S, N)` in memory.

With few channels the runs of channels-last memory are a few numbers long, and NumPy's loops with them. With
the batch last a row of all images is one run, whatever the channels: columns are copied by rows, pooling and
ReLU loop along them, and `W (K, C·taps) @ columns (C·taps, pixels·N)` has long rows. Inputs of another layout
are copied to this one, and results have it, so that following layers of few channels need no copy.
"""

from __future__ import annotations

from math import prod
from operator import setitem
from typing import Any

import numpy as np

from ...backend import Array
from ...geometry import Window
from . import memory, threads
from .blocks import ALL, Block, Ending, arranged, contiguous, cut, even, sum_of_blocks
from .memory import batch_first, batch_last, in_order
from .plans import Part, Recorder
from .products import add_product, multiply_wide

COLUMN_BYTES = 1 << 20


def pays(
    x_shape: tuple[int, ...], dtype: Any, weight_shape: tuple[int, ...], window: Window, groups: int
) -> bool:
    """Whether there are few channels, and enough images for long runs."""
    k, c = weight_shape[:2]
    return (
        groups == 1
        and c <= 10
        and (k <= 10 or (c >= 4 and k <= 20))
        and x_shape[0] >= 32
        and prod(window.kernel) > 1
        and dtype.itemsize > 2
    )


def conv(recorder: Recorder, x: Array, weight: Array, window: Window, y: Array, ending: Ending) -> None:
    """Write to `y (N, K, *P)`, whose batch is last in memory."""
    k = weight.shape[0]
    columns = Columns(x, window, recorder)
    into = batch_last(y)
    w = arranged(recorder, weight, in_order).reshape(k, -1)
    if ending.bias is not None:
        ending = ending._replace(bias=ending.bias[:, None])
    blocks = columns.cut()

    def task(part: Part, i: int) -> None:
        rows = blocks[i].rows
        out = into[:, rows].reshape(k, -1)
        multiply_wide(part, w, columns.of(rows, part), out)
        ending.finish(out, part)

    recorder.share(task, len(blocks), columns.elements)


def weight_grad(
    recorder: Recorder, grad: Array, x: Array, weight_shape: tuple[int, ...], window: Window
) -> Array:
    """`dw (K, C, *R)`."""
    k = weight_shape[0]
    columns = Columns(x, window, recorder)
    g = contiguous(recorder, "gradient", batch_last(grad))

    def add(part: Part, block: Block, total: Array, first: bool) -> None:
        add_product(part, columns.of(block.rows, part).T, g[:, block.rows].reshape(k, -1).T, total, first)

    shape = columns.length, k
    total = sum_of_blocks(recorder, columns.cut(), columns.elements, shape, x.dtype, add)
    return batch_first(total.reshape(*weight_shape[1:], k))


def input_grad(recorder: Recorder, grad: Array, weight: Array, dx: Array, window: Window) -> None:
    """Write to `dx (N, C, *S)`, batch last: a product gives columns, added up by taps.

    The taps of the last axis come first, for all taps of the others at once: R + S long sums, not R · S.
    """
    k, c = weight.shape[:2]
    into = batch_last(dx)
    g = contiguous(recorder, "gradient", batch_last(grad))
    w = contiguous(recorder, "weight", weight).reshape(k, c, -1)
    row_bytes = w.shape[2] * g[0, 0].nbytes
    elements = c * g.shape[1] * _worth(row_bytes)
    channels = even(c, max(1, COLUMN_BYTES // (g.shape[1] * row_bytes)), threads.share(elements))
    most = max(b - a for a, b in channels) * row_bytes
    rows = [block.rows for block in cut(1, g.shape[1], most, COLUMN_BYTES, 0)]

    def task(part: Part, i: int) -> None:
        some = slice(*channels[i])
        side = w[:, some].reshape(k, -1).T
        part(setitem, into[some], ..., 0)
        for block in rows:
            values = g[:, block]
            columns = part.scratch("columns", (len(side), *values.shape[1:]), g.dtype)
            multiply_wide(part, side, values.reshape(k, -1), columns.reshape(len(side), -1))
            columns = columns.reshape(-1, *window.kernel, *values.shape[1:])
            _add_taps(part, columns, into[some], _seen_from(window, block.start))

    recorder.share(task, len(channels), elements)


def _add_taps(do: Part, columns: Array, into: Array, window: Window) -> None:
    """Add each tap's part of `columns (C, *R, *P, N)` at its position in `into (C, *S, N)`."""
    axes = len(window.kernel)
    spatial, output = into.shape[1:-1], columns.shape[1 + axes : -1]
    if axes > 1:
        sums = do.scratch("rows", (*columns.shape[:axes], *output[:-1], *into.shape[-2:]), into.dtype)
        do(setitem, sums, ..., 0)
        for j, tap in enumerate(_part(window, slice(-1, None)).taps(spatial[-1:], output[-1:])):
            target = sums[..., tap.into[0], :]
            do(np.add, target, columns[ALL * axes + (j, ..., tap.out[0], slice(None))], target)
        columns, axes = sums, axes - 1
    columns = columns.reshape(columns.shape[0], -1, *columns.shape[1 + axes :])
    for j, tap in enumerate(_part(window, slice(axes)).taps(spatial[:axes], output[:axes])):
        target, out = into[ALL + tap.into], (slice(None), j, *tap.out)
        do(np.add, target, columns[out], target)


def _part(window: Window, axes: slice) -> Window:
    return Window(window.kernel[axes], window.stride[axes], window.padding[axes], window.dilation[axes])


def _worth(column_bytes: int) -> int:
    """The cost of making and using columns, in elements of other kernels."""
    return column_bytes // 8


def _count(rows: slice) -> int:
    return int(rows.stop - rows.start)


def _seen_from(window: Window, first_row: int) -> Window:
    """The window whose output row 0 is output row `first_row` of `window`."""
    (lo, hi), *rest = window.padding
    return window._replace(padding=((lo - first_row * window.stride[0], hi), *rest))


class Columns:
    """im2col of some output rows at a time, `(C·taps, pixels·N)`, into the thread's own buffer."""

    def __init__(self, x: Array, window: Window, do: Part) -> None:
        self.window = window
        self.output = window.output_shape(x.shape[2:])
        self.images = _padded(batch_last(x), window, do)
        self.length = x.shape[1] * prod(window.kernel)
        self.row_bytes = self.length * prod(self.output[1:]) * x.shape[0] * x.itemsize
        self.elements = self.output[0] * _worth(self.row_bytes)

    def cut(self) -> list[Block]:
        """Blocks of some output rows each."""
        return cut(1, self.output[0], self.row_bytes, COLUMN_BYTES, self.elements)

    def of(self, rows: slice, do: Part) -> Array:
        window, stride = self.window, self.window.stride
        part = self.images[:, rows.start * stride[0] :]
        by_channel, *by_pixel, by_image = part.strides
        shape = (part.shape[0], *window.kernel, _count(rows), *self.output[1:], part.shape[-1])
        taps = [b * d for b, d in zip(by_pixel, window.dilation, strict=True)]
        positions = [b * s for b, s in zip(by_pixel, stride, strict=True)]
        seen = memory.strided(part, shape, (by_channel, *taps, *positions, by_image))
        columns = do.scratch("columns", seen.shape, part.dtype)
        do(setitem, columns, ..., seen)
        return columns.reshape(self.length, -1)


def _padded(x: Array, window: Window, do: Part) -> Array:
    """`x (C, *S, N)` in that order in memory, with zeros around it."""
    if not any(lo or hi for lo, hi in window.padding):
        return contiguous(do, "images", x)
    sizes = [n + lo + hi for n, (lo, hi) in zip(x.shape[1:-1], window.padding, strict=True)]
    padded = do.scratch("images", (x.shape[0], *sizes, x.shape[-1]), x.dtype)
    do(setitem, padded, ..., 0)
    inside = tuple(slice(lo, lo + n) for n, (lo, _) in zip(x.shape[1:-1], window.padding, strict=True))
    do(setitem, padded[ALL + inside], ..., x)
    return padded
