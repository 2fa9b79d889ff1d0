"""Reductions over axes, and positions of extremes."""

from __future__ import annotations

from typing import Any

from ...layers import operators as layers
from ..node import Node, Output, Result, Value, operator
from .common import axis_within, flag, settings

SINCE = {"ReduceSum": 13}  # the opset in which axes became an input; 18 for all others


@operator(
    "ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2", "ReduceSumSquare",
    "ReduceProd", "ReduceLogSum", "ReduceLogSumExp",
)  # fmt: skip
def reduce(node: Node) -> Result:
    keepdims = flag(node, "keepdims", True)
    kind = getattr(layers, node.op)
    x = node.input(0)
    if node.opset < SINCE.get(node.op, 18):
        axes = node.integers("axes", None)
        for axis in axes or ():
            axis_within(node, "axes", axis, x)
        return kind(axes, keepdims), [x]
    noop = flag(node, "noop_with_empty_axes", False)
    arguments, values = settings(node, {"axes": 1})
    return kind(keepdims=keepdims, noop_with_empty_axes=noop, **arguments), [x, *values]


@operator("CumSum")
def cum_sum(node: Node) -> Result:
    exclusive, reverse = flag(node, "exclusive", False), flag(node, "reverse", False)
    x = node.input(0)
    node.input(1)
    arguments, values = settings(node, {"axis": 1})
    return layers.CumSum(exclusive=exclusive, reverse=reverse, **arguments), [x, *values]


@operator("TopK")
def top_k(node: Node) -> Result:
    axis, largest, _ = node.integer("axis", -1), flag(node, "largest", True), flag(node, "sorted", True)
    x = node.input(0)
    axis_within(node, "axis", axis, x)
    arguments: dict[str, Any] = {"k": (node.integer("k", 0) if node.opset < 10 else 0,)}
    values: list[Value] = []
    if node.opset >= 10:
        node.input(1)
        arguments, values = settings(node, {"k": 1})
    results: list[Output | None] = []
    for indices in (False, True):
        results.append((layers.TopK(axis, largest, indices, **arguments), [x, *values]))
    return results[: len(node.outputs)]


@operator("Hardmax")
def hardmax(node: Node) -> Result:
    axis = node.integer("axis", -1 if node.opset >= 13 else 1)
    x = node.input(0)
    place = axis_within(node, "axis", axis, x)
    if node.opset < 13 and (x.ndim is None or place != x.ndim - 1):
        raise node.refused(f"attribute axis is {axis}, expected the last axis before opset 13")
    return layers.Hardmax(axis), [x]


@operator("LpNormalization")
def lp_normalization(node: Node) -> Result:
    axis, p = node.integer("axis", -1), node.integer("p", 2)
    x = node.input(0)
    axis_within(node, "axis", axis, x)
    if p not in (1, 2):
        raise node.refused(f"attribute p is {p}, expected 1 or 2")
    return layers.LpNormalization(axis, p), [x]


@operator("ArgMax", "ArgMin")
def arg_max(node: Node) -> Result:
    axis, keepdims = node.integer("axis", 0), flag(node, "keepdims", True)
    last = flag(node, "select_last_index", False)
    x = node.input(0)
    axis_within(node, "axis", axis, x)
    return getattr(layers, node.op)(axis, keepdims, last), [x]
