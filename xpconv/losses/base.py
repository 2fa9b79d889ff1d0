"""`Loss`, the base of all losses: checks, reduction, and the arrays saved for backward."""

from __future__ import annotations

import math
from inspect import signature
from numbers import Real
from typing import TYPE_CHECKING, Any, ClassVar

from ..arguments import about, brief, to_choice, to_float
from ..arrays import asarray
from ..backend import Array, backend_of, conversion_hint, ignore_underflow
from ..dtypes import check_usable, is_floating
from ..errors import BackendError, DTypeError, ShapeError
from ..ops.losses import scaled_sum
from ..sums import sum_over, widened
from ..taped import Taped

__all__ = ["Loss"]

NO_STATE = "leave it out: a loss has no parameters, and computes where its input is"
ELSEWHERE = {  # attributes of PyTorch's losses, and what to use here instead
    **dict.fromkeys(("to", "cuda", "cpu", "float", "double", "half", "train", "eval"), NO_STATE),
    **dict.fromkeys(("parameters", "state_dict", "load_state_dict", "zero_grad"), NO_STATE),
    "item": "the loss object returns the loss, a number: loss = criterion(output, target)",
    "step": "use optimizer.step()",
}


class Loss(Taped):
    """Base of all losses: checks, reduction, and the arrays saved for `backward`.

    A loss, also one of your own, defines `_forward(xp, *inputs)`, which returns the unreduced losses, the
    divisor of `'mean'` (on the device if it depends on the target) and the arguments of `_backward`; and
    `_backward(xp, scale, *saved)`, which returns `scale` times the gradient of the losses' sum. Both get
    float16 inputs as float32, since squares and sums would overflow; the loss and the gradients are float16.

    A loss's value is a plain array or NumPy number, which has no `backward`; the loss object has:
    `model.backward(criterion.backward())`.

    `integers` lists the kinds of dtypes beside `input`'s own that a target may have, where PyTorch takes
    them, and `broadcast` those of `names` whose shapes may be broadcast against the others.

    Args:
        reduction: `'mean'`, `'sum'`, or `'none'` for an array of losses.

    Example:
        >>> import numpy as np, xpconv
        >>> class LogCosh(xpconv.Loss):
        ...     def _forward(self, xp, input, target):
        ...         d = input - target
        ...         return xp.log(xp.cosh(d)), d.size, (d,)
        ...     def _backward(self, xp, scale, d):
        ...         return xp.tanh(d) * scale
        >>> criterion = LogCosh(reduction="sum")
        >>> float(criterion(np.array([1.0, 2.0]), np.array([1.0, 0.0])).round(4))
        1.325
        >>> criterion.backward().round(4)
        array([0.   , 0.964])
    """

    _to_define: ClassVar[tuple[str, ...]] = ("_forward", "_backward")
    reductions: ClassVar[tuple[str, ...]] = ("mean", "sum", "none")
    names: ClassVar[tuple[str, ...]] = ("input", "target")
    integers: ClassVar[str] = ""
    broadcast: ClassVar[tuple[str, ...]] = ()
    _default_grad = 1.0

    def __init__(self, reduction: str = "mean") -> None:
        self.reduction: str = to_choice(f"{type(self).__name__}: reduction", reduction, self.reductions)

    if not TYPE_CHECKING:  # with it, type checkers would accept any name

        def __getattr__(self, name: str) -> Any:
            """Raise the error for a missing attribute, with a hint if PyTorch's losses have it."""
            if hasattr(type(self), name):  # a property that raised an AttributeError
                return super().__getattribute__(name)
            kind, hint = type(self).__name__, f"; {ELSEWHERE[name]}" if name in ELSEWHERE else ""
            raise AttributeError(f"{kind!r} object has no attribute {name!r}{hint}", name=name, obj=self)

    def __call__(self, *inputs: Any, **named: Any) -> Array:
        """`forward(*inputs)`, of which the last may be given by name: `criterion(x, target=t)`."""
        if named:
            rest = self.names[len(inputs) :]
            if set(named) != set(rest):
                name, given = type(self).__name__, ", ".join(named)
                raise TypeError(
                    f"{name}: got {len(inputs)} arrays and {given} by name, expected {', '.join(self.names)}"
                )
            inputs = *inputs, *(named[name] for name in rest)
        return self.forward(*inputs)

    def forward(self, *inputs: Array) -> Array:
        """The loss of the model's output against the target, on their device.

        Arrays saved for backward share no memory with these: they may be changed in place.
        """
        return self._reduced(inputs, None)[0]

    def _measured(self, inputs: tuple[Array, ...], weight: Array | None) -> tuple[Array, Any]:
        """`self(*inputs)` with each sample's loss multiplied by its weight, and the divisor of `'mean'`.

        The divisor is that without weights: the number of elements or samples, or the sum of the classes'
        weights, an array on the device if it depends on the target.
        """
        counts = []

        def forward(*inputs: Array) -> Array:
            loss, count = self._reduced(inputs, weight)
            counts.append(count)
            return loss

        return self._outermost(forward, inputs, False), counts[0]

    def _reduced(self, inputs: tuple[Array, ...], weight: Array | None) -> tuple[Array, Any]:
        """The loss, and the divisor of `'mean'`; `weight` multiplies the loss of each sample."""
        loss, count, *saved = self._evaluated(inputs, weight)
        return self.keep(loss, *saved), count

    def _evaluated(self, inputs: Any, weight: Any = None, over_weight: bool = False) -> tuple[Any, ...]:
        """The loss, the divisor of `'mean'` (`over_weight`: the sum of `weight`), and what backward needs."""
        inputs = self._completed(*inputs)
        xp = self._enter(*inputs)
        dtype, wide = inputs[0].dtype, inputs
        if dtype.itemsize == 2 and all(x.dtype == dtype or not is_floating(x.dtype) for x in inputs):
            wide = tuple([widened(x) if x.dtype == dtype else x for x in inputs])  # else there is an error
        with ignore_underflow(xp):
            loss, count, saved = self._forward(xp, *wide)
            scale: Any = 1.0  # of each sample's gradient
            if weight is not None:
                scale = self._spread(xp, weight, loss)
                loss = loss * scale
                count = sum_over(scale, tuple(range(scale.ndim))) if over_weight else count
            mean: Any = 1.0
            if self.reduction not in ("none", "sum"):  # as PyTorch: no samples, no mean
                host = isinstance(count, int)
                mean = 1 / ((count or math.nan) if host else xp.where(count == 0, math.nan, count))
                scale = mean if weight is None else (scale * mean).astype(loss.dtype, copy=False)
            if self.reduction != "none":
                loss = scaled_sum(xp, loss, mean)
            return loss.astype(dtype, copy=False), count, xp, dtype, scale, saved

    def _spread(self, xp: Any, weight: Array, loss: Array) -> Array:
        """A weight for each sample, or each element of the losses, in the shape and dtype of the losses."""
        shape, whole = tuple(weight.shape), tuple(loss.shape)
        if shape not in (whole, whole[:1]):
            or_all = f" or {whole}" if len(whole) > 1 else ""
            raise ShapeError(
                f"{type(self).__name__}: sample weights have shape {shape}, expected {whole[:1]}{or_all}: "
                "one for each sample"
            )
        spread = weight.reshape(shape + (1,) * (len(whole) - len(shape))).astype(loss.dtype)
        return spread if shape == whole else xp.ascontiguousarray(xp.broadcast_to(spread, whole))

    def backward(self, grad_output: Any = 1.0) -> Any:
        """Gradient with respect to `input`, of its shape and dtype; a tuple for several inputs.

        It belongs to the latest forward. The loss that forward returned is a plain array or number:
        arithmetic on it (`loss / n`, `loss1 + loss2`) has no effect on gradients, and there is no
        `loss.backward()`. Scale the gradient instead: `criterion.backward(1 / n)`; for a sum of losses add
        the gradients.

        Args:
            grad_output: factor of the gradient: a number, or an array of the loss's shape and dtype, or of
                float32 for float16 and bfloat16 losses (such as `GradScaler.scale`).

        Raises:
            BackwardError: (a RuntimeError) there is no forward without a backward.
            BackendError, DTypeError, ShapeError: `grad_output` does not fit the loss.

        Example:
            >>> import numpy as np, xpconv
            >>> criterion = xpconv.MSELoss("sum")
            >>> loss = criterion(np.array([3.0]), np.array([1.0])) / 2
            >>> criterion.backward(1 / 2)
            array([2.])
        """
        if isinstance(grad_output, Real):  # NumPy's scalars too, which would promote the dtype
            grad_output = to_float(f"{type(self).__name__}.backward: grad_output", grad_output, nan=True)
        return self._gradient(grad_output, *self.recall(grad_output))

    def _gradient(self, grad_output: Any, xp: Any, dtype: Any, scale: Any, saved: tuple[Any, ...]) -> Any:
        with ignore_underflow(xp):
            grads = self._backward(xp, grad_output * scale, *saved)
            if isinstance(grads, tuple):
                return tuple(g.astype(dtype, copy=False) for g in grads)
            return grads.astype(dtype, copy=False)

    def _completed(self, *inputs: Any) -> tuple[Any, ...]:
        """The inputs, with arrays for those that may be given as something else."""
        return inputs

    def _check_grad(self, grad_output: Any, shape: tuple[int, ...], dtype: Any, kind: type) -> None:
        if isinstance(grad_output, Real):
            to_float(f"{type(self).__name__}.backward: grad_output", grad_output, nan=True)
            return
        if str(getattr(grad_output, "dtype", "")) == "float32" and dtype.itemsize == 2:
            dtype = grad_output.dtype
        super()._check_grad(grad_output, shape, dtype, kind)

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
        owners = []
        for argument, array in zip(self.names, inputs, strict=True):
            try:
                owners.append(backend_of(array))
            except BackendError as error:
                raise BackendError(f"{name}: {argument}: {about(argument, error)}") from None
            if array.dtype.kind in "OSUMmc":
                raise DTypeError(f"{name}: {argument} is {array.dtype}, expected real numbers")
            check_usable(f"{name}: {argument}", array, argument)
        first, (owner, *others) = inputs[0], owners
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

    def _paired(self, xp: Any, input: Array, other: Array, name: str = "target") -> tuple[Array, Array]:
        """`input` and the array that is compared with it element by element, in one shape and dtype.

        `other` may hold integers if `name` is `"target"` and the loss accepts integers.
        """
        if input.shape == other.shape:
            return input, self._typed(input, other, name)
        first = self.names[0]
        if name in self.broadcast:
            shape = broadcast_shape(input.shape, other.shape)
            if shape == input.shape or (shape is not None and first in self.broadcast):
                other = self._typed(input, other, name)
                return xp.broadcast_to(input, shape), xp.broadcast_to(other, shape)
        fix = f"give one value for each element of {first}"
        if other.size == input.size:
            fix = f"use {name}.reshape({input.shape})"
        elif not is_floating(other.dtype) or self.integers:
            fix += "; classes go in one-hot"
        raise ShapeError(
            f"{type(self).__name__}: {name} has shape {other.shape}, expected {input.shape}, that of "
            f"{first}; {fix}"
        )

    def _typed(self, input: Array, other: Array, name: str = "target") -> Array:
        """`other` in the dtype of `input`, if it has that already or is a target that may hold integers."""
        if other.dtype == input.dtype:
            return other
        if name == "target" and other.dtype.kind in self.integers:
            return other.astype(input.dtype)
        raise DTypeError(
            f"{type(self).__name__}: {name} is {other.dtype} but {self.names[0]} is {input.dtype}; "
            f"use {name}.astype('{input.dtype}')"
        )

    def _stretched(self, xp: Any, *arrays: Array) -> tuple[Array, ...]:
        """The inputs, which must have the same number of axes, broadcast to a common shape."""
        shape: tuple[int, ...] | None = arrays[0].shape
        for name, array in zip(self.names[1:], arrays[1:], strict=False):
            both = None if shape is None else broadcast_shape(shape, array.shape)
            if both is None or array.ndim != arrays[0].ndim:
                raise ShapeError(
                    f"{type(self).__name__}: {name} has shape {array.shape}, expected {arrays[0].shape}, "
                    f"that of {self.names[0]}, or one that broadcasts to it"
                )
            shape = both
        return tuple(x if x.shape == shape else xp.broadcast_to(x, shape) for x in arrays)

    def _weight(self, weight: Any, name: str = "weight") -> Any:
        """A constructor's weight: None, or an array of numbers."""
        if weight is None:
            return None
        where = f"{type(self).__name__}: {name}"
        try:
            backend_of(weight)
        except BackendError:
            known, hint = type(weight), about(name, conversion_hint(type(weight)))
            raise BackendError(
                f"{where} is a {known.__module__}.{known.__qualname__}, expected an array or None; {hint}"
            ) from None
        if not (is_floating(weight.dtype) or weight.dtype.kind in "iub"):
            raise TypeError(f"{where} is {weight.dtype}, expected numbers: an array or None")
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
        """The class with the arguments that differ from their defaults; an array by its dtype and shape."""
        changed = [
            f"{name}={brief(vars(self)[name])}"
            for name, parameter in signature(type(self).__init__).parameters.items()
            if name in vars(self) and _differs(vars(self)[name], parameter.default)
        ]
        return f"{type(self).__name__}({', '.join(changed)})"


def _differs(value: Any, default: Any) -> bool:
    """Whether a constructor's argument differs from its default, which is never an array."""
    return value is not default and (hasattr(value, "shape") or bool(value != default))


def broadcast_shape(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...] | None:
    """The shape to which `a` and `b` broadcast; None if they do not."""
    if len(a) < len(b):
        a, b = b, a
    b = (1,) * (len(a) - len(b)) + b
    if any(m != n and 1 not in (m, n) for m, n in zip(a, b, strict=True)):
        return None
    return tuple(n if m == 1 else m for m, n in zip(a, b, strict=True))


def summed_to(x: Array, shape: tuple[int, ...]) -> Array:
    """The gradient of an array of `shape`, from the gradient of the array that it was broadcast to."""
    if x.shape == shape:
        return x
    more = x.ndim - len(shape)
    axes = tuple(i for i in range(x.ndim) if i < more or x.shape[i] != shape[i - more])
    return sum_over(x, axes).reshape(shape)


def over_classes(xp: Any, scale: Any, axis: int) -> Any:
    """`scale`, a number or one number per sample, in a shape that broadcasts over the classes."""
    return xp.expand_dims(scale, axis) if getattr(scale, "ndim", 0) else scale
