"""A resumed run equals one that was not interrupted, bit for bit on NumPy."""

import os
import signal
import sys

import numpy as np
import pytest

import xpconv
from xpconv import train
from xpconv.data import batches
from xpconv.train import checkpoint

pytest.importorskip("safetensors")


class Stop:
    """Ends the run after so many steps: as a crash, or as Ctrl-C does."""

    def __init__(self, steps, how="crash"):
        self.steps, self.how = steps, how

    def on_batch_begin(self, run):
        if run.steps == self.steps:
            if self.how == "crash":
                raise RuntimeError("crash")
            os.kill(os.getpid(), signal.SIGINT)
            for _ in range(1000):  # the handler runs between two bytecodes
                pass


def run(
    folder=None,
    stop=(),
    resume=None,
    epochs=4,
    accumulate=2,
    seed=0,
    every=1,
    dtype="float32",
    data=None,
    **more,
):
    """With everything that has a state: dropout, BatchNorm, shuffling, schedule, averages, scaler, early stopping."""
    xpconv.manual_seed(seed)
    rng = np.random.default_rng(0)
    x, y = xpconv.asarray(rng.normal(size=(45, 5)), dtype), xpconv.asarray(rng.integers(0, 3, 45))
    model = xpconv.Sequential(
        xpconv.Dense(5, 8), xpconv.BatchNorm1d(8), xpconv.ReLU(), xpconv.Dropout(0.5), xpconv.Dropout(0.2, rng=seed),
        xpconv.Dense(8, 3),
    ).to(dtype=dtype)  # fmt: skip
    optimizer = xpconv.Adam(model.parameters(), lr=0.01)
    schedule = xpconv.OneCycleLR(optimizer, 0.05, 100)
    callbacks = [train.EarlyStopping(patience=9, restore_best=False), *stop]
    if folder is not None:
        callbacks.insert(0, train.Checkpoint(folder, every=every, **more))
    if data is None:
        data = batches(x, y, 10, shuffle=True, seed=seed)
    history = train.fit(
        model, xpconv.SoftmaxCrossEntropyLoss(), optimizer, data, batches(x, y, 20), epochs=epochs,
        metrics=["accuracy", train.IoU(per_class=True)], schedule=schedule, accumulate=accumulate, clip_grad_norm=1.0,
        scaler=xpconv.GradScaler(8.0, growth_interval=2), ema=xpconv.ExponentialMovingAverage(model, 0.9),
        callbacks=callbacks, resume=resume,
    )  # fmt: skip
    return history, {name: xpconv.asnumpy(a) for name, a in model.state_dict().items()}, callbacks


def assert_equal(a, b):
    assert a[0].rows == b[0].rows
    for name, array in a[1].items():
        assert (array == b[1][name]).all(), name


@pytest.mark.sample(4)
@pytest.mark.parametrize("steps", [0, 1, 2, 4, 6])
def test_a_run_that_crashed_goes_on_bit_for_bit(steps, tmp_path, backend):
    """Steps 3, 6, … end an epoch."""
    whole = run()
    with pytest.raises(RuntimeError, match="crash"):
        run(tmp_path, [Stop(steps)])
    assert_equal(
        run(tmp_path, resume=tmp_path, seed=5 if steps else 0), whole
    )  # the seeds come from the file


def test_without_safetensors_there_is_an_error_before_the_training(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    with pytest.raises(
        ImportError, match=r"^xpconv\.train\.Checkpoint needs safetensors: pip install safetensors$"
    ):
        train.Checkpoint(tmp_path / "run")


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_ctrl_c_saves_and_the_run_goes_on(steps, tmp_path):
    whole = run()
    history, _, _ = run(tmp_path, [Stop(steps, "signal")], every=None)
    assert history.interrupted
    newest = sorted(path.name for path in tmp_path.iterdir())[-1]
    assert newest == f"step-{steps + 1:08}.safetensors"
    assert_equal(run(tmp_path, resume=str(tmp_path / newest), every=None), whole)


def test_data_without_a_state_goes_on_where_it_was(tmp_path):
    data = [(np.full((4, 5), i, "float32"), np.arange(4) % 3) for i in range(7)]
    whole = run(data=data)
    with pytest.raises(RuntimeError, match="crash"):
        run(tmp_path, [Stop(6)], data=data)
    assert_equal(run(tmp_path, resume=tmp_path, data=data), whole)


def test_a_finished_run_is_finished_and_can_be_made_longer(tmp_path):
    whole = run(epochs=4)
    run(tmp_path, epochs=2)
    again = run(tmp_path, resume=tmp_path, epochs=2)
    assert len(again[0]) == 2
    assert_equal(run(tmp_path, resume=tmp_path, epochs=4), whole)


def test_a_run_that_stopped_early_stays_stopped(tmp_path):
    def stopping(resume=None):
        data = [(np.ones((4, 5), "float32"), np.zeros(4, int))]
        model = xpconv.Dense(5, 3, rng=0)
        optimizer = xpconv.SGD(model.parameters(), lr=0.0)
        callbacks = [train.Checkpoint(tmp_path), train.EarlyStopping("loss", patience=2)]
        return train.fit(
            model,
            xpconv.SoftmaxCrossEntropyLoss(),
            optimizer,
            data,
            epochs=9,
            callbacks=callbacks,
            resume=resume,
        )

    first = stopping()
    assert (len(first), "has not improved for 2 epochs" in first.stopped) == (3, True)
    again = stopping(tmp_path)
    assert (again.rows, again.stopped) == (first.rows, first.stopped)


def test_the_last_files_and_the_best(tmp_path):
    history, _, _ = run(tmp_path, last=2, best="valid_loss", every=None)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["best.safetensors", "step-00000009.safetensors", "step-00000012.safetensors"]
    best = xpconv.load(tmp_path / "best.safetensors")
    assert len(best["history"]["rows"]) == history.best("valid_loss")
    run(tmp_path, last=1, best="valid_loss", every=None, resume=tmp_path, epochs=5)
    assert sorted(path.name for path in tmp_path.iterdir())[1:] == ["step-00000015.safetensors"]


def test_a_process_that_ends_before_the_best_is_saved(tmp_path, monkeypatch):
    """Resumed, it saves the same file."""
    run(tmp_path / "whole", best="valid_loss", every=None)

    def dies(path, **things):
        if path.name == "best.safetensors":
            raise SystemExit
        xpconv.save(path, **things)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save", dies)
        with pytest.raises(SystemExit):
            run(tmp_path / "b", best="valid_loss", every=None)
    run(tmp_path / "b", best="valid_loss", every=None, resume=tmp_path / "b")
    for name in ("best.safetensors", "step-00000012.safetensors"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_a_checkpoint_is_that_of_the_state_after_the_other_callbacks(tmp_path):
    """Whatever their order is."""
    run(tmp_path, epochs=1)
    state = xpconv.load(tmp_path / "step-00000003.safetensors")["run"]["callbacks"]
    assert [entry["kind"] for entry in state] == ["EarlyStopping", "Checkpoint"]
    assert state[0]["state"]["epoch"] == 1


def test_equal_runs_write_equal_files(tmp_path):
    run(tmp_path / "a")
    with pytest.raises(RuntimeError, match="crash"):
        run(tmp_path / "b", [Stop(5)])
    run(tmp_path / "b", resume=tmp_path / "b")
    name = "step-00000012.safetensors"
    assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_what_does_not_fit_changes_nothing(tmp_path):
    run(tmp_path, epochs=1)
    path = tmp_path / "step-00000003.safetensors"

    def resumed(model=None, callbacks=(), metrics=("accuracy",), **options):
        model = model or xpconv.Dense(5, 3, rng=0)
        before = model.weight.data.copy()
        data = [(np.ones((4, 5), "float32"), np.zeros(4, int))]
        try:
            return train.fit(
                model, xpconv.SoftmaxCrossEntropyLoss(), xpconv.Adam(model.parameters()), data, callbacks=callbacks,
                metrics=metrics, **{"resume": path, **options},
            )  # fmt: skip
        finally:
            assert (model.weight.data == before).all()

    for options, error, text in (
        ({}, ValueError, "schedule is of class OneCycleLR, but schedule given is None"),
        ({"resume": tmp_path / "step-00000099.safetensors"}, FileNotFoundError, "resume is .*no such file"),
        ({"resume": 3}, TypeError, "fit: resume is 3, expected the path of a checkpoint"),
        ({"resume": ""}, TypeError, "fit: resume is '', expected the path of a checkpoint"),
    ):
        with pytest.raises(error, match=text):
            resumed(**options)
    text = tmp_path / "notes.txt"
    text.write_text("no checkpoint")
    with pytest.raises(ValueError, match=r"expected a folder or a .safetensors file"):
        resumed(resume=text)


def test_a_folder_with_files_of_another_run(tmp_path):
    data = [(np.ones((4, 5), "float32"), np.zeros(4, int))]

    def go(callbacks, metrics=(), resume=None):
        model = xpconv.Dense(5, 3, rng=0)
        return train.fit(
            model, xpconv.SoftmaxCrossEntropyLoss(), xpconv.SGD(model.parameters()), data, callbacks=callbacks,
            metrics=metrics, resume=resume, epochs=2,
        )  # fmt: skip

    go([train.Checkpoint(tmp_path)])
    with pytest.raises(
        FileExistsError, match=r"Checkpoint: folder .*step-00000002.safetensors, of another run"
    ):
        go([train.Checkpoint(tmp_path)])
    with pytest.raises(FileExistsError, match="later than this one"):
        go([train.Checkpoint(tmp_path)], resume=tmp_path / "step-00000001.safetensors")


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda p: train.Checkpoint(3), "Checkpoint: folder is 3"),
        (lambda p: train.Checkpoint(p, every=0), "Checkpoint: every is 0"),
        (lambda p: train.Checkpoint(p, last=0), "Checkpoint: last is 0"),
        (lambda p: train.Checkpoint(p, best=3), "Checkpoint: best is 3"),
        (lambda p: train.Checkpoint(p, mode="small"), "Checkpoint: mode is 'small'"),
        (lambda p: train.Checkpoint(__file__), "which is a file"),
        (lambda p: run(p, best="valid_los"), "Checkpoint: best is 'valid_los', expected one of"),
    ],
)
def test_wrong_arguments(make, text, tmp_path):
    with pytest.raises((TypeError, ValueError, OSError), match=text):
        make(tmp_path)


def test_a_part_that_is_left_out_is_an_error(tmp_path):
    def fit(resume=None, **names):
        model = xpconv.Dense(5, 3, rng=0)
        optimizer = xpconv.SGD(model.parameters(), lr=0.1)
        parts = {
            "schedule": xpconv.StepLR(optimizer, 1),
            "scaler": xpconv.GradScaler(4.0),
            "ema": xpconv.ExponentialMovingAverage(model),
        }
        x, y = np.ones((4, 5), "float32"), np.zeros(4, int)
        data = [(x, y)] if "batches" in names else batches(x, y, 4)
        callbacks = train.Checkpoint(tmp_path / "-".join(names))
        train.fit(
            model, xpconv.SoftmaxCrossEntropyLoss(), optimizer, data, callbacks=callbacks, resume=resume,
            **{name: part for name, part in parts.items() if name not in names},
        )  # fmt: skip

    fit()
    for name in ("schedule", "scaler", "ema", "batches"):
        with pytest.raises(ValueError, match=f"{name} is of class .*, but {name} given is None"):
            fit(tmp_path, **{name: None})


def test_a_damaged_checkpoint_names_the_one_before(tmp_path):
    """Without the damaged file the run goes on, and ends as it would have."""
    whole = run()
    with pytest.raises(RuntimeError, match="crash"):
        run(tmp_path, stop=[Stop(5)])
    *_, before, last = sorted(tmp_path.glob("step-*"))
    last.write_bytes(last.read_bytes()[:300])
    with pytest.raises(
        xpconv.errors.DataFileError, match=f"damaged.*to continue from {before.name}.*remove this file"
    ):
        run(tmp_path, resume=tmp_path)
    last.unlink()
    assert_equal(run(tmp_path, resume=tmp_path), whole)
