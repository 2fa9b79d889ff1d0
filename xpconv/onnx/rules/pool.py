"""Pooling."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from ...geometry import Window
from ...layers.adaptive_pool import _AdaptiveAvgPool, _AdaptiveMaxPool
from ...layers.lp_pool import _LPPool
from ...layers.pool import _AvgPool, _MaxPool
from ...layers.unpool import _MaxUnpool
from ...ops.adaptive_pool import _bounds, _windows
from ..builder import Builder, Tensor
from .table import on_images, rule


def _ends(window: Window, spatial: tuple[int, ...], ceil_mode: bool) -> tuple[list[int], list[int]]:
    """Padding at the begin and the end of each axis with which windows that fit give the same output.

    ONNX's own `ceil_mode` had other rules in older runtimes.
    """
    output = window.output_shape(spatial, ceil_mode)
    whole = window.output_shape(spatial)
    begins = [lo for lo, _ in window.padding]
    ends = [
        hi if m == w else (m - 1) * s + d * (k - 1) + 1 - n - lo
        for n, m, w, k, s, (lo, hi), d in zip(spatial, output, whole, *window, strict=True)
    ]
    return begins, ends


@rule(_MaxPool)
def max_pool(b: Builder, layer: _MaxPool, x: Tensor) -> Any:
    """MaxPool; its indices count over all images, those of the layer over one channel of one image."""

    def write(x: Tensor) -> Any:
        window, spatial = layer._window, b.fixed(x, *range(2, x.ndim))
        begins, ends = _ends(window, spatial, layer.ceil_mode)
        wide = any(max(pair) >= k for *pair, k in zip(begins, ends, window.kernel, strict=True))
        if wide:  # more than runtimes take; with dilation alone
            low = b.constant(-np.inf, x.dtype)
            x = b.node("Pad", x, [0, 0, *begins, 0, 0, *ends], low)
        pads = [0] * (2 * layer.axes) if wide else begins + ends
        options: dict[str, Any] = {
            "kernel_shape": window.kernel,
            "strides": window.stride,
            "dilations": window.dilation,
        }
        if not layer.return_indices:
            return b.node("MaxPool", x, pads=pads, **options)
        y, indices = b.node("MaxPool", x, outputs=2, pads=pads, **options)
        padded = b.fixed(x, *range(2, x.ndim))
        indices = b.node("Mod", indices, prod(padded))
        return y, _unpadded(b, indices, padded, spatial, begins) if wide else indices

    return on_images(layer.axes, write, b, x)


def _unpadded(
    b: Builder, indices: Tensor, padded: tuple[int, ...], spatial: tuple[int, ...], begins: list[int]
) -> Any:
    """Positions in the image, from those in the padded image."""
    total: Any = None
    for axis, lo in enumerate(begins):
        place = b.node("Mod", b.node("Div", indices, prod(padded[axis + 1 :])), padded[axis])
        term = b.node("Mul", b.node("Sub", place, lo), prod(spatial[axis + 1 :]))
        total = term if total is None else b.node("Add", total, term)
    return total


def average(
    b: Builder,
    x: Tensor,
    window: Window,
    ceil_mode: bool,
    include_pad: bool = True,
    divisor: int | None = None,
) -> Any:
    """The sum over each window, divided by the number of its elements, or by `divisor`."""
    spatial = b.fixed(x, *range(2, x.ndim))
    begins, ends = _ends(window, spatial, ceil_mode)
    options: dict[str, Any] = {"kernel_shape": window.kernel, "strides": window.stride}
    if divisor is None and all(end == hi for end, (_, hi) in zip(ends, window.padding, strict=True)):
        return b.node("AveragePool", x, pads=begins + ends, count_include_pad=int(include_pad), **options)
    if any(begins + ends):
        x = b.node("Pad", x, [0, 0, *begins, 0, 0, *ends])
    y = b.node("AveragePool", x, **options)
    taps = prod(window.kernel)
    if divisor is not None:
        return b.node("Mul", y, taps / divisor)
    counts = window.counts(spatial, b.fixed(y, *range(2, y.ndim)), include_pad)
    factor = np.full((1,) * len(spatial), taps, "float64")
    for axis, count in enumerate(counts):
        factor = factor / np.reshape(count, (-1, *(1,) * (len(spatial) - 1 - axis)))
    return b.node("Mul", y, factor.astype(x.dtype))


@rule(_AvgPool)
def avg_pool(b: Builder, layer: _AvgPool, x: Tensor) -> Any:
    """AveragePool, times what the divisors of the two differ by."""
    options = layer.ceil_mode, layer.count_include_pad, layer.divisor_override
    return on_images(layer.axes, lambda x: average(b, x, layer._window, *options), b, x)


@rule(_LPPool)
def lp_pool(b: Builder, layer: _LPPool, x: Tensor) -> Any:
    """LpPool where it is the same: it takes absolute values, the layer does not."""

    def write(x: Tensor) -> Any:
        window, q = layer._window, layer.norm_type
        spatial = b.fixed(x, *range(2, x.ndim))
        output = window.output_shape(spatial, layer.ceil_mode)
        if q > 0 and q % 2 == 0 and output == window.output_shape(spatial):
            return b.node("LpPool", x, p=int(q), kernel_shape=window.kernel, strides=window.stride)
        means = average(b, b.node("Pow", x, q), window, layer.ceil_mode)
        return b.node("Pow", b.node("Mul", means, prod(window.kernel)), 1 / q)

    return on_images(layer.axes, write, b, x)


@rule(_AdaptiveAvgPool)
def adaptive_avg_pool(b: Builder, layer: _AdaptiveAvgPool, x: Tensor) -> Any:
    """GlobalAveragePool, or AveragePool if the windows are equal, else products with matrices."""

    def write(x: Tensor) -> Any:
        if set(layer.output_size) == {1}:
            return b.node("GlobalAveragePool", x)
        return adaptive_average(b, x, layer.output_size)

    return on_images(layer.axes, write, b, x)


def adaptive_average(b: Builder, x: Tensor, size: tuple[int | None, ...]) -> Any:
    """Means over windows that divide the images."""
    spatial = b.fixed(x, *range(2, x.ndim))
    output = [m or n for m, n in zip(size, spatial, strict=True)]
    if all(n % m == 0 for n, m in zip(spatial, output, strict=True)):
        kernel = [n // m for n, m in zip(spatial, output, strict=True)]
        return b.node("AveragePool", x, kernel_shape=kernel, strides=kernel) if set(kernel) != {1} else x
    for axis, (n, m) in enumerate(zip(spatial, output, strict=True), start=2):
        if n != m:
            x = along(b, x, _means(n, m), axis)
    return x


def _means(n: int, m: int) -> np.ndarray:
    """The m × n matrix whose row p averages the inputs of window p."""
    matrix = np.zeros((m, n))
    for p in range(m):
        start, stop = _bounds(p, n, m)
        matrix[p, start:stop] = 1 / (stop - start)
    return matrix


def along(b: Builder, x: Tensor, matrix: np.ndarray, axis: int) -> Any:
    """`matrix @ x` along an axis of `x`."""
    matrix = matrix.astype(x.dtype)
    if axis == x.ndim - 1:
        return b.node("MatMul", x, matrix.T)
    before, after = x.shape[:axis], b.fixed(x, *range(axis + 1, x.ndim))
    columns = b.reshape(x, *before, x.shape[axis], prod(after))
    return b.reshape(b.node("MatMul", matrix, columns), *before, len(matrix), *after)


@rule(_AdaptiveMaxPool)
def adaptive_max_pool(b: Builder, layer: _AdaptiveMaxPool, x: Tensor) -> Any:
    """GlobalMaxPool, or MaxPool if the windows are equal, else maxima of what they hold, axis by axis."""

    def write(x: Tensor) -> Any:
        spatial = b.fixed(x, *range(2, x.ndim))
        output = [m or n for m, n in zip(layer.output_size, spatial, strict=True)]
        if set(layer.output_size) == {1} and not layer.return_indices:
            return b.node("GlobalMaxPool", x)
        if all(n % m == 0 for n, m in zip(spatial, output, strict=True)):
            kernel = [n // m for n, m in zip(spatial, output, strict=True)]
            options: dict[str, Any] = {"kernel_shape": kernel, "strides": kernel}
            if not layer.return_indices:
                return b.node("MaxPool", x, **options)
            y, indices = b.node("MaxPool", x, outputs=2, **options)
            return y, b.node("Mod", indices, prod(spatial))
        return _windowed_max(b, x, spatial, output, layer.return_indices)

    return on_images(layer.axes, write, b, x)


def _windowed_max(
    b: Builder, x: Tensor, spatial: tuple[int, ...], output: list[int], with_indices: bool
) -> Any:
    """As `ops.adaptive_max_pool`: Gather of each axis' windows, and their first maximum, last axis first."""
    indices: Any = None
    for axis in range(x.ndim - 1, 1, -1):
        n, m = spatial[axis - 2], output[axis - 2]
        windows = np.asarray(_windows(n, m), "int64")
        seen = b.node("Gather", x, windows, axis=axis)
        if not with_indices:
            x = maximum(b, seen, axis + 1)
            continue
        best = b.node("ArgMax", seen, axis=axis + 1)
        places = windows * prod(spatial[axis - 1 :])
        places = places.reshape(1, 1, *(1,) * (axis - 2), *places.shape, *(1,) * (x.ndim - 1 - axis))
        if indices is None:
            sources = b.node("Expand", places, b.node("Shape", seen))
        else:
            sources = b.node("Add", b.node("Gather", indices, windows, axis=axis), places)
        x = b.node("Squeeze", b.node("GatherElements", seen, best, axis=axis + 1), [axis + 1])
        indices = b.node("Squeeze", b.node("GatherElements", sources, best, axis=axis + 1), [axis + 1])
    return (x, indices) if with_indices else x


def maximum(b: Builder, x: Tensor, axis: int) -> Any:
    """The maximum along an axis, which is removed; an attribute of the operator before opset 18."""
    if b.opset >= 18:
        return b.node("ReduceMax", x, [axis], keepdims=0)
    return b.node("ReduceMax", x, axes=[axis], keepdims=0)


@rule(_MaxUnpool)
def max_unpool(b: Builder, layer: _MaxUnpool, x: Tensor, indices: Tensor) -> Any:
    """ScatterElements into zeros, a row for each channel: the indices count within it."""
    if x.ndim == layer.axes + 1:
        x, indices = (b.node("Unsqueeze", value, [0]) for value in (x, indices))
        return b.node("Squeeze", _unpool(b, layer, x, indices), [0])
    return _unpool(b, layer, x, indices)


def _unpool(b: Builder, layer: _MaxUnpool, x: Tensor, indices: Tensor) -> Any:
    channels, *spatial = b.fixed(x, *range(1, x.ndim))
    size = layer._output_size(tuple(spatial), None, True)
    values, places = (b.reshape(value, x.shape[0], channels, prod(spatial)) for value in (x, indices))
    zero = b.cast(b.node("Mul", b.node("Slice", places, [0], [1], [2]), 0), x.dtype)
    zeros = b.node("Tile", zero, [1, 1, prod(size)])
    y = b.node("ScatterElements", zeros, places, values, axis=2)
    return b.reshape(y, x.shape[0], channels, *size)
