"""For GPUs: steps recorded as a CUDA graph, copies while the GPU computes, and the precision of products."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from .arguments import shown, to_int
from .arrays import asarray
from .backend import Array, backend_of
from .data.prefetch import prefetch
from .errors import BackendError, DTypeError, ShapeError
from .kernels import graph
from .kernels.precision import allow_nondeterministic, allow_tf32, nondeterministic_allowed, tf32_allowed
from .layers.layer import Layer
from .parameter import Parameter
from .tape import observing, saving

__all__ = [
    "allow_nondeterministic",
    "allow_tf32",
    "capture",
    "nondeterministic_allowed",
    "prefetch",
    "tf32_allowed",
]


def capture(step: Callable[..., Any], *examples: Array, warmup: int = 3) -> Callable[..., Any]:
    """`step` as a function that a GPU runs from a recorded CUDA graph, without the host's work per kernel.

    In a training step of a small network, a GPU mostly waits for the host to launch its kernels. A recorded
    step is one launch: forward, loss, backward and update, or an inference.

        def step(x, y):
            loss = criterion(model(x), y)
            optimizer.zero_grad()
            model.backward(criterion.backward(), input_grad=False)
            optimizer.step()
            return loss

        fast = xpconv.cuda.capture(step, x, y)
        for x, y in batches:
            loss = fast(x, y)

    First it runs `step` on the examples `warmup` times. These are real steps, which update the parameters,
    compile the kernels and allocate the optimizer's buffers. The recording itself changes nothing. Every call
    then copies its inputs into those of the graph, launches the graph, and returns its outputs. The next call
    overwrites them, so copy outputs that you need later. A changed learning rate takes effect, and dropout
    draws a new mask in every call.

    A graph cannot hold: reading values on the host (`float(loss)`, `if`, boolean masks), copies from the
    host, matrix products other than those of the layers, LARS and LAMB, and inputs of other shapes. Other
    Python code runs only during the recording. The modes (`train`, `eval`) and settings of the layers are
    those at the recording. Do not use the model from another stream while the graph runs. After `model.to`,
    or a new optimizer, which move the parameters to other memory, and after freezing or thawing parameters,
    capture it again.

    On NumPy there is no graph: the same steps run one by one, warm-up included, so that a script gives the
    same results on both.

    Args:
        step: takes arrays, returns an array, a tuple of them or None.
        examples: arrays of the shapes, dtypes and backend that `step` is to take.
        warmup: how often to run `step` before the recording; at least 1.

    Raises:
        ValueError: no examples, or `warmup` below 1.
        RuntimeError: `step` does something that a graph cannot hold; the cause is chained. At a call,
            parameters or buffers are other arrays than in the recording, or one was frozen or thawed.
        ShapeError, DTypeError: at a call, inputs unlike the examples.

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
    if not examples:
        raise ValueError("capture: no examples; give arrays such as step takes: capture(step, x, y)")
    if not callable(step):
        raise TypeError(f"capture: step is {shown(step)}, expected a function of arrays")
    warmup = to_int("capture: warmup", warmup, 1)
    if warmup > 1000:
        raise ValueError(f"capture: warmup is {shown(warmup)}, expected a few steps, at most 1000")
    try:
        backend = backend_of(*examples)
    except BackendError as error:
        raise BackendError(f"capture: examples: {error}") from None
    if hasattr(backend.xp, "cuda"):
        return _Captured(backend, step, examples, warmup)
    return _Plain(backend, step, examples, warmup)


class _Plain:
    """A step that runs without a graph, as on NumPy; it checks the inputs."""

    def __init__(
        self, backend: Any, step: Callable[..., Any], examples: tuple[Array, ...], warmup: int
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
            if not hasattr(x, "shape") or not hasattr(x, "dtype"):
                raise TypeError(f"capture: input {i} is {shown(x)}, expected an array like the example")
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


class _Captured(_Plain):
    """A CUDA graph, the stream on which it runs, and the pool that has its memory."""

    def _begin(self, warmup: int) -> None:
        from .kernels.cupy.gemm import Products

        _empty_pools()
        cuda = self._backend.xp.cuda
        self._stream, self._pool = cuda.Stream(non_blocking=True), cuda.MemoryPool(_allocator(cuda))
        caller = cuda.get_current_stream()
        self._stream.wait_event(caller.record())
        try:
            with self._stream, cuda.using_allocator(self._pool.malloc):
                self._recording = graph.Recording(Products(self._backend.xp))
                super()._begin(warmup)  # from the pool too, which then has the memory for the recording
                self._stream.synchronize()
                self._record()
        finally:
            caller.wait_event(self._stream.record())

    def _record(self) -> None:
        token = graph.recording.set(self._recording)
        self._stream.begin_capture()
        layers: dict[int, Layer] = {}

        def note(layer: Any, forward: Callable[..., Any], inputs: tuple[Any, ...]) -> Any:
            if isinstance(layer, Layer):  # and no loss
                layers[id(layer)] = layer
                if layer._hooks is not None:
                    raise TypeError(
                        f"{type(layer).__name__} has hooks, which a replay would not call; remove them"
                    )
            return forward(*inputs)

        try:
            with observing(note):
                self._outputs = self._step(*self._inputs)
        except BaseException as cause:
            with suppress(self._backend.xp.cuda.runtime.CUDARuntimeError):  # the recording has failed
                self._stream.end_capture()
            for layer in layers.values():  # recorded operations have computed nothing
                layer.forget()
                layer.zero_grad()
            if not isinstance(cause, Exception):
                raise
            raise RuntimeError(
                f"capture: step failed while it was recorded ({type(cause).__name__}: {cause}). A CUDA graph "
                "cannot hold reading values on the host (float(loss), if, boolean masks), copies from the "
                "host, and matrix products other than the layers'; see xpconv.cuda.capture. The gradients of "
                "its layers are dropped"
            ) from cause
        finally:
            graph.recording.reset(token)
        self._graph = self._stream.end_capture()
        parameters = [
            p for layer in layers.values() for p in vars(layer).values() if isinstance(p, Parameter)
        ]
        trained = saving() and any(p.grad is not None for p in parameters)
        self._seen = [  # the graph has the addresses of these arrays, so they must stay
            (layer, owner, name, getattr(owner, name))
            for layer in layers.values()
            for owner, name in _recorded(layer, trained)
        ]

    def __call__(self, *inputs: Any) -> Any:
        given = self._checked(inputs)
        for layer, owner, name, array in self._seen:
            if getattr(owner, name) is not array:
                if name == "requires_grad":
                    done = "frozen" if array else "thawed"
                    raise RuntimeError(
                        f"capture: parameter {owner.name} of {type(layer).__name__} was {done} since the "
                        "recording; capture the step again"
                    )
                what = f"parameter {owner.name}" if name == "data" else name
                raise RuntimeError(
                    f"capture: {what} of {type(layer).__name__} is another array than in the recording, "
                    "since model.to, an assignment or a new optimizer; capture the step again"
                )
        caller = self._backend.xp.cuda.get_current_stream()
        self._stream.wait_event(caller.record())
        with self._stream:
            for own, x in zip(self._inputs, given, strict=True):
                own[...] = x
            for callback in self._recording.callbacks:
                callback()
            self._graph.launch(self._stream)
        caller.wait_event(self._stream.record())
        return self._outputs

    def __del__(self) -> None:
        if sys.is_finalizing():
            return
        pool, recording = (vars(self).get(name) for name in ("_pool", "_recording"))
        vars(self).clear()  # the graph and the arrays that it uses
        if recording is not None:
            recording.products.close()
            del recording
        if pool is not None:
            _pools.append(pool)
            _empty_pools()


def _recorded(layer: Layer, trained: bool) -> Iterator[tuple[Any, str]]:
    """The arrays and flags of a layer that a recording depends on, as pairs of an object and an attribute."""
    for value in vars(layer).values():
        if isinstance(value, Parameter):
            yield value, "data"
            if trained:
                yield value, "requires_grad"
    for name in layer.buffer_names:
        yield layer, name


_pools: list[Any] = []  # of deleted graphs: a CuPy pool holds its memory until it is freed explicitly


def _empty_pools() -> None:
    """Free the memory of deleted graphs that no array uses any more."""
    for pool in _pools[:]:
        pool.free_all_blocks()
        if not pool.total_bytes():
            _pools.remove(pool)


def _allocator(cuda: Any) -> Callable[[int], Any]:
    """The allocator of a pool. If memory runs out in a recording, the pool must not free blocks and retry."""

    def allocate(size: int) -> Any:
        try:
            return cuda.MemoryPointer(cuda.Memory(size), 0)
        except cuda.runtime.CUDARuntimeError as cause:
            if not graph.capturing():
                raise
            raise RuntimeError(f"no memory for {size} bytes in the graph; use a smaller batch") from cause

    return allocate
