"""How images lie in memory: `(N, C, *S)` to the caller, channels last in memory."""

from __future__ import annotations

from typing import Any

from .backend import Array
from .geometry import Window


def channels_last(xp: Any, x: Array, window: Window) -> Array:
    """`x (N, C, *S)` as `(N, *S, C)` with the window's zeros around it; a view if there are none."""
    x = xp.moveaxis(x, 1, -1)
    if not any(lo or hi for lo, hi in window.padding):
        return x
    sizes = [n + lo + hi for n, (lo, hi) in zip(x.shape[1:-1], window.padding, strict=True)]
    padded = xp.zeros((x.shape[0], *sizes, x.shape[-1]), dtype=x.dtype)
    rows = [slice(lo, lo + n) for n, (lo, _) in zip(x.shape[1:-1], window.padding, strict=True)]
    inside = (slice(None), *rows)
    padded[inside] = x
    return padded


def in_order(xp: Any, x: Array) -> Array:
    """`x (N, C, *S)`, or a copy of it, with its channels last in memory."""
    return xp.moveaxis(xp.ascontiguousarray(xp.moveaxis(x, 1, -1)), -1, 1)


def empty_images(xp: Any, shape: tuple[int, ...], dtype: Any, zero: bool = False) -> Array:
    """A new `(N, C, *S)` array whose memory is channels-last."""
    make = xp.zeros if zero else xp.empty
    return xp.moveaxis(make((shape[0], *shape[2:], shape[1]), dtype=dtype), -1, 1)


def weight_matrix(xp: Any, weight: Array, groups: int) -> Array:
    """`(K, C/G, *R)` as `(G, K/G, taps*C/G)`, in the order of the columns."""
    return xp.moveaxis(weight, 1, -1).reshape(groups, weight.shape[0] // groups, -1)


def pixel_matrix(xp: Any, images: Array, rows: slice, groups: int) -> Array:
    """The images in `rows` of `(N, K, *P)` as `(G, pixels, K/G)`; a view where memory allows."""
    block = xp.moveaxis(images[rows], 1, -1)
    return xp.moveaxis(block.reshape(-1, groups, images.shape[1] // groups), 1, 0)
