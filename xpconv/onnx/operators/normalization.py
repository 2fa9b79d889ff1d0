"""Normalisation."""

from __future__ import annotations

from ... import layers as public
from ...layers import operators as layers
from ..node import Node, Output, Result, Value, operator, short
from .common import axis_within, flag, is_floating, no_other_outputs

BATCH = {2: public.BatchNorm1d, 3: public.BatchNorm1d, 4: public.BatchNorm2d, 5: public.BatchNorm3d}
INSTANCE = {3: public.InstanceNorm1d, 4: public.InstanceNorm2d, 5: public.InstanceNorm3d}


def _constants(x: Value, *values: Value | None) -> bool:
    """Whether all values are constant vectors of one floating dtype and size, and `x` is not of the host.

    (An array of the host is copied to the device in the operator's layer, not in the public one.)
    """
    arrays = [value.own for value in values if value is not None]
    first = arrays[0]
    if x.on_host or first is None or first.ndim != 1 or not first.size:
        return False
    alike = [a is not None and a.shape == first.shape and a.dtype == first.dtype for a in arrays]
    return all(alike) and all(is_floating(value) for value in values if value is not None)


def _learned(scale: Value, bias: Value | None) -> bool:
    """Whether scale and bias are more than the 1 and 0 of a layer that has none."""
    ones, zeros = scale.array, None if bias is None else bias.array
    plain = ones is not None and bool((ones == 1).all()) and (zeros is None or not zeros.any())
    return not plain or scale.weight or (bias is not None and bias.weight)


@operator("BatchNormalization")
def batch_normalization(node: Node) -> Result:
    eps, momentum = node.number("epsilon", 1e-5), node.number("momentum", 0.9)
    share = short(1 - momentum)  # of the batch, which is 1 minus ONNX's momentum
    training = flag(node, "training_mode", False) if node.opset >= 14 else False
    if node.opset < 9 and node.integer("spatial", 1) != 1:
        raise node.refused("attribute spatial is 0, expected 1")
    x = node.input(0)
    values = [node.input(i) for i in range(1, 5)]
    if training:
        no_other_outputs(node, 3)
        y = layers.BatchNormalization(eps, batch_statistics=True), [x, *values]
        statistics = [layers.BatchStatistics(momentum, variance) for variance in (False, True)]
        outputs: list[Output | None] = [y, (statistics[0], [x, values[2]]), (statistics[1], [x, values[3]])]
        return outputs[: len(node.outputs)]
    no_other_outputs(node, why=" outside of training")
    scale = values[0].array
    if not _constants(x, *values) or x.ndim not in BATCH or scale is None:
        layer: layers.BatchNormalization | public.Layer = layers.BatchNormalization(eps)
        result = layer, [x, *values]
    else:
        affine = _learned(*values[:2])
        layer = BATCH[x.ndim](scale.size, eps, share, affine, dtype=scale.dtype.name)
        for name, value in zip(("weight", "bias", "running_mean", "running_var"), values, strict=True):
            if affine or name.startswith("running"):
                node.assign(layer, name, value)
        result = layer, [x]
    return [result, *[None] * (len(node.outputs) - 1)] if len(node.outputs) > 1 else result


@operator("InstanceNormalization")
def instance_normalization(node: Node) -> Result:
    eps = node.number("epsilon", 1e-5)
    x, scale, bias = node.input(0), node.input(1), node.input(2)
    if _constants(x, scale, bias) and x.ndim in INSTANCE and scale.array is not None:
        affine = _learned(scale, bias)
        layer = INSTANCE[x.ndim](scale.array.size, eps, affine=affine, dtype=scale.array.dtype.name)
        if affine:
            node.assign(layer, "weight", scale)
            node.assign(layer, "bias", bias)
        return layer, [x]
    return layers.GroupNormalization(None, eps), [x, scale, bias]


@operator("GroupNormalization")
def group_normalization(node: Node) -> Result:
    """With scale and bias for each channel from opset 21 on, for each group before."""
    eps, groups = node.number("epsilon", 1e-5), node.integer("num_groups", 0)
    node.integer("stash_type", 1)  # the precision of statistics, which is at least float32
    if groups < 1:
        raise node.refused(f"attribute num_groups is {groups}, expected at least 1")
    x, scale, bias = node.input(0), node.input(1), node.input(2)
    array = scale.array
    if node.opset >= 21 and _constants(x, scale, bias) and array is not None and array.size % groups == 0:
        layer = public.GroupNorm(groups, array.size, eps, dtype=array.dtype.name)
        node.assign(layer, "weight", scale)
        node.assign(layer, "bias", bias)
        return layer, [x]
    return layers.GroupNormalization(groups, eps), [x, scale, bias]


@operator("LayerNormalization")
def layer_normalization(node: Node) -> Result:
    eps, axis = node.number("epsilon", 1e-5), node.integer("axis", -1)
    node.integer("stash_type", 1)
    x, scale, bias = node.input(0), node.input(1), node.optional(2)
    place = axis_within(node, "axis", axis, x)
    array, given = scale.own, None if bias is None else bias.own
    whole = x.ndim is not None and array is not None and array.ndim == x.ndim - place and array.size > 0
    fits = bias is None or (given is not None and array is not None and given.shape == array.shape)
    if whole and fits and array is not None and is_floating(scale) and not x.on_host:
        affine = _learned(scale, bias)
        layer = public.LayerNorm(array.shape, eps, affine, bias is not None, dtype=array.dtype.name)
        if affine:
            node.assign(layer, "weight", scale)
        if affine and bias is not None:
            node.assign(layer, "bias", bias)
        y: tuple[public.Layer, list[Value]] = layer, [x]
    else:
        y = layers.LayerNormalization(axis, eps), [x, scale] if bias is None else [x, scale, bias]
    if len(node.outputs) == 1:
        return y
    results: list[Output | None] = [y]
    results += [(layers.LayerStatistics(axis, eps, inverse), [x]) for inverse in (False, True)]
    return results[: len(node.outputs)]


@operator("LRN")
def lrn(node: Node) -> Result:
    size = node.integer("size", 0)
    alpha, beta, bias = node.number("alpha", 1e-4), node.number("beta", 0.75), node.number("bias", 1.0)
    if size < 1:
        raise node.refused(f"attribute size is {size}, expected at least 1")
    x = node.input(0)
    if size % 2 and x.ndim is not None and x.ndim > 2:
        return public.LocalResponseNorm(size, alpha, beta, bias), [x]
    return layers.LRN(size, alpha, beta, bias), [x]
