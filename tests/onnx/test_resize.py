"""Resize in every mode, coordinate mode, rounding, policy and with antialiasing, as onnxruntime computes it."""

import itertools
import random

import numpy as np
import pytest

import xpconv
from xpconv.layers import operators as ops

onnx = pytest.importorskip("onnx")

import onnxed
from onnx_models import model  # it needs onnx

X = np.random.default_rng(0).normal(size=(1, 1, 5, 6)).astype("float32")
COORDINATES = (
    "half_pixel",
    "half_pixel_symmetric",
    "pytorch_half_pixel",
    "align_corners",
    "asymmetric",
    "tf_crop_and_resize",
)
NEAREST = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")
TARGETS = [
    ("scales", (2, 2)), ("scales", (0.5, 3)), ("scales", (0.75, 1.5)), ("scales", (0.6, 1.7)),
    ("sizes", (10, 3)), ("sizes", (4, 7)), ("sizes", (1, 1)), ("sizes", (5, 6)), ("sizes", (1, 12)),
]  # fmt: skip
POLICIES = ("stretch", "not_larger", "not_smaller")
ROI = np.array([0.125, 0.25, 0.875, 1.25], "float32")


@pytest.mark.sample(3)
@pytest.mark.parametrize("coordinates", COORDINATES)
@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
def test_against_onnxruntime(mode, coordinates, tmp_path):
    roundings = NEAREST if mode == "nearest" else NEAREST[:1]
    widths = (0,) if mode == "nearest" else (0, 1)
    borders = (0, 1) if mode == "cubic" else (0,)
    grid = list(itertools.product(roundings, widths, borders, POLICIES, TARGETS))
    chosen = random.Random(f"{mode} {coordinates}").sample(grid, len(grid) // 2)  # another half for each
    for nearest, antialias, outside, policy, target in chosen:
        if policy == "stretch" or target[0] == "sizes":
            options = {
                "mode": mode, "coordinate_transformation_mode": coordinates, "nearest_mode": nearest, "antialias": antialias,
                "exclude_outside": outside, "keep_aspect_ratio_policy": policy, "axes": [2, 3], "extrapolation_value": 7.0,
            }  # fmt: skip
            compare(tmp_path, *target, options)


def compare(folder, kind, target, options):
    constants = {kind: np.array(target, "float32" if kind == "scales" else "int64"), "roi": ROI}
    order = "x roi scales" if kind == "scales" else "x roi - sizes"
    path = folder / "model.onnx"
    path.write_bytes(model([("Resize", order, "y", options)], 19, {"x": X}, constants).SerializeToString())
    (y,) = onnxed.inferred(xpconv.onnx.load(path), X)
    crops = options["coordinate_transformation_mode"] == "tf_crop_and_resize"
    copies = crops and y.shape == X.shape  # onnxruntime gives x then, whatever the region is
    (expected,) = onnxed.run(path, X, reference=copies)
    assert y.shape == expected.shape
    if options["mode"] == "nearest":
        for axis, n in enumerate(far_from_inputs(kind, target, options, y.shape)):
            y, expected = y.compress(n, axis + 2), expected.compress(n, axis + 2)
        np.testing.assert_array_equal(y, expected, err_msg=str((target, options)))
    else:  # sums of up to 36 products, which onnxruntime rounds to float32 one by one
        np.testing.assert_allclose(y, expected, rtol=2e-6, atol=5e-6, err_msg=str((target, options)))


def far_from_inputs(kind, target, options, shape):
    """For each axis, which outputs' centres are not on an input as real numbers, or are computed exactly.

    In half_pixel_symmetric, of several roundings, the last digit decides what floor and ceil of the others give.
    """
    if options["coordinate_transformation_mode"] != "half_pixel_symmetric":
        return [np.full(m, True) for m in shape[2:]]
    if options["nearest_mode"] not in ("floor", "ceil"):
        return [np.full(m, True) for m in shape[2:]]
    scales = target if kind == "scales" else [m / n for m, n in zip(target, X.shape[2:], strict=True)]
    if options["keep_aspect_ratio_policy"] != "stretch":
        scales = [(min if options["keep_aspect_ratio_policy"] == "not_larger" else max)(scales)] * 2
    centres = [
        n / 2 * (1 - m / (s * n)) + (np.arange(m) + 0.5) / s - 0.5
        for n, m, s in zip(X.shape[2:], shape[2:], scales, strict=True)
    ]
    return [abs(c - c.round()) > 1e-5 for c in centres]


@pytest.mark.parametrize("given", ["constants", "inputs"])
@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize("scales", [(0.6, 0.6), (0.5, 2), (0.75, 1.5), (1, 1), (0.3, 0.9), (2, 3)])
def test_opset_10(scales, mode, given, backend, tmp_path):
    """Nearest rounds up along axes that shrink, and down along others; the file that is made of it as well."""
    scales = np.array([1, 1, *scales], "float32")
    inputs = {"x": X, "s": scales} if given == "inputs" else {"x": X}
    made = model([("Resize", "x s", "y", {"mode": mode})], 10, inputs, {} if "s" in inputs else {"s": scales})
    (path := tmp_path / "model.onnx").write_bytes(made.SerializeToString())
    graph = xpconv.onnx.load(path)
    (expected,) = onnxed.run(path, *inputs.values())
    (y,) = onnxed.inferred(graph, *inputs.values())
    np.testing.assert_allclose(y, expected, rtol=2e-6, atol=5e-6)
    for opset in (13, 18):
        xpconv.onnx.export(graph, again := tmp_path / "again.onnx", list(inputs.values()), opset, False)
        np.testing.assert_array_equal(onnxed.run(again, *inputs.values())[0], expected)


@pytest.mark.parametrize("op", ["Resize 10", "Resize 11", "Resize 18", "Upsample 9"])
def test_sizes_that_inference_rounds_otherwise(op, tmp_path):
    """5 × 1.4 in float32 gives 7 in onnxruntime; ONNX's shape inference computes less than 7 and rounds down to 6."""
    kind, opset = op.split()
    scales, n = np.arange(0.2, 4, 0.1, dtype="float32"), 5
    x = {"x": np.random.default_rng(0).normal(size=(1, 1, n, n)).astype("float32")}
    order = "x - s" if opset in ("11", "18") else "x s"
    for scale in scales[np.floor(n * scales.astype("float64")) != np.floor(np.float32(n) * scales)]:
        constants = {"s": np.array([1, 1, scale, scale], "float32")}
        nodes = [(kind, order, "r", {"mode": "nearest"}), ("Relu", "r", "y", {})]
        made = model(nodes, int(opset), x, constants, infer=False)
        (path := tmp_path / "model.onnx").write_bytes(made.SerializeToString())
        graph = xpconv.onnx.load(path)
        expected = onnxed.run(path, *x.values())
        assert expected[0].shape[2] == np.floor(np.float32(n) * scale)
        onnxed.same(expected, onnxed.inferred(graph, *x.values()))
        for newer in (13, 18):
            xpconv.onnx.export(graph, again := tmp_path / "again.onnx", (1, n, n), newer)
            onnxed.same(expected, onnxed.run(again, *x.values()))
            onnxed.same(expected, onnxed.inferred(xpconv.onnx.load(again), *x.values()))


def test_parts_of_a_size_that_inference_rounds_otherwise(tmp_path):
    constants = {"s": np.array([1, 1, 1.4, 1], "float32"), "p": np.array([3, 4])}
    nodes = [("Resize", "x - s", "r", {}), ("Split", "r p", "a y", {"axis": 2})]
    made = model(nodes, 17, {"x": np.ones((1, 1, 5, 5), "float32")}, constants, infer=False)
    (tmp_path / "model.onnx").write_bytes(made.SerializeToString())
    assert xpconv.onnx.load(tmp_path / "model.onnx")(np.ones((1, 1, 5, 5), "float32")).shape == (1, 1, 4, 5)


@pytest.mark.parametrize("mode", ["round_prefer_floor", "round_prefer_ceil"])
def test_ties(mode, backend):
    """With a scale of 1/2, the centre of each output lies between two inputs."""
    x = xpconv.asarray(np.arange(8, dtype="float32"))
    y = ops.Resize("nearest", nearest_mode=mode, scales=(0.5,))(x)
    assert y.tolist() == ([0, 2, 4, 6] if mode == "round_prefer_floor" else [1, 3, 5, 7])


@pytest.mark.slow
def test_a_long_axis(backend):
    x = xpconv.asarray(np.arange(1000, dtype="float32"))
    layer = ops.Resize("linear", scales=(300.0,))
    y = xpconv.asnumpy(layer(x))
    np.testing.assert_allclose(
        y, np.clip((np.arange(300_000) + 0.5) / 300 - 0.5, 0, 999), rtol=1e-5, atol=1e-4
    )
    dx = xpconv.asnumpy(layer.backward(xpconv.asarray(np.ones_like(y))))
    np.testing.assert_allclose(dx, np.full(1000, 300), rtol=1e-5)


def test_an_axis_that_is_too_long_is_refused():
    x = np.zeros((1, 1, 2, 2), "float32")
    with pytest.raises(
        ValueError, match=r"Resize\.forward: sizes are \(1, 1, 4194305, 2\), expected at most 4,194,304"
    ):
        ops.Resize(inputs=("sizes",))(x, np.array([1, 1, 2**22 + 1, 2]))
    with pytest.raises(ValueError, match=r"Resize\.forward"):
        ops.Resize(inputs=("scales",))(x, np.array([1, 1, 1e30, 2], "float32"))
