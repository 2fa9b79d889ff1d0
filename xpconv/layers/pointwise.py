"""The base of all layers that work element by element."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from ..arguments import to_bool
from ..backend import Array
from .base import Layer, arguments


class Pointwise(Layer):
    """`y = f(x)` at every element of an `x` of any shape. Forward keeps one array for backward.

    A subclass gives `functions`: f and its backward, from `ops`, and `constants`: names of the
    attributes that both take after the arrays, each with its default for `repr`.
    `keeps_output` says which array that is.
    """

    functions: ClassVar[tuple[Callable[..., Array], Callable[..., Array]]]
    constants: ClassVar[tuple[tuple[str, Any], ...]] = ()
    keeps_output: ClassVar[bool] = False

    def forward(self, x: Array) -> Array:
        xp = self._enter(x)
        values = self._values()
        y = self.functions[0](xp, x, *values)
        return self.keep(y, xp, y if self.keeps_output else x, values)

    def backward(self, grad_output: Array, input_grad: bool = True) -> Array | None:
        xp, kept, values = self.recall(grad_output, input_grad)
        return self.functions[1](xp, grad_output, kept, *values) if input_grad else None

    def _values(self) -> tuple[Any, ...]:
        return tuple(getattr(self, name) for name, _ in self.constants)

    def extra_repr(self) -> str:
        return arguments(**{name: (getattr(self, name), value) for name, value in self.constants})


class InPlace(Pointwise):
    """For those to which PyTorch gives `inplace`: taken so that its models need no edit, and of no effect."""

    inplace: bool = False

    def __init__(self, inplace: bool = False) -> None:
        self.inplace = to_bool(f"{type(self).__name__}: inplace", inplace)

    def extra_repr(self) -> str:
        inplace = "inplace=True" if self.inplace else ""
        return ", ".join(filter(None, [super().extra_repr(), inplace]))
