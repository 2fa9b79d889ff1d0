"""The choice of the convolution algorithm for NumPy arrays. Tests compare every one with `portable`.

- `depthwise`: sums of products, if every channel has its own kernel;
- `winograd`: for 3×3 kernels at stride 1 on many channels; fewer products, more rounding;
- `batch_last`: for few input and output channels and many images;
- `stripes`: Winograd's algorithm along the height only, for 3×3 kernels on fewer channels;
- `packed`: for few output channels, several pixels at once;
- `columns`: im2col by blocks, for all other cases;
- `portable`: for few input channels per group, and for depthwise float16 and bfloat16.
"""

from __future__ import annotations

from functools import lru_cache
from math import prod
from typing import Any

import numpy as np

from ...backend import Array
from ...geometry import Window
from .. import portable
from ..exact import is_exact
from ..portable import Bounds
from . import batchlast, columns, depthwise, memory, packed, stripes, winograd
from .blocks import Ending
from .recorded import Work, recorded

WAYS: dict[str, Any] = {
    "depthwise": depthwise,
    "winograd": winograd,
    "batch_last": batchlast,
    "stripes": stripes,
    "packed": packed,
    "columns": columns,
}


def algorithm(
    xp: Any,
    x_shape: tuple[int, ...],
    dtype: Any,
    weight_shape: tuple[int, ...],
    window: Window,
    groups: int,
    wanted: str = "auto",
) -> str:
    """The algorithm for a convolution of these shapes: one of the names above.

    The rules count operations and are derived from benchmarks. `wanted` is the caller's choice: `auto`,
    `direct` (none of `winograd`, `stripes` and `packed`, as `set_exact` chooses for all) or `winograd`.
    """
    return _choice(x_shape, np.dtype(dtype), weight_shape, window, groups, wanted, is_exact())


@lru_cache(maxsize=1024)
def _choice(
    x_shape: tuple[int, ...],
    dtype: Any,
    weight_shape: tuple[int, ...],
    window: Window,
    groups: int,
    wanted: str,
    exact: bool,
) -> str:
    if groups > 1 and weight_shape[1] == 1:
        return "depthwise" if depthwise.fits(weight_shape, groups, dtype) else "portable"
    free = wanted == "auto" and not exact
    tiled = ""
    if winograd.possible(dtype, window, groups):
        tiled = _cheapest(x_shape, weight_shape, window) if free else wanted
    if tiled == "winograd":
        return tiled
    if batchlast.pays(x_shape, dtype, weight_shape, window, groups):
        return "batch_last"
    if tiled == "stripes":
        return tiled
    output = window.output_shape(x_shape[2:])
    large = x_shape[0] * weight_shape[0] * prod(output) >= 1 << 15
    if free and groups == 1 and large and packed.pixels(weight_shape, window, output) > 1:
        return "packed"
    return "columns"


def _cheapest(x_shape: tuple[int, ...], weight_shape: tuple[int, ...], window: Window) -> str:
    """Of `winograd`, `stripes` and `columns`: these also where the others would gain little."""
    shapes = x_shape, weight_shape, window
    costs = {
        "winograd": winograd.cost(*shapes),
        "stripes": stripes.cost(*shapes),
        "columns": winograd.direct_cost(*shapes),
    }
    return min(costs, key=costs.__getitem__)


def conv(
    xp: Any,
    x: Array,
    weight: Array,
    window: Window,
    groups: int,
    bias: Array | None = None,
    wanted: str = "auto",
    bounds: Bounds = None,
) -> Array:
    """As `portable.conv`."""
    shape = (x.shape[0], weight.shape[0], *window.output_shape(x.shape[2:]))
    way = algorithm(xp, x.shape, x.dtype, weight.shape, window, groups, wanted)
    if way == "portable" and prod(shape):
        return portable.conv(xp, memory.not_batch_last(x), weight, window, groups, bias, wanted, bounds)
    if way == "batch_last":
        y = memory.empty_batch_last(shape, x.dtype)
    else:
        x, y = memory.not_batch_last(x), memory.empty_images(shape, x.dtype)
    if y.size:
        _conv(way, x, weight, bias, window, groups, y, bounds, False)
    return y


@recorded
def _conv(
    work: Work,
    way: str,
    x: Array,
    weight: Array,
    bias: Array | None,
    window: Window,
    groups: int,
    y: Array,
    bounds: Bounds,
    mirrored: bool,
) -> None:
    """Into `y`; `mirrored` turns the kernels round, and takes their inputs for outputs."""
    ending = Ending(bias, bounds)
    if way == "winograd":
        winograd.conv(work, x, weight, window, y, ending, mirrored)
        return
    if way == "depthwise":
        depthwise.conv(work, x, weight, window, y, ending)
        return
    if mirrored and groups == 1 and weight[0, 0].size == 1:
        weight = weight.swapaxes(0, 1)  # in memory as products take it
    elif mirrored:
        turned = weight.reshape(groups, -1, *weight.shape[1:])  # (G, K/G, C/G, *R)
        turned = np.flip(np.swapaxes(turned, 1, 2), tuple(range(3, turned.ndim)))
        copy = work.scratch("mirrored", turned.shape, turned.dtype)
        work(np.copyto, copy, turned)
        weight = copy.reshape(-1, *copy.shape[2:])
    if way == "batch_last":
        batchlast.conv(work, x, weight, window, y, ending)
    elif way == "stripes":
        stripes.conv(work, x, weight, window, y, ending)
    elif way == "packed":
        packed.conv(work, x, weight, window, y, ending)
    else:
        columns.conv(work, x, weight, window, groups, y, ending)


def for_inference(xp: Any, weight: Array) -> Array:
    """As `portable.for_inference`: a copy `(*R, C, K)` in the memory order that every algorithm needs."""
    first = np.ascontiguousarray(memory.taps_first(weight))
    return first.transpose(first.ndim - 1, first.ndim - 2, *range(first.ndim - 2)).copy(order="K")


def conv_weight_grad(
    xp: Any,
    grad: Array,
    x: Array,
    weight_shape: tuple[int, ...],
    window: Window,
    groups: int,
    wanted: str = "auto",
) -> Array:
    """As `portable.conv_weight_grad`."""
    if not grad.size:
        return np.zeros(weight_shape, grad.dtype)
    way = algorithm(xp, x.shape, x.dtype, weight_shape, window, groups, wanted)
    if way != "batch_last":
        grad, x = memory.not_batch_last(grad), memory.not_batch_last(x)
    if way == "portable":
        return portable.conv_weight_grad(xp, grad, x, weight_shape, window, groups)
    total = _weight_grad(way, grad, x, weight_shape, window, groups)
    dw = np.empty(weight_shape, x.dtype)
    dw.reshape(total.shape)[...] = total
    return dw


@recorded
def _weight_grad(
    work: Work, way: str, grad: Array, x: Array, weight_shape: tuple[int, ...], window: Window, groups: int
) -> Array:
    """In a scratch array, perhaps by groups."""
    if way == "columns":
        return columns.weight_grad(work, grad, x, weight_shape, window, groups)
    return WAYS[way].weight_grad(work, grad, x, weight_shape, window)


def conv_input_grad(
    xp: Any,
    grad: Array,
    weight: Array,
    x_shape: tuple[int, ...],
    window: Window,
    groups: int,
    wanted: str = "auto",
) -> Array:
    """As `portable.conv_input_grad`; at stride 1 a convolution of the gradient with the mirrored kernel."""
    if not grad.size or 0 in x_shape:
        return np.zeros(x_shape, grad.dtype)
    if algorithm(xp, x_shape, grad.dtype, weight.shape, window, groups, wanted) == "batch_last":
        dx = memory.empty_batch_last(x_shape, grad.dtype)
        _scattered("batch_last", grad, weight, window, groups, dx)
        return dx
    grad = memory.not_batch_last(grad)
    if groups > 1 and weight.shape[1] == 1:
        if depthwise.fits(weight.shape, groups, grad.dtype) and not is_exact():
            dx = memory.empty_images(x_shape, grad.dtype)
            _scattered("depthwise", grad, weight, window, groups, dx)
            return dx
        return portable.conv_input_grad(xp, grad, weight, x_shape, window, groups)
    mirrored = _mirrored(window, x_shape[2:], grad.shape[2:])
    if mirrored is None:
        dx = memory.empty_images(x_shape, grad.dtype)
        _scattered("columns", grad, weight, window, groups, dx)
        return dx
    swapped = (weight.shape[1] * groups, weight.shape[0] // groups, *weight.shape[2:])
    way = algorithm(xp, grad.shape, grad.dtype, swapped, mirrored, groups, wanted)
    if way == "portable":
        w = weight.reshape(groups, -1, *weight.shape[1:])
        w = np.flip(np.swapaxes(w, 1, 2), tuple(range(3, w.ndim))).reshape(swapped)
        return conv(xp, grad, w, mirrored, groups, wanted=wanted)
    dx = (memory.empty_batch_last if way == "batch_last" else memory.empty_images)(x_shape, grad.dtype)
    _conv(way, grad, weight, None, mirrored, groups, dx, None, True)
    return dx


@recorded
def _scattered(
    work: Work, way: str, grad: Array, weight: Array, window: Window, groups: int, dx: Array
) -> None:
    """Into `dx`, by what each pixel of the gradient gives to the pixels it came from."""
    if way == "columns":
        columns.input_grad(work, grad, weight, dx, window, groups)
    else:
        WAYS[way].input_grad(work, grad, weight, dx, window)


def _mirrored(window: Window, spatial: tuple[int, ...], output: tuple[int, ...]) -> Window | None:
    """The window whose convolution with the gradient gives the input's, at stride 1 (or one position)."""
    padding = []
    for n, m, k, s, (lo, _), d in zip(spatial, output, *window, strict=True):
        reach = d * (k - 1)
        low, high = reach - lo, n - m + lo  # so that every input position sees all that it went into
        if (s > 1 and m > 1) or low < 0 or high < 0:
            return None
        padding.append((low, high))
    return Window(window.kernel, (1,) * len(padding), tuple(padding), window.dilation)
