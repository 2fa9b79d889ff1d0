"""The recordings of a step for inputs of one kind, and when each may be replayed."""

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

MOST = 4  # recordings of one kind of inputs: they differ in the gradients that they find

Step = Callable[..., Any]


class Stale(RuntimeError):
    """A recording is of other arrays than the model has now."""


class Noted:
    """The layers that a step has run, and the parameters that it trains."""

    def __init__(self, hooks: bool = True) -> None:
        self._hooks = hooks  # whether layers may have some
        self._layers: dict[int, Layer] = {}
        self._optimized: list[Parameter] = []

    def run(self, step: Step, inputs: Sequence[Array]) -> Any:
        """`step(*inputs)`."""
        token = graph.optimized.set(self._optimized)
        try:
            with observing(self._note):
                return step(*inputs)
        finally:
            graph.optimized.reset(token)
            self._optimized[:] = {id(p): p for p in self._optimized}.values()

    def _note(self, layer: Any, forward: Step, inputs: tuple[Any, ...]) -> Any:
        if isinstance(layer, Layer):  # and no loss
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
        """Those of the layers, and those that optimizers update, each once."""
        own = [p for layer in self.layers() for p in vars(layer).values() if isinstance(p, Parameter)]
        return list({id(p): p for p in (*own, *self._optimized)}.values())

    def state(self) -> Hashable:
        """What a recording depends on, besides the arrays of the layers."""
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
    """One recording of a step. Making it runs nothing on the device."""

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
                "cannot hold reading values on the host (float(loss), if, boolean masks), copies from the "
                "host, and matrix products other than the layers'; see xpconv.cuda.capture. The gradients "
                "are those of before the recording"
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
        """Whether gradients are there as in the recording, and random numbers come from the same streams.

        With `modes`, whether modes and settings are the same as well.
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
    """The recordings of a step for inputs of one kind, which are copied into `inputs`.

    A call that none fits runs as it is, so that all that a recording needs is there when the next such call
    is recorded.
    """

    def __init__(self, recorder: Any, step: Step, inputs: list[Array], noted: Noted, modes: bool) -> None:
        self._recorder, self._step, self._inputs, self._noted = recorder, step, inputs, noted
        self._modes = modes  # whether other modes and settings need another recording
        self._replays: list[Replay] = []
        self._tried: list[Hashable] = []  # states in which the step has run

    def record(self) -> Replay:
        """A new recording, which also replaces the oldest if there are many."""
        del self._replays[: 1 - MOST]
        with self._recorder.active():
            self._recorder.stream.synchronize()
            self._replays.append(Replay(self._recorder, self._step, self._inputs, self._noted))
        return self._replays[-1]

    def check(self) -> None:
        """Raise `Stale` if the latest recording is."""
        self._replays[-1].check()

    def run(self, given: Sequence[Array]) -> Any:
        """The step, by the recording that fits."""
        if any(layer._hooks is not None for layer in self._noted.layers()):
            return self._step(*given)  # which calls them
        found = next((replay for replay in self._replays if replay.fits(self._modes)), None)
        if found is not None:
            found.check()
            return found(given)
        state = self._noted.state()
        if state in self._tried:
            return self.record()(given)
        self._tried = [*self._tried[1 - MOST :], state]
        return self._noted.run(self._step, given)
