"""The one-cycle schedule: the learning rate rises once and falls once."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ..arguments import to_bool, to_choice, to_float, to_size
from .base import Optimizer
from .schedule import LRScheduler, each_group, groups_of

__all__ = ["OneCycleLR"]


class OneCycleLR(LRScheduler):
    """The rate rises to `max_lr` and falls far below its start; momentum does the opposite (Smith, 2018).

    Call `step()` after every batch. With `cycle_momentum`, the optimizer's `momentum`, or the first of its
    `betas`, falls from `max_momentum` to `base_momentum` and rises again.

    Args:
        optimizer: the optimizer whose `lr` (and momentum) to set.
        max_lr: the highest rate; one number, or one for each group.
        total_steps: number of steps; or give `epochs` and `steps_per_epoch`.
        pct_start: fraction of the steps in which the rate rises.
        anneal_strategy: `'cos'` or `'linear'`.
        cycle_momentum, base_momentum, max_momentum: see above.
        div_factor: the rate starts at `max_lr / div_factor`.
        final_div_factor: the rate ends at the start divided by this.
        three_phase: fall to the start in as many steps as the rise took, then to the end.

    Raises:
        ValueError: a setting is out of range, or `step()` is called after the last step.

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

    _progress = ("last_epoch",)  # the initial rates follow from max_lr

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
        groups = groups_of("OneCycleLR", optimizer)
        total_steps = _total_steps(total_steps, epochs, steps_per_epoch)
        base_momentum = to_float("OneCycleLR: base_momentum", base_momentum)
        max_momentum = to_float("OneCycleLR: max_momentum", max_momentum)
        for argument, value in (("div_factor", div_factor), ("final_div_factor", final_div_factor)):
            if to_float(f"OneCycleLR: {argument}", value) == 0:
                raise ValueError(f"OneCycleLR: {argument} is 0, expected a number to divide by")
        up = to_float("OneCycleLR: pct_start", pct_start) * total_steps - 1  # the last step of the rise
        if not 0 <= pct_start <= 1:
            raise ValueError(f"OneCycleLR: pct_start is {pct_start}, expected a number from 0 to 1")
        anneal_strategy = to_choice("OneCycleLR: anneal_strategy", anneal_strategy, ("cos", "linear"))
        cycle_momentum = to_bool("OneCycleLR: cycle_momentum", cycle_momentum)
        three_phase = to_bool("OneCycleLR: three_phase", three_phase)
        tops = each_group("OneCycleLR: max_lr", max_lr, len(groups))
        if len(tops) != len(groups):
            raise ValueError(f"OneCycleLR: max_lr has {len(tops)} values, expected one, or {len(groups)}")
        if cycle_momentum and not all("momentum" in g or "betas" in g for g in groups):
            raise ValueError("OneCycleLR: the optimizer has no momentum to cycle; set cycle_momentum=False")
        self.total_steps = total_steps
        self.anneal_strategy = anneal_strategy
        self.cycle_momentum = cycle_momentum
        if up == 0:
            raise ValueError(
                f"OneCycleLR: pct_start is {pct_start}, which is exactly one of total_steps={total_steps}, "
                "so the rise has length 0; give a slightly larger or smaller pct_start"
            )
        if three_phase:
            ends, lrs = [up, 2 * up, total_steps - 1], "start top start end"
            momenta = [max_momentum, base_momentum, max_momentum, max_momentum]
        else:
            ends, lrs = [up, total_steps - 1], "start top end"
            momenta = [max_momentum, base_momentum, max_momentum]
        self._ends, self._momenta = ends, momenta
        self._lrs = []
        for group, top in zip(groups, tops, strict=True):
            start = top / div_factor
            values = {"start": start, "top": top, "end": start / final_div_factor}
            group.update(initial_lr=start, max_lr=top, min_lr=start / final_div_factor)  # as PyTorch
            self._lrs.append([values[name] for name in lrs.split()])
        super().__init__(optimizer)

    def state_dict(self) -> dict[str, Any]:
        """The schedule's settings, with `anneal_strategy` under PyTorch's name as well."""
        return {**super().state_dict(), "_anneal_func_type": self.anneal_strategy}

    def _loaded(self, state: Mapping[str, Any]) -> dict[str, Any]:
        if isinstance(state, Mapping) and "_anneal_func_type" in state:
            state = {"anneal_strategy": state["_anneal_func_type"], **state}
        loaded = super()._loaded(state)
        if "_ends" not in loaded and loaded["total_steps"] != self.total_steps:
            raise ValueError(
                f"OneCycleLR.load_state_dict: PyTorch's state has total_steps={loaded['total_steps']}, but "
                f"this schedule has {self.total_steps}; make it with the same settings"
            )
        return loaded

    def _apply(self) -> None:
        if self.last_epoch > self.total_steps:
            raise ValueError(f"OneCycleLR.step: all {self.total_steps} steps are done")
        groups = self.optimizer.param_groups
        if len(groups) != len(self._lrs):
            raise ValueError(
                f"OneCycleLR.step: max_lr is for {len(self._lrs)} groups but the optimizer now has "
                f"{len(groups)}; make the schedule after add_param_group"
            )
        for group, lrs in zip(groups, self._lrs, strict=True):
            group["lr"] = self._between(lrs)
            if self.cycle_momentum and "betas" in group:
                group["betas"] = (self._between(self._momenta), *group["betas"][1:])
            elif self.cycle_momentum:
                group["momentum"] = self._between(self._momenta)

    def _between(self, values: list[float]) -> float:
        """The interpolated value at this step; `values` are those at the ends of the phases."""
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


def _total_steps(total_steps: int | None, epochs: int | None, steps_per_epoch: int | None) -> int:
    """The number of steps, given as such or as epochs and steps per epoch."""
    if total_steps is None:
        if epochs is None or steps_per_epoch is None:
            raise ValueError("OneCycleLR: give total_steps, or epochs and steps_per_epoch")
        epochs = to_size("OneCycleLR: epochs", epochs)
        total_steps = epochs * to_size("OneCycleLR: steps_per_epoch", steps_per_epoch)
    return to_size("OneCycleLR: total_steps", total_steps)
