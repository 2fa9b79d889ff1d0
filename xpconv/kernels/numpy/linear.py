"""Matrix products and the affine map, on all cores."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...backend import Array
from ...sums import piece
from ..engine import memory, threads
from ..engine.blas import quiet_matmul
from ..engine.plans import Part, Recorder, planned
from .blocks import Ending, arranged
from .half import HALF, in_float32
from .products import long_product


def matmul(xp: Any, a: Array, b: Array) -> Array:
    """In one kernel, with the sums of long products in float64."""
    if a.dtype.itemsize == HALF:
        return in_float32(matmul, xp, a, b)
    y = memory.empty((a.shape[0], b.shape[1]), a.dtype)
    _multiply(a, b, None, False, y)
    return y


def affine(xp: Any, x: Array, weight: Array, bias: Array | None) -> Array:
    """The bias is added while the product is in the cache."""
    if x.dtype.itemsize == HALF:
        return in_float32(affine, xp, x, weight, bias)
    y = memory.empty((x.shape[0], weight.shape[0]), x.dtype)
    _multiply(x, weight, bias, True, y)
    return y


@planned
def _multiply(
    recorder: Recorder, x: Array, weight: Array, bias: Array | None, transposed: bool, y: Array
) -> None:
    """`x @ weight + bias` into `y`, the longer side of which is cut into a piece a thread."""
    (m, n), length = y.shape, x.shape[1]
    b = weight.T if transposed else weight
    if transposed and transposition_pays(m, n) and recorder.holds(weight):
        b = arranged(recorder, weight, np.transpose)
    most = piece(x, b)
    multiply = quiet_matmul if 1 in y.shape else np.matmul
    products = m * n * length // threads.PRODUCTS
    pieces, size = threads.share(products), max(m, n)
    every = slice(None)

    def task(do: Part, i: int) -> None:
        part = threads.part(i, pieces, size)
        rows, columns = (part, every) if m >= n else (every, part)
        out = y[rows, columns]
        long_product(do, x[rows], b[:, columns], most, out, multiply)
        Ending(None if bias is None else bias[columns]).finish(out, do)

    recorder.share(task, pieces, products)


def transposition_pays(rows: int, outputs: int) -> bool:
    """Whether inference plans transpose a dense weight once; BLAS would do it for every piece of a batch."""
    return rows <= 32 and outputs >= 64
