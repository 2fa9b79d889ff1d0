"""Local response normalisation, one launch forward and one backward."""

from __future__ import annotations

from typing import Any

from ...backend import Array
from ...sums import SERIAL
from .launch import SUMS, TYPES, last, launch, name_of

FILE = "response.cu"


def response_norm(
    xp: Any, x: Array, size: int, alpha: float, beta: float, k: float
) -> tuple[Array, Array] | None:
    """One launch, for windows so short that a sum in float32 is exact enough."""
    if not _suits(x, size):
        return None
    x = last(xp, x)
    y, d = xp.ndarray(x.shape, x.dtype), xp.ndarray(x.shape, SUMS[name_of(x.dtype)])
    launch(
        xp, FILE, "response_norm", x.size, x, y, d, x.shape[-1], size // 2, (size - 1) // 2, alpha / size,
        float(beta), float(k),
    )  # fmt: skip
    return xp.moveaxis(y, -1, 1), xp.moveaxis(d, -1, 1)


def response_norm_backward(
    xp: Any, grad: Array, x: Array, d: Array, size: int, alpha: float, beta: float
) -> Array | None:
    """One launch, for windows so short that a sum in float32 is exact enough."""
    if not _suits(x, size) or grad.dtype != x.dtype:
        return None
    dx = xp.ndarray(last(xp, x).shape, x.dtype)
    launch(
        xp, FILE, "response_norm_back", dx.size, last(xp, grad), last(xp, x), last(xp, d), dx, dx.shape[-1],
        size // 2, (size - 1) // 2, alpha / size, float(beta),
    )  # fmt: skip
    return xp.moveaxis(dx, -1, 1)


def _suits(x: Array, size: int) -> bool:
    return name_of(x.dtype) in TYPES and (min(size, x.shape[1]) <= SERIAL or name_of(x.dtype) == "float64")
