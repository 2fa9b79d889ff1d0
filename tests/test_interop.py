"""Weights to and from other libraries: safetensors files, PyTorch's tensors, NumPy's npz files."""

import sys

import numpy as np
import pytest

import xpconv


def model():
    return xpconv.Sequential(
        xpconv.Conv2d(1, 2, 3), xpconv.BatchNorm2d(2), xpconv.Flatten(), xpconv.Dense(8, 3)
    )


def assert_equal(a, b):
    for (name, x), (other, y) in zip(a.state_dict().items(), b.state_dict().items(), strict=True):
        assert name == other
        np.testing.assert_array_equal(xpconv.asnumpy(x), xpconv.asnumpy(y))


def test_safetensors(tmp_path, backend):
    numpy = pytest.importorskip("safetensors.numpy")
    ours, other = model(), model()
    numpy.save_file({k: xpconv.asnumpy(v) for k, v in ours.state_dict().items()}, tmp_path / "m.safetensors")
    other.load_state_dict(tmp_path / "m.safetensors")
    assert_equal(ours, other)
    other.load_state_dict(str(tmp_path / "m.safetensors"))
    numpy.save_file({"0.weight": np.ones((2, 1, 3, 3))}, tmp_path / "part.safetensors")
    with pytest.raises(ValueError, match=r"missing: 0\.bias"):
        other.load_state_dict(tmp_path / "part.safetensors")
    assert_equal(ours, other)
    with pytest.raises(FileNotFoundError):
        other.load_state_dict("nowhere.safetensors")


def test_safetensors_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    with pytest.raises(ImportError, match=r'pip install "xpconv\[safetensors\]"'):
        model().load_state_dict("m.safetensors")


def test_npz(tmp_path, backend):
    ours, other = model(), model()
    np.savez(tmp_path / "m.npz", **{k: xpconv.asnumpy(v) for k, v in ours.state_dict().items()})
    with np.load(tmp_path / "m.npz") as state:
        other.load_state_dict(state)
    assert_equal(ours, other)


def test_pytorch_tensors(backend):
    torch = pytest.importorskip("torch")
    nn = torch.nn
    theirs = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3))
    ours = model()
    ours.load_state_dict(theirs.state_dict())
    ours.load_state_dict(dict(theirs.named_parameters()), strict=False)  # these require gradients
    for name, array in ours.state_dict().items():
        np.testing.assert_array_equal(xpconv.asnumpy(array), theirs.state_dict()[name].numpy())
    back = {k: torch.from_numpy(np.asarray(xpconv.asnumpy(v))) for k, v in model().state_dict().items()}
    theirs.load_state_dict(back)


def test_safetensors_of_what_is_none(tmp_path):
    pytest.importorskip("safetensors.numpy")
    ours = model()
    np.savez(tmp_path / "w.npz", **ours.state_dict())
    (tmp_path / "w.pt").write_bytes(b"PK" * 50)
    for name in ("w.npz", "w.pt"):
        with pytest.raises(ValueError, match=rf"{name}'\): this is no safetensors file .*weights_only=True"):
            ours.load_state_dict(tmp_path / name)


def test_bfloat16_tensors_are_widened():
    torch = pytest.importorskip("torch")
    state = {k: torch.as_tensor(v).bfloat16() for k, v in model().state_dict().items()}
    for ours in (model(), xpconv.Sequential(xpconv.LazyConv2d(2, 3), *list(model())[1:])):
        ours.load_state_dict(state)
        for name, array in ours.state_dict().items():
            np.testing.assert_array_equal(array, state[name].float().numpy())
