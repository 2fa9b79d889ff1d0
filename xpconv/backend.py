"""The switch between array modules: NumPy on the CPU, CuPy on an NVIDIA GPU.

    xp = get_xp(x, weight)   # the module that owns these arrays
    xp = get_xp()            # the active backend's module, for making new arrays

Computation uses the module of its arrays; the active backend only decides where new arrays are made.
That is the one of the innermost `use_backend`, else of the last `set_backend`, else of the environment
variable `XPCONV_BACKEND` (`numpy`, `cupy` or `auto`), else NumPy. This is the only file that imports cupy;
copies between backends (`asarray`, `asnumpy`) are in arrays.py.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any, NamedTuple

import numpy as np

from .errors import BackendError, BackendUnavailableError

__all__ = ["get_backend", "get_xp", "set_backend", "use_backend"]

Array = Any  # an array of any backend: NumPy's and CuPy's have no static type in common


class Backend(NamedTuple):
    """An array module, with functions that copy to it (`asarray`) and to the host (`asnumpy`).

    `array_library.py` says what the module has; `as_strided` is None if there is none.
    """

    name: str
    xp: Any
    array_type: type
    asarray: Callable[..., Array]
    asnumpy: Callable[[Array], np.ndarray]
    as_strided: Callable[..., Array] | None
    may_share_memory: Callable[[Array, Array], bool]


_backends: dict[str, Backend] = {}
_owner_of: dict[type, Backend] = {}  # a cache, filled as types are met
_default: Backend | None = None
_override: ContextVar[Backend | None] = ContextVar("xpconv_backend", default=None)
_ignoring: ContextVar[bool] = ContextVar("xpconv_ignoring_underflow", default=False)
_ARITHMETIC = ("add", "sub", "mul", "matmul", "truediv", "pow", "neg", "eq", "lt", "iadd", "imul")
_METHODS = tuple(f"__{name}__" for name in (*_ARITHMETIC, "array_ufunc", "array_function"))
LAYER_HINTS = (  # in errors for a tuple and for None, which mistakes with layers give
    "a layer with several outputs (such as pooling with return_indices=True) belongs in a layer of your own "
    "that handles each, not in a Sequential",
    "a forward without `return` returns None, and so does backward(…, input_grad=False), which is for the "
    "first layer only",
)
_HINTS: dict[type, str] = dict(zip((tuple, type(None)), LAYER_HINTS, strict=True))  # `asarray` is no fix
_HINTS[np.matrix] = "its `*` is a matrix product; give numpy.asarray(x)"


def assume_shared(first: Array, second: Array) -> bool:
    """`may_share_memory` of a library that cannot tell: every answer is yes, which costs copies."""
    return True


def with_defaults(name: str, module: Any, array_type: type, **given: Any) -> Backend:
    """A backend with the module's own functions where none are given."""
    owners = {"as_strided": getattr(getattr(module, "lib", None), "stride_tricks", None)}
    defaults = {"may_share_memory": assume_shared}
    functions: dict[str, Any] = {}
    for function in ("asarray", "asnumpy", "as_strided", "may_share_memory"):
        own = getattr(owners.get(function, module), function, defaults.get(function))
        functions[function] = own if given.get(function) is None else given[function]
    return Backend(name, module, array_type, **functions)


def add_backend(backend: Backend) -> None:
    """Make a backend known by its name, instead of an earlier one of the same name."""
    _backends[backend.name] = backend
    _owner_of.clear()  # the new backend may be the closer owner of a known type


add_backend(with_defaults("numpy", np, np.ndarray, asnumpy=np.asarray))


def _load_cupy() -> Backend:
    """Import CuPy and check that a device answers, which the import alone does not show."""
    if "cupy" in _backends:
        return _backends["cupy"]
    try:
        import cupy
    except ImportError as cause:
        raise BackendUnavailableError(
            "backend 'cupy': CuPy cannot be imported. Install it with `pip install \"cupy-cuda12x[ctk]\"` "
            "(or cupy-cuda13x, to match your driver), or set XPCONV_BACKEND=numpy."
        ) from cause
    try:
        cupy.cuda.runtime.getDevice()
        cupy.empty(1)
    except Exception as cause:  # any error of CUDA
        raise BackendUnavailableError(
            f"backend 'cupy': CuPy {cupy.__version__} is installed, but no CUDA device answers "
            f"({cause}). Check `nvidia-smi`, the driver and CUDA_VISIBLE_DEVICES, "
            "or set XPCONV_BACKEND=numpy."
        ) from cause
    names = "MPI_LOCALRANKID", "OMPI_COMM_WORLD_LOCAL_RANK", "LOCAL_RANK"  # of MPICH, Open MPI, torchrun
    place = next(filter(None, map(os.environ.get, names)), "")
    if place.isdecimal():  # one of several processes that were started together on this machine
        cupy.cuda.Device(int(place) % cupy.cuda.runtime.getDeviceCount()).use()
    add_backend(with_defaults("cupy", cupy, cupy.ndarray))
    return _backends["cupy"]


def find_backend(name: str, argument: str = "backend") -> Backend:
    """The backend called `name`, loaded if necessary; `auto` is cupy if a device answers, else numpy."""
    if not isinstance(name, str):
        raise TypeError(f"{argument} is {name!r:.200}, expected a name: 'numpy', 'cupy' or 'auto'")
    if name in _backends:
        return _backends[name]
    if name == "cupy":
        return _load_cupy()
    if name == "auto":
        try:
            return _load_cupy()
        except BackendUnavailableError:
            return _backends["numpy"]
    choices = ", ".join(repr(n) for n in dict.fromkeys(["numpy", "cupy", "auto", *_backends]))
    known = {"cuda": "cupy", "gpu": "cupy", "cpu": "numpy"}.get(str(name).partition(":")[0])
    hint = f"; {name!r} is called {known!r} here" if known else ""
    raise ValueError(f"unknown backend {name!r}: choose one of {choices}{hint}")


def active_backend() -> Backend:
    """The backend on which new arrays are made."""
    backend = _override.get() or _default
    return backend if backend is not None else _read_environment()


def _read_environment() -> Backend:
    global _default
    name = os.environ.get("XPCONV_BACKEND") or "numpy"
    try:
        _default = find_backend(name)
    except ValueError as cause:
        raise ValueError(f"environment variable XPCONV_BACKEND: {cause}") from None
    return _default


def set_backend(name: str) -> None:
    """Choose the array module in which new arrays (parameters, data) are made, for all threads.

    Args:
        name: `'numpy'`, `'cupy'`, `'auto'` (cupy if a device answers, else numpy) or a registered name.

    Raises:
        ValueError: the name is unknown.
        BackendUnavailableError: cupy was asked for and cannot be used; the CUDA error is its cause.
        RuntimeError: inside `use_backend`, which would hide the change.

    Example:
        >>> import xpconv
        >>> xpconv.set_backend("numpy")
        >>> xpconv.get_xp().__name__
        'numpy'
    """
    global _default
    override = _override.get()
    if override is not None:
        raise RuntimeError(
            f"set_backend({name!r}): inside `with use_backend({override.name!r})`, which takes "
            "precedence; leave the block first"
        )
    _default = find_backend(name, "set_backend: name")


@contextmanager
def use_backend(name: str) -> Iterator[Any]:
    """Choose the array module for the length of a `with` block, in this thread or task only.

    Yields the module. Takes the names and raises the errors of `set_backend`.

    Example:
        >>> import xpconv
        >>> with xpconv.use_backend("numpy") as xp:
        ...     xpconv.asarray([1, 2, 3]).sum() == xp.asarray(6)
        np.True_
    """
    backend = find_backend(name, "use_backend: name")
    token = _override.set(backend)
    try:
        yield backend.xp
    finally:
        _override.reset(token)


def backend_of(*arrays: Array) -> Backend:
    """The backend that owns all of `arrays`; without arrays, the active one."""
    if not arrays:
        return active_backend()
    try:
        backend = _owner_of[type(arrays[0])]
    except KeyError:
        backend = _find_owner(arrays[0])
    for array in arrays[1:]:
        if _owner_of.get(type(array)) is not backend and _find_owner(array) is not backend:
            names = ", ".join(_find_owner(a).name for a in arrays)
            raise BackendError(
                f"arrays of different backends: {names}; move them to one with "
                "xpconv.asarray(x) (to the active backend) or layer.to(name)"
            )
    return backend


def _find_owner(array: Array) -> Backend:
    kind = type(array)
    if kind not in _owner_of:
        owner = owner_of_type(kind)
        if owner is None:
            raise BackendError(
                f"expected an array of {' or '.join(_backends)}, got {kind.__module__}.{kind.__qualname__}; "
                f"{conversion_hint(kind)}"
            )
        _owner_of[kind] = owner
    return _owner_of[kind]


def owner_of_type(kind: type) -> Backend | None:
    """The backend whose arrays are of this type; None if there is none, or if their arithmetic differs."""
    if issubclass(kind, np.generic):  # NumPy's scalars, the results of 0-d arithmetic
        return _backends["numpy"]
    matches = [b for b in _backends.values() if issubclass(kind, b.array_type)]
    if not matches and kind.__module__.partition(".")[0] == "cupy" and hasattr(kind, "strides"):
        matches = [_load_cupy()]  # made by the user before the backend was loaded
    if not matches:
        return None
    # The closest class wins, as a backend's arrays may be a subclass of another's.
    owner = min(matches, key=lambda b: kind.__mro__.index(b.array_type))
    theirs, ours = kind, owner.array_type
    same = all(getattr(theirs, name, None) is getattr(ours, name, None) for name in _METHODS)
    return owner if same else None


def conversion_hint(kind: type) -> str:
    """The hint in an error for an object of a type that belongs to no backend."""
    for known, hint in _HINTS.items():
        if issubclass(kind, known):
            return hint
    if is_masked(kind):
        return "masks are not supported; give x.filled(value)"
    if hasattr(kind, "toarray"):
        return "sparse arrays are not supported; give x.toarray()"
    if issubclass(kind, np.ndarray):
        return "its arithmetic is not that of numpy.ndarray; give numpy.asarray(x)"
    return "convert it with xpconv.asarray(x)"


def is_masked(kind: type) -> bool:
    """Whether it is `numpy.ma.MaskedArray` or a subclass; that module is not imported for it."""
    return issubclass(kind, np.ndarray) and hasattr(kind, "filled")


def plain(array: Array) -> Array:
    """`array` as `numpy.ndarray` if it is of a subclass, such as a `memmap`; any other value unchanged."""
    kind = type(array)
    if kind is np.ndarray or not isinstance(array, np.ndarray):
        return array
    owner = owner_of_type(kind)
    return array.view(np.ndarray) if owner is not None and owner.array_type is np.ndarray else array


def is_array_type(kind: type) -> bool:
    """Whether objects of this type are a backend's arrays."""
    return kind in _owner_of or (hasattr(kind, "strides") and owner_of_type(kind) is not None)


def ignore_underflow(xp: Any = np) -> AbstractContextManager[Any]:
    """A context in which results too small for their dtype become 0, whatever `numpy.seterr` is set to.

    For arithmetic where that 0 is right, such as `exp(-200)` in float32. Only NumPy reports underflow.
    """
    return np.errstate(under="ignore") if xp is np else nullcontext()


def ignoring_underflow(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` run within `ignore_underflow`; calls inside such a call do not enter the context again."""

    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        if _ignoring.get():
            return function(*args, **kwargs)
        token = _ignoring.set(True)
        try:
            with np.errstate(under="ignore"):
                return function(*args, **kwargs)
        finally:
            _ignoring.reset(token)

    return wrapped


# A decorator: `1 / 0` is infinity, without a warning. CuPy gives none.
ignoring_float_errors: Callable[[Callable[..., Any]], Callable[..., Any]] = np.errstate(all="ignore")


def host() -> Backend:
    """The backend of arrays in the memory of the host, NumPy, whichever is active."""
    return _backends["numpy"]


def get_xp(*arrays: Array) -> Any:
    """The module that owns `arrays`; without arrays, the active backend's module.

    Raises:
        BackendError: (a TypeError) the arrays belong to different modules, or to none.

    Example:
        >>> import numpy as np, xpconv
        >>> xpconv.get_xp(np.zeros(3), np.ones(2)).__name__
        'numpy'
    """
    try:
        return backend_of(*arrays).xp
    except BackendError as error:
        raise BackendError(f"get_xp: {error}") from None


def get_backend() -> str:
    """The name of the active backend: where new arrays are made.

    Example:
        >>> import xpconv
        >>> xpconv.get_backend()
        'numpy'
    """
    return active_backend().name
