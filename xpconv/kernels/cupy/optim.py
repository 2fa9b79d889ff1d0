"""Optimizers: one launch over the flat buffers, after a tiny one if a step depends on its number."""

from __future__ import annotations

from itertools import accumulate
from typing import Any

import numpy as np

from ...backend import Array
from .large_batch import lamb, lars
from .launch import SUMS, check_device, launch, name_of, same_order, struct

FILE = "optim.cu"
COUNTED = (
    "adam",
    "nadam",
    "radam",
    "sgd",
    "adagrad",
    "adamax",
)  # optimizers whose step depends on its number
KERNELS = {"nadam": "adam", "radam": "adam"}  # kernels with another name than the optimizer
WITH_NORMS = {"lars": lars, "lamb": lamb}
COEFFICIENTS = 9  # at most
TABLE = 160  # the most arrays that one launch of `gather` copies


def gather(xp: Any, arrays: list[Array], views: list[Array]) -> int:
    """One launch for 160 arrays of one dtype which have the memory order of their views."""
    batches: dict[str, list[tuple[Array, Array]]] = {}
    kinds, batch, fits = None, [], False
    for array, view in zip(arrays, views, strict=True):
        if not array.size:
            continue
        if kinds != (array.dtype, view.dtype):
            kinds = array.dtype, view.dtype
            name = name_of(array.dtype)
            fits, batch = SUMS.get(name) == name_of(view.dtype), batches.setdefault(name, [])
        if fits and same_order(array, view):
            batch.append((array, view))
        else:
            view[...] = array
    check_device(xp, "optimizer.step", *arrays)
    for name, pairs in batches.items():
        for i in range(0, len(pairs), TABLE):
            part = pairs[i : i + TABLE]
            ends = list(accumulate(array.size for array, _ in part))
            numbers = np.zeros(3 * TABLE, "int64")
            numbers[: len(part)] = [array.data.ptr for array, _ in part]
            numbers[TABLE : TABLE + len(part)] = [view.data.ptr for _, view in part]
            numbers[2 * TABLE : 2 * TABLE + len(part)] = ends
            launch(xp, FILE, "gather", ends[-1], struct(numbers), len(part), dtype=name)
    return len(arrays)


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
    """One launch, after one for the coefficients of this step; for LARS and LAMB, see `large_batch`."""
    coefficients, pointer = settings, 0 if skip is None else skip
    pointers = [0 if m is None else m for m in moments]
    if name in WITH_NORMS:
        WITH_NORMS[name](xp, p, g, pointers, settings, counters, pointer, parts)
        return True
    if name in COUNTED:
        coefficients = xp.ndarray(COEFFICIENTS, "float64")
        launch(
            xp, FILE, f"prepare_{name}", counters.shape[0], settings, counters, coefficients, pointer,
            dtype=name_of(p.dtype),
        )  # fmt: skip
    launch(xp, FILE, KERNELS.get(name, name), p.size, p, g, *pointers, coefficients, pointer)
    return True
