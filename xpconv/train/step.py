"""A training step, from a group of batches to one update, and its recording as a CUDA graph."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Hashable, Sequence
from typing import Any

from .. import cuda
from ..backend import Array, Backend
from ..layers.layer import Layer
from ..layers.settings import latest_change
from ..optim import ExponentialMovingAverage, GradScaler, Optimizer, clip_grad_norm_
from .meter import Meter
from .objective import Batch

MOST_GRAPHS = 4  # each has memory of its own


class Step:
    """One update of the parameters; losses and metrics add up in `meter`, on the device.

    The gradient of a group of batches is that of the mean over all their samples, whatever the size of each.
    """

    def __init__(
        self,
        model: Layer,
        meter: Meter,
        optimizer: Optimizer,
        backend: Backend,
        clip: float | None,
        scaler: GradScaler | None,
        ema: ExponentialMovingAverage | None,
    ) -> None:
        self.model, self.meter, self.optimizer = model, meter, optimizer
        self.clip, self.scaler, self.ema = clip, scaler, ema
        self.failed: Array | None = None  # with `watch`: whether a step had a NaN or an infinity
        self._xp = backend.xp

    def watch(self) -> None:
        """Skip the update of the first step that has a NaN or an infinity, and of all after it."""
        if self.failed is None:
            self.failed = self._xp.zeros((), dtype=bool)

    def __call__(self, group: Sequence[Batch]) -> None:
        if self.scaler is None or not hasattr(self._xp, "errstate"):
            self._run(group)
            return
        with self._xp.errstate(over="ignore", invalid="ignore"):  # it skips steps that overflow
            self._run(group)

    def _run(self, group: Sequence[Batch]) -> None:
        self.optimizer.zero_grad()
        if len(group) == 1:
            self._backward(self._forward(group[0])[0], 1.0)
        else:
            self._accumulate(group)
        self._update()

    def _forward(self, batch: Batch) -> tuple[Any, Any]:
        return self.meter.add(self.model(*batch[: self.meter.objective.inputs]), batch)

    def _backward(self, loss: Any, factor: Any) -> None:
        """Add the gradients of the latest loss, times `factor`."""
        plain = isinstance(factor, float) and factor == 1.0
        if self.scaler is not None:
            factor = self.scaler.scale if plain else self.scaler.scale * factor
        self.model.backward(self.meter.objective.gradient(factor, loss), input_grad=False)

    def _accumulate(self, group: Sequence[Batch]) -> None:
        """The gradients of the mean over all samples of several batches.

        Its divisor, the sum of the batches' divisors, is known only after the last forward. So each gradient
        is divided by what it would be if all were like the first, and the sum is corrected if they are not.
        """
        about: Any = None
        whole: Any = 0
        for batch in group:
            loss, count = self._forward(batch)
            if self.meter.objective.reduction == "sum":
                self._backward(loss, 1.0)
                continue
            if about is None:
                about = (count + (count == 0)) * len(group)
            whole = whole + count
            self._backward(loss, count / about)
        if about is None or (isinstance(whole, int) and whole == about):
            return
        correction = about / (whole + (whole == 0))
        for parameter in self._parameters():
            grad = parameter.grad
            if grad is not None and parameter.requires_grad:
                grad *= correction.astype(grad.dtype) if hasattr(correction, "astype") else correction

    def _parameters(self) -> list[Any]:
        return [p for group in self.optimizer.param_groups for p in group["params"]]

    def _update(self) -> None:
        xp, optimizer, scaler = self._xp, self.optimizer, self.scaler
        if self.clip is not None:
            if scaler is not None:
                scaler.unscale_(optimizer)
            norm = clip_grad_norm_(self._parameters(), self.clip)
            finite = xp.isfinite(norm)  # a scaler skips steps that overflow
            self.meter.totals.add(xp, {"grad_norm": (xp.where(finite, norm, 0.0), finite)})
        if self.failed is not None:
            self._note_failure(self.failed)
        if scaler is not None:
            scaler.step(optimizer)
            scaler.update()
        else:
            optimizer.step(self.failed)
        if self.ema is not None:
            self.ema.update()

    def _note_failure(self, failed: Array) -> None:
        """Set `failed` if the loss is not finite or, without a scaler, a gradient."""
        xp = self._xp
        if self.meter.objective.loss is not None:
            xp.logical_or(failed, ~xp.isfinite(self.meter.totals["loss"][0]).all(), out=failed)
        for parameter in self._parameters() if self.scaler is None else ():
            if parameter.grad is not None:
                xp.logical_or(failed, ~xp.isfinite(parameter.grad).all(), out=failed)


class Graphs:
    """A function of arrays that returns nothing, recorded as a CUDA graph where the shapes repeat.

    The first call with certain shapes runs as it is, the second is recorded after it has run, the later ones
    are launches of the recording. On other backends than CuPy all run as they are.
    """

    def __init__(self, where: str, function: Callable[..., None], model: Layer, backend: Backend) -> None:
        self._where, self._function = where, function
        self.on = hasattr(backend.xp, "cuda")  # whether to call this rather than the function itself
        self._graphs: dict[Hashable, Any] = {}  # None after the first call
        self._layers: list[Layer] = []
        self._parameters: list[Any] = []
        self._model = model
        self.look()

    def look(self) -> None:
        """Look at which layers the model has."""
        if self.on:
            self._layers = [layer for _, layer in self._model.named_layers()]
            self._parameters = [p for _, p in self._model._named_parameters()]

    def __call__(self, *arrays: Array) -> None:
        key = (
            tuple((array.shape, str(array.dtype)) for array in arrays),
            tuple(layer.training for layer in self._layers),
            tuple(parameter.requires_grad for parameter in self._parameters),
            latest_change(),
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

    def _record(self, key: Hashable, arrays: Sequence[Array]) -> None:
        """One real call, then the recording."""
        done = []

        def once(*inputs: Array) -> None:
            self._function(*inputs)
            done.append(True)

        try:
            self._graphs[key] = cuda.capture(once, *arrays, warmup=1)
        except RuntimeError as error:
            if not done:  # the call itself failed
                raise
            self.on, self._graphs = False, {}
            reason = str(error.__cause__ or error)
            warnings.warn(
                f"{self._where}: the step runs without a CUDA graph, as it cannot be recorded: {reason}",
                RuntimeWarning,
                stacklevel=4,
            )
