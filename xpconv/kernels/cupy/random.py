"""Random masks from a counter-based generator on the device."""

from __future__ import annotations

from math import prod
from typing import Any

from ...backend import Array
from ...random import Source
from ..graph import hold
from .launch import launch

FILE = "random.cu"


def keep_mask(xp: Any, source: Source, shape: tuple[int, ...], p: float) -> Array:
    """Drawn on the device, with a key that is drawn once from the generator."""
    state = source.counters.get(xp.__name__)
    if state is None:
        key = source.pending.pop(xp.__name__, None)
        if key is None:
            key = [int(source.generator.integers(1 << 63, size=2, dtype="uint64")[0]), 0]
        state = source.counters[xp.__name__] = xp.asarray(key, dtype="uint64")
    hold(state)
    mask = xp.empty(shape, dtype=bool)
    fours = -(-prod(shape) // 4)
    launch(xp, FILE, "keep_mask", fours, mask, state, mask.size, float(p), dtype="float32")
    launch(xp, FILE, "advance", 1, state, fours, dtype="float32")
    return mask
