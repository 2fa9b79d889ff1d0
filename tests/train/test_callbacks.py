"""Early stopping and logs."""

import csv
import json
import sys
import types

import numpy as np
import pytest

import xpconv
from xpconv import train
from xpconv.data import batches


class Script:
    """Stands in for validation: a callback that replaces the values of an epoch, and moves the weights."""

    def __init__(self, values, name="valid_loss"):
        self.values, self.name = values, name

    def on_epoch_end(self, run):
        run.logs[self.name] = self.values[run.epoch - 1]
        run.model.weight.data[...] = run.epoch


def run(values, *callbacks, epochs=None, name="valid_loss", **options):
    model = xpconv.Dense(2, 1, rng=0)
    x = xpconv.asarray(np.ones((4, 2)), "float32")
    data = batches(x, x[:, :1], 4)
    optimizer = xpconv.SGD(model.parameters(), lr=0.0)
    history = train.fit(
        model, xpconv.MSELoss(), optimizer, data, data, epochs=epochs or len(values),
        callbacks=[Script(values, name), *callbacks], **options,
    )  # fmt: skip
    return history, float(model.weight.data[0, 0])


@pytest.mark.parametrize(
    ("options", "epochs", "weight"),
    [
        (dict(patience=2), 5, 3),
        (dict(patience=1), 2, 1),
        (dict(patience=0), 2, 1),
        (dict(patience=9), 8, 7),
        (dict(patience=2, restore_best=False), 5, 5),
        (dict(patience=3, min_delta=0.5), 4, 1),
    ],
)
def test_early_stopping_restores_the_best_weights(options, epochs, weight, backend):
    values = [1.0, 1.0, 0.9, 0.95, 0.9, 0.8, 0.1, 0.2]
    stop = train.EarlyStopping("valid_loss", **options)
    history, found = run(values, stop)
    assert (len(history), found) == (epochs, weight)
    if epochs < len(values):
        assert history.stopped.startswith("valid_loss has not improved for")
        assert f"the best is {min(values[:epochs]):.4g}" in history.stopped or "min_delta" in options
    else:
        assert history.stopped is None


def test_of_values_that_are_to_be_large_and_of_nan():
    stop = train.EarlyStopping("valid_accuracy", patience=1)
    assert (
        run(
            [0.5, 0.6, 0.4], stop, name="valid_accuracy", metrics=[lambda o, t: 0.0, Named("accuracy", "max")]
        )[1]
        == 2
    )
    assert run([np.nan, 3.0, np.nan, 2.0, np.nan, np.nan], train.EarlyStopping(patience=2))[1] == 4
    history, weight = run([np.nan] * 5, train.EarlyStopping(patience=2))
    assert (len(history), history.stopped, weight) == (2, "valid_loss has not improved for 2 epochs", 2)


class Named(train.Metric):
    def __init__(self, name, mode):
        super().__init__(name)
        self.mode = mode

    def sums(self, output, *targets):
        return 1.0, 1

    def value(self, total, count):
        return total / count


def test_it_can_be_used_again_and_keeps_the_averages_of_the_best_epoch():
    stop = train.EarlyStopping(patience=1)
    for _ in range(2):
        assert run([1.0, 2.0, 0.5], stop)[1] == 1
    model = xpconv.Dense(2, 1, rng=0)
    ema = xpconv.ExponentialMovingAverage(model, 0.5)
    kept = []

    class Note:
        def on_epoch_end(self, run):
            run.logs["valid_loss"] = float(run.epoch)
            kept.append(ema.averages["weight"].copy())

    data = [(np.ones((4, 2), "float32"), np.zeros((4, 1), "float32"))]
    train.fit(model, xpconv.MSELoss(), xpconv.SGD(model.parameters(), lr=0.1), data, data, epochs=5, ema=ema,
              callbacks=[Note(), stop])  # fmt: skip
    assert len(kept) == 2
    assert (ema.averages["weight"] == kept[0]).all()


def test_its_state():
    stop, other = train.EarlyStopping(patience=2), train.EarlyStopping(patience=2)
    run([1.0, 2.0, 0.5], stop)
    other.load_state_dict(stop.state_dict())
    assert (other.best, other.epoch, other._wait) == (0.5, 3, 0)
    for state in ({}, None, {**stop.state_dict(), "more": 1}):
        with pytest.raises(ValueError, match=r"EarlyStopping.load_state_dict: state is"):
            other.load_state_dict(state)


WRONG = {
    "monitor": (lambda: train.EarlyStopping(3), "EarlyStopping: monitor is 3"),
    "patience": (lambda: train.EarlyStopping(patience=-1), "EarlyStopping: patience is -1"),
    "mode": (lambda: train.EarlyStopping(mode="low"), "EarlyStopping: mode is 'low'"),
    "min_delta": (lambda: train.EarlyStopping(min_delta=-1.0), "EarlyStopping: min_delta is -1.0"),
    "unknown": (lambda: run([1.0], train.EarlyStopping("valid_los")), "monitor is 'valid_los', expected one of loss, valid_loss"),
    "no mode": (lambda: run([1.0], train.EarlyStopping("f"), metrics=Named("f", None)), "whether f is to be large or small"),
    "path": (lambda: train.CSVLogger(3), "CSVLogger: path is 3"),
    "folder": (lambda: train.TensorBoard(3), "TensorBoard: folder is 3"),
    "every": (lambda: train.TerminateOnNaN(0), "TerminateOnNaN: every is 0"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_wrong_arguments(name):
    make, text = WRONG[name]
    with pytest.raises((TypeError, ValueError), match=text):
        make()


def test_logs_have_a_row_for_each_epoch(tmp_path):
    values = [1.0, np.nan, np.inf]
    logs = train.JSONLogger(tmp_path / "a" / "log.jsonl"), train.CSVLogger(str(tmp_path / "log.csv"))
    for _ in range(2):  # a new run replaces the file
        history, _ = run(values, *logs)
    rows = [json.loads(line) for line in (tmp_path / "a" / "log.jsonl").read_text().splitlines()]
    assert [row["valid_loss"] for row in rows] == [1.0, None, None]
    assert [row["loss"] for row in rows] == history["loss"]
    with open(tmp_path / "log.csv", newline="") as file:
        table = list(csv.DictReader(file))
    assert [row["valid_loss"] for row in table] == ["1.0", "", ""]
    assert [float(row["loss"]) for row in table] == history["loss"]
    assert list(table[0]) == ["epoch", "lr", "loss", "valid_loss", "seconds"]


def test_a_resumed_run_goes_on_in_its_log(tmp_path):
    """Epochs after its checkpoint, and a line that was cut short, are written again."""
    logs = train.JSONLogger(tmp_path / "log.jsonl"), train.CSVLogger(tmp_path / "log.csv")
    run([1.0, 2.0, 3.0], *logs)
    for log in logs:
        text = log.path.read_text()
        log.path.write_text(text + text.splitlines()[-1][:5])
        resumed = types.SimpleNamespace(resumed=True, history=[0, 0], logs={"epoch": 3, "lr": 0.0, "loss": 5.0, "valid_loss": 1.0, "seconds": 1.0})  # fmt: skip
        log.on_fit_begin(resumed)
        log.on_epoch_end(resumed)
        rows = log._read()
        assert [int(row["epoch"]) for row in rows] == [1, 2, 3]
        assert float(rows[-1]["loss"]) == 5.0


def test_new_columns_of_a_csv_file(tmp_path):
    class More:
        def on_epoch_end(self, run):
            if run.epoch == 2:
                run.logs["more"] = 7.0

    log = train.CSVLogger(tmp_path / "log.csv")
    run([1.0, 2.0, 3.0], More(), log)
    assert [row["more"] for row in log._read()] == ["", "7.0", ""]


def test_tensorboard(tmp_path, monkeypatch):
    calls = []

    class SummaryWriter:
        def __init__(self, folder, purge_step):
            calls.append((folder, purge_step))

        def add_scalar(self, *args):
            calls.append(args)

        def flush(self):
            pass

        def close(self):
            calls.append("closed")

    fake = types.ModuleType("tensorboardX")
    fake.SummaryWriter = SummaryWriter
    monkeypatch.setitem(sys.modules, "tensorboardX", fake)
    run([0.25], train.TensorBoard(tmp_path))
    assert calls[0] == (str(tmp_path), 1)
    assert [call[0] for call in calls[1:-1]] == ["lr", "loss/train", "loss/valid"]
    assert calls[3] == ("loss/valid", 0.25, 1)
    assert calls[-1] == "closed"
    fails = types.SimpleNamespace(on_epoch_end=lambda run: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run([0.25], train.TensorBoard(tmp_path), fails)
    assert calls[-1] == "closed" and calls.count("closed") == 2
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ImportError, match="TensorBoard: neither tensorboardX nor PyTorch's tensorboard"):
        train.TensorBoard(tmp_path)


@pytest.mark.parametrize("kind", [train.CSVLogger, train.JSONLogger])
def test_a_run_that_cannot_begin_leaves_the_log_of_the_one_before(tmp_path, kind):
    class Refuse:
        def on_fit_begin(self, run):
            raise FileExistsError("of another run")

    log = kind(tmp_path / "log")
    run([1.0, 2.0], log)
    before = log.path.read_text()
    with pytest.raises(FileExistsError):
        run([1.0], log, Refuse())
    assert log.path.read_text() == before
    run([1.0], log)
    assert len(log.path.read_text()) < len(before)


def test_a_damaged_state_of_early_stopping_changes_nothing():
    stop = train.EarlyStopping()
    before = stop.state_dict()
    for name in ("weights", "averages"):
        with pytest.raises(
            ValueError, match=f"EarlyStopping.load_state_dict: {name} is 'a', expected a dict"
        ):
            stop.load_state_dict({**before, "best": 1.0, name: "a"})
        assert stop.state_dict() == before


def test_data_of_a_callback_may_have_any_name():
    """Only methods are events."""

    class Device:
        on_gpu = False
        on_epoch_end = None
        on_batch_begin = on_batch_end = ()

        def on_fit_end(self, run):
            self.ended = True

    class NoEvents:
        on_gpu = True

    device = Device()
    run([1.0, 2.0], device)
    assert device.ended
    with pytest.raises(TypeError, match="expected an object with some of the methods on_fit_begin"):
        run([1.0], NoEvents())


def of(method, function):
    return type("Own", (), {method: function})()


@pytest.mark.parametrize(
    ("method", "function", "text"),
    [
        (
            "on_epoch_end",
            lambda self, epoch, logs=None: None,
            r"takes \(epoch, logs=None\), expected \(run\)",
        ),
        ("on_epoch_end", lambda self, epoch: None, r"takes \(epoch\), expected \(run\)"),
        ("on_epoch_begin", lambda self: None, r"takes \(\), expected \(run\)"),
        ("on_batch_end", lambda self, run, other: None, r"takes \(run, other\), expected \(run\)"),
        ("on_batch_end", lambda self, *, run: None, r"expected \(run\)"),
        ("on_exception", lambda self, run: None, r"takes \(run\), expected \(run, error\)"),
    ],
)
def test_a_method_that_takes_something_else(method, function, text):
    calls = []
    model = xpconv.Dense(2, 1, rng=0)
    one = np.ones((2, 2), "float32")
    with pytest.raises(TypeError, match=rf"^fit: callbacks: Own\.{method} .*{text}.*run.epoch"):
        train.fit(
            model, xpconv.MSELoss(), xpconv.SGD(model.parameters(), lr=0.1), [(one, one[:, :1])],
            callbacks=[of("on_fit_begin", lambda self, run: calls.append(run)), of(method, function)],
        )  # fmt: skip
    assert not calls


@pytest.mark.parametrize(
    "function",
    [
        lambda self, run: None,
        lambda self, state: None,
        lambda self, run, often=3: None,
        lambda self, *args, **named: None,
        staticmethod(id),  # a function of C
    ],
)
def test_a_method_that_takes_the_run(function):
    model = xpconv.Dense(2, 1, rng=0)
    one = np.ones((2, 2), "float32")
    train.fit(
        model, xpconv.MSELoss(), xpconv.SGD(model.parameters(), lr=0.1), [(one, one[:, :1])],
        callbacks=[of("on_epoch_end", function)],
    )  # fmt: skip
