"""The base of all layers that work element by element."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from ..arguments import to_bool
from ..backend import Array
from .layer import Layer, arguments

Functions = tuple[Callable[..., Array], Callable[..., Array]]  # a forward and its backward, of `ops`


class Pointwise(Layer):
    """`y = f(x)` at every element of an `x` of any shape. Forward saves one array for backward.

    A subclass defines `functions`: f and its backward, from `ops`; `constants`: the names of the attributes
    that both take after the arrays, each with its default for `repr`; and `saves_output`: whether forward
    saves `y` instead of `x`.
    """

    functions: ClassVar[Functions]
    constants: ClassVar[tuple[tuple[str, Any], ...]] = ()
    saves_output: ClassVar[bool] = False

    def forward(self, x: Array) -> Array:
        xp = self._enter(x)
        values = self._values()
        y = self.functions[0](xp, x, *values)
        return self.keep(y, xp, y if self.saves_output else x, values)

    def backward(self, grad_output: Array, input_grad: bool = True) -> Array | None:
        xp, saved, values = self.recall(grad_output, input_grad)
        return self.functions[1](xp, grad_output, saved, *values) if input_grad else None

    def _values(self) -> tuple[Any, ...]:
        return tuple(getattr(self, name) for name, _ in self.constants)

    def extra_repr(self) -> str:
        return arguments(**{name: (getattr(self, name), value) for name, value in self.constants})


class InPlace(Pointwise):
    """Base of the activations with an `inplace` argument, accepted as in PyTorch but without effect."""

    inplace: bool = False

    def __init__(self, inplace: bool = False) -> None:
        self.inplace = to_bool(f"{type(self).__name__}: inplace", inplace)

    def extra_repr(self) -> str:
        inplace = "inplace=True" if self.inplace else ""
        return ", ".join(filter(None, [super().extra_repr(), inplace]))
