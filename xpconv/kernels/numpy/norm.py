"""Batch normalisation in two passes over memory, forward and backward, in blocks that fit the cache."""

from __future__ import annotations

from operator import setitem
from typing import Any

import numpy as np

from ...backend import Array
from ...geometry import Bounds
from ..engine import memory
from ..engine.plans import Part, Recorder, planned
from ..recorders import this_thread
from .blocks import Ending
from .channel_sums import Rows, is_for_reference, rows_of, sums_of
from .pointwise import by_parts, masked

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
    """As `(x - mean) · scale + shift`."""
    if is_for_reference(x):
        return None
    y = memory.images_like(x)(x.shape, x.dtype)
    _with_statistics(x, weight, bias, mean, inv_std, bounds, y)
    return y


def inverse_std(xp: Any, var: Array, eps: float) -> Array | None:
    """For inference plans, which compute it anew each time."""
    if this_thread.recorder is None:
        return None
    inv_std = memory.empty(var.shape, np.float64)
    by_parts(_inverse_std, eps, inv_std, var)
    return inv_std


def _inverse_std(do: Part, eps: float, inv_std: Array, var: Array) -> None:
    do(np.add, var, eps, inv_std)
    do(np.sqrt, inv_std, inv_std)
    do(np.divide, 1.0, inv_std, inv_std)


@planned
def _with_statistics(
    recorder: Recorder,
    x: Array,
    weight: Array | None,
    bias: Array | None,
    mean: Array,
    inv_std: Array,
    bounds: Bounds,
    y: Array,
) -> None:
    """`batch_norm` into `y`."""
    factors = recorder.scratch("factors", (3, mean.size), np.float64)
    scale, shift, center = factors
    rounded = recorder.scratch("rounded", mean.shape, x.dtype)
    recorder(setitem, rounded, ..., mean)
    recorder(setitem, center, ..., rounded)
    recorder(np.multiply, inv_std, 1.0 if weight is None else weight, scale)
    recorder(np.subtract, center, mean, shift)  # the rounding error of the mean
    recorder(np.multiply, shift, scale, shift)
    if bias is not None:
        recorder(np.add, shift, bias, shift)
    _scale(recorder, rows_of(recorder, "x", x, x), factors, bounds, y)


def _scale(recorder: Recorder, rows: Rows, factors: Array, bounds: Bounds, y: Array) -> None:
    """`x · scale + shift` into `y`, then clip; with a third factor `(x - center) · scale + shift`."""
    rows, into = rows.longer(), rows_of(recorder, "y", y, y).longer()
    scale, shift, *center = rows.wide(recorder, factors)
    ending = Ending(shift, bounds)
    blocks = rows.cut()

    def task(do: Part, i: int) -> None:
        part, out = rows.part(blocks[i].rows), into.part(blocks[i].rows)
        if center:
            do(np.subtract, part, center[0], out)
            part = out
        do(np.multiply, part, scale, out)
        ending.finish(out, do)

    recorder.share(task, len(blocks), rows.matrix.size)


def statistics(xp: Any, x: Array) -> tuple[Array, Array] | None:
    """Mean and variance from the sums of x and x²; None if that is not exact enough."""
    if is_for_reference(x):
        return None
    moments = np.empty((5, x.shape[1]))
    _normalized(x, None, None, 1.0, None, None, moments)
    return (moments[0], moments[1]) if moments[3, 0] else None


def normalize_batch(
    xp: Any, x: Array, weight: Array | None, bias: Array | None, eps: float, bounds: Bounds = None
) -> tuple[Array, Array, Array, Array] | None:
    """In two passes: sums of x and of x², then `x · scale + shift`; None if that is not exact enough."""
    if is_for_reference(x) or eps <= 0:
        return None
    y = memory.images_like(x)(x.shape, x.dtype)
    moments = np.empty((5, x.shape[1]))
    _normalized(x, weight, bias, eps, bounds, y, moments)
    mean, var, inv_std, exact, _ = moments
    return (y, mean, var, inv_std) if exact[0] else None


@planned
def _normalized(
    recorder: Recorder,
    x: Array,
    weight: Array | None,
    bias: Array | None,
    eps: float,
    bounds: Bounds,
    y: Array | None,
    moments: Array,
) -> None:
    """Write to `moments (5, C)` mean, variance, 1/√(variance + eps) and whether these are exact; then `y`."""
    rows = rows_of(recorder, "x", x, x)
    mean, var, inv_std, exact, square = moments
    sums_of(recorder, rows, rows, moments[:2])
    recorder(np.divide, moments[:2], x.size // x.shape[1], moments[:2])
    recorder(np.multiply, mean, mean, square)
    recorder(np.subtract, var, square, var)
    recorder(np.multiply, var, CLOSE**2, inv_std)
    recorder(np.less_equal, square, inv_std, square)
    recorder(np.less, var, np.inf, exact)
    recorder(np.minimum, square, exact, out=square)
    recorder(np.minimum.reduce, square, 0, None, exact[:1].reshape(()))
    recorder(np.maximum, var, 0.0, out=var)
    if y is None:
        return
    _inverse_std(recorder, eps, inv_std, var)
    factors = recorder.scratch("factors", (2, mean.size), np.float64)
    scale, shift = factors
    recorder(np.multiply, inv_std, 1.0 if weight is None else weight, scale)
    recorder(np.multiply, mean, scale, shift)
    recorder(np.subtract, 0.0 if bias is None else bias, shift, shift)
    _scale(recorder, rows, factors, bounds, y)


def _is_far(mean: Array, inv_std: Array) -> bool:
    """Whether a mean is so far from 0 that it must be subtracted first, as the reference does."""
    return bool((np.abs(mean) * inv_std).max() > CLOSE)


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
    if is_for_reference(x) or _is_far(mean, inv_std):
        return None
    dx = memory.images_like(x)(x.shape, x.dtype)
    sums = np.empty((2, x.shape[1]))
    y = None if bounds is None else y
    _gradients(grad, x, weight, mean, inv_std, from_batch, input_grad, y, bounds, dx, sums)
    dweight, dbias = sums[::-1].astype(x.dtype, copy=False)
    return dx if input_grad else None, dweight, dbias


@planned
def _gradients(
    recorder: Recorder,
    grad: Array,
    x: Array,
    weight: Array | None,
    mean: Array,
    inv_std: Array,
    from_batch: bool,
    input_grad: bool,
    y: Array | None,
    bounds: Bounds,
    dx: Array,
    sums: Array,
) -> None:
    """Write the gradients of bias and weight to `sums (2, C)`, and with `input_grad` that of `x` to `dx`."""
    grads, inputs = rows_of(recorder, "gradient", grad, x), rows_of(recorder, "x", x, x)
    into, mask = rows_of(recorder, "dx", dx, x), None
    if y is not None and bounds is not None:
        unmasked, outputs, limits = grads, rows_of(recorder, "y", y, x), bounds

        def mask(do: Part, rows: slice) -> None:
            masked(do, limits, into.part(rows), unmasked.part(rows), outputs.part(rows))

        grads = into
    sums_of(recorder, grads, inputs, sums, mask)
    dbias, dweight = sums
    means = recorder.scratch("means", sums.shape, np.float64)
    recorder(np.multiply, mean, dbias, means[0])
    recorder(np.subtract, dweight, means[0], dweight)
    recorder(np.multiply, dweight, inv_std, dweight)
    if input_grad:
        recorder(np.divide, sums, x.size // x.shape[1], means)
        _input_grad(recorder, grads, inputs, weight, mean, inv_std, means, into, from_batch)


def joint_input_grad(
    xp: Any, grad: Array, x: Array, weight: Array | None, mean: Array, inv_std: Array, means: Array
) -> Array | None:
    """One pass over the images, like the second pass of `batch_norm_backward`."""
    if is_for_reference(x) or _is_far(mean, inv_std):
        return None
    dx = memory.images_like(x)(x.shape, x.dtype)
    _joint_gradient(grad, x, weight, mean, inv_std, means, dx)
    return dx


@planned
def _joint_gradient(
    recorder: Recorder,
    grad: Array,
    x: Array,
    weight: Array | None,
    mean: Array,
    inv_std: Array,
    means: Array,
    dx: Array,
) -> None:
    """Write the result of `joint_input_grad` to `dx`."""
    grads, inputs, into = (
        rows_of(recorder, name, a, x) for name, a in (("gradient", grad), ("x", x), ("dx", dx))
    )
    _input_grad(recorder, grads, inputs, weight, mean, inv_std, means, into, True)


def _input_grad(
    recorder: Recorder,
    grads: Rows,
    inputs: Rows,
    weight: Array | None,
    mean: Array,
    inv_std: Array,
    means: Array,
    into: Rows,
    from_batch: bool,
) -> None:
    """Write `a · (grad + b · x + c)`, with the means of `grad` and `grad · x̂`; it may overwrite `grad`."""
    factors = recorder.scratch("factors", (3, mean.size), np.float64)
    scale, slope, shift = factors
    recorder(np.multiply, inv_std, means[1], slope)
    recorder(np.negative, slope, slope)
    recorder(np.multiply, mean, slope, scale)
    recorder(np.add, means[0], scale, shift)
    recorder(np.negative, shift, shift)
    recorder(np.multiply, inv_std, 1.0 if weight is None else weight, scale)
    in_place = grads is into
    grads, inputs, into = grads.longer(), inputs.longer(), into.longer()
    a, b, c = grads.wide(recorder, factors)
    blocks = grads.cut()

    def task(do: Part, i: int) -> None:
        grad, x, out = (rows.part(blocks[i].rows) for rows in (grads, inputs, into))
        if not from_batch:
            do(np.multiply, grad, a, out)
            return
        rest = do.scratch("rest", out.shape, out.dtype) if in_place else out
        do(np.multiply, x, b, rest)
        do(np.add, rest, c, rest)
        do(np.add, grad, rest, out)
        do(np.multiply, out, a, out)

    recorder.share(task, len(blocks), grads.matrix.size)
