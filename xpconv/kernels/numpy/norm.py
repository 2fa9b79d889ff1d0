"""Batch normalisation in two passes over memory, forward and backward, in blocks that fit the cache."""

from __future__ import annotations

import functools
from operator import setitem
from typing import Any

import numpy as np

from ...backend import Array
from ...geometry import Bounds
from ..recorders import this_thread
from . import memory
from .blocks import Ending
from .channel_sums import Rows, by_channel, narrow, rows_of, sums_of
from .memory import is_batch_last
from .plans import Part, Recorder, planned
from .pointwise import masked

CLOSE = 8  # distance of the mean from 0 in standard deviations, a factor of rounding errors


def batch_norm(
    xp: Any,
    x: Array,
    weight: Array | None,
    bias: Array | None,
    mean: Array,
    inv_std: Array,
    bounds: Bounds = None,
) -> Array:
    """As `x · scale + shift`; None if the mean is far from 0."""
    if narrow(x) or _far(mean, inv_std):
        return None
    y = _empty_like(x)
    _scaled(x, _float64(mean), _float64(inv_std), weight, bias, bounds, y)
    return y


def batch_norm_by_statistics(
    xp: Any,
    x: Array,
    weight: Array | None,
    bias: Array | None,
    mean: Array,
    var: Array,
    eps: float,
    bounds: Bounds = None,
) -> Array | None:
    """For inference plans, by recorded calls only: `(x - mean) · scale + bias`, for any mean."""
    if narrow(x) or this_thread.recorder is None:
        return None
    y = _empty_like(x)
    _by_statistics(x, weight, bias, mean, var, eps, bounds, y)
    return y


@planned
def _by_statistics(
    recorder: Recorder,
    x: Array,
    weight: Array | None,
    bias: Array | None,
    mean: Array,
    var: Array,
    eps: float,
    bounds: Bounds,
    y: Array,
) -> None:
    """`batch_norm_by_statistics` into `y`."""
    rounded = recorder.scratch("rounded", mean.shape, x.dtype)
    recorder(setitem, rounded, ..., mean)
    factors = recorder.scratch("factors", (3, mean.size), np.float64)
    center, scale, shift = factors
    recorder(setitem, center, ..., rounded)
    recorder(np.add, var, eps, scale)
    recorder(np.sqrt, scale, scale)
    recorder(np.divide, 1.0 if weight is None else weight, scale, scale)
    recorder(np.subtract, center, mean, shift)  # the rounding error of the mean
    recorder(np.multiply, shift, scale, shift)
    if bias is not None:
        recorder(np.add, shift, bias, shift)
    rows, into = rows_of(recorder, "x", x).longer(), rows_of(recorder, "y", y).longer()
    middle, factor, offset = rows.wide(recorder, factors)
    ending = Ending(offset, bounds)
    blocks = rows.cut()

    def task(do: Part, i: int) -> None:
        out = into.part(blocks[i].rows)
        do(np.subtract, rows.part(blocks[i].rows), middle, out)
        do(np.multiply, out, factor, out)
        ending.finish(out, do)

    recorder.share(task, len(blocks), rows.matrix.size)


@planned
def _scaled(
    recorder: Recorder,
    x: Array,
    mean: Array,
    inv_std: Array,
    weight: Array | None,
    bias: Array | None,
    bounds: Bounds,
    y: Array,
) -> None:
    """`batch_norm` into `y`."""
    _scale(recorder, rows_of(recorder, "x", x), mean, inv_std, weight, bias, bounds, y)


def _scale(
    recorder: Recorder,
    rows: Rows,
    mean: Array,
    inv_std: Array,
    weight: Array | None,
    bias: Array | None,
    bounds: Bounds,
    y: Array,
) -> None:
    """`x · scale + shift` into `y`, then clip."""
    factors = recorder.scratch("factors", (2, mean.size), np.float64)
    scale, shift = factors
    recorder(np.multiply, inv_std, 1.0 if weight is None else weight, scale)
    recorder(np.multiply, mean, scale, shift)
    recorder(np.subtract, 0.0 if bias is None else bias, shift, shift)
    rows, into = rows.longer(), rows_of(recorder, "y", y).longer()
    factor, offset = rows.wide(recorder, factors)
    ending = Ending(offset, bounds)
    blocks = rows.cut()

    def task(do: Part, i: int) -> None:
        out = into.part(blocks[i].rows)
        do(np.multiply, rows.part(blocks[i].rows), factor, out)
        ending.finish(out, do)

    recorder.share(task, len(blocks), rows.matrix.size)


def normalize_batch(
    xp: Any, x: Array, weight: Array | None, bias: Array | None, eps: float, bounds: Bounds = None
) -> tuple[Array, Array, Array, Array] | None:
    """In two passes: sums of x and of x², then `x · scale + shift`; None if that is not exact enough."""
    if narrow(x) or eps <= 0:
        return None
    y = _empty_like(x)
    found = np.empty((5, x.shape[1]))
    _normalized(x, weight, bias, eps, bounds, y, found)
    if not found[3, 0]:
        return None
    mean, var, inv_std = found[:3]
    return y, mean, var, inv_std


@planned
def _normalized(
    recorder: Recorder,
    x: Array,
    weight: Array | None,
    bias: Array | None,
    eps: float,
    bounds: Bounds,
    y: Array,
    found: Array,
) -> None:
    """Write to `y` and `found (5, C)`: mean, variance, 1/√(variance + eps), and whether they are exact."""
    rows = rows_of(recorder, "x", x)
    sums = by_channel(recorder, sums_of(recorder, rows, rows), x)
    mean, var, inv_std, exact, square = found
    recorder(np.divide, sums, x.size // x.shape[1], found[:2])
    recorder(np.multiply, mean, mean, square)
    recorder(np.subtract, var, square, var)
    recorder(np.multiply, var, CLOSE**2, inv_std)  # until its value is computed below
    recorder(np.less_equal, square, inv_std, square)
    recorder(np.less, var, np.inf, exact)
    recorder(np.minimum, square, exact, out=square)
    recorder(np.minimum.reduce, square, 0, None, exact[:1].reshape(()))
    recorder(np.maximum, var, 0.0, out=inv_std)
    recorder(np.add, inv_std, eps, inv_std)
    recorder(np.sqrt, inv_std, inv_std)
    recorder(np.divide, 1.0, inv_std, inv_std)
    _scale(recorder, rows, mean, inv_std, weight, bias, bounds, y)


def batch_norm_backward(
    xp: Any,
    grad: Array,
    x: Array,
    weight: Array | None,
    mean: Array,
    inv_std: Array,
    from_batch: bool,
    input_grad: bool,
    y: Array | None = None,
    bounds: Bounds = None,
) -> tuple[Array | None, Array, Array] | None:
    """In two passes: sums, then `a · (grad + b · x + c)`.

    With `bounds` the first pass writes the masked `grad` into `dx`, which the second overwrites.
    """
    if narrow(x) or _far(mean, inv_std):
        return None
    dx = _empty_like(x)
    y = None if bounds is None else y
    dweight, dbias = np.empty((2, x.shape[1]))
    mean, inv_std = _float64(mean), _float64(inv_std)
    _gradients(grad, x, mean, inv_std, weight, from_batch, input_grad, y, bounds, dx, dweight, dbias)
    return dx if input_grad else None, dweight, dbias


@planned
def _gradients(
    recorder: Recorder,
    grad: Array,
    x: Array,
    mean: Array,
    inv_std: Array,
    weight: Array | None,
    from_batch: bool,
    input_grad: bool,
    y: Array | None,
    bounds: Bounds,
    dx: Array,
    dweight: Array,
    dbias: Array,
) -> None:
    """Write to `dweight`, `dbias` and, with `input_grad`, the input's gradient into `dx`."""
    rows, inputs, into = (
        rows_of(recorder, name, a, x) for name, a in (("gradient", grad), ("x", x), ("dx", dx))
    )
    mask = None
    if y is not None and bounds is not None:
        mask = functools.partial(_mask, rows, rows_of(recorder, "y", y, x), bounds, into)
        rows = into
    sums = by_channel(recorder, sums_of(recorder, rows, inputs, mask), x)
    recorder(setitem, dbias, ..., sums[0])
    recorder(np.multiply, mean, dbias, dweight)
    recorder(np.subtract, sums[1], dweight, dweight)
    recorder(np.multiply, dweight, inv_std, dweight)
    if input_grad:
        factors = recorder.scratch("factors", (3, x.shape[1]), np.float64)
        scale, slope, shift = factors
        recorder(np.multiply, inv_std, dweight, slope)
        recorder(np.divide, slope, -(x.size // x.shape[1]), slope)
        recorder(np.multiply, mean, slope, scale)
        recorder(np.divide, dbias, -(x.size // x.shape[1]), shift)
        recorder(np.subtract, shift, scale, shift)
        recorder(np.multiply, inv_std, 1.0 if weight is None else weight, scale)
        _input_grad(recorder, rows, inputs, into, factors, from_batch)


def _mask(
    rows: Rows, seen: Rows, bounds: tuple[float, float | None], into: Rows, do: Part, part: slice
) -> None:
    """Write the gradient to `into` where the output `seen` is within `bounds`, else 0."""
    masked(do, rows.part(part), seen.part(part), *bounds, into.part(part))


def _input_grad(
    recorder: Recorder, rows: Rows, inputs: Rows, into: Rows, factors: Array, from_batch: bool
) -> None:
    """`a · (grad + b · x + c)`, which may overwrite the gradient."""
    in_place = rows is into
    rows, inputs, into = rows.longer(), inputs.longer(), into.longer()
    a, b, c = rows.wide(recorder, factors)
    blocks = rows.cut()

    def task(do: Part, i: int) -> None:
        block = blocks[i].rows
        out, part = into.part(block), rows.part(block)
        if not from_batch:
            do(np.multiply, part, a, out)
            return
        rest = do.scratch("rest", out.shape, out.dtype) if in_place else out
        do(np.multiply, inputs.part(block), b, rest)
        do(np.add, rest, c, rest)
        do(np.add, part, rest, out)
        do(np.multiply, out, a, out)

    recorder.share(task, len(blocks), rows.matrix.size)


def _float64(values: Array) -> Array:
    return np.asarray(values, np.float64)


def _far(mean: Array, inv_std: Array) -> bool:
    """Whether the mean is so many deviations from 0 that it must be subtracted first, to lose no digits."""
    return bool((np.abs(mean) * inv_std).max() > CLOSE)


def _empty_like(x: Array) -> Array:
    """Images with the batch last in memory, if it is in `x`, else channels-last."""
    return (memory.empty_batch_last if is_batch_last(x) else memory.empty_images)(x.shape, x.dtype)
