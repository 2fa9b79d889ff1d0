"""Batch normalisation in two passes over memory, forward and backward, in blocks that fit the cache."""

from __future__ import annotations

import functools
from collections.abc import Callable
from operator import setitem
from typing import Any, NamedTuple

import numpy as np

from ...backend import Array
from ...geometry import Bounds
from ..recorders import this_thread
from . import memory, threads
from .blocks import Block, Ending, contiguous, cut
from .memory import batch_last, channels_last, is_batch_last
from .plans import Part, Recorder, planned
from .pointwise import masked
from .scratch import unplanned

ALONE_BYTES = 1 << 19
SHARED_BYTES = 1 << 22  # with two threads at work each call has to be long
CLOSE = 8  # standard deviations of the mean from 0: rounding grows as much
SMALL = 1 << 14  # elements below which one sum by NumPy is faster, and pairwise
ROWS = 256  # that float32 adds up one by one; their sums are added in float64
LANES = 4096  # contiguous products per `einsum`, which adds them in a few vector lanes
WIDTH = 8192  # elements: rows of several pixels side by side, as NumPy's loops like long rows
SHORT = 2048  # elements of rows that are summed up: the fewer sums are left, the better


class Rows(NamedTuple):
    """An `(N, C, *S)` array as rows of `repeat` pixels with all their channels.

    If the batch is last in memory they are a matrix' columns, of one pixel of one image each.
    """

    matrix: Array
    repeat: int
    turned: bool = False

    def longer(self) -> Rows:
        """The same memory as rows for work element by element."""
        if self.turned:
            return self
        channels = self.matrix.shape[1] // self.repeat
        repeat = _repeat(self.matrix.size // channels, channels, WIDTH)
        return Rows(self.matrix.reshape(-1, channels * repeat), repeat)

    def part(self, rows: slice) -> Array:
        """Some rows, as they lie in the matrix."""
        return self.matrix[:, rows] if self.turned else self.matrix[rows]

    def wide(self, do: Part, values: Array) -> Array:
        """Some `(…, C)`, for every pixel of a row, in the dtype of the matrix."""
        *stack, channels = values.shape
        result = do.scratch("wide", (*stack, self.repeat, channels), self.matrix.dtype)
        do(setitem, result, ..., values[..., None, :])
        return result.reshape(*stack, -1, 1) if self.turned else result.reshape(*stack, -1)

    def sums(self, do: Part, part: Array, out: Array) -> None:
        """Over the rows of a part, as many as a row has elements."""
        if self.turned:
            do(np.add.reduce, part, 1, None, out)
        else:
            do(np.matmul, _ones(part.shape[0], part.dtype), part, out)

    def products(self, do: Part, a: Array, b: Array, out: Array) -> None:
        """Sums over the rows of two parts' products."""
        if not self.turned:
            do(np.einsum, "ij,ij->j", a, b, out=out)
            return
        count = a.shape[1] // LANES  # pieces
        if not count:
            do(np.einsum, "ij,ij->i", a, b, out=out)
            return
        end = count * LANES
        parts = do.scratch("parts", (len(out), count + 1), out.dtype)
        pieces = (part[:, :end].reshape(-1, count, LANES) for part in (a, b))
        do(np.einsum, "ikj,ikj->ik", *pieces, out=parts[:, :count])
        do(np.einsum, "ij,ij->i", a[:, end:], b[:, end:], out=parts[:, count])
        do(np.add.reduce, parts, 1, None, out)

    def length(self) -> int:
        """Of a sum of rows."""
        return int(self.matrix.shape[0 if self.turned else 1])

    def cut(self, most: int = 0) -> list[Block]:
        """Blocks for the cache; of at most so many rows."""
        matrix = self.matrix.T if self.turned else self.matrix
        row = matrix.shape[1] * matrix.itemsize
        most *= WIDTH // matrix.shape[1] if self.turned else 1
        limit = ALONE_BYTES if threads.share(matrix.size) == 1 else SHARED_BYTES
        return cut(1, matrix.shape[0], row, min(limit, most * row or limit), matrix.size)


def narrow(x: Array) -> bool:
    """Nothing, or floats of two bytes, whose sums need more: left to the reference."""
    return not x.size or x.dtype.itemsize == 2


def rows_of(do: Part, name: str, x: Array, like: Array | None = None) -> Rows:
    """A view where memory is as that of `like`, channels-last or batch-last, else a copy called `name`."""
    if is_batch_last(x if like is None else like):
        return Rows(contiguous(do, name, batch_last(x)).reshape(x.shape[1], -1), 1, True)
    last = contiguous(do, name, channels_last(x))
    channels = last.shape[-1]
    repeat = _repeat(last.size // channels, channels, SHORT)
    return Rows(last.reshape(-1, channels * repeat), repeat)


@functools.lru_cache(maxsize=1024)
def _repeat(pixels: int, channels: int, width: int) -> int:
    return max(r for r in range(1, max(1, width // channels) + 1) if pixels % r == 0)


def channel_total(xp: Any, x: Array) -> Array:
    """By matrix products with ones."""
    if narrow(x) or x.size < SMALL:
        return None
    sums = np.empty(x.shape[1])
    _channel_sums(x, sums)
    return sums


@planned
def _channel_sums(work: Recorder, x: Array, total: Array) -> None:
    """Into `total (C,)`, in float64."""
    rows = rows_of(work, "x", x)
    blocks = rows.cut(ROWS)
    sums = work.scratch("sums", (len(blocks), rows.length()), x.dtype)
    work.share(lambda do, i: rows.sums(do, rows.part(blocks[i].rows), sums[i]), len(blocks), x.size)
    wide = work.scratch("total", sums.shape[1:], np.float64)
    work(np.add.reduce, sums, 0, np.float64, wide)
    work(np.add.reduce, wide.reshape(-1, x.shape[1]), 0, None, total)


def statistics(xp: Any, x: Array) -> tuple[Array, Array] | None:
    """Without cancellation where the mean is far from 0."""
    return None if narrow(x) else unplanned(_centred_statistics, x)


def _centred_statistics(work: Recorder, x: Array) -> tuple[Array, Array]:
    """Each block takes its mean out before it squares, while it is in the cache.

    The blocks' means and sums of squares are put together by the formula of Chan, Golub and LeVeque (1983).
    """
    rows = rows_of(work, "x", x)
    blocks = rows.cut(ROWS)
    parts: list[Any] = [None] * len(blocks)

    def task(do: Part, i: int) -> None:
        block = rows.part(blocks[i].rows)
        count = block.size // x.shape[1]
        sums = do.scratch("sums", (rows.length(),), x.dtype)
        rows.sums(do, block, sums)
        mean = (_narrow(sums, x) / count).astype(x.dtype)
        rest = do.scratch("centred", block.shape, x.dtype)
        do(np.subtract, block, rows.wide(do, mean), rest)
        rows.sums(do, rest, sums)
        low = _narrow(sums, x) / count  # what rounding left in the mean
        rows.products(do, rest, rest, sums)
        parts[i] = count, mean + low, _narrow(sums, x) - count * low**2

    work.share(task, len(blocks), x.size)
    count, mean, squares = parts[0]
    for n, other, more in parts[1:]:
        step = other - mean
        squares = squares + more + step**2 * (count * n / (count + n))
        mean = mean + step * (n / (count + n))
        count += n
    return mean, squares / count


def _sums(work: Recorder, a: Rows, b: Rows, before: Callable[[Part, slice], None] | None = None) -> Array:
    """`Σ a` and `Σ a·b` of rows, `(2, …)` in float64; `before` makes some rows of `a`."""
    blocks = a.cut(ROWS)
    sums = work.scratch("sums", (len(blocks), 2, a.length()), a.matrix.dtype)

    def task(do: Part, i: int) -> None:
        rows = blocks[i].rows
        if before is not None:
            before(do, rows)
        part = a.part(rows)
        a.sums(do, part, sums[i, 0])
        a.products(do, part, b.part(rows), sums[i, 1])

    work.share(task, len(blocks), a.matrix.size)
    total = work.scratch("total", sums.shape[1:], np.float64)
    work(np.add.reduce, sums, 0, np.float64, total)
    return total


def _narrow(sums: Array, x: Array) -> Array:
    """Sums of a row's elements `(…, repeat·C)` as sums of channels `(…, C)`, float64."""
    parts = sums.astype("float64").reshape(*sums.shape[:-1], -1, x.shape[1])
    return parts[..., 0, :] if parts.shape[-2] == 1 else parts.sum(axis=-2)


def batch_norm(
    xp: Any,
    x: Array,
    weight: Array | None,
    bias: Array | None,
    mean: Array,
    inv_std: Array,
    bounds: Bounds = None,
) -> Array:
    """As `x · scale + shift`, where the mean is not far from 0."""
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
    """In an inference plan, in calls alone: `(x - mean) · scale + bias`, whatever the mean is."""
    if narrow(x) or this_thread.recorder is None:
        return None
    y = _empty_like(x)
    _by_statistics(x, weight, bias, mean, var, eps, bounds, y)
    return y


@planned
def _by_statistics(
    work: Recorder,
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
    rounded = work.scratch("rounded", mean.shape, x.dtype)
    work(setitem, rounded, ..., mean)
    factors = work.scratch("factors", (3, mean.size), np.float64)
    center, scale, shift = factors
    work(setitem, center, ..., rounded)
    work(np.add, var, eps, scale)
    work(np.sqrt, scale, scale)
    work(np.divide, 1.0 if weight is None else weight, scale, scale)
    work(np.subtract, center, mean, shift)  # what rounding the mean leaves
    work(np.multiply, shift, scale, shift)
    if bias is not None:
        work(np.add, shift, bias, shift)
    rows, into = rows_of(work, "x", x).longer(), rows_of(work, "y", y).longer()
    middle, factor, offset = rows.wide(work, factors)
    ending = Ending(offset, bounds)
    blocks = rows.cut()

    def task(do: Part, i: int) -> None:
        out = into.part(blocks[i].rows)
        do(np.subtract, rows.part(blocks[i].rows), middle, out)
        do(np.multiply, out, factor, out)
        ending.finish(out, do)

    work.share(task, len(blocks), rows.matrix.size)


@planned
def _scaled(
    work: Recorder,
    x: Array,
    mean: Array,
    inv_std: Array,
    weight: Array | None,
    bias: Array | None,
    bounds: Bounds,
    y: Array,
) -> None:
    """`batch_norm` into `y`."""
    _scale(work, rows_of(work, "x", x), mean, inv_std, weight, bias, bounds, y)


def _scale(
    work: Recorder,
    rows: Rows,
    mean: Array,
    inv_std: Array,
    weight: Array | None,
    bias: Array | None,
    bounds: Bounds,
    y: Array,
) -> None:
    """`x · scale + shift` into `y`, then cut off."""
    factors = work.scratch("factors", (2, mean.size), np.float64)
    scale, shift = factors
    work(np.multiply, inv_std, 1.0 if weight is None else weight, scale)
    work(np.multiply, mean, scale, shift)
    work(np.subtract, 0.0 if bias is None else bias, shift, shift)
    rows, into = rows.longer(), rows_of(work, "y", y).longer()
    factor, offset = rows.wide(work, factors)
    ending = Ending(offset, bounds)
    blocks = rows.cut()

    def task(do: Part, i: int) -> None:
        out = into.part(blocks[i].rows)
        do(np.multiply, rows.part(blocks[i].rows), factor, out)
        ending.finish(out, do)

    work.share(task, len(blocks), rows.matrix.size)


def normalize_batch(
    xp: Any, x: Array, weight: Array | None, bias: Array | None, eps: float, bounds: Bounds = None
) -> tuple[Array, Array, Array, Array] | None:
    """In two passes: sums of x and of x², then `x · scale + shift`; where that is exact enough."""
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
    work: Recorder,
    x: Array,
    weight: Array | None,
    bias: Array | None,
    eps: float,
    bounds: Bounds,
    y: Array,
    found: Array,
) -> None:
    """Into `y` and `found (5, C)`: mean, variance, 1/√(variance + eps), and whether that is exact enough."""
    rows = rows_of(work, "x", x)
    sums = _by_channel(work, _sums(work, rows, rows), x)
    mean, var, inv_std, exact, square = found
    work(np.divide, sums, x.size // x.shape[1], found[:2])
    work(np.multiply, mean, mean, square)
    work(np.subtract, var, square, var)
    work(np.multiply, var, CLOSE**2, inv_std)  # for now
    work(np.less_equal, square, inv_std, square)
    work(np.less, var, np.inf, exact)
    work(np.minimum, square, exact, out=square)
    work(np.minimum.reduce, square, 0, None, exact[:1].reshape(()))
    work(np.maximum, var, 0.0, out=inv_std)
    work(np.add, inv_std, eps, inv_std)
    work(np.sqrt, inv_std, inv_std)
    work(np.divide, 1.0, inv_std, inv_std)
    _scale(work, rows, mean, inv_std, weight, bias, bounds, y)


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

    With `bounds` the first writes what is left of `grad` to where the second will have `dx`.
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
    work: Recorder,
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
    """Into `dweight`, `dbias` and, with `input_grad`, the input's gradient into `dx`."""
    rows, kept, into = (rows_of(work, name, a, x) for name, a in (("gradient", grad), ("x", x), ("dx", dx)))
    mask = None
    if y is not None and bounds is not None:
        mask = functools.partial(_mask, rows, rows_of(work, "y", y, x), bounds, into)
        rows = into
    sums = _by_channel(work, _sums(work, rows, kept, mask), x)
    work(setitem, dbias, ..., sums[0])
    work(np.multiply, mean, dbias, dweight)
    work(np.subtract, sums[1], dweight, dweight)
    work(np.multiply, dweight, inv_std, dweight)
    if input_grad:
        factors = work.scratch("factors", (3, x.shape[1]), np.float64)
        scale, slope, shift = factors
        work(np.multiply, inv_std, dweight, slope)
        work(np.divide, slope, -(x.size // x.shape[1]), slope)
        work(np.multiply, mean, slope, scale)
        work(np.divide, dbias, -(x.size // x.shape[1]), shift)
        work(np.subtract, shift, scale, shift)
        work(np.multiply, inv_std, 1.0 if weight is None else weight, scale)
        _input_grad(work, rows, kept, into, factors, from_batch)


def _mask(
    rows: Rows, seen: Rows, bounds: tuple[float, float | None], into: Rows, do: Part, part: slice
) -> None:
    """Into where the gradient passes: where what was `seen` is within `bounds`."""
    masked(do, rows.part(part), seen.part(part), *bounds, into.part(part))


def _input_grad(work: Recorder, rows: Rows, kept: Rows, into: Rows, factors: Array, from_batch: bool) -> None:
    """`a · (grad + b · x + c)`, which may go to where the gradient is."""
    in_place = rows is into
    rows, kept, into = rows.longer(), kept.longer(), into.longer()
    a, b, c = rows.wide(work, factors)
    blocks = rows.cut()

    def task(do: Part, i: int) -> None:
        block = blocks[i].rows
        out, part = into.part(block), rows.part(block)
        if not from_batch:
            do(np.multiply, part, a, out)
            return
        rest = do.scratch("rest", out.shape, out.dtype) if in_place else out
        do(np.multiply, kept.part(block), b, rest)
        do(np.add, rest, c, rest)
        do(np.add, part, rest, out)
        do(np.multiply, out, a, out)

    work.share(task, len(blocks), rows.matrix.size)


def _by_channel(work: Recorder, sums: Array, x: Array) -> Array:
    """Sums of a row's elements `(2, repeat·C)` as sums of channels `(2, C)`."""
    parts = sums.reshape(2, -1, x.shape[1])
    if parts.shape[1] == 1:
        return parts[:, 0]
    total = work.scratch("channels", (2, x.shape[1]), np.float64)
    work(np.add.reduce, parts, 1, None, total)
    return total


def _float64(values: Array) -> Array:
    return np.asarray(values, np.float64)


def _far(mean: Array, inv_std: Array) -> bool:
    """Whether the mean is so many deviations from 0 that it has to come out first, or digits are lost."""
    return bool((np.abs(mean) * inv_std).max() > CLOSE)


@functools.lru_cache(maxsize=64)
def _ones(count: int, dtype: Any) -> Array:
    return memory.constant(np.ones(count, dtype))


def _empty_like(x: Array) -> Array:
    """Images with the batch last in memory, if it is in `x`, else channels-last."""
    return (memory.empty_batch_last if is_batch_last(x) else memory.empty_images)(x.shape, x.dtype)
