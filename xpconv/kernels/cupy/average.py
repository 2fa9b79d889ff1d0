"""Running averages of many arrays, up to 16 of them in a launch."""

from __future__ import annotations

from itertools import groupby
from typing import Any

from ...backend import Array
from .launch import SUMS, launch, name_of, same_order

FILE = "average.cu"
PAIRS = 16


def follow_all(xp: Any, averages: list[Array], values: list[Array], share: float) -> bool | None:
    """One launch for 16 arrays of a dtype; None for arrays with gaps or in other memory orders."""
    pairs = []
    for average, value in zip(averages, values, strict=True):
        if average.flags.c_contiguous:
            value = xp.ascontiguousarray(value)
        if not same_order(average, value) or SUMS.get(name_of(value.dtype)) != name_of(average.dtype):
            return None
        pairs.append((average, value))
    pairs.sort(key=_dtype)
    for dtype, group in groupby(pairs, key=_dtype):
        alike = list(group)
        for start in range(0, len(alike), PAIRS):
            arguments: list[Any] = []
            end = 0
            for average, value in alike[start : start + PAIRS]:
                end += value.size
                arguments += [average, value, end]
            arguments += [0, 0, end] * (PAIRS - len(arguments) // 3)
            launch(xp, FILE, "follow_all", end, float(share), *arguments, dtype=dtype)
    return True


def _dtype(pair: tuple[Array, Array]) -> str:
    return name_of(pair[1].dtype)
