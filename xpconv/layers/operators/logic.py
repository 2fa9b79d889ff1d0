"""Comparisons, booleans, conversions and positions: what has no gradient, but for `Cast`."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, ClassVar

from ...backend import Array
from ...dtypes import to_dtype
from .operator import Operator, to_axis

Result = tuple[Any, tuple[Any, ...]]


class _Comparison(Operator):
    """A function of two arrays that gives booleans."""

    f: ClassVar[Callable[..., Any]]

    def _compute(self, xp: Any, a: Array, b: Array) -> Result:
        return type(self).f(a, b), ()


class Equal(_Comparison):
    """`a == b`."""

    f = operator.eq


class Greater(_Comparison):
    """`a > b`."""

    f = operator.gt


class GreaterOrEqual(_Comparison):
    """`a >= b`."""

    f = operator.ge


class Less(_Comparison):
    """`a < b`."""

    f = operator.lt


class LessOrEqual(_Comparison):
    """`a <= b`."""

    f = operator.le


class And(_Comparison):
    """`a and b` of booleans."""

    f = operator.and_


class Or(_Comparison):
    """`a or b` of booleans."""

    f = operator.or_


class Xor(_Comparison):
    """Whether one of two booleans is true, and not both."""

    f = operator.xor


class BitwiseAnd(And):
    """`a & b` of the bits of integers."""


class BitwiseOr(Or):
    """`a | b` of the bits of integers."""


class BitwiseXor(Xor):
    """`a ^ b` of the bits of integers."""


class BitShift(Operator):
    """`a` shifted by `b` bits, of integers; what is shifted in are zeros, or the sign on the left."""

    def __init__(self, left: bool) -> None:
        self.left = left

    def _compute(self, xp: Any, a: Array, b: Array) -> Result:
        bits = 8 * a.dtype.itemsize
        shift = xp.minimum(b, bits - 1).astype(a.dtype)
        y = a << shift if self.left else a >> shift
        gone = (b >= bits) & (self.left or a.dtype.kind == "u")
        return xp.where(gone, 0, y).astype(a.dtype), ()


class Cast(Operator):
    """`x` in another dtype. Between floating dtypes the gradient is cast back."""

    _dtype_setting = "target"

    def __init__(self, target: str) -> None:
        self.target = target

    def _compute(self, xp: Any, x: Array) -> Result:
        return x.astype(to_dtype("Cast", xp, self.target)), ()

    def _gradients(self, xp: Any, grad: Array, *saved: Any) -> tuple[Array | None]:
        return (grad,)


class OnesLike(Operator):
    """1 (or True) for each element of `x`, in another dtype."""

    _dtype_setting = "target"

    def __init__(self, target: str = "bool") -> None:
        self.target = target

    def _compute(self, xp: Any, x: Array) -> Result:
        return xp.ones(x.shape, dtype=self.target), ()


class ArgMax(Operator):
    """The position of the largest element along an axis, int64; of equal ones the first, or the last.

    Args:
        axis: the axis.
        keepdims: whether it remains, with size 1.
        select_last_index: whether the last of equal elements counts.
    """

    axis: int
    keepdims: bool
    select_last_index: bool
    _choose: ClassVar[str] = "argmax"

    def __init__(self, axis: int = 0, keepdims: bool = True, select_last_index: bool = False) -> None:
        self.axis, self.keepdims, self.select_last_index = axis, keepdims, select_last_index

    def _compute(self, xp: Any, x: Array) -> Result:
        axis = to_axis(type(self).__name__, self.axis, x.ndim)
        n = x.shape[axis] if x.ndim else 1
        if self.select_last_index:
            x = xp.flip(x, axis)
        y = getattr(xp, self._choose)(x, axis=axis).astype("int64")
        if self.select_last_index:
            y = n - 1 - y
        return (xp.expand_dims(y, axis) if self.keepdims else y), ()


class Hardmax(Operator):
    """1 at the first largest element along an axis, and 0 elsewhere; the gradient is 0."""

    def __init__(self, axis: int = -1) -> None:
        self.axis = axis

    def _compute(self, xp: Any, x: Array) -> Result:
        axis = to_axis("Hardmax.forward", self.axis, x.ndim)
        if not x.size:
            return x.copy(), ()
        first = xp.expand_dims(xp.argmax(x, axis=axis), axis)
        here = first == xp.arange(x.shape[axis]).reshape(-1, *(1,) * (x.ndim - 1 - axis))
        return here.astype(x.dtype), ()

    def _gradients(self, xp: Any, grad: Array, *saved: Any) -> tuple[Array]:
        return (xp.zeros_like(grad),)


class ArgMin(ArgMax):
    """The position of the smallest element along an axis, as `ArgMax`."""

    _choose = "argmin"
