"""`xpconv.onnx.load`: small files that ask for much, and names that are none."""

import tracemalloc

import numpy as np
import pytest

import xpconv

onnx = pytest.importorskip("onnx")

from onnx import TensorProto, helper, numpy_helper

import xpconv.onnx

X = ("x", TensorProto.INT64, [2])


def write(folder, nodes, inputs=(X,), **arrays):
    nodes = [helper.make_node(op, takes.split(), gives.split(), **more) for op, takes, gives, more in nodes]
    stored = [numpy_helper.from_array(np.asarray(array), name) for name, array in arrays.items()]
    given = [helper.make_tensor_value_info(*info) for info in inputs]
    output = helper.make_tensor_value_info("y", TensorProto.INT64, None)
    graph = helper.make_graph(nodes, "graph", given, [output], stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path


SPREAD = [
    ("Range", "z n o", "r", {}),
    ("Reshape", "r column", "a", {}),
    ("Reshape", "r row", "b", {}),
    ("Add", "a b", "c", {}),
    ("ReduceSum", "c", "d", {"keepdims": 0}),
    ("Mul", "x d", "y", {}),
]
NUMBERS = {"z": 0, "o": 1, "column": np.array([-1, 1]), "row": np.array([1, -1])}


@pytest.mark.parametrize("hides", ["a Split", "an Abs"])
def test_sizes_are_those_of_the_arrays_even_if_inference_does_not_know_them(hides, tmp_path):
    nodes = SPREAD
    if hides == "a Split":  # ONNX's inference of the whole file is left out
        nodes = [*SPREAD, ("Split", "x", "p q", {"num_outputs": 3})]
    else:
        nodes = [("Abs", "n", "m", {}), ("Range", "z m o", "r", {}), *SPREAD[1:]]
    path = write(tmp_path, nodes, **NUMBERS, n=20000)
    tracemalloc.start()
    try:
        with pytest.raises(xpconv.errors.OperatorError, match="the output has shape"):
            xpconv.onnx.load(path)
        assert tracemalloc.get_traced_memory()[1] < 2**27
    finally:
        tracemalloc.stop()


def test_a_constant_that_is_resized_to_millions_is_refused(tmp_path):
    nodes = [
        ("Resize", "c  s", "t", {}),
        ("Cast", "t", "u", {"to": TensorProto.INT64}),
        ("ReduceSum", "u", "v", {"keepdims": 0}),
        ("Mul", "x v", "y", {}),
    ]
    path = write(tmp_path, nodes, c=np.ones((1, 4), "float32"), s=np.array([1, 2**21]))
    model = onnx.load(path)
    del model.graph.node[0].input[:]
    model.graph.node[0].input.extend(["c", "", "", "s"])
    path.write_bytes(model.SerializeToString())
    with pytest.raises(xpconv.errors.OperatorError, match="along an axis"):
        xpconv.onnx.load(path)


@pytest.mark.parametrize("old", [b"INPUT", b"NODES", b"ARRAY", b"ATTRI", b"Relu5"])
def test_names_that_are_not_text(old, tmp_path):
    nodes = [("Relu5" if old == b"Relu5" else "Add", "INPUT ARRAY", "y", {"name": "NODES", "ATTRI": 1})]
    path = write(tmp_path, nodes, [("INPUT", TensorProto.FLOAT, [2])], ARRAY=np.ones(2, "float32"))
    path.write_bytes(path.read_bytes().replace(old, b"\xff\xfe\xc3\x28\xff"))
    with pytest.raises(xpconv.errors.DataFileError, match=r"model\.onnx"):
        xpconv.onnx.load(path)


def test_two_equal_inputs(tmp_path):
    path = write(tmp_path, [("Add", "x x", "y", {})], [X, X])
    with pytest.raises(xpconv.errors.DataFileError, match=r"model\.onnx.* 2 inputs called 'x'"):
        xpconv.onnx.load(path)
