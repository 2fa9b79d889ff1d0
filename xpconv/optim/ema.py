"""Exponential moving average of a model's weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ..geometry import to_float
from ..layers.base import Layer


class ExponentialMovingAverage:
    """Keeps `average = decay · average + (1 - decay) · value` of a model's parameters (Polyak averaging).

    Call `update()` after each `optimizer.step()`; evaluate inside `with ema.average_parameters():`, which
    swaps the averages in and the model's own values back out. Buffers (running statistics) and integers
    are not averaged: inside the block the model has its own latest.

    Args:
        model: whose parameters to average; they start at its present values.
        decay: 0 (follow at once) to 1 (never move).

    Example:
        >>> import xpconv
        >>> model = xpconv.Dense(1, 1)
        >>> ema = xpconv.ExponentialMovingAverage(model, decay=0.9)
        >>> model.weight.data += 1.0
        >>> ema.update()
        >>> here = model.weight.data.copy()
        >>> with ema.average_parameters():
        ...     round(float((here - model.weight.data)[0, 0]), 3)
        0.9
    """

    def __init__(self, model: Layer, decay: float = 0.999) -> None:
        model.parameters()  # an error where some are still to be made
        self.model = model
        self.decay = to_float("ExponentialMovingAverage: decay", decay)
        if not 0 <= self.decay <= 1:
            raise ValueError(f"ExponentialMovingAverage: decay is {decay}, expected a number from 0 to 1")
        self.averages = {name: p.data.copy() for name, p in model.named_parameters()}

    def update(self) -> None:
        """Move the averages towards the model's present parameters."""
        for name, parameter in self.model.named_parameters():
            average = self.averages[name]
            average += (1 - self.decay) * (parameter.data - average)

    @contextmanager
    def average_parameters(self) -> Iterator[Layer]:
        """Within this block the model has the averaged parameters."""
        own = {name: p.data.copy() for name, p in self.model.named_parameters()}
        try:
            self._fill(self.averages)
            yield self.model
        finally:
            self._fill(own)

    def _fill(self, values: dict[str, object]) -> None:
        for name, parameter in self.model.named_parameters():
            parameter.data[...] = values[name]
