"""Convolution of images in C order, `(N, C, *S)`, by im2col in that order: nothing is transposed.

The columns of an image, `(C·taps, pixels)`, are runs of its rows, and a product with the weight as it is
gives the channels of the output in C order. For images in C order `columns.py` makes a transposed copy of
them, or of the gradient, which takes up to half of the time. What layers compute is channels-last.
"""

from __future__ import annotations

from math import prod
from operator import setitem

import numpy as np

from ...backend import Array
from ...geometry import Shape, Window
from ...sums import SERIAL, SERIAL_PRODUCTS, SMALL_PRODUCT
from . import memory
from .blocks import Block, Ending, contiguous, cut, seen_part, sum_of_blocks
from .columns import COLUMN_BYTES
from .columns import Columns as ColumnsLast
from .memory import channels_last
from .plans import Part, Recorder
from .products import FEWEST_TO_SUM, long_product, multiply_wide, piece_size
from .threads import PRODUCTS

CHANNELS = 16  # fewer are copied to channels-last memory in no time
GAIN = 3  # times as long as to write a number of a sum takes it to transpose one of the gradient


def is_planar(x: Array) -> bool:
    """Whether `x` is in C order, and not channels-last as well."""
    return bool(x.flags.c_contiguous and not channels_last(x).flags.c_contiguous)


def pays(x: Array, weight_shape: Shape, window: Window) -> bool:
    """Whether it is faster than `columns` for these images: if there is one group and no strides."""
    few = x.shape[1] < CHANNELS or x.shape[1] > weight_shape[1] or max(window.stride) > 1
    return not few and is_planar(x)


def pays_to_weight(grad: Array, x: Array, weight_shape: Shape) -> bool:
    """The same for the gradient of the weight: if a sum for each image is not larger than the gradient."""
    few = grad.shape[1] < CHANNELS or x.shape[1] > weight_shape[1]
    return not few and is_planar(grad) and prod(weight_shape[1:]) <= GAIN * prod(grad.shape[2:])


def conv(recorder: Recorder, x: Array, weight: Array, window: Window, y: Array, ending: Ending) -> None:
    """Write to `y (N, K, *P)` in C order, with one product per image or rows of one."""
    k = weight.shape[0]
    columns = Columns(x, window)
    elements = y.size * columns.length // PRODUCTS
    blocks = cut(x.shape[0], y.shape[2], columns.row_bytes, COLUMN_BYTES, elements)
    w = contiguous(recorder, "weight", weight).reshape(k, -1)
    ending = ending._replace(bias=None if ending.bias is None else ending.bias[:, None])

    def task(part: Part, i: int) -> None:
        block = blocks[i]
        out = y[block.images, :, block.rows]
        out = out.reshape(*out.shape[:2], -1)
        multiply_wide(part, w, columns.of(block, part), out)
        ending.finish(out, part)

    recorder.share(task, len(blocks), elements)


def weight_grad(recorder: Recorder, grad: Array, x: Array, weight_shape: Shape, window: Window) -> Array:
    """`dw (1, K, C, *R)`: a sum over images of products of the gradient, in C order, and any columns."""
    k = weight_shape[0]
    own = Columns(x, window)
    planar = own.pointwise and is_planar(x)
    columns = ColumnsLast(x, window, 1)
    length = own.length
    elements = grad.size * length // PRODUCTS
    blocks = cut(x.shape[0], grad.shape[2], own.row_bytes, COLUMN_BYTES, elements)
    products = k * length

    def add(part: Part, block: Block, total: Array, first: bool) -> None:
        g = grad[block.images, :, block.rows]
        g = g.reshape(*g.shape[:2], -1)
        n, _, pixels = g.shape
        col = own.of(block, part).swapaxes(1, 2) if planar else columns.of(block, part)
        thin = products <= SMALL_PRODUCT and pixels > SERIAL_PRODUCTS
        piece = SERIAL_PRODUCTS if thin else piece_size(pixels, products, FEWEST_TO_SUM)
        of_images = part.scratch("of images", (n, k, length), x.dtype)
        long_product(part, g, col.reshape(n, pixels, length), piece, of_images)
        wide = np.float64 if n > SERIAL else total.dtype
        direct = first and total.dtype == wide
        more = total if direct else part.scratch("of block", total.shape, wide)
        part(np.add.reduce, of_images, 0, wide, more)
        if not first:
            part(np.add, total, more, total)
        elif not direct:
            part(setitem, total, ..., more)

    total = sum_of_blocks(recorder, blocks, elements, (k, length), x.dtype, add)
    if planar:
        return total.reshape(1, *weight_shape)
    return np.moveaxis(total.reshape(1, k, *window.kernel, weight_shape[1]), -1, 2)


class Columns:
    """im2col of one block at a time, `(n, C·taps, pixels)`, into the thread's own buffer."""

    def __init__(self, x: Array, window: Window) -> None:
        self.x, self.window = x, window
        self.output = window.output_shape(x.shape[2:])
        self.length = x.shape[1] * prod(window.kernel)
        self.row_bytes = prod(self.output[1:]) * self.length * x.itemsize
        self.pointwise = prod(window.kernel) == 1 and self.output == x.shape[2:] and max(window.stride) == 1

    def of(self, block: Block, do: Part) -> Array:
        """The columns of a block."""
        n, rows = block.images.stop - block.images.start, block.rows.stop - block.rows.start
        if self.pointwise:
            return self.x[block.images, :, block.rows].reshape(n, self.length, -1)
        part = self._frame(block, do)
        by_image, by_channel, *by_pixel = part.strides
        taps = (step * d for step, d in zip(by_pixel, self.window.dilation, strict=True))
        positions = (step * s for step, s in zip(by_pixel, self.window.stride, strict=True))
        shape = (n, part.shape[1], *self.window.kernel, rows, *self.output[1:])
        seen = memory.strided(part, shape, (by_image, by_channel, *taps, *positions))
        columns = do.scratch("columns", shape, part.dtype)
        do(setitem, columns, ..., seen)
        return columns.reshape(n, self.length, -1)

    def _frame(self, block: Block, do: Part) -> Array:
        """The part of the images that the block reads, with the window's border around it."""
        seen = seen_part(self.x.shape[2:], self.window, block.rows.start, block.rows.stop)
        place = (block.images, slice(None), *seen.inside[1:])
        part = self.x[place]
        if seen.whole:
            return part
        shape = (*part.shape[:2], *seen.shape)
        inside = (*(slice(0, n) for n in part.shape[:2]), *(slice(a, b) for a, b in seen.into))
        result = do.framed("padded", shape, part.dtype, inside, 0.0)
        do(setitem, result[inside], ..., part)
        return result
