"""The choice of the convolution algorithm for NumPy arrays. Tests compare every one with the reference.

- `depthwise`: sums of products, if every channel has its own kernel;
- `winograd`: for 3×3 kernels at stride 1 on many channels; fewer products, more rounding;
- `batch_last`: for few input and output channels and many images;
- `stripes`: Winograd's algorithm along the height only, for 3×3 kernels on fewer channels;
- `fft`: for large kernels, by Fourier transforms;
- `columns`: im2col by blocks, for all other cases;
- `planar`: the same for images in C order, in place of `columns`; the only choice by memory order.

float16 and bfloat16 are computed in float32 (`half.py`). The reference computes depthwise convolutions of
several outputs a channel.
"""

from __future__ import annotations

from functools import lru_cache
from operator import setitem
from typing import Any

import numpy as np

from ...backend import Array
from ...geometry import Bounds, Shape, Window
from ...layout import taps_last
from .. import fft
from ..engine import memory
from ..engine.plans import Recorder, planned
from ..exact import is_exact
from ..recorders import this_thread
from . import batchlast, columns, depthwise, fourier, planar, stripes, winograd
from .blocks import Ending, contiguous
from .half import HALF, in_float32
from .pointwise import clip, not_batch_last

ALGORITHMS: dict[str, Any] = {
    "depthwise": depthwise,
    "winograd": winograd,
    "batch_last": batchlast,
    "stripes": stripes,
    "columns": columns,
    "planar": planar,
}


def conv_algorithm(
    xp: Any,
    x_shape: tuple[int, ...],
    dtype: Any,
    weight_shape: tuple[int, ...],
    window: Window,
    groups: int = 1,
    algorithm: str = "auto",
) -> str | None:
    """One of the names above. The rules count operations and are derived from benchmarks."""
    dtype = np.dtype(np.float32 if np.dtype(dtype).itemsize == HALF else dtype)
    return _choice(x_shape, dtype, weight_shape, window, groups, algorithm, is_exact())


@lru_cache(maxsize=1024)
def _choice(
    x_shape: Shape,
    dtype: Any,
    weight_shape: Shape,
    window: Window,
    groups: int,
    algorithm: str,
    exact: bool,
    prepared: bool = False,
    to_input: bool = False,
) -> str | None:
    """The name of an algorithm; None for the reference.

    `prepared` if it need not transform the weight, `to_input` for the gradient of the input.
    """
    free = algorithm == "auto" and not exact
    if free and fft.pays(x_shape, dtype, weight_shape, window, groups, True, to_input):
        return "fft"
    if groups > 1 and weight_shape[1] == 1:
        return "depthwise" if depthwise.fits(weight_shape, groups, dtype) else None
    tiled = ""
    if winograd.possible(dtype, window, groups):
        shapes = x_shape, weight_shape, window
        costs = {
            "winograd": winograd.cost(*shapes, prepared),
            "stripes": stripes.cost(*shapes, prepared),
            "columns": winograd.direct_cost(*shapes),  # reduced by the margin that the others must gain
        }
        tiled = min(costs, key=costs.__getitem__) if free else algorithm
    if tiled == "winograd":
        return tiled
    if batchlast.pays(x_shape, dtype, weight_shape, window, groups):
        return "batch_last"
    return "stripes" if tiled == "stripes" else "columns"


def conv(
    xp: Any,
    x: Array,
    weight: Array,
    bias: Array | None,
    window: Window,
    groups: int = 1,
    algorithm: str = "auto",
    bounds: Bounds = None,
) -> Array:
    """Convolution by the algorithm that is chosen for these shapes."""
    if x.dtype.itemsize == HALF:
        return in_float32(conv, xp, x, weight, bias, window, groups, algorithm, bounds)
    recorder = this_thread.recorder
    prepared = recorder is not None and recorder.holds(weight)
    chosen = _choice(x.shape, x.dtype, weight.shape, window, groups, algorithm, is_exact(), prepared)
    if chosen is None:
        return None
    if chosen == "fft":
        return _conv_by_fft(x, weight, bias, window, bounds)
    if chosen == "columns" and recorder is None and planar.pays(x, weight.shape, window):
        chosen = "planar"
    y = _empty(chosen, (x.shape[0], weight.shape[0], *window.output_shape(x.shape[2:])), x.dtype)
    if y.size:
        if chosen != "batch_last":
            x = not_batch_last(x)
        _conv(chosen, x, weight, bias, window, y, bounds, False)
    return y


def _conv_by_fft(x: Array, weight: Array, bias: Array | None, window: Window, bounds: Bounds) -> Array:
    """No kernel: its calls are not planned, as they take long."""
    shape = (x.shape[0], weight.shape[0], *window.output_shape(x.shape[2:]))
    y: Array = memory.empty(shape, x.dtype)
    fft.conv(fourier.device(), x, weight, window, y)
    if bias is not None:
        y += bias.reshape(-1, *(1,) * len(window.kernel))
    return y if bounds is None else clip(np, y, *bounds)


def _empty(algorithm: str, shape: Shape, dtype: Any) -> Array:
    """A new array with the memory order of the algorithm's results."""
    makers = {"batch_last": memory.empty_batch_last, "planar": memory.empty}
    return makers.get(algorithm, memory.empty_images)(shape, dtype)


@planned
def _conv(
    recorder: Recorder,
    algorithm: str,
    x: Array,
    weight: Array,
    bias: Array | None,
    window: Window,
    y: Array,
    bounds: Bounds,
    mirrored: bool,
) -> None:
    """Write to `y`; if `mirrored`, with flipped kernels whose inputs and outputs are exchanged."""
    if mirrored:
        weight = _mirrored(recorder, weight, y.shape[1] // weight.shape[1])
    ALGORITHMS[algorithm].conv(recorder, x, weight, window, y, Ending(bias, bounds))


def _mirrored(recorder: Recorder, weight: Array, groups: int) -> Array:
    """`weight (K, C/G, *R)` as flipped kernels `(C, K/G, *R)`, whose taps come first in memory."""
    w = weight.reshape(groups, -1, *weight.shape[1:])
    taps = range(3, w.ndim)
    copy = contiguous(recorder, "mirrored", np.flip(w, tuple(taps)).transpose(*taps, 1, 0, 2))
    return taps_last(copy.reshape(*copy.shape[:-2], -1))


def conv_backward_weight(
    xp: Any,
    grad: Array,
    x: Array,
    weight_shape: tuple[int, ...],
    window: Window,
    groups: int = 1,
    algorithm: str = "auto",
) -> Array:
    """The gradient of the weight, by the algorithm of forward."""
    if x.dtype.itemsize == HALF:
        return in_float32(conv_backward_weight, xp, grad, x, weight_shape, window, groups, algorithm)
    if not grad.size:
        return np.zeros(weight_shape, grad.dtype)
    chosen = _choice(x.shape, x.dtype, weight_shape, window, groups, algorithm, is_exact())
    if chosen is None:
        return None
    dw = np.empty(weight_shape, x.dtype)
    if chosen == "fft":
        fft.weight_grad(fourier.device(), grad, x, window, dw)
        return dw
    if chosen == "columns" and planar.pays_to_weight(grad, x, weight_shape):
        chosen = "planar"
    if chosen != "batch_last":
        grad, x = not_batch_last(grad), not_batch_last(x)
    _weight_grad(chosen, grad, x, dw, window)
    return dw


@planned
def _weight_grad(
    recorder: Recorder, algorithm: str, grad: Array, x: Array, dw: Array, window: Window
) -> None:
    """Write to `dw`."""
    total = ALGORITHMS[algorithm].weight_grad(recorder, grad, x, dw.shape, window)
    recorder(setitem, dw.reshape(total.shape), ..., total)


def conv_backward_input(
    xp: Any,
    grad: Array,
    weight: Array,
    x_shape: tuple[int, ...],
    window: Window,
    groups: int = 1,
    algorithm: str = "auto",
) -> Array:
    """The gradient of the input: at stride 1 a convolution of the gradient with the mirrored kernel."""
    if grad.dtype.itemsize == HALF:
        return in_float32(conv_backward_input, xp, grad, weight, x_shape, window, groups, algorithm)
    if not grad.size or 0 in x_shape:
        return np.zeros(x_shape, grad.dtype)
    exact = is_exact()
    chosen = _choice(x_shape, grad.dtype, weight.shape, window, groups, algorithm, exact, to_input=True)
    around = None
    if chosen == "depthwise" and exact:
        return None
    if chosen not in (None, "batch_last", "depthwise", "fft"):
        around = _mirrored_window(window, x_shape[2:], grad.shape[2:])
        swapped = (x_shape[1], weight.shape[0] // groups, *weight.shape[2:])
        chosen = "columns"
        if around is not None:
            chosen = _choice(grad.shape, grad.dtype, swapped, around, groups, algorithm, exact)
    if chosen is None:
        return None
    if chosen == "fft":
        dx: Array = memory.empty(x_shape, grad.dtype)
        fft.input_grad(fourier.device(), grad, weight, window, dx)
        return dx
    if chosen != "batch_last":
        grad = not_batch_last(grad)
    dx = _empty(chosen, x_shape, grad.dtype)
    if around is None:
        _input_grad(chosen, grad, weight, dx, window)
    else:
        _conv(chosen, grad, weight, None, around, dx, None, True)
    return dx


@planned
def _input_grad(
    recorder: Recorder, algorithm: str, grad: Array, weight: Array, dx: Array, window: Window
) -> None:
    """Write to `dx`, adding each pixel of the gradient to the pixels that it depends on."""
    ALGORITHMS[algorithm].input_grad(recorder, grad, weight, dx, window)


@lru_cache(maxsize=1024)
def _mirrored_window(window: Window, spatial: Shape, output: Shape) -> Window | None:
    """The window of the convolution that gives the input gradient, at stride 1 or one position; or None."""
    if any(s > 1 and m > 1 for s, m in zip(window.stride, output, strict=True)):
        return None
    found = window.mirrored(spatial, output)
    return found if min(map(min, found.padding)) >= 0 else None
