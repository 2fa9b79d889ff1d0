"""Batch normalisation: sums in at most three launches, then forward or backward in one, with its ReLU."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from ...backend import Array
from ...geometry import Bounds
from .launch import SUMS, dense, empty_images, ends, lanes, launch, name_of, pixels

FILE = "norm.cu"
F64, INT64 = np.dtype("float64"), np.dtype("int64")
WIDE = {name: np.dtype(sums) for name, sums in SUMS.items()}
THREADS = 1 << 17  # for the pixels of all channels together: enough to fill a GPU
PARTS = 4096  # the most parts of the pixels, whose results two launches can merge
MERGED = 64  # partial results that one thread merges, at most


def channel_total(xp: Any, x: Array) -> Array:
    """By partial sums, which are merged."""
    return _sums(xp, pixels(xp, x))[0, 0]


def channel_sum(xp: Any, x: Array) -> Array:
    """The same sums as `channel_total`; the last merging launch writes the dtype of `x`."""
    c = x.shape[1]
    if not x.size:
        return xp.zeros(c, dtype=x.dtype)
    found, result = _sums(xp, pixels(xp, x), most=MERGED), xp.ndarray(c, x.dtype)
    launch(xp, FILE, "merge_last", c, result, found, found.shape[1])
    return result


def statistics(xp: Any, x: Array) -> tuple[Array, Array]:
    """By partial moments, which are merged."""
    if not x.size:
        return xp.zeros(x.shape[1], dtype=F64), xp.zeros(x.shape[1], dtype=F64)
    found = _moments(xp, pixels(xp, x), 1.0)
    return found[0], found[1]


def normalize_and_track(
    xp: Any,
    x: Array,
    weight: Array | None,
    bias: Array | None,
    eps: float,
    bounds: Bounds,
    running_mean: Array,
    running_var: Array,
    batches: Array,
    momentum: float | None,
) -> tuple[Array, Array, Array] | None:
    """The launch that completes the statistics of the batch also updates the running ones."""
    if x.size <= x.shape[1] or batches.dtype != INT64:
        return None
    running: list[Any] = []
    for array in (running_mean, running_var):
        is_wide = array.dtype != x.dtype
        if (is_wide and array.dtype != WIDE[name_of(x.dtype)]) or not array.flags.c_contiguous:
            return None
        running += [array, int(is_wide)]
    x = pixels(xp, x)
    found = _moments(xp, x, eps, *running, batches, int(momentum is None), float(momentum or 0.0))
    mean, inv_std = found[0], found[2]
    return _apply(xp, x, weight, bias, mean, inv_std, bounds, batches), mean, inv_std


def batch_norm(
    xp: Any,
    x: Array,
    weight: Array | None,
    bias: Array | None,
    mean: Array,
    inv_std: Array,
    bounds: Bounds = None,
) -> Array:
    """One launch."""
    return _apply(xp, pixels(xp, x), weight, bias, mean, inv_std, bounds)


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
) -> tuple[Array | None, Array, Array]:
    """The sums, then all three gradients in one launch."""
    c, cut = x.shape[1], 0 if bounds is None else pixels(xp, y)
    cuts, wide = ends(bounds), WIDE[name_of(x.dtype)]
    mean, inv_std = dense(xp, mean, F64), dense(xp, inv_std, F64)
    grad, x = pixels(xp, grad), pixels(xp, x)
    sums = _sums(xp, grad, x, mean, cut, *cuts)
    dweight, dbias = xp.ndarray(c, wide), xp.ndarray(c, wide)
    dx = empty_images(xp, x.shape, x.dtype) if input_grad else None
    count, parts, width = _split(x.shape, x.size) if input_grad else (0, 1, 1)
    launch(
        xp, FILE, "batch_norm_back", parts * c // width, grad, x, 0 if dx is None else dx, mean, inv_std,
        *_affine(xp, x, weight), sums, dweight, dbias, cut, *cuts, int(from_batch), c, count, parts, width,
    )  # fmt: skip
    return dx, dweight, dbias


def follow(xp: Any, running: Array, new: Array, momentum: Any, factor: float = 1.0) -> Array:
    """One launch."""
    how = (dense(xp, momentum, F64), 0.0) if hasattr(momentum, "shape") else (0, float(momentum))
    plain = dense(xp, running)
    launch(xp, FILE, "follow", running.size, plain, dense(xp, new, F64), float(factor), *how)
    if plain is not running:
        running[...] = plain
    return running


def _apply(
    xp: Any,
    x: Array,
    weight: Array | None,
    bias: Array | None,
    mean: Array,
    inv_std: Array,
    bounds: Bounds,
    batches: Array | int = 0,
) -> Array:
    """`batch_norm` of channels-last images; also adds 1 to the counter `batches`, if given."""
    y = empty_images(xp, x.shape, x.dtype)
    count, parts, width = _split(x.shape, x.size)
    launch(
        xp, FILE, "batch_norm", min(x.size, parts * x.shape[1]) // width, x, y,
        dense(xp, mean, F64), dense(xp, inv_std, F64), *_affine(xp, x, weight), *_affine(xp, x, bias),
        *ends(bounds), batches, x.shape[1], count, parts, width,
    )  # fmt: skip
    return y


def _moments(xp: Any, x: Array, eps: float, *running: Any) -> Array:
    """`(3, C)`: mean, biased variance and 1/√(variance + eps) of channels-last images, at least one."""
    c = x.shape[1]
    count, parts, width = _split(x.shape, x.size)
    found, result = xp.ndarray((2, parts, c), F64), xp.ndarray((3, c), F64)
    launch(xp, FILE, "moments", parts * c // width, x, found, c, count, parts, width)
    found = merged(xp, x, found, MERGED)
    running = running or (0, 0, 0, 0, 0, 0, 0.0)
    launch(
        xp, FILE, "finish_moments", c, x, found, result, found.shape[1], count, float(eps), *running
    )  # fmt: skip
    return result


def _sums(
    xp: Any,
    x: Array,
    y: Array | None = None,
    mean: Array | None = None,
    cut: Array | int = 0,
    bounds: int = 0,
    low: float = 0.0,
    high: float = 0.0,
    most: int = 1,
) -> Array:
    """Sums `(1 or 2, parts, C)` of `x` and, with `y`, of `x · (y - mean)`, in `most` parts or fewer.

    All images are channels-last.
    """
    c, kinds = x.shape[1], 1 if y is None else 2
    if not x.size:
        return xp.zeros((kinds, 1, c), dtype=F64)
    count, parts, width = _split(x.shape, x.size)
    found = xp.ndarray((kinds, parts, c), F64)
    other = (0, 0) if y is None else (y, mean)
    launch(
        xp, FILE, "channel_sums", parts * c // width, x, *other, found, cut, bounds, low, high, c,
        count, parts, width,
    )  # fmt: skip
    return merged(xp, x, found, most)


def merged(xp: Any, x: Array, found: Array, most: int) -> Array:
    """`(kinds, parts, C)` added up until there are at most `most` parts."""
    kinds, parts, c = found.shape
    while parts > most:
        fewer = -(-parts // MERGED)
        merged = xp.ndarray((kinds, fewer, c), F64)
        launch(
            xp, FILE, "merge_sums", kinds * fewer * c, found, merged, c, parts, fewer, dtype=name_of(x.dtype)
        )  # fmt: skip
        found, parts = merged, fewer
    return found


@lru_cache(maxsize=4096)
def _split(shape: tuple[int, ...], size: int) -> tuple[int, int, int]:
    """The number of pixels, of parts that they are split into, and of channels per thread."""
    channels = max(1, shape[1])
    count = size // channels
    return count, max(1, min(count, THREADS // channels, PARTS)), lanes(channels)


def _affine(xp: Any, x: Array, values: Array | None) -> tuple[Array | int, int]:
    """A number for each channel, and whether they have the dtype of sums instead of that of `x`."""
    if values is None:
        return 0, 0
    if values.dtype == x.dtype:
        return dense(xp, values), 0
    return dense(xp, values, WIDE[name_of(x.dtype)]), 1
