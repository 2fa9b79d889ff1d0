"""CUDA graphs: what records them, on a device that has them, and the memory of their gradients."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, NamedTuple

from ..backend import Array
from ..kernels.exact import is_exact
from ..kernels.graph import capturing as capturing
from ..kernels.precision import nondeterministic_allowed, tf32_allowed


def recorder(xp: Any) -> Any:
    """A new `kernels.cupy.recorder.Recorder` for arrays of `xp`; None if their device has no graphs."""
    if not hasattr(xp, "cuda"):
        return None
    from ..kernels.cupy.recorder import Recorder

    return Recorder(xp)


def setting() -> tuple[Any, ...]:
    """The settings that recorded kernels depend on."""
    return is_exact(), tf32_allowed(), nondeterministic_allowed()


ROOM = 64  # elements between the arrays of an optimizer's buffer, at most


class Place(NamedTuple):
    """A view of a buffer; offset and strides are in elements."""

    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class Layout(NamedTuple):
    """Arrays in one buffer of one axis."""

    size: int
    places: list[Place]

    def views(self, buffer: Array) -> list[Array]:
        """The arrays, as views of `buffer`."""
        return [_view(buffer, place) for place in self.places]


def layout_of(arrays: Sequence[Array]) -> Layout:
    """The layout of a buffer for arrays like these: as theirs, if they share one, such as an optimizer's."""
    first = arrays[0]
    base, width, size = first.base, first.itemsize, sum(a.size for a in arrays)
    shared = base is not None and base.ndim == 1 and base.dtype == first.dtype and base.flags.c_contiguous
    if shared and base.size <= 2 * size + ROOM * len(arrays) and all(a.base is base for a in arrays):
        start = base.data.ptr
        places = [_place(a, (a.data.ptr - start) // width) for a in arrays]
        if all(map(_is_dense, places)):
            return Layout(base.size, places)
    places, offset = [], 0
    for a in arrays:
        steps = [prod(a.shape[i + 1 :]) for i in range(a.ndim)]
        places.append(Place(offset, a.shape, tuple(steps)))
        offset += a.size
    return Layout(offset, places)


def _place(array: Array, offset: int) -> Place:
    return Place(offset, array.shape, tuple(step // array.itemsize for step in array.strides))


def _view(buffer: Array, place: Place) -> Array:
    offset, shape, _ = place
    order = _order(place)
    flat = buffer[offset : offset + prod(shape)].reshape([shape[i] for i in order])
    return flat if order == sorted(order) else flat.transpose([order.index(i) for i in range(len(shape))])


def _order(place: Place) -> list[int]:
    """The axes from the largest stride to the smallest."""
    return sorted(range(len(place.shape)), key=lambda i: (-place.strides[i], -place.shape[i]))


def _is_dense(place: Place) -> bool:
    """Whether the elements lie one after the other, in any order of the axes."""
    step = 1
    for i in reversed(_order(place)):
        if place.shape[i] > 1 and place.strides[i] != step:
            return False
        step *= place.shape[i]
    return True
