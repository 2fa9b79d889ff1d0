"""The arrays that a kernel asks for besides its arguments."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from operator import setitem
from typing import Any

import numpy as np

from ...backend import Array
from ...geometry import Shape
from . import memory


class Scratch:
    """What has scratch arrays, and makes calls with them."""

    def __call__(self, function: Callable[..., Any], *operands: Any, out: Array | None = None) -> None:
        """Make a call, whose result goes into one of its operands, or into `out`."""
        raise NotImplementedError

    def scratch(self, name: str, shape: Shape, dtype: Any) -> Array:
        """The array for `name`, of any content, until `name` is asked for again."""
        raise NotImplementedError

    def holds(self, source: Array) -> bool:
        """Whether what is `prepared` of `source` need not be computed again."""
        return False

    def prepared(
        self, name: str, shape: Shape, dtype: Any, source: Array, fill: Fill, wide: bool = False
    ) -> Array:
        """An array that `fill(do, array)` computes from `source`, a parameter, alone.

        One that is `wide` has the size of a row of the image, so that other images need others.
        """
        array = self.scratch(name, shape, dtype)
        fill(self, array)
        return array

    def framed(self, name: str, shape: Shape, dtype: Any, inside: tuple[slice, ...], border: float) -> Array:
        """A scratch array `(n, *S, C)` with the value `border` outside of `inside`, and there any content."""
        array = self.scratch(name, shape, dtype)
        for axis, part in enumerate(inside[1:], start=1):
            for outside in (slice(0, part.start), slice(part.stop, None)):
                self(setitem, array[(slice(None),) * axis + (outside,)], ..., border)
        return array


Fill = Callable[[Scratch, Array], None]


class ScratchMemory:
    """Memory for the scratch arrays of one kernel at a time: a block of bytes for each slot."""

    def __init__(self) -> None:
        self.blocks: dict[int, Array] = {}  # by slot
        self.named: dict[Any, Array] = {}  # the present kernel's arrays, by name, dtype and slot
        self.ends: dict[int, int] = {}  # of these arrays in the blocks, if there were room

    def scratch(self, name: str, shape: Shape, dtype: Any, slot: int) -> Array:
        """An array of any content, valid until the same name and slot are asked for again."""
        dtype = np.dtype(dtype)
        size = prod(shape) * dtype.itemsize
        key = name, dtype, slot
        part = self.named.get(key)
        if part is None or part.size < size:
            part = self.named[key] = self._place(size, slot)
        return np.ndarray(shape, dtype, part)

    def _place(self, size: int, slot: int) -> Array:
        """The next bytes of a block, or, until `grow`, an array of its own where that is full."""
        start = self.ends.get(slot, 0)
        self.ends[slot] = start + -(-size // memory.LINE) * memory.LINE
        block = self.blocks.get(slot)
        if block is None or block.size < start + size:
            return memory.aligned((size,), "uint8")
        return block[start : start + size]

    def grow(self) -> bool:
        """After a kernel: make the blocks as large as it needs; True if they were not."""
        small = {k: end for k, end in self.ends.items() if k not in self.blocks or self.blocks[k].size < end}
        self.named.clear()
        self.ends.clear()
        for slot, end in small.items():
            self.blocks.pop(slot, None)
            self.blocks[slot] = memory.aligned((end,), "uint8")
        return bool(small)
