"""`save` and `load`: training goes on to the bit, and where something does not fit, nothing is loaded."""

import copy
import json

import interrupts
import numpy as np
import pytest

import xpconv
from tests.optim.test_schedule_state import METRICS, SCHEDULES, make, rates
from tests.test_copies import OPTIMIZERS, Training, assert_same
from xpconv.errors import DataFileError, StateDictError
from xpconv.files import checkpoint, container

PARTS = ("model", "optimizer", "schedule", "scaler", "ema")


def parts_of(training):
    return {name: getattr(training, name) for name in PARTS}


def steps(training, number):
    for _ in range(number):
        training.backward()
        training.update()
    return training


@pytest.mark.sample(3)
@pytest.mark.parametrize(
    "kind", ["float32", *(pytest.param(k, marks=pytest.mark.slow) for k in ("float16", "groups"))]
)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_training_goes_on_to_the_bit(name, kind, backend, tmp_path):
    ours = steps(Training(name, kind), 3)
    generator = ours.rng.bit_generator.state
    xpconv.save(tmp_path / "x", **parts_of(ours), generator=generator, step=3)
    others = [Training(name, kind), steps(Training(name, kind), 1)]
    for other in others:
        rest = xpconv.load(tmp_path / "x", **parts_of(other))
        assert rest == {"generator": generator, "step": 3}
        other.rng.bit_generator.state = rest["generator"]
    for one in (ours, *others):
        steps(one, 2)
    for other in others:
        assert_same(ours, other)


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_go_on(name, tmp_path):
    optimizer, schedule = make(name)
    rates(optimizer, schedule, 6)
    xpconv.save(tmp_path / "x", optimizer=optimizer, schedule=schedule)
    expected = rates(optimizer, schedule, len(METRICS) - 6, 6)
    optimizer, schedule = make(name)
    xpconv.load(tmp_path / "x", schedule=schedule, optimizer=optimizer)
    np.testing.assert_array_equal(rates(optimizer, schedule, len(METRICS) - 6, 6), expected)


@pytest.mark.parametrize(("there", "here"), [("double", "numpy"), ("numpy", "double")])
def test_a_file_goes_to_another_backend(there, here, tmp_path):
    with xpconv.use_backend(there):
        ours = steps(Training("Adam"), 3)
        xpconv.save(tmp_path / "x", **parts_of(ours), x=xpconv.asarray([1.0]))
        state = xpconv.load(tmp_path / "x")
    with xpconv.use_backend(here):
        other = Training("Adam")
        rest = xpconv.load(tmp_path / "x", **parts_of(other))
        for a, b in zip(ours.values(), other.values(), strict=True):
            np.testing.assert_array_equal(a, b)
        assert xpconv.asnumpy(rest["x"]).tolist() == [1.0]
        other.load_parts = {name: part.load_state_dict(state[name]) for name, part in parts_of(other).items()}
        steps(other, 2)


def dropout_model(rng):
    return xpconv.Sequential(
        xpconv.Dense(4, 8, rng=0),
        xpconv.Dropout(0.5, rng=rng),
        xpconv.Dropout(0.3),
        xpconv.Dense(8, 2, rng=1),
    )


def run(models, times):
    x = xpconv.asarray(np.ones((3, 4), "float32"))
    return np.stack([xpconv.asnumpy(m(x)) for _ in range(times) for m in models])


def test_random_numbers_go_on_with_layers_of_their_own_in_two_models(backend, tmp_path):
    xpconv.manual_seed(1)
    ours = [dropout_model(2), dropout_model(3)]
    run(ours, 2)
    xpconv.save(tmp_path / "x", first=ours[0], second=ours[1])
    expected = run(ours, 3), xpconv.Dense(3, 3).weight.data
    xpconv.manual_seed(9)
    others = [dropout_model(8), dropout_model(7)]
    xpconv.load(tmp_path / "x", second=others[1], first=others[0])
    np.testing.assert_array_equal(run(others, 3), expected[0])
    np.testing.assert_array_equal(*map(xpconv.asnumpy, (xpconv.Dense(3, 3).weight.data, expected[1])))


def test_a_look_into_a_file_changes_nothing(tmp_path):
    model = dropout_model(3)
    xpconv.save(tmp_path / "x", model=model, epoch=2, lrs=(0.1, 0.2))
    xpconv.Dense(2, 2)
    before = xpconv.get_rng_state(model)
    found = xpconv.load(tmp_path / "x")
    assert xpconv.get_rng_state(model) == before
    assert list(found) == ["model", "epoch", "lrs"]
    assert list(found["model"]) == list(model.state_dict())
    assert (found["epoch"], found["lrs"]) == (2, (0.1, 0.2))
    assert xpconv.load(tmp_path / "x", model=model) == {"epoch": 2, "lrs": (0.1, 0.2)}


def test_nothing_but_the_random_state(tmp_path):
    xpconv.save(tmp_path / "x")
    assert xpconv.load(tmp_path / "x") == {}


def test_a_state_dict_from_a_checkpoint_says_what_to_do(tmp_path):
    model = xpconv.Dense(3, 2)
    xpconv.save(
        tmp_path / "x.safetensors", net=model, optimizer=xpconv.Adam(model.parameters()), x=np.ones(2)
    )
    with pytest.raises(
        StateDictError, match=r"more than the model.*'net\.'.*xpconv\.load\(path, net=model\)"
    ):
        model.load_state_dict(tmp_path / "x.safetensors")
    with pytest.raises(StateDictError, match=r"^ReLU.load_state_dict: unexpected"):
        xpconv.ReLU().load_state_dict(tmp_path / "x.safetensors")


def test_equal_runs_give_equal_files(tmp_path):
    for name in "ab":
        xpconv.manual_seed(0)
        xpconv.save(tmp_path / name, **parts_of(steps(Training("Adam"), 2)), tags={"b": 1, "a": [2]})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_other_programs_read_the_arrays(tmp_path):
    from safetensors.numpy import load_file

    model = xpconv.Dense(3, 2)
    xpconv.save(tmp_path / "x.safetensors", model=model, losses=np.arange(3))
    arrays = load_file(tmp_path / "x.safetensors")
    assert sorted(arrays) == ["losses", "model.bias", "model.weight"]
    np.testing.assert_array_equal(arrays["model.weight"], model.weight.data)


class Counter:
    """An object of a user's, which may refuse its state after it has changed."""

    def __init__(self, n=0, fails=None):
        self.n, self.history, self.fails = n, [n], fails

    def state_dict(self):
        return {"n": self.n, "history": self.history}

    def load_state_dict(self, state):
        self.n = state["n"]
        self.history[:] = state["history"]
        if self.fails is not None and state["n"] != 0:
            raise self.fails


def everything(training, model, counter):
    return repr(
        [
            {k: xpconv.asnumpy(v).tolist() for k, v in model.state_dict().items()},
            *(part.state_dict() for part in parts_of(training).values()),
            counter.state_dict(),
            xpconv.get_rng_state(model),
            model,
        ]
    )


@pytest.mark.parametrize("error", [ValueError("no"), KeyError("k"), KeyboardInterrupt(), MemoryError()])
def test_an_error_in_the_last_object_puts_all_others_back(error, tmp_path):
    ours, counter = steps(Training("Adam"), 3), Counter(5)
    lazy = xpconv.Sequential(xpconv.LazyLinear(3, rng=0), xpconv.LazyBatchNorm1d(), xpconv.Dropout(rng=1))
    other, fresh = steps(Training("Adam"), 1), copy.deepcopy(lazy)
    lazy(np.ones((2, 4), "float32"))
    xpconv.save(tmp_path / "x", **parts_of(ours), lazy=lazy, counter=counter)
    failing = Counter(0, fails=error)
    before = everything(other, fresh, failing)
    kind = StateDictError if isinstance(error, ValueError | KeyError) else type(error)
    with pytest.raises(kind, match="counter does not fit" if kind is StateDictError else None):
        xpconv.load(tmp_path / "x", **parts_of(other), lazy=fresh, counter=failing)
    assert everything(other, fresh, failing) == before
    xpconv.load(tmp_path / "x", **parts_of(other), lazy=fresh, counter=Counter())
    assert everything(other, fresh, counter) == everything(ours, lazy, counter)


@pytest.mark.slow
def test_an_interruption_anywhere_leaves_all_or_nothing(tmp_path):
    """Before each twentieth bytecode of `load`."""
    path = str(tmp_path / "x")
    model = dropout_model(3)
    optimizer = xpconv.SGD(model.parameters(), lr=0.1, momentum=0.9)
    xpconv.save(path, model=model, optimizer=optimizer, counter=Counter(4))
    new = repr([model.state_dict(), xpconv.get_rng_state(model), optimizer.state_dict(), 4])
    number, inside, states = 0, True, set()
    while inside:
        xpconv.manual_seed(5)
        other = xpconv.Sequential(*[copy.deepcopy(layer) for layer in dropout_model(8)])
        other[0].weight.data[...] = 1
        optimizer, counter = xpconv.SGD(other.parameters(), lr=0.3), Counter(1)
        old = repr([other.state_dict(), xpconv.get_rng_state(other), optimizer.state_dict(), 1])
        inside = interrupts.at_bytecode(
            number,
            interrupts.interrupt,
            {checkpoint.__file__},
            lambda: xpconv.load(path, counter=counter, optimizer=optimizer, model=other),  # noqa: B023
        )
        now = repr([other.state_dict(), xpconv.get_rng_state(other), optimizer.state_dict(), counter.n])
        assert now in (old, new)
        states.add(now == new)
        number += 20
    assert states == {True, False}


MODEL = xpconv.Dense(3, 2)
OTHER = xpconv.Dense(4, 2)


def fits(**changes):
    """Objects like the saved ones, with some replaced."""
    model = changes.pop("of", MODEL)
    optimizer = xpconv.SGD(model.parameters(), lr=0.1, momentum=0.9)
    schedule = xpconv.StepLR(optimizer, 2)
    return {"model": model, "optimizer": optimizer, "schedule": schedule, "ema": None, **changes}


@pytest.mark.parametrize(
    ("things", "said"),
    [
        (lambda: fits(of=OTHER), r"model does not fit.*Dense.load_state_dict: weight has shape \(2, 3\), expected \(2, 4\)"),
        (lambda: fits(model=xpconv.ReLU()), "model does not fit.*unexpected: weight, bias"),
        (lambda: fits(model=xpconv.Sequential(MODEL)), "model does not fit.*missing"),
        (lambda: fits(model=xpconv.Sequential({"": MODEL, "d": xpconv.Dropout(rng=0)})), r"model .*\['d'\]"),
        (lambda: fits(optimizer=xpconv.Adam(MODEL.parameters())), "optimizer is of class SGD, but .* given is of class Adam"),
        (lambda: fits(optimizer=xpconv.SGD([MODEL.weight], lr=1.0)), r"optimizer does not fit.*groups with \[2\]"),
        (lambda: fits(schedule=xpconv.ExponentialLR(fits()["optimizer"], 0.5)), "schedule is of class StepLR, but"),
        (lambda: fits(schedule=None), "schedule is of class StepLR, but schedule given is None"),
        (lambda: fits(ema=xpconv.ExponentialMovingAverage(MODEL)), "ema is the value None, but ema given is of class Expo"),
        (lambda: fits(scaler=xpconv.GradScaler()), "has nothing called 'scaler'; it has model, optimizer, schedule, ema, epoch"),
        (lambda: fits(epoch=Counter()), "epoch is the value 3, but epoch given is of class Counter"),
        (lambda: fits(schedule=MODEL), "schedule does not fit.*missing: weight, bias"),
        (lambda: fits(epoch=None), "epoch is the value 3, but epoch given is None"),
    ],
)  # fmt: skip
def test_what_does_not_fit_changes_nothing(things, said, tmp_path):
    path = tmp_path / "run.safetensors"
    xpconv.save(path, **fits(), epoch=3)
    given = things()
    states = {name: repr(thing.state_dict()) for name, thing in given.items() if thing is not None}
    random = xpconv.get_rng_state()
    with pytest.raises(StateDictError, match=rf"^load: '.*run\.safetensors'.*{said}"):
        xpconv.load(path, **given)
    assert states == {name: repr(thing.state_dict()) for name, thing in given.items() if thing is not None}
    assert random == xpconv.get_rng_state()
    assert xpconv.load(path, **fits()) == {"epoch": 3}


def test_wrong_calls(tmp_path):
    path = tmp_path / "x"
    model = xpconv.Dense(3, 2)
    for call in (xpconv.save, xpconv.load):
        with pytest.raises(TypeError, match=rf"^{call.__name__}: path is Dense .*the path comes first"):
            call(model)
        for wrong in (None, 3, b"x", "", "a\0b"):
            with pytest.raises(TypeError, match=rf"^{call.__name__}: path is "):
                call(wrong)
        for arguments in ((path, model), (model.state_dict(), path), (path, model, 3)):
            with pytest.raises(
                TypeError, match=rf"^{call.__name__}: got . arguments by position; the path comes"
            ):
                call(*arguments)
    with pytest.raises(TypeError, match=r"^save: model.0 is .* its own name"):
        xpconv.save(path, model=[model])
    with pytest.raises(TypeError, match=r"^save: model is "):
        xpconv.save(path, model=xpconv.Dense)
    assert not path.exists()
    with pytest.raises(FileNotFoundError, match=r"^load: there is no file"):
        xpconv.load(path, model=model)
    with pytest.raises(OSError, match=r"^load: .* is a folder"):
        xpconv.load(tmp_path)
    xpconv.save(path, model=model, epoch=1)
    with pytest.raises(TypeError, match=r"^load: epoch is 5, expected .*xpconv.load\(path\)\['epoch'\]"):
        xpconv.load(path, model=model, epoch=5)
    with pytest.raises(TypeError, match=r"^load: model is <class"):
        xpconv.load(path, model=xpconv.Dense)


def test_files_of_other_programs(tmp_path):
    from safetensors.numpy import save_file

    path = tmp_path / "weights.safetensors"
    model = xpconv.Dense(3, 2)
    for metadata in (None, {"xpconv": "{}"}, {"format": "pt"}):
        save_file({k: np.asarray(v) for k, v in model.state_dict().items()}, path, metadata)
        with pytest.raises(DataFileError, match=r"no file of xpconv: .*model.load_state_dict\(path\)"):
            xpconv.load(path, model=model)
    for content in (b"\0", bytes(300), b"\xff" * 300):
        path.write_bytes(content)
        with pytest.raises(DataFileError, match="is damaged or no file of xpconv"):
            xpconv.load(path, model=model)


def test_long_lists_belong_in_arrays(tmp_path, monkeypatch):
    monkeypatch.setattr(container, "LONGEST", 10_000)
    with pytest.raises(ValueError, match=r"^save: what is not in arrays takes .*as arrays"):
        xpconv.save(tmp_path / "x", v=list(range(3000)))
    assert not list(tmp_path.iterdir())


def test_without_safetensors(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "safetensors.numpy", None)
    for call in (xpconv.save, xpconv.load):
        with pytest.raises(ImportError, match=r"xpconv\.\w+ needs safetensors: pip install"):
            call(tmp_path / "x")


def test_values_are_json_in_the_metadata(tmp_path):
    from safetensors import safe_open

    xpconv.save(tmp_path / "x", epoch=3)
    with safe_open(tmp_path / "x", "numpy") as file:
        about = json.loads(file.metadata()["xpconv"])
    assert (about["kind"], about["format"], about["xpconv"], about["numpy"]) == (
        "checkpoint", 1, xpconv.__version__, np.__version__
    )  # fmt: skip
    assert about["content"]["things"] == {"epoch": {"value": 3}}


def test_an_object_that_cannot_be_put_back_does_not_keep_the_others_from_it(tmp_path):
    class Broken:
        def state_dict(self):
            return {}

        def load_state_dict(self, state):
            raise ValueError("broken")

    path = tmp_path / "run.safetensors"
    data = xpconv.data.batches(np.arange(12.0), 2)
    xpconv.save(path, data=xpconv.data.batches(np.arange(12.0), 2), last=Broken())
    next(iter(data))
    xpconv.manual_seed(3)
    random = xpconv.get_rng_state()
    with pytest.raises(ValueError, match="broken"):
        xpconv.load(path, data=data, last=Broken())
    assert len(list(data)) == 6
    assert xpconv.get_rng_state() == random
