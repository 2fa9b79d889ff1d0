"""Steps of LARS and LAMB: two launches for 200 parameters, and for LAMB one for its coefficients."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import accumulate
from typing import Any

from ...backend import Array
from .launch import THREADS, launch, name_of, struct

FILE = "large_batch.cu"
CHUNK = 4096  # elements of a block
TABLE = 200  # the most parameters of one launch


def lars(
    xp: Any,
    p: Array,
    g: Array,
    moments: list[Any],
    settings: Array,
    counters: Array,
    skip: Any,
    parts: tuple[slice, ...],
) -> None:
    """Norms, then the step."""
    for table, count, chunks in _tables(parts):
        sums, size = xp.ndarray((chunks, 2), "float64"), chunks * THREADS
        launch(xp, FILE, "lars_sums", size, p, g, sums, skip, table, count, CHUNK)
        launch(xp, FILE, "lars", size, p, g, *moments, sums, settings, skip, table, count, CHUNK)


def lamb(
    xp: Any,
    p: Array,
    g: Array,
    moments: list[Any],
    settings: Array,
    counters: Array,
    skip: Any,
    parts: tuple[slice, ...],
) -> None:
    """Averages, directions and norms, then the step."""
    factors, u = xp.ndarray(2, "float64"), xp.empty_like(p)
    prepared = settings, counters, factors, skip
    launch(xp, FILE, "prepare_lamb", counters.shape[0], *prepared, dtype=name_of(p.dtype))
    for table, count, chunks in _tables(parts):
        sums, size = xp.ndarray((chunks, 2), "float64"), chunks * THREADS
        whole = settings, factors, skip, table, count, CHUNK
        launch(xp, FILE, "lamb_direction", size, p, g, *moments, u, sums, *whole)
        launch(xp, FILE, "lamb", size, p, u, sums, settings, skip, table, count, CHUNK)


def _tables(parts: tuple[slice, ...]) -> Iterator[tuple[Any, int, int]]:
    """The kernels' `Parameters`, and how many parameters and chunks these are."""
    for i in range(0, len(parts), TABLE):
        some = parts[i : i + TABLE]
        table, chunks = _table(some[0].start, tuple(part.stop for part in some))
        if chunks:
            yield table, len(some), chunks


@lru_cache(maxsize=64)
def _table(begin: int, ends: tuple[int, ...]) -> tuple[Any, int]:
    sizes = [end - start for start, end in zip((begin, *ends), ends, strict=False)]
    chunks = list(accumulate(-(-size // CHUNK) for size in sizes))
    unused = [0] * (TABLE - len(ends))
    return struct([begin, *ends, *unused, *chunks, *unused]), chunks[-1]
