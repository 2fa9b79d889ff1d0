"""Resize in every mode, coordinate mode, rounding, policy and with antialiasing, as onnxruntime computes it."""

import itertools

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


@pytest.mark.sample(4)
@pytest.mark.parametrize("coordinates", COORDINATES)
@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
def test_against_onnxruntime(mode, coordinates, tmp_path):
    roundings = NEAREST if mode == "nearest" else NEAREST[:1]
    widths = (0,) if mode == "nearest" else (0, 1)
    borders = (0, 1) if mode == "cubic" else (0,)
    for nearest, antialias, outside, policy, target in itertools.product(
        roundings, widths, borders, POLICIES, TARGETS
    ):
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
    whole = options["coordinate_transformation_mode"] == "half_pixel_symmetric" and options[
        "nearest_mode"
    ] in ("floor", "ceil")
    if options["mode"] == "nearest" and (target == (0.6, 1.7) or whole):
        assert y.shape == expected.shape  # centres on an input, where the last digit decides
    else:
        np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4, err_msg=str((target, options)))


@pytest.mark.parametrize("mode", ["round_prefer_floor", "round_prefer_ceil"])
def test_ties(mode, backend):
    """With a scale of 1/2, the centre of each output lies between two inputs."""
    x = xpconv.asarray(np.arange(8, dtype="float32"))
    y = ops.Resize("nearest", nearest_mode=mode, scales=(0.5,))(x)
    assert y.tolist() == ([0, 2, 4, 6] if mode == "round_prefer_floor" else [1, 3, 5, 7])


@pytest.mark.sample(8)
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
