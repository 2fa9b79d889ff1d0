"""Activations, softmax and dropout."""

from __future__ import annotations

from typing import Any

import numpy as np

from ... import layers as public
from ...layers import operators as layers
from ..node import Node, Output, Result, Value, operator, to_number
from .common import axis_within, is_floating

SAME = {"Sigmoid": "Sigmoid", "Tanh": "Tanh", "Softplus": "Softplus", "Softsign": "Softsign", "Mish": "Mish",
        "HardSwish": "Hardswish"}  # fmt: skip


@operator(*SAME)
def same(node: Node) -> Result:
    return getattr(public, SAME[node.op])(), [node.input(0)]


@operator("Relu")
def relu(node: Node) -> Result:
    x = node.input(0)
    return (public.ReLU() if is_floating(x) else layers.Clip(low=0)), [x]


@operator("LeakyRelu")
def leaky_relu(node: Node) -> Result:
    return public.LeakyReLU(node.number("alpha", 0.01)), [node.input(0)]


@operator("PRelu")
def prelu(node: Node) -> Result:
    x, slope = node.input(0), node.input(1)
    array = slope.own
    if array is not None and is_floating(slope) and not x.on_host:
        axes = None if x.ndim is None or x.ndim < 2 else x.ndim - 1  # from the channels on
        channels = axes is not None and array.ndim in (axes, axes + 1) and array.shape[-axes] == array.size
        if array.size == 1 or channels:
            layer = public.PReLU(array.size, dtype=array.dtype.name)
            node.assign(layer, "weight", slope, array.reshape(-1), "" if array.ndim == 1 else "flat")
            return layer, [x]
    return layers.PRelu(), [x, slope]


@operator("Elu")
def elu(node: Node) -> Result:
    return public.ELU(node.number("alpha", 1.0)), [node.input(0)]


@operator("Selu")
def selu(node: Node) -> Result:
    alpha, gamma = node.number("alpha", 1.6732632423543772), node.number("gamma", 1.0507009873554805)
    usual = np.allclose([alpha, gamma], [1.6732632423543772, 1.0507009873554805], rtol=1e-6, atol=0)
    return (public.SELU() if usual else layers.Selu(alpha, gamma)), [node.input(0)]


@operator("Celu")
def celu(node: Node) -> Result:
    alpha = node.number("alpha", 1.0)
    if alpha == 0:
        raise node.refused("attribute alpha is 0, expected a number to divide by")
    return public.CELU(alpha), [node.input(0)]


@operator("Gelu")
def gelu(node: Node) -> Result:
    approximate = node.text("approximate", "none")
    if approximate not in ("none", "tanh"):
        raise node.refused(f"attribute approximate is {approximate!r}, expected none or tanh")
    return public.GELU(approximate), [node.input(0)]


@operator("Swish")
def swish(node: Node) -> Result:
    if node.number("alpha", 1.0) != 1:
        raise node.refused("attribute alpha is not 1, the only value that xpconv computes")
    return public.SiLU(), [node.input(0)]


@operator("HardSigmoid")
def hard_sigmoid(node: Node) -> Result:
    alpha, beta = node.number("alpha", 0.2), node.number("beta", 0.5)
    usual = abs(alpha - 1 / 6) < 1e-7 and beta == 0.5
    return (public.Hardsigmoid() if usual else layers.HardSigmoid(alpha, beta)), [node.input(0)]


@operator("ThresholdedRelu")
def thresholded_relu(node: Node) -> Result:
    return public.Threshold(node.number("alpha", 1.0), 0.0), [node.input(0)]


@operator("Shrink")
def shrink(node: Node) -> Result:
    bias, lambd = node.number("bias", 0.0), node.number("lambd", 0.5)
    if bias == 0:
        return public.Hardshrink(lambd), [node.input(0)]
    if bias == lambd >= 0:
        return public.Softshrink(lambd), [node.input(0)]
    return layers.Shrink(lambd, bias), [node.input(0)]


@operator("Clip")
def clip(node: Node) -> Result:
    x = node.input(0)
    limits: dict[str, Any] = {}
    values: dict[str, Value] = {}
    if node.opset < 11:
        limits = {"low": node.number("min", None), "high": node.number("max", None)}
    for i, name in enumerate(("low", "high"), start=1):
        value = node.optional(i)
        if value is None:
            continue
        if value.array is None:
            values[name] = value
        elif value.array.size != 1:
            raise node.refused(f"input {i}, {value.name!r}, has shape {value.array.shape}, expected a number")
        else:
            limits[name] = to_number(value.array.reshape(-1)[0])
    low, high = limits.get("low"), limits.get("high")
    if not values and is_floating(x) and low is not None:
        if high is None and low == 0:
            return public.ReLU(), [x]
        if high is not None and low < high:
            return (public.ReLU6() if (low, high) == (0, 6) else public.Hardtanh(low, high)), [x]
    return layers.Clip(low, high, tuple(values)), [x, *values.values()]


@operator("Softmax", "LogSoftmax")
def softmax(node: Node) -> Result:
    x = node.input(0)
    log = node.op == "LogSoftmax"
    axis = node.integer("axis", -1 if node.opset >= 13 else 1)
    place = axis_within(node, "axis", axis, x)
    last = axis == -1 or (x.ndim is not None and place == x.ndim - 1)
    if node.opset < 13 and not last:
        return layers.FlatSoftmax(axis, log), [x]
    return (public.LogSoftmax if log else public.Softmax)(axis), [x]


@operator("Dropout")
def dropout(node: Node) -> Result:
    """In a file for inference it does nothing; in training mode the layer drops."""
    node.integer("seed", 0)
    ratio: float | None = node.number("ratio", 0.5) if node.opset < 12 else 0.5
    if node.opset >= 12:
        training = node.optional(2)
        if training is not None and (training.array is None or training.array.any()):
            raise node.refused(
                "training_mode is not false, so that the output is random; export the model for inference"
            )
        given = node.optional(1)
        if given is not None:
            ratio = None if given.array is None else float(to_number(given.array.reshape(())[()]))
    x = node.input(0)
    if ratio is not None and not 0 <= ratio <= 1:
        raise node.refused(f"ratio is {ratio}, expected 0 to 1")
    mask = "bool" if node.opset >= 10 or x.dtype is None else x.dtype.name
    y: Output = (layers.Copy() if ratio is None else public.Dropout(ratio)), [x]
    results: list[Output | None] = [y, (layers.OnesLike(mask), [x])]
    return results if len(node.outputs) > 1 else y
