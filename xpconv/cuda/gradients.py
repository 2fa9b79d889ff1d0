"""The gradients around a captured step: what it finds in `.grad`, and what it leaves there.

A graph has the addresses of the gradients that its step found when it was recorded. But a loop may clear them
between two calls, or put others there, as with any step. So a captured step notes which of the gradients it
has read, and before and after each replay makes true what the same Python code would have.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from ..backend import Array
from ..parameter import Parameter

_slot = Parameter.__dict__["grad"]
_read: set[int] = set()  # ids of parameters whose gradient was read before the step set another
_set: set[int] = set()  # and of those where it did


class _Watched(Parameter):
    """A parameter during a recording, of which there is one at a time."""

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
    """The gradients that one recording found and left."""

    def __init__(self, parameters: Iterable[Parameter]) -> None:
        self.parameters = list({id(p): p for p in parameters}.values())
        self._found: list[Array | None] = [p.grad for p in self.parameters]
        self._read: list[tuple[Parameter, Array | None]] = []
        self._left: list[tuple[Parameter, Array | None]] = []

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Note within this block, a recording, which gradients are read."""
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
        """After a recording, which has computed nothing: set the gradients that it found."""
        for parameter, found in zip(self.parameters, self._found, strict=True):
            _slot.__set__(parameter, found)

    def fit(self) -> bool:
        """Whether there are gradients now where the recording read one, and none where it read None."""
        return all((p.grad is None) is (found is None) for p, found in self._read)

    def before(self) -> list[tuple[Array, Array]]:
        """Before a replay: copy gradients that are other arrays than in the recording; return the pairs."""
        others = [(p.grad, own) for p, own in self._read if own is not None and p.grad is not own]
        for grad, own in others:
            own[...] = grad
        return [(grad, own) for grad, own in others if grad is not None]

    def after(self, others: list[tuple[Array, Array]]) -> None:
        """After it: set what the step leaves; it has changed the arrays in `others` in place."""
        theirs = {id(own): grad for grad, own in others}
        for grad, own in others:
            grad[...] = own
        for parameter, left in self._left:
            _slot.__set__(parameter, theirs.get(id(left), left))
