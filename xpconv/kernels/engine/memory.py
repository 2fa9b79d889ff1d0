"""A pool of buffers: a steady training loop allocates no memory from the system and waits for no page.

An array from `empty` has a buffer of its own, which is idle again when the last array that uses it is dead.
Sizes are rounded up to eight steps an octave, and there is a list of idle buffers for each. An array takes an
idle buffer of its size, or else the smallest one of up to twice the size, since activations shrink from stage
to stage. A buffer that is dropped is missing at the next step of training: idle ones are dropped only if all
together are more than twice of what arrays needed at once.

Arrays can die at any point, and foreign code can run. So there is no lock, and no Python code runs when
an array dies. Lists are appended to and popped from by single calls of C, which nothing interrupts.
"""

from __future__ import annotations

import ctypes
import functools
import mmap
import sys
import weakref
from collections.abc import Callable
from contextlib import suppress
from math import prod
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from ...backend import Array
from ...geometry import Shape
from ...layout import batch_first, channels_first, is_batch_last
from ..recorders import this_thread

SMALL = 1 << 12  # below this many bytes malloc is as good
LINE = 64  # bytes of a cache line: vectors that straddle two are slow
STEPS = 3  # 2³ sizes an octave
LARGE = 1 << 20  # bytes from which memory is the system's, not `malloc`'s
LARGER = 2  # times its size may be the idle buffer that an array gets
SLACK = 1 << 22  # bytes of all buffers beyond twice the most that were used at once


class Lease(weakref.ref[Any]):
    """An array's use of a buffer; an idle buffer when the array is dead."""

    __hash__ = object.__hash__  # an array has none
    __eq__ = object.__eq__

    buffer: Any = None  # None if Ctrl-C came before it was set
    size = 0  # bytes of the buffer that the array needs


class Cache(dict[Any, Any]):
    """A dict that `free_memory` clears."""

    def __init__(self) -> None:
        super().__init__()
        _caches[id(self)] = self


_leases: set[Lease] = set()  # of all buffers
_idle: dict[int, list[Lease]] = {}  # by size
_most_used = 0  # bytes that arrays needed at once
# A forked child writes to pages of its own.
_PRIVATE = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_PRIVATE") else {}
_caches: weakref.WeakValueDictionary[int, Cache] = weakref.WeakValueDictionary()


def empty(shape: Shape, dtype: Any) -> Array:
    """As `numpy.empty`."""
    if this_thread.recorder is not None:
        array: Array = this_thread.recorder.empty(shape, dtype)
        return array
    dtype = np.dtype(dtype)
    size = prod(shape) * dtype.itemsize
    if size < SMALL:
        return np.empty(shape, dtype)
    sizes, buffer = _sizes(size), None
    for larger in sizes:
        try:
            idle = _idle[larger].pop()
        except (KeyError, IndexError):
            continue
        _leases.discard(idle)
        buffer = idle.buffer
        break
    if buffer is None:
        _make_room(sizes[0])
        buffer = _aligned(sizes[0])
    array = np.ndarray(shape, dtype, buffer)
    lease = Lease(array, _idle.setdefault(len(buffer), []).append)
    lease.buffer, lease.size = buffer, sizes[0]
    _leases.add(lease)
    return array


def aligned(shape: Shape, dtype: Any) -> Array:
    """As `numpy.empty`, from the start of a cache line."""
    dtype = np.dtype(dtype)
    return np.ndarray(shape, dtype, _aligned(prod(shape) * dtype.itemsize))


def constant(array: Array) -> Array:
    """A copy that nothing can write to: its memory is a `bytes` object."""
    copy: Array = np.frombuffer(array.tobytes(), array.dtype).reshape(array.shape)
    return copy


def address(x: Array) -> int:
    """Of the first element; `x.ctypes.data` imports a module at its first use, which fails at exit."""
    start: int = x.__array_interface__["data"][0]
    return start


def empty_images(shape: Shape, dtype: Any) -> Array:
    """A new `(N, C, *S)` array whose memory is channels-last."""
    return channels_first(empty((shape[0], *shape[2:], shape[1]), dtype))


def empty_batch_last(shape: Shape, dtype: Any) -> Array:
    """A new `(N, C, *S)` array that is `(C, *S, N)` in memory."""
    return batch_first(empty((*shape[1:], shape[0]), dtype))


def images_like(x: Array) -> Callable[[Shape, Any], Array]:
    """What makes images with the batch last in memory if it is in `x`, else channels-last."""
    usual = x.strides[0] != x.itemsize  # without the call
    return empty_images if usual or not is_batch_last(x) else empty_batch_last


def strided(x: Array, shape: Shape, strides: Shape) -> Array:
    """As NumPy's `as_strided`, which takes five times as long."""
    if x.flags.c_contiguous:
        return np.ndarray(shape, x.dtype, x, 0, strides)
    return as_strided(x, shape, strides)


def free_memory() -> None:
    """Give back to the system what no array uses."""
    global _most_used
    for reference in _caches.valuerefs():
        cache = reference()
        if cache is not None:
            cache.clear()
    for idle in list(_idle.values()):
        idle.clear()
    for lease in list(_leases):
        if lease() is None:
            _leases.discard(lease)
    _most_used = 0
    if _trim is not None:
        _trim(0)


# glibc's `malloc_trim`, which returns freed memory to the system even between blocks in use.
_trim: Any = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None


def held_bytes() -> int:
    """All that `empty` has from the system."""
    return sum(len(lease.buffer) for lease in list(_leases))


@functools.lru_cache(maxsize=4096)
def _rounded(size: int) -> int:
    """The next of 2³ sizes an octave."""
    unit = 1 << (size - 1).bit_length() - 1 - STEPS
    return -(-size // unit) * unit


@functools.lru_cache(maxsize=4096)
def _sizes(size: int) -> list[int]:
    """The sizes of buffers for an array, up to `LARGER` times its own."""
    sizes = [_rounded(max(size, LINE))]
    while (larger := _rounded(sizes[-1] + 1)) <= LARGER * sizes[0]:
        sizes.append(larger)
    return sizes


def _make_room(size: int) -> None:
    """Drop idle buffers, the largest first, if with `size` bytes more there would be too many."""
    global _most_used
    idle: list[Lease] = []
    used = held = size
    for lease in list(_leases):
        held += len(lease.buffer)
        if lease() is None:
            idle.append(lease)
        else:
            used += lease.size
    _most_used = max(_most_used, used)
    excess = held - 2 * _most_used - SLACK
    for lease in sorted(idle, key=lambda lease: -len(lease.buffer)):
        if excess <= 0:
            break
        with suppress(KeyError, ValueError):  # taken just now by another thread
            _idle[len(lease.buffer)].remove(lease)
            _leases.discard(lease)
            excess -= len(lease.buffer)


def _aligned(size: int) -> Any:
    """Memory that starts at a cache line; if it is large, from the system, to which it returns at once.

    In `malloc`'s heap, buffers of many sizes that come and go leave gaps between those that stay. The memory
    is no array: a view has the innermost array as its base, and so would not hold the one that is watched.
    """
    if size >= LARGE:
        with suppress(OSError, OverflowError):  # NumPy raises a better error
            return _pages(size)
    memory: Any = np.empty(size + LINE, "uint8")
    start = -address(memory) % LINE
    return (ctypes.c_char * size).from_buffer(memoryview(memory)[start : start + size])


def _pages(size: int) -> mmap.mmap:
    pages = mmap.mmap(-1, size, **_PRIVATE)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with suppress(OSError):  # the system has no large pages
            pages.madvise(mmap.MADV_HUGEPAGE)
    return pages
