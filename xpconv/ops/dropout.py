"""What dropout draws."""

from __future__ import annotations

from typing import Any

from .. import kernels
from ..backend import Array
from ..random import Source


def keep_mask(xp: Any, source: Source, shape: tuple[int, ...], p: float) -> Array:
    """A bool array, False with probability `p`: what dropout keeps."""
    return kernels.of(xp).keep_mask(xp, source, shape, p)
