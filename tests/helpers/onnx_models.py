"""Models of single nodes, and arrays for them."""

import numpy as np
import onnx
from onnx import helper, numpy_helper

RNG = np.random.default_rng(5)
X = RNG.normal(size=(2, 4, 6, 6)).astype("float32")
ROWS = RNG.normal(size=(3, 4, 5)).astype("float32")
MATRIX = RNG.normal(size=(3, 4)).astype("float32")
MASK = np.array([[True, False, True, True], [False] * 4, [True] * 4])


def draw(*shape):
    return RNG.normal(size=shape).astype("float32")


def ints(*numbers):
    return np.array(numbers, "int64")


def model(nodes, opset, inputs, constants, outputs=("y",), infer=True):
    """A model of `(op, inputs, outputs, attributes)`; `inputs` and `constants` are arrays by name."""
    protos = [helper.make_node(op, i.split(), o.split(), **attributes) for op, i, o, attributes in nodes]
    for proto in protos:
        proto.input[:] = ["" if name == "-" else name for name in proto.input]
    infos = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(x.dtype), x.shape)
        for name, x in inputs.items()
    ]
    results = [onnx.ValueInfoProto(name=name) for name in outputs]
    stored = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(protos, "graph", infos, results, stored)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    return onnx.shape_inference.infer_shapes(made) if infer else made
