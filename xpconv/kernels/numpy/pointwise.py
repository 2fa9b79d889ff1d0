"""Element by element, in blocks that fit the cache, on all cores."""

from __future__ import annotations

import functools
from collections.abc import Callable
from operator import setitem
from typing import Any

import numpy as np

from ...backend import Array
from ...geometry import Bounds, Shape
from . import memory, threads
from .blocks import Ending, cut
from .plans import Part, Recorder, planned

BLOCK = 1 << 20  # elements: calls shorter than 40 µs make two threads wait for the interpreter lock
SHARED_BLOCK = 1 << 18  # what many passes find in the second cache outweighs that
ALONE_BLOCK = 1 << 17


def in_blocks(xp: Any, task: Callable[[slice], None], size: int) -> int:
    """`task` on slices of 0…size that fit the cache, on all cores where there is work enough."""
    share = threads.share(size)
    count = max(share, -(-size // (SHARED_BLOCK if share > 1 else ALONE_BLOCK)))

    def part(i: int) -> None:
        task(slice(i * size // count, (i + 1) * size // count))

    threads.run(part, count, size)
    return count


def scratch(xp: Any, name: str, like: Array) -> Array:
    """From the pool of buffers: most likely it is still in the cache."""
    return memory.empty(like.shape, like.dtype)


def flat(x: Array) -> Array | None:
    """All elements in the order of memory, as a view; None where there are gaps."""
    if x.flags.c_contiguous:
        return x.reshape(-1)
    y = x.transpose(_order(x.strides)[0])
    return y.reshape(-1) if y.flags.c_contiguous else None


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
    _copy(x, copied)
    return copied


@planned
def _in_blocks(recorder: Recorder, function: Callable[..., None], bounds: Bounds, *arrays: Array) -> None:
    """`function(do, bounds, *parts)` on parts of arrays `(n,)` that fit the cache."""
    size = arrays[0].size
    count = max(threads.share(size), -(-size // BLOCK))

    def block(do: Part, i: int) -> None:
        part = slice(i * size // count, (i + 1) * size // count)
        function(do, bounds, *[array[part] for array in arrays])

    recorder.share(block, count, size)


def clip(xp: Any, x: Array, low: float, high: float | None) -> Array:
    """In blocks."""
    source = flat(x)
    if source is None:
        return None
    y = empty_like(x)
    _in_blocks(_clip, (low, high), source, flat(y))
    return y


def _clip(do: Part, bounds: Bounds, x: Array, y: Array) -> None:
    Ending(bounds=bounds).clip(x, y, do)


def clip_backward(xp: Any, grad: Array, y: Array, low: float, high: float | None) -> Array:
    """The product of a mask and the gradient's bits."""
    output = flat(y)
    if output is None or y.itemsize > 8:  # no integer is as long
        return None
    dx = empty_like(y)
    _in_blocks(masked, (low, high), flat(like(grad, y)), output, flat(dx))
    return dx


def masked(do: Part, bounds: tuple[float, float | None], grad: Array, y: Array, out: Array) -> None:
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
    other = flat(b)
    if other is None or a.dtype != b.dtype:
        return None
    y = empty_like(b)
    _in_blocks(_add, bounds, flat(like(a, b)), other, flat(y))
    return y


def _add(do: Part, bounds: Bounds, a: Array, b: Array, y: Array) -> None:
    do(np.add, a, b, y)
    Ending(bounds=bounds).finish(y, do)


def arithmetic(xp: Any, function: str, a: Array, b: Array) -> Array:
    """Floats of one dtype, with the memory order of the larger one, which has the shape of the output."""
    whole = a if a.size >= b.size else b
    if a.dtype != b.dtype or a.dtype.kind != "f" or not (a.size and b.size and whole.ndim):
        return None
    if flat(whole) is None or np.broadcast_shapes(a.shape, b.shape) != whole.shape:
        return None
    y = empty_like(whole)
    _arithmetic(function, *[x.reshape((1,) * (y.ndim - x.ndim) + x.shape) for x in (a, b)], y)
    return y


@planned
def _arithmetic(recorder: Recorder, function: str, a: Array, b: Array, y: Array) -> None:
    """Into `y`, by blocks of its first axis."""
    blocks = cut(y.shape[0], 1, y[:1].nbytes, y.nbytes, y.size)

    def block(do: Part, i: int) -> None:
        part = blocks[i].images
        operands = [x if x.shape[0] == 1 else x[part] for x in (a, b)]
        do(getattr(np, function), *operands, y[part])

    recorder.share(block, len(blocks), y.size)


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
    _concatenate(axis, bounds, y, *arrays)
    return y


@planned
def _concatenate(recorder: Recorder, axis: int, bounds: Bounds, y: Array, *arrays: Array) -> None:
    """Into `y`."""
    low, high = bounds or (None, None)
    blocks = cut(y.shape[0], 1, y[:1].nbytes, y.nbytes, y.size)
    before = (slice(None),) * (axis - 1)

    def block(do: Part, i: int) -> None:
        part, start = blocks[i].images, 0
        for x in arrays:
            end = start + x.shape[axis]
            place = (part, *before, slice(start, end))
            if bounds is None:
                do(setitem, y[place], ..., x[part])
            else:
                do(np.clip, x[part], low, np.inf if high is None else high, y[place])
            start = end

    recorder.share(block, len(blocks), y.size)


def sigmoid(xp: Any, x: Array) -> Array:
    """In blocks; None for half precision, where `exp(-x)` is infinite while the result is not 0."""
    return _of_one(_sigmoid, x, copied=True) if x.itemsize > 2 else None


def _sigmoid(do: Part, bounds: Bounds, x: Array, y: Array) -> None:
    _one_plus_exp(do, x, y)
    do(np.divide, 1, y, y)


def silu(xp: Any, x: Array) -> Array:
    """`x / (1 + exp(-x))`, in blocks; None for half precision."""
    return _of_one(_silu, x, copied=True) if x.itemsize > 2 else None


def _silu(do: Part, bounds: Bounds, x: Array, y: Array) -> None:
    _one_plus_exp(do, x, y)
    do(np.divide, x, y, y)


def _one_plus_exp(do: Part, x: Array, y: Array) -> None:
    """`y = 1 + exp(-x)`."""
    do(np.negative, x, y)
    do(quiet_exp, y, y)
    do(np.add, y, 1, y)


def quiet_exp(x: Array, out: Array) -> None:
    """`exp(x)`; where it is infinite, the caller's result is 0."""
    with np.errstate(over="ignore"):
        np.exp(x, out)


def hardsigmoid(xp: Any, x: Array) -> Array:
    """In blocks."""
    return _of_one(_hardsigmoid, x)


def _hardsigmoid(do: Part, bounds: Bounds, x: Array, y: Array) -> None:
    do(np.add, x, 3, y)
    Ending(bounds=(0.0, 6.0)).finish(y, do)
    do(np.divide, y, 6, y)


def clipped_line(xp: Any, x: Array, slope: float, offset: float) -> Array:
    """In blocks."""
    return _of_one(_clipped_line, x, (slope, offset))


def _clipped_line(do: Part, line: tuple[float, float], x: Array, y: Array) -> None:
    do(np.multiply, x, line[0], y)
    do(np.add, y, line[1], y)
    Ending(bounds=(0.0, 1.0)).finish(y, do)


def _of_one(
    function: Callable[..., None], x: Array, numbers: Any = None, copied: bool = False
) -> Array | None:
    """`function` of all elements, which are floats, in blocks; with `copied` also if `x` has gaps in memory.

    For functions that round otherwise than their reference: the result depends on the values alone.
    """
    if x.dtype.kind != "f" or not x.size or not x.ndim:
        return None
    source = flat(x)
    if source is None and copied:
        x = x.copy()
        source = flat(x)
    if source is None:
        return None
    y = empty_like(x)
    _in_blocks(function, numbers, source, flat(y))
    return y


def reshape(xp: Any, x: Array, shape: tuple[int, ...]) -> Array:
    """A copy, where there has to be one, on all cores."""
    if x.flags.c_contiguous:
        return x.reshape(shape)
    y = memory.empty(x.shape, x.dtype)
    _copy(x, y)
    return y.reshape(shape)


def not_batch_last(x: Array) -> Array:
    """`x`, as a channels-last copy if its batch is last."""
    if not memory.is_batch_last(x):
        return x
    y = memory.empty_images(x.shape, x.dtype)
    _copy(x, y)
    return y


@planned
def _copy(work: Recorder, x: Array, y: Array) -> None:
    """Into `y`."""
    blocks = cut(x.shape[0], 1, y[:1].nbytes, y.nbytes, x.size)
    work.share(lambda do, i: do(setitem, y[blocks[i].images], ..., x[blocks[i].images]), len(blocks), x.size)
