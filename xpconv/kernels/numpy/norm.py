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
SHARED_BYTES = 1 << 22  # with several threads, which need longer calls
CLOSE = 8  # distance of the mean from 0 in standard deviations, a factor of rounding errors
SMALL = 1 << 14  # elements below which one sum by NumPy is faster, and pairwise
ROWS = 256  # rows that are added in float32; their sums are added in float64
LANES = 4096  # contiguous products per `einsum`, which adds them in a few vector lanes
WIDTH = 8192  # elements of a row of several pixels, as NumPy's loops are faster on long rows
SHORT = 2048  # elements of a row in sums, each of which leaves a partial sum


class Rows(NamedTuple):
    """An `(N, C, *S)` array as rows of `repeat` pixels with all their channels.

    If the batch is last in memory, the rows are the columns of the matrix, each one pixel of one image.
    """

    matrix: Array
    repeat: int
    transposed: bool = False

    def longer(self) -> Rows:
        """The same memory in longer rows, for elementwise calls."""
        if self.transposed:
            return self
        channels = self.matrix.shape[1] // self.repeat
        repeat = _repeat(self.matrix.size // channels, channels, WIDTH)
        return Rows(self.matrix.reshape(-1, channels * repeat), repeat)

    def part(self, rows: slice) -> Array:
        """Some rows, in the layout of the matrix."""
        return self.matrix[:, rows] if self.transposed else self.matrix[rows]

    def wide(self, do: Part, values: Array) -> Array:
        """`values (…, C)` repeated for every pixel of a row, in the dtype of the matrix."""
        *stack, channels = values.shape
        result = do.scratch("wide", (*stack, self.repeat, channels), self.matrix.dtype)
        do(setitem, result, ..., values[..., None, :])
        return result.reshape(*stack, -1, 1) if self.transposed else result.reshape(*stack, -1)

    def sums(self, do: Part, part: Array, out: Array) -> None:
        """Sums over the rows of a part, one for each element of a row."""
        if self.transposed:
            do(np.add.reduce, part, 1, None, out)
        else:
            do(np.matmul, _ones(part.shape[0], part.dtype), part, out)

    def products(self, do: Part, a: Array, b: Array, out: Array) -> None:
        """Sums over the rows of two parts' products."""
        if not self.transposed:
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
        """The length of a sum of rows."""
        return int(self.matrix.shape[0 if self.transposed else 1])

    def cut(self, most: int = 0) -> list[Block]:
        """Blocks that fit the cache, of at most `most` rows."""
        matrix = self.matrix.T if self.transposed else self.matrix
        row = matrix.shape[1] * matrix.itemsize
        most *= WIDTH // matrix.shape[1] if self.transposed else 1
        limit = ALONE_BYTES if threads.share(matrix.size) == 1 else SHARED_BYTES
        return cut(1, matrix.shape[0], row, min(limit, most * row or limit), matrix.size)


def narrow(x: Array) -> bool:
    """Whether `x` is left to the reference: empty, or of half precision, whose sums need a wider dtype."""
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
    """Sums by matrix products with ones."""
    if narrow(x) or x.size < SMALL:
        return None
    sums = np.empty(x.shape[1])
    _channel_sums(x, sums)
    return sums


@planned
def _channel_sums(recorder: Recorder, x: Array, total: Array) -> None:
    """Write to `total (C,)`, in float64."""
    rows = rows_of(recorder, "x", x)
    blocks = rows.cut(ROWS)
    sums = recorder.scratch("sums", (len(blocks), rows.length()), x.dtype)
    recorder.share(lambda do, i: rows.sums(do, rows.part(blocks[i].rows), sums[i]), len(blocks), x.size)
    wide = recorder.scratch("total", sums.shape[1:], np.float64)
    recorder(np.add.reduce, sums, 0, np.float64, wide)
    recorder(np.add.reduce, wide.reshape(-1, x.shape[1]), 0, None, total)


def statistics(xp: Any, x: Array) -> tuple[Array, Array] | None:
    """Mean and variance without cancellation, even if the mean is far from 0."""
    return None if narrow(x) else unplanned(_centred_statistics, x)


def _centred_statistics(recorder: Recorder, x: Array) -> tuple[Array, Array]:
    """Subtract each block's mean before squaring, while the block is in the cache.

    The blocks' means and sums of squares are combined by the formula of Chan, Golub and LeVeque (1983).
    """
    rows = rows_of(recorder, "x", x)
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
        low = _narrow(sums, x) / count  # the rounding error of the mean
        rows.products(do, rest, rest, sums)
        parts[i] = count, mean + low, _narrow(sums, x) - count * low**2

    recorder.share(task, len(blocks), x.size)
    count, mean, squares = parts[0]
    for n, other, more in parts[1:]:
        step = other - mean
        squares = squares + more + step**2 * (count * n / (count + n))
        mean = mean + step * (n / (count + n))
        count += n
    return mean, squares / count


def _sums(recorder: Recorder, a: Rows, b: Rows, before: Callable[[Part, slice], None] | None = None) -> Array:
    """`Σ a` and `Σ a·b` of rows, `(2, …)` in float64; `before` computes some rows of `a` first."""
    blocks = a.cut(ROWS)
    sums = recorder.scratch("sums", (len(blocks), 2, a.length()), a.matrix.dtype)

    def task(do: Part, i: int) -> None:
        rows = blocks[i].rows
        if before is not None:
            before(do, rows)
        part = a.part(rows)
        a.sums(do, part, sums[i, 0])
        a.products(do, part, b.part(rows), sums[i, 1])

    recorder.share(task, len(blocks), a.matrix.size)
    total = recorder.scratch("total", sums.shape[1:], np.float64)
    recorder(np.add.reduce, sums, 0, np.float64, total)
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
    sums = _by_channel(recorder, _sums(recorder, rows, rows), x)
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
    sums = _by_channel(recorder, _sums(recorder, rows, inputs, mask), x)
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


def _by_channel(recorder: Recorder, sums: Array, x: Array) -> Array:
    """Sums of a row's elements `(2, repeat·C)` as sums of channels `(2, C)`."""
    parts = sums.reshape(2, -1, x.shape[1])
    if parts.shape[1] == 1:
        return parts[:, 0]
    total = recorder.scratch("channels", (2, x.shape[1]), np.float64)
    recorder(np.add.reduce, parts, 1, None, total)
    return total


def _float64(values: Array) -> Array:
    return np.asarray(values, np.float64)


def _far(mean: Array, inv_std: Array) -> bool:
    """Whether the mean is so many deviations from 0 that it must be subtracted first, to lose no digits."""
    return bool((np.abs(mean) * inv_std).max() > CLOSE)


@functools.lru_cache(maxsize=64)
def _ones(count: int, dtype: Any) -> Array:
    return memory.constant(np.ones(count, dtype))


def _empty_like(x: Array) -> Array:
    """Images with the batch last in memory, if it is in `x`, else channels-last."""
    return (memory.empty_batch_last if is_batch_last(x) else memory.empty_images)(x.shape, x.dtype)
