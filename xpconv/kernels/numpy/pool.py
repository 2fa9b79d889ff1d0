"""Pooling by taps, over blocks of images.

Kernels see images as `(N, *S, C)`, or, with the batch last in memory, as `(C, *S, N)`.
"""

from __future__ import annotations

import functools
from math import prod
from operator import setitem
from typing import Any

import numpy as np

from ...backend import Array
from ...geometry import Bounds, Window
from ...layout import batch_last, channels_last, is_batch_last
from ...sums import SERIAL_PRODUCTS
from ..engine import memory
from ..engine.plans import Part, Recorder, planned
from .blocks import ALL, Block, Ending, Frame, contiguous, cut
from .products import long_product

BLOCK_BYTES = 1 << 22
ROWS_BYTES = 1 << 20
MOST_TAPS = 64  # of windows whose taps run one by one


def max_pool(
    xp: Any,
    x: Array,
    window: Window,
    ceil_mode: bool = False,
    winners: bool = True,
    bounds: Bounds = None,
) -> tuple[Array, Array | None] | None:
    """The winner's number only grows from tap to tap, so it is a maximum too, if all maxima are finite.

    None for integers, and for winners of large windows, unless these are large along one axis alone.
    """
    taps = prod(window.kernel)
    most = MOST_TAPS if taps > max(window.kernel) else 254
    if not x.size or (winners and taps > most) or x.dtype.kind in "iu":
        return None
    empty = memory.images_like(x)
    y = empty((*x.shape[:2], *window.output_shape(x.shape[2:], ceil_mode)), x.dtype)
    winner, finite = None, None
    if winners:
        winner, finite = empty(y.shape, "uint8"), np.empty((), bool)
    _maxima(x, window, bounds, y, winner, finite)
    return None if winners and not finite else (y, winner)


@planned
def _maxima(
    recorder: Recorder,
    x: Array,
    window: Window,
    bounds: Bounds,
    y: Array,
    winner: Array | None,
    finite: Array | None,
) -> None:
    """Write maxima to `y (N, C, *P)`, their taps to `winner`, and whether all are finite to `finite ()`."""
    x, y, winner = _in_memory_order(x, y, winner)
    ending = Ending(bounds=bounds)
    output = y.shape[1:-1]
    window = window.fitted(x.shape[1:-1], output)
    frame = Frame(x, window, border=-np.inf)
    blocks = cut(x.shape[0], output[0], x[:1].nbytes // output[0], ROWS_BYTES, x.size)
    row = prod(y.shape[2:])
    each = recorder.scratch("finite", (len(blocks),), bool)

    def task(do: Part, i: int) -> None:
        images, rows = blocks[i]
        seen, top = frame.of(blocks[i], do), y[images, rows]
        if winner is None:
            _maximum(seen, window, top, do)
        else:
            _winners(seen, window, top, winner[images, rows], do)
            better = do.scratch("mask", top.shape, bool)
            do(np.isfinite, top, better)
            do(np.logical_and.reduce, better.reshape(-1), 0, None, each[i : i + 1].reshape(()))
        ending.finish(top.reshape(-1, row), do)

    recorder.share(task, len(blocks), x.size)
    if finite is not None:
        recorder(np.logical_and.reduce, each, 0, None, finite)


def _winners(images: Array, window: Window, into: Array, winner: Array, do: Part) -> None:
    """Write the maxima of windows on `images (n, *S, C)` to `into`, and their tap numbers to `winner`."""
    taps = window._replace(padding=((0, 0),) * len(window.kernel)).taps(images.shape[1:-1], into.shape[1:-1])
    do(setitem, into, ..., images[ALL + taps[0].into])
    do(setitem, winner, ..., 0)
    better, step = do.scratch("mask", winner.shape, bool), do.scratch("step", winner.shape, "uint8")
    for t, tap in enumerate(taps[1:], start=1):
        value = images[ALL + tap.into]
        do(np.greater, value, into, better)
        do(np.multiply, better.view("uint8"), np.uint8(t), step)
        do(np.maximum, winner, step, out=winner)
        do(np.maximum, value, into, out=into)


def _maximum(images: Array, window: Window, into: Array, do: Part) -> None:
    """Write the maxima of windows on `images (n, *S, C)` to `into`: along one axis after the other."""
    last = len(window.kernel)
    for axis, (k, s, d) in enumerate(
        zip(window.kernel, window.stride, window.dilation, strict=True), start=1
    ):
        if k == s == 1 and axis < last:
            continue
        shape = (*images.shape[:axis], into.shape[axis], *images.shape[axis + 1 :])
        top = into if axis == last else do.scratch(f"maxima {axis}", shape, into.dtype)
        ends = [r * d + (into.shape[axis] - 1) * s + 1 for r in range(k)]
        views = [images[ALL * axis + (slice(r * d, end, s),)] for r, end in enumerate(ends)]
        if k == 1:
            do(setitem, top, ..., views[0])
        for i, view in enumerate(views[1:]):
            do(np.maximum, view, top if i else views[0], out=top)
        images = top


def max_pool_backward(xp: Any, grad: Array, winner: Array, x_shape: tuple[int, ...], window: Window) -> Array:
    """By taps; for large windows output by output."""
    dx = memory.images_like(winner)(x_shape, grad.dtype)
    put_back = _put_back if prod(window.kernel) <= MOST_TAPS else _count_back
    put_back(grad, winner, window, dx)
    return dx


def _count_back(grad: Array, winner: Array, window: Window, dx: Array) -> None:
    """As `_put_back`, by `bincount`: one addition in float64 for each output, however large the window is."""
    winner, grad, dx = _in_memory_order(winner, grad, dx)
    most, channels = prod(window.kernel), dx.shape[-1]
    for block in _cut(dx):
        number, some = winner[block.images], dx[block.images]
        inside = number < most
        taps = np.unravel_index(np.minimum(number, most - 1), window.kernel)
        index = np.arange(len(some)).reshape(-1, *(1,) * (some.ndim - 1))
        for axis, (tap, s, (lo, _), d) in enumerate(zip(taps, *window[1:], strict=True), start=1):
            start = np.arange(number.shape[axis]) * s - lo
            position = start.reshape(-1, *(1,) * (some.ndim - 1 - axis)) + tap * d
            inside &= (position >= 0) & (position < some.shape[axis])
            index = index * some.shape[axis] + position
        index = index * channels + np.arange(channels)
        values = grad[block.images][inside].astype("float64")
        some[...] = np.bincount(index[inside], values, some.size).reshape(some.shape)


@planned
def _put_back(recorder: Recorder, grad: Array, winner: Array, window: Window, dx: Array) -> None:
    """Write to `dx (N, C, *S)`, each gradient at the position of its winner."""
    winner, grad, dx = _in_memory_order(winner, grad, dx)
    taps = window.taps(dx.shape[1:-1], grad.shape[1:-1])
    apart = all(
        s >= d * (k - 1) + 1 for k, s, d in zip(window.kernel, window.stride, window.dilation, strict=True)
    )
    covered = apart and sum(dx[:1][ALL + tap.into].size for tap in taps) == dx[:1].size
    bits = f"i{grad.dtype.itemsize}"
    blocks = _cut(dx)

    def task(do: Part, i: int) -> None:
        images = blocks[i].images
        some, number = dx[images], winner[images]
        values = contiguous(do, "values", grad[images]).view(bits)
        if not covered:
            do(setitem, some, ..., 0)
        mask = do.scratch("mask", number.shape, bool)
        product = do.scratch("product", number.shape, grad.dtype)
        for t, tap in enumerate(taps):
            do(np.equal, number, np.uint8(t) if number.dtype == "uint8" else t, mask)
            where = ALL + tap.out
            if apart:  # the mask times the gradient's bits, so that 0 · ∞ is 0
                do(np.multiply, values[where], mask[where], some.view(bits)[ALL + tap.into])
            else:
                do(np.multiply, values, mask, product.view(bits))
                target = some[ALL + tap.into]
                do(np.add, target, product[where], target)

    recorder.share(task, len(blocks), dx.size)


def global_avg_pool(xp: Any, x: Array) -> Array:
    """By products for each image; None for half precision, whose sums need more digits, and for no pixels."""
    if not x.size or x.dtype.itemsize == 2:
        return None
    y = memory.empty_images((*x.shape[:2], *(1,) * (x.ndim - 2)), x.dtype)
    _means(x, y)
    return y


@planned
def _means(recorder: Recorder, x: Array, y: Array) -> None:
    """Write to `y (N, C, 1, …)`."""
    pixels = contiguous(recorder, "pixels", channels_last(x)).reshape(x.shape[0], -1, x.shape[1])
    n, count, c = pixels.shape
    weights = np.broadcast_to(_weights(count, x.dtype), (n, 1, count))
    piece = SERIAL_PRODUCTS if count > SERIAL_PRODUCTS else 0
    long_product(recorder, weights, pixels, piece, channels_last(y).reshape(n, 1, c))


@functools.lru_cache(maxsize=64)
def _weights(count: int, dtype: Any) -> Array:
    """The weights of a mean, as a row."""
    return memory.constant(np.full((1, count), 1 / count, dtype))


def sum_pool(xp: Any, x: Array, window: Window, ceil_mode: bool = False) -> Array:
    """By blocks of images."""
    y = memory.images_like(x)((*x.shape[:2], *window.output_shape(x.shape[2:], ceil_mode)), x.dtype)
    _add_taps(x, window, y, False)
    return y


def sum_pool_backward(xp: Any, grad: Array, x_shape: tuple[int, ...], window: Window) -> Array:
    """By blocks of images."""
    dx = memory.images_like(grad)(x_shape, grad.dtype)
    _add_taps(grad, window, dx, True)
    return dx


@planned
def _add_taps(recorder: Recorder, x: Array, window: Window, y: Array, back: bool) -> None:
    """Write to `y` the sum over taps of what `x` has of each: windows, or if `back` their gradients."""
    x, y = _in_memory_order(x, y)
    images, output = (y, x) if back else (x, y)
    taps = window.taps(images.shape[1:-1], output.shape[1:-1])
    blocks = _cut(images)

    def task(do: Part, i: int) -> None:
        some, out = x[blocks[i].images], y[blocks[i].images]
        do(setitem, out, ..., 0)
        for _, *places in taps:
            to, of = reversed(places) if back else places
            target = out[ALL + to]
            do(np.add, target, some[ALL + of], target)

    recorder.share(task, len(blocks), max(x.size, y.size))


def _cut(x: Array) -> list[Block]:
    """Blocks of whole images."""
    return cut(x.shape[0], 1, prod(x.shape[1:]) * x.itemsize, BLOCK_BYTES, x.size)


def _in_memory_order(first: Array, *others: Array) -> list[Array]:
    """Views `(N, *S, C)`, or `(C, *S, N)` if the batch of the first array is last in memory."""
    view = batch_last if is_batch_last(first) else channels_last
    return [None if x is None else view(x) for x in (first, *others)]
