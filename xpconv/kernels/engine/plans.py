"""Plans: what a kernel did to arrays of certain shapes, done again to others without the Python between.

Python takes a tenth to a half of a kernel's time, and while it runs no other thread has the interpreter lock.
A plan is the list of the NumPy calls that a kernel made. Their operands are parts of the kernel's arguments,
given as (argument, offset, shape, strides), scratch arrays, or constants. A replay binds the plan to the next
arguments, by views that NumPy checks against their memory, and makes the same calls.

The contract of a planned kernel:

- It gets a `Recorder` before its arguments, makes every call on arrays through it, and returns nothing.
- Results go into arguments or scratch arrays, never into new arrays. A kernel that breaks this has no plan.
- What it does depends on the arguments' shapes, strides and dtypes, on arguments that are no arrays, and on
  the number of threads; never on what is in the arrays. A test compares the calls for different contents.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterable
from operator import itemgetter, methodcaller
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.array_utils import byte_bounds
from numpy.lib.stride_tricks import as_strided

from ...backend import Array
from ...geometry import Shape
from ..recorders import this_thread
from . import blas, memory, threads
from .scratch import Scratch, ScratchMemory

MOST_CALLS = 50_000  # in the plans of an arena, of about a kilobyte each
MOST_SEEN = 4096  # signatures without a plan that an arena remembers
MOST_IDLE = 16  # arenas
SCRATCH, CONSTANT = "scratch", "constant"

_clock = itertools.count()


class Arena:
    """Scratch arrays, and plans that use them. A call of a kernel has an arena for itself.

    So threads share nothing, and a kernel that is called by a signal handler, a destructor or a callback
    while another runs in the same thread does not overwrite the other's scratch arrays.
    """

    def __init__(self) -> None:
        self.memory: ScratchMemory = ScratchMemory()
        self.plans: dict[Any, Plan] = {}
        self.seen: dict[Any, int] = {}  # when a signature without a plan was last called
        self.calls: int = 0  # in all plans

    def run(self, kernel: Callable[..., None], args: tuple[Any, ...], key: Any) -> None:
        """Run a kernel; record it at the second call of a signature, if there is room for a plan."""
        now = next(_clock)
        before = self.seen.get(key)
        record = before is not None and self._has_room(before)
        if len(self.seen) >= MOST_SEEN:
            self.seen.clear()
        self.seen[key] = now
        recorder = Recorder(self, record)
        given = [as_strided(a) if record and isinstance(a, np.ndarray) else a for a in args]
        blas.one_blas_thread(kernel, recorder, *given)
        grown = self.memory.grow()
        if grown:  # plans have views of the smaller blocks
            self.plans.clear()
            self.calls = 0
        plan = recorder.plan(given) if record and not grown else None
        if plan is not None:
            plan.used = now
            self.plans[key] = plan
            self.calls += plan.size
            del self.seen[key]

    def _has_room(self, since: int) -> bool:
        """Whether there is, if need be after dropping the plans that were not used `since` then.

        Where a model needs more plans than there is room for, some stay in use, whatever the order of calls.
        """
        if self.calls >= MOST_CALLS:
            for key in [key for key, plan in self.plans.items() if plan.used < since]:
                self.calls -= self.plans.pop(key).size
        return self.calls < MOST_CALLS


_idle: dict[Arena, None] = memory.Cache()  # of the process: the last one is taken first


def planned(kernel: Callable[..., None]) -> Callable[..., None]:
    """A kernel that is recorded at the second call of a signature, and from then on replayed."""

    @functools.wraps(kernel)
    def run(*args: Any) -> None:
        if this_thread.recorder is not None:
            this_thread.recorder.run(kernel, *args)
            return
        signature: list[Any] = [kernel, threads.local.count or threads.pool.count]
        for a in args:
            signature.append((a.shape, a.strides, a.dtype) if isinstance(a, np.ndarray) else a)
        key = tuple(signature)
        try:
            arena, _ = _idle.popitem()
        except KeyError:
            arena = Arena()
        plan = arena.plans.get(key)
        if plan is None:
            arena.run(kernel, args, key)
        else:
            plan.used = next(_clock)
            if plan.products:
                blas.one_blas_thread(plan.run, args)
            else:
                plan.run(args)
        if len(_idle) < MOST_IDLE:  # not after an exception, which may have left it half changed
            _idle[arena] = None

    return run


class Operation(NamedTuple):
    """A function, its operands, one at least, and the array for its result if it takes that as `out=`."""

    function: Callable[..., Any]
    operands: tuple[Any, ...]
    out: Array | None


class Part(Scratch):
    """What one thread does of a kernel: it makes calls, whose results go into one of their operands."""

    def __init__(self, arena: Arena, slot: int, record: bool) -> None:
        self.arena: Arena = arena
        self.slot: int = slot
        self.record: bool = record
        self.calls: list[Operation] = []

    def __call__(self, function: Callable[..., Any], *operands: Any, out: Array | None = None) -> None:
        if out is None:
            function(*operands)
        else:
            function(*operands, out=out)
        if self.record:
            self.calls.append(Operation(function, operands, out))

    def scratch(self, name: str, shape: Shape, dtype: Any) -> Array:
        return self.arena.memory.scratch(name, shape, dtype, self.slot)


class Recorder(Part):
    """Makes a kernel's calls: its own, one after the other, and those that threads share."""

    def __init__(self, arena: Arena, record: bool) -> None:
        super().__init__(arena, 0, record)
        self.sections: list[list[list[Operation]]] = []  # one after the other: the calls of each slot

    def share(self, task: Callable[[Part, int], None], count: int, elements: float = math.inf) -> None:
        """`task(part, i)` for every i below `count`, on as many threads as pay for these `elements`."""
        slots = min(threads.share(elements), count)
        if slots <= 1:
            for i in range(count):
                task(self, i)
            return
        parts = [Part(self.arena, slot, self.record) for slot in range(slots)]

        def run(slot: int) -> None:
            for i in range(count)[threads.part(slot, slots, count)]:
                task(parts[slot], i)

        threads.run(run, slots)
        if self.record:
            self._end_section()
            self.sections.append([part.calls for part in parts])

    def plan(self, args: list[Any]) -> Plan | None:
        """Of all calls, when they have been made; None if an operand is a new array, or a view of one."""
        self._end_section()
        try:
            return Plan(self.sections, args, self.arena.memory.blocks.values())
        except _NewArrayError:
            return None

    def _end_section(self) -> None:
        if self.calls:
            self.sections.append([self.calls])
            self.calls = []


class _NewArrayError(Exception):
    pass


class Plan:
    """The calls of a kernel. Their operands are indices into values: constants, scratch arrays, and views."""

    def __init__(
        self, sections: list[list[list[Operation]]], args: list[Any], blocks: Iterable[Array]
    ) -> None:
        self.used = 0
        self.values: list[Any] = []  # None in place of parts of arguments
        self.views: list[tuple[Any, ...]] = []  # such a part: index, argument, shape, dtype, offset, strides
        sources: dict[int, Any] = {id(block): SCRATCH for block in blocks}
        sources |= {id(a): i for i, a in enumerate(args) if isinstance(a, np.ndarray)}
        indices: dict[Any, int] = {}  # by what distinguishes an operand from others

        def index(value: Any) -> int:
            source: Any = _source(value, sources) if isinstance(value, np.ndarray) else CONSTANT
            key: tuple[Any, ...] = source, id(value)
            if source is not CONSTANT:
                start = memory.address(value) if value.size else 0
                key = source, start, value.shape, value.strides, value.dtype
            if key not in indices:
                indices[key] = len(self.values)
                given = source not in (SCRATCH, CONSTANT)
                self.values.append(None if given else value)
                if given:
                    offset = start - byte_bounds(args[source])[0] if value.size else 0
                    self.views.append((indices[key], source, value.shape, value.dtype, offset, value.strides))
            return indices[key]

        def compiled(call: Operation) -> tuple[Any, ...]:
            first, *more = map(index, call.operands)
            operands = itemgetter(first, *more) if more else itemgetter(slice(first, first + 1))
            return call.function, operands, None if call.out is None else index(call.out)

        self.sections = [[[compiled(call) for call in calls] for calls in parts] for parts in sections]
        gaps = {i for _, i, *_ in self.views if not args[i].flags.c_contiguous}
        self.buffers = {i: _buffer(args[i]) for i in gaps}
        self.size: int = sum(len(calls) for parts in sections for calls in parts)
        alone = [call for parts in sections if len(parts) == 1 for call in parts[0]]
        self.products: bool = any(call.function in blas.MATMULS for call in alone)

    def run(self, args: tuple[Any, ...]) -> None:
        """Make the calls on the parts of these arguments."""
        values, buffers = self.values.copy(), list(args)
        for i, buffer in self.buffers.items():
            buffers[i] = buffer(args[i])
        for index, i, shape, dtype, offset, strides in self.views:
            values[index] = np.ndarray(shape, dtype, buffers[i], offset, strides)
        for parts in self.sections:
            if len(parts) > 1:
                threads.run(functools.partial(_make, parts, values), len(parts))
                continue
            for function, operands, out in parts[0]:  # as in `_make`, without its frame
                if out is None:
                    function(*operands(values))
                else:
                    function(*operands(values), out=values[out])


def _make(parts: list[list[Any]], values: list[Any], slot: int) -> None:
    """The calls of one thread."""
    for function, operands, out in parts[slot]:
        if out is None:
            function(*operands(values))
        else:
            function(*operands(values), out=values[out])


def _source(array: Any, sources: dict[int, Any]) -> Any:
    """The number of an argument, `SCRATCH` or `CONSTANT`, by the array that this is a view of."""
    while id(array) not in sources:
        base = getattr(array, "base", None)
        if base is None:
            if isinstance(array, bytes) or (isinstance(array, np.ndarray) and not array.flags.writeable):
                return CONSTANT
            raise _NewArrayError
        array = base
    return sources[id(array)]


def _buffer(x: Array) -> Callable[[Array], Array]:
    """How to get from an array with such strides to one that NumPy takes as the buffer of others."""
    order = sorted(range(x.ndim), key=lambda axis: -x.strides[axis])
    if x.transpose(order).flags.c_contiguous:
        return methodcaller("transpose", order)
    upward = tuple([slice(None, None, -1 if s < 0 else 1) for s in x.strides])
    low, high = byte_bounds(x)  # with gaps between
    if (high - low) % x.itemsize:
        raise _NewArrayError
    return lambda x: as_strided(x[upward], ((high - low) // x.itemsize,), (x.itemsize,))
