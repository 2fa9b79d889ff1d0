"""Convolution of few channels, with the batch as the innermost axis: `(C, *S, N)` in memory.

With few channels the runs of channels-last memory are a few numbers long, and NumPy's loops with them. With
the batch last a row of all images is one run, whatever the channels: columns are copied by rows, pooling and
ReLU go along them, and `W (K, C·taps) @ columns (C·taps, pixels·N)` has long rows. Inputs of another layout
are brought into this one, and results have it: layers that follow find it, up to one of more channels.
"""

from __future__ import annotations

import functools
from math import prod
from typing import Any

import numpy as np

from ...backend import Array
from ...geometry import Window
from . import memory, threads
from .blocks import ALL, Block, Ending, cut, shares
from .memory import batch_first, batch_last
from .products import multiply_sum, multiply_wide

COLUMN_BYTES = 1 << 20
SHARED_BYTES = 1 << 22


def pays(
    x_shape: tuple[int, ...], dtype: Any, weight_shape: tuple[int, ...], window: Window, groups: int
) -> bool:
    """Whether there are few channels, and images enough for long runs."""
    k, c = weight_shape[:2]
    return (
        groups == 1
        and c <= 10
        and (k <= 10 or (c >= 4 and k <= 20))
        and x_shape[0] >= 32
        and prod(window.kernel) > 1
        and dtype.itemsize > 2
    )


def conv(x: Array, weight: Array, window: Window, ending: Ending) -> Array:
    """`y (N, K, *P)`."""
    k = weight.shape[0]
    columns = Columns(x, window)
    into = memory.empty((k, *columns.output, x.shape[0]), x.dtype)
    w = weight.reshape(k, -1)
    if ending.bias is not None:
        ending = ending._replace(bias=ending.bias[:, None])
    work = columns.cut()

    def task(i: int) -> None:
        rows = work[i].rows
        out = into[:, rows].reshape(k, -1)
        multiply_wide(w, columns.of(rows), out)
        ending.finish(out)

    threads.run(task, len(work), columns.elements)
    return batch_first(into)


def weight_grad(grad: Array, x: Array, weight_shape: tuple[int, ...], window: Window) -> Array:
    """`dw (K, C, *R)`: each thread sums over blocks of its own, in a fixed order."""
    k = weight_shape[0]
    columns = Columns(x, window)
    g = np.ascontiguousarray(batch_last(grad))
    runs = shares(columns.cut())
    parts: list[Array] = [None] * len(runs)

    def task(i: int) -> None:
        total = np.zeros((columns.length, k), x.dtype)
        for block in runs[i]:
            total += multiply_sum(columns.of(block.rows).T, g[:, block.rows].reshape(k, -1).T)
        parts[i] = total

    threads.run(task, len(runs), columns.elements)
    return np.ascontiguousarray(functools.reduce(np.add, parts).T).reshape(weight_shape)


def input_grad(grad: Array, weight: Array, x_shape: tuple[int, ...], window: Window) -> Array:
    """`dx (N, C, *S)`, channel by channel: a product gives columns, which are added up a tap at a time."""
    k, c = weight.shape[:2]
    into = memory.empty((c, *x_shape[2:], x_shape[0]), grad.dtype)
    g = np.ascontiguousarray(batch_last(grad))
    w = weight.reshape(k, c, -1)
    row_bytes = w.shape[2] * g[0, 0].nbytes
    elements = c * g.shape[1] * _worth(row_bytes)
    blocks = [
        (
            block.rows,
            _seen_from(window, block.rows.start).taps(x_shape[2:], (_count(block.rows), *g.shape[2:-1])),
        )
        for block in cut(1, g.shape[1], row_bytes, _limit(elements), 0)
    ]

    def task(channel: int) -> None:
        into[channel] = 0
        for rows, taps in blocks:
            part = g[:, rows]
            columns = memory.scratch("columns", (w.shape[2], *part.shape[1:]), g.dtype)
            multiply_wide(w[:, channel].T, part.reshape(k, -1), columns.reshape(w.shape[2], -1))
            for column, tap in zip(columns, taps, strict=True):
                target = into[channel][tap.into]
                np.add(target, column[tap.out], out=target)

    threads.run(task, c, elements)
    return batch_first(into)


def _worth(column_bytes: int) -> int:
    """As how many elements elsewhere columns count, to make and use."""
    return column_bytes // 8


def _limit(elements: int) -> int:
    """Bytes of a block of columns: where threads share the work, calls have to be long."""
    return COLUMN_BYTES if threads.share(elements) == 1 else SHARED_BYTES


def _count(rows: slice) -> int:
    return int(rows.stop - rows.start)


def _seen_from(window: Window, first_row: int) -> Window:
    """The window of which output row 0 is the `first_row` of this one's."""
    (lo, hi), *rest = window.padding
    return window._replace(padding=((lo - first_row * window.stride[0], hi), *rest))


class Columns:
    """im2col of some output rows at a time, `(C·taps, pixels·N)`, into the thread's own buffer."""

    def __init__(self, x: Array, window: Window) -> None:
        self.window = window
        self.output = window.output_shape(x.shape[2:])
        self.images = _padded(batch_last(x), window)
        self.length = x.shape[1] * prod(window.kernel)
        self.row_bytes = self.length * prod(self.output[1:]) * x.shape[0] * x.itemsize
        self.elements = self.output[0] * _worth(self.row_bytes)

    def cut(self) -> list[Block]:
        """Some rows of output each."""
        return cut(1, self.output[0], self.row_bytes, _limit(self.elements), self.elements)

    def of(self, rows: slice) -> Array:
        window, stride = self.window, self.window.stride
        part = self.images[:, rows.start * stride[0] :]
        by_channel, *by_pixel, by_image = part.strides
        shape = (part.shape[0], *window.kernel, _count(rows), *self.output[1:], part.shape[-1])
        taps = [b * d for b, d in zip(by_pixel, window.dilation, strict=True)]
        positions = [b * s for b, s in zip(by_pixel, stride, strict=True)]
        seen = memory.strided(part, shape, (by_channel, *taps, *positions, by_image))
        columns = memory.scratch("columns", seen.shape, part.dtype)
        np.copyto(columns, seen)
        return columns.reshape(self.length, -1)


def _padded(x: Array, window: Window) -> Array:
    """`x (C, *S, N)` in that order in memory, with zeros around it."""
    if not any(lo or hi for lo, hi in window.padding):
        return np.ascontiguousarray(x)
    sizes = [n + lo + hi for n, (lo, hi) in zip(x.shape[1:-1], window.padding, strict=True)]
    padded = memory.empty((x.shape[0], *sizes, x.shape[-1]), x.dtype)
    padded[...] = 0
    inside = tuple(slice(lo, lo + n) for n, (lo, _) in zip(x.shape[1:-1], window.padding, strict=True))
    padded[ALL + inside] = x
    return padded
