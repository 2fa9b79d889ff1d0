"""MNIST, Fashion-MNIST and CIFAR from files of one's own, and from a server on this machine."""

import copy
import gzip
import hashlib
import io
import pickle
import re
import struct
import tarfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

import xpconv
import xpconv.data.cifar as cifar
import xpconv.data.mnist as mnist
from xpconv.data import Split, load_cifar10, load_cifar100, load_fashion_mnist, load_mnist
from xpconv.errors import DataFileError


def idx(array):
    array = np.asarray(array, "uint8")
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


RNG = np.random.default_rng(0)
GRAY = [RNG.integers(0, 256, (n, 28, 28)) for n in (6, 4)]
CLASSES = [np.arange(n) for n in (6, 4)]
GRAY_FILES = {
    f"{part}-{what}-ubyte.gz": gzip.compress(idx(content))
    for k, part in enumerate(("train", "t10k"))
    for what, content in (("images-idx3", GRAY[k]), ("labels-idx1", CLASSES[k]))
}


def records(n, *classes):
    """`n` records of a file, and the images and classes in them."""
    images = RNG.integers(0, 256, (n, 3, 32, 32)).astype("uint8")
    labels = np.stack([RNG.integers(0, c, n) for c in classes], 1).astype("uint8")
    return b"".join(y.tobytes() + x.tobytes() for x, y in zip(images, labels, strict=True)), images, labels


TEN = {name: records(2, 10) for name in [*(f"data_batch_{k}.bin" for k in range(1, 6)), "test_batch.bin"]}
HUNDRED = {"train.bin": records(5, 20, 100), "test.bin": records(3, 20, 100)}


def tar(folder, files, mode="w:gz"):
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode=mode) as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(f"{folder}/{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return raw.getvalue()


def contents(files):
    return {name: content for name, (content, *_) in files.items()}


TEN_TAR = tar("cifar-10-batches-bin", {"readme.html": b"<html>", **contents(TEN), "batches.meta.txt": b"cat"})
NAMES = {"fine_label_names.txt": b"apple\naquarium_fish\n", "coarse_label_names.txt": b"fish\nfruit\n\n"}
HUNDRED_TAR = tar("cifar-100-binary", {**contents(HUNDRED), **NAMES})


def put(folder, files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def assert_split(split, x_train, y_train, x_test, y_test, dtype="float32"):
    assert isinstance(split, Split) and all(xpconv.get_xp(a) is xpconv.get_xp() for a in split)
    for found, pixels in ((split.x_train, x_train), (split.x_test, x_test)):
        assert found.dtype == dtype and found.shape == pixels.shape
        expected = pixels if dtype == "uint8" else pixels.astype(dtype) / np.dtype(dtype).type(255)
        np.testing.assert_array_equal(xpconv.asnumpy(found), expected)
    for found, labels in ((split.y_train, y_train), (split.y_test, y_test)):
        assert found.dtype == "int64"
        np.testing.assert_array_equal(xpconv.asnumpy(found), labels)


def gray_split(split, dtype="float32"):
    assert_split(split, GRAY[0][:, None], CLASSES[0], GRAY[1][:, None], CLASSES[1], dtype)


def ten_split(split, dtype="float32"):
    *train, test = TEN.values()
    x, y = (np.concatenate([part[k] for part in train]) for k in (1, 2))
    assert_split(split, x, y[:, 0], test[1], test[2][:, 0], dtype)


def hundred_split(split, column=1, dtype="float32"):
    (_, x, y), (_, x_test, y_test) = HUNDRED.values()
    assert_split(split, x, y[:, column], x_test, y_test[:, column], dtype)


@pytest.mark.parametrize("dtype", ["uint8", "float16", "float32", "float64"])
def test_from_files(backend, tmp_path, dtype):
    gray, ten, hundred = (tmp_path / name for name in ("gray", "ten", "hundred"))
    put(gray, GRAY_FILES), put(ten, {"cifar-10-binary.tar.gz": TEN_TAR})
    put(hundred, {"cifar-100-binary.tar.gz": HUNDRED_TAR})
    gray_split(load_mnist(gray, dtype=dtype), dtype)
    gray_split(load_fashion_mnist(str(gray), dtype=dtype), dtype)
    ten_split(load_cifar10(ten, dtype=dtype), dtype)
    hundred_split(load_cifar100(hundred, dtype=dtype), 1, dtype)
    hundred_split(load_cifar100(hundred, label_mode="coarse", dtype=dtype), 0, dtype)


@pytest.mark.parametrize("inner", ["", "cifar-10-batches-bin"])
def test_cifar_unpacked(tmp_path, inner):
    put(tmp_path / inner, contents(TEN))
    ten_split(load_cifar10(tmp_path))
    put(tmp_path, {"cifar-10-binary.tar.gz": b"never looked at"})
    ten_split(load_cifar10(tmp_path))
    put(tmp_path / inner.replace("-10-batches-bin", "-100-binary"), contents(HUNDRED))
    hundred_split(load_cifar100(tmp_path))


def test_cifar_archives_in_other_forms(tmp_path):
    """Packed again by another program: uncompressed, by xz, with `./` before the names."""
    for mode, folder in (("w", "cifar-10-batches-bin"), ("w:xz", "./cifar-10-batches-bin"), ("w:gz", ".")):
        put(tmp_path, {"cifar-10-binary.tar.gz": tar(folder, contents(TEN), mode)})
        ten_split(load_cifar10(tmp_path))


def one_link():
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w:gz") as archive:
        info = tarfile.TarInfo("cifar-100-binary/train.bin")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(info)
    return raw.getvalue()


def test_names_of_classes(tmp_path):
    put(tmp_path, {"cifar-10-binary.tar.gz": TEN_TAR, "cifar-100-binary.tar.gz": HUNDRED_TAR, **GRAY_FILES})
    ten = load_cifar10(tmp_path)
    assert ten.classes[3] == "cat" and len(ten.classes) == 10
    assert load_cifar100(tmp_path).classes == ("apple", "aquarium_fish")
    assert load_cifar100(tmp_path, label_mode="coarse").classes == ("fish", "fruit")
    put(tmp_path, contents(HUNDRED))
    assert load_cifar100(tmp_path).classes is None
    assert load_fashion_mnist(tmp_path).classes[9] == "Ankle boot"
    assert load_mnist(tmp_path).classes is None  # it may be another set in the same files
    with pytest.raises(TypeError, match=r"^Split.__new__\(\) missing 4 required"):
        Split()
    for twin in (copy.copy(ten), pickle.loads(pickle.dumps(ten))):  # noqa: S301
        assert type(twin) is Split and twin.classes == ten.classes
        np.testing.assert_array_equal(twin.y_test, ten.y_test)


WITHOUT = tar("cifar-100-binary", {"train.bin": HUNDRED["train.bin"][0]})
DAMAGE = {
    "no archive": (b"hello", "expected an intact archive, got damage"),
    "empty": (b"", "expected an intact archive, got damage"),
    "cut": (HUNDRED_TAR[: len(HUNDRED_TAR) // 2], "expected an intact archive, got damage"),
    "cut at the end": (HUNDRED_TAR[:-9], "expected an intact archive, got damage"),
    "a file is missing": (WITHOUT, "expected cifar-100-binary/test.bin in the archive, which it lacks"),
    "a link": (one_link(), "expected cifar-100-binary/train.bin in the archive, which it lacks"),
    "a byte short": (
        tar("cifar-100-binary", {**contents(HUNDRED), "test.bin": HUNDRED["test.bin"][0][:-1]}),
        "test.bin: expected records of 3074 bytes, got 9221 bytes in all, which are 3.00 records",
    ),
    "nothing in a file": (tar("cifar-100-binary", {**contents(HUNDRED), "test.bin": b""}), "got 0 bytes in all"),
    "CIFAR-10's records": (
        tar("cifar-100-binary", {**contents(HUNDRED), "test.bin": TEN["test_batch.bin"][0] * 1537}),
        "test.bin: expected classes below 20 and 100, got .*; this is not a file of that data set",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", DAMAGE)
def test_damaged_archives(tmp_path, fault):
    content, message = DAMAGE[fault]
    put(tmp_path, {"cifar-100-binary.tar.gz": content})
    with pytest.raises(DataFileError, match=f"load_cifar100: {re.escape(str(tmp_path))}.*{message}"):
        load_cifar100(tmp_path)


def test_missing_files(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"load_cifar10: data_dir .* has neither cifar-10-binary.tar.gz nor "
                       r"data_batch_1.bin, .*; put the archive https://www.cs.toronto.edu/~kriz/cifar-10-binary"):  # fmt: skip
        load_cifar10(tmp_path)
    put(tmp_path / "cifar-10-batches-py", {"data_batch_1": b"a pickle"})
    with pytest.raises(FileNotFoundError, match="its Python version, which is pickled, is not read"):
        load_cifar10(tmp_path)
    put(tmp_path, {k: v for k, v in contents(TEN).items() if k != "data_batch_3.bin"})
    with pytest.raises(
        FileNotFoundError, match=r"has data_batch_1.bin, but not data_batch_3.bin; put it there too"
    ):
        load_cifar10(tmp_path)
    with pytest.raises(
        FileNotFoundError, match=r"load_fashion_mnist: data_dir .*train-images-idx3-ubyte.gz, .*download=True"
    ):
        load_fashion_mnist(tmp_path / "nowhere")


def test_bad_arguments(tmp_path):
    for load in (load_mnist, load_fashion_mnist, load_cifar10, load_cifar100):
        name = load.__name__
        with pytest.raises(TypeError, match=f"{name}: data_dir is 7, expected a path"):
            load(7)
        with pytest.raises(TypeError, match=f"{name}: download is 'yes', expected True or False"):
            load(tmp_path, download="yes")
    with pytest.raises(ValueError, match="load_cifar100: label_mode is 'both', expected 'fine' or 'coarse'"):
        load_cifar100(tmp_path, label_mode="both")


# --- from the network --------------------------------------------------------------------------------


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    """All four data sets on a server on this machine, in place of their own; and a home for downloads."""
    root = put(
        tmp_path / "server", {"cifar-10-binary.tar.gz": TEN_TAR, "cifar-100-binary.tar.gz": HUNDRED_TAR}
    )
    put(root, GRAY_FILES)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(root)))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}"
    sums = tuple(hashlib.sha256(content).hexdigest() for content in GRAY_FILES.values())
    for name in ("MNIST", "FASHION"):
        monkeypatch.setattr(mnist, name, ((url,), sums))
    for name, content in (("CIFAR10", TEN_TAR), ("CIFAR100", HUNDRED_TAR)):
        new = getattr(cifar, name)._replace(sha256=hashlib.sha256(content).hexdigest(), folders=(url,))
        monkeypatch.setattr(cifar, name, new)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XPCONV_DATA", str(tmp_path / "home"))
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def test_downloads_to_the_default_folder(server, tmp_path):
    loads = {
        "mnist": (load_mnist, gray_split),
        "fashion-mnist": (load_fashion_mnist, gray_split),
        "cifar10": (load_cifar10, ten_split),
        "cifar100": (load_cifar100, hundred_split),
    }
    for name, (load, check) in loads.items():
        with pytest.raises(FileNotFoundError, match="download=True"):
            load(download=False)
        check(load())
        assert (tmp_path / "home" / name).is_dir()
    server.shutdown()
    for load, check in loads.values():
        check(load())
        check(load(download=False))


def test_downloads_to_a_folder_only_when_asked(server, tmp_path):
    with pytest.raises(FileNotFoundError):
        load_mnist(tmp_path / "mine")
    put(tmp_path / "mine", {"train-labels-idx1-ubyte": idx(CLASSES[0])})
    gray_split(load_mnist(tmp_path / "mine", download=True))
    assert len(list((tmp_path / "mine").iterdir())) == 4
    ten_split(load_cifar10(tmp_path / "mine", download=True))


def test_a_file_with_another_content(server, tmp_path):
    (tmp_path / "server" / "cifar-10-binary.tar.gz").write_bytes(HUNDRED_TAR)
    with pytest.raises(
        OSError, match=r"load_cifar10: could not download cifar-10-binary.tar.gz .*SHA-256 is .*expected"
    ):
        load_cifar10()
    (tmp_path / "server" / "t10k-labels-idx1-ubyte.gz").unlink()
    folder = re.escape(str(tmp_path / "home" / "mnist"))
    with pytest.raises(
        OSError, match=f"load_mnist: could not download t10k-labels.*404.* into {folder} yourself"
    ):
        load_mnist()


def test_the_sources_are_what_they_were():
    """The checksums that other libraries have too, and four files for MNIST."""
    assert [
        len(h) for h in (*mnist.MNIST[1], *mnist.FASHION[1], cifar.CIFAR10.sha256, cifar.CIFAR100.sha256)
    ] == [64] * 10
    assert all(
        url.startswith("http") and not url.endswith("/")
        for url in (*mnist.MNIST[0], *mnist.FASHION[0], *cifar.SOURCES)
    )
