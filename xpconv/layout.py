"""How images and weights lie in memory: `(N, C, *S)` to the caller, channels or the batch last in memory."""

from __future__ import annotations

from typing import Any

from .backend import Array
from .geometry import Window


def channels_last(x: Array) -> Array:
    """`(N, C, *S)` as `(N, *S, C)`; `moveaxis` takes ten times as long."""
    return x.transpose(0, *range(2, x.ndim), 1)


def channels_first(x: Array) -> Array:
    """`(N, *S, C)` as `(N, C, *S)`."""
    return x.transpose(0, x.ndim - 1, *range(1, x.ndim - 1))


def batch_last(x: Array) -> Array:
    """`(N, C, *S)` as `(C, *S, N)`."""
    return x.transpose(*range(1, x.ndim), 0)


def batch_first(x: Array) -> Array:
    """`(C, *S, N)` as `(N, C, *S)`."""
    return x.transpose(x.ndim - 1, *range(x.ndim - 1))


def is_batch_last(x: Array) -> bool:
    """Whether the memory of `x (N, C, *S)` is `(C, *S, N)`, and neither channels-last nor C order as well."""
    if x.ndim < 3 or x.shape[0] < 2 or x.strides[0] != x.itemsize:  # the usual case
        return False
    return bool(
        batch_last(x).flags.c_contiguous
        and not x.flags.c_contiguous
        and not channels_last(x).flags.c_contiguous
    )


def taps_first(weight: Array) -> Array:
    """`(K, C, *R)` as `(*R, C, K)`."""
    return weight.transpose(*range(2, weight.ndim), 1, 0)


def taps_last(weight: Array) -> Array:
    """`(*R, C, K)` as `(K, C, *R)`."""
    return weight.transpose(weight.ndim - 1, weight.ndim - 2, *range(weight.ndim - 2))


def framed(xp: Any, x: Array, window: Window) -> Array:
    """`x (N, C, *S)` as `(N, *S, C)` with the window's zeros around it; a view if there are none."""
    x = channels_last(x)
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
    return channels_first(xp.ascontiguousarray(channels_last(x)))


def empty_images(xp: Any, shape: tuple[int, ...], dtype: Any, zero: bool = False) -> Array:
    """A new `(N, C, *S)` array whose memory is channels-last."""
    make = xp.zeros if zero else xp.empty
    return channels_first(make((shape[0], *shape[2:], shape[1]), dtype=dtype))


def weight_matrix(xp: Any, weight: Array, groups: int) -> Array:
    """`(K, C/G, *R)` as `(G, K/G, taps*C/G)`, in the order of the columns."""
    return channels_last(weight).reshape(groups, weight.shape[0] // groups, -1)


def pixel_matrix(xp: Any, images: Array, rows: slice, groups: int) -> Array:
    """The images in `rows` of `(N, K, *P)` as `(G, pixels, K/G)`; a view where memory allows."""
    block = channels_last(images[rows])
    return xp.moveaxis(block.reshape(-1, groups, images.shape[1] // groups), 1, 0)
