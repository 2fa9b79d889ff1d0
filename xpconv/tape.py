"""The tape: what forwards save for their backwards; and `no_grad`, under which they save nothing.

The outermost call of a layer begins a tape. The last line of every forward, `self.keep(y, *saved)`, appends
an entry to it; the layers that this forward has called have appended theirs before. Read from its end, the
tape is the order of backward: the entry of a layer, then those of its children in reverse. The first line of
every backward, `self.recall(grad_output)`, removes the last entry and checks that it is this layer's. The
outermost layer holds the finished tapes of its calls, for each thread, last in, first out. So layers have no
state of a call: a layer may occur twice in a model, and threads may train through one model at the same time.

NumPy and CuPy cannot detect that an array was changed between forward and backward. So that changes do no
harm, the arrays on a finished tape share no memory with arrays that the caller can reach.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ContextDecorator, contextmanager, suppress
from contextvars import ContextVar, Token, copy_context
from inspect import isasyncgenfunction, iscoroutinefunction, isgeneratorfunction
from typing import Any, TypeVar, overload

from .arguments import shown
from .backend import Array, backend_of, is_array_type
from .ops.shape import copy

__all__ = ["no_grad"]

Function = TypeVar("Function", bound=Callable[..., Any])
Observer = Callable[[Any, Callable[..., Any], tuple[Any, ...]], Any]
# Reference to the layer, what it saved (or, for a user's layer, where its part begins), shape, dtype and type
# of its output.
Entry = tuple[Any, Any, Any, Any, Any]

save_mode: ContextVar[bool] = ContextVar("xpconv_save_mode", default=True)
current: ContextVar[Tape | None] = ContextVar("xpconv_tape", default=None)  # of the call that runs
is_separate: ContextVar[bool] = ContextVar("xpconv_separate", default=False)  # see `separate`
observer: ContextVar[Observer | None] = ContextVar("xpconv_observer", default=None)

FEW = 32  # up to this number of layers, all saved arrays are compared with an output
NOT_COPIED = ("_tapes", "_hooks", "_after_backward", "_communicator", "_replaced")  # what copies do not have
LOOK = 4096  # bytes that are copied in the time of one comparison


class NoGrad(ContextDecorator):
    """The result of `no_grad()`: a context manager and decorator, which may be nested in itself."""

    def __init__(self) -> None:
        self._tokens: list[Token[bool]] = []

    def _recreate_cm(self) -> NoGrad:
        """A new object for each call of a decorated function, as several threads may call it."""
        return NoGrad()

    def __enter__(self) -> None:
        before = save_mode.get()
        try:
            self._tokens.append(save_mode.set(False))
        except BaseException:  # Ctrl-C between the two calls
            save_mode.set(before)
            raise

    def __exit__(self, *error: object) -> None:
        try:
            save_mode.reset(self._tokens[-1])
        except BaseException:  # Ctrl-C before or after it
            with suppress(RuntimeError):  # it has been reset
                save_mode.reset(self._tokens[-1])
            raise
        finally:
            self._tokens.pop()

    def __call__(self, function: Function) -> Function:
        if not callable(function):
            raise TypeError(f"no_grad: function is {shown(function)}, expected a function to decorate")
        if isgeneratorfunction(function) or iscoroutinefunction(function) or isasyncgenfunction(function):
            raise TypeError(
                f"no_grad: {shown(function)} is a generator or async, whose body runs later; put `with "
                "xpconv.no_grad():` around the forward in it"
            )
        return super().__call__(function)


@overload
def no_grad() -> NoGrad: ...


@overload
def no_grad(function: Function) -> Function: ...


def no_grad(function: Any = None) -> Any:
    """Within this block a forward saves nothing for a backward.

    Independent of `train()` and `eval()`, as in PyTorch. As a decorator, `@no_grad()` or `@no_grad`, it
    applies to every call of the function.

    If a signal handler raises, as that of Ctrl-C does, in the very moment in which Python begins to end the
    block, the mode stays on, as after any context manager written in Python. A program that continues after
    Ctrl-C can call a function with the block in it by `contextvars.copy_context().run(function)`, which
    restores the mode in any case.

    Args:
        function: the function to decorate; omitted in `with no_grad():` and `@no_grad()`.

    Raises:
        TypeError: `function` is not a function, or its body runs after the call: a generator, or `async`.

    Example:
        >>> import numpy as np, xpconv
        >>> model = xpconv.Dense(2, 1, rng=0)
        >>> with xpconv.no_grad():
        ...     y = model(np.zeros((3, 2), "float32"))
        >>> y.shape
        (3, 1)
        >>> @xpconv.no_grad
        ... def classify(x):
        ...     return model(x).argmax(1)
        >>> classify(np.zeros((3, 2), "float32"))
        array([0, 0, 0])
    """
    return NoGrad() if function is None else NoGrad()(function)


def saving() -> bool:
    """Whether forwards save arrays for backward: outside `no_grad`."""
    return save_mode.get()


def run_saving(save: bool, function: Callable[..., Any], *args: Any) -> Any:
    """`function(*args)`, whose forwards save arrays for backward or not, also within `no_grad`."""
    context = copy_context()
    context.run(save_mode.set, save)
    return context.run(function, *args)


@contextmanager
def observing(function: Observer) -> Iterator[None]:
    """Within this block a layer runs its forward as `function(layer, forward, inputs)`.

    The function returns `forward(*inputs)`, and may look at the layer, its inputs and its output.
    """
    token = observer.set(function)
    try:
        yield
    finally:
        observer.reset(token)


@contextmanager
def separate() -> Iterator[None]:
    """Within this block calls have tapes of their own, also within another call, and are no replays."""
    outside, before = current.get(), is_separate.get()
    try:
        current.set(None)
        is_separate.set(True)
        yield
    finally:
        current.set(outside)
        is_separate.set(before)


def position() -> int:
    """The number of entries on the tape of the call that runs: where the part of a forward begins."""
    tape = current.get()
    return len(tape.entries) if tape is not None else 0


def cut(start: int) -> None:
    """Discard the entries after the first `start` ones."""
    tape = current.get()
    if tape is not None:
        del tape.entries[start:]


class Tape:
    """What the forwards of one outermost call have saved, in their order; see `Layer.record`."""

    open: bool
    __slots__ = ("__weakref__", "changes", "entries", "open", "protected", "reachable", "replay", "unchecked")

    def __init__(self, open: bool = False) -> None:
        self.entries: list[Entry] = []
        self.open = open  # whether the code that runs is a user's, which has the arrays that it passes on
        self.reachable: list[Array] = []  # arrays that users' layers within this call have
        self.protected: int = 0  # the first entries, which share no memory with these arrays
        self.unchecked: bool = False  # whether the next gradient comes from a user's code
        self.changes: int = 0  # number of the parameters' latest change at the end of the forward
        self.replay: Any = None  # the backward of a forward that a GPU has replayed: see `layers.replay`

    def __repr__(self) -> str:
        return f"<Tape of {len(self.entries)} entries>"

    def again(self) -> Tape:
        """A copy of the tape, for another backward of the same forward."""
        tape = Tape()
        tape.entries, tape.changes = list(self.entries), self.changes
        return tape

    def reach(self, value: Any) -> None:
        """Note that a user's code has the arrays in `value`."""
        self.reachable += arrays_in(value)

    def protect(self, start: int, value: Any = ()) -> None:
        """Replace arrays saved since `start` by copies if they share memory with those in `value`.

        The same for arrays that users' layers have.
        """
        reachable = self.reachable + arrays_in(value)
        if not reachable:
            return
        checked: dict[int, tuple[Array, Array]] = {}  # by the id of an array: itself and what to save

        def own(array: Array) -> Array:
            if id(array) not in checked:
                checked[id(array)] = array, copy(array) if shares(array, reachable) else array
            return checked[id(array)][1]

        for i in range(start, len(self.entries)):
            layer, saved, *output = self.entries[i]
            found = _each_array(own, saved)
            if found is not saved:
                self.entries[i] = (layer, found, *output)

    def apart(self, value: Any, start: int = 0) -> Any:
        """`value`, with copies of the arrays that share memory with those saved since `start`."""
        entries = self.entries[start:]
        many = len(entries)
        if many <= FEW:
            saved = {id(array): array for entry in entries for array in arrays_in(entry[1])}
            if not saved:
                return value

        def copied(array: Array) -> Array:
            if many <= FEW:
                others: Iterable[Array] = saved.values()
            elif array.nbytes < many * LOOK:
                return copy(array)
            else:
                others = arrays_in([entry[1] for entry in entries])
            return copy(array) if shares(array, others) else array

        return _each_array(copied, value)


class Tapes(threading.local):
    """The finished tapes of a layer: one list for each thread."""

    def __init__(self) -> None:
        self.tapes: list[Tape] = []


def shares(array: Array, others: Iterable[Array]) -> bool:
    """Whether the memory of `array` overlaps, by its bounds, that of one of `others`."""
    kind, owner = type(array), backend_of(array)
    overlaps = owner.may_share_memory
    owns = getattr(array, "base", array) is None  # arrays without `base` may be views
    for other in others:  # any() of a generator takes half as long again
        if owns and other is not array and getattr(other, "base", other) is None:
            continue  # two arrays that own their memory
        if (type(other) is kind or backend_of(other) is owner) and overlaps(array, other):
            return True
    return False


def _find_nesting(kind: type) -> int | None:
    """0 for types of arrays, 1 for those that may hold some (tuple, list, dict), None for all others."""
    if is_array_type(kind):
        return 0
    return 1 if issubclass(kind, tuple) or kind in (list, dict) else None


_nesting: Callable[[type], int | None] = functools.lru_cache(maxsize=1024)(_find_nesting)


def arrays_in(value: Any) -> list[Array]:
    """All arrays in `value`."""
    found = []
    for item in (
        value.values() if isinstance(value, dict) else value if isinstance(value, tuple | list) else (value,)
    ):
        nesting = _nesting(type(item))
        if nesting == 0:
            found.append(item)
        elif nesting:
            found += arrays_in(item)
    return found


def _each_array(function: Callable[[Array], Array], value: Any) -> Any:
    """`value` with each array replaced by `function(array)`, also in tuples, lists and dicts.

    If nothing changes, the result is the same object.
    """
    kind = type(value)
    nesting = _nesting(kind)
    if nesting is None:
        return value
    if nesting == 0:
        return function(value)
    changed = {}
    for key, item in value.items() if kind is dict else enumerate(value):
        nesting = _nesting(type(item))
        if nesting is not None:
            part = _each_array(function, item) if nesting else function(item)
            if part is not item:
                changed[key] = part
    if not changed:
        return value
    if kind is dict:
        return {**value, **changed}
    parts = [changed.get(i, item) for i, item in enumerate(value)]
    return value._make(parts) if hasattr(value, "_make") else kind(parts)
