"""Elementwise functions of one launch each. Unlike CuPy's, they preserve channels-last memory."""

from __future__ import annotations

from typing import Any

from ...backend import Array
from ...geometry import Bounds
from .launch import TYPES, last, launch, name_of

FILE = "pointwise.cu"


def clip(xp: Any, x: Array, low: float, high: float | None) -> Array:
    """In the memory order of `x`."""
    return run(xp, "clip", (x,), 1 if high is None else 2, float(low), float(high or 0.0))


def clip_backward(xp: Any, grad: Array, y: Array, low: float, high: float | None) -> Array:
    """In the memory order of `y`."""
    return run(xp, "clip_back", (grad, y), 1 if high is None else 2, float(low), float(high or 0.0))


def add(xp: Any, a: Array, b: Array, bounds: Bounds = None) -> Array:
    """In the memory order of `b`."""
    y = a + b if a.dtype != b.dtype else run(xp, "add", (a, b))
    return y if bounds is None else clip(xp, y, *bounds)


def run(xp: Any, name: str, arrays: tuple[Array, ...], *arguments: Any, file: str = FILE) -> Array:
    """Run a kernel over arrays of one shape, in the memory order of the last one: C or channels-last."""
    images = arrays[-1].ndim > 2 and not arrays[-1].flags.c_contiguous
    plain = [last(xp, x) if images else xp.ascontiguousarray(x) for x in arrays]
    y = xp.empty(plain[-1].shape, dtype=plain[-1].dtype)
    launch(xp, file, name, y.size, *plain, y, *arguments, each=4)
    return xp.moveaxis(y, -1, 1) if images else y.reshape(arrays[-1].shape)


def function(xp: Any, file: str, name: str, arrays: tuple[Array, ...], *arguments: Any) -> Array | None:
    """`run`, if all arrays have the last one's dtype, which is floating, and its shape."""
    *others, x = arrays
    fits = all(a.dtype == x.dtype and a.shape == x.shape for a in others)
    return run(xp, name, arrays, *arguments, file=file) if fits and name_of(x.dtype) in TYPES else None
