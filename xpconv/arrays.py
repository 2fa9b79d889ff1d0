"""Copies between backends and the host: `asarray` and `asnumpy`, and arrays from npz files."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from .backend import (
    Array,
    active_backend,
    backend_of,
    conversion_hint,
    find_backend,
    ignore_underflow,
    is_masked,
    owner_of_type,
    plain,
)
from .dtypes import to_dtype
from .errors import BackendError, DTypeError, ShapeError

__all__ = ["asarray", "asnumpy"]


def asarray(obj: Any, dtype: Any = None, *, backend: str | None = None) -> Array:
    """Copy host data, or an array of any backend, to the active backend (or to `backend`), if necessary.

    Args:
        obj: array of any registered backend, list, scalar, or anything `numpy.asarray` takes.
        dtype: dtype of the result; default: the dtype that `obj` has.
        backend: name of the backend for the result; default: the active one.

    Returns:
        The array itself if it is already there with that dtype, else a new one. The result is a plain array
        in this machine's byte order, also for a `memmap`, another subclass or an `np.matrix`. It shares the
        memory of a PyTorch tensor or another library's array, on the CPU through NumPy, on a GPU through
        DLPack; in the other direction `torch.from_dlpack(y)` makes no copy either.

    Raises:
        BackendError: (a TypeError) `obj` is a masked array, whose mask would be lost, or a sparse one.
        DTypeError: (a TypeError) `obj` does not hold numbers, such as a pandas column of mixed objects.
        ShapeError: (a ValueError) `obj` has lists of unequal lengths.

    Example:
        >>> import xpconv
        >>> xpconv.asarray([[1, 2]], dtype="float32")
        array([[1., 2.]], dtype=float32)
    """
    target = active_backend() if backend is None else find_backend(backend, "asarray: backend")
    if dtype is not None:
        dtype = to_dtype("asarray", target.xp, dtype)
    obj = _opened(obj)
    array: Array
    if isinstance(obj, target.array_type) and owner_of_type(type(obj)) is target:
        array = plain(obj)
        if array.dtype.kind == "O":
            array = _converted(obj, array, dtype)
    elif _is_foreign_cuda(obj):
        if target.array_type is np.ndarray:
            kind = f"{type(obj).__module__}.{type(obj).__qualname__}"
            raise BackendError(
                f"asarray: got {kind} on a GPU, but the backend is {target.name}; give it from the host "
                "(tensor.cpu()), or ask for backend='cupy'"
            )
        array = target.xp.from_dlpack(obj)
    else:
        host = asnumpy(obj)
        if host.dtype.kind == "O":
            host = _converted(obj, host, dtype)
        try:
            array = target.asarray(host, dtype=dtype)
        except (TypeError, ValueError, OverflowError) as cause:  # such as text that is no number
            raise DTypeError(
                f"asarray: {_described(obj)} cannot become an array of {dtype}: {cause}"
            ) from cause
    if dtype is None:
        dtype = array.dtype if array.dtype.isnative else array.dtype.newbyteorder("=")
    if array.dtype == dtype:
        return array
    with ignore_underflow(target.xp):
        return array.astype(dtype)


def _converted(obj: Any, host: np.ndarray, dtype: Any) -> np.ndarray:
    """An array of Python objects as one of `dtype`."""
    try:
        if dtype is not None:
            return host.astype(dtype)
        cause = None
    except (TypeError, ValueError) as error:
        cause = error
    raise DTypeError(
        f"asarray: {_described(obj)} becomes an array of Python objects, expected numbers; convert it first, "
        "or pass dtype="
    ) from cause


def _described(obj: Any) -> str:
    return f"{type(obj).__module__}.{type(obj).__qualname__}".removeprefix("builtins.")


def _opened(obj: Any) -> Any:
    """The array of an object with CuPy's protocol, such as a `Parameter`; any other value unchanged."""
    get = getattr(obj, "__cupy_get_ndarray__", None)
    return obj if get is None else get()


def _is_foreign_cuda(obj: Any) -> bool:
    """Whether `obj` is an array on a GPU, as its DLPack device says, that belongs to no backend."""
    device = getattr(obj, "__dlpack_device__", None)
    if device is None or int(device()[0]) not in (2, 13):  # CUDA's own and managed memory
        return False
    try:
        backend_of(obj)
    except BackendError:
        return True
    return False


def asnumpy(obj: Any) -> np.ndarray:
    """Copy an array of any backend to the host; other values are passed to `numpy.asarray`.

    On a GPU this waits for the device and copies: call it once per report, not once per batch.

    Example:
        >>> import xpconv
        >>> xpconv.asnumpy([1, 2])
        array([1, 2])
    """
    obj = _opened(obj)
    try:
        owner = backend_of(obj)
    except BackendError:
        if is_masked(type(obj)):
            raise BackendError(f"got a masked array; {conversion_hint(type(obj))}") from None
        if hasattr(obj, "toarray"):
            raise BackendError(f"got {_described(obj)}; {conversion_hint(type(obj))}") from None
        try:
            return np.asarray(obj)
        except TypeError as cause:  # a dtype that NumPy lacks, such as PyTorch's bfloat16
            raise DTypeError(
                f"{_described(obj)} cannot become a NumPy array ({cause}); convert it to a dtype NumPy has, "
                "such as tensor.float()"
            ) from cause
        except ValueError as cause:  # lists of unequal lengths
            raise ShapeError(f"{_described(obj)} cannot become a NumPy array: {cause}") from cause
    return owner.asnumpy(obj)


def from_tensor(value: Any) -> Any:
    """A PyTorch tensor as an array on the host, bfloat16 as float32; any other value unchanged."""
    if not hasattr(value, "detach"):
        return value
    value = value.detach().cpu()
    return asnumpy(value.float() if str(value.dtype) == "torch.bfloat16" else value)


def read_npz(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """The arrays of an npz file, by name; pickled objects are errors."""
    with open(path, "rb") as file:
        arrays = np.load(file, allow_pickle=False)
        if isinstance(arrays, np.ndarray):
            raise ValueError("it holds one array without a name")
        return dict(arrays)
