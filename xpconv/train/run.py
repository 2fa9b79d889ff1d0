"""`Run`: all that a training run consists of, which callbacks get, and its state."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..arguments import shown, to_bool, to_float, to_int
from ..backend import Backend
from ..data.batches import batches
from ..errors import StateDictError
from ..layers.layer import Layer
from .history import History
from .meter import Meter
from .objective import Batch

__all__ = ["Run"]


class Run:
    """A training run, as callbacks get it. Those named here may be read; `stop` may be set.

    Attributes:
        model, loss, optimizer, schedule, scaler, ema, train, valid, callbacks: the arguments of `fit`.
        history: the `History` so far. In `on_epoch_end` its last row is that of this epoch.
        epochs: the argument of `fit`.
        epoch: the present epoch, from 1.
        batch: the number of batches of this epoch that were trained on.
        batches: the number of batches of an epoch, or None if it is not known.
        steps: the number of updates of the parameters so far, over all epochs.
        group: the batches of the present step: one, with `accumulate` several.
        lr: the learning rate of the present step, that of the first group.
        logs: the latest values: in `on_epoch_end` those of the epoch and its `seconds`.
        resumed: whether it continues from a checkpoint.
        stop: None, or why training is to end after this batch; set it to a text, or True, to end it. It is
            not saved: a resumed run continues, unless a callback stops it again, as `EarlyStopping` does.
        whole: whether the state is that between two steps, so that it can be saved. It is not if a
            KeyboardInterrupt ended a step.
    """

    model: Layer
    backend: Backend
    meter: Meter
    epochs: int
    epoch: int
    batch: int
    steps: int

    def __init__(self, model: Layer, backend: Backend, meter: Meter, epochs: int, **parts: Any) -> None:
        self.model, self.backend, self.meter, self.epochs = model, backend, meter, epochs
        self.loss: Any = meter.objective.loss
        self.optimizer: Any = parts["optimizer"]
        self.schedule: Any = parts["schedule"]
        self.scaler: Any = parts["scaler"]
        self.ema: Any = parts["ema"]
        self.train: Any = parts["train"]
        self.valid: Any = parts["valid"]
        self.callbacks: Sequence[Any] = parts["callbacks"]
        self.step: Any = None
        self.communicator: Any = None  # of several processes
        self.history: History = History()
        self.epoch, self.batch, self.steps = 0, 0, 0
        self.trained = False  # whether all batches of this epoch were read
        self.batches: int | None = None
        self.group: Sequence[Batch] = ()
        self.lr: float = float(self.optimizer.param_groups[0]["lr"])
        self.logs: dict[str, float] = {}
        self._stop: str | None = None
        self.timetable: Any = None  # the `Timetable`
        self.interrupted = False  # whether Ctrl-C was pressed
        self.resumed = False
        self.source: Path | None = None  # the file that it continues from
        self.whole = True

    @property
    def stop(self) -> str | None:
        return self._stop

    @stop.setter
    def stop(self, reason: Any) -> None:
        if not isinstance(reason, str):
            reason = "a callback set run.stop" if reason else None
        self._stop = reason or None

    @property
    def is_first(self) -> bool:
        """Whether this is the only process, or the first of several."""
        return self.communicator is None or self.communicator.rank == 0

    def is_interrupted(self, place: str) -> bool:
        """Whether Ctrl-C was pressed or, of several processes, one is to stop; all are at this place."""
        if self.communicator is None:
            return self.interrupted
        flag = self.interrupted or self.stop is not None
        return bool(self.communicator.meet(f"fit: epoch {self.epoch}, {place}", flag))

    @property
    def within(self) -> bool:
        """Whether the present epoch has begun and not ended."""
        return len(self.history) < self.epoch

    def values(self) -> dict[str, float]:
        """The values of this epoch so far; waits for a GPU."""
        return self.meter.values()

    def call(self, event: str) -> None:
        """Call a method of all callbacks that have it."""
        for callback in self.callbacks:
            method = getattr(callback, event, None)
            if callable(method):
                method(self)

    @contextmanager
    def closing(self) -> Iterator[None]:
        """If this block raises an error, all callbacks with `on_exception` get it."""
        try:
            yield
        except BaseException as error:
            for callback in self.callbacks:
                try:
                    getattr(callback, "on_exception", lambda run, error: None)(self, error)
                except Exception as other:  # noqa: BLE001  # the first error is the one to see
                    place = f"{type(callback).__name__}.on_exception"
                    warnings.warn(f"fit: {place} raised {other!r}", RuntimeWarning, stacklevel=2)
            raise

    def parts(self) -> dict[str, Any]:
        """All that changes in training, by name: objects with `state_dict` and `load_state_dict`.

        What this run lacks is None, so that a run that has it does not continue from its files.
        """
        return {
            "model": self.model,
            "optimizer": self.optimizer,
            "history": self.history,
            "schedule": self.schedule,
            "scaler": self.scaler,
            "ema": self.ema,
            "batches": self.train if is_stateful(self.train) else None,
            "run": RunState(self),
        }


def mode_of(where: str, run: Run, name: Any, mode: str | None) -> str:
    """Whether the value `name` is to be small, `'min'`, or large, `'max'`, if there is such a value."""
    modes = run.history.modes
    present = [known for known in modes if run.valid is not None or not known.startswith("valid_")]
    if not isinstance(name, str) or name not in present:
        parts = [known for known in present if isinstance(name, str) and name.startswith(f"{known}_")]
        if not parts:  # such as iou_0, of the metric iou
            raise no_value(where, name, present, run)
        found = mode or modes[parts[0]]
    else:
        found = mode or modes[name]
    if found is None:
        raise ValueError(
            f"{where}: it is not known whether {name} is to be large or small; give mode='max' or mode='min'"
        )
    return found


def no_value(where: str, name: Any, present: Collection[str], run: Run) -> ValueError:
    """The error for the name of a value that there is not."""
    hint = ""
    if isinstance(name, str) and name.startswith("val"):
        meant = f"valid_{name.partition('_')[2]}"
        if meant in present:
            hint = f"; did you mean {meant!r}?"
        elif run.valid is None:
            hint = "; values of validation begin with valid_, and are there if fit has valid="
    return ValueError(f"{where} is {shown(name)}, expected one of {', '.join(present)}{hint}")


def is_stateful(thing: Any) -> bool:
    """Whether a thing has a state that can be saved."""
    return hasattr(thing, "state_dict") and hasattr(thing, "load_state_dict")


class RunState:
    """The state of a run besides its parts: where it is, the sums of this epoch, the callbacks' states."""

    def __init__(self, run: Run) -> None:
        self.run = run

    def state_dict(self) -> dict[str, Any]:
        """Epoch, batch, steps, sums and callbacks."""
        run = self.run
        return {
            "epoch": run.epoch,
            "batch": run.batch,
            "steps": run.steps,
            "trained": run.trained,
            "lr": run.lr,
            "totals": run.meter.totals.state_dict(),
            "timetable": run.timetable.state_dict(),
            "callbacks": [
                {"kind": type(callback).__name__, "state": callback.state_dict()}
                for callback in run.callbacks
                if is_stateful(callback)
            ],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from what `state_dict` returned; nothing changes if it does not fit."""
        run, where = self.run, "fit"
        names = ("epoch", "batch", "steps", "trained", "lr", "totals", "timetable", "callbacks")
        if not isinstance(state, Mapping) or any(name not in state for name in names):
            raise StateDictError(f"{where}: the run's state is {shown(state)}, expected {', '.join(names)}")
        epoch, batch, steps = (to_int(f"{where}: {name}", state[name], 0) for name in names[:3])
        trained, lr = to_bool(f"{where}: trained", state["trained"]), to_float(f"{where}: lr", state["lr"])
        within = len(run.history) < epoch  # the history is loaded already
        if epoch > run.epochs:
            raise StateDictError(
                f"{where}: its run has reached epoch {epoch}, and epochs is {run.epochs}, which counts those "
                f"before too; give epochs={epoch} to load it as it is, or more to continue"
            )
        fits = run.meter.totals.fits(where, state["totals"], run.meter.names, epoch if within else None)
        pairs = _paired(where, run.callbacks, state["callbacks"])
        before = [callback.state_dict() for callback, _ in pairs]
        try:
            for callback, saved in pairs:
                callback.load_state_dict(saved)
            if epoch:  # 0 if a failed load is undone, which restores the schedule itself
                run.timetable.resume(state["timetable"], len(run.history), batch if within else 0)
        except BaseException:
            for (callback, _), saved in zip(pairs, before, strict=True):
                callback.load_state_dict(saved)
            raise
        run.epoch, run.batch, run.steps, run.trained, run.lr = epoch, batch, steps, trained, lr
        run.resumed = True
        if fits:
            run.meter.totals.load_state_dict(state["totals"], run.backend.name)
        else:
            run.meter.totals.reset()


def _paired(where: str, callbacks: Sequence[Any], entries: Any) -> list[tuple[Any, Any]]:
    """The callbacks that have a saved state, and that state: of each kind the first has the first, and so on.

    A callback that was not saved begins anew, and the state of one that is not given is left out.
    """
    if not isinstance(entries, list | tuple) or not all(
        isinstance(entry, Mapping) and isinstance(entry.get("kind"), str) and "state" in entry
        for entry in entries
    ):
        raise StateDictError(
            f"{where}: the callbacks' states are {shown(entries)}, expected kinds and states"
        )
    own: dict[str, list[Any]] = {}
    for callback in callbacks:
        if is_stateful(callback):
            own.setdefault(type(callback).__name__, []).append(callback)
    pairs = []
    for kind, given in own.items():
        saved = [entry["state"] for entry in entries if entry["kind"] == kind]
        if saved and len(saved) != len(given):
            raise StateDictError(
                f"{where}: it was saved with {len(saved)} callbacks of class {kind}, and this run has "
                f"{len(given)}, so it is not known which is which; give all in the same order, or none"
            )
        pairs += list(zip(given, saved, strict=False))
    return pairs


INTERRUPTED = "interrupted"


@contextmanager
def place_restored(data: Any) -> Iterator[None]:
    """After this block the next loop over `data` begins where it would have begun before."""
    if isinstance(data, batches):  # whose state does not say that a loop was left before its end
        place = data._place
        try:
            yield
        finally:
            data._place = place
        return
    state = data.state_dict() if is_stateful(data) else None
    try:
        yield
    finally:
        if state is not None:
            data.load_state_dict(state)


@contextmanager
def modes_restored(model: Layer) -> Iterator[None]:
    """After this block each layer has the mode, training or inference, that it had before."""
    modes = [
        (layer, layer.training if layer._thawed_mode is None else layer._thawed_mode)
        for _, layer in model.named_layers()
    ]
    try:
        yield
    finally:
        for layer, mode in modes:
            if layer._thawed_mode is None:
                layer.training = mode
            else:  # frozen in inference mode
                layer._thawed_mode = mode
