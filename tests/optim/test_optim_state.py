"""state_dict and load_state_dict of optimizers, scaler and average: to the bit, and PyTorch's layout."""

import copy
import pickle
import re
import sys
from pathlib import Path

import numpy as np
import process
import pytest
from training import OPTIMIZERS, Training, assert_same

import xpconv
from xpconv.errors import StateDictError

KINDS = ["float32", "float16", "groups"]
ROOT = Path(__file__).parents[2]


def trained(name, kind, steps=3):
    training = Training(name, kind)
    for _ in range(steps):
        training.backward()
        training.update()
    return training


@pytest.mark.sample(3)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_training_goes_on_from_a_state(name, kind, backend):
    """The model's state may be loaded before or after the optimizer's."""
    ours = trained(name, kind)
    state = ours.state()
    others = [Training(name, kind), trained(name, kind, 1)]
    others[0].load(state)
    others[1].load(state, ("optimizer", "ema", "scaler", "model", "schedule"))
    snapshot = copy.deepcopy(state)
    for one in (ours, *others):
        for _ in range(2):
            one.backward()
            one.update()
    for other in others:
        assert_same(ours, other)
    for i, entry in state["optimizer"]["state"].items():  # copies, which training does not change
        for key, array in entry.items():
            np.testing.assert_array_equal(
                xpconv.asnumpy(array), xpconv.asnumpy(snapshot["optimizer"]["state"][i][key])
            )


RESUME = """
import pickle, sys
import backends  # registers the double
from training import Training
import xpconv
with open(sys.argv[1], "rb") as file:
    states = pickle.load(file)
results = {}
with xpconv.use_backend(sys.argv[2]):
    for (name, kind), state in states.items():
        training = Training(name, kind)
        training.load(state)
        for _ in range(2):
            training.backward()
            training.update()
        results[name, kind] = training.values()
with open(sys.argv[1], "wb") as file:
    pickle.dump(results, file)
"""


@pytest.mark.sample(8)
def test_training_goes_on_in_a_new_process(tmp_path, backend):
    few = backend == "double"  # where kernels are compiled anew
    names, kinds = (["NAdam"], ["float32"]) if few else (OPTIMIZERS, KINDS)
    trainings = {(name, kind): trained(name, kind) for name in names for kind in kinds}
    file = tmp_path / "states"
    file.write_bytes(pickle.dumps({key: training.state() for key, training in trainings.items()}))
    paths = f"import sys; sys.path[:0] = {[str(ROOT / 'tests' / 'helpers'), str(ROOT)]!r}\n"
    process.run([sys.executable, "-c", paths + RESUME, str(file), backend])
    results = pickle.loads(file.read_bytes())  # noqa: S301
    for key, training in trainings.items():
        for _ in range(2):
            training.backward()
            training.update()
        for a, b in zip(training.values(), results[key], strict=True):
            np.testing.assert_array_equal(a, b, err_msg=str(key))


def test_a_state_goes_to_another_backend():
    states = {}
    for name in OPTIMIZERS:
        with xpconv.use_backend("numpy"):
            state = trained(name, "float32").optimizer.state_dict()
        with xpconv.use_backend("double"):
            other = Training(name)
            other.optimizer.load_state_dict(state)
            states[name] = state, other.optimizer.state_dict()
    for ours, theirs in states.values():
        assert ours["param_groups"] == theirs["param_groups"]
        for i, entry in ours["state"].items():
            assert entry.keys() == theirs["state"][i].keys()
            for key, array in entry.items():
                np.testing.assert_array_equal(array, xpconv.asnumpy(theirs["state"][i][key]))


def test_loading_keeps_the_memory_that_a_captured_step_knows(backend):
    training = trained("Adam", "float32")
    optimizer = training.optimizer
    state = optimizer.state_dict()
    training.backward()
    training.update()
    memory = [optimizer._data, optimizer._counters, *optimizer._moments.values()]
    optimizer.load_state_dict(state)
    assert all(
        a is b
        for a, b in zip(
            memory, [optimizer._data, optimizer._counters, *optimizer._moments.values()], strict=True
        )
    )


def test_there_is_no_state_before_the_first_step(backend):
    for name in OPTIMIZERS:
        state = Training(name).optimizer.state_dict()
        assert state["param_groups"][0]["params"] == [0, 1, 2, 3, 4, 5]
        assert name == "Adagrad" or state["state"] == {}


def test_frozen_parameters_have_no_state(backend):
    state = trained("Adam", "groups").optimizer.state_dict()
    assert list(state["state"]) == [0, 2, 3, 4, 5]
    assert [group["params"] for group in state["param_groups"]] == [[0, 1, 2], [3, 4, 5]]


# --- PyTorch -------------------------------------------------------------------------------------------

TORCH = {name: options for name, options in OPTIMIZERS.items() if name not in ("Lion", "LARS", "LAMB")}
SHAPES = [(4, 3), (4,), ()]


def pair(torch, name, options):
    rng = np.random.default_rng(0)
    values = [np.asarray(rng.normal(size=shape)) for shape in SHAPES]
    ours = [xpconv.Parameter(xpconv.asarray(v.copy())) for v in values]
    theirs = [torch.nn.Parameter(torch.from_numpy(v.copy())) for v in values]
    groups = [[{"params": p[:1], "lr": 0.03}, {"params": p[1:]}] for p in (ours, theirs)]
    return (
        ours,
        theirs,
        getattr(xpconv, name)(groups[0], **options),
        getattr(torch.optim, name)(groups[1], **options),
    )


def feed(torch, params, step):
    rng = np.random.default_rng([step, 1])
    for p, shape in zip(params, SHAPES, strict=True):
        g = np.asarray(rng.normal(size=shape))
        p.grad = torch.from_numpy(g) if isinstance(p, torch.nn.Parameter) else xpconv.asarray(g)


def for_torch(torch, state):
    return {
        "state": {
            i: {key: torch.as_tensor(xpconv.asnumpy(array)) for key, array in entry.items()}
            for i, entry in state["state"].items()
        },
        "param_groups": state["param_groups"],
    }


@pytest.mark.parametrize("changed", [{}, {"maximize": True}], ids=str)
@pytest.mark.parametrize("name", TORCH)
def test_states_go_to_pytorch_and_back(name, changed, backend):
    """Names, shapes and settings are the same; each goes on from the other's state as from its own."""
    torch = pytest.importorskip("torch")
    options = {**TORCH[name], **changed}
    ours, theirs, mine, other = pair(torch, name, options)
    for step in range(4):
        feed(torch, ours, step)
        feed(torch, theirs, step)
        mine.step()
        other.step()
    a, b = for_torch(torch, mine.state_dict()), other.state_dict()
    for x, y in zip(a["param_groups"], b["param_groups"], strict=True):
        assert x == y
    assert a["state"].keys() == b["state"].keys()
    for i, entry in a["state"].items():
        assert entry.keys() == b["state"][i].keys()
        for key, array in entry.items():
            assert array.shape == b["state"][i][key].shape
            torch.testing.assert_close(array, b["state"][i][key], check_dtype=False, rtol=1e-6, atol=1e-7)
    ours2, theirs2, mine2, other2 = pair(torch, name, {})
    for p, q, value in zip(ours2, theirs2, theirs, strict=True):
        p.data[...] = xpconv.asarray(value.detach().numpy())
        q.data[...] = value.detach()
    mine2.load_state_dict(b)
    other2.load_state_dict(a)
    for step in range(4, 8):
        for params in (ours2, theirs2, theirs):
            feed(torch, params, step)
        for optimizer in (mine2, other2, other):
            optimizer.step()
    for p, q, value in zip(ours2, theirs2, theirs, strict=True):
        expected = value.detach().numpy()
        np.testing.assert_allclose(xpconv.asnumpy(p.data), expected, rtol=1e-6, atol=1e-7)
        np.testing.assert_allclose(q.detach().numpy(), expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", TORCH)
def test_states_before_the_first_step_go_to_pytorch_and_back(name):
    torch = pytest.importorskip("torch")
    ours, theirs, mine, other = pair(torch, name, TORCH[name])
    a, b = for_torch(torch, mine.state_dict()), other.state_dict()
    assert a["state"].keys() == b["state"].keys()
    ours, theirs, mine, other = pair(torch, name, {})
    mine.load_state_dict(b)
    other.load_state_dict(a)
    feed(torch, ours, 0)
    feed(torch, theirs, 0)
    mine.step()
    other.step()
    for p, q in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(p.data, q.detach().numpy(), rtol=1e-6, atol=1e-7)


def test_a_state_of_pytorch_with_a_tensor_as_rate():
    torch = pytest.importorskip("torch")
    _, theirs, mine, _ = pair(torch, "Adam", {})
    other = torch.optim.Adam(
        [{"params": theirs[:1]}, {"params": theirs[1:]}],
        lr=torch.tensor(0.25, dtype=torch.float64),
        foreach=False,
    )
    mine.load_state_dict(other.state_dict())
    assert [group["lr"] for group in mine.param_groups] == [0.25, 0.25]
    assert type(mine.lr) is float


def test_a_state_of_bfloat16_tensors_and_no_master_copies():
    torch = pytest.importorskip("torch")
    q = torch.nn.Parameter(torch.ones(3, dtype=torch.bfloat16))
    other = torch.optim.Adam([q], lr=0.5)
    q.grad = torch.ones(3, dtype=torch.bfloat16)
    other.step()
    p = xpconv.Parameter(np.full(3, 0.5, "float16"))
    mine = xpconv.Adam([p])
    mine.load_state_dict(other.state_dict())
    state = mine.state_dict()["state"][0]
    assert sorted(state) == ["exp_avg", "exp_avg_sq", "step"]
    assert state["exp_avg"].dtype == "float32"
    np.testing.assert_allclose(state["exp_avg"], 0.1, rtol=1e-2)


def test_the_scalers_state_goes_to_pytorch_and_back(backend):
    torch = pytest.importorskip("torch")
    ours, theirs = xpconv.GradScaler(4.0, 3.0, 0.25, 7), torch.amp.GradScaler("cpu", init_scale=8.0)
    theirs.load_state_dict(ours.state_dict())
    assert theirs.state_dict() == ours.state_dict()
    other = xpconv.GradScaler()
    other.load_state_dict(theirs.state_dict())
    assert (
        repr(other)
        == repr(ours)
        == "GradScaler(scale=4.0, growth_factor=3.0, backoff_factor=0.25, growth_interval=7)"
    )


# --- what does not fit ---------------------------------------------------------------------------------


def changed(change):
    def state():
        result = copy.deepcopy(trained("Adam", "groups").optimizer.state_dict())
        change(result)
        return result

    return state


WRONG = [
    (lambda: None, StateDictError, "Adam.load_state_dict: state_dict is None, expected a mapping with 'state'"),
    (lambda: xpconv.Dense(2, 2).state_dict(), StateDictError, "state_dict is a mapping with ['bias', 'weight']"),
    (changed(lambda s: s.update(param_groups=3)), StateDictError, "param_groups is 3, expected a list of groups"),
    (changed(lambda s: s["param_groups"].pop()), StateDictError, "groups with [3] parameters, but the optimizer has groups with [3, 3]"),
    (changed(lambda s: s["param_groups"][1]["params"].pop()), StateDictError, "groups with [3, 2] parameters"),
    (changed(lambda s: s["param_groups"][1].update(momentum=0.9)), StateDictError, "group 1 has ['momentum'], which Adam does not have"),
    (changed(lambda s: s["param_groups"][1].update(decoupled_weight_decay=True)), StateDictError, "group 1 is of AdamW"),
    (changed(lambda s: s["param_groups"][1].update(lr=-1.0)), ValueError, "Adam: lr is -1.0"),
    (changed(lambda s: s["param_groups"][1].update(lr="fast")), TypeError, "Adam: lr is 'fast'"),
    (changed(lambda s: s["param_groups"][1].update(betas=(0.9, 1.5))), ValueError, "Adam: betas is (0.9, 1.5)"),
    (changed(lambda s: s.update(state=[])), StateDictError, "'state' is list"),
    (changed(lambda s: s["state"].update({6: {}})), StateDictError, "state of parameters [6], which no group has"),
    (changed(lambda s: s["state"].update({2: 5})), StateDictError, "parameter 2 ('weight'): its state is int"),
    (changed(lambda s: s["state"][2].update(momentum_buffer=np.ones(3))), StateDictError, "parameter 2 ('weight'): unexpected ['momentum_buffer']"),
    (changed(lambda s: s["state"][2].pop("exp_avg")), StateDictError, "parameter 2 ('weight'): missing ['exp_avg']"),
    (changed(lambda s: s["state"][2].update(exp_avg=np.ones((3, 1), "float32"))), StateDictError, "exp_avg has shape (3, 1), expected (3,)"),
    (changed(lambda s: s["state"][2].update(exp_avg=np.ones(3, "int64"))), StateDictError, "exp_avg is int64, expected a floating dtype"),
    (changed(lambda s: s["state"][2].update(exp_avg="x")), StateDictError, "exp_avg is"),
    (changed(lambda s: s["state"][2].update(exp_avg=np.ma.ones(3))), StateDictError, "parameter 2 ('weight'): exp_avg is"),
    (changed(lambda s: s["state"][2].update(exp_avg=np.array(["a", "b", "c"]))), StateDictError, "expected an array of numbers"),
    (changed(lambda s: s["state"][2].update(exp_avg=[[1], [1, 2]])), StateDictError, "expected an array of numbers"),
    (changed(lambda s: s["state"][2].update(step=-1.0)), StateDictError, "step is -1.0, expected a whole number"),
    (changed(lambda s: s["state"][2].update(step=np.nan)), StateDictError, "step is nan, expected a whole number"),
    (changed(lambda s: s["state"][2].update(step=np.ones(2))), StateDictError, "step has shape (2,), expected ()"),
]  # fmt: skip


@pytest.mark.parametrize(("state", "error", "message"), WRONG, ids=[m for _, _, m in WRONG])
def test_what_does_not_fit_is_refused_and_changes_nothing(state, error, message):
    ours = trained("Adam", "groups", 2)
    before = pickle.dumps(ours.optimizer.state_dict())
    with pytest.raises(error, match=re.escape(message)):
        ours.optimizer.load_state_dict(state())
    assert pickle.dumps(ours.optimizer.state_dict()) == before


def test_a_state_of_another_optimizer():
    for name in OPTIMIZERS:
        state = trained(name, "float32").optimizer.state_dict()
        for other in OPTIMIZERS:
            optimizer = Training(other).optimizer
            mine, theirs = set(optimizer.defaults), set(state["param_groups"][0])
            if mine - theirs and theirs - mine - {"params", *optimizer.torch_settings, "initial_lr"}:
                with pytest.raises(StateDictError, match="state of an optimizer of the same class"):
                    optimizer.load_state_dict(state)


def test_moments_that_are_out_of_use_are_saved():
    """Momentum that was switched off, and comes back."""
    ours = trained("RMSprop", "float32")
    ours.optimizer.param_groups[0]["momentum"] = 0.0
    other = Training("RMSprop")
    other.load(ours.state())
    for one in (ours, other):
        one.optimizer.param_groups[0]["momentum"] = 0.5
        one.backward()
        one.update()
    assert_same(ours, other)


def test_an_average_of_another_model(backend):
    first, second = (
        xpconv.ExponentialMovingAverage(xpconv.Dense(2, 3)),
        xpconv.ExponentialMovingAverage(xpconv.Dense(2, 2)),
    )
    before = second.state_dict()
    with pytest.raises(StateDictError, match=r"weight has shape \(3, 2\), expected \(2, 2\)"):
        second.load_state_dict(first.state_dict())
    with pytest.raises(
        StateDictError, match=r"missing .'bias', 'weight'., unexpected .'0.bias', '0.weight'."
    ):
        second.load_state_dict(
            xpconv.ExponentialMovingAverage(xpconv.Sequential(xpconv.Dense(2, 2))).state_dict()
        )
    with pytest.raises(StateDictError, match="expected a mapping with 'decay'"):
        second.load_state_dict({})
    for name, average in second.averages.items():
        np.testing.assert_array_equal(xpconv.asnumpy(average), xpconv.asnumpy(before["averages"][name]))
