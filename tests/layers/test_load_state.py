"""`load_state_dict`: the states that it loads, and errors for others, after which nothing has changed."""

# ruff: noqa: B023, S301
import copy
import pickle
import re
import types

import numpy as np
import pytest
from oracle import nn, torch

import xpconv
from xpconv import Sequential


def model(rng=0):
    return Sequential({
        "conv": xpconv.Conv2d(1, 2, 3, rng=rng), "norm": xpconv.BatchNorm2d(2), "flat": xpconv.Flatten(),
        "fc": xpconv.Dense(8, 3, rng=rng),
    })  # fmt: skip


def other_state():
    other = model(1)
    other.norm.running_mean[...] = xpconv.asarray(np.array([1, 2], "float32"))
    other.norm.num_batches_tracked[...] = 7
    return {k: xpconv.asnumpy(v) for k, v in other.state_dict().items()}


def changed(layer, act):
    """What `act` raises, or None; and whether anything in the layer is another afterwards."""
    before, text = copy.deepcopy(layer.state_dict()), repr(layer)
    error = None
    try:
        act()
    except Exception as caught:  # noqa: BLE001  # whatever it is
        error = caught
    after = layer.state_dict()
    same = list(before) == list(after) and repr(layer) == text
    return error, not same or any(
        (xpconv.asnumpy(before[k]) != xpconv.asnumpy(after[k])).any() for k in before
    )


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("kind", ["BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "InstanceNorm2d"])
def test_the_counter_of_batches_may_be_missing(kind, strict, backend):
    """As PyTorch loads it: the counter stays, and is not among what is missing."""
    found = []
    for m in (nn, xpconv):
        layer = m.Sequential(getattr(m, kind)(2, track_running_stats=True, affine=True))
        layer[0].num_batches_tracked[...] = 3
        state = {
            "0.weight": [2.0, 3.0],
            "0.bias": [0.0, 1.0],
            "0.running_mean": [4.0, 5.0],
            "0.running_var": [6.0, 7.0],
        }
        convert = torch.tensor if m is nn else lambda v: xpconv.asarray(v, "float32")
        result = layer.load_state_dict({k: convert(v) for k, v in state.items()}, strict=strict)
        now = {k: np.asarray(v) if m is nn else xpconv.asnumpy(v) for k, v in layer.state_dict().items()}
        found.append(([list(x) for x in result], {k: v.tolist() for k, v in now.items()}))
    assert found[0] == found[1]
    assert found[1][1]["0.num_batches_tracked"] == 3


def test_other_buffers_may_not_be_missing():
    state = other_state()
    del state["norm.running_mean"]
    error, other = changed(m := model(), lambda: m.load_state_dict(state))
    assert str(error) == "Sequential.load_state_dict: missing: norm.running_mean"
    assert not other


def test_thousands_of_names_are_told_in_short():
    state = {f"encoder.layer{i}.weight": np.ones(2) for i in range(3000)} | {"decoder.weight": np.ones(2)}
    with pytest.raises(xpconv.errors.StateDictError) as caught:
        model().load_state_dict(state)
    text = str(caught.value)
    assert len(text) < 500
    assert (
        "missing: conv.weight, conv.bias, norm.weight, norm.bias, norm.running_mean and 3 more; unexpected: "
        in text
    )
    assert text.endswith("and 2,996 more")
    many = Sequential([xpconv.Dense(1, 1) for _ in range(500)])
    with pytest.raises(xpconv.errors.StateDictError) as caught:
        many.load_state_dict({k: np.ones((2, 2)) for k in many.state_dict()})
    assert len(str(caught.value)) < 500
    assert str(caught.value).endswith("and 995 more")


CHECKPOINTS = {
    "DataParallel": (
        lambda s: {f"module.{k}": v for k, v in s.items()},
        "all names begin with 'module.' (DataParallel's); remove it: {k.removeprefix('module.'): v for k, v in state.items()}",
    ),
    "torch.compile": (
        lambda s: {f"_orig_mod.{k}": v for k, v in s.items()}, "all names begin with '_orig_mod.' (torch.compile's); remove it",
    ),
    "both": (lambda s: {f"module._orig_mod.{k}": v for k, v in s.items()}, "all names begin with 'module._orig_mod.' ("),
    "a part of a model": (lambda s: {f"backbone.{k}": v for k, v in s.items()}, "all names begin with 'backbone.'; remove it"),
    "state_dict": (lambda s: {"epoch": 3, "state_dict": s}, "the weights seem to be in state['state_dict']"),
    "model_state_dict": (lambda s: {"model_state_dict": s, "loss": 0.5}, "state['model_state_dict']"),
    "model": (lambda s: {"optimizer": {"state": {}, "lr": 1}, "model": s}, "state['model']"),
    "another name": (lambda s: {"optimizer": {"state": {}}, "teacher": s}, "state['teacher']"),
    "with prefixes": (lambda s: {"state_dict": {f"module.{k}": v for k, v in s.items()}}, "state['state_dict']"),
}  # fmt: skip


@pytest.mark.parametrize("kind", CHECKPOINTS)
def test_what_is_wrong_with_a_checkpoint_is_told(kind):
    wrap, message = CHECKPOINTS[kind]
    error, other = changed(m := model(), lambda: m.load_state_dict(wrap(other_state())))
    assert isinstance(error, xpconv.errors.StateDictError)
    assert f"Sequential.load_state_dict: {message}" in str(error) or f"several things; the weights seem to be in {message[-25:]}" in str(error) or message in str(error)  # fmt: skip
    assert len(str(error)) < 600
    assert not other


def test_weights_of_a_layer_inside_are_told():
    whole = Sequential({"backbone": model()})
    with pytest.raises(xpconv.errors.StateDictError, match=r"all names in the model begin with 'backbone\.'"):
        whole.load_state_dict(other_state())


def test_the_advice_works():
    state = {f"module.{k}": v for k, v in other_state().items()}
    m = model()
    m.load_state_dict({k.removeprefix("module."): v for k, v in state.items()})
    np.testing.assert_array_equal(m.fc.weight.data, state["module.fc.weight"])


ODD = {
    "complex": np.ones((3, 8), "complex64"), "strings": np.full((3, 8), "1"), "objects": np.full((3, 8), None),
    "dates": np.zeros((3, 8), "datetime64[s]"), "records": np.zeros((3, 8), [("a", "f4")]), "None": None, "a string": "1",
    "a dict": {"a": 1}, "ragged": [[1], [2, 3]], "shape": np.ones((8, 3)), "masked": np.ma.ones((3, 8)),
    "a tensor of complex": torch.ones(3, 8, dtype=torch.complex64), "sparse": torch.ones(3, 8).to_sparse(),
    "meta": torch.ones(3, 8, device="meta"), "bytes": np.full((3, 8), b"1"), "a function": len,
}  # fmt: skip


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("kind", ODD)
def test_odd_values_are_refused_and_change_nothing(kind, strict):
    state = {**other_state(), "fc.weight": ODD[kind]}
    for where in (state, {"fc.weight": ODD[kind], **state}):
        error, other = changed(m := model(), lambda: m.load_state_dict(where, strict=strict))
        assert isinstance(error, ValueError | TypeError), error
        assert str(error).startswith("Sequential.load_state_dict: ")
        assert "fc.weight" in str(error)
        assert not other


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int64", "uint8", "bool", ">f4"])
def test_real_numbers_of_any_kind_are_taken(dtype):
    state = {k: np.ones_like(v, dtype) for k, v in other_state().items()}
    m = model()
    m.load_state_dict(state)
    assert {str(v.dtype) for v in m.state_dict().values()} == {"float32", "int64"}
    assert all((v == 1).all() for v in m.state_dict().values())
    m.load_state_dict({k: v.tolist() for k, v in other_state().items()})  # lists too
    assert m.norm.num_batches_tracked == 7


@pytest.mark.parametrize(
    "state", [None, 3, [("fc.weight", np.ones(2))], {3: np.ones(2)}, {None: 1}, b"w.npz", np.ones(3)]
)
def test_what_is_no_state_is_refused(state):
    error, other = changed(m := model(), lambda: m.load_state_dict(state))
    assert isinstance(error, TypeError)
    assert str(error).startswith("Sequential.load_state_dict: state ")
    assert not other


def test_a_model_in_place_of_its_state_is_told():
    with pytest.raises(TypeError, match=r"state is Sequential, .*; pass its state_dict\(\)"):
        model().load_state_dict(model())


def test_npz_paths(tmp_path, backend):
    state = other_state()
    np.savez(tmp_path / "W.NPZ.npz", **state)
    np.savez_compressed(tmp_path / "w.npz", **state)
    for path in (tmp_path / "w.npz", str(tmp_path / "W.NPZ.npz")):
        m = model()
        m.load_state_dict(path)  # a file left open would be a warning, which is an error here
        for key, value in m.state_dict().items():
            np.testing.assert_array_equal(xpconv.asnumpy(value), state[key])


def test_files_of_other_kinds_and_none(tmp_path, monkeypatch):
    np.savez(tmp_path / "objects.npz", **{**other_state(), "fc.weight": np.full((3, 8), None)})
    (tmp_path / "junk.npz").write_bytes(b"PK\x03\x04 no zip file")
    (tmp_path / "empty.npz").write_bytes(b"")
    whole = (tmp_path / "w.npz", *[])
    np.savez(whole[0], **other_state())
    (tmp_path / "cut.npz").write_bytes(whole[0].read_bytes()[:700])
    with open(tmp_path / "one.npz", "wb") as file:
        np.save(file, np.ones(3))
    (tmp_path / "pickle.npz").write_bytes(pickle.dumps(other_state()))
    (tmp_path / "junk.safetensors").write_bytes(b"no such file")
    (tmp_path / "w.pt").write_bytes(b"PK")
    (tmp_path / "w.h5").write_bytes(b"HDF")
    (tmp_path / "none").write_bytes(b"")
    (tmp_path / "folder.npz").mkdir()
    expected = {
        "objects.npz": (ValueError, "cannot be read as npz file of arrays"), "junk.npz": (ValueError, "cannot be read as npz file of arrays"),
        "empty.npz": (ValueError, "cannot be read as npz file"), "cut.npz": (ValueError, "cannot be read as npz file"),
        "one.npz": (ValueError, "one array without a name"), "pickle.npz": (ValueError, "cannot be read as npz file"),
        "w.pt": (ValueError, "torch.load(path, map_location='cpu', weights_only=True)"),
        "w.h5": (ValueError, "does not end in .safetensors or .npz"), "none": (ValueError, "does not end in .safetensors or .npz"),
        "nowhere.npz": (FileNotFoundError, "there is no file"), "folder.npz": (OSError, ""),
    }  # fmt: skip
    for name, (kind, message) in expected.items():
        error, other = changed(m := model(), lambda: m.load_state_dict(tmp_path / name))
        assert isinstance(error, kind), name
        assert message in str(error)
        assert kind is OSError or str(error).startswith("Sequential.load_state_dict: ")
        assert not other
    pytest.importorskip("safetensors.numpy")
    with pytest.raises(ValueError, match=r"junk.safetensors' cannot be read as safetensors file of arrays"):
        model().load_state_dict(tmp_path / "junk.safetensors")
    with pytest.raises(FileNotFoundError, match=r"load_state_dict: there is no file 'nowhere.safetensors'"):
        model().load_state_dict("nowhere.safetensors")


def test_a_file_with_pickled_objects_runs_nothing(tmp_path):
    class Trap:
        def __reduce__(self):
            return exec, ("raise SystemExit",)

    np.savez(tmp_path / "trap.npz", **{"fc.weight": np.array([Trap()], object)}, allow_pickle=True)
    for state in (tmp_path / "trap.npz", np.load(tmp_path / "trap.npz")):
        with pytest.raises(ValueError, match=r"Sequential.load_state_dict: .*allow_pickle=False"):
            model().load_state_dict(state)
        if not isinstance(state, type(tmp_path)):
            state.close()


def test_other_mappings_are_taken():
    m = model()
    m.load_state_dict(types.MappingProxyType(other_state()))
    theirs = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3))
    names = dict(zip(theirs.state_dict(), m.state_dict(), strict=True))
    m.load_state_dict({names[k]: v for k, v in theirs.state_dict().items()})
    np.testing.assert_array_equal(m.fc.weight.data, theirs[3].weight.detach().numpy())


# --- lazy layers ----------------------------------------------------------------------------------

LAZY = {
    "LazyLinear": (lambda m: m.LazyLinear(3), lambda m: m.Linear(4, 3), (5, 4)),
    "LazyLinear without bias": (lambda m: m.LazyLinear(3, bias=False), lambda m: m.Linear(4, 3, bias=False), (2, 5, 4)),
    "LazyBatchNorm1d": (lambda m: m.LazyBatchNorm1d(), lambda m: m.BatchNorm1d(4), (5, 4)),
    "LazyBatchNorm1d of sequences": (lambda m: m.LazyBatchNorm1d(1e-3), lambda m: m.BatchNorm1d(4, 1e-3), (5, 4, 6)),
    "LazyBatchNorm2d": (lambda m: m.LazyBatchNorm2d(momentum=None), lambda m: m.BatchNorm2d(4, momentum=None), (5, 4, 3, 3)),
    "LazyBatchNorm2d without affine": (lambda m: m.LazyBatchNorm2d(affine=False), lambda m: m.BatchNorm2d(4, affine=False), (5, 4, 3, 3)),
    "LazyBatchNorm2d without statistics": (
        lambda m: m.LazyBatchNorm2d(track_running_stats=False), lambda m: m.BatchNorm2d(4, track_running_stats=False), (5, 4, 3, 3),
    ),
    "LazyBatchNorm2d of nothing": (
        lambda m: m.LazyBatchNorm2d(affine=False, track_running_stats=False),
        lambda m: m.BatchNorm2d(4, affine=False, track_running_stats=False), (5, 4, 3, 3),
    ),
    "LazyBatchNorm3d": (lambda m: m.LazyBatchNorm3d(bias=False), lambda m: m.BatchNorm3d(4, bias=False), (2, 4, 3, 3, 2)),
    "LazyConv1d": (lambda m: m.LazyConv1d(6, 2, groups=2), lambda m: m.Conv1d(4, 6, 2, groups=2), (2, 4, 5)),
    "LazyConv2d": (lambda m: m.LazyConv2d(6, 2, bias=False), lambda m: m.Conv2d(4, 6, 2, bias=False), (2, 4, 5, 5)),
    "LazyConv3d": (lambda m: m.LazyConv3d(6, 2), lambda m: m.Conv3d(4, 6, 2), (1, 4, 3, 3, 3)),
}  # fmt: skip


@pytest.mark.parametrize("kind", LAZY)
def test_lazy_layers_become_others(kind, backend):
    make, like, shape = LAZY[kind]
    with xpconv.use_backend(backend):
        x = xpconv.asarray(np.random.default_rng(0).normal(size=shape).astype("float32"))
        expected = like(xpconv)
        copies = [make(xpconv)]
        copies += [copy.deepcopy(copies[0]), pickle.loads(pickle.dumps(copies[0])), copy.copy(copies[0])]
        for lazy in copies:
            assert type(lazy).__name__ == kind.split()[0]
            assert lazy.state_dict() == {}
            holder = Sequential(xpconv.Identity(), lazy)
            if lazy.lazy:
                with pytest.raises(
                    RuntimeError,
                    match=rf"^Sequential.parameters: {type(lazy).__name__} \(layer 1\) has no parameters",
                ):
                    holder.parameters()
            lazy.train(False)
            lazy.requires_grad_(False)
            y = lazy(x)
            assert type(lazy) is type(expected)
            assert repr(lazy) == repr(expected)
            assert not lazy.training
            assert [p.requires_grad for p in lazy.parameters()] == [False] * len(expected.parameters())
            lazy.requires_grad_().train()
            assert vars(lazy).keys() == vars(expected).keys() | {"training", "_tapes"}
            lazy.load_state_dict(expected.state_dict())
            np.testing.assert_array_equal(xpconv.asnumpy(lazy(x)), xpconv.asnumpy(expected.train()(x)))
            lazy.backward(y)
            expected.forget()


@pytest.mark.parametrize("kind", LAZY)
@pytest.mark.parametrize("of", ["numpy", "torch"])
def test_lazy_layers_take_their_size_from_a_state(kind, of):
    make, like, shape = LAZY[kind]
    expected = Sequential(like(xpconv), xpconv.Dense(2, 2))
    state = expected.state_dict()
    if of == "torch":
        state = {k: torch.from_numpy(np.asarray(v)) for k, v in state.items()}
    lazy = Sequential(make(xpconv), xpconv.Dense(2, 2))
    lazy.load_state_dict(state)
    if len(state) > 2:
        assert repr(lazy) == repr(expected)
    x = np.random.default_rng(0).normal(size=shape).astype("float32")
    np.testing.assert_array_equal(lazy[0](x), expected[0](x))
    # where it fails the lazy layer stays lazy
    for bad in (
        {**state, "1.weight": np.ones((5, 5))},
        {k: v for k, v in state.items() if k != "1.bias"},
        {**state, "x": 1},
    ):
        error, other = changed(
            m := Sequential(make(xpconv), xpconv.Dense(2, 2)), lambda: m.load_state_dict(bad)
        )
        assert isinstance(error, xpconv.errors.StateDictError)
        assert not other
        assert m[0](x).shape == expected[0](x).shape


def test_lazy_layers_make_what_their_input_is(backend):
    with xpconv.use_backend(backend):
        for make, _, shape in LAZY.values():
            x = xpconv.asarray(np.random.default_rng(0).normal(size=shape))
            layer = make(xpconv)
            with xpconv.use_backend("numpy"):
                layer(x)
            assert {str(v.dtype) for v in layer.state_dict().values()} <= {"float64", "int64"}
            assert {xpconv.backend.backend_of(v).name for v in layer.state_dict().values()} <= {backend}
        layer = xpconv.LazyLinear(3, dtype="float32").to(dtype="float64")
        assert layer(x).dtype == "float64"


@pytest.mark.parametrize(
    ("make", "x", "message"),
    [
        (lambda: xpconv.LazyLinear(3), np.float32(1), "LazyLinear.forward: x has shape"),
        (lambda: xpconv.LazyLinear(3), np.ones((2, 0), "f"), "LazyLinear: in_features is 0"),
        (lambda: xpconv.LazyLinear(3), np.ones((2, 3), int), "LazyLinear.forward: x is int64"),
        (lambda: xpconv.LazyBatchNorm2d(), np.ones((2, 3), "f"), "LazyBatchNorm2d.forward: x has shape (2, 3), expected (N, C, H, W)"),
        (lambda: xpconv.LazyBatchNorm1d(), np.ones((2, 0), "f"), "LazyBatchNorm1d: num_features is 0"),
        (lambda: xpconv.LazyBatchNorm3d(), [1.0], "LazyBatchNorm3d.forward: x: "),
        (lambda: xpconv.LazyLinear(0), None, "LazyLinear: out_features is 0"),
        (lambda: xpconv.LazyLinear(3, bias="no"), None, "LazyLinear: bias is 'no'"),
        (lambda: xpconv.LazyLinear(3, dtype="int32"), None, "LazyLinear: dtype is int32"),
        (lambda: xpconv.LazyBatchNorm2d(eps="a"), None, "LazyBatchNorm2d: eps is 'a'"),
        (lambda: xpconv.LazyBatchNorm2d(dtype="int32"), None, "LazyBatchNorm2d: dtype is int32"),
    ],
)  # fmt: skip
def test_lazy_layers_stay_lazy_where_they_are_refused(make, x, message):
    with pytest.raises((ValueError, TypeError), match=re.escape(message)):
        make()(x)
    if x is not None:
        layer = make()
        with pytest.raises((ValueError, TypeError)):
            layer(x)
        assert type(layer).__name__.startswith("Lazy")


@pytest.mark.parametrize("name", ["LazyLinear", "LazyBatchNorm1d", "LazyBatchNorm2d", "LazyBatchNorm3d"])
def test_lazy_layers_pass_the_shared_check(name, backends):
    make, _, shape = LAZY[name]

    def made(dtype="float32"):
        layer = make(xpconv)
        with xpconv.no_grad():
            layer.eval()(xpconv.asarray(np.ones(shape), dtype))
        return layer

    xpconv.testing.assert_layer_ok(made, np.random.default_rng(7).normal(size=shape), backends=backends)
