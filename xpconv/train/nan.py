"""`TerminateOnNaN`: stop at the first NaN or infinity, and name the layer that made it."""

from __future__ import annotations

import copy
import math
import warnings
from collections import deque
from collections.abc import Callable, Sequence
from numbers import Real
from typing import Any, NamedTuple

from ..arguments import to_size
from ..arrays import asnumpy
from ..backend import Array, get_xp
from ..dtypes import is_floating
from ..layers.layer import Layer
from ..layers.settings import note_change
from ..parameter import Parameter
from ..random import Source, global_source
from ..signatures import public_errors
from ..tape import arrays_in, observing
from .objective import Batch
from .run import Run

__all__ = ["TerminateOnNaN"]

ON_DEVICE = 20  # steps between two checks on a GPU, each of which waits for it


@public_errors
class TerminateOnNaN:
    """Stop when the loss or a gradient becomes NaN or infinite, and name the layer where it began.

    The step is not made: the model keeps the parameters and running statistics that it had before. That batch
    then runs again, on a copy of the model and with the same random numbers, layer by layer.
    `history.stopped` and a RuntimeWarning say which layer, in forward or backward, was the first; or that a
    parameter, an input or a target had a NaN before. `Checkpoint` saves nothing after it, so that a resumed
    run continues from before, and stops there again if nothing is changed.

    With a `GradScaler`, whose large scale may overflow gradients at any time, only the loss is checked.

    Args:
        every: the number of steps between two checks, each of which waits for the device; None takes 1 on the
            CPU and 20 on a GPU. No update is made meanwhile either, and the batches are held until then.

    Example:
        >>> import warnings, numpy as np, xpconv
        >>> model = xpconv.Sequential(xpconv.Dense(2, 2, rng=0), xpconv.Dense(2, 1, rng=0))
        >>> model[1].weight.data[...] = 3e38
        >>> data = [(np.full((4, 2), 9, "float32"), np.ones((4, 1), "float32"))]
        >>> optimizer = xpconv.SGD(model.parameters(), lr=0.1)
        >>> with warnings.catch_warnings(), np.errstate(over="ignore"):
        ...     warnings.simplefilter("ignore")
        ...     history = xpconv.train.fit(
        ...         model, xpconv.MSELoss(), optimizer, data, callbacks=[xpconv.train.TerminateOnNaN()])
        >>> print(history.stopped)
        epoch 1, batch 1: inf in the output of layer 1, Dense(2, 1), whose input is finite
    """

    def __init__(self, every: int | None = None) -> None:
        self.every: int | None = None if every is None else to_size("TerminateOnNaN: every", every)

    def on_fit_begin(self, run: Run) -> None:
        run.step.watch()
        self._every = self.every or (ON_DEVICE if hasattr(run.backend.xp, "cuda") else 1)
        self._latest: deque[_Before] = deque(maxlen=self._every)

    def on_batch_begin(self, run: Run) -> None:
        self._latest.append(_Before.of(run))

    def on_batch_end(self, run: Run) -> None:
        if len(self._latest) == self._every:
            self._look(run)

    def on_epoch_end(self, run: Run) -> None:
        self._look(run)

    def _look(self, run: Run) -> None:
        failed, self._latest = asnumpy(run.step.failed), deque(self._latest, self._every)
        if not failed:
            self._latest.clear()
            return
        found, before = None, self._latest[-1]
        for before in self._latest:
            found = _Search(run, before).result()
            if found is not None:
                break
        before.restore_statistics(run.model)
        self._latest.clear()
        place = f"epoch {before.epoch}, batch {before.batch + 1}"
        text = found or "NaN or infinity, which did not occur again when the batch was repeated"
        if found is None and run.communicator is not None:
            text = "NaN or infinity, in the part of another process"
        run.stop = f"{place}: {text}"
        warnings.warn(f"fit: stopped in {run.stop}", RuntimeWarning, stacklevel=2)


class _Before(NamedTuple):
    """What a step begins with, besides the parameters."""

    group: Sequence[Batch]
    epoch: int
    batch: int
    random: list[tuple[Source, Any, dict[str, Array], dict[str, list[int]]]]
    statistics: list[tuple[Layer, str, Array]]

    @classmethod
    def of(cls, run: Run) -> _Before:
        layers = [layer for _, layer in run.model.named_layers()]
        statistics = [
            (layer, name, getattr(layer, name).copy())
            for layer in layers
            for name in layer.buffer_names
            if getattr(layer, name, None) is not None
        ]
        return cls(run.group, run.epoch, run.batch, _random_state(run.model), statistics)

    def restore_statistics(self, model: Layer) -> None:
        for layer, name, array in self.statistics:
            getattr(layer, name)[...] = array


def _random_state(model: Layer) -> list[tuple[Source, Any, dict[str, Array], dict[str, list[int]]]]:
    """The random state, without waiting for a GPU: its counters are copied there."""
    sources = [vars(layer).get("_source") for _, layer in model.named_layers()]
    return [
        (
            source,
            copy.deepcopy(source.generator.bit_generator.state),
            {name: counter.copy() for name, counter in source.counters.items()},
            copy.deepcopy(source.pending),
        )
        for source in [global_source(), *(s for s in sources if isinstance(s, Source))]
    ]


def _set_random_state(state: list[tuple[Source, Any, dict[str, Array], dict[str, list[int]]]]) -> None:
    for source, generator, counters, pending in state:
        source.generator.bit_generator.state = generator
        for name in list(source.counters):
            if name in counters:
                source.counters[name][...] = counters[name]
            else:
                del source.counters[name]
        source.pending = copy.deepcopy(pending)


class _Search:
    """A step that runs again on a copy of the model, until something is not finite."""

    def __init__(self, run: Run, before: _Before) -> None:
        self.run, self.before = run, before
        self.objective = run.meter.objective

    def result(self) -> str | None:
        """Where the first NaN or infinity is; None if there is none."""
        known = self._in_batch() or self._in_model()
        if known:
            return known
        here = _random_state(self.run.model)
        try:
            _set_random_state(self.before.random)
            twin = copy.deepcopy(self.run.model)
            twin.zero_grad()
            for (_, layer), (_, other) in zip(
                self.run.model.named_layers(), twin.named_layers(), strict=True
            ):
                if layer._hooks is not None:  # a copy has none, but they may change values
                    vars(other)["_hooks"] = layer._hooks
            note_change()
            self.names = {id(layer): (name, layer) for name, layer in twin.named_layers()}
            for batch in self.before.group:
                found = self._in_step(twin, batch)
                if found:
                    return found
        finally:
            _set_random_state(here)
            getattr(self.objective.loss, "forget", lambda: None)()
        for name, parameter in twin.named_parameters():  # the sum over the batches of a group
            if parameter.grad is not None and not _finite(parameter.grad):
                return f"{_kind(parameter.grad)} in the gradient of {name}"
        return None

    def _in_batch(self) -> str | None:
        for batch in self.before.group:
            inputs, targets, weight = self.objective.split(batch)
            parts = [(f"input {i}", x) for i, x in enumerate(inputs)]
            parts += [(f"target {i}", x) for i, x in enumerate(targets)]
            parts += [] if weight is None else [("sample weight", weight)]
            for name, array in parts:
                if not _finite(array):
                    label = name if len(parts) > 2 else name[:-2]
                    return f"{_kind(array)} in the {label} of the batch"
        return None

    def _in_model(self) -> str | None:
        for name, array in self.run.model._state().items():
            if not _finite(array):
                statistic = any(array is getattr(layer, n) for layer, n, _ in self.before.statistics)
                if not statistic:
                    return f"{_kind(array)} in the parameter {name} before this step"
        for layer, name, array in self.before.statistics:
            if not _finite(array):
                return f"{_kind(array)} in {name} of {type(layer).__name__} before this step"
        return None

    def _in_step(self, twin: Layer, batch: Batch) -> str | None:
        """The first layer whose output, then the first whose gradients are not finite."""
        first: list[str] = []

        def watch(layer: Layer, forward: Callable[..., Any], inputs: tuple[Any, ...]) -> Any:
            result = forward(*inputs)
            if not first and id(layer) in self.names and not _finite(result):
                fine = "finite" if _finite(inputs) else "not finite either"
                first.append(f"{_kind(result)} in the output of {self._called(layer)}, whose input is {fine}")
            return result

        inputs, targets, weight = self.objective.split(batch)
        with observing(watch):
            output = twin(*inputs)
        if first:
            return first[0]
        loss, _ = self.objective(output, targets, weight, len(inputs[0]))
        if not _finite(loss):
            return f"{_kind(loss)} in the loss {self.objective.loss!r} of a finite output"
        if self.run.scaler is not None:
            return None
        grad = self.objective.gradient(1.0, loss)
        if not _finite(grad):
            return f"{_kind(grad)} in the gradient of the loss {self.objective.loss!r}"
        for _, layer in self.names.values():
            _plant(layer, self._called(layer), first)
        twin.backward(grad, input_grad=False)
        for _, layer in self.names.values():
            vars(layer).pop("backward", None)
        return first[0] if first else None

    def _called(self, layer: Layer) -> str:
        name = self.names[id(layer)][0]
        text = repr(layer) if not layer.children() else type(layer).__name__
        return f"layer {name}, {text}" if name else f"the model, {text}"


def _plant(layer: Layer, called: str, first: list[str]) -> None:
    """Let `layer.backward` note in `first` if it is the first whose gradients are not finite."""
    backward = layer.backward

    def watched(grad_output: Array, input_grad: bool = True) -> Any:
        result = backward(grad_output, input_grad)
        own = [(n, p.grad) for n, p in vars(layer).items() if isinstance(p, Parameter) and p.grad is not None]
        bad = next(((n, g) for n, g in own if not _finite(g)), None)
        if not first and bad is not None:
            first.append(f"{_kind(bad[1])} in the gradient of {bad[0]} in the backward of {called}")
        elif not first and not _finite(result):
            first.append(f"{_kind(result)} in the input's gradient in the backward of {called}")
        return result

    vars(layer)["backward"] = watched


def _finite(value: Any) -> bool:
    """Whether all numbers in arrays, or in tuples of them, are finite."""
    arrays = arrays_in(value)
    if not arrays and isinstance(value, Real):  # a number, also one of NumPy's
        return math.isfinite(value)
    return all(bool(get_xp(a).isfinite(a).all()) for a in arrays if is_floating(a.dtype))


def _kind(value: Any) -> str:
    """`NaN` if there is one, else `inf`."""
    arrays = [array for array in arrays_in(value) if is_floating(array.dtype)]
    if isinstance(value, Real) and not arrays:
        return "NaN" if value != value else "inf"
    return "NaN" if any(bool(get_xp(array).isnan(array).any()) for array in arrays) else "inf"
