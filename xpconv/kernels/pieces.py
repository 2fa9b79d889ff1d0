"""Pieces of images for Fourier transforms, and images from outputs of pieces, for any array module."""

from __future__ import annotations

from itertools import product
from typing import Any

from ..backend import Array
from ..geometry import Shape
from .scales import power
from .transforms import Places


def count(sizes: Shape, places: Places) -> Shape:
    """The number of pieces along each axis."""
    return tuple(-(-n // len(some)) for n, some in zip(sizes, places, strict=True))


def pieces(
    on: Any, x: Array, scales: Array, lows: Shape, count: Shape, hop: Shape, places: Places, groups: int
) -> Array:
    """Pieces `(G, C, N, *count, *S)` of `x`, the first from `lows` before it, divided by `2**scales`."""
    xp, apart = on.xp, tuple(h // some.step for h, some in zip(hop, places, strict=True))
    sizes = tuple(map(len, places))
    whole = tuple((m - 1) * a + n for m, a, n in zip(count, apart, sizes, strict=True))
    framed = on.empty((*x.shape[:2], *whole), x.dtype)
    framed[...] = 0
    inside: tuple[slice, ...] = (slice(None), slice(None))
    into: tuple[slice, ...] = inside
    for n, lo, size in zip(x.shape[2:], lows, whole, strict=True):
        first, last = max(0, -lo), min(n, size - lo)
        inside += (slice(first, max(first, last)),)
        into += (slice(first + lo, max(first, last) + lo),)
    xp.multiply(x[inside], power(xp, -scales, x), out=framed[into])
    by_image, by_channel, *by_pixel = framed.strides
    steps = (step * a for step, a in zip(by_pixel, apart, strict=True))
    shape = (groups, x.shape[1] // groups, len(x), *count, *sizes)
    strides = (shape[1] * by_channel, by_channel, by_image, *steps, *by_pixel)
    return xp.lib.stride_tricks.as_strided(framed, shape, strides)


def put(xp: Any, found: Array, count: Shape, scales: Array, y: Array) -> None:
    """Write the outputs of pieces, `(G, K, N·places, *S)`, times `2**scales`, to `y (N, G·K, *P)`."""
    axes, (groups, k), n = len(count), found.shape[:2], len(y)
    sizes = found.shape[3:]
    order = (2, 0, 1, *(axis for i in range(axes) for axis in (3 + i, 3 + axes + i)))
    found = found.reshape(groups, k, n, *count, *sizes).transpose(order)
    y = y.reshape(n, groups, k, *y.shape[2:])
    parts = []  # for each axis: the whole pieces, and the last one if `y` ends within it
    for m, size in zip(y.shape[3:], sizes, strict=True):
        whole, rest = divmod(m, size)
        parts.append([(slice(whole), slice(size), slice(whole * size), (whole, size))] if whole else [])
        if rest:
            parts[-1].append((slice(whole, whole + 1), slice(rest), slice(whole * size, m), (1, rest)))
    leading, half = (slice(None),) * 3, scales // 2
    for some in product(*parts):
        seen = found[leading + tuple(s for pieces, pixels, *_ in some for s in (pieces, pixels))]
        into = y[leading + tuple(into for _, _, into, _ in some)]
        into = into.reshape(n, groups, k, *(m for *_, shape in some for m in shape))
        xp.multiply(seen, power(xp, half, y).reshape(n, groups, k, *(1,) * (2 * axes)), out=into)
    xp.multiply(y, power(xp, scales - half, y).reshape(n, groups, k, *(1,) * axes), out=y)
