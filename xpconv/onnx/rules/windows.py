"""Operators with windows, normalisation and Resize."""

from __future__ import annotations

from math import floor
from typing import Any

import numpy as np

from ...geometry import Window
from ...layers import operators as ops
from ...layers.operators.resize import scaled_size
from ...layers.operators.windows import IMAGES, Windowed
from ..builder import Builder, Tensor
from .norm import mean, standardize
from .operators import numbers
from .pool import _ends as window_ends
from .table import rule


def window(layer: Windowed) -> dict[str, Any]:
    """The attributes of a window."""
    found: dict[str, Any] = {
        "kernel_shape": layer.kernel_size,
        "strides": layer.stride,
        "dilations": layer.dilation,
        "pads": layer.pads if layer.auto_pad == "NOTSET" else None,
    }
    return found if layer.auto_pad == "NOTSET" else {**found, "auto_pad": layer.auto_pad}


@rule(ops.Conv)
def conv(b: Builder, layer: ops.Conv, *inputs: Tensor) -> Any:
    """Conv."""
    return b.node("Conv", *inputs, group=layer.groups, **window(layer))


@rule(ops.ConvTranspose)
def conv_transpose(b: Builder, layer: ops.ConvTranspose, *inputs: Tensor) -> Any:
    """ConvTranspose; SAME is written as pads, since ONNX's shape inference adds `output_padding` to it."""
    sizes: dict[str, Any] = {"output_padding": layer.output_padding, "output_shape": layer.output_shape}
    found, x, weight = window(layer), *inputs[:2]
    if layer.auto_pad.startswith("SAME") and layer.output_shape is None:
        _, same = layer._sizes(np.empty((1,) * x.ndim), b.fixed(weight, *range(IMAGES, weight.ndim)))
        found |= {"auto_pad": None, "pads": [n for ends in zip(*same.padding, strict=True) for n in ends]}
    return b.node("ConvTranspose", *inputs, group=layer.groups, **sizes, **found)


def pooling(b: Builder, layer: Any, x: Tensor, counts_padding: bool = False) -> dict[str, Any]:
    """The attributes of a pool. Until opset 21, windows that extend beyond the end are more padding."""
    found = window(layer)
    if not layer.ceil_mode or b.opset >= 22:
        return {**found, "ceil_mode": int(layer.ceil_mode) or None}
    if layer.auto_pad.startswith("SAME"):
        return found  # whose number of windows is rounded up in any case
    axes = len(layer.kernel_size)
    pads = found["pads"] or (0,) * 2 * axes
    pairs = tuple(zip(pads[:axes], pads[axes:], strict=True))
    ones = (1,) * axes
    shape = Window(layer.kernel_size, layer.stride or ones, pairs, layer.dilation or ones)
    begins, ends = window_ends(shape, b.fixed(x, *range(2, x.ndim)), True)
    if counts_padding and tuple(begins + ends) != tuple(pads):
        raise b.too_old("ceil_mode with count_include_pad", 22)
    return {**found, "pads": begins + ends, "auto_pad": None}


@rule(ops.MaxPool)
def max_pool(b: Builder, layer: ops.MaxPool, x: Tensor) -> Any:
    """MaxPool, or its second output."""
    options = pooling(b, layer, x)
    if not layer.indices:
        return b.node("MaxPool", x, **options)
    return b.node("MaxPool", x, outputs=2, storage_order=int(layer.column_major), **options)[1]


@rule(ops.AveragePool)
def average_pool(b: Builder, layer: ops.AveragePool, x: Tensor) -> Any:
    """AveragePool."""
    options = pooling(b, layer, x, layer.count_include_pad)
    if b.opset < 19 and set(options.pop("dilations") or (1,)) != {1}:
        raise b.too_old("AveragePool with a dilation", 19)
    return b.node("AveragePool", x, count_include_pad=int(layer.count_include_pad), **options)


@rule(ops.LpPool)
def lp_pool(b: Builder, layer: ops.LpPool, x: Tensor) -> Any:
    """LpPool."""
    options = pooling(b, layer, x)
    if b.opset < 18 and set(options.pop("dilations") or (1,)) != {1}:
        raise b.too_old("LpPool with a dilation", 18)
    return b.node("LpPool", x, p=layer.p, **options)


@rule(ops.BatchNormalization)
def batch_normalization(b: Builder, layer: ops.BatchNormalization, *inputs: Tensor) -> Any:
    """BatchNormalization; several nodes if it uses the batch's statistics in inference too."""
    if not layer.batch_statistics:
        return b.node("BatchNormalization", *inputs, epsilon=layer.eps)
    x, scale, bias, *_ = inputs
    wide = x if x.dtype == scale.dtype else b.cast(x, scale.dtype)
    y = standardize(b, wide, [axis for axis in range(x.ndim) if axis != 1], layer.eps)
    if axes := list(range(1, x.ndim - 1)):
        scale, bias = (b.node("Unsqueeze", p, axes) for p in (scale, bias))
    y = b.node("Add", b.node("Mul", y, scale), bias)
    return y if y.dtype == x.dtype else b.cast(y, x.dtype)


@rule(ops.GroupNormalization)
def group_normalization(
    b: Builder, layer: ops.GroupNormalization, x: Tensor, scale: Tensor, bias: Tensor
) -> Any:
    """InstanceNormalization, of the groups as channels; GroupNormalization from opset 21 on."""
    groups, eps = layer.num_groups, layer.eps
    if groups is None:
        return b.node("InstanceNormalization", x, scale, bias, epsilon=eps)
    by_channel = b.fixed(scale, 0) == b.fixed(x, 1)
    if by_channel and b.opset >= 21:
        options: dict[str, Any] = {"num_groups": groups, "epsilon": eps}
        return b.node("GroupNormalization", x, scale, bias, like=x.shape, **options)
    own = [scale, bias]
    if by_channel:
        own = [b.constant(np.full(groups, fill, x.dtype)) for fill in (1, 0)]
    y = b.node("InstanceNormalization", b.node("Reshape", x, [0, groups, -1]), *own, epsilon=eps)
    y = b.node("Reshape", y, b.node("Shape", x), like=x.shape)
    if not by_channel:
        return y
    axes = list(range(1, x.ndim - 1))
    scale, bias = (b.node("Unsqueeze", p, axes) if axes else p for p in (scale, bias))
    return b.node("Add", b.node("Mul", y, scale), bias)


@rule(ops.LayerNormalization)
def layer_normalization(b: Builder, layer: ops.LayerNormalization, *inputs: Tensor) -> Any:
    """LayerNormalization."""
    return b.node("LayerNormalization", *inputs, axis=layer.axis, epsilon=layer.eps)


@rule(ops.LayerStatistics)
def layer_statistics(b: Builder, layer: ops.LayerStatistics, x: Tensor) -> Any:
    """The mean, or from it the root of the variance."""
    axes = list(range(layer.axis % x.ndim, x.ndim))
    center = mean(b, x, axes)
    if not layer.inverse:
        return center
    difference = b.node("Sub", x, center)
    variance = mean(b, b.node("Mul", difference, difference), axes)
    return b.node("Reciprocal", b.node("Sqrt", b.node("Add", variance, layer.eps)))


@rule(ops.LRN)
def lrn(b: Builder, layer: ops.LRN, x: Tensor) -> Any:
    """LRN."""
    options: dict[str, Any] = {"alpha": layer.alpha, "beta": layer.beta, "bias": layer.bias}
    return b.node("LRN", x, size=layer.size, **options)


@rule(ops.FlatSoftmax)
def flat_softmax(b: Builder, layer: ops.FlatSoftmax, x: Tensor) -> Any:
    """Softmax of a matrix, in the shape of `x`."""
    y = b.node("LogSoftmax" if layer.log else "Softmax", b.node("Flatten", x, axis=layer.axis), axis=1)
    return b.node("Reshape", y, b.node("Shape", x), like=x.shape)


@rule(ops.Resize)
def resize(b: Builder, layer: ops.Resize, *inputs: Tensor) -> Any:
    """Resize, with what an opset has: antialias, axes and policy are of opset 18."""
    (x,), given = numbers(layer, inputs)
    if layer.nearest_mode == "simple" and layer.mode == "nearest":
        return _simple_resize(b, layer, x, given["scales"])
    options: dict[str, Any] = {
        "mode": layer.mode,
        "coordinate_transformation_mode": layer.coordinates,
        "nearest_mode": layer.nearest_mode if layer.mode == "nearest" else None,
        "cubic_coeff_a": layer.cubic_coeff_a,
        "exclude_outside": int(layer.exclude_outside),
        "extrapolation_value": layer.extrapolation_value,
    }
    newer: dict[str, Any] = {"axes": layer.axes, "antialias": int(layer.antialias) or None}
    newer["keep_aspect_ratio_policy"] = None if layer.policy == "stretch" else layer.policy
    needed = next((name for name, value in newer.items() if value is not None), None)
    if b.opset < 18 and needed:
        raise b.too_old(f"Resize with {needed}", 18)
    roi, scales = given["roi"], given["scales"]
    roi = b.constant(roi, "float32") if isinstance(roi, list) and roi else roi
    scales = _scales(b, x, scales, layer.axes) if isinstance(scales, list) and scales else scales
    sizes = None if isinstance(given["sizes"], list) and not given["sizes"] else given["sizes"]
    if isinstance(sizes, list):
        sizes = [int(n) for n in sizes]
    return b.node(
        "Resize",
        x,
        roi or None,
        None if sizes is not None else scales,
        sizes,
        like=(None,) * x.ndim,
        **options,
        **newer,
    )


def _scales(b: Builder, x: Tensor, scales: list[float], axes: tuple[int, ...] | None) -> Any:
    """The scales; an Identity hides them from ONNX's inference if it finds other sizes, in float64."""
    given = b.constant(scales, "float32")
    single = [float(np.float32(scale)) for scale in scales]
    places = range(x.ndim) if axes is None else axes
    known = [(x.shape[axis], scale) for axis, scale in zip(places, single, strict=True)]
    same = all(floor(n * scale) == scaled_size(n, scale) for n, scale in known if isinstance(n, int))
    return given if same else b.node("Identity", given)


def _simple_resize(b: Builder, layer: ops.Resize, x: Tensor, scales: Any) -> Any:
    """Two nodes, one for the axes that shrink and one for those that grow, which round differently."""
    if layer.axes is not None or layer.coordinates != "asymmetric" or scales is None:
        raise b.refused(
            "nearest_mode 'simple' is for coordinates 'asymmetric' and scales of all axes, as in opset 10"
        )
    for rounding, bound in (("ceil", "Min"), ("floor", "Max")):
        if isinstance(scales, Tensor):
            part: Any = b.node(bound, scales, b.constant(1.0, "float32"))
        else:
            part = [(min if bound == "Min" else max)(float(n), 1.0) for n in scales]
            if set(part) == {1.0}:
                continue
            part = _scales(b, x, part, None)
        options: dict[str, Any] = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": rounding}
        x = b.node("Resize", x, None, part, like=(None,) * x.ndim, mode="nearest", **options)
    return x
