"""Normalisation."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...arrays import asnumpy
from ...layers.group_norm import GroupNorm, LocalResponseNorm
from ...layers.instance_norm import _InstanceNorm
from ...layers.layer_norm import LayerNorm, RMSNorm
from ...layers.norm import ChannelNorm, _BatchNorm
from ..builder import Builder, Tensor
from .table import on_images, rule


def mean(b: Builder, x: Tensor, axes: list[int]) -> Any:
    """The mean over `axes`, which remain with size 1; an attribute of the operator before opset 18."""
    if b.opset >= 18:
        return b.node("ReduceMean", x, axes)
    return b.node("ReduceMean", x, axes=axes)


def standardize(b: Builder, x: Tensor, axes: list[int], eps: float, center: bool = True) -> Any:
    """`(x - mean) / √(mean((x - mean)²) + eps)` over `axes`; the mean is that of `x`, or 0."""
    centered = b.node("Sub", x, mean(b, x, axes)) if center else x
    variance = mean(b, b.node("Mul", centered, centered), axes)
    return b.node("Div", centered, b.node("Sqrt", b.node("Add", variance, eps)))


def affine(b: Builder, layer: Any, y: Tensor, shape: tuple[int, ...] | None = None) -> Any:
    """`y · weight + bias`, with the parameters that the layer has, in `shape`."""
    if layer.weight is not None:
        y = b.node("Mul", y, b.parameter(layer.weight, shape))
    return y if layer.bias is None else b.node("Add", y, b.parameter(layer.bias, shape))


def channelwise(layer: Any, x: Tensor) -> tuple[int, ...] | None:
    """The shape of a parameter of `layer` that broadcasts over the channels of `x`."""
    return None if layer.weight is None else (layer.weight.size, *(1,) * (x.ndim - 2))


def _constant(value: Any, size: int, fill: float, dtype: Any) -> Any:
    return np.full(size, fill, dtype) if value is None else value


def running(b: Builder, layer: ChannelNorm, x: Tensor) -> Any:
    """BatchNormalization, in the dtype of the statistics."""
    dtype = layer.running_mean.dtype
    weight, bias = (
        _constant(value, layer.num_features, fill, dtype)
        for value, fill in ((layer.weight, 1), (layer.bias, 0))
    )
    wide = x if x.dtype == dtype else b.cast(x, dtype)
    inputs = wide, weight, bias, layer.running_mean, layer.running_var
    if is_fixed(b, layer, x):
        y = fixed_scale(b, layer, wide)
    else:
        momentum = None if layer.momentum is None else 1 - layer.momentum  # of the old statistics, in ONNX
        y = b.node("BatchNormalization", *inputs, epsilon=layer.eps, momentum=momentum)
    return y if x.dtype == dtype else b.cast(y, x.dtype)


def is_fixed(b: Builder, layer: ChannelNorm, x: Tensor) -> bool:
    """Whether a layer is frozen with statistics, and has no weights or normalises an input of the file."""
    frozen = layer._thawed_mode is not None and not any(p.requires_grad for _, p in layer.named_parameters())
    plain = layer.weight is None and layer.bias is None
    return frozen and (plain or all(x.name not in node.output for node in b.nodes))


def fixed_scale(b: Builder, layer: ChannelNorm, x: Tensor) -> Any:
    """The layer's formula with constants: as a BatchNormalization, a reader would train it."""
    shape = (layer.num_features, *(1,) * (x.ndim - 2))
    center, variance = (asnumpy(array).reshape(shape) for array in (layer.running_mean, layer.running_var))
    weight, bias = (
        None if value is None else asnumpy(value.data).reshape(shape) for value in (layer.weight, layer.bias)
    )
    scale = (1 if weight is None else weight) / np.sqrt(variance + layer.eps)
    y = b.node("Mul", b.node("Sub", x, b.constant(center)), b.constant(scale, center.dtype))
    return y if bias is None or not bias.any() else b.node("Add", y, b.constant(bias))


@rule(_BatchNorm)
def batch_norm(b: Builder, layer: _BatchNorm, x: Tensor) -> Any:
    """With the running statistics; with those of the batch, if the layer has none."""
    if layer.running_mean is not None:
        return running(b, layer, x)
    axes = [axis for axis in range(x.ndim) if axis != 1]
    return affine(b, layer, standardize(b, x, axes, layer.eps), channelwise(layer, x))


@rule(_InstanceNorm)
def instance_norm(b: Builder, layer: _InstanceNorm, x: Tensor) -> Any:
    """InstanceNormalization; with running statistics, BatchNormalization."""

    def write(x: Tensor) -> Any:
        if layer.running_mean is not None:
            return running(b, layer, x)
        (channels,) = b.fixed(x, 1)
        weight = _constant(layer.weight, channels, 1, x.dtype)
        bias = _constant(layer.bias, channels, 0, x.dtype)
        return b.node("InstanceNormalization", x, weight, bias, epsilon=layer.eps)

    return on_images(layer.axes, write, b, x)


@rule(GroupNorm)
def group_norm(b: Builder, layer: GroupNorm, x: Tensor) -> Any:
    """InstanceNormalization of the groups: ONNX infers no shapes of GroupNormalization."""
    groups = layer.num_groups
    split = b.reshape(x, x.shape[0], groups, None)
    ones, zeros = np.ones(groups, x.dtype), np.zeros(groups, x.dtype)
    y = b.node("InstanceNormalization", split, ones, zeros, epsilon=layer.eps)
    return affine(b, layer, b.reshape(y, *x.shape), channelwise(layer, x))


@rule(LayerNorm)
def layer_norm(b: Builder, layer: LayerNorm, x: Tensor) -> Any:
    """LayerNormalization, from opset 17 on."""
    count = len(layer.normalized_shape)
    if b.opset < 17:
        return affine(b, layer, standardize(b, x, list(range(-count, 0)), layer.eps))
    weight = np.ones(layer.normalized_shape, x.dtype) if layer.weight is None else layer.weight
    return b.node("LayerNormalization", x, weight, layer.bias, axis=-count, epsilon=layer.eps)


@rule(RMSNorm)
def rms_norm(b: Builder, layer: RMSNorm, x: Tensor) -> Any:
    """Its formula."""
    axes = list(range(-len(layer.normalized_shape), 0))
    return affine(b, layer, standardize(b, x, axes, layer._epsilon(x), center=False))


@rule(LocalResponseNorm)
def response_norm(b: Builder, layer: LocalResponseNorm, x: Tensor) -> Any:
    """LRN of images, if the number of channels is odd: an even one has its window elsewhere in ONNX."""
    size = layer.size
    options: dict[str, Any] = {"alpha": layer.alpha, "beta": layer.beta, "bias": layer.k}
    if x.ndim == 4 and size % 2:
        return b.node("LRN", x, size=size, **options)
    rows = b.reshape(b.node("Mul", x, x), x.shape[0], 1, b.fixed(x, 1)[0], None)
    border = [0, 0, size // 2, 0, 0, 0, (size - 1) // 2, 0]
    means = b.node("AveragePool", b.node("Pad", rows, border), kernel_shape=[size, 1])
    energy = b.node("Add", b.node("Mul", b.reshape(means, *x.shape), layer.alpha), layer.k)
    return b.node("Div", x, b.node("Pow", energy, layer.beta))
