"""ONNX's own test cases, which come with the package `onnx`: a model of one node, or of the nodes that an
operator stands for, with inputs and outputs. Those of which xpconv has all operators are loaded and run."""

import importlib
import pkgutil
import re
import sys
import warnings
from collections import Counter
from contextlib import suppress
from functools import cache
from pathlib import Path

import numpy as np
import pytest

import xpconv

onnx = pytest.importorskip("onnx")
OPERATORS = importlib.import_module("xpconv.onnx.node").OPERATORS
PACKAGE = "onnx.backend.test.case.node"
FOLDER = Path(onnx.__file__).parent / "backend" / "test" / "case" / "node"
MODULES = sorted(module.name for module in pkgutil.iter_modules([str(FOLDER)]))
LONG = {"averagepool", "lppool", "maxpool"}  # their cases take a second and more to make

VERSION, TRIED, PASSED = "1.23.2", 1346, 1237  # of onnx; cases with known operators; those that pass
LEFT_OUT = {  # the beginning of names: the reason, and the number of cases
    r"cast(like)?_.*_to_(FLOAT8|FLOAT4|U?INT4|U?INT2)": ("dtypes of 8 bits and less that NumPy lacks", 80),
    r"\w*(string|STRING)": ("text", 2),
    r"training_dropout": ("a random output in inference", 6),
    r"identity_(sequence|opt)": ("sequences and optional values", 2),
    r"constant$": ("a model without inputs", 1),
    r"resize_downsample_scales_(linear|cubic)_align_corners": (
        "corners of scale * n pixels; PyTorch and onnxruntime align those of the whole output",
        2,
    ),
    r"attention_(4d_causal_fp16|(3d_causal|4d_((attn_mask_)?causal|padded_kv|causal_padded_kv))_bf16)_expanded": (
        "two-byte dtypes, in which each of several operators rounds; Softmax here is computed in float32",
        6,
    ),
    r"einsum_batch_diagonal": ("a letter twice in one input", 1),
    r"scatter(_elements_with_reduction|nd)_(mul|max|min)": ("reductions other than a sum", 8),
    r"swiglu_alpha": ("Swish with an alpha other than 1", 1),
}


@cache
def cases_of(module):
    """The cases of one module of `onnx`, which makes them when it is imported, and so here once more."""
    package, name = importlib.import_module(PACKAGE), f"{PACKAGE}.{module}"
    noted, before = package._NodeTestCases, len(package._NodeTestCases)
    package._existing_names.clear()  # it refuses to make a case twice
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        importlib.reload(sys.modules[name]) if name in sys.modules else importlib.import_module(name)
    return [case for case in noted[before:] if operators(case.model) <= set(OPERATORS)]


def operators(model):
    return {node.op_type for node in model.graph.node}


def pattern_of(name):
    """The pattern in `LEFT_OUT` for a case, or None."""
    return next((pattern for pattern in LEFT_OUT if re.match(pattern, name.removeprefix("test_"))), None)


def check(case, folder):
    """Load a case, run it, and compare."""
    path = folder / "model.onnx"
    for opset in case.model.opset_import:
        opset.version = max(opset.version, 7)  # a few are of opset 1, with operators that are the same in 7
    path.write_bytes(case.model.SerializeToString())
    graph = xpconv.onnx.load(path)
    for inputs, outputs in case.data_sets:
        given = [xpconv.asarray(array(x)) for x in inputs]
        with np.errstate(all="ignore"), xpconv.no_grad():
            found = graph(*given)
        for y, expected in zip(
            found if isinstance(found, tuple) else (found,), map(array, outputs), strict=True
        ):
            assert (y.shape, y.dtype) == (expected.shape, expected.dtype)
            np.testing.assert_allclose(xpconv.asnumpy(y), expected, rtol=case.rtol, atol=case.atol)


def array(value):
    return onnx.numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else np.asarray(value)


def test_cases_of_a_module_that_is_imported_are_there_as_well():
    cases_of.cache_clear()
    first = [case.name for case in cases_of("relu")]
    cases_of.cache_clear()
    assert [case.name for case in cases_of("relu")] == first != []


@pytest.mark.filterwarnings("ignore:.*was exported in training mode:UserWarning")
@pytest.mark.sample(3)
@pytest.mark.parametrize(
    "module", [pytest.param(m, marks=pytest.mark.slow) if m in LONG else m for m in MODULES]
)
def test_cases(module, tmp_path):
    failed = []
    for case in cases_of(module):
        if pattern_of(case.name) is None:
            try:
                check(case, tmp_path)
            except Exception as error:  # noqa: BLE001  # all of them are listed
                failed.append(f"{case.name}: {type(error).__name__}: {error}")
    assert not failed, "\n".join(failed)


@pytest.mark.slow
def test_what_is_left_out(tmp_path):
    """Each case that is left out fails, and their numbers are those in the table."""
    left_out, passed = Counter(), []
    tried = 0
    for module in MODULES:
        for case in cases_of(module):
            tried += 1
            pattern = pattern_of(case.name)
            if pattern is not None:
                left_out[pattern] += 1
                with suppress(TypeError, ValueError, AssertionError):  # OperatorError is a ValueError
                    check(case, tmp_path)
                    passed.append(case.name)
    assert not passed
    assert tried > 0.95 * TRIED  # in any version of onnx
    assert left_out.keys() == LEFT_OUT.keys()
    assert left_out.total() < 0.12 * tried
    if onnx.__version__ == VERSION:
        assert dict(left_out) == {pattern: count for pattern, (_, count) in LEFT_OUT.items()}
        assert (tried, tried - left_out.total()) == (TRIED, PASSED)
