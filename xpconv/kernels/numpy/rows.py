"""Convolution of few channels without a column buffer.

Pixels of a padded image lie one after the other, C numbers each, so a window's row of S pixels is S·C numbers
in one piece. Windows that start S pixels apart do not overlap: they are the rows of a plain matrix. So each
kernel row and each phase of the S is one matrix product in place, and products of kernel rows add up:

    y[f + S t] = Σ_r  x[f + S t + r·width, …, S pixels] @ w[r]          for phases f = 0 … S-1

and the gradients go through the same views: `dw[r] += x[…]ᵀ @ dy[…]`, `dx[…] += dy[…] @ w[r]ᵀ`.

Positions run on across the ends of image rows; what they give there is not copied out.
"""

from __future__ import annotations

import functools
from math import prod
from typing import Any

import numpy as np

from ...backend import Array
from ...geometry import Window
from . import blas, memory, threads
from .blocks import Block, Ending, Frame, cut, shares
from .memory import channels_last
from .threads import PRODUCTS

BLOCK_BYTES = 1 << 21
WIDEST = 128  # numbers in a window's row: beyond it columns are as fast, as their copy is the smaller part


def pays(x_shape: tuple[int, ...], dtype: Any, window: Window, groups: int) -> bool:
    """Where the copies of im2col are a large part of its time, and little is wasted at the ends of rows."""
    if not _possible(x_shape, dtype, window, groups):
        return False
    height, width = (n + sum(pads) for n, pads in zip(x_shape[2:], window.padding, strict=True))
    waste = height * width / prod(window.output_shape(x_shape[2:]))
    return x_shape[1] >= 8 and waste < 1.4


def pays_back(x_shape: tuple[int, ...], dtype: Any, window: Window, groups: int) -> bool:
    """Whether `input_grad` is the faster way to the input's gradient."""
    return _possible(x_shape, dtype, window, groups) and window.padding == ((0, 0), (0, 0))


def _possible(x_shape: tuple[int, ...], dtype: Any, window: Window, groups: int) -> bool:
    return (
        blas.gemm is not None
        and str(dtype) in blas.gemm
        and groups == 1
        and len(window.kernel) == 2
        and window.stride == window.dilation == (1, 1)
        and window.kernel[1] > 1
        and window.kernel[1] * x_shape[1] <= WIDEST
    )


def conv(x: Array, weight: Array, window: Window, y: Array, ending: Ending) -> Array:
    """Into `y (N, K, P, Q)`."""
    rows = Rows(x, window, weight.shape[0])
    w = np.ascontiguousarray(weight.transpose(2, 3, 1, 0), dtype=x.dtype)
    into = channels_last(y)
    ending = ending.times(y.shape[3])
    work = cut(x.shape[0], y.shape[2], rows.row_bytes, BLOCK_BYTES)

    def task(i: int) -> None:
        block = work[i]
        images = rows.of(block)
        values = rows.values(images)
        rows.products(images, w, values, "output")
        out = into[block.images, block.rows]
        seen = values[:, : out.shape[1], : out.shape[2]]
        line = (*out.shape[:2], -1)
        ending.finish(out.reshape(line), seen.reshape(line))

    threads.run(task, len(work), y.size * w[..., 0].size // PRODUCTS)
    return y


def weight_grad(grad: Array, x: Array, weight_shape: tuple[int, ...], window: Window) -> Array:
    """`dw (K, C, R, S)`: the same products, with the gradient on the other side, zero where no output is."""
    k, c, r, s = weight_shape
    rows = Rows(x, window, k)
    g = channels_last(grad)
    work = shares(cut(x.shape[0], grad.shape[2], rows.row_bytes, BLOCK_BYTES))
    parts: list[Array] = [None] * len(work)

    def task(i: int) -> None:
        total = np.zeros((r, s, c, k), x.dtype)
        for block in work[i]:
            images = rows.of(block)
            values = rows.spread(g[block.images, block.rows], images)
            rows.products(images, total, values, "weight")
        parts[i] = total

    threads.run(task, len(parts), grad.size * c * r * s // PRODUCTS)
    return np.ascontiguousarray(functools.reduce(np.add, parts).transpose(3, 2, 0, 1))


def input_grad(grad: Array, weight: Array, x_shape: tuple[int, ...], window: Window) -> Array:
    """`dx (N, C, H, W)` without padding: each window's gradient added to its pixels, in place.

    The convolution with the mirrored kernel, as large as the kernel, would also see what lies outside.
    """
    dx = memory.empty_images(x_shape, grad.dtype)
    into, g = channels_last(dx), channels_last(grad)
    rows = Rows(dx, window, weight.shape[0])
    w = np.ascontiguousarray(weight.transpose(2, 3, 1, 0))
    work = cut(x_shape[0], 1, rows.row_bytes * x_shape[2], BLOCK_BYTES)

    def task(i: int) -> None:
        images = into[work[i].images]
        images[...] = 0
        rows.products(images, w, rows.spread(g[work[i].images], images), "input")

    threads.run(task, len(work), grad.size * w[..., 0].size // PRODUCTS)
    return dx


class Rows:
    """Blocks of padded images, and the products of the windows' rows in them."""

    def __init__(self, x: Array, window: Window, outputs: int) -> None:
        self.frame = Frame(channels_last(x), window)
        self.kernel, self.outputs = window.kernel, outputs
        self.dtype = x.dtype
        width = x.shape[3] + sum(window.padding[1])
        self.row_bytes = width * (x.shape[1] + outputs) * x.itemsize
        self.gemm = (blas.gemm or {})[str(x.dtype)]

    def of(self, block: Block) -> Array:
        """A block's padded images `(n, height, width, C)`, in one piece of memory."""
        images = self.frame.of(block)
        if images.flags.c_contiguous:
            return images
        copy = memory.scratch("contiguous", images.shape, images.dtype)
        np.copyto(copy, images)
        return copy

    def values(self, images: Array) -> Array:
        """The thread's array for the output at every position of `images`, beyond the ends of rows too."""
        return memory.scratch("values", (*images.shape[:3], self.outputs), self.dtype)

    def spread(self, grad: Array, images: Array) -> Array:
        """The gradient where its windows start, and zeros where none does."""
        values = self.values(images)
        p, q = grad.shape[1:3]
        values[:, :p, :q] = grad
        values[:, p:] = 0
        values[:, :p, q:] = 0
        return values

    def products(self, images: Array, w: Array, values: Array, into: str) -> None:
        """Windows times `w (R, S, C, K)` into `values`; or of the other two, added to `w` or the windows."""
        (r, s), c, k = self.kernel, images.shape[3], self.outputs
        n, height, width = images.shape[:3]
        size = images.itemsize
        last = (n * height - r + 1) * width - s + 1  # positions that see a whole window
        source, weights, target = images.ctypes.data, w.ctypes.data, values.ctypes.data
        run = s * c
        for phase in range(s):
            count = -(-(last - phase) // s)
            if count < 1:
                continue
            side = target + phase * k * size
            for row in range(r):
                seen = source + (phase + row * width) * c * size
                matrix = weights + row * run * k * size
                if into == "weight":
                    self.gemm(
                        blas.ROW_MAJOR, blas.TRANSPOSED, blas.PLAIN, run, k, count,
                        1.0, seen, run, side, s * k, 1.0, matrix, k,
                    )  # fmt: skip
                elif into == "input":
                    self.gemm(
                        blas.ROW_MAJOR, blas.PLAIN, blas.TRANSPOSED, count, run, k,
                        1.0, side, s * k, matrix, k, 1.0, seen, run,
                    )  # fmt: skip
                else:
                    self.gemm(
                        blas.ROW_MAJOR, blas.PLAIN, blas.PLAIN, count, k, run,
                        1.0, seen, run, matrix, k, float(row > 0), side, s * k,
                    )  # fmt: skip
