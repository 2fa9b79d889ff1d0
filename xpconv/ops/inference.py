"""Inference plans of a chain of layers: see `kernels.numpy.inference`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .. import kernels
from ..backend import Array
from ..kernels.exact import is_exact
from ..kernels.recorders import this_thread

Step = Callable[[Array], Array]


def prepared_arrays(xp: Any) -> dict[Any, Array] | None:
    """An empty cache of arrays that depend only on parameters, for plans; None on backends without plans."""
    if xp.__name__ != "numpy":
        return None
    from ..kernels.numpy import memory

    found: dict[Any, Array] = memory.kept()
    return found


def plans(
    steps: list[Step], x: Array, constants: list[Array], prepared: dict[Any, Array]
) -> tuple[int, Step | None]:
    """How many of the first `steps` plans can run for images like `x (N, …)`, and the function that does.

    `constants` are the parameters and other arrays that the steps read.
    """
    from ..kernels.numpy import inference

    if x.dtype not in ("float32", "float64"):
        return 0, None
    count, one = inference.record(steps, x[:1], constants, prepared)
    if one is None or not _is_batch(steps[:count], x, one.output.shape):
        return 0, None
    return count, inference.Plans(steps[:count], constants, prepared, one, len(x) == 1)


def _is_batch(steps: list[Step], x: Array, shape: tuple[int, ...]) -> bool:
    """Whether the first axis is the batch, not the channels of one image: two images give two outputs."""
    y = x[[0, 0]]
    before, this_thread.tries = this_thread.tries, True  # a signal handler may run layers meanwhile
    try:
        for step in steps:
            y = step(y)
    except (TypeError, ValueError, Warning):  # the steps raise it again if it is true of `x`
        return False
    finally:
        this_thread.tries = before
    return bool(shape[:1] == (1,) and y.shape == (2, *shape[1:]))


def is_recording() -> bool:
    """Whether a plan is being recorded, or its steps are tried, in this thread."""
    return this_thread.recorder is not None or this_thread.tries


def setting() -> tuple[Any, ...]:
    """The settings that plans depend on."""
    return is_exact(), kernels.get_num_threads()
