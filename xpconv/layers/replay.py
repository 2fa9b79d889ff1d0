"""Forward and backward of a model as CUDA graphs, which `graphed` models launch.

There is a recording for each key: shapes, modes, frozen parameters and so on. The first call with a key runs
without a graph, and the second is recorded. It and later ones copy the inputs into the graph's memory, launch
the graph, and copy the output out of it. What forward saves for backward stays in the graph's memory. So
while the backward of a forward has not been called yet, the next forward uses another recording, or no graph.
Calls that a graph cannot represent run without one: those under an observer or with hooks, calls within other
calls, and `record`.
"""

from __future__ import annotations

import threading
import warnings
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from ..backend import Array, backend_of
from ..errors import BackendError
from ..ops import graphs as ops
from ..ops.shape import copy
from ..parameter import Parameter, _set_grad, collected
from ..random import global_source
from ..tape import Tape, _each_array, current, is_separate, observer, save_mode
from .replay_gradients import Collected
from .replay_snapshot import Snapshot

MOST = 8  # largest number of recorded forwards of a model
MOST_BACKWARDS = 4  # largest number of recorded backwards of each forward
MOST_KINDS = 64  # largest number of keys whose calls are counted
IN_FLIGHT = 2  # recordings with the same key, for forwards whose backward has not been called yet
PATIENCE = 1024  # largest number of calls before one is recorded


@contextmanager
def replaying(model: Any, replays: Replays | None = None) -> Iterator[None]:
    """Within this block, forwards of `model` under `no_grad` run as CUDA graphs on a GPU.

    `replays` holds the graphs of earlier blocks. A model that is graphed, also within the block, stays so.
    """
    if model._replays is not None:
        yield
        return
    own = vars(model)["_replays"] = replays or for_inference()
    try:
        yield
    finally:
        if vars(model).get("_replays") is own:
            del vars(model)["_replays"]


def for_inference() -> Replays:
    """Those of a model that `graphed` was not called with."""
    return Replays(training=False, reports=False)


class Replays:
    """The graphs of one model.

    Args:
        training: whether to record forwards that save for a backward, and not only those under `no_grad`.
        reports: whether to warn when something cannot be recorded.
    """

    def __init__(self, training: bool = True, reports: bool = True) -> None:
        self._options = training, reports
        self._lock = threading.RLock()
        self._recorders: dict[int, Any] = {}  # by the number of the device
        self._model: Any = None  # the `Snapshot` of the model
        self._patience = 1
        self._waiting: dict[int, Any] = {}  # by thread: the key of the call that runs without a graph
        self._known: dict[Any, Any] = {}  # by key: the number of calls, the `_Forward`, or None

    def replay_training(self) -> None:
        """From now on also replay forwards that save for a backward."""
        self._options = True, self._options[1]

    def __reduce__(self) -> Any:
        return Replays, self._options  # a copy of the model has other layers

    def forward(self, model: Any, function: Callable[..., Any], inputs: tuple[Any, ...], users: bool) -> Any:
        """The output of `model` for `inputs`; NotImplemented if the caller must run it without a graph."""
        save = save_mode.get()
        if (
            (save and not self._options[0]) or not inputs or isinstance(function, partial)
            or observer.get() is not None or ops.capturing() or is_separate.get()
        ):  # fmt: skip
            return NotImplemented
        try:
            backend = backend_of(*inputs)
        except BackendError:
            return NotImplemented
        device = getattr(backend.xp, "cuda", None)
        if device is None or not all(type(x) is backend.array_type for x in inputs):
            return NotImplemented
        number = device.Device().id
        if any(x.data.device_id != number for x in inputs):
            return NotImplemented
        with self._lock:
            snapshot = self._look(model)
            if snapshot.is_special():
                return NotImplemented
            kinds = tuple([(x.shape, x.strides, x.dtype) for x in inputs])
            key = save, number, threading.get_ident(), ops.setting(), *snapshot.state(), kinds
            found = self._find(key)
            if found is None:
                return NotImplemented
            if isinstance(found, tuple):
                found = self._record(found, model, function, inputs, users, number, backend.xp)
                if found is None:
                    return NotImplemented
            return found.run(inputs)

    def _look(self, model: Any) -> Any:
        """The snapshot of the model; if it has changed, the recordings are dropped."""
        found = self._model
        if found is None or not found.is_current():
            found = self._model = Snapshot(model)
            self._drop(lambda known: True)
        return found

    def _drop(self, which: Callable[[Any], bool]) -> None:
        """Drop recordings and counts. Each time, the number of calls before a new recording doubles."""
        gone = [key for key, known in self._known.items() if which(known)]
        if any(isinstance(self._known[key], _Forward) for key in gone):
            self._patience = min(2 * self._patience, PATIENCE)
        for key in gone:
            del self._known[key]

    def ran(self) -> None:
        """Count the call that ran without a graph, after it has ended without an error."""
        with self._lock:
            key = self._waiting.pop(threading.get_ident(), None)
            if key is not None and isinstance(self._known.get(key, 0), int):
                self._known[key] = self._known.pop(key, 0) + 1
                if len(self._known) > MOST_KINDS:
                    del self._known[next(iter(self._known))]

    def _find(self, key: Any) -> Any:
        """The recording for a call; the key under which to make one now; or None, to run without a graph."""
        for slot in range(IN_FLIGHT):
            one = (*key, slot)
            known = self._known.get(one, 0)
            if isinstance(known, _Forward) and not known.draws_alike():
                known = self._known[one] = 0
            if isinstance(known, int):
                if known >= self._patience:
                    return one
                self._waiting[threading.get_ident()] = one
                return None
            if known is None or not known.is_pending():
                self._known[one] = self._known.pop(one)  # the latest
                return known
        return None

    def _record(
        self,
        key: Any,
        model: Any,
        function: Any,
        inputs: tuple[Array, ...],
        users: bool,
        number: int,
        xp: Any,
    ) -> _Forward | None:
        """A new recording, or None if it fails."""
        if number not in self._recorders:
            self._recorders[number] = ops.recorder(xp)
        made = [known for known in self._known.values() if isinstance(known, _Forward)]
        if len(made) >= MOST:
            self._drop_one(made[0])
        try:
            found = _Forward(self, self._recorders[number], model, function, inputs, users)
        except Exception as error:  # noqa: BLE001  # whatever it is, the same call without a graph raised none
            self._known[key] = None
            self.report(f"the forward of {type(model).__name__}", error)
            return None
        self._known[key] = found
        return found

    def _drop_one(self, old: _Forward) -> None:
        key = next(key for key, known in self._known.items() if known is old)
        del self._known[key]

    def report(self, what: str, error: Exception) -> None:
        """Warn that `what` could not be recorded."""
        if self._options[1]:
            warnings.warn(
                f"graphed: {what} runs without a CUDA graph, as it cannot be recorded "
                f"({type(error).__name__}: {error}); see xpconv.cuda.graphed",
                RuntimeWarning,
                stacklevel=6,
            )

    def is_current(self, snapshot: Snapshot) -> bool:
        """Whether the model is still as in `snapshot`, without hooks, which a replay would not call."""
        return snapshot is self._model and snapshot.is_current() and not snapshot.is_special()


class _Forward:
    """The recording of a forward, and those of its backwards."""

    def __init__(
        self,
        replays: Replays,
        recorder: Any,
        model: Any,
        function: Any,
        inputs: tuple[Array, ...],
        users: bool,
    ) -> None:
        self._replays, self._recorder = weakref.ref(replays), recorder
        self._model: Any = weakref.ref(model)
        self._snapshot: Any = replays._model
        with recorder.active():
            self._inputs = tuple(map(copy, inputs))
            self._graph, self._output = recorder.record(
                partial(model._outermost, function, self._inputs, users)
            )
        self._entries = model._finished().pop().entries if save_mode.get() else None
        self._draws = list(self._snapshot.draws())
        self._pending: Any = lambda: None  # a reference to the tape of the latest replay
        self._backwards: dict[Any, Any] = {}  # `_RAN` after the first, then the `_Backward`, or 'failed'

    def draws_alike(self) -> bool:
        """Whether random numbers are drawn from the same generators and counters as in the recording."""
        return all(
            (layer._source or global_source()) is source
            and all(source.counters.get(name) is counter for name, counter in counters.items())
            for layer, source, counters in self._draws
        )

    def is_pending(self) -> bool:
        """Whether what the latest replay has saved is still needed."""
        return self._pending() is not None

    def run(self, inputs: tuple[Array, ...]) -> Any:
        """Launch the graph; return a copy of the output, and put a tape with what it saved on the model."""
        self._recorder.follow()
        for own, x in zip(self._inputs, inputs, strict=True):
            own[...] = x
        self._recorder.launch(self._graph)
        y = _each_array(copy, self._output)
        if self._entries is not None:
            tape = Tape()
            tape.entries, tape.replay = list(self._entries), self.backward
            self._pending = weakref.ref(tape)
            self._model()._finish(tape)
        return y

    def backward(
        self, function: Callable[..., Any], args: tuple[Any, ...], named: dict[str, Any], users: bool
    ) -> Any:
        """Launch the backward's graph; NotImplemented if the caller must run `function` without a graph."""
        replays, snapshot = self._replays(), self._snapshot
        given = dict(zip(("grad_output", "input_grad"), args, strict=False)) | named
        grad, input_grad = given.pop("grad_output"), given.pop("input_grad", True)
        if replays is None or observer.get() is not None or ops.capturing() or given:
            return NotImplemented
        if not hasattr(grad, "strides"):  # several outputs
            return NotImplemented
        with replays._lock:
            if not replays.is_current(snapshot):
                return NotImplemented
            key = input_grad, grad.strides, ops.setting(), *snapshot.state()
            found = self._backwards.pop(key, None)
            if found is None and len(self._backwards) < MOST_BACKWARDS:
                found = _RAN
            elif found is _RAN:
                found = self._record(replays, function, users, grad, input_grad)
            if found is not None:
                self._backwards[key] = found
            return found.run(grad) if isinstance(found, _Backward) else NotImplemented

    def _record(
        self, replays: Replays, function: Callable[..., Any], users: bool, grad: Array, input_grad: bool
    ) -> Any:
        model, tape = self._model(), Tape()
        tape.entries = list(self._entries or [])

        def run(grad: Array) -> Any:
            outside = current.get()
            try:
                current.set(tape)
                return model._run_backward(function, (grad,), {"input_grad": input_grad}, users, tape)
            finally:
                current.set(outside)

        try:
            return _Backward(self._recorder, run, grad, self._snapshot.parameters)
        except Exception as error:  # noqa: BLE001  # whatever it is, the same call without a graph raised none
            replays.report(f"the backward of {type(model).__name__}", error)
            return "failed"


_RAN = "has run once"


class _Backward:
    """The recording of a backward. Its gradients are copied from buffers, one for each dtype."""

    def __init__(
        self, recorder: Any, run: Callable[[Array], Any], grad: Array, parameters: list[Parameter]
    ) -> None:
        self._recorder = recorder
        before = [p.grad for p in parameters]
        with recorder.active():
            self._grad = copy(grad)
            self._gradients = Collected(recorder.xp, [p for p in parameters if p.requires_grad])
            token = collected.set(self._gradients.take)
            try:
                self._graph, self._dx = recorder.record(partial(self._record, run))
            finally:
                collected.reset(token)
        if any(p.grad is not found for p, found in zip(parameters, before, strict=True)):
            for p, found in zip(parameters, before, strict=True):
                _set_grad(p, found)
            raise RuntimeError("a layer sets parameter.grad; call parameter.accumulate(gradient)")

    def _record(self, run: Callable[[Array], Any]) -> Any:
        dx = run(self._grad)
        self._gradients.finish()
        return dx

    def run(self, grad: Array) -> Any:
        """Launch the graph; add to the gradients of the parameters; return a copy of the input gradient."""
        self._recorder.follow()
        self._grad[...] = grad
        self._recorder.launch(self._graph)
        self._gradients.give()
        return _each_array(copy, self._dx)
