"""The parts of optimizers that depend on the device; their formulas are in `optim`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..backend import Array
from ..kernels import overridable


@overridable
def in_blocks(xp: Any, task: Callable[[slice], None], size: int) -> int:
    """Call `task`, which reads its slice of arrays many times, on slices that together cover 0…size.

    Returns how many slices these are: one here, and on a CPU as many as make each fit the cache.
    """
    task(slice(0, size))
    return 1


@overridable
def gather(xp: Any, arrays: list[Array], views: list[Array]) -> int:
    """Copy each array into its view, which has its shape; returns how many there are."""
    for array, view in zip(arrays, views, strict=True):
        view[...] = array
    return len(arrays)


@overridable
def update(
    xp: Any,
    name: str,
    p: Array,
    g: Array,
    moments: list[Array | None],
    settings: Array,
    counters: Array,
    skip: Array | None = None,
    parts: tuple[slice, ...] = (),
) -> bool:
    """Perform the step of the optimizer `name` in a few launches; False if there is no kernel for it.

    `parts` are the parameters in `p` and `g`, for optimizers that take norms of each.
    """
    return False


@overridable
def follow_all(xp: Any, averages: list[Array], values: list[Array], share: float) -> bool:
    """`average += share · (value - average)`, in place, for each pair; True."""
    for average, value in zip(averages, values, strict=True):
        average += share * (value - average)
    return True
