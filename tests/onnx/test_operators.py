"""Operators in the forms of old and new opsets, with constants and with inputs, against onnxruntime."""

import numpy as np
import pytest

import xpconv

onnx = pytest.importorskip("onnx")

import onnxed
from onnx_models import MASK, MATRIX, ROWS, X, draw, ints, model  # they need onnx


def compare(path, made, inputs, rtol=1e-5):
    """Load a model, and compare its outputs with those of onnxruntime."""
    path.write_bytes(made.SerializeToString())
    expected = onnxed.session(path).run(None, inputs)
    graph = xpconv.onnx.load(path)
    with xpconv.no_grad():
        found = graph(*[xpconv.asarray(x) for x in inputs.values()])
    for y, z in zip(found if isinstance(found, tuple) else (found,), expected, strict=True):
        assert (y.shape, y.dtype) == (z.shape, z.dtype)
        np.testing.assert_allclose(xpconv.asnumpy(y), z, rtol=rtol, atol=1e-5)


def case(op, opsets, inputs, attributes=None, outputs=("y",), order=None):
    """Inputs by name in the order of the operator's; `-` in `order` is one that is left out."""
    return op, opsets, inputs, attributes or {}, outputs, order or " ".join(inputs)


CASES = {
    "Clip with attributes": case("Clip", (7, 10), {"x": X}, {"min": -0.5, "max": 0.7}),
    "Clip, one attribute": case("Clip", (7,), {"x": X}, {"max": 0.7}),
    "Clip, none": case("Clip", (7, 13), {"x": X}),
    "Clip with inputs": case("Clip", (11, 13), {"x": X, "low": np.float32(-0.5), "high": np.float32(0.7)}),
    "Clip, low left out": case("Clip", (11,), {"x": X, "high": np.float32(0.7)}, order="x - high"),
    "Clip as ReLU": case("Clip", (11,), {"x": X, "low": np.float32(0)}),
    "Clip of integers": case("Clip", (12,), {"x": ints(-3, 2, 9), "low": np.int64(0), "high": np.int64(5)}),
    "Relu of integers": case("Relu", (14,), {"x": ints(-3, 2, 9).astype("int32")}),
    "BatchNormalization": case(
        "BatchNormalization", (7, 9, 14, 15), {"x": X, "s": draw(4), "b": draw(4), "m": draw(4), "v": draw(4) ** 2}, {"epsilon": 0.1},
    ),
    "BatchNormalization of rows": case(
        "BatchNormalization", (9,), {"x": MATRIX, "s": draw(4), "b": draw(4), "m": draw(4), "v": draw(4) ** 2},
    ),
    "InstanceNormalization": case("InstanceNormalization", (7,), {"x": X, "s": draw(4), "b": draw(4)}),
    "LRN": case("LRN", (7, 13), {"x": X}, {"size": 3, "alpha": 0.2, "beta": 0.5, "bias": 2.0}),
    "Dropout": case("Dropout", (7, 10), {"x": X}, {"ratio": 0.3}),
    "Dropout, mask": case("Dropout", (12,), {"x": X, "r": np.float32(0.3)}, outputs=("y", "mask")),
    "Upsample 7": case("Upsample", (7,), {"x": X}, {"scales": [1.0, 1.0, 2.0, 3.0]}),
    "Upsample 9": case("Upsample", (9,), {"x": X, "s": np.array([1, 1, 2, 1.5], "float32")}, {"mode": "linear"}),
    "Resize 10": case("Resize", (10,), {"x": X, "s": np.array([1, 1, 2, 0.5], "float32")}),
    "Resize 10, linear": case("Resize", (10,), {"x": X, "s": np.array([1, 1, 2, 0.5], "float32")}, {"mode": "linear"}),
    "Resize 11, sizes": case(
        "Resize", (11,), {"x": X, "roi": draw(0), "scales": draw(0), "s": ints(2, 4, 9, 3)},
        {"mode": "cubic", "coordinate_transformation_mode": "pytorch_half_pixel"},
    ),
    "Resize 11, tf": case(
        "Resize", (11,), {"x": X, "roi": draw(0), "scales": np.array([1, 1, 2, 2.5], "float32")},
        {"coordinate_transformation_mode": "tf_half_pixel_for_nn", "nearest_mode": "floor"},
    ),
    "Resize 13": case(
        "Resize", (13, 18, 19), {"x": X, "scales": np.array([1, 1, 2, 2], "float32")},
        {"mode": "linear", "coordinate_transformation_mode": "align_corners"}, order="x - scales",
    ),
    "Slice 1": case("Slice", (7, 9), {"x": X}, {"starts": [1, -3], "ends": [3, 99], "axes": [1, 3]}),
    "Slice 1, no axes": case("Slice", (7,), {"x": X}, {"starts": [0, 1], "ends": [1, -1]}),
    "Slice 10": case("Slice", (10, 13), {"x": X, "s": ints(-1, 0), "e": ints(-99, 4), "a": ints(2, -1), "t": ints(-2, 3)}),
    "Pad 2": case("Pad", (7, 10), {"x": X}, {"pads": [0, 0, 1, 2, 0, 0, 3, -1], "value": 2.5}),
    "Pad 2, reflect": case("Pad", (7,), {"x": X}, {"pads": [0, 0, 1, 2, 0, 0, 3, 0], "mode": "reflect"}),
    "Pad 11": case("Pad", (11, 13, 18), {"x": X, "p": ints(0, 0, 1, 2, 0, 1, 3, 0), "v": np.float32(2.5)}),
    "Pad 18": case("Pad", (18, 19), {"x": X, "p": ints(1, 2, 3, 0), "a": ints(-1, 1)}, {"mode": "edge"}, order="x p - a"),
    "Squeeze 1": case("Squeeze", (7, 11), {"x": ROWS[:1, :, :1]}, {"axes": [0, 2]}),
    "Squeeze 1, all": case("Squeeze", (7, 13), {"x": ROWS[:1, :, :1]}),
    "Squeeze 13": case("Squeeze", (13,), {"x": ROWS[:1], "a": ints(0)}),
    "Unsqueeze 1": case("Unsqueeze", (7, 11), {"x": ROWS}, {"axes": [0, 2]}),
    "Unsqueeze 13": case("Unsqueeze", (13,), {"x": ROWS, "a": ints(-1, 0)}),
    "ReduceMean": case("ReduceMean", (7, 11, 13), {"x": X}, {"axes": [2, 3], "keepdims": 0}),
    "ReduceMean, all": case("ReduceMean", (7,), {"x": X}),
    "ReduceMean 18": case("ReduceMean", (18,), {"x": X, "a": ints(-1, 2)}),
    "ReduceSum": case("ReduceSum", (7, 11), {"x": X}, {"axes": [1]}),
    "ReduceSum 13": case("ReduceSum", (13,), {"x": X, "a": ints(1)}, {"keepdims": 0}),
    "ReduceMax": case("ReduceMax", (7, 12), {"x": X}, {"axes": [-1]}),
    "ReduceL2": case("ReduceL2", (11,), {"x": X}, {"axes": [1]}),
    "Split 2": case("Split", (7, 11), {"x": X}, {"axis": 1, "split": [1, 3]}, ("a", "b")),
    "Split 2, equal": case("Split", (7,), {"x": X}, {"axis": -1}, ("a", "b", "c")),
    "Split 13": case("Split", (13,), {"x": X, "s": ints(1, 3)}, {"axis": 1}, ("a", "b")),
    "Split 18": case("Split", (18,), {"x": ROWS}, {"axis": 2, "num_outputs": 3}, ("a", "b", "c")),
    "Softmax 1": case("Softmax", (7, 11), {"x": ROWS}),
    "Softmax 1, axis": case("Softmax", (11,), {"x": ROWS}, {"axis": 2}),
    "Softmax 13": case("Softmax", (13,), {"x": ROWS}, {"axis": 1}),
    "LogSoftmax 1": case("LogSoftmax", (7, 12), {"x": ROWS}, {"axis": 0}),
    "Flatten": case("Flatten", (7, 9, 11), {"x": X}, {"axis": 2}),
    "Reshape": case("Reshape", (7, 13), {"x": X, "s": ints(0, -1, 3)}),
    "MaxPool": case("MaxPool", (7, 8, 10, 12), {"x": X}, {"kernel_shape": [3, 2], "strides": [2, 1], "pads": [1, 0, 1, 1]}),
    "MaxPool, ceil": case("MaxPool", (10,), {"x": X}, {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}),
    "MaxPool, positions": case(
        "MaxPool", (8, 12), {"x": X}, {"kernel_shape": [2, 3], "strides": [2, 2], "storage_order": 1}, ("y", "i"),
    ),
    "MaxPool, same": case("MaxPool", (7, 11), {"x": X}, {"kernel_shape": [3, 3], "strides": [2, 2], "auto_pad": "SAME_LOWER"}),
    "AveragePool": case("AveragePool", (7, 10, 11), {"x": X}, {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}),
    "AveragePool, padding": case(
        "AveragePool", (7, 19), {"x": X}, {"kernel_shape": [3, 2], "pads": [1, 0, 1, 1], "count_include_pad": 1},
    ),
    "AveragePool, same": case("AveragePool", (11,), {"x": X}, {"kernel_shape": [3, 3], "strides": [2, 2], "auto_pad": "SAME_UPPER"}),
    "LpPool": case("LpPool", (7, 11, 18), {"x": X}, {"kernel_shape": [2, 3], "p": 2}),
    "GlobalAveragePool": case("GlobalAveragePool", (7,), {"x": X}),
    "GlobalMaxPool": case("GlobalMaxPool", (7,), {"x": X[0]}),
    "GlobalAveragePool of rows": case("GlobalAveragePool", (7,), {"x": ROWS}),
    "Conv": case(
        "Conv", (7, 11), {"x": X, "w": draw(6, 2, 3, 3), "b": draw(6)}, {"group": 2, "pads": [1, 0, 2, 1], "strides": [2, 1]},
    ),
    "Conv, no kernel_shape, same": case("Conv", (7,), {"x": X, "w": draw(5, 4, 3, 2)}, {"auto_pad": "SAME_LOWER"}),
    "Conv, same with stride": case("Conv", (11,), {"x": X, "w": draw(5, 4, 3, 3)}, {"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
    "Conv 1d": case("Conv", (7,), {"x": ROWS, "w": draw(5, 4, 3), "b": draw(5)}, {"dilations": [2]}),
    "ConvTranspose": case(
        "ConvTranspose", (7, 11), {"x": X, "w": draw(4, 3, 3, 2), "b": draw(6)},
        {"group": 2, "strides": [2, 3], "pads": [1, 0, 0, 1], "output_padding": [1, 0]},
    ),
    "ConvTranspose, output_shape": case("ConvTranspose", (11,), {"x": X, "w": draw(4, 3, 3, 3)}, {"strides": [2, 2], "output_shape": [12, 11]}),
    "ConvTranspose, same": case("ConvTranspose", (11,), {"x": X, "w": draw(4, 3, 3, 3)}, {"strides": [2, 2], "auto_pad": "SAME_UPPER"}),
    "Gemm": case("Gemm", (7, 9, 13), {"x": MATRIX, "w": draw(4, 6), "c": draw(6)}),
    "Gemm, transposed": case("Gemm", (7, 11), {"x": MATRIX, "w": draw(6, 4), "c": draw(1, 6)}, {"transB": 1}),
    "Gemm, no bias": case("Gemm", (11,), {"x": MATRIX, "w": draw(6, 4)}, {"transB": 1}),
    "Gemm, factors": case("Gemm", (7,), {"x": MATRIX.T.copy(), "w": draw(6, 4), "c": draw(6)}, {"transA": 1, "transB": 1, "alpha": 0.5, "beta": 2.0}),
    "MatMul": case("MatMul", (7, 13), {"x": ROWS, "w": draw(5, 2)}),
    "Cast": case("Cast", (7, 13), {"x": X * 3}, {"to": onnx.TensorProto.INT32}),
    "ArgMax": case("ArgMax", (7, 11, 13), {"x": X}, {"axis": 1, "keepdims": 0}),
    "ArgMax, last": case("ArgMax", (12,), {"x": np.round(X)}, {"axis": -1, "select_last_index": 1}),
    "Max": case("Max", (7, 8, 12), {"x": MATRIX, "a": draw(3, 4), "b": draw(3, 4)}),
    "Sum": case("Sum", (7, 8), {"x": MATRIX, "a": draw(3, 4)}),
    "Mean": case("Mean", (8, 13), {"x": MATRIX, "a": draw(4)}),
    "Add": case("Add", (7, 14), {"x": X, "a": draw(4, 1, 1)}),
    "Div of integers": case("Div", (7,), {"x": ints(-7, 7, -8, 5), "d": ints(2, -2, 4, -5)}),
    "Pow": case("Pow", (7, 12, 15), {"x": abs(MATRIX), "a": np.float32(1.5)}),
    "Pow, integer exponent": case("Pow", (12,), {"x": MATRIX, "a": np.int64(3)}),
    "Equal": case("Equal", (7, 11), {"x": ints(1, 2, 3), "a": ints(1, 3, 3)}),
    "Greater": case("Greater", (7, 9), {"x": MATRIX, "a": np.float32(0.1)}),
    "Where": case("Where", (9, 16), {"m": MASK, "x": MATRIX, "a": np.float32(9)}),
    "Expand": case("Expand", (8, 13), {"x": MATRIX[:, :1], "s": ints(2, 1, 5)}),
    "Tile": case("Tile", (7, 13), {"x": ROWS, "r": ints(2, 1, 3)}),
    "Gather": case("Gather", (7, 11), {"x": ROWS, "i": ints(2, 0, 0)}, {"axis": 1}),
    "Gather, negative": case("Gather", (11, 13), {"x": ROWS, "i": np.array(-1)}, {"axis": 2}),
    "Concat": case("Concat", (7, 13), {"x": MATRIX, "a": draw(2, 4)}, {"axis": 0}),
    "DepthToSpace": case("DepthToSpace", (7, 11), {"x": X}, {"blocksize": 2}),
    "DepthToSpace, CRD": case("DepthToSpace", (11, 13), {"x": X}, {"blocksize": 2, "mode": "CRD"}),
    "SpaceToDepth": case("SpaceToDepth", (7, 13), {"x": X}, {"blocksize": 3}),
    "PRelu": case("PRelu", (7, 9), {"x": X, "a": draw(4, 1, 1)}),
    "PRelu, shared": case("PRelu", (9,), {"x": X, "a": draw(1)}),
    "PRelu, along the last axis": case("PRelu", (9,), {"x": X, "a": draw(6)}),
    "Elu": case("Elu", (7,), {"x": X}, {"alpha": 0.3}),
    "Selu": case("Selu", (7,), {"x": X}),
    "HardSigmoid": case("HardSigmoid", (7,), {"x": X * 4}),
    "HardSigmoid, usual": case("HardSigmoid", (7,), {"x": X * 4}, {"alpha": 1 / 6, "beta": 0.5}),
    "ThresholdedRelu": case("ThresholdedRelu", (10,), {"x": X}, {"alpha": 0.4}),
    "Shrink": case("Shrink", (9,), {"x": X}, {"lambd": 0.6, "bias": 0.2}),
    "Celu": case("Celu", (12,), {"x": X}, {"alpha": 0.7}),
    "Range": case("Range", (11,), {"x": np.float32(1), "l": np.float32(9), "d": np.float32(1.5)}),
    "LayerNormalization": case("LayerNormalization", (17,), {"x": ROWS, "s": draw(4, 5), "b": draw(4, 5)}, {"axis": 1}),
    "GroupNormalization 21": case("GroupNormalization", (21,), {"x": X, "s": draw(4), "b": draw(4)}, {"num_groups": 2}),
}  # fmt: skip
PARAMETERS = [
    pytest.param(name, opset, first, id=f"{name} {opset} {'inputs' if first > 1 else 'constants'}")
    for name, row in CASES.items()
    for opset in row[1]
    for first in sorted({1, len(row[2])})
]


@pytest.mark.sample(4)
@pytest.mark.parametrize(("name", "opset", "first"), PARAMETERS)
def test_against_onnxruntime(name, opset, first, tmp_path):
    """The first so many inputs are inputs of the model, the others constants."""
    check(name, opset, first, tmp_path)


@pytest.mark.sample(3)
@pytest.mark.parametrize("name", CASES)
def test_backends(name, backend, tmp_path):
    """With all inputs on the device, and with constants."""
    for first in sorted({1, len(CASES[name][2])}):
        check(name, CASES[name][1][-1], first, tmp_path)


def check(name, opset, first, folder):
    op, _, inputs, attributes, outputs, order = CASES[name]
    names = list(inputs)
    arrays = {k: np.asarray(v) for k, v in inputs.items()}
    given, constants = {k: arrays[k] for k in names[:first]}, {k: arrays[k] for k in names[first:]}
    made = model([(op, order, " ".join(outputs), attributes)], opset, given, constants, outputs)
    compare(folder / "model.onnx", made, given)
