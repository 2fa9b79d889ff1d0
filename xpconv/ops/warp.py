"""Each image of a batch through a map of coordinates of its own: windows, affine maps, scaled boxes.

All are inverse maps: they say for each output pixel where in its image it reads. Coordinates are those of
pixel centres, row `i` and column `j` from 0. Images are `(N, C, H, W)`; tops, boxes and matrices are arrays
of the same device, one row for each image, or a single row for all.
"""

from __future__ import annotations

from typing import Any

from ..backend import Array
from ..layout import in_order

PADDING_MODES = ("constant", "edge", "reflect", "symmetric")
INTERPOLATIONS = ("nearest", "nearest-exact", "bilinear", "bicubic")


def read(xp: Any, x: Array, rows: Array, columns: Array) -> Array:
    """`y[n, :, i, j] = x[n, :, rows[n, i, j], columns[n, i, j]]`; the index arrays broadcast."""
    n, c, h, w = x.shape
    pixels = xp.moveaxis(x, 1, -1).reshape(n * h * w, c)
    image = xp.arange(n).reshape(n, 1, 1)
    return xp.moveaxis(pixels.take((image * h + rows) * w + columns, axis=0), -1, 1)


def window(
    xp: Any, x: Array, top: Array, left: Array, size: tuple[int, int], mode: str, fill: Array
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
    column, row = (m[:, k, 0] * j + m[:, k, 1] * i + m[:, k, 2] for k in (0, 1))
    if interpolation == "nearest":
        rows, rows_inside = _inside(xp, xp.rint(row).astype("int64"), h, "constant")
        columns, columns_inside = _inside(xp, xp.rint(column).astype("int64"), w, "constant")
        return xp.where((rows_inside & columns_inside)[:, None], read(xp, x, rows, columns), fill)
    x = in_order(xp, x)  # as `read` takes it, once for all four
    y: Any = 0  # the weighted sum
    covered: Any = 0  # the sum of its weights
    for rows, row_weight in _around(xp, row, h, x.dtype):
        for columns, column_weight in _around(xp, column, w, x.dtype):
            weight = (row_weight * column_weight)[:, None]
            term = read(xp, x, rows, columns)
            term *= weight
            y, covered = y + term, covered + weight
    return y + (1 - covered) * fill


def _around(xp: Any, p: Array, n: int, dtype: Any) -> list[tuple[Array, Array]]:
    """The two pixels around the places `p` of an axis of `n`, each with its weight: 0 if it is outside."""
    first = xp.floor(p)
    pixels = [_inside(xp, first.astype("int64") + d, n, "constant") for d in (0, 1)]
    return [(at, ((1 - abs(p - first - d)) * inside).astype(dtype)) for d, (at, inside) in enumerate(pixels)]


def resize(
    xp: Any, x: Array, boxes: Array, size: tuple[int, int], interpolation: str, antialias: bool
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
    kernel, taps = (_linear, range(2)) if interpolation == "bilinear" else (_cubic, range(-1, 3))
    left, right = (
        _antialiased(xp, *axis, kernel, len(taps) / 2)
        if antialias
        else _interpolated(xp, *axis, kernel, taps)
        for axis in axes
    )
    left, right = left.astype(x.dtype)[:, None], right.astype(x.dtype)[:, None]
    return xp.matmul(xp.matmul(left, xp.ascontiguousarray(x)), right.swapaxes(-1, -2))


def _antialiased(xp: Any, start: Array, length: Array, n: int, m: int, kernel: Any, reach: float) -> Array:
    """`(N, m, n)`: weights of the pixels of the box, by a kernel around each output that covers it."""
    scale = length[:, None, None] / m
    wide = xp.maximum(scale, 1.0)
    centre = (xp.arange(m)[:, None] + 0.5) * scale
    j = xp.arange(n) - start[:, None, None]
    away = (j + 0.5 - centre) / wide
    weights = kernel(xp, away, -0.5) * ((j >= 0) & (j < length[:, None, None]) & (abs(away) < reach))
    return weights / weights.sum(axis=-1, keepdims=True)


def _interpolated(xp: Any, start: Array, length: Array, n: int, m: int, kernel: Any, taps: Any) -> Array:
    """`(N, m, n)`: weights of the pixels around each output; outside the box, its border counts."""
    centre = (xp.arange(m)[:, None] + 0.5) * (length[:, None, None] / m) - 0.5
    first = xp.floor(centre)
    j = xp.arange(n) - start[:, None, None]
    last = length[:, None, None] - 1
    return sum(
        kernel(xp, first + d - centre, -0.75) * (j == xp.minimum(xp.maximum(first + d, 0), last))
        for d in taps
    )


def _linear(xp: Any, t: Array, a: float) -> Array:
    return xp.maximum(1 - abs(t), 0)


def _cubic(xp: Any, t: Array, a: float) -> Array:
    """Keys' cubic convolution kernel (Keys, 1981), with PyTorch's two values of `a`."""
    t = abs(t)
    near = ((a + 2) * t - (a + 3)) * t * t + 1
    far = ((t - 5) * t + 8) * (a * t) - 4 * a
    return xp.where(t <= 1, near, xp.where(t < 2, far, 0.0))
