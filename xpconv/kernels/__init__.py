"""How a device does a hot operation: `portable` for any array module, overrides where they pay."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from . import portable

__all__ = ["free_memory", "get_num_threads", "set_num_threads"]

_overrides: dict[str, ModuleType] = {}


def of(xp: Any) -> ModuleType:
    """The kernels for arrays of `xp`: a module with the names of `portable`."""
    found = _overrides.get(xp.__name__)
    if found is None:
        found = _overrides[xp.__name__] = _find(xp)
    return found


def _find(xp: Any) -> ModuleType:
    """Not imported before their first use: that takes a fifth of the package's time."""
    if xp.__name__ == "numpy":
        from . import numpy

        return numpy
    if hasattr(xp, "RawModule"):  # it compiles CUDA
        from . import cupy

        return cupy
    return portable


def set_num_threads(count: int) -> None:
    """Use `count` threads for NumPy arrays, instead of `XPCONV_NUM_THREADS`, `OMP_NUM_THREADS` or all cores.

    Results are the same from run to run; with another number of threads sums may round differently.

    Raises:
        ValueError: `count` is less than 1.

    Example:
        >>> import xpconv
        >>> before = xpconv.get_num_threads()
        >>> xpconv.set_num_threads(1)
        >>> xpconv.get_num_threads()
        1
        >>> xpconv.set_num_threads(before)
    """
    from .numpy import threads

    threads.set_num_threads(count)


def get_num_threads() -> int:
    """The number of threads that compute with NumPy arrays.

    Raises:
        ValueError: the environment variable for it is not a number.

    Example:
        >>> import xpconv
        >>> xpconv.get_num_threads() >= 1
        True
    """
    from .numpy import threads

    return threads.get_num_threads()


def free_memory() -> None:
    """Return to the system the memory that is pooled for new NumPy arrays.

    Layers reuse the memory of deleted arrays, so a training loop need not wait for new pages from the system.
    A chunk of the pool is freed when no array uses it any more. The buffers and reordered weights of fused
    models (see `Layer.fuse`) that no call is using are freed too; the next call makes new ones.

    Example:
        >>> import xpconv
        >>> xpconv.free_memory()
    """
    from .numpy import memory

    memory.free_memory()
