"""Depthwise convolution as sums of products over taps, by `einsum`; matrix products would be too thin.

One call adds all taps to an output row of all channels, which stays in the first-level cache.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator
from math import prod
from operator import setitem
from typing import Any, NamedTuple

import numpy as np

from ...backend import Array
from ...geometry import Window
from ...sums import SERIAL
from . import memory
from .blocks import ALL, Block, Ending, Frame, contiguous, cut, dtype_of_total, sum_of_blocks
from .memory import channels_first, channels_last
from .plans import Part, Recorder

BLOCK_BYTES = 1 << 21
TAPS = "rstuv"  # einsum's names of the kernel's axes
PIXELS = "hwxyz"  # and of the image's


def fits(weight_shape: tuple[int, ...], groups: int, dtype: Any) -> bool:
    """Whether every channel has a kernel of its own, and sums need no wider dtype."""
    return groups > 1 and weight_shape[:2] == (groups, 1) and dtype.itemsize > 2


def conv(recorder: Recorder, x: Array, weight: Array, window: Window, y: Array, ending: Ending) -> None:
    """Write to `y (N, C, *P)`."""
    into = channels_last(y)
    seen = Seen(x, window, y.shape[2:])
    w = weight[:, 0].transpose(*range(1, y.ndim - 1), 0)  # (*R, C)
    if seen.merged:
        shape = (*w.shape[:-1], y.shape[-1], w.shape[-1])
        narrow = w
        row = recorder.prepared(
            "weight",
            shape,
            w.dtype,
            weight,
            lambda do, row: do(setitem, row, ..., narrow[..., None, :]),
            wide=True,
        )
        w = row.reshape(*w.shape[:-1], -1)
        ending = ending.times(y.shape[-1], recorder)
    blocks = cut(x.shape[0], into.shape[1], 2 * into[0, 0].nbytes, BLOCK_BYTES, 2 * y.size)
    taps, pixels = TAPS[: len(window.kernel)], PIXELS[: len(window.kernel) - seen.merged]
    formula = f"n{pixels[0]}{taps}{pixels[1:]}k,{taps}k->n{pixels}k"

    def task(do: Part, i: int) -> None:
        total = seen.rows(into[blocks[i].images, blocks[i].rows])
        for phase, view in seen.of(blocks[i], do):
            if phase.start == 0:
                do(np.einsum, formula, view, w[..., phase, :], out=total)
            else:
                part = do.scratch("part", total.shape, total.dtype)
                do(np.einsum, formula, view, w[..., phase, :], out=part)
                do(np.add, total, part, total)
        ending.finish(total, do)

    recorder.share(task, len(blocks), 2 * y.size)


def weight_grad(
    recorder: Recorder, grad: Array, x: Array, weight_shape: tuple[int, ...], window: Window
) -> Array:
    """`dw (C, 1, *R)`: for each tap the sum of the products of the gradient with the pixels that it reads."""
    g, channels = channels_last(grad), x.shape[1]
    seen = Seen(x, window, grad.shape[2:])
    row_bytes, along = 2 * g[0, 0].nbytes, prod(grad.shape[3 : grad.ndim - seen.merged])
    most = max(1, SERIAL // along) * row_bytes  # `einsum` adds one element at a time
    blocks = cut(x.shape[0], g.shape[1], row_bytes, min(BLOCK_BYTES, most), grad.size)
    pixels = PIXELS[: len(window.kernel) - seen.merged]
    formula = f"n{pixels}k,n{pixels}k->k"

    def add(do: Part, block: Block, total: Array, first: bool) -> None:
        out = seen.rows(contiguous(do, "gradient", g[block.images, block.rows]))
        for phase, view in seen.of(block, do):
            taps = view.shape[2 : 2 + len(window.kernel)]
            sums = do.scratch("sums", (*taps, view.shape[-1]), x.dtype)
            for tap in itertools.product(*map(range, taps)):
                do(np.einsum, formula, view[ALL + ALL + tap], out, out=sums[tap])
            narrow = do.scratch("narrow", (*taps, channels), total.dtype)
            do(np.add.reduce, sums.reshape(*taps, -1, channels), len(taps), total.dtype, narrow)
            part = total[..., phase, :]
            if first:
                do(setitem, part, ..., narrow)
            else:
                do(np.add, part, narrow, part)

    dtype = dtype_of_total(x.dtype, grad.shape[-1])
    total = sum_of_blocks(recorder, blocks, grad.size, (*window.kernel, channels), dtype, add)
    return np.moveaxis(total, -1, 0)[:, None]


def input_grad(recorder: Recorder, grad: Array, weight: Array, dx: Array, window: Window) -> None:
    """Write to `dx (N, C, *S)`: along an axis of stride s by s convolutions, each for every s-th pixel."""
    for pixels, seen, taps, part in _phases(dx.shape[2:], grad.shape[2:], window):
        into, g = dx[pixels], grad[seen]
        if not into.size:
            continue
        if not g.size or part is None:
            recorder(setitem, into, ..., 0)
        elif max(window.stride) == 1:
            conv(recorder, g, weight[taps], part, dx, Ending())
        else:
            last = channels_last(into)
            y = channels_first(recorder.scratch("phase", last.shape, dx.dtype))
            conv(recorder, g, weight[taps], part, y, Ending())
            recorder(setitem, into, ..., y)


class Phase(NamedTuple):
    """Every s-th pixel along each axis, the gradients, taps and window they read (None: no taps)."""

    pixels: tuple[slice, ...]
    seen: tuple[slice, ...]
    taps: tuple[slice, ...]
    window: Window | None


@functools.lru_cache(maxsize=1024)
def _phases(spatial: tuple[int, ...], output: tuple[int, ...], window: Window) -> list[Phase]:
    phases = []
    for axes in itertools.product(*map(_phases_along, spatial, output, *window)):
        pixels, seen, taps, kernel, padding, dilation = zip(*axes, strict=True)
        part = Window(kernel, (1,) * len(kernel), padding, dilation) if all(kernel) else None
        phases.append(Phase(ALL + ALL + pixels, ALL + ALL + seen, ALL + ALL + taps, part))
    return phases


def _phases_along(n: int, m: int, k: int, s: int, pads: tuple[int, int], d: int) -> list[Any]:
    """By tap `r` output `p` reads pixel `p·s - lo + r·d`, and `a + s·t` enters `p = t + (a + lo - r·d)/s`.

    For every `a`: slices of its pixels, of the gradient that they read and of the taps (from the last to the
    first), the number of taps, the padding and the dilation.
    """
    phases = []
    for a in range(s):
        shift = a + pads[0]
        taps = [r for r in reversed(range(k)) if (shift - r * d) % s == 0]
        first, last = ((shift - r * d) // s for r in (taps[0], taps[-1])) if taps else (0, 0)
        low, high = -first, last + len(range(a, n, s)) - m
        step = taps[0] - taps[1] if len(taps) > 1 else 1
        phases.append(
            (
                slice(a, None, s),
                slice(max(0, -low), m - max(0, -high)),
                slice(taps[0], taps[-1] - step if taps[-1] >= step else None, -step) if taps else slice(0),
                len(taps),
                (max(0, low), max(0, high)),
                (last - first) // (len(taps) - 1) if len(taps) > 1 else 1,
            )
        )
    return phases


class Seen:
    """The pixels that blocks of output read through each tap.

    If `merged`, a row's pixels and channels are one axis, so that the innermost loop is long. At stride s
    this takes s frames of every s-th pixel: the taps `phase, phase + s, …` read one of them.
    """

    def __init__(self, x: Array, window: Window, output: tuple[int, ...]) -> None:
        images = channels_last(x)
        self.output = output
        self.merged = len(window.kernel) > 1 and 1 in (window.stride[-1], window.dilation[-1])
        step = window.stride[-1] if self.merged else 1
        self.frames = []
        for phase in range(min(step, window.kernel[-1])):
            start, part = _every(images.shape[-2], output[-1], window, step, phase)
            pixels = images if step == 1 else images[..., start::step, :]
            self.frames.append((slice(phase, None, step), Frame(pixels, part, name=f"padded {phase}")))

    def rows(self, out: Array) -> Array:
        """Output `(n, rows, *P, C)`, the last two axes as one if merged: a view of channels-last memory."""
        return out.reshape(*out.shape[:-2], -1) if self.merged else out

    def of(self, block: Block, do: Part) -> Iterator[tuple[slice, Array]]:
        """Taps of the last axis, and a view `(n, rows, *taps, *P, C)` of the pixels that they read."""
        for taps, frame in self.frames:
            pixels = contiguous(do, "pixels", frame.of(block, do))
            yield taps, self._view(pixels, block.rows.stop - block.rows.start, frame.window)

    def _view(self, pixels: Array, rows: int, window: Window) -> Array:
        by_image, *by_pixel, by_channel = pixels.strides
        positions = [b * s for b, s in zip(by_pixel, window.stride, strict=True)]
        seen = [b * d for b, d in zip(by_pixel, window.dilation, strict=True)]
        count, channels = pixels.shape[0], pixels.shape[-1]
        row = self.output[1:]
        if self.merged:
            shape = (count, rows, *window.kernel, *row[:-1], row[-1] * channels)
            return memory.strided(
                pixels, shape, (by_image, positions[0], *seen, *positions[1:-1], by_channel)
            )
        shape = (count, rows, *window.kernel, *row, channels)
        return memory.strided(pixels, shape, (by_image, *positions[:1], *seen, *positions[1:], by_channel))


@functools.lru_cache(maxsize=1024)
def _every(size: int, output: int, window: Window, step: int, phase: int) -> tuple[int, Window]:
    """For every `step`-th pixel of a padded row from `phase` on: the first inside, and the window."""
    if step == 1:
        return 0, window
    low = window.padding[-1][0]
    start = (phase - low) % step
    low = (start + low - phase) // step
    taps = len(range(phase, window.kernel[-1], step))
    high = output + taps - 1 - low - len(range(start, size, step))
    return start, Window(
        (*window.kernel[:-1], taps),
        (*window.stride[:-1], 1),
        (*window.padding[:-1], (low, high)),
        window.dilation,
    )
