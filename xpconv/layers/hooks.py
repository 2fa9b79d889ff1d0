"""Hooks: functions of a user that a layer calls before or after its forward, or after its backward.

The names and the meaning are PyTorch's. A layer with a hook runs by itself: fusion and plans of inference
leave it out, so that the hook gets the layer's own input and output. Layers without hooks cost nothing more.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any
from weakref import ref

from ..arguments import shown
from ..arraylike import is_writable
from ..backend import backend_of, is_array_type, plain
from ..errors import BackendError, DTypeError, ShapeError
from ..ops.shape import copy
from ..tape import Tape, current, saving, separate

Hook = Callable[..., Any]
Table = dict[int, Hook]  # by the number of the handle, in the order of registration; replaced, never changed

_lock = threading.Lock()
_enabled: ContextVar[bool] = ContextVar("xpconv_hooks_enabled", default=True)


@contextmanager
def without_hooks() -> Iterator[None]:
    """Within this block layers call no hooks, as in the forward of zeros of `summary`."""
    token = _enabled.set(False)
    try:
        yield
    finally:
        _enabled.reset(token)


class Mark(int):
    """What a forward with backward hooks leaves on the tape: the backward of this call is to call them.

    `recall` skips it, as it does the mark of a user's layer, which is an int too.
    """

    inputs: int  # how many
    hooks: tuple[int, ...]  # their numbers


class Hooks:
    """The hooks of one layer."""

    def __init__(self) -> None:
        self.before: Table = {}
        self.after: Table = {}
        self.back: Table = {}

    def forward(self, layer: Any, function: Callable[..., Any], *inputs: Any) -> Any:
        """`function(*inputs)`, the forward of `layer`, with the hooks before and after it.

        Hooks may write to the arrays that they get, so these share no memory with what is on the tape.
        """
        if not _enabled.get():
            return function(*inputs)
        tape = current.get() if saving() else None
        start = len(tape.entries) if tape is not None else 0
        sees, back = bool(self.before or self.after), tuple(self.back)
        omitted: tuple[None, ...] = ()
        while inputs and inputs[-1] is None and not layer._is_users:  # an option such as output_size
            inputs, omitted = inputs[:-1], (*omitted, None)
        if tape is not None and sees and not tape.open:
            tape.protect(tape.protected)
            tape.protected = start
            inputs = tape.apart(inputs)
        for hook in self.before.values():
            result = _call(hook, layer, inputs)
            if result is not None:
                new = tuple(result) if isinstance(result, tuple | list) else (result,)
                inputs = _fitting(layer, "forward pre-hook", hook, new, inputs)
        y = function(*inputs, *omitted)
        if y is None:
            raise layer._returned_none()
        if tape is not None and sees:
            tape.reach((inputs, y))
            tape.protect(start)
        for hook in self.after.values():
            result = _call(hook, layer, inputs, y)
            if result is not None:
                y = _fitting(layer, "forward hook", hook, result, y)
                if tape is not None:
                    tape.reach(y)
        if tape is not None and back:
            _mark(layer, tape, start, y, len(inputs), back)
        return y

    def around(self, layer: Any, function: Callable[..., Any], tape: Tape | None) -> Callable[..., Any]:
        """`function`, the backward of `layer`, and the hooks after it if its forward has left a mark."""
        entries = [] if tape is None else tape.entries
        place = len(entries) - 1
        while place >= 0 and type(entries[place][1]) is int and entries[place][0]() is layer:
            place -= 1  # the mark of a user's `forward` or `__call__`
        if place < 0 or not isinstance(entries[place][1], Mark) or entries[place][0]() is not layer:
            return function
        mark = entries.pop(place)[1]

        def backward(*args: Any, **named: Any) -> Any:
            grad_output = args[0] if args else named.get("grad_output")
            return self._backward(layer, mark, grad_output, function(*args, **named))

        return backward

    def _backward(self, layer: Any, mark: Mark, grad_output: Any, grad_input: Any) -> Any:
        """The input gradient that the backward hooks make of `grad_input`."""
        several = isinstance(grad_input, tuple | list)
        grads = tuple(grad_input) if several else (grad_input,)
        if grad_input is None:
            grads = (None,) * mark.inputs
        for number in mark.hooks:
            hook = self.back.get(number)
            if hook is None:  # removed since
                continue
            given = grad_output if isinstance(grad_output, tuple | list) else (grad_output,)
            result = _call(hook, layer, tuple(map(_read_only, grads)), tuple(map(_read_only, given)))
            if result is not None:
                new = tuple(result) if isinstance(result, tuple | list) else (result,)
                grads = tuple(map(_own, _fitting(layer, "backward hook", hook, new, grads)))
        return grads if several else grads[0] if any(grad is not None for grad in grads) else None


def _mark(layer: Any, tape: Tape, start: int, y: Any, inputs: int, hooks: tuple[int, ...]) -> None:
    mark = Mark(start)
    mark.inputs, mark.hooks = inputs, hooks
    output = getattr(y, "shape", None), getattr(y, "dtype", None), type(y)
    if tape.entries and tape.entries[-1][0]() is layer:
        output = tape.entries[-1][2:]  # of the output that has a gradient, if there are several
    tape.entries.append((ref(layer), mark, *output))


def _call(hook: Hook, *arguments: Any) -> Any:
    """Call a hook; layers that it runs have tapes of their own."""
    with separate():
        return hook(*arguments)


def _fitting(layer: Any, kind: str, hook: Hook, new: Any, old: Any) -> Any:
    """`new`, which a hook returned in place of `old`, if it has the same number, shapes and dtypes."""
    where = f"{type(layer).__name__}: the {kind} {getattr(hook, '__name__', None) or shown(hook)} returned"
    if isinstance(old, tuple | list):
        if not isinstance(new, tuple | list) or len(new) != len(old):
            given = f"{len(new)} values" if isinstance(new, tuple | list) else shown(new)
            raise TypeError(f"{where} {given}, expected None or a tuple of {len(old)}, as it got")
        return tuple(_fitting(layer, kind, hook, n, o) for n, o in zip(new, old, strict=True))
    if old is None:
        if new is not None:
            raise TypeError(f"{where} {shown(new)} where no gradient is computed, expected None")
        return None
    if not is_array_type(type(old)):
        return new
    backend = backend_of(old)
    if not is_array_type(type(new)) or backend_of(new) is not backend:
        raise BackendError(f"{where} {shown(new)}, expected None or an array of {backend.name}, as it got")
    if new.shape != old.shape:
        raise ShapeError(f"{where} an array of shape {new.shape}, expected {old.shape}, as it got")
    if new.dtype != old.dtype:
        raise DTypeError(
            f"{where} an array of {new.dtype}, expected {old.dtype}, as it got; use .astype('{old.dtype}')"
        )
    return plain(new)


def _read_only(array: Any) -> Any:
    """A view that NumPy refuses to write to, as the gradient may be that of other layers too."""
    if array is None or not hasattr(getattr(array, "flags", None), "writeable"):
        return array
    view = array.view()
    view.flags.writeable = False
    return view


def _own(array: Any) -> Any:
    """`array`, or a copy if it cannot be written to."""
    return array if array is None or is_writable(array) else copy(array)


def change(layer: Any, table: str, number: int, hook: Hook | None) -> None:
    """Add a hook to a table of the layer, or remove it if `hook` is None.

    `note_change` has to follow, unless the layer is in no model that has run.
    """
    with _lock:
        hooks = vars(layer).get("_hooks") or Hooks()
        entries = {n: h for n, h in getattr(hooks, table).items() if n != number}
        if hook is not None:
            entries[number] = hook
        setattr(hooks, table, entries)
        if hooks.before or hooks.after or hooks.back:
            vars(layer)["_hooks"] = hooks
        else:
            vars(layer).pop("_hooks", None)
