"""Random numbers: drawn on the host by NumPy's `Generator`, so that a seed gives the same on every backend.

The exception is dropout on a GPU, whose masks are drawn there: see `Source`.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from threading import Lock
from typing import Any, TypeAlias

import numpy as np

from .arguments import shown, to_int
from .arrays import asarray, asnumpy
from .backend import backend_of

__all__ = ["get_rng_state", "manual_seed", "set_rng_state"]

RNG: TypeAlias = "np.random.Generator | int | None"


class Source:
    """A stream of random numbers: NumPy's `generator`, and on each device a counter seeded by it.

    `counters` has the counters by the name of the array module, and of the device if it is not the first
    (`"cupy:1"`); `kernels` makes and advances them, under `lock`. `streams` has the stream of the latest draw
    from each. `pending` has the values of counters from a loaded state that no draw has used yet.
    """

    def __init__(self, generator: np.random.Generator) -> None:
        self.generator = generator
        self.counters: dict[str, Any] = {}
        self.pending: dict[str, list[int]] = {}
        self.streams: dict[str, Any] = {}
        self.lock = Lock()

    def state(self) -> dict[str, Any]:
        """The state that the next draws depend on; waits for a GPU if numbers were drawn there."""
        counters = {name: [int(n) for n in asnumpy(counter)] for name, counter in self.counters.items()}
        generator = copy.deepcopy(self.generator.bit_generator.state)
        return {"generator": generator, "counters": {**copy.deepcopy(self.pending), **counters}}

    def __getstate__(self) -> dict[str, Any]:
        """For copies and pickles, which have the counters as numbers: they open without a device as well."""
        return {"generator": self.generator, "pending": self.state()["counters"]}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["generator"])  # type: ignore[misc]
        self.pending = state["pending"]

    def set_state(self, where: str, state: Mapping[str, Any]) -> None:
        """Continue from what `state` returned; errors begin with `where`."""
        generator, counters = checked_state(where, state, self.generator)
        self.generator.bit_generator.state = generator
        for name, counter in list(self.counters.items()):
            if name in counters:  # in place, as a captured step reads this array
                counter[...] = asarray(np.array(counters[name], "uint64"), backend=backend_of(counter).name)
            else:
                del self.counters[name]
        self.pending = {name: values for name, values in counters.items() if name not in self.counters}


def new_key(generator: np.random.Generator) -> int:
    """The key of a new counter on a device."""
    return int(generator.integers(1 << 63, size=2, dtype="uint64")[0])


_global: Source | None = None  # made at the first use, as numpy.random is slow to import
_own: ContextVar[Source | None] = ContextVar("xpconv_random", default=None)  # that of `drawing_from`


def manual_seed(seed: int) -> None:
    """Seed the generator that layers and initialisers use when they get no `rng` of their own.

    Example:
        >>> import xpconv
        >>> xpconv.manual_seed(0)
        >>> a = xpconv.Dense(2, 2)
        >>> xpconv.manual_seed(0)
        >>> bool((xpconv.Dense(2, 2).weight.data == a.weight.data).all())
        True
    """
    global _global
    source = Source(np.random.default_rng(to_int("manual_seed: seed", seed, 0)))
    if _own.get() is None:
        _global = source
    else:
        _own.set(source)


@contextmanager
def drawing_from(generator: np.random.Generator) -> Iterator[None]:
    """Within this block, in this thread or task only, `generator` takes the place of that of `manual_seed`.

    A `manual_seed` within the block ends with it, too.
    """
    token = _own.set(Source(generator))
    try:
        yield
    finally:
        _own.reset(token)


def get_rng_state(model: Any = None) -> dict[str, Any]:
    """The state of the generator of `manual_seed`, and of dropout's counters on each GPU.

    `set_rng_state(state)` repeats the same draws, also in another process. For NumPy's usual generators the
    state consists of dicts, lists, strings and ints, which JSON can save. Reading a counter waits for its
    GPU.

    Args:
        model: a layer whose dropout layers with an `rng` of their own are included.

    Returns:
        `{"generator": …, "counters": …}`; with a model also `"layers"`, the states of its layers by name.

    Raises:
        TypeError: `model` is not a layer.

    Example:
        >>> import xpconv
        >>> xpconv.manual_seed(0)
        >>> state = xpconv.get_rng_state()
        >>> a = xpconv.Dense(2, 2)
        >>> xpconv.set_rng_state(state)
        >>> bool((xpconv.Dense(2, 2).weight.data == a.weight.data).all())
        True
    """
    state = global_source().state()
    if model is not None:
        state["layers"] = {name: source.state() for name, source in _sources("get_rng_state", model).items()}
    return state


def set_rng_state(state: Mapping[str, Any], model: Any = None) -> None:
    """Continue from what `get_rng_state` returned.

    Args:
        state: from `get_rng_state()`, or from `get_rng_state(model)`.
        model: a layer like the one in `get_rng_state(model)`; its dropout layers continue as well.

    Raises:
        TypeError: `state` is not such a mapping, or `model` not a layer.
        ValueError: the state is of another kind of generator, or of other dropout layers. Nothing has
            changed then.

    Example:
        >>> import numpy as np, xpconv
        >>> dropout, x = xpconv.Dropout(0.5, rng=0), np.ones(8)
        >>> state = xpconv.get_rng_state(dropout)
        >>> y = dropout(x)
        >>> xpconv.set_rng_state(state, dropout)
        >>> bool((dropout(x) == y).all())
        True
    """
    where, whole = "set_rng_state", global_source()
    checked_state(where, state, whole.generator)
    sources = {} if model is None else _sources(where, model)
    states = state.get("layers", {}) if model is not None else {}
    if not isinstance(states, Mapping) or set(states) != set(sources):
        raise ValueError(
            f"{where}: state has dropout layers {sorted(states)}, but in the model those with an rng of "
            f"their own are {sorted(sources)}; save the state with get_rng_state(model)"
        )
    for name, source in sources.items():
        checked_state(f"{where}: layer {name}", states[name], source.generator)
    whole.set_state(where, state)
    for name, source in sources.items():
        source.set_state(f"{where}: layer {name}", states[name])


def checked_state(
    where: str, state: Any, generator: np.random.Generator
) -> tuple[dict[str, Any], dict[str, list[int]]]:
    """The generator's state and the counters in `state`, checked to be valid for `generator`."""
    if not isinstance(state, Mapping) or not {"generator", "counters"} <= set(state):
        raise TypeError(f"{where}: state is {_short(state)}, expected what xpconv.get_rng_state() gives")
    own, given = generator.bit_generator, state["generator"]
    kind = given.get("bit_generator") if isinstance(given, Mapping) else None
    if kind != type(own).__name__:
        raise ValueError(f"{where}: state is of a {kind} generator, but this one is a {type(own).__name__}")
    try:
        type(own)().state = given
        counters = {
            str(name): [to_int(where, n, 0) for n in values] for name, values in state["counters"].items()
        }
    except (TypeError, ValueError, KeyError, AttributeError, OverflowError) as error:
        raise ValueError(f"{where}: state is damaged ({error})") from error
    return copy.deepcopy(given), counters


def _sources(where: str, model: Any) -> dict[str, Source]:
    """The sources of the layers that have their own, by the layers' names."""
    if isinstance(model, type) or not hasattr(model, "named_layers"):
        raise TypeError(f"{where}: model is {_short(model)}, expected a Layer")
    found = {name: vars(layer).get("_source") for name, layer in model.named_layers()}
    return {name: source for name, source in found.items() if isinstance(source, Source)}


def _short(value: object) -> str:
    return repr(value) if value is None or isinstance(value, int | str) else type(value).__name__


def default_rng(rng: RNG = None, where: str = "", name: str = "rng") -> np.random.Generator:
    """`rng` as a Generator: itself, one seeded with an int, or for None the global one of `manual_seed`.

    Errors name the function or layer `where` and its argument `name`.
    """
    if rng is None:
        return global_source().generator
    if isinstance(rng, np.random.Generator):
        return rng
    argument = f"{where}: {name}" if where else name
    try:
        seed = to_int(argument, rng, 0)
    except TypeError:
        raise TypeError(
            f"{argument} is {shown(rng)}, expected a seed (an int), a numpy.random.Generator or None"
        ) from None
    return np.random.default_rng(seed)


def global_source() -> Source:
    """The source that `manual_seed` seeds, or that of `drawing_from`."""
    global _global
    own = _own.get()
    if own is not None:
        return own
    if _global is None:
        _global = Source(np.random.default_rng())
    return _global
