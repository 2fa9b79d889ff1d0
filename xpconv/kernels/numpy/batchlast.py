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

from ...backend import Array
from ...geometry import Shape, Window
from ...layout import batch_first, batch_last
from ..engine import memory, threads
from ..engine.plans import Part, Recorder
from ..engine.threads import PRODUCTS, even
from . import planar
from .blocks import ALL, Block, Ending, Frame, add_windows, arranged, contiguous, cut, in_runs, sum_of_blocks
from .products import add_product, multiply_wide

COLUMN_BYTES = 1 << 20
GRAD_BYTES = 1 << 21  # of columns that are added up
WORTH = 8  # bytes of columns whose making and use take as long as an element elsewhere


def pays(x_shape: Shape, dtype: Any, weight_shape: Shape, window: Window, groups: int) -> bool:
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
    """Write to `y (N, K, *P)`, whose batch is last in memory.

    Windows that are neighbours in a row share columns. The pixels that a row of windows reads are copied to
    `(width, *R[:-1], C, N)`. There the columns of each window are a contiguous matrix of one column an image,
    and the product with the weight reads a view of it.
    """
    image, window = framed(recorder, x, window)
    if not overlap(window):
        planar.conv(recorder, image, weight, window, batch_last(y)[None], ending, COLUMN_BYTES)
        return
    (k, c), n = weight.shape[:2], x.shape[0]
    w = arranged(recorder, weight, by_columns).reshape(k, -1)
    by_channel, *by_pixel, by_number = image.strides[1:]
    taps, positions = window.steps(by_pixel)
    out = batch_last(y)
    _, rows, *middle, width, _ = out.shape
    near = *middle, image.shape[-2], *window.kernel[:-1], c, n
    steps = *positions[:-1], by_pixel[-1], *taps[:-1], by_channel, by_number
    elements = y.size * w.shape[1] // PRODUCTS
    blocks = cut(1, rows, prod(near) * x.itemsize, COLUMN_BYTES, elements)

    def task(part: Part, i: int) -> None:
        some = blocks[i].rows
        seen = image[0, :, some.start * window.stride[0] :]
        columns = part.scratch("columns", (some.stop - some.start, *near), x.dtype)
        part(setitem, columns, ..., memory.strided(seen, columns.shape, steps))
        by_row, by_column = columns.strides[: 1 + len(middle)], columns.strides[1 + len(middle)]
        shape = *columns.shape[: 1 + len(middle)], width, w.shape[1], n
        strides = *by_row, window.stride[-1] * by_column, *columns.strides[-2:]
        windows = memory.strided(columns, shape, strides)
        values = out[:, some]
        multiply_wide(part, w, windows, values.transpose(*range(1, values.ndim - 1), 0, values.ndim - 1))
        ending.finish(values.reshape(k, -1), part)

    ending = ending._replace(bias=None if ending.bias is None else ending.bias[:, None])
    recorder.share(task, len(blocks), elements)


def overlap(window: Window) -> bool:
    """Whether the columns of windows in a row are a run of memory that they share."""
    return len(window.kernel) > 1 and window.dilation[-1] == 1


def by_columns(weight: Array) -> Array:
    """`(K, C, *R)` as `(K, R[-1], *R[:-1], C)`."""
    return weight.transpose(0, weight.ndim - 1, *range(2, weight.ndim - 1), 1)


def weight_grad(recorder: Recorder, grad: Array, x: Array, weight_shape: Shape, window: Window) -> Array:
    """`dw (K, C, *R)`."""
    k = weight_shape[0]
    image, window = framed(recorder, x, window)
    columns = planar.Columns(image, window)
    elements = grad.size * columns.length // PRODUCTS
    g = contiguous(recorder, "gradient", batch_last(grad))

    def add(part: Part, block: Block, total: Array, first: bool) -> None:
        add_product(part, columns.of(block, part)[0], g[:, block.rows].reshape(k, -1).T, total, first)

    shape = columns.length, k
    total = sum_of_blocks(recorder, columns.cut(elements, COLUMN_BYTES), elements, shape, x.dtype, add)
    return batch_first(total.reshape(*weight_shape[1:], k))


def framed(recorder: Recorder, x: Array, window: Window) -> tuple[Array, Window]:
    """All images as one image `(1, C, *S, N)` with the window's padding, and the window without padding."""
    whole = Block(slice(0, x.shape[1]), slice(0, window.output_shape(x.shape[2:])[0]))
    image = in_runs(recorder, Frame(batch_last(x), window).of(whole, recorder))
    return image[None], window._replace(padding=((0, 0),) * len(window.padding))


def input_grad(recorder: Recorder, grad: Array, weight: Array, dx: Array, window: Window) -> None:
    """Write to `dx (N, C, *S)`, batch last: a product gives columns, added tap by tap."""
    k, c = weight.shape[:2]
    into = batch_last(dx)
    g = contiguous(recorder, "gradient", batch_last(grad))
    w = contiguous(recorder, "weight", weight).reshape(k, c, -1)
    row_bytes = w.shape[2] * g[0, 0].nbytes
    elements = c * g.shape[1] * row_bytes // WORTH
    channels = even(c, max(1, GRAD_BYTES // (g.shape[1] * row_bytes)), threads.share(elements))
    blocks = cut(1, g.shape[1], max(b - a for a, b in channels) * row_bytes, GRAD_BYTES, 0)
    (lo, hi), *others = window.padding

    def task(part: Part, i: int) -> None:
        some = slice(*channels[i])
        side = w[:, some].reshape(k, -1).T
        target = into[some]
        part(setitem, target, ..., 0)
        for _, rows in blocks:
            values = g[:, rows]
            columns = part.scratch("columns", (len(side), *values.shape[1:]), g.dtype)
            multiply_wide(part, side, values.reshape(k, -1), columns.reshape(len(side), -1))
            columns = columns.reshape(len(target), -1, *values.shape[1:])
            seen = window._replace(padding=((lo - rows.start * window.stride[0], hi), *others))
            taps = enumerate(seen.taps(target.shape[1:-1], values.shape[1:-1]))
            pairs = ((target[ALL + tap.into], columns[:, j][ALL + tap.out]) for j, tap in taps)
            add_windows(part, pairs)

    recorder.share(task, len(channels), elements)
