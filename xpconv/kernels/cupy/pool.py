"""Pooling: one launch forward and one backward."""

from __future__ import annotations

from typing import Any

from ...backend import Array
from ...geometry import Bounds, Window
from ...sums import widened_for
from .launch import empty_images, geometry, lanes, launch, name_of, pixels, taps
from .pointwise import clip

FILE = "pool.cu"


def max_pool(
    xp: Any,
    x: Array,
    window: Window,
    ceil_mode: bool = False,
    winners: bool = True,
    bounds: Bounds = None,
) -> tuple[Array, Array | None] | None:
    """One thread per output; None for integers."""
    if x.dtype.kind in "iu":
        return None
    output = window.output_shape(x.shape[2:], ceil_mode)
    y = empty_images(xp, (*x.shape[:2], *output), x.dtype)
    kind = "uint8" if taps(window) < 255 else "int32"
    winner = empty_images(xp, y.shape, kind) if winners else None
    launch(
        xp, FILE, f"max_pool_{kind}", y.size, pixels(xp, x), y, 0 if winner is None else winner, x.shape[1],
        lanes(x.shape[1]), geometry(xp, window, x.shape[2:], output), each=lanes(x.shape[1]),
    )  # fmt: skip
    return y if bounds is None else clip(xp, y, *bounds), winner


def max_pool_backward(xp: Any, grad: Array, winner: Array, x_shape: tuple[int, ...], window: Window) -> Array:
    """One thread per input, which gathers the gradients of its windows."""
    dtype, grad = grad.dtype, widened_for(grad, window.overlaps())
    dx = empty_images(xp, x_shape, grad.dtype)
    launch(
        xp, FILE, f"max_pool_back_{name_of(winner.dtype)}", dx.size, pixels(xp, grad), pixels(xp, winner), dx,
        x_shape[1], lanes(x_shape[1]), geometry(xp, window, x_shape[2:], grad.shape[2:]),
        each=lanes(x_shape[1]),
    )  # fmt: skip
    return dx.astype(dtype, copy=False)


def sum_pool(xp: Any, x: Array, window: Window, ceil_mode: bool = False) -> Array:
    """One thread per output."""
    output = window.output_shape(x.shape[2:], ceil_mode)
    y = empty_images(xp, (*x.shape[:2], *output), x.dtype)
    launch(
        xp, FILE, "sum_pool", y.size, pixels(xp, x), y, x.shape[1],
        lanes(x.shape[1]), geometry(xp, window, x.shape[2:], output), each=lanes(x.shape[1]),
    )  # fmt: skip
    return y


def sum_pool_backward(xp: Any, grad: Array, x_shape: tuple[int, ...], window: Window) -> Array:
    """One thread per input, which gathers the gradients of its windows."""
    dx = empty_images(xp, x_shape, grad.dtype)
    launch(
        xp, FILE, "sum_pool_back", dx.size, pixels(xp, grad), dx, x_shape[1],
        lanes(x_shape[1]), geometry(xp, window, x_shape[2:], grad.shape[2:]), each=lanes(x_shape[1]),
    )  # fmt: skip
    return dx
