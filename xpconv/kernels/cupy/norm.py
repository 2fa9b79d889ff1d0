"""Batch normalisation: sums in two or three launches, then forward or backward in one."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...backend import Array
from ...geometry import Bounds
from ...layout import empty_images
from .launch import SUMS, dense, lanes, launch, name_of, pixels
from .pointwise import clip, clip_backward

FILE = "norm.cu"
F64 = np.dtype("float64")
WIDE = {name: np.dtype(sums) for name, sums in SUMS.items()}
THREADS = 1 << 17  # for the pixels of all channels together: enough to fill a GPU
MERGED = 64  # partial results that one thread merges, at most


def channel_total(xp: Any, x: Array) -> Array:
    """By partial sums, which are merged."""
    return _sums(xp, x)[0]


def statistics(xp: Any, x: Array) -> tuple[Array, Array]:
    """By partial moments, which are merged."""
    c = x.shape[1]
    if not x.size:
        return xp.zeros(c, dtype="float64"), xp.zeros(c, dtype="float64")
    count, parts, width = _split(x)
    x = pixels(xp, x)
    found = xp.empty((2, parts, c), dtype="float64")
    launch(xp, FILE, "moments", parts * c // width, x, found, c, count, parts, width)
    found = _merged(xp, x, found, MERGED)
    result = xp.empty((2, c), dtype="float64")
    launch(xp, FILE, "merge_moments", c, x, found, result, found.shape[1], count)
    return result[0], result[1]


def batch_norm(
    xp: Any,
    x: Array,
    weight: Array | None,
    bias: Array | None,
    mean: Array,
    inv_std: Array,
    bounds: Bounds = None,
) -> Array:
    """In one launch, and one more with bounds."""
    y = empty_images(xp, x.shape, x.dtype)
    count, parts, width = _split(x)
    launch(
        xp, FILE, "batch_norm", min(x.size, parts * x.shape[1]) // width, pixels(xp, x), y,
        dense(xp, mean, F64), dense(xp, inv_std, F64), _wide(xp, x, weight), _wide(xp, x, bias),
        x.shape[1], count, parts, width,
    )  # fmt: skip
    return y if bounds is None else clip(xp, y, *bounds)


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
    if bounds is not None:
        grad = clip_backward(xp, grad, y, *bounds)
    c = x.shape[1]
    mean, inv_std = dense(xp, mean, F64), dense(xp, inv_std, F64)
    sums = _sums(xp, grad, x, mean)
    slopes = xp.empty((2, c), dtype="float64")
    dx = empty_images(xp, x.shape, x.dtype) if input_grad else None
    count, parts, width = _split(x) if input_grad else (0, 1, 1)
    launch(
        xp, FILE, "batch_norm_back", parts * c // width, pixels(xp, grad), pixels(xp, x),
        0 if dx is None else dx, mean, inv_std, _wide(xp, x, weight), sums, slopes,
        int(from_batch), c, count, parts, width,
    )  # fmt: skip
    return dx, slopes[0], slopes[1]


def follow(xp: Any, running: Array, new: Array, momentum: Any, factor: float = 1.0) -> Array:
    """In one launch."""
    how = (dense(xp, momentum, F64), 0.0) if hasattr(momentum, "shape") else (0, float(momentum))
    plain = dense(xp, running)
    launch(xp, FILE, "follow", running.size, plain, dense(xp, new, F64), float(factor), *how)
    if plain is not running:
        running[...] = plain
    return running


def _sums(xp: Any, x: Array, y: Array | None = None, mean: Array | None = None) -> Array:
    """Sums `(1 or 2, C)` of `x` and, with `y`, of `x · (y - mean)`."""
    c, kinds = x.shape[1], 1 if y is None else 2
    if not x.size:
        return xp.zeros((kinds, c), dtype="float64")
    count, parts, width = _split(x)
    found = xp.empty((kinds, parts, c), dtype="float64")
    other = (0, 0) if y is None else (pixels(xp, y), mean)
    launch(xp, FILE, "channel_sums", parts * c // width, pixels(xp, x), *other, found, c, count, parts, width)
    return _merged(xp, x, found, 1)[:, 0]


def _merged(xp: Any, x: Array, found: Array, most: int) -> Array:
    """`(kinds, parts, C)` added up until there are at most `most` parts."""
    while found.shape[1] > most:
        kinds, parts, c = found.shape
        fewer = -(-parts // MERGED)
        merged = xp.empty((kinds, fewer, c), dtype="float64")
        launch(xp, FILE, "merge_sums", merged.size, found, merged, c, parts, fewer, dtype=name_of(x.dtype))
        found = merged
    return found


def _split(x: Array) -> tuple[int, int, int]:
    """The number of pixels, of parts that they are split into, and of channels per thread."""
    channels = max(1, x.shape[1])
    count = x.size // channels
    return count, max(1, min(count, THREADS // channels)), lanes(channels)


def _wide(xp: Any, x: Array, values: Array | None) -> Array | int:
    """A channel's numbers in the dtype of sums."""
    return 0 if values is None else dense(xp, values, WIDE[name_of(x.dtype)])
