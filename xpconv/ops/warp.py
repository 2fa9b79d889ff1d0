"""Each image of a batch through a map of coordinates of its own: windows, affine maps, scaled boxes.

All are inverse maps: they say for each output pixel where in its image it reads. Coordinates are those of
pixel centres, row `i` and column `j` from 0. Images are `(N, C, H, W)`; tops, boxes and matrices are arrays
of the same device, one row for each image, or a single row for all.
"""

from __future__ import annotations

import math
from typing import Any

from ..backend import Array

PADDING_MODES = ("constant", "edge", "reflect", "symmetric")
DENSE = 16  # rows per term of a sum, below which a product with a matrix of mostly zeros is faster
INTERPOLATIONS = ("nearest", "nearest-exact", "bilinear", "bicubic")


def read(xp: Any, x: Array, rows: Array, columns: Array) -> Array:
    """`y[n, :, i, j] = x[n, :, rows[n, i, j], columns[n, i, j]]`; the index arrays broadcast."""
    n, c, h, w = x.shape
    pixels = xp.moveaxis(x, 1, -1).reshape(n * h * w, c)
    image = xp.arange(n).reshape(n, 1, 1)
    return xp.moveaxis(pixels.take((image * h + rows) * w + columns, axis=0), -1, 1)


def window(
    xp: Any,
    x: Array,
    top: Array,
    left: Array,
    size: tuple[int, int],
    mode: str,
    fill: Array,
) -> Array:
    """`y[n, :, i, j] = x[n, :, top[n] + i, left[n] + j]`, a crop, with a border where it leaves the image.

    Args:
        top, left: integers `(N,)`, which may be negative.
        size: height and width of the window.
        mode: what lies outside: `fill` (`'constant'`), the pixel at the border (`'edge'`), or the mirrored
            image without (`'reflect'`) or with (`'symmetric'`) that pixel twice. Those are `numpy.pad`'s.
        fill: an array in the dtype of `x` that broadcasts to `(N, C, h, w)`.
    """
    rows, rows_inside = _inside(xp, _from(xp, top, size[0]), x.shape[2], mode)
    columns, columns_inside = _inside(xp, _from(xp, left, size[1]), x.shape[3], mode)
    y = read(xp, x, rows[:, :, None], columns[:, None, :])
    if mode != "constant":
        return y
    return xp.where((rows_inside[:, :, None] & columns_inside[:, None, :])[:, None], y, fill)


def _from(xp: Any, start: Array, count: int) -> Array:
    return start[:, None] + xp.arange(count)


def _inside(xp: Any, p: Array, n: int, mode: str) -> tuple[Array, Array]:
    """The pixels of an axis of `n` that the positions `p` read, and which positions lie inside."""
    if mode == "reflect":  # a wave of period 2(n - 1): 0 1 2 3 2 1 0 1 …
        p = p % max(2 * (n - 1), 1)
        return xp.where(p < n, p, 2 * (n - 1) - p), None
    if mode == "symmetric":  # of period 2n: 0 1 2 3 3 2 1 0 0 1 …
        p = p % (2 * n)
        return xp.where(p < n, p, 2 * n - 1 - p), None
    return p.clip(0, n - 1), (p >= 0) & (p < n)


def affine(xp: Any, x: Array, matrix: Array, interpolation: str, fill: Array) -> Array:
    """`y[n, :, i, j] = x[n]` at column and row `matrix[n] · (j, i, 1)`, in the size of `x`.

    Bilinear interpolation weighs the four pixels around a place by nearness. Pixels outside have the value
    `fill`, so that a border is a mixture of the image and `fill`.

    Args:
        matrix: float64 `(N, 2, 3)`.
        interpolation: `'nearest'` or `'bilinear'`; for the latter `x` is floating.
        fill: an array in the dtype of `x` that broadcasts to `(N, C, H, W)`.
    """
    h, w = x.shape[2:]
    i, j = xp.arange(h)[:, None], xp.arange(w)[None, :]
    m = matrix[:, :, :, None, None]
    column, row = (m[:, k, 0] * j + (m[:, k, 1] * i + m[:, k, 2]) for k in (0, 1))
    if interpolation == "nearest":
        pixels, base = _bordered(xp, x, xp.rint(row), xp.rint(column), fill, 1)
        return _as_images(xp, pixels.take(base, axis=0), x.shape)
    (row, down), (column, right) = (_corner(xp, p, n, x.dtype) for p, n in ((row, h), (column, w)))
    pixels, base = _bordered(xp, x, row, column, fill, 2)
    upper, lower = (
        _between(xp, pixels[k:].take(base, axis=0), pixels[k + 1 :].take(base, axis=0), right)
        for k in (0, w + 3)
    )
    return _as_images(xp, _between(xp, upper, lower, down), x.shape)


def _corner(xp: Any, p: Array, n: int, dtype: Any) -> tuple[Array, Array]:
    """The pixels of an axis of `n` just before the places `p`, and how far the places are from them.

    Places beyond the next pixel outside are moved to it: there everything is `fill`.
    """
    p = p.clip(-1, n)
    first = xp.floor(p)
    p -= first
    return first, p.astype(dtype).reshape(-1, 1)


def _between(xp: Any, a: Array, b: Array, share: Array) -> Array:
    """`a + share * (b - a)`, in `b`."""
    b -= a
    b *= share
    b += a
    return b


def _bordered(xp: Any, x: Array, row: Array, column: Array, fill: Array, after: int) -> tuple[Array, Array]:
    """The pixels `(…, C)` of the images with a border of `fill`, and where in them each place is.

    The border has a pixel before each axis and `after` pixels behind it, so that what lies outside needs no
    case of its own.
    """
    n, c, h, w = x.shape
    high, wide = h + 1 + after, w + 1 + after
    pixels = xp.empty((n, high, wide, c), dtype=x.dtype)
    pixels[...] = fill.reshape(-1)
    pixels[:, 1 : h + 1, 1 : w + 1] = xp.moveaxis(x, 1, -1)
    base = (row.clip(-1, h) + 1) * wide
    base += column.clip(-1, w) + 1
    base += xp.arange(n).reshape(n, 1, 1) * (high * wide)
    return pixels.reshape(-1, c), base.astype("int64").reshape(-1)


def _as_images(xp: Any, pixels: Array, shape: tuple[int, ...]) -> Array:
    """Pixels `(N·H·W, C)` as `(N, C, H, W)`, whose channels are last in memory."""
    n, c, h, w = shape
    return xp.moveaxis(pixels.reshape(n, h, w, c), -1, 1)


def resize(
    xp: Any,
    x: Array,
    boxes: Array,
    size: tuple[int, int],
    interpolation: str,
    antialias: bool,
) -> Array:
    """The box `(top, left, height, width)` of each image, scaled to `size` as PyTorch's `interpolate` does.

    Scaling works along one axis at a time, so it is a matrix product from the left and one from the right.

    Args:
        boxes: integers `(N, 4)` or `(1, 4)`, inside the images and not empty.
        size: height and width of the result.
        interpolation: one of `INTERPOLATIONS`; `x` is floating if it is not a nearest one.
        antialias: when making smaller, weigh all pixels that an output covers, and not only those around its
            centre. Of no effect on nearest.
    """
    axes = [(boxes[:, axis], boxes[:, axis + 2], x.shape[axis + 2], size[axis]) for axis in (0, 1)]
    if interpolation.startswith("nearest"):
        half = int(interpolation == "nearest-exact")
        rows, columns = (
            start[:, None] + (2 * xp.arange(m) + half) * length[:, None] // (2 * m)
            for start, length, _, m in axes
        )
        return read(xp, x, rows[:, :, None], columns[:, None, :])
    weigh = _antialiased if antialias else _interpolated
    y = _along_rows(xp, xp.ascontiguousarray(x), *weigh(xp, *axes[0], interpolation))
    y = _along_rows(xp, xp.ascontiguousarray(y.swapaxes(2, 3)), *weigh(xp, *axes[1], interpolation))
    return xp.ascontiguousarray(y.swapaxes(2, 3))


def _along_rows(xp: Any, x: Array, rows: Array | None, weights: Array) -> Array:
    """`y[n, :, i] = Σ_k weights[n, i, k] · x[n, :, rows[n, i, k]]`, or of all rows; `N` of both may be 1."""
    n, c, h, w = x.shape
    weights = weights.astype(x.dtype)
    if rows is None:
        return xp.matmul(weights[:, None], x)
    flat, planes = x.reshape(n * c * h, w), xp.arange(n * c).reshape(n, c, 1) * h
    y: Any = None
    for k in range(rows.shape[2]):
        term = flat.take(planes + rows[:, None, :, k], axis=0)
        term *= weights[:, None, :, k, None]
        if y is None:
            y = term
        else:
            y += term
    return y


def _antialiased(
    xp: Any, start: Array, length: Array, n: int, m: int, interpolation: str
) -> tuple[Array | None, Array]:
    """Rows `(N, m, k)` and weights of the pixels of the box that a kernel around each output covers."""
    kernel, reach = (_linear, 1) if interpolation == "bilinear" else (_cubic, 2)
    scale = length[:, None, None] / m
    wide = xp.maximum(scale, 1.0)
    centre = (xp.arange(m)[:, None] + 0.5) * scale
    taps = math.ceil(2 * reach * max(n / m, 1.0)) + 1  # for a box of the whole image
    dense = taps * DENSE > n
    j = xp.arange(n) - start[:, None, None] if dense else xp.floor(centre - reach * wide) + xp.arange(taps)
    away = (j + 0.5 - centre) / wide
    inside = (j >= 0) & (j < length[:, None, None]) & (abs(away) < reach)
    weights = kernel(xp, away, -0.5) * inside
    weights = weights / weights.sum(axis=-1, keepdims=True)
    return None if dense else _rows(j, start, length), weights


def _interpolated(
    xp: Any, start: Array, length: Array, n: int, m: int, interpolation: str
) -> tuple[Array | None, Array]:
    """The same of the pixels next to each output; outside the box, its border counts."""
    kernel, taps = (_linear, range(2)) if interpolation == "bilinear" else (_cubic, range(-1, 3))
    centre = (xp.arange(m)[:, None] + 0.5) * (length[:, None, None] / m) - 0.5
    j = xp.floor(centre) + xp.arange(taps.start, taps.stop)
    rows, weights = _rows(j, start, length), kernel(xp, j - centre, -0.75)
    if len(taps) * DENSE <= n:
        return rows, weights
    places = xp.arange(n)
    return None, sum((rows[..., k, None] == places) * weights[..., k, None] for k in range(len(taps)))


def _rows(j: Array, start: Array, length: Array) -> Array:
    """Rows `j` of a box, as rows of the image; outside the box, that of its border."""
    return start[:, None, None] + j.clip(0, length[:, None, None] - 1).astype("int64")


def _linear(xp: Any, t: Array, a: float) -> Array:
    return xp.maximum(1 - abs(t), 0)


def _cubic(xp: Any, t: Array, a: float) -> Array:
    """Keys' cubic convolution kernel (Keys, 1981), with PyTorch's two values of `a`."""
    t = abs(t)
    near = ((a + 2) * t - (a + 3)) * t * t + 1
    far = ((t - 5) * t + 8) * (a * t) - 4 * a
    return xp.where(t <= 1, near, xp.where(t < 2, far, 0.0))
