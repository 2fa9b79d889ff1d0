"""Elementwise functions of one launch each. Unlike CuPy's, they preserve channels-last memory."""

from __future__ import annotations

from typing import Any

from ...backend import Array
from ...geometry import Bounds
from .launch import TYPES, empty_images, ends, launch, name_of, pixels

FILE = "pointwise.cu"


def clip(xp: Any, x: Array, low: float, high: float | None) -> Array:
    """In the memory order of `x`."""
    return run(xp, "clip", (x,), *ends((low, high)))


def clip_backward(xp: Any, grad: Array, y: Array, low: float, high: float | None) -> Array:
    """In the memory order of `y`."""
    return run(xp, "clip_back", (grad, y), *ends((low, high)))


def add(xp: Any, a: Array, b: Array, bounds: Bounds = None) -> Array:
    """In the memory order of `b`."""
    if a.dtype != b.dtype:
        return a + b if bounds is None else clip(xp, a + b, *bounds)
    if bounds is None:
        return run(xp, "add", (a, b))
    return run(xp, "add_bounded", (a, b), *ends(bounds))


def run(xp: Any, name: str, arrays: tuple[Array, ...], *arguments: Any, file: str = FILE) -> Array:
    """Run a kernel over arrays of one shape, in the memory order of the last one: C or channels-last."""
    like = arrays[-1]
    if like.ndim > 2 and not like.flags.c_contiguous:
        plain, y = [pixels(xp, x) for x in arrays], empty_images(xp, like.shape, like.dtype)
    else:
        plain, y = [xp.ascontiguousarray(x) for x in arrays], xp.ndarray(like.shape, like.dtype)
    launch(xp, file, name, y.size, *plain, y, *arguments, each=4)
    return y


def function(xp: Any, file: str, name: str, arrays: tuple[Array, ...], *arguments: Any) -> Array | None:
    """Call `run` if all arrays have the shape and the floating dtype of the last one."""
    *others, x = arrays
    fits = all(a.dtype == x.dtype and a.shape == x.shape for a in others)
    return run(xp, name, arrays, *arguments, file=file) if fits and name_of(x.dtype) in TYPES else None
