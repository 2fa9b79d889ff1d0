"""Inference plans of a chain of layers: see `kernels.engine.inference`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .. import kernels
from ..backend import Array, get_xp, ignoring_float_errors
from ..kernels.exact import is_exact
from ..kernels.recorders import this_thread

Step = Callable[[Array], Array]


def prepared_arrays(xp: Any) -> dict[Any, Array] | None:
    """An empty cache of arrays that depend only on parameters, for plans; None on backends without plans."""
    if xp.__name__ != "numpy":
        return None
    from ..kernels.engine import memory

    found: dict[Any, Array] = memory.kept()
    return found


def plans(
    steps: list[Step], x: Array, constants: list[Array], prepared: dict[Any, Array]
) -> tuple[int, Step | None]:
    """How many of the first `steps` plans can run for images like `x (N, …)`, and the function that does.

    `constants` are the parameters and other arrays that the steps read.
    """
    from ..kernels.engine import inference

    if x.dtype not in ("float32", "float64"):
        return 0, None
    count, one = inference.record(steps, x[:1], constants, prepared)
    if one is None:
        return 0, None
    y = _of_two(steps[:count], x)
    if y is None or not inference.is_batch(y, one.output):
        return 0, None
    return count, inference.Plans(steps[:count], constants, prepared, one, len(x) == 1)


@ignoring_float_errors  # the second image is made up, so its errors are not the caller's
def _of_two(steps: list[Step], x: Array) -> Any:
    """The output of the steps for the first image and another one; None if they refuse two images."""
    y = get_xp(x).concatenate([x[:1], 1 - x[:1]])
    before, this_thread.tries = this_thread.tries, True  # a signal handler may run layers meanwhile
    try:
        for step in steps:
            y = step(y)
    except (TypeError, ValueError, Warning):  # the steps raise it again if it is true of `x`
        return None
    finally:
        this_thread.tries = before
    return y


def is_recording() -> bool:
    """Whether this thread is recording a plan, or trying its steps."""
    return this_thread.recorder is not None or this_thread.tries


def setting() -> tuple[Any, ...]:
    """The settings that plans depend on."""
    return is_exact(), kernels.get_num_threads()
