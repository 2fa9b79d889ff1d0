"""`xpconv.onnx.load`: which arrays of a file are trained, and weights that a model takes several times."""

import numpy as np
import pytest

import xpconv

onnx = pytest.importorskip("onnx")

from onnx import TensorProto, helper, numpy_helper

import xpconv.onnx

RNG = np.random.default_rng(0)
X = RNG.normal(size=(2, 5, 4)).astype("float32")
W = RNG.normal(size=(4, 4)).astype("float32")


def load(folder, nodes, **arrays):
    nodes = [helper.make_node(op, takes.split(), gives.split(), **more) for op, takes, gives, more in nodes]
    infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in "xy"]
    stored = [numpy_helper.from_array(np.asarray(array), name) for name, array in arrays.items()]
    graph = helper.make_graph(nodes, "graph", infos[:1], infos[1:], stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, folder / "model.onnx")
    return xpconv.onnx.load(folder / "model.onnx")


def names(graph):
    return sorted(name for name, _ in graph.named_parameters())


def slope(graph, x, name):
    """The gradient of `sum(y * y) / 2` to a parameter, and a difference quotient."""
    graph.to(dtype="float64").train()
    x = xpconv.asarray(x.astype("float64"))
    parameter = dict(graph.named_parameters())[name]
    graph.zero_grad()
    graph.backward(graph(x))
    step, start = RNG.normal(size=parameter.shape), xpconv.asnumpy(parameter.data).copy()
    losses = []
    for sign in (1, -1):
        parameter.data = xpconv.asarray(start + sign * 1e-5 * step)
        losses.append(float((xpconv.asnumpy(graph(x)) ** 2).sum()) / 2)
    parameter.data = xpconv.asarray(start)
    return float((xpconv.asnumpy(parameter.grad) * step).sum()), (losses[0] - losses[1]) / 2e-5


B = np.ones(1, "float32")
CASES = {  # nodes, arrays, the names of the parameters
    "bias of one element": ([("MatMul", "x w", "t", {}), ("Add", "t b", "y", {})], {"w": W[:, :1], "b": B}, "b w"),
    "scale of one element": ([("Mul", "x b", "y", {})], {"b": B}, "b"),
    "scalar": ([("Mul", "x s", "y", {})], {"s": np.float32(2)}, ""),
    "Identity": ([("Identity", "w", "v", {}), ("MatMul", "x v", "y", {})], {"w": W}, "w"),
    "Transpose": ([("Transpose", "w", "v", {}), ("MatMul", "x v", "y", {})], {"w": W}, "w"),
    "two views": ([("Transpose", "w", "u", {}), ("Reshape", "u s", "v", {}), ("MatMul", "x v", "y", {})],
                  {"w": W, "s": np.array([4, 4])}, "w"),
    "Cast": ([("Cast", "w", "v", {"to": 1}), ("MatMul", "x v", "y", {})], {"w": W.astype("float16")}, "w"),
    "Unsqueeze": ([("Unsqueeze", "b a", "v", {}), ("Add", "x v", "y", {})], {"b": W[0], "a": np.array([0])}, "b"),
    "both sides": ([("MatMul", "x w", "t", {}), ("Transpose", "w", "v", {}), ("MatMul", "t v", "y", {})], {"w": W}, "w"),
    "view of a sum": ([("MatMul", "x w", "t", {}), ("MatMul", "t w", "u", {}), ("Add", "u w", "y", {})],
                      {"w": W[:, :]}, "w"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_weights_are_trained(name, backend, tmp_path):
    nodes, arrays, expected = CASES[name]
    graph = load(tmp_path, nodes, **arrays)
    assert names(graph) == expected.split()
    x = X[:, :4]
    for parameter in expected.split() if name != "Cast" else ():
        found, reference = slope(graph, x, parameter)
        np.testing.assert_allclose(found, reference, rtol=1e-6)


GEMMS = {
    "same": ([("Gemm", "x w", "t", {}), ("Gemm", "t w", "y", {})], X[0]),
    "transposed": ([("Gemm", "x w", "t", {}), ("Gemm", "t w", "y", {"transB": 1})], X[0]),
    "through Identity": (
        [("Identity", "w", "v", {}), ("Gemm", "x w", "t", {}), ("Gemm", "t v", "y", {})],
        X[0],
    ),
    "Gemm and MatMul": ([("Gemm", "x w", "t", {}), ("MatMul", "t w", "y", {})], X[0]),
}


@pytest.mark.parametrize("name", GEMMS)
def test_a_weight_in_two_layers_is_one_parameter(name, backend, tmp_path):
    nodes, x = GEMMS[name]
    graph = load(tmp_path, nodes, w=W)
    assert names(graph) == ["w"] and list(graph.state_dict()) == ["w"]
    found, reference = slope(graph, x, "w")
    np.testing.assert_allclose(found, reference, rtol=1e-6)


def test_a_layer_in_place_of_one_with_a_shared_weight_has_its_own_name(tmp_path):
    graph = load(tmp_path, [("Gemm", "x w", "t", {}), ("Gemm", "t w", "y", {})], w=W)
    graph["t"] = xpconv.Dense(4, 4)
    assert set(graph.state_dict()) == {"w", "t.weight", "t.bias"}


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_another_dtype_is_that_of_casts_and_constants_too(dtype, backend, tmp_path):
    nodes = [
        ("Shape", "x", "s", {}),
        ("ConstantOfShape", "s", "c", {"value": numpy_helper.from_array(np.ones(1, "float32"))}),
        ("Gemm", "c w", "g", {}),
        ("Cast", "s", "f", {"to": TensorProto.FLOAT}),
        ("ReduceSum", "f", "n", {"keepdims": 0}),
        ("Div", "g n", "h", {}),
        ("Add", "x h", "y", {}),
    ]
    graph = load(tmp_path, nodes, w=W).to(dtype=dtype)
    assert names(graph) == ["w"]
    x = X[0].astype(dtype)
    y = graph(xpconv.asarray(x))
    assert y.dtype == dtype
    np.testing.assert_allclose(xpconv.asnumpy(y), x + W.sum(0) / 9, rtol=2e-3, atol=2e-3)
