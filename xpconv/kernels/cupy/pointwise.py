"""Elementwise functions of one launch each. Unlike CuPy's, they preserve channels-last memory."""

from __future__ import annotations

from typing import Any

from ...backend import Array
from ...geometry import Bounds
from .launch import last, launch

FILE = "pointwise.cu"


def clip(xp: Any, x: Array, low: float, high: float | None) -> Array:
    """In the memory order of `x`."""
    return _run(xp, "clip", (x,), 1 if high is None else 2, float(low), float(high or 0.0))


def clip_backward(xp: Any, grad: Array, y: Array, low: float, high: float | None) -> Array:
    """In the memory order of `y`."""
    return _run(xp, "clip_back", (grad, y), 1 if high is None else 2, float(low), float(high or 0.0))


def add(xp: Any, a: Array, b: Array, bounds: Bounds = None) -> Array:
    """In the memory order of `b`."""
    y = a + b if a.dtype != b.dtype else _run(xp, "add", (a, b))
    return y if bounds is None else clip(xp, y, *bounds)


def _run(xp: Any, name: str, arrays: tuple[Array, ...], *arguments: Any) -> Array:
    """Run a kernel over arrays of one shape, in the memory order of the last one: C or channels-last."""
    images = arrays[-1].ndim > 2 and not arrays[-1].flags.c_contiguous
    plain = [last(xp, x) if images else xp.ascontiguousarray(x) for x in arrays]
    y = xp.empty(plain[-1].shape, dtype=plain[-1].dtype)
    launch(xp, FILE, name, y.size, *plain, y, *arguments, each=4)
    return xp.moveaxis(y, -1, 1) if images else y.reshape(arrays[-1].shape)
