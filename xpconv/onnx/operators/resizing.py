"""Resize and Upsample."""

from __future__ import annotations

from collections.abc import Sequence

from ...layers import operators as layers
from ...layers.operators.resize import scaled_shape
from ..node import Node, Result, Value, operator
from .common import flag, settings

MODES = ("nearest", "linear", "cubic")
COORDINATES = (
    "half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric",
    "tf_crop_and_resize", "tf_half_pixel_for_nn",
)  # fmt: skip
NEAREST = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")
POLICIES = ("stretch", "not_larger", "not_smaller")


@operator("Resize")
def resize(node: Node) -> Result:
    mode = _choice(node, "mode", "nearest", MODES)
    if node.opset < 11:
        arguments, values = settings(node, {"scales": 1})
        return _layer(node, values, mode=mode, coordinates="asymmetric", nearest_mode="simple", **arguments)
    options = {
        "mode": mode,
        "coordinates": _choice(node, "coordinate_transformation_mode", "half_pixel", COORDINATES),
        "nearest_mode": _choice(node, "nearest_mode", "round_prefer_floor", NEAREST),
        "cubic_coeff_a": node.number("cubic_coeff_a", -0.75),
        "exclude_outside": flag(node, "exclude_outside", False),
        "extrapolation_value": node.number("extrapolation_value", 0.0),
        "antialias": flag(node, "antialias", False),
        "axes": node.integers("axes", None),
        "policy": _choice(node, "keep_aspect_ratio_policy", "stretch", POLICIES),
    }
    if options["antialias"] and mode == "nearest":
        raise node.refused("attribute antialias is 1 with mode nearest, expected mode linear or cubic")
    if options["coordinates"] == "tf_half_pixel_for_nn" and (mode, options["nearest_mode"]) != (
        "nearest",
        "floor",
    ):
        raise node.refused("tf_half_pixel_for_nn is for mode nearest and nearest_mode floor")
    places = {"roi": 1, "scales": 2, "sizes": 3}
    if options["coordinates"] != "tf_crop_and_resize":
        del places["roi"]
    arguments, values = settings(node, places)
    return _layer(node, values, **options, **arguments)


@operator("Upsample")
def upsample(node: Node) -> Result:
    mode = _choice(node, "mode", "nearest", MODES[:2])
    if node.opset < 9:
        scales = node.numbers("scales", ())
        return _layer(node, [], mode=mode, coordinates="asymmetric", nearest_mode="floor", scales=scales)
    arguments, values = settings(node, {"scales": 1})
    return _layer(node, values, mode=mode, coordinates="asymmetric", nearest_mode="floor", **arguments)


def _layer(node: Node, values: Sequence[Value], **arguments: object) -> Result:
    layer = layers.Resize(**arguments)  # type: ignore[arg-type]
    x = node.input(0)
    if not (layer.scales or layer.sizes or {"scales", "sizes"} & set(layer.inputs)):
        raise node.refused("there are neither scales nor sizes, expected one of them")
    if layer.scales and layer.sizes:
        raise node.refused("there are both scales and sizes, expected one of them")
    if min(layer.scales or (1,)) <= 0:
        raise node.refused(f"scales are {layer.scales}, expected above 0")
    _note_shape(node, x, layer)
    return layer, [x, *values]


def _note_shape(node: Node, x: Value, layer: layers.Resize) -> None:
    """Refuse too large an output; record its shape by scales, which ONNX's inference rounds differently."""
    if layer.sizes:
        node.check_size([int(n) for n in layer.sizes])
    elif layer.scales:
        least = [n or 1 for n in x.shape or (1,) * len(layer.scales)]
        node.check_size([n or 0 for n in scaled_shape(least, layer.scales, layer.axes)])
        if x.shape:
            node.outputs[0].shape = scaled_shape(x.shape, layer.scales, layer.axes)


def _choice(node: Node, name: str, default: str, choices: Sequence[str]) -> str:
    value: str = node.text(name, default)
    if value == "bilinear":  # as the standard called it once
        value = "linear"
    if value not in choices:
        raise node.refused(f"attribute {name} is {value!r}, expected one of {', '.join(choices)}")
    return value
