"""Sums that keep the digits of float32, however many numbers they have and however these lie in memory.

NumPy adds numbers that lie side by side in pairs of pairs, but rows of numbers one by one: of a million the
sum may be off by a percent. CuPy gives each of a few threads a long run of numbers. So both get few numbers
at a time, whose sums are added in float64. That reads memory once, as a plain sum does.
"""

from __future__ import annotations

import functools
from math import prod
from typing import Any

from ..backend import Array

SERIAL = 256  # numbers that float32 may add one by one: it loses 1e-5 at most
RUN = 1 << 16  # numbers side by side in memory
FEW = 16  # not worth a first sum
SERIAL_PRODUCTS = 512  # that float32 may add to a sum of products in one register
SMALL_PRODUCT = 2048  # elements of a matrix product up to which BLAS adds so, however many there are
VECTOR_PRODUCTS = 4096  # the same for a product with a vector
LARGE_PRODUCTS = 1 << 15  # for others, which BLAS cuts into blocks


def widened(x: Array) -> Array:
    """`x`, in float32 if its floats have two bytes: sums of those overflow, and lose digits."""
    return x.astype("float32") if x.dtype.itemsize == 2 else x


def widened_for(x: Array, count: int) -> Array:
    """`x`, in float64 if so many of its numbers are to be added one by one that float32 would lose digits."""
    return x.astype("float64") if count > SERIAL and x.dtype.itemsize <= 4 else x


def total(x: Array, axes: tuple[int, ...], keepdims: bool = False) -> Array:
    """The sum over `axes`: in float64 where it is one of many float32, else in the `widened` dtype."""
    x = widened(x)
    if x.dtype != "float32" or prod([x.shape[axis] for axis in axes]) <= SERIAL:
        return x.sum(axis=axes, keepdims=keepdims)
    axes = tuple([axis % x.ndim for axis in axes])
    blocks = _blocks(x.shape, x.strides, x.itemsize, axes)
    for axis, block in blocks.items():
        n, rest = x.shape[axis], x.shape[axis] % block
        if rest:
            body, end = (x[(slice(None),) * axis + (part,)] for part in (slice(n - rest), slice(n - rest, n)))
            return total(body, axes, keepdims).astype("float64") + total(end, axes, keepdims)
    if all(block == x.shape[axis] for axis, block in blocks.items()):
        return x.sum(axis=axes, keepdims=keepdims)
    shape: list[int] = []  # each axis as blocks
    inside = []
    for axis, n in enumerate(x.shape):
        block = blocks.get(axis, 1)
        shape.append(n // block)
        if block > 1:
            inside.append(len(shape))
            shape.append(block)
    sums = x.reshape(shape).sum(axis=tuple(inside))
    return sums.sum(axis=axes, dtype="float64", keepdims=keepdims)


def sum_over(x: Array, axes: tuple[int, ...], keepdims: bool = False) -> Array:
    """`total` in the dtype of `x`."""
    return total(x, axes, keepdims).astype(x.dtype, copy=False)


@functools.lru_cache(maxsize=1024)
def _blocks(
    shape: tuple[int, ...], strides: tuple[int, ...], itemsize: int, axes: tuple[int, ...]
) -> dict[int, int]:
    """For each axis, how many of its numbers next to each other the first sum takes together.

    Up to `RUN` that fill memory, and of others `SERIAL`.
    """
    run, serial, step, side_by_side = RUN, SERIAL, itemsize, True
    blocks = {}
    for axis in sorted(axes, key=lambda axis: abs(strides[axis])):
        n = shape[axis]
        side_by_side = side_by_side and (n == 1 or abs(strides[axis]) == step)
        if side_by_side:
            block = _divisor(n, run)
            run //= block
            step *= n
            side_by_side = block == n
        else:
            block = _divisor(n, serial) if serial > FEW or n <= serial else 1
            serial //= block
        blocks[axis] = block
    return blocks


def _divisor(n: int, most: int) -> int:
    """The largest divisor of `n` up to `most`, if it is more than half of that; else `most`."""
    if n <= most:
        return n
    return next((block for block in range(most, most // 2, -1) if n % block == 0), max(1, most))


def piece(a: Array, b: Array) -> int:
    """How many products BLAS may add at a time for the matrix `a @ b`; 0 where it may add all."""
    (m, length), n = a.shape, b.shape[1]
    if length <= 2 * SERIAL_PRODUCTS or a.dtype != "float32" or b.dtype != "float32":
        return 0
    most = SERIAL_PRODUCTS if m * n <= SMALL_PRODUCT else VECTOR_PRODUCTS if 1 in (m, n) else LARGE_PRODUCTS
    return most if length > most else 0


def product(xp: Any, a: Array, b: Array, most: int) -> Array:
    """`a @ b` of two matrices, `most` products at a time."""
    (m, length), n = a.shape, b.shape[1]
    count = length // most
    end = count * most
    parts = a[:, :end].reshape(m, count, most).swapaxes(0, 1), b[:end].reshape(count, most, n)
    sums = total(xp.matmul(*parts), (0,))
    if end < length:
        sums = sums + xp.matmul(a[:, end:], b[end:])
    return sums.astype("float32", copy=False)
