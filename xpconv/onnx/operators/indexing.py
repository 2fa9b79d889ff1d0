"""Parts of arrays, and borders."""

from __future__ import annotations

from ...layers import operators as layers
from ..node import Node, Output, Result, operator, to_number
from .common import axis_within, dtype_of, flag, settings

MODES = ("constant", "reflect", "edge", "wrap")


@operator("Slice")
def slice_(node: Node) -> Result:
    x = node.input(0)
    if node.opset < 10:
        starts, ends = node.integers("starts", ()), node.integers("ends", ())
        return layers.Slice(starts, ends, node.integers("axes", None)), [x]
    node.input(1), node.input(2)
    arguments, values = settings(node, {"starts": 1, "ends": 2, "axes": 3, "steps": 4})
    if 0 in arguments.get("steps", ()):
        raise node.refused("a step is 0, expected another number")
    return layers.Slice(**arguments), [x, *values]


@operator("Gather")
def gather(node: Node) -> Result:
    axis = node.integer("axis", 0)
    x = node.input(0)
    axis_within(node, "axis", axis, x)
    return layers.Gather(axis), [x, node.input(1)]


@operator("GatherElements")
def gather_elements(node: Node) -> Result:
    axis = node.integer("axis", 0)
    x = node.input(0)
    axis_within(node, "axis", axis, x)
    return layers.GatherElements(axis), [x, node.input(1)]


@operator("GatherND")
def gather_nd(node: Node) -> Result:
    batch_dims = node.integer("batch_dims", 0)
    if batch_dims < 0:
        raise node.refused(f"attribute batch_dims is {batch_dims}, expected at least 0")
    return layers.GatherND(batch_dims), [node.input(0), node.input(1)]


@operator("ScatterElements", "Scatter", "ScatterND")
def scatter(node: Node) -> Result:
    axis = node.integer("axis", 0) if node.op != "ScatterND" else 0
    reduction = node.text("reduction", "none") if node.op != "Scatter" else "none"
    if reduction not in ("none", "add"):
        raise node.refused(f"attribute reduction is {reduction!r}, expected none or add")
    x = node.input(0)
    add = reduction == "add"
    layer = layers.ScatterND(add) if node.op == "ScatterND" else layers.ScatterElements(axis, add)
    return layer, [x, node.input(1), node.input(2)]


@operator("NonZero")
def non_zero(node: Node) -> Result:
    return layers.NonZero(), [node.input(0)]


@operator("OneHot")
def one_hot(node: Node) -> Result:
    axis = node.integer("axis", -1)
    indices = node.input(0)
    node.input(1)
    arguments, values = settings(node, {"depth": 1})
    return layers.OneHot(axis, **arguments), [indices, node.input(2), *values]


@operator("EyeLike")
def eye_like(node: Node) -> Result:
    k, number = node.integer("k", 0), node.integer("dtype", None)
    return layers.EyeLike(k, None if number is None else dtype_of(node, number)), [node.input(0)]


@operator("Trilu")
def trilu(node: Node) -> Result:
    upper = flag(node, "upper", True)
    arguments, values = settings(node, {"k": 1})
    return layers.Trilu(upper, **arguments), [node.input(0), *values]


@operator("Split")
def split(node: Node) -> Result:
    axis, count = node.integer("axis", 0), len(node.outputs)
    sizes = node.integers("split", None) if node.opset < 13 else None
    parts = node.integer("num_outputs", count) if node.opset >= 18 else count
    x = node.input(0)
    place = axis_within(node, "axis", axis, x)
    arguments, values = settings(node, {"sizes": 1}) if node.opset >= 13 else ({}, [])
    if "sizes" in arguments:
        sizes = arguments["sizes"]
    if values:
        return [(layers.SplitPart(i, axis, inputs=("sizes",)), [x, *values]) for i in range(count)]
    if sizes is None:
        if parts != count:
            raise node.refused(f"attribute num_outputs is {parts}, but there are {count} outputs")
        known = x.shape[place] if x.shape else None
        if known is not None and known % count and node.opset < 18:
            raise node.refused(f"axis {axis} of {known} cannot be split into {count} equal parts")
        if known is None:
            return [(layers.SplitPart(i, axis, count), [x]) for i in range(count)]
        size = -(-known // count)
        sizes = tuple([max(0, min(size, known - i * size)) for i in range(count)])
    if len(sizes) != count or min(sizes) < 0:
        raise node.refused(f"the sizes are {sizes}, expected one for each of {count} outputs")
    if x.shape and x.shape[place] not in (None, sum(sizes)):
        raise node.refused(f"the sizes are {sizes}, but axis {axis} has {x.shape[place]}")
    results: list[Output | None] = []
    for i in range(count):
        results.append((layers.SplitPart(i, axis, sizes=sizes), [x]))
    return results


@operator("Pad")
def pad(node: Node) -> Result:
    mode = node.text("mode", "constant")
    x = node.input(0)
    if mode not in MODES:
        raise node.refused(f"attribute mode is {mode!r}, expected one of {', '.join(MODES)}")
    if node.opset < 11:
        pads, value = node.integers("pads", ()), node.number("value", 0.0)
        layer, values = layers.Pad(mode, pads, value=value), [x]
    else:
        node.input(1)
        arguments, dynamic = settings(node, {"pads": 1, "axes": 3})
        border = node.optional(2)
        values = [x, *dynamic]
        if border is not None and border.array is not None:
            if border.array.size != 1:
                raise node.refused(f"the value has shape {border.array.shape}, expected one number")
            arguments["value"] = to_number(border.array.reshape(-1)[0])
        elif border is not None and mode == "constant":
            values = [x, border, *dynamic]
        layer = layers.Pad(mode, **arguments)
    if x.shape is not None and len(layer.pads) == 2 * len(layer.axes or x.shape):
        half = len(layer.pads) // 2
        sizes = [1 if n is None else n for n in x.shape]
        for axis, low, high in zip(layer.axes or range(half), layer.pads, layer.pads[half:], strict=False):
            sizes[axis_within(node, "axes", axis, x)] += low + high
        node.check_size([max(0, n) for n in sizes])
    return layer, values
