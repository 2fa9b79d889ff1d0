"""Sums, means and extremes over axes."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from ...backend import Array
from ...dtypes import is_floating
from ...sums import total
from .operator import Operator, to_axes, to_numbers

Result = tuple[Any, tuple[Any, ...]]


class _Reduction(Operator):
    """A number for all elements along some axes.

    Args:
        axes: the axes; None or () are all.
        keepdims: whether the axes remain, with size 1.
        noop_with_empty_axes: whether without axes `x` is returned, instead of the reduction of all axes.
        inputs: `("axes",)` if they are an input.
    """

    settings = ("axes",)

    def __init__(
        self,
        axes: Sequence[int] | None = None,
        keepdims: bool = True,
        noop_with_empty_axes: bool = False,
        inputs: Sequence[str] = (),
    ) -> None:
        self.axes, self.inputs = to_numbers(axes), tuple(inputs)
        self.keepdims, self.noop_with_empty_axes = keepdims, noop_with_empty_axes

    def _compute(self, xp: Any, x: Array, axes: Sequence[int] | None) -> Result:
        axes = to_axes(type(self).__name__, axes or (), x.ndim)
        if not axes and not self.noop_with_empty_axes:
            axes = tuple(range(x.ndim))
        y, saved = self._reduce(xp, x, axes)
        y = y.astype(x.dtype, copy=False)
        if not self.keepdims:
            y = y.reshape([n for axis, n in enumerate(x.shape) if axis not in axes])
        return y, (tuple([1 if axis in axes else n for axis, n in enumerate(x.shape)]), x.shape, saved)

    def _gradients(self, xp: Any, grad: Array, *saved: Any) -> Sequence[Array | None]:
        kept, shape, rest = saved
        return (self._spread(xp, xp.broadcast_to(grad.reshape(kept), shape), *rest),)

    def _reduce(self, xp: Any, x: Array, axes: tuple[int, ...]) -> Result:
        """The result, with axes of size 1, and what `_spread` takes."""
        raise NotImplementedError

    def _spread(self, xp: Any, grad: Array, *saved: Any) -> Array:
        """The gradient of `x`, from that of the result, which has been broadcast."""
        raise NotImplementedError


class ReduceSum(_Reduction):
    """The sum over axes; each element gets the gradient of its sum."""

    def _reduce(self, xp: Any, x: Array, axes: tuple[int, ...]) -> Result:
        return _sum(x, axes), ()

    def _spread(self, xp: Any, grad: Array, *saved: Any) -> Array:
        return grad.copy()


class ReduceMean(_Reduction):
    """The mean over axes; each element gets an equal part of the gradient."""

    def _reduce(self, xp: Any, x: Array, axes: tuple[int, ...]) -> Result:
        count = prod([x.shape[axis] for axis in axes])
        return _sum(x, axes) / count, (count,)

    def _spread(self, xp: Any, grad: Array, *saved: Any) -> Array:
        return grad / saved[0]


class ReduceMax(_Reduction):
    """The largest over axes; those that are equal share the gradient."""

    _choose = "max"

    def _reduce(self, xp: Any, x: Array, axes: tuple[int, ...]) -> Result:
        if x.size or all(x.shape[axis] for axis in axes):
            y = getattr(xp, self._choose)(x, axis=axes, keepdims=True) if axes else x
        else:
            shape = [1 if axis in axes else n for axis, n in enumerate(x.shape)]
            y = xp.full(shape, _least(xp, x.dtype, self._choose == "max"), dtype=x.dtype)
        return y, (x, y, axes)

    def _spread(self, xp: Any, grad: Array, *saved: Any) -> Array:
        x, y, axes = saved
        chosen = x == y
        count = _sum(chosen.astype(grad.dtype), axes)
        return xp.where(chosen, grad / xp.maximum(count, 1), 0)


class ReduceMin(ReduceMax):
    """The smallest over axes; those that are equal share the gradient."""

    _choose = "min"


class ReduceL2(_Reduction):
    """The root of the sum of squares, with the gradient `x/y`, and 0 where `y` is 0."""

    def _reduce(self, xp: Any, x: Array, axes: tuple[int, ...]) -> Result:
        y = xp.sqrt(_sum(x * x, axes))
        return y, (x, y)

    def _spread(self, xp: Any, grad: Array, *saved: Any) -> Array:
        x, y = saved
        return grad * (x / xp.where(y == 0, 1, y)).astype(grad.dtype, copy=False)


class ReduceSumSquare(_Reduction):
    """The sum of squares, with the gradient `2 x`."""

    def _reduce(self, xp: Any, x: Array, axes: tuple[int, ...]) -> Result:
        return _sum(x * x, axes), (x,)

    def _spread(self, xp: Any, grad: Array, *saved: Any) -> Array:
        return grad * saved[0] * 2


def _sum(x: Array, axes: tuple[int, ...]) -> Array:
    """The sum with axes of size 1; of floating arrays in a dtype that keeps its digits."""
    if is_floating(x.dtype):
        return total(x, axes, keepdims=True)
    return x.sum(axis=axes, keepdims=True, dtype=x.dtype)


def _least(xp: Any, dtype: Any, lowest: bool) -> Any:
    """What the maximum of no elements is (`lowest`), or the minimum."""
    if dtype.kind == "b":
        return not lowest
    if is_floating(dtype):
        return -xp.inf if lowest else xp.inf
    limits = xp.iinfo(dtype)
    return limits.min if lowest else limits.max
