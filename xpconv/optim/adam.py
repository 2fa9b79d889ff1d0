"""Adam and its variants: averages of the gradient and of its square."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

from ..backend import Array
from .base import Optimizer, Params, Run
from .state import COMMON

__all__ = ["Adam", "AdamW", "Adamax", "NAdam", "RAdam"]


class Adam(Optimizer):
    """Adam (Kingma and Ba, 2015), as `torch.optim.Adam`. At step t:

        g = grad + weight_decay · p
        m = β₁ m + (1 - β₁) g,    v = β₂ v + (1 - β₂) g²
        p = p - lr · m̂ / (√v̂ + eps)    with m̂ = m / (1 - β₁ᵗ), v̂ = v / (1 - β₂ᵗ)

    Args:
        params: parameters, or groups of them.
        lr: learning rate.
        betas: β₁ and β₂.
        eps: added to the root.
        weight_decay: L2 penalty, added to the gradient (see `AdamW` for the decoupled one).
        amsgrad: use the largest v so far (Reddi et al., 2018).
        maximize: go up the gradient instead of down.

    Example:
        >>> import numpy as np, xpconv
        >>> p = xpconv.Parameter(np.array([1.0, 2.0]))
        >>> optimizer = xpconv.Adam([p], lr=0.1)
        >>> p.grad = np.array([3.0, -4.0])
        >>> optimizer.step()
        >>> p.data.round(6)
        array([0.9, 2.1])
    """

    decoupled: ClassVar[bool] = False
    kernel = "adam"
    state_names: ClassVar[tuple[str, ...]] = ("step", "exp_avg", "exp_avg_sq")
    optional_names: ClassVar[tuple[str, ...]] = ("max_exp_avg_sq",)
    torch_settings: ClassVar[dict[str, Any]] = {**COMMON, "fused": None, "decoupled_weight_decay": False}

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, amsgrad=amsgrad, maximize=maximize
        )

    def _kernel_settings(self, group: dict[str, Any]) -> Sequence[float]:
        return (*group["betas"], group["eps"], self.decoupled)

    def _moment_names(self, group: dict[str, Any]) -> Sequence[str]:
        return "exp_avg", "exp_avg_sq", "max_exp_avg_sq" if group["amsgrad"] else ""

    def _update(self, p: Array, g: Array, run: Run) -> None:
        xp, group = self._backend.xp, run.group
        lr, (beta1, beta2) = group["lr"], group["betas"]
        m, v = self._averages(self._decayed(p, g, group, self.decoupled), run)
        if group["amsgrad"]:
            largest = self._moment("max_exp_avg_sq", run)
            v = xp.maximum(v, largest, out=largest)
        size = math.sqrt(1 - beta2**run.step)  # √v̂ = √v / size: a factor of the whole, and of eps
        step = xp.sqrt(v, out=xp.empty_like(v))
        step += group["eps"] * size
        xp.divide(m, step, out=step)
        step *= lr * size / (1 - beta1**run.step)
        p -= step


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2019), as `torch.optim.AdamW`.

    As `Adam`, but the decay does not enter the gradient: `p = p · (1 - lr · weight_decay)` first.

    Args:
        params, lr, betas, eps, amsgrad: as for `Adam`.
        weight_decay: default 0.01.
        maximize: go up the gradient instead of down.

    Example:
        >>> import numpy as np, xpconv
        >>> p = xpconv.Parameter(np.array([1.0]))
        >>> optimizer = xpconv.AdamW([p], lr=0.1, weight_decay=0.5)
        >>> p.grad = np.array([3.0])
        >>> optimizer.step()
        >>> p.data.round(6)
        array([0.85])
    """

    decoupled = True
    torch_settings: ClassVar[dict[str, Any]] = {**Adam.torch_settings, "decoupled_weight_decay": True}

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, maximize=maximize)


class NAdam(Optimizer):
    """Adam with Nesterov momentum (Dozat, 2016), as `torch.optim.NAdam`. At step t:

        μ_t = β₁ (1 - 0.5 · 0.96^(t · momentum_decay))
        m, v as in Adam
        p = p - lr / (√v̂ + eps) · ((1 - μ_t)/(1 - Π_{i≤t} μ_i) · g + μ_{t+1}/(1 - Π_{i≤t+1} μ_i) · m)

    Args:
        params, lr, betas, eps, weight_decay: as for `Adam`, with a default lr of 2e-3.
        momentum_decay: how fast μ rises to β₁.
        decoupled_weight_decay: decay as in `AdamW`.
        maximize: go up the gradient instead of down.

    Example:
        >>> import numpy as np, xpconv
        >>> p = xpconv.Parameter(np.array([1.0, 2.0]))
        >>> optimizer = xpconv.NAdam([p], lr=0.1)
        >>> p.grad = np.array([3.0, -4.0])
        >>> optimizer.step()
        >>> p.data.round(4)
        array([0.8944, 2.1056])
    """

    not_negative: ClassVar[tuple[str, ...]] = (*Optimizer.not_negative, "momentum_decay")

    by_element = False
    kernel = "nadam"
    state_names: ClassVar[tuple[str, ...]] = ("step", "mu_product", "exp_avg", "exp_avg_sq")
    torch_settings: ClassVar[dict[str, Any]] = COMMON

    def __init__(
        self,
        params: Params,
        lr: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum_decay: float = 4e-3,
        decoupled_weight_decay: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params,
            lr=lr,
            betas=betas,
            eps=eps,
            weight_decay=weight_decay,
            momentum_decay=momentum_decay,
            decoupled_weight_decay=decoupled_weight_decay,
            maximize=maximize,
        )

    def _kernel_settings(self, group: dict[str, Any]) -> Sequence[float]:
        return (*group["betas"], group["eps"], group["decoupled_weight_decay"], group["momentum_decay"])

    def _moment_names(self, group: dict[str, Any]) -> Sequence[str]:
        return "exp_avg", "exp_avg_sq", ""

    def _update(self, p: Array, g: Array, run: Run) -> None:
        group, t = run.group, run.step
        lr, (beta1, beta2) = group["lr"], group["betas"]
        g = self._decayed(p, g, group, group["decoupled_weight_decay"])
        m, v = self._averages(g, run)
        mu, mu_next = (beta1 * (1 - 0.5 * 0.96 ** (i * group["momentum_decay"])) for i in (t, t + 1))
        product = self._products[run.first] * mu
        self._products[run.first : run.first + len(run.parts)] = [product] * len(run.parts)
        root = self._backend.xp.sqrt(v)
        root /= math.sqrt(1 - beta2**t)
        root += group["eps"]
        p -= (lr * (1 - mu) / (1 - product) * g + lr * mu_next / (1 - product * mu_next) * m) / root


class RAdam(Optimizer):
    """Rectified Adam (Liu et al., 2020), as `torch.optim.RAdam`.

    With ρ_∞ = 2/(1 - β₂) - 1 and ρ_t = ρ_∞ - 2 t β₂ᵗ/(1 - β₂ᵗ), the effective length of the average v:
    while ρ_t ≤ 5 the step is `lr · m̂` without v; after that Adam's, times

        r_t = √((ρ_t - 4)(ρ_t - 2) ρ_∞ / ((ρ_∞ - 4)(ρ_∞ - 2) ρ_t))

    Args:
        params, lr, betas, eps, weight_decay: as for `Adam`.
        decoupled_weight_decay: decay as in `AdamW`.
        maximize: go up the gradient instead of down.

    Example:
        >>> import numpy as np, xpconv
        >>> p = xpconv.Parameter(np.array([1.0, 2.0]))
        >>> optimizer = xpconv.RAdam([p], lr=0.1)
        >>> p.grad = np.array([3.0, -4.0])
        >>> optimizer.step()
        >>> p.data.round(4)
        array([0.7, 2.4])
    """

    kernel = "radam"
    state_names: ClassVar[tuple[str, ...]] = ("step", "exp_avg", "exp_avg_sq")
    torch_settings: ClassVar[dict[str, Any]] = COMMON

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        decoupled_weight_decay: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params,
            lr=lr,
            betas=betas,
            eps=eps,
            weight_decay=weight_decay,
            decoupled_weight_decay=decoupled_weight_decay,
            maximize=maximize,
        )

    def _kernel_settings(self, group: dict[str, Any]) -> Sequence[float]:
        return (*group["betas"], group["eps"], group["decoupled_weight_decay"])

    def _moment_names(self, group: dict[str, Any]) -> Sequence[str]:
        return "exp_avg", "exp_avg_sq", ""

    def _update(self, p: Array, g: Array, run: Run) -> None:
        xp, group, t = self._backend.xp, run.group, run.step
        lr, (beta1, beta2) = group["lr"], group["betas"]
        g = self._decayed(p, g, group, group["decoupled_weight_decay"])
        m, v = self._averages(g, run)
        bias1, bias2 = 1 - beta1**t, 1 - beta2**t
        longest = 2 / (1 - beta2) - 1
        length = longest - 2 * t * beta2**t / bias2
        step = xp.empty_like(v)
        if length <= 5:
            p -= xp.multiply(m, lr / bias1, out=step)
            return
        rectified = (length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length)
        xp.sqrt(v, out=step)
        step += group["eps"]
        xp.divide(m, step, out=step)
        step *= lr / bias1 * math.sqrt(rectified * bias2)
        p -= step


class Adamax(Optimizer):
    """Adam scaled by the largest gradient instead of the mean square (Kingma and Ba, 2015).

    As `torch.optim.Adamax`:

        g = grad + weight_decay · p
        m = β₁ m + (1 - β₁) g,    u = max(β₂ u, |g| + eps)
        p = p - lr / (1 - β₁ᵗ) · m / u

    Args:
        params, lr, betas, eps, weight_decay: as for `Adam`, with a default lr of 2e-3.
        maximize: go up the gradient instead of down.

    Example:
        >>> import numpy as np, xpconv
        >>> p = xpconv.Parameter(np.array([1.0, 2.0]))
        >>> optimizer = xpconv.Adamax([p], lr=0.1)
        >>> p.grad = np.array([3.0, -4.0])
        >>> optimizer.step()
        >>> p.data.round(4)
        array([0.9, 2.1])
    """

    kernel = "adamax"
    state_names: ClassVar[tuple[str, ...]] = ("step", "exp_avg", "exp_inf")
    torch_settings: ClassVar[dict[str, Any]] = COMMON

    def __init__(
        self,
        params: Params,
        lr: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, maximize=maximize)

    def _kernel_settings(self, group: dict[str, Any]) -> Sequence[float]:
        return (*group["betas"], group["eps"])

    def _moment_names(self, group: dict[str, Any]) -> Sequence[str]:
        return "exp_avg", "exp_inf"

    def _update(self, p: Array, g: Array, run: Run) -> None:
        xp, group, (beta1, beta2) = self._backend.xp, run.group, run.group["betas"]
        g = self._decayed(p, g, group)
        m, u = self._moment("exp_avg", run), self._moment("exp_inf", run)
        self._follow(m, beta1, g)
        step = xp.abs(g, out=xp.empty_like(g))
        step += group["eps"]
        u *= beta2
        xp.maximum(step, u, out=u)
        xp.divide(m, u, out=step)
        step *= group["lr"] / (1 - beta1**run.step)
        p -= step
