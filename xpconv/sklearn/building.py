"""Models, losses, optimizers and schedules from the arguments of an estimator."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np

from .. import losses, models, optim
from ..arguments import shown
from ..arrays import asarray
from ..errors import ShapeError
from ..layers import (
    BatchNorm1d,
    BatchNorm2d,
    Conv1d,
    Dense,
    Dropout,
    Flatten,
    Layer,
    LazyLinear,
    MaxPool1d,
    ReLU,
    Sequential,
)
from ..losses import Loss
from ..models import small_cnn
from ..optim import LRScheduler, Optimizer
from ..train import predict
from .inputs import Shape

NETWORKS = frozenset(vars(models)["__all__"])
TINY = 1e-30  # a deviation of float32 numbers below which a feature counts as constant


def table_model(input_shape: Shape, n_outputs: int, width: int = 128, dropout: float = 0.2) -> Sequential:
    """The default for a table, whose columns have no neighbours: two hidden dense layers."""
    return Sequential(
        Dense(input_shape[0], width), ReLU(),
        Dense(width, width), ReLU(), Dropout(dropout),
        Dense(width, n_outputs),
    )  # fmt: skip


def image_model(input_shape: Shape, n_outputs: int, width: int = 32, dropout: float = 0.2) -> Sequential:
    """The default for images: the convolutions of `xpconv.models.small_cnn`, then a dense layer.

    The dense layer gets their output at each position of the image, where `small_cnn` takes the mean.
    """
    channels, *sides = input_shape
    stages = list(small_cnn(n_outputs, channels, min(sides), width).children().values())[:-4]
    return Sequential(*stages, Flatten(), Dropout(dropout), LazyLinear(n_outputs))


def signal_model(input_shape: Shape, n_outputs: int, width: int = 32, dropout: float = 0.2) -> Sequential:
    """The default for signals `(C, L)`: stages like those of images, along the signal."""
    channels, length = input_shape
    stages: list[Layer] = []
    for out in (width, 2 * width, 4 * width):
        stages += [Conv1d(channels, out, 5, padding=2, bias=False), BatchNorm1d(out), ReLU()]
        if length >= 8:
            stages.append(MaxPool1d(2))
            length //= 2
        channels = out
    return Sequential(*stages, Flatten(), Dropout(dropout), LazyLinear(n_outputs))


DEFAULTS: dict[int, tuple[Callable[..., Sequential], type[Layer]]] = {  # by the axes of a sample
    1: (table_model, BatchNorm1d), 2: (signal_model, BatchNorm1d), 3: (image_model, BatchNorm2d),
}  # fmt: skip


def default_model(
    where: str, X: np.ndarray, n_outputs: int, weight: Any, nested: dict[str, Any]
) -> Sequential:
    """A layer that standardises the inputs by the statistics of `X`, then a small network for their shape."""
    shape = X.shape[1:]
    if len(shape) not in DEFAULTS:
        raise ShapeError(
            f"{where}: model=None has models for tables, signals and images, but a sample of X has shape "
            f"{shape}; give a model"
        )
    build, kind = DEFAULTS[len(shape)]
    network: Sequential = called(f"{where}: model", build, nested, shape, n_outputs)
    norm: Any = kind(shape[0])  # type: ignore[call-arg]  # with running_var 1
    mean, scale = moments(X, weight)
    norm.running_mean[...], norm.weight.data[...] = asarray(mean, "float32"), asarray(1 / scale, "float32")
    return Sequential({"standardize": norm.requires_grad_(False, eval=True), "network": network})


def moments(X: np.ndarray, weight: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """The mean and deviation of each feature or channel, in float64; a constant gets the deviation 1."""
    axes = tuple(range(2, X.ndim))
    first = X.mean(axis=axes, dtype="float64") if axes else X.astype("float64", copy=False)
    mean = np.average(first, axis=0, weights=weight)
    var = np.zeros_like(mean)
    total = len(X) if weight is None else weight.sum()
    for start in range(0, len(X), 1024):  # no float64 copy of all
        part = X[start : start + 1024].astype("float64") - mean.reshape(-1, *(1,) * len(axes))
        squares = (part * part).mean(axis=axes) if axes else part * part
        var += (squares if weight is None else squares * weight[start : start + 1024, None]).sum(
            axis=0
        ) / total
    scale = np.sqrt(var)
    return mean, np.where(scale <= np.maximum(TINY, 1e-6 * abs(mean)), 1.0, scale)


def model_from(where: str, given: Any, nested: dict[str, Any], shape: Shape, n_outputs: int) -> Layer:
    """A copy of the layer `given`, or what the function `given` builds."""
    if isinstance(given, Layer):
        if nested:
            raise ValueError(
                f"{where}: model is a {type(given).__name__}, which takes no parameters, but there is "
                f"{', '.join(f'model__{name}' for name in nested)}; give a function model(input_shape, "
                "n_outputs, …)"
            )
        return copy.deepcopy(given)
    if instead := _builder_of(given):
        raise TypeError(f"{where}: model is {instead}")
    if not callable(given):
        raise TypeError(
            f"{where}: model is {shown(given)}, expected a Layer, a function of (input_shape, n_outputs) "
            "that returns "
            "one, or None"
        )
    model = called(f"{where}: model", given, nested, shape, n_outputs)
    if not isinstance(model, Layer):
        raise TypeError(f"{where}: model: {_name(given)} returned {shown(model)}, expected a Layer")
    return copy.deepcopy(model)  # the function may return the same one again


def _builder_of(given: Any) -> str | None:
    """What to give for a class of layers, or for a network of `xpconv.models`, which take other arguments."""
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
        if x.ndim in (2, 4) and "1d" in str(error).partition(".")[0]:
            fix = f"if X holds signals, give input_shape={x.shape[-2:] if x.ndim == 4 else (1, x.shape[1])}"
            raise ShapeError(f"{where}: model: {error}; {fix}") from error
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
    if given is None and not nested:
        return default()
    if isinstance(given, Loss) and not nested:
        return copy.deepcopy(given)
    maker = type(default()) if given is None else _maker(f"{where}: loss", given, losses, Loss)
    loss = called(f"{where}: loss", maker, nested)
    if not isinstance(loss, Loss):
        raise TypeError(f"{where}: loss: {_name(given)} returned {shown(loss)}, expected a loss of xpconv")
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
    """A schedule from its name, class or a function of the optimizer. Its length is that of the training."""
    if given is None:
        if nested:
            raise ValueError(f"{where}: there is schedule__{next(iter(nested))}, but schedule is None")
        return None
    if isinstance(given, LRScheduler):
        raise TypeError(
            f"{where}: schedule is {type(given).__name__}(…), which belongs to an optimizer; give its "
            "name, its class, "
            "or a function of the optimizer"
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
    """A class of `home` by its name, or `given` itself if it can be called."""
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
    """`function(*args, **nested)`, with an error that names the parameters if it does not take them."""
    try:
        signature = inspect.signature(function)
    except ValueError:  # a built-in without one
        return function(*args, **nested)
    try:
        signature.bind(*args, **nested)
    except TypeError as error:
        raise TypeError(
            f"{where}: {_name(function)}{signature} cannot be called with {len(args)} "
            f"argument{'s' * (len(args) != 1)} "
            f"and {', '.join(nested) or 'no parameters'}: {error}"
        ) from None
    return function(*args, **nested)


def _name(thing: Any) -> str:
    return str(getattr(thing, "__name__", None) or type(thing).__name__)
