"""Operators on integers as onnxruntime computes them: large numbers, negative ones, divisions, powers and means."""

import itertools

import numpy as np
import pytest

import xpconv

onnx = pytest.importorskip("onnx")

import onnxed
from onnx_models import ints, model  # it needs onnx

LARGE = 2**62 + 12345
A = np.array([-7, 7, -8, 8, 0, 1, -1, 100, -128, 127])
B = np.array([2, -2, 3, -5, 7, -1, 1, 13, 3, -9])


def loaded(folder, op, arrays, attributes=None, opset=13):
    """What xpconv and onnxruntime compute, with all arrays as inputs."""
    names = [f"x{i}" for i in range(len(arrays))]
    given = dict(zip(names, arrays, strict=True))
    path = folder / "model.onnx"
    path.write_bytes(
        model([(op, " ".join(names), "y", attributes or {})], opset, given, {}).SerializeToString()
    )
    graph = xpconv.onnx.load(path)
    return path, xpconv.asnumpy(graph(*map(xpconv.asarray, arrays))), given


def compare(folder, op, *arrays, **options):
    path, y, given = loaded(folder, op, arrays, **options)
    (expected,) = onnxed.session(path).run(None, given)
    assert (y.dtype, y.shape) == (expected.dtype, expected.shape)
    np.testing.assert_array_equal(y, expected)


@pytest.mark.parametrize("dtype", ["int32", "int64"])
def test_arithmetic(dtype, backend, tmp_path):
    pairs = np.array(list(itertools.product(A, B)), dtype).T
    for op in ("Add", "Sub", "Mul", "Div", "Max", "Min", "Equal", "Greater", "LessOrEqual"):
        compare(tmp_path, op, *pairs)
    compare(tmp_path, "Mod", *pairs)
    compare(tmp_path, "Mod", *pairs, attributes={"fmod": 1})
    compare(tmp_path, "Pow", pairs[0], abs(pairs[1]) % 5)
    for op in ("Abs", "Neg", "Sign"):
        compare(tmp_path, op, pairs[0])


@pytest.mark.parametrize("dtype", ["uint8", "uint32", "uint64"])
def test_unsigned(dtype, backend, tmp_path):
    a, b = np.array(list(itertools.product(range(0, 250, 31), (1, 2, 7)))).T.astype(dtype)
    compare(tmp_path, "Mod", a, b)
    if dtype != "uint8":  # onnxruntime has no division of those
        compare(tmp_path, "Div", a, b)
    for direction in ("LEFT", "RIGHT"):
        compare(tmp_path, "BitShift", a, b, attributes={"direction": direction})


def test_numbers_of_64_bits_are_exact(backend, tmp_path):
    """Beyond 2⁵³, float64 has no odd numbers."""
    large = ints(LARGE, -LARGE, LARGE - 1, 2**53 + 1)
    compare(tmp_path, "Div", large, ints(3, 7, -1, 2))
    compare(tmp_path, "Mod", large, ints(1000, 999, -1001, 7))
    rows = np.array([[2**53 + 1, 2**53 + 3], [-(2**53) - 1, -(2**53) - 5], [-3, -4]])
    _, y, _ = loaded(tmp_path, "ReduceMean", (rows,), attributes={"axes": [1]})  # onnxruntime rounds
    np.testing.assert_array_equal(y, [[2**53 + 2], [-(2**53) - 3], [-3]])
    _, y, _ = loaded(tmp_path, "ReduceSum", (rows, ints(1)))
    np.testing.assert_array_equal(y, rows.sum(1, keepdims=True))
    compare(tmp_path, "ReduceMax", rows, attributes={"axes": [0]})
    compare(tmp_path, "ReduceProd", rows[2:], attributes={"axes": [1]})
    _, y, _ = loaded(tmp_path, "Pow", (ints(3, -3, 2), ints(39, 39, 62)))
    np.testing.assert_array_equal(y, [3**39, -(3**39), 2**62])


@pytest.mark.parametrize("dtype", ["int32", "int64"])
@pytest.mark.parametrize("keepdims", [0, 1])
def test_reductions(dtype, keepdims, backend, tmp_path):
    x = np.resize(A, (3, 4, 5)).astype(dtype)
    for op in ("ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceSumSquare"):
        values = x % 3 + 1 if op == "ReduceProd" else x
        compare(tmp_path, op, values, attributes={"axes": [0, 2], "keepdims": keepdims})
    compare(tmp_path, "ReduceSum", x, ints(-1), attributes={"keepdims": keepdims})
    compare(tmp_path, "CumSum", x, np.array(1), attributes={"reverse": keepdims})


def test_a_mean_of_int32_does_not_overflow(backend, tmp_path):
    x = np.array([[2**31 - 1, 2**31 - 1], [-(2**31), -(2**31) + 1]], "int32")
    _, y, _ = loaded(tmp_path, "ReduceMean", (x,), attributes={"axes": [1]})
    np.testing.assert_array_equal(y, [[2**31 - 1], [-(2**31) + 1]])


def test_what_onnx_leaves_open(backend, tmp_path):
    """A quotient and a rest by 0 are 0, and a power that is a fraction is 0, with no warning or error."""
    a, zero = ints(5, -5, 0), ints(0, 0, 0)
    for op, attributes in (("Div", {}), ("Mod", {}), ("Mod", {"fmod": 1})):
        _, y, _ = loaded(tmp_path, op, (a, zero), attributes=attributes)
        np.testing.assert_array_equal(y, [0, 0, 0])
    _, y, _ = loaded(tmp_path, "Pow", (ints(2, 1, -1, -1, -3), ints(-1, -4, -3, -2, -1)))
    np.testing.assert_array_equal(y, [0, 1, -1, 1, 0])
    least = np.array([-(2**63)])
    _, y, _ = loaded(tmp_path, "Div", (least, ints(-1)))  # the quotient is one too large for int64
    np.testing.assert_array_equal(y, least)
