"""When the schedule of the learning rate makes a step."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from typing import Any

from ..arguments import shown, to_choice
from ..errors import StateDictError
from ..optim import OneCycleLR, ReduceLROnPlateau
from ..signatures import is_ours
from .objective import length_of
from .run import Run, no_value

MOST = 10_000_000  # steps of a schedule that are repeated, in some seconds


class Timetable:
    """When the schedule makes a step."""

    where: str
    schedule: Any
    run: Run
    group: int

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
        self.plateau: bool = isinstance(schedule, ReduceLROnPlateau)
        if monitor is not None and not self.plateau:
            raise ValueError(
                f"{where}: monitor is for ReduceLROnPlateau, schedule is a {type(schedule).__name__}"
            )
        if self.plateau:
            self.monitor: str = _checked_monitor(where, schedule, monitor, run)
            if self.per == "step":
                raise ValueError(
                    f"{where}: ReduceLROnPlateau takes a value per epoch; leave schedule_per out"
                )
        if resumes:
            self.given: dict[str, Any] | Any = schedule._config()
        self._check_length(0 if resumes else schedule.last_epoch)
        if not resumes and self._counts_batches():
            batches = schedule.total_steps
            steps = run.epochs * math.ceil(batches // run.epochs / group)
            warnings.warn(
                f"{where}: OneCycleLR has total_steps={batches}, the number of batches, but with accumulate="
                f"{group} there are {steps} steps, after which the learning rate is still high; give "
                f"total_steps={steps}, or steps_per_epoch=math.ceil(len(train) / {group})",
                RuntimeWarning,
                stacklevel=4,
            )

    def _counts_batches(self) -> bool:
        """Whether a new OneCycleLR has a step for each batch where several batches make one step."""
        schedule, batches = self.schedule, length_of(self.run.train)
        return (
            isinstance(schedule, OneCycleLR)
            and self.per == "step"
            and self.group > 1
            and schedule.last_epoch == 0
            and batches is not None
            and batches > 1
            and schedule.total_steps == self.run.epochs * batches
        )

    def _check_length(self, done: int, epochs: int = 0, batch: int = 0) -> None:
        """Raise an error if a OneCycleLR that has made `done` steps has not enough for the rest.

        `epochs` have ended, and `batch` batches of the present one are done.
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

    def state_dict(self) -> dict[str, Any]:
        """The arguments of `fit` that a resumed run is compared with."""
        none = self.schedule is None
        return {
            "accumulate": self.group,
            "schedule_per": None if none else self.per,
            "monitor": self.monitor if not none and self.plateau else None,
        }

    def resume(self, state: Any, epochs: int, batch: int) -> None:
        """Called when all else of a saved run is loaded, with what `state_dict` returned then.

        `epochs` had ended, and `batch` batches of the next one were done. If the given schedule has
        other settings than the saved one, they are used.
        """
        where, own = self.where, self.state_dict()
        if not isinstance(state, Mapping) or set(state) != set(own):
            raise StateDictError(f"{where}: the timetable is {shown(state)}, expected {', '.join(own)}")
        if batch and state["accumulate"] != own["accumulate"]:
            raise StateDictError(
                f"{where}: it was saved within epoch {epochs + 1}, with accumulate="
                f"{shown(state['accumulate'])}; this run has {own['accumulate']}; give that of the saved run "
                "until the epoch ends, or resume from the end of an epoch"
            )
        if self.schedule is None:
            return
        if state["schedule_per"] != own["schedule_per"]:
            raise StateDictError(
                f"{where}: it was saved with schedule_per={shown(state['schedule_per'])}; this run has "
                f"{own['schedule_per']!r}, which would count in another unit; give that of the saved run"
            )
        if epochs < self.run.epochs:
            self._resume_schedule(state["monitor"] == own["monitor"], epochs, batch)
            self._check_length(self.schedule.last_epoch, epochs, batch)

    def _resume_schedule(self, same_monitor: bool, epochs: int, batch: int) -> None:
        """Give the loaded schedule the given settings, and set it to where it would be with them."""
        schedule, given = self.schedule, self.given
        loaded = schedule._config()
        if self.plateau:  # its place depends on the metric's values, which it does not store
            schedule.load_state_dict(schedule._configured(given))
            if not same_monitor or loaded["mode"] != given["mode"]:
                schedule._forget()
            return
        if not _repeatable(schedule) or (_plain(loaded) == _plain(given) and schedule._agrees()):
            return
        done = schedule.last_epoch
        if done > MOST:
            raise ValueError(
                f"{self.where}: schedule has other settings, and {done} steps, too many to repeat"
            )
        groups = schedule.optimizer.param_groups
        rates = [{name: value for name, value in group.items() if name != "params"} for group in groups]
        saved = schedule.state_dict()
        schedule.load_state_dict(schedule._configured(given))
        self._check_length(done, epochs, batch)
        schedule._restart()
        schedule.load_state_dict(
            schedule._configured(given)
        )  # again: setting the first rate changes some of it
        for _ in range(done):
            schedule.step()
        if _plain(schedule.state_dict()) == _plain(saved):  # the steps themselves have changed an attribute
            for group, settings in zip(groups, rates, strict=True):
                group.update(settings)

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


def initial_rates(run: Run) -> list[float]:
    """The rates of the groups before the schedule."""
    schedule = run.schedule
    while hasattr(schedule, "_schedulers"):
        schedule = schedule._schedulers[0]
    return list(getattr(schedule, "base_lrs", [group["lr"] for group in run.optimizer.param_groups]))


def _repeatable(schedule: Any) -> bool:
    """Whether the place of a schedule follows from the number of its steps.

    That of a class with a `step` of its own may depend on anything.
    """
    return is_ours(type(schedule).step) and all(map(_repeatable, getattr(schedule, "_schedulers", ())))


def _plain(state: Any) -> Any:
    """A state without the present rates, to be compared: the text of what JSON makes of it."""
    if isinstance(state, Mapping):
        return repr({str(name): _plain(value) for name, value in state.items() if name != "_last_lr"})
    if hasattr(state, "tolist"):
        state = state.tolist()
    return repr([_plain(value) for value in state] if isinstance(state, list | tuple) else state)


def _checked_monitor(where: str, schedule: ReduceLROnPlateau, monitor: Any, run: Run) -> str:
    """The name of the value for the schedule."""
    modes = run.history.modes
    if run.valid is None:
        modes = {name: mode for name, mode in modes.items() if not name.startswith("valid_")}
    if monitor is None:
        monitor = "loss" if run.valid is None else "valid_loss"
    elif not isinstance(monitor, str) or monitor not in modes:
        raise no_value(f"{where}: monitor", monitor, modes, run)
    if modes[monitor] not in (None, schedule.mode):
        raise ValueError(
            f"{where}: ReduceLROnPlateau has mode={schedule.mode!r}, but {monitor} is better if it is "
            f"{'small' if modes[monitor] == 'min' else 'large'}; change the mode, or give monitor="
        )
    return str(monitor)
