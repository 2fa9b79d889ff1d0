"""What a forward keeps for its backward, and `no_grad`, under which it keeps nothing.

Neither NumPy nor CuPy can tell that an array was changed between forward and backward. So a change does no
harm: what is kept shares no memory with what the caller of the forward has, its inputs and its output.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import ContextDecorator, contextmanager
from contextvars import ContextVar, Token
from inspect import isasyncgenfunction, iscoroutinefunction, isgeneratorfunction
from itertools import count
from numbers import Real
from typing import Any, ClassVar, TypeVar, overload

from ..backend import Array, backend_of, is_array_type
from ..errors import BackendError, BackwardError, DTypeError, ShapeError
from ..geometry import shown, to_bool
from ..ops.shape import copy
from ..signatures import public_errors

Function = TypeVar("Function", bound=Callable[..., Any])

_keeping: ContextVar[bool] = ContextVar("xpconv_keeping", default=True)
_calls: ContextVar[dict[int, Any] | None] = ContextVar("xpconv_calls", default=None)
_door: ContextVar[_Door | None] = ContextVar("xpconv_door", default=None)
_serial = count()  # orders all forwards, so that a failed one can be undone exactly

MANY_PENDING = 32
FEW, LOOK = 32, 4096  # arrays that are looked at in any case; bytes that are copied as fast as one more is


class NoGrad(ContextDecorator):
    """What `no_grad()` gives: a block, or a decorator; it may be entered again within itself."""

    def __init__(self) -> None:
        self._tokens: list[Token[bool]] = []

    def _recreate_cm(self) -> NoGrad:
        """For each call of a decorated function, as several threads may be within."""
        return NoGrad()

    def __enter__(self) -> None:
        self._tokens.append(_keeping.set(False))

    def __exit__(self, *error: object) -> None:
        _keeping.reset(self._tokens.pop())

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
    """Within this block a forward keeps nothing for a backward.

    Independent of `train()` and `eval()`, as in PyTorch. As a decorator, `@no_grad()` or `@no_grad`, it makes
    such a block of a function.

    Args:
        function: what to decorate; without it, a block begins: `with no_grad():`.

    Raises:
        TypeError: `function` is none, or one whose body runs after the call: a generator, or `async`.

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


@contextmanager
def calls() -> Iterator[dict[int, Any]]:
    """The layers that are called within this block, each once, by its id."""
    found: dict[int, Any] = {}
    token = _calls.set(found)
    try:
        yield found
    finally:
        _calls.reset(token)


def called(layer: Any) -> None:
    """Tell `calls`."""
    found = _calls.get()
    if found is not None:
        found[id(layer)] = layer


def keeping() -> bool:
    """Whether forwards keep what backward needs: outside `no_grad`."""
    return _keeping.get()


class _Door:
    """One call of a layer or loss by its user: what the user can reach, and what is kept within the call.

    Where the two would share memory there is a copy in the end, so that each may change.
    """

    __slots__ = ("copies", "entries", "foreign", "kept", "reachable")

    def __init__(self, inputs: tuple[Any, ...], foreign: bool) -> None:
        self.foreign = foreign  # whether the code within is a user's
        self.reachable: list[Array] = []
        self.entries: list[_Kept] = []  # new since the last `settle`
        self.kept: dict[int, Array] = {}  # all arrays of older ones, by id
        self.copies: dict[int, tuple[Array, Array]] = {}  # by the id of what they were made of, and that
        self.let_in(inputs)

    def let_in(self, value: Any) -> None:
        """From now on the user can reach the arrays in `value`."""
        _each_array(self._reach, value)

    def let_out(self, value: Any) -> Any:
        """What to give to the user in place of `value`: nothing that shares memory with what is kept."""
        self.settle()
        return _each_array(self._apart, value)

    def settle(self) -> None:
        """Keep copies of what the user can reach."""
        for entry in self.entries:
            for item in entry.saved:  # most often all are arrays that nobody else has
                nesting = _nesting(type(item))
                if nesting == 0 and id(item) not in self.copies and not _shares(item, self.reachable):
                    self.kept[id(item)] = item
                elif nesting is not None:
                    entry.saved = _each_array(self._own, entry.saved)
                    break
        self.entries.clear()

    def _reach(self, array: Array) -> Array:
        self.reachable.append(array)
        return array

    def _own(self, array: Array) -> Array:
        number = id(array)
        if number in self.kept:
            return array
        if number in self.copies:
            return self.copies[number][1]
        if _shares(array, self.reachable):
            copied = copy(array)
            self.copies[number] = array, copied
            array = copied
        self.kept[id(array)] = array
        return array

    def _apart(self, array: Array) -> Array:
        many = len(self.kept)
        if (many > FEW and array.nbytes < many * LOOK) or _shares(array, self.kept.values()):
            return copy(array)
        return array


def at_door(
    forward: Callable[..., Any], *inputs: Any, foreign: bool = False, copy_first: bool = False
) -> Any:
    """`forward(*inputs)` for its user, who can reach `inputs` and the result.

    With `copy_first` it works on copies of the inputs: for models, whose first layer keeps its input as a
    rule, as a copy that was just made is in the cache.
    """
    if not _keeping.get():
        return forward(*inputs)
    if copy_first:
        inputs = _each_array(copy, inputs)
    door = _Door(() if copy_first else inputs, foreign)
    token = _door.set(door)
    try:
        return door.let_out(forward(*inputs))
    finally:
        _door.reset(token)


def out_and_in(forward: Callable[..., Any], *inputs: Any) -> Any:
    """`forward(*inputs)`, a user's, from within a call: the user can reach what goes there and comes back."""
    outer = _door.get()
    if outer is None or not _keeping.get():
        return forward(*inputs)
    inputs = outer.let_out(inputs)
    y = forward(*inputs)
    outer.let_in((inputs, y))
    return y


def is_inside() -> bool:
    """Whether this is within a call of a layer or loss that keeps what backward needs."""
    return _door.get() is not None or not _keeping.get()


def _shares(array: Array, others: Iterable[Array]) -> bool:
    """Whether the memory of `array` overlaps, by its bounds, that of one of `others`."""
    kind, owner = type(array), backend_of(array)
    overlaps = owner.xp.may_share_memory
    owns = array.base is None
    for other in others:  # any() of a generator takes half as long again
        if owns and other is not array and other.base is None:
            continue  # each has memory of its own
        if (type(other) is kind or backend_of(other) is owner) and overlaps(array, other):
            return True
    return False


def _told_nesting(kind: type) -> int | None:
    """0 for arrays, 1 for what may hold some, None for all else."""
    if is_array_type(kind):
        return 0
    return 1 if issubclass(kind, tuple) or kind in (list, dict) else None


_nesting: Callable[[type], int | None] = functools.lru_cache(maxsize=1024)(_told_nesting)


def _each_array(function: Callable[[Array], Array], value: Any) -> Any:
    """`value` with `function(array)` in place of each array, also of those in tuples, lists and dicts.

    Where nothing changes it is the same object.
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


class _Kept:
    """What one forward has left for its backward, and what `grad_output` must be like."""

    __slots__ = ("backend", "dtype", "saved", "serial", "shape")

    def __init__(self, serial: int, y: Array, saved: tuple[Any, ...]) -> None:
        self.serial, self.saved = serial, saved
        self.shape: tuple[int, ...] = y.shape
        self.dtype, self.backend = y.dtype, backend_of(y).name


class Memory:
    """Base of layers and losses: a stack of what each forward kept, last in, first out.

    So one layer may stand twice in a model, and memory goes as backward runs.
    """

    _advice: ClassVar[str] = ""  # where `backward` gets the loss, or nothing
    _has_our_forward: ClassVar[bool] = True  # which users' code may call past the door: `layer.forward(x)`

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        public_errors(cls)

    def keep(self, y: Array, *saved: Any) -> Array:
        """Remember `saved` for the backward of this output, and return `y`; call it last in `forward`.

        The caller may change the inputs and `y` before backward, so what shares memory with them is copied,
        also in tuples, lists and dicts. Arrays in attributes of the layer are not.
        """
        if _keeping.get():
            entry = _Kept(next(_serial), y, saved)
            door = _door.get()
            if door is not None and not (door.foreign and self._has_our_forward):
                door.entries.append(entry)
            else:  # called past the door, `layer.forward(x)`: any of it may be in reach
                entry.saved = _each_array(copy, saved)
            stack = self._stack()
            stack.append(entry)
            if len(stack) == MANY_PENDING:
                warnings.warn(
                    f"{type(self).__name__}: {MANY_PENDING} forwards wait for their backward and hold "
                    "memory; wrap inference in `with xpconv.no_grad():`, or call forget()",
                    RuntimeWarning,
                    stacklevel=2,
                )
        return y

    def recall(self, grad_output: Array, input_grad: bool = True) -> tuple[Any, ...]:
        """What the latest forward kept; call it first in `backward`, with the arguments of that.

        Raises:
            TypeError: `input_grad` is not True or False.
            BackwardError: no forward is left to go back through.
            ShapeError, DTypeError, BackendError: `grad_output` does not fit that forward's output;
                nothing is lost, and backward may be called again with the right one.
        """
        name = type(self).__name__
        if not isinstance(input_grad, bool):
            to_bool(f"{name}.backward: input_grad", input_grad)
        if grad_output is None and self._advice:
            raise BackendError(f"{name}.backward: grad_output is missing or None; {self._advice}")
        kept = self._latest()
        try:
            backend = backend_of(grad_output).name
        except BackendError as error:
            if self._advice and isinstance(grad_output, Real):
                raise BackendError(f"{name}.backward: grad_output is a number; {self._advice}") from None
            raise BackendError(f"{name}.backward: grad_output: {error}") from None
        if backend != kept.backend:
            raise BackendError(
                f"{name}.backward: grad_output is {backend} but the output was {kept.backend}; "
                f"call xpconv.asarray(grad_output, backend={kept.backend!r})"
            )
        if grad_output.shape != kept.shape:
            raise ShapeError(
                f"{name}.backward: grad_output has shape {grad_output.shape}, "
                f"expected {kept.shape}, the shape of the output"
                + (f"; {self._advice}" if self._advice and grad_output.shape == () else "")
            )
        if grad_output.dtype != kept.dtype:
            raise DTypeError(
                f"{name}.backward: grad_output is {grad_output.dtype}, expected {kept.dtype}, the dtype of "
                f"the output; use grad_output.astype('{kept.dtype}')"
            )
        return self._stack().pop().saved

    def _latest(self) -> _Kept:
        stack = self._stack()
        if not stack:
            raise BackwardError(
                f"{type(self).__name__}.backward: no forward to go back through; each backward takes one "
                "forward, made outside no_grad()"
                + ("" if self._has_our_forward else ", which ends with `return self.keep(y, …)`")
            )
        return stack[-1]

    def forget(self) -> None:
        """Drop all that forwards have kept and no backward has used.

        Example:
            >>> import numpy as np, xpconv
            >>> layer = xpconv.ReLU()
            >>> _ = layer(np.ones(3, "float32"))
            >>> layer.forget()
        """
        self._forget_since(-1)

    def __getstate__(self) -> dict[str, Any]:
        """What copies and files hold: everything but pending forwards."""
        return {name: value for name, value in vars(self).items() if name != "_kept"}

    def _forget_since(self, serial: int) -> None:
        stack = self._stack()
        while stack and stack[-1].serial > serial:
            stack.pop()

    def _stack(self) -> list[_Kept]:
        stack: list[_Kept] = self.__dict__.setdefault("_kept", [])
        return stack


def next_serial() -> int:
    """A mark in time: what is kept after it has a larger serial."""
    return next(_serial)
