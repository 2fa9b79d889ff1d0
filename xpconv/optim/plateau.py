"""The schedule that lowers the rate when a metric no longer improves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ..arguments import shown, to_choice, to_float, to_int
from .base import Optimizer
from .schedule import LRScheduler, each_group, groups_of

__all__ = ["ReduceLROnPlateau"]


class ReduceLROnPlateau(LRScheduler):
    """Multiply the rate by `factor` when a metric has not improved for more than `patience` steps.

    Call `step(metric)` once per epoch, with a number on the host.

    Args:
        optimizer: the optimizer whose `lr` to lower.
        mode: `'min'` if smaller is better, `'max'` if larger.
        factor: below 1.
        patience: number of steps without improvement after which the rate does not change yet.
        threshold, threshold_mode: an improvement is a metric better than the best by `threshold`, `'rel'`
            (as a fraction of the best) or `'abs'`.
        cooldown: number of steps after a reduction that are not counted.
        min_lr: lower bound of the rate; one number, or one for each group.
        eps: changes smaller than this are not made.

    Raises:
        ValueError, TypeError: a setting is out of range, or not a number.

    Example:
        >>> import numpy as np, xpconv
        >>> optimizer = xpconv.SGD([xpconv.Parameter(np.zeros(1))], lr=1.0)
        >>> schedule = xpconv.ReduceLROnPlateau(optimizer, patience=1)
        >>> for metric in [5.0, 4.0, 4.0, 4.0]:
        ...     schedule.step(metric)
        >>> schedule.get_last_lr()
        [0.1]
    """

    optimizer: Optimizer
    mode: str
    threshold_mode: str
    last_epoch: int
    best: float
    cooldown_counter: int
    num_bad_epochs: int
    min_lrs: list[float]
    _progress = ("last_epoch", "best", "num_bad_epochs", "cooldown_counter")

    def __init__(
        self,
        optimizer: Optimizer,
        mode: str = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: str = "rel",
        cooldown: int = 0,
        min_lr: float | Sequence[float] = 0.0,
        eps: float = 1e-8,
    ) -> None:
        name = "ReduceLROnPlateau"
        groups = groups_of(name, optimizer)
        self.factor: float = to_float(f"{name}: factor", factor)
        if self.factor >= 1:
            raise ValueError(f"{name}: factor is {factor}, expected below 1")
        mode = to_choice(f"{name}: mode", mode, ("min", "max"))
        threshold_mode = to_choice(f"{name}: threshold_mode", threshold_mode, ("rel", "abs"))
        self.min_lrs = each_group(f"{name}: min_lr", min_lr, len(groups))
        if len(self.min_lrs) != len(groups):
            raise ValueError(f"{name}: min_lr has {len(self.min_lrs)} values, expected {len(groups)}")
        self.optimizer, self.last_epoch = optimizer, 0
        self.mode, self.threshold_mode = mode, threshold_mode
        self.patience: int = to_int(f"{name}: patience", patience)
        self.cooldown: int = to_int(f"{name}: cooldown", cooldown)
        self.threshold: float = to_float(f"{name}: threshold", threshold)
        self.eps: float = to_float(f"{name}: eps", eps)
        self._forget()

    def _forget(self) -> None:
        """Begin again with the first metric; the rates stay."""
        self.best = math.inf if self.mode == "min" else -math.inf
        self.num_bad_epochs = self.cooldown_counter = 0

    def step(self, metrics: Any) -> None:  # type: ignore[override]  # PyTorch's signature
        """Process the metric of an epoch, and lower the rate if it has not improved for too long."""
        try:
            value = float(metrics)
        except (TypeError, ValueError, OverflowError):
            where = "ReduceLROnPlateau.step: metrics"
            raise TypeError(f"{where} is {shown(metrics)}, expected a number") from None
        self.last_epoch += 1
        if self._better(value):
            self.best, self.num_bad_epochs = value, 0
        else:
            self.num_bad_epochs += 1
        if self.cooldown_counter:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.patience:
            self._extend_to_added_groups()
            groups = len(self.optimizer.param_groups)
            if groups > len(self.min_lrs):
                raise ValueError(
                    f"ReduceLROnPlateau.step: min_lr has {len(self.min_lrs)} values but the optimizer now "
                    f"has {groups} groups; make the schedule after add_param_group"
                )
            for group, floor in zip(self.optimizer.param_groups, self.min_lrs, strict=True):
                new = max(group["lr"] * self.factor, floor)
                if group["lr"] - new > self.eps:
                    group["lr"] = new
            self.cooldown_counter, self.num_bad_epochs = self.cooldown, 0

    def _extend_to_added_groups(self) -> None:
        """Give groups that were added later the `min_lr` of the others, if that is one number."""
        if len(set(self.min_lrs)) == 1:
            self.min_lrs = self.min_lrs[:1] * len(self.optimizer.param_groups)

    def _better(self, value: float) -> bool:
        sign = 1 if self.mode == "min" else -1
        if self.threshold_mode == "rel":
            return sign * value < sign * self.best * (1 - sign * self.threshold)
        return sign * value < sign * self.best - self.threshold
