"""Adaptive max pooling, one launch forward and one backward, which gathers gradients without atomics."""

from __future__ import annotations

from typing import Any

from ...backend import Array
from .launch import TYPES, last, launch, name_of

FILE = "adaptive.cu"


def adaptive_max_pool(xp: Any, x: Array, output: tuple[int, ...]) -> tuple[Array, Array] | None:
    """One launch."""
    if name_of(x.dtype) not in TYPES or not 3 <= x.ndim <= 5:
        return None
    shape = (x.shape[0], *output, x.shape[1])
    y, places = xp.ndarray(shape, x.dtype), xp.ndarray(shape, "int64")
    launch(
        xp, FILE, "adaptive_max_pool", y.size, last(xp, x), y, places, *_three(x.shape[2:]), *_three(output),
        x.shape[1],
    )  # fmt: skip
    return xp.moveaxis(y, -1, 1), xp.moveaxis(places, -1, 1)


def adaptive_max_pool_backward(
    xp: Any, grad: Array, indices: Array, spatial: tuple[int, ...]
) -> Array | None:
    """One launch."""
    if name_of(grad.dtype) not in TYPES or not 3 <= grad.ndim <= 5:
        return None
    n, c, *output = grad.shape
    dx = xp.ndarray((n, *spatial, c), grad.dtype)
    launch(
        xp, FILE, "adaptive_max_pool_back", dx.size, last(xp, grad), last(xp, indices), dx, *_three(spatial),
        *_three(output), c,
    )  # fmt: skip
    return xp.moveaxis(dx, -1, 1)


def _three(sizes: Any) -> tuple[int, ...]:
    return (1,) * (3 - len(sizes)) + tuple(sizes)
