"""Softmax cross-entropy: two launches forward, one backward, for probabilities as for class indices."""

from __future__ import annotations

from math import prod
from typing import Any

from ...backend import Array
from ...sums import sum_over
from .launch import SUMS, dense, launch, name_of
from .norm import merged
from .rows import along_axis

FILE = "softmax.cu"
CLASSES = 32  # up to this number, one thread sums a whole row
FEW_CLASSES = 128  # up to this number of classes, one thread computes the loss of a row with a class index
ROWS = 256  # the most losses that one thread adds
MOST = 4096  # classes that one thread sums in sequence, at most


def one_hot(xp: Any, target: Array, classes: int, ignored: int, axis: int, dtype: Any) -> tuple[Array, Array]:
    """One launch."""
    shape = (*target.shape[:axis], classes, *target.shape[axis:])
    rows, counted = xp.ndarray(shape, dtype), xp.ndarray(target.shape, bool)
    target = dense(xp, target, "int64")
    launch(
        xp, FILE, "one_hot", rows.size, rows, target, counted, classes, prod(target.shape[axis:]), ignored
    )  # fmt: skip
    return rows, counted


def cross_entropy(xp: Any, x: Array, t: Array, axis: int) -> tuple[Array, Array, Array]:
    """By partial sums of each row."""
    classes, inner = x.shape[axis], prod(x.shape[axis + 1 :])
    rows = x.shape[:axis] + x.shape[axis + 1 :]
    parts = 1 if classes <= CLASSES else max(min(CLASSES, -(-classes // CLASSES)), classes // MOST)
    outer = prod(x.shape[:axis])
    x, t = dense(xp, x), dense(xp, t)
    found = xp.ndarray((2, outer, parts, inner), SUMS[name_of(x.dtype)])
    sums, p = xp.zeros_like(found), xp.ndarray(x.shape, x.dtype)
    shape = (classes, inner, parts)
    launch(xp, FILE, "exp_sums", found[0].size, x, found, *shape)
    launch(xp, FILE, "cross_entropy", found[0].size, x, t, p, found, sums, *shape)
    loss, total = sums[:, :, 0] if parts == 1 else sum_over(sums, (2,))
    dtype = {"dtype": x.dtype, "copy": False}
    return loss.reshape(rows).astype(**dtype), p, xp.expand_dims(total.reshape(rows), axis).astype(**dtype)


def cross_entropy_backward(xp: Any, p: Array, t: Array, total: Array, scale: Any, axis: int) -> Array:
    """One launch."""
    dtype, dx = SUMS[name_of(p.dtype)], xp.ndarray(p.shape, p.dtype)
    scale = scale.astype(dtype, copy=False) if hasattr(scale, "shape") else xp.full((), scale, dtype=dtype)
    each = int(scale.ndim > 0)
    total = dense(xp, total, dtype)
    launch(
        xp, FILE, "cross_entropy_back", dx.size, dense(xp, p), dense(xp, t), total, dense(xp, scale),
        dx, p.shape[axis], prod(p.shape[axis + 1 :]), each,
    )  # fmt: skip
    return dx


def softmax(xp: Any, x: Array, axis: int) -> Array | None:
    """One launch."""
    return along_axis(xp, "softmax_rows", (x,), axis, 0)


def softmax_backward(xp: Any, grad: Array, y: Array, axis: int) -> Array | None:
    """One launch."""
    return along_axis(xp, "softmax_rows_back", (grad, y), axis, 0)


def log_softmax(xp: Any, x: Array, axis: int) -> Array | None:
    """One launch."""
    return along_axis(xp, "softmax_rows", (x,), axis, 1)


def log_softmax_backward(xp: Any, grad: Array, y: Array, axis: int) -> Array | None:
    """One launch."""
    return along_axis(xp, "softmax_rows_back", (grad, y), axis, 1)


def class_entropy(
    xp: Any, x: Array, target: Array, axis: int, ignored: int, mean: bool
) -> tuple[Array, Array, Array, Array, Array] | None:
    """Two launches, or a few more for many rows; None for many classes, where several threads share a row."""
    classes, inner, rows = x.shape[axis], prod(x.shape[axis + 1 :]), target.size
    name = name_of(x.dtype)
    if classes > FEW_CLASSES or not rows or name not in SUMS:
        return None
    p, copy = xp.ndarray(x.shape, SUMS[name]), xp.ndarray(target.shape, "int64")
    x, target = dense(xp, x), dense(xp, target, "int64")
    found = xp.ndarray((2, rows), "float64")
    launch(xp, FILE, "class_entropy", rows, x, target, p, copy, found, classes, inner, ignored)
    found = merged(xp, x, found.reshape(2, rows, 1), ROWS)
    loss, scale, count = (xp.ndarray((), dtype) for dtype in (x.dtype, "float64", SUMS[name]))
    launch(xp, FILE, "reduce_entropy", 1, found, loss, scale, count, found.shape[1], int(mean), dtype=name)
    return loss, p, copy, scale, count


def class_entropy_backward(
    xp: Any, p: Array, target: Array, scale: Array, grad: Any, axis: int, ignored: int, dtype: Any
) -> Array:
    """One launch."""
    name, dx = name_of(dtype), xp.ndarray(p.shape, dtype)
    factor = (dense(xp, grad, SUMS[name]), 0.0) if hasattr(grad, "shape") else (0, float(grad))
    launch(
        xp, FILE, "class_entropy_back", dx.size, dx, dense(xp, p), dense(xp, target), dense(xp, scale),
        *factor, p.shape[axis], prod(p.shape[axis + 1 :]), ignored, dtype=name,
    )  # fmt: skip
    return dx
