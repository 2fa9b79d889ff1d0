"""Learning-rate schedules, with the names and formulas of `torch.optim.lr_scheduler`.

Make one after the optimizer and call `step()` once per epoch (`OneCycleLR`: once per batch), after
`optimizer.step()`. Each step computes the new rate from the present one, so schedules can be chained.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from ..arguments import shown, to_bool, to_float, to_int
from ..signatures import public_errors
from .base import Optimizer

__all__ = ["LRScheduler"]

TORCH_ONLY = {  # entries of PyTorch's states that follow from the others
    "_step_count", "_last_lr", "_get_lr_called_within_step", "_is_initial", "verbose", "T_cur", "T_i",
    "_schedule_phases", "_anneal_func_type", "use_beta1", "default_min_lr", "mode_worse",
}  # fmt: skip


@public_errors
class LRScheduler:
    """Base of all schedules: counts steps and sets each group's `lr` to the result of `_rate`.

    Pickle or `copy.deepcopy` a schedule together with its optimizer, in one call.

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

    last_epoch: int
    _apart: ClassVar[tuple[str, ...]] = ()  # attributes that a subclass adds to the state itself
    _progress: ClassVar[tuple[str, ...]] = ("last_epoch", "base_lrs")  # attributes that are no settings

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        public_errors(cls)

    def __init__(self, optimizer: Optimizer) -> None:
        self.optimizer = optimizer
        groups = groups_of(type(self).__name__, optimizer)
        self.base_lrs: list[float] = [float(g.setdefault("initial_lr", g["lr"])) for g in groups]
        self._begin()

    def step(self) -> None:
        """Advance by one epoch (or batch)."""
        self.last_epoch += 1
        self._apply()

    def get_last_lr(self) -> list[float]:
        """The present rate of each group."""
        return [group["lr"] for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """The settings and the number of steps so far, with PyTorch's names.

        The rates themselves are in the optimizer's state: save and load both. PyTorch's schedule of the same
        name can load it.

        Example:
            >>> import numpy as np, xpconv
            >>> optimizer = xpconv.SGD([xpconv.Parameter(np.zeros(1))], lr=1.0)
            >>> schedule = xpconv.StepLR(optimizer, step_size=2)
            >>> schedule.step()
            >>> schedule.state_dict()["last_epoch"]
            1
        """
        self._extend_to_added_groups()
        state = {name: value for name, value in vars(self).items() if name not in ("optimizer", *self._apart)}
        return {**copy.deepcopy(state), "_step_count": self.last_epoch + 1, "_last_lr": self.get_last_lr()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Load what `state_dict` returned, here or in PyTorch; load the optimizer's state as well.

        Raises:
            TypeError: `state` is not a mapping, or an entry has another type than the present one.
            ValueError: entries are missing or unknown, as from another schedule, or the number of groups
                differs. Nothing has changed then.
        """
        self._set_loaded(self._loaded(state))

    def _set_loaded(self, loaded: dict[str, Any]) -> None:
        """Set the attributes that `_loaded` returned."""
        self.__dict__.update(loaded)

    def _loaded(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """The attributes that `load_state_dict` sets, checked."""
        where = f"{type(self).__name__}.load_state_dict"
        if not isinstance(state, Mapping):
            raise TypeError(
                f"{where}: state is {type(state).__name__}, expected a mapping, as state_dict() returns"
            )
        self._extend_to_added_groups()
        own = {name: value for name, value in vars(self).items() if name != "optimizer"}
        missing = [name for name in own if name not in state and not name.startswith("_")]
        unknown = [name for name in state if name not in own and name not in TORCH_ONLY]
        if missing or unknown:
            raise ValueError(
                f"{where}: missing {missing}, unknown {unknown}; expected that of a {type(self).__name__}"
            )
        return {name: _like(f"{where}: {name}", state[name], own[name]) for name in own if name in state}

    def _config(self) -> dict[str, Any]:
        """The entries of the state that are settings."""
        return {
            name: value
            for name, value in self.state_dict().items()
            if name in vars(self) and name not in self._progress
        }

    def _configured(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """The present state with other settings, which `_config` returned."""
        return {**self.state_dict(), **config}

    def _agrees(self) -> bool:
        """Whether the schedule computes what a loaded state has, apart from the settings."""
        return True

    def _restart(self) -> None:
        """Start again, at the initial rates."""
        self._extend_to_added_groups()
        for group, base in zip(self.optimizer.param_groups, self.base_lrs, strict=True):
            group["lr"] = base
        self._begin()

    def _extend_to_added_groups(self) -> None:
        """Add the initial rates of groups that were added to the optimizer."""
        for group in self.optimizer.param_groups[len(self.base_lrs) :]:
            self.base_lrs.append(float(group.setdefault("initial_lr", group["lr"])))

    def _begin(self) -> None:
        """Set the first rates; each group's `lr` is the rate to start from."""
        self.last_epoch = 0
        self._apply()

    def _apply(self) -> None:
        self._extend_to_added_groups()
        for group, base in zip(self.optimizer.param_groups, self.base_lrs, strict=True):
            group["lr"] = self._rate(group["lr"], base, self.last_epoch)

    def _rate(self, lr: float, base: float, t: int) -> float:
        """The rate after step `t`, computed from the present rate `lr` and the initial rate `base`."""
        raise TypeError(f"{type(self).__name__} defines no _rate(lr, base, t)")

    def __repr__(self) -> str:
        """The settings, and the number of steps so far."""
        state = {k: v for k, v in vars(self).items() if k not in ("optimizer", "base_lrs") and k[0] != "_"}
        state = {k: dict(v) if isinstance(v, Counter) else v for k, v in state.items()}
        settings = [f"{name}={value!r}" for name, value in state.items() if name != "last_epoch"]
        return f"{type(self).__name__}({', '.join([*settings, f'last_epoch={self.last_epoch}'])})"


def groups_of(name: str, optimizer: Optimizer) -> list[dict[str, Any]]:
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"{name}: optimizer is {shown(optimizer)}, expected an Optimizer")
    return optimizer.param_groups


def each_group(where: str, value: float | Sequence[float], groups: int) -> list[float]:
    """A number for each group: one for all, or a sequence."""
    values = value if isinstance(value, Sequence) and not isinstance(value, str) else [value] * groups
    return [to_float(where, v) for v in values]


def _like(where: str, new: Any, old: Any) -> Any:
    """An entry of a state, converted to the type of the present one."""
    if isinstance(old, bool):
        return to_bool(where, new)
    if isinstance(old, int):
        return to_int(where, new)
    if isinstance(old, float):
        return to_float(where, new)
    if isinstance(old, Counter) and isinstance(new, Mapping):  # JSON turns the keys into strings
        numbers = {int(key) if str(key).isdecimal() else key: value for key, value in new.items()}
        return Counter({to_int(where, key): to_int(where, value) for key, value in numbers.items()})
    if isinstance(old, list) and isinstance(new, list | tuple):
        if len(new) != len(old):
            raise ValueError(f"{where} has {len(new)} entries, expected {len(old)}")
        return [_like(where, *pair) for pair in zip(new, old, strict=True)]
    if isinstance(old, str | list | Counter) and not isinstance(new, type(old)):
        raise TypeError(f"{where} is {new!r}, expected {type(old).__name__}")
    return copy.deepcopy(new)
