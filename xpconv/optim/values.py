"""Values in the state dicts of optimizers: arrays, PyTorch's tensors and numbers."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from ..arguments import shown
from ..arrays import asnumpy, from_tensor
from ..backend import backend_of, is_array_type
from ..dtypes import is_floating
from ..errors import BackendError


def plain_number(value: Any) -> Any:
    """A setting with 0-d tensors and arrays replaced by Python numbers."""
    if isinstance(value, tuple | list):
        return tuple(plain_number(v) for v in value)
    value = from_tensor(value)
    return value.item() if hasattr(value, "item") and getattr(value, "ndim", None) == 0 else value


def as_array(value: Any) -> Any:
    """An array of any backend unchanged, a tensor or list as a NumPy array, any other value unchanged."""
    value = from_tensor(value)
    try:
        backend_of(value)
    except BackendError:
        with suppress(TypeError, ValueError):
            return asnumpy(value)
    return value


def misfit(value: Any, shape: tuple[int, ...], integers: bool = False) -> str:
    """How an array does not fit, as text for an error; empty if it fits."""
    dtype = value.dtype if is_array_type(type(value)) else None
    if dtype is None or dtype.kind in "OUSMm":
        return f"is {shown(value)}, expected an array of numbers"
    if not (is_floating(dtype) or (integers and dtype.kind in "iu")):
        return f"is {dtype}, expected a floating dtype"
    return "" if tuple(value.shape) == shape else f"has shape {tuple(value.shape)}, expected {shape}"
