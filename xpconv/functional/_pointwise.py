"""What the functions share that compute the same as a layer without parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from ..arguments import named
from ..backend import Array
from ..layers.pointwise import Pointwise
from ._checks import FLOATING, check_shape, enter

T = TypeVar("T")


def settings(where: str, kind: Callable[..., T], *arguments: Any, **options: Any) -> T:
    """Create a layer or loss, whose constructor checks the arguments; errors name the function `where`."""
    with named(where, kind.__name__):
        return kind(*arguments, **options)


def pointwise(name: str, kind: type[Pointwise], input: Array, *arguments: Any) -> Array:
    """The output of a layer of class `kind` for `input`."""
    where = f"functional.{name}"
    layer = settings(where, kind, *arguments)
    xp, input = enter(where, {"input": input})
    y: Array = layer.functions[0](xp, input, *layer._values())
    return y


def pointwise_backward(
    name: str, kind: type[Pointwise], grad_output: Array, saved: Array, *arguments: Any, needs: str = "input"
) -> Array:
    """The gradient of that layer with respect to its input; `saved` is the array named by `needs`."""
    where = f"functional.{name}_backward"
    layer = settings(where, kind, *arguments)
    xp, saved, grad_output = enter_pair(where, grad_output, saved, needs)
    dx: Array = layer.functions[1](xp, grad_output, saved, *layer._values())
    return dx


def enter_pair(
    where: str, grad_output: Array, saved: Array, name: str, kinds: tuple[str, ...] = FLOATING
) -> tuple[Any, Array, Array]:
    """Check that `saved`, called `name` in errors, and `grad_output` have one shape; return `xp` and both."""
    xp, saved, grad_output = enter(where, {name: saved, "grad_output": grad_output}, kinds=kinds)
    check_shape(where, "grad_output", grad_output, saved.shape, f"that of {name}")
    return xp, saved, grad_output
