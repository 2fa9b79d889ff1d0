"""Shapes and dtypes of a node's outputs, by ONNX's shape inference of that node alone.

ONNX's inference hangs, or ends the process, for some faulty nodes. So it gets only nodes of operators that
`operators/` reads, after the operator's function has taken their attributes and inputs; and no negative size,
which results for example from an input smaller than a kernel.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .library import defs, helper, numpy_helper, onnx, shape_inference
from .node import Value

SMALL = 1024  # elements of the largest array whose numbers inference gets
ERRORS = (
    shape_inference.InferenceError, defs.SchemaError,
    RuntimeError, ValueError, TypeError, LookupError, ArithmeticError, MemoryError,
)  # fmt: skip


def inferred(node: Any, opset: int, inputs: Sequence[Value | None]) -> dict[str, Value]:
    """What ONNX infers of a node's outputs, by name; nothing if it fails, as the layers check their inputs.

    Args:
        node: a `NodeProto` whose operator's function has not refused it.
        opset: the version of ONNX's operators.
        inputs: what is known of the node's inputs, None for those left out.
    """
    if _aborts(node):
        return {}
    model = onnx.ModelProto(ir_version=8, opset_import=[helper.make_opsetid("", opset)])
    graph = model.graph
    graph.name = "node"
    graph.node.append(node)
    graph.output.extend(onnx.ValueInfoProto(name=name) for name in node.output if name)
    try:
        for name, value in dict(zip(node.input, inputs, strict=True)).items():
            if value is not None and (value.shape is not None or value.dtype is not None):
                graph.input.append(_described(name, value))
                if value.array is not None and value.array.size <= SMALL:
                    graph.initializer.append(numpy_helper.from_array(value.array, name))
        found = shape_inference.infer_shapes(model)
    except ERRORS:
        return {}
    return {info.name: value_of(info.name, info.type) for info in found.graph.output if info.HasField("type")}


def _described(name: str, value: Value) -> Any:
    """A `ValueInfoProto` of shape and dtype, as far as they are known."""
    kind = 0 if value.dtype is None else helper.np_dtype_to_tensor_dtype(value.dtype)
    return helper.make_tensor_value_info(name, kind, value.shape)


def _aborts(node: Any) -> bool:
    """Whether ONNX's inference would crash: for a Split with a number of outputs other than it declares."""
    if node.op_type != "Split":
        return False
    counts = [attribute.i for attribute in node.attribute if attribute.name == "num_outputs"]
    return any(count != len(node.output) for count in counts)


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
