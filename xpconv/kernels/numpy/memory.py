"""Memory that is used again: a steady training loop asks the system for none, and waits for no page.

Arrays from `empty` lie in blocks that come back here when the last array that looks at them is gone.
"""

from __future__ import annotations

import ctypes
import threading
import weakref
from collections import defaultdict
from math import prod
from typing import Any

import numpy as np

from ...backend import Array

SMALL = 1 << 16  # below this many bytes malloc is as good
LINE = 64  # bytes of a cache line: vectors that straddle two are slow


class _Scratch(dict[tuple[str, Any], Any]):
    """A thread's arrays by name and dtype."""

    __hash__ = object.__hash__  # type: ignore[assignment]  # one is itself, whatever it holds


_lock = threading.RLock()  # a garbage collection may give a block back at any point
_free: dict[int, list[Any]] = defaultdict(list)
_live: dict[int, weakref.ref[Any]] = {}
_local = threading.local()
_scratches: weakref.WeakSet[_Scratch] = weakref.WeakSet()
_sizes = {"free": 0, "live": 0, "peak": 0}


def empty(shape: tuple[int, ...], dtype: Any) -> Array:
    """As `numpy.empty`."""
    dtype = np.dtype(dtype)
    size = prod(shape) * dtype.itemsize
    if size < SMALL:
        return np.empty(shape, dtype)
    size = _rounded(size)
    block = _take(size)
    array = np.ndarray(shape, dtype, block)

    def give_back(reference: weakref.ref[Any]) -> None:
        with _lock:
            del _live[id(reference)]
            _sizes["live"] -= size
            _sizes["free"] += size
            _free[size].append(block)

    reference = weakref.ref(array, give_back)
    _live[id(reference)] = reference
    return array


def empty_images(shape: tuple[int, ...], dtype: Any) -> Array:
    """A new `(N, C, *S)` array whose memory is channels-last."""
    return np.moveaxis(empty((shape[0], *shape[2:], shape[1]), dtype), -1, 1)


def scratch(name: str, shape: tuple[int, ...], dtype: Any) -> Array:
    """This thread's array for `name`, of any content: valid until the thread asks for `name` again."""
    dtype = np.dtype(dtype)
    count = prod(shape)
    try:
        buffers = _local.scratch
    except AttributeError:
        buffers = _local.scratch = _Scratch()
        _scratches.add(buffers)
    buffer = buffers.get((name, dtype))
    if buffer is None or buffer.size < count:
        buffer = buffers[name, dtype] = empty((count,), dtype)
    return buffer[:count].reshape(shape)


def free_memory() -> None:
    """Give back to the system what no array uses."""
    for scratch in list(_scratches):
        scratch.clear()
    with _lock:
        _free.clear()
        _sizes["free"] = 0
        _sizes["peak"] = _sizes["live"]


def _rounded(size: int) -> int:
    """Up to a multiple of an eighth of the power of two below: few sizes, that fit one another."""
    step = 1 << (size.bit_length() - 4)
    return -(-size // step) * step


def _take(size: int) -> Any:
    with _lock:
        if _free[size]:
            _sizes["free"] -= size
            block = _free[size].pop()
        else:
            # All that was ever in use at once, and a quarter: beyond it blocks of other sizes have to go.
            room = max(_sizes["peak"], _sizes["live"] + size) * 5 // 4
            for other in sorted(_free, reverse=True):
                while _free[other] and _sizes["live"] + _sizes["free"] + size > room:
                    _free[other].pop()
                    _sizes["free"] -= other
            memory: Any = np.empty(size + LINE, "uint8")
            start = -memory.ctypes.data % LINE
            # No array: a view has the innermost array as its base, and so would not hold the watched one.
            block = (ctypes.c_char * size).from_buffer(memoryview(memory)[start : start + size])
        _sizes["live"] += size
        _sizes["peak"] = max(_sizes["peak"], _sizes["live"])
    return block
