"""Convolution with large kernels by Fourier transforms (`kernels/fft.py`), on all threads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ...backend import Array
from .. import fft
from ..engine import memory, threads
from ..recorders import this_thread

PIECE_BYTES = 1 << 20  # of the part that a thread works on at a time
ELEMENTS = 4  # by which a transformed element counts, in `threads.share`

_matrices: dict[Any, Array] = memory.Cache()  # of DFTs


def device() -> fft.Device:
    """NumPy, with memory from the pool; not from an inference plan, which calls the layer by itself."""
    empty = memory.empty if this_thread.recorder is None else np.empty
    return fft.Device(np, empty, _run, fft.BLOCK_BYTES, True, _matrices)


def _run(task: Callable[[slice], None], count: int, elements: int) -> None:
    """`task` for slices of `range(count)`, which fit the cache and give all threads work."""
    pieces = max(threads.share(ELEMENTS * elements), 8 * elements // PIECE_BYTES)
    pieces = max(1, min(count, pieces))
    threads.run(lambda i: task(threads.part(i, pieces, count)), pieces, ELEMENTS * elements)
