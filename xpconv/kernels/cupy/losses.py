"""Losses of each element, one launch each, and the sum of all elements in one or two."""

from __future__ import annotations

from typing import Any

from ...backend import Array
from .launch import THREADS, TYPES, launch, name_of
from .pointwise import function

FILE = "losses.cu"
EACH = 16  # elements summed by one thread
BLOCKS = 1024  # largest number of blocks
ONE_BLOCK = 1 << 15  # the most elements that one block sums


def binary_entropy(xp: Any, x: Array, t: Array | float, positive: Array | float = 1.0) -> Array | None:
    """One launch, if the positives have a single factor."""
    if hasattr(positive, "shape") or not hasattr(t, "shape"):
        return None
    return function(xp, FILE, "binary_entropy", (x, t), float(positive))


def binary_entropy_slope(xp: Any, x: Array, t: Array, positive: Array | float = 1.0) -> Array | None:
    """One launch, if the positives have a single factor."""
    return (
        None
        if hasattr(positive, "shape")
        else function(xp, FILE, "binary_entropy_slope", (x, t), float(positive))
    )


def probability_entropy(xp: Any, x: Array, t: Array) -> Array | None:
    """One launch."""
    return function(xp, FILE, "probability_entropy", (x, t))


def probability_entropy_slope(xp: Any, x: Array, t: Array) -> Array | None:
    """One launch."""
    return function(xp, FILE, "probability_entropy_slope", (x, t))


def smooth_l1(xp: Any, d: Array, beta: float) -> Array | None:
    """One launch."""
    return function(xp, FILE, "smooth_l1", (d,), float(beta))


def smooth_l1_slope(xp: Any, d: Array, beta: float) -> Array | None:
    """One launch."""
    return function(xp, FILE, "smooth_l1_slope", (d,), float(beta))


def huber(xp: Any, d: Array, delta: float) -> Array | None:
    """One launch."""
    return function(xp, FILE, "huber", (d,), float(delta))


def huber_slope(xp: Any, d: Array, delta: float) -> Array | None:
    """One launch."""
    return function(xp, FILE, "huber_slope", (d,), float(delta))


def divergence(xp: Any, x: Array, t: Array, log_target: bool) -> Array | None:
    """One launch."""
    return function(xp, FILE, "divergence", (x, t), int(log_target))


def scaled_sum(xp: Any, x: Array, factor: Any) -> Array | None:
    """One launch of a single block, or two: many blocks, and then one block for their sums."""
    if hasattr(factor, "shape") or not x.size or name_of(x.dtype) not in TYPES:
        return None
    x, y = xp.ascontiguousarray(x), xp.ndarray((), x.dtype)
    if x.size <= ONE_BLOCK:
        launch(xp, FILE, "scaled_sum", THREADS, x, 0, 0, y, float(factor), x.size, 1)
        return y
    blocks = min(BLOCKS, -(-x.size // (THREADS * EACH)))
    sums = xp.ndarray(blocks, "float64")
    launch(xp, FILE, "scaled_sum", blocks * THREADS, x, 0, sums, 0, 1.0, x.size, blocks)
    launch(xp, FILE, "scaled_sum", THREADS, x, sums, 0, y, float(factor), blocks, 1)
    return y
