"""Nodes that xpconv cannot compute are refused when a file is loaded, with the node, its operator and why."""

import numpy as np
import pytest

import xpconv

onnx = pytest.importorskip("onnx")
from onnx_models import MATRIX, ROWS, X, draw, ints, model  # they need onnx

WINDOW = {"kernel_shape": [2, 2]}
FULL = np.array([True])
REFUSED = {  # operator, opset, inputs of which all but the first are constants, attributes, text
    "auto_pad": ("Conv", 11, {"x": X, "w": draw(2, 4, 2, 2)}, {"auto_pad": "SAME"}, "attribute auto_pad is 'SAME'"),
    "lengths": ("Conv", 11, {"x": X, "w": draw(2, 4, 2, 2)}, {"strides": [1, 1], "pads": [0, 0]}, "different numbers of axes"),
    "odd pads": ("MaxPool", 11, {"x": X}, {**WINDOW, "pads": [0, 0, 1]}, "different numbers of axes"),
    "strides": ("MaxPool", 11, {"x": X}, {**WINDOW, "strides": [0, 1]}, r"stride is \(0, 1\), expected 1 to"),
    "pads": ("AveragePool", 11, {"x": X}, {**WINDOW, "pads": [-1, 0, 0, 0]}, r"pads are \(-1, 0, 0, 0\)"),
    "large pads": ("AveragePool", 11, {"x": X}, {**WINDOW, "pads": [0, 0, 0, 10**12]}, "the output has shape"),
    "no kernel": ("LpPool", 11, {"x": X}, {}, "attribute kernel_shape is missing"),
    "p": ("LpPool", 11, {"x": X}, {**WINDOW, "p": 0}, "attribute p is 0"),
    "ceil_mode": ("MaxPool", 11, {"x": X}, {**WINDOW, "ceil_mode": 2}, "attribute ceil_mode is 2, expected 0 or 1"),
    "group": ("Conv", 11, {"x": X, "w": draw(3, 2, 2, 2)}, {"group": 2}, "attribute group is 2"),
    "kernel_shape": ("Conv", 11, {"x": X, "w": draw(2, 4, 2, 2)}, {"kernel_shape": [3, 3]}, "attribute kernel_shape is"),
    "output_padding": (
        "ConvTranspose", 11, {"x": X, "w": draw(4, 2, 2, 2)}, {"output_padding": [1]}, "attribute output_padding is",
    ),
    "output_shape": ("ConvTranspose", 11, {"x": X, "w": draw(4, 2, 2, 2)}, {"output_shape": [9, 10**11]}, "the output has shape"),
    "num_groups": ("GroupNormalization", 21, {"x": X, "s": draw(4), "b": draw(4)}, {"num_groups": 0}, "attribute num_groups is 0"),
    "size": ("LRN", 13, {"x": X}, {"size": 0}, "attribute size is 0"),
    "spatial": (
        "BatchNormalization", 7, {"x": X, "s": draw(4), "b": draw(4), "m": draw(4), "v": draw(4)}, {"spatial": 0},
        "attribute spatial is 0",
    ),
    "celu": ("Celu", 12, {"x": X}, {"alpha": 0.0}, "attribute alpha is 0"),
    "gelu": ("Gelu", 20, {"x": X}, {"approximate": "erf"}, "attribute approximate is 'erf'"),
    "clip": ("Clip", 13, {"x": X, "low": draw(2)}, {}, r"input 1, 'low', has shape \(2,\)"),
    "ratio": ("Dropout", 10, {"x": X}, {"ratio": 2.0}, "ratio is 2.0"),
    "training": ("Dropout", 13, {"x": X, "r": np.float32(0.5), "t": FULL.reshape(())}, {}, "training_mode is not false"),
    "axis": ("Softmax", 13, {"x": ROWS}, {"axis": 3}, "attribute axis is 3, but 'x' has 3 axes"),
    "gather": ("Gather", 13, {"x": ROWS, "i": ints(0)}, {"axis": -4}, "attribute axis is -4"),
    "argmax": ("ArgMax", 13, {"x": ROWS}, {"axis": 5}, "attribute axis is 5"),
    "keepdims": ("ReduceMax", 13, {"x": ROWS}, {"keepdims": 3}, "attribute keepdims is 3"),
    "reduce": ("ReduceMean", 13, {"x": ROWS}, {"axes": [0, 4]}, "attribute axes is 4"),
    "perm": ("Transpose", 13, {"x": ROWS}, {"perm": [0, 1, 1]}, r"attribute perm is \(0, 1, 1\)"),
    "flatten": ("Flatten", 13, {"x": ROWS}, {"axis": 4}, "attribute axis is 4"),
    "reshape": ("Reshape", 13, {"x": ROWS, "s": ints(-1, -1)}, {}, r"the shape is \(-1, -1\)"),
    "reshape, floats": ("Reshape", 13, {"x": ROWS, "s": np.zeros((2, 2), "int64")}, {}, r"shape is int64 of shape \(2, 2\)"),
    "expand": ("Expand", 13, {"x": MATRIX, "s": ints(7, 4)}, {}, r"cannot be expanded to \(7, 4\)"),
    "large expand": ("Expand", 13, {"x": MATRIX, "s": ints(10**10, 3, 4)}, {}, "the output has shape"),
    "blocksize": ("DepthToSpace", 13, {"x": X}, {"blocksize": 0}, "attributes blocksize and mode"),
    "mode": ("DepthToSpace", 13, {"x": X}, {"blocksize": 2, "mode": "CDR"}, "'CDR'"),
    "steps": ("Slice", 13, {"x": X, "s": ints(0), "e": ints(1), "a": ints(0), "t": ints(0)}, {}, "a step is 0"),
    "split": ("Split", 13, {"x": X, "s": ints(1, 2)}, {"axis": 1}, "expected one for each of 1 outputs"),
    "num_outputs": ("Split", 18, {"x": X}, {"axis": 1, "num_outputs": 2}, "attribute num_outputs is 2, but there are 1"),
    "pad mode": ("Pad", 13, {"x": X, "p": ints(*[0] * 8)}, {"mode": "mirror"}, "attribute mode is 'mirror'"),
    "large pad": ("Pad", 13, {"x": X, "p": ints(*[0] * 7, 10**12)}, {}, "the output has shape"),
    "pad value": ("Pad", 13, {"x": X, "p": ints(*[0] * 8), "v": draw(3)}, {}, r"the value has shape \(3,\)"),
    "resize mode": ("Resize", 13, {"x": X}, {"mode": "area"}, "attribute mode is 'area'"),
    "coordinates": ("Resize", 13, {"x": X}, {"coordinate_transformation_mode": "half"}, "attribute coordinate_transformation_mode is 'half'"),
    "no scales": ("Resize", 13, {"x": X}, {}, "neither scales nor sizes"),
    "scales": ("Upsample", 9, {"x": X, "s": np.array([1, 1, -2, 2], "float32")}, {}, "expected above 0"),
    "large": ("Upsample", 9, {"x": X, "s": np.array([1, 1, 1e9, 1e9], "float32")}, {}, "the output has shape"),
    "cast": ("Cast", 13, {"x": X}, {"to": onnx.TensorProto.STRING}, "expected one of|is not one of"),
    "cast to nothing": ("Cast", 13, {"x": X}, {"to": 99}, "is not one of"),
    "unknown attribute": ("Relu", 13, {"x": X}, {"alpha": 1.0}, "attribute alpha is unknown"),
    "dtype of an attribute": ("LeakyRelu", 13, {"x": X}, {"alpha": 1}, "attribute alpha is 1, expected float"),
    "unknown operator": ("Relu7", 13, {"x": X}, {}, "the operator is unknown"),
    "NonMaxSuppression": ("NonMaxSuppression", 11, {"x": X, "s": X}, {}, "xpconv has no NonMaxSuppression"),
    "Hardmax of two axes": ("Hardmax", 11, {"x": X}, {"axis": 1}, "expected the last axis before opset 13"),
    "norm": ("LpNormalization", 13, {"x": X}, {"p": 3}, "attribute p is 3, expected 1 or 2"),
    "global norm": ("GlobalLpPool", 13, {"x": X}, {"p": 3}, "attribute p is 3, expected 1 or 2"),
    "shift": ("BitShift", 13, {"x": FULL.astype("uint8"), "b": FULL.astype("uint8")}, {"direction": "UP"}, "LEFT or RIGHT"),
    "product of updates": (
        "ScatterElements", 18, {"x": X, "i": FULL.astype("int64"), "u": X}, {"reduction": "mul"}, "'mul', expected none or add",
    ),
    "diagonal": ("Einsum", 13, {"x": X}, {"equation": "abii->abi"}, "no letter is twice"),
    "batch_dims": ("GatherND", 13, {"x": X, "i": FULL.astype("int64")}, {"batch_dims": -1}, "batch_dims is -1"),
    "large kernel": ("MaxPool", 13, {"x": X}, {"kernel_shape": [2**21, 1], "auto_pad": "SAME_UPPER"}, "more than 1,048,576"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name, tmp_path):
    op, opset, inputs, attributes, text = REFUSED[name]
    names = list(inputs)
    constants = {k: np.asarray(inputs[k]) for k in names[1:]}
    made = model([(op, " ".join(names), "y", attributes)], opset, {"x": inputs["x"]}, constants, infer=False)
    made.graph.node[0].name = "the node"
    path = tmp_path / "model.onnx"
    path.write_bytes(made.SerializeToString())
    with pytest.raises(xpconv.errors.OperatorError, match=text) as error:
        xpconv.onnx.load(path)
    assert f"'the node' ({op})" in str(error.value)
