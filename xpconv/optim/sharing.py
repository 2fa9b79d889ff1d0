"""Where the parameters of an optimizer are: on one device, in memory of their own."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from ..backend import Array, assume_shared, backend_of
from ..errors import BackendError
from ..parameter import Parameter


def check_apart(where: str, params: Sequence[Parameter]) -> None:
    """Raise a ValueError if data of two parameters overlap: flat buffers would separate them.

    For arrays without known addresses it calls the backend's function for all pairs, or compares identities.
    """
    spans = sorted((*_span(p.data), i) for i, p in enumerate(params) if p.size)
    reaching: list[tuple[int, int]] = []  # ends and indices of earlier parameters that may overlap
    for start, stop, i in spans:
        reaching = [(end, j) for end, j in reaching if end > start]
        for _, j in sorted(reaching, key=lambda pair: pair[1]):
            if _overlap(params[i].data, params[j].data):
                first, second = (place(params, k) for k in sorted((i, j)))
                raise ValueError(
                    f"{where}: {first} and {second} share memory, expected memory of its own for each; to "
                    "tie weights, use one Parameter in both layers (second.weight = first.weight), else "
                    "make a copy (p.data = p.data.copy())"
                )
        reaching.append((stop, i))


def check_one_device(where: str, params: Sequence[Parameter]) -> None:
    """Raise a BackendError unless all parameters are on one GPU, or on none."""
    devices = [getattr(getattr(p.data, "device", None), "id", 0) for p in params]
    for i, device in enumerate(devices):
        if device != devices[0]:
            raise BackendError(
                f"{where}: {place(params, i)} is on device {device} but {place(params, 0)} on device "
                f"{devices[0]}, expected one device for all; make an optimizer for the parameters of each"
            )


def on_device_of(array: Array) -> AbstractContextManager[Any]:
    """A context in which the GPU that has the array is the current one, so that new arrays are made there."""
    device: Any = getattr(array, "device", None)
    found: AbstractContextManager[Any] = device if hasattr(device, "__enter__") else nullcontext()
    return found


def place(params: Sequence[Parameter], i: int) -> str:
    """The name of a parameter in errors: `parameter 3 ('weight')`."""
    return f"parameter {i} ({params[i].name!r})" if params[i].name else f"parameter {i}"


def _interface(array: Array) -> Any:
    found = getattr(array, "__array_interface__", None)
    return getattr(array, "__cuda_array_interface__", None) if found is None else found


def _overlap(a: Array, b: Array) -> bool:
    backend = backend_of(a)
    if _interface(a) is not None:
        return bool(backend.xp.shares_memory(a, b))
    return a is b or (backend.may_share_memory is not assume_shared and bool(backend.may_share_memory(a, b)))


def _span(array: Array) -> tuple[int, int]:
    """The first address of an array's elements and the one after the last."""
    interface = _interface(array)
    if interface is None:
        return 0, 1
    start = stop = interface["data"][0]
    for n, stride in zip(array.shape, array.strides, strict=True):
        start += min(0, (n - 1) * stride)
        stop += max(0, (n - 1) * stride)
    return start, stop + array.itemsize
