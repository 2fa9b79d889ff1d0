"""Averages of many arrays, 16 of them in a launch."""

from __future__ import annotations

from itertools import groupby
from typing import Any

from ...backend import Array
from .launch import SUMS, launch, name_of

FILE = "average.cu"
PAIRS = 16


def follow_all(xp: Any, averages: list[Array], values: list[Array], share: float) -> bool | None:
    """In one launch for 16 arrays of a dtype; arrays with gaps are left to the reference."""
    for average, value in zip(averages, values, strict=True):
        plain = average.flags.c_contiguous and value.flags.c_contiguous
        if not plain or SUMS.get(name_of(value.dtype)) != name_of(average.dtype):
            return None
    pairs = sorted(zip(averages, values, strict=True), key=_dtype)
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
