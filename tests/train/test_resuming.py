"""What may differ in a run that is resumed, and what its errors say."""

import json
import math
import os
import re

import numpy as np
import pytest
from runs import assert_equal, go

import xpconv
from xpconv import train
from xpconv.data import batches

pytest.importorskip("safetensors")


def names(folder):
    return sorted(path.name for path in folder.iterdir())


class StopAt:
    """Sets `run.stop` once, after so many steps, in this event."""

    def __init__(self, steps, event="on_batch_end", reason=True):
        self.steps, self.reason = steps, reason
        setattr(self, event, self.look)

    def look(self, run):
        if run.steps == self.steps:
            run.stop = self.reason


@pytest.mark.sample(4)
@pytest.mark.parametrize(
    ("steps", "event", "saved", "every"),
    [
        (1, "on_batch_end", 1, 1),
        (5, "on_batch_end", 5, None),
        (5, "on_batch_begin", 6, None),
        (8, "on_batch_end", 8, None),
        (4, "on_epoch_begin", 4, 2),
        (0, "on_epoch_begin", 0, None),
        (8, "on_epoch_end", 8, None),
    ],
)
def test_a_run_that_a_callback_stopped_is_saved_there_and_goes_on(
    steps, event, saved, every, tmp_path, backend
):
    whole = go()
    history, _ = go(tmp_path, callbacks=[StopAt(steps, event)], every=every)
    assert (history.stopped, history.interrupted) == ("a callback set run.stop", False)
    assert names(tmp_path)[-1] == f"step-{saved:08}.safetensors"
    resumed = go(tmp_path, resume=tmp_path)
    assert resumed[0].stopped is None
    assert_equal(resumed, whole)


def test_a_reason_is_kept_in_the_history():
    for reason in (None, False, 0, "", np.False_, np.array(False)):
        assert go(epochs=1, callbacks=[StopAt(1, reason=reason)])[0].stopped is None
    for reason in (True, 1, np.True_):
        assert go(callbacks=[StopAt(1, reason=reason)])[0].stopped == "a callback set run.stop"
    assert go(callbacks=[StopAt(1, reason="no time left")])[0].stopped == "no time left"


def test_more_patience_lets_a_run_go_on_that_stopped_early(tmp_path):
    def stopping(patience, resume=None, lr=0.0):
        model = xpconv.Dense(5, 3, rng=0)
        optimizer = xpconv.SGD(model.parameters(), lr=lr)
        data = [(np.ones((4, 5), "float32"), np.zeros(4, int))]
        callbacks = [train.Checkpoint(tmp_path), train.EarlyStopping("loss", patience=patience)]
        loss = xpconv.SoftmaxCrossEntropyLoss()
        return train.fit(model, loss, optimizer, data, epochs=9, callbacks=callbacks, resume=resume)

    assert len(stopping(2)) == 3
    assert "has not improved for 2 epochs" in stopping(2, tmp_path).stopped
    history = stopping(4, tmp_path)
    assert (len(history), "not improved for 4 epochs" in history.stopped) == (5, True)
    assert len(stopping(99, tmp_path)) == 9


def test_early_stopping_that_was_added_begins_anew(tmp_path):
    used = train.EarlyStopping("loss", patience=1)
    used.best, used._wait = 0.0, 7  # of a training before
    go(tmp_path, epochs=1)
    history, _ = go(tmp_path, epochs=2, resume=tmp_path, callbacks=[used])
    assert len(history) == 2 and used.best == min(history["loss"][1:])


def test_where_a_new_run_may_begin(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other" / "checkpoints").mkdir(parents=True)
    whole = go(epochs=1)
    (tmp_path / "there").mkdir()
    for folder in ("new", tmp_path / "there", "./with/../new2"):
        assert_equal(go(folder, epochs=1, resume=folder, verbose=True), whole)
        out = capsys.readouterr().out
        assert re.match(f"fit: no checkpoint in '.*{os.path.basename(folder)}' yet; a new run begins\n", out)
    go("new", epochs=2, resume="new", verbose=True)
    assert "fit: continues from 'new/step-00000004.safetensors', after epoch 1\n" in capsys.readouterr().out
    go("other/checkpoints", epochs=1)
    for resume, folder, error, said in (
        (
            "nwe",
            None,
            FileNotFoundError,
            r"resume is 'nwe', but there is no such folder \(from .*give callbacks=\[Checkpoint\('nwe'\)\]",
        ),
        ("nwe", "new", FileNotFoundError, r"no such folder.*or resume='new', as the Checkpoint has"),
        (".", None, ValueError, r"resume is '.', a folder without step-….safetensors; there is 'there/step"),
        ("other", "new3", ValueError, r"there is 'other/checkpoints/step-00000004.safetensors'"),
        (
            "new/step-7.safetensors",
            None,
            FileNotFoundError,
            r"no such file \(from .*; there is 'new/step-00000008.safetensors'",
        ),
    ):
        with pytest.raises(error, match=said):
            go(folder, resume=resume)
    assert not (tmp_path / "new3").exists()


@pytest.mark.parametrize("steps", [4, 8])
def test_callbacks_and_at_the_end_of_an_epoch_metrics_may_differ(steps, tmp_path, backend):
    whole = go(metrics=["accuracy"], clip_grad_norm=math.inf)
    go(tmp_path, callbacks=[StopAt(steps, "on_epoch_end"), train.EarlyStopping()])
    history, parameters = go(
        resume=tmp_path, metrics=["accuracy"], clip_grad_norm=math.inf, callbacks=[train.EarlyStopping("valid_accuracy", restore_best=False)],
    )  # fmt: skip
    done = steps // 4
    assert history.rows[done:] == whole[0].rows[done:]
    assert "accuracy" not in history.rows[0] and history.modes["valid_accuracy"] == "max"
    assert all((parameters[name] == array).all() for name, array in whole[1].items())
    go(tmp_path / "b", metrics=["accuracy"], callbacks=[StopAt(steps, "on_epoch_end")])
    plain = go()
    assert go(resume=tmp_path / "b")[0].rows[done:] == plain[0].rows[done:]


def test_within_an_epoch_the_values_are_the_same(tmp_path):
    go(tmp_path, callbacks=[StopAt(5)])
    said = (
        "fit: resume: '.*step-00000005.safetensors': it was saved within epoch 2, with the values loss; this run has "
        "accuracy, loss; give the metrics and clip_grad_norm of that run until the epoch ends, or resume from the end"
    )
    with pytest.raises(ValueError, match=said):
        go(resume=tmp_path, metrics=["accuracy"])
    assert len(go(resume=tmp_path / "step-00000004.safetensors", metrics=["accuracy"])[0]) == 3


def test_several_callbacks_of_a_class(tmp_path):
    both = [train.EarlyStopping("loss", patience=7), train.EarlyStopping("valid_loss", patience=9)]
    go(tmp_path, epochs=2, callbacks=both)
    with pytest.raises(
        ValueError, match=r"saved with 2 callbacks of class EarlyStopping, and this run has 1, so it is"
    ):
        go(resume=tmp_path, callbacks=both[:1])
    again = [train.EarlyStopping("loss", patience=7), train.EarlyStopping("valid_loss", patience=9)]
    go(resume=tmp_path, callbacks=again, epochs=2)
    assert [stop.best for stop in again] == [stop.best for stop in both]
    go(resume=tmp_path)


def test_what_does_not_fit_says_what_resume_expects(tmp_path):
    go(tmp_path, epochs=1)
    with pytest.raises(
        ValueError, match=r"^fit: resume: '[^:]*: model does not fit what was saved"
    ) as caught:
        go(resume=tmp_path, width=7)
    assert "expected a file of Checkpoint, and the model, optimizer, schedule" in str(caught.value)
    path = tmp_path / "own.safetensors"
    xpconv.save(path, epoch=3)
    with pytest.raises(
        ValueError,
        match=r"fit: resume: '.*own.safetensors' has nothing called 'model'; it has epoch; expected a file",
    ):
        go(resume=path)


SCHEDULES = {
    "one cycle": lambda total: lambda optimizer: xpconv.OneCycleLR(optimizer, 0.05, 4 * total),
    "cosine": lambda total: lambda optimizer: xpconv.CosineAnnealingLR(optimizer, total),
    "linear": lambda total: lambda optimizer: xpconv.LinearLR(optimizer, 1.0, 0.1, total),
    "sequential": lambda total: lambda optimizer: xpconv.SequentialLR(
        optimizer, [xpconv.LinearLR(optimizer, 0.1, 1.0, 1), xpconv.CosineAnnealingLR(optimizer, total - 1)], [1]
    ),
    "chained": lambda total: lambda optimizer: xpconv.ChainedScheduler(
        [xpconv.CosineAnnealingLR(optimizer, total), xpconv.ExponentialLR(optimizer, 0.9)]
    ),
    "step": lambda total: lambda optimizer: xpconv.StepLR(optimizer, total),
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "stop"), [*((name, None) for name in SCHEDULES), ("one cycle", 5), ("cosine", 5)]
)
def test_a_run_is_made_longer_with_a_longer_schedule(name, stop, tmp_path):
    make, short = SCHEDULES[name], 3
    callbacks = [] if stop is None else [StopAt(stop)]
    go(tmp_path, short, schedule=make(short), callbacks=callbacks)
    done = 1 if stop else short
    history, _ = go(tmp_path, 6, resume=tmp_path, schedule=make(6))
    longer = go(epochs=6, schedule=make(6))[0]
    first = done + 1 if name == "one cycle" and stop else done  # that of the last batch of the epoch
    np.testing.assert_allclose(history["lr"][first:], longer["lr"][first:], rtol=1e-12)
    assert (
        len(history) == 6 and history["lr"][:done] == go(epochs=short, schedule=make(short))[0]["lr"][:done]
    )


def test_the_same_schedule_is_not_computed_again(tmp_path):
    """So that rates that a callback has changed stay."""

    class Halve:
        def on_epoch_end(self, run):
            run.optimizer.param_groups[0]["lr"] /= 2

    make = SCHEDULES["step"](2)
    whole = go(schedule=make, callbacks=[Halve()])
    go(tmp_path, 2, schedule=make, callbacks=[Halve()])
    assert_equal(go(tmp_path, 3, resume=tmp_path, schedule=make, callbacks=[Halve()]), whole)


def test_other_settings_of_a_plateau(tmp_path):
    """Nothing is better: the rate falls after `patience + 1` epochs; two bad ones are behind it at epoch 4."""

    def make(patience):
        return lambda optimizer: xpconv.ReduceLROnPlateau(optimizer, patience=patience, threshold=9.0)

    assert go(tmp_path, 4, schedule=make(5))[0]["lr"] == [0.01] * 4
    history, _ = go(None, 9, resume=tmp_path, schedule=make(1))
    np.testing.assert_allclose(history["lr"], [1e-2] * 5 + [1e-3] * 2 + [1e-4] * 2)


def test_too_few_steps_for_the_rest_are_an_error_at_the_start(tmp_path):
    make = SCHEDULES["one cycle"]
    go(tmp_path, 3, schedule=make(3))
    with pytest.raises(ValueError, match="total_steps=12, but 5 epochs have 20 steps; give total_steps=20"):
        go(tmp_path, 5, resume=tmp_path, schedule=make(3))
    model = xpconv.Sequential(xpconv.Dense(5, 8), xpconv.ReLU(), xpconv.Dropout(0.5), xpconv.Dense(8, 3))
    optimizer, before = xpconv.Adam(model.parameters(), lr=0.01), model[0].weight.data.copy()
    schedule, loss = xpconv.OneCycleLR(optimizer, 0.05, 5), xpconv.SoftmaxCrossEntropyLoss()
    larger = batches(np.zeros((20, 5), "float32"), np.zeros(20, int), 20, shuffle=True)  # one for each epoch
    said = r"^fit: resume: '[^:]*': OneCycleLR has total_steps=5 and has made 12, but the rest of 5 epochs has 2 steps; "
    with pytest.raises(ValueError, match=said + "give total_steps=14$"):
        train.fit(model, loss, optimizer, larger, epochs=5, schedule=schedule, resume=tmp_path)
    assert (model[0].weight.data == before).all() and schedule.last_epoch == 0 and schedule.total_steps == 5


class Recorder:
    def __init__(self):
        self.seen = []

    def on_fit_end(self, run):
        self.seen.append("end")

    def on_exception(self, run, error):
        self.seen.append(type(error).__name__)


@pytest.mark.parametrize(
    "event", ["on_fit_begin", "on_epoch_begin", "on_batch_end", "on_epoch_end", "on_fit_end"]
)
@pytest.mark.parametrize("error", [RuntimeError, SystemExit])
def test_all_callbacks_hear_of_an_error(event, error):
    class Fails:
        def on_exception(self, run, error):
            raise ValueError("also")

    def fail(run):
        raise error("first")

    fails = Fails()
    setattr(fails, event, fail)
    before, after = Recorder(), Recorder()
    with (
        pytest.raises(error, match="first"),
        pytest.warns(RuntimeWarning, match=r"fit: Fails.on_exception raised ValueError\('also'\)"),
    ):
        go(callbacks=[before, fails, after])
    for recorder in (before, after):
        assert recorder.seen[-1] == error.__name__
        assert "end" not in recorder.seen or event == "on_fit_end"
    quiet = Recorder()
    go(epochs=1, callbacks=[quiet])
    assert quiet.seen == ["end"]


@pytest.mark.parametrize("kind", [train.JSONLogger, train.CSVLogger])
def test_a_log_is_rewritten_atomically(kind, tmp_path, monkeypatch):
    """A process that ends while it rewrites the log leaves the old one."""
    path = tmp_path / "log"
    go(tmp_path / "run", 2, callbacks=[kind(path)])
    before = path.read_bytes()

    def dies(*paths):
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", dies)
        with pytest.raises(SystemExit):
            go(epochs=3, resume=tmp_path / "run", callbacks=[kind(path)])
        with pytest.raises(SystemExit):
            go(epochs=3, callbacks=[kind(path)])
    assert path.read_bytes() == before and names(tmp_path) == ["log", "run"]
    go(epochs=3, resume=tmp_path / "run", callbacks=[kind(path)])
    text = path.read_text()
    assert len(text.splitlines()) == (3 if kind is train.JSONLogger else 4)
    if kind is train.JSONLogger:
        assert [json.loads(line)["epoch"] for line in text.splitlines()] == [1, 2, 3]


@pytest.mark.parametrize("kind", [train.JSONLogger, train.CSVLogger])
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe\x00\x01",
        b"a,b\n1,2\n",
        b"epoch,loss\nx,y\n",
        b'{"epoch": [1]}\n[3]\n{"epo',
    ],
)
def test_a_damaged_log_does_not_end_a_run(kind, content, tmp_path):
    """What cannot be read of it is left out."""
    path = tmp_path / "log"
    go(tmp_path / "run", 1)
    path.write_bytes(content)
    go(epochs=3, resume=tmp_path / "run", callbacks=[kind(path)])
    lines = path.read_text().splitlines()
    assert len(lines) == (2 if kind is train.JSONLogger else 3)


@pytest.mark.parametrize("kind", [train.JSONLogger, train.CSVLogger])
def test_a_log_that_cannot_be_written_is_an_error_at_the_start(kind, tmp_path):
    model = xpconv.Dense(2, 1, rng=0)
    before, optimizer = model.weight.data.copy(), xpconv.SGD(model.parameters(), lr=0.1)
    with pytest.raises(
        IsADirectoryError, match=f"{kind.__name__}: path is .*, a folder, expected that of a file"
    ):
        train.fit(
            model,
            xpconv.MSELoss(),
            optimizer,
            [(np.ones((2, 2), "float32"),) * 2],
            callbacks=[kind(tmp_path)],
        )
    assert (model.weight.data == before).all()


def test_a_forged_number_of_steps_ends_at_once(tmp_path):
    class Forge:
        def on_epoch_end(self, run):
            run.schedule.last_epoch = 10**15

    go(tmp_path, 1, schedule=SCHEDULES["cosine"](3), callbacks=[Forge()])
    with pytest.raises(
        ValueError, match=f"schedule has other settings, and {10**15} steps, too many to repeat"
    ):
        go(resume=tmp_path, schedule=SCHEDULES["cosine"](4))


def test_what_is_printed_of_another_learning_rate(tmp_path, capsys):
    go(tmp_path, 1)

    class Halve:
        def on_fit_begin(self, run):
            run.optimizer.lr /= 2

    history, _ = go(epochs=2, resume=tmp_path, verbose=True, callbacks=[Halve()])
    assert history["lr"] == [0.01, 0.005]
    assert capsys.readouterr().out.startswith(
        f"fit: continues from '{tmp_path}/step-00000004.safetensors', after epoch 1\n"
    )
    model = xpconv.Sequential(xpconv.Dense(5, 8), xpconv.ReLU(), xpconv.Dropout(0.5), xpconv.Dense(8, 3))
    optimizer, loss = xpconv.Adam(model.parameters(), lr=0.5), xpconv.SoftmaxCrossEntropyLoss()
    data = batches(np.ones((20, 5), "float32"), np.zeros(20, int), 5)
    train.fit(model, loss, optimizer, data, epochs=2, resume=tmp_path, verbose=True)
    said = "after epoch 1, with its learning rate 0.01 (and not 0.5; set run.optimizer.lr in a callback)\n"
    assert said in capsys.readouterr().out


def test_a_folder_with_the_name_of_a_file():
    with pytest.raises(
        ValueError, match=r"Checkpoint: folder is 'model.safetensors', expected the name of a folder"
    ):
        train.Checkpoint("model.safetensors")


def test_surplus_cells_of_a_log_are_left_out(tmp_path):
    path = tmp_path / "log.csv"
    go(tmp_path / "run", 2, callbacks=[train.CSVLogger(path)])
    first, *rows = path.read_text().splitlines()
    path.write_text("\n".join([first + ",", rows[0] + ",8,9", rows[1] + ",8"]))
    go(epochs=3, resume=tmp_path / "run", callbacks=[train.CSVLogger(path)])
    lines = path.read_text().splitlines()
    assert lines[:3] == [first, *rows] and len(lines) == 4


def small(epochs, folder=None, resume=None, schedule=True, **options):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(20, 4)).astype("float32"), np.arange(20) % 3
    model = xpconv.Dense(4, 3, rng=0)
    optimizer = xpconv.SGD(model.parameters(), lr=0.1)
    options = {"schedule": xpconv.StepLR(optimizer, 2), **options} if schedule else options
    callbacks = [*options.pop("callbacks", []), *([train.Checkpoint(folder)] if folder else [])]
    before = model.weight.data.copy()
    try:
        return train.fit(
            model, xpconv.CrossEntropyLoss(), optimizer, xpconv.data.batches(x, y, batch_size=5), epochs=epochs,
            callbacks=callbacks, resume=resume, **options,
        )  # fmt: skip
    except ValueError:
        assert (model.weight.data == before).all()  # nothing was loaded
        raise


def test_fewer_epochs_than_there_have_been(tmp_path):
    small(5, tmp_path / "run")
    with pytest.raises(ValueError, match=r"has reached epoch 5, and epochs is 3, .*give epochs=5"):
        small(3, resume=tmp_path / "run")
    assert len(small(5, resume=tmp_path / "run")) == 5
    assert len(small(6, resume=tmp_path / "run")) == 6


@pytest.mark.parametrize("wrong", ["stop", "best"])
def test_a_wrong_monitor_is_found_before_anything_is_loaded(tmp_path, wrong):
    small(2, tmp_path / "run")
    if wrong == "stop":
        callback = train.EarlyStopping("valid_loss")
    else:
        callback = train.Checkpoint(tmp_path / "other", best="accuracy")
    with pytest.raises(ValueError, match="expected one of loss"):
        small(3, resume=tmp_path / "run", callbacks=[callback])
    assert not (tmp_path / "other").exists()
