"""Functions of one array, element by element."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar

from ...backend import Array, ignoring_float_errors
from ...ops.activation import clipped_line, elu, elu_backward
from ...ops.special import erf
from ..pointwise import Pointwise
from .operator import Operator

Result = tuple[Any, tuple[Any, ...]]


class _Function(Operator):
    """`y = f(x)`. A subclass defines `f(xp, x)` and `slope(xp, x, y)`, which is dy/dx, or None for 0."""

    f: ClassVar[Callable[..., Array]]
    slope: ClassVar[Callable[..., Array] | None] = None

    def _compute(self, xp: Any, x: Array) -> Result:
        y = type(self).f(xp, x)
        return y, (x, y)

    def _gradients(self, xp: Any, grad: Array, *saved: Any) -> tuple[Array]:
        slope = type(self).slope
        if slope is None:
            return (xp.zeros_like(grad),)
        return (grad * slope(xp, *saved),)


class Neg(_Function):
    """`-x`."""

    f = staticmethod(lambda xp, x: -x)
    slope = staticmethod(lambda xp, x, y: -1)


class Abs(_Function):
    """`|x|`; the gradient at 0 is 0."""

    f = staticmethod(lambda xp, x: abs(x))
    slope = staticmethod(lambda xp, x, y: xp.sign(x))


class Sqrt(_Function):
    """`√x`, with the gradient `1/(2√x)`."""

    f = staticmethod(lambda xp, x: xp.sqrt(x))
    slope = staticmethod(lambda xp, x, y: 0.5 / y)


class Exp(_Function):
    """`exp(x)`, which is its own gradient."""

    f = staticmethod(lambda xp, x: xp.exp(x))
    slope = staticmethod(lambda xp, x, y: y)


class Log(_Function):
    """`log(x)`, with the gradient `1/x`."""

    f = staticmethod(lambda xp, x: xp.log(x))
    slope = staticmethod(lambda xp, x, y: 1 / x)


class Reciprocal(_Function):
    """`1/x`, with the gradient `-1/x²`."""

    f = staticmethod(lambda xp, x: 1 / x)
    slope = staticmethod(lambda xp, x, y: -y * y)


class Sin(_Function):
    """`sin(x)`, with the gradient `cos(x)`."""

    f = staticmethod(lambda xp, x: xp.sin(x))
    slope = staticmethod(lambda xp, x, y: xp.cos(x))


class Cos(_Function):
    """`cos(x)`, with the gradient `-sin(x)`."""

    f = staticmethod(lambda xp, x: xp.cos(x))
    slope = staticmethod(lambda xp, x, y: -xp.sin(x))


class Tan(_Function):
    """`tan(x)`, with the gradient `1 + tan²(x)`."""

    f = staticmethod(lambda xp, x: xp.tan(x))
    slope = staticmethod(lambda xp, x, y: 1 + y * y)


class Sinh(_Function):
    """`sinh(x)`, with the gradient `cosh(x)`."""

    f = staticmethod(lambda xp, x: xp.sinh(x))
    slope = staticmethod(lambda xp, x, y: xp.cosh(x))


class Cosh(_Function):
    """`cosh(x)`, with the gradient `sinh(x)`."""

    f = staticmethod(lambda xp, x: xp.cosh(x))
    slope = staticmethod(lambda xp, x, y: xp.sinh(x))


class Asin(_Function):
    """`arcsin(x)`, with the gradient `1/√(1 - x²)`."""

    f = staticmethod(lambda xp, x: xp.arcsin(x))
    slope = staticmethod(lambda xp, x, y: 1 / xp.sqrt(1 - x * x))


class Acos(_Function):
    """`arccos(x)`, with the gradient `-1/√(1 - x²)`."""

    f = staticmethod(lambda xp, x: xp.arccos(x))
    slope = staticmethod(lambda xp, x, y: -1 / xp.sqrt(1 - x * x))


class Atan(_Function):
    """`arctan(x)`, with the gradient `1/(1 + x²)`."""

    f = staticmethod(lambda xp, x: xp.arctan(x))
    slope = staticmethod(lambda xp, x, y: 1 / (1 + x * x))


class Asinh(_Function):
    """`arsinh(x)`, with the gradient `1/√(x² + 1)`."""

    f = staticmethod(lambda xp, x: xp.arcsinh(x))
    slope = staticmethod(lambda xp, x, y: 1 / xp.sqrt(x * x + 1))


class Acosh(_Function):
    """`arcosh(x)`, with the gradient `1/√(x² - 1)`."""

    f = staticmethod(lambda xp, x: xp.arccosh(x))
    slope = staticmethod(lambda xp, x, y: 1 / xp.sqrt(x * x - 1))


class Atanh(_Function):
    """`artanh(x)`, with the gradient `1/(1 - x²)`."""

    f = staticmethod(lambda xp, x: xp.arctanh(x))
    slope = staticmethod(lambda xp, x, y: 1 / (1 - x * x))


class Erf(_Function):
    """The error function, with the gradient `2/√π exp(-x²)`."""

    f = staticmethod(lambda xp, x: erf(xp, x))
    slope = staticmethod(lambda xp, x, y: xp.exp(-x * x) * (2 / math.sqrt(math.pi)))


class Floor(_Function):
    """The largest integer up to `x`; the gradient is 0."""

    f = staticmethod(lambda xp, x: xp.floor(x))


class Ceil(_Function):
    """The smallest integer from `x` on; the gradient is 0."""

    f = staticmethod(lambda xp, x: xp.ceil(x))


class Round(_Function):
    """The nearest integer, the even one of two; the gradient is 0."""

    f = staticmethod(lambda xp, x: xp.rint(x))


class Sign(_Function):
    """-1, 0 or 1; the gradient is 0."""

    f = staticmethod(lambda xp, x: xp.sign(x))


class Not(_Function):
    """`not x` of booleans."""

    f = staticmethod(lambda xp, x: ~x)


class BitwiseNot(Not):
    """All bits of integers inverted."""


class IsNaN(_Function):
    """Whether `x` is NaN."""

    f = staticmethod(lambda xp, x: xp.isnan(x))


class IsInf(Operator):
    """Whether `x` is infinite, of either sign or of one.

    Args:
        detect_negative, detect_positive: which infinities count.
    """

    detect_negative: bool
    detect_positive: bool

    def __init__(self, detect_negative: bool = True, detect_positive: bool = True) -> None:
        self.detect_negative, self.detect_positive = detect_negative, detect_positive

    def _compute(self, xp: Any, x: Array) -> Result:
        sign = xp.signbit(x)
        return xp.isinf(x) & ((sign & self.detect_negative) | (~sign & self.detect_positive)), ()


class Selu(Pointwise):
    """`gamma x` where `x > 0`, else `gamma alpha (exp(x) - 1)`: `SELU` with other constants."""

    alpha: float
    gamma: float
    functions = ignoring_float_errors(elu), ignoring_float_errors(elu_backward)

    def __init__(self, alpha: float, gamma: float) -> None:
        self.alpha, self.gamma = alpha, gamma

    def _values(self) -> tuple[Any, ...]:
        return self.alpha, self.gamma, 1.0

    def extra_repr(self) -> str:
        return f"alpha={self.alpha}, gamma={self.gamma}"


class HardSigmoid(Operator):
    """`min(max(alpha x + beta, 0), 1)`; the gradient is 0 at the bounds and beyond."""

    alpha: float
    beta: float

    def __init__(self, alpha: float = 0.2, beta: float = 0.5) -> None:
        self.alpha, self.beta = alpha, beta

    def _compute(self, xp: Any, x: Array) -> Result:
        y = clipped_line(xp, x, self.alpha, self.beta)
        return y, (y,)

    def _gradients(self, xp: Any, grad: Array, *saved: Any) -> tuple[Array]:
        (y,) = saved
        return (xp.where((y > 0) & (y < 1), grad * self.alpha, 0),)


class Shrink(Operator):
    """`x + bias` where `x < -lambd`, `x - bias` where `x > lambd`, else 0."""

    lambd: float
    bias: float

    def __init__(self, lambd: float = 0.5, bias: float = 0.0) -> None:
        self.lambd, self.bias = lambd, bias

    def _compute(self, xp: Any, x: Array) -> Result:
        below, above = x < -self.lambd, x > self.lambd
        y = xp.where(below, x + self.bias, xp.where(above, x - self.bias, 0))
        return y.astype(x.dtype, copy=False), (below | above,)

    def _gradients(self, xp: Any, grad: Array, *saved: Any) -> tuple[Array]:
        return (xp.where(saved[0], grad, 0),)
