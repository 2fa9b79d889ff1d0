"""Layers that are made of layers."""

from __future__ import annotations

from typing import Any

from ...arrays import asnumpy
from ...layers.blocks import SqueezeExcitation
from ...layers.constant import Constant, HostConstant, Weight
from ...layers.containers import Concat, Parallel, Residual, Sequential
from ...layers.conv_separable import SeparableConv2d
from ...layers.graph import Graph
from ...models.convnext import _LayerScale, _Permute
from ..builder import Builder, Tensor
from .norm import mean
from .table import REFUSED, rule


@rule(Sequential)
def sequential(b: Builder, layer: Sequential, x: Any) -> Any:
    """Each layer gets what the one before it gives."""
    for child in layer:
        x = b.layer(child, x)
    return x


@rule(Parallel)
def parallel(b: Builder, layer: Parallel, x: Tensor) -> Any:
    """The sum of the branches."""
    total, *rest = [b.layer(branch, x) for branch in layer]
    for y in rest:
        total = b.node("Add", total, y)
    return total


@rule(Concat)
def concat(b: Builder, layer: Concat, x: Tensor) -> Any:
    """The outputs of the branches, one after the other."""
    outputs = [b.layer(branch, x) for branch in layer]
    return b.node("Concat", *outputs, axis=layer.axis)


@rule(Residual)
def residual(b: Builder, layer: Residual, x: Tensor) -> Any:
    """`body(x) + shortcut(x)`."""
    main = b.layer(layer.body, x)
    side = x if layer.shortcut is None else b.layer(layer.shortcut, x)
    return b.node("Add", main, side)


def _unset(layer: Graph) -> str | None:
    """Why a graph cannot be written."""
    missing = [name for name in layer.nodes if name not in layer.children()]
    return f"node {missing[0]} has no layer; set it: graph[{missing[0]!r}] = layer" if missing else None


REFUSED[Graph] = _unset


@rule(Graph)
def graph(b: Builder, layer: Graph, *inputs: Tensor) -> Any:
    """Its nodes, each after those that it needs."""
    values: dict[str, Any] = dict(zip(layer.inputs, inputs, strict=True))
    nodes = layer.nodes
    for name in layer._order():
        values[name] = b.layer(layer[name], *(values[source] for source in nodes[name]))
    outputs = tuple(values[name] for name in layer.outputs)
    return outputs if len(outputs) > 1 else outputs[0]


@rule(Weight)
def weight(b: Builder, layer: Weight) -> Any:
    """An initializer."""
    return b.parameter(layer.value)


@rule(Constant, HostConstant)
def constant(b: Builder, layer: Any) -> Any:
    """A node `Constant`, which is not trained."""
    tensor = b.constant(asnumpy(layer.value))
    name = b.names.get(id(layer.value))
    return tensor if name is None else b.named(tensor, name)


@rule(SeparableConv2d)
def separable(b: Builder, layer: SeparableConv2d, x: Tensor) -> Any:
    """A depthwise convolution and a pointwise one."""
    return b.layer(layer.pointwise, b.layer(layer.depthwise, x))


@rule(SqueezeExcitation)
def squeeze_excitation(b: Builder, layer: SqueezeExcitation, x: Tensor) -> Any:
    """`x` times a function of its channels' means."""
    scale = mean(b, x, [-2, -1])
    for child in layer._path():
        scale = b.layer(child, scale)
    return b.node("Mul", x, scale)


@rule(_Permute)
def permute(b: Builder, layer: _Permute, x: Tensor) -> Any:
    """Axes in another order."""
    return b.node("Transpose", x, perm=layer.axes)


@rule(_LayerScale)
def layer_scale(b: Builder, layer: _LayerScale, x: Tensor) -> Any:
    """A factor for each channel."""
    return b.node("Mul", x, layer.layer_scale)
