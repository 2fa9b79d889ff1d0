"""The choice of the convolution algorithm for NumPy arrays. Tests compare every one with the reference.

- `depthwise`: sums of products, if every channel has its own kernel;
- `winograd`: for 3×3 kernels at stride 1 on many channels; fewer products, more rounding;
- `batch_last`: for few input and output channels and many images;
- `stripes`: Winograd's algorithm along the height only, for 3×3 kernels on fewer channels;
- `columns`: im2col by blocks, for all other cases.

The reference computes depthwise convolutions of float16 and bfloat16, and of several outputs a channel.
"""

from __future__ import annotations

from functools import lru_cache
from operator import setitem
from typing import Any

import numpy as np

from ...backend import Array
from ...geometry import Bounds, Window
from ..exact import is_exact
from ..recorders import this_thread
from . import batchlast, columns, depthwise, memory, stripes, winograd
from .blocks import Ending
from .plans import Recorder, planned
from .pointwise import not_batch_last

ALGORITHMS: dict[str, Any] = {
    "depthwise": depthwise,
    "winograd": winograd,
    "batch_last": batchlast,
    "stripes": stripes,
    "columns": columns,
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
    return _choice(x_shape, np.dtype(dtype), weight_shape, window, groups, algorithm, is_exact())


@lru_cache(maxsize=1024)
def _choice(
    x_shape: tuple[int, ...],
    dtype: Any,
    weight_shape: tuple[int, ...],
    window: Window,
    groups: int,
    algorithm: str,
    exact: bool,
    prepared: bool = False,
) -> str | None:
    """The name of an algorithm; None for the reference. `prepared` if it need not transform the weight."""
    if groups > 1 and weight_shape[1] == 1:
        return "depthwise" if depthwise.fits(weight_shape, groups, dtype) else None
    tiled = ""
    if winograd.possible(dtype, window, groups):
        free = algorithm == "auto" and not exact
        tiled = _cheapest(x_shape, weight_shape, window, prepared) if free else algorithm
    if tiled == "winograd":
        return tiled
    if batchlast.pays(x_shape, dtype, weight_shape, window, groups):
        return "batch_last"
    return "stripes" if tiled == "stripes" else "columns"


def _cheapest(x_shape: tuple[int, ...], weight_shape: tuple[int, ...], window: Window, prepared: bool) -> str:
    """The cheapest of `winograd`, `stripes` and `columns`; `columns` also if the others gain little."""
    shapes = x_shape, weight_shape, window
    costs = {
        "winograd": winograd.cost(*shapes, prepared),
        "stripes": stripes.cost(*shapes, prepared),
        "columns": winograd.direct_cost(*shapes),
    }
    return min(costs, key=costs.__getitem__)


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
    shape = (x.shape[0], weight.shape[0], *window.output_shape(x.shape[2:]))
    recorder = this_thread.recorder
    prepared = recorder is not None and recorder.holds(weight)
    chosen = _choice(x.shape, x.dtype, weight.shape, window, groups, algorithm, is_exact(), prepared)
    if chosen is None:
        return None
    if chosen == "batch_last":
        y = memory.empty_batch_last(shape, x.dtype)
    else:
        x, y = not_batch_last(x), memory.empty_images(shape, x.dtype)
    if y.size:
        _conv(chosen, x, weight, bias, window, groups, y, bounds, False)
    return y


@planned
def _conv(
    recorder: Recorder,
    algorithm: str,
    x: Array,
    weight: Array,
    bias: Array | None,
    window: Window,
    groups: int,
    y: Array,
    bounds: Bounds,
    mirrored: bool,
) -> None:
    """Write to `y`; if `mirrored`, with flipped kernels whose inputs and outputs are exchanged."""
    ending = Ending(bias, bounds)
    if algorithm == "winograd":
        winograd.conv(recorder, x, weight, window, y, ending, mirrored)
        return
    if algorithm == "depthwise":
        depthwise.conv(recorder, x, weight, window, y, ending)
        return
    if mirrored and groups == 1 and weight[0, 0].size == 1:
        weight = weight.swapaxes(0, 1)  # in memory in the order of a product
    elif mirrored:
        flipped = weight.reshape(groups, -1, *weight.shape[1:])  # (G, K/G, C/G, *R)
        flipped = np.flip(np.swapaxes(flipped, 1, 2), tuple(range(3, flipped.ndim)))
        copy = recorder.scratch("mirrored", flipped.shape, flipped.dtype)
        recorder(setitem, copy, ..., flipped)
        weight = copy.reshape(-1, *copy.shape[2:])
    if algorithm == "batch_last":
        batchlast.conv(recorder, x, weight, window, y, ending)
    elif algorithm == "stripes":
        stripes.conv(recorder, x, weight, window, y, ending)
    else:
        columns.conv(recorder, x, weight, window, groups, y, ending)


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
    if not grad.size:
        return np.zeros(weight_shape, grad.dtype)
    chosen = _choice(x.shape, x.dtype, weight_shape, window, groups, algorithm, is_exact())
    if chosen is None:
        return None
    if chosen != "batch_last":
        grad, x = not_batch_last(grad), not_batch_last(x)
    dw = np.empty(weight_shape, x.dtype)
    _weight_grad(chosen, grad, x, dw, window, groups)
    return dw


@planned
def _weight_grad(
    recorder: Recorder, algorithm: str, grad: Array, x: Array, dw: Array, window: Window, groups: int
) -> None:
    """Write to `dw`."""
    if algorithm == "columns":
        total = columns.weight_grad(recorder, grad, x, dw.shape, window, groups)
    else:
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
    if not grad.size or 0 in x_shape:
        return np.zeros(x_shape, grad.dtype)
    exact = is_exact()
    chosen = _choice(x_shape, grad.dtype, weight.shape, window, groups, algorithm, exact)
    if chosen == "batch_last":
        dx = memory.empty_batch_last(x_shape, grad.dtype)
        _scattered("batch_last", grad, weight, window, groups, dx)
        return dx
    grad = not_batch_last(grad)
    if groups > 1 and weight.shape[1] == 1:
        if chosen is None or exact:
            return None
        dx = memory.empty_images(x_shape, grad.dtype)
        _scattered("depthwise", grad, weight, window, groups, dx)
        return dx
    mirrored = _mirrored(window, x_shape[2:], grad.shape[2:])
    swapped = (weight.shape[1] * groups, weight.shape[0] // groups, *weight.shape[2:])
    if mirrored is None:
        dx = memory.empty_images(x_shape, grad.dtype)
        _scattered("columns", grad, weight, window, groups, dx)
        return dx
    chosen = _choice(grad.shape, grad.dtype, swapped, mirrored, groups, algorithm, exact)
    if chosen is None:
        return None
    dx = (memory.empty_batch_last if chosen == "batch_last" else memory.empty_images)(x_shape, grad.dtype)
    _conv(chosen, grad, weight, None, mirrored, groups, dx, None, True)
    return dx


@planned
def _scattered(
    recorder: Recorder, algorithm: str, grad: Array, weight: Array, window: Window, groups: int, dx: Array
) -> None:
    """Write to `dx`, adding each pixel of the gradient to the pixels that it depends on."""
    if algorithm == "columns":
        columns.input_grad(recorder, grad, weight, dx, window, groups)
    else:
        ALGORITHMS[algorithm].input_grad(recorder, grad, weight, dx, window)


def _mirrored(window: Window, spatial: tuple[int, ...], output: tuple[int, ...]) -> Window | None:
    """The window of the convolution that gives the input gradient, at stride 1 or one position; or None."""
    padding = []
    for n, m, k, s, (lo, _), d in zip(spatial, output, *window, strict=True):
        reach = d * (k - 1)
        low, high = reach - lo, n - m + lo  # so that every input position reads all outputs that depend on it
        if (s > 1 and m > 1) or low < 0 or high < 0:
            return None
        padding.append((low, high))
    return Window(window.kernel, (1,) * len(padding), tuple(padding), window.dilation)
