"""Depthwise convolution as sums of products over taps, by `einsum`; matrix products would be too thin.

One call adds all taps to runs of some neighbouring outputs of all channels. Pixels and channels of a run are
one axis in memory, so that NumPy's innermost loop is long, but outputs and weights stay in the first-level
cache. For that a convolution of stride s along rows is computed as the sum of those at stride 1 of every s-th
pixel of a row, with the taps that read these.
"""

from __future__ import annotations

import functools
import itertools
from math import gcd, prod
from operator import setitem
from typing import Any, NamedTuple

import numpy as np

from ...backend import Array
from ...geometry import Shape, Window
from ...layout import channels_first, channels_last
from ...sums import SERIAL
from ..engine import memory
from ..engine.plans import Part, Recorder
from .blocks import ALL, Block, Ending, Frame, contiguous, cut, dtype_of_total, sum_of_blocks

BLOCK_BYTES = 1 << 21
RUN = 600  # elements of a run of outputs, at least
TAPS = "rstuv"  # einsum's names of the kernel's axes
PIXELS = "hwxyz"  # and of the image's


def fits(weight_shape: Shape, groups: int, dtype: Any) -> bool:
    """Whether every channel has a kernel of its own, and sums need no wider dtype."""
    return groups > 1 and weight_shape[:2] == (groups, 1) and dtype.itemsize > 2


def conv(recorder: Recorder, x: Array, weight: Array, window: Window, y: Array, ending: Ending) -> None:
    """Write to `y (N, C, *P)`."""
    window, x, w, y = _planar(window, x, weight, y)
    terms = []
    for i, phase in enumerate(_phases(x.shape[2:], y.shape[2:], window, rows=True)):
        row = _repeated(recorder, f"weight {i}", w[phase.taps], weight, y)
        terms.append((Windows(x[phase.pixels], phase.window, f"padded {i}"), row))
    _sum(recorder, terms, y, ending)


def input_grad(recorder: Recorder, grad: Array, weight: Array, dx: Array, window: Window) -> None:
    """Write to `dx (N, C, *S)`: for every s-th pixel a convolution of the gradient with the mirrored taps."""
    window, grad, w, dx = _planar(window, grad, weight, dx)
    phases = _phases(dx.shape[2:], grad.shape[2:], window)
    if len(phases) < prod(window.stride):  # no tap reads the other pixels
        recorder(setitem, dx, ..., 0)
    for phase in phases:
        y = into = dx[phase.pixels]
        if not into.size:
            continue
        if max(window.stride) > 1:
            y = channels_first(recorder.scratch("phase", channels_last(into).shape, dx.dtype))
        flipped = np.flip(w[phase.taps], tuple(range(2, w.ndim)))
        row = _repeated(recorder, "weight", flipped, weight, y)
        around = phase.window.mirrored(into.shape[2:], grad.shape[2:])
        _sum(recorder, [(Windows(grad, around, "padded"), row)], y, Ending())
        if y is not into:
            recorder(setitem, into, ..., y)


def _repeated(recorder: Recorder, name: str, weight: Array, source: Array, y: Array) -> Array:
    """The weight `(C, 1, *R)`, a view of `source`, as `(*R, run)`: once for every pixel of a run of `y`."""
    last = weight[:, 0].transpose(*range(1, weight.ndim - 1), 0)[..., None, :]
    shape = (*weight.shape[2:], _run(y.shape[-1], weight.shape[0]), weight.shape[0])
    row = recorder.prepared(
        name, shape, weight.dtype, source, lambda do, row: do(setitem, row, ..., last), wide=True
    )
    return row.reshape(*weight.shape[2:], -1)


@functools.lru_cache(maxsize=1024)
def _run(width: int, channels: int) -> int:
    """The pixels of a run, of which a row has a whole number."""
    return next(p for p in range(1, width + 1) if width % p == 0 and (p * channels >= RUN or p == width))


def _sum(recorder: Recorder, terms: list[tuple[Windows, Array]], y: Array, ending: Ending) -> None:
    """Write to `y` the sum of products of pixels and weights, by `_repeated`, and finish it."""
    into = channels_last(y)
    ending = ending.times(y.shape[-1], recorder)
    blocks = cut(y.shape[0], into.shape[1], 2 * into[0, 0].nbytes, BLOCK_BYTES, 2 * y.size)
    taps, pixels = TAPS[: y.ndim - 2], PIXELS[: y.ndim - 2]
    run = terms[0][1].shape[-1]
    formula = f"n{pixels[0]}{taps}{pixels[1:]}k,{taps}k->n{pixels}k"

    def task(do: Part, i: int) -> None:
        out = _rows(into[blocks[i].images, blocks[i].rows])
        for j, (seen, row) in enumerate(terms):
            total = do.scratch("part", out.shape, out.dtype) if j else out
            pixels_by_tap = seen.by_tap(blocks[i], run, do)
            do(np.einsum, formula, pixels_by_tap, row, out=total.reshape(*out.shape[:-1], -1, run))
            if j:
                do(np.add, out, total, out)
        ending.finish(out, do)

    recorder.share(task, len(blocks), 2 * y.size)


def weight_grad(recorder: Recorder, grad: Array, x: Array, weight_shape: Shape, window: Window) -> Array:
    """`dw (C, 1, *R)`: for each tap the sum of the products of the gradient with the pixels that it reads."""
    window, grad, x = _planar(window, grad, x)
    g, channels = channels_last(grad), x.shape[1]
    phases = _phases(x.shape[2:], grad.shape[2:], window, rows=True)
    seen = [Windows(x[p.pixels], p.window, f"padded {i}") for i, p in enumerate(phases)]
    row_bytes = 2 * g[0, 0].nbytes
    most = max(1, SERIAL // prod(grad.shape[3:-1])) * row_bytes  # `einsum` adds one element at a time
    blocks = cut(x.shape[0], g.shape[1], row_bytes, min(BLOCK_BYTES, most), grad.size)
    pixels = PIXELS[: grad.ndim - 3]
    formula = f"n{pixels}k,n{pixels}k->k"
    dtype = dtype_of_total(x.dtype, grad.shape[-1])

    def add(do: Part, block: Block, total: Array, first: bool) -> None:
        out = _rows(contiguous(do, "gradient", g[block.images, block.rows]))
        for phase, pixels in zip(phases, seen, strict=True):
            view = pixels.by_tap(block, out.shape[-1], do)[..., 0, :]
            kernel = phase.window.kernel
            sums = do.scratch("sums", (*kernel, out.shape[-1]), x.dtype)
            for tap in itertools.product(*map(range, kernel)):
                do(np.einsum, formula, view[ALL + ALL + tap], out, out=sums[tap])
            narrow = do.scratch("narrow", (*kernel, channels), total.dtype)
            do(np.add.reduce, sums.reshape(*kernel, -1, channels), len(kernel), total.dtype, narrow)
            part = total[phase.taps[2:]]
            if first:
                do(setitem, part, ..., narrow)
            else:
                do(np.add, part, narrow, part)

    total = sum_of_blocks(recorder, blocks, grad.size, (*window.kernel, channels), dtype, add)
    return np.moveaxis(total, -1, 0).reshape(weight_shape)


def _planar(window: Window, *arrays: Array) -> tuple[Any, ...]:
    """Images of one axis, and their window, with a second axis of one pixel, which makes rows short."""
    if len(window.kernel) > 1:
        return window, *arrays
    kernel, stride, padding, dilation = window
    window = Window((*kernel, 1), (*stride, 1), (*padding, (0, 0)), (*dilation, 1))
    return window, *(a[..., None] for a in arrays)


def _rows(out: Array) -> Array:
    """`(n, rows, *P, C)` with the last two axes as one: a view of channels-last memory."""
    return out.reshape(*out.shape[:-2], -1)


class Phase(NamedTuple):
    """Every s-th pixel along some axes, the taps that read these, and their window, there at stride 1."""

    pixels: tuple[slice, ...]
    taps: tuple[slice, ...]
    window: Window


@functools.lru_cache(maxsize=1024)
def _phases(spatial: Shape, output: Shape, window: Window, rows: bool = False) -> list[Phase]:
    """Along all axes, or only the last one if whole `rows` of pixels are in one piece."""
    along: list[Any] = list(map(_phases_along, spatial, output, *window))
    if rows:
        each = zip(*window, strict=True)
        along[:-1] = [[(slice(None), slice(None), *axis)] for axis in list(each)[:-1]]
    phases = []
    for axes in itertools.product(*along):
        pixels, taps, *parts = zip(*axes, strict=True)
        phases.append(Phase(ALL + ALL + pixels, ALL + ALL + taps, Window(*parts)))
    return phases


def _phases_along(n: int, m: int, k: int, s: int, pads: tuple[int, int], d: int) -> list[tuple[Any, ...]]:
    """By tap `r` output `p` reads pixel `p·s - lo + r·d`, so taps `r, r + step, …` read every s-th pixel.

    For each such `r`: slices of the pixels and taps, their number, stride, padding and dilation.
    """
    phases = []
    common = gcd(s, d)
    step = s // common
    for first in range(min(step, k)):
        low, start = divmod(first * d - pads[0], s)
        count = len(range(first, k, step))
        high = m + low + (count - 1) * (d // common) - len(range(start, n, s))
        phases.append((slice(start, None, s), slice(first, None, step), count, 1, (-low, high), d // common))
    return phases


class Windows(Frame):
    """The pixels that blocks of output read through each tap, at stride 1 along the last axis."""

    def __init__(self, x: Array, window: Window, name: str) -> None:
        super().__init__(channels_last(x), window, name=name)
        self.output: tuple[int, ...] = window.output_shape(x.shape[2:])

    def by_tap(self, block: Block, run: int, do: Part) -> Array:
        """A view `(n, rows, *R, *P, C)`, its last two axes as runs of `run` elements."""
        pixels = contiguous(do, "pixels", self.of(block, do))
        by_image, *by_pixel, by_channel = pixels.strides
        taps, (by_row, *by_output) = self.window.steps(by_pixel)
        by_output[-1] = run * by_channel
        rows, *middle, last = (block.rows.stop - block.rows.start, *self.output[1:])
        shape = (pixels.shape[0], rows, *self.window.kernel, *middle, last * pixels.shape[-1] // run, run)
        return memory.strided(pixels, shape, (by_image, by_row, *taps, *by_output, by_channel))
