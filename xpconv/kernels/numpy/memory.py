"""Memory that is used again: a steady training loop asks the system for none, and waits for no page.

Arrays from `empty` lie side by side in a few chunks. Their place is free again when the last array that
looks at them is gone; neighbours in one chunk grow together.
"""

from __future__ import annotations

import ctypes
import os
import threading
import weakref
from collections import deque
from math import prod
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from ...backend import Array

SMALL = 1 << 16  # below this many bytes malloc is as good
LINE = 64  # bytes of a cache line: vectors that straddle two are slow
CHUNK = 1 << 24  # least bytes to ask the system for at once


class Chunk:
    """Memory from the system, and the free places in it: `start: size`."""

    def __init__(self, size: int) -> None:
        self.memory = _aligned(size)
        self.size = size
        self.free = {0: size}

    def take(self, start: int, size: int) -> None:
        """Use the first `size` bytes of a free place."""
        room = self.free.pop(start)
        if room > size:
            self.free[start + size] = room - size

    def give_back(self, start: int, size: int) -> None:
        """Free a place, and join it with its neighbours."""
        size += self.free.pop(start + size, 0)
        for other, room in self.free.items():
            if other + room == start:
                self.free[other] = room + size
                return
        self.free[start] = size


class Kept(dict[Any, Any]):
    """Arrays for later, until `free_memory`: such as a thread's, by name and dtype."""

    __hash__ = object.__hash__  # type: ignore[assignment]  # one is itself, whatever it holds


_lock = threading.Lock()
_chunks: list[Chunk] = []
_watched: dict[int, weakref.ref[Any]] = {}
_gone: deque[tuple[Chunk, int, int]] = deque()  # freed at any point, even while the lock is held
_local = threading.local()
_kept: weakref.WeakSet[Kept] = weakref.WeakSet()


def empty(shape: tuple[int, ...], dtype: Any) -> Array:
    """As `numpy.empty`."""
    dtype = np.dtype(dtype)
    size = prod(shape) * dtype.itemsize
    if size < SMALL:
        return np.empty(shape, dtype)
    size = -(-size // LINE) * LINE
    with _lock:
        chunk, start = _find(size)
    array: Array = np.ndarray(shape, dtype, chunk.memory, start)

    def give_back(reference: weakref.ref[Any]) -> None:
        del _watched[id(reference)]
        _gone.append((chunk, start, size))

    reference = weakref.ref(array, give_back)
    _watched[id(reference)] = reference
    return array


def aligned(shape: tuple[int, ...], dtype: Any) -> Array:
    """As `numpy.empty`, from the start of a cache line."""
    dtype = np.dtype(dtype)
    return np.ndarray(shape, dtype, _aligned(prod(shape) * dtype.itemsize))


def channels_last(x: Array) -> Array:
    """`(N, C, *S)` as `(N, *S, C)`; `numpy.moveaxis` takes ten times as long."""
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
    """Whether `x (N, C, *S)` is `(C, *S, N)` in memory, and not channels-last or in order as well."""
    if x.ndim < 3 or x.shape[0] < 2 or x.strides[0] != x.itemsize:  # as nearly always
        return False
    return bool(
        batch_last(x).flags.c_contiguous
        and not x.flags.c_contiguous
        and not channels_last(x).flags.c_contiguous
    )


def not_batch_last(x: Array) -> Array:
    """`x`, as a channels-last copy if its batch is last."""
    if not is_batch_last(x):
        return x
    y = empty_images(x.shape, x.dtype)
    y[...] = x
    return y


def taps_first(weight: Array) -> Array:
    """`(K, C, *R)` as `(*R, C, K)`."""
    return weight.transpose(*range(2, weight.ndim), 1, 0)


def empty_images(shape: tuple[int, ...], dtype: Any) -> Array:
    """A new `(N, C, *S)` array whose memory is channels-last."""
    return channels_first(empty((shape[0], *shape[2:], shape[1]), dtype))


def strided(x: Array, shape: tuple[int, ...], strides: tuple[int, ...]) -> Array:
    """As NumPy's `as_strided`, which takes five times as long."""
    if x.flags.c_contiguous:
        return np.ndarray(shape, x.dtype, x, 0, strides)
    return as_strided(x, shape, strides)


def scratch(name: str, shape: tuple[int, ...], dtype: Any) -> Array:
    """This thread's array for `name`, of any content: valid until the thread asks for `name` again."""
    dtype = np.dtype(dtype)
    count = prod(shape)
    try:
        buffers = _local.scratch
    except AttributeError:
        buffers = _local.scratch = kept()
    buffer = buffers.get((name, dtype))
    if buffer is None or buffer.size < count:
        buffers.pop((name, dtype), None)
        buffer = buffers[name, dtype] = aligned((count,), dtype)
    return buffer[:count].reshape(shape)


def kept() -> Kept:
    """An empty one."""
    buffers = Kept()
    with _lock:
        _kept.add(buffers)
    return buffers


def free_memory() -> None:
    """Give back to the system what no array uses."""
    with _lock:
        for buffers in _kept:
            buffers.clear()
        _settle()
        _drop_unused()


if hasattr(os, "register_at_fork"):  # a fork while another thread holds the lock would leave it held
    os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release)


def held_bytes() -> int:
    """All that `empty` has from the system."""
    return sum(chunk.size for chunk in _chunks)


def _find(size: int) -> tuple[Chunk, int]:
    """Where `size` bytes go: the smallest free place that holds them, else a new chunk."""
    _settle()
    places = [
        (room, i, start) for i, c in enumerate(_chunks) for start, room in c.free.items() if room >= size
    ]
    if places:
        _, i, start = min(places)
        chunk = _chunks[i]
    else:
        _drop_unused()  # they are too small
        chunk, start = Chunk(max(size, CHUNK)), 0
        _chunks.append(chunk)
    chunk.take(start, size)
    return chunk, start


def _settle() -> None:
    while _gone:
        chunk, start, size = _gone.popleft()
        chunk.give_back(start, size)


def _drop_unused() -> None:
    _chunks[:] = [chunk for chunk in _chunks if chunk.free != {0: chunk.size}]


def _aligned(size: int) -> Any:
    """Memory from NumPy (which asks for large pages), starting at a cache line.

    No array: a view has the innermost array as its base, and so would not hold the one that is watched.
    """
    memory: Any = np.empty(size + LINE, "uint8")
    start = -memory.ctypes.data % LINE
    return (ctypes.c_char * size).from_buffer(memoryview(memory)[start : start + size])
