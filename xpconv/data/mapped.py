"""Memory-mapped arrays, whose pages count as the process's memory from when they are read."""

from __future__ import annotations

import mmap
from typing import Any

import numpy as np

SHARED = ("r", "r+", "w+")  # modes of np.memmap; in the other one, "c", changes are in the pages alone


def is_mapped(array: np.ndarray) -> bool:
    """Whether it is a `np.memmap`, or a view of one."""
    return _map_of(array) is not None


def release(array: np.ndarray) -> None:
    """Give the pages of a mapped array back to the system, which reads them again from its cache or the file.

    Otherwise random rows of a large file fill the memory. Changed pages are not lost, as they belong to the
    file; a copy-on-write mapping is left alone. It does nothing where the system has no `madvise`.
    """
    array_map: Any = _map_of(array)
    owner = array_map
    while isinstance(owner, np.ndarray):
        owner = owner.base
    if array_map.mode in SHARED and isinstance(owner, mmap.mmap) and hasattr(owner, "madvise"):
        owner.madvise(mmap.MADV_DONTNEED)


def _map_of(array: Any) -> np.memmap | None:
    while array is not None and not isinstance(array, np.memmap):
        array = array.base if isinstance(array, np.ndarray) else None
    return array
