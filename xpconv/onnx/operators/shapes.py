"""Shapes, and constants."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ... import layers as public
from ...layers import operators as layers
from ..node import Node, Result, Value, operator, to_number
from .common import DTYPES, axis_within, flag, given, is_floating, settings


@operator("Reshape")
def reshape(node: Node) -> Result:
    allowzero = flag(node, "allowzero", False)
    x = node.input(0)
    node.note_axes(node.input(1))
    arguments, values = settings(node, {"shape": 1})
    shape = arguments.get("shape")
    if shape is not None and (shape.count(-1) > 1 or min(shape, default=0) < -1):
        raise node.refused(f"the shape is {shape}, expected sizes of at least 0, and at most one -1")
    if shape == (0, -1) and not allowzero and (x.ndim or 0) >= 2 and is_floating(x):
        return public.Flatten(), [x]
    return layers.Reshape(allowzero=allowzero, **arguments), [x, *values]


@operator("Flatten")
def flatten(node: Node) -> Result:
    axis = node.integer("axis", 1)
    x = node.input(0)
    if x.ndim is not None and not -x.ndim <= axis <= x.ndim:
        raise node.refused(f"attribute axis is {axis}, but {x.name!r} has {x.ndim} axes")
    if axis == 1 and (x.ndim or 0) >= 2 and is_floating(x):
        return public.Flatten(), [x]
    return layers.FlattenTo2d(axis), [x]


@operator("Squeeze", "Unsqueeze")
def squeeze(node: Node) -> Result:
    kind = getattr(layers, node.op)
    x = node.input(0)
    if node.opset < 13:
        return kind(node.integers("axes", None if node.op == "Squeeze" else ())), [x]
    arguments, values = settings(node, {"axes": 1})
    return kind(**arguments), [x, *values]


@operator("Transpose")
def transpose(node: Node) -> Result:
    perm = node.integers("perm", None)
    x = node.input(0)
    if perm is not None and sorted(perm) != list(range(len(perm) if x.ndim is None else x.ndim)):
        raise node.refused(f"attribute perm is {perm}, which does not fit {x.name!r} of {x.ndim} axes")
    return layers.Transpose(perm), [x]


@operator("Expand", "Tile")
def expand(node: Node) -> Result:
    name, size_of = ("shape", _expanded) if node.op == "Expand" else ("repeats", _tiled)
    x = node.input(0)
    node.input(1)
    arguments, values = settings(node, {name: 1})
    if name in arguments:
        node.check_size(size_of(node, x, arguments[name]), x.dtype or "float32")
    return getattr(layers, node.op)(**arguments), [x, *values]


def _expanded(node: Node, x: Value, shape: tuple[int, ...]) -> Sequence[int]:
    """The sizes of `x` expanded to a shape, as far as they are known."""
    if min(shape, default=1) < 0:
        raise node.refused(f"the shape is {shape}, expected sizes of at least 0")
    known: Any = tuple([n or 1 for n in x.shape or ()])
    try:
        return np.broadcast_shapes(shape, known)
    except ValueError:
        raise node.refused(f"{x.name!r} of shape {x.shape} cannot be expanded to {shape}") from None


def _tiled(node: Node, x: Value, repeats: tuple[int, ...]) -> Sequence[int]:
    """The sizes of `x` repeated along its axes, as far as they are known."""
    if min(repeats, default=0) < 0 or len(repeats) != (len(repeats) if x.ndim is None else x.ndim):
        raise node.refused(f"the repeats are {repeats}, which do not fit {x.name!r} of {x.ndim} axes")
    known = [1 if n is None else n for n in x.shape or (1,) * len(repeats)]
    return [n * times for n, times in zip(known, repeats, strict=True)]


@operator("Concat")
def concat(node: Node) -> Result:
    axis = node.integer("axis", 0)
    values = given(node)
    for value in values:
        axis_within(node, "axis", axis, value)
    return layers.Concatenate(axis), values


@operator("DepthToSpace")
def depth_to_space(node: Node) -> Result:
    size, mode = _blocks(node)
    return (layers.DepthToSpace(size) if mode == "DCR" else public.PixelShuffle(size)), [node.input(0)]


@operator("SpaceToDepth")
def space_to_depth(node: Node) -> Result:
    size, mode = _blocks(node)
    return (layers.SpaceToDepth(size) if mode == "DCR" else public.PixelUnshuffle(size)), [node.input(0)]


def _blocks(node: Node) -> tuple[int, str]:
    size, mode = node.integer("blocksize", 0), node.text("mode", "DCR")
    if size < 1 or mode not in ("DCR", "CRD"):
        raise node.refused(f"attributes blocksize and mode are {size} and {mode!r}")
    return size, mode


@operator("Shape")
def shape(node: Node) -> Result:
    return layers.Shape(node.integer("start", 0), node.integer("end", None)), [node.input(0)]


@operator("Size")
def size(node: Node) -> Result:
    return layers.Size(), [node.input(0)]


@operator("Constant")
def constant(node: Node) -> Result:
    numbers: dict[str, Any] = {
        "value_float": (node.number("value_float", None), "float32"),
        "value_floats": (node.numbers("value_floats", None), "float32"),
        "value_int": (node.integer("value_int", None), "int64"),
        "value_ints": (node.integers("value_ints", None), "int64"),
    }
    found = node.tensor("value", None)
    arrays = [np.array(value, dtype) for value, dtype in numbers.values() if value is not None]
    if found is not None:
        arrays.append(found)
    if len(arrays) != 1:
        raise node.refused("expected one value, an array of numbers")
    if arrays[0].dtype.name not in DTYPES:
        raise node.refused(f"the value is {arrays[0].dtype}, expected one of {', '.join(DTYPES)}")
    return arrays[0]


@operator("ConstantOfShape")
def constant_of_shape(node: Node) -> Result:
    value = node.tensor("value", np.zeros(1, "float32"))
    sizes = node.input(0)
    if value.size != 1 or value.dtype.name not in DTYPES:
        raise node.refused(f"attribute value is {value.dtype} of shape {value.shape}, expected one number")
    _check_sizes(node, sizes, value.dtype)
    node.note_axes(sizes)
    return layers.ConstantOfShape(to_number(value.reshape(-1)[0]), value.dtype.name), [sizes]


def _check_sizes(node: Node, sizes: Value, dtype: Any) -> None:
    if sizes.array is not None:
        if sizes.array.dtype.kind not in "iu" or sizes.array.ndim > 1:
            raise node.refused(
                f"the shape is {sizes.array.dtype} of shape {sizes.array.shape}, expected a list of integers"
            )
        node.check_size(sizes.array.reshape(-1).tolist(), dtype)


@operator("Range")
def range_(node: Node) -> Result:
    values = [node.input(i) for i in range(3)]
    arrays = [value.array for value in values]
    if all(array is not None for array in arrays):
        start, limit, delta = (array.item() for array in arrays if array is not None and array.size == 1)
        if delta == 0:
            raise node.refused("delta is 0, expected another number")
        node.check_size([int(max(0, (limit - start) / delta)) + 1], "float64")
    return layers.Range(), values
