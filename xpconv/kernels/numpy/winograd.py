"""Winograd's convolution F(4×4, 3×3): 36 multiplications where the definition takes 144.

With the tile matrices B (6×6), G (6×3) and A (6×4) of Lavin and Gray (2016, https://arxiv.org/abs/1509.09308),
a tile of 4×4 outputs `Y` comes from 6×6 inputs `X` and the kernel `w` by

    V = Bᵀ X B,   U = G w Gᵀ,   M[c→k] = Σ_c V[c] ∘ U[c, k],   Y = Aᵀ M A

The sums over channels are 36 matrix products. `Bᵀ X B` is one product with the 36×36 matrix `Bᵀ⊗Bᵀ`, and
the other transforms likewise. All is linear in `w`, so its gradient is exact: `dM = A dY Aᵀ`,
`dU = Vᵀ dM`, `dw = Gᵀ dU G`.
In float32 rounding is about 30 times that of the definition: 1e-5 of the largest output.
"""

from __future__ import annotations

import functools
from math import prod
from operator import setitem
from typing import Any

import numpy as np

from ...backend import Array
from ...geometry import Shape, Window
from ...layout import channels_last, taps_first
from ..engine import memory
from ..engine.plans import Part, Recorder
from ..engine.scratch import Scratch
from ..engine.threads import PRODUCTS
from .blocks import Block, Ending, Frame, channel_pieces, contiguous, cut, sum_of_blocks
from .products import add_product, multiply, multiply_wide

TILE, SEEN, TAPS = 4, 6, 3
BLOCK_BYTES = 1 << 22
SUM_BYTES = 1 << 20
GRAD_BLOCK_BYTES = 1 << 23  # larger, as each block adds to 36 matrices (C, K)
B = np.array(
    [
        [4, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ]
)  # Bᵀ
G = np.array([[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]]) / 24
A = np.array([[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]])  # Aᵀ


def possible(dtype: Any, window: Window, groups: int) -> bool:
    """Whether the algorithm can compute this convolution."""
    return (
        window.kernel == (3, 3)
        and window.stride == window.dilation == (1, 1)
        and groups == 1
        and dtype.itemsize >= 4
    )


def cost(x_shape: Shape, weight_shape: Shape, window: Window, prepared: bool = False) -> int:
    """Cost in operations; those of a transform take about twice as long as those of a wide product."""
    k, c = weight_shape[:2]
    tiles = x_shape[0] * prod(-(-n // TILE) for n in window.output_shape(x_shape[2:]))
    return tiles * (72 * c * k + 4500 * c + 2500 * k) + (500 if prepared else 4000) * c * k


def direct_cost(x_shape: Shape, weight_shape: Shape, window: Window) -> float:
    """Cost of `columns` in operations, less the margin by which another algorithm has to be better.

    Measured: a product costs as much as one with 16 more columns.
    """
    k, c = weight_shape[:2]
    return 0.85 * 18 * c * (k + 16) * x_shape[0] * prod(window.output_shape(x_shape[2:]))


def conv(recorder: Recorder, x: Array, weight: Array, window: Window, y: Array, ending: Ending) -> None:
    """Write to `y (N, K, P, Q)`."""
    dtype = x.dtype
    k, c = weight.shape[:2]

    u = transformed_weight(recorder, weight, 2)
    tiles = Tiles(x, window, y.shape[2:])
    into = channels_last(y)
    out = tile_matrix("A", 2, dtype)
    elements = y.size * 4 * c // PRODUCTS
    limit = max(BLOCK_BYTES, u.nbytes)
    pieces = channel_pieces(x.shape[0] * prod(tiles.count), k, elements)
    whole = len(pieces) == 1
    blocks = cut(x.shape[0], tiles.count[0], tiles.row_bytes(c + k), limit, elements if whole else 0)
    row = tiles.count[1] if whole else 1
    ending = ending.times(row, recorder)

    def task(part: Part, i: int) -> None:
        some, block = pieces[i // len(blocks)], blocks[i % len(blocks)]
        kernels = u[..., some]
        channels = kernels.shape[2]
        v = tiles.transformed(block, part)
        count = v.shape[1]
        m = part.scratch("tiles", (SEEN**2, count, channels), dtype)
        multiply(part, v, kernels, m)
        values = part.scratch("transformed", (TILE**2, count * channels), dtype)
        multiply_wide(part, out, m.reshape(SEEN**2, -1), values)
        ending.of(some).finish(values.reshape(-1, row * channels), part)
        tiles.each_output(
            block, into[..., some], values.reshape(tiles.shape_of(block, channels)), part, put=True
        )

    recorder.share(task, len(pieces) * len(blocks), elements)


def weight_grad(recorder: Recorder, grad: Array, x: Array, weight_shape: Shape, window: Window) -> Array:
    """The gradient of the weight, `dw (K, C, 3, 3)`."""
    k, c = weight_shape[:2]
    dtype = x.dtype
    tiles = Tiles(x, window, grad.shape[2:])
    images = channels_last(grad)
    spread = tile_matrix("A", 2, dtype, transposed=True)
    elements = grad.size * 4 * c // PRODUCTS
    blocks = cut(x.shape[0], tiles.count[0], tiles.row_bytes(c + k), GRAD_BLOCK_BYTES, elements)
    few = max(1, SUM_BYTES // (k * c * dtype.itemsize))  # matrices a call, as their products take memory too

    def add(part: Part, block: Block, total: Array, first: bool) -> None:
        v = tiles.transformed(block, part)
        count = v.shape[1]
        values = part.scratch("values", tiles.shape_of(block, k), dtype)
        tiles.each_output(block, images, values, part, put=False)
        m = part.scratch("tiles", (SEEN**2, count, k), dtype)
        multiply_wide(part, spread, values.reshape(TILE**2, -1), m.reshape(SEEN**2, -1))
        for start in range(0, SEEN**2, few):
            some = slice(start, start + few)
            add_product(part, m[some], v[some], total[some], first)

    total = sum_of_blocks(recorder, blocks, elements, (SEEN**2, k, c), dtype, add)
    dw = recorder.scratch("sum", (k * c, 9), dtype)
    recorder(np.matmul, total.reshape(SEEN**2, -1).T, tile_matrix("G", 2, dtype), dw)
    return dw.reshape(weight_shape)


def transformed_weight(recorder: Recorder, weight: Array, axes: int) -> Array:
    """`U (36, C, K)`, or `(6, 3·C, K)` if only the first axis is transformed."""
    k, c = weight.shape[:2]
    shape = SEEN**axes, TAPS ** (2 - axes) * c, k

    def transform(do: Scratch, u: Array) -> None:
        w = contiguous(do, "weight", taps_first(weight)).reshape(TAPS**axes, -1)
        do(np.matmul, tile_matrix("G", axes, weight.dtype), w, u.reshape(SEEN**axes, -1))

    return recorder.prepared("kernels", shape, weight.dtype, weight, transform)


class Tiles:
    """The 4×4 output tiles that cover the images, and the 6×6 inputs that each reads."""

    def __init__(self, x: Array, window: Window, output: Shape) -> None:
        self.x: Array = channels_last(x)
        self.output = output
        self.count: tuple[int, ...] = tuple(-(-n // TILE) for n in output)
        tile = Window((SEEN, SEEN), (TILE, TILE), window.padding, (1, 1))
        self.frame: Frame = Frame(self.x, tile.fitted(x.shape[2:], self.count))
        self.matrix: Array = tile_matrix("B", 2, x.dtype)

    def row_bytes(self, channels: int) -> int:
        """Bytes of scratch memory for a row of tiles; `channels` are those of input and output together."""
        return int(self.count[1] * 2 * SEEN**2 * channels * self.x.itemsize)

    def shape_of(self, block: Block, channels: int) -> Shape:
        """The shape of a block's outputs, by their places in a tile."""
        images, rows = (some.stop - some.start for some in block)
        return TILE, TILE, images, rows, self.count[1], channels

    def transformed(self, block: Block, do: Part) -> Array:
        """`V (36, tiles, C)` of a block."""
        part = self.frame.of(block, do)
        by_image, by_row, by_column, by_channel = part.strides
        rows = block.rows.stop - block.rows.start
        seen = memory.strided(
            part,
            (SEEN, SEEN, part.shape[0], rows, self.count[1], part.shape[3]),
            (by_row, by_column, by_image, TILE * by_row, TILE * by_column, by_channel),
        )
        gathered = do.scratch("tiles", seen.shape, part.dtype)
        do(setitem, gathered, ..., seen)
        v = do.scratch("transformed", (SEEN**2, gathered[0, 0].size), part.dtype)
        multiply_wide(do, self.matrix, gathered.reshape(SEEN**2, -1), v)
        return v.reshape(SEEN**2, -1, part.shape[3])

    def each_output(self, block: Block, images: Array, values: Array, do: Part, put: bool) -> None:
        """Copy a block's outputs from or into `values (4, 4, n, rows, columns, K)`; zeros beyond the edge."""
        first = block.rows.start * TILE
        rows, columns = values.shape[3:5]
        if first + rows * TILE <= self.output[0] and columns * TILE == self.output[1]:
            seen = images[block.images, first : first + rows * TILE]
            seen = seen.reshape(-1, rows, TILE, columns, TILE, values.shape[5]).transpose(2, 4, 0, 1, 3, 5)
            do(setitem, seen if put else values, ..., values if put else seen)
            return
        for i in range(TILE):
            for j in range(TILE):
                rows = slice(first + i, min(block.rows.stop * TILE, self.output[0]), TILE)
                pixels = images[block.images, rows, j::TILE]
                here = values[i, j, :, : pixels.shape[1], : pixels.shape[2]]
                if put:
                    do(setitem, pixels, ..., here)
                else:
                    do(setitem, values[i, j, :, pixels.shape[1] :], ..., 0)
                    do(setitem, values[i, j, :, :, pixels.shape[2] :], ..., 0)
                    do(setitem, here, ..., pixels)


@functools.lru_cache(maxsize=32)
def tile_matrix(name: str, axes: int, dtype: Any, transposed: bool = False) -> Array:
    """The matrix `A`, `B` or `G` for one axis of a tile, or for both at once; transposed if `transposed`."""
    matrix = {"A": A, "B": B, "G": G}[name]
    if transposed:
        matrix = matrix.T
    if axes == 2:
        matrix = np.kron(matrix, matrix)
    return memory.constant(matrix.astype(dtype))
