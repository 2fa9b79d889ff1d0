"""What the pooling functions share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..backend import Array
from ..checks import SPATIAL
from ..errors import ShapeError
from ..layers.pool import _Pool
from ..ops.conv_complex import joined, parts
from ..parameter import Parameter
from ._checks import to_shape

REAL = ("floating point", "integer")  # the dtypes whose values have an order


def pooled_shape(where: str, layer: _Pool, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of the output for an input of this shape, which must not be smaller than the window."""
    lead = len(shape) - layer.axes
    return shape[:lead] + layer._positions(where, shape[lead:])


def as_size(where: str, input_size: Sequence[int], axes: int) -> tuple[int, ...]:
    """Check `input_size`; return it as a tuple."""
    spatial = SPATIAL[axes]
    form = f"(N, C, {spatial}) or (C, {spatial})"
    return to_shape(where, "input_size", input_size, (axes + 1, axes + 2), form, 1)


def check_lead(
    where: str,
    x: Array,
    size: tuple[int, ...],
    axes: int,
    argument: str = "grad_output",
    of: str = "that of input_size",
) -> None:
    """Raise a ShapeError unless `x` has the batch and channels of `size`, and `axes` further axes."""
    if x.ndim != len(size) or x.shape[:-axes] != size[:-axes] or 0 in x.shape[-axes:]:
        lead = ", ".join(map(str, size[:-axes]))
        raise ShapeError(
            f"{where}: {argument} has shape {x.shape}, expected ({lead}, {SPATIAL[axes]}): batch and "
            f"channels as in {of}"
        )


def array_of(value: Any) -> Array:
    """The array of a `Parameter`; any other value unchanged."""
    return value.data if isinstance(value, Parameter) else value


def by_parts(xp: Any, function: Callable[[Array], Array], x: Array) -> Array:
    """`function(x)` for a function of each channel; a complex channel is computed as two real ones."""
    return function(x) if x.dtype.kind != "c" else joined(xp, function(parts(xp, x)), x.dtype)
