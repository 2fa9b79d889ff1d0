"""Images and numbers for each image or channel; sums over the pixels of each image."""

from __future__ import annotations

from math import prod
from typing import Any

from ...backend import Array
from .launch import TYPES, last, launch, name_of
from .pointwise import function as elementwise

FILE = "images.cu"
FUNCTIONS = ("add", "subtract", "multiply", "divide")
PIXELS = 256  # the most pixels of an image that one thread sums
PARTS = 32  # the most parts of an image that are summed separately


def arithmetic(xp: Any, function: str, a: Array, b: Array) -> Array | None:
    """One launch, if `b` has the shape of `a`, or one number for each image or channel."""
    if a.dtype != b.dtype or name_of(a.dtype) not in TYPES:
        return None
    if a.shape == b.shape and function == "add":
        return elementwise(xp, "pointwise.cu", "add", (b, a))
    return _by_number(xp, "arithmetic", a, b, FUNCTIONS.index(function))


def apply_mask(xp: Any, x: Array, mask: Array, gain: float) -> Array | None:
    """One launch; the result has the memory order of `x`."""
    return _by_number(xp, "apply_mask", x, mask, float(gain)) if name_of(x.dtype) in TYPES else None


def global_avg_pool(xp: Any, x: Array) -> Array | None:
    """One launch, or two for large images."""
    return _image_sums(xp, x, None, 1 / max(1, prod(x.shape[2:])))


def image_dot(xp: Any, a: Array, b: Array) -> Array | None:
    """One launch, or two for large images."""
    return _image_sums(xp, a, b, 1.0) if a.dtype == b.dtype and a.shape == b.shape else None


def adaptive_avg_pool_backward(xp: Any, grad: Array, spatial: tuple[int, ...]) -> Array | None:
    """One launch after global pooling."""
    if set(grad.shape[2:]) != {1} or name_of(grad.dtype) not in TYPES:
        return None
    (n, c), pixels = grad.shape[:2], prod(spatial)
    dx = xp.ndarray((n, *spatial, c), grad.dtype)
    grad = xp.ascontiguousarray(grad.reshape(n, c))
    launch(xp, FILE, "spread", dx.size, grad, dx, 1 / max(1, pixels), pixels, c)
    return xp.moveaxis(dx, -1, 1)


def _by_number(xp: Any, name: str, x: Array, numbers: Array, argument: float | int) -> Array | None:
    """Launch a kernel on `x (N, C, *S)` and `numbers`, which have its shape or one value for all pixels."""
    images = x.ndim > 2 and not x.flags.c_contiguous
    plain = last(xp, x) if images else xp.ascontiguousarray(x)
    image, inner = prod(x.shape[1:]), 1 if images else prod(x.shape[2:])
    if numbers.shape == x.shape:
        numbers, place = last(xp, numbers) if images else xp.ascontiguousarray(numbers), (1, 1, 1, 1, 0)
    elif x.ndim < 2 or numbers.ndim > x.ndim:
        return None
    else:
        n, c, *rest = (1,) * (x.ndim - numbers.ndim) + numbers.shape
        if n not in (1, x.shape[0]) or c not in (1, x.shape[1]) or prod(rest) != 1:
            return None
        numbers = xp.ascontiguousarray(numbers)
        place = image, inner, x.shape[1], c if n > 1 else 0, 1 if c > 1 else 0
    y = xp.ndarray(plain.shape, x.dtype)
    launch(xp, FILE, name, y.size, plain, numbers, y, argument, *place)
    return xp.moveaxis(y, -1, 1) if images else y.reshape(x.shape)


def _image_sums(xp: Any, x: Array, y: Array | None, factor: float) -> Array | None:
    """`factor` times the sums over pixels of `x`, or with `y` of `x · y`: `(N, C, 1, …)`."""
    if x.ndim < 3 or not x.size or name_of(x.dtype) not in TYPES:
        return None
    (n, c), pixels = x.shape[:2], prod(x.shape[2:])
    parts = max(1, min(PARTS, pixels // PIXELS))
    out = xp.ndarray((n, c, *(1,) * (x.ndim - 2)), x.dtype)
    sums = xp.ndarray((n, parts, c), "float64") if parts > 1 else 0
    other = 0 if y is None else last(xp, y)
    launch(
        xp, FILE, "image_sums", n * parts * c, last(xp, x), other, sums, out, float(factor), pixels, c, parts
    )
    if parts > 1:
        launch(
            xp, FILE, "merge_image_sums", n * c, sums, out, float(factor), c, parts, dtype=name_of(x.dtype)
        )
    return out
