"""Piecewise functions of each element, one launch each."""

from __future__ import annotations

from typing import Any

from ...backend import Array
from .pointwise import function

FILE = "piecewise.cu"


def leaky_relu(xp: Any, x: Array, slope: float | Array) -> Array | None:
    """One launch, if there is a single slope; the result has the memory order of `x`."""
    return None if hasattr(slope, "shape") else function(xp, FILE, "leaky_relu", (x,), float(slope))


def leaky_relu_backward(xp: Any, grad: Array, x: Array, slope: float | Array) -> Array | None:
    """One launch, if there is a single slope; the result has the memory order of `x`."""
    return None if hasattr(slope, "shape") else function(xp, FILE, "leaky_relu_back", (grad, x), float(slope))


def elu(xp: Any, x: Array, alpha: float, scale: float, rate: float) -> Array | None:
    """One launch; the result has the memory order of `x`."""
    return function(xp, FILE, "elu", (x,), float(alpha), float(scale), float(rate))


def elu_backward(xp: Any, grad: Array, x: Array, alpha: float, scale: float, rate: float) -> Array | None:
    """One launch; the result has the memory order of `x`."""
    return function(xp, FILE, "elu_back", (grad, x), float(alpha), float(scale), float(rate))


def clipped_line(xp: Any, x: Array, slope: float, offset: float) -> Array | None:
    """One launch; the result has the memory order of `x`."""
    return function(xp, FILE, "clipped_line", (x,), float(slope), float(offset))


def hardsigmoid(xp: Any, x: Array) -> Array | None:
    """One launch; the result has the memory order of `x`."""
    return function(xp, FILE, "hardsigmoid", (x,))


def hardsigmoid_backward(xp: Any, grad: Array, x: Array) -> Array | None:
    """One launch; the result has the memory order of `x`."""
    return function(xp, FILE, "hardsigmoid_back", (grad, x))


def hardswish(xp: Any, x: Array) -> Array | None:
    """One launch; the result has the memory order of `x`."""
    return function(xp, FILE, "hardswish", (x,))


def hardswish_backward(xp: Any, grad: Array, x: Array) -> Array | None:
    """One launch; the result has the memory order of `x`."""
    return function(xp, FILE, "hardswish_back", (grad, x))
