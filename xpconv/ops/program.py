"""A chain of layers for inference as one function: see `kernels.numpy.program`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..backend import Array
from ..kernels import get_num_threads
from ..kernels.exact import is_exact


def empty_program(xp: Any, shape: tuple[int, ...], dtype: Any) -> Any:
    """An empty program for images `(n, C, H, W)`, or None where there are none."""
    if xp.__name__ != "numpy":
        return None
    from ..kernels.numpy import program

    return program.empty_program(xp, shape, dtype)


def empty_weights(xp: Any) -> dict[Any, Array]:
    """An empty cache of reordered weights, shared by all programs of a chain."""
    if xp.__name__ != "numpy":
        return {}
    from ..kernels.numpy import program

    return program.empty_weights(xp)


def programs(
    xp: Any, build: Callable[[Any], Any], shape: tuple[int, ...], dtype: Any, weights: dict[Any, Array]
) -> Any:
    """`y = f(x)` for any number of images `(C, H, W)`, of what `build` adds to an empty program."""
    if xp.__name__ != "numpy":
        return None
    from ..kernels.numpy import program

    return program.programs(xp, build, shape, dtype, weights)


def setting() -> tuple[Any, ...]:
    """What programs depend on besides shapes."""
    return is_exact(), get_num_threads()
