"""Functions of rows: layer norm, root mean square norm, group norm and softmax, one launch forward."""

from __future__ import annotations

from math import prod
from typing import Any

from ...backend import Array
from .launch import THREADS, TYPES, last, launch, name_of

FILE = "rows.cu"
WARP = 32
SHORT = 2048  # rows up to this length are computed by one warp, longer ones by a block
COLUMNS = 1 << 17  # approximate number of partial sums of the parameters' gradients


def layer_norm(
    xp: Any,
    x: Array,
    weight: Array | None,
    bias: Array | None,
    axes: tuple[int, ...],
    eps: float,
    centred: bool = True,
) -> tuple[Array, Array, Array] | None:
    """One launch. Backward gets `x`, and the mean and `inv_std` of each row in float64."""
    if not x.size or name_of(x.dtype) not in TYPES:
        return None
    x = xp.ascontiguousarray(x).reshape(x.shape)
    y, statistics = _forward(xp, x, weight, bias, eps, centred, _layer(x, axes))
    return y, x, statistics


def layer_norm_backward(
    xp: Any,
    grad: Array,
    saved: Array,
    statistics: Array,
    weight: Array | None,
    axes: tuple[int, ...],
    needs: tuple[bool, bool, bool],
    centred: bool = True,
) -> tuple[Array | None, Array | None, Array | None] | None:
    """One launch for `dx`; the other two gradients are partial sums, which are then merged."""
    if not grad.size or name_of(grad.dtype) not in TYPES:
        return None
    rows, shape = _layer(saved, axes), saved.shape[axes[0] :]
    grad = xp.ascontiguousarray(grad)
    dx = (
        _backward(xp, grad, saved, statistics, weight, centred, rows).reshape(saved.shape)
        if needs[0]
        else None
    )
    dweight, dbias = _slopes(xp, grad, saved, statistics, rows, 1, shape) if any(needs[1:]) else (None, None)
    return dx, dweight if needs[1] else None, dbias if needs[2] else None


def group_norm(
    xp: Any, x: Array, weight: Array | None, bias: Array | None, groups: int, eps: float
) -> tuple[Array, Array, Array] | None:
    """One launch. Backward gets `x`, and the mean and `inv_std` of each row in float64."""
    if not x.size or name_of(x.dtype) not in TYPES:
        return None
    pixels = last(xp, x)
    y, statistics = _forward(xp, pixels, weight, bias, eps, True, _group(pixels, groups))
    return xp.moveaxis(y, -1, 1), x, statistics


def group_norm_backward(
    xp: Any,
    grad: Array,
    saved: Array,
    statistics: Array,
    weight: Array | None,
    groups: int,
    needs: tuple[bool, bool, bool],
) -> tuple[Array | None, Array | None, Array | None] | None:
    """One launch for `dx`; the other two gradients are partial sums, which are then merged."""
    if not grad.size or name_of(grad.dtype) not in TYPES:
        return None
    grad, x = last(xp, grad), last(xp, saved)
    rows = _group(x, groups)
    dx = _backward(xp, grad, x, statistics, weight, True, rows) if needs[0] else None
    per_image, shape = prod(x.shape[1:-1]), x.shape[-1:]
    dweight, dbias = (
        _slopes(xp, grad, x, statistics, rows, per_image, shape) if any(needs[1:]) else (None, None)
    )
    return (
        None if dx is None else xp.moveaxis(dx, -1, 1),
        dweight if needs[1] else None,
        dbias if needs[2] else None,
    )


Rows = tuple[int, int, int, int, int, int]  # `ROWS` of the kernels


def _layer(x: Array, axes: tuple[int, ...]) -> Rows:
    length = prod(x.shape[axes[0] :])
    return x.size // length, length, length, length, 1, length


def _group(x: Array, groups: int) -> Rows:
    """`Rows` for the groups of channels of images `(N, *S, C)`."""
    channels, image = x.shape[-1], prod(x.shape[1:])
    return x.shape[0] * groups, image // groups, channels // groups, channels, groups, image


def _team(rows: Rows) -> tuple[int, int]:
    """Whether a row is computed by a whole block, and the number of threads for all rows."""
    of_block = rows[1] > SHORT
    return int(of_block), rows[0] * (THREADS if of_block else WARP)


def _forward(
    xp: Any, x: Array, weight: Array | None, bias: Array | None, eps: float, centred: bool, rows: Rows
) -> tuple[Array, Array]:
    y, statistics = xp.ndarray(x.shape, x.dtype), xp.ndarray((2, rows[0]), "float64")
    of_block, size = _team(rows)
    launch(
        xp, FILE, "row_norm", size, x, y, statistics, _plain(xp, weight), _plain(xp, bias), float(eps),
        int(centred), of_block, *rows,
    )  # fmt: skip
    return y, statistics


def _backward(
    xp: Any, grad: Array, x: Array, statistics: Array, weight: Array | None, centred: bool, rows: Rows
) -> Array:
    dx = xp.ndarray(x.shape, x.dtype)
    of_block, size = _team(rows)
    launch(
        xp, FILE, "row_norm_back", size, grad, x, dx, statistics, _plain(xp, weight), int(centred), of_block,
        *rows,
    )  # fmt: skip
    return dx


def _slopes(
    xp: Any, grad: Array, x: Array, statistics: Array, rows: Rows, per_image: int, shape: tuple[int, ...]
) -> Array:
    """Gradients of weight and bias, `(2, *shape)`."""
    count, _, run, _, groups, _ = rows
    channels = prod(shape)
    pixels = x.size // channels
    parts = max(1, min(pixels, COLUMNS // channels))
    sums, slopes = xp.ndarray((2, parts, channels), "float64"), xp.ndarray((2, *shape), x.dtype)
    launch(
        xp, FILE, "row_norm_slopes", parts * channels, grad, x, statistics, sums, count, run, groups,
        channels, pixels, per_image, parts,
    )  # fmt: skip
    alone = parts <= WARP
    launch(
        xp, FILE, "merge_slopes", 2 * channels * (1 if alone else WARP), sums, slopes, 2 * channels, channels,
        parts, int(alone), dtype=name_of(x.dtype),
    )  # fmt: skip
    return slopes


def _plain(xp: Any, values: Array | None) -> Array | int:
    return 0 if values is None else xp.ascontiguousarray(values)


def along_axis(xp: Any, name: str, arrays: tuple[Array, ...], axis: int, *arguments: int) -> Array | None:
    """Launch a kernel on the rows along `axis` of arrays that have the shape of the last one."""
    x = arrays[-1]
    if not x.size or not x.ndim or any(a.dtype != x.dtype or a.shape != x.shape for a in arrays):
        return None
    if name_of(x.dtype) not in TYPES:
        return None
    axis %= x.ndim
    length, inner = x.shape[axis], prod(x.shape[axis + 1 :])
    rows = (x.size // length, length, 1, inner, inner, length * inner)
    of_block, size = _team(rows)
    y = xp.ndarray(x.shape, x.dtype)
    plain = [xp.ascontiguousarray(a) for a in arrays]
    launch(xp, FILE, name, size, *plain, y, *arguments, of_block, *rows)
    return y
