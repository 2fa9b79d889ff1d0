"""Convolution of images in C order, `(N, C, *S)`, by im2col in that order: nothing is transposed.

The columns of an image, `(C·taps, pixels)`, are runs of its rows, and a product with the weight as it is
gives the channels of the output in C order. For images in C order `columns.py` makes a transposed copy of
them, or of the gradient, which takes up to half of the time. What layers compute is channels-last.

Pixels may have a last axis of several numbers, `(N, C, *S, run)`, with the same weights: see `batchlast.py`.
"""

from __future__ import annotations

from math import prod
from operator import setitem

import numpy as np

from ...backend import Array
from ...geometry import Shape, Window
from ...layout import channels_last
from ...sums import SERIAL
from ..engine import memory
from ..engine.plans import Part, Recorder
from ..engine.threads import PRODUCTS
from .blocks import Block, Ending, Frame, contiguous, cut, sum_of_blocks
from .columns import COLUMN_BYTES
from .columns import Columns as ColumnsLast
from .products import long_product, multiply, piece_to_sum

MANY_CHANNELS = 96  # from which on transposing the smaller operand of a 1×1 kernel's gradient is worth it
PIXELS = 512  # in a block of that
LONG = 512  # numbers in a row of columns, above which the pixels of several images give a faster product
CHANNELS = 16  # fewer are copied to channels-last memory in no time
GAIN = 2  # times as long as to write a number of a sum takes it to transpose one of the gradient


def is_planar(x: Array) -> bool:
    """Whether `x` is in C order, and not channels-last as well."""
    return bool(x.flags.c_contiguous and not channels_last(x).flags.c_contiguous)


def pays(x: Array, weight_shape: Shape, window: Window) -> bool:
    """Whether it is faster than `columns` for these images: for 1×1 kernels, one group and no strides.

    For larger kernels a product with the channels of the output last in memory is up to twice as fast.
    """
    few = x.shape[1] < CHANNELS or x.shape[1] > weight_shape[1] or max(*window.stride, *window.kernel) > 1
    return not few and is_planar(x)


def pays_to_weight(grad: Array, x: Array, weight_shape: Shape) -> bool:
    """The same for the gradient of the weight: if the sum for an image is not larger than the gradient."""
    few = grad.shape[1] < CHANNELS or x.shape[1] > weight_shape[1]
    return not few and is_planar(grad) and prod(weight_shape[1:]) <= min(LONG, GAIN * prod(grad.shape[2:]))


def conv(
    recorder: Recorder,
    x: Array,
    weight: Array,
    window: Window,
    y: Array,
    ending: Ending,
    limit: int = COLUMN_BYTES,
) -> None:
    """Write to `y (N, K, *P)`, in the order of `x`, with one product per image or rows of one."""
    columns = Columns(x, window)
    elements = y.size * columns.length // PRODUCTS
    blocks = columns.cut(elements, limit)
    w = contiguous(recorder, "weight", weight).reshape(weight.shape[0], -1).T
    ending = ending._replace(bias=None if ending.bias is None else ending.bias[:, None])

    def task(part: Part, i: int) -> None:
        out = y[blocks[i].images, :, blocks[i].rows]
        out = out.reshape(*out.shape[:2], -1)
        multiply(part, columns.of(blocks[i], part), w, out.swapaxes(1, 2))
        ending.finish(out, part)

    recorder.share(task, len(blocks), elements)


def weight_grad(recorder: Recorder, grad: Array, x: Array, weight_shape: Shape, window: Window) -> Array:
    """`dw (K, C, *R)`: a sum over images of products of the gradient, in C order, with columns."""
    k, c = weight_shape[:2]
    last = ColumnsLast(x, window, 1, by_tap=False)  # BLAS is slow if pixels are last in both operands
    in_order = last.pointwise and is_planar(x)
    turned = in_order and max(k, c) >= MANY_CHANNELS  # the operand with fewer channels
    first = Columns(x, window)
    columns = first if in_order else last
    last.row = filled(last.length)
    elements = grad.size * last.length // PRODUCTS
    shape = (c, k) if turned and c >= k else (k, last.length)

    def add(part: Part, block: Block, total: Array, first: bool) -> None:
        g = grad[block.images, :, block.rows]
        g = g.reshape(*g.shape[:2], -1)
        n, _, pixels = g.shape
        col = columns.of(block, part)
        col = col.reshape(n, pixels, col.shape[-1])
        if turned:
            a, b = (col.swapaxes(1, 2), g.swapaxes(1, 2)) if c >= k else (g, col)
            of_images = part.scratch("of images", (n, *shape), g.dtype)
            multiply(part, a, contiguous(part, "turned", b), of_images)
        else:
            of_images = part.scratch("of images", (n, k, col.shape[-1]), g.dtype)
            long_product(part, g, col, piece_to_sum(pixels, k * col.shape[-1]), of_images)
        wide = np.float64 if n > SERIAL else total.dtype
        direct = first and total.dtype == wide
        more = total if direct else part.scratch("of block", total.shape, wide)
        part(np.add.reduce, of_images[..., : shape[1]], 0, wide, more)
        if not first:
            part(np.add, total, more, total)
        elif not direct:
            part(setitem, total, ..., more)

    blocks = first.cut(elements, PIXELS * c * x.itemsize) if turned else columns.cut(elements)
    total = sum_of_blocks(recorder, blocks, elements, shape, grad.dtype, add)
    if in_order:
        return (total.T if shape != (k, c) else total).reshape(weight_shape)
    return np.moveaxis(total.reshape(k, *window.kernel, c), -1, 1)


def filled(length: int) -> int:
    """The length of a row of columns, with zeros, for which the product with the gradient is fastest.

    BLAS computes 16 numbers of a row of the result at a time, and what is left by 8, 4, 2 and 1.
    """
    if 24 < length < 32:
        return 32  # takes two thirds of the time
    return length + -length % 4 if length > 64 else length


class Columns:
    """im2col of one block at a time, `(n, pixels, C·taps)`, into the thread's own buffer."""

    def __init__(self, x: Array, window: Window) -> None:
        axes = len(window.kernel)
        self.x, self.window = x, window
        spatial = x.shape[2 : axes + 2]
        self.frame = Frame(x.reshape(-1, *spatial, prod(x.shape[axes + 2 :])), window)
        self.output = window.output_shape(spatial)
        self.length = x.shape[1] * prod(window.kernel)
        self.pointwise = self.length == x.shape[1] and self.output == x.shape[2:] and max(window.stride) == 1

    def cut(self, elements: int, limit: int = COLUMN_BYTES) -> list[Block]:
        """Blocks of images, or of rows of one image, whose columns fit in the buffer."""
        row_bytes = prod(self.output[1:]) * self.length * self.frame.x.shape[-1] * self.x.itemsize
        return cut(self.x.shape[0], self.output[0], row_bytes, limit, elements)

    def of(self, block: Block, do: Part) -> Array:
        """The columns of a block."""
        (n, c), rows = self.x[block.images].shape[:2], block.rows
        if self.pointwise:
            return self.x[block.images, :, rows].reshape(n, c, -1).swapaxes(1, 2)
        part = self.frame.of(Block(slice(c * block.images.start, c * block.images.stop), rows), do)
        by_channel, *by_pixel, by_number = part.strides
        taps, positions = self.window.steps(by_pixel)
        shape = (n, c, *self.window.kernel, rows.stop - rows.start, *self.output[1:], part.shape[-1])
        seen = memory.strided(part, shape, (c * by_channel, by_channel, *taps, *positions, by_number))
        columns = do.scratch("columns", shape, part.dtype)
        do(setitem, columns, ..., seen)
        return columns.reshape(n, self.length, -1).swapaxes(1, 2)
