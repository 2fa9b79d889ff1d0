"""A training step, from a group of batches to one update."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

from ..backend import Array, Backend
from ..layers.layer import Layer
from ..optim import ExponentialMovingAverage, GradScaler, Optimizer, clip_grad_norm_
from .meter import Meter
from .objective import Batch


class Step:
    """One update of the parameters; losses and metrics add up in `meter`, on the device.

    The gradient of a group of batches is that of the mean over all their samples, whatever the size of each.
    """

    model: Layer
    meter: Meter
    optimizer: Optimizer
    clip: float | None
    scaler: GradScaler | None
    ema: ExponentialMovingAverage | None

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
        if self.scaler is None:
            self._run(group)
            return
        quiet = self._xp.errstate(over="ignore", invalid="ignore") if hasattr(self._xp, "errstate") else None
        try:
            with quiet or nullcontext():  # it skips steps that overflow
                self._run(group)
        except BaseException:
            self.scaler._reset()  # so that another training can begin
            raise

    def _run(self, group: Sequence[Batch]) -> None:
        self.optimizer.zero_grad()
        if len(group) == 1:
            loss, count, mean = self._forward(group[0])
            self._backward(loss, self._share(count, mean))
        else:
            self._accumulate(group)
        self._update()

    def _share(self, count: Any, mean: Any) -> Any:
        """The factor with which the mean over several processes is the gradient of the joint batch.

        `count` is the divisor of the loss here, and `mean` that of one process in the mean.
        """
        communicator = self.meter.communicator
        if communicator is None:
            return 1.0
        if self.meter.objective.reduction == "sum":
            return float(communicator.size)
        factor = count / (mean + (mean == 0))
        return factor if hasattr(self._xp, "cuda") else float(factor)

    def _forward(self, batch: Batch) -> tuple[Any, Any, Any]:
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
            loss, count, mean = self._forward(batch)
            if self.meter.objective.reduction == "sum":
                self._backward(loss, self._share(count, mean))
                continue
            if about is None:
                about = (mean + (mean == 0)) * len(group)
            whole = whole + mean
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
        optimizer._average_once()
        if scaler is not None:
            scaler.unscale_(optimizer)
        if self.clip is not None:
            norm = clip_grad_norm_(self._parameters(), self.clip)
            finite = xp.isfinite(norm)  # a scaler skips steps that overflow
            self.meter.totals.add(xp, {"grad_norm": (xp.where(finite, norm, 0.0), finite)})
        if self.failed is not None:
            self._note_failure(self.failed)
        if scaler is not None:
            overflow = scaler._found_in(optimizer)
            if self.failed is not None and overflow is not None:
                overflow |= self.failed  # no update of a loss that is not finite
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
