"""Parameters that share memory, which flat buffers would take apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..backend import Array
from ..layers.base import Parameter


def check_apart(where: str, xp: Any, params: Sequence[Parameter]) -> None:
    """Refuse parameters whose data overlap in memory: each would be updated by itself from then on."""
    spans = sorted((*_span(p.data), i) for i, p in enumerate(params) if p.size)
    reaching: list[tuple[int, int]] = []  # where parameters before this one end, and which they are
    for start, stop, i in spans:
        reaching = [(end, j) for end, j in reaching if end > start]
        for _, j in sorted(reaching, key=lambda pair: pair[1]):
            if xp.shares_memory(params[i].data, params[j].data):
                first, second = (place(params, k) for k in sorted((i, j)))
                raise ValueError(
                    f"{where}: {first} and {second} share memory, but an optimizer gives each its own; use "
                    "one Parameter in both layers (second.weight = first.weight), which it updates once, or "
                    "make a copy (p.data = p.data.copy())"
                )
        reaching.append((stop, i))


def place(params: Sequence[Parameter], i: int) -> str:
    """What an error calls a parameter: `parameter 3 ('weight')`."""
    return f"parameter {i} ({params[i].name!r})" if params[i].name else f"parameter {i}"


def _span(array: Array) -> tuple[int, int]:
    """The addresses that an array lies between."""
    interface = getattr(array, "__array_interface__", None) or array.__cuda_array_interface__
    start = stop = interface["data"][0]
    for n, stride in zip(array.shape, array.strides, strict=True):
        start += min(0, (n - 1) * stride)
        stop += max(0, (n - 1) * stride)
    return start, stop + array.itemsize
