"""Files of other kinds: what errors say of their content, and names that promise another content."""

import gzip
import io
import pickle

import numpy as np
import pytest

import xpconv
from xpconv.errors import DataFileError

pytest.importorskip("safetensors")


def written(function):
    file = io.BytesIO()
    function(file)
    return file.getvalue()


def image(kind):
    from PIL import Image

    return written(lambda file: Image.new("RGB", (9, 8)).save(file, kind))


def torch_file(legacy=False):
    torch = pytest.importorskip("torch")
    state = {"weight": torch.zeros(3)}
    return written(lambda file: torch.save(state, file, _use_new_zipfile_serialization=not legacy))


IMAGES = ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WebP")
SWAPPED = r"{} image.*, expected a file of xpconv.save\w*; are the model and the image swapped\?"
KINDS = {
    "nothing": (lambda: b"", "is empty, expected a file of xpconv.save"),
    "npy": (lambda: written(lambda f: np.save(f, np.ones(3))), r"is an array of NumPy \(.npy\), expected"),
    "npz": (lambda: written(lambda f: np.savez(f, x=np.ones(3))), r"is an archive of NumPy \(.npz\), expected .*; model.load_state_dict\(path\) loads weights"),
    "pickle": (lambda: pickle.dumps({"a": 3}), "is a pickle, expected .*; xpconv reads none"),
    "gzip": (lambda: gzip.compress(b"abc"), "is compressed by gzip, expected"),
    "zip": (lambda: b"PK\x03\x04" + bytes(300), "is a ZIP archive, expected"),
    "pdf": (lambda: b"%PDF-1.7\n%\xc4\xe5\xf2", "is a PDF document, expected"),
    "hdf5": (lambda: b"\x89HDF\r\n\x1a\n" + bytes(99), "is an HDF5 file, as Keras writes, expected"),
    "text": (lambda: "größer\n".encode() * 9, "is text, expected"),
    "short text": (lambda: b"x", "is text, expected"),
    "json": (lambda: b'{"classes": [1, 2]}', "is text, expected"),
    "torch": (torch_file, r"is a file of PyTorch, expected .*; model.load_state_dict\(torch.load\(path\)\) loads weights"),
    "old torch": (lambda: torch_file(True), "damaged or no file of xpconv|is a pickle"),
    **{kind: (lambda kind=kind: image(kind), SWAPPED.format(kind)) for kind in IMAGES},
}  # fmt: skip


@pytest.mark.parametrize("name", KINDS)
def test_errors_say_what_a_file_is(name, tmp_path):
    content, said = KINDS[name]
    path = tmp_path / "x.safetensors"
    path.write_bytes(content())
    for call, function in ((xpconv.load, "load"), (xpconv.load_model, "load_model")):
        with pytest.raises(DataFileError, match=rf"^{function}: '.*x.safetensors' .*{said}"):
            call(path)
    with pytest.raises(ValueError, match=said):
        train_on(path)


def train_on(path):
    model = xpconv.Dense(2, 1)
    optimizer, data = xpconv.SGD(model.parameters(), lr=0.1), [(np.ones((2, 2), "float32"),) * 2]
    xpconv.train.fit(model, xpconv.MSELoss(), optimizer, data, resume=path)


def test_a_file_that_begins_and_ends_as_a_pickle_loads(tmp_path):
    """The first bytes are the length of the header, which may be any multiple of 8."""
    path = tmp_path / "x.safetensors"
    lengths = []
    for n in range(0, 1000, 4):
        xpconv.save(path, text="x" * n, last=np.array([46], "uint8"))
        content = path.read_bytes()
        lengths.append(int.from_bytes(content[:8], "little"))
        if content[:2] in (b"\x80\2", b"\x80\3", b"\x80\4", b"\x80\5"):
            assert content[-1:] == b"." and xpconv.load(path)["text"] == "x" * n
            break
    else:
        raise AssertionError(lengths)


@pytest.mark.parametrize(
    "name", ["x.pt", "x.PTH", "a.b.npz", "x.onnx", "x.h5", "x.keras", "x.pkl", "x.json", "x.png", "x.tar"]
)
def test_names_of_other_kinds_are_refused(name, tmp_path):
    right = name.rpartition(".")[0] + ".safetensors"
    path = tmp_path / name
    path.write_bytes(b"old")
    for call, function in (
        (lambda: xpconv.save(path, epoch=3), "save"),
        (lambda: xpconv.save_model(xpconv.Dense(2, 1), path), "save_model"),
    ):
        with pytest.raises(
            ValueError, match=rf"^{function}: path is '.*{name}', but .* ending, .*give '.*/{right}'$"
        ):
            call()
    assert path.read_bytes() == b"old"


@pytest.mark.parametrize("name", ["x", "x.ckpt", "x.model", "resnet1.5", ".hidden", "x.safetensors"])
def test_other_names_are_free(name, tmp_path):
    xpconv.save_model(xpconv.Dense(2, 1), tmp_path / name)
    assert repr(xpconv.load_model(tmp_path / name)) == "Dense(2, 1)"


def test_mixed_up_arguments(tmp_path):
    model = xpconv.Dense(2, 1)
    for call, error, said in (
        (lambda: xpconv.load_model(model), TypeError, r"it makes a new model: model = xpconv.load_model\('model.safetensors'\)$"),
        (lambda: xpconv.save_model(model.state_dict(), tmp_path / "x"), TypeError, "a state dict has the weights alone"),
        (lambda: xpconv.save_model(tmp_path / "x", model), TypeError, "the model comes first"),
    ):  # fmt: skip
        with pytest.raises(error, match=said):
            call()
