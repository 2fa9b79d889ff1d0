"""`find_lr`: a range test of the learning rate."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Iterator
from typing import Any

from ..arguments import to_float, to_size
from ..layers.layer import Layer
from ..optim import Optimizer
from ..random import get_rng_state, set_rng_state
from ..signatures import hinted
from .checks import checked_run
from .history import figure
from .run import Run, modes_restored, place_restored

__all__ = ["LRFinder", "find_lr"]

SMOOTHING = 0.9  # of the running mean of the losses
DIVERGED = 4.0  # times the smallest loss: there it ends


class LRFinder:
    """The losses of a range test, as `find_lr` returns them.

    Attributes:
        lrs: the learning rates.
        losses: the loss of the batch at each, before the step.
        smoothed: their running mean.
        suggestion: the rate at which the smoothed loss falls fastest; None if it never falls.
    """

    def __init__(self, lrs: list[float], losses: list[float]) -> None:
        self.lrs, self.losses = lrs, losses
        self.smoothed = _smoothed(losses)
        self.suggestion = _steepest(lrs, self.smoothed)

    def plot(self) -> Any:
        """The losses over the learning rate, with the suggestion.

        Returns:
            the `matplotlib.figure.Figure`: `found.plot().savefig("lr.png")`; a notebook displays it.

        Raises:
            ImportError: matplotlib is not installed.
        """
        found, (ax,) = figure("LRFinder.plot", 1)
        ax.plot(self.lrs, self.losses, alpha=0.3, label="loss")
        ax.plot(self.lrs, self.smoothed, label="smoothed")
        if self.suggestion is not None:
            label = f"suggestion: {self.suggestion:.2g}"
            ax.axvline(self.suggestion, color="gray", linestyle="--", label=label)
        ax.set(xscale="log", xlabel="learning rate", ylabel="loss", title="learning-rate range test")
        ax.grid(alpha=0.3)
        ax.legend()
        return found

    def __repr__(self) -> str:
        suggestion = "None" if self.suggestion is None else f"{self.suggestion:.3g}"
        return (
            f"LRFinder({len(self.lrs)} rates from {self.lrs[0]:.3g} to {self.lrs[-1]:.3g}, "
            f"suggestion={suggestion})"
        )


@hinted(
    "find_lr",
    {"epochs": "give steps=", "num_iter": "give steps=", "start_lr": "give start=", "end_lr": "give end="},
)
def find_lr(
    model: Layer,
    loss: Any,
    optimizer: Optimizer,
    train: Iterable[Any],
    *,
    start: float = 1e-6,
    end: float = 1.0,
    steps: int = 100,
    inputs: int = 1,
    sample_weight: bool = False,
    clip_grad_norm: float | None = None,
    scaler: Any = None,
) -> LRFinder:
    """The losses of some steps at learning rates that grow from `start` to `end` (Smith, 2017).

    A good largest rate is somewhat below the one from which the loss grows; `suggestion` is the one at which
    it falls fastest. Each step multiplies the rates of all groups by the same factor. The test ends early
    when the loss is above four times its smallest value, or not finite. Afterwards model, optimizer, scaler,
    random state, modes and (if it has `state_dict`) `train` are as before.

    Args:
        model, loss, optimizer, inputs, sample_weight, clip_grad_norm, scaler: as for `fit`.
        train: iterates over batches, and begins again if there are fewer than `steps`.
        start, end: the first and the last learning rate of the first group.
        steps: the number of rates, at least 2.

    Returns:
        an `LRFinder`, with `lrs`, `losses`, `suggestion` and `plot()`.

    Raises:
        TypeError, ValueError: an argument is wrong, or there are no batches.

    Example:
        >>> import xpconv
        >>> digits = xpconv.data.load_digits()
        >>> model = xpconv.Sequential(xpconv.Flatten(), xpconv.Dense(64, 10, rng=0))
        >>> data = xpconv.data.batches(digits.x_train, digits.y_train, 64, shuffle=True, seed=0)
        >>> optimizer = xpconv.Adam(model.parameters())
        >>> found = xpconv.train.find_lr(model, xpconv.SoftmaxCrossEntropyLoss(), optimizer, data)
        >>> 0.001 < found.suggestion < 1
        True
    """
    where = "find_lr"
    start = to_float(f"{where}: start", start, finite=True)
    end = to_float(f"{where}: end", end, finite=True)
    if not 0 < start < end:
        raise ValueError(f"{where}: start is {start} and end {end}, expected 0 < start < end")
    steps = to_size(f"{where}: steps", steps, 2)
    run = checked_run(
        where, model, loss, optimizer, train=train, valid=None, epochs=1, metrics=(), inputs=inputs,
        sample_weight=sample_weight, schedule=None, clip_grad_norm=clip_grad_norm, scaler=scaler, ema=None,
        callbacks=(),
    )  # fmt: skip
    things = [thing for thing in (model, optimizer, scaler) if thing is not None]
    states = [copy.deepcopy(thing.state_dict()) for thing in things]
    random = get_rng_state(model)
    rates = [group["lr"] for group in optimizer.param_groups]
    grads = [(parameter, parameter.grad) for parameter in model.parameters()]
    try:
        with modes_restored(model), place_restored(train):
            return _test(run, start, end, steps, rates)
    finally:
        model.forget()
        getattr(loss, "forget", lambda: None)()
        for thing, state in zip(things, states, strict=True):
            thing.load_state_dict(state)
        set_rng_state(random, model)
        for parameter, grad in grads:
            parameter.grad = grad


def _test(run: Run, start: float, end: float, steps: int, rates: list[float]) -> LRFinder:
    """The losses at all rates."""
    run.model.train()
    lrs: list[float] = []
    losses: list[float] = []
    smallest = math.inf
    for i, batch in enumerate(_repeated(run.train)):
        if i == steps:
            break
        lr = start * (end / start) ** (i / (steps - 1))
        for group, rate in zip(run.optimizer.param_groups, rates, strict=True):
            group["lr"] = lr * rate / rates[0] if rates[0] else lr
        run.meter.totals.reset()
        run.step([run.meter.objective.checked(batch, run.backend, "train")])
        value = run.values()["loss"]
        if not math.isfinite(value):
            break
        lrs.append(lr)
        losses.append(value)
        smoothed = _smoothed(losses)[-1]
        smallest = min(smallest, smoothed)
        if smoothed > DIVERGED * smallest > 0:
            break
    if not losses:
        raise ValueError(
            f"find_lr: the first loss is {value}; look for NaN in the data, or begin with a smaller start"
        )
    return LRFinder(lrs, losses)


def _repeated(train: Iterable[Any]) -> Iterator[Any]:
    """The batches, again and again; an error if there are none."""
    while True:
        empty = True
        for batch in train:
            empty = False
            yield batch
        if empty:
            raise ValueError(
                "find_lr: train has too few batches, and gave none when it was iterated again; give "
                "xpconv.data.batches or a list"
            )


def _smoothed(losses: list[float]) -> list[float]:
    """The running mean, corrected for its start."""
    mean, found = 0.0, []
    for i, loss in enumerate(losses, 1):
        mean = SMOOTHING * mean + (1 - SMOOTHING) * loss
        found.append(mean / (1 - SMOOTHING**i))
    return found


def _steepest(lrs: list[float], losses: list[float]) -> float | None:
    """The rate where the loss falls fastest over the logarithm of the rate, before its minimum."""
    lowest = losses.index(min(losses))
    slopes = [
        ((losses[i + 1] - losses[i - 1]) / (math.log(lrs[i + 1]) - math.log(lrs[i - 1])), lrs[i])
        for i in range(1, min(lowest + 1, len(lrs) - 1))
    ]
    slope, lr = min(slopes, default=(0.0, 0.0))
    return lr if slope < 0 else None
