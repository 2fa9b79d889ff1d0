"""Stochastic gradient descent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from ..arguments import to_float
from ..backend import Array
from .base import Optimizer, Params, Run

__all__ = ["SGD"]


class SGD(Optimizer):
    """Stochastic gradient descent with momentum, as `torch.optim.SGD`.

        g = grad + weight_decay · p
        m = momentum · m + (1 - dampening) · g        (m = g at the first step)
        p = p - lr · m                                (nesterov: p - lr · (g + momentum · m))

    Args:
        params: parameters, or groups of them.
        lr: learning rate.
        momentum: 0 leaves it out.
        dampening: of the gradient's part in the momentum.
        weight_decay: L2 penalty, added to the gradient.
        nesterov: look ahead along the momentum; needs momentum and no dampening.
        maximize: go up the gradient instead of down.

    Example:
        >>> import numpy as np, xpconv
        >>> p = xpconv.Parameter(np.array([1.0, 2.0]))
        >>> optimizer = xpconv.SGD([p], lr=0.1)
        >>> p.grad = np.array([1.0, -1.0])
        >>> optimizer.step()
        >>> p.data
        array([0.9, 2.1])
    """

    kernel = "sgd"
    state_names: ClassVar[tuple[str, ...]] = ("momentum_buffer",)
    torch_settings: ClassVar[dict[str, Any]] = {"foreach": None, "differentiable": False, "fused": None}

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params,
            lr=lr,
            momentum=momentum,
            dampening=dampening,
            weight_decay=weight_decay,
            nesterov=nesterov,
            maximize=maximize,
        )

    def _check(self, group: dict[str, Any]) -> None:
        super()._check(group)
        group["dampening"] = to_float("SGD: dampening", group["dampening"])
        if group["nesterov"] and (group["momentum"] == 0 or group["dampening"] != 0):
            raise ValueError("SGD: nesterov=True needs momentum above 0 and dampening 0")

    def _counts(self, group: dict[str, Any]) -> bool:
        return bool(group["momentum"])  # the first step is the first with momentum

    def _kernel_settings(self, group: dict[str, Any]) -> Sequence[float]:
        return group["momentum"], group["dampening"], group["nesterov"]

    def _moment_names(self, group: dict[str, Any]) -> Sequence[str]:
        return ("momentum_buffer" if group["momentum"] else "",)

    def _update(self, p: Array, g: Array, run: Run) -> None:
        xp, momentum, share = self._backend.xp, run.group["momentum"], 1 - run.group["dampening"]
        g = self._decayed(p, g, run.group)
        step = xp.empty_like(p)
        if momentum:
            m = self._moment("momentum_buffer", run)
            if run.step == 1:
                m[...] = g
            else:
                m *= momentum
                m += g if share == 1 else xp.multiply(g, share, out=step)
            if run.group["nesterov"]:
                xp.multiply(m, momentum, out=step)
                m = xp.add(step, g, out=step)
            g = m
        p -= xp.multiply(g, run.group["lr"], out=step)
