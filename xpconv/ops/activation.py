"""Pointwise functions. Each backward is written in the output `y`, the one array that forward keeps."""

from __future__ import annotations

from typing import Any

from ..backend import Array


def relu(xp: Any, x: Array) -> Array:
    """`y = max(x, 0)`; NaN stays NaN."""
    return xp.maximum(x, 0)


def relu_backward(xp: Any, grad: Array, y: Array) -> Array:
    """`dy/dx` is 0 where `y <= 0` and else 1, so 0 at the kink, as in PyTorch."""
    return xp.where(y <= 0, 0, grad)


def sigmoid(xp: Any, x: Array) -> Array:
    """`y = 1 / (1 + exp(-x))`, from `z = exp(-|x|)`, which cannot overflow: 1/(1+z), or z/(1+z) for x < 0."""
    z = xp.exp(-xp.abs(x))
    return xp.where(x < 0, z, 1) / (1 + z)


def sigmoid_backward(xp: Any, grad: Array, y: Array) -> Array:
    """`dy/dx = y (1 - y)`."""
    return grad * y * (1 - y)


def tanh(xp: Any, x: Array) -> Array:
    """`y = tanh(x)`."""
    return xp.tanh(x)


def tanh_backward(xp: Any, grad: Array, y: Array) -> Array:
    """`dy/dx = 1 - y²`."""
    return grad * (1 - y * y)


def log_softmax(xp: Any, x: Array, axis: int) -> Array:
    """`y = x - log Σ exp(x)` along `axis`; the maximum is taken out first, so nothing overflows."""
    x = x - x.max(axis=axis, keepdims=True)
    return x - xp.log(xp.exp(x).sum(axis=axis, keepdims=True))
