"""Which function computes an operation for an array module: a reference in `ops`, or a device's override.

`ops` has a reference of every operation, in array functions that any module has; `@overridable` marks those
that `kernels.numpy` or `kernels.cupy` may override. To add an override:

1. Write a function with the reference's name, parameters and annotations in `kernels/numpy` or
   `kernels/cupy`. For arguments that it does not handle it returns None (annotate the result `… | None`), and
   the reference computes the result. So no operation returns None.
2. Import it in the package's `__init__.py`, and list it in `__all__`.
3. Give it cases in `tests/helpers/kernel_cases.py`; `tests/kernels/test_overrides.py` fails for one without.

Signatures are compared when a device's overrides are loaded, at its first operation. That costs nothing
later, and needs no second declaration of each signature, as a Protocol would.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import ModuleType
from typing import Any, ParamSpec, TypeVar

from ..reports import ignore_overflow

__all__ = ["free_memory", "get_num_threads", "set_num_threads"]

P = ParamSpec("P")
R = TypeVar("R")
Overrides = dict[str, Callable[..., Any]]

operations: dict[str, Callable[..., Any]] = {}  # by name
_overrides: dict[str, Overrides] = {}  # by the name of the array module
_in_float32: set[str] = set()  # names of the references that `in_float32` decorates


def overridable(reference: Callable[P, R]) -> Callable[P, R]:
    """Make an operation of its reference, whose first argument is the array module.

    The operation calls the override that the module has, or the reference. `__wrapped__` is the reference.
    """
    name, widens = reference.__name__, reference.__name__ in _in_float32

    @functools.wraps(reference)
    def operation(*args: Any, **options: Any) -> R:
        found = _overrides.get(args[0].__name__)
        override = (_load(args[0]) if found is None else found).get(name)
        result: R | None = None if override is None else override(*args, **options)
        if result is None:
            if widens and args[1].dtype.itemsize == 2 and args[1].dtype.kind not in "iu":
                return _rounded(reference, args[0], args[1:], options)
            return reference(*args, **options)
        return result

    operations[name] = operation
    return operation


def in_float32(reference: Callable[P, R]) -> Callable[P, R]:
    """Compute float16 and bfloat16 in float32 where the reference runs, and round the result once.

    Put it below `overridable`. Every step in half precision would lose digits, and near a zero of the
    function all of them. A result that is finite in float32 but out of range in half precision becomes
    infinite without a report, as log_softmax of a far class does.
    """
    _in_float32.add(reference.__name__)
    return reference


def _rounded(reference: Callable[..., R], xp: Any, args: tuple[Any, ...], options: Any) -> R:
    dtype = args[0].dtype
    wide = [x.astype("float32") if getattr(x, "dtype", None) == dtype else x for x in args]
    result: Any = reference(xp, *wide, **options)
    with ignore_overflow(xp):
        if isinstance(result, tuple):
            return tuple(y.astype(dtype) for y in result)  # type: ignore[return-value]
        return result.astype(dtype)  # type: ignore[no-any-return]


def overrides(xp: Any) -> Overrides:
    """The overrides for arrays of `xp`, by name."""
    found = _overrides.get(xp.__name__)
    return _load(xp) if found is None else found


def _load(xp: Any) -> Overrides:
    """Import, check and remember the overrides for `xp`; the import takes a fifth of the package's time."""
    package: ModuleType | None = None
    if xp.__name__ == "numpy":
        from . import numpy as package
    elif hasattr(xp, "RawModule"):  # it compiles CUDA
        from . import cupy as package
    found = {} if package is None else {name: getattr(package, name) for name in package.__all__}
    for name, override in found.items():
        check(name, override)
    _overrides[xp.__name__] = found
    return found


def check(name: str, override: Callable[..., Any]) -> None:
    """Compare an override with its reference: names, order, defaults and annotations of all parameters.

    Raises:
        TypeError: they differ, or there is no operation of that name.
    """
    where = f"{override.__module__}.{override.__name__}"
    if name not in operations:
        raise TypeError(f"{where} overrides nothing: no operation is called {name!r}")
    expected, got = (inspect.signature(function) for function in (operations[name], override))
    allowed = expected, expected.replace(return_annotation=f"{expected.return_annotation} | None")
    if got not in allowed:
        raise TypeError(
            f"{where}{got} differs from its reference {operations[name].__module__}.{name}{expected}"
        )


def set_num_threads(count: int) -> None:
    """Use `count` threads for NumPy arrays, instead of `XPCONV_NUM_THREADS`, `OMP_NUM_THREADS` or all cores.

    All cores are those that the process may run on, or fewer if its container limits the CPU time. Idle
    threads sleep. While a layer computes, NumPy's own OpenBLAS works on one thread. A `threadpool_limits`
    block of threadpoolctl that begins in another thread meanwhile, such as that of scikit-learn's KMeans,
    takes this one for the number to restore, which nothing here can see: around all such threads put one
    `threadpool_limits(1, user_api="blas")`.

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
    from .engine import threads

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
    from .engine.threads import get_num_threads  # from the module: a lookup in a package takes 1 µs more

    return get_num_threads()


def dividing_for(count: int) -> AbstractContextManager[None]:
    """A context in which this thread divides its work as for `count` threads, whatever number there is."""
    from .engine import threads

    return threads.setting("count", count)


def free_memory() -> None:
    """Return to the system the memory that is pooled for new NumPy arrays.

    Layers reuse the memory of deleted arrays, so a training loop need not wait for new pages from the system.
    Each of their arrays has a buffer of its own. Freed are those that no array uses, and the buffers and
    reordered weights of fused models (see `Layer.fuse`) that no call is using; the next call makes new ones.

    Example:
        >>> import xpconv
        >>> xpconv.free_memory()
    """
    from .engine import memory

    memory.free_memory()
