"""Matrix products in pieces that OpenBLAS has faster kernels for.

On AVX-512 it has some that take operands as they lie in memory, for three sizes that multiply to at most
a million. Larger products are first copied into an order of its own, which takes as long as the products
where a side is as short as channels are. So a long product is done as a stack of small ones, which NumPy's
`matmul` goes through without Python, and without the interpreter lock: 1.1 to 1.6 times as fast.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from functools import partial

import numpy as np

from ...backend import Array
from . import blas

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
def _pieces(rows: int, products: int, fewest: int) -> tuple[int, int]:
    """How many pieces, of how many rows with so many products each; none for one product. A rest may stay."""
    most = SMALL // max(1, products)
    if most < fewest or rows <= most or not small_kernels():
        return 0, 0
    piece = rows // -(-rows // most)
    piece -= piece % 16 if piece > 64 else 0
    return rows // piece, piece


def in_pieces(rows: int, products: int) -> bool:
    """Whether `multiply` cuts so many rows, of so many products each; then `b` has to lie in its order."""
    return _pieces(rows, products, FEWEST)[0] > 0


def multiply(a: Array, b: Array, out: Array) -> None:
    """`out = a @ b` for many rows in `a`, or stacks of such."""
    *stack, rows, length = a.shape
    n = b.shape[-1]
    count, piece = _pieces(rows, length * n, FEWEST)
    end = count * piece
    if count:
        parts = a[..., :end, :].reshape(*stack, count, piece, length)
        np.matmul(parts, b[..., None, :, :], out=out[..., :end, :].reshape(*stack, count, piece, n))
    if end < rows:
        np.matmul(a[..., end:, :], b, out=out[..., end:, :])


def products(a: Array, b: Array, out: Array) -> list[Callable[[], Array]]:
    """The calls that `multiply` of these arrays makes."""
    *stack, rows, length = a.shape
    n = b.shape[-1]
    count, piece = _pieces(rows, length * n, FEWEST)
    end = count * piece
    operands = [(a[..., end:, :], b, out[..., end:, :])] if end < rows else []
    if count:
        parts = a[..., :end, :].reshape(*stack, count, piece, length)
        operands.append((parts, b[..., None, :, :], out[..., :end, :].reshape(*stack, count, piece, n)))
    return [partial(np.matmul, *some) for some in operands]


def products_wide(a: Array, b: Array, out: Array) -> list[Callable[[], Array]]:
    """The calls that `multiply_wide` of these arrays makes."""
    (m, length), columns = a.shape, b.shape[1]
    count, piece = _pieces(columns, m * length, FEWEST)
    end = count * piece
    operands = [(a, b[:, end:], out[:, end:])] if end < columns else []
    if count:
        parts = b[:, :end].reshape(length, count, piece).swapaxes(0, 1)
        operands.append((a, parts, out[:, :end].reshape(m, count, piece).swapaxes(0, 1)))
    return [partial(np.matmul, *some) for some in operands]


def multiply_wide(a: Array, b: Array, out: Array) -> None:
    """`out = a @ b` for many columns in `b`."""
    (m, length), columns = a.shape, b.shape[1]
    count, piece = _pieces(columns, m * length, FEWEST)
    end = count * piece
    if count:
        parts = b[:, :end].reshape(length, count, piece).swapaxes(0, 1)
        np.matmul(a, parts, out=out[:, :end].reshape(m, count, piece).swapaxes(0, 1))
    if end < columns:
        np.matmul(a, b[:, end:], out=out[:, end:])


def multiply_sum(a: Array, b: Array) -> Array:
    """`aᵀ @ b` for many rows in both, or stacks of such."""
    *stack, rows, m = a.shape
    n = b.shape[-1]
    count, piece = _pieces(rows, m * n, FEWEST_TO_SUM)
    end = count * piece
    if not count:
        total: Array = a.swapaxes(-1, -2) @ b
        return total
    parts = a[..., :end, :].reshape(*stack, count, piece, m).swapaxes(-1, -2)
    total = (parts @ b[..., :end, :].reshape(*stack, count, piece, n)).sum(axis=-3)
    if end < rows:
        total += a[..., end:, :].swapaxes(-1, -2) @ b[..., end:, :]
    return total
