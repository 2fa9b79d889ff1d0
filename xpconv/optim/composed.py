"""Schedules that combine other schedules."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Any

from ..arguments import shown, to_int
from .base import Optimizer
from .plateau import ReduceLROnPlateau
from .schedule import LRScheduler, groups_of

__all__ = ["ChainedScheduler", "SequentialLR"]


class _Composed(LRScheduler):
    """Base of schedules that combine others: the list of them, and their states."""

    _apart = ("_schedulers",)

    def __init__(self, optimizer: Optimizer | None, schedulers: Sequence[LRScheduler]) -> None:
        name = type(self).__name__
        if not isinstance(schedulers, list | tuple) or not schedulers:
            raise ValueError(f"{name}: schedulers is {shown(schedulers)}, expected a list of schedules")
        for i, schedule in enumerate(schedulers):
            if not isinstance(schedule, LRScheduler) or isinstance(schedule, ReduceLROnPlateau):
                raise TypeError(
                    f"{name}: schedulers[{i}] is {shown(schedule)}, expected a schedule whose step takes no "
                    "metric"
                )
        self.optimizer: Optimizer = schedulers[0].optimizer if optimizer is None else optimizer
        groups_of(name, self.optimizer)
        for i, schedule in enumerate(schedulers):
            if schedule.optimizer is not self.optimizer:
                raise ValueError(
                    f"{name}: schedulers[{i}] is of another optimizer; make all of them for the same"
                )
        self._schedulers = list(schedulers)
        self.last_epoch = 0

    def state_dict(self) -> dict[str, Any]:
        """The schedule's settings, with the states of its parts as a list under `_schedulers`."""
        return {**super().state_dict(), "_schedulers": [part.state_dict() for part in self._schedulers]}

    def _config(self) -> dict[str, Any]:
        return {**super()._config(), "_schedulers": [part._config() for part in self._schedulers]}

    def _configured(self, config: Mapping[str, Any]) -> dict[str, Any]:
        pairs = zip(self._schedulers, config["_schedulers"], strict=True)
        return {**super()._configured(config), "_schedulers": [part._configured(c) for part, c in pairs]}

    def _agrees(self) -> bool:
        return all(part._agrees() for part in self._schedulers)

    def _loaded(self, state: Mapping[str, Any]) -> dict[str, Any]:
        loaded = super()._loaded(state)
        parts = loaded.get("_schedulers")
        if parts is None:
            raise ValueError(f"{type(self).__name__}.load_state_dict: missing ['_schedulers']")
        loaded["_schedulers"] = [part._loaded(s) for part, s in zip(self._schedulers, parts, strict=True)]
        return loaded

    def _set_loaded(self, loaded: dict[str, Any]) -> None:
        for part, values in zip(self._schedulers, loaded.pop("_schedulers"), strict=True):
            part._set_loaded(values)
        super()._set_loaded(loaded)

    def _extend_to_added_groups(self) -> None:
        """Do nothing: each part extends itself."""

    def __repr__(self) -> str:
        lines = ["  " + repr(part).replace("\n", "\n  ") + "," for part in self._schedulers]
        settings = [f"{name}={value!r}" for name, value in self._settings().items()]
        last = ", ".join(["]", *settings, f"last_epoch={self.last_epoch})"])
        return "\n".join([f"{type(self).__name__}([", *lines, last])

    def _settings(self) -> dict[str, Any]:
        return {}


class SequentialLR(_Composed):
    """One schedule after the other: `schedulers[i + 1]` replaces `schedulers[i]` at step `milestones[i]`.

    As in PyTorch's `SequentialLR`, each starts from the groups' rates before the first schedule.

    Args:
        optimizer: the optimizer of all the schedules.
        schedulers: schedules in order; none whose step takes a metric.
        milestones: the steps at which the next schedule starts, ascending, one fewer than schedules.

    Raises:
        TypeError, ValueError: a schedule is of another optimizer or kind, or the milestones do not fit.

    Example:
        >>> import numpy as np, xpconv
        >>> optimizer = xpconv.SGD([xpconv.Parameter(np.zeros(1))], lr=1.0)
        >>> warm_up = xpconv.LinearLR(optimizer, start_factor=0.5, total_iters=2)
        >>> decay = xpconv.ExponentialLR(optimizer, gamma=0.5)
        >>> schedule = xpconv.SequentialLR(optimizer, [warm_up, decay], milestones=[2])
        >>> rates = [schedule.get_last_lr()[0]]
        >>> for _ in range(4):
        ...     schedule.step()
        ...     rates += schedule.get_last_lr()
        >>> rates
        [0.5, 0.75, 1.0, 0.5, 0.25]
    """

    last_epoch: int

    def __init__(
        self, optimizer: Optimizer, schedulers: Sequence[LRScheduler], milestones: Sequence[int]
    ) -> None:
        groups_of("SequentialLR", optimizer)
        super().__init__(optimizer, schedulers)
        if not isinstance(milestones, list | tuple):
            raise TypeError(f"SequentialLR: milestones is {shown(milestones)}, expected a list of ints")
        steps = [to_int("SequentialLR: a milestone", m, 0) for m in milestones]
        if len(steps) != len(schedulers) - 1 or steps != sorted(steps):
            raise ValueError(
                f"SequentialLR: milestones is {milestones!r}, expected {len(schedulers) - 1} ascending steps "
                f"for {len(schedulers)} schedules"
            )
        self._milestones = steps
        for group in optimizer.param_groups:  # undo the first steps of the parts
            group["lr"] = group.setdefault("initial_lr", group["lr"])
        self._begin()

    def step(self) -> None:
        """Advance by one epoch (or batch)."""
        self.last_epoch += 1
        current = bisect_right(self._milestones, self.last_epoch)
        if self.last_epoch in self._milestones:
            self._schedulers[current]._restart()
        else:
            self._schedulers[current].step()

    def _begin(self) -> None:
        self.last_epoch = 0
        self._schedulers[bisect_right(self._milestones, 0)]._begin()

    def _restart(self) -> None:
        self.last_epoch = 0
        self._schedulers[bisect_right(self._milestones, 0)]._restart()

    def _settings(self) -> dict[str, Any]:
        return {"milestones": self._milestones}


class ChainedScheduler(_Composed):
    """Several schedules at once: each step is a step of all of them, so that their factors multiply.

    As PyTorch's `ChainedScheduler`.

    Args:
        schedulers: the schedules; none whose step takes a metric.
        optimizer: the optimizer of all the schedules; None takes that of the first.

    Raises:
        TypeError, ValueError: a schedule is of another optimizer or kind.

    Example:
        >>> import numpy as np, xpconv
        >>> optimizer = xpconv.SGD([xpconv.Parameter(np.zeros(1))], lr=1.0)
        >>> parts = [xpconv.ExponentialLR(optimizer, 0.5), xpconv.StepLR(optimizer, 2)]
        >>> schedule = xpconv.ChainedScheduler(parts)
        >>> schedule.step(), schedule.step()
        (None, None)
        >>> round(schedule.get_last_lr()[0], 6)
        0.025
    """

    last_epoch: int

    def __init__(self, schedulers: Sequence[LRScheduler], optimizer: Optimizer | None = None) -> None:
        super().__init__(optimizer, schedulers)

    def step(self) -> None:
        """Advance by one epoch (or batch)."""
        self.last_epoch += 1
        for part in self._schedulers:
            part.step()

    def _begin(self) -> None:
        self.last_epoch = 0
        for part in self._schedulers:
            part._begin()

    def _restart(self) -> None:
        self._schedulers[0]._restart()
        self.last_epoch = 0
        for part in self._schedulers[1:]:
            part._begin()

    def _loaded(self, state: Mapping[str, Any]) -> dict[str, Any]:
        if isinstance(state, Mapping) and "last_epoch" not in state:  # PyTorch saves only those of the parts
            state = {**state, "last_epoch": self.last_epoch}
        loaded = super()._loaded(state)
        return {**loaded, "last_epoch": loaded["_schedulers"][0]["last_epoch"]}
