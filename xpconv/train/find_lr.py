"""`find_lr`: a range test of the learning rate."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from ..arguments import to_float, to_size
from ..layers.layer import Layer
from ..optim import Optimizer
from ..random import get_rng_state, set_rng_state
from ..signatures import hinted
from .checks import checked_run
from .history import figure
from .run import Run, modes_restored, place_restored

__all__ = ["LRFinder", "find_lr"]

WIDTH = 20  # the standard deviation of the smoothing kernel is the number of losses divided by this
SKIPPED = 10  # parts of the losses, of which the first is left out for the suggestion
FEWEST = 10  # losses from which there can be a suggestion
CERTAIN = 4.0  # standard errors from which on a fall is no noise
DIVERGED = 4.0  # times the smallest loss: there it ends


class LRFinder:
    """The losses of a range test, as `find_lr` returns them.

    The losses are smoothed by local linear regression (Cleveland, 1979) with a Gaussian kernel over their
    logarithmic rates, as wide as a twentieth of the range, so that the curve does not lag behind them.
    `suggestion` is the smaller of the rate at which it falls most steeply (Smith, 2017) and a tenth of the
    rate at which it is smallest (Howard and Gugger, 2020). The first tenth of the losses is left out for it.

    Attributes:
        lrs: the learning rates.
        losses: the loss of the batch at each, before the step.
        smoothed: the losses without most of their noise.
        suggestion: a good learning rate; None if the loss falls nowhere by clearly more than its noise, or
            there are fewer than 10 losses.
    """

    lrs: list[float]
    losses: list[float]

    def __init__(self, lrs: list[float], losses: list[float]) -> None:
        self.lrs, self.losses = lrs, losses
        self.smoothed: list[float] = _smoothed(losses)[0].tolist()
        self.suggestion: float | None = _suggestion(lrs, losses)

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

    A good largest rate is somewhat below the one from which the loss grows; see `LRFinder` for how
    `suggestion` is found. Each step multiplies the rates of all groups by the same factor. The test ends
    early when the loss is above four times its smallest value, or not finite. Afterwards model, optimizer,
    scaler, random state, modes and (if it has `state_dict`) `train` are as before.

    Args:
        model, loss, optimizer, inputs, sample_weight, clip_grad_norm, scaler: as for `fit`.
        train: iterates over batches, and begins again if there are fewer than `steps`.
        start, end: the first and the last learning rate of the first group.
        steps: the number of rates, at least 2; with fewer than 50 the suggestion is uncertain.

    Returns:
        an `LRFinder`, with `lrs`, `losses`, `suggestion` and `plot()`.

    Raises:
        TypeError, ValueError: an argument is wrong, or there are no batches.

    Warns:
        RuntimeWarning: there is no suggestion, as the loss does not fall by clearly more than its noise.

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
            found = _test(run, start, end, steps, rates)
    finally:
        model.forget()
        getattr(loss, "forget", lambda: None)()
        for thing, state in zip(things, states, strict=True):
            thing.load_state_dict(state)
        set_rng_state(random, model)
        for parameter, grad in grads:
            parameter.grad = grad
    if found.suggestion is None:
        warnings.warn(
            f"find_lr: no suggestion, as the loss falls nowhere from lr {found.lrs[0]:.3g} to "
            f"{found.lrs[-1]:.3g} by clearly more than it varies from batch to batch; give more steps (there "
            f"were {len(found.lrs)}), larger batches or another range, and look at found.plot()",
            RuntimeWarning,
            stacklevel=3,
        )
    return found


def _test(run: Run, start: float, end: float, steps: int, rates: list[float]) -> LRFinder:
    """The losses at all rates."""
    run.model.train()
    lrs: list[float] = []
    losses: list[float] = []
    smallest = mean = math.inf
    span = max(steps / SKIPPED, 2.0)  # of the running mean, in steps
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
        mean = value if i == 0 else mean + (value - mean) / min(i + 1, span)
        smallest = min(smallest, mean)
        if mean > DIVERGED * smallest > 0:
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


def _smoothed(losses: list[float]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The losses smoothed, the slope at each by its number, and its standard error if the noise is 1.

    Around each loss a line is fitted by least squares, with the weights `w` of a Gaussian. With the sums
    `s_k = Σ w d^k` over the distances `d`, its slope is `Σ w (s_0 d - s_1) loss / (s_0 s_2 - s_1²)`.
    """
    values, count = np.asarray(losses, "float64"), len(losses)
    width = max(1.5, count / WIDTH)
    reach = int(4 * width)
    distance = np.arange(-reach, reach + 1.0)
    weight = np.exp(-0.5 * (distance / width) ** 2)

    def sums(kernel: np.ndarray, of: np.ndarray) -> np.ndarray:
        return np.convolve(of, kernel[::-1])[reach : reach + count]

    s0, s1, s2 = (sums(weight * distance**k, np.ones(count)) for k in range(3))
    q0, q1, q2 = (sums(weight**2 * distance**k, np.ones(count)) for k in range(3))
    b0, b1 = (sums(weight * distance**k, values) for k in range(2))
    divisor = s0 * s2 - s1**2
    if count == 1:  # a line has no slope then
        return values, np.zeros(1), np.zeros(1)
    errors = np.sqrt(s0**2 * q2 - 2 * s0 * s1 * q1 + s1**2 * q0) / divisor
    return (s2 * b0 - s1 * b1) / divisor, (s0 * b1 - s1 * b0) / divisor, errors


def _suggestion(lrs: list[float], losses: list[float]) -> float | None:
    """See `LRFinder`."""
    if len(losses) < FEWEST:
        return None
    first = len(losses) // SKIPPED
    smoothed, slopes, errors = _smoothed(losses[first:])
    lowest = int(smoothed.argmin())
    steepest = int(slopes[: lowest + 1].argmin())
    # Second differences have no slope; those of independent noise have six times its variance.
    bends = np.abs(np.diff(losses[first : first + max(lowest, FEWEST // 2)], 2))
    noise = float(np.sqrt(np.pi / 2) * bends.mean() / np.sqrt(6)) + 1e-9 * float(np.abs(smoothed).max())
    certain = CERTAIN * (1 + FEWEST / len(losses))  # of few losses the noise is known less well
    if not slopes[steepest] < -certain * noise * errors[steepest]:
        return None
    return max(min(lrs[first + steepest], lrs[first + lowest] / 10), lrs[0])
