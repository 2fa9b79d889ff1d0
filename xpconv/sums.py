"""Sums with the precision of float32 for any number of elements, in any memory order.

NumPy uses pairwise summation along the contiguous axis, but adds along other axes one element at a time: the
sum of a million may be off by a percent. CuPy gives each of a few threads many elements. So both sum small
blocks, whose sums are added in float64. This reads memory once, as a plain sum does.
"""

from __future__ import annotations

import functools
from math import prod
from typing import Any

from .backend import Array

SERIAL = 256  # elements of a block if float32 adds them one by one: a relative error of 1e-5 at most
RUN = 1 << 16  # elements of a contiguous block
FEW = 16  # smaller blocks are not worth a first sum
SERIAL_PRODUCTS = 512  # products per block if BLAS adds them one by one
SMALL_PRODUCT = 2048  # size of a matrix product up to which BLAS does so
VECTOR_PRODUCTS = 4096  # products per block in a product with a vector
LARGE_PRODUCTS = 1 << 15  # products per block in others, which BLAS itself computes in blocks


def widened(x: Array) -> Array:
    """`x`, as float32 if it is float16 or bfloat16, whose sums would overflow or lose precision."""
    return x.astype("float32") if x.dtype.itemsize == 2 else x


def widened_for(x: Array, count: int) -> Array:
    """`x`, as float64 (complex128) if `count` elements, added one by one, would lose precision in float32."""
    if count <= SERIAL or x.dtype.kind in "iub":
        return x
    if x.dtype == "complex64":
        return x.astype("complex128")
    return x.astype("float64") if x.dtype.itemsize <= 4 else x


def occurrences(xp: Any, indices: Array, size: int) -> Array:
    """How often each of `0 … size - 1` occurs in `indices (N,)`: `(size,)` int64. No synchronisation."""
    if hasattr(xp.add, "at"):  # integers, so that the order in which a device adds does not matter
        counts: Array = xp.zeros(size, dtype="int64")
        xp.add.at(counts, indices, 1)
        return counts
    ordered, every = xp.sort(indices), xp.arange(size)
    first, last = (xp.searchsorted(ordered, every, side=side) for side in ("left", "right"))
    return (last - first).astype("int64")


def total(x: Array, axes: tuple[int, ...], keepdims: bool = False) -> Array:
    """The sum over `axes`: in float64 for many float32 elements, else in the `widened` dtype."""
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
    """The block length along each axis: up to `RUN` elements that are contiguous, else up to `SERIAL`."""
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
    """The largest divisor of `n` up to `most`, if it is above `most / 2`; else `most`."""
    if n <= most:
        return n
    return next((block for block in range(most, most // 2, -1) if n % block == 0), max(1, most))


def piece(a: Array, b: Array) -> int:
    """The number of products that BLAS may add at a time in the matrix `a @ b`; 0 if it may add all."""
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
