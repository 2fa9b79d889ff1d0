"""The OpenBLAS that NumPy's wheels bring; of another BLAS (MKL, Accelerate) nothing is found."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from glob import glob
from pathlib import Path
from typing import Any

import numpy as np


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
