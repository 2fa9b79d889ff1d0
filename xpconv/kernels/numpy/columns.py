"""Convolution by im2col: the windows of a block of output as rows of a matrix, in a bounded buffer."""

from __future__ import annotations

import functools
import threading
from math import prod

import numpy as np

from ...backend import Array
from ...geometry import Window
from . import memory, threads
from .blocks import ALL, Block, Ending, Frame, cut, shares
from .memory import channels_first, channels_last, taps_first
from .products import in_pieces, multiply, multiply_sum
from .threads import PRODUCTS

COLUMN_BYTES = 1 << 21  # of a thread's column buffer


def conv(x: Array, weight: Array, window: Window, groups: int, y: Array, ending: Ending) -> Array:
    """Into `y (N, K, *P)`; a product a block."""
    k = weight.shape[0] // groups
    images = channels_last(y)
    arranged = groups == 1 and taps_first(weight).flags.c_contiguous
    few = groups == 1 and prod(window.kernel) > 1 and y.size < k * k and not arranged
    columns = Columns(x, window, groups, few)
    elements = y.size * columns.length // PRODUCTS
    work = cut(x.shape[0], y.shape[2], columns.row_bytes, COLUMN_BYTES, elements)
    row = prod(y.shape[3:])
    in_order = in_pieces(y.size // k // len(work), columns.length * k) and not few
    if arranged or (groups == 1 and in_order):
        w = np.ascontiguousarray(taps_first(weight)).reshape(1, -1, k)
    else:
        w = (weight if few else channels_last(weight)).reshape(groups, k, -1).swapaxes(1, 2)
    ending = ending.times(row)

    def task(i: int) -> None:
        block = work[i]
        col = columns.of(block)
        out = images[block.images, block.rows].reshape(-1, groups, k)
        if groups == 1:
            multiply(col[0], w[0], out[:, 0])
        else:
            out[...] = np.matmul(col, w).swapaxes(0, 1)
        ending.finish(images[block.images, block.rows].reshape(-1, row * y.shape[1]))

    threads.run(task, len(work), elements)
    return y


def weight_grad(grad: Array, x: Array, weight_shape: tuple[int, ...], window: Window, groups: int) -> Array:
    """`dw (K, C/G, *R)`: each thread sums over blocks of its own, in a fixed order."""
    k, c = weight_shape[0] // groups, weight_shape[1]
    columns = Columns(x, window, groups)
    elements = grad.size * columns.length // PRODUCTS
    work = shares(cut(x.shape[0], grad.shape[2], columns.row_bytes, COLUMN_BYTES, elements))
    images = channels_last(grad)
    parts: list[Array] = [None] * len(work)

    def task(part: int) -> None:
        total = np.zeros((groups, c * prod(window.kernel), k), x.dtype)
        for block in work[part]:
            col = columns.of(block)
            g = images[block.images, block.rows].reshape(-1, groups, k).swapaxes(0, 1)
            if groups == 1:
                total[0] += multiply_sum(col[0], g[0])
            else:
                total += np.swapaxes(col, 1, 2) @ g
        parts[part] = total

    threads.run(task, len(parts), elements)
    dw = functools.reduce(np.add, parts)
    dw = dw.swapaxes(1, 2).reshape(weight_shape[0], *window.kernel, c)
    return np.ascontiguousarray(channels_first(dw))


def input_grad(grad: Array, weight: Array, x_shape: tuple[int, ...], window: Window, groups: int) -> Array:
    """`dx (N, C, *S)`: a product gives columns, which are added up a tap at a time, by whole images."""
    c, k = weight.shape[1], weight.shape[0] // groups
    w = channels_last(weight).reshape(groups, k, -1)
    dx = memory.empty_images(x_shape, grad.dtype)
    into = channels_last(dx)
    into = into.reshape(*into.shape[:-1], groups, c)
    images = channels_last(grad)
    output = grad.shape[2:]
    image_bytes = prod(output) * groups * w.shape[2] * grad.itemsize
    elements = dx.size * k * prod(window.kernel) // PRODUCTS
    work = cut(x_shape[0], 1, image_bytes, COLUMN_BYTES, elements)  # whole images: their columns overlap
    taps = window.taps(x_shape[2:], output)

    def task(i: int) -> None:
        part = work[i].images
        g = images[part].reshape(-1, groups, k).swapaxes(0, 1)
        dcol = memory.scratch("columns", (groups, g.shape[1], w.shape[2]), grad.dtype)
        if groups == 1:
            multiply(g[0], w[0], dcol[0])
        else:
            np.matmul(g, w, out=dcol)
        dcol = np.moveaxis(dcol.reshape(groups, -1, *output, *window.kernel, c), 0, -2)
        target = into[part]
        target[...] = 0
        for tap in taps:
            target[ALL + tap.into] += dcol[ALL + tap.out + tap.offset]

    threads.run(task, len(work), elements)
    return dx


class Columns:
    """im2col of one block at a time, `(groups, pixels, taps·C/groups)`, into the thread's own buffer.

    `few`, for less pixels than output channels, has columns in the order of the weight, `(C, taps)`: slower
    to copy, but the weight, which is larger, need not be.
    """

    def __init__(self, x: Array, window: Window, groups: int, few: bool = False) -> None:
        self.x = channels_last(x)
        self.window, self.groups, self.few = window, groups, few
        self.frame = Frame(self.x, window)
        self.output = window.output_shape(x.shape[2:])
        self.channels = x.shape[1] // groups
        taps = prod(window.kernel)
        self.length = self.channels * taps
        self.row_bytes = prod(self.output[1:]) * groups * self.length * x.itemsize
        self.pointwise = taps == 1 and self.output == x.shape[2:] and max(window.stride) == 1
        # Few channels: the runs of memory in a row of columns are short, those along an image's row long.
        run = x.shape[1] * window.kernel[-1]
        self.by_tap = few or (groups == 1 and run < 16 and self.output[-1] > run)
        self._last: dict[int, tuple[Array, Array, Array]] = {}  # by thread: what of a frame, windows, columns

    def of(self, block: Block) -> Array:
        x, groups = self.x, self.groups
        if self.pointwise and (groups == 1 or x.flags.c_contiguous):
            flat = x[block.images, block.rows].reshape(-1, groups, self.channels)
            return flat.swapaxes(0, 1)
        part = self.frame.of(block)
        thread = threading.get_ident()
        before = self._last.get(thread)
        if before is None or before[0] is not part:
            seen = self._windows(part, block.rows.stop - block.rows.start)
            before = part, seen, memory.scratch("columns", seen.shape, part.dtype)
            self._last[thread] = before
        np.copyto(before[2], before[1])
        if self.by_tap:
            return before[2].reshape(1, self.length, -1).swapaxes(1, 2)
        return before[2].reshape(groups, -1, self.length)

    def _windows(self, part: Array, rows: int) -> Array:
        """A view: every pixel's window, `(G, n, *P, *R, C/G)`; by tap `(*R, C, n, *P)`, if few `C` first."""
        by_image, *by_pixel, by_channel = part.strides
        positions = [s * t for s, t in zip(by_pixel, self.window.stride, strict=True)]
        taps = [s * d for s, d in zip(by_pixel, self.window.dilation, strict=True)]
        pixels = (part.shape[0], rows, *self.output[1:])
        if self.by_tap:
            shape, strides = (*self.window.kernel, self.channels), (*taps, by_channel)
            if self.few:
                shape, strides = (self.channels, *self.window.kernel), (by_channel, *taps)
            return memory.strided(part, shape + pixels, (*strides, by_image, *positions))
        shape = (self.groups, *pixels, *self.window.kernel, self.channels)
        strides = (self.channels * by_channel, by_image, *positions, *taps, by_channel)
        return memory.strided(part, shape, strides)
