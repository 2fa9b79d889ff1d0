"""Piecewise pointwise functions; the smooth ones are in `smooth.py`.

Each backward is a function of the one array that forward saves: the output `y` (`relu`, `clip`) or the input
`x`. Where two pieces meet, the gradient is PyTorch's; at NaN, where that depends on the number of elements,
it is one of those. Where a function is constant, it is 0, also for a `grad` of NaN.
"""

from __future__ import annotations

from typing import Any

from ..backend import Array
from ..kernels import in_float32, overridable


@overridable
def arithmetic(xp: Any, function: str, a: Array, b: Array) -> Array:
    """`add`, `subtract`, `multiply` or `divide` of two arrays, which are broadcast."""
    y: Array = getattr(xp, function)(a, b)
    return y


@overridable
def clip(xp: Any, x: Array, low: float, high: float | None) -> Array:
    """`y = min(max(x, low), high)`, without `high` the maximum alone; NaN stays NaN."""
    y = xp.maximum(x, low)
    return y if high is None else xp.minimum(y, high)


@overridable
def clip_backward(xp: Any, grad: Array, y: Array, low: float, high: float | None) -> Array:
    """`dy/dx` is 1 where `low < y < high` (or NaN), else 0: also where `x` is a bound, as in PyTorch."""
    return xp.where(y <= low if high is None else (y <= low) | (y >= high), 0, grad)


def relu(xp: Any, x: Array) -> Array:
    """`y = max(x, 0)`; NaN stays NaN."""
    return clip(xp, x, 0.0, None)


def relu_backward(xp: Any, grad: Array, y: Array) -> Array:
    """`dy/dx` is 0 where `y <= 0` and else 1, so 0 at the kink, as in PyTorch."""
    return clip_backward(xp, grad, y, 0.0, None)


@overridable
@in_float32
def leaky_relu(xp: Any, x: Array, slope: float | Array) -> Array:
    """`y = x` where `x > 0`, else `slope x`."""
    return xp.where(x > 0, x, x * slope)


@overridable
@in_float32
def leaky_relu_backward(xp: Any, grad: Array, x: Array, slope: float | Array) -> Array:
    """`dy/dx` is 1 where `x > 0`, else `slope`."""
    return xp.where(x > 0, grad, grad * slope)


def leaky_relu_backward_slope(xp: Any, grad: Array, x: Array) -> Array:
    """`dy/dslope` is 0 where `x > 0`, else `x`; not summed over the elements that share a slope."""
    return xp.where(x > 0, 0, grad * x)


@overridable
@in_float32
def elu(xp: Any, x: Array, alpha: float, scale: float, rate: float) -> Array:
    """`y = scale x` where `x > 0`, else `scale alpha (exp(rate x) - 1)`."""
    return xp.where(x > 0, x * scale, xp.expm1(xp.minimum(x, 0) * rate) * (alpha * scale))


@overridable
@in_float32
def elu_backward(xp: Any, grad: Array, x: Array, alpha: float, scale: float, rate: float) -> Array:
    """`dy/dx` is `scale` where `x > 0`, else `scale alpha rate exp(rate x)`."""
    slope = xp.exp(xp.minimum(x, 0) * rate) * (alpha * scale * rate)
    return grad * xp.where(x > 0, scale, slope)


@overridable
@in_float32
def hardsigmoid(xp: Any, x: Array) -> Array:
    """`y = min(max(x + 3, 0), 6) / 6`."""
    return clip(xp, x + 3, 0, 6) / 6


@overridable
@in_float32
def clipped_line(xp: Any, x: Array, slope: float, offset: float) -> Array:
    """`y = min(max(slope x + offset, 0), 1)`."""
    return clip(xp, x * slope + offset, 0, 1)


@overridable
def hardsigmoid_backward(xp: Any, grad: Array, x: Array) -> Array:
    """`dy/dx` is 1/6 where `-3 < x < 3`, else (and at NaN) 0."""
    return xp.where((x > -3) & (x < 3), grad / 6, 0)


@overridable
@in_float32
def hardswish(xp: Any, x: Array) -> Array:
    """`y = x min(max(x + 3, 0), 6) / 6`."""
    return arithmetic(xp, "multiply", x, hardsigmoid(xp, x))


@overridable
@in_float32
def hardswish_backward(xp: Any, grad: Array, x: Array) -> Array:
    """`dy/dx` is 0 up to -3, 1 from 3 on, and between them `d/dx (x² + 3x)/6 = x/3 + 1/2`."""
    inner = clip(xp, x, -3, 3)
    return xp.where(x <= -3, 0, grad * xp.where(x < 3, inner / 3 + 0.5, 1))


def hardshrink(xp: Any, x: Array, lambd: float) -> Array:
    """`y = 0` where `-lambd <= x <= lambd`, else `x`."""
    return xp.where((x >= -lambd) & (x <= lambd), 0, x)


def softshrink(xp: Any, x: Array, lambd: float) -> Array:
    """`y = x - min(max(x, -lambd), lambd)`: `lambd` closer to 0, and 0 from there inwards."""
    return x - clip(xp, x, -lambd, lambd)


def shrink_backward(xp: Any, grad: Array, x: Array, lambd: float) -> Array:
    """Of both: `dy/dx` is 0 where `-lambd <= x <= lambd`, else 1."""
    return xp.where((x >= -lambd) & (x <= lambd), 0, grad)


def threshold(xp: Any, x: Array, limit: float, value: float) -> Array:
    """`y = x` where `x > limit`, else `value`."""
    return xp.where(x <= limit, value, x).astype(x.dtype, copy=False)


def threshold_backward(xp: Any, grad: Array, x: Array, limit: float, value: float) -> Array:
    """`dy/dx` is 0 where `x <= limit`, else 1."""
    return xp.where(x <= limit, 0, grad)
