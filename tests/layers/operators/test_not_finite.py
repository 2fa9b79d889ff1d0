"""Operators on 0, infinity, NaN and numbers near the limits of float32, where warnings are errors, as everywhere here:
ONNX defines the results (`1 / 0` is infinity, `log(-1)` is NaN), so NumPy has nothing to warn of."""

import numpy as np
import pytest
from operator_cases import CASES

import xpconv
from xpconv import Graph, ReLU
from xpconv.layers import operators as ops

SPECIAL = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 3e38, -3e38, 1e-40, 1.0, -1.0], "float32")
WINDOWS = {
    "Conv": (lambda: ops.Conv(), (np.ones((1, 2, 3, 3)), np.ones((2, 2, 2, 2)))),
    "ConvTranspose": (lambda: ops.ConvTranspose(), (np.ones((1, 2, 3, 3)), np.ones((2, 2, 2, 2)))),
    "MaxPool": (lambda: ops.MaxPool((2, 2)), (np.ones((1, 2, 3, 3)),)),
    "AveragePool": (lambda: ops.AveragePool((2, 2)), (np.ones((1, 2, 3, 3)),)),
    "LpPool": (lambda: ops.LpPool((2, 2), p=3), (np.ones((1, 2, 3, 3)),)),
    "Resize": (lambda: ops.Resize("cubic", scales=(1, 1, 2, 2)), (np.ones((1, 2, 3, 3)),)),
    "Cast": (lambda: ops.Cast("int32"), (np.ones(10),)),
    "IsNaN": (lambda: ops.IsNaN(), (np.ones(10),)),
    "IsInf": (lambda: ops.IsInf(), (np.ones(10),)),
    "Greater": (lambda: ops.Greater(), (np.ones(10), np.ones(1))),
    "ArgMax": (lambda: ops.ArgMax(), (np.ones(10),)),
    "ReduceMax, none": (lambda: ops.ReduceMax((1,)), (np.ones((3, 0)),)),
    "ReduceMean, none": (lambda: ops.ReduceMean((1,)), (np.ones((3, 0)),)),
    "BatchStatistics": (lambda: ops.BatchStatistics(), (np.ones((2, 3)), np.ones(3))),
}


@pytest.mark.sample(3)
@pytest.mark.parametrize("name", [*WINDOWS, *CASES])
def test_no_warnings(name, backend):
    make, inputs = (WINDOWS | CASES)[name][:2]
    layer = make()
    for shift in range(0, len(SPECIAL), 3):
        arrays = [
            xpconv.asarray(np.resize(np.roll(SPECIAL, shift * (i + 1)), x.shape))
            if x.dtype == "float64"
            else x
            for i, x in enumerate(inputs)
        ]
        with xpconv.no_grad():
            expected = layer(*arrays)
        y = layer(*arrays)
        np.testing.assert_array_equal(xpconv.asnumpy(y), xpconv.asnumpy(expected))
        if y.dtype == "float32":
            layer.backward(xpconv.asarray(np.resize(SPECIAL, y.shape)))


VALUES = {
    "Div": ((1, -1, 0, np.inf, 1), (0, 0, 0, np.inf, np.nan), (np.inf, -np.inf, np.nan, np.nan, np.nan)),
    "Pow": ((0, -8, np.inf, 10), (-1, 1 / 3, 2, 99), (np.inf, np.nan, np.inf, np.inf)),
    "Exp": ((1000, -1000, np.inf, np.nan), None, (np.inf, 0, np.inf, np.nan)),
    "Log": ((0, -1, np.inf), None, (-np.inf, np.nan, np.inf)),
    "Sqrt": ((-1, 0, np.inf), None, (np.nan, 0, np.inf)),
    "Reciprocal": ((0, -0.0, np.inf), None, (np.inf, -np.inf, 0)),
    "Add": ((np.inf, 3e38), (-np.inf, 3e38), (np.nan, np.inf)),
    "Mul": ((np.inf, 3e38), (0, 3e38), (np.nan, np.inf)),
}


@pytest.mark.parametrize("name", VALUES)
def test_values_in_training_and_inference(name, backend):
    first, second, expected = VALUES[name]
    sources = ["x"] if second is None else ["x", "z"]
    graph = Graph({"y": (getattr(ops, name)(), *sources)}, sources, "y")
    arrays = [xpconv.asarray(np.array(x, "float32").reshape(1, -1)) for x in (first, second) if x is not None]
    np.testing.assert_array_equal(xpconv.asnumpy(graph(*arrays)), np.array([expected], "float32"))
    graph.eval()
    with xpconv.no_grad():
        for _ in range(3):  # the second run of a plan repeats what the first recorded
            np.testing.assert_array_equal(xpconv.asnumpy(graph(*arrays)), np.array([expected], "float32"))


@pytest.mark.parametrize("name", ["Add", "Sub", "Mul", "Div"])
def test_plans(name, backend):
    """Inference plans of several layers, the first run of which records what later ones repeat."""
    kind = getattr(ops, name)
    nodes = {"relu": (ReLU(), "x"), "y": (kind(), "relu", "x"), "z": (kind(), "y", "relu")}
    graph = Graph(nodes, "x", "z").eval()
    x = xpconv.asarray(np.resize(SPECIAL[:-1], (1, 4, 5, 6)).astype("float32"))
    expected = graph(x)
    with xpconv.no_grad():
        for _ in range(3):
            np.testing.assert_array_equal(xpconv.asnumpy(graph(x)), xpconv.asnumpy(expected))


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32"])
def test_the_mean_of_nothing(dtype, backend):
    """NaN, as in PyTorch, where ONNX leaves it open; integers have no NaN."""
    x = xpconv.asarray(np.zeros((2, 0, 3), dtype))
    y = xpconv.asnumpy(ops.ReduceMean((1,))(x))
    np.testing.assert_array_equal(y, np.full((2, 1, 3), 0 if dtype == "int32" else np.nan, dtype))


@pytest.mark.parametrize("layer", [ops.ScatterND(), ops.ScatterElements()])
def test_updates_of_one_place(layer):
    """On NumPy the last one counts; all of them get the gradient of that place."""
    x, updates = np.zeros(3), np.array([1.0, 2, 3])
    indices = np.array([1, 1, 1])
    y = layer(x, indices[:, None] if isinstance(layer, ops.ScatterND) else indices, updates)
    assert y.tolist() == [0, 3, 0]
    dx, _, du = layer.backward(np.array([1.0, 2, 3]))
    assert (dx.tolist(), du.tolist()) == ([1, 0, 3], [2, 2, 2])
