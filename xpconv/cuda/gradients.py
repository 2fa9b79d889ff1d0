"""The gradients around a captured step: what the step reads in `.grad`, and what it leaves there.

A CUDA graph uses the addresses of the gradient arrays that `.grad` had during the recording. Between two
calls a loop may clear `.grad` or assign other arrays. So a recording notes which gradients the step reads.
Before each replay, other arrays are copied into the recorded ones; after it, `.grad` is set to what the same
Python code would have left.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from ..backend import Array
from ..parameter import Parameter

_slot = Parameter.__dict__["grad"]
_read: set[int] = set()  # ids of parameters whose gradient the step read before it assigned one
_set: set[int] = set()  # ids of parameters to which the step assigned a gradient


class _Watched(Parameter):
    """A parameter during a recording, which notes accesses to `grad`; there is one recording at a time."""

    __slots__ = ()

    @property
    def grad(self) -> Array | None:  # type: ignore[override]
        if id(self) not in _set:
            _read.add(id(self))
        found: Array | None = _slot.__get__(self)
        return found

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "grad":
            _set.add(id(self))
        super().__setattr__(name, value)

    def __reduce_ex__(self, protocol: Any) -> Any:
        parts: Any = super().__reduce_ex__(protocol)
        return (parts[0], (Parameter,), *parts[2:])


class Gradients:
    """The gradients before and after the step of one recording."""

    def __init__(self, parameters: Iterable[Parameter]) -> None:
        self.parameters: list[Parameter] = list({id(p): p for p in parameters}.values())
        self._found: list[Array | None] = [p.grad for p in self.parameters]
        self._read: list[tuple[Parameter, Array | None]] = []
        self._left: list[tuple[Parameter, Array | None]] = []

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Note which gradients are read within this block, in which the step is recorded."""
        _read.clear()
        _set.clear()
        watched = [p for p in self.parameters if type(p) is Parameter]
        try:
            for parameter in watched:
                parameter.__class__ = _Watched
            yield
        finally:
            for parameter in watched:
                parameter.__class__ = Parameter
        pairs = list(zip(self.parameters, self._found, strict=True))
        plain = {id(p) for p in watched}
        self._read = [(p, found) for p, found in pairs if id(p) in _read or id(p) not in plain]
        self._left = [(p, p.grad) for p, found in pairs if p.grad is not None or found is not None]

    def restore(self) -> None:
        """Set the gradients that were there before the recording, which has computed nothing."""
        for parameter, found in zip(self.parameters, self._found, strict=True):
            _slot.__set__(parameter, found)

    def fit(self) -> bool:
        """Whether each gradient that the recording read is None now exactly if it was None then."""
        return all((p.grad is None) is (found is None) for p, found in self._read)

    def before(self) -> list[tuple[Array, Array]]:
        """Before a replay: copy gradients in other arrays into the recorded ones; return these pairs."""
        others = [(p.grad, own) for p, own in self._read if own is not None and p.grad is not own]
        for grad, own in others:
            own[...] = grad
        return [(grad, own) for grad, own in others if grad is not None]

    def after(self, others: list[tuple[Array, Array]]) -> None:
        """After a replay: set the gradients that the step leaves; copy those of `others` back."""
        theirs = {id(own): grad for grad, own in others}
        for grad, own in others:
            grad[...] = own
        for parameter, left in self._left:
            _slot.__set__(parameter, theirs.get(id(left), left))
