"""Batch normalisation: sums in two or three launches, then forward or backward in one."""

from __future__ import annotations

from typing import Any

from ...backend import Array
from ...geometry import Bounds
from ...layout import empty_images
from .launch import SUMS, lanes, last, launch
from .pointwise import clip, clip_backward

FILE = "norm.cu"
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
    pixels, parts, width = _split(x)
    x = last(xp, x)
    found = xp.empty((2, parts, c), dtype="float64")
    launch(xp, FILE, "moments", parts * c // width, x, found, c, pixels, parts, width)
    found = _merged(xp, x, found, MERGED)
    result = xp.empty((2, c), dtype="float64")
    launch(xp, FILE, "merge_moments", c, x, found, result, found.shape[1], pixels)
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
    pixels, parts, width = _split(x)
    launch(
        xp, FILE, "batch_norm", min(x.size, parts * x.shape[1]) // width, last(xp, x), last(xp, y),
        _of(mean, "float64"), _of(inv_std, "float64"), _wide(x, weight), _wide(x, bias),
        x.shape[1], pixels, parts, width,
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
    mean, inv_std = _of(mean, "float64"), _of(inv_std, "float64")
    sums = _sums(xp, grad, x, mean)
    slopes = xp.empty((2, c), dtype="float64")
    dx = empty_images(xp, x.shape, x.dtype) if input_grad else None
    pixels, parts, width = _split(x) if input_grad else (0, 1, 1)
    launch(
        xp, FILE, "batch_norm_back", parts * c // width, last(xp, grad), last(xp, x),
        0 if dx is None else last(xp, dx), mean, inv_std, _wide(x, weight), sums, slopes,
        int(from_batch), c, pixels, parts, width,
    )  # fmt: skip
    return dx, slopes[0], slopes[1]


def follow(xp: Any, running: Array, new: Array, momentum: Any, factor: float = 1.0) -> Array:
    """In one launch."""
    on_device = hasattr(momentum, "shape")
    how = (_of(momentum, "float64"), 0.0) if on_device else (0, float(momentum))
    launch(xp, FILE, "follow", running.size, running, _of(new, "float64"), float(factor), *how)
    return running


def _sums(xp: Any, x: Array, y: Array | None = None, mean: Array | None = None) -> Array:
    """Sums `(1 or 2, C)` of `x` and, with `y`, of `x · (y - mean)`."""
    c, kinds = x.shape[1], 1 if y is None else 2
    if not x.size:
        return xp.zeros((kinds, c), dtype="float64")
    pixels, parts, width = _split(x)
    found = xp.empty((kinds, parts, c), dtype="float64")
    other = (0, 0) if y is None else (last(xp, y), mean)
    launch(xp, FILE, "channel_sums", parts * c // width, last(xp, x), *other, found, c, pixels, parts, width)
    return _merged(xp, x, found, 1)[:, 0]


def _merged(xp: Any, x: Array, found: Array, most: int) -> Array:
    """`(kinds, parts, C)` added up until there are at most `most` parts."""
    while found.shape[1] > most:
        kinds, parts, c = found.shape
        fewer = -(-parts // MERGED)
        merged = xp.empty((kinds, fewer, c), dtype="float64")
        launch(xp, FILE, "merge_sums", merged.size, found, merged, c, parts, fewer, dtype=str(x.dtype))
        found = merged
    return found


def _split(x: Array) -> tuple[int, int, int]:
    """The number of pixels, of parts that they are split into, and of channels per thread."""
    channels = max(1, x.shape[1])
    pixels = x.size // channels
    return pixels, max(1, min(pixels, THREADS // channels)), lanes(channels)


def _of(values: Array, dtype: str) -> Array:
    return values.astype(dtype, copy=False)


def _wide(x: Array, values: Array | None) -> Array | int:
    return 0 if values is None else _of(values, SUMS[str(x.dtype)])
