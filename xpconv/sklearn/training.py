"""One training of an estimator's model by `xpconv.train.fit`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from .. import train
from ..backend import active_backend, backend_of, find_backend, use_backend
from ..cores import cores
from ..kernels import dividing_for
from ..layers import Layer
from ..optim import LRScheduler, Optimizer
from ..random import drawing_from
from ..train.checks import checked_callbacks
from ..train.endings import wrong_ending
from .base import LEARNING_RATE
from .building import loss_from, optimizer_from, schedule_from
from .inputs import in_batches
from .state import on_host

Arrays = Sequence[np.ndarray]


@contextmanager
def computing(where: str, backend: str | None, rng: np.random.Generator) -> Iterator[None]:
    """Within this block, and in this thread only, use `backend` (None: the active one) and draw from `rng`.

    Sums are rounded in the same way for any number of threads, so that joblib's workers give the same
    results.
    """
    try:
        name = active_backend().name if backend is None else find_backend(backend, f"{where}: backend").name
    except ValueError as error:
        raise ValueError(f"{where}: backend: {error}") from None
    with use_backend(name), drawing_from(rng), dividing_for(cores()):
        yield


def backend_name(model: Layer) -> str:
    """The name of the backend that has the arrays of the model."""
    return backend_of(*model._state().values()).name


class Plan(NamedTuple):
    """The checked parameters of a training."""

    epochs: int
    max_epochs: int  # `epochs`, unless it is a `partial_fit`
    batch_size: int
    learning_rate: float
    dtype: str
    early_stopping: bool
    verbose: bool


class Past(NamedTuple):
    """The state at the end of a training, for a later `partial_fit`."""

    kind: type[Optimizer]
    optimizer: Any  # its state
    schedule: Any
    settings: Any  # the parameters that they were made with


class Finite:
    """A callback that raises an error if the loss is not finite."""

    def __init__(self, where: str) -> None:
        self.where = where

    def on_epoch_end(self, run: Any) -> None:
        if not math.isfinite(run.logs["loss"]):
            raise ValueError(
                f"{self.where}: the loss is {run.logs['loss']} in epoch {run.epoch}; give a smaller "
                "learning_rate, or scale X (and y), as by StandardScaler in a Pipeline"
            )


def trained(
    estimator: Any,
    plan: Plan,
    model: Layer,
    coder: Any,
    arrays: Arrays,
    held_out: Arrays | None,
    seed: int,
    past: Past | None,
) -> tuple[train.History, Past]:
    """Train `model` on `arrays`: inputs, targets, and perhaps weights; `held_out` are those for validation.

    Args:
        past: the state that an earlier training returned, to continue its optimizer and schedule; or None.
    """
    where = type(estimator).__name__
    loss = loss_from(where, estimator.loss, estimator._of("loss"), coder.default_loss)
    coder.check_loss(where, loss)
    if problem := wrong_ending(model, loss):
        raise ValueError(f"{where}: {problem}")
    loss = coder.joint(loss)
    batches = in_batches(arrays, plan.batch_size, plan.dtype, seed)
    optimizer, schedule = _stepping(estimator, model, plan, len(batches), past)
    given = [] if estimator.callbacks is None else checked_callbacks(where, estimator.callbacks)
    callbacks = [Finite(where), *given]
    valid = None
    if held_out is not None:
        valid = in_batches(held_out, max(plan.batch_size, 128), plan.dtype)
        callbacks.append(train.EarlyStopping(patience=estimator.n_iter_no_change))
    history = train.fit(
        model, loss, optimizer, batches, valid,
        epochs=plan.epochs, metrics=coder.metrics, sample_weight=len(arrays) > 2, schedule=schedule,
        callbacks=callbacks, verbose=plan.verbose,
    )  # fmt: skip
    model.zero_grad()
    states = on_host(optimizer.state_dict()), None if schedule is None else schedule.state_dict()
    return history, Past(type(optimizer), *states, _settings(estimator, plan))


def _settings(estimator: Any, plan: Plan) -> Any:
    """The settings that determine the rates; if they change, `partial_fit` begins the schedule again."""
    schedule, length = estimator.schedule, None
    if schedule is not None:  # its length is computed from the training's
        length = plan.max_epochs
    return plan.learning_rate, estimator._of("optimizer"), schedule, estimator._of("schedule"), length


def _stepping(
    estimator: Any, model: Layer, plan: Plan, steps: int, past: Past | None
) -> tuple[Optimizer, LRScheduler | None]:
    """The optimizer and the schedule, which continue from `past` where the settings are the same.

    An optimizer of the same class continues with its moments, under the present settings. The schedule
    continues if all settings are as before.
    """
    where, nested = type(estimator).__name__, estimator._of("optimizer")
    if "lr" in nested and plan.learning_rate != LEARNING_RATE:
        raise ValueError(
            f"{where}: there are learning_rate={plan.learning_rate} and optimizer__lr={nested['lr']}, two "
            "names of one number; give learning_rate alone"
        )
    optimizer = optimizer_from(where, estimator.optimizer, nested, model, plan.learning_rate)
    past = past if past is not None and past.kind is type(optimizer) else None
    same = past is not None and _equal(past.settings, _settings(estimator, plan))
    if past is not None and not same:
        groups = optimizer.state_dict()["param_groups"]
        optimizer.load_state_dict({**past.optimizer, "param_groups": groups})
    schedule = schedule_from(
        where, estimator.schedule, estimator._of("schedule"), optimizer, plan.max_epochs, steps
    )
    if past is not None and same:
        optimizer.load_state_dict(past.optimizer)
        if schedule is not None:
            schedule.load_state_dict(past.schedule)
            total = getattr(schedule, "total_steps", math.inf)
            if schedule.last_epoch + steps > total:
                raise ValueError(
                    f"{where}: {type(schedule).__name__} has total_steps={total}, of which this call of "
                    f"partial_fit needs {schedule.last_epoch + steps}; begin with a larger "
                    "max_epochs (or schedule__total_steps), or set another schedule"
                )
    return optimizer, schedule


def _equal(a: Any, b: Any) -> bool:
    """Whether settings are equal; two settings with arrays never are."""
    try:
        return bool(a == b)
    except ValueError:
        return False


def append(history: train.History, new: train.History) -> None:
    """Add the epochs of a further training."""
    for row, seconds in zip(new.rows, new.seconds, strict=True):
        history.append({**row, "epoch": len(history) + 1}, seconds)
    history.note_modes(new.modes)
    history.stopped, history.interrupted, history.partial = new.stopped, new.interrupted, new.partial
