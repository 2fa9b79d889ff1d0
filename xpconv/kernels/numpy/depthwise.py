"""Depthwise convolution: too thin for a matrix product, so sums of products over taps, by `einsum`.

An output row of all channels stays in the nearest cache while all taps go over it, in one call.
"""

from __future__ import annotations

import functools
from math import prod
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from ...backend import Array
from ...geometry import Window
from .. import portable
from . import memory, threads
from .blocks import ALL, Block, Frame, cut, shares
from .memory import channels_last

BLOCK_BYTES = 1 << 21
TAPS = "rstuv"  # einsum's names of the kernel's axes
PIXELS = "hwxyz"  # and of the image's


def fits(weight_shape: tuple[int, ...], groups: int, dtype: Any) -> bool:
    """Whether every channel has a kernel of its own, and sums need no wider dtype."""
    return groups > 1 and weight_shape[:2] == (groups, 1) and dtype.itemsize > 2


def conv(x: Array, weight: Array, window: Window, y: Array, bias: Array | None) -> Array:
    """Into `y (N, C, *P)`."""
    x, into = channels_last(x), channels_last(y)
    w = np.moveaxis(weight[:, 0], 0, -1)  # (*R, C)
    merged = _merges(x, window)
    if merged:  # pixels and channels of a row are one axis: long runs for the innermost loop
        w = np.tile(w, y.shape[-1])
    frame = Frame(x, window)
    work = cut(x.shape[0], into.shape[1], 2 * into[0, 0].nbytes, BLOCK_BYTES)
    taps, pixels = TAPS[: len(window.kernel)], PIXELS[: len(window.kernel) - merged]
    formula = f"n{pixels[0]}{taps}{pixels[1:]}k,{taps}k->n{pixels}k"

    def task(i: int) -> None:
        block = work[i]
        out = into[block.images, block.rows]
        seen = _seen(frame, block, out.shape[2:-1], merged)
        np.einsum(formula, seen, w, out=out.reshape(*out.shape[:-2], -1) if merged else out)
        if bias is not None:
            out += bias

    threads.run(task, len(work), y.size * weight[0].size)
    return y


def weight_grad(grad: Array, x: Array, weight_shape: tuple[int, ...], window: Window) -> Array:
    """`dw (C, 1, *R)`: for each tap the products of the gradient with what it met, summed."""
    x, g = channels_last(x), channels_last(grad)
    merged = _merges(x, window)
    channels = x.shape[-1]
    frame = Frame(x, window)
    work = shares(cut(x.shape[0], g.shape[1], 2 * g[0, 0].nbytes, BLOCK_BYTES))
    parts: list[Array] = [None] * len(work)
    pixels = PIXELS[: len(window.kernel) - merged]
    formula = f"n{pixels}k,n{pixels}k->k"

    def task(i: int) -> None:
        total = np.zeros((*window.kernel, channels), x.dtype)
        for block in work[i]:
            out = g[block.images, block.rows]
            seen = _seen(frame, block, out.shape[2:-1], merged)
            out = out.reshape(*out.shape[:-2], -1) if merged else out
            for tap in np.ndindex(window.kernel):
                part = np.einsum(formula, seen[ALL + ALL + tap], out)
                total[tap] += part.reshape(-1, channels).sum(axis=0)
        parts[i] = total

    threads.run(task, len(parts), grad.size * prod(weight_shape[2:]))
    total = functools.reduce(np.add, parts)
    dw = np.moveaxis(total, -1, 0)
    return np.ascontiguousarray(dw).reshape(weight_shape)


def input_grad(grad: Array, weight: Array, x_shape: tuple[int, ...], window: Window) -> Array:
    """`dx (N, C, *S)` at any stride: zeros put between the gradients, then a convolution as at stride 1."""
    rows = [(n - 1) * s + 1 for n, s in zip(grad.shape[2:], window.stride, strict=True)]
    spread = memory.empty_images((*grad.shape[:2], *rows), grad.dtype)
    spread[...] = 0
    spread[ALL + ALL + tuple(slice(None, None, s) for s in window.stride)] = grad
    padding = []
    for n, m, k, (lo, _), d in zip(
        x_shape[2:], rows, window.kernel, window.padding, window.dilation, strict=True
    ):
        low = d * (k - 1) - lo
        padding.append((low, n - m + lo))
    mirrored = Window(window.kernel, (1,) * len(rows), tuple(padding), window.dilation)
    if min(min(pair) for pair in padding) < 0:
        return portable.conv_input_grad(np, grad, weight, x_shape, window, weight.shape[0])
    dx = memory.empty_images(x_shape, grad.dtype)
    w = np.flip(weight, tuple(range(2, weight.ndim)))
    return conv(spread, w, mirrored, dx, None)


def _merges(x: Array, window: Window) -> bool:
    """Whether the pixels of a window's row lie side by side, all channels of each."""
    return window.stride[-1] == 1 and len(window.kernel) > 1


def _seen(frame: Frame, block: Block, row: tuple[int, ...], merged: bool) -> Array:
    """A view `(n, rows, *taps, *row, C)` of a block's padded images; the last two axes as one if merged."""
    part, window = frame.of(block), frame.window
    if not part.flags.c_contiguous:
        part = _contiguous(part)
    by_image, *by_pixel, by_channel = part.strides
    positions = [s * t for s, t in zip(by_pixel, window.stride, strict=True)]
    taps = [s * d for s, d in zip(by_pixel, window.dilation, strict=True)]
    count, rows, channels = part.shape[0], block.rows.stop - block.rows.start, part.shape[-1]
    if merged:
        shape = (count, rows, *window.kernel, *row[:-1], row[-1] * channels)
        return as_strided(part, shape, (by_image, positions[0], *taps, *positions[1:-1], by_channel))
    shape = (count, rows, *window.kernel, *row, channels)
    return as_strided(part, shape, (by_image, *positions[:1], *taps, *positions[1:], by_channel))


def _contiguous(part: Array) -> Array:
    copy = memory.scratch("contiguous", part.shape, part.dtype)
    copy[...] = part
    return copy
