"""Parts of an array, and borders around it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from ...backend import Array
from ...errors import ShapeError
from ...ops.inference import is_recording
from ...ops.padding import pad_constant, pad_constant_backward, pad_or_crop, pad_or_crop_backward
from .operator import Operator, to_axes, to_axis, to_numbers, unbroadcast
from .selection import summed_at, taken

Result = tuple[Any, tuple[Any, ...]]
NAMES = {"constant": "constant", "reflect": "reflect", "edge": "replicate", "wrap": "circular"}
OPEN = 2**31 - 1  # a start or end of at least this means the end of the axis, whatever its size


class _Part(Operator):
    """Base of operators that give `x[where]`, with one slice for each axis; the rest has gradient 0."""

    def _gradients(self, xp: Any, grad: Array, *saved: Any) -> tuple[Array]:
        where, shape = saved
        dx = xp.zeros(shape, dtype=grad.dtype)
        dx[where] = grad
        return (dx,)


class Slice(_Part):
    """`x[…, start:end:step, …]` along some axes; what lies outside is cut off, as by Python.

    Args:
        starts, ends: an int for each axis that is cut.
        axes: which axes are cut; None means the first ones.
        steps: an int for each; None means 1.
        inputs: which of the names `starts`, `ends`, `axes` and `steps` are inputs of the layer.
    """

    starts: tuple[int, ...]
    ends: tuple[int, ...]
    inputs: tuple[str, ...]
    axes: tuple[Any, ...] | None
    steps: tuple[Any, ...] | None
    settings: ClassVar[tuple[str, ...]] = ("starts", "ends", "axes", "steps")

    def __init__(
        self,
        starts: Sequence[int] = (),
        ends: Sequence[int] = (),
        axes: Sequence[int] | None = None,
        steps: Sequence[int] | None = None,
        inputs: Sequence[str] = (),
    ) -> None:
        self.starts, self.ends, self.inputs = tuple(starts), tuple(ends), tuple(inputs)
        self.axes, self.steps = to_numbers(axes), to_numbers(steps)

    def _compute(
        self,
        xp: Any,
        x: Array,
        starts: Sequence[int],
        ends: Sequence[int],
        axes: Sequence[int] | None,
        steps: Sequence[int] | None,
    ) -> Result:
        axes = to_axes("Slice.forward", range(len(starts)) if axes is None else axes, x.ndim)
        steps = (1,) * len(starts) if steps is None else steps
        if not len(starts) == len(ends) == len(axes) == len(steps) or 0 in steps:
            raise ShapeError(
                f"Slice.forward: starts {tuple(starts)}, ends {tuple(ends)}, axes {axes} and steps "
                f"{tuple(steps)} do not fit each other"
            )
        where = [slice(None)] * x.ndim
        for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
            where[axis] = _slice(x.shape[axis], start, end, step)
        y = x[tuple(where)]
        if is_recording() and any(map(_may_cut, map(x.shape.__getitem__, axes), starts, ends)):
            y = y.copy()  # a new array, which inference plans cannot contain
        return y, (tuple(where), x.shape)


def _may_cut(n: int, start: int, end: int) -> bool:
    """Whether the slice may select another part of a longer axis, as of a batch, than of one of size `n`."""
    return n == 1 or not all(-n <= i <= n or abs(i) >= OPEN for i in (start, end))


def _slice(n: int, start: int, end: int, step: int) -> slice:
    """Of `n` elements; a number beyond either end counts as that end, a start as the element there."""
    start, end = (i + n if i < 0 else i for i in (start, end))
    if step > 0:
        return slice(min(max(start, 0), n), min(max(end, 0), n), step)
    start, end = min(max(start, 0), n - 1), min(max(end, -1), n - 1)
    if start <= end:
        return slice(0, 0)
    return slice(start, None if end < 0 else end, step)


class SplitPart(_Part):
    """One of the parts that an axis is cut into.

    Args:
        index: number of the part.
        axis: the axis.
        parts: the number of parts, which have equal sizes except for the last; None takes `sizes`.
        sizes: those of all parts.
        inputs: `("sizes",)` if the sizes are an input of the layer.
    """

    index: int
    axis: int
    parts: int | None
    sizes: tuple[int, ...]
    inputs: tuple[str, ...]
    settings: ClassVar[tuple[str, ...]] = ("sizes",)

    def __init__(
        self,
        index: int,
        axis: int = 0,
        parts: int | None = None,
        sizes: Sequence[int] = (),
        inputs: Sequence[str] = (),
    ) -> None:
        self.index, self.axis, self.parts = index, axis, parts
        self.sizes, self.inputs = tuple(sizes), tuple(inputs)

    def _compute(self, xp: Any, x: Array, sizes: Sequence[int]) -> Result:
        axis = to_axis("SplitPart.forward", self.axis, x.ndim)
        n = x.shape[axis]
        if self.parts is not None:
            size = -(-n // self.parts)
            start, end = min(n, self.index * size), min(n, (self.index + 1) * size)
        else:
            if sum(sizes) != n or min(sizes, default=0) < 0 or self.index >= len(sizes):
                raise ShapeError(
                    f"SplitPart.forward: axis {axis} of {x.shape} cannot be split into {tuple(sizes)}"
                )
            start, end = sum(sizes[: self.index]), sum(sizes[: self.index + 1])
        where = (*(slice(None),) * axis, slice(start, end))
        return x[where], (where, x.shape)


class Gather(Operator):
    """`x` at the positions in the second input along an axis; negative ones count from the end.

    On a GPU, a position outside gives NaN (0 of integers); on the CPU it is an error. The gradients of equal
    positions are added without a scatter, so in the same order on every run.
    """

    def __init__(self, axis: int = 0) -> None:
        self.axis = axis

    def _compute(self, xp: Any, x: Array, indices: Array) -> Result:
        axis = to_axis("Gather.forward", self.axis, x.ndim)
        n = x.shape[axis]
        valid = (indices >= -n) & (indices < n)
        indices = xp.where(indices < 0, indices + n, indices)
        return taken("Gather.forward", xp, x, indices, valid, axis), (indices, axis, x.shape)

    def _gradients(self, xp: Any, grad: Array, *saved: Any) -> tuple[Array | None, ...]:
        indices, axis, shape = saved
        taken = tuple(range(axis, axis + indices.ndim))
        front = xp.moveaxis(grad, taken, tuple(range(indices.ndim)))
        return xp.moveaxis(summed_at(xp, front, indices, shape[axis]), 0, axis), None


class Pad(Operator):
    """`x` with borders; negative numbers crop. A second input is the value of the border, with a gradient.

    Args:
        mode: `'constant'`, `'reflect'`, `'edge'` or `'wrap'`.
        pads: the numbers before the axes, then those after.
        axes: the axes; None are all.
        value: of a constant border, if there is no such input.
        inputs: names of `pads` and `axes`, if they are inputs.
    """

    mode: str
    value: Any
    inputs: tuple[str, ...]
    pads: tuple[int, ...]
    axes: tuple[Any, ...] | None
    settings: ClassVar[tuple[str, ...]] = ("pads", "axes")

    def __init__(
        self,
        mode: str = "constant",
        pads: Sequence[int] = (),
        axes: Sequence[int] | None = None,
        value: Any = 0,
        inputs: Sequence[str] = (),
    ) -> None:
        self.mode, self.value, self.inputs = mode, value, tuple(inputs)
        self.pads, self.axes = tuple(pads), to_numbers(axes)

    def _compute(
        self, xp: Any, x: Array, value: Array = None, *, pads: Sequence[int], axes: Sequence[int] | None
    ) -> Result:
        axes = to_axes("Pad.forward", range(x.ndim) if axes is None else axes, x.ndim)
        if len(pads) != 2 * len(axes):
            raise ShapeError(f"Pad.forward: pads are {pads}, expected {2 * len(axes)} for the axes {axes}")
        padding = [(0, 0)] * x.ndim
        for axis, low, high in zip(axes, pads[: len(axes)], pads[len(axes) :], strict=True):
            padding[axis] = (low, high)
        pairs = tuple(padding)
        self._check_sizes(x.shape, pairs)
        if self.mode != "constant":
            return pad_or_crop(xp, x[None, None], pairs, NAMES[self.mode])[0, 0], (pairs,)
        if value is None:
            return pad_constant(xp, x, pairs, self.value), (pairs,)
        inside = pad_constant(xp, xp.ones(x.shape, dtype=bool), pairs)
        y = xp.where(inside, pad_constant(xp, x, pairs), value.reshape(()).astype(x.dtype, copy=False))
        return y, (pairs, inside, value.shape)

    def _check_sizes(self, shape: tuple[int, ...], padding: tuple[tuple[int, int], ...]) -> None:
        spare = {"reflect": -1, "wrap": 0}
        for n, pair in zip(shape, padding, strict=True):
            cropped = n + sum(min(i, 0) for i in pair)
            source = cropped if self.mode == "wrap" else n
            beyond = self.mode in spare and max(pair) > max(0, source + spare[self.mode])
            if cropped < 0 or beyond or (self.mode == "edge" and not n and max(pair) > 0):
                raise ShapeError(
                    f"Pad.forward: x has shape {shape}, too small for {padding} and mode {self.mode!r}"
                )

    def _gradients(self, xp: Any, grad: Array, *saved: Any) -> tuple[Array, ...]:
        pairs, *rest = saved
        if self.mode != "constant":
            return (pad_or_crop_backward(xp, grad[None, None], pairs, NAMES[self.mode])[0, 0],)
        dx = pad_constant_backward(xp, grad, pairs)
        if not rest:
            return (dx,)
        inside, shape = rest
        return dx, unbroadcast(xp.where(inside, 0, grad), (1,) * grad.ndim).reshape(shape)
