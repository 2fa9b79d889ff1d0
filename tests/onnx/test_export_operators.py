"""Operators as ONNX: onnxruntime gives what they give, in the oldest opset that has their forms and in new ones."""

import numpy as np
import pytest
from operator_cases import CASES

import xpconv
from xpconv.layers import operators as ops

onnx = pytest.importorskip("onnx")

import onnxed

LEFT_OUT = {  # and those whose settings are inputs: `test_sizes_that_are_inputs`
    "BatchNormalization, training": "refused",
    "LRN": "onnxruntime has no even sizes",
    **{name: "settings" for name in CASES if getattr(CASES[name][0](), "inputs", ())},
}
NEWEST = min(25, onnx.defs.onnx_opset_version())
LEAST = {
    "Pad, wrap": 19, "LayerNormalization": 17, "LayerNormalization, no bias": 17, "Trilu": 14,
    "ScatterElements, add": 16, "ScatterND, add": 16,
}  # fmt: skip
IMAGES = np.linspace(-2, 3, 2 * 4 * 5 * 6, dtype="float32").reshape(2, 4, 5, 6) ** 2
WEIGHT, BIAS = np.linspace(-1, 1, 6 * 2 * 3 * 2, dtype="float32").reshape(6, 2, 3, 2), np.ones(6, "float32")
TRANSPOSED = np.linspace(-1, 1, 4 * 3 * 3 * 2, dtype="float32").reshape(4, 3, 3, 2)
SAME = {"auto_pad": "SAME_UPPER", "stride": (2, 2)}
WINDOWS = {
    "Conv": (lambda: ops.Conv(groups=2, pads=(1, 0, 2, 1), dilation=(1, 2)), (IMAGES, WEIGHT, BIAS)),
    "Conv, same": (lambda: ops.Conv(groups=2, **SAME), (IMAGES, WEIGHT)),
    "ConvTranspose": (lambda: ops.ConvTranspose(groups=2, output_shape=(10, 11), stride=(2, 2)), (IMAGES, TRANSPOSED, BIAS)),
    "ConvTranspose, pads": (lambda: ops.ConvTranspose(pads=(1, 0, 2, 1), stride=(2, 3)), (IMAGES, TRANSPOSED)),
    "MaxPool": (lambda: ops.MaxPool((3, 2), (2, 2), (1, 0, 2, 1), (1, 2), ceil_mode=True), (IMAGES,)),
    "MaxPool, positions": (lambda: ops.MaxPool((3, 2), indices=True, column_major=True), (IMAGES,)),
    "AveragePool": (lambda: ops.AveragePool((3, 2), (2, 2), (1, 0, 1, 1), count_include_pad=True), (IMAGES,)),
    "AveragePool, same": (lambda: ops.AveragePool((3, 2), **SAME), (IMAGES,)),
    "LpPool": (lambda: ops.LpPool((3, 2), (2, 2), p=3), (IMAGES,)),
    "Resize": (lambda: ops.Resize("cubic", scales=(1, 1, 2, 0.5)), (IMAGES,)),
    "Resize, sizes": (lambda: ops.Resize("linear", "align_corners", sizes=(2, 4, 9, 3)), (IMAGES,)),
    "Resize, crop": (
        lambda: ops.Resize("linear", "tf_crop_and_resize", sizes=(2, 4, 4, 4), roi=(0, 0, 0.25, 0.5, 1, 1, 1, 1.5)), (IMAGES,),
    ),
}  # fmt: skip


@pytest.mark.sample(3)
@pytest.mark.parametrize("name", [*WINDOWS, *(name for name in CASES if name not in LEFT_OUT)])
@pytest.mark.parametrize("opset", [13, NEWEST])
def test_export(name, opset, tmp_path):
    make, inputs = WINDOWS[name] if name in WINDOWS else CASES[name][:2]
    inputs = tuple(x.astype("float32") if x.dtype == "float64" else x for x in inputs)
    if name == "Where":
        inputs = inputs[0].astype(bool), *inputs[1:]
    layer = make().eval()
    opset = max(opset, LEAST.get(name, 13))
    path = tmp_path / "model.onnx"
    xpconv.onnx.export(layer, path, inputs, opset=opset, dynamic_batch=False)
    (y,) = onnxed.run(path, *inputs)
    expected = layer(*inputs)
    assert y.shape == expected.shape
    np.testing.assert_allclose(y, expected, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("pool", ["MaxPool", "AveragePool"])
@pytest.mark.parametrize("free", [True, False])
def test_sizes_that_only_a_run_of_the_model_tells(pool, free, tmp_path):
    """The shape of a Reshape that comes from the Shape of another value; a pool with ceil_mode needs its sizes."""
    helper = onnxed.onnx.helper
    info = [helper.make_tensor_value_info(n, 1, ["n", *s]) for n, s in (("x", (4, 7, 7)), ("y", (4, 4, 4)))]
    ints = [
        onnxed.onnx.numpy_helper.from_array(np.array(v), n) for n, v in (("to", [0, 2, -1]), ("no", [0.0]))
    ]
    nodes = [
        helper.make_node("Reshape", ["x", "to"], ["groups"]),
        helper.make_node("Tanh", ["groups"], ["act"]),
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Reshape", ["act", "shape"], ["back"]),
        helper.make_node(pool, ["back"], ["y"], kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1),
    ]
    graph = helper.make_graph(nodes, "graph", info[:1], info[1:], ints[:1])
    onnxed.onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8),
        tmp_path / "a.onnx",
    )
    loaded = xpconv.onnx.load(tmp_path / "a.onnx")
    x = np.random.default_rng(0).normal(size=(3, 4, 7, 7)).astype("float32")
    for model in (loaded, loaded.fuse()):
        xpconv.onnx.export(model, tmp_path / "b.onnx", (4, 7, 7) if free else x, dynamic_batch=free)
        onnxed.same(onnxed.inferred(loaded, x), onnxed.run(tmp_path / "b.onnx", x))
