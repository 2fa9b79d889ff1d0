"""Pooling."""

from __future__ import annotations

from typing import Any

from ... import layers as public
from ...layers import operators as layers
from ..node import Node, Result, operator
from .common import flag, is_floating
from .convolution import pairs, window

AXES = ("1d", "2d", "3d")


def _pool(node: Node) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Arguments of the operator's layer, and those of a public layer, or None if that cannot have them."""
    found = window(node)
    kernel = found["kernel_size"]
    if not kernel:
        raise node.refused("attribute kernel_shape is missing")
    found["ceil_mode"] = flag(node, "ceil_mode", False)
    padding = pairs(found, len(kernel))
    if padding is None or len(kernel) not in (1, 2, 3) or not is_floating(node.input(0)):
        return found, None
    if any(low != high or 2 * low > k for (low, high), k in zip(padding, kernel, strict=True)):
        return found, None
    usual = {
        "kernel_size": kernel,
        "stride": found["stride"] or 1,
        "padding": tuple([low for low, _ in padding]),
        "ceil_mode": found["ceil_mode"],
    }
    return found, usual


@operator("MaxPool")
def max_pool(node: Node) -> Result:
    found, usual = _pool(node)
    column_major = flag(node, "storage_order", False)
    x = node.input(0)
    if usual is not None:
        kind = getattr(public, "MaxPool" + AXES[len(found["kernel_size"]) - 1])
        y = kind(**usual, dilation=found["dilation"] or 1), [x]
    else:
        y = layers.MaxPool(**found), [x]
    if len(node.outputs) == 1:
        return y
    return [y, (layers.MaxPool(**found, indices=True, column_major=column_major), [x])]


@operator("AveragePool")
def average_pool(node: Node) -> Result:
    found, usual = _pool(node)
    include = flag(node, "count_include_pad", False)
    x = node.input(0)
    if usual is not None and set(found["dilation"] or (1,)) == {1}:
        kind = getattr(public, "AvgPool" + AXES[len(found["kernel_size"]) - 1])
        return kind(**usual, count_include_pad=include), [x]
    return layers.AveragePool(**found, count_include_pad=include), [x]


@operator("LpPool")
def lp_pool(node: Node) -> Result:
    found, _ = _pool(node)
    p = node.integer("p", 2)
    if p < 1:
        raise node.refused(f"attribute p is {p}, expected at least 1")
    return layers.LpPool(**found, p=p), [node.input(0)]


@operator("GlobalLpPool")
def global_lp_pool(node: Node) -> Result:
    p = node.integer("p", 2)
    x = node.input(0)
    if p not in (1, 2) or x.ndim is None or x.ndim < 2:
        raise node.refused(f"attribute p is {p}, expected 1 or 2, or {x.name!r} has no axes (N, C, …)")
    kind = layers.ReduceL1 if p == 1 else layers.ReduceL2
    return kind(tuple(range(2, x.ndim)), noop_with_empty_axes=True), [x]


@operator("GlobalAveragePool", "GlobalMaxPool")
def global_pool(node: Node) -> Result:
    x = node.input(0)
    if x.ndim is None or x.ndim < 2:
        raise node.refused(f"{x.name!r} has {x.ndim or 'an unknown number of'} axes, expected (N, C, …)")
    average = node.op == "GlobalAveragePool"
    if x.ndim in (3, 4, 5):
        kind = "GlobalAvgPool" if average else "GlobalMaxPool"
        return getattr(public, kind + AXES[x.ndim - 3])(), [x]
    reduction = layers.ReduceMean if average else layers.ReduceMax
    return reduction(tuple(range(2, x.ndim)), noop_with_empty_axes=True), [x]
