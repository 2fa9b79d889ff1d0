"""The arguments of `fit`, checked before anything changes."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from inspect import Parameter, signature
from typing import Any

from ..arguments import shown, to_float, to_int
from ..layers.layer import Layer
from ..optim import ExponentialMovingAverage, GradScaler, LRScheduler, Optimizer
from .endings import wrong_ending
from .meter import Meter
from .metric_names import to_metrics
from .objective import (
    Objective,
    backend_of_model,
    check_inputs,
    checked_data,
    checked_model,
    length_of,
    named,
)
from .run import Run, is_stateful, place_restored
from .step import Step

EVENTS = (
    "on_fit_begin", "on_epoch_begin", "on_batch_begin", "on_batch_end", "on_epoch_end", "on_interrupt",
    "on_exception", "on_fit_end",
)  # fmt: skip
FOREIGN = ("epoch", "batch", "logs", "step", "trainer", "model", "net", "learn")  # of other libraries
KINDS: dict[str, type] = {"schedule": LRScheduler, "scaler": GradScaler, "ema": ExponentialMovingAverage}


def checked_run(where: str, model: Any, loss: Any, optimizer: Any, **given: Any) -> Run:
    """A run of these parts; `given` has the other arguments of `fit` by name."""
    model = checked_model(where, model)
    if loss is None:
        raise TypeError(f"{where}: loss is None, expected a loss such as xpconv.SoftmaxCrossEntropyLoss()")
    objective = Objective(where, loss, given["inputs"], given["sample_weight"])
    check_inputs(where, model, objective.inputs, f"inputs is {objective.inputs}")
    if problem := wrong_ending(model, loss):
        warnings.warn(f"{where}: {problem}", RuntimeWarning, stacklevel=4)
    _check_optimizer(where, model, optimizer)
    epochs = to_int(f"{where}: epochs", given["epochs"], 0)
    train, valid = checked_data(where, "train", given["train"], epochs), given["valid"]
    if length_of(train) == 0:
        raise ValueError(f"{where}: train has no batches")
    if valid is not None:
        valid = checked_data(where, "valid", valid, epochs)
        _check_structure(objective, valid, model)
    parts = {name: given[name] for name in KINDS}
    for name, part in parts.items():
        if part is not None and not isinstance(part, KINDS[name]):
            raise TypeError(f"{where}: {name} is {shown(part)}, expected a {KINDS[name].__name__} or None")
    if parts["schedule"] is not None and parts["schedule"].optimizer is not optimizer:
        raise ValueError(f"{where}: schedule is that of another optimizer; make it with this one")
    if parts["ema"] is not None and parts["ema"].model is not model:
        raise ValueError(f"{where}: ema has the averages of another model; make it with this one")
    clip, backend = given["clip_grad_norm"], backend_of_model(model)
    clip = None if clip is None else to_float(f"{where}: clip_grad_norm", clip, 0)
    meter = Meter(objective, to_metrics(where, given["metrics"], loss), backend, clip is not None)
    callbacks = checked_callbacks(where, given["callbacks"])
    run = Run(
        model, backend, meter, epochs,
        optimizer=optimizer, train=train, valid=valid, callbacks=callbacks, **parts,
    )  # fmt: skip
    run.step = Step(model, meter, optimizer, backend, clip, parts["scaler"], parts["ema"])
    run.history.note_modes(meter.modes)
    if valid is not None:
        run.history.note_modes(meter.modes, "valid_")
    return run


def _check_optimizer(where: str, model: Layer, optimizer: Any) -> None:
    if isinstance(optimizer, type):
        name = optimizer.__name__
        raise TypeError(f"{where}: optimizer is the class {name}; give {name}(model.parameters())")
    if not isinstance(optimizer, Optimizer):
        raise TypeError(
            f"{where}: optimizer is {named(optimizer)}, expected an optimizer such as "
            f"xpconv.Adam(model.parameters()); the order is {where}(model, loss, optimizer, train)"
        )
    own = {id(parameter) for parameter in model.parameters()}
    if not any(id(p) in own for group in optimizer.param_groups for p in group["params"]):
        raise ValueError(
            f"{where}: none of the optimizer's parameters belongs to the model, so nothing would be trained; "
            f"make it again with {type(optimizer).__name__}(model.parameters()), as after replacing layers "
            "or copying the model alone"
        )


def _check_structure(objective: Objective, valid: Any, model: Layer) -> None:
    """Look at the first batch of `valid`, if that changes nothing."""
    if not is_stateful(valid) and not isinstance(valid, list | tuple):
        return
    with place_restored(valid):
        for batch in valid:
            objective.checked(batch, backend_of_model(model), "valid")
            break


def checked_callbacks(where: str, callbacks: Any) -> list[Any]:
    """The callbacks, those last that save what the others have changed."""
    if any(callable(getattr(callbacks, event, None)) for event in EVENTS):
        callbacks = [callbacks]
    if isinstance(callbacks, str) or not isinstance(callbacks, Iterable):
        raise TypeError(f"{where}: callbacks is {shown(callbacks)}, expected a list of callbacks")
    found = list(callbacks)
    for callback in found:
        if isinstance(callback, type):
            name = callback.__name__
            raise TypeError(f"{where}: callbacks has the class {name}; give {name}(…)")
        names = [name for name in dir(callback) if name.startswith("on_")]
        events = [name for name in names if callable(getattr(callback, name, None))]
        if not events or not set(events) <= set(EVENTS):
            unknown = ", ".join(name for name in events if name not in EVENTS)
            has = f" with {unknown}, which fit does not call" if unknown else ""
            raise TypeError(
                f"{where}: callbacks has {shown(callback)}{has}, expected an object with some of the methods "
                f"{', '.join(EVENTS)}"
            )
        for event in events:
            _check_event(where, callback, event)
    return sorted(found, key=lambda callback: bool(getattr(callback, "after_others", False)))


def _check_event(where: str, callback: Any, event: str) -> None:
    """Raise an error if a method of a callback does not take what `fit` gives it: the run."""
    expected = ["run", "error"] if event == "on_exception" else ["run"]
    try:
        found = signature(getattr(callback, event))
    except (TypeError, ValueError):  # a function of C
        return
    first = next((p.name for p in found.parameters.values() if p.kind != Parameter.VAR_KEYWORD), "")
    try:
        found.bind(*expected)
        fits = first not in FOREIGN
    except TypeError:
        fits = False
    if not fits:
        raise TypeError(
            f"{where}: callbacks: {type(callback).__name__}.{event} takes {found}, expected "
            f"({', '.join(expected)}); run.epoch, run.batch, run.logs and run.model are what callbacks of "
            "other libraries get"
        )
