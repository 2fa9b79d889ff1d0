"""A memory pool: a steady training loop allocates no memory from the system and waits for no page.

Arrays from `empty` are placed in a few chunks. A block is free again when the last array that uses its memory
is deleted; adjacent free blocks of a chunk are merged.
"""

from __future__ import annotations

import ctypes
import itertools
import os
import sys
import threading
import weakref
from bisect import bisect_left, insort
from collections import deque
from math import prod
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from ...backend import Array

SMALL = 1 << 12  # below this many bytes malloc is as good
LINE = 64  # bytes of a cache line: vectors that straddle two are slow
CHUNK = 1 << 24  # least bytes to ask the system for at once


class Chunk:
    """Memory from the system. Its free blocks are listed in `_free`, and here by their start and end."""

    def __init__(self, size: int) -> None:
        self.memory = _aligned(size)
        self.size = size
        self.number = next(_numbers)
        self.starts: dict[int, int] = {}  # the sizes of free blocks by their start
        self.ends: dict[int, int] = {}
        self.give_back(0, size)

    def take(self, start: int, size: int) -> None:
        """Use the first `size` bytes of a free place."""
        room = self._used(start)
        if room > size:
            self._free(start + size, room - size)

    def give_back(self, start: int, size: int) -> None:
        """Free a place, and join it with its neighbours."""
        if start + size in self.starts:
            size += self._used(start + size)
        if start in self.ends:
            before = self.ends[start]
            start, size = start - before, size + self._used(start - before)
        self._free(start, size)

    def unused(self) -> bool:
        """Whether all of it is free."""
        return self.starts.get(0) == self.size

    def _free(self, start: int, size: int) -> None:
        self.starts[start] = self.ends[start + size] = size
        insort(_free, (size, self.number, start, self))

    def _used(self, start: int) -> int:
        size = self.starts[start]
        place = size, self.number, start
        i = bisect_left(_free, place)
        if _free[i : i + 1] and _free[i][:3] == place:  # else Ctrl-C came between, and it is lost
            del _free[i]
        del self.starts[start], self.ends[start + size]
        return size


class Kept(dict[Any, Any]):
    """A cache of arrays that `free_memory` clears, such as a thread's scratch arrays by name and dtype."""

    __hash__ = object.__hash__  # type: ignore[assignment]  # one is itself, whatever it holds
    records: Kept  # of a thread's scratch arrays: what holds views of them


_lock = threading.Lock()
_chunks: list[Chunk] = []
_numbers = itertools.count()
_free: list[tuple[int, int, int, Chunk]] = []  # free places: size, chunk's number, start, chunk
_watched: dict[int, tuple[weakref.ref[Any], Chunk, int, int]] = {}  # arrays, and their places
_gone: deque[weakref.ref[Any]] = deque()  # freed at any point, even while the lock is held
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
    reference = weakref.ref(array, _gone.append)  # no Python of ours, in which Ctrl-C would be lost
    _watched[id(reference)] = reference, chunk, start, size
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


def empty_batch_last(shape: tuple[int, ...], dtype: Any) -> Array:
    """A new `(N, C, *S)` array that is `(C, *S, N)` in memory."""
    return batch_first(empty((*shape[1:], shape[0]), dtype))


def strided(x: Array, shape: tuple[int, ...], strides: tuple[int, ...]) -> Array:
    """As NumPy's `as_strided`, which takes five times as long."""
    if x.flags.c_contiguous:
        return np.ndarray(shape, x.dtype, x, 0, strides)
    return as_strided(x, shape, strides)


def scratches() -> Kept:
    """This thread's scratch arrays."""
    try:
        buffers: Kept = _local.scratch
    except AttributeError:
        buffers = _local.scratch = kept()
        buffers.records = kept()
    return buffers


def scratch(
    name: str, shape: tuple[int, ...], dtype: Any, slot: int = 0, buffers: Kept | None = None
) -> Array:
    """This thread's array for `name`, of any content: valid until the thread asks for `name` again.

    A thread that works for another takes one of the other's `buffers`, in a slot of its own.
    """
    if buffers is None:
        buffers = scratches()
    count = prod(shape)
    key = name, np.dtype(dtype), slot
    buffer = buffers.get(key)
    if buffer is None or buffer.size < count:
        if buffers.pop(key, None) is not None:
            buffers.records.clear()  # they hold views of the smaller one
        buffer = buffers[key] = aligned((count,), dtype)
    return buffer[:count].reshape(shape)


def kept() -> Kept:
    """An empty one."""
    buffers = Kept()
    with _lock:
        _kept.add(buffers)
    return buffers


def is_placed(x: Any) -> bool:
    """Whether it is one of `empty`'s, or a view of one: then the next one like it is at the same address."""
    while isinstance(x, np.ndarray):
        x = x.base
    return isinstance(x, ctypes.Array)


def free_memory() -> None:
    """Give back to the system what no array uses."""
    with _lock:
        for buffers in _kept:
            buffers.clear()
        _settle()
        _drop_unused()
    if _trim is not None:
        _trim(0)


def _find_trim() -> Any:
    """glibc's `malloc_trim`, which returns freed memory to the system even between blocks in use, or None."""
    return getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None


_trim = _find_trim()

if hasattr(os, "register_at_fork"):  # a fork while another thread holds the lock would leave it held
    os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release)


def held_bytes() -> int:
    """All that `empty` has from the system."""
    return sum(chunk.size for chunk in _chunks)


def _find(size: int) -> tuple[Chunk, int]:
    """Where `size` bytes go: the smallest free place that holds them, else a new chunk."""
    _settle()
    place = bisect_left(_free, (size,))
    if place < len(_free):
        _, _, start, chunk = _free[place]
    else:
        _drop_unused()  # they are too small
        chunk, start = Chunk(max(size, CHUNK)), 0
        _chunks.append(chunk)
    chunk.take(start, size)
    return chunk, start


def _settle() -> None:
    while _gone:
        place = _watched.pop(id(_gone.popleft()), None)
        if place is not None:  # else Ctrl-C came before it was known, and it is lost
            _, chunk, start, size = place
            chunk.give_back(start, size)


def _drop_unused() -> None:
    for chunk in [chunk for chunk in _chunks if chunk.unused()]:
        chunk.take(0, chunk.size)
        _chunks.remove(chunk)


def _aligned(size: int) -> Any:
    """Memory from NumPy (which asks for large pages), starting at a cache line.

    No array: a view has the innermost array as its base, and so would not hold the one that is watched.
    """
    memory: Any = np.empty(size + LINE, "uint8")
    start = -memory.ctypes.data % LINE
    return (ctypes.c_char * size).from_buffer(memoryview(memory)[start : start + size])
