"""Matrix products in pieces for which OpenBLAS has faster kernels.

On AVX-512, OpenBLAS has kernels that read operands directly from memory if the product of the three sizes is
at most a million. For larger products it first copies the operands into its own order. Where a side is as
short as a number of channels, the copy takes as long as the product. So a long product is computed as a stack
of small ones in one call of NumPy's `matmul`, without the interpreter lock: 1.1 to 1.6 times as fast.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from operator import setitem

import numpy as np

from ...backend import Array
from ...sums import SERIAL, SERIAL_PRODUCTS, SMALL_PRODUCT
from ..engine import blas
from ..engine.scratch import Scratch

SMALL = 10**6
FEWEST, FEWEST_TO_SUM = 8, 96  # rows of a piece, below which one product is as fast


@functools.cache
def small_kernels() -> bool:
    """Whether NumPy's BLAS is an OpenBLAS that runs its kernels for AVX-512."""
    corename = blas.function("openblas_get_corename")
    if corename is None:
        return False
    corename.restype = ctypes.c_char_p
    return corename() in (b"SkylakeX", b"Cooperlake", b"SapphireRapids")


@functools.lru_cache(maxsize=4096)
def piece_size(rows: int, products: int, fewest: int) -> int:
    """The rows of a piece, with `products` each; 0 for one product."""
    most = SMALL // max(1, products)
    if most < fewest or rows <= most or not small_kernels():
        return 0
    count = -(-rows // most)
    for more in range(count, 2 * count):
        if rows % (16 * more) == 0 and rows // more >= fewest:
            return rows // more
    piece = rows // count
    return piece - (piece % 16 if piece > 64 else 0)


def in_pieces(rows: int, products: int) -> bool:
    """Whether `multiply` cuts these rows, of `products` each, into pieces; then `b` has to be contiguous."""
    return piece_size(rows, products, FEWEST) > 0


def multiply(do: Scratch, a: Array, b: Array, out: Array) -> None:
    """`out = a @ b` for many rows in `a`, or stacks of such."""
    *stack, rows, length = a.shape
    n = b.shape[-1]
    piece = piece_size(rows, length * n, FEWEST)
    count = rows // piece if piece else 0
    end = count * piece
    if count:
        parts = a[..., :end, :].reshape(*stack, count, piece, length)
        do(np.matmul, parts, b[..., None, :, :], out[..., :end, :].reshape(*stack, count, piece, n))
    if end < rows:
        do(np.matmul, a[..., end:, :], b, out[..., end:, :])


def multiply_wide(do: Scratch, a: Array, b: Array, out: Array) -> None:
    """`out = a @ b` for many columns in `b`, or stacks of such."""
    multiply(do, b.swapaxes(-1, -2), a.swapaxes(-1, -2), out.swapaxes(-1, -2))


def piece_to_sum(rows: int, products: int) -> int:
    """The rows of a piece of a sum over rows, each of `products`; 0 for one product."""
    piece = piece_size(rows, products, FEWEST_TO_SUM)
    if products <= SMALL_PRODUCT and rows > SERIAL_PRODUCTS:  # BLAS would add them one by one
        return min(piece or rows, SERIAL_PRODUCTS)
    return piece


def add_product(do: Scratch, a: Array, b: Array, total: Array, first: bool) -> None:
    """`total += aᵀ @ b` for many rows in both, or stacks of such; the `first` overwrites it."""
    rows, m = a.shape[-2:]
    direct = first and total.dtype == a.dtype
    more = total if direct else do.scratch("sum", total.shape, a.dtype)
    long_product(do, a.swapaxes(-1, -2), b, piece_to_sum(rows, m * b.shape[-1]), more)
    if not first:
        do(np.add, total, more, total)
    elif not direct:
        do(setitem, total, ..., more)


def long_product(
    do: Scratch, a: Array, b: Array, piece: int, out: Array, multiply: Callable[..., None] = np.matmul
) -> None:
    """`out = a @ b`, or stacks of such: sums of `piece` products each are added; 0 for all at once."""
    *stack, m, length = a.shape
    count, rest = divmod(length, piece) if piece else (0, length)
    if not count:
        do(multiply, a, b, out)
        return
    end, n = length - rest, b.shape[-1]
    sums = do.scratch("sums", (*stack, count + bool(rest), m, n), a.dtype)
    parts = a[..., :end].reshape(*stack, m, count, piece).swapaxes(-2, -3)
    do(multiply, parts, b[..., :end, :].reshape(*stack, count, piece, n), sums[..., :count, :, :])
    if rest:
        do(multiply, a[..., end:], b[..., end:, :], sums[..., count, :, :])
    if count > SERIAL and a.dtype == np.float32:
        wide = do.scratch("wide sum", out.shape, np.float64)
        do(np.add.reduce, sums, len(stack), np.float64, wide)
        do(setitem, out, ..., wide)
    else:
        do(np.add.reduce, sums, len(stack), None, out)
