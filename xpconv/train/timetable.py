"""When the schedule of the learning rate makes a step."""

from __future__ import annotations

import math
from typing import Any

from ..arguments import shown, to_choice
from ..optim import OneCycleLR, ReduceLROnPlateau
from .objective import length_of
from .run import Run


class Timetable:
    """When the schedule makes a step."""

    def __init__(
        self, where: str, schedule: Any, per: Any, monitor: Any, run: Run, group: int, resumes: bool = False
    ) -> None:
        self.schedule = schedule
        if schedule is None:
            for name, value in (("schedule_per", per), ("monitor", monitor)):
                if value is not None:
                    raise ValueError(f"{where}: {name} is {shown(value)}, but there is no schedule")
            return
        if per is not None:
            per = to_choice(f"{where}: schedule_per", per, ("epoch", "step"))
        self.per = per or ("step" if isinstance(schedule, OneCycleLR) else "epoch")
        self.plateau = isinstance(schedule, ReduceLROnPlateau)
        if monitor is not None and not self.plateau:
            raise ValueError(
                f"{where}: monitor is for ReduceLROnPlateau, schedule is a {type(schedule).__name__}"
            )
        if self.plateau:
            self.monitor = _checked_monitor(where, schedule, monitor, run)
            if self.per == "step":
                raise ValueError(
                    f"{where}: ReduceLROnPlateau takes a value per epoch; leave schedule_per out"
                )
        batches = length_of(run.train)
        if isinstance(schedule, OneCycleLR) and batches is not None:
            needed = run.epochs * (math.ceil(batches / group) if self.per == "step" else 1)
            done = 0 if resumes else schedule.last_epoch
            if done + needed > schedule.total_steps:
                made = f" and has made {done}" * (done > 0)
                raise ValueError(
                    f"{where}: OneCycleLR has total_steps={schedule.total_steps}{made}, but {run.epochs} "
                    f"epochs have {needed} steps; give {'a new one ' * (done > 0)}total_steps={needed}"
                )

    def after_step(self) -> None:
        """Called after each update."""
        if self.schedule is not None and self.per == "step":
            self.schedule.step()

    def after_epoch(self, row: dict[str, float]) -> None:
        """Called after each epoch, with its values."""
        if self.schedule is None or self.per == "step":
            return
        if self.plateau:
            if self.monitor not in row:
                raise ValueError(f"fit: monitor is {self.monitor!r}, expected one of {', '.join(row)}")
            self.schedule.step(row[self.monitor])
        else:
            self.schedule.step()


def _checked_monitor(where: str, schedule: ReduceLROnPlateau, monitor: Any, run: Run) -> str:
    """The name of the value for the schedule."""
    modes = run.history.modes
    if run.valid is None:
        modes = {name: mode for name, mode in modes.items() if not name.startswith("valid_")}
    if monitor is None:
        monitor = "loss" if run.valid is None else "valid_loss"
    elif not isinstance(monitor, str) or monitor not in modes:
        raise ValueError(f"{where}: monitor is {shown(monitor)}, expected one of {', '.join(modes)}")
    if modes[monitor] not in (None, schedule.mode):
        raise ValueError(
            f"{where}: ReduceLROnPlateau has mode={schedule.mode!r}, but {monitor} is better if it is "
            f"{'small' if modes[monitor] == 'min' else 'large'}; change the mode, or give monitor="
        )
    return str(monitor)
