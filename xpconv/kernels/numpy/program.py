"""A chain of layers for inference on buffers of its own: what follows from shapes is found out once.

A layer takes NumPy some tens of microseconds for a small image, and Python as long to find out how. A
`Program` is the list of NumPy calls with all their operands. What a step gives has around it the border of
zeros that the next convolution sees; bias, sum and ReLU are done on the way there; a buffer that no later
step reads is used again. Weights are brought into the order that the calls take.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from math import inf, prod
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from ...backend import Array
from ...geometry import Pairs, Window
from .. import is_exact
from ..portable import Bounds
from . import depthwise, memory, threads, winograd
from .blocks import even, wide
from .memory import channels_first, channels_last, empty_images, taps_first
from .products import products, products_wide
from .threads import PRODUCTS

Call = Callable[[], Any]
BLOCK_BYTES = 1 << 20  # of columns
CHUNK_BYTES = 1 << 25  # of all buffers for a piece of a batch
ROW = 8192  # elements of a row with bias
WIDE = 64  # outputs of a dense layer from which its weight is better transposed
MOST_COUNTS = 8  # of images, for which programs are kept
LONG = 48  # elements of a kernel's row: from there on shorter products and fewer copies pay


class Value:
    """Images `(n, H, W, C)` or rows `(n, C)` that a step gives, with a margin of zeros around the images."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape
        self.margin: Pairs = ((0, 0),) * (len(shape) - 2)
        self.by_channel = False  # whether channels lie apart in memory, as of few they do better
        self.kept = False  # whether more than one step may read it
        self.step: Step | None = None
        self.array: Array = None
        self.frame: Array = None  # `array` with its margin

    def need(self, padding: Pairs) -> None:
        """Have at least so much of a margin."""
        pairs = zip(self.margin, padding, strict=True)
        self.margin = tuple((max(a, c), max(b, d)) for (a, b), (c, d) in pairs)

    def allocate(self, dtype: Any, free: dict[Any, list[Array]]) -> None:
        """Take a frame that is free, or make one."""
        frames = free.setdefault(self._kind(), [])
        sizes = self.shape[1:-1]
        whole = [lo + size + hi for size, (lo, hi) in zip(sizes, self.margin, strict=True)]
        if frames:
            self.frame = frames.pop()
        elif self.by_channel:
            self.frame = np.moveaxis(memory.aligned((self.shape[-1], self.shape[0], *whole), dtype), 0, -1)
            self.frame[...] = 0
        else:
            self.frame = memory.aligned((self.shape[0], *whole, self.shape[-1]), dtype)
            self.frame[...] = 0
        self.array = self.seen(((0, 0),) * len(sizes))

    def release(self, free: dict[Any, list[Array]]) -> None:
        free[self._kind()].append(self.frame)

    def _kind(self) -> Any:
        return self.shape, self.margin, self.by_channel

    def seen(self, padding: Pairs) -> Array:
        """The images with so much of their margin."""
        sizes = zip(self.shape[1:-1], self.margin, padding, strict=True)
        index = (slice(None), *[slice(lo - a, lo + size + b) for size, (lo, _), (a, b) in sizes])
        return self.frame[index]


class Step:
    """Makes a value of others; then adds `bias (K,)` and another value, and cuts off at the bounds."""

    def __init__(self, calls: Callable[[Step], list[Call]], output: Value, *inputs: Value) -> None:
        self.calls = calls
        self.output = output
        self.inputs = list(inputs)
        self.added: Value | None = None
        self.bias: Array | None = None
        self.bounds: Bounds = None

    def ending(self, source: Array, images: Array, rows: slice = slice(None)) -> list[Call]:
        """From the `source`, which is one piece of memory and overwritten, into the output's rows.

        `images` is a view of it in the order of the output. NumPy's loops like one piece of memory, and a
        vector rather than one number: so all is done in the source, and then copied to between the margins.
        """
        out = self.output.array[:, rows] if images.ndim > 2 else self.output.array
        calls: list[Call] = []
        if self.added is not None:
            calls.append(partial(np.add, images, self.added.array[:, rows], images))
        k = images.shape[-1]
        times = _repeat(source.size // k, k)
        flat = source.reshape(-1, times * k)
        if self.bias is not None:
            calls.append(partial(np.add, flat, wide(self.bias, times), flat))
        for function, bound in zip((np.maximum, np.minimum), self.bounds or (), strict=False):
            if bound is not None:
                calls.append(partial(function, flat, np.full(times * k, bound, out.dtype), out=flat))
        return calls if _same(images, out) else [*calls, partial(np.copyto, out, images)]


class Program:
    """Steps from `x (n, C, H, W)` to an output; the methods add some, `compile` makes the calls.

    They take and give `Value`s, or give None for what there is no step for. `prepared` holds weights in the
    order of the calls, for all programs of a model. One thread at a time may run it.
    """

    def __init__(self, shape: tuple[int, ...], dtype: Any, prepared: dict[Any, Array]) -> None:
        self.dtype = np.dtype(dtype)
        self.prepared = prepared
        self.input = Value((shape[0], *shape[2:], shape[1]))
        self.input.by_channel = shape[1] < 8
        self.steps: list[Step] = []
        self.free: dict[Any, list[Array]] = {}
        self.scratches: dict[tuple[str, int], Array] = {}
        self.work = 0  # as `threads.share` counts it

    # --- steps -------------------------------------------------------------------------------------

    def conv(
        self, x: Value, weight: Array, bias: Array | None, window: Window, groups: int, wanted: str
    ) -> Value | None:
        """As `portable.conv`."""
        if len(x.shape) != 4 or len(window.kernel) != 2:
            return None
        n, h, w, _c = x.shape
        y = Value((n, *window.output_shape((h, w)), weight.shape[0]))
        padding = window.padding
        make: Callable[..., list[Call]]
        if groups > 1:
            if not depthwise.fits(weight.shape, groups, self.dtype):
                return None
            make = self._depthwise
        elif self._winograd_pays(x, weight.shape, window, wanted):
            make, padding = self._winograd, winograd.padding((h, w), window, y.shape[1:3])
        else:
            make = self._columns
        x.need(padding)
        return self._add(partial(make, x, weight, window), y, x, bias=bias)

    def dense(self, x: Value, weight: Array, bias: Array | None) -> Value | None:
        """`y (n, K)` of rows."""
        if len(x.shape) != 2:
            return None

        def calls(step: Step) -> list[Call]:
            out = step.output.array
            matrix = self._matrix(weight) if weight.shape[0] >= WIDE else weight.T
            return [partial(np.matmul, x.array, matrix, out), *step.ending(out, out)]

        return self._add(calls, Value((x.shape[0], weight.shape[0])), x, bias=bias)

    def clip(self, x: Value, bounds: Bounds) -> Value:
        """As `portable.clip`: part of the step before it, if that may be."""
        step = x.step
        if step is not None and step.bounds is None and not x.kept:
            step.bounds = bounds
            return x

        def calls(step: Step) -> list[Call]:
            copy = self._scratch("product", 0, x.shape)
            return [partial(np.copyto, copy, x.array), *step.ending(copy, copy)]

        y = self._add(calls, Value(x.shape), x)
        step = self.steps[-1]
        step.bounds = bounds
        return y

    def add(self, a: Value, b: Value) -> Value | None:
        """Their sum; part of the step of `a`, if that may be."""
        if a.shape != b.shape:
            return None
        step = a.step
        if step is not None and step.added is None and step.bounds is None and not a.kept:
            step.added = b
            step.inputs.append(b)
            return a

        def calls(step: Step) -> list[Call]:
            total = self._scratch("product", 0, a.shape)
            return [partial(np.add, a.array, b.array, total), *step.ending(total, total)]

        return self._add(calls, Value(a.shape), a, b)

    def max_pool(self, x: Value, window: Window, output: tuple[int, ...]) -> Value | None:
        """As `portable.max_pool`, without winners."""
        if len(x.shape) != 4 or len(window.kernel) != 2:
            return None
        padding = _seen_by(window, x.shape[1:3], output)
        if x.step is not None and x.step.bounds is not None and x.step.bounds[0] >= 0:
            x.need(padding)  # where nothing is below zero, zeros never are the maximum
        y = Value((x.shape[0], *output, x.shape[3]))
        return self._add(partial(self._max_pool, x, window, padding), y, x)

    def mean(self, x: Value) -> Value | None:
        """Over all pixels: `(n, 1, 1, C)`."""
        if len(x.shape) != 4:
            return None
        n, h, w, c = x.shape

        def calls(step: Step) -> list[Call]:
            weights = np.full((1, h * w), 1 / (h * w), self.dtype)
            pixels = self._contiguous("pixels", x.array)
            out = self._scratch("product", 0, (n, 1, 1, c))
            product = partial(np.matmul, weights, pixels[0].reshape(n, h * w, c), out.reshape(n, 1, c))
            return [*pixels[1], product, *step.ending(out, out)]

        return self._add(calls, Value((n, 1, 1, c)), x)

    def flatten(self, x: Value) -> Value:
        """Images as rows `(n, C·H·W)`, in the order of channels-first memory."""
        if len(x.shape) == 2:
            return x
        n, h, w, c = x.shape

        def calls(step: Step) -> list[Call]:
            out = step.output.array
            return [
                partial(np.copyto, out.reshape(n, c, h, w), channels_first(x.array)),
                *step.ending(out, out),
            ]

        return self._add(calls, Value((n, c * h * w)), x)

    def _add(
        self, calls: Callable[[Step], list[Call]], y: Value, *inputs: Value, bias: Array | None = None
    ) -> Value:
        y.step = Step(calls, y, *inputs)
        y.step.bias = bias
        self.steps.append(y.step)
        return y

    # --- running -----------------------------------------------------------------------------------

    def compile(self, output: Value) -> None:
        """Give every value its place and make the calls; nothing can be added any more."""
        last = {id(v): i for i, step in enumerate(self.steps) for v in (step.output, *step.inputs)}
        last[id(output)] = len(self.steps)
        self.output = output
        self.calls: list[Call] = []
        self.input.allocate(self.dtype, self.free)
        for i, step in enumerate(self.steps):
            step.output.allocate(self.dtype, self.free)
            self.calls += step.calls(step)
            for value in {id(v): v for v in step.inputs}.values():
                if last[id(value)] == i and value is not self.input:
                    value.release(self.free)
        self.frames = [frame for frames in self.free.values() for frame in frames]
        self.frames += [value.frame for value in (self.input, output)]
        self.free.clear()

    def bytes(self) -> int:
        """All that it holds, without weights."""
        return sum(a.nbytes for a in (*self.frames, *self.scratches.values()))

    def new_output(self, count: int) -> Array:
        """For so many images, `(N, K, P, Q)` or `(N, K)`."""
        shape = (count, *self.output.shape[1:])
        if len(shape) == 2:
            return np.empty(shape, self.dtype)
        return empty_images((count, shape[3], *shape[1:3]), self.dtype)

    def run(self, x: Array, out: Array) -> None:
        """From `x (n, C, H, W)` into `out`."""
        np.copyto(self.input.array, channels_last(x))
        for call in self.calls:
            call()
        result = self.output.array
        np.copyto(out, channels_first(result) if result.ndim > 2 else result)

    # --- calls -------------------------------------------------------------------------------------

    def _columns(self, x: Value, weight: Array, window: Window, step: Step) -> list[Call]:
        """im2col: of whole windows, or of their rows, whose products are added up: fewer copies."""
        (n, rows, columns, k), c = step.output.shape, x.shape[3]
        seen = x.seen(window.padding)
        w = self._matrix(weight)
        by_rows = window.kernel[0] > 1 and window.kernel[1] * c >= LONG
        length = window.kernel[1] * c * (1 if by_rows else window.kernel[0])
        w = w.reshape(-1, length, k)

        def block(part: int, first: int, last: int) -> list[Call]:
            calls: list[Call] = []
            out = step.output.array[:, first:last]
            if by_rows:  # rows of all images side by side, so that those below are one piece of memory
                shape = (last - first, n, columns)
                operands = self._by_rows(seen, window, shape, first, part, calls)
            else:
                shape = (n, last - first, columns)
                operands = [self._windows(seen, window, shape, first, part, calls)]
            in_place = step.added is None and out.flags.c_contiguous and (n == 1 or not by_rows)
            source = out.reshape(*shape, k) if in_place else self._scratch("product", part, (*shape, k))
            total = source.reshape(-1, k)
            for i, (a, b) in enumerate(zip(operands, w, strict=True)):
                if i == 0:
                    calls += products(a, b, total)
                else:
                    more = self._scratch("more", part, total.shape)
                    calls += [*products(a, b, more), partial(np.add, total, more, total)]
            images = source.swapaxes(0, 1) if by_rows else source
            return calls + step.ending(source, images, slice(first, last))

        work = step.output.array.size * length * w.shape[0] // PRODUCTS
        return self._shared(block, rows, n * columns * length * self.dtype.itemsize, work)

    def _windows(
        self, seen: Array, window: Window, shape: tuple[int, ...], first: int, part: int, calls: list[Call]
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
        columns = self._scratch("columns", part, source.shape)
        calls.append(partial(np.copyto, columns, source))
        if by_channel > by_column:
            return columns.reshape(kh * kw * c, -1).T
        return columns.reshape(-1, kh * kw * c)

    def _by_rows(
        self, seen: Array, window: Window, shape: tuple[int, ...], first: int, part: int, calls: list[Call]
    ) -> list[Array]:
        """For each row of the kernel `(pixels, kw·C)`: parts of a buffer for each phase of the stride."""
        by_image, by_row, by_column, by_channel = seen.strides
        (kh, kw), (sh, sw), (dh, dw) = window.kernel, window.stride, window.dilation
        c = seen.shape[3]
        rows, *pixels = shape
        places = [divmod(r * dh, sh)[::-1] for r in range(kh)]  # phase, and where in it
        buffers = {}
        for phase in dict(places):
            size = rows + max(at for p, at in places if p == phase)
            source = as_strided(
                seen[:, first * sh + phase :],
                (size, *pixels, kw, c),
                (sh * by_row, by_image, sw * by_column, dw * by_column, by_channel),
            )
            buffers[phase] = self._scratch(f"columns {phase}", part, source.shape)
            calls.append(partial(np.copyto, buffers[phase], source))
        return [buffers[phase][at : at + rows].reshape(-1, kw * c) for phase, at in places]

    def _depthwise(self, x: Value, weight: Array, window: Window, step: Step) -> list[Call]:
        """As `depthwise.conv`, straight from the frame."""
        seen, out = x.seen(window.padding), step.output.array
        n, rows, columns, c = out.shape
        by_image, by_row, by_column, by_channel = seen.strides
        (kh, kw), (sh, sw), (dh, dw) = window.kernel, window.stride, window.dilation
        w = self._prepared("depthwise", weight, lambda: np.ascontiguousarray(weight[:, 0].transpose(1, 2, 0)))
        merged = sw == 1 and by_channel < by_column
        taps = (dh * by_row, dw * by_column)
        shape: tuple[int, ...]
        steps: tuple[int, ...]
        if merged:
            shape, steps = (kh, kw, columns * c), (*taps, by_channel)
            w, formula = wide(w, columns), "nhrsk,rsk->nhk"
        else:
            shape, steps = (kh, kw, columns, c), (*taps, sw * by_column, by_channel)
            formula = "nhrswk,rsk->nhwk"

        def block(part: int, first: int, last: int) -> list[Call]:
            view = as_strided(
                seen[:, first * sh :], (n, last - first, *shape), (by_image, sh * by_row, *steps)
            )
            source = self._scratch("product", part, (n, last - first, columns, c))
            into = source.reshape(n, last - first, -1) if merged else source
            call = partial(np.einsum, formula, view, w, out=into)
            return [call, *step.ending(source, source, slice(first, last))]

        return self._shared(block, rows, n * columns * c * self.dtype.itemsize, 3 * out.size)

    def _winograd_pays(self, x: Value, weight_shape: tuple[int, ...], window: Window, wanted: str) -> bool:
        if not winograd.possible(self.dtype, window, 1) or wanted == "direct":
            return False
        if wanted == "winograd":
            return True
        n, h, w, c = x.shape
        return not is_exact() and winograd.pays((n, c, h, w), weight_shape, window, prepared=True)

    def _winograd(self, x: Value, weight: Array, window: Window, step: Step) -> list[Call]:
        """As `winograd.conv`, with the kernels transformed already."""
        tile, size = winograd.TILE, winograd.SEEN
        (n, height, width, k), c = step.output.shape, x.shape[3]
        out = step.output.array
        seen = x.seen(winograd.padding(x.shape[1:3], window, (height, width)))
        u = self._prepared("winograd", weight, lambda: winograd.transformed(weight, self.dtype))
        into, back = winograd.on_both_axes("B", self.dtype), winograd.on_both_axes("A", self.dtype)
        by_image, by_row, by_column, by_channel = seen.strides
        rows, columns = -(-height // tile), -(-width // tile)

        def block(part: int, first: int, last: int) -> list[Call]:
            shape = (n, last - first, columns)
            count = prod(shape)
            steps = (by_image, tile * by_row, tile * by_column)
            tiles = as_strided(
                seen[:, tile * first :], (size, size, *shape, c), (by_row, by_column, *steps, by_channel)
            )
            gathered = self._scratch("tiles", part, (size**2, count * c))
            v = self._scratch("transformed", part, (size**2, count * c))
            m = self._scratch("tiles", part, (size**2, count, k))
            values = self._scratch("transformed", part, (tile**2, count * k))
            calls: list[Call] = [partial(np.copyto, gathered.reshape(tiles.shape), tiles)]
            calls += products_wide(into, gathered, v)
            calls += products(v.reshape(size**2, count, c), u, m)
            calls += products_wide(back, m.reshape(size**2, -1), values)
            return calls + self._tiles_ending(step, values.reshape(tile, tile, *shape, k), part, first, last)

        bytes = 2 * size**2 * (c + k) * n * columns * self.dtype.itemsize
        return self._shared(block, rows, bytes, out.size * 4 * c // PRODUCTS, 4 * BLOCK_BYTES)

    def _tiles_ending(self, step: Step, values: Array, part: int, first: int, last: int) -> list[Call]:
        """Winograd's tiles of outputs `(4, 4, n, rows, columns, K)` into the images, up to their edge."""
        tile, out = winograd.TILE, step.output.array
        whole = out[:, first * tile : last * tile]
        images = self._scratch("product", part, whole.shape)
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

    def _max_pool(self, x: Value, window: Window, padding: Pairs, step: Step) -> list[Call]:
        """Maxima of rows, then of columns."""
        (n, rows, columns, c), calls = step.output.shape, []
        if all(a <= c and b <= d for (a, b), (c, d) in zip(padding, x.margin, strict=True)):
            source = x.seen(padding)
        else:
            (top, bottom), (left, right) = padding
            h, w = x.shape[1] + min(0, bottom), x.shape[2] + min(0, right)
            source = np.full((n, top + h + max(0, bottom), left + w + max(0, right), c), -inf, self.dtype)
            calls.append(partial(np.copyto, source[:, top : top + h, left : left + w], x.array[:, :h, :w]))
        for axis, (m, k, s, d) in enumerate(
            zip((rows, columns), window.kernel, window.stride, window.dilation, strict=True), start=1
        ):
            shape = (n, m, source.shape[2], c) if axis == 1 else (n, rows, m, c)
            out = step.output.array
            top = out if axis == 2 and out.flags.c_contiguous else self._scratch(f"maxima {axis}", 0, shape)
            views = [
                source[(slice(None),) * axis + (slice(r * d, r * d + (m - 1) * s + 1, s),)] for r in range(k)
            ]
            if k == 1:
                calls.append(partial(np.copyto, top, views[0]))
            for i, view in enumerate(views[1:]):
                calls.append(partial(np.maximum, top if i else views[0], view, out=top))
            source = top
        return calls + step.ending(top, top)

    def _shared(
        self, block: Callable[[int, int, int], list[Call]], rows: int, row_bytes: int, work: int,
        limit: int = BLOCK_BYTES,
    ) -> list[Call]:  # fmt: skip
        """The calls of blocks of rows that fit the cache, on as many threads as so much work is worth."""
        self.work += work
        parts = min(threads.share(work / 4), rows)  # threads that meet at every step are worth less
        ends = [rows * i // parts for i in range(parts + 1)]
        lists = []
        for i, (first, last) in enumerate(itertools.pairwise(ends)):
            count = -(-(last - first) * row_bytes // limit)
            cuts = [first + (last - first) * j // count for j in range(count + 1)]
            lists.append([c for a, b in itertools.pairwise(cuts) if b > a for c in block(i, a, b)])
        if parts == 1:
            return lists[0]

        def part(i: int) -> None:
            for call in lists[i]:
                call()

        return [partial(threads.run, part, parts)]

    # --- memory ------------------------------------------------------------------------------------

    def _scratch(self, name: str, part: int, shape: tuple[int, ...]) -> Array:
        """For what no other step reads."""
        buffer = self.scratches.get((name, part))
        if buffer is None or buffer.size < prod(shape):
            buffer = self.scratches[name, part] = memory.aligned((prod(shape),), self.dtype)
        return buffer[: prod(shape)].reshape(shape)

    def _contiguous(self, name: str, x: Array) -> tuple[Array, list[Call]]:
        """Itself, or a copy and the call that makes it."""
        if x.flags.c_contiguous:
            return x, []
        copy = self._scratch(name, 0, x.shape)
        return copy, [partial(np.copyto, copy, x)]

    def _matrix(self, weight: Array) -> Array:
        """`(taps·C, K)`."""
        first = taps_first(weight)
        matrix = self._prepared("matrix", weight, lambda: np.ascontiguousarray(first))
        return matrix.reshape(-1, weight.shape[0])

    def _prepared(self, name: str, weight: Array, make: Callable[[], Array]) -> Array:
        key = name, id(weight)
        if key not in self.prepared:
            self.prepared[key] = make()
        return self.prepared[key]


def _same(a: Array, b: Array) -> bool:
    """Whether they begin at the same place."""
    return bool(a.ctypes.data == b.ctypes.data)


def _seen_by(window: Window, spatial: tuple[int, ...], output: tuple[int, ...]) -> Pairs:
    """The padding up to the last pixel that an output sees; less than 0 where that is inside the image."""
    return tuple(
        (lo, (m - 1) * s + d * (k - 1) + 1 - n - lo)
        for n, m, k, s, (lo, _), d in zip(spatial, output, *window, strict=True)
    )


@lru_cache(maxsize=1024)
def _repeat(pixels: int, channels: int) -> int:
    """How many pixels side by side make a long row."""
    return max(r for r in range(1, max(1, ROW // channels) + 1) if pixels % r == 0)


def _whole_and_rest(size: int, count: int) -> Iterator[tuple[int, int, int]]:
    """Tiles from … to …, of how many pixels each: the whole ones, and one that the edge cuts."""
    whole = min(count, size // winograd.TILE)
    if whole:
        yield 0, whole, winograd.TILE
    if whole < count:
        yield whole, whole + 1, size - whole * winograd.TILE


class Programs:
    """Programs of one chain for images of one shape: pieces of a batch of any size that fit the cache.

    A call takes the programs that it runs out of the pool, so any number of threads may call.
    """

    def __init__(self, build: Callable[[Program], Value], shape: tuple[int, ...], dtype: Any) -> None:
        self.build = build
        self.shape, self.dtype = shape, dtype
        self.prepared: dict[Any, Array] = {}
        self.pool = memory.kept()  # lists of programs, by the number of images
        one = self._take(1)
        self.work, self.bytes = one.work, one.bytes()
        self._give_back(one)

    def __call__(self, x: Array) -> Array:
        """The output for `x (N, C, H, W)`, which is the caller's."""
        n = x.shape[0]
        parts = threads.share(self.work * n) if n > 1 else 1
        cuts = even(n, min(max(1, CHUNK_BYTES // self.bytes), -(-n // parts)), parts)
        first = self._take(cuts[0][1])
        out = first.new_output(n)
        self._give_back(first)

        def task(i: int) -> None:
            a, b = cuts[i]
            program = self._take(b - a)
            program.run(x[a:b], out[a:b])
            self._give_back(program)

        if len(cuts) > 1:
            threads.run(task, len(cuts), self.work * n)
        else:
            with threads.one_blas_thread:
                task(0)
        return out

    def _take(self, count: int) -> Program:
        try:
            program: Program = self.pool[count].pop()
            return program
        except (KeyError, IndexError):
            program = Program((count, *self.shape), self.dtype, self.prepared)
            program.compile(self.build(program))
            return program

    def _give_back(self, program: Program) -> None:
        if len(self.pool) > MOST_COUNTS:
            self.pool.clear()
        self.pool.setdefault(program.input.shape[0], []).append(program)


def programs(xp: Any, build: Callable[[Any], Any], shape: tuple[int, ...], dtype: Any) -> Any:
    """As `portable.programs`."""
    return Programs(build, shape, dtype)


def empty_program(xp: Any, shape: tuple[int, ...], dtype: Any) -> Any:
    """As `portable.empty_program`, for floats whose sums need no wider dtype."""
    return Program(shape, dtype, {}) if dtype in ("float32", "float64") else None
