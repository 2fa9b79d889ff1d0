"""Inference plans: the NumPy calls of a chain of layers, with all their operands, over buffers of their own.

For a small image the NumPy calls of a layer take some tens of microseconds, and choosing them in Python takes
several times as long. What a chain of layers does depends on the shape of the input alone. So its kernels
run once with a `ChainRecorder`, which makes their calls and lists them, and from then on a `ChainPlan` makes
the calls of the list. Arrays that depend on parameters alone are computed at the recording, if the
parameters cannot change.
"""

from __future__ import annotations

import itertools
import os
import threading
import weakref
from collections.abc import Callable, Iterable
from contextlib import suppress
from math import inf
from typing import Any

import numpy as np

from ...backend import Array, ignoring_float_errors
from ...layout import channels_first
from ..recorders import this_thread
from . import blas, memory, threads
from .memory import empty_images
from .recording import REPORTS, ChainRecorder, joined

PIECE_BYTES = 1 << 24  # all buffers for a piece of a batch
IDLE_BYTES = 1 << 29  # limit for all idle plans of all models
CALL_BYTES = 1000  # Python objects of one call with its operands
Key = tuple[int, bool]  # of a plan: the number of images, and whether other threads run the rest of a batch

_clock = itertools.count()
# Guards the set of plans. Reentrant, as garbage collection may delete plans while it is held.
_lock = threading.RLock()


class ChainPlan:
    """What a chain of layers does to images of one shape. One thread at a time may run it."""

    def __init__(self, recorder: ChainRecorder, input: Array, output: Array) -> None:
        self.input, self.output = recorder.bound(input), recorder.bound(output)
        self.calls = joined(recorder.calls)
        self.elements: float = recorder.elements
        self.buffers: int = sum(size for _, _, size in recorder.memory.values())
        self.bytes: int = self.buffers + recorder.constant_bytes + CALL_BYTES * recorder.count
        self.used = -1  # the number of the last call that ran it, from `_clock`
        self.counted = False  # whether it counts among `_plans`
        self.place: tuple[weakref.ref[dict[Key, list[ChainPlan]]], Key]  # its pool, unless it is running

    def run(self, x: Array, out: Array) -> None:
        """From `x (n, …)` into `out`."""
        np.copyto(self.input, x)
        for call in self.calls:
            call()
        np.copyto(out, self.output)

    def leave(self) -> int:
        """Remove it from its pool, and return the freed bytes: none if a thread has taken it."""
        pool, key = self.place
        with suppress(TypeError, KeyError, ValueError):  # no pool any more, or not in it
            pool()[key].remove(self)  # type: ignore[index]
            return self.bytes
        return 0


@np.errstate(**REPORTS)
def record(
    steps: list[Callable[[Array], Array]],
    x: Array,
    constants: Iterable[Array],
    prepared: dict[Any, Array],
    alone: bool = False,
) -> tuple[int, ChainPlan | None]:
    """How many of the first `steps`, one after the other, can be recorded for `x`, and a plan of these.

    A plan that is made `alone` runs in one thread.
    """
    recorder = ChainRecorder(constants, prepared)
    if x.ndim == 4:
        input = channels_first(recorder.empty((x.shape[0], *x.shape[2:], x.shape[1]), x.dtype))
    else:
        input = recorder.empty(x.shape, x.dtype)
    np.copyto(recorder.bound(input), x)
    y, count = input, 0
    recorder.input = input
    for step in steps:
        if not blas.one_blas_thread(_add_step, recorder, step, y, alone):
            break
        y, count = recorder.output, count + 1
    return count, ChainPlan(recorder, input, y) if count else None


def _add_step(recorder: ChainRecorder, step: Callable[[Array], Array], x: Array, alone: bool) -> bool:
    """Record a step, whose output for `x` is `recorder.output` then; False if it cannot be recorded."""
    count, elements = len(recorder.calls), recorder.elements
    try:
        with threads.setting("times", inf if alone else 4):  # threads that meet often are worth less
            this_thread.recorder = recorder
            try:
                recorder.output = step(x)
            finally:
                this_thread.recorder = None
    except (TypeError, ValueError):  # the step raises it again when it is called for the whole batch
        recorder.output = None
    if (
        recorder.owns(recorder.output)
        and not recorder.foreign
        and recorder.repeats(recorder.calls[count:], x, recorder.output)
    ):
        return True
    del recorder.calls[count:]
    recorder.elements = elements
    return False


@ignoring_float_errors
def is_batch(one: Array, two: Array, three: Array) -> bool:
    """Whether an image has the output `one` alone, in front of another one, and between two others.

    It has not if the layers compute across the images, or if the first axis is the channels of one image.
    """
    if one.shape[:1] != (1,) or two.shape != (2, *one.shape[1:]) or three.shape != (3, *one.shape[1:]):
        return False
    finite = np.abs(one[np.isfinite(one)])
    margin = 1e-3 * float(finite.max(initial=0))
    return all(np.allclose(y, one, 1e-3, margin, equal_nan=True) for y in (two[:1], three[1:2]))


class Plans:
    """Plans of one chain for images of one shape; a batch is cut into pieces that fit the cache.

    `one` is a plan for one image, which is kept if there will be calls for one.

    A call takes the plans that it runs out of the pool, so any number of threads may call at once. Idle
    plans, of all models together, may hold up to `IDLE_BYTES`; `free_memory` drops them.
    """

    def __init__(
        self,
        steps: list[Callable[[Array], Array]],
        constants: list[Array],
        prepared: dict[Any, Array],
        one: ChainPlan,
        keep: bool,
    ) -> None:
        self.steps, self.constants, self.prepared = steps, constants, prepared
        self.pool: dict[Key, list[ChainPlan]] = memory.Cache()
        self.missed: dict[Key, int] = {}  # the last call, from `_clock`, that made a plan
        self.output_shape, self.dtype = one.output.shape[1:], one.output.dtype
        self.elements, self.bytes = one.elements, one.buffers  # for one image
        if keep:
            self.pool[1, False] = [one]

    def __call__(self, x: Array) -> Array:
        """The output for `x (N, …)`, in a new array."""
        n = x.shape[0]
        parts = threads.share(self.elements * n) if n > 1 else 1
        cuts = threads.even(n, min(max(1, PIECE_BYTES // self.bytes), -(-n // parts)), parts)
        shape = (n, *self.output_shape)
        out = empty_images(shape, self.dtype) if len(shape) > 2 else np.empty(shape, self.dtype)
        now, missed = next(_clock), self.missed.copy()

        def task(i: int) -> None:
            a, b = cuts[i]
            key = b - a, parts > 1
            plan = self._take(key, x[a:b])
            if plan is None:
                y = x[a:b]
                for step in self.steps:
                    y = step(y)
                out[a:b] = y
                return
            plan.run(x[a:b], out[a:b])
            plan.used = now
            self.pool.setdefault(key, []).append(plan)
            if not plan.counted:
                self.missed[key] = now
                plan.place = weakref.ref(self.pool), key
                _admit(plan, missed.get(key, -1))

        threads.run(task, len(cuts), self.elements * n)
        return out

    def is_idle(self) -> bool:
        """Whether the pool is empty, so that nothing is lost if this object is discarded."""
        return not any(self.pool.values())

    def _take(self, key: Key, x: Array) -> ChainPlan | None:
        try:
            return self.pool[key].pop()
        except (KeyError, IndexError):
            count, plan = record(self.steps, x, self.constants, self.prepared, alone=key[1])
            return plan if count == len(self.steps) else None


_plans: weakref.WeakSet[ChainPlan] = weakref.WeakSet()  # of all models, idle or running


def _admit(plan: ChainPlan, before: int) -> None:
    """Register a new plan, and drop idle ones so that all fit in `IDLE_BYTES`.

    First to be dropped are plans that were not used since `before`, the previous call that needed such a
    plan; if that is not enough, the new plan itself. So a model that needs more than the limit still keeps
    some of its plans, whatever the order of its calls.
    """
    with _lock:
        _plans.add(plan)
        excess = sum(p.bytes for p in _plans) - IDLE_BYTES
        unused = [p for p in _plans if p.used < before]
        for old in [*sorted(unused, key=lambda p: p.used), plan]:
            if excess > 0:
                excess -= old.leave()
        plan.counted = excess <= 0


if hasattr(os, "register_at_fork"):  # else the child of a fork while the lock is held could not acquire it
    os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release)
