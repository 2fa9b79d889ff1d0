"""Smooth pointwise functions. All exponentials are of numbers at most 0, so nothing overflows.

Each backward is a function of the one array that forward saves: its output `y` (`sigmoid`, `tanh`) or its
input `x`.
"""

from __future__ import annotations

import math
from typing import Any

from ..backend import Array
from ..kernels import in_float32, overridable
from ..sums import widened
from .activation import arithmetic
from .special import erf


@overridable
@in_float32
def sigmoid(xp: Any, x: Array) -> Array:
    """`y = 1 / (1 + exp(-x))`, from `z = exp(-|x|)`, which cannot overflow: 1/(1+z), or z/(1+z) for x < 0."""
    z = xp.exp(-xp.abs(x))
    return xp.where(x < 0, z, 1) / (1 + z)


@overridable
@in_float32
def sigmoid_backward(xp: Any, grad: Array, y: Array) -> Array:
    """`dy/dx = y (1 - y)`."""
    return grad * y * (1 - y)


def tanh(xp: Any, x: Array) -> Array:
    """`y = tanh(x)`."""
    return xp.tanh(x)


@overridable
@in_float32
def tanh_backward(xp: Any, grad: Array, y: Array) -> Array:
    """`dy/dx = 1 - y²`."""
    return grad * (1 - y * y)


@overridable
@in_float32
def log_sigmoid(xp: Any, x: Array) -> Array:
    """`y = log σ(x) = min(x, 0) - log(1 + exp(-|x|))`."""
    return xp.minimum(x, 0) - xp.log1p(xp.exp(-xp.abs(x)))


@overridable
@in_float32
def log_sigmoid_backward(xp: Any, grad: Array, x: Array) -> Array:
    """`dy/dx = σ'(x) / σ(x) = 1 - σ(x) = σ(-x)`."""
    return grad * sigmoid(xp, -x)


@overridable
@in_float32
def softplus(xp: Any, x: Array, beta: float, threshold: float) -> Array:
    """`y = log(1 + exp(z)) / beta` with `z = beta x`, or `x` where `z > threshold`.

    `log(1 + exp(z)) = max(z, 0) + log(1 + exp(-|z|))`.
    """
    z = x * beta
    return xp.where(z > threshold, x, _log_1p_exp(xp, z) / beta)


@overridable
@in_float32
def softplus_backward(xp: Any, grad: Array, x: Array, beta: float, threshold: float) -> Array:
    """`dy/dx = exp(z) / (1 + exp(z)) = σ(z)`, or 1 where `z > threshold`."""
    z = x * beta
    return xp.where(z > threshold, grad, grad * sigmoid(xp, z))


@overridable
@in_float32
def silu(xp: Any, x: Array) -> Array:
    """`y = x σ(x)`."""
    return arithmetic(xp, "multiply", x, sigmoid(xp, x))


@overridable
@in_float32
def silu_backward(xp: Any, grad: Array, x: Array) -> Array:
    """`dy/dx = σ(x) + x σ(x) (1 - σ(x))`, with s for `σ(x)`: `s (1 + x (1 - s))`."""
    s = sigmoid(xp, x)
    return grad * s * (1 + x * (1 - s))


@overridable
@in_float32
def mish(xp: Any, x: Array) -> Array:
    """`y = x tanh(softplus(x))`."""
    return x * xp.tanh(_log_1p_exp(xp, x))


@overridable
@in_float32
def mish_backward(xp: Any, grad: Array, x: Array) -> Array:
    """With t for `tanh(softplus(x))`, as softplus has the slope `σ(x)`: `dy/dx = t + x (1 - t²) σ(x)`."""
    t = xp.tanh(_log_1p_exp(xp, x))
    return grad * (t + x * (1 - t * t) * sigmoid(xp, x))


_SATURATED = 100.0  # from here on GELU is x or 0, and x² does not overflow yet


@overridable
@in_float32
def gelu(xp: Any, x: Array) -> tuple[Array, Array | None]:
    """`y = x Φ(x)` with the normal distribution function `Φ(x) = (1 + erf(x/√2)) / 2`.

    Returns y, and Φ(x) where `gelu_backward` is to be given it.
    """
    phi = _normal(xp, x)
    return x * phi, phi


@overridable
@in_float32
def gelu_backward(xp: Any, grad: Array, x: Array, phi: Array | None) -> Array:
    """`dy/dx = Φ(x) + x Φ'(x)`, with the normal density `Φ'(x) = exp(-x²/2) / √(2π)`."""
    r = xp.minimum(xp.abs(widened(x)) * math.sqrt(0.5), _SATURATED)
    phi = _normal(xp, x) if phi is None else phi
    slope = phi + x * xp.exp(-r * r) * (1 / math.sqrt(2 * math.pi))
    return grad * slope.astype(x.dtype, copy=False)


_TANH_SCALE, _TANH_CUBE = math.sqrt(2 / math.pi), 0.044715


@overridable
@in_float32
def gelu_tanh(xp: Any, x: Array) -> Array:
    """`y = x (1 + tanh u) / 2` with `u = √(2/π) (x + 0.044715 x³)`: `tanh u` is close to `erf(x/√2)`."""
    wide = xp.minimum(xp.maximum(widened(x), -_SATURATED), _SATURATED)
    phi = 0.5 * (1 + xp.tanh(wide * (1 + wide * wide * _TANH_CUBE) * _TANH_SCALE))
    return x * phi.astype(x.dtype, copy=False)


@overridable
@in_float32
def gelu_tanh_backward(xp: Any, grad: Array, x: Array) -> Array:
    """With t for `tanh u`: `dy/dx = (1 + t)/2 + x/2 (1 - t²) du/dx`, `du/dx = √(2/π) (1 + 3·0.044715 x²)`."""
    wide = xp.minimum(xp.maximum(widened(x), -_SATURATED), _SATURATED)
    square = wide * wide * _TANH_CUBE
    t = xp.tanh(wide * (1 + square) * _TANH_SCALE)
    slope = 0.5 * (1 + t + wide * (1 - t * t) * (1 + 3 * square) * _TANH_SCALE)
    return grad * slope.astype(x.dtype, copy=False)


@overridable
@in_float32
def softsign(xp: Any, x: Array) -> Array:
    """`y = x / (1 + |x|)`."""
    return x / (1 + xp.abs(x))


@overridable
@in_float32
def softsign_backward(xp: Any, grad: Array, x: Array) -> Array:
    """`dy/dx = (1 + |x| - x sign(x)) / (1 + |x|)² = 1 / (1 + |x|)²`."""
    r = 1 / (1 + xp.abs(x))
    return grad * r * r


@overridable
@in_float32
def tanhshrink(xp: Any, x: Array) -> Array:
    """`y = x - tanh(x)`."""
    return x - xp.tanh(x)


@overridable
@in_float32
def tanhshrink_backward(xp: Any, grad: Array, x: Array) -> Array:
    """`dy/dx = 1 - (1 - tanh²(x)) = tanh²(x)`."""
    t = xp.tanh(x)
    return grad * t * t


@overridable
@in_float32
def glu(xp: Any, a: Array, b: Array) -> Array:
    """`y = a σ(b)`, the gated linear unit: `a` and `b` are the two halves of the input."""
    return a * sigmoid(xp, b)


@overridable
@in_float32
def glu_backward(xp: Any, grad: Array, a: Array, b: Array) -> tuple[Array, Array]:
    """`dy/da = σ(b)`, `dy/db = a σ(b) (1 - σ(b))`."""
    s = sigmoid(xp, b)
    da = grad * s
    return da, da * a * (1 - s)


def _normal(xp: Any, x: Array) -> Array:
    phi: Array = (erf(xp, widened(x) * math.sqrt(0.5)) + 1) * 0.5
    return phi.astype(x.dtype, copy=False)


def _log_1p_exp(xp: Any, x: Array) -> Array:
    return xp.maximum(x, 0) + xp.log1p(xp.exp(-xp.abs(x)))
