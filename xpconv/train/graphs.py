"""A training step as a CUDA graph, if it can be recorded."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any

from .. import cuda
from ..backend import Array
from ..layers.layer import Layer
from ..layers.settings import latest_change
from .run import Run

MOST_GRAPHS = 4  # each has memory of its own


class Graphs:
    """A step, a function of arrays that returns nothing, recorded as a CUDA graph where the shapes repeat.

    The first call with certain shapes runs without a graph. The second runs without a graph and is then
    recorded, and later ones launch the recording. Other modes, frozen parameters or settings need another
    recording. If a step cannot be recorded, all steps run without a graph, and one warning says why.
    """

    on: bool

    def __init__(self, where: str, run: Run, function: Callable[..., None]) -> None:
        self._where, self._run, self._function = where, run, function
        self.on = hasattr(run.backend.xp, "cuda")  # whether to call this rather than the function itself
        self._graphs: dict[Hashable, Any] = {}  # None after the first call
        self._layers: list[Layer] = []
        self._parameters: list[Any] = []

    def look(self) -> None:
        """Look at which layers the model has."""
        if self.on:
            self._layers = [layer for _, layer in self._run.model.named_layers()]
            self._parameters = [p for _, p in self._run.model._named_parameters()]

    def __call__(self, *arrays: Array) -> None:
        hooked = next((layer for layer in self._layers if layer._hooks is not None), None)
        if hooked is not None:
            self._give_up(f"{type(hooked).__name__} has hooks, which are to run in every step")
            self._function(*arrays)
            return
        key = (
            tuple((array.shape, str(array.dtype)) for array in arrays),
            tuple(layer.training for layer in self._layers),
            tuple(parameter.requires_grad for parameter in self._parameters),
            latest_change(),
            tuple(self._numbers()),
        )
        graph = self._graphs.get(key)
        if graph is not None:
            try:
                graph(*arrays)
            except RuntimeError as error:  # the arrays of the model are others: nothing has run yet
                if not str(error).startswith("capture: "):
                    raise
                del self._graphs[key]
                self._function(*arrays)
        elif key in self._graphs:
            self._record(key, arrays)
        else:
            if len(self._graphs) < MOST_GRAPHS:
                self._graphs[key] = None
            self._function(*arrays)

    def _numbers(self) -> Iterator[Any]:
        """The settings of the loss, the scaler and the averages that are numbers or text."""
        run = self._run
        for thing in (run.meter.objective.loss, run.scaler, run.ema):
            for name, value in getattr(thing, "__dict__", {}).items():
                if isinstance(value, int | float | str):
                    yield name, value

    def _record(self, key: Hashable, arrays: Sequence[Array]) -> None:
        """One real call, then the recording."""
        scaler = self._run.scaler
        done = []

        def once(*inputs: Array) -> None:
            self._function(*inputs)
            done.append(True)

        try:
            self._graphs[key] = cuda.capture(once, *arrays, warmup=1)
        except RuntimeError as error:
            if not done:  # the call itself failed
                raise
            if scaler is not None:  # the recording may have ended between two of its calls
                scaler._reset()
            self._give_up(f"it cannot be recorded: {error.__cause__ or error}")

    def _give_up(self, reason: str) -> None:
        self.on, self._graphs = False, {}
        if self._run.model._replays is not None:
            self._run.model._replays.replay_training()  # at least the model's part of the step
        text = f"{self._where}: the step runs without a CUDA graph, as {reason}"
        warnings.warn(text, RuntimeWarning, stacklevel=4)
