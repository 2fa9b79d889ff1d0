"""A chain of layers for inference on buffers of its own: what follows from shapes is found out once.

A layer takes NumPy some tens of microseconds for a small image, and Python as long to find out how. A
`Program` is the list of NumPy calls with all their operands. What a step gives has around it the border of
zeros that the next convolution sees; bias, sum and ReLU are done on the way there; a buffer that no later
step reads is used again. Weights are brought into the order that the calls take.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from ...backend import Array
from ...geometry import Pairs, Window
from .. import is_exact
from ..portable import Bounds
from . import calls, depthwise, memory, threads, winograd
from .blocks import even
from .memory import channels_first, channels_last, empty_images
from .recorded import Call
from .steps import Buffers, Step, Value

CHUNK_BYTES = 1 << 25  # of all buffers for a piece of a batch
WIDE = 64  # outputs of a dense layer from which its weight is better transposed
MOST_COUNTS = 8  # of images, for which programs are kept


class Program:
    """Steps from `x (n, C, H, W)` to an output; the methods add some, `compile` makes the calls.

    They take and give `Value`s, or give None for what there is no step for. `weights` are those in the
    order of the calls, for all programs of a model. One thread at a time may run it.
    """

    def __init__(self, shape: tuple[int, ...], dtype: Any, weights: dict[Any, Array]) -> None:
        self.buffers = Buffers(dtype, weights)
        self.dtype = self.buffers.dtype
        self.input = Value((shape[0], *shape[2:], shape[1]))
        self.input.by_channel = shape[1] < 8
        self.steps: list[Step] = []
        self.free: dict[Any, list[Array]] = {}

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
            make = calls.depthwise
        elif self._winograd_pays(x, weight.shape, window, wanted):
            make, padding = calls.winograd, winograd.padding((h, w), window, y.shape[1:3])
        else:
            make = calls.columns
        x.need(padding)
        return self._add(partial(make, self.buffers, x, weight, window), y, x, bias=bias)

    def dense(self, x: Value, weight: Array, bias: Array | None) -> Value | None:
        """`y (n, K)` of rows."""
        if len(x.shape) != 2:
            return None

        def make(step: Step) -> list[Call]:
            out = step.output.array
            matrix = self.buffers.matrix(weight) if weight.shape[0] >= WIDE else weight.T
            return [partial(np.matmul, x.array, matrix, out), *step.ending(out, out)]

        return self._add(make, Value((x.shape[0], weight.shape[0])), x, bias=bias)

    def clip(self, x: Value, bounds: Bounds) -> Value:
        """As `portable.clip`: part of the step before it, if that may be."""
        step = x.step
        if step is not None and step.bounds is None and not x.kept:
            step.bounds = bounds
            return x

        def make(step: Step) -> list[Call]:
            copy = self.buffers.scratch("product", 0, x.shape)
            return [partial(np.copyto, copy, x.array), *step.ending(copy, copy)]

        y = self._add(make, Value(x.shape), x)
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

        def make(step: Step) -> list[Call]:
            total = self.buffers.scratch("product", 0, a.shape)
            return [partial(np.add, a.array, b.array, total), *step.ending(total, total)]

        return self._add(make, Value(a.shape), a, b)

    def max_pool(self, x: Value, window: Window, output: tuple[int, ...]) -> Value | None:
        """As `portable.max_pool`, without winners."""
        if len(x.shape) != 4 or len(window.kernel) != 2:
            return None
        padding = _seen_by(window, x.shape[1:3], output)
        if x.step is not None and x.step.bounds is not None and x.step.bounds[0] >= 0:
            x.need(padding)  # where nothing is below zero, zeros never are the maximum
        y = Value((x.shape[0], *output, x.shape[3]))
        return self._add(partial(calls.max_pool, self.buffers, x, window, padding), y, x)

    def mean(self, x: Value) -> Value | None:
        """Over all pixels: `(n, 1, 1, C)`."""
        if len(x.shape) != 4:
            return None
        n, h, w, c = x.shape

        def make(step: Step) -> list[Call]:
            weights = np.full((1, h * w), 1 / (h * w), self.dtype)
            pixels = self.buffers.contiguous("pixels", x.array)
            out = self.buffers.scratch("product", 0, (n, 1, 1, c))
            product = partial(np.matmul, weights, pixels[0].reshape(n, h * w, c), out.reshape(n, 1, c))
            return [*pixels[1], product, *step.ending(out, out)]

        return self._add(make, Value((n, 1, 1, c)), x)

    def flatten(self, x: Value) -> Value:
        """Images as rows `(n, C·H·W)`, in the order of channels-first memory."""
        if len(x.shape) == 2:
            return x
        n, h, w, c = x.shape

        def make(step: Step) -> list[Call]:
            out = step.output.array
            return [
                partial(np.copyto, out.reshape(n, c, h, w), channels_first(x.array)),
                *step.ending(out, out),
            ]

        return self._add(make, Value((n, c * h * w)), x)

    def _add(
        self, make: Callable[[Step], list[Call]], y: Value, *inputs: Value, bias: Array | None = None
    ) -> Value:
        y.step = Step(make, y, *inputs)
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
        return sum(a.nbytes for a in (*self.frames, *self.buffers.scratches.values()))

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

    def _winograd_pays(self, x: Value, weight_shape: tuple[int, ...], window: Window, wanted: str) -> bool:
        if not winograd.possible(self.dtype, window, 1) or wanted == "direct":
            return False
        if wanted == "winograd":
            return True
        n, h, w, c = x.shape
        return not is_exact() and winograd.pays((n, c, h, w), weight_shape, window)


def _seen_by(window: Window, spatial: tuple[int, ...], output: tuple[int, ...]) -> Pairs:
    """The padding up to the last pixel that an output sees; less than 0 where that is inside the image."""
    return tuple(
        (lo, (m - 1) * s + d * (k - 1) + 1 - n - lo)
        for n, m, k, s, (lo, _), d in zip(spatial, output, *window, strict=True)
    )


class Programs:
    """Programs of one chain for images of one shape: pieces of a batch of any size that fit the cache.

    A call takes the programs that it runs out of the pool, so any number of threads may call.
    """

    def __init__(self, build: Callable[[Program], Value], shape: tuple[int, ...], dtype: Any) -> None:
        self.build = build
        self.shape, self.dtype = shape, dtype
        self.weights: dict[Any, Array] = {}
        self.pool = memory.kept()  # lists of programs, by the number of images
        one = self._take(1)
        self.work, self.bytes = one.buffers.work, one.bytes()
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
            program = Program((count, *self.shape), self.dtype, self.weights)
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
