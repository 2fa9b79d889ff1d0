"""`EarlyStopping`."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from typing import Any, ClassVar

from ..arguments import shown, to_bool, to_choice, to_float, to_int
from ..errors import StateDictError
from ..signatures import public_errors
from .history import is_sound, loss_of
from .run import Run, mode_of

__all__ = ["EarlyStopping"]


@public_errors
class EarlyStopping:
    """Stop when a value has not improved for some epochs; the model then has the weights of the best epoch.

    The model has these weights at the end of every training, also after all epochs or Ctrl-C, and so have the
    averages of `ema`. The values of `valid` are measured on these averages: to have them again, evaluate in
    `with ema.average_parameters():`. The optimizer keeps its state. NaN and infinity are no improvement, nor
    is any value of an epoch whose loss is NaN. If a run that was stopped is resumed, `fit` returns at once,
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

    epoch: int
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
        self.patience: int = to_int(f"{where}: patience", patience, 0)
        self.min_delta: float = to_float(f"{where}: min_delta", min_delta, 0)
        self.mode: str | None = None if mode is None else to_choice(f"{where}: mode", mode, ("min", "max"))
        self.restore_best: bool = to_bool(f"{where}: restore_best", restore_best)
        self._name, self._sign = monitor, 1
        self._begin()

    def _begin(self) -> None:
        self.best: float | None = None
        self.epoch = 0
        self._wait = 0
        self._weights: dict[str, Any] | None = None
        self._averages: dict[str, Any] | None = None
        self._loaded: tuple[Any, int] | None = None  # the value that a loaded state is of, and its sign

    def check(self, run: Run) -> None:
        """Raise a ValueError if the run has no value `monitor`; `fit` calls it before it loads anything."""
        self._name = self.monitor or ("loss" if run.valid is None else "valid_loss")
        self._sign = 1 if mode_of("EarlyStopping: monitor", run, self._name, self.mode) == "min" else -1

    def on_fit_begin(self, run: Run) -> None:
        self.check(run)
        if not run.resumed or self._loaded != (self._name, self._sign):
            self._begin()
        if not self.restore_best:
            self._weights = self._averages = None
        elif self.best is not None and self._weights is None:  # saved with restore_best=False
            self._keep_late(run)
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
            if self.restore_best:
                self._keep(run)
            return
        self._wait += 1
        self._stop(run)

    def _keep(self, run: Run) -> None:
        self._weights = run.model.state_dict()
        self._averages = None if run.ema is None else run.ema.state_dict()

    def _keep_late(self, run: Run) -> None:
        """Keep the weights of the best epoch if it is the latest; a warning if they are gone."""
        if self.epoch == run.epoch and not run.within:
            self._keep(run)
            return
        warnings.warn(
            f"EarlyStopping: restore_best=True, but the run before had restore_best=False, so the weights of "
            f"epoch {self.epoch}, the best so far, are not in its file; without a better epoch the model "
            "keeps its latest weights",
            RuntimeWarning,
            stacklevel=2,
        )

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
            "sign": self._sign,
            "best": self.best,
            "epoch": self.epoch,
            "wait": self._wait,
            "weights": self._weights,
            "averages": self._averages,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from what `state_dict` returned."""
        names = {"monitor", "sign", "best", "epoch", "wait", "weights", "averages"}
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
        self._loaded = state["monitor"], state["sign"]
