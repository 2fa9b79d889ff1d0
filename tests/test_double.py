"""The double itself: what it permits gives NumPy's values, and each refusal does fire."""

import copy
import pickle
import sys
from pathlib import Path

import double
import numpy as np
import process
import pytest
from double import xp

import xpconv

HOST = np.arange(12, dtype=np.float32).reshape(3, 4) - 5


@pytest.fixture
def a():
    return xp.asarray(HOST)


def device(*values, dtype=None):
    return xp.asarray(values, dtype=dtype)


def same(result, expected):
    """`result` of the double is on the device, and has the value, dtype and shape of NumPy's `expected`."""
    assert type(result) is double.ndarray
    np.testing.assert_array_equal(result.get(), expected, strict=True)


@pytest.mark.parametrize(
    "work",
    [
        lambda m, a: (a + a, a - 1, 2.0 * a, a / 2, a // 2, a % 3, a**2, -a, abs(a), 1 - a, a @ a.T),
        lambda m, a: (a < 0, a <= a, a == 2, a != 2, (a > 0) & (a < 3), ~(a > 0), (a > 0) | (a < 3)),
        lambda m, a: (a + np.float32(1), a + np.float64(1), np.float64(1) + a, a + True, a * m.float32(2)),
        lambda m, a: divmod(a, 2),
        lambda m, a: (a[1], a[-1, 2], a[:, ::2], a[..., None, 1:], a[()], a[np.int64(1)]),
        lambda m, a: (a[m.arange(2)], a[:, m.arange(2)[:, None]], a[m.arange(3), m.arange(3)], a[a > 0]),
        lambda m, a: (a.sum(), a.sum(axis=0), a.mean(1, keepdims=True), a.max(axis=(0, 1)), a.argmax(axis=1)),
        lambda m, a: (m.sum(a), m.var(a, axis=0, ddof=1), m.any(a > 0), m.count_nonzero(a)),
        lambda m, a: (a.T, a.reshape(4, -1), a.reshape((2, 6)), a.transpose(1, 0), a.ravel(), a.astype("int8")),
        lambda m, a: (m.exp(a), m.maximum(a, 0), m.where(a > 0, a, 0), m.clip(a, -1, 1), m.sqrt(4.0)),
        lambda m, a: (m.concatenate([a, a], axis=1), m.stack((a, a)), *m.split(a, 2, axis=1)),
        lambda m, a: (m.pad(a, ((1, 1), (0, 2))), m.pad(a, 1, mode="edge"), m.flip(a, axis=(0, 1))),
        lambda m, a: (m.einsum("ij,kj->ik", a, a), m.tensordot(a, a, axes=([1], [1])), m.matmul(a, a.T)),
        lambda m, a: (m.broadcast_to(a, (2, 3, 4)), m.moveaxis(a, 0, 1), m.expand_dims(a, (0, 2))),
        lambda m, a: (m.zeros((2, 3), "f4"), m.full_like(a, 2), m.arange(3), m.eye(2), m.zeros_like(m.empty_like(a))),
        lambda m, a: (m.take(a, m.arange(2), axis=1), m.take_along_axis(a, a.argmax(1)[:, None], 1)),
        lambda m, a: (m.add.reduce(a, axis=1), m.multiply.accumulate(a, axis=0), m.linalg.norm(a)),
        lambda m, a: m.lib.stride_tricks.sliding_window_view(a, (2, 2), axis=(0, 1)),
        lambda m, a: m.lib.stride_tricks.as_strided(a, (2, 2), (16, 8)),
        lambda m, a: (*m.modf(a), *m.nonzero(a), *m.unique_counts(a), m.linalg.inv(a[:, :3] ** 2)),
        lambda m, a: (a.astype("f2") + 1, a.real, a.copy(), a.repeat(2, axis=0), a.cumsum(0), a.clip(0, 2)),
    ],
)  # fmt: skip
def test_permitted_things_give_numpys_values(work, a):
    expected, result = work(np, HOST), work(xp, a)
    if not isinstance(expected, tuple):
        expected, result = (expected,), (result,)
    assert len(expected) == len(result)
    for r, e in zip(result, expected, strict=True):
        same(r, e)
    same(a, HOST)  # nothing was written to the operand


def test_what_is_not_an_array_passes_through(a):
    assert (a.shape, a.ndim, a.size, a.dtype, len(a), a.nbytes) == ((3, 4), 2, 12, np.float32, 3, 48)
    assert xp.float32 is np.float32
    assert xp.newaxis is None
    assert (xp.pi, xp.inf) == (np.pi, np.inf)
    assert xp.result_type(a, xp.float64) == np.float64
    assert xp.promote_types("f4", "f2") == np.float32
    assert xp.can_cast("f4", "f8")
    assert xp.finfo(a.dtype).eps == np.finfo("f4").eps
    assert (xp.ndim(a), xp.shape(a), xp.isscalar(2)) == (2, (3, 4), True)
    assert isinstance(a, xp.ndarray)
    assert a.base is None
    assert a.flags.c_contiguous
    assert not a.T.flags.c_contiguous


@pytest.mark.parametrize(
    ("error", "match", "work"),
    [
        # host arrays and lists (3)
        (TypeError, "Unsupported", lambda a: a + HOST),
        (TypeError, "Unsupported", lambda a: HOST + a),
        (TypeError, "Unsupported", lambda a: a * np.array(2.0)),
        (TypeError, "Unsupported", lambda a: np.array(2.0) * a),
        (TypeError, "Unsupported", lambda a: a == HOST),
        (TypeError, "Unsupported", lambda a: a @ HOST.T),
        (TypeError, "Unsupported", lambda a: HOST.T @ a),
        (TypeError, "Unsupported", lambda a: a * [1.0]),
        (TypeError, "Unsupported", lambda a: a.__iadd__(HOST)),
        (TypeError, "__array_ufunc__", lambda a: HOST.copy().__iadd__(a)),
        (TypeError, "Unsupported", lambda a: xp.exp(HOST)),
        (TypeError, "Unsupported", lambda a: xp.exp([1.0])),
        (TypeError, "Unsupported", lambda a: xp.maximum(a, HOST)),
        (TypeError, "device array", lambda a: xp.sum(HOST)),
        (TypeError, "device array", lambda a: xp.sum([1.0, 2.0])),
        (TypeError, "device array", lambda a: xp.reshape(HOST, -1)),
        (TypeError, "device array", lambda a: xp.where(HOST > 0, a, 0)),
        (TypeError, "Unsupported", lambda a: xp.where(a > 0, HOST, 0)),
        (TypeError, "Unsupported", lambda a: xp.dot(a, HOST.T)),
        (TypeError, "Unsupported", lambda a: xp.tensordot(a, HOST.T, axes=1)),
        (TypeError, "Unsupported", lambda a: xp.einsum("ij,ij", a, HOST)),
        (TypeError, "Unsupported", lambda a: xp.full((2,), [1, 2])),
        (TypeError, "Unsupported", lambda a: xp.copyto(a, HOST)),
        (TypeError, "sequence of device arrays", lambda a: xp.concatenate([a, HOST])),
        (TypeError, "sequence of device arrays", lambda a: xp.stack([[1, 2], [3, 4]])),
        (TypeError, "sequence of device arrays", lambda a: xp.array([a[0, 0], 1.0])),
        (TypeError, "Implicit conversion", lambda a: np.asarray(a)),
        (TypeError, "Implicit conversion", lambda a: HOST.copy().__setitem__(0, a[0])),
        (TypeError, "__array_ufunc__", lambda a: np.exp(a)),
        (TypeError, "use xp.sum", lambda a: np.sum(a)),
        (TypeError, "use xp.reshape", lambda a: np.reshape(a, -1)),
        (ValueError, "Unsupported dtype", lambda a: xp.asarray([None])),
        (ValueError, "Unsupported dtype", lambda a: xp.asarray(["text"])),
        # indices (1, 3)
        (TypeError, "index of <class 'list'>", lambda a: a[[0, 1]]),
        (TypeError, "index of <class 'numpy.ndarray'>", lambda a: a[np.arange(2)]),
        (TypeError, "index of <class 'numpy.ndarray'>", lambda a: a[:, np.arange(2)]),
        (TypeError, "index of <class 'bool'>", lambda a: a[True]),
        (TypeError, "index of <class 'float'>", lambda a: a[1.0]),
        (TypeError, "Unsupported", lambda a: a.take([0])),
        (TypeError, "Unsupported", lambda a: xp.take(a, np.arange(2))),
        (IndexError, "out of bounds", lambda a: a[3]),
        (IndexError, "out of bounds", lambda a: a[device(3)]),
        (IndexError, "out of bounds", lambda a: a.take(device(-13))),
        (IndexError, "out of bounds", lambda a: xp.take_along_axis(a, device([4], [0], [0]), 1)),
        (IndexError, "out of bounds", lambda a: a.__setitem__(device(3), 0)),
        # a device array is no index, no length, no key
        (TypeError, "cannot be interpreted as an integer", lambda a: range(a[0, 0].astype(int))),
        (TypeError, "cannot be interpreted as an integer", lambda a: xp.zeros(device(2)[0])),
        (TypeError, "cannot be interpreted as an integer", lambda a: a.reshape(device(12)[0])),
        (TypeError, "cannot be interpreted as an integer", lambda a: a.reshape((device(12)[0],))),
        (TypeError, "indices must be integers", lambda a: a[: device(2)[0]]),
        (TypeError, "unhashable", lambda a: hash(a)),
        (TypeError, "unsized", lambda a: len(a[0, 0])),
        (TypeError, "unsized", lambda a: list(a[0, 0])),
        # assignment (1, 8, 10)
        (ValueError, "cannot be used for fill", lambda a: a.__setitem__(Ellipsis, HOST)),
        (ValueError, "cannot be used for fill", lambda a: a.__setitem__(0, [1, 2, 3, 4])),
        (ValueError, "cannot be used for fill", lambda a: a.__setitem__(0, np.array(1.0))),
        (ValueError, "duplicate indices", lambda a: a.__setitem__(device(0, 0), a[:2] * 1)),
        (ValueError, "duplicate indices", lambda a: a.__setitem__((device(1, -2), device(0, 0)), device(1, 2))),
        (ValueError, "duplicate indices", lambda a: xp.put_along_axis(a, device([0, 0]), a[:, :2] * 1, 1)),
        (ValueError, "overlapping", lambda a: a.__setitem__(slice(1, None), a[:-1])),
        (ValueError, "read-only", lambda a: xp.broadcast_to(a, (2, 3, 4)).__iadd__(1)),
        (TypeError, "Only numpy.ndarray", lambda a: a.set([1.0])),
        (TypeError, "cannot be set", lambda a: a.set(HOST.astype("f8"))),
        (ValueError, "Shape mismatch", lambda a: a.set(HOST.T.copy())),
        (RuntimeError, "non-contiguous", lambda a: a[:, ::2].set(HOST[:, ::2])),
        (TypeError, "Cannot cast", lambda a: a.astype(int).__iadd__(1.5)),
        (TypeError, "Cannot cast", lambda a: xp.add(a, a, out=a.astype(int))),
        (ValueError, "Out shape", lambda a: xp.add(a[0], 1, out=a)),
        (ValueError, "Out shape", lambda a: xp.matmul(a, a.T, out=xp.empty((2, 3, 3), "f4"))),
        (ValueError, "broadcast", lambda a: a.sum(axis=0, out=a[0, :3])),
        (TypeError, "must be cupy.ndarray", lambda a: xp.add(a, 1, out=HOST.copy())),
        (TypeError, "Unsupported", lambda a: a.sum(axis=0, out=np.empty(4, "f4"))),
        # parameters and methods that CuPy lacks (4, 5, 6, 8)
        (TypeError, "'where'", lambda a: xp.add(a, 1, where=a > 0)),
        (TypeError, "'order'", lambda a: xp.add(a, 1, order="C")),
        (TypeError, "'where'", lambda a: xp.sum(a, where=a > 0)),
        (TypeError, "'initial'", lambda a: xp.max(a, initial=0)),
        (TypeError, "'initial'", lambda a: a.max(initial=0)),
        (TypeError, "'initial'", lambda a: xp.add.reduce(a, initial=0)),
        (TypeError, "'mode'", lambda a: xp.take(a, 0, mode="clip")),
        (TypeError, "'min'", lambda a: xp.clip(a, min=0)),
        (TypeError, "'out'", lambda a: xp.einsum("ij->i", a, out=a[:, 0])),
        (TypeError, "'device'", lambda a: xp.zeros(2, device="cpu")),
        (TypeError, "at most 2 positional", lambda a: xp.argmax(a, 0, None)),
        (TypeError, "at most 1 positional", lambda a: a[0].item(0)),
        (TypeError, "'writeable'", lambda a: xp.lib.stride_tricks.as_strided(a, writeable=False)),
        (NotImplementedError, "Writeable", lambda a: xp.lib.stride_tricks.sliding_window_view(a, 2, 0, writeable=True)),
        (NotImplementedError, "cupy_maximum.reduce", lambda a: xp.maximum.reduce(a)),
        (NotImplementedError, "cupy_subtract.accumulate", lambda a: xp.subtract.accumulate(a)),
        (NotImplementedError, "cupy_multiply.at", lambda a: xp.multiply.at(a, device(0), 2)),
        (TypeError, "does not support int8", lambda a: xp.add.at(a.astype("int8"), device(0), 1)),
        (TypeError, "does not support float16", lambda a: xp.maximum.at(a.astype("f2"), device(0), 1)),
        (TypeError, "index of", lambda a: xp.add.at(a, np.arange(2), 1)),
        (ValueError, "leave the array's memory", lambda a: xp.lib.stride_tricks.as_strided(a, (4, 4), (16, 4))),
        (ValueError, "leave the array's memory", lambda a: xp.lib.stride_tricks.as_strided(a[1:], (3,), (-16,))),
        # names that CuPy lacks, or that the double does not represent (7)
        *(
            (AttributeError, f"'cupy' has no attribute '{name}'", lambda a, name=name: getattr(xp, name))
            for name in "insert block unstack vecdot nditer ndenumerate einsum_path errstate geomspace".split()  # noqa: SIM905
        ),
        (AttributeError, "not in NumPy", lambda a: xp.cuda),
        (AttributeError, "not in NumPy", lambda a: xp.random.default_rng),
        (AttributeError, "has no attribute", lambda a: a.setflags),
        (AttributeError, "has no attribute", lambda a: a.resize),
        (AttributeError, "has no attribute", lambda a: a.to_device),
        (AttributeError, "has no attribute", lambda a: a.flags.writeable),
        (AttributeError, "has no attribute", lambda a: setattr(a, "mark", 1)),
    ],
)  # fmt: skip
def test_refusals(error, match, work, a):
    with pytest.raises(error, match=match):
        work(a)


def test_names_come_from_cupy():
    offered = {name for name in dir(double.ndarray) if not name.startswith("_")}
    assert offered <= double._NAMES["cupy.ndarray"].keys()
    for special in ("__index__", "__imatmul__", "__array_namespace__", "__array_interface__", "__dlpack__"):
        assert not hasattr(double.ndarray, special)
    made = {name for name in vars(xp) if not name.startswith("_")} - {"lib", "linalg", "random"}
    assert made <= double._NAMES["cupy"].keys()


@pytest.mark.parametrize(
    ("times", "work"),
    [
        (0, lambda a: (a + 1, a[0, 0], a.sum(), a.T, xp.where(a > 0, a, 0), list(a), a[device(1, 0)])),
        (0, lambda a: (xp.asarray(HOST), a.set(HOST), a.fill(0), xp.lib.stride_tricks.as_strided(a))),
        (0, lambda a: (xp.array_equal(a, a), xp.allclose(a, a), copy.deepcopy(a), a.__setitem__(0, 1))),
        (1, lambda a: bool(a[0, 0] > 0)),
        (1, lambda a: 1 if a.sum() else 0),
        (1, lambda a: float(a[0, 0])),
        (1, lambda a: int(a[0, 0])),
        (1, lambda a: complex(a[0, 0])),
        (1, lambda a: a.sum().item()),
        (1, lambda a: a.get()),
        (1, lambda a: a.tolist()),
        (1, lambda a: xp.asnumpy(a)),
        (1, lambda a: f"{a[0, 0]:.2f}"),
        (1, lambda a: str(a) and None),
        (1, lambda a: repr(a) and None),
        (1, lambda a: pickle.dumps(a)),
        (1, lambda a: a.nonzero()),
        (1, lambda a: xp.nonzero(a)),
        (1, lambda a: xp.argwhere(a)),
        (1, lambda a: xp.where(a)),
        (1, lambda a: xp.unique(a)),
        (1, lambda a: xp.bincount(device(0, 1))),
        (1, lambda a: a.__getitem__(a > 0)),
        (1, lambda a: a.__setitem__(a > 0, 0)),
        (2, lambda a: xp.lib.stride_tricks.sliding_window_view(a, (2, 2))),
        (1, lambda a: xp.lib.stride_tricks.sliding_window_view(a, 2, axis=0)),
        (3, lambda a: [float(x) for x in a[:, 0]]),
    ],
)  # fmt: skip
def test_host_synchronisations_are_counted(times, work, a):
    before = double.syncs.n
    with double.count_syncs() as outer, double.count_syncs() as inner:
        work(a)
    assert (inner.n, outer.n, double.syncs.n - before) == (times, times, times)
    a.get()
    assert inner.n == times  # what comes after the block is not counted


def test_elements_are_views(a):
    element = a[1, 2]
    assert element.shape == ()
    element += 10
    assert float(a[1, 2]) == HOST[1, 2] + 10


def test_in_place_keeps_the_array(a):
    b = a
    b += 1
    b *= np.float32(2)
    b[0] -= b[1]
    b @= xp.eye(4, dtype="f4")  # CuPy has no __imatmul__: a new array
    assert b is not a
    expected = (HOST + 1) * 2
    expected[0] -= expected[1]
    same(a, expected)
    total = a.sum()
    alias = total
    total /= 2
    assert total is alias


def test_memory_that_nobody_set_shows():
    assert np.isnan(xp.empty((2, 3), "f4").get()).all()
    assert np.isnan(xp.empty_like(xp.zeros(2)).get()).all()
    assert (xp.ndarray(2, "uint8").get() == 255).all()
    assert xp.empty(2, "bool").get().all()


def test_out_is_returned(a):
    for out in (xp.empty_like(a), a):
        assert xp.add(a, 1, out=out) is out
        assert xp.add(a, 1, out) is out
    sums = xp.empty(4, "f4")
    assert xp.sum(a, axis=0, out=sums) is sums
    assert a.sum(axis=0, out=sums) is sums
    product = xp.empty((3, 3), "f4")
    assert xp.matmul(a, a.T, out=product) is product
    same(product, a.get() @ a.get().T)
    xp.matmul(xp.stack([a, a]), a[0], out=(products := xp.empty((2, 3), "f4")))
    same(products, np.stack([a.get() @ a.get()[0]] * 2))


def test_results_of_ufuncs_are_c_contiguous(a):
    assert (a.T + 1).flags.c_contiguous
    assert xp.exp(a.T).flags.c_contiguous
    assert xp.asarray(np.zeros((2, 3, 4)).transpose(0, 2, 1)).flags.c_contiguous


def test_assignments_that_are_defined(a):
    a[device(2, 0)] = xp.zeros((2, 4))
    a[device(1, 1)] = 7  # one scalar: any order of writes gives the same
    a[:, device(0)] = device([1], [2], [3])
    a[a > 6] = np.float32(5)
    a[...] = a
    a[0, 1:] = a[0, :1]
    same(a, np.array([[1, 1, 1, 1], [2, 5, 5, 5], [3, 0, 0, 0]], "f4"))
    xp.put_along_axis(a, device([0], [1], [2]), device([9], [9], [9]), 1)
    same(a, np.array([[9, 1, 1, 1], [2, 9, 5, 5], [3, 0, 9, 0]], "f4"))


def test_add_at_takes_duplicates():
    counts = xp.zeros(3, "f4")
    xp.add.at(counts, device(0, 2, 2), 1)
    same(counts, np.array([1, 0, 2], "f4"))


def test_views_that_share_elements_are_read_only(a):
    as_strided = xp.lib.stride_tricks.as_strided
    apart = as_strided(a, (2, 2), (32, 8))
    apart += 100
    assert float(a[2, 2]) == HOST[2, 2] + 100
    for view in (as_strided(a, (2, 2), (4, 4)), as_strided(a, (3, 4), (0, 4))):
        with pytest.raises(ValueError, match="read-only"):
            view[...] = 0


def test_asarray_and_array(a):
    assert xp.asarray(a) is a
    assert xp.asarray(a, "f4") is a
    assert xp.ascontiguousarray(a) is a
    same(xp.array(a) + 0, HOST)
    assert xp.array(a) is not a
    same(xp.asarray([a[0], a[1]]), HOST[:2])
    same(xp.asarray(2.5), np.asarray(2.5))
    host = HOST.copy()
    moved = xp.asarray(host)
    host[...] = 0
    same(moved, HOST)  # a copy, as to a GPU
    back = moved.get()
    back[...] = 0
    same(moved, HOST)
    same(pickle.loads(pickle.dumps(a)), HOST)  # noqa: S301
    same(copy.deepcopy(a), HOST)
    out = np.empty_like(HOST)
    assert a.get(out=out) is out


def test_register_twice_is_once():
    double.register()
    backend = xpconv.backend.backend_of(xp.zeros(1))
    double.register()
    assert xpconv.backend.backend_of(xp.zeros(1)) is backend
    with xpconv.use_backend("double") as module:
        assert module is xp
        assert type(xpconv.asarray(HOST)) is double.ndarray
        assert xpconv.get_xp(xpconv.asarray([1.0])) is xp
        assert type(xpconv.asnumpy(xpconv.asarray(HOST))) is np.ndarray


def test_a_script_on_the_double(tmp_path):
    script = tmp_path / "script.py"
    (tmp_path / "neighbour.py").write_text("name = 'double'")
    script.write_text(
        "import sys, neighbour, xpconv\n"
        "xpconv.set_backend(neighbour.name)\n"
        "print(__name__, sys.argv[1:], float(xpconv.asarray([1.0, 2.0]).sum()))\n"
    )
    command = [sys.executable, Path(double.__file__), script, "--epochs", "1"]
    done = process.run(command)
    assert done.stdout.split("\n")[0] == "__main__ ['--epochs', '1'] 3.0"
    assert "1 host synchronisations" in done.stderr


def test_copies_from_the_host_are_counted_and_others_are_not():
    x = xp.asarray(np.zeros(3))
    with double.count_syncs() as counter:
        xp.asarray(np.ones(3))
        xp.asarray([1, 2])
        x.set(np.ones(3))
        xp.asarray(x)
        x.copy()
    assert (counter.copies, counter.n) == (3, 0)


def test_the_base_of_views_is_one_object():
    x = xp.zeros((4, 2))
    first, second = x[1:], x.T
    assert first.base is second.base
    assert xp.zeros(2).base is None
