"""Convolutions."""

from __future__ import annotations

from math import prod
from typing import Any

from ... import layers as public
from ...arguments import LARGEST
from ...geometry import same_padding
from ...layers import operators as layers
from ...layers.layer import Layer
from ...layers.operators.windows import AUTO_PADS
from ..node import Node, Result, Value, operator
from .common import is_floating

AXES = (1, 2, 3)
MOST_TAPS = 2**20  # of a window


def window(node: Node) -> dict[str, Any]:
    """The attributes of a window; refused if their lengths or values make none."""
    found: dict[str, Any] = {
        "kernel_size": node.integers("kernel_shape", None),
        "stride": node.integers("strides", None),
        "pads": node.integers("pads", None),
        "dilation": node.integers("dilations", None),
    }
    auto = node.text("auto_pad", "NOTSET")
    if auto not in AUTO_PADS:
        raise node.refused(f"attribute auto_pad is {auto!r}, expected one of {', '.join(AUTO_PADS)}")
    found["auto_pad"] = auto
    lengths = {len(v) // (2 if name == "pads" else 1) for name, v in found.items() if isinstance(v, tuple)}
    if len(lengths) > 1 or len(found["pads"] or ()) % 2:
        raise node.refused("kernel_shape, strides, pads and dilations are for different numbers of axes")
    for name in ("kernel_size", "stride", "dilation"):
        if not all(1 <= n <= LARGEST for n in found[name] or ()):
            raise node.refused(f"{name} is {found[name]}, expected 1 to {LARGEST}")
    pads = found["pads"] or ()
    if min(pads, default=0) < 0:
        raise node.refused(f"pads are {pads}, expected at least 0")
    if prod(found["kernel_size"] or ()) > MOST_TAPS:
        raise node.refused(f"kernel_shape is {found['kernel_size']}, more than {MOST_TAPS:,} elements")
    known = node.input(0).shape or ()
    axes = len(pads) // 2
    sizes = [n or 1 for n in known[2:]] if len(known) == axes + 2 else [1] * axes
    node.check_size([n + low + high for n, low, high in zip(sizes, pads[:axes], pads[axes:], strict=True)])
    return found


def pairs(found: dict[str, Any], axes: int) -> tuple[tuple[int, int], ...] | None:
    """The padding along each axis; None if it depends on the size of the input."""
    if found["auto_pad"].startswith("SAME"):
        stride, dilation = found["stride"] or (1,) * axes, found["dilation"] or (1,) * axes
        if set(stride) != {1}:
            return None
        same = same_padding(found["kernel_size"], dilation)
        return same if found["auto_pad"] == "SAME_UPPER" else tuple([(high, low) for low, high in same])
    pads = found["pads"] if found["auto_pad"] == "NOTSET" and found["pads"] else (0,) * 2 * axes
    return tuple(zip(pads[:axes], pads[axes:], strict=True))


def _weights(node: Node, found: dict[str, Any]) -> tuple[Value, Value | None, bool]:
    """Weight, bias, and whether both are constants that a layer can have as parameters."""
    weight, bias = node.input(1), node.optional(2)
    shape = weight.shape
    if shape is not None:
        if found["kernel_size"] is None and None not in shape[2:]:
            found["kernel_size"] = shape[2:]
        elif found["kernel_size"] and any(
            n is not None and n != k for n, k in zip(shape[2:], found["kernel_size"], strict=False)
        ):
            raise node.refused(f"attribute kernel_shape is {found['kernel_size']}, but the weight is {shape}")
        axes = len(shape) - 2
        if axes < 1 or any(v is not None and len(v) != axes for v in (found["kernel_size"], found["stride"])):
            raise node.refused(f"the weight has shape {shape}, which does not fit the attributes")
    constant = weight.own is not None and is_floating(weight) and weight.own.size > 0
    constant = constant and (bias is None or (bias.own is not None and bias.dtype == weight.dtype))
    # an array of the host is copied to the device in the operator's layer, not in the public one
    return weight, bias, constant and weight.ndim in (3, 4, 5) and not node.input(0).on_host


def _assign(node: Node, layer: Layer, weight: Value, bias: Value | None) -> None:
    node.assign(layer, "weight", weight)
    if bias is not None:
        node.assign(layer, "bias", bias)


@operator("Conv")
def conv(node: Node) -> Result:
    found, groups = window(node), node.integer("group", 1)
    x = node.input(0)
    weight, bias, constant = _weights(node, found)
    if groups < 1 or (weight.array is not None and weight.array.shape[0] % groups):
        raise node.refused(f"attribute group is {groups}, which does not fit the weight {weight.shape}")
    kernel = found.pop("kernel_size")
    if constant and weight.array is not None:
        out, into, *sizes = weight.array.shape
        padding = pairs({**found, "kernel_size": kernel}, len(sizes))
        if padding is not None:
            layer = (public.Conv1d, public.Conv2d, public.Conv3d)[len(sizes) - 1](
                into * groups, out, tuple(sizes), found["stride"] or 1, padding, found["dilation"] or 1,
                groups, bias is not None, dtype=weight.array.dtype.name, rng=0,
            )  # fmt: skip
            _assign(node, layer, weight, bias)
            return layer, [x]
    values = [x, weight] if bias is None else [x, weight, bias]
    return layers.Conv(groups=groups, **found), values


@operator("ConvTranspose")
def conv_transpose(node: Node) -> Result:
    found, groups = window(node), node.integer("group", 1)
    extra, shape = node.integers("output_padding", None), node.integers("output_shape", None)
    x = node.input(0)
    weight, bias, constant = _weights(node, found)
    if groups < 1 or (weight.array is not None and weight.array.shape[0] % groups):
        raise node.refused(f"attribute group is {groups}, which does not fit the weight {weight.shape}")
    if min(extra or (0,)) < 0 or min(shape or (1,)) < 1:
        raise node.refused(
            f"output_padding is {extra}, expected at least 0, and output_shape {shape}, expected at least 1"
        )
    axes = None if weight.ndim is None else weight.ndim - 2
    if axes is not None and extra is not None and len(extra) != axes:
        raise node.refused(f"attribute output_padding is {extra}, expected {axes} numbers")
    if shape is not None:
        if axes is not None and len(shape) not in (axes, axes + 2):
            raise node.refused(f"attribute output_shape is {shape}, expected {axes} numbers")
        node.check_size(shape)
    del found["kernel_size"]
    auto = found["auto_pad"].startswith("SAME")
    if constant and weight.array is not None and not shape and not auto:
        into, out, *sizes = weight.array.shape
        stride, dilation = found["stride"] or (1,) * len(sizes), found["dilation"] or (1,) * len(sizes)
        room = [max(s, d) for s, d in zip(stride, dilation, strict=True)]
        if all(e < r for e, r in zip(extra or (), room, strict=False)):
            layer = (public.ConvTranspose1d, public.ConvTranspose2d, public.ConvTranspose3d)[len(sizes) - 1](
                into, out * groups, tuple(sizes), stride, pairs(found, len(sizes)) or 0, extra or 0, groups,
                bias is not None, dilation, dtype=weight.array.dtype.name, rng=0,
            )  # fmt: skip
            _assign(node, layer, weight, bias)
            return layer, [x]
    values = [x, weight] if bias is None else [x, weight, bias]
    return layers.ConvTranspose(groups=groups, output_padding=extra, output_shape=shape, **found), values
