"""The gradients of a recorded backward, and the copies that the parameters get."""

from __future__ import annotations

from sys import getrefcount
from typing import Any

from ..backend import Array
from ..locks import update
from ..ops.graphs import Layout, layout_of
from ..ops.optim import gather
from ..parameter import Parameter, _set_grad

MOST = 2  # buffers to reuse


class _Copies:
    """Gradients given to parameters: views of one buffer, which an optimizer can use as a whole."""

    def __init__(self, layout: Layout, values: Array) -> None:
        self.buffer = values.copy()
        self.views = layout.views(self.buffer)
        self._references = self._count()

    def _count(self) -> tuple[int, ...]:
        return getrefcount(self.buffer), *map(getrefcount, self.views)

    def is_free(self) -> bool:
        """Whether no other object refers to one of the arrays, or to a view, whose base is the buffer."""
        return self._count() == self._references


class _Buffer:
    """Where a graph writes the gradients of parameters of one dtype."""

    def __init__(self, xp: Any, parameters: list[Parameter]) -> None:
        self._xp, self._parameters = xp, parameters
        self._layout = layout_of([p.data for p in parameters])
        self._values = xp.zeros(self._layout.size, dtype=parameters[0].dtype)
        self._views = self._layout.views(self._values)
        self._taken = [False] * len(parameters)
        self._found: dict[int, Array] = {}  # gradients by parameter, during the recording
        self._copies: list[_Copies] = []

    def take(self, i: int, grad: Array) -> None:
        """Called in place of `accumulate` of the parameter `i`."""
        if i in self._found:
            total = self._found[i]
            total += grad
        else:
            self._found[i], self._taken[i] = grad, True

    def finish(self) -> None:
        """At the end of the recording: copy the gradients into the buffer."""
        if self._found:
            gather(self._xp, list(self._found.values()), [self._views[i] for i in self._found])
        self._found = {}

    def give(self) -> None:
        """Add the gradients to `grad` of the parameters."""
        with update:
            grads: list[Any] = [p.grad for p in self._parameters]
            found = next(
                (c for c in self._copies if all(a is b for a, b in zip(grads, c.views, strict=True))), None
            )
            if found is not None:
                found.buffer += self._values
                return
            parts = [
                part
                for part in zip(self._parameters, grads, self._views, self._taken, strict=True)
                if part[3]
            ]
            for _, grad, view, _ in parts:
                if grad is not None:
                    grad += view
            if any(grad is None for _, grad, _, _ in parts):
                new = self._copied()
                for p, grad, view, taken in zip(self._parameters, grads, new, self._taken, strict=True):
                    if taken and grad is None:
                        _set_grad(p, view)

    def _copied(self) -> list[Array]:
        """Copies of the gradients, in the memory of earlier copies if these are no longer used."""
        for copies in self._copies:
            if copies.is_free():
                copies.buffer[...] = self._values
                return copies.views
        copies = _Copies(self._layout, self._values)
        self._copies = [copies, *self._copies[: MOST - 1]]
        return copies.views


class Collected:
    """Collects the gradients of parameters in a recording, and adds them to `grad` after each replay."""

    def __init__(self, xp: Any, parameters: list[Parameter]) -> None:
        kinds = {str(p.dtype): [q for q in parameters if q.dtype == p.dtype] for p in parameters}
        self._buffers = [_Buffer(xp, alike) for alike in kinds.values()]
        self._places = {
            id(p): (buffer, i)
            for buffer, alike in zip(self._buffers, kinds.values(), strict=True)
            for i, p in enumerate(alike)
        }

    def take(self, parameter: Parameter, grad: Array) -> None:
        """Called in place of `parameter.accumulate(grad)`."""
        buffer, i = self._places.get(id(parameter), (None, 0))
        if buffer is None or grad.dtype != parameter.dtype:
            raise TypeError(f"it computes a gradient of {grad.dtype} for {parameter!r}")
        buffer.take(i, grad)

    def finish(self) -> None:
        """At the end of the recording: copy all gradients into the buffers."""
        for buffer in self._buffers:
            buffer.finish()

    def give(self) -> None:
        """Add the gradients to `grad` of the parameters, after a replay."""
        for buffer in self._buffers:
            buffer.give()
