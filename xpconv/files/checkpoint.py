"""Checkpoints of a training run: `save` and `load`."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from ..arguments import shown
from ..data.batches import batches
from ..errors import DataFileError, StateDictError
from ..layers import Layer
from ..layers.lazy import Lazy
from ..optim import Optimizer
from ..random import get_rng_state, set_rng_state
from ..signatures import is_ours
from .atomic import to_path
from .container import read, write
from .encoding import Decoder, Encoder

__all__ = ["load", "save"]

P = ParamSpec("P")
R = TypeVar("R")


def named_things(function: Callable[P, R]) -> Callable[P, R]:
    """Let an error say how to call `function(path, **things)`, which is not how PyTorch's are called."""

    @wraps(function)
    def call(*args: P.args, **things: P.kwargs) -> R:
        name = function.__name__
        if len(args) > 1:
            raise TypeError(
                f"{name}: got {len(args)} arguments by position; the path comes first, and each thing has a "
                f"name: xpconv.{name}('run.safetensors', model=model, optimizer=optimizer)"
            )
        return function(*args, **things)

    return call


@named_things
def save(path: str | os.PathLike[str], **things: Any) -> None:
    """Save a training run to one file: models, optimizers, other objects, values, and the random state.

    The file appears at once: it is written to a temporary file beside it, which is renamed when it is on
    disk. If the process is killed at any moment, `path` has its old content or the new one. Its checksum is
    verified by `load`. It is a safetensors file, with all other values as JSON in its metadata (no pickle),
    so loading runs no code of the file. It holds the versions of its format, of xpconv and of NumPy.

    Save after an optimizer's step: gradients are not in the file, nor `training` and `requires_grad`.

    Args:
        path: of the file, by custom with the ending `.safetensors`; an existing one is replaced.
        things: under a name each, an object with `state_dict` and `load_state_dict` (model, optimizer,
            schedule, scaler, averages, `data.batches`, …), an array of any backend, or a value: None, bool,
            int, float, str, NumPy's numbers, and lists, tuples and dicts of these and of arrays.

    The random state, of `manual_seed` and of dropout layers with an `rng` of their own in the models, is
    always included. Needs safetensors (`pip install safetensors`).

    Raises:
        TypeError: a value is of another kind; the message says where in `things` it is.
        ValueError: the path ends as files of another kind do, such as `.pt`.
        OSError: the file cannot be written. `path` is unchanged then.

    Example:
        >>> import os, tempfile, xpconv
        >>> model = xpconv.Dense(3, 2)
        >>> optimizer = xpconv.Adam(model.parameters(), lr=1e-3)
        >>> path = os.path.join(tempfile.mkdtemp(), "run.safetensors")
        >>> xpconv.save(path, model=model, optimizer=optimizer, epoch=3)
        >>> xpconv.load(path, model=model, optimizer=optimizer)
        {'epoch': 3}
    """
    path = to_path("save", path)
    encoder = Encoder("save")
    entries: dict[str, Any] = {}
    for name, thing in things.items():
        if _is_object(thing):
            state = encoder.encode(name, thing.state_dict())
            entries[name] = {"class": type(thing).__name__, "state": state}
        else:
            entries[name] = {"value": encoder.encode(name, thing)}
    models = {name: thing for name, thing in things.items() if isinstance(thing, Layer)}
    layers = {name: get_rng_state(model)["layers"] for name, model in models.items()}
    random = encoder.encode("random", {**get_rng_state(), "layers": layers})
    write("save", path, "checkpoint", {"things": entries, "random": random}, encoder.arrays)


@named_things
def load(path: str | os.PathLike[str], **things: Any) -> dict[str, Any]:
    """Restore objects from a file of `save`; returns everything else that it holds.

    All or nothing: the file is verified and all states are read before anything changes, and if an object
    does not accept its state, those before it get back what they had. If objects are given, the random state
    is restored too, so that training goes on with the same numbers. A file that was saved on one backend
    loads on any other.

    Args:
        path: of the file.
        things: objects under the names that they were saved with; each `load_state_dict` is called, those of
            models first. None means an object that is not used, if None was saved.

    Returns:
        the values in the file by name. An object that was not given is in it as its state dict; arrays that
        were on a GPU are on the active backend.

    Raises:
        DataFileError: (a ValueError) the file is damaged, no checkpoint, or of a newer version.
        StateDictError: (a ValueError) an object does not fit what was saved under its name.
        FileNotFoundError: there is no such file.

    Example:
        >>> import os, tempfile, xpconv
        >>> path = os.path.join(tempfile.mkdtemp(), "run.safetensors")
        >>> xpconv.save(path, model=xpconv.Dense(3, 2, rng=0), epoch=3, lr=float("inf"))
        >>> model = xpconv.Dense(3, 2)
        >>> xpconv.load(path, model=model)
        {'epoch': 3, 'lr': inf}
        >>> bool((model.weight.data == xpconv.Dense(3, 2, rng=0).weight.data).all())
        True
    """
    path = to_path("load", path)
    for name, thing in things.items():
        if thing is not None and not _is_object(thing):
            raise TypeError(
                f"load: {name} is {shown(thing)}, expected an object with state_dict and load_state_dict, "
                f"such as a model; values are returned: xpconv.load(path)[{name!r}]"
            )
    where = f"load: {path!r}"
    content, arrays = read("load", path, "checkpoint")
    decoder = Decoder(where, arrays)
    entries, random = content.get("things"), decoder.decode(content.get("random"))
    if not isinstance(entries, dict) or not isinstance(random, dict):
        raise DataFileError(f"{where} is damaged: it has no things or no random state")
    found = {name: _entry(f"{where}: {name}", entry, decoder) for name, entry in entries.items()}
    for name, thing in things.items():
        _check_thing(where, name, thing, found)
    objects = {name: thing for name, thing in things.items() if thing is not None}
    _restore(where, objects, {name: found[name][1] for name in objects}, random)
    return {name: value for name, (_, value) in found.items() if name not in things}


def _is_object(thing: Any) -> bool:
    return not isinstance(thing, type) and all(
        callable(getattr(thing, name, None)) for name in ("state_dict", "load_state_dict")
    )


def _entry(where: str, entry: Any, decoder: Decoder) -> tuple[str | None, Any]:
    """The class, None for a plain value, and the state or value."""
    if isinstance(entry, dict) and list(entry) == ["value"]:
        return None, decoder.decode(entry["value"])
    if not (
        isinstance(entry, dict) and list(entry) == ["class", "state"] and isinstance(entry["class"], str)
    ):
        raise DataFileError(f"{where} is damaged: {shown(entry)}")
    return entry["class"], decoder.decode(entry["state"])


def _check_thing(where: str, name: str, thing: Any, found: Mapping[str, tuple[str | None, Any]]) -> None:
    """Raise an error if the file has nothing for the object `thing`, or something else."""
    if name not in found:
        raise StateDictError(f"{where} has nothing called {name!r}; it has {', '.join(found) or 'nothing'}")
    kind, value = found[name]
    given = "None" if thing is None else f"of class {type(thing).__name__}"
    if kind is None and (thing is not None or value is not None):
        raise StateDictError(f"{where}: {name} is the value {shown(value)}, but {name} given is {given}")
    if kind is not None and not isinstance(thing, Layer) and type(thing).__name__ != kind:
        raise StateDictError(f"{where}: {name} is of class {kind}, but {name} given is {given}")


def _restore(where: str, things: dict[str, Any], states: dict[str, Any], random: dict[str, Any]) -> None:
    """Load all states and the random state; on an error put back what was there."""
    if not things:
        return
    layers = random.pop("layers", None)
    models = {name: thing for name, thing in things.items() if isinstance(thing, Layer)}
    order = sorted(things, key=lambda name: (name not in models, not isinstance(things[name], Optimizer)))
    back = [_way_back(things[name]) for name in order]
    back += [_random_back(model) for model in [None, *models.values()]]
    name = ""
    try:
        for name in order:
            things[name].load_state_dict(states[name])
        for name in models:
            own = layers.get(name, {}) if isinstance(layers, dict) else {}
            set_rng_state({**random, "layers": own}, models[name])
        if not models:
            name = "random state"
            set_rng_state(random)
    except BaseException as error:
        with ExitStack() as stack:  # calls all, also if one fails
            for undo in back:
                stack.callback(undo)
        if isinstance(error, ValueError | TypeError | LookupError | AttributeError | RuntimeError):
            raise StateDictError(
                f"{where}: {name} does not fit what was saved; nothing was loaded: {error}"
            ) from error
        raise


def _way_back(thing: Any) -> Callable[[], None]:
    """A function that restores the present state of `thing`."""
    state = thing.state_dict()
    if isinstance(thing, batches):  # whose state does not say that a loop was left before its end
        before = thing._seed, thing._place

        def back() -> None:
            thing._seed, thing._place = before

        return back
    if not is_ours(type(thing)):
        state = copy.deepcopy(state)
    if not isinstance(thing, Layer):
        return lambda: thing.load_state_dict(state)
    lazy = [(layer, copy.copy(layer)) for layer in thing.modules() if isinstance(layer, Lazy)]

    def undo() -> None:
        for layer, before in lazy:  # its first state dict has made its parameters
            layer._turn_into(before)
        thing.load_state_dict(state)

    return undo


def _random_back(model: Layer | None) -> Callable[[], None]:
    state = get_rng_state(model)
    return lambda: set_rng_state(state, model)
