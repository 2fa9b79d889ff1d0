"""Arithmetic of several arrays, which are broadcast as by NumPy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...backend import Array
from ...dtypes import is_floating
from ...geometry import Bounds
from ...ops.activation import arithmetic, clip, clip_backward
from ...ops.linear import add
from .operator import Operator, unbroadcast

Result = tuple[Any, tuple[Any, ...]]
Gradients = tuple[Array | None, ...]


class Add(Operator):
    """`a + b`, which a ReLU after it may limit in the same pass.

    The layer of a node of a `Graph` with two inputs: `"sum": (Add(), "a", "b")`. `Sum()` takes any number.

    Example:
        >>> import numpy as np
        >>> from xpconv.layers.operators import Add
        >>> join = Add()
        >>> join(np.array([[1.0, 2.0]]), np.array([[3.0, 4.0]]))
        array([[4., 6.]])
        >>> join.backward(np.ones((1, 2)))
        (array([[1., 1.]]), array([[1., 1.]]))
    """

    def forward(self, *inputs: Array) -> Array:
        return self._clipped(*inputs)

    def _clipped(self, *inputs: Array, bounds: Bounds = None) -> Array:
        xp, arrays = self._operands(inputs)
        y, saved = self._computed(xp, arrays, {"bounds": bounds})
        return self._save(y, xp, inputs, saved)

    def _compute(self, xp: Any, a: Array, b: Array, *, bounds: Bounds = None) -> Result:
        if a.shape == b.shape and a.ndim and is_floating(a.dtype):
            y = add(xp, a, b, bounds)
        else:
            y = arithmetic(xp, "add", a, b)
            y = y if bounds is None else clip(xp, xp.asarray(y), *bounds)
        return y, (a.shape, b.shape, None if bounds is None else y, bounds)

    def _gradients(self, xp: Any, grad: Array, *saved: Any) -> Gradients:
        a, b, y, bounds = saved
        grad = grad if bounds is None else clip_backward(xp, grad, y, *bounds)
        return unbroadcast(grad, a), unbroadcast(grad, b)


class Sub(Operator):
    """`a - b`."""

    def _compute(self, xp: Any, a: Array, b: Array) -> Result:
        return arithmetic(xp, "subtract", a, b), (a.shape, b.shape)

    def _gradients(self, xp: Any, grad: Array, *saved: Any) -> Gradients:
        a, b = saved
        return unbroadcast(grad, a), unbroadcast(-grad, b)


class Mul(Operator):
    """`a · b`, with gradients `b` and `a`.

    The layer of a node of a `Graph` with two inputs: `"gated": (Mul(), "a", "b")`.

    Example:
        >>> import numpy as np
        >>> from xpconv.layers.operators import Mul
        >>> join = Mul()
        >>> join(np.array([[1.0, 2.0]]), np.array([[3.0, 4.0]]))
        array([[3., 8.]])
        >>> join.backward(np.ones((1, 2)))
        (array([[3., 4.]]), array([[1., 2.]]))
    """

    def _compute(self, xp: Any, a: Array, b: Array) -> Result:
        return arithmetic(xp, "multiply", a, b), (a, b)

    def _gradients(self, xp: Any, grad: Array, *saved: Any) -> Gradients:
        a, b = saved
        return unbroadcast(grad * b, a.shape), unbroadcast(grad * a, b.shape)


class Div(Operator):
    """`a / b`, with gradients `1/b` and `-a/b²`; of integers, truncated towards 0, and 0 where `b` is 0."""

    def _compute(self, xp: Any, a: Array, b: Array) -> Result:
        if a.dtype.kind in "iu":
            quotient = a // b
            if a.dtype.kind == "i":
                quotient = quotient + ((quotient * b != a) & ((a < 0) != (b < 0)))
            return xp.where(b == 0, 0, quotient).astype(a.dtype), (a, b)
        return arithmetic(xp, "divide", a, b), (a, b)

    def _gradients(self, xp: Any, grad: Array, *saved: Any) -> Gradients:
        a, b = saved
        part = grad / b
        return unbroadcast(part, a.shape), unbroadcast(-part * (a / b), b.shape)


class Mod(Operator):
    """The rest of `a / b`: with the sign of `b`, or with `fmod` that of `a`; of integers, 0 where `b` is 0.

    The gradients are 1, and the whole quotient with a minus.
    """

    def __init__(self, fmod: bool = False) -> None:
        self.fmod = fmod

    def _compute(self, xp: Any, a: Array, b: Array) -> Result:
        y = (xp.fmod if self.fmod else xp.remainder)(a, b)
        return (xp.where(b == 0, 0, y).astype(a.dtype) if a.dtype.kind in "iu" else y), (a, b, y)

    def _gradients(self, xp: Any, grad: Array, *saved: Any) -> Gradients:
        a, b, y = saved
        return unbroadcast(grad, a.shape), unbroadcast(-grad * xp.rint((a - y) / b), b.shape)


class Pow(Operator):
    """`a^b` in the dtype of `a`, with gradients `b a^(b-1)` and `a^b log(a)` (0 where `a ≤ 0`).

    A power of integers that is a fraction is 0.
    """

    same_dtype = False

    def _compute(self, xp: Any, a: Array, b: Array) -> Result:
        if a.dtype.kind in "iu" and b.dtype.kind in "iu":
            y = self._of_integers(xp, a, b)
        else:
            y = xp.power(a, b)
        y = y.astype(a.dtype, copy=False)
        return y, (a, b, y)

    @staticmethod
    def _of_integers(xp: Any, a: Array, b: Array) -> Array:
        """In 64 bits, of which the lowest are the power in fewer; only 1 and -1 have one below 0."""
        base = a.astype("int64" if a.dtype.kind == "i" else "uint64")
        power = base ** xp.where(b < 0, b & 1, b).astype(base.dtype)
        return power if b.dtype.kind == "u" else xp.where((b < 0) & (abs(base) != 1), 0, power)

    def _gradients(self, xp: Any, grad: Array, *saved: Any) -> Gradients:
        a, b, y = saved
        exponent = b.astype(a.dtype, copy=False)
        zero = exponent == 0  # the slope is 0 there, also at a = 0
        slope = xp.where(zero, 0, exponent * xp.power(xp.where(zero, 1, a), exponent - 1))
        da = unbroadcast((grad * slope).astype(a.dtype, copy=False), a.shape)
        if not is_floating(b.dtype):
            return da, None
        log = xp.log(xp.where(a > 0, a, 1))
        return da, unbroadcast(grad * y * log, b.shape)


class Sum(Operator):
    """The sum of all inputs."""

    def _compute(self, xp: Any, *inputs: Array) -> Result:
        y = inputs[0]
        for x in inputs[1:]:
            y = y + x
        return y, tuple([x.shape for x in inputs])

    def _gradients(self, xp: Any, grad: Array, *saved: Any) -> Gradients:
        return tuple([unbroadcast(grad, shape) for shape in saved])


class Mean(Sum):
    """The mean of all inputs."""

    def _compute(self, xp: Any, *inputs: Array) -> Result:
        y, shapes = super()._compute(xp, *inputs)
        return y / len(inputs), shapes

    def _gradients(self, xp: Any, grad: Array, *saved: Any) -> Gradients:
        return super()._gradients(xp, grad / len(saved), *saved)


class Max(Operator):
    """The largest of all inputs; those that are equal share the gradient."""

    _choose = "maximum"

    def _compute(self, xp: Any, *inputs: Array) -> Result:
        y = inputs[0]
        for x in inputs[1:]:
            y = getattr(xp, self._choose)(y, x)
        return y, (y, inputs)

    def _gradients(self, xp: Any, grad: Array, *saved: Any) -> Gradients:
        y, inputs = saved
        chosen = [x == y for x in inputs]
        if len(inputs) > 1:
            count = sum(where.astype(grad.dtype) for where in chosen)
            grad = grad / xp.maximum(count, 1)  # NaN equals nothing
        return tuple(
            [unbroadcast(xp.where(c, grad, 0), x.shape) for c, x in zip(chosen, inputs, strict=True)]
        )


class Min(Max):
    """The smallest of all inputs; those that are equal share the gradient."""

    _choose = "minimum"


class Where(Operator):
    """`a` where the condition is true, else `b`."""

    def _compute(self, xp: Any, condition: Array, a: Array, b: Array) -> Result:
        return xp.where(condition, a, b), (condition, a.shape, b.shape)

    def _gradients(self, xp: Any, grad: Array, *saved: Any) -> Gradients:
        condition, a, b = saved
        return (
            None,
            unbroadcast(xp.where(condition, grad, 0), a),
            unbroadcast(xp.where(condition, 0, grad), b),
        )


class Clip(Operator):
    """`min(max(x, low), high)`, in which a bound may be left out.

    The gradient of `x` passes from bound to bound inclusively; a bound gets that of the elements beyond it.

    Args:
        low, high: the bounds; None is none.
        bounds: the names of those that are inputs.
    """

    low: Any
    high: Any
    bounds: tuple[str, ...]

    def __init__(self, low: Any = None, high: Any = None, bounds: Sequence[str] = ()) -> None:
        self.low, self.high, self.bounds = low, high, tuple(bounds)

    def _compute(self, xp: Any, x: Array, *bounds: Array) -> Result:
        given = dict(zip(self.bounds, bounds, strict=True))
        low, high = given.get("low", self.low), given.get("high", self.high)
        y = x if low is None else xp.maximum(x, low)
        y = y if high is None else xp.minimum(y, high)
        return y, (x, low, high)

    def _gradients(self, xp: Any, grad: Array, *saved: Any) -> Gradients:
        x, low, high = saved
        inside, parts = xp.ones(x.shape, dtype=bool), {}
        if low is not None:
            below = x < low
            inside = inside & ~below
            parts["low"] = below if high is None else below & (low <= high)
        if high is not None:
            parts["high"] = (x if low is None else xp.maximum(x, low)) > high
            inside = inside & ~parts["high"]
        shapes = {"low": getattr(low, "shape", ()), "high": getattr(high, "shape", ())}
        grads = [unbroadcast(xp.where(parts[name], grad, 0), shapes[name]) for name in self.bounds]
        return xp.where(inside, grad, 0), *grads
