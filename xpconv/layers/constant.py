"""Nodes of a `Graph` without inputs, which return an array of the model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from ..backend import Array, get_xp, host
from ..ops.shape import copy
from ..parameter import new_parameter
from .layer import Layer


class _Source(Layer):
    """Base: forward takes no input, so backward returns None."""

    value: Any

    def forward(self) -> Array:  # type: ignore[override]  # no input
        return self.keep(self.value)

    def backward(self, grad_output: Array, input_grad: bool = True) -> None:
        self.recall(grad_output, input_grad)

    def extra_repr(self) -> str:
        return f"{tuple(self.value.shape)}"


class Weight(_Source):
    """A parameter as a value: `value`, of the given shape and dtype."""

    def __init__(self, shape: Sequence[int], dtype: Any = "float32") -> None:
        self.shape: tuple[int, ...] = tuple(shape)
        self.value: Any = new_parameter("Weight", "value", self.shape, dtype)

    def forward(self) -> Array:  # type: ignore[override]  # no input
        return self.keep(self.value.data)

    def backward(self, grad_output: Array, input_grad: bool = True) -> None:
        self.recall(grad_output, input_grad)
        self.value.accumulate(copy(grad_output))  # which other nodes get too


class Constant(_Source):
    """A buffer as a value, which moves with the model and is not trained."""

    shape: tuple[int, ...]
    dtype: str
    buffer_names: ClassVar[tuple[str, ...]] = ("value",)

    _dtype_setting = "dtype"

    def __init__(self, shape: Sequence[int], dtype: str = "float32") -> None:
        self.shape, self.dtype = tuple(shape), dtype
        self.value: Any = get_xp().zeros(self.shape, self.dtype)


class HostConstant(_Source):
    """An array that stays on the host, such as sizes of a shape."""

    def __init__(self, value: Any) -> None:
        self.value: Any = host().xp.array(value)
        self.value.flags.writeable = False
