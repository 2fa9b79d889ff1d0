"""The OpenBLAS that NumPy's wheels bring, called directly where NumPy's `matmul` does not reach.

Elsewhere (MKL, Accelerate, a distribution's own BLAS) `gemm` is None, and ways that need it are not taken.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from glob import glob
from pathlib import Path
from typing import Any

import numpy as np

ROW_MAJOR, PLAIN, TRANSPOSED = 101, 111, 112


def _load() -> Callable[[str], Any]:
    """Look up a function by its plain name: wheels add a prefix and a suffix for 64-bit integers."""
    folder = Path(np.__file__).parent
    for path in [*glob(f"{folder.parent}/numpy.libs/*openblas*"), *glob(f"{folder}/.dylibs/*openblas*")]:
        library = ctypes.CDLL(path)
        if hasattr(library, "scipy_cblas_sgemm64_"):
            return lambda name: getattr(library, f"scipy_{name}64_")
    return lambda name: None


function = _load()
get_num_threads, set_num_threads = (function(f"openblas_{verb}_num_threads") for verb in ("get", "set"))


def _gemm() -> dict[str, Any] | None:
    found: dict[str, Any] = {}
    size, pointer = ctypes.c_int64, ctypes.c_void_p
    for dtype, letter, scalar in (("float32", "s", ctypes.c_float), ("float64", "d", ctypes.c_double)):
        call = function(f"cblas_{letter}gemm")
        if call is None:
            return None
        call.argtypes = [ctypes.c_int] * 3 + [size] * 3 + [scalar, pointer, size, pointer, size]
        call.argtypes += [scalar, pointer, size]
        call.restype = None
        found[dtype] = call
    return found


gemm = _gemm()
