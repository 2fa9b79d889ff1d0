"""Runs that are resumed with a schedule: the same one, one with other settings, and other learning rates."""

import numpy as np
import pytest
from runs import assert_equal, go

import xpconv
from xpconv import train

pytest.importorskip("safetensors")


class Harmonic(xpconv.LRScheduler):
    def __init__(self, optimizer, power=1.0):
        self.power = power
        super().__init__(optimizer)

    def _rate(self, lr, base, t):
        return lr * (t / (1 + t)) ** self.power if t else lr


class Counting(xpconv.LRScheduler):
    """It changes an attribute of its own at each step."""

    seen = 0

    def _rate(self, lr, base, t):
        self.seen += 1
        return lr * 0.9 if t else lr


class Own(xpconv.LRScheduler):
    """Its place does not follow from the number of its steps."""

    def __init__(self, optimizer):
        self.shared = 0.0
        super().__init__(optimizer)

    def step(self):
        self.last_epoch += 1
        self.shared = self.optimizer.param_groups[0]["lr"]
        self.optimizer.param_groups[0]["lr"] *= 0.7

    def _rate(self, lr, base, t):
        return lr


class Decay:
    """A callable object with an attribute."""

    def __init__(self, factor):
        self.factor = factor

    def __call__(self, t):
        return self.factor**t


SAME = {
    "StepLR": lambda o: xpconv.StepLR(o, 2),
    "MultiStepLR": lambda o: xpconv.MultiStepLR(o, [1, 3]),
    "ExponentialLR": lambda o: xpconv.ExponentialLR(o, 0.9),
    "LinearLR": lambda o: xpconv.LinearLR(o, 0.1, 1.0, 5),
    "CosineAnnealingLR": lambda o: xpconv.CosineAnnealingLR(o, 6),
    "CosineAnnealingWarmRestarts": lambda o: xpconv.CosineAnnealingWarmRestarts(o, 3, 2),
    "LambdaLR": lambda o: xpconv.LambdaLR(o, lambda t: 0.9**t),
    "LambdaLR of an object": lambda o: xpconv.LambdaLR(o, Decay(0.9)),
    "OneCycleLR": lambda o: xpconv.OneCycleLR(o, 0.05, 20),
    "ReduceLROnPlateau": lambda o: xpconv.ReduceLROnPlateau(o, patience=0, threshold=9.0),
    "SequentialLR": lambda o: xpconv.SequentialLR(
        o, [xpconv.LinearLR(o, 0.1, 1.0, 1), xpconv.CosineAnnealingWarmRestarts(o, 3)], [1]
    ),
    "ChainedScheduler": lambda o: xpconv.ChainedScheduler(
        [xpconv.StepLR(o, 1, 0.8), xpconv.MultiStepLR(o, [2])]
    ),
    "a class of one's own": Harmonic,
    "a class with a counter": Counting,
    "a class with a step of its own": Own,
}


def test_all_schedules_are_here():
    ours = {name for name in vars(xpconv) if isinstance(getattr(xpconv, name), type)}
    ours = {name for name in ours if issubclass(getattr(xpconv, name), xpconv.LRScheduler)}
    assert ours - {"LRScheduler"} <= set(SAME)


class Halve:
    """Changes the rate at the end of an epoch, and after steps."""

    def on_epoch_end(self, run):
        run.optimizer.param_groups[0]["lr"] /= 2

    def on_batch_end(self, run):
        run.optimizer.param_groups[0]["lr"] *= 0.97


@pytest.mark.sample(4)
@pytest.mark.parametrize("name", SAME)
@pytest.mark.parametrize("per", [None, "step"])
def test_the_same_schedule_is_not_computed_again(name, per, tmp_path):
    """So that rates that a callback has changed stay, bit for bit."""
    if per and name == "ReduceLROnPlateau":
        pytest.skip("takes a value per epoch")
    options = {"schedule": SAME[name], "schedule_per": per, "callbacks": [Halve()]}
    whole = go(epochs=4, **options)
    go(tmp_path, 2, **options)
    assert_equal(go(tmp_path, 4, resume=tmp_path, **options), whole)


OTHER = {  # two schedules of a class with other settings
    "StepLR": (lambda o: xpconv.StepLR(o, 9), lambda o: xpconv.StepLR(o, 1)),
    "CosineAnnealingWarmRestarts": (
        lambda o: xpconv.CosineAnnealingWarmRestarts(o, 3),
        lambda o: xpconv.CosineAnnealingWarmRestarts(o, 4, eta_min=0.001),
    ),
    "LambdaLR": (
        lambda o: xpconv.LambdaLR(o, lambda e: max(0, 1 - e / 2)),
        lambda o: xpconv.LambdaLR(o, lambda e: 1 - e / 4),
    ),
    "LambdaLR of an object": (
        lambda o: xpconv.LambdaLR(o, Decay(0.1)),
        lambda o: xpconv.LambdaLR(o, Decay(0.9)),
    ),
    "LambdaLR in a sequence": (
        lambda o: xpconv.SequentialLR(
            o, [xpconv.LinearLR(o, 0.1, 1.0, 1), xpconv.LambdaLR(o, lambda e: max(0, 1 - e))], [1]
        ),
        lambda o: xpconv.SequentialLR(
            o, [xpconv.LinearLR(o, 0.1, 1.0, 1), xpconv.LambdaLR(o, lambda e: 1 - e / 5)], [1]
        ),
    ),
    "OneCycleLR": (lambda o: xpconv.OneCycleLR(o, 0.05, 16), lambda o: xpconv.OneCycleLR(o, 0.02, 20)),
    "a class of one's own": (lambda o: Harmonic(o, 1.0), lambda o: Harmonic(o, 0.5)),
}


@pytest.mark.parametrize("name", OTHER)
def test_another_schedule_is_set_to_where_it_would_be(name, tmp_path):
    before, after = OTHER[name]
    go(tmp_path, 2, schedule=before)
    history, _ = go(tmp_path, 4, resume=tmp_path, schedule=after)
    np.testing.assert_allclose(history["lr"][2:], go(epochs=4, schedule=after)[0]["lr"][2:], rtol=1e-12)
    assert history["lr"][:2] == go(epochs=2, schedule=before)[0]["lr"] and history["lr"][2] > 0


@pytest.mark.parametrize("stop", [99, 6])
def test_a_schedule_of_the_whole_run_is_made_longer_from_the_first_step_on(stop, tmp_path):
    """As the command line does it: the rate of the finished run had come to 0."""

    class Rates:
        def __init__(self):
            self.seen = []

        def on_batch_begin(self, run):
            self.seen.append(run.optimizer.param_groups[0]["lr"])

    def make(total):
        return lambda o: xpconv.LambdaLR(o, lambda t: 1 - t / total)

    rates, whole = Rates(), Rates()
    go(tmp_path, 2, schedule=make(8), schedule_per="step", callbacks=[StopIn(stop)])
    go(None, 4, resume=tmp_path, schedule=make(16), schedule_per="step", callbacks=[rates])
    go(epochs=4, schedule=make(16), schedule_per="step", callbacks=[whole])
    np.testing.assert_allclose(rates.seen, whole.seen[-len(rates.seen) :], rtol=1e-12)
    assert len(rates.seen) == 16 - min(stop, 8) and min(rates.seen) > 0


@pytest.mark.parametrize("name", [None, "StepLR", "LambdaLR", "SequentialLR", "ChainedScheduler", "Harmonic"])
@pytest.mark.parametrize("other", [False, True])
def test_the_given_learning_rate_does_not_count_and_this_is_said(name, other, tmp_path, capsys):
    """Whether the schedule has the same settings or not."""
    before = {**SAME, "Harmonic": Harmonic}[name] if name else None
    after = {
        "StepLR": lambda o: xpconv.StepLR(o, 3),
        "LambdaLR": lambda o: xpconv.LambdaLR(o, lambda t: 0.8**t),
        "Harmonic": lambda o: Harmonic(o, 2.0),
    }.get(name, before)
    if not other:
        after = before
    go(tmp_path, 2, schedule=before, lr=0.1)
    go(None, 3, resume=tmp_path, schedule=after, lr=0.1, verbose=True)
    assert "learning rate" not in capsys.readouterr().out
    history, _ = go(None, 3, resume=tmp_path, schedule=after, lr=0.01, verbose=True)
    rate = "the initial learning rate of its schedule," if name else "its learning rate"
    expected = f", after epoch 2, with {rate} 0.1 (and not 0.01; set run.optimizer.lr in a callback)\n"
    assert expected in capsys.readouterr().out
    np.testing.assert_allclose(history["lr"][2], go(epochs=3, schedule=after, lr=0.1)[0]["lr"][2], rtol=1e-12)


def test_the_largest_rate_of_one_cycle_is_a_setting(tmp_path, capsys):
    go(tmp_path, 2, schedule=lambda o: xpconv.OneCycleLR(o, 0.1, 20))
    go(None, 3, resume=tmp_path, schedule=lambda o: xpconv.OneCycleLR(o, 0.2, 20), verbose=True)
    assert "learning rate" not in capsys.readouterr().out


def test_a_plateau_of_another_value_begins_anew(tmp_path):
    def make(mode):
        return lambda o: xpconv.ReduceLROnPlateau(o, mode=mode, patience=0, threshold=0.0)

    def later(mode, monitor, **options):
        go(
            None, 3, resume=tmp_path, schedule=make(mode), monitor=monitor, metrics=["accuracy"],
            callbacks=[seen], **options,
        )  # fmt: skip
        return seen.best

    class Seen:
        def on_fit_begin(self, run):
            self.best = run.schedule.best

    seen = Seen()
    history, _ = go(tmp_path, 2, schedule=make("min"), metrics=["accuracy"])
    assert later("min", None) == min(history["valid_loss"])
    assert later("max", "accuracy") == -np.inf
    assert later("min", "loss") == np.inf


class StopIn:
    """Stops within epoch 2."""

    def on_batch_end(self, run):
        run.stop = run.steps == self.steps

    def __init__(self, steps):
        self.steps = steps


def test_accumulate_may_differ_only_between_epochs(tmp_path):
    go(tmp_path, 2, accumulate=2, callbacks=[StopIn(3)])
    said = (
        "fit: resume: '.*step-00000003.safetensors': it was saved within epoch 2, with accumulate=2; this run has 1; "
        "give that of the saved run until the epoch ends"
    )
    with pytest.raises(ValueError, match=said):
        go(None, 2, resume=tmp_path)
    path = tmp_path / "step-00000002.safetensors"
    assert len(go(None, 3, resume=path)[0]) == 3


@pytest.mark.parametrize("steps", [99, 6])
def test_the_unit_of_the_schedule_may_not_differ(steps, tmp_path):
    make = SAME["StepLR"]
    go(tmp_path, 2, schedule=make, callbacks=[StopIn(steps)])
    with pytest.raises(ValueError, match="saved with schedule_per='epoch'; this run has 'step', which would"):
        go(None, 3, resume=tmp_path, schedule=make, schedule_per="step")
    assert len(go(None, 3, resume=tmp_path, schedule=make, schedule_per="epoch")[0]) == 3


class Values(train.Metric):
    """Gives these values, one for each epoch, whatever the model does."""

    def __init__(self, values):
        super().__init__("given")
        self.values = iter(values)

    def sums(self, output, target):
        return output.sum() * 0, len(output)

    def value(self, total, count):
        return next(self.values)


def best_of(resume=None, values=(), epochs=3, folder=None, callbacks=(), **options):
    """The values alternate between train and valid; `callbacks` look at `given`, of train."""
    twice = [value for value in values for _ in range(2)]
    return go(folder, epochs, resume=resume, metrics=[Values(twice)], callbacks=list(callbacks), **options)


def test_weights_that_were_not_kept_cannot_be_restored(tmp_path):
    def stopping(restore):
        return train.EarlyStopping("given", patience=9, mode="min", restore_best=restore)

    best_of(values=[1.0, 2.0], epochs=2, folder=tmp_path, callbacks=[stopping(False)])
    with pytest.warns(
        RuntimeWarning, match="restore_best=False, so the weights of epoch 1, the best so far, are not"
    ):
        best_of(tmp_path, [3.0], callbacks=[stopping(True)])
    at_the_best = tmp_path / "step-00000004.safetensors"
    _, kept = best_of(at_the_best, [3.0, 4.0], callbacks=[stopping(True)])
    _, expected = best_of(values=[1.0], epochs=1)
    assert all((kept[name] == array).all() for name, array in expected.items())


def best_epoch(folder):
    history = train.History()
    xpconv.load(folder / "best.safetensors", history=history)
    return len(history)


def test_the_best_in_another_folder_begins_anew(tmp_path):
    def checkpoint(name, **options):
        return train.Checkpoint(tmp_path / name, best="given", **{"mode": "min", **options})

    best_of(values=[1.0, 2.0], epochs=2, callbacks=[checkpoint("a")])
    best_of(tmp_path / "a", [5.0, 6.0], epochs=4, callbacks=[checkpoint("b")])
    assert (best_epoch(tmp_path / "a"), best_epoch(tmp_path / "b")) == (1, 3)
    best_of(tmp_path / "a", [5.0, 6.0], epochs=4, callbacks=[checkpoint("a")])
    assert best_epoch(tmp_path / "a") == 1
    best_of(tmp_path / "b", [0.5], epochs=5, callbacks=[checkpoint("b", mode="max")])
    assert best_epoch(tmp_path / "b") == 5  # the best of the other mode does not count


def test_early_stopping_of_another_mode_begins_anew(tmp_path):
    def stopping(mode):
        return train.EarlyStopping("given", patience=9, mode=mode)

    best_of(values=[1.0, 2.0], epochs=2, folder=tmp_path, callbacks=[stopping("min")])
    largest, same = stopping("max"), stopping("min")
    best_of(tmp_path, [0.5], callbacks=[largest])
    assert (largest.best, largest.epoch) == (0.5, 3)
    best_of(tmp_path, [1.5], callbacks=[same])
    assert (same.best, same.epoch) == (1.0, 1)


@pytest.mark.parametrize("left", ["step-00000004.safetensors", "best.safetensors"])
def test_files_of_another_run_are_not_replaced_by_a_resumed_one(left, tmp_path):
    """Whatever their number of steps."""
    best_of(values=[1.0, 2.0], epochs=2, folder=tmp_path / "a")
    checkpoint = train.Checkpoint(tmp_path / "b", best="given", mode="min", last=1)
    best_of(values=[1.0], epochs=1, callbacks=[checkpoint])
    for path in (tmp_path / "b").iterdir():
        if path.name != left:
            path.unlink()
    before = (tmp_path / "b" / left).read_bytes()
    with pytest.raises(FileExistsError, match=f"has {left}, of another run"):
        best_of(tmp_path / "a", [1.0], callbacks=[checkpoint])
    assert (tmp_path / "b" / left).read_bytes() == before
    best_of(tmp_path / "a", [1.0], callbacks=[train.Checkpoint(tmp_path / "a" / ".." / "a")])
