"""The random mask of dropout."""

from __future__ import annotations

from typing import Any

from ..backend import Array
from ..kernels import overridable
from ..random import Source


@overridable
def keep_mask(xp: Any, source: Source, shape: tuple[int, ...], p: float) -> Array:
    """A bool array, False with probability `p`, where dropout sets zeros; drawn on the host."""
    return xp.asarray(source.generator.random(shape, dtype="float32") >= p)


@overridable
def apply_mask(xp: Any, x: Array, mask: Array, gain: float) -> Array:
    """`y = x · mask · gain`; the mask broadcasts over `x`."""
    y: Array = x * mask
    y *= gain
    return y
