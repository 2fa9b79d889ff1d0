"""Losses for regression: distances, and likelihoods."""

from __future__ import annotations

import math
from copy import copy
from numbers import Real
from typing import Any, ClassVar

from ..arguments import to_bool, to_float
from ..backend import Array, backend_of
from ..errors import ShapeError
from ..ops.losses import divergence, huber, huber_slope, sign, smooth_l1, smooth_l1_slope
from .base import Loss, summed_to
from .elementwise import Elementwise

__all__ = ["GaussianNLLLoss", "HuberLoss", "KLDivLoss", "L1Loss", "MSELoss", "PoissonNLLLoss", "SmoothL1Loss"]


class _Distance(Loss):
    """Losses that depend on `d = x - t` alone: `_loss`, and its derivative `_slope`. Forward saves only d."""

    def _forward(self, xp: Any, input: Array, target: Array) -> tuple[Array, Any, tuple[Any, ...]]:
        input, target = self._paired(xp, input, target)
        d = input - target
        return self._loss(xp, d), d.size, (copy(self), d)  # the copy's settings do not change until backward

    def _backward(self, xp: Any, scale: Any, then: _Distance, d: Array) -> Array:
        return then._slope(xp, d) * scale

    def _loss(self, xp: Any, d: Array) -> Array:
        raise TypeError(f"{type(self).__name__} defines no _loss(xp, d)")

    def _slope(self, xp: Any, d: Array) -> Array:
        raise TypeError(f"{type(self).__name__} defines no _slope(xp, d)")


class MSELoss(_Distance):
    """Squared error `(x - t)²`, any shape, as `torch.nn.MSELoss`.

    Args:
        reduction: `'mean'` over all elements, `'sum'` or `'none'`.

    Raises:
        ShapeError, DTypeError, BackendError: `target` is not like `input`.

    Example:
        >>> import numpy as np, xpconv
        >>> criterion = xpconv.MSELoss(reduction="sum")
        >>> float(criterion(np.array([1.0, 2.0]), np.array([0.0, 0.0])))
        5.0
        >>> criterion.backward()
        array([2., 4.])
    """

    integers = "iub"

    def _loss(self, xp: Any, d: Array) -> Array:
        return d * d

    def _slope(self, xp: Any, d: Array) -> Array:
        return 2 * d


class L1Loss(_Distance):
    """Absolute error `|x - t|`, any shape, as `torch.nn.L1Loss`; the gradient at 0 is 0.

    Args:
        reduction: `'mean'` over all elements, `'sum'` or `'none'`.

    Example:
        >>> import numpy as np, xpconv
        >>> criterion = xpconv.L1Loss(reduction="sum")
        >>> float(criterion(np.array([1.0, -2.0]), np.array([0.0, 0.0])))
        3.0
        >>> criterion.backward()
        array([ 1., -1.])
    """

    integers = "iu"

    def _loss(self, xp: Any, d: Array) -> Array:
        return xp.abs(d)

    def _slope(self, xp: Any, d: Array) -> Array:
        return sign(xp, d)


class SmoothL1Loss(_Distance):
    """Squared near 0, absolute beyond `beta`, any shape, as `torch.nn.SmoothL1Loss` (Girshick, 2015).

        d = |x - t|:    d² / (2 beta) if d < beta, else d - beta/2

    Args:
        reduction: `'mean'` over all elements, `'sum'` or `'none'`.
        beta: where the two meet; 0 is `L1Loss`.

    Example:
        >>> import numpy as np, xpconv
        >>> criterion = xpconv.SmoothL1Loss(reduction="none")
        >>> criterion(np.array([0.5, -2.0]), np.array([0.0, 0.0]))
        array([0.125, 1.5  ])
        >>> criterion.backward()
        array([ 0.5, -1. ])
    """

    integers = "iub"

    def __init__(self, reduction: str = "mean", beta: float = 1.0) -> None:
        super().__init__(reduction)
        self.beta: float = to_float("SmoothL1Loss: beta", beta, 0)

    def _loss(self, xp: Any, d: Array) -> Array:
        return smooth_l1(xp, d, self.beta)

    def _slope(self, xp: Any, d: Array) -> Array:
        return smooth_l1_slope(xp, d, self.beta)


class HuberLoss(_Distance):
    """Squared near 0, absolute beyond `delta`, any shape, as `torch.nn.HuberLoss` (Huber, 1964).

        d = |x - t|:    d²/2 if d < delta, else delta · (d - delta/2)

    Args:
        reduction: `'mean'` over all elements, `'sum'` or `'none'`.
        delta: where the two meet, above 0.

    Example:
        >>> import numpy as np, xpconv
        >>> criterion = xpconv.HuberLoss(reduction="none", delta=2.0)
        >>> criterion(np.array([1.0, -3.0]), np.array([0.0, 0.0]))
        array([0.5, 4. ])
        >>> criterion.backward()
        array([ 1., -2.])
    """

    def __init__(self, reduction: str = "mean", delta: float = 1.0) -> None:
        super().__init__(reduction)
        self.delta: float = to_float("HuberLoss: delta", delta)
        if not self.delta > 0:
            raise ValueError(f"HuberLoss: delta is {delta}, expected above 0")

    def _loss(self, xp: Any, d: Array) -> Array:
        return huber(xp, d, self.delta)

    def _slope(self, xp: Any, d: Array) -> Array:
        return huber_slope(xp, d, self.delta)


class PoissonNLLLoss(Elementwise):
    """Negative log likelihood of counts t under a Poisson distribution, as `torch.nn.PoissonNLLLoss`.

        exp(x) - t x          with `log_input`: x is the logarithm of the rate
        x - t log(x + eps)    without: x is the rate

    `full` adds Stirling's formula for log t!, `t log t - t + log(2π t)/2`, where t > 1.

    Args:
        log_input, full: see above.
        eps: against log 0.
        reduction: `'mean'` over all elements, `'sum'` or `'none'`.

    Example:
        >>> import numpy as np, xpconv
        >>> criterion = xpconv.PoissonNLLLoss(reduction="sum")
        >>> float(criterion(np.array([0.0]), np.array([3.0])))
        1.0
        >>> criterion.backward()
        array([-2.])
    """

    integers = "iub"
    broadcast: ClassVar[tuple[str, ...]] = ("input", "target")

    def __init__(
        self, log_input: bool = True, full: bool = False, eps: float = 1e-8, reduction: str = "mean"
    ) -> None:
        super().__init__(reduction)
        self.log_input: bool = to_bool("PoissonNLLLoss: log_input", log_input)
        self.full: bool = to_bool("PoissonNLLLoss: full", full)
        self.eps: float = to_float("PoissonNLLLoss: eps", eps)

    def _loss(self, xp: Any, x: Array, t: Array) -> Array:
        loss = xp.exp(x) - t * x if self.log_input else x - t * xp.log(x + self.eps)
        if self.full:
            many = xp.maximum(t, 1)
            stirling = many * xp.log(many) - many + 0.5 * xp.log(2 * math.pi * many)
            loss = loss + xp.where(t > 1, stirling, 0)
        return loss

    def _slope(self, xp: Any, x: Array, t: Array) -> Array:
        return xp.exp(x) - t if self.log_input else 1 - t / (x + self.eps)


class GaussianNLLLoss(Loss):
    """Negative log likelihood of t under a normal distribution of mean x and variance v.

        (log v + (x - t)² / v) / 2,    v no smaller than eps;  `full` adds log(2π)/2

    As `torch.nn.GaussianNLLLoss` (Nix and Weigend, 1994): `criterion(input, target, var)`, and
    `backward` gives the gradients with respect to `input` and `var`. `var` has the shape of `input`,
    or size 1 in one axis, or lacks the last axis; a number is used for every element. A negative variance is
    a ValueError on the CPU. On a GPU, where the check would synchronise, it gives NaN.

    Args:
        full: see above.
        eps: smallest variance; the gradient passes it, as in PyTorch.
        reduction: `'mean'` over all elements, `'sum'` or `'none'`.

    Example:
        >>> import numpy as np, xpconv
        >>> criterion = xpconv.GaussianNLLLoss(reduction="sum")
        >>> float(criterion(np.array([[1.0]]), np.array([[3.0]]), np.array([[4.0]])).round(4))
        1.1931
        >>> criterion.backward()
        (array([[-0.5]]), array([[0.]]))
    """

    names: ClassVar[tuple[str, ...]] = ("input", "target", "var")
    integers = "iu"
    broadcast: ClassVar[tuple[str, ...]] = ("input", "target")

    def __init__(self, full: bool = False, eps: float = 1e-6, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.full: bool = to_bool("GaussianNLLLoss: full", full)
        self.eps: float = to_float("GaussianNLLLoss: eps", eps)
        if not self.eps > 0:
            raise ValueError(f"GaussianNLLLoss: eps is {eps}, expected above 0")

    def _completed(self, *inputs: Any) -> tuple[Any, ...]:
        if len(inputs) != 3 or not isinstance(inputs[2], Real):
            return inputs
        var = to_float("GaussianNLLLoss: var", inputs[2], 0)
        xp = self._enter(*inputs[:2], inputs[0])
        return *inputs[:2], xp.full(inputs[0].shape, var, dtype=inputs[0].dtype)

    def _forward(
        self, xp: Any, input: Array, target: Array, var: Array
    ) -> tuple[Array, Any, tuple[Any, ...]]:
        shape, var_shape = input.shape, var.shape
        var = self._variance(input, self._typed(input, var, "var"))
        input, target = self._paired(xp, input, target)
        if backend_of(var).name == "numpy" and (var < 0).any():
            raise ValueError(f"GaussianNLLLoss: var holds {var.min()}, expected at least 0; it is a variance")
        v = xp.maximum(xp.where(var < 0, math.nan, var), self.eps)
        difference = input - target
        loss = 0.5 * (xp.log(v) + difference * difference / v)
        if self.full:
            loss = loss + 0.5 * math.log(2 * math.pi)
        return loss, loss.size, (difference, v, shape, var_shape)

    def _backward(
        self,
        xp: Any,
        scale: Any,
        difference: Array,
        v: Array,
        shape: tuple[int, ...],
        var_shape: tuple[int, ...],
    ) -> tuple[Array, Array]:
        """`d/dx = (x - t)/v` and `d/dv = (1/v - (x - t)²/v²) / 2`, summed over what shares a variance."""
        slope = difference / v
        dv = (0.5 * (1 / v - slope * slope)) * scale
        return summed_to(slope * scale, shape), summed_to(dv, v.shape).reshape(var_shape)

    def _variance(self, input: Array, var: Array) -> Array:
        """`var` with a shape that broadcasts to that of `input`."""
        whole, shape = input.shape, var.shape
        if shape == whole:
            return var
        if shape == whole[:-1]:
            return var[..., None]
        if len(shape) == len(whole) and [n for m, n in zip(whole, shape, strict=True) if m != n] == [1]:
            return var
        raise ShapeError(
            f"GaussianNLLLoss: var has shape {shape}, expected {whole}, that of input, with 1 for one of its "
            "axes or without the last"
        )


class KLDivLoss(Elementwise):
    """Kullback–Leibler divergence from log-probabilities x to probabilities t, as `torch.nn.KLDivLoss`.

        t (log t - x),    or with `log_target`:  exp(t) (t - x)

    Args:
        reduction: `'mean'` over all elements, `'batchmean'` over the first axis (the divergence proper),
            `'sum'` or `'none'`.
        log_target: whether t is given as its logarithm.

    Example:
        >>> import numpy as np, xpconv
        >>> criterion = xpconv.KLDivLoss(reduction="batchmean")
        >>> x = np.log(np.array([[0.5, 0.5]]))
        >>> float(criterion(x, np.array([[1.0, 0.0]])).round(4))
        0.6931
        >>> criterion.backward()
        array([[-1., -0.]])
    """

    reductions: ClassVar[tuple[str, ...]] = ("mean", "batchmean", "sum", "none")
    broadcast: ClassVar[tuple[str, ...]] = ("input", "target")

    def __init__(self, reduction: str = "mean", log_target: bool = False) -> None:
        super().__init__(reduction)
        self.log_target: bool = to_bool("KLDivLoss: log_target", log_target)

    def _forward(self, xp: Any, input: Array, target: Array) -> tuple[Array, Any, tuple[Any, ...]]:
        loss, count, saved = super()._forward(xp, input, target)
        if self.reduction == "batchmean":
            count = input.shape[0] if input.ndim else 1
        return loss, count, saved

    def _loss(self, xp: Any, x: Array, t: Array) -> Array:
        return divergence(xp, x, t, self.log_target)

    def _slope(self, xp: Any, x: Array, t: Array) -> Array:
        return -xp.exp(t) if self.log_target else -t
