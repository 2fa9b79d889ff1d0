"""What a `Program` is made of: values, the steps that make them, and the memory that steps share."""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable
from functools import lru_cache, partial
from math import prod
from typing import Any

import numpy as np

from ...backend import Array
from ...geometry import Bounds, Pairs
from . import memory, threads
from .blocks import wide
from .memory import taps_first
from .plans import Call, Do

BLOCK_BYTES = 1 << 20  # of what a step needs for a block of rows
ROW = 8192  # elements of a row with bias


class Value:
    """Images `(n, H, W, C)` or rows `(n, C)` that a step gives, with a margin of zeros around the images."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape
        self.margin: Pairs = ((0, 0),) * (len(shape) - 2)
        self.by_channel = False  # whether channels lie apart in memory, as of few they do better
        self.kept = False  # whether more than one step may read it
        self._step: weakref.ref[Step] | None = None
        self.array: Array = None
        self.frame: Array = None  # `array` with its margin

    @property
    def step(self) -> Step | None:
        """The step that computes it, held by a weak reference, as only the program owns its steps."""
        return None if self._step is None else self._step()

    @step.setter
    def step(self, step: Step) -> None:
        self._step = weakref.ref(step)

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

    def __init__(
        self, calls: Callable[[Step], list[Call]], buffers: Buffers, output: Value, *inputs: Value
    ) -> None:
        self.calls = calls
        self.buffers = buffers
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
            calls.append(partial(np.add, flat, self.buffers.own(wide(self.bias, times)), flat))
        for function, bound in zip((np.maximum, np.minimum), self.bounds or (), strict=False):
            if bound is not None:
                row = self.buffers.own(np.full(times * k, bound, out.dtype))
                calls.append(partial(function, flat, row, out=flat))
        return calls if _same(images, out) else [*calls, partial(np.copyto, out, images)]


class Buffers:
    """The scratch arrays of one program, which every step may overwrite, and its reordered weights.

    `weights` is shared by all programs of a chain.
    """

    def __init__(self, dtype: Any, weights: dict[Any, Array]) -> None:
        self.dtype = np.dtype(dtype)
        self.weights = weights
        self.scratches: dict[tuple[str, int], Array] = {}
        self.work = 0  # as `threads.share` counts it
        self.constants = 0  # bytes of arrays that no step writes to
        self.calls = 0  # number of calls that are shared among threads

    def shared(
        self, block: Callable[[int, int, int], list[Call]], rows: int, row_bytes: int, work: int,
        blocks: int = 1,
    ) -> list[Call]:  # fmt: skip
        """The calls for blocks of rows that fit the cache, on as many threads as `work` is worth."""
        self.work += work
        parts = min(threads.share(work / 4), rows)  # threads that meet at every step are worth less
        ends = [rows * i // parts for i in range(parts + 1)]
        lists = []
        for i, (first, last) in enumerate(itertools.pairwise(ends)):
            count = -(-(last - first) * row_bytes // (blocks * BLOCK_BYTES))
            cuts = [first + (last - first) * j // count for j in range(count + 1)]
            lists.append([c for a, b in itertools.pairwise(cuts) if b > a for c in block(i, a, b)])
        if parts == 1:
            return lists[0]

        self.calls += sum(map(len, lists))

        def part(i: int) -> None:
            for call in lists[i]:
                call()

        return [partial(threads.run, part, parts)]

    def scratch(self, name: str, part: int, shape: tuple[int, ...]) -> Array:
        """A scratch array for values that no other step reads."""
        buffer = self.scratches.get((name, part))
        if buffer is None or buffer.size < prod(shape):
            buffer = self.scratches[name, part] = memory.aligned((prod(shape),), self.dtype)
        return buffer[: prod(shape)].reshape(shape)

    def own(self, constant: Array) -> Array:
        """Count an array that belongs to this program alone, besides its scratch arrays."""
        self.constants += constant.nbytes
        return constant

    def contiguous(self, name: str, x: Array) -> tuple[Array, list[Call]]:
        """`x` if it is contiguous, else a scratch array; and the calls that copy `x` to it."""
        if x.flags.c_contiguous:
            return x, []
        copy = self.scratch(name, 0, x.shape)
        return copy, [partial(np.copyto, copy, x)]

    def matrix(self, weight: Array) -> Array:
        """`(taps·C, K)`."""
        first = taps_first(weight)
        matrix = self.prepared("matrix", weight, lambda: np.ascontiguousarray(first))
        return matrix.reshape(-1, weight.shape[0])

    def prepared(self, name: str, weight: Array, make: Callable[[], Array]) -> Array:
        key = name, id(weight)
        found = self.weights.get(key)  # another thread may clear the cache
        if found is None:
            found = self.weights[key] = make()
        return found


def adding_to(calls: list[Call]) -> Do:
    """As a `Part`, but to be made later."""
    return lambda function, *operands: calls.append(partial(function, *operands))


def _same(a: Array, b: Array) -> bool:
    """Whether they begin at the same place."""
    return bool(a.ctypes.data == b.ctypes.data)


@lru_cache(maxsize=1024)
def _repeat(pixels: int, channels: int) -> int:
    """How many pixels side by side make a long row."""
    return max(r for r in range(1, max(1, ROW // channels) + 1) if pixels % r == 0)
