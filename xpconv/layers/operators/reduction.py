"""Sums, means and extremes over axes."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, ClassVar

from ...backend import Array
from ...dtypes import is_floating
from ...errors import ShapeError
from ...sums import total
from .operator import Operator, to_axes, to_axis, to_numbers

Result = tuple[Any, tuple[Any, ...]]


class _Reduction(Operator):
    """A number for all elements along some axes.

    Args:
        axes: the axes; None or () are all.
        keepdims: whether the axes remain, with size 1.
        noop_with_empty_axes: whether without axes `x` is returned, instead of the reduction of all axes.
        inputs: `("axes",)` if they are an input.
    """

    axes: tuple[Any, ...] | None
    inputs: tuple[str, ...]
    keepdims: bool
    noop_with_empty_axes: bool
    settings: ClassVar[tuple[str, ...]] = ("axes",)

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
        return y, (_reduced(x.shape, axes), x.shape, saved)

    def _gradients(self, xp: Any, grad: Array, *saved: Any) -> Sequence[Array | None]:
        reduced, shape, rest = saved
        return (self._spread(xp, xp.broadcast_to(grad.reshape(reduced), shape), *rest),)

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
    """The mean over axes, of integers truncated; each element gets an equal part of the gradient.

    Of no elements it is NaN, as in PyTorch; of integers 0. ONNX leaves that open, and onnxruntime gives 0.
    """

    def _reduce(self, xp: Any, x: Array, axes: tuple[int, ...]) -> Result:
        count = prod([x.shape[axis] for axis in axes])
        if is_floating(x.dtype):
            return _sum(x, axes) / count, (count,)
        sums = _sum(_in_64_bits(x), axes)
        magnitude = xp.where(sums < 0, -sums, sums) // max(1, count)  # what 0 elements have is open
        return xp.where(sums < 0, -magnitude, magnitude), (count,)

    def _spread(self, xp: Any, grad: Array, *saved: Any) -> Array:
        return grad / saved[0]


class ReduceMax(_Reduction):
    """The largest over axes; those that are equal share the gradient."""

    _choose = "max"

    def _reduce(self, xp: Any, x: Array, axes: tuple[int, ...]) -> Result:
        if x.size or all(x.shape[axis] for axis in axes):
            y = getattr(xp, self._choose)(x, axis=axes, keepdims=True) if axes else x
        else:
            y = xp.full(_reduced(x.shape, axes), _least(xp, x.dtype, self._choose == "max"), dtype=x.dtype)
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
        wide = x if is_floating(x.dtype) else _in_64_bits(x)
        y = xp.sqrt(_sum(wide * wide, axes))
        return y, (x, y)

    def _spread(self, xp: Any, grad: Array, *saved: Any) -> Array:
        x, y = saved
        return grad * (x / xp.where(y == 0, 1, y)).astype(grad.dtype, copy=False)


class ReduceL1(_Reduction):
    """The sum of `|x|`, with the gradient `sign(x)`."""

    def _reduce(self, xp: Any, x: Array, axes: tuple[int, ...]) -> Result:
        return _sum(abs(x), axes), (x,)

    def _spread(self, xp: Any, grad: Array, *saved: Any) -> Array:
        return grad * xp.sign(saved[0])


class ReduceLogSum(_Reduction):
    """The logarithm of the sum, with the gradient `1/sum`."""

    def _reduce(self, xp: Any, x: Array, axes: tuple[int, ...]) -> Result:
        sums = _sum(x, axes)
        return xp.log(sums), (sums,)

    def _spread(self, xp: Any, grad: Array, *saved: Any) -> Array:
        return grad / saved[0]


class ReduceLogSumExp(_Reduction):
    """`log(Σ exp(x))`, computed from the largest on, with the gradient `exp(x - y)`."""

    def _reduce(self, xp: Any, x: Array, axes: tuple[int, ...]) -> Result:
        if not x.size or not axes:
            y = x if not axes else xp.full(_reduced(x.shape, axes), -xp.inf, dtype=x.dtype)
        else:
            largest = x.max(axis=axes, keepdims=True)
            largest = xp.where(xp.isfinite(largest), largest, 0)
            y = xp.log(_sum(xp.exp(x - largest), axes)) + largest
        return y, (x, y)

    def _spread(self, xp: Any, grad: Array, *saved: Any) -> Array:
        x, y = saved
        return grad * xp.exp(x - y)


class ReduceProd(_Reduction):
    """The product, whose gradient for an element is the product of the others."""

    def _reduce(self, xp: Any, x: Array, axes: tuple[int, ...]) -> Result:
        return x.prod(axis=axes, keepdims=True, dtype=x.dtype), (x, axes)

    def _spread(self, xp: Any, grad: Array, *saved: Any) -> Array:
        """The others are those before, times those after."""
        x, axes = saved
        if not x.size or not axes:
            return grad.copy()
        rows = xp.moveaxis(x, axes, tuple(range(-len(axes), 0)))
        flat = rows.reshape(*rows.shape[: x.ndim - len(axes)], -1)
        one = xp.ones_like(flat[..., :1])
        before = xp.cumprod(xp.concatenate([one, flat[..., :-1]], -1), -1)
        after = xp.cumprod(xp.concatenate([one, xp.flip(flat, -1)[..., :-1]], -1), -1)
        others = (before * xp.flip(after, -1)).reshape(rows.shape)
        return grad * xp.moveaxis(others, tuple(range(-len(axes), 0)), axes)


class CumSum(Operator):
    """The sums of all elements up to each along an axis.

    Args:
        axis: the axis; `inputs` is `("axis",)` if it is an input.
        exclusive: whether an element itself is left out of its sum.
        reverse: whether the sums are those from each element on.
    """

    axis: tuple[int, ...]
    inputs: tuple[str, ...]
    exclusive: bool
    reverse: bool
    settings: ClassVar[tuple[str, ...]] = ("axis",)

    def __init__(
        self,
        axis: Sequence[int] = (0,),
        exclusive: bool = False,
        reverse: bool = False,
        inputs: Sequence[str] = (),
    ) -> None:
        self.axis, self.inputs = tuple(axis), tuple(inputs)
        self.exclusive, self.reverse = exclusive, reverse

    def _compute(self, xp: Any, x: Array, axis: Sequence[int]) -> Result:
        if len(axis) != 1 or not x.ndim:
            raise ShapeError(f"CumSum.forward: x has shape {x.shape}, and axis is {tuple(axis)}")
        place = to_axis("CumSum.forward", int(axis[0]), x.ndim)
        return self._sums(xp, x, place, self.reverse), (place,)

    def _gradients(self, xp: Any, grad: Array, *saved: Any) -> tuple[Array]:
        return (self._sums(xp, grad, saved[0], not self.reverse),)

    def _sums(self, xp: Any, x: Array, axis: int, reverse: bool) -> Array:
        x = xp.flip(x, axis) if reverse else x
        wide = x.astype("float64") if is_floating(x.dtype) else x  # float32's digits at any length
        y = xp.cumsum(wide, axis=axis, dtype=wide.dtype)
        y = (y - wide if self.exclusive else y).astype(x.dtype, copy=False)
        return xp.flip(y, axis) if reverse else y


class ReduceSumSquare(_Reduction):
    """The sum of squares, with the gradient `2 x`."""

    def _reduce(self, xp: Any, x: Array, axes: tuple[int, ...]) -> Result:
        return _sum(x * x, axes), (x,)

    def _spread(self, xp: Any, grad: Array, *saved: Any) -> Array:
        return grad * saved[0] * 2


def _reduced(shape: tuple[int, ...], axes: tuple[int, ...]) -> tuple[int, ...]:
    """The shape with axes of size 1."""
    return tuple([1 if axis in axes else n for axis, n in enumerate(shape)])


def _in_64_bits(x: Array) -> Array:
    """Integers in 64 bits, whose sums do not overflow."""
    return x.astype("uint64" if x.dtype.kind == "u" else "int64")


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
