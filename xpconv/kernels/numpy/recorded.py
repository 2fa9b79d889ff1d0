"""Kernels whose NumPy calls are made again, without the Python between.

A training step works on the same memory as the step before it, as `memory.empty` finds the same places again.
So what a kernel does to arrays at the same addresses, of the same shapes, is the same list of NumPy calls on
the same views: at its second time it is recorded, from then on repeated. Python takes a tenth to a half of a
kernel's time, and while it runs no other thread has the interpreter lock: on two threads kernels take 0.6 to
0.9 of the time so.

A recorded kernel gets a `Work` before its arguments, and does everything to arrays by calling it: into its
arguments and scratch arrays, never into a new one. What it decides does not depend on what is in the arrays.
It returns nothing or a scratch array.
"""

from __future__ import annotations

import ctypes
import functools
import inspect
import itertools
import math
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from ...backend import Array
from . import memory, threads

Call = Callable[[], Any]
Do = Callable[..., None]

MOST_CALLS = 50_000  # to keep, for each thread that kernels are called from; some 600 bytes each
MOST_SEEN = 4096
NEVER = math.inf
COPIED = 1 << 20  # bytes up to which a copy is worth it

_local = threading.local()
_clock = itertools.count()


class Part:
    """What one thread does of a kernel: it makes calls, whose results go into one of their operands.

    Its scratch arrays are those of the thread that the kernel was called from.
    """

    def __init__(self, slot: int, buffers: memory.Kept, calls: list[partial[Any]] | None) -> None:
        self.slot, self.buffers, self.calls = slot, buffers, calls

    def __call__(self, function: Callable[..., Any], *operands: Any, **options: Any) -> None:
        function(*operands, **options)
        if self.calls is not None:
            self.calls.append(partial(function, *operands, **options))

    def scratch(self, name: str, shape: tuple[int, ...], dtype: Any) -> Array:
        """This part's array for `name`, of any content, until `name` is asked for again."""
        return memory.scratch(name, shape, dtype, self.slot, self.buffers)


class Work(Part):
    """A kernel's calls: its own, one after the other, and those that threads share."""

    def __init__(self, record: bool) -> None:
        super().__init__(0, memory.scratches(), [] if record else None)
        self.sections: list[list[list[partial[Any]]]] = []

    def share(self, task: Callable[[Part, int], None], count: int, elements: float = math.inf) -> None:
        """`task(part, i)` for every i below `count`, on as many threads as so many elements are worth."""
        slots = max(1, min(threads.share(elements), count))
        record = self.calls is not None
        parts = [Part(slot, self.buffers, [] if record else None) for slot in range(slots)]

        def run(slot: int) -> None:
            for i in range(slot * count // slots, (slot + 1) * count // slots):
                task(parts[slot], i)

        threads.run(run, slots)
        if record:
            self._end_section()
            self.sections.append([part.calls for part in parts])  # type: ignore[misc]

    def record(self, result: Any) -> Record | None:
        """All calls, when they have been made; None if one has an operand that Python made between two."""
        self._end_section()
        operands = [
            value
            for parts in self.sections
            for calls in parts
            for call in calls
            for value in (*call.args, *call.keywords.values())
        ]
        return Record(self.sections, result) if all(map(_lasts, (*operands, result))) else None

    def _end_section(self) -> None:
        if self.calls:
            self.sections.append([self.calls])
            self.calls = []


class Record:
    """The calls of a kernel, and the scratch array that holds its result."""

    def __init__(self, sections: list[list[list[partial[Any]]]], result: Any) -> None:
        self.sections, self.result = sections, result
        self.size = sum(len(calls) for parts in sections for calls in parts)
        alone = [call for parts in sections if len(parts) == 1 for call in parts[0]]
        self.products = any(call.func is np.matmul for call in alone)
        self.used = 0

    def repeat(self) -> Any:
        if self.products:
            threads.one_blas_thread(self._repeat)
        else:
            self._repeat()
        return self.result

    def _repeat(self) -> None:
        for parts in self.sections:
            if len(parts) == 1:
                for call in parts[0]:
                    call()
            else:
                threads.run(partial(_make, parts), len(parts))


def _lasts(value: Any) -> bool:
    """Whether it is no array, or one in lasting memory, or a constant; not a new array, or a view of one."""
    if not isinstance(value, np.ndarray):
        return True
    while getattr(value, "base", None) is not None:
        value = value.base
    return not isinstance(value, np.ndarray) or not value.flags.writeable


def _make(parts: list[list[partial[Any]]], slot: int) -> None:
    for call in parts[slot]:
        call()


def recorded(kernel: Callable[..., Any]) -> Callable[..., Any]:
    """A kernel that repeats its calls where it has seen all its arguments twice before.

    A record holds none of the arguments, only scratch arrays: whoever calls the kernel again has arrays at
    the same addresses. A small `x` or `grad` that is not from `memory.empty`, such as a loader's batch, is
    at another address every time: of it the kernel gets a copy.
    """
    _, *names = inspect.signature(kernel).parameters
    copied = [i for i, name in enumerate(names) if name in ("x", "grad")]
    written = [i for i, name in enumerate(names) if name in ("y", "dx", "winner")]

    @functools.wraps(kernel)
    def run(*args: Any) -> Any:
        for i in written:
            if args[i] is not None and args[i].nbytes < memory.SMALL:
                return _once(kernel, args)
        records, seen = memory.scratches().records, _seen()
        key = (kernel, threads.get_num_threads(), *map(_identity, args))
        record = records.get(key)
        if record is None:
            given = args
            args = tuple(_copy(i, a) if i in copied else a for i, a in enumerate(args))
            if any(a is not b for a, b in zip(args, given, strict=True)):
                key = (*key[:2], *map(_identity, args))
                record = records.get(key)
        now = next(_clock)
        if record is not None:
            record.used = now
            return record.repeat()
        before = seen.get(key, NEVER)
        if before is NEVER or not _room(records, before):
            if len(seen) >= MOST_SEEN:
                seen.clear()
            seen[key] = NEVER if key in seen and before is NEVER else now
            return _once(kernel, args)
        work = Work(record=True)
        aliases = [_alias(a) if isinstance(a, np.ndarray) else a for a in args]
        result = threads.one_blas_thread(kernel, work, *aliases)
        record = work.record(result)
        seen[key] = NEVER
        if record is not None:
            del seen[key]
            record.used = now
            records[key] = record
        return result

    return run


def _seen() -> dict[Any, float]:
    """When this thread saw what there is no record of."""
    try:
        seen: dict[Any, float] = _local.seen
    except AttributeError:
        seen = _local.seen = {}
    return seen


def _once(kernel: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    return threads.one_blas_thread(kernel, Work(record=False), *args)


def _copy(place: int, value: Array) -> Array:
    """Itself, if it is `empty`'s or large, else a copy in a scratch array: with its axes in the same order.

    Images with gaps between are copied channels-last.
    """
    if value.nbytes > COPIED or memory.is_placed(value):
        return value
    order = sorted(range(value.ndim), key=lambda axis: -value.strides[axis])
    if value.ndim > 2 and not value.transpose(order).flags.c_contiguous:
        order = [0, *range(2, value.ndim), 1]
    copy = memory.scratch(f"given {place}", tuple(value.shape[axis] for axis in order), value.dtype)
    copy = copy.transpose(sorted(range(value.ndim), key=order.__getitem__))
    np.copyto(copy, value)
    return copy


def _identity(value: Any) -> Any:
    """What tells an argument from others."""
    if isinstance(value, np.ndarray):
        return _address(value), value.shape, value.strides, value.dtype
    return value


def _told_address(x: Array) -> int:
    """Where its first element is."""
    address: int = x.__array_interface__["data"][0]
    return address


def _read_address(x: Array) -> int | None:
    """The same in a seventh of the time: in NumPy's C ABI the pointer follows an object's header."""
    return ctypes.c_void_p.from_address(id(x) + object.__basicsize__).value


_sample = np.zeros(3)[1:]
_address = _read_address if _read_address(_sample) == _told_address(_sample) else _told_address


def _alias(x: Array) -> Array:
    """Another array at the same address, which keeps nothing alive."""
    start = _told_address(x)
    reach = [stride * (n - 1) for stride, n in zip(x.strides, x.shape, strict=True)] if x.size else []
    first = start + sum(r for r in reach if r < 0)
    size = start + sum(r for r in reach if r > 0) + x.itemsize - first if x.size else 0
    memory: Any = (ctypes.c_char * size).from_address(first)
    return np.ndarray(x.shape, x.dtype, memory, start - first, x.strides)


def _room(records: memory.Kept, since: float) -> bool:
    """Make room for a record, by dropping those that were not used `since` then."""
    known = list(records.items())  # at once: another thread may clear them
    if sum(record.size for _, record in known) < MOST_CALLS:
        return True
    stale = [key for key, record in known if record.used < since]
    for key in stale:
        records.pop(key, None)
    return bool(stale)
