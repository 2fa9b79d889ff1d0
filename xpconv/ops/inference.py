"""Inference plans of a chain of layers: see `kernels.engine.inference`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from .. import kernels
from ..backend import Array, get_xp, ignoring_float_errors
from ..dtypes import is_floating
from ..kernels.exact import is_exact
from ..kernels.recorders import this_thread

Step = Callable[[Array], Array]
Observing = Callable[[Callable[..., Any]], AbstractContextManager[None]]


def prepared_arrays(xp: Any) -> dict[Any, Array] | None:
    """An empty cache of arrays that depend only on parameters, for plans; None on backends without plans."""
    if xp.__name__ != "numpy":
        return None
    from ..kernels.engine import memory

    return memory.Cache()


def plans(
    steps: list[Step], x: Array, constants: list[Array], prepared: dict[Any, Array], observing: Observing
) -> tuple[int, Step | None]:
    """How many of the first `steps` plans can run for images like `x (N, …)`, and the function that does.

    `constants` are the parameters and other arrays that the steps read; within `observing(function)` each
    layer runs its forward as `function(layer, forward, inputs)`.
    """
    from ..kernels.engine import inference

    if x.dtype not in ("float32", "float64"):
        return 0, None
    count, one = inference.record(steps, x[:1], constants, prepared)
    if one is None:
        return 0, None
    kept, two, three = _together(steps[:count], x, observing)
    if 0 < kept < count:
        count, one = inference.record(steps[:kept], x[:1], constants, prepared)
    if one is None or count != kept or not inference.is_batch(one.output, two, three):
        return 0, None
    return count, inference.Plans(steps[:count], constants, prepared, one, len(x) == 1)


class _Watch:
    """An observer of layers that run for `n` images: whether each gives something for each image in turn.

    Outputs that depend on no image, and integers, such as shapes, may have any shape. (No kernel takes
    integers that depend on an image.)
    """

    def __init__(self, n: int) -> None:
        self.n, self.apart = n, True
        self.shapes: list[tuple[int, ...]] = []  # of what there is for an image
        self.others: dict[int, Any] = {}  # arrays that may have any shape, by id

    def __call__(self, layer: Any, forward: Callable[..., Any], inputs: tuple[Any, ...]) -> Any:
        y = forward(*inputs)
        if all(id(x) in self.others for x in inputs) or not is_floating(y.dtype):
            self.others[id(y)] = y
        else:
            self.apart = self.apart and y.shape[:1] == (self.n,)
            self.shapes.append(y.shape[1:])
        return y


@ignoring_float_errors  # the other image is made up, so its errors are not the caller's
def _together(steps: list[Step], x: Array, observing: Observing) -> tuple[int, Array, Array]:
    """How many of the first steps keep the images along the first axis, and their outputs for two and three.

    What moves, merges or splits that axis in a layer, be it within a step, gives an array whose first size is
    not the number of images: neither for two nor for three, unless the shape of an image happens to fit one
    of these. After such a layer a window may reach across images that are far from each other.
    """
    other = 1 - x[:1]
    three = get_xp(x).concatenate([other, x[:1], other])
    kept, outputs = 0, [three[1:], three]
    watches = _Watch(2), _Watch(3)
    before, this_thread.tries = this_thread.tries, True  # a signal handler may run layers meanwhile
    try:
        for step in steps:
            found = []
            for watch, y in zip(watches, outputs, strict=True):
                with observing(watch):
                    found.append(step(y))
            if not all(watch.apart for watch in watches) or watches[0].shapes != watches[1].shapes:
                break
            kept, outputs = kept + 1, found
    except (TypeError, ValueError, Warning):  # the step raises it again if it is true of `x`
        pass
    finally:
        this_thread.tries = before
    return kept, outputs[0], outputs[1]


def is_recording() -> bool:
    """Whether this thread is recording a plan, or trying its steps."""
    return this_thread.recorder is not None or this_thread.tries


def setting() -> tuple[Any, ...]:
    """The settings that plans depend on."""
    return is_exact(), kernels.get_num_threads()
