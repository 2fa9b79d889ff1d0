"""What every loss is: checks, reduction, and what forward keeps for backward."""

from __future__ import annotations

import math
from numbers import Real
from typing import Any, ClassVar

from ..backend import Array, asarray, backend_of, byte_order_error, is_floating, plain
from ..errors import BackendError, DTypeError, ShapeError
from ..kernels.portable import widened
from ..layers.memory import Memory, at_door


class Loss(Memory):
    """Base of all losses: checks, reduction, and what forward keeps for `backward`.

    A loss defines `_forward(xp, *inputs)`, which gives the unreduced losses, the number that `'mean'`
    divides by (on the device where it depends on the target) and what `_backward` needs; and
    `_backward(xp, scale, *saved)`: `scale` times the gradient of the losses' sum. Both see float16 inputs
    as float32, as squares and sums overflow; loss and gradients are float16 again.

    Args:
        reduction: `'mean'`, `'sum'`, or `'none'` for an array of losses.
    """

    reductions: ClassVar[tuple[str, ...]] = ("mean", "sum", "none")
    names: ClassVar[tuple[str, ...]] = ("input", "target")

    def __init__(self, reduction: str = "mean") -> None:
        if reduction not in self.reductions:
            choices = ", ".join(map(repr, self.reductions))
            raise ValueError(f"{type(self).__name__}: reduction is {reduction!r}, expected one of {choices}")
        self.reduction = reduction

    def __call__(self, *inputs: Array) -> Array:
        """`forward(*inputs)`."""
        return self.forward(*inputs)

    def forward(self, *inputs: Array) -> Array:
        """The loss of the model's output against the target, on their device.

        What is kept for backward shares no memory with these: they may be changed in place.
        """
        return at_door(self._reduced, *map(plain, inputs))

    def _reduced(self, *inputs: Array) -> Array:
        xp = self._enter(*inputs)
        dtype = inputs[0].dtype
        alike = all(x.dtype == dtype or not is_floating(x.dtype) for x in inputs)  # else there is an error
        loss, count, saved = self._forward(
            xp, *(widened(x) if alike and is_floating(x.dtype) else x for x in inputs)
        )
        if self.reduction == "none":
            return self.keep(loss.astype(dtype, copy=False), xp, dtype, 1.0, saved)
        total = loss.sum()
        if self.reduction == "sum":
            return self.keep(total.astype(dtype), xp, dtype, 1.0, saved)
        if isinstance(count, int):
            scale = 1 / count if count else math.nan  # as PyTorch: no samples, no mean
        else:
            scale = 1 / xp.where(count == 0, math.nan, count)
        return self.keep((total * scale).astype(dtype), xp, dtype, scale, saved)

    def backward(self, grad_output: Any = 1.0) -> Any:
        """Gradient with respect to `input`, of its shape and dtype; a tuple where there are several inputs.

        Args:
            grad_output: what to multiply it by: a number, or an array of the loss's shape and dtype, or of
                float32 for losses of two bytes (such as `GradScaler.scale`).
        """
        if isinstance(grad_output, Real):
            self._latest()
            grad_output = float(grad_output)  # of NumPy's scalars too, which would promote
            xp, dtype, scale, saved = self._stack().pop().saved
        elif str(getattr(grad_output, "dtype", "")) == "float32" and self._latest().dtype.itemsize == 2:
            xp, dtype, scale, saved = self.recall((grad_output * 0).astype(self._latest().dtype))
        else:
            xp, dtype, scale, saved = self.recall(grad_output)
        grads = self._backward(xp, grad_output * scale, *saved)
        if isinstance(grads, tuple):
            return tuple(grad.astype(dtype, copy=False) for grad in grads)
        return grads.astype(dtype, copy=False)

    def _forward(self, xp: Any, *inputs: Any, **_: Any) -> tuple[Array, Any, tuple[Any, ...]]:
        raise TypeError(f"{type(self).__name__} defines no _forward(xp, input, target)")

    def _backward(self, xp: Any, scale: Any, *saved: Any, **_: Any) -> Any:
        raise TypeError(f"{type(self).__name__} defines no _backward(xp, scale, *saved)")

    def _enter(self, *inputs: Array) -> Any:
        name = type(self).__name__
        if len(inputs) != len(self.names):
            raise TypeError(
                f"{name}: got {len(inputs)} arrays, expected {len(self.names)}: {', '.join(self.names)}"
            )
        first = inputs[0]
        try:
            owner = backend_of(first)
            others = [backend_of(array) for array in inputs[1:]]
        except BackendError as error:
            raise BackendError(f"{name}: {error}") from None
        for argument, array in zip(self.names, inputs, strict=True):
            if not array.dtype.isnative:
                raise byte_order_error(f"{name}: {argument}", array)
        for argument, other in zip(self.names[1:], others, strict=True):
            if owner is not other:
                raise BackendError(
                    f"{name}: {self.names[0]} is {owner.name} but {argument} is {other.name}; call "
                    f"xpconv.asarray({argument}, backend={owner.name!r})"
                )
        if not is_floating(first.dtype):
            raise DTypeError(
                f"{name}: {self.names[0]} is {first.dtype}, expected floating point: the model's output"
            )
        return owner.xp

    def _same(self, input: Array, other: Array, name: str = "target") -> None:
        """For losses that compare element by element."""
        loss, first = type(self).__name__, self.names[0]
        if input.shape != other.shape:
            fix = f"give one value for each element of {first}"
            if other.size == input.size:
                fix = f"use {name}.reshape({input.shape})"
            elif not is_floating(other.dtype):
                fix += "; classes go in one-hot"
            raise ShapeError(
                f"{loss}: {name} has shape {other.shape}, expected {input.shape}, that of {first}; {fix}"
            )
        if input.dtype != other.dtype:
            raise DTypeError(
                f"{loss}: {name} is {other.dtype} but {first} is {input.dtype}; "
                f"use {name}.astype('{input.dtype}')"
            )

    def _weight(self, weight: Any, name: str = "weight") -> Any:
        """A constructor's weight: None, or an array of numbers."""
        if weight is not None and (not hasattr(weight, "shape") or weight.dtype.kind in "cOSU"):
            raise TypeError(f"{type(self).__name__}: {name} is {weight!r}, expected an array or None")
        return weight

    def _like(self, weight: Any, input: Array, name: str = "weight") -> Array:
        """A weight given to the constructor, on `input`'s backend and of its dtype, to broadcast over it."""
        shape, whole = tuple(weight.shape), input.shape
        if len(shape) > len(whole) or any(
            n not in (1, m) for n, m in zip(shape[::-1], whole[::-1], strict=False)
        ):
            raise ShapeError(
                f"{type(self).__name__}: {name} has shape {shape}, expected one that broadcasts to {whole}, "
                f"that of {self.names[0]}"
            )
        return asarray(weight, input.dtype, backend=backend_of(input).name)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(reduction={self.reduction!r})"


class Elementwise(Loss):
    """Losses of each element alone: `_loss` and its derivative `_slope` with respect to `input`."""

    def _forward(self, xp: Any, input: Array, target: Array) -> tuple[Array, Any, tuple[Any, ...]]:
        self._same(input, target)
        return self._loss(xp, input, target), input.size, (input, target)

    def _backward(self, xp: Any, scale: Any, input: Array, target: Array) -> Array:
        return self._slope(xp, input, target) * scale

    def _loss(self, xp: Any, x: Array, t: Array) -> Array:
        raise TypeError(f"{type(self).__name__} defines no _loss(xp, x, t)")

    def _slope(self, xp: Any, x: Array, t: Array) -> Array:
        raise TypeError(f"{type(self).__name__} defines no _slope(xp, x, t)")
