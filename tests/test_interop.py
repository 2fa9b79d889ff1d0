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
    with pytest.raises(ImportError, match="pip install safetensors"):
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


def test_bfloat16_tensors_are_widened():
    torch = pytest.importorskip("torch")
    state = {k: torch.as_tensor(v).bfloat16() for k, v in model().state_dict().items()}
    for ours in (model(), xpconv.Sequential(xpconv.LazyConv2d(2, 3), *list(model())[1:])):
        ours.load_state_dict(state)
        for name, array in ours.state_dict().items():
            np.testing.assert_array_equal(array, state[name].float().numpy())


def test_a_bfloat16_tensor_says_how_to_bring_it_in(backend):
    torch = pytest.importorskip("torch")
    with pytest.raises(
        xpconv.errors.DTypeError, match=r"torch.Tensor cannot become .*BFloat16.* tensor.float\(\)"
    ):
        xpconv.asarray(torch.zeros(2, dtype=torch.bfloat16))


def test_a_tensor_on_the_cpu_shares_its_memory():
    torch = pytest.importorskip("torch")
    tensor = torch.zeros(3)
    array = xpconv.asarray(tensor)
    array[1] = 5.0
    assert tensor.tolist() == [0.0, 5.0, 0.0]
    back = torch.from_dlpack(array)
    back[2] = 7.0
    assert array.tolist() == [0.0, 5.0, 7.0]
    with pytest.raises(RuntimeError, match="detach"):
        xpconv.asarray(torch.zeros(3, requires_grad=True))


def test_a_tensor_on_a_gpu_goes_by_dlpack_without_the_host(monkeypatch):
    """As far as a CPU can tell: CuPy's `from_dlpack` gets the tensor itself."""

    class Tensor:
        def __dlpack_device__(self):
            return 2, 0  # CUDA, device 0

    with xpconv.use_backend("double") as xp:
        there, seen = xp.ones(3, dtype="float32"), []
        monkeypatch.setitem(vars(xp), "from_dlpack", lambda x: seen.append(x) or there)
        tensor = Tensor()
        assert xpconv.asarray(tensor) is there
        assert xpconv.asarray(tensor, "float64").dtype == "float64"
        assert seen == [tensor, tensor]
    with pytest.raises(TypeError, match=r"Tensor on a GPU, but the backend is numpy; give it from the host"):
        xpconv.asarray(tensor)


def test_a_layer_says_how_to_bring_in_a_tensor():
    torch = pytest.importorskip("torch")
    with pytest.raises(TypeError, match=r"got torch\.Tensor; convert it with xpconv\.asarray\(x\)"):
        xpconv.ReLU()(torch.zeros(3))
