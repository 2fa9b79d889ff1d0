"""What the functions of operators share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..library import helper
from ..node import Node, Value, to_number

FLOATS = ("float16", "float32", "float64", "bfloat16")
DTYPES = (*FLOATS, "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")


def is_floating(value: Value) -> bool:
    """Whether a value is known to be floating, or of unknown dtype, as then the layers check it."""
    return value.dtype is None or value.dtype.name in FLOATS


def given(node: Node) -> list[Value]:
    """All inputs of an operator that takes any number, but at least one."""
    if not node.inputs:
        raise node.refused("it has no input")
    return [node.input(i) for i in range(len(node.inputs))]


def settings(node: Node, places: Mapping[str, int]) -> tuple[dict[str, Any], list[Value]]:
    """Arguments of an operator's layer from inputs: constants as numbers, others as `inputs` of the layer.

    Args:
        node: the node.
        places: for each argument the number of its input.

    Returns:
        the arguments, and the values that the layer gets after its other inputs.
    """
    arguments: dict[str, Any] = {}
    named: dict[str, Value] = {}
    for name, i in places.items():
        value = node.optional(i)
        if value is None:
            continue
        if value.array is None:
            named[name] = value
        else:
            if value.array.ndim > 1 or value.array.dtype.kind not in "iuf" or value.array.size > 64:
                raise node.refused(f"{name} is {value.array.dtype} of shape {value.array.shape}")
            arguments[name] = tuple(map(to_number, value.array.reshape(-1)))
    if named:
        arguments["inputs"] = tuple(named)
    return arguments, list(named.values())


def flag(node: Node, name: str, default: bool) -> bool:
    """An attribute that is 0 or 1; others are refused, as runtimes do not agree on them."""
    value: int = node.integer(name, int(default))
    if value not in (0, 1):
        raise node.refused(f"attribute {name} is {value}, expected 0 or 1")
    return bool(value)


def dtype_of(node: Node, number: int) -> str:
    """The name of the dtype with this number in ONNX; refused if xpconv has no such arrays."""
    try:
        name = str(np.dtype(helper.tensor_dtype_to_np_dtype(number)).name)
    except (KeyError, TypeError):
        name = f"number {number}"
    if name not in DTYPES:
        raise node.refused(f"dtype {name} is not one of {', '.join(DTYPES)}")
    return name


def axis_within(node: Node, name: str, axis: int, value: Value) -> int:
    """An axis of a value, from 0 on if the number of axes is known; refused if there is no such axis."""
    if value.ndim is None:
        return axis
    if not -value.ndim <= axis < max(value.ndim, 1):
        raise node.refused(f"attribute {name} is {axis}, but {value.name!r} has {value.ndim} axes")
    return axis % value.ndim if value.ndim else 0


def no_other_outputs(node: Node, most: int = 1, why: str = "") -> None:
    """Refuse a node of which outputs beyond the first `most` are used."""
    if any(node.used[most:]):
        raise node.refused(f"output {node.used.index(True, most)} is used, which is not supported{why}")
