"""The recordings of a step for inputs of the same shapes and dtypes, and when each may be replayed."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import Any

from ..backend import Array
from ..kernels import graph
from ..layers.layer import Layer
from ..layers.settings import latest_change
from ..parameter import Parameter
from ..random import Source, global_source
from ..tape import observing, saving
from .gradients import Gradients

MOST = 4  # recordings for the same shapes: they differ in which gradients were None

Step = Callable[..., Any]


class Stale(RuntimeError):
    """The model has other arrays now than in the recording."""


class Noted:
    """The layers that a step has run, and the parameters that it trains."""

    def __init__(self, hooks: bool = True) -> None:
        self._hooks = hooks  # whether layers may have hooks
        self._layers: dict[int, Layer] = {}
        self._optimized: list[Parameter] = []

    def run(self, step: Step, inputs: Sequence[Array]) -> Any:
        """Return `step(*inputs)`; note the layers that it calls and the parameters that it updates."""
        token = graph.optimized.set(self._optimized)
        try:
            with observing(self._note):
                return step(*inputs)
        finally:
            graph.optimized.reset(token)
            self._optimized[:] = {id(p): p for p in self._optimized}.values()

    def _note(self, layer: Any, forward: Step, inputs: tuple[Any, ...]) -> Any:
        if isinstance(layer, Layer):  # not a loss
            if layer._hooks is not None and not self._hooks:
                raise TypeError(
                    f"{type(layer).__name__} has hooks, which a replay would not call; remove them"
                )
            self._layers[id(layer)] = layer
        return forward(*inputs)

    def layers(self) -> list[Layer]:
        """The layers, each once."""
        return list(self._layers.values())

    def parameters(self) -> list[Parameter]:
        """The parameters of the layers, and those that optimizers update, each once."""
        own = [p for layer in self.layers() for p in vars(layer).values() if isinstance(p, Parameter)]
        return list({id(p): p for p in (*own, *self._optimized)}.values())

    def state(self) -> Hashable:
        """What a recording depends on apart from the arrays of the layers."""
        return (
            tuple(p.grad is None for p in self.parameters()),
            tuple((id(layer), layer.training) for layer in self.layers()),
            tuple(id(source) for _, source in _sources(self.layers())),
            latest_change(),
        )


def _sources(layers: Iterable[Layer]) -> Iterator[tuple[Layer, Source]]:
    """The layers that draw random numbers, and the stream that each draws from."""
    for layer in layers:
        if "_source" in vars(layer):
            yield layer, vars(layer)["_source"] or global_source()


class Replay:
    """One recording of a step. The recording itself computes nothing on the device."""

    def __init__(self, recorder: Any, step: Step, inputs: list[Array], known: Noted) -> None:
        self._recorder, self._inputs = recorder, inputs
        self._gradients, noted = Gradients(known.parameters()), Noted(hooks=False)

        def watched() -> Any:
            with self._gradients.watch():
                return noted.run(step, inputs)

        try:
            self._graph, self._outputs = recorder.record(watched)
        except BaseException as cause:
            for layer in noted.layers():  # recorded operations have computed nothing
                layer.forget()
                layer.zero_grad()
            self._gradients.restore()
            if not isinstance(cause, Exception):
                raise
            raise RuntimeError(
                f"capture: step failed while it was recorded ({type(cause).__name__}: {cause}). A CUDA graph "
                "cannot contain code that reads values on the host (float(loss), if, boolean masks), copies "
                "from the host, or matrix products other than the layers'; see xpconv.cuda.capture. The "
                "gradients are as before the recording"
            ) from cause
        trained = saving() and any(p.grad is not None for p in noted.parameters())
        self._gradients.restore()
        layers = noted.layers()
        self._change, self._modes = latest_change(), [(layer, layer.training) for layer in layers]
        self._draws = [(layer, source, dict(source.counters)) for layer, source in _sources(layers)]
        self._seen = [  # the graph has the addresses of these arrays, so they must stay
            (layer, owner, name, getattr(owner, name))
            for layer in layers
            for owner, name in _recorded(layer, trained)
        ]

    def fits(self, modes: bool) -> bool:
        """Whether the same gradients are None as then, and random numbers are drawn from the same streams.

        With `modes`, also whether the modes and settings of the layers are the same.
        """
        if modes and (
            latest_change() != self._change or any(layer.training is not mode for layer, mode in self._modes)
        ):
            return False
        for layer, source, counters in self._draws:
            if (vars(layer)["_source"] or global_source()) is not source:
                return False
            if any(source.counters.get(key) is not counter for key, counter in counters.items()):
                return False
        return self._gradients.fit()

    def check(self) -> None:
        """Raise an error if the model has other arrays than in the recording."""
        for layer, owner, name, array in self._seen:
            if getattr(owner, name) is not array:
                if name == "requires_grad":
                    done = "frozen" if array else "thawed"
                    raise Stale(
                        f"capture: parameter {owner.name} of {type(layer).__name__} was {done} since the "
                        "recording; capture the step again"
                    )
                what = f"parameter {owner.name}" if name == "data" else name
                raise Stale(
                    f"capture: {what} of {type(layer).__name__} is another array than in the recording, "
                    "since model.to, an assignment or a new optimizer; capture the step again"
                )

    def __call__(self, given: Sequence[Array]) -> Any:
        recorder = self._recorder
        caller = recorder.xp.cuda.get_current_stream()
        recorder.stream.wait_event(caller.record())
        with recorder.stream:
            for own, x in zip(self._inputs, given, strict=True):
                own[...] = x
            others = self._gradients.before()
            self._graph.launch(recorder.stream)
            self._gradients.after(others)
        caller.wait_event(recorder.stream.record())
        return self._outputs


def _recorded(layer: Layer, trained: bool) -> Iterator[tuple[Any, str]]:
    """The arrays and flags of a layer that a recording depends on, as pairs of an object and an attribute."""
    for value in vars(layer).values():
        if isinstance(value, Parameter):
            yield value, "data"
            if trained:
                yield value, "requires_grad"
    for name in layer.buffer_names:
        yield layer, name


class Recordings:
    """The recordings of a step for inputs of the same shapes and dtypes, which are copied into `inputs`.

    A call for which no recording fits runs without a graph, which compiles and allocates what a recording
    needs. The next such call is recorded.
    """

    def __init__(self, recorder: Any, step: Step, inputs: list[Array], noted: Noted, modes: bool) -> None:
        self._recorder, self._step, self._inputs, self._noted = recorder, step, inputs, noted
        self._modes = modes  # whether to record again when modes or settings have changed
        self._replays: list[Replay] = []
        self._tried: list[Hashable] = []  # states in which the step has run without a graph

    def record(self) -> Replay:
        """Make a new recording; it replaces the oldest one if there are `MOST`."""
        del self._replays[: 1 - MOST]
        with self._recorder.active():
            self._recorder.stream.synchronize()
            self._replays.append(Replay(self._recorder, self._step, self._inputs, self._noted))
        return self._replays[-1]

    def check(self) -> None:
        """Raise `Stale` if the model has other arrays than in the latest recording."""
        self._replays[-1].check()

    def run(self, given: Sequence[Array]) -> Any:
        """Run the step by the recording that fits, or without a graph."""
        if any(layer._hooks is not None for layer in self._noted.layers()):
            return self._step(*given)  # a replay would not call the hooks
        found = next((replay for replay in self._replays if replay.fits(self._modes)), None)
        if found is not None:
            found.check()
            return found(given)
        state = self._noted.state()
        if state in self._tried:
            return self.record()(given)
        self._tried = [*self._tried[1 - MOST :], state]
        return self._noted.run(self._step, given)
