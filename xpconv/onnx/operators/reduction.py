"""Reductions over axes, and positions of extremes."""

from __future__ import annotations

from ...layers import operators as layers
from ..node import Node, Result, operator
from .common import axis_within, flag, settings

SINCE = {"ReduceSum": 13}  # the opset in which axes became an input; 18 for all others


@operator("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL2", "ReduceSumSquare")
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


@operator("ArgMax", "ArgMin")
def arg_max(node: Node) -> Result:
    axis, keepdims = node.integer("axis", 0), flag(node, "keepdims", True)
    last = flag(node, "select_last_index", False)
    x = node.input(0)
    axis_within(node, "axis", axis, x)
    return getattr(layers, node.op)(axis, keepdims, last), [x]
