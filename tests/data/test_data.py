"""Data: what is read is what was written, and damage is named."""

from __future__ import annotations

import copy
import gzip
import os
import pickle
import re
import struct
import sys
import tracemalloc
from pathlib import Path

import minimal
import numpy as np
import process
import pytest

import xpconv
from xpconv import backend
from xpconv.data import (
    Split,
    load_cifar10,
    load_cifar100,
    load_digits,
    load_fashion_mnist,
    load_idx,
    load_mnist,
)
from xpconv.errors import BackendUnavailableError, DataFileError, DTypeError

CODES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}


def idx_bytes(array, kind="u1"):
    """An IDX file written from the format's description."""
    array = np.asarray(array)
    header = bytes([0, 0, CODES[kind], array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.astype(f">{kind}").tobytes()


@pytest.fixture
def write(tmp_path):
    def to_file(content, name="data"):
        path = tmp_path / name
        path.write_bytes(content)
        return path

    return to_file


class Away(np.ndarray):
    """Stands for an array on a device: only an array of its own kind may index it."""

    def __getitem__(self, key):
        if type(key) is np.ndarray:
            raise TypeError("index from the host")
        return super().__getitem__(key)


@pytest.fixture(params=["numpy", "away", "cupy"])
def place(request, monkeypatch):
    """The active backend of the test, by name."""
    monkeypatch.setattr(backend, "_backends", dict(backend._backends))
    monkeypatch.setattr(backend, "_owner_of", {})
    xpconv.register_backend(
        "away",
        minimal.returning(Away),
        Away,
        asnumpy=lambda a: a.view(np.ndarray),
    )
    try:
        with backend.use_backend(request.param):
            yield request.param
    except BackendUnavailableError as cause:
        if os.environ.get("XPCONV_REQUIRE_GPU") == "1":
            raise
        pytest.skip(str(cause))


def is_in(place, *arrays):
    return backend.backend_of(*arrays).name == place


# ---- IDX ----


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
@pytest.mark.parametrize("shape", [(), (0,), (5,), (2, 3), (2, 0, 4), (2, 3, 4), (1, 2, 1, 3, 2)], ids=str)
@pytest.mark.parametrize("kind", CODES)
def test_load_idx_reads_what_was_written(write, kind, shape, pack):
    rng = np.random.default_rng(0)
    if kind[0] == "f":
        expected = np.asarray(rng.normal(size=shape)).astype(kind)
    else:
        info = np.iinfo(kind)
        expected = np.asarray(rng.integers(info.min, info.max, shape, endpoint=True)).astype(kind)
    array = load_idx(write(pack(idx_bytes(expected, kind))))
    assert array.dtype == np.dtype(kind) and array.dtype.isnative
    assert array.shape == shape and array.flags.writeable and array.flags.c_contiguous
    np.testing.assert_array_equal(array, expected)


def test_load_idx_known_bytes(write):
    content = bytes([0, 0, 0x0B, 2, 0, 0, 0, 2, 0, 0, 0, 2, 1, 2, 0xFF, 0xFE, 0, 0, 0x80, 0])
    np.testing.assert_array_equal(load_idx(write(content)), [[258, -2], [0, -32768]])


def test_load_idx_takes_the_content_not_the_name(write):
    content = idx_bytes([1, 2, 3])
    assert load_idx(write(content, "plain.gz")).tolist() == [1, 2, 3]
    assert load_idx(str(write(gzip.compress(content), "gzipped"))).tolist() == [1, 2, 3]


GOOD = idx_bytes([[1, 2, 3], [4, 5, 6]])
DAMAGE = {
    "empty": (b"", "expected a header of at least 4 bytes, got 0 bytes"),
    "stub": (GOOD[:3], "expected a header of at least 4 bytes, got 3 bytes"),
    "magic": (b"\x89PNG" + GOOD, "expected the magic bytes 00 00, got 89 50"),
    "pickle": (b"\x80\x04" + GOOD, "expected the magic bytes 00 00, got 80 04"),
    "code": (b"\0\0\x0a" + GOOD[3:], "expected a type code among 0x08, 0x09, 0x0b, .*, got 0x0a"),
    "header": (GOOD[:11], "expected a header of 12 bytes for 2 axes, got 11 bytes"),
    "short": (GOOD[:-1], r"expected 6 bytes of data for uint8 of shape \(2, 3\), got 5 bytes \(cut short\)"),
    "no data": (GOOD[:12], r"expected 6 bytes .*, got 0 bytes \(cut short\)"),
    "long": (GOOD + b"\0\0", r"expected 6 bytes .*, got more than 6 bytes \(trailing bytes\)"),
    "items": (idx_bytes([1.5], "f8")[:-4], r"expected 8 bytes of data for float64 of shape \(1,\), got 4"),
    "huge": (b"\0\0\x0e\x03" + b"\xff" * 12, r"got 0 bytes \(cut short\)"),
    "overflow": (b"\0\0\x0e\x04" + bytes(4) + b"\xff" * 12, "expected a shape that NumPy can hold"),
    "rank": (idx_bytes(7)[:3] + b"\xc8" + struct.pack(">200I", *[1] * 200) + b"\7", "NumPy can hold"),
    "gzip stub": (b"\x1f\x8b", "expected an intact gzip file"),
    "gzip tail": (gzip.compress(GOOD) + b"more", "expected an intact gzip file"),
    "gzip of none": (gzip.compress(b""), "expected a header of at least 4 bytes, got 0 bytes"),
    "gzip of short": (gzip.compress(GOOD[:-1]), r"got 5 bytes \(cut short\)"),
}


@pytest.mark.parametrize("fault", DAMAGE)
def test_load_idx_names_the_damage(write, fault):
    content, message = DAMAGE[fault]
    path = write(content, "some-file")
    with pytest.raises(DataFileError, match=f"load_idx: {re.escape(str(path))}: .*{message}.*download"):
        load_idx(path)


def bomb(head, megabytes):
    """An IDX file with so many zeros, gzipped."""
    return gzip.compress(head) + gzip.compress(bytes(1 << 20)) * megabytes


@pytest.mark.parametrize(("head", "message"), [
    (idx_bytes([1, 2, 3]), r"expected 3 bytes .*, got more than 3 bytes \(trailing bytes\)"),
    (b"no IDX, but a text", "expected the magic bytes 00 00"),
    (b"\0\0\x08\1" + struct.pack(">I", 600 << 20), "expected at most 100 times its .* bytes when unpacked, got 629145600"),
    (b"\0\0\x0e\2" + struct.pack(">2I", 2**31, 2**31), "expected at most 100 times its .* bytes when unpacked"),
])  # fmt: skip
def test_load_idx_unpacks_no_more_than_a_file_is_worth(write, head, message):
    """A gzipped file of a megabyte that unpacks to 600: never held as a whole."""
    path = write(bomb(head, 600), "bomb.gz")
    tracemalloc.start()
    try:
        with pytest.raises(DataFileError, match=message):
            load_idx(path)
        assert tracemalloc.get_traced_memory()[1] < 400 << 20
    finally:
        tracemalloc.stop()


def test_load_idx_reads_no_more_of_a_plain_file_than_its_header_states(write):
    path = write(idx_bytes([1, 2, 3]))
    with open(path, "r+b") as file:
        file.truncate(1 << 40)
    tracemalloc.start()
    try:
        with pytest.raises(DataFileError, match="trailing bytes"):
            load_idx(path)
        assert tracemalloc.get_traced_memory()[1] < 1 << 24
    finally:
        tracemalloc.stop()


def test_load_idx_of_few_values_many_times(write):
    """Labels that are all 0 are packed to a thousandth."""
    zeros = np.zeros((60000, 28), "uint8")
    np.testing.assert_array_equal(load_idx(write(gzip.compress(idx_bytes(zeros)))), zeros)


def test_load_idx_gzip_cut_anywhere(write):
    packed = gzip.compress(GOOD)
    for end in range(len(packed)):
        with pytest.raises(DataFileError):
            load_idx(write(packed[:end]))


def test_load_idx_gzip_with_any_byte_changed_never_gives_other_values(write):
    packed, refused = gzip.compress(GOOD), 0
    for i in range(len(packed)):
        for flip in (0x01, 0x10, 0xFF):
            try:
                array = load_idx(write(packed[:i] + bytes([packed[i] ^ flip]) + packed[i + 1 :]))
            except DataFileError:
                refused += 1
            else:  # a byte that says nothing about the content, such as the time of writing
                assert array.tolist() == [[1, 2, 3], [4, 5, 6]]
    assert refused > 2 * len(packed)


def test_load_idx_damage_is_chained_and_a_value_error(write):
    with pytest.raises(ValueError, match="gzip") as caught:
        load_idx(write(gzip.compress(GOOD)[:-9]))
    assert isinstance(caught.value.__cause__, EOFError)


def test_load_idx_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"load_idx: there is no file .*nowhere"):
        load_idx(tmp_path / "nowhere")


# ---- digits ----


def test_repr_of_a_split_is_short():
    images, labels = (xpconv.asarray(np.zeros(shape, d)) for shape, d in (((5, 1, 8, 8), "f4"), (5, "i8")))
    assert repr(Split(images, labels, images[:2], labels[:2])) == (
        "Split(x_train=float32 (5, 1, 8, 8), y_train=int64 (5,), x_test=float32 (2, 1, 8, 8), "
        "y_test=int64 (2,))"
    )
    assert repr(Split(1, [2], None, "x")) == "Split(x_train=1, y_train=[2], x_test=None, y_test='x')"


def test_a_split_with_other_arrays_keeps_its_classes():
    split = load_digits()
    half = split._replace(x_train=split.x_train[:9], y_train=split.y_train[:9])
    assert type(half) is Split
    assert (half.classes, len(half.x_train), half.x_test is split.x_test) == (split.classes, 9, True)
    assert split._replace(classes=("a", "b")).classes == ("a", "b")
    assert split.classes == tuple("0123456789")
    for other in (copy.copy(half), copy.deepcopy(half), pickle.loads(pickle.dumps(half))):  # noqa: S301
        assert (type(other), other.classes) == (Split, half.classes)
    if sys.version_info >= (3, 13):
        assert copy.replace(half, y_test=split.y_test[:5]).classes == half.classes
    with pytest.raises(ValueError, match="nothing"):
        split._replace(nothing=1)


def test_load_digits_values(place):
    datasets = pytest.importorskip("sklearn.datasets")
    split = load_digits()
    assert isinstance(split, Split) and is_in(place, *split)
    assert [a.shape for a in split] == [(1437, 1, 8, 8), (1437,), (360, 1, 8, 8), (360,)]
    assert [a.dtype.name for a in split] == ["float32", "int64", "float32", "int64"]

    x_train, y_train, x_test, y_test = map(xpconv.asnumpy, split)
    digits = datasets.load_digits()

    def rows(images, labels):  # one sortable line for each sample
        return sorted(map(tuple, np.column_stack([images.reshape(len(labels), -1), labels]).tolist()))

    images, labels = np.concatenate([x_train, x_test]), np.concatenate([y_train, y_test])
    assert rows(images * 16, labels) == rows(
        digits.images, digits.target
    )  # every sample, once, with its label
    assert images.min() == 0 and images.max() == 1
    share = np.bincount(y_test) / np.bincount(digits.target)
    np.testing.assert_allclose(share, 0.2, atol=0.005)  # stratified


def test_load_digits_arguments():
    pytest.importorskip("sklearn")
    first, again, other = load_digits(), load_digits(seed=0), load_digits(seed=1)
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)
    assert (first.y_train != other.y_train).any()
    half = load_digits(test_size=0.5, dtype="float64")
    assert half.x_test.shape == (899, 1, 8, 8) and half.x_test.dtype == np.float64
    assert load_digits(test_size=100).y_test.shape == (100,)


def test_load_digits_without_scikit_learn(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ImportError, match=r"load_digits: .*pip install scikit-learn") as caught:
        load_digits()
    assert isinstance(caught.value.__cause__, ImportError)


@pytest.mark.parametrize("load", [load_digits, load_mnist, load_fashion_mnist, load_cifar10, load_cifar100])
@pytest.mark.parametrize("dtype", ["int64", "bool", "complex64"])
def test_datasets_refuse_a_dtype_that_cannot_hold_fractions(load, dtype):
    with pytest.raises(DTypeError, match=f"{load.__name__}: dtype: expected a floating dtype.*got {dtype}"):
        load(dtype=dtype)


# ---- MNIST ----

TRAIN = np.arange(3 * 4 * 5).reshape(3, 4, 5) * 4  # 0 to 236
TEST = 255 - np.arange(2 * 4 * 5).reshape(2, 4, 5)
MNIST = {
    "train-images-idx3-ubyte": idx_bytes(TRAIN),
    "train-labels-idx1-ubyte": idx_bytes([7, 0, 255]),
    "t10k-images-idx3-ubyte": idx_bytes(TEST),
    "t10k-labels-idx1-ubyte": idx_bytes([9, 1]),
}


@pytest.fixture
def mnist_dir(write, tmp_path):
    for name, content in MNIST.items():
        write(content, name)
    return tmp_path


def assert_is_tiny_mnist(split, dtype="float32"):
    x_train, y_train, x_test, y_test = map(xpconv.asnumpy, split)
    assert x_train.dtype == x_test.dtype == dtype and y_train.dtype == y_test.dtype == np.int64
    np.testing.assert_array_equal(x_train, TRAIN[:, None].astype(dtype) / np.dtype(dtype).type(255))
    np.testing.assert_array_equal(x_test, TEST[:, None].astype(dtype) / np.dtype(dtype).type(255))
    assert y_train.tolist() == [7, 0, 255] and y_test.tolist() == [9, 1]


def test_load_mnist_from_files(place, mnist_dir):
    split = load_mnist(mnist_dir)
    assert is_in(place, *split)
    assert_is_tiny_mnist(split)


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_load_mnist_dtype(mnist_dir, dtype):
    assert_is_tiny_mnist(load_mnist(str(mnist_dir), dtype=dtype), dtype)


@pytest.mark.parametrize("dot", [False, True], ids=["dash", "dot"])
@pytest.mark.parametrize("zipped", [False, True], ids=["plain", "gz"])
def test_load_mnist_finds_the_names_in_use(write, tmp_path, dot, zipped):
    for name, content in MNIST.items():
        name = name.replace("-idx", ".idx") if dot else name
        write(gzip.compress(content) if zipped else content, name + ".gz" * zipped)
    assert_is_tiny_mnist(load_mnist(tmp_path))


@pytest.mark.parametrize("name", MNIST)
def test_load_mnist_missing_file(mnist_dir, name):
    (mnist_dir / name).unlink()
    dotted = name.replace("-idx", ".idx")
    message = f"data_dir {re.escape(str(mnist_dir))} has none of {name}, {dotted}, {name}.gz, {dotted}.gz"
    with pytest.raises(FileNotFoundError, match=message):
        load_mnist(mnist_dir)


MISMATCH = {
    "fewer labels": (
        {"train-labels-idx1-ubyte": idx_bytes([7, 0])},
        "got 3 images in .*train-images.* and 2 labels in .*train-labels.*one data set",
    ),
    "other size": (
        {"t10k-images-idx3-ubyte": idx_bytes(TEST.reshape(2, 5, 4))},
        r"training and test images of one size, got \(4, 5\) and \(5, 4\)",
    ),
    "labels as images": (
        {"t10k-images-idx3-ubyte": MNIST["t10k-labels-idx1-ubyte"]},
        r"t10k-images.*: expected uint8 values on 3 axes, got uint8 of shape \(2,\)",
    ),
    "images as labels": (
        {"train-labels-idx1-ubyte": MNIST["train-images-idx3-ubyte"]},
        r"train-labels.*: expected uint8 values on 1 axes, got uint8 of shape \(3, 4, 5\)",
    ),
    "negative labels": (
        {"train-labels-idx1-ubyte": idx_bytes([1, -1, 0], "i4")},
        "train-labels.*: expected uint8 values on 1 axes, got int32",
    ),
    "wide images": (
        {"train-images-idx3-ubyte": idx_bytes(TRAIN, "f4")},
        "train-images.*: expected uint8 values on 3 axes, got float32",
    ),
    "cut short": ({"t10k-labels-idx1-ubyte": idx_bytes([9, 1])[:-1]}, "t10k-labels.*cut short"),
}


@pytest.mark.parametrize("fault", MISMATCH)
def test_load_mnist_names_the_mismatch(mnist_dir, write, fault):
    files, message = MISMATCH[fault]
    for name, content in files.items():
        write(content, name)
    with pytest.raises(DataFileError, match=message):
        load_mnist(mnist_dir)


@pytest.mark.slow
def test_load_mnist_the_real_one():
    beside = Path(__file__).parents[3] / "shared" / "data" / "mnist"
    folder = Path(os.environ.get("XPCONV_MNIST_DIR", beside))
    if not folder.is_dir():
        pytest.skip(f"no MNIST in {folder}; set XPCONV_MNIST_DIR to the folder of its IDX files")
    x_train, y_train, x_test, y_test = load_mnist(folder)
    assert x_train.shape == (60000, 1, 28, 28) and x_test.shape == (10000, 1, 28, 28)
    assert np.bincount(y_train).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert np.bincount(y_test).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert y_train[:5].tolist() == [5, 0, 4, 1, 9] and y_test[:5].tolist() == [7, 2, 1, 0, 4]
    mean, std = x_train.mean(dtype="f8"), x_train.std(dtype="f8")  # the figures everybody normalises with
    assert (round(float(mean), 4), round(float(std), 4)) == (0.1307, 0.3081)


# ---- the door ----


def test_importing_data_is_light():
    heavy = "{'sklearn', 'scipy', 'matplotlib', 'pandas', 'cupy', 'tqdm'}"
    script = f"import sys, xpconv.data; print(sorted({heavy} & set(sys.modules)))"
    done = process.run([sys.executable, "-c", script], cwd=Path(__file__).parents[2])
    assert done.stdout.strip() == "[]"
