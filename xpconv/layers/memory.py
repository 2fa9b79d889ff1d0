"""The arrays that a forward saves for its backward, and `no_grad`, under which it saves none.

NumPy and CuPy cannot detect that an array was changed between forward and backward. So that changes do no
harm, saved arrays share no memory with the inputs and the output, which the caller can change.
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

from ..arguments import shown, to_bool
from ..backend import Array, backend_of, is_array_type
from ..errors import BackendError, BackwardError, DTypeError, ShapeError
from ..ops.shape import copy
from ..signatures import public_errors

__all__ = ["no_grad"]

Function = TypeVar("Function", bound=Callable[..., Any])

_keeping: ContextVar[bool] = ContextVar("xpconv_keeping", default=True)
_calls: ContextVar[dict[int, Any] | None] = ContextVar("xpconv_calls", default=None)
_door: ContextVar[_Door | None] = ContextVar("xpconv_door", default=None)
_serial = count()  # orders all forwards, so that a failed one can be undone exactly

MANY_PENDING = 32
FEW = 32  # up to so many saved arrays are always compared with an output
LOOK = 4096  # bytes that are copied in the time of one comparison


class NoGrad(ContextDecorator):
    """The result of `no_grad()`: a context manager and decorator, which may be nested in itself."""

    def __init__(self) -> None:
        self._tokens: list[Token[bool]] = []

    def _recreate_cm(self) -> NoGrad:
        """A new object for each call of a decorated function, as several threads may call it."""
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
    """Within this block a forward saves nothing for a backward.

    Independent of `train()` and `eval()`, as in PyTorch. As a decorator, `@no_grad()` or `@no_grad`, it
    applies to every call of the function.

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


@contextmanager
def calls() -> Iterator[dict[int, Any]]:
    """Collect the layers that are called within this block, each once, by id."""
    found: dict[int, Any] = {}
    token = _calls.set(found)
    try:
        yield found
    finally:
        _calls.reset(token)


def called(layer: Any) -> None:
    """Add the layer to the surrounding block of `calls`, if there is one."""
    found = _calls.get()
    if found is not None:
        found[id(layer)] = layer


def keeping() -> bool:
    """Whether forwards save arrays for backward: outside `no_grad`."""
    return _keeping.get()


class _Door:
    """One call of a layer or loss by the user: the user's arrays, and those saved within the call.

    Saved arrays that share memory with the user's are replaced by copies.
    """

    __slots__ = ("copies", "entries", "foreign", "kept", "reachable")

    def __init__(self, inputs: tuple[Any, ...], foreign: bool) -> None:
        self.foreign = foreign  # whether the code within is a user's
        self.reachable: list[Array] = []
        self.entries: list[_Kept] = []  # new since the last `settle`
        self.kept: dict[int, Array] = {}  # all arrays of older entries, by id
        self.copies: dict[int, tuple[Array, Array]] = {}  # by the id of the original: original and copy
        self.let_in(inputs)

    def let_in(self, value: Any) -> None:
        """Note that the user has the arrays in `value`."""
        _each_array(self._reach, value)

    def let_out(self, value: Any) -> Any:
        """`value` for the user, with copies of the arrays that share memory with saved ones."""
        self.settle()
        return _each_array(self._apart, value)

    def settle(self) -> None:
        """Replace saved arrays that share memory with the user's by copies."""
        for entry in self.entries:
            for item in entry.saved:  # usually arrays that share memory with none of the user's
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
    """`forward(*inputs)` as called by the user, who has `inputs` and the result.

    With `copy_first` it gets copies of the inputs. That is faster for models, whose first layer usually saves
    its input, since the new copy is in the cache.
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
    """Call a user's `forward(*inputs)` within another call; its code has the inputs and the result."""
    outer = _door.get()
    if outer is None or not _keeping.get():
        return forward(*inputs)
    inputs = outer.let_out(inputs)
    y = forward(*inputs)
    outer.let_in((inputs, y))
    return y


def is_inside() -> bool:
    """Whether this is within a call of a layer or loss, or under `no_grad`, so that no copies are needed."""
    return _door.get() is not None or not _keeping.get()


def _shares(array: Array, others: Iterable[Array]) -> bool:
    """Whether the memory of `array` overlaps, by its bounds, that of one of `others`."""
    kind, owner = type(array), backend_of(array)
    overlaps = owner.xp.may_share_memory
    owns = array.base is None
    for other in others:  # any() of a generator takes half as long again
        if owns and other is not array and other.base is None:
            continue  # two arrays that own their memory
        if (type(other) is kind or backend_of(other) is owner) and overlaps(array, other):
            return True
    return False


def _told_nesting(kind: type) -> int | None:
    """0 for types of arrays, 1 for those that may hold some (tuple, list, dict), None for all others."""
    if is_array_type(kind):
        return 0
    return 1 if issubclass(kind, tuple) or kind in (list, dict) else None


_nesting: Callable[[type], int | None] = functools.lru_cache(maxsize=1024)(_told_nesting)


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


class _Kept:
    """What one forward saved for its backward; `grad_output` must have this shape, dtype and backend."""

    __slots__ = ("backend", "dtype", "saved", "serial", "shape")

    def __init__(self, serial: int, y: Array, saved: tuple[Any, ...]) -> None:
        self.serial, self.saved = serial, saved
        self.shape: tuple[int, ...] = y.shape
        self.dtype, self.backend = y.dtype, backend_of(y).name


class Memory:
    """Base of layers and losses: a stack of what each forward saved, last in, first out.

    So a model may contain one layer twice, and backward releases memory layer by layer.
    """

    _advice: ClassVar[str] = ""  # the hint in the error if `backward` gets the loss, or nothing
    _has_our_forward: ClassVar[bool] = True  # whether users' code may call it directly: `layer.forward(x)`

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        public_errors(cls)

    def keep(self, y: Array, *saved: Any) -> Array:
        """Save `saved` for the backward of this output, and return `y`; call it last in `forward`.

        The caller may change the inputs and `y` before backward, so saved arrays that share memory with them
        are copied, also in tuples, lists and dicts. Arrays in attributes of the layer are not.

        `backward` gets the gradient of one output. A layer may return further ones that need no gradient, as
        `MaxPool2d` does with `return_indices`: `y = self.keep(y, …)`, then `return y, indices`.

        Args:
            y: the output.
            saved: anything that `recall` is to return in `backward`.

        Returns:
            `y`.
        """
        if _keeping.get():
            if not hasattr(y, "shape"):
                raise self._kept_no_array(y)
            entry = _Kept(next(_serial), y, saved)
            door = _door.get()
            if door is not None and not (door.foreign and self._has_our_forward):
                door.entries.append(entry)
            else:  # called directly, as `layer.forward(x)`: the user may have any of the arrays
                entry.saved = _each_array(copy, saved)
            stack = self._stack()
            stack.append(entry)
            if len(stack) == MANY_PENDING:
                warnings.warn(
                    f"{type(self).__name__}: {MANY_PENDING} forwards had no backward yet, and what they "
                    "saved takes memory; wrap inference in `with xpconv.no_grad():`, or call forget()",
                    RuntimeWarning,
                    stacklevel=2,
                )
        return y

    def _kept_no_array(self, y: Any) -> TypeError:
        name, kind = type(self).__name__, type(y).__name__
        if self._has_our_forward:
            return TypeError(
                f"{name}.forward: the output is a {kind}, expected an array to go back from; call "
                "a layer of several outputs by itself, or within `with xpconv.no_grad():`"
            )
        several = "; of several outputs keep the one that backward gets the gradient of: "
        return TypeError(
            f"{name}: self.keep got {kind}, expected the output, an array, and after it what backward needs: "
            "return self.keep(y, …)"
            + (f"{several}y = self.keep(y, …), then return y, other" if isinstance(y, tuple | list) else "")
        )

    def recall(self, grad_output: Array, input_grad: bool = True) -> tuple[Any, ...]:
        """What the latest forward saved; call it first in `backward`, with the arguments of `backward`.

        Returns:
            the arguments of `keep` after the output, as a tuple.

        Raises:
            TypeError: `input_grad` is not True or False.
            BackwardError: (a RuntimeError) there is no forward without a backward.
            ShapeError, DTypeError, BackendError: `grad_output` does not fit the output of that forward; its
                backward may be called again with another.
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
                f"{type(self).__name__}.backward: there is no forward without a backward; call forward "
                "before each backward, outside no_grad()"
                + ("" if self._has_our_forward else "; forward must end with `return self.keep(y, …)`")
            )
        return stack[-1]

    def forget(self) -> None:
        """Discard all that forwards have saved for backward, here and in all layers below.

        Example:
            >>> import numpy as np, xpconv
            >>> layer = xpconv.ReLU()
            >>> _ = layer(np.ones(3, "float32"))
            >>> layer.forget()
        """
        self._forget_since(-1)

    def __getstate__(self) -> dict[str, Any]:
        """The state for copies and pickles: everything except what forwards have saved."""
        return {name: value for name, value in vars(self).items() if name != "_kept"}

    def _forget_since(self, serial: int) -> None:
        stack = self._stack()
        while stack and stack[-1].serial > serial:
            stack.pop()

    def _stack(self) -> list[_Kept]:
        stack: list[_Kept] = self.__dict__.setdefault("_kept", [])
        return stack


def next_serial() -> int:
    """The next serial number; whatever is saved later has a larger one."""
    return next(_serial)
