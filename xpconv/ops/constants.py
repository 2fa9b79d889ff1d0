"""Small tables that operations look up: made once for each device, as each is a copy from the host."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from ..backend import Array
from ..kernels.graph import capturing, hold


def constant(xp: Any, values: tuple[Any, ...], dtype: str) -> Array:
    """`values`, tuples of one shape, as a shared array, which must not be written to."""
    found = _made(xp, values, dtype, xp.cuda.Device().id if hasattr(xp, "cuda") else 0)
    hold(found)
    return found


@lru_cache(maxsize=128)
def _made(xp: Any, values: tuple[Any, ...], dtype: str, device: int) -> Array:
    """Created for all streams, and not in the memory pool of a graph in warm-up, which it may outlive."""
    if capturing():
        raise RuntimeError("a table would be copied from the host, but the warm-up did not need it")
    if not hasattr(xp, "get_default_memory_pool"):
        return xp.asarray(values, dtype=dtype)
    with xp.cuda.using_allocator(xp.get_default_memory_pool().malloc):
        array: Array = xp.asarray(values, dtype=dtype)
    xp.cuda.get_current_stream().synchronize()
    return array
