"""The number of threads of the OpenBLAS that NumPy's wheels bring.

With another BLAS (MKL, Accelerate) the functions are None, and its number of threads is not changed.

The number applies to the whole process, so another thread that reads it during a call reads 1.
`threadpool_limits` of threadpoolctl (scikit-learn's KMeans uses it) reads the number when its block begins,
and sets it again when the block ends. If the block begins during a call and ends after it, the number stays
1. The same may happen if two such blocks of different threads overlap. This cannot be detected here. Calls
do not change a number that is already 1: put one `threadpool_limits(1, user_api="blas")` around all such
threads.
"""

from __future__ import annotations

import ctypes
import os
import weakref
from collections.abc import Callable
from glob import glob
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from ...backend import Array


def _load() -> Callable[[str], Any]:
    """Look up a function by its plain name: wheels add a prefix and a suffix for 64-bit integers."""
    folder = Path(np.__file__).parent
    for path in [*glob(f"{folder.parent}/numpy.libs/*openblas*"), *glob(f"{folder}/.dylibs/*openblas*")]:
        library = ctypes.CDLL(path)
        if hasattr(library, "scipy_cblas_sgemm64_"):
            return lambda name: getattr(library, f"scipy_{name}64_")
    return lambda name: None


function: Callable[[str], Any] = _load()
get_num_threads, set_num_threads = (function(f"openblas_{verb}_num_threads") for verb in ("get", "set"))

Result = TypeVar("Result")


def quiet_matmul(a: Array, b: Array, out: Array) -> None:
    """With a vector, OpenBLAS also computes with stale values in its buffer, which may warn."""
    with np.errstate(invalid="ignore"):
        np.matmul(a, b, out)


MATMULS = np.matmul, quiet_matmul  # the functions that compute with BLAS


class _Caller:
    """A call of `one_blas_thread`."""


_callers: set[weakref.ref[_Caller]] = set()  # weak, as a second Ctrl-C may interrupt the end of a call
_lowered: dict[object, int] = {}  # the numbers of threads that BLAS had before calls set it to 1


def one_blas_thread(function: Callable[..., Result], *args: Any) -> Result:
    """`function(*args)`, while BLAS computes in the calling thread alone.

    If several threads are here at once, the last one to leave restores BLAS's number of threads. This is a
    function instead of a context manager, as Ctrl-C may come before the first line of an `__exit__`.
    """
    if set_num_threads is None:
        return function(*args)
    caller = _Caller()
    try:
        _callers.add(weakref.ref(caller, _callers.discard))
        count = get_num_threads()
        if count > 1:
            _lowered[object()] = count
            set_num_threads(1)
        result = function(*args)
        _leave(caller)
        return result
    except BaseException:
        _leave(caller)
        raise


def _leave(caller: _Caller) -> None:
    """Forget the caller; restore BLAS's number of threads if it was the last one, whatever interrupts this.

    If the number is no longer 1, another thread has set it meanwhile, and that number stays.
    """
    try:
        _callers.discard(weakref.ref(caller))
        lowered = list(_lowered.items())  # read before `_callers`: if that is empty, these calls have ended
        if not _callers and lowered:
            if get_num_threads() == 1:
                set_num_threads(lowered[-1][1])
            for key, _ in lowered:
                _lowered.pop(key, None)
    except BaseException:
        _leave(caller)  # every step is safe to repeat
        raise


def _after_fork() -> None:
    """Reset the state in the child of a fork, where the other threads that were callers do not exist."""
    _callers.clear()
    _leave(_Caller())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
