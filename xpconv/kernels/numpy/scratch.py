"""The arrays that a kernel asks for besides its arguments."""

from __future__ import annotations

from collections.abc import Callable
from operator import setitem
from typing import Any

from ...backend import Array


class Scratch:
    """What has scratch arrays, and makes calls with them."""

    def __call__(self, function: Callable[..., Any], *operands: Any, **options: Any) -> None:
        """Make a call, whose result goes into one of its operands."""
        raise NotImplementedError

    def scratch(self, name: str, shape: tuple[int, ...], dtype: Any) -> Array:
        """The array for `name`, of any content, until `name` is asked for again."""
        raise NotImplementedError

    def holds(self, source: Array) -> bool:
        """Whether what is `prepared` of `source` need not be computed again."""
        return False

    def prepared(
        self, name: str, shape: tuple[int, ...], dtype: Any, source: Array, fill: Fill, wide: bool = False
    ) -> Array:
        """An array that `fill(do, array)` computes from `source`, a parameter, alone.

        One that is `wide` has the size of a row of the image, so that other images need others.
        """
        array = self.scratch(name, shape, dtype)
        fill(self, array)
        return array

    def framed(
        self, name: str, shape: tuple[int, ...], dtype: Any, inside: tuple[slice, ...], border: float
    ) -> Array:
        """A scratch array `(n, *S, C)` with the value `border` outside of `inside`, and there any content."""
        array = self.scratch(name, shape, dtype)
        for axis, part in enumerate(inside[1:], start=1):
            for outside in (slice(0, part.start), slice(part.stop, None)):
                self(setitem, array[(slice(None),) * axis + (outside,)], ..., border)
        return array


Fill = Callable[[Scratch, Array], None]
