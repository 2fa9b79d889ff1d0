"""Winograd's convolution F(4, 3) along the height only, for few channels: half the products, and no columns.

In channels-last memory a row of an image is one run of W·C numbers. Four rows of outputs come from six of
inputs `X` and the rows `w[r]` of the kernel, with the matrices of `winograd` for one axis:

    V[i] = Σ_h Bᵀ[i, h] X[h],   U[i] = Σ_r G[i, r] w[r],   Y[h] = Σ_i Aᵀ[h, i] M[i]

where `M[i]` is the convolution of `V[i]` with `U[i]` along the width. The transforms are products of
a small matrix with rows as they are in memory. `M` needs no copies either: three neighbouring pixels are one
run of 3·C numbers, and its product with `U[i] (3·C, K)` is the K numbers of an output. BLAS needs runs that
do not overlap, so there are three products, each for every third run. The results of runs that extend into
the next row are not used.

All is linear in `w`, so its gradient is exact: `dM = A dY`, `dU[i] = V[i]ᵀ dM[i]`, `dw = Gᵀ dU`. In float32
rounding is about 3 times that of the definition: 3e-6 of the largest output.
"""

from __future__ import annotations

from math import inf, prod
from operator import setitem

import numpy as np

from ...backend import Array
from ...geometry import Shape, Window
from ...layout import channels_last
from ..engine import memory, threads
from ..engine.plans import Part, Recorder
from ..engine.threads import PRODUCTS
from .blocks import Block, Ending, Frame, cut, in_runs, sum_of_blocks
from .products import add_product, multiply
from .winograd import SEEN, TAPS, TILE, tile_matrix, transformed_weight

BLOCK_BYTES = 1 << 20
SHARED_BYTES = 1 << 21  # with several threads, which need longer calls
MOST = 32 * 64  # input channels times output channels, up to which this algorithm is faster


def cost(x_shape: Shape, weight_shape: Shape, window: Window, prepared: bool = False) -> float:
    """Cost in operations, as in `winograd.cost`: products, transforms, kernels, and overhead of calls.

    With `prepared` kernels the calls are those of a plan, which have less overhead.
    """
    k, c = weight_shape[:2]
    if k * c > MOST:
        return inf
    n, (rows, columns) = x_shape[0], window.output_shape(x_shape[2:])
    products = n * -(-rows // TILE) * (columns + 2) * 2 * SEEN * TAPS * c * k
    return products + n * rows * columns * (65 * c + 35 * k) + (1e6 if prepared else 2000 * c * k + 4e6)


def conv(recorder: Recorder, x: Array, weight: Array, window: Window, y: Array, ending: Ending) -> None:
    """Write to `y (N, K, P, Q)`."""
    k, c = weight.shape[:2]
    stripes = Stripes(x, window, y.shape)
    row = y.shape[3] * k
    u = transformed_weight(recorder, weight, 1)
    images, back = channels_last(y), tile_matrix("A", 1, x.dtype)
    ending = ending.times(y.shape[3], recorder)
    elements = y.size * 4 * c // PRODUCTS
    blocks = stripes.cut(elements)

    def task(do: Part, i: int) -> None:
        block = blocks[i]
        runs, outputs, _ = stripes.products(block, do)
        multiply(do, stripes.transformed(block, do), u, runs)
        for m, rows in outputs:
            out = images[block.images, rows]
            out = out.reshape(out.shape[0], m.shape[1], -1, row)
            do(np.matmul, back[: out.shape[2]], m, out)
        ending.finish(images[block.images, stripes.rows(block)].reshape(-1, row), do)

    recorder.share(task, len(blocks), elements)


def weight_grad(recorder: Recorder, grad: Array, x: Array, weight_shape: Shape, window: Window) -> Array:
    """`dw (K, C, 3, 3)`."""
    k, c = weight_shape[:2]
    stripes = Stripes(x, window, grad.shape)
    row = grad.shape[3] * k
    images, spread = channels_last(grad), tile_matrix("A", 1, x.dtype, transposed=True)
    elements = grad.size * 4 * c // PRODUCTS

    def add(do: Part, block: Block, total: Array, first: bool) -> None:
        runs, outputs, others = stripes.products(block, do)
        for junk in others:
            do(setitem, junk, ..., 0)
        for m, rows in outputs:
            values = in_runs(do, images[block.images, rows])
            values = values.reshape(values.shape[0], m.shape[1], -1, row)
            do(np.matmul, spread[:, : values.shape[2]], values, m)
        add_product(do, stripes.transformed(block, do), runs, total, first)

    shape = TAPS, SEEN, TAPS * c, k
    totals = sum_of_blocks(recorder, stripes.cut(elements), elements, shape, x.dtype, add)
    du = recorder.scratch("kernels", shape[1:], x.dtype)
    recorder(np.add.reduce, totals, 0, None, du)
    dw = recorder.scratch("sum", (TAPS, TAPS, c, k), x.dtype)
    back = tile_matrix("G", 1, x.dtype, transposed=True)
    recorder(np.matmul, back, du.reshape(SEEN, -1), dw.reshape(TAPS, -1))
    return dw.transpose(3, 2, 0, 1)


class Stripes:
    """The stripes of four output rows that cover the images, and the six input rows that each reads."""

    def __init__(self, x: Array, window: Window, output: Shape) -> None:
        self.images, self.channels, self.height, self.columns = output
        self.count: int = -(-self.height // TILE)
        self.width: int = self.columns + TAPS - 1  # of a row of inputs
        stripe = Window((SEEN, self.width), (TILE, 1), window.padding, (1, 1))
        self.frame: Frame = Frame(channels_last(x), stripe.fitted(x.shape[2:], (self.count, 1)))
        self.matrix: Array = tile_matrix("B", 1, x.dtype)
        self.row_bytes = SEEN * self.width * (x.shape[1] + self.channels) * x.itemsize

    def cut(self, elements: int) -> list[Block]:
        """Blocks of some stripes each."""
        limit = BLOCK_BYTES if threads.share(elements) == 1 else SHARED_BYTES
        return cut(self.images, self.count, self.row_bytes, limit, elements)

    def rows(self, block: Block) -> slice:
        """The output rows of a block."""
        return slice(block.rows.start * TILE, min(block.rows.stop * TILE, self.height))

    def transformed(self, block: Block, do: Part) -> Array:
        """The runs `(3, 6, count, 3·C)` of a block's `V`."""
        part = in_runs(do, self.frame.of(block, do))
        by_image, by_row, _, by_number = part.strides
        v, beyond, runs = self._scratch(do, "transformed", block, part.shape[3], TAPS)
        into = of_rows(v)
        seen = memory.strided(part, into.shape, (by_image, TILE * by_row, by_row, by_number))
        do(setitem, beyond, ..., 0)
        do(np.matmul, self.matrix, seen, into)
        return runs

    def products(self, block: Block, do: Part) -> tuple[Array, list[tuple[Array, slice]], list[Array]]:
        """The runs `(3, 6, count, K)` of a block's `M`, its outputs, and the memory between these.

        Outputs are parts `(n, stripes, 6, Q·K)` with their rows in the images: whole stripes, then the rest.
        """
        m, beyond, runs = self._scratch(do, "products", block, self.channels, 1)
        rows = self.rows(block)
        whole = (rows.stop - rows.start) // TILE
        middle = rows.start + whole * TILE
        cuts = (slice(0, whole), slice(rows.start, middle)), (slice(whole, None), slice(middle, rows.stop))
        outputs = [(of_rows(m[:, :, s, : self.columns]), into) for s, into in cuts if into.stop > into.start]
        return runs, outputs, [m[..., self.columns :, :], beyond]

    def _scratch(
        self, do: Part, name: str, block: Block, channels: int, pixels: int
    ) -> tuple[Array, Array, Array]:
        """Views of a scratch array: `(6, n, stripes, width, C)`, the rest, and the runs of both.

        The runs `(3, 6, count, pixels·C)` are in three parts, each with a run at every third pixel, so that
        those of a part do not overlap. All parts have the same number of runs.
        """
        shape = (*(some.stop - some.start for some in block), self.width, channels)
        size = prod(shape)
        count = -(-(size // channels - TAPS + 1) // TAPS)
        rows = do.scratch(name, (SEEN, (count * TAPS + TAPS - 1) * channels), self.matrix.dtype)
        by_i, by_number = rows.strides
        by_pixel = channels * by_number
        steps = by_pixel, by_i, TAPS * by_pixel, by_number
        runs = memory.strided(rows, (TAPS, SEEN, count, pixels * channels), steps)
        return rows[:, :size].reshape(SEEN, *shape), rows[:, size:], runs


def of_rows(values: Array) -> Array:
    """`(6, n, stripes, width, C)` as `(n, stripes, 6, width·C)`."""
    return values.reshape(*values.shape[:3], -1).transpose(1, 2, 0, 3)
