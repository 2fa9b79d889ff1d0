"""Learning-rate schedules, with the names and formulas of `torch.optim.lr_scheduler`.

Make one after the optimizer and call `step()` once an epoch (`OneCycleLR`: once a batch), after
`optimizer.step()`. Each step computes the new rate from the present one, so schedules can be chained.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from ..geometry import to_float, to_int
from .base import Optimizer


class LRScheduler:
    """Base of all schedules: counts steps and sets each group's `lr` to what `_rate` says.

    Attributes:
        last_epoch: number of steps so far.
        base_lrs: the groups' rates before the first schedule.

    Example:
        >>> import numpy as np, xpconv
        >>> class Harmonic(xpconv.LRScheduler):
        ...     def _rate(self, lr, base, t):
        ...         return base / (1 + t)
        >>> schedule = Harmonic(xpconv.SGD([xpconv.Parameter(np.zeros(1))], lr=1.0))
        >>> schedule.step()
        >>> schedule.get_last_lr()
        [0.5]
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self.optimizer = optimizer
        groups = _groups(type(self).__name__, optimizer)
        self.base_lrs: list[float] = [g.setdefault("initial_lr", g["lr"]) for g in groups]
        self.last_epoch = 0
        self._apply()

    def step(self) -> None:
        """Move on by one epoch (or batch)."""
        self.last_epoch += 1
        self._apply()

    def get_last_lr(self) -> list[float]:
        """Each group's present rate."""
        return [group["lr"] for group in self.optimizer.param_groups]

    def _apply(self) -> None:
        for group, base in zip(self.optimizer.param_groups, self.base_lrs, strict=True):
            group["lr"] = self._rate(group["lr"], base, self.last_epoch)

    def _rate(self, lr: float, base: float, t: int) -> float:
        """The rate after step `t`, from the present one and the one at the start."""
        raise TypeError(f"{type(self).__name__} defines no _rate(lr, base, t)")


class StepLR(LRScheduler):
    """Times `gamma` every `step_size` steps.

    Example:
        >>> import numpy as np, xpconv
        >>> optimizer = xpconv.SGD([xpconv.Parameter(np.zeros(1))], lr=1.0)
        >>> schedule = xpconv.StepLR(optimizer, step_size=2)
        >>> for _ in range(3):
        ...     schedule.step()
        >>> schedule.get_last_lr()
        [0.1]
    """

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1) -> None:
        self.step_size = to_int("StepLR: step_size", step_size, 1)
        self.gamma = to_float("StepLR: gamma", gamma)
        super().__init__(optimizer)

    def _rate(self, lr: float, base: float, t: int) -> float:
        return lr * self.gamma if t and t % self.step_size == 0 else lr


class MultiStepLR(LRScheduler):
    """Times `gamma` at each step in `milestones`.

    Example:
        >>> import numpy as np, xpconv
        >>> optimizer = xpconv.SGD([xpconv.Parameter(np.zeros(1))], lr=1.0)
        >>> schedule = xpconv.MultiStepLR(optimizer, milestones=[1, 3], gamma=0.5)
        >>> for _ in range(3):
        ...     schedule.step()
        >>> schedule.get_last_lr()
        [0.25]
    """

    def __init__(self, optimizer: Optimizer, milestones: Sequence[int], gamma: float = 0.1) -> None:
        if not isinstance(milestones, Iterable):
            raise TypeError(f"MultiStepLR: milestones is {milestones!r}, expected a list of ints")
        self.milestones = [to_int("MultiStepLR: a milestone", m) for m in milestones]
        self.gamma = to_float("MultiStepLR: gamma", gamma)
        super().__init__(optimizer)

    def _rate(self, lr: float, base: float, t: int) -> float:
        return lr * self.gamma ** self.milestones.count(t)


class ExponentialLR(LRScheduler):
    """Times `gamma` every step.

    Example:
        >>> import numpy as np, xpconv
        >>> optimizer = xpconv.SGD([xpconv.Parameter(np.zeros(1))], lr=1.0)
        >>> schedule = xpconv.ExponentialLR(optimizer, gamma=0.5)
        >>> schedule.step()
        >>> schedule.get_last_lr()
        [0.5]
    """

    def __init__(self, optimizer: Optimizer, gamma: float) -> None:
        self.gamma = to_float("ExponentialLR: gamma", gamma)
        super().__init__(optimizer)

    def _rate(self, lr: float, base: float, t: int) -> float:
        return lr * self.gamma if t else lr


class LinearLR(LRScheduler):
    """Warm-up: the factor on the rate goes from `start_factor` to `end_factor` in `total_iters` steps.

    Example:
        >>> import numpy as np, xpconv
        >>> optimizer = xpconv.SGD([xpconv.Parameter(np.zeros(1))], lr=1.0)
        >>> schedule = xpconv.LinearLR(optimizer, start_factor=0.5, total_iters=2)
        >>> rates = [schedule.get_last_lr()[0]]
        >>> for _ in range(3):
        ...     schedule.step()
        ...     rates.append(round(schedule.get_last_lr()[0], 6))
        >>> rates
        [0.5, 0.75, 1.0, 1.0]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        start_factor: float = 1 / 3,
        end_factor: float = 1.0,
        total_iters: int = 5,
    ) -> None:
        self.start_factor = to_float("LinearLR: start_factor", start_factor)
        self.end_factor = to_float("LinearLR: end_factor", end_factor)
        self.total_iters = to_float("LinearLR: total_iters", total_iters, 1)
        if not 0 < self.start_factor <= 1:
            raise ValueError(f"LinearLR: start_factor is {start_factor}, expected above 0 and at most 1")
        if not 0 <= self.end_factor <= 1:
            raise ValueError(f"LinearLR: end_factor is {end_factor}, expected a number from 0 to 1")
        super().__init__(optimizer)

    def _rate(self, lr: float, base: float, t: int) -> float:
        if t == 0:
            return lr * self.start_factor
        return lr * self._factor(t) / self._factor(t - 1) if t <= self.total_iters else lr

    def _factor(self, t: int) -> float:
        return self.start_factor + (self.end_factor - self.start_factor) * t / self.total_iters


class CosineAnnealingLR(LRScheduler):
    """Down a half cosine to `eta_min` in `T_max` steps, and up again (Loshchilov and Hutter, 2017).

        lr_t = eta_min + (lr_0 - eta_min) (1 + cos(π t / T_max)) / 2

    Example:
        >>> import numpy as np, xpconv
        >>> optimizer = xpconv.SGD([xpconv.Parameter(np.zeros(1))], lr=1.0)
        >>> schedule = xpconv.CosineAnnealingLR(optimizer, T_max=4)
        >>> schedule.step(), schedule.step()
        (None, None)
        >>> round(schedule.get_last_lr()[0], 6)
        0.5
    """

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0) -> None:
        self.T_max = to_float("CosineAnnealingLR: T_max", T_max, 1)
        self.eta_min = to_float("CosineAnnealingLR: eta_min", eta_min)
        super().__init__(optimizer)

    def _rate(self, lr: float, base: float, t: int) -> float:
        if t == 0:
            return lr
        period = self.T_max
        if (t - 1 - period) % (2 * period) == 0:  # at the bottom: there is no ratio to the rate before
            return lr + (base - self.eta_min) * (1 - math.cos(math.pi / period)) / 2
        ratio = (1 + math.cos(math.pi * t / period)) / (1 + math.cos(math.pi * (t - 1) / period))
        return ratio * (lr - self.eta_min) + self.eta_min


class CosineAnnealingWarmRestarts(LRScheduler):
    """Half cosines that start anew: `T_0` steps, then each `T_mult` times as long (SGDR, 2017).

    Example:
        >>> import numpy as np, xpconv
        >>> optimizer = xpconv.SGD([xpconv.Parameter(np.zeros(1))], lr=1.0)
        >>> schedule = xpconv.CosineAnnealingWarmRestarts(optimizer, T_0=2, T_mult=2)
        >>> rates = []
        >>> for _ in range(4):
        ...     schedule.step()
        ...     rates.append(round(schedule.get_last_lr()[0], 4))
        >>> rates
        [0.5, 1.0, 0.8536, 0.5]
    """

    def __init__(self, optimizer: Optimizer, T_0: int, T_mult: int = 1, eta_min: float = 0.0) -> None:
        name = "CosineAnnealingWarmRestarts"
        self.T_0, self.T_mult = to_int(f"{name}: T_0", T_0, 1), to_int(f"{name}: T_mult", T_mult, 1)
        self.eta_min = to_float(f"{name}: eta_min", eta_min)
        super().__init__(optimizer)

    def _rate(self, lr: float, base: float, t: int) -> float:
        length = self.T_0
        while t >= length:
            t -= length
            length *= self.T_mult
            if self.T_mult == 1:
                t %= length
        return self.eta_min + (base - self.eta_min) * (1 + math.cos(math.pi * t / length)) / 2


class OneCycleLR(LRScheduler):
    """Up to `max_lr`, down far below where it started, while momentum goes the other way (Smith, 2018).

    Call `step()` after every batch. With momentum in the optimizer (`momentum`, or the first of `betas`)
    and `cycle_momentum`, that goes from `max_momentum` down to `base_momentum` and back.

    Args:
        optimizer: whose `lr` (and momentum) to set.
        max_lr: the top; one, or one for each group.
        total_steps: number of steps; or give `epochs` and `steps_per_epoch`.
        pct_start: part of the steps that go up.
        anneal_strategy: `'cos'` or `'linear'`.
        cycle_momentum, base_momentum, max_momentum: see above.
        div_factor: `max_lr / div_factor` is where it starts.
        final_div_factor: the start over this is where it ends.
        three_phase: come down to the start as long as it went up, then to the end.

    Raises:
        ValueError: settings that cannot be, or `step()` after the last step.

    Example:
        >>> import numpy as np, xpconv
        >>> optimizer = xpconv.Adam([xpconv.Parameter(np.zeros(1))])
        >>> schedule = xpconv.OneCycleLR(optimizer, max_lr=1.0, total_steps=10)
        >>> rates = [schedule.get_last_lr()[0]]
        >>> for _ in range(9):
        ...     schedule.step()
        ...     rates.append(schedule.get_last_lr()[0])
        >>> round(rates[0], 4), round(max(rates), 4), round(rates[-1], 8)
        (0.04, 1.0, 4e-06)
    """

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float | Sequence[float],
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        cycle_momentum: bool = True,
        base_momentum: float = 0.85,
        max_momentum: float = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
    ) -> None:
        groups = _groups("OneCycleLR", optimizer)
        if total_steps is None:
            if epochs is None or steps_per_epoch is None:
                raise ValueError("OneCycleLR: give total_steps, or epochs and steps_per_epoch")
            epochs = to_int("OneCycleLR: epochs", epochs, 1)
            total_steps = epochs * to_int("OneCycleLR: steps_per_epoch", steps_per_epoch, 1)
        total_steps = to_int("OneCycleLR: total_steps", total_steps, 1)
        base_momentum = to_float("OneCycleLR: base_momentum", base_momentum)
        max_momentum = to_float("OneCycleLR: max_momentum", max_momentum)
        for argument, value in (("div_factor", div_factor), ("final_div_factor", final_div_factor)):
            if to_float(f"OneCycleLR: {argument}", value) == 0:
                raise ValueError(f"OneCycleLR: {argument} is 0, expected a number to divide by")
        up = to_float("OneCycleLR: pct_start", pct_start) * total_steps - 1  # the last step that goes up
        if not 0 <= pct_start <= 1:
            raise ValueError(f"OneCycleLR: pct_start is {pct_start}, expected a number from 0 to 1")
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(
                f"OneCycleLR: anneal_strategy is {anneal_strategy!r}, expected 'cos' or 'linear'"
            )
        tops = _each("OneCycleLR: max_lr", max_lr, len(groups))
        if len(tops) != len(groups):
            raise ValueError(f"OneCycleLR: max_lr has {len(tops)} values, expected one, or {len(groups)}")
        if cycle_momentum and not all("momentum" in g or "betas" in g for g in groups):
            raise ValueError("OneCycleLR: the optimizer has no momentum to cycle; give cycle_momentum=False")
        self.total_steps = total_steps
        self.anneal_strategy = anneal_strategy
        self.cycle_momentum = cycle_momentum
        if up == 0:
            raise ValueError(
                f"OneCycleLR: pct_start is {pct_start}, a single one of total_steps={total_steps}, and no "
                "way up; give a little more or less"
            )
        if three_phase:
            ends, lrs = [up, 2 * up, total_steps - 1], "start top start end"
            momenta = [max_momentum, base_momentum, max_momentum, max_momentum]
        else:
            ends, lrs = [up, total_steps - 1], "start top end"
            momenta = [max_momentum, base_momentum, max_momentum]
        self._ends, self._momenta = ends, momenta
        self._lrs = []
        for top in tops:
            start = top / div_factor
            values = {"start": start, "top": top, "end": start / final_div_factor}
            self._lrs.append([values[name] for name in lrs.split()])
        super().__init__(optimizer)

    def _apply(self) -> None:
        if self.last_epoch > self.total_steps:
            raise ValueError(f"OneCycleLR.step: all {self.total_steps} steps are done")
        for group, lrs in zip(self.optimizer.param_groups, self._lrs, strict=True):
            group["lr"] = self._between(lrs)
            if self.cycle_momentum and "betas" in group:
                group["betas"] = (self._between(self._momenta), *group["betas"][1:])
            elif self.cycle_momentum:
                group["momentum"] = self._between(self._momenta)

    def _between(self, values: list[float]) -> float:
        """The value at this step, on the way from each value to the next."""
        t, begin = self.last_epoch, 0.0
        for i, end in enumerate(self._ends):
            if t <= end or i == len(self._ends) - 1:
                part = (t - begin) / (end - begin) if end > begin else 1.0
                a, b = values[i], values[i + 1]
                if self.anneal_strategy == "linear":
                    return (b - a) * part + a
                return b + (a - b) / 2 * (1 + math.cos(math.pi * part))
            begin = end
        return values[-1]


class ReduceLROnPlateau:
    """Times `factor` when a metric has not got better for more than `patience` steps.

    Call `step(metric)` once an epoch, with a number on the host.

    Args:
        optimizer: whose `lr` to lower.
        mode: `'min'` if smaller is better, `'max'` if larger.
        factor: below 1.
        patience: steps without progress that are borne.
        threshold, threshold_mode: what counts as progress: better than the best by `threshold`, `'rel'`
            (as a part of the best) or `'abs'`.
        cooldown: steps after a reduction that do not count.
        min_lr: floor; one, or one for each group.
        eps: changes smaller than this are not made.

    Example:
        >>> import numpy as np, xpconv
        >>> optimizer = xpconv.SGD([xpconv.Parameter(np.zeros(1))], lr=1.0)
        >>> schedule = xpconv.ReduceLROnPlateau(optimizer, patience=1)
        >>> for metric in [5.0, 4.0, 4.0, 4.0]:
        ...     schedule.step(metric)
        >>> schedule.get_last_lr()
        [0.1]
    """

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
        groups = _groups(name, optimizer)
        self.factor = to_float(f"{name}: factor", factor)
        if self.factor >= 1:
            raise ValueError(f"{name}: factor is {factor}, expected below 1")
        if mode not in ("min", "max"):
            raise ValueError(f"{name}: mode is {mode!r}, expected 'min' or 'max'")
        if threshold_mode not in ("rel", "abs"):
            raise ValueError(f"{name}: threshold_mode is {threshold_mode!r}, expected 'rel' or 'abs'")
        self.min_lrs = _each(f"{name}: min_lr", min_lr, len(groups))
        if len(self.min_lrs) != len(groups):
            raise ValueError(f"{name}: min_lr has {len(self.min_lrs)} values, expected {len(groups)}")
        self.optimizer = optimizer
        self.mode, self.threshold_mode = mode, threshold_mode
        self.patience = to_int(f"{name}: patience", patience)
        self.cooldown = to_int(f"{name}: cooldown", cooldown)
        self.threshold = to_float(f"{name}: threshold", threshold)
        self.eps = to_float(f"{name}: eps", eps)
        self.best = math.inf if mode == "min" else -math.inf
        self.num_bad_epochs = 0
        self.cooldown_counter = 0

    def step(self, metrics: Any) -> None:
        """Look at the metric of an epoch."""
        try:
            value = float(metrics)
        except (TypeError, ValueError):
            raise TypeError(f"ReduceLROnPlateau.step: metrics is {metrics!r}, expected a number") from None
        if self._better(value):
            self.best, self.num_bad_epochs = value, 0
        else:
            self.num_bad_epochs += 1
        if self.cooldown_counter:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.patience:
            for group, floor in zip(self.optimizer.param_groups, self.min_lrs, strict=True):
                new = max(group["lr"] * self.factor, floor)
                if group["lr"] - new > self.eps:
                    group["lr"] = new
            self.cooldown_counter, self.num_bad_epochs = self.cooldown, 0

    def get_last_lr(self) -> list[float]:
        """Each group's present rate."""
        return [group["lr"] for group in self.optimizer.param_groups]

    def _better(self, value: float) -> bool:
        sign = 1 if self.mode == "min" else -1
        if self.threshold_mode == "rel":
            return sign * value < sign * self.best * (1 - sign * self.threshold)
        return sign * value < sign * self.best - self.threshold


def _groups(name: str, optimizer: Optimizer) -> list[dict[str, Any]]:
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"{name}: optimizer is {optimizer!r}, expected an Optimizer")
    return optimizer.param_groups


def _each(where: str, value: float | Sequence[float], groups: int) -> list[float]:
    """A number for each group: one for all, or a sequence."""
    values = value if isinstance(value, Sequence) and not isinstance(value, str) else [value] * groups
    return [to_float(where, v) for v in values]
