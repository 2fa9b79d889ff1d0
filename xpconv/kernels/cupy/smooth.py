"""Smooth functions of each element, one launch each."""

from __future__ import annotations

from typing import Any

from ...backend import Array
from .pointwise import function

FILE = "smooth.cu"


def sigmoid(xp: Any, x: Array) -> Array | None:
    """One launch; the result has the memory order of `x`."""
    return function(xp, FILE, "sigmoid", (x,))


def sigmoid_backward(xp: Any, grad: Array, y: Array) -> Array | None:
    """One launch; the result has the memory order of `y`."""
    return function(xp, FILE, "sigmoid_back", (grad, y))


def tanh_backward(xp: Any, grad: Array, y: Array) -> Array | None:
    """One launch; the result has the memory order of `y`."""
    return function(xp, FILE, "tanh_back", (grad, y))


def log_sigmoid(xp: Any, x: Array) -> Array | None:
    """One launch; the result has the memory order of `x`."""
    return function(xp, FILE, "log_sigmoid", (x,))


def log_sigmoid_backward(xp: Any, grad: Array, x: Array) -> Array | None:
    """One launch; the result has the memory order of `x`."""
    return function(xp, FILE, "log_sigmoid_back", (grad, x))


def softplus(xp: Any, x: Array, beta: float, threshold: float) -> Array | None:
    """One launch; the result has the memory order of `x`."""
    return function(xp, FILE, "softplus", (x,), float(beta), float(threshold))


def softplus_backward(xp: Any, grad: Array, x: Array, beta: float, threshold: float) -> Array | None:
    """One launch; the result has the memory order of `x`."""
    return function(xp, FILE, "softplus_back", (grad, x), float(beta), float(threshold))


def silu(xp: Any, x: Array) -> Array | None:
    """One launch; the result has the memory order of `x`."""
    return function(xp, FILE, "silu", (x,))


def silu_backward(xp: Any, grad: Array, x: Array) -> Array | None:
    """One launch; the result has the memory order of `x`."""
    return function(xp, FILE, "silu_back", (grad, x))


def mish(xp: Any, x: Array) -> Array | None:
    """One launch; the result has the memory order of `x`."""
    return function(xp, FILE, "mish", (x,))


def mish_backward(xp: Any, grad: Array, x: Array) -> Array | None:
    """One launch; the result has the memory order of `x`."""
    return function(xp, FILE, "mish_back", (grad, x))
