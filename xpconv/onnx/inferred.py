"""Shapes and dtypes of the values of a file by ONNX's shape inference, which is called node by node.

ONNX's inference is C++ that does not check what it reads: some faulty attributes crash the process, and some
hang it. So it is called only for operators that xpconv reads, and not for attributes out of the range that
the operator allows (`_is_safe`); a negative size, which results for example from an input smaller than a
kernel, is not passed on to the next node.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from math import prod
from typing import Any

import numpy as np

from .library import defs, helper, numpy_helper, onnx, shape_inference
from .node import OPERATORS, Value

SMALL = 1024  # inference gets the numbers of arrays of at most so many elements
GRAPHS = (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS)
ERRORS = (shape_inference.InferenceError, defs.SchemaError, RuntimeError, ValueError, LookupError, TypeError)
LARGEST = 2**31  # of an attribute that is one integer
TERM = r"[a-zA-Z ]*(\.\.\.)?[a-zA-Z ]*"  # of an equation
EQUATION = re.compile(rf"{TERM}(,{TERM})*(->{TERM})?")
DTYPES = ("dtype", "to")  # attributes that name one


def inferred(
    nodes: Iterable[Any],
    opset: int,
    types: dict[str, Any],
    data: dict[str, Any],
    is_sound: Callable[[Any], bool],
) -> dict[str, Value]:
    """Shapes and dtypes of the outputs of nodes, as far as the file and inference determine them.

    Args:
        nodes: `NodeProto`s, each after those that it depends on.
        opset: the version of ONNX's operators.
        types: the `TypeProto`s that the file declares, by name; they take precedence over inferred ones.
        data: the `TensorProto`s of small constants; those of `Constant` nodes are added to it.
        is_sound: whether the data of a `TensorProto` have the size of its shape.
    """
    types = {name: _without_negative(kind) for name, kind in types.items()}
    for node in nodes:
        if node.op_type == "Constant":
            data.update(
                (node.output[0], t) for t in _constants(node) if prod(t.dims) <= SMALL and is_sound(t)
            )
        for name, kind in _outputs(node, opset, types, data).items():
            old = types.get(name)
            if old is None or not old.tensor_type.HasField("shape"):
                types[name] = kind
            elif kind.tensor_type.elem_type:
                old.tensor_type.elem_type = kind.tensor_type.elem_type
    return {name: value_of(name, kind) for name, kind in types.items()}


def foreseen(node: Any, opset: int, arrays: Mapping[str, np.ndarray]) -> dict[str, tuple[int | None, ...]]:
    """The shapes of the outputs of a node for these input arrays, as far as ONNX infers them."""
    types, data = {}, {}
    for name, array in arrays.items():
        kind = helper.np_dtype_to_tensor_dtype(array.dtype)
        types[name] = helper.make_tensor_type_proto(kind, array.shape)
        if array.size <= SMALL:
            data[name] = numpy_helper.from_array(array, name)
    shapes = {name: value_of(name, kind).shape for name, kind in _outputs(node, opset, types, data).items()}
    return {name: shape for name, shape in shapes.items() if shape is not None}


def _outputs(node: Any, opset: int, types: Mapping[str, Any], data: Mapping[str, Any]) -> dict[str, Any]:
    """The types of a node's outputs; none if inference fails, as the layer then raises a better error."""
    if not _is_safe(node, types):
        return {}
    names = [name for name in dict.fromkeys(node.input) if name in types]
    model = onnx.ModelProto(ir_version=8, opset_import=[helper.make_opsetid("", opset)])
    model.graph.name = "node"
    model.graph.node.append(node)
    model.graph.input.extend(onnx.ValueInfoProto(name=name, type=types[name]) for name in names)
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in node.output if name)
    for name in names:
        if name in data:
            model.graph.initializer.append(data[name])
            model.graph.initializer[-1].name = name
    try:
        found = shape_inference.infer_shapes(model)
    except ERRORS:
        return {}
    return {info.name: _without_negative(info.type) for info in found.graph.output if info.HasField("type")}


def _is_safe(node: Any, types: Mapping[str, Any]) -> bool:
    """Whether ONNX's inference of this node neither crashes nor hangs, as far as is known."""
    if node.domain not in ("", "ai.onnx") or node.op_type not in OPERATORS:
        return False
    known = onnx.TensorProto.DataType.values()
    for attribute in node.attribute:
        if attribute.type in GRAPHS or not -LARGEST <= attribute.i < LARGEST:
            return False
        if attribute.name in DTYPES and attribute.i not in known:
            return False
    numbers = {attribute.name: attribute.i for attribute in node.attribute}
    if node.op_type == "Split":
        return bool(numbers.get("num_outputs", len(node.output)) == len(node.output))
    if node.op_type == "GatherND":
        ranks = [len(types[name].tensor_type.shape.dim) for name in node.input if name in types]
        batch = numbers.get("batch_dims", 0)
        return bool(batch == 0 or 0 < batch < min(ranks, default=0))
    if node.op_type == "Einsum":
        texts = [attribute.s.decode("utf-8", "replace") for attribute in node.attribute]
        return all(EQUATION.fullmatch(text) for text in texts)
    return True


def _constants(node: Any) -> list[Any]:
    """The array of a `Constant`, as a `TensorProto`."""
    found = []
    for attribute in node.attribute:
        if attribute.name == "value" and attribute.type == onnx.AttributeProto.TENSOR:
            found.append(attribute.t)
        elif attribute.name == "value_ints":
            numbers = attribute.ints
            found.append(helper.make_tensor("", onnx.TensorProto.INT64, [len(numbers)], numbers))
        elif attribute.name == "value_int":
            found.append(helper.make_tensor("", onnx.TensorProto.INT64, [], [attribute.i]))
    return found


def _without_negative(kind: Any) -> Any:
    """A copy of a `TypeProto` in which sizes below 0 are unknown."""
    copy = onnx.TypeProto()
    copy.CopyFrom(kind)
    for dim in copy.tensor_type.shape.dim if copy.tensor_type.HasField("shape") else ():
        if dim.dim_value < 0:
            dim.ClearField("dim_value")
    return copy


def value_of(name: str, kind: Any) -> Value:
    """Shape and dtype of a value by its `TypeProto`."""
    tensor = kind.tensor_type
    try:
        dtype = np.dtype(helper.tensor_dtype_to_np_dtype(tensor.elem_type)) if tensor.elem_type else None
    except (KeyError, TypeError):
        dtype = None
    shape = None
    if tensor.HasField("shape"):
        shape = tuple(dim.dim_value if dim.dim_value > 0 else None for dim in tensor.shape.dim)
    return Value(name, shape=shape, dtype=dtype)
