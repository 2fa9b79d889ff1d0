"""When the schedule of the learning rate makes a step."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ..arguments import shown, to_choice
from ..optim import OneCycleLR, ReduceLROnPlateau
from ..signatures import is_ours
from .objective import length_of
from .run import Run

PROGRESS = (  # what is in the state of a schedule besides its settings
    "last_epoch", "base_lrs", "_step_count", "_last_lr", "best", "num_bad_epochs", "cooldown_counter",
)  # fmt: skip
MOST = 10_000_000  # steps of a schedule that are repeated, in some seconds


class Timetable:
    """When the schedule makes a step."""

    def __init__(
        self, where: str, schedule: Any, per: Any, monitor: Any, run: Run, group: int, resumes: bool = False
    ) -> None:
        self.where, self.schedule, self.run, self.group = where, schedule, run, group
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
        if resumes:
            self.given = schedule.state_dict()
            run.on_load = self._resume
        self._check_length(0 if resumes else schedule.last_epoch)

    def _check_length(self, done: int, epochs: int = 0, batch: int = 0) -> None:
        """Raise an error if a OneCycleLR that has made `done` steps has not enough for the rest.

        So many epochs have ended, and of the present one so many batches are done.
        """
        schedule, batches, group = self.schedule, length_of(self.run.train), self.group
        if not isinstance(schedule, OneCycleLR) or batches is None or self.run.epochs <= epochs:
            return
        needed = self.run.epochs - epochs
        if self.per == "step":
            needed = (needed - 1) * math.ceil(batches / group) + math.ceil((batches - batch) / group)
        if done + needed > schedule.total_steps:
            made = f" and has made {done}" * (done > 0)
            rest = (
                f"the rest of {self.run.epochs} epochs has"
                if epochs or batch
                else f"{self.run.epochs} epochs have"
            )
            fix = (
                f"total_steps={done + needed}"
                if epochs or batch
                else f"{'a new one ' * (done > 0)}total_steps={needed}"
            )
            raise ValueError(
                f"{self.where}: OneCycleLR has total_steps={schedule.total_steps}{made}, but {rest} {needed} "
                f"steps; give {fix}"
            )

    def _resume(self, epochs: int, batch: int) -> None:
        """Called when the schedule of a saved run is loaded: if the given one has other settings, they count.

        It is then set to where it would be after as many steps.
        """
        schedule, given = self.schedule, self.given
        saved = schedule.state_dict()
        if epochs >= self.run.epochs:
            return
        done = saved["last_epoch"]
        if is_ours(type(schedule)) and repr(_settings(saved)) != repr(_settings(given)):
            if self.plateau:  # it depends on values, which are not there any more
                schedule.load_state_dict({**given, **{k: v for k, v in saved.items() if k in PROGRESS}})
                return
            schedule.load_state_dict(given)
            self._check_length(done, epochs, batch)
            if done > MOST:
                raise ValueError(
                    f"{self.where}: schedule has other settings, and {done} steps, too many to repeat"
                )
            schedule._restart()
            for _ in range(done):
                schedule.step()
        self._check_length(done, epochs, batch)

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


def _settings(state: Any) -> Any:
    """A state of a schedule without its progress."""
    if isinstance(state, Mapping):
        return {str(name): _settings(value) for name, value in state.items() if name not in PROGRESS}
    return [_settings(value) for value in state] if isinstance(state, list | tuple) else state


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
