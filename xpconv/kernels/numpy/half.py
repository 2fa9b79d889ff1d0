"""Products of float16 and bfloat16 arrays in float32, rounded once.

NumPy has BLAS for float32 and float64 only, and multiplies 16-bit matrices one element at a time, which takes
some hundred times as long as the conversions and the product in float32.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

HALF = 2  # bytes of an element


def in_float32(override: Callable[..., Any], *arguments: Any) -> Any:
    """The result of an override for float32 copies of its 16-bit arrays, in their dtype; or its None."""
    half = next(a.dtype for a in arguments if isinstance(a, np.ndarray))
    result = override(*(a.astype(np.float32) if isinstance(a, np.ndarray) else a for a in arguments))
    return None if result is None else result.astype(half)
