"""Convolution by im2col: the windows of a block of output as rows of a matrix, in a bounded buffer."""

from __future__ import annotations

from math import prod
from operator import setitem

import numpy as np

from ...backend import Array
from ...geometry import Shape, Window
from ...layout import channels_last, taps_first
from ..engine import memory, threads
from ..engine.plans import Part, Recorder
from ..engine.threads import PRODUCTS
from .blocks import (
    ALL,
    Block,
    Ending,
    Frame,
    add_windows,
    arranged,
    channel_pieces,
    contiguous,
    cut,
    in_runs,
    sum_of_blocks,
)
from .products import add_product, in_pieces, multiply

FEW = 16  # channels below which the numbers of a pixel are a short run of memory
SHORT_RUN = 32  # numbers
SEVERAL = 4  # windows that read a pixel, from which on its channels are first copied to a run of memory
COLUMN_BYTES = 1 << 21  # of a thread's column buffer


def conv(recorder: Recorder, x: Array, weight: Array, window: Window, y: Array, ending: Ending) -> None:
    """Write to `y (N, K, *P)`, with one product per block."""
    groups = x.shape[1] // weight.shape[1]
    k = weight.shape[0] // groups
    by_taps = groups == 1 and taps_first(weight).flags.c_contiguous
    free = by_taps or recorder.holds(weight)  # the weight needs no copy
    if groups == 1 and prod(window.kernel) > 1 and y.size < k * k and not free:
        _of_few_pixels(recorder, x, weight, window, y, ending)
        return
    images = channels_last(y)
    columns = Columns(x, window, groups)
    elements = y.size * columns.length // PRODUCTS
    pieces = channel_pieces(y.size // y.shape[1], k, elements if groups == 1 and free else 0)
    whole = len(pieces) == 1
    blocks = columns.cut(elements if whole else 0)
    row = prod(y.shape[3:]) if whole else 1
    in_order = in_pieces(y.size // k // len(blocks), columns.length * k)
    if groups == 1 and (free or in_order):
        w = arranged(recorder, weight, taps_first).reshape(1, -1, k)
    else:
        w = arranged(recorder, weight, channels_last).reshape(groups, k, -1).swapaxes(1, 2)
    ending = ending.times(row, recorder)

    def task(part: Part, i: int) -> None:
        some, block = pieces[i // len(blocks)], blocks[i % len(blocks)]
        col = columns.of(block, part)
        out = images[block.images, block.rows].reshape(-1, groups, k)
        if groups == 1:
            multiply(part, col[0], w[0][:, some], out[:, 0, some])
        else:
            by_group = part.scratch("product", (groups, out.shape[0], k), x.dtype)
            part(np.matmul, col, w, by_group)
            part(setitem, out, ..., by_group.swapaxes(0, 1))
        rows = images[block.images, block.rows].reshape(-1, row * y.shape[1])
        ending.of(some).finish(rows[:, some], part)

    recorder.share(task, len(pieces) * len(blocks), elements)


def _of_few_pixels(
    recorder: Recorder, x: Array, weight: Array, window: Window, y: Array, ending: Ending
) -> None:
    """For fewer pixels than output channels: `weight @ columns`, cut by output channels.

    Columns are in the order of the weight: they are slower to copy, but the weight, which is larger, needs
    no copy, and each thread reads a part of it.
    """
    k = weight.shape[0]
    columns = Columns(x, window, 1, few=True)
    w = contiguous(recorder, "weight", weight).reshape(k, -1)
    col = columns.of(Block(slice(0, x.shape[0]), slice(0, y.shape[2])), recorder)[0].T
    out = channels_last(y).reshape(-1, k).T
    elements = y.size * columns.length // PRODUCTS
    pieces = threads.share(elements)

    def task(part: Part, i: int) -> None:
        some = slice(i * k // pieces, (i + 1) * k // pieces)
        product = part.scratch("product", (some.stop - some.start, col.shape[1]), x.dtype)
        part(np.matmul, w[some], col, product)
        bias = None if ending.bias is None else ending.bias[some, None]
        ending._replace(bias=bias).finish(product, part)
        part(setitem, out[some], ..., product)

    recorder.share(task, pieces, elements)


def weight_grad(recorder: Recorder, grad: Array, x: Array, weight_shape: Shape, window: Window) -> Array:
    """`dw (G, K/G, C/G, *R)`."""
    groups = x.shape[1] // weight_shape[1]
    k, c = weight_shape[0] // groups, weight_shape[1]
    columns = Columns(x, window, groups)
    elements = grad.size * columns.length // PRODUCTS
    blocks = columns.cut(elements)
    images = channels_last(grad)

    def add(part: Part, block: Block, total: Array, first: bool) -> None:
        col = columns.of(block, part)
        g = contiguous(part, "gradient", images[block.images, block.rows])
        g = g.reshape(-1, groups, k).swapaxes(0, 1)
        add_product(part, *((g, col) if columns.pointwise else (col, g)), total, first)

    shape = (groups, k, c) if columns.pointwise else (groups, columns.length, k)
    total = sum_of_blocks(recorder, blocks, elements, shape, x.dtype, add)
    if columns.pointwise:
        return total.reshape(groups, k, c, *window.kernel)
    dw = total.reshape(groups, *window.kernel, c, k)
    return dw.transpose(0, dw.ndim - 1, dw.ndim - 2, *range(1, dw.ndim - 2))


def input_grad(recorder: Recorder, grad: Array, weight: Array, dx: Array, window: Window) -> None:
    """Write to `dx (N, C, *S)`: a product gives columns, added tap by tap, for whole images."""
    groups = dx.shape[1] // weight.shape[1]
    c, k = weight.shape[1], weight.shape[0] // groups
    w = contiguous(recorder, "weight", channels_last(weight)).reshape(groups, k, -1)
    into = channels_last(dx)
    into = into.reshape(*into.shape[:-1], groups, c)
    images = channels_last(grad)
    output = grad.shape[2:]
    image_bytes = prod(output) * groups * w.shape[2] * grad.itemsize
    elements = dx.size * k * prod(window.kernel) // PRODUCTS
    blocks = cut(dx.shape[0], 1, image_bytes, COLUMN_BYTES, elements)  # whole images: their columns overlap
    taps = window.taps(dx.shape[2:], output)
    few = groups == 1 and c < FEW < output[-1]  # then add rows of images, otherwise single pixels

    def task(part: Part, i: int) -> None:
        some = blocks[i].images
        g = contiguous(part, "gradient", images[some]).reshape(-1, groups, k).swapaxes(0, 1)
        shape = groups, g.shape[1], w.shape[2]
        dcol = part.scratch("columns", shape[::-1] if few else shape, grad.dtype)
        dcol = dcol.T if few else dcol
        if groups == 1:
            multiply(part, g[0], w[0], dcol[0])
        else:
            part(np.matmul, g, w, dcol)
        dcol = np.moveaxis(dcol.reshape(groups, -1, *output, *window.kernel, c), 0, -2)
        target = into[some]
        if few:
            sums = part.scratch("sums", (c, *target.shape[:-2], 1), grad.dtype)
            target = np.moveaxis(sums, 0, -1)
        part(setitem, target, ..., 0)
        pairs = ((target[ALL + tap.into], dcol[ALL + tap.out + tap.offset]) for tap in taps)
        add_windows(part, pairs)
        if few:
            part(setitem, into[some], ..., target)

    recorder.share(task, len(blocks), elements)


class Columns:
    """im2col of one block at a time, `(groups, pixels, taps·C/groups)`, into the thread's own buffer.

    With `few` columns are in the order of the weight, `(C, taps)`. A `row` longer than that ends with zeros.
    """

    def __init__(
        self, x: Array, window: Window, groups: int, few: bool = False, by_tap: bool | None = None
    ) -> None:
        self.x: Array = channels_last(x)
        self.window: Window = window
        self.groups: int = groups
        self.few: bool = few
        self.output: tuple[int, ...] = window.output_shape(x.shape[2:])
        self.channels: int = x.shape[1] // groups
        taps = prod(window.kernel)
        self.length: int = self.channels * taps
        self.row: int = self.length  # in memory
        self._filled: dict[int, Shape] = {}  # by part: the buffer whose rows end with zeros
        self.pointwise: bool = taps == 1 and self.output == x.shape[2:] and max(window.stride) == 1
        # Few channels: the runs of memory in a row of columns are short, those along an image's row long.
        run = x.shape[1] * window.kernel[-1]
        short = groups == 1 and run < 16 and self.output[-1] > run
        self.by_tap: bool = few or (short if by_tap is None else by_tap)
        self.frame: Frame = Frame(self.x, window, planar=self.by_tap and not few)

    def cut(self, elements: float) -> list[Block]:
        """Blocks of images, or of rows of one image, whose columns fit in the buffer."""
        row_bytes = prod(self.output[1:]) * self.groups * self.length * self.x.itemsize
        return cut(self.x.shape[0], self.output[0], row_bytes, COLUMN_BYTES, elements)

    def of(self, block: Block, do: Part) -> Array:
        """The columns of a block."""
        x, groups = self.x, self.groups
        if self.pointwise and (groups == 1 or x.flags.c_contiguous):
            flat = contiguous(do, "images", x[block.images, block.rows])
            return flat.reshape(-1, groups, self.channels).swapaxes(0, 1)
        part = self.frame.of(block, do)
        if not self.by_tap and prod(self.window.kernel) >= SEVERAL * prod(self.window.stride):
            part = in_runs(do, part)
        seen = self._windows(part, block.rows.stop - block.rows.start)
        if self.by_tap:
            columns = do.scratch("columns", seen.shape, x.dtype)
            do(setitem, columns, ..., seen)
            return columns.reshape(1, self.length, -1).swapaxes(1, 2)
        columns = do.scratch("columns", (groups, seen[0].size // self.length, self.row), x.dtype)
        if self.row > self.length and self._filled.get(do.slot) != columns.shape:
            do(setitem, columns, ..., 0)
            self._filled[do.slot] = columns.shape
        into = columns[..., : self.length].reshape(seen.shape)
        if part.flags.c_contiguous and are_runs(seen):
            seen, into = as_elements(seen, part), as_elements(into, columns)
        do(setitem, into, ..., seen)
        return columns

    def _windows(self, part: Array, rows: int) -> Array:
        """A view: every pixel's window, `(G, n, *P, *R, C/G)`; by tap `(*R, C, n, *P)`, if few `C` first."""
        by_image, *by_pixel, by_channel = part.strides
        taps, positions = self.window.steps(by_pixel)
        pixels = (part.shape[0], rows, *self.output[1:])
        if self.by_tap:
            shape, strides = (*self.window.kernel, self.channels), (*taps, by_channel)
            if self.few:
                shape, strides = (self.channels, *self.window.kernel), (by_channel, *taps)
            return memory.strided(part, shape + pixels, (*strides, by_image, *positions))
        shape = (self.groups, *pixels, *self.window.kernel, self.channels)
        strides = (self.channels * by_channel, by_image, *positions, *taps, by_channel)
        return memory.strided(part, shape, strides)


def are_runs(windows: Array) -> bool:
    """Whether the last two axes are a run of memory, and so short that NumPy's loop over it takes longer."""
    *_, tap, number = windows.strides
    run = windows[(0,) * (windows.ndim - 2)]
    return run.size <= SHORT_RUN and (tap, number) == (run.shape[-1] * run.itemsize, run.itemsize)


def as_elements(x: Array, memory_of_x: Array) -> Array:
    """A view of `x` without its last two axes, which are a run of memory each, copied as one element."""
    element = np.dtype((np.void, x.itemsize * prod(x.shape[-2:])))
    return np.ndarray(x.shape[:-2], element, memory_of_x, 0, x.strides[:-2])
