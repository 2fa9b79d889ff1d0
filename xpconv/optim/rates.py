"""Schedules that depend only on the number of steps."""

from __future__ import annotations

import copy
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import BuiltinFunctionType, FunctionType
from typing import Any

from ..arguments import shown, to_float, to_int, to_size
from .base import Optimizer
from .schedule import LRScheduler, groups_of

__all__ = [
    "CosineAnnealingLR",
    "CosineAnnealingWarmRestarts",
    "ExponentialLR",
    "LambdaLR",
    "LinearLR",
    "MultiStepLR",
    "StepLR",
]


class StepLR(LRScheduler):
    """Multiply the rate by `gamma` every `step_size` steps.

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
        self.step_size: int = to_size("StepLR: step_size", step_size)
        self.gamma: float = to_float("StepLR: gamma", gamma)
        super().__init__(optimizer)

    def _rate(self, lr: float, base: float, t: int) -> float:
        return lr * self.gamma if t and t % self.step_size == 0 else lr


class MultiStepLR(LRScheduler):
    """Multiply the rate by `gamma` at each step in `milestones`.

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
        if not isinstance(milestones, Iterable) or getattr(milestones, "shape", None) == ():
            raise TypeError(f"MultiStepLR: milestones is {shown(milestones)}, expected a list of ints")
        self.milestones: Counter[int] = Counter(to_int("MultiStepLR: a milestone", m) for m in milestones)
        self.gamma: float = to_float("MultiStepLR: gamma", gamma)
        super().__init__(optimizer)

    def _rate(self, lr: float, base: float, t: int) -> float:
        return lr * self.gamma ** self.milestones[t]


class ExponentialLR(LRScheduler):
    """Multiply the rate by `gamma` every step.

    Example:
        >>> import numpy as np, xpconv
        >>> optimizer = xpconv.SGD([xpconv.Parameter(np.zeros(1))], lr=1.0)
        >>> schedule = xpconv.ExponentialLR(optimizer, gamma=0.5)
        >>> schedule.step()
        >>> schedule.get_last_lr()
        [0.5]
    """

    def __init__(self, optimizer: Optimizer, gamma: float) -> None:
        self.gamma: float = to_float("ExponentialLR: gamma", gamma)
        super().__init__(optimizer)

    def _rate(self, lr: float, base: float, t: int) -> float:
        return lr * self.gamma if t else lr


class LinearLR(LRScheduler):
    """Warm-up: a factor on the rate, from `start_factor` to `end_factor` linearly in `total_iters` steps.

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
        self.start_factor: float = to_float("LinearLR: start_factor", start_factor)
        self.end_factor: float = to_float("LinearLR: end_factor", end_factor)
        self.total_iters: float = to_float("LinearLR: total_iters", total_iters, 1)
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
    """The rate falls along a half cosine to `eta_min` in `T_max` steps, and rises again (Loshchilov, 2017).

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
        self.T_max: float = to_float("CosineAnnealingLR: T_max", T_max, 1)
        self.eta_min: float = to_float("CosineAnnealingLR: eta_min", eta_min)
        super().__init__(optimizer)

    def _rate(self, lr: float, base: float, t: int) -> float:
        if t == 0:
            return lr
        period = self.T_max
        if (t - 1 - period) % (2 * period) == 0:  # after the minimum, where the ratio would divide by 0
            return lr + (base - self.eta_min) * (1 - math.cos(math.pi / period)) / 2
        ratio = (1 + math.cos(math.pi * t / period)) / (1 + math.cos(math.pi * (t - 1) / period))
        return ratio * (lr - self.eta_min) + self.eta_min


class CosineAnnealingWarmRestarts(LRScheduler):
    """Half cosines that restart, after `T_0` steps, then each `T_mult` times as long (SGDR, 2017).

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

    T_mult: int

    def __init__(self, optimizer: Optimizer, T_0: int, T_mult: int = 1, eta_min: float = 0.0) -> None:
        name = "CosineAnnealingWarmRestarts"
        self.T_0, self.T_mult = to_size(f"{name}: T_0", T_0), to_size(f"{name}: T_mult", T_mult)
        self.eta_min: float = to_float(f"{name}: eta_min", eta_min)
        super().__init__(optimizer)

    def _rate(self, lr: float, base: float, t: int) -> float:
        t, length = self._place(t)
        return self.eta_min + (base - self.eta_min) * (1 + math.cos(math.pi * t / length)) / 2

    def _place(self, t: int) -> tuple[int, int]:
        """The number of steps since the latest restart, and the length of the present period."""
        length = self.T_0
        if self.T_mult == 1:
            return t % length, length
        while t >= length:
            t -= length
            length *= self.T_mult
        return t, length

    def state_dict(self) -> dict[str, Any]:
        """The schedule's settings, with PyTorch's `T_cur` and `T_i`, which follow from `last_epoch`."""
        at, length = self._place(self.last_epoch)
        return {**super().state_dict(), "T_cur": at, "T_i": length}


class LambdaLR(LRScheduler):
    """The initial rate times `lr_lambda(t)` after step `t`.

    `state_dict` contains no functions, as they cannot be saved, but their latest values; for a callable
    object it contains the object's attributes. To pickle the schedule, use a function that is defined in a
    module, not a `lambda`.

    Args:
        optimizer: the optimizer whose `lr` to set.
        lr_lambda: a function from the number of steps so far to the factor; or a list, one for each group.

    Raises:
        TypeError: `lr_lambda` is not callable.
        ValueError: the list has another length than the number of groups.

    Example:
        >>> import numpy as np, xpconv
        >>> optimizer = xpconv.SGD([xpconv.Parameter(np.zeros(1))], lr=1.0)
        >>> schedule = xpconv.LambdaLR(optimizer, lambda t: 0.5**t)
        >>> schedule.step(), schedule.step()
        (None, None)
        >>> schedule.get_last_lr()
        [0.25]
    """

    def __init__(
        self, optimizer: Optimizer, lr_lambda: Callable[[int], float] | Sequence[Callable[[int], float]]
    ) -> None:
        groups = groups_of("LambdaLR", optimizer)
        many = isinstance(lr_lambda, list | tuple)
        functions: list[Any] = list(lr_lambda) if many else [lr_lambda] * len(groups)  # type: ignore[arg-type]
        for function in functions:
            if not callable(function):
                raise TypeError(f"LambdaLR: lr_lambda is {shown(function)}, expected a function of the step")
        if len(functions) != len(groups):
            raise ValueError(f"LambdaLR: lr_lambda has {len(functions)} functions, expected {len(groups)}")
        self.lr_lambdas = functions
        super().__init__(optimizer)

    _apart = ("lr_lambdas",)
    _progress = (*LRScheduler._progress, "_factors")

    def _apply(self) -> None:
        groups = self.optimizer.param_groups
        if len(self.lr_lambdas) != len(groups):
            raise ValueError(
                f"LambdaLR.step: lr_lambda has {len(self.lr_lambdas)} functions but the optimizer now has "
                f"{len(groups)} groups; make the schedule after add_param_group"
            )
        self._factors = self._values()
        for group, base, factor in zip(groups, self.base_lrs, self._factors, strict=True):
            group["lr"] = base * factor

    def _values(self) -> list[float]:
        """The values of the functions at this step."""
        return [to_float("LambdaLR: lr_lambda's value", f(self.last_epoch)) for f in self.lr_lambdas]

    def _agrees(self) -> bool:
        return self._values() == self._factors

    def state_dict(self) -> dict[str, Any]:
        """The schedule's settings; `lr_lambdas` has None for a function, and the attributes of an object."""
        plain = (FunctionType, BuiltinFunctionType, type)
        values = [None if isinstance(f, plain) else getattr(f, "__dict__", None) for f in self.lr_lambdas]
        return {**super().state_dict(), "lr_lambdas": copy.deepcopy(values)}

    def _loaded(self, state: Mapping[str, Any]) -> dict[str, Any]:
        loaded = super()._loaded(state)
        for values in loaded["lr_lambdas"]:
            if not (
                values is None or (isinstance(values, Mapping) and all(isinstance(v, str) for v in values))
            ):
                raise TypeError(
                    f"LambdaLR.load_state_dict: lr_lambdas holds {shown(values)}, expected None or attributes"
                )
        return loaded

    def _set_loaded(self, loaded: dict[str, Any]) -> None:
        """Leave functions unchanged, and set the attributes of objects."""
        for function, values in zip(self.lr_lambdas, loaded.pop("lr_lambdas"), strict=True):
            if values is not None:
                vars(function).update(values)
        super()._set_loaded(loaded)

    def __repr__(self) -> str:
        names = ", ".join(getattr(f, "__name__", repr(f)) for f in self.lr_lambdas)
        return f"LambdaLR(lr_lambda=[{names}], last_epoch={self.last_epoch})"
