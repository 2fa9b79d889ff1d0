"""Inference of a chain of layers with preallocated buffers; what depends only on shapes is computed once.

For a small image, the NumPy calls of a layer take some tens of microseconds, and choosing them in Python
takes as long. A `Program` is a list of NumPy calls with all their operands. The output of a step already has
the border of zeros that the next convolution needs; bias, sum and ReLU are applied as it is written. A buffer
that no later step reads is reused. Weights are stored in the order that the calls need.
"""

from __future__ import annotations

import itertools
import os
import threading
import weakref
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from math import inf
from typing import Any

import numpy as np

from ...backend import Array
from ...geometry import Bounds, Pairs, Window
from ...sums import SERIAL_PRODUCTS, total
from ..exact import is_exact
from . import calls, depthwise, memory, threads, winograd
from .blocks import even
from .memory import channels_first, channels_last, empty_images
from .plans import Call
from .steps import Buffers, Step, Value

CHUNK_BYTES = 1 << 25  # all buffers for a piece of a batch
WIDE = 64  # outputs of a dense layer from which its weight is better transposed
IDLE_BYTES = 1 << 29  # limit for all idle programs of all models
CALL_BYTES = 1000  # Python objects of one call with its operands
NEVER = -inf, -inf

_clock = itertools.count()
# Guards the set of programs. Reentrant, as garbage collection may delete programs while it is held.
_lock = threading.RLock()


class Program:
    """Steps from `x (n, C, H, W)` to an output. Methods add steps; `compile` turns them into calls.

    The methods take and return `Value`s, or return None if there is no step for the arguments. `weights` is
    the cache of reordered weights, shared by all programs of a chain. One thread at a time may run a program.
    """

    def __init__(self, shape: tuple[int, ...], dtype: Any, weights: dict[Any, Array]) -> None:
        self.buffers = Buffers(dtype, weights)
        self.dtype = self.buffers.dtype
        self.input = Value((shape[0], *shape[2:], shape[1]))
        self.input.by_channel = shape[1] < 8
        self.steps: list[Step] = []
        self.free: dict[Any, list[Array]] = {}
        self.used = -inf  # the number of the last call that ran it, from `_clock`
        self.known = False  # whether `Programs` has counted it

    # --- steps -------------------------------------------------------------------------------------

    def conv(
        self, x: Value, weight: Array, bias: Array | None, window: Window, groups: int, algorithm: str
    ) -> Value | None:
        """As `ops.conv.conv`."""
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
        elif self._winograd_pays(x, weight.shape, window, algorithm):
            make, padding = calls.winograd, winograd.padding((h, w), window, y.shape[1:3])
        else:
            make = calls.columns
        x.need(padding)
        return self._add(partial(make, self.buffers, x, weight, window), y, x, bias=bias)

    def dense(self, x: Value, weight: Array, bias: Array | None) -> Value | None:
        """`y (n, K)` of rows."""
        if len(x.shape) != 2:
            return None
        buffers = self.buffers

        def make(step: Step) -> list[Call]:
            out = step.output.array
            matrix = buffers.matrix(weight) if weight.shape[0] >= WIDE else weight.T
            return [partial(np.matmul, x.array, matrix, out), *step.ending(out, out)]

        return self._add(make, Value((x.shape[0], weight.shape[0])), x, bias=bias)

    def clip(self, x: Value, bounds: Bounds) -> Value:
        """As `ops.activation.clip`: part of the step before it, if that may be."""
        step = x.step
        if step is not None and step.bounds is None and not x.kept:
            step.bounds = bounds
            return x
        buffers = self.buffers

        def make(step: Step) -> list[Call]:
            copy = buffers.scratch("product", 0, x.shape)
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
        buffers = self.buffers

        def make(step: Step) -> list[Call]:
            total = buffers.scratch("product", 0, a.shape)
            return [partial(np.add, a.array, b.array, total), *step.ending(total, total)]

        return self._add(make, Value(a.shape), a, b)

    def max_pool(self, x: Value, window: Window, output: tuple[int, ...]) -> Value | None:
        """As `ops.pool.max_pool`, without winners."""
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
        buffers = self.buffers

        def make(step: Step) -> list[Call]:
            pixels = buffers.contiguous("pixels", x.array)
            out = buffers.scratch("product", 0, (n, 1, 1, c))
            if h * w > SERIAL_PRODUCTS:
                return [*pixels[1], partial(_mean, pixels[0], out), *step.ending(out, out)]
            weights = buffers.own(np.full((1, h * w), 1 / (h * w), buffers.dtype))
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
        step = Step(make, self.buffers, y, *inputs)
        step.bias = bias
        self.steps.append(step)
        y.step = step
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
        self.steps.clear()

    def bytes(self) -> int:
        """The size of all buffers that a run writes to."""
        return sum(a.nbytes for a in (*self.frames, *self.buffers.scratches.values()))

    def held_bytes(self) -> int:
        """The size of all that the program holds, without the shared weights."""
        calls = len(self.calls) + self.buffers.calls
        return self.bytes() + self.buffers.constants + CALL_BYTES * calls

    def run(self, x: Array, out: Array) -> None:
        """From `x (n, C, H, W)` into `out`."""
        np.copyto(self.input.array, channels_last(x))
        for call in self.calls:
            call()
        result = self.output.array
        np.copyto(out, channels_first(result) if result.ndim > 2 else result)

    def _winograd_pays(self, x: Value, weight_shape: tuple[int, ...], window: Window, algorithm: str) -> bool:
        if not winograd.possible(self.dtype, window, 1) or algorithm == "direct":
            return False
        if algorithm == "winograd":
            return True
        n, h, w, c = x.shape
        return not is_exact() and winograd.pays((n, c, h, w), weight_shape, window)


def _seen_by(window: Window, spatial: tuple[int, ...], output: tuple[int, ...]) -> Pairs:
    """The padding up to the last pixel that an output sees; less than 0 where that is inside the image."""
    return tuple(
        (lo, (m - 1) * s + d * (k - 1) + 1 - n - lo)
        for n, m, k, s, (lo, _), d in zip(spatial, output, *window, strict=True)
    )


def _mean(pixels: Array, out: Array) -> None:
    """The mean over the pixels `(n, H, W, C)`, written to `out (n, 1, 1, C)`."""
    np.divide(
        total(pixels, (1, 2), keepdims=True), pixels.shape[1] * pixels.shape[2], out, casting="same_kind"
    )


class Programs:
    """Programs of one chain for images of one shape; a batch is cut into pieces that fit the cache.

    A call takes the programs that it runs out of the pool, so any number of threads may call at once. Idle
    programs, of all models together, may hold up to `IDLE_BYTES`; `free_memory` drops them.
    """

    def __init__(
        self, build: Callable[[Program], Value], shape: tuple[int, ...], dtype: Any, weights: dict[Any, Array]
    ) -> None:
        self.build = build
        self.shape, self.dtype = shape, dtype
        self.weights = weights
        self.pool: dict[int, list[Program]] = memory.kept()  # by the number of images
        self.alive: weakref.WeakSet[Program] = weakref.WeakSet()  # in the pool or running
        self.times: dict[int, tuple[float, float]] = {}  # by the number of images: see `_note`
        self.output_shape: tuple[int, ...] | None = None  # of one image
        self.work = self.bytes = 0  # for one image
        with _lock:
            _all.add(self)

    def __call__(self, x: Array) -> Array:
        """The output for `x (N, C, H, W)`, in a new array."""
        one = self._measure() if self.output_shape is None else None
        n = x.shape[0]
        parts = threads.share(self.work * n) if n > 1 else 1
        cuts = even(n, min(max(1, CHUNK_BYTES // self.bytes), -(-n // parts)), parts)
        out = self._new_output(n)
        now = next(_clock)
        if one is not None and any(b - a == 1 for a, b in cuts):
            self.pool.setdefault(1, []).append(one)

        def task(i: int) -> None:
            a, b = cuts[i]
            program = self._take(b - a)
            program.run(x[a:b], out[a:b])
            self._give_back(program, now)

        threads.run(task, len(cuts), self.work * n)
        return out

    def _measure(self) -> Program:
        """Build a program for one image, and set the work, the buffer size and the output shape per image."""
        one = self._take(1)
        self.work, self.bytes = one.buffers.work, one.bytes()
        self.output_shape = one.output.shape[1:]
        return one

    def is_idle(self) -> bool:
        """Whether the pool is empty, so that nothing is lost if this object is discarded."""
        return not any(self.pool.values())

    def _new_output(self, count: int) -> Array:
        """An empty output for `count` images, `(N, K, P, Q)` or `(N, K)`."""
        shape = (count, *(self.output_shape or ()))
        if len(shape) == 2:
            return np.empty(shape, self.dtype)
        return empty_images((count, shape[3], *shape[1:3]), self.dtype)

    def _take(self, count: int) -> Program:
        try:
            return self.pool[count].pop()
        except (KeyError, IndexError):
            program = Program((count, *self.shape), self.dtype, self.weights)
            program.compile(self.build(program))
            return program

    def _give_back(self, program: Program, now: float) -> None:
        program.used = now
        self.pool.setdefault(program.input.shape[0], []).append(program)
        if not program.known:
            self._admit(program)

    def _admit(self, program: Program) -> None:
        """Register a new program, and drop idle programs so that all fit in `IDLE_BYTES`.

        First to be dropped are programs that were not used since the previous call for this number of images;
        if that is not enough, the new program itself. So a model that needs more than the limit still keeps
        some of its programs, whatever the order of its calls.
        """
        times = self.times.get(program.input.shape[0], NEVER)
        before = times[1] if times[1] < program.used else times[0]
        with _lock:
            self.alive.add(program)
            everyone = list(_all)
            excess = sum(p.held_bytes() for some in everyone for p in some.alive) - IDLE_BYTES
            idle = [(p, some) for some in everyone for line in list(some.pool.values()) for p in line]
            for old, owner in sorted(idle, key=lambda pair: pair[0].used):
                if excess <= 0 or old.used >= before:
                    break
                excess -= owner._drop(old)
            if excess > 0:
                excess -= self._drop(program)
            program.known = excess <= 0

    def _drop(self, program: Program) -> int:
        """Remove `program` from the pool, unless another thread has taken it; return the freed bytes."""
        count = program.input.shape[0]
        with suppress(ValueError):
            self.pool.get(count, []).remove(program)
            self._note(count, program.used)
            return program.held_bytes()
        return 0

    def _note(self, count: int, used: float) -> None:
        """Record the last use of a dropped program for `count` images, and the last use before that."""
        last = self.times.get(count, NEVER)[1]
        if used > last:
            self.times[count] = last, used


_all: weakref.WeakSet[Programs] = weakref.WeakSet()

if hasattr(os, "register_at_fork"):  # else the child of a fork while the lock is held could not acquire it
    os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release)


def programs(
    xp: Any, build: Callable[[Any], Any], shape: tuple[int, ...], dtype: Any, weights: dict[Any, Array]
) -> Any:
    """Of all batch sizes."""
    return Programs(build, shape, dtype, weights)


def empty_weights(xp: Any) -> dict[Any, Array]:
    """A cache that `free_memory` clears."""
    return memory.kept()


def empty_program(xp: Any, shape: tuple[int, ...], dtype: Any) -> Any:
    """For floats whose sums need no wider dtype."""
    return Program(shape, dtype, {}) if dtype in ("float32", "float64") else None
