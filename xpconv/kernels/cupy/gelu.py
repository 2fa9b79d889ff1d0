"""GELU, one launch forward and one backward."""

from __future__ import annotations

from typing import Any

from ...backend import Array
from .pointwise import function

FILE = "gelu.cu"


def gelu(xp: Any, x: Array) -> tuple[Array, Array | None] | None:
    """One launch; backward computes Φ(x) again, which costs less than writing and reading it."""
    y = function(xp, FILE, "gelu", (x,))
    return None if y is None else (y, None)


def gelu_backward(xp: Any, grad: Array, x: Array, phi: Array | None) -> Array | None:
    """One launch; the result has the memory order of `x`."""
    return function(xp, FILE, "gelu_back", (grad, x))


def gelu_tanh(xp: Any, x: Array) -> Array | None:
    """One launch; the result has the memory order of `x`."""
    return function(xp, FILE, "gelu_tanh", (x,))


def gelu_tanh_backward(xp: Any, grad: Array, x: Array) -> Array | None:
    """One launch; the result has the memory order of `x`."""
    return function(xp, FILE, "gelu_tanh_back", (grad, x))
