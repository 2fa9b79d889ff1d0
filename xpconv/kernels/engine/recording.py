"""The recording of a chain of layers: the NumPy calls of its kernels, and the buffers that they use."""

from __future__ import annotations

import weakref
from bisect import bisect_left, insort
from collections.abc import Callable, Iterable
from functools import partial
from itertools import groupby
from math import inf, prod
from operator import itemgetter
from typing import Any

import numpy as np

from ...backend import Array
from ...geometry import Shape
from ...reports import Unheard, ignoring_float_warnings
from ..recorders import this_thread
from . import memory, threads
from .plans import Arena, Part
from .scratch import Fill, Scratch

Call = tuple[tuple[str, ...], Callable[[], Any]]  # names of errors that NumPy ignores meanwhile; the call
# How NumPy reports floating-point errors while calls are recorded: not at all, as the run of the plan, which
# follows, reports them in the caller's modes. A call made where an error is "ignore" is repeated so; those
# where only what was "log", which stands for "warn", is ignored are in `ignoring_float_warnings`.
REPORTS: Any = {"divide": "log", "over": "call", "under": "call", "invalid": "call", "call": Unheard()}


class ChainRecorder(Scratch):
    """Makes the calls of kernels, and lists them with operands that are views of the plan's buffers.

    Code that is no kernel gives no calls. Where a layer computes with it, an operand or the output is not in
    a buffer of the plan, or `repeats` finds another output.

    Args:
        constants: parameters and other arrays that calls may read.
        prepared: a cache of arrays that depend on parameters alone, shared by all plans of a chain but
            for those that are `wide`, which each plan has for itself.
    """

    def __init__(self, constants: Iterable[Array], prepared: dict[Any, Array]) -> None:
        self.slot: int = 0
        self.calls: list[Call] = []
        self.input: Array | None = None
        self.output: Array | None = None
        self.constants = {id(_owner(array)): array for array in constants}  # by their owners' ids
        self.prepared_arrays = prepared
        self.count: int = 0  # of all calls
        self.constant_bytes: int = 0  # of prepared arrays of this plan alone
        self.elements: float = 0.0  # as `threads.share` counts them
        self.memory: dict[int, tuple[Any, int, int]] = {}  # by id: memory, its address and size
        self._free: list[tuple[int, int]] = []  # sizes and ids
        self._gone: list[weakref.ref[Any]] = []
        self._alive: dict[int, tuple[weakref.ref[Any], int]] = {}
        # Scratch arrays of the present kernel, the largest last; other slots, which run meanwhile, get none.
        self._named: dict[Any, list[Array]] = {}
        self._framed: dict[Any, Array] = {}
        self.foreign: bool = False  # whether a call had an operand that is neither in a buffer nor a constant

    def run(self, kernel: Callable[..., Any], *arguments: Any) -> Any:
        """The result of a kernel. Its scratch arrays end with it."""
        try:
            return kernel(self, *arguments)
        finally:
            self._named.clear()

    def __call__(self, function: Callable[..., Any], *operands: Any, out: Array | None = None) -> None:
        named = {} if out is None else {"out": self.bound(out)}
        call = partial(function, *map(self.bound, operands), **named)
        call()
        ignored = tuple([name for name, mode in np.geterr().items() if mode == "ignore"])
        self.calls.append((ignored, call))
        self.count += 1

    def share(self, task: Callable[[Scratch, int], None], count: int, elements: float = inf) -> None:
        """Make the calls one after the other; a plan makes those of each slot in a thread."""
        if elements < inf:
            self.elements += elements
        slots = max(1, min(threads.share(elements), count))
        if slots == 1:
            for i in range(count):
                task(self, i)
            return
        calls, lists = self.calls, []
        try:
            for self.slot in range(slots):
                self.calls = []
                for i in range(count)[threads.part(self.slot, slots, count)]:
                    task(self, i)
                lists.append(joined(self.calls))
        finally:
            self.calls, self.slot = calls, 0
        calls.append(((), partial(threads.run, partial(_make, lists), slots)))

    def scratch(self, name: str, shape: Shape, dtype: Any) -> Array:
        arrays = self._named.setdefault((name, np.dtype(dtype), self.slot), [])
        if not arrays or arrays[-1].size < prod(shape):
            arrays.append(self.empty((prod(shape),), dtype))
        return arrays[-1][: prod(shape)].reshape(shape)

    def holds(self, source: Array) -> bool:
        return id(_owner(source)) in self.constants and is_frozen(source)

    def prepared(
        self, name: str, shape: Shape, dtype: Any, source: Array, fill: Fill, wide: bool = False
    ) -> Array:
        if not self.holds(source):
            return super().prepared(name, shape, dtype, source, fill, wide)
        key = name, shape, np.dtype(dtype), id(source)
        found = self.prepared_arrays.get(key)  # another thread may clear the cache
        if found is None:
            found = memory.aligned(shape, dtype)
            this_thread.recorder = None  # the scratch arrays of these calls are not the plan's
            unheard = Unheard()
            try:
                with np.errstate(call=unheard):
                    fill(Part(Arena(), 0, record=False), found)
            finally:
                this_thread.recorder = self
            if unheard.count:  # as with an infinite weight: each run reports it, as it does without a plan
                return super().prepared(name, shape, dtype, source, fill, wide)
            found.flags.writeable = False
            if wide:
                self.constant_bytes += found.nbytes
            else:
                self.prepared_arrays[key] = found
        self.constants[id(_owner(found))] = found
        return found

    def framed(self, name: str, shape: Shape, dtype: Any, inside: tuple[slice, ...], border: float) -> Array:
        key = name, shape, np.dtype(dtype), border, self.slot, *((p.start, p.stop) for p in inside)
        found = self._framed.get(key)
        if found is None:  # of no other use, before or after: the border stays
            found = self._framed[key] = self.empty(shape, dtype, alone=True)
            self.bound(found)[...] = border
        return found

    def empty(self, shape: Shape, dtype: Any, alone: bool = False) -> Array:
        """A new array in a buffer of the plan, which is free again with the array; or `alone` in one.

        It is read-only: only calls write to the buffer, through `bound`. What other code would write to it is
        in no call.
        """
        dtype = np.dtype(dtype)
        size = max(memory.LINE, -(-prod(shape) * dtype.itemsize // memory.LINE) * memory.LINE)
        self._settle()
        place = len(self._free) if alone else bisect_left(self._free, (size,))
        if place < len(self._free):
            _, number = self._free.pop(place)
        else:
            block = memory.aligned((size,), "uint8")
            number = id(block.base)
            self.memory[number] = block.base, memory.address(block), size
        array: Array = np.ndarray(shape, dtype, self.memory[number][0])
        array.flags.writeable = False
        reference = weakref.ref(array, self._gone.append)
        self._alive[id(reference)] = reference, number
        return array

    def owns(self, array: Any) -> bool:
        """Whether `array` is in a buffer of the plan."""
        return isinstance(array, np.ndarray) and id(_owner(array)) in self.memory

    def bound(self, value: Any) -> Any:
        """An operand as a call of the plan takes it."""
        if not isinstance(value, np.ndarray):
            return value
        owner = _owner(value)
        place = self.memory.get(id(owner))
        if place is not None:
            start, address, _ = place
            return np.ndarray(value.shape, value.dtype, start, memory.address(value) - address, value.strides)
        if id(owner) in self.constants or isinstance(owner, bytes):
            return value
        self.foreign = True
        return value

    def repeats(self, calls: list[Call], input: Array, output: Array) -> bool:
        """Whether `calls` compute `output` of `input` again, where all other buffers have other contents.

        And whether no array outside uses these, as that of a signal handler may that ran a layer meanwhile.
        """
        lasting = {id(_owner(array)) for array in (self.input, input, *self._framed.values())}
        self._settle()
        if any(number not in lasting and number != id(_owner(output)) for _, number in self._alive.values()):
            return False
        expected = output.tobytes()
        for number, (block, _, _) in self.memory.items():
            if number not in lasting:
                np.frombuffer(block, "uint8")[...] = 255  # NaN, in floats
        for _, call in calls:
            call()
        return bool(output.tobytes() == expected)

    def _settle(self) -> None:
        """List the buffers as free whose arrays are gone."""
        while self._gone:
            number = self._alive.pop(id(self._gone.pop()))[1]
            insort(self._free, (self.memory[number][2], number))


def joined(calls: list[Call]) -> list[Callable[[], Any]]:
    """The same calls, to be made as they are; those in a row that ignore the same errors are one."""
    found: list[Callable[[], Any]] = []
    for ignored, row in groupby(calls, itemgetter(0)):
        alike = [call for _, call in row]
        if not ignored:
            found += alike
            continue
        together = partial(_make, [alike], 0)
        if all(REPORTS[name] == "log" for name in ignored):
            found.append(ignoring_float_warnings(together))
        else:
            found.append(np.errstate(**dict.fromkeys(ignored, "ignore"))(together))  # type: ignore[arg-type]
    return found


def _make(lists: list[list[Callable[[], Any]]], slot: int) -> None:
    for call in lists[slot]:
        call()


def _owner(value: Any) -> Any:
    """What has the memory of an array."""
    while getattr(value, "base", None) is not None:
        value = value.base
    return value


def is_frozen(array: Array) -> bool:
    """Whether nothing can write to `array`: it is read-only, and its memory a `bytes` object.

    The parameters of a fused model are such arrays until they are trained. NumPy's unpickled ones have
    `bytes` as well, but are writable.
    """
    return not array.flags.writeable and isinstance(_owner(array), bytes)
