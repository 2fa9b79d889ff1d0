"""Batch normalisation: sums in two or three launches, each way of the images in one."""

from __future__ import annotations

from typing import Any

from ...backend import Array
from ..portable import Bounds, empty_images
from .launch import SUMS, last, launch
from .pointwise import clip, clip_backward

FILE = "norm.cu"
THREADS = 1 << 17  # that share the pixels of all channels: enough to fill a GPU
MERGED = 64  # partial results that one thread merges at most


def channel_sum(xp: Any, x: Array) -> Array:
    """As `portable.channel_sum`."""
    return _sums(xp, x)[0]


def statistics(xp: Any, x: Array) -> tuple[Array, Array]:
    """As `portable.statistics`."""
    c = x.shape[1]
    if not x.size:
        return xp.zeros(c, dtype="float64"), xp.zeros(c, dtype="float64")
    pixels, parts = _split(x)
    found = xp.empty((3, parts, c), dtype="float64")
    launch(xp, FILE, "moments", parts * c, last(xp, x), found, c, pixels, parts)
    found = _merged(xp, "merge_moments", x, found, 1)
    return found[1, 0], found[2, 0]


def batch_norm(
    xp: Any,
    x: Array,
    mean: Array,
    inv_std: Array,
    weight: Array | None,
    bias: Array | None,
    bounds: Bounds = None,
) -> Array:
    """As `portable.batch_norm`."""
    y = empty_images(xp, x.shape, x.dtype)
    pixels, parts = _split(x)
    launch(
        xp, FILE, "batch_norm", min(x.size, parts * x.shape[1]), last(xp, x), last(xp, y),
        _of(mean, "float64"), _of(inv_std, "float64"), _wide(x, weight), _wide(x, bias),
        x.shape[1], pixels, parts,
    )  # fmt: skip
    return y if bounds is None else clip(xp, y, *bounds)


def batch_norm_backward(
    xp: Any,
    grad: Array,
    x: Array,
    mean: Array,
    inv_std: Array,
    weight: Array | None,
    from_batch: bool,
    input_grad: bool,
    y: Array | None = None,
    bounds: Bounds = None,
) -> tuple[Array | None, Array, Array]:
    """As `portable.batch_norm_backward`."""
    if bounds is not None:
        grad = clip_backward(xp, grad, y, *bounds)
    c = x.shape[1]
    mean, inv_std = _of(mean, "float64"), _of(inv_std, "float64")
    sums = _sums(xp, grad, x, mean)
    slopes = xp.empty((2, c), dtype="float64")
    dx = empty_images(xp, x.shape, x.dtype) if input_grad else None
    pixels, parts = _split(x) if input_grad else (0, 1)
    launch(
        xp, FILE, "batch_norm_back", parts * c, last(xp, grad), last(xp, x),
        0 if dx is None else last(xp, dx), mean, inv_std, _wide(x, weight), sums, slopes,
        int(from_batch), c, pixels, parts,
    )  # fmt: skip
    return dx, slopes[0], slopes[1]


def follow(xp: Any, running: Array, new: Array, momentum: Any, factor: float = 1.0) -> None:
    """As `portable.follow`."""
    on_device = hasattr(momentum, "shape")
    how = (_of(momentum, "float64"), 0.0) if on_device else (0, float(momentum))
    launch(xp, FILE, "follow", running.size, running, _of(new, "float64"), float(factor), *how)


def _sums(xp: Any, x: Array, y: Array | None = None, mean: Array | None = None) -> Array:
    """`(1 or 2, C)`: of `x`, and of `x · (y - mean)`."""
    c, kinds = x.shape[1], 1 if y is None else 2
    if not x.size:
        return xp.zeros((kinds, c), dtype="float64")
    pixels, parts = _split(x)
    found = xp.empty((kinds, parts, c), dtype="float64")
    other = (0, 0) if y is None else (last(xp, y), mean)
    launch(xp, FILE, "channel_sums", parts * c, last(xp, x), *other, found, c, pixels, parts)
    return _merged(xp, "merge_sums", x, found, kinds)[:, 0]


def _merged(xp: Any, name: str, x: Array, found: Array, kinds: int) -> Array:
    """`(…, parts, C)` as `(…, 1, C)`; `kinds` of the first axis have a thread of their own."""
    while True:
        parts, c = found.shape[1:]
        fewer = 1 if parts <= MERGED else -(-parts // MERGED)
        merged = xp.empty((found.shape[0], fewer, c), dtype="float64")
        launch(xp, FILE, name, kinds * fewer * c, found, merged, c, parts, fewer, dtype=str(x.dtype))
        if fewer == 1:
            return merged
        found = merged


def _split(x: Array) -> tuple[int, int]:
    """Pixels, and into how many parts they go."""
    pixels = x.size // max(1, x.shape[1])
    return pixels, max(1, min(pixels, THREADS // max(1, x.shape[1])))


def _of(values: Array, dtype: str) -> Array:
    return values.astype(dtype, copy=False)


def _wide(x: Array, values: Array | None) -> Array | int:
    return 0 if values is None else _of(values, SUMS[str(x.dtype)])
