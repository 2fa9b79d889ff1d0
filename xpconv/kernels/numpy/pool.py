"""Pooling by taps, over blocks of images.

Images whose batch is last in memory are, with batch and channels in each other's place, channels-last ones.
"""

from __future__ import annotations

import functools
from math import prod
from typing import Any

import numpy as np

from ...backend import Array
from ...geometry import Window
from .. import portable
from . import memory, threads
from .blocks import ALL, Block, Frame, cut
from .memory import channels_last, is_batch_last

BLOCK_BYTES = 1 << 22


def max_pool(
    xp: Any, x: Array, window: Window, output: tuple[int, ...], winners: bool = True
) -> tuple[Array, Array | None]:
    """As `portable.max_pool`.

    The winner's number only grows from tap to tap, so it is a maximum as well. That counts on finite maxima;
    else the portable way.
    """
    if not x.size or prod(window.kernel) >= 255:
        return portable.max_pool(xp, x, window, output, winners)
    if is_batch_last(x):
        y, winner = max_pool(xp, x.swapaxes(0, 1), window, output, winners)
        return y.swapaxes(0, 1), None if winner is None else winner.swapaxes(0, 1)
    y = memory.empty_images((*x.shape[:2], *output), x.dtype)
    images, best = channels_last(x), channels_last(y)
    original = window
    window, seen = _framed(window, x.shape[2:], output)
    frame = Frame(images, window, border=-np.inf)
    work = _cut(x)
    if not winners:

        def maximum(i: int) -> None:
            part = frame.of(Block(work[i].images, slice(0, output[0])))
            _maximum(part, window, best[work[i].images])

        threads.run(maximum, len(work), x.size)
        return y, None

    winner = memory.empty_images(y.shape, "uint8")
    who = channels_last(winner)
    taps = window._replace(padding=((0, 0),) * len(seen)).taps(seen, output)
    finite = [False] * len(work)

    def task(i: int) -> None:
        part = frame.of(Block(work[i].images, slice(0, output[0])))
        top, number = best[work[i].images], who[work[i].images]
        np.copyto(top, part[ALL + taps[0].into])
        number[...] = 0
        better = memory.scratch("mask", number.shape, bool)
        step = memory.scratch("step", number.shape, "uint8")
        for t, tap in enumerate(taps[1:], start=1):
            value = part[ALL + tap.into]
            np.greater(value, top, out=better)
            np.maximum(value, top, out=top)
            np.multiply(better.view("uint8"), np.uint8(t), out=step)
            np.maximum(number, step, out=number)
        finite[i] = bool(np.isfinite(top, out=better).all())

    threads.run(task, len(work), x.size)
    return (y, winner) if all(finite) else portable.max_pool(xp, x, original, output)


@functools.lru_cache(maxsize=1024)
def _framed(
    window: Window, spatial: tuple[int, ...], output: tuple[int, ...]
) -> tuple[Window, tuple[int, ...]]:
    """The window with the padding that its outputs see, and how much they see of each axis."""
    seen = tuple(
        (m - 1) * s + d * (k - 1) + 1
        for m, k, s, d in zip(output, window.kernel, window.stride, window.dilation, strict=True)
    )
    padding = tuple(
        (lo, size - n - lo) for size, n, (lo, _) in zip(seen, spatial, window.padding, strict=True)
    )
    return window._replace(padding=padding), seen


def _maximum(part: Array, window: Window, into: Array) -> None:
    """Maxima of windows on `part (n, *S, C)`: one axis after the other, and rows first, as they are long."""
    last = len(window.kernel)
    for axis, (k, s, d) in enumerate(
        zip(window.kernel, window.stride, window.dilation, strict=True), start=1
    ):
        if k == s == 1 and axis < last:
            continue
        shape = (*part.shape[:axis], into.shape[axis], *part.shape[axis + 1 :])
        top = into if axis == last else memory.scratch(f"maxima {axis}", shape, into.dtype)
        ends = [r * d + (into.shape[axis] - 1) * s + 1 for r in range(k)]
        views = [part[ALL * axis + (slice(r * d, end, s),)] for r, end in enumerate(ends)]
        if k == 1:
            np.copyto(top, views[0])
        for i, view in enumerate(views[1:]):
            np.maximum(view, top if i else views[0], out=top)
        part = top


def max_pool_input_grad(
    xp: Any, grad: Array, winner: Array, x_shape: tuple[int, ...], window: Window
) -> Array:
    """As `portable.max_pool_input_grad`."""
    if is_batch_last(winner):
        grad, winner = grad.swapaxes(0, 1), winner.swapaxes(0, 1)
        return max_pool_input_grad(xp, grad, winner, _swapped(x_shape), window).swapaxes(0, 1)
    dx = memory.empty_images(x_shape, grad.dtype)
    into, g, who = (channels_last(a) for a in (dx, grad, winner))
    taps = window.taps(x_shape[2:], grad.shape[2:])
    apart = all(
        s >= d * (k - 1) + 1 for k, s, d in zip(window.kernel, window.stride, window.dilation, strict=True)
    )
    covered = apart and all(
        m * s == n and k == s and pad == (0, 0)
        for m, n, k, s, pad in zip(
            grad.shape[2:], x_shape[2:], window.kernel, window.stride, window.padding, strict=True
        )
    )
    bits = f"i{grad.dtype.itemsize}"
    work = _cut(dx)

    def task(i: int) -> None:
        images = work[i].images
        part, number = into[images], who[images]
        values = g[images]
        if not values.flags.c_contiguous:
            copy = memory.scratch("values", values.shape, values.dtype)
            copy[...] = values
            values = copy
        values = values.view(bits)
        if not covered:
            part[...] = 0
        mask = memory.scratch("mask", number.shape, bool)
        product = memory.scratch("product", number.shape, grad.dtype)
        for t, tap in enumerate(taps):
            np.equal(number, np.uint8(t) if number.dtype == "uint8" else t, out=mask)
            where = ALL + tap.out
            if apart:  # the mask times the gradient's bits, so that 0 · ∞ is 0
                np.multiply(values[where], mask[where], out=part.view(bits)[ALL + tap.into])
            else:
                np.multiply(values, mask, out=product.view(bits))
                target = part[ALL + tap.into]
                np.add(target, product[where], out=target)

    threads.run(task, len(work), dx.size)
    return dx


def sum_pool(xp: Any, x: Array, window: Window, output: tuple[int, ...]) -> Array:
    """As `portable.sum_pool`."""
    if is_batch_last(x):
        return sum_pool(xp, x.swapaxes(0, 1), window, output).swapaxes(0, 1)
    y = memory.empty_images((*x.shape[:2], *output), x.dtype)
    images, total = channels_last(x), channels_last(y)
    taps = window.taps(x.shape[2:], output)
    work = _cut(x)

    def task(i: int) -> None:
        part, out = images[work[i].images], total[work[i].images]
        out[...] = 0
        for tap in taps:
            target = out[ALL + tap.out]
            np.add(target, part[ALL + tap.into], out=target)

    threads.run(task, len(work), x.size)
    return y


def sum_pool_input_grad(xp: Any, grad: Array, x_shape: tuple[int, ...], window: Window) -> Array:
    """As `portable.sum_pool_input_grad`."""
    if is_batch_last(grad):
        return sum_pool_input_grad(xp, grad.swapaxes(0, 1), _swapped(x_shape), window).swapaxes(0, 1)
    dx = memory.empty_images(x_shape, grad.dtype)
    into, g = channels_last(dx), channels_last(grad)
    taps = window.taps(x_shape[2:], grad.shape[2:])
    work = _cut(dx)

    def task(i: int) -> None:
        part, values = into[work[i].images], g[work[i].images]
        part[...] = 0
        for tap in taps:
            target = part[ALL + tap.into]
            np.add(target, values[ALL + tap.out], out=target)

    threads.run(task, len(work), dx.size)
    return dx


def _swapped(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (shape[1], shape[0], *shape[2:])


def _cut(x: Array) -> list[Block]:
    """Whole images."""
    return cut(x.shape[0], 1, prod(x.shape[1:]) * x.itemsize, BLOCK_BYTES, x.size)
