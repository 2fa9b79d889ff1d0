"""Arrays that a file computes from shapes alone are on the host, also where the model is on a device."""

import numpy as np
import pytest

import xpconv

onnx = pytest.importorskip("onnx")

import onnxed
from onnx_models import draw, ints, model  # they need onnx

X = draw(2, 4, 6, 6)
VECTORS = {"s": draw(4), "b": draw(4), "m": draw(4), "v": draw(4) ** 2}
CASES = {  # operator, opset, its inputs, constants, attributes
    "Conv": ("Conv", 13, "h w b", {"w": draw(4, 4, 3, 3), "b": draw(4)}, {"pads": [1, 1, 1, 1]}),
    "ConvTranspose": ("ConvTranspose", 13, "h w", {"w": draw(4, 4, 1, 1)}, {}),
    "BatchNormalization": ("BatchNormalization", 15, "h s b m v", VECTORS, {}),
    "InstanceNormalization": ("InstanceNormalization", 13, "h s b", {"s": draw(4), "b": draw(4)}, {}),
    "GroupNormalization": (
        "GroupNormalization",
        21,
        "h s b",
        {"s": draw(4), "b": draw(4)},
        {"num_groups": 2},
    ),
    "LayerNormalization": ("LayerNormalization", 17, "h s b", {"s": draw(6), "b": draw(6)}, {}),
    "PRelu": ("PRelu", 13, "h a", {"a": draw(4, 1, 1)}, {}),
    "MatMul": ("MatMul", 13, "h w", {"w": draw(6, 6)}, {}),
    "Add": ("Add", 13, "h w", {"w": draw(6)}, {}),
    "Relu": ("Relu", 13, "h", {}, {}),
    "Softmax": ("Softmax", 13, "h", {}, {}),
    "AveragePool": ("AveragePool", 13, "h", {}, {"kernel_shape": [1, 1]}),
    "Resize": ("Resize", 13, "h - n", {"n": np.ones(4, "float32")}, {}),
    "Concat": ("Concat", 13, "h w", {"w": draw(2, 4, 6, 6)}, {"axis": 0}),
    "Gather": ("Gather", 13, "h i", {"i": ints(0, 2)}, {"axis": 1}),
}


@pytest.mark.parametrize("name", CASES)
def test_a_layer_that_takes_an_array_of_the_host(name, backend, tmp_path):
    """With weights of the device, and then with an input of the device, in inference and in training."""
    op, opset, takes, constants, attributes = CASES[name]
    value = {"value": onnx.numpy_helper.from_array(np.array([-1.5], "float32"))}
    nodes = [("Shape", "x", "n_x", {}), ("ConstantOfShape", "n_x", "h", value), (op, takes, "t", attributes),
             ("ReduceSum", "t", "u", {"keepdims": 0}), ("Mul", "x u", "y", {})]  # fmt: skip
    made = model(nodes, opset, {"x": X}, constants)
    path = tmp_path / "model.onnx"
    path.write_bytes(made.SerializeToString())
    (expected,) = onnxed.run(path, X, reference=True)
    graph, x = xpconv.onnx.load(path), xpconv.asarray(X)
    with xpconv.no_grad():
        y = graph(x)
    assert type(y) is type(x)
    np.testing.assert_allclose(xpconv.asnumpy(y), expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(xpconv.asnumpy(graph.train()(x)), expected, rtol=1e-4, atol=1e-4)
    graph.backward(x)
    trained = [p for name, p in graph.named_parameters() if name in constants]
    assert all(p.grad is not None and type(p.grad) is type(x) for p in trained)
