"""Class indices from one-hot rows."""

import os
import re
import sys
from pathlib import Path

import numpy as np
import pytest

import xpconv
from xpconv.errors import BackendError, DTypeError, ShapeError


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int64", "float16", "float32", "float64"])
@pytest.mark.parametrize("shape", [(), (5,), (2, 3, 4), (0,), (2, 0)], ids=str)
def test_there_and_back(backend, shape, dtype):
    target = xpconv.asarray(np.random.default_rng(0).integers(0, 3, shape))
    found = xpconv.from_one_hot(xpconv.one_hot(target, 3, dtype=dtype))
    assert found.dtype == "int64" and found.shape == shape
    np.testing.assert_array_equal(xpconv.asnumpy(found), xpconv.asnumpy(target))


def test_one_class(backend):
    assert xpconv.asnumpy(xpconv.from_one_hot(xpconv.asarray(np.ones((3, 1))))).tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("rows", "error", "message"),
    [
        (np.array([[0, 1], [0, 0]]), ValueError, "a row is [0, 0], expected one 1 and else 0"),
        (np.array([[1, 1]]), ValueError, "a row is [1, 1], expected one 1"),
        (np.array([[2, 0]]), ValueError, "a row is [2, 0], expected one 1"),
        (np.array([1, 0, -1]), ValueError, "a row is [1, 0, -1]"),
        (np.array([[0.9, 0.1]]), ValueError, "a row is [0.9, 0.1], expected one 1 and else 0; of probabilities take rows.argmax(-1)"),
        (np.array([[np.nan, 1.0]]), ValueError, "a row is [nan, 1.0]"),
        (np.array(1), ShapeError, "rows have shape (), expected (…, num_classes)"),
        (np.zeros((3, 0)), ShapeError, "rows have shape (3, 0)"),
        (np.ones((3, 1), complex), DTypeError, "rows are complex128, expected real numbers"),
        (np.array([["a"]]), DTypeError, "rows are <U1, expected real numbers"),
        ([[1, 0]], BackendError, "rows: expected an array of"),
        (None, BackendError, "rows: expected an array"),
    ],
)  # fmt: skip
def test_rows_that_are_not_one_hot(rows, error, message):
    with pytest.raises(error, match=re.escape(message)):
        xpconv.from_one_hot(rows)


def test_nothing_waits_for_the_device():
    import double

    with xpconv.use_backend("double"):
        rows = xpconv.asarray(np.eye(3))
        with double.count_syncs() as counter:
            xpconv.from_one_hot(rows)
        assert counter.n == 0


@pytest.mark.skipif(sys.platform != "linux", reason="reads the memory in use from /proc")
def test_rows_of_many_classes_take_memory_for_their_ones():
    """Of a billion classes, only the pages with a 1 are written; a label out of range is found before."""

    def resident():
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")

    target, before = np.array([[7, 10**9 - 1]], "int32"), resident()
    with pytest.raises(ValueError, match="target holds class 10, expected 0 to 9"):
        xpconv.one_hot(target + 3, 10)
    rows = xpconv.one_hot(target, 10**9, dtype="uint8")
    assert rows.shape == (1, 2, 10**9)
    assert rows[0, [0, 0, 1, 1], [6, 7, 0, -1]].tolist() == [0, 1, 0, 1]
    assert resident() - before < 1e8


@pytest.mark.parametrize("dtype", ["int8", "uint8", "uint64", "int64"])
def test_labels_of_a_small_dtype_and_many_classes(backend, dtype):
    target = np.array([0, 100, 3], dtype)
    rows = xpconv.asnumpy(xpconv.one_hot(xpconv.asarray(target), 1000, dtype="float32"))
    np.testing.assert_array_equal(rows, np.eye(1000, dtype="float32")[target.astype(int)])
