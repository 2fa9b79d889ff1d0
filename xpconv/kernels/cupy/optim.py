"""Optimizers: one launch over the flat buffers, after a tiny one if a step depends on its number."""

from __future__ import annotations

from typing import Any

from ...backend import Array
from .launch import launch, name_of

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
COEFFICIENTS = 9  # at most


def update(
    xp: Any,
    name: str,
    p: Array,
    g: Array,
    moments: list[Array | None],
    settings: Array,
    counters: Array,
    skip: Array | None = None,
) -> bool:
    """One launch, after one for the coefficients of this step."""
    coefficients, pointer = settings, 0 if skip is None else skip
    if name in COUNTED:
        coefficients = xp.empty(COEFFICIENTS, dtype="float64")
        launch(
            xp, FILE, f"prepare_{name}", counters.shape[0], settings, counters, coefficients, pointer,
            dtype=name_of(p.dtype),
        )  # fmt: skip
    pointers = [0 if m is None else m for m in moments]
    launch(xp, FILE, KERNELS.get(name, name), p.size, p, g, *pointers, coefficients, pointer)
    return True
