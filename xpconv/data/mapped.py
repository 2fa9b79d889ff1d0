"""Memory-mapped arrays: random rows are read without what is between them, and their pages are released.

Where a page is missing, the system reads ahead: ninety times as much as random rows of 12 kB had, in one
measurement. And pages count as the process's memory from when they are read. `madvise` changes both.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.lib.array_utils import byte_bounds

SHARED = ("r", "r+", "w+")  # modes of np.memmap; in the other one, "c", changes are in the pages alone


def is_mapped(array: np.ndarray) -> bool:
    """Whether it is a `np.memmap`, or a view of one."""
    return _map_of(array) is not None


def announce(array: Any, rows: np.ndarray) -> None:
    """If the array is mapped, let the system read these rows of it, all at once."""
    owner = _owner_of(array)
    if owner is not None and array[:1].size and rows.size:
        for start, stop in _ranges(array, rows, owner):
            with suppress(OSError):  # on some file systems
                owner.madvise(mmap.MADV_WILLNEED, start, stop - start)


def release(arrays: Iterable[Any]) -> None:
    """Give the pages of mapped arrays back to the system, which reads them again from its cache or the file.

    Changed pages are not lost, as they belong to the file; a copy-on-write mapping is left alone.
    """
    owners = {id(owner): owner for array in arrays if (owner := _owner_of(array, SHARED)) is not None}
    for owner in owners.values():
        with suppress(OSError):  # if they are locked in memory
            owner.madvise(mmap.MADV_DONTNEED)


def _ranges(array: np.ndarray, rows: np.ndarray, owner: mmap.mmap) -> Iterator[tuple[int, int]]:
    """The bytes of the mapping that these rows are in: whole pages, in order, and apart from one another."""
    first, end = byte_bounds(array[:1])
    size = end - first
    if not 0 < size <= 2 * abs(array.strides[0]):  # rows whose bytes alternate with those of other rows
        return
    base = byte_bounds(np.frombuffer(owner, "u1"))[0]
    starts = np.sort(rows.astype("int64") * array.strides[0]) + (first - base)
    stops = starts + size
    starts -= starts % mmap.PAGESIZE
    apart = starts[1:] > stops[:-1]
    yield from zip(
        starts[np.append(True, apart)].tolist(), stops[np.append(apart, True)].tolist(), strict=True
    )


def _owner_of(array: Any, modes: Iterable[str] = (*SHARED, "c")) -> Any:
    """The mapping of a mapped array, of one of these modes, if the system can be advised; else None."""
    owner: Any = _map_of(array)
    if owner is None or owner.mode not in modes:
        return None
    while isinstance(owner, np.ndarray):
        owner = owner.base
    return owner if isinstance(owner, mmap.mmap) and hasattr(owner, "madvise") else None


def _map_of(array: Any) -> np.memmap | None:
    while array is not None and not isinstance(array, np.memmap):
        array = array.base if isinstance(array, np.ndarray) else None
    return array
