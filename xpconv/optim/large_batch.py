"""Optimizers for large batches: sign-based updates (Lion) and layer-wise trust ratios (LARS, LAMB)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from ..backend import Array
from ..sums import sum_over
from .base import Optimizer, Params, Run

__all__ = ["LAMB", "LARS", "Lion"]


class Lion(Optimizer):
    """Lion (Chen et al., 2023): steps of equal size in the direction of the sign.

        p = p · (1 - lr · weight_decay)
        p = p - lr · sign(β₁ m + (1 - β₁) grad)
        m = β₂ m + (1 - β₂) grad

    Args:
        params: parameters, or groups of them.
        lr: learning rate; a tenth to a third of Adam's.
        betas: β₁ and β₂.
        weight_decay: decoupled; three to ten times Adam's.

    Example:
        >>> import numpy as np, xpconv
        >>> p = xpconv.Parameter(np.array([1.0, 2.0]))
        >>> optimizer = xpconv.Lion([p], lr=0.1)
        >>> p.grad = np.array([3.0, -4.0])
        >>> optimizer.step()
        >>> p.data
        array([0.9, 2.1])
    """

    kernel = "lion"
    counted = False
    state_names: ClassVar[tuple[str, ...]] = ("exp_avg",)

    def __init__(
        self,
        params: Params,
        lr: float = 1e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, lr=lr, betas=betas, weight_decay=weight_decay)

    def _kernel_settings(self, group: dict[str, Any]) -> Sequence[float]:
        return tuple(group["betas"])

    def _moment_names(self, group: dict[str, Any]) -> Sequence[str]:
        return ("exp_avg",)

    def _update(self, p: Array, g: Array, run: Run) -> None:
        xp, (beta1, beta2) = self._backend.xp, run.group["betas"]
        self._decayed(p, g, run.group, decoupled=True)
        m = self._moment("exp_avg", run)
        step = xp.multiply(m, beta1, out=xp.empty_like(m))
        step += xp.multiply(g, 1 - beta1, out=xp.empty_like(g))
        xp.sign(step, out=step)
        step *= run.group["lr"]
        p -= step
        self._follow(m, beta2, g)


class LARS(Optimizer):
    """LARS (You et al., 2017): SGD with momentum, each parameter's step scaled to its own size.

        g = grad + weight_decay · p
        trust = trust_coefficient · |p| / (|grad| + weight_decay · |p| + eps)
        m = momentum · m + lr · trust · g
        p = p - m

    `trust` is 1 where |p| or |grad| is 0. Norms are each parameter's.

    Args:
        params: parameters, or groups of them; leave biases and norms out of the scaling with a group of
            `trust_coefficient=0`, which means trust 1.
        lr: learning rate.
        momentum: 0 leaves it out.
        weight_decay: L2 penalty.
        trust_coefficient: how far a step may change a parameter, relative to its size.
        eps: against division by zero.

    Example:
        >>> import numpy as np, xpconv
        >>> p = xpconv.Parameter(np.array([3.0, 4.0]))
        >>> optimizer = xpconv.LARS([p], lr=1.0, trust_coefficient=0.1)
        >>> p.grad = np.array([0.0, 50.0])
        >>> optimizer.step()
        >>> p.data.round(4)
        array([3. , 3.5])
    """

    not_negative: ClassVar[tuple[str, ...]] = (*Optimizer.not_negative, "trust_coefficient")

    kernel = "lars"
    counted = False
    by_element = False
    optional_names: ClassVar[tuple[str, ...]] = ("momentum_buffer",)

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        trust_coefficient: float = 1e-3,
        eps: float = 1e-8,
    ) -> None:
        super().__init__(
            params,
            lr=lr,
            momentum=momentum,
            weight_decay=weight_decay,
            trust_coefficient=trust_coefficient,
            eps=eps,
        )

    def _moment_names(self, group: dict[str, Any]) -> Sequence[str]:
        return ("momentum_buffer" if group["momentum"] else "",)

    def _kernel_settings(self, group: dict[str, Any]) -> Sequence[float]:
        return group["momentum"], group["trust_coefficient"], group["eps"]

    def _update(self, p: Array, g: Array, run: Run) -> None:
        xp, group, decay = self._backend.xp, run.group, run.group["weight_decay"]
        scaled = group["lr"] * self._decayed(p, g, group)
        if group["trust_coefficient"]:
            for part in run.parts:
                size, slope = norm(xp, p[part]), norm(xp, g[part])
                scales = (size > 0) & (slope > 0)
                whole = xp.where(scales, slope + decay * size + group["eps"], 1.0)
                scaled[part] *= xp.where(scales, group["trust_coefficient"] * size / whole, 1.0)
        if group["momentum"]:
            m = self._moment("momentum_buffer", run)
            m *= group["momentum"]
            m += scaled
            scaled = m
        p -= scaled


class LAMB(Optimizer):
    """LAMB (You et al., 2020): Adam, each parameter's step scaled to its own size. At step t:

        m, v as in Adam
        u = m̂ / (√v̂ + eps) + weight_decay · p
        p = p - lr · |p| / |u| · u                (|p| / |u| is 1 where either is 0)

    Args:
        params: parameters, or groups of them.
        lr: learning rate.
        betas: β₁ and β₂.
        eps: added to the root.
        weight_decay: decoupled from the averages.

    Example:
        >>> import numpy as np, xpconv
        >>> p = xpconv.Parameter(np.array([3.0, 4.0]))
        >>> optimizer = xpconv.LAMB([p], lr=0.1)
        >>> p.grad = np.array([1.0, -1.0])
        >>> optimizer.step()
        >>> p.data.round(4)
        array([2.6464, 4.3536])
    """

    kernel = "lamb"
    by_element = False
    state_names: ClassVar[tuple[str, ...]] = ("step", "exp_avg", "exp_avg_sq")

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)

    def _moment_names(self, group: dict[str, Any]) -> Sequence[str]:
        return "exp_avg", "exp_avg_sq"

    def _kernel_settings(self, group: dict[str, Any]) -> Sequence[float]:
        return *group["betas"], group["eps"]

    def _update(self, p: Array, g: Array, run: Run) -> None:
        xp, group, (beta1, beta2) = self._backend.xp, run.group, run.group["betas"]
        m, v = self._averages(g, run)
        u = m / (1 - beta1**run.step) / (xp.sqrt(v / (1 - beta2**run.step)) + group["eps"])
        u += group["weight_decay"] * p
        for part in run.parts:
            size, step = norm(xp, p[part]), norm(xp, u[part])
            scales = (size > 0) & (step > 0)
            u[part] *= xp.where(scales, size / xp.where(scales, step, 1.0), 1.0)
        p -= group["lr"] * u


def norm(xp: Any, x: Array) -> Array:
    """Euclidean norm, a 0-d array on the device."""
    return xp.sqrt(sum_over(x * x, tuple(range(x.ndim))))
