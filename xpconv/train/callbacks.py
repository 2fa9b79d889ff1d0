"""Callbacks: early stopping, and logs of the epochs."""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from ..arguments import shown, to_bool, to_choice, to_float, to_int
from ..errors import StateDictError
from ..files.atomic import check_target, write_atomically
from ..signatures import public_errors
from .history import is_sound, loss_of
from .run import Run

__all__ = ["CSVLogger", "EarlyStopping", "JSONLogger", "TensorBoard"]


def mode_of(where: str, run: Run, name: Any, mode: str | None) -> str:
    """Whether the value `name` is to be small, `'min'`, or large, `'max'`, if there is such a value."""
    modes = run.history.modes
    present = [known for known in modes if run.valid is not None or not known.startswith("valid_")]
    if not isinstance(name, str) or name not in present:
        parts = [known for known in present if isinstance(name, str) and name.startswith(f"{known}_")]
        if not parts:  # such as iou_0, of the metric iou
            raise ValueError(f"{where} is {shown(name)}, expected one of {', '.join(present)}")
        found = mode or modes[parts[0]]
    else:
        found = mode or modes[name]
    if found is None:
        raise ValueError(
            f"{where}: it is not known whether {name} is to be large or small; give mode='max' or mode='min'"
        )
    return found


@public_errors
class EarlyStopping:
    """Stop when a value has not improved for some epochs; the model then has the weights of the best epoch.

    NaN and infinity are no improvement, nor is any value of an epoch whose loss is NaN.
    It has them at the end of every training, also after all epochs or Ctrl-C, and so have the averages of
    `ema`. The optimizer keeps its state. A run that it has stopped has ended: resumed, it returns at once,
    unless `patience` is larger now.

    Args:
        monitor: the value, such as `"valid_accuracy"`; None takes `valid_loss`, without validation `loss`.
        patience: the number of epochs in a row without improvement after which it stops.
        min_delta: an improvement is larger than this.
        mode: `'min'` or `'max'`; None takes the one that belongs to the value.
        restore_best: False leaves the model with its latest weights.

    Attributes:
        best: the best value so far.
        epoch: its epoch.

    Example:
        >>> import numpy as np, xpconv
        >>> from xpconv import train
        >>> model = xpconv.Dense(2, 1, rng=0)
        >>> data = xpconv.data.batches(np.ones((4, 2), "float32"), np.ones((4, 1), "float32"), 4)
        >>> stop = train.EarlyStopping("loss", patience=2)
        >>> optimizer = xpconv.SGD(model.parameters(), lr=0.5)  # too much
        >>> history = train.fit(model, xpconv.MSELoss(), optimizer, data, epochs=9, callbacks=[stop])
        >>> len(history), history.stopped
        (3, 'loss has not improved for 2 epochs; the best is 3.172 in epoch 1')
    """

    elsewhere: ClassVar[Mapping[str, str]] = {"restore_best_weights": "give restore_best="}

    def __init__(
        self,
        monitor: str | None = None,
        patience: int = 3,
        min_delta: float = 0.0,
        mode: str | None = None,
        restore_best: bool = True,
    ) -> None:
        where = "EarlyStopping"
        if monitor is not None and not isinstance(monitor, str):
            raise TypeError(f"{where}: monitor is {shown(monitor)}, expected the name of a value, or None")
        self.monitor = monitor
        self.patience = to_int(f"{where}: patience", patience, 0)
        self.min_delta = to_float(f"{where}: min_delta", min_delta, 0)
        self.mode = None if mode is None else to_choice(f"{where}: mode", mode, ("min", "max"))
        self.restore_best = to_bool(f"{where}: restore_best", restore_best)
        self._name = monitor
        self._begin()

    def _begin(self) -> None:
        self.best: float | None = None
        self.epoch = 0
        self._wait = 0
        self._weights: dict[str, Any] | None = None
        self._averages: dict[str, Any] | None = None
        self._loaded: str | None = None  # the value that a loaded state is of

    def on_fit_begin(self, run: Run) -> None:
        self._name = self.monitor or ("loss" if run.valid is None else "valid_loss")
        self._sign = 1 if mode_of("EarlyStopping: monitor", run, self._name, self.mode) == "min" else -1
        if not run.resumed or self._loaded != self._name:
            self._begin()
        if not self.restore_best:
            self._weights = self._averages = None
        self._loaded = None
        self._stop(run)

    def on_epoch_end(self, run: Run) -> None:
        if self._name not in run.logs:
            raise ValueError(
                f"EarlyStopping: monitor is {self._name!r}, expected one of {', '.join(run.logs)}"
            )
        value = float(run.logs[self._name])
        best = math.inf if self.best is None else self._sign * self.best
        if is_sound(run.logs, self._name) and self._sign * value < best - self.min_delta:
            self.best, self.epoch, self._wait = value, run.epoch, 0
            self._weights = run.model.state_dict() if self.restore_best else None
            self._averages = run.ema.state_dict() if self.restore_best and run.ema is not None else None
            return
        self._wait += 1
        self._stop(run)

    def _stop(self, run: Run) -> None:
        if self._wait >= max(self.patience, 1) and run.stop is None:
            most = "" if self.best is None else f"; the best is {self.best:.4g} in epoch {self.epoch}"
            times = f"{self._wait} epoch{'s' * (self._wait > 1)}"
            row, name = run.history.rows[-1] if run.history.rows else {}, self._name or "loss"
            bad = [n for n in (name, loss_of(name)) if not math.isfinite(row.get(n, 0.0))]
            most += f"; {bad[0]} is {row[bad[0]]} in epoch {run.epoch}" if bad else ""
            run.stop = f"{self._name} has not improved for {times}{most}"

    def on_fit_end(self, run: Run) -> None:
        if self._weights is not None:
            run.model.load_state_dict(self._weights)
        if self._averages is not None:
            run.ema.load_state_dict(self._averages)

    def state_dict(self) -> dict[str, Any]:
        """The best value, its epoch and weights, and the number of epochs since."""
        return {
            "monitor": self._name,
            "best": self.best,
            "epoch": self.epoch,
            "wait": self._wait,
            "weights": self._weights,
            "averages": self._averages,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` returned."""
        names = {"monitor", "best", "epoch", "wait", "weights", "averages"}
        if not isinstance(state, Mapping) or set(state) != names:
            raise StateDictError(
                f"EarlyStopping.load_state_dict: state is {shown(state)}, expected what state_dict() returns"
            )
        best = None if state["best"] is None else to_float("EarlyStopping: best", state["best"], nan=True)
        epoch, wait = (to_int(f"EarlyStopping: {name}", state[name], 0) for name in ("epoch", "wait"))
        for name in ("weights", "averages"):
            if not isinstance(state[name], Mapping | None):
                raise StateDictError(
                    f"EarlyStopping.load_state_dict: {name} is {shown(state[name])}, expected a dict or None"
                )
        self.best, self.epoch, self._wait = best, epoch, wait
        self._weights, self._averages = state["weights"], state["averages"]
        self._loaded = state["monitor"]


@public_errors
class _Logger:
    """Base of logs with a row for each epoch. A resumed run goes on in the file of the run before.

    The file changes at the end of the first epoch, so that a run that cannot begin does not erase it.
    """

    elsewhere: ClassVar[Mapping[str, str]] = {
        "append": "leave it out: a resumed run goes on in the file of the run before",
        "filename": "give path=",
    }

    def __init__(self, path: str | os.PathLike[str]) -> None:
        if not isinstance(path, str | os.PathLike) or not os.fspath(path):
            raise TypeError(f"{type(self).__name__}: path is {shown(path)}, expected a path")
        self.path = Path(path)

    def on_fit_begin(self, run: Run) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        check_target(type(self).__name__, str(self.path))
        rows = self._read() if run.resumed and self.path.exists() else []
        done = len(run.history)
        self._before: list[dict[str, Any]] | None = [
            row for row in rows if str(row.get("epoch")).isdecimal() and int(row["epoch"]) <= done
        ]

    def on_epoch_end(self, run: Run) -> None:
        row = {name: value if math.isfinite(value) else None for name, value in run.logs.items()}
        if self._before is None:
            self._append(row)
        else:
            self._write([*self._before, row])
            self._before = None

    def _read(self) -> list[dict[str, Any]]:
        raise TypeError(f"{type(self).__name__} defines no _read()")

    def _write(self, rows: list[dict[str, Any]]) -> None:
        raise TypeError(f"{type(self).__name__} defines no _write(rows)")

    def _append(self, row: dict[str, Any]) -> None:
        raise TypeError(f"{type(self).__name__} defines no _append(row)")


class JSONLogger(_Logger):
    """A file with a JSON object in a line for each epoch: its values and `seconds`.

    NaN and infinity are null. A new run replaces the file; a resumed one goes on after the epochs that its
    checkpoint has.

    Args:
        path: of the file; its folder is made if necessary.

    Raises:
        TypeError: `path` is not a path.
        OSError: the file cannot be written.

    Example:
        >>> import json, pathlib, tempfile, numpy as np, xpconv
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "log.jsonl"
        >>> model = xpconv.Dense(2, 1)
        >>> data = xpconv.data.batches(np.ones((4, 2), "float32"), np.ones((4, 1), "float32"), 4)
        >>> optimizer = xpconv.SGD(model.parameters(), lr=0.1)
        >>> log = xpconv.train.JSONLogger(path)
        >>> _ = xpconv.train.fit(model, xpconv.MSELoss(), optimizer, data, epochs=2, callbacks=[log])
        >>> [list(json.loads(line)) for line in path.read_text().splitlines()]
        [['epoch', 'lr', 'loss', 'seconds'], ['epoch', 'lr', 'loss', 'seconds']]
    """

    def _read(self) -> list[dict[str, Any]]:
        rows = []
        for line in self.path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                row = json.loads(line)
            except ValueError:  # cut short when the run before was killed
                continue
            rows += [row] if isinstance(row, dict) else []
        return rows

    def _write(self, rows: list[dict[str, Any]]) -> None:
        write_atomically(str(self.path), ["".join(json.dumps(row) + "\n" for row in rows).encode()])

    def _append(self, row: dict[str, Any]) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")


class CSVLogger(_Logger):
    """A CSV file with a row for each epoch: its values and `seconds`; NaN and infinity are empty.

    A new run replaces the file; a resumed one goes on after the epochs that its checkpoint has.

    Args:
        path: of the file; its folder is made if necessary.

    Raises:
        TypeError: `path` is not a path.
        OSError: the file cannot be written.
    """

    def _read(self) -> list[dict[str, Any]]:
        with self.path.open(newline="", encoding="utf-8", errors="replace") as file:
            return [row for row in csv.DictReader(file) if None not in row.values()]

    def _write(self, rows: list[dict[str, Any]]) -> None:
        self._names = list(dict.fromkeys(name for row in rows for name in row))
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, self._names, restval="")
        writer.writeheader()
        writer.writerows(rows)
        write_atomically(str(self.path), [text.getvalue().encode()])

    def _append(self, row: dict[str, Any]) -> None:
        if set(row) - set(self._names):
            self._write([*self._read(), row])
            return
        with self.path.open("a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, self._names, restval="").writerow(row)


@public_errors
class TensorBoard:
    """Curves for TensorBoard: `loss/train` and `loss/valid`, the same for each metric, and `lr`.

    Needs tensorboardX, or PyTorch with tensorboard: `pip install tensorboardX`.

    Args:
        folder: where to write; view it by `tensorboard --logdir FOLDER`.

    Raises:
        ImportError: neither is installed.
    """

    elsewhere: ClassVar[Mapping[str, str]] = {"log_dir": "give folder=", "logdir": "give folder="}

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        if not isinstance(folder, str | os.PathLike) or not os.fspath(folder):
            raise TypeError(f"TensorBoard: folder is {shown(folder)}, expected a path")
        self.folder = os.fspath(folder)
        self._make = _summary_writer()
        self._writer: Any = None

    def on_fit_begin(self, run: Run) -> None:
        self._writer = self._make(self.folder, purge_step=len(run.history) + 1)

    def on_epoch_end(self, run: Run) -> None:
        for name, value in run.logs.items():
            if name not in ("epoch", "seconds"):
                metric = name.removeprefix("valid_")
                part = "" if name == "lr" else "/train" if metric == name else "/valid"
                self._writer.add_scalar(metric + part, value, run.epoch)
        self._writer.flush()

    def on_fit_end(self, run: Run) -> None:
        self._close()

    def on_exception(self, run: Run, error: BaseException) -> None:
        self._close()

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def _summary_writer() -> Any:
    try:
        from tensorboardX import SummaryWriter
    except ImportError:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as cause:
            raise ImportError(
                "TensorBoard: neither tensorboardX nor PyTorch's tensorboard is installed; "
                "pip install tensorboardX"
            ) from cause
    return SummaryWriter
