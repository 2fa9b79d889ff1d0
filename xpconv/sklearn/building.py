"""Models, losses, optimizers and schedules from the arguments of an estimator."""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np

from .. import losses, models, optim
from ..arguments import shown
from ..errors import ShapeError
from ..layers import Layer
from ..losses import Loss
from ..optim import LRScheduler, Optimizer
from ..train import predict
from .inputs import Shape

NETWORKS = frozenset(vars(models)["__all__"])


def model_from(where: str, given: Any, nested: dict[str, Any], shape: Shape, n_outputs: int) -> Layer:
    """A copy of the layer `given`, or the layer that the function `given` returns."""
    if isinstance(given, Layer):
        if nested:
            raise ValueError(
                f"{where}: model is a {type(given).__name__}, which takes no parameters, but there is "
                f"{', '.join(f'model__{name}' for name in nested)}; give a function model(input_shape, "
                f"n_outputs, …), or remove it: {removal('model', nested)}"
            )
        return copy.deepcopy(given)
    if instead := _builder_of(given):
        raise TypeError(f"{where}: model is {instead}")
    if _is_torch(given):
        raise TypeError(f"{where}: model is {_shown_torch(given)}")
    if not callable(given):
        raise TypeError(
            f"{where}: model is {shown(given)}, expected a Layer, a function of (input_shape, n_outputs) "
            "that returns "
            "one, or None"
        )
    try:
        model = called(f"{where}: model", given, nested, shape, n_outputs)
    except (ValueError, IndexError) as error:
        if len(shape) != 1:
            raise
        raise ShapeError(
            f"{where}: model: {_name(given)} raised {type(error).__name__}: {error}; {_table_hint(shape)}"
        ) from error
    if _is_torch(model):
        raise TypeError(f"{where}: model: {_name(given)} returned {_shown_torch(model)}")
    if not isinstance(model, Layer):
        raise TypeError(f"{where}: model: {_name(given)} returned {shown(model)}, expected a Layer")
    return copy.deepcopy(model)  # the function may return the same one again


def _table_hint(shape: Shape) -> str:
    side = math.isqrt(shape[0])
    images = f"({side}, {side})" if side > 1 and side**2 == shape[0] else "(H, W)"
    return f"X is a table, so input_shape is {shape}; for images give input_shape={images}"


def _is_torch(thing: Any) -> bool:
    """Whether this is a module of PyTorch, or a class of modules; PyTorch is not imported for that."""
    kinds = getattr(thing if isinstance(thing, type) else type(thing), "__mro__", ())
    return any((kind.__module__, kind.__name__) == ("torch.nn.modules.module", "Module") for kind in kinds)


def _shown_torch(thing: Any) -> str:
    name = thing.__name__ if isinstance(thing, type) else type(thing).__name__
    return (
        f"{name}, a PyTorch module; convert it: build the same network of xpconv's layers, whose "
        "load_state_dict(module.state_dict()) takes the module's weights; or give "
        'xpconv.onnx.load("m.onnx", dynamic_batch=True) of the file that torch.onnx.export writes'
    )


def _builder_of(given: Any) -> str | None:
    """For errors: what to give in place of a layer class, or of a network of `xpconv.models`."""
    given = given.func if isinstance(given, partial) else given
    name = given if isinstance(given, str) else getattr(given, "__name__", "")
    network = getattr(models, name) if name in NETWORKS else None
    if network is not None and (given is network or given == name):
        channels = ", in_channels=input_shape[0]" * ("in_channels" in inspect.signature(network).parameters)
        call = f"xpconv.models.{name}(num_classes=n_outputs{channels})"
        what = f"xpconv.models.{name}, whose arguments are others"
    elif isinstance(given, type) and issubclass(given, Layer) and given.__module__.startswith("xpconv."):
        what, call = f"the class {name}", f"xpconv.{name}(…)"
    else:
        return None
    return (
        f"{what}; expected a function of (input_shape, n_outputs), such as "
        f"lambda input_shape, n_outputs: {call}, or a Layer"
    )


def output_axes(where: str, model: Layer, X: np.ndarray, dtype: str, n_outputs: int, meaning: str) -> int:
    """How many axes the model's output has: 2, `(N, n_outputs)`, or 1 for a single value of each sample.

    Lazy layers get their sizes here. A ShapeError is raised if the output has another shape.
    """
    x = X[:2].astype(dtype, copy=False)
    try:
        output = predict(model, x)
    except ShapeError as error:
        along = any("Conv1d" in type(part).__name__ for part in model.modules())
        if x.ndim in (2, 4) and (along or "1d" in str(error).partition(".")[0]):
            raise ShapeError(
                f"{where}: model: {error}; if X holds signals (N, C, L), give input_shape='signals'"
            ) from error
        if x.ndim == 2:
            raise ShapeError(f"{where}: model: {error}; {_table_hint(x.shape[1:])}") from error
        raise
    expected = {(len(x), n_outputs)} | ({(len(x),)} if meaning == "value" and n_outputs == 1 else set())
    if isinstance(output, tuple) or tuple(output.shape) not in expected:
        got = "several outputs" if isinstance(output, tuple) else f"an output of shape {tuple(output.shape)}"
        raise ShapeError(
            f"{where}: the model returns {got} for x of shape {x.shape}, expected {(len(x), n_outputs)}: "
            f"{n_outputs} {meaning}s for each sample; a function model(input_shape, n_outputs) gets "
            f"n_outputs={n_outputs}"
        )
    return len(output.shape)


def loss_from(where: str, given: Any, nested: dict[str, Any], default: Callable[[], Loss]) -> Loss:
    """A loss from its name, class or function, or a copy of the loss `given`."""
    if isinstance(given, Loss) and not nested:
        loss = copy.deepcopy(given)
    else:
        maker = type(default()) if given is None else _maker(f"{where}: loss", given, losses, Loss)
        loss = called(f"{where}: loss", maker, nested)
    if not isinstance(loss, Loss):
        raise TypeError(f"{where}: loss: {_name(given)} returned {shown(loss)}, expected a loss of xpconv")
    if loss.reduction == "none":
        raise ValueError(f"{where}: loss has reduction='none', expected 'mean' or 'sum'")
    return loss


def optimizer_from(where: str, given: Any, nested: dict[str, Any], model: Layer, lr: float) -> Optimizer:
    """An optimizer of the model's parameters, from its name, class or a function of `(params, lr=…)`."""
    if isinstance(given, Optimizer):
        raise TypeError(
            f"{where}: optimizer is {type(given).__name__}(…), which has parameters of its own; give its "
            "name, or the "
            "class"
        )
    maker = _maker(f"{where}: optimizer", given, optim, Optimizer)
    if not list(model.parameters()):
        raise ValueError(f"{where}: the model has no parameters, so there is nothing to learn")
    optimizer = called(f"{where}: optimizer", maker, {"lr": lr, **nested}, model.parameters())
    if not isinstance(optimizer, Optimizer):
        raise TypeError(
            f"{where}: optimizer: {_name(given)} returned {shown(optimizer)}, expected an Optimizer"
        )
    return optimizer


def schedule_from(
    where: str, given: Any, nested: dict[str, Any], optimizer: Optimizer, epochs: int, steps: int
) -> LRScheduler | None:
    """A schedule from its name, class or a function of the optimizer; it lasts as long as the training."""
    if given is None:
        if nested:
            raise ValueError(
                f"{where}: there is schedule__{next(iter(nested))}, but schedule is None; give a schedule, "
                f"or remove it: {removal('schedule', nested)}"
            )
        return None
    if isinstance(given, LRScheduler):
        raise TypeError(
            f"{where}: schedule is {type(given).__name__}(…), which belongs to an optimizer; give its "
            "name, its class, or a function of the optimizer"
        )
    maker = _maker(f"{where}: schedule", given, optim, LRScheduler)
    lengths: dict[str, Any] = {}
    if isinstance(maker, type):
        known = {"T_max": max(epochs, 1), "max_lr": optimizer.lr, "total_steps": max(epochs * steps, 1)}
        taken = inspect.signature(maker).parameters
        lengths = {name: value for name, value in known.items() if name in taken}
    schedule = called(f"{where}: schedule", maker, {**lengths, **nested}, optimizer)
    if not isinstance(schedule, LRScheduler):
        raise TypeError(
            f"{where}: schedule: {_name(given)} returned {shown(schedule)}, expected an LRScheduler"
        )
    return schedule


def _maker(where: str, given: Any, home: ModuleType, kind: type) -> Callable[..., Any]:
    """The class of the module `home` with the name `given`, or `given` itself if it is callable."""
    names = {n.lower(): n for n in home.__all__ if _is_kind(getattr(home, n), kind)}
    if isinstance(given, str):
        plain = given.lower().replace("_", "")
        for name in (plain, f"{plain}loss", f"{plain}lr"):
            if name in names:
                return getattr(home, names[name])
        close = get_close_matches(plain, names, 3) or [n for n in names if len(plain) > 2 and plain in n]
        if close:
            raise ValueError(f"{where} is {given!r}; did you mean {' or '.join(names[n] for n in close)}?")
        raise ValueError(f"{where} is {given!r}, expected one of {', '.join(sorted(names.values()))}")
    if not callable(given) or isinstance(given, kind):
        raise TypeError(
            f"{where} is {shown(given)}, expected the name or the class of {'a' if kind is Loss else 'an'} "
            f"{kind.__name__}, such as {min(names.values())!r}, or a function that makes one"
        )
    return given


def _is_kind(thing: Any, kind: type) -> bool:
    return isinstance(thing, type) and issubclass(thing, kind) and thing is not kind


def called(where: str, function: Callable[..., Any], nested: Mapping[str, Any], *args: Any) -> Any:
    """`function(*args, **nested)`; if the function does not take `nested`, an error names the parameters."""
    try:
        signature = inspect.signature(function)
    except ValueError:  # a built-in function without a signature
        return function(*args, **nested)
    try:
        signature.bind(*args, **nested)
    except TypeError as error:
        wrong = [name for name in nested if name not in signature.parameters]
        fix = f"; to remove it: {removal(where.rpartition(' ')[2], wrong)}" if wrong else ""
        raise TypeError(
            f"{where}: {_name(function)}{signature} cannot be called with {len(args)} "
            f"argument{'s' * (len(args) != 1)} and {', '.join(nested) or 'no parameters'}: {error}{fix}"
        ) from None
    return function(*args, **nested)


def removal(prefix: str, names: Iterable[str]) -> str:
    """For errors: the statement that removes parameters such as `model__width` from an estimator."""
    return f"del {', '.join(f'estimator.{prefix}__{name}' for name in names)}"


def _name(thing: Any) -> str:
    return str(getattr(thing, "__name__", None) or type(thing).__name__)
