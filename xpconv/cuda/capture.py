"""`capture`: record a function, such as a training step, as a CUDA graph."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any

from ..arguments import shown, to_int
from ..arrays import asarray
from ..backend import Array, Backend, backend_of
from ..errors import BackendError, DTypeError, ShapeError
from ..kernels.graph import capturing
from ..ops.graphs import recorder
from .recordings import Noted, Recordings, Stale

__all__ = ["capture"]

MOST_KINDS = 8  # combinations of shapes and dtypes for which a step without examples keeps recordings


def capture(step: Callable[..., Any], *examples: Array, warmup: int = 3) -> Callable[..., Any]:
    """Record `step` as a CUDA graph; return a function that launches it, without the host's work per kernel.

    In a training step of a small network, a GPU mostly waits for the host to launch its kernels. A recorded
    step, with forward, loss, backward and update, or an inference, is a single launch.

        def step(x, y):
            loss = criterion(model(x), y)
            optimizer.zero_grad()
            model.backward(criterion.backward(), input_grad=False)
            optimizer.step()
            return loss

        fast = xpconv.cuda.capture(step, x, y)
        for x, y in batches:
            loss = fast(x, y)

    First, `capture` runs `step` on the examples `warmup` times. These are real steps, which update the
    parameters, compile the kernels and allocate the optimizer's buffers. The recording itself changes no
    values. Each call of the returned function copies its inputs into the graph's memory, launches the graph,
    and returns the graph's outputs. The next call overwrites these outputs and the gradients, so copy what
    you need later. A changed learning rate takes effect, and dropout draws a new mask in every call.
    Gradients accumulate exactly as without a graph. If a parameter had a gradient during the recording and
    has none at a call, or the reverse, that call runs without a graph, and the next call in the same
    situation is recorded as well.

    Without examples, inputs may have any shapes and dtypes. For each combination of shapes and dtypes, the
    first `warmup` calls run without a graph and the next one is recorded. It is recorded again after `train`,
    `eval`, `model.to` and similar changes. The recordings for the eight combinations that were used last are
    kept.

    A CUDA graph cannot contain code that reads values on the host (`float(loss)`, `if`, boolean masks),
    copies from the host, or matrix products other than those of the layers. Other Python code runs only
    during the recording. Do not use the model from another stream while the graph runs. With examples,
    inputs of other shapes are errors, and the modes (`train`, `eval`) and settings of the layers stay those
    of the recording. Capture such a step again after `model.to` or a new optimizer, which move the
    parameters to other memory, and after freezing or unfreezing parameters.

    On NumPy there is no graph: the same steps run one by one, including the warm-up, so that a script gives
    the same results on both backends.

    Args:
        step: a function that takes arrays and returns an array, a tuple of arrays, or None.
        examples: arrays with the shapes, dtypes and backend that `step` is to take.
        warmup: how often to run `step` before the recording; 1 to 1000.

    Raises:
        TypeError: `step` is not a function, or an example or input is not an array.
        ValueError: `warmup` is below 1 or above 1000.
        BackendError: (a TypeError) the arrays are of several backends.
        RuntimeError: `step` does something that a CUDA graph cannot contain (the cause is chained, and the
            gradients are as before); or, at a call of a step with examples, the model has other arrays than
            in the recording, or a parameter was frozen or unfrozen.
        ShapeError, DTypeError: at a call, an input has another shape or dtype than its example.

    Example:
        >>> import numpy as np, xpconv
        >>> model = xpconv.Dense(3, 2, rng=0)
        >>> fast = xpconv.cuda.capture(lambda x: model(x), np.zeros((4, 3), "float32"), warmup=1)
        >>> fast(np.zeros((4, 3), "float32")).shape
        (4, 2)
        >>> fast(np.zeros((5, 3), "float32"))
        Traceback (most recent call last):
        xpconv.errors.ShapeError: capture: input 0 has shape (5, 3), expected (4, 3), the example's
    """
    if not callable(step):
        raise TypeError(f"capture: step is {shown(step)}, expected a function of arrays")
    warmup = to_int("capture: warmup", warmup, 1)
    if warmup > 1000:
        raise ValueError(f"capture: warmup is {shown(warmup)}, expected a few steps, at most 1000")
    if not examples:
        return _ByShape(step, warmup)
    backend = _backend_of("examples", examples)
    if capturing():
        raise RuntimeError("capture: called by a step that is being recorded; capture before it, or after")
    if hasattr(backend.xp, "cuda"):
        return _Captured(backend, step, examples, warmup)
    return _Plain(backend, step, examples, warmup)


def _backend_of(what: str, arrays: Sequence[Any]) -> Backend:
    try:
        return backend_of(*arrays)
    except BackendError as error:
        raise BackendError(f"capture: {what}: {error}") from None


class _Plain:
    """A step with examples on NumPy: it checks the inputs and runs without a graph."""

    def __init__(
        self, backend: Backend, step: Callable[..., Any], examples: tuple[Array, ...], warmup: int
    ) -> None:
        self._backend, self._step = backend, step
        self._inputs = [x.copy() for x in examples]
        self._begin(warmup)

    def _begin(self, warmup: int) -> None:
        for _ in range(warmup):
            self._step(*self._inputs)

    def __call__(self, *inputs: Any) -> Any:
        return self._step(*self._checked(inputs))

    def _checked(self, inputs: tuple[Any, ...]) -> list[Array]:
        if len(inputs) != len(self._inputs):
            raise ShapeError(f"capture: got {len(inputs)} inputs, expected {len(self._inputs)}, as examples")
        for i, (x, example) in enumerate(zip(inputs, self._inputs, strict=True)):
            _check_array(i, x)
            if tuple(x.shape) != example.shape:
                raise ShapeError(
                    f"capture: input {i} has shape {tuple(x.shape)}, expected {example.shape}, the example's"
                )
            if x.dtype != example.dtype:
                raise DTypeError(
                    f"capture: input {i} is {x.dtype}, expected {example.dtype}, the example's; "
                    f"use x.astype('{example.dtype}')"
                )
        return [asarray(x, backend=self._backend.name) for x in inputs]


def _check_array(i: int, x: Any) -> None:
    if not hasattr(x, "shape") or not hasattr(x, "dtype"):
        raise TypeError(f"capture: input {i} is {shown(x)}, expected an array like the example")


class _Captured(_Plain):
    """A step with examples on a GPU: it launches a CUDA graph for inputs like the examples."""

    def _begin(self, warmup: int) -> None:
        noted, self._recorder = Noted(), recorder(self._backend.xp)
        self._recordings = Recordings(self._recorder, self._step, self._inputs, noted, modes=False)
        with self._recorder.active():
            for _ in range(warmup):  # within `active`, so that the pool has the memory for the recording
                noted.run(self._step, self._inputs)
            self._recordings.record()

    def __call__(self, *inputs: Any) -> Any:
        given = self._checked(inputs)
        self._recordings.check()
        return self._recordings.run(given)


class _ByShape:
    """A step without examples: it has CUDA graphs for each combination of shapes and dtypes of its inputs."""

    def __init__(self, step: Callable[..., Any], warmup: int) -> None:
        self._step, self._warmup, self._noted = step, warmup, Noted()
        self._recorders: dict[Hashable, Any] = {}  # for each device
        self._known: dict[Hashable, int | Recordings] = {}  # number of calls so far, then the recordings

    def __call__(self, *inputs: Any) -> Any:
        for i, x in enumerate(inputs):
            _check_array(i, x)
        backend = _backend_of("inputs", inputs)
        if not hasattr(backend.xp, "cuda") or capturing():
            return self._step(*inputs)
        place = backend.name, backend.xp.cuda.Device().id
        key = place, *((tuple(x.shape), str(x.dtype)) for x in inputs)
        found = self._known.pop(key, 0)
        try:
            if isinstance(found, int):
                if found < self._warmup:
                    found += 1
                    return self._noted.run(self._step, inputs)
                found = self._recordings(place, backend, inputs)
            try:
                return found.run(inputs)
            except Stale:  # raised before anything has run
                found = 1
                return self._noted.run(self._step, inputs)
        finally:
            self._known[key] = found
            if len(self._known) > MOST_KINDS:
                del self._known[next(iter(self._known))]

    def _recordings(self, place: Hashable, backend: Backend, inputs: tuple[Array, ...]) -> Recordings:
        if place not in self._recorders:
            self._recorders[place] = recorder(backend.xp)
        maker = self._recorders[place]
        with maker.active():
            own = [x.copy() for x in inputs]
        found = Recordings(maker, self._step, own, self._noted, modes=True)
        found.record()
        return found
