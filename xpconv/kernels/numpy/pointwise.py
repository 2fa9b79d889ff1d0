"""Element by element, in blocks that fit the cache, on all cores."""

from __future__ import annotations

import functools
from collections.abc import Callable
from operator import setitem
from typing import Any

import numpy as np

from ...backend import Array
from ...geometry import Bounds, Shape
from ...layout import is_batch_last
from ..engine import memory, threads
from ..engine.plans import Part, Recorder, planned
from .blocks import Ending

BLOCK = 1 << 20  # elements: calls shorter than 40 µs make two threads wait for the interpreter lock
SHARED_BLOCK = 1 << 18  # what many passes find in the second cache outweighs that
ALONE_BLOCK = 1 << 17


def in_blocks(xp: Any, task: Callable[[slice], None], size: int) -> int:
    """`task` on slices of 0…size that fit the cache, on all cores where there is work enough."""
    share = threads.share(size)
    count = max(share, -(-size // (SHARED_BLOCK if share > 1 else ALONE_BLOCK)))
    threads.run(lambda i: task(threads.part(i, count, size)), count, size)
    return count


def flat(x: Array) -> Array:
    """All elements in memory order: a view, or a copy if there are gaps."""
    return (x if x.flags.c_contiguous else x.transpose(_order(x.strides)[0])).reshape(-1)


def empty_like(x: Array) -> Array:
    """A new array with the axes of `x` in the same order in memory."""
    if x.flags.c_contiguous:
        return memory.empty(x.shape, x.dtype)
    order, back = _order(x.strides)
    shape = x.shape
    return memory.empty(tuple([shape[axis] for axis in order]), x.dtype).transpose(back)


@functools.lru_cache(maxsize=1024)
def _order(strides: Shape) -> tuple[Shape, Shape]:
    """Axes from the one with the longest steps to the shortest, and the way back."""
    axes = range(len(strides))
    order = tuple(sorted(axes, key=lambda axis: -abs(strides[axis])))
    return order, tuple(sorted(axes, key=order.__getitem__))


def like(x: Array, y: Array) -> Array:
    """`x` with the layout of `y`: itself, or a copy."""
    if x.strides == y.strides:
        return x
    copied = empty_like(y)
    by_parts(_copy, None, copied, x)
    return copied


@planned
def by_parts(
    recorder: Recorder, function: Callable[..., None], setting: Any, y: Array, *arrays: Array
) -> None:
    """Call `function(do, setting, y, *arrays)` on parts of `y` along its first axis that fit the cache.

    Arrays with another length of that axis, which are broadcast, are passed whole.
    """
    n, size = y.shape[0], y.size
    count = min(n, max(threads.share(size), -(-size // BLOCK)))

    def part(do: Part, i: int) -> None:
        some = threads.part(i, count, n)
        function(do, setting, y[some], *[a[some] if a.shape[0] == n else a for a in arrays])

    recorder.share(part, count, size)


def clip(xp: Any, x: Array, low: float, high: float | None) -> Array:
    """In parts."""
    y = empty_like(x)
    by_parts(_clip, (low, high), flat(y), flat(x))
    return y


def _clip(do: Part, bounds: Bounds, y: Array, x: Array) -> None:
    Ending(bounds=bounds).clip(x, y, do)


def clip_backward(xp: Any, grad: Array, y: Array, low: float, high: float | None) -> Array:
    """The product of a mask and the gradient's bits."""
    if y.itemsize > 8:  # there is no integer dtype of this size
        return None
    dx = empty_like(y)
    by_parts(masked, (low, high), flat(dx), flat(like(grad, y)), flat(y))
    return dx


def masked(do: Part, bounds: tuple[float, float | None], out: Array, grad: Array, y: Array) -> None:
    """`clip_backward` into `out`; the mask times the gradient's bits, so that 0 · ∞ is 0."""
    low, high = bounds
    mask = do.scratch("mask", out.shape, bool)
    do(np.less_equal, y, low, mask)
    if high is not None:
        above = do.scratch("above", out.shape, bool)
        do(np.greater_equal, y, high, above)
        do(np.logical_or, mask, above, mask)
    do(np.logical_not, mask, mask)
    bits = f"i{out.dtype.itemsize}"
    out = out.view(bits)
    do(setitem, out, ..., mask)
    do(np.multiply, out, grad.view(bits), out)


def add(xp: Any, a: Array, b: Array, bounds: Bounds = None) -> Array:
    """With the memory order of `b`."""
    if a.dtype != b.dtype:
        return None
    y = empty_like(b)
    by_parts(_arithmetic, ("add", bounds), flat(y), flat(like(a, b)), flat(b))
    return y


def arithmetic(xp: Any, function: str, a: Array, b: Array) -> Array:
    """Floats of one dtype, with the memory order of the larger one, which has the shape of the output."""
    whole = a if a.size >= b.size else b
    if a.dtype != b.dtype or a.dtype.kind != "f" or not (a.size and b.size and whole.ndim):
        return None
    if np.broadcast_shapes(a.shape, b.shape) != whole.shape:
        return None
    y = empty_like(whole)
    by_parts(
        _arithmetic, (function, None), y, *[x.reshape((1,) * (y.ndim - x.ndim) + x.shape) for x in (a, b)]
    )
    return y


def _arithmetic(do: Part, setting: tuple[str, Bounds], y: Array, a: Array, b: Array) -> None:
    function, bounds = setting
    do(getattr(np, function), a, b, y)
    Ending(bounds=bounds).finish(y, do)


def concatenate(xp: Any, axis: int, *arrays: Array, bounds: Bounds = None) -> Array:
    """Images with their channels last in memory, on all cores."""
    first = arrays[0]
    if bounds is not None and first.dtype.kind != "f":
        return None
    if axis == 0 or first.ndim < 2 or any(x.dtype != first.dtype or not x.size for x in arrays):
        return None
    size = sum([x.shape[axis] for x in arrays])
    shape = (*first.shape[:axis], size, *first.shape[axis + 1 :])
    y = memory.empty_images(shape, first.dtype) if len(shape) > 2 else memory.empty(shape, first.dtype)
    by_parts(_concatenate, (axis, bounds), y, *arrays)
    return y


def _concatenate(do: Part, setting: tuple[int, Bounds], y: Array, *arrays: Array) -> None:
    (axis, bounds), end = setting, 0
    for x in arrays:
        start, end = end, end + x.shape[axis]
        part = y[(slice(None),) * axis + (slice(start, end),)]
        if bounds is None:
            do(setitem, part, ..., x)
        else:
            Ending(bounds=bounds).clip(x, part, do)


def sigmoid(xp: Any, x: Array) -> Array:
    """`1 / (1 + exp(-x))`; None for half precision, where `exp(-x)` overflows while the result is not 0."""
    return _of_one(_logistic, x, False)


def silu(xp: Any, x: Array) -> Array:
    """`x / (1 + exp(-x))`; None for half precision."""
    return _of_one(_logistic, x, True)


def _logistic(do: Part, times_x: bool, y: Array, x: Array) -> None:
    do(np.negative, x, y)
    do(quiet_exp, y, y)
    do(np.add, y, 1, y)
    do(np.divide, x if times_x else 1, y, y)


def quiet_exp(x: Array, out: Array) -> None:
    """`exp(x)`; where it is infinite, the caller's result is 0."""
    with np.errstate(over="ignore"):
        np.exp(x, out)


def hardsigmoid(xp: Any, x: Array) -> Array:
    """A clipped line; None for half precision."""
    return clipped_line(xp, x, 1 / 6, 1 / 2)


def clipped_line(xp: Any, x: Array, slope: float, offset: float) -> Array:
    """`slope · x + offset`, clipped to [0, 1]; None for half precision."""
    return _of_one(_clipped_line, x, (slope, offset))


def _clipped_line(do: Part, line: tuple[float, float], y: Array, x: Array) -> None:
    do(np.multiply, x, line[0], y)
    do(np.add, y, line[1], y)
    Ending(bounds=(0.0, 1.0)).finish(y, do)


def _of_one(function: Callable[..., None], x: Array, setting: Any) -> Array | None:
    """Apply `function` to all elements, in parts; None unless they are real and of more than 16 bits."""
    if x.dtype.kind != "f" or x.itemsize == 2 or not x.size or not x.ndim:
        return None
    y = empty_like(x)
    by_parts(function, setting, flat(y), flat(x))
    return y


def reshape(xp: Any, x: Array, shape: tuple[int, ...]) -> Array:
    """A copy, where there has to be one, on all cores."""
    if x.flags.c_contiguous:
        return x.reshape(shape)
    y = memory.empty(x.shape, x.dtype)
    by_parts(_copy, None, y, x)
    return y.reshape(shape)


def not_batch_last(x: Array) -> Array:
    """`x`, as a channels-last copy if its batch is last."""
    if not is_batch_last(x):
        return x
    y = memory.empty_images(x.shape, x.dtype)
    by_parts(_copy, None, y, x)
    return y


def _copy(do: Part, setting: None, y: Array, x: Array) -> None:
    do(setitem, y, ..., x)
