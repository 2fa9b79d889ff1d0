"""Element by element, in blocks that fit the cache, on all cores."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ...backend import Array
from . import memory, threads

BLOCK = 1 << 16  # elements
WORTH = 1 << 18  # elements from which a second thread is worth waking
MATMUL_WORTH = 1 << 23  # multiplications, likewise


def in_blocks(xp: Any, task: Callable[[slice], None], size: int) -> None:
    """`task` on slices of 0…size that fit the cache, on all cores where there is work enough."""
    count = max(1, -(-size // BLOCK))

    def part(i: int) -> None:
        task(slice(i * size // count, (i + 1) * size // count))

    if size < WORTH:
        for i in range(count):
            part(i)
    else:
        threads.run(part, count)


def flat(x: Array) -> Array | None:
    """All elements in the order of memory, as a view; None where there are gaps."""
    if x.flags.c_contiguous:
        return x.reshape(-1)
    order = sorted(range(x.ndim), key=lambda axis: -x.strides[axis])
    y = x.transpose(order)
    return y.reshape(-1) if y.flags.c_contiguous else None


def empty_like(x: Array) -> Array:
    """A new array with the axes of `x` in the same order in memory."""
    if x.flags.c_contiguous:
        return memory.empty(x.shape, x.dtype)
    order = sorted(range(x.ndim), key=lambda axis: -abs(x.strides[axis]))
    y = memory.empty(tuple(x.shape[axis] for axis in order), x.dtype)
    return y.transpose(np.argsort(order))


def like(x: Array, y: Array) -> Array:
    """`x` with the layout of `y`: itself, or a copy."""
    if x.strides == y.strides:
        return x
    copy = empty_like(y)
    copy[...] = x
    return copy


def zeros(count: int, dtype: Any) -> Array:
    """An operand: NumPy's loops are three times as fast with an array as with a scalar."""
    key = np.dtype(dtype)
    if key not in _zeros:
        _zeros[key] = np.zeros(BLOCK + 1, key)
    return _zeros[key][:count]


_zeros: dict[Any, Array] = {}


def relu(xp: Any, x: Array) -> Array:
    """As `portable.relu`."""
    y = empty_like(x)
    source, into = flat(x), flat(y)
    if source is None or into is None:
        return np.maximum(x, 0, out=y)

    def task(part: slice) -> None:
        out = into[part]
        np.maximum(source[part], zeros(out.size, out.dtype), out=out)

    in_blocks(xp, task, x.size)
    return y


def relu_backward(xp: Any, grad: Array, y: Array) -> Array:
    """As `portable.relu_backward`; the mask times the gradient's bits, so that 0 · ∞ is 0."""
    grad = like(grad, y)
    dx = empty_like(y)
    source, kept, into = flat(grad), flat(y), flat(dx)
    if source is None or kept is None or into is None:
        dx[...] = np.where(y <= 0, 0, grad)
        return dx
    bits = f"i{y.dtype.itemsize}"
    source, into = source.view(bits), into.view(bits)

    def task(part: slice) -> None:
        out = into[part]
        mask = memory.scratch("mask", (out.size,), bool)
        np.less_equal(kept[part], zeros(out.size, kept.dtype), out=mask)
        np.logical_not(mask, out=mask)
        np.multiply(source[part], mask, out=out)

    in_blocks(xp, task, y.size)
    return dx


def matmul(xp: Any, a: Array, b: Array) -> Array:
    """As `portable.matmul`: the longer side of the result cut into a piece a thread."""
    m, n = a.shape[0], b.shape[1]
    pieces = threads.get_num_threads() if m * n * a.shape[1] > MATMUL_WORTH else 1
    y = memory.empty((m, n), a.dtype)

    def task(i: int) -> None:
        if m >= n:
            rows = slice(i * m // pieces, (i + 1) * m // pieces)
            np.matmul(a[rows], b, out=y[rows])
        else:
            columns = slice(i * n // pieces, (i + 1) * n // pieces)
            np.matmul(a, b[:, columns], out=y[:, columns])

    threads.run(task, pieces)
    return y
