"""Operators in the forms of old and new opsets, with constants and with inputs, against onnxruntime."""

import numpy as np
import pytest

import xpconv

onnx = pytest.importorskip("onnx")

import onnxed
from onnx_cases import CASES  # they need onnx
from onnx_models import model


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
