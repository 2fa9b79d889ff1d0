"""Optimizers that scale each element's step by the size of its past gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from ..backend import Array
from .base import Optimizer, Params, Run
from .state import COMMON

__all__ = ["Adadelta", "Adagrad", "RMSprop"]


class RMSprop(Optimizer):
    """RMSprop (Hinton, 2012), as `torch.optim.RMSprop`.

        g = grad + weight_decay · p
        v = α v + (1 - α) g²
        p = p - lr · g / (√v + eps)

    `centered` replaces v by the variance `v - ḡ²`, where ḡ is the average of g. The variance is at least the
    rounding error of v; PyTorch gives NaN where rounding makes it negative. `momentum` accumulates the scaled
    gradients: `b = momentum · b + g / (√v + eps)`, `p = p - lr · b`.

    Args:
        params: parameters, or groups of them.
        lr: learning rate.
        alpha: α.
        eps: added to the root.
        weight_decay: L2 penalty, added to the gradient.
        momentum, centered: see above.
        maximize: go up the gradient instead of down.

    Example:
        >>> import numpy as np, xpconv
        >>> p = xpconv.Parameter(np.array([1.0, 2.0]))
        >>> optimizer = xpconv.RMSprop([p], lr=0.1)
        >>> p.grad = np.array([3.0, -4.0])
        >>> optimizer.step()
        >>> p.data.round(4)
        array([0., 3.])
    """

    not_negative: ClassVar[tuple[str, ...]] = (*Optimizer.not_negative, "alpha")

    kernel = "rmsprop"
    counted = False
    state_names: ClassVar[tuple[str, ...]] = ("step", "square_avg")
    optional_names: ClassVar[tuple[str, ...]] = ("momentum_buffer", "grad_avg")
    torch_settings: ClassVar[dict[str, Any]] = COMMON

    def __init__(
        self,
        params: Params,
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params,
            lr=lr,
            alpha=alpha,
            eps=eps,
            weight_decay=weight_decay,
            momentum=momentum,
            centered=centered,
            maximize=maximize,
        )

    def _kernel_settings(self, group: dict[str, Any]) -> Sequence[float]:
        return group["alpha"], group["eps"], group["momentum"], self._rounding()

    def _moment_names(self, group: dict[str, Any]) -> Sequence[str]:
        return (
            "square_avg",
            "grad_avg" if group["centered"] else "",
            "momentum_buffer" if group["momentum"] else "",
        )

    def _rounding(self) -> float:
        """The relative rounding error: a variance below this fraction of v is rounding noise."""
        return float(self._backend.xp.finfo(self._data.dtype).eps)

    def _update(self, p: Array, g: Array, run: Run) -> None:
        xp, group, alpha = self._backend.xp, run.group, run.group["alpha"]
        g = self._decayed(p, g, group)
        v = self._moment("square_avg", run)
        self._follow(v, alpha, g, g)
        step = xp.empty_like(v)
        if group["centered"]:
            mean = self._moment("grad_avg", run)
            self._follow(mean, alpha, g)
            xp.multiply(mean, mean, out=step)
            variance = xp.subtract(v, step, out=step)
            least = xp.multiply(v, self._rounding(), out=xp.empty_like(v))
            v = xp.maximum(least, variance, out=step)
        xp.sqrt(v, out=step)
        step += group["eps"]
        scaled = xp.divide(g, step, out=step)
        if group["momentum"]:
            momentum = self._moment("momentum_buffer", run)
            momentum *= group["momentum"]
            momentum += scaled
            scaled = momentum
        p -= xp.multiply(scaled, group["lr"], out=step)


class Adagrad(Optimizer):
    """Adagrad (Duchi et al., 2011), as `torch.optim.Adagrad`. At step t:

        g = grad + weight_decay · p
        v = v + g²                                            (starts at initial_accumulator_value)
        p = p - lr / (1 + (t - 1) · lr_decay) · g / (√v + eps)

    Args:
        params: parameters, or groups of them.
        lr: learning rate.
        lr_decay: of the learning rate over the steps.
        weight_decay: L2 penalty, added to the gradient.
        initial_accumulator_value: where v starts.
        eps: added to the root.
        maximize: go up the gradient instead of down.

    Example:
        >>> import numpy as np, xpconv
        >>> p = xpconv.Parameter(np.array([1.0, 2.0]))
        >>> optimizer = xpconv.Adagrad([p], lr=0.1)
        >>> p.grad = np.array([3.0, -4.0])
        >>> optimizer.step()
        >>> p.data.round(4)
        array([0.9, 2.1])
    """

    not_negative: ClassVar[tuple[str, ...]] = (
        *Optimizer.not_negative,
        "lr_decay",
        "initial_accumulator_value",
    )

    kernel = "adagrad"
    state_names: ClassVar[tuple[str, ...]] = ("step", "sum")
    starts_with_state = True
    torch_settings: ClassVar[dict[str, Any]] = {"foreach": None, "differentiable": False, "fused": None}

    def __init__(
        self,
        params: Params,
        lr: float = 1e-2,
        lr_decay: float = 0.0,
        weight_decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
        eps: float = 1e-10,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params,
            lr=lr,
            lr_decay=lr_decay,
            weight_decay=weight_decay,
            initial_accumulator_value=initial_accumulator_value,
            eps=eps,
            maximize=maximize,
        )

    def _kernel_settings(self, group: dict[str, Any]) -> Sequence[float]:
        return group["lr_decay"], group["eps"]

    def _moment_names(self, group: dict[str, Any]) -> Sequence[str]:
        return ("sum",)

    def _new_moment(self, name: str) -> Array:
        v, start = super()._new_moment(name), 0
        for group in self.param_groups:
            stop = start + sum(parameter.size for parameter in group["params"])
            v[start:stop] = group["initial_accumulator_value"]
            start = stop
        return v

    def _update(self, p: Array, g: Array, run: Run) -> None:
        xp, group = self._backend.xp, run.group
        g = self._decayed(p, g, group)
        v = self._moment("sum", run)
        step = xp.empty_like(v)
        v += xp.multiply(g, g, out=step)
        xp.sqrt(v, out=step)
        step += group["eps"]
        xp.divide(g, step, out=step)
        step *= group["lr"] / (1 + (run.step - 1) * group["lr_decay"])
        p -= step


class Adadelta(Optimizer):
    """Adadelta (Zeiler, 2012), as `torch.optim.Adadelta`: steps are scaled by the size of past steps.

        g = grad + weight_decay · p
        v = ρ v + (1 - ρ) g²
        Δ = √(d + eps) / √(v + eps) · g
        d = ρ d + (1 - ρ) Δ²
        p = p - lr · Δ

    Args:
        params: parameters, or groups of them.
        lr: factor of the steps.
        rho: ρ, from 0 to 1.
        eps: added under both roots.
        weight_decay: L2 penalty, added to the gradient.
        maximize: go up the gradient instead of down.

    Example:
        >>> import numpy as np, xpconv
        >>> p = xpconv.Parameter(np.array([1.0, 2.0]))
        >>> optimizer = xpconv.Adadelta([p], lr=100.0)
        >>> p.grad = np.array([3.0, -4.0])
        >>> optimizer.step()
        >>> p.data.round(4)
        array([0.6838, 2.3162])
    """

    not_negative: ClassVar[tuple[str, ...]] = (*Optimizer.not_negative, "rho")

    kernel = "adadelta"
    counted = False
    state_names: ClassVar[tuple[str, ...]] = ("step", "square_avg", "acc_delta")
    torch_settings: ClassVar[dict[str, Any]] = COMMON

    def __init__(
        self,
        params: Params,
        lr: float = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(params, lr=lr, rho=rho, eps=eps, weight_decay=weight_decay, maximize=maximize)

    def _check(self, group: dict[str, Any]) -> None:
        super()._check(group)
        if group["rho"] > 1:
            raise ValueError(f"Adadelta: rho is {group['rho']}, expected a number from 0 to 1")

    def _kernel_settings(self, group: dict[str, Any]) -> Sequence[float]:
        return group["rho"], group["eps"]

    def _moment_names(self, group: dict[str, Any]) -> Sequence[str]:
        return "square_avg", "acc_delta"

    def _update(self, p: Array, g: Array, run: Run) -> None:
        xp, group, rho = self._backend.xp, run.group, run.group["rho"]
        g = self._decayed(p, g, group)
        v, d = self._moment("square_avg", run), self._moment("acc_delta", run)
        self._follow(v, rho, g, g)
        step = xp.add(d, group["eps"], out=xp.empty_like(d))
        root = xp.add(v, group["eps"], out=xp.empty_like(v))
        xp.sqrt(step, out=step)
        step /= xp.sqrt(root, out=root)
        step *= g
        self._follow(d, rho, step, step)
        step *= group["lr"]
        p -= step
