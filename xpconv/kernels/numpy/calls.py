"""The NumPy calls of a program's steps, with all their operands."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from math import inf, prod

import numpy as np
from numpy.lib.stride_tricks import as_strided

from ...backend import Array
from ...geometry import Pairs, Window
from . import winograd as tiling
from .blocks import wide
from .plans import Call
from .products import multiply, multiply_wide
from .steps import Buffers, Step, Value, adding_to
from .threads import PRODUCTS

LONG = 48  # elements of a kernel's row: from there on shorter products and fewer copies pay


def columns(buffers: Buffers, x: Value, weight: Array, window: Window, step: Step) -> list[Call]:
    """im2col: of whole windows, or of their rows, whose products are added up: fewer copies."""
    (n, rows, columns, k), c = step.output.shape, x.shape[3]
    seen = x.seen(window.padding)
    w = buffers.matrix(weight)
    by_rows = window.kernel[0] > 1 and window.kernel[1] * c >= LONG
    length = window.kernel[1] * c * (1 if by_rows else window.kernel[0])
    w = w.reshape(-1, length, k)

    def block(part: int, first: int, last: int) -> list[Call]:
        calls: list[Call] = []
        out = step.output.array[:, first:last]
        if by_rows:  # rows of all images side by side, so that those below are one piece of memory
            shape = (last - first, n, columns)
            operands = _by_rows(buffers, seen, window, shape, first, part, calls)
        else:
            shape = (n, last - first, columns)
            operands = [_windows(buffers, seen, window, shape, first, part, calls)]
        in_place = step.added is None and out.flags.c_contiguous and (n == 1 or not by_rows)
        source = out.reshape(*shape, k) if in_place else buffers.scratch("product", part, (*shape, k))
        total = source.reshape(-1, k)
        for i, (a, b) in enumerate(zip(operands, w, strict=True)):
            if i == 0:
                multiply(adding_to(calls), a, b, total)
            else:
                more = buffers.scratch("more", part, total.shape)
                multiply(adding_to(calls), a, b, more)
                calls.append(partial(np.add, total, more, total))
        images = source.swapaxes(0, 1) if by_rows else source
        return calls + step.ending(source, images, slice(first, last))

    work = step.output.array.size * length * w.shape[0] // PRODUCTS
    return buffers.shared(block, rows, n * columns * length * buffers.dtype.itemsize, work)


def _windows(
    buffers: Buffers,
    seen: Array,
    window: Window,
    shape: tuple[int, ...],
    first: int,
    part: int,
    calls: list[Call],
) -> Array:
    """`(pixels, taps·C)` of rows of output; where channels lie apart, by tap in memory."""
    by_image, by_row, by_column, by_channel = seen.strides
    (kh, kw), (sh, sw), (dh, dw) = window.kernel, window.stride, window.dilation
    c = seen.shape[3]
    start = seen[:, first * sh :]
    pixels, taps = (by_image, sh * by_row, sw * by_column), (dh * by_row, dw * by_column, by_channel)
    if kh == kw == 1 and window.stride == (1, 1) and start[:, : shape[1]].flags.c_contiguous:
        return start[:, : shape[1]].reshape(-1, c)
    if by_channel > by_column:
        source = as_strided(start, (kh, kw, c, *shape), (*taps, *pixels))
    else:
        source = as_strided(start, (*shape, kh, kw, c), (*pixels, *taps))
    columns = buffers.scratch("columns", part, source.shape)
    calls.append(partial(np.copyto, columns, source))
    if by_channel > by_column:
        return columns.reshape(kh * kw * c, -1).T
    return columns.reshape(-1, kh * kw * c)


def _by_rows(
    buffers: Buffers,
    seen: Array,
    window: Window,
    shape: tuple[int, ...],
    first: int,
    part: int,
    calls: list[Call],
) -> list[Array]:
    """For each row of the kernel `(pixels, kw·C)`: parts of a buffer for each phase of the stride."""
    by_image, by_row, by_column, by_channel = seen.strides
    (kh, kw), (sh, sw), (dh, dw) = window.kernel, window.stride, window.dilation
    c = seen.shape[3]
    rows, *pixels = shape
    places = [divmod(r * dh, sh)[::-1] for r in range(kh)]  # phase, and where in it
    phases = {}
    for phase in dict(places):
        size = rows + max(at for p, at in places if p == phase)
        source = as_strided(
            seen[:, first * sh + phase :],
            (size, *pixels, kw, c),
            (sh * by_row, by_image, sw * by_column, dw * by_column, by_channel),
        )
        phases[phase] = buffers.scratch(f"columns {phase}", part, source.shape)
        calls.append(partial(np.copyto, phases[phase], source))
    return [phases[phase][at : at + rows].reshape(-1, kw * c) for phase, at in places]


def depthwise(buffers: Buffers, x: Value, weight: Array, window: Window, step: Step) -> list[Call]:
    """As `depthwise.conv`, straight from the frame."""
    seen, out = x.seen(window.padding), step.output.array
    n, rows, columns, c = out.shape
    by_image, by_row, by_column, by_channel = seen.strides
    (kh, kw), (sh, sw), (dh, dw) = window.kernel, window.stride, window.dilation
    w = buffers.prepared("depthwise", weight, lambda: np.ascontiguousarray(weight[:, 0].transpose(1, 2, 0)))
    merged = sw == 1 and by_channel < by_column
    taps = (dh * by_row, dw * by_column)
    shape: tuple[int, ...]
    steps: tuple[int, ...]
    if merged:
        shape, steps = (kh, kw, columns * c), (*taps, by_channel)
        w, formula = buffers.own(wide(w, columns)), "nhrsk,rsk->nhk"
    else:
        shape, steps = (kh, kw, columns, c), (*taps, sw * by_column, by_channel)
        formula = "nhrswk,rsk->nhwk"

    def block(part: int, first: int, last: int) -> list[Call]:
        view = as_strided(seen[:, first * sh :], (n, last - first, *shape), (by_image, sh * by_row, *steps))
        source = buffers.scratch("product", part, (n, last - first, columns, c))
        into = source.reshape(n, last - first, -1) if merged else source
        call = partial(np.einsum, formula, view, w, out=into)
        return [call, *step.ending(source, source, slice(first, last))]

    return buffers.shared(block, rows, n * columns * c * buffers.dtype.itemsize, 3 * out.size)


def winograd(buffers: Buffers, x: Value, weight: Array, window: Window, step: Step) -> list[Call]:
    """As `tiling.conv`, with the kernels transformed already."""
    tile, size = tiling.TILE, tiling.SEEN
    (n, height, width, k), c = step.output.shape, x.shape[3]
    out = step.output.array
    seen = x.seen(tiling.padding(x.shape[1:3], window, (height, width)))
    u = buffers.prepared("winograd", weight, lambda: tiling.transformed(weight, buffers.dtype))
    into, back = tiling.on_both_axes("B", buffers.dtype), tiling.on_both_axes("A", buffers.dtype)
    by_image, by_row, by_column, by_channel = seen.strides
    rows, columns = -(-height // tile), -(-width // tile)

    def block(part: int, first: int, last: int) -> list[Call]:
        shape = (n, last - first, columns)
        count = prod(shape)
        steps = (by_image, tile * by_row, tile * by_column)
        tiles = as_strided(
            seen[:, tile * first :], (size, size, *shape, c), (by_row, by_column, *steps, by_channel)
        )
        gathered = buffers.scratch("tiles", part, (size**2, count * c))
        v = buffers.scratch("transformed", part, (size**2, count * c))
        m = buffers.scratch("tiles", part, (size**2, count, k))
        values = buffers.scratch("transformed", part, (tile**2, count * k))
        calls: list[Call] = [partial(np.copyto, gathered.reshape(tiles.shape), tiles)]
        multiply_wide(adding_to(calls), into, gathered, v)
        multiply(adding_to(calls), v.reshape(size**2, count, c), u, m)
        multiply_wide(adding_to(calls), back, m.reshape(size**2, -1), values)
        return calls + _tiles_ending(buffers, step, values.reshape(tile, tile, *shape, k), part, first, last)

    bytes = 2 * size**2 * (c + k) * n * columns * buffers.dtype.itemsize
    return buffers.shared(block, rows, bytes, out.size * 4 * c // PRODUCTS, 4)


def _tiles_ending(
    buffers: Buffers, step: Step, values: Array, part: int, first: int, last: int
) -> list[Call]:
    """Winograd's tiles of outputs `(4, 4, n, rows, columns, K)` into the images, up to their edge."""
    tile, out = tiling.TILE, step.output.array
    whole = out[:, first * tile : last * tile]
    images = buffers.scratch("product", part, whole.shape)
    by_image, by_row, by_column, by_channel = images.strides
    calls: list[Call] = []
    tiles = values.transpose(2, 3, 0, 4, 1, 5)
    for a, b, i in _whole_and_rest(images.shape[1], last - first):
        for c, d, j in _whole_and_rest(images.shape[2], tiles.shape[3]):
            source = tiles[:, a:b, :i, c:d, :j]
            strides = by_image, tile * by_row, by_row, tile * by_column, by_column, by_channel
            target = as_strided(images[:, a * tile :, c * tile :], source.shape, strides)
            calls.append(partial(np.copyto, target, source))
    return calls + step.ending(images, images, slice(first * tile, last * tile))


def max_pool(buffers: Buffers, x: Value, window: Window, padding: Pairs, step: Step) -> list[Call]:
    """Maxima of rows, then of columns."""
    (n, rows, columns, c), calls = step.output.shape, []
    if all(a <= c and b <= d for (a, b), (c, d) in zip(padding, x.margin, strict=True)):
        source = x.seen(padding)
    else:
        (top, bottom), (left, right) = padding
        h, w = x.shape[1] + min(0, bottom), x.shape[2] + min(0, right)
        padded = (n, top + h + max(0, bottom), left + w + max(0, right), c)
        source = buffers.own(np.full(padded, -inf, buffers.dtype))
        calls.append(partial(np.copyto, source[:, top : top + h, left : left + w], x.array[:, :h, :w]))
    for axis, (m, k, s, d) in enumerate(
        zip((rows, columns), window.kernel, window.stride, window.dilation, strict=True), start=1
    ):
        shape = (n, m, source.shape[2], c) if axis == 1 else (n, rows, m, c)
        out = step.output.array
        top = out if axis == 2 and out.flags.c_contiguous else buffers.scratch(f"maxima {axis}", 0, shape)
        views = [
            source[(slice(None),) * axis + (slice(r * d, r * d + (m - 1) * s + 1, s),)] for r in range(k)
        ]
        if k == 1:
            calls.append(partial(np.copyto, top, views[0]))
        for i, view in enumerate(views[1:]):
            calls.append(partial(np.maximum, top if i else views[0], view, out=top))
        source = top
    return calls + step.ending(top, top)


def _whole_and_rest(size: int, count: int) -> Iterator[tuple[int, int, int]]:
    """Tiles from … to …, of how many pixels each: the whole ones, and one that the edge cuts."""
    whole = min(count, size // tiling.TILE)
    if whole:
        yield 0, whole, tiling.TILE
    if whole < count:
        yield whole, whole + 1, size - whole * tiling.TILE
