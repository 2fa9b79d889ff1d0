"""Numbers of a file, which are float32, are in the layers as their author wrote them: 1e-5, not 9.999999747378752e-06."""

import numpy as np
import pytest

import xpconv

onnx = pytest.importorskip("onnx")

from onnx import numpy_helper
from onnx_models import X, model

ONES = np.ones(4, "float32")
NORM = {"s": ONES * 2, "b": ONES, "m": ONES, "v": ONES}
f32 = np.float32
CASES = {  # the node and its constants; the opset; the numbers of the layer
    "BatchNormalization": (("x s b m v", {"epsilon": 1e-3, "momentum": 0.9}), NORM, 15, {"eps": 1e-3, "momentum": 0.1}),
    "BatchNormalization, default": (("x s b m v", {}), NORM, 15, {"eps": 1e-5, "momentum": 0.1}),
    "BatchNormalization, momentum": (("x s b m v", {"momentum": 0.99}), NORM, 15, {"momentum": 0.01}),
    "InstanceNormalization": (("x s b", {"epsilon": 1e-5}), NORM, 15, {"eps": 1e-5}),
    "LeakyRelu": (("x", {"alpha": 0.1}), {}, 15, {"negative_slope": 0.1}),
    "Elu": (("x", {"alpha": 1 / 3}), {}, 15, {"alpha": 0.33333334}),
    "LRN": (("x", {"size": 3, "alpha": 1e-4, "beta": 0.75}), {}, 15, {"alpha": 1e-4, "beta": 0.75}),
    "ThresholdedRelu": (("x", {"alpha": 1e30}), {}, 15, {"threshold": 1e30}),
    "Clip": (("x l h", {}), {"l": f32(-0.1), "h": f32(0.7)}, 15, {"min_val": -0.1, "max_val": 0.7}),
    "Clip, attributes": (("x", {"min": -0.1, "max": 0.7}), {}, 10, {"min_val": -0.1, "max_val": 0.7}),
    "Dropout": (("x r", {}), {"r": f32(0.2)}, 13, {"p": 0.2}),
    "Resize": (("x - n", {}), {"n": np.array([1, 1, 0.6, 1.7], "float32")}, 13, {"scales": (1.0, 1.0, 0.6, 1.7)}),
    "Upsample": (("x", {"scales": [1.0, 1.0, 1.1, 2.3]}), {}, 7, {"scales": (1.0, 1.0, 1.1, 2.3)}),
    "Pad": (("x p c", {}), {"p": np.array([0, 0, 0, 1] * 2), "c": f32(0.3)}, 13, {"value": 0.3}),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_numbers(name, tmp_path):
    (takes, attributes), constants, opset, expected = CASES[name]
    path = tmp_path / "model.onnx"
    made = model([(name.partition(",")[0], takes, "y", attributes)], opset, {"x": X}, constants, infer=False)
    path.write_bytes(made.SerializeToString())
    graph = xpconv.onnx.load(path)
    assert {key: getattr(graph["y"], key) for key in expected} == expected
    if name not in ("Dropout", "ThresholdedRelu"):  # which the file does not need, or has no operator for
        graph.shapes = None
        xpconv.onnx.export(graph, path, X.shape[1:], opset=18)
        again = xpconv.onnx.load(path)
        found = [layer for layer in again.modules() if type(layer) is type(graph["y"])]
        assert {key: getattr(found[0], key) for key in expected} == expected


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "bfloat16", "int8", "bool"])
def test_the_shortest_number_is_the_same_in_its_dtype(dtype):
    from xpconv.onnx.node import to_number

    ml_dtypes = pytest.importorskip("ml_dtypes")
    kind = np.dtype(getattr(ml_dtypes, dtype, dtype))
    bits = np.random.default_rng(0).integers(0, 256, (2000, kind.itemsize), "uint8")
    if dtype == "bool":
        bits &= 1
    with np.printoptions(legacy="1.13", precision=2):  # the digits that a user wants to see do not matter
        for value in bits.view(kind).ravel():
            found = to_number(value)
            assert isinstance(found, {"b": bool, "i": int}.get(kind.kind, float))
            assert kind.type(found).tobytes() == value.tobytes() or (found != found and value != value)


def test_floats_of_a_constant_are_those_of_the_file(tmp_path):
    nodes = [("Constant", "", "c", {"value_floats": [0.1, 1e-45, float("inf")]}), ("Add", "x c", "y", {})]
    path = tmp_path / "model.onnx"
    x = np.zeros((2, 3), "float32")
    path.write_bytes(model(nodes, 15, {"x": x}, {}).SerializeToString())
    expected = np.array([0.1, 1e-45, np.inf], "float32")
    assert numpy_helper.to_array(numpy_helper.from_array(expected)).tolist() == expected.tolist()
    np.testing.assert_array_equal(xpconv.onnx.load(path)(x), [expected] * 2)
