"""Normalisation with scale, bias and statistics that are inputs, and forms that no layer of PyTorch has."""

from __future__ import annotations

from typing import Any

from ...backend import Array
from ...errors import ShapeError
from ...ops.activation import leaky_relu, leaky_relu_backward, leaky_relu_backward_slope
from ...ops.norm import (
    normalize,
    normalize_backward,
)
from ...ops.response_norm import response_norm, response_norm_backward
from ...ops.softmax import log_softmax, log_softmax_backward, softmax, softmax_backward
from ...sums import total, widened
from .operator import Operator, to_axis, unbroadcast

Result = tuple[Any, tuple[Any, ...]]


class BatchNormalization(Operator):
    """`(x - mean) / √(var + eps) · scale + bias` for each channel; all five are inputs.

    Args:
        eps: added to the variance.
        batch_statistics: whether mean and variance are those of the batch, in inference mode as well, and
            are differentiated too.
    """

    eps: float
    batch_statistics: bool
    same_dtype = False

    def __init__(self, eps: float = 1e-5, batch_statistics: bool = False) -> None:
        self.eps, self.batch_statistics = eps, batch_statistics

    def _compute(self, xp: Any, x: Array, scale: Array, bias: Array, mean: Array, var: Array) -> Result:
        for given in (scale, bias, mean, var):
            if x.ndim < 2 or given.shape != x.shape[1:2]:
                raise ShapeError(
                    f"BatchNormalization.forward: x has shape {x.shape}, a parameter {given.shape}"
                )
        wide = widened(x)
        if self.batch_statistics:
            x_hat, _, _, inv_std = normalize(xp, wide, _not_channels(x), self.eps)
            inv_std = inv_std.reshape(-1)
        else:
            inv_std = 1 / xp.sqrt(widened(var) + self.eps)
            x_hat = (wide - _channels(widened(mean), x.ndim)) * _channels(inv_std, x.ndim)
        y = x_hat * _channels(widened(scale), x.ndim) + _channels(widened(bias), x.ndim)
        return y.astype(x.dtype, copy=False), (x_hat, scale, inv_std)

    def _gradients(self, xp: Any, grad: Array, *saved: Any) -> tuple[Array | None, ...]:
        x_hat, scale, inv_std = saved
        shape = (scale.size, *(1,) * (grad.ndim - 2))
        grad = widened(grad)
        own = [unbroadcast(part, shape).reshape(scale.shape) for part in (grad * x_hat, grad)]
        inner = grad * _channels(scale, grad.ndim)
        inverse = _channels(inv_std, grad.ndim)
        if self.batch_statistics:
            return normalize_backward(xp, inner, x_hat, inverse, _not_channels(grad)), *own, None, None
        through = inner * inverse
        of_var = through * x_hat * (-0.5 * inverse)
        return through, *own, *(unbroadcast(part, shape).reshape(scale.shape) for part in (-through, of_var))


class BatchStatistics(Operator):
    """The new running statistic of a BatchNormalization in training; the old one is the second input.

    `momentum · running + (1 - momentum) · new`, where `new` is the mean of each channel, or its variance.
    """

    momentum: float
    variance: bool

    def __init__(self, momentum: float = 0.9, variance: bool = False) -> None:
        self.momentum, self.variance = momentum, variance

    def _compute(self, xp: Any, x: Array, running: Array) -> Result:
        _, mean, var, _ = normalize(xp, x, _not_channels(x), 1.0)
        new = (var if self.variance else mean).reshape(running.shape)
        return (running * self.momentum + new * (1 - self.momentum)).astype(running.dtype, copy=False), ()


class _Normalized(Operator):
    """Base: `x` normalised over some axes, times the scale, plus the bias, which may be left out."""

    eps: float

    def _compute(self, xp: Any, x: Array, scale: Array, bias: Array | None = None) -> Result:
        groups = self._groups(x)
        axes = tuple(range(groups.ndim))[self._first(x) :]
        x_hat, _, _, inv_std = normalize(xp, groups, axes, self.eps)
        x_hat = x_hat.reshape(x.shape)
        factor = self._fitted(x, scale)
        y = x_hat * factor
        shapes = [(factor.shape, scale.shape)]
        if bias is not None:
            term = self._fitted(x, bias)
            y = y + term
            shapes.append((term.shape, bias.shape))
        return y, (x_hat, inv_std, axes, groups.shape, factor, shapes)

    def _gradients(self, xp: Any, grad: Array, *saved: Any) -> tuple[Array, ...]:
        x_hat, inv_std, axes, groups, factor, shapes = saved
        inner = (grad * factor).reshape(groups)
        dx = normalize_backward(xp, inner, x_hat.reshape(groups), inv_std, axes).reshape(grad.shape)
        parts = zip((grad * x_hat, grad), shapes, strict=False)
        return dx, *(self._summed(part, *shape) for part, shape in parts)

    def _groups(self, x: Array) -> Array:
        """`x` in the shape in which axes are normalised."""
        return x

    def _first(self, x: Array) -> int:
        """The first of these axes; the others follow."""
        raise NotImplementedError

    def _fitted(self, x: Array, parameter: Array) -> Array:
        """A parameter in a shape that broadcasts over `x`."""
        return parameter

    def _summed(self, grad: Array, fitted: tuple[int, ...], shape: tuple[int, ...]) -> Array:
        return unbroadcast(grad, fitted).reshape(shape)


class GroupNormalization(_Normalized):
    """Normalisation of groups of channels, as `GroupNorm`, with scale and bias that are inputs.

    Args:
        num_groups: None is a group for each channel, as `InstanceNorm`.
        eps: added to the variance.
    """

    num_groups: int | None
    eps: float

    def __init__(self, num_groups: int | None = None, eps: float = 1e-5) -> None:
        self.num_groups, self.eps = num_groups, eps

    def _groups(self, x: Array) -> Array:
        groups = x.shape[1] if self.num_groups is None and x.ndim > 1 else self.num_groups
        if x.ndim < 2 or not groups or x.shape[1] % groups:
            raise ShapeError(
                f"GroupNormalization.forward: x has shape {x.shape}, expected (N, C, …), {groups} groups"
            )
        return x.reshape(len(x), groups, -1 if x.size else 0)

    def _first(self, x: Array) -> int:
        return 2

    def _fitted(self, x: Array, parameter: Array) -> Array:
        """One number for each channel, or (opset 18) for each group."""
        many = parameter.size
        if parameter.ndim != 1 or not many or x.shape[1] % many or many not in (x.shape[1], self.num_groups):
            raise ShapeError(
                f"GroupNormalization.forward: x has shape {x.shape}, a parameter {parameter.shape}"
            )
        return _channels(parameter.repeat(x.shape[1] // many), x.ndim)

    def _summed(self, grad: Array, fitted: tuple[int, ...], shape: tuple[int, ...]) -> Array:
        return unbroadcast(grad, fitted).reshape(*shape, -1).sum(axis=-1)


class LayerNormalization(_Normalized):
    """Normalisation over the axes from `axis` on, as `LayerNorm`, with scale and bias that are inputs."""

    axis: int
    eps: float

    def __init__(self, axis: int = -1, eps: float = 1e-5) -> None:
        self.axis, self.eps = axis, eps

    def _first(self, x: Array) -> int:
        return to_axis("LayerNormalization.forward", self.axis, x.ndim)


class LayerStatistics(Operator):
    """The mean of `x` over the axes from `axis` on, which remain, or 1/√(variance + eps)."""

    axis: int
    eps: float
    inverse: bool

    def __init__(self, axis: int = -1, eps: float = 1e-5, inverse: bool = False) -> None:
        self.axis, self.eps, self.inverse = axis, eps, inverse

    def _compute(self, xp: Any, x: Array) -> Result:
        axes = tuple(range(to_axis("LayerStatistics.forward", self.axis, x.ndim), x.ndim))
        x_hat, mean, _, inv_std = normalize(xp, x, axes, self.eps)
        return (inv_std if self.inverse else mean.astype(x.dtype, copy=False)), (x_hat, inv_std)

    def _gradients(self, xp: Any, grad: Array, *saved: Any) -> tuple[Array]:
        """`d mean/dx = 1/m` and `d inv_std/dx = -inv_std² · x̂/m`, with m elements in a mean."""
        x_hat, inv_std = saved
        count = x_hat.size // max(1, inv_std.size)
        slope = -inv_std * inv_std * x_hat if self.inverse else xp.ones_like(x_hat)
        return (grad * slope / max(1, count),)


class LRN(Operator):
    """`LocalResponseNorm` of ONNX: windows of even size have one more channel above the centre."""

    size: int
    alpha: float
    beta: float
    bias: float

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, bias: float = 1.0) -> None:
        self.size, self.alpha, self.beta, self.bias = size, alpha, beta, bias

    def _compute(self, xp: Any, x: Array) -> Result:
        if x.ndim < 2:
            raise ShapeError(f"LRN.forward: x has shape {x.shape}, expected (N, C, …)")
        mirrored = xp.flip(x, 1)
        y, d = response_norm(xp, mirrored, self.size, self.alpha, self.beta, self.bias)
        return xp.flip(y, 1), (mirrored, d)

    def _gradients(self, xp: Any, grad: Array, *saved: Any) -> tuple[Array]:
        x, d = saved
        dx = response_norm_backward(xp, xp.flip(grad, 1), x, d, self.size, self.alpha, self.beta)
        return (xp.flip(dx, 1),)


class LpNormalization(Operator):
    """`x / Σ|x|` (p=1) or `x / √Σx²` (p=2) along an axis; 0 where that is 0.

    With `y = x/n`: `dx = (grad - dn Σ(grad y)) / n`, where `dn` is `sign(x)` for p=1, and `y` for p=2.
    """

    axis: int
    p: int

    def __init__(self, axis: int = -1, p: int = 2) -> None:
        self.axis, self.p = axis, p

    def _compute(self, xp: Any, x: Array) -> Result:
        axis = to_axis("LpNormalization.forward", self.axis, x.ndim)
        powers = abs(x) if self.p == 1 else x * x
        norm = total(powers, (axis,), keepdims=True)
        norm = norm if self.p == 1 else xp.sqrt(norm)
        norm = xp.where(norm == 0, 1, norm)
        y = (x / norm).astype(x.dtype, copy=False)
        return y, (xp.sign(x) if self.p == 1 else y, y, norm, axis)

    def _gradients(self, xp: Any, grad: Array, *saved: Any) -> tuple[Array]:
        slope, y, norm, axis = saved
        return ((grad - slope * total(grad * y, (axis,), keepdims=True)) / norm,)


class FlatSoftmax(Operator):
    """Softmax over all axes from `axis` on together, as ONNX defines it up to opset 12."""

    axis: int
    log: bool

    def __init__(self, axis: int = 1, log: bool = False) -> None:
        self.axis, self.log = axis, log

    def _compute(self, xp: Any, x: Array) -> Result:
        axis = to_axis("FlatSoftmax.forward", self.axis, x.ndim)
        rows = x.reshape(*x.shape[:axis], -1) if x.size else x
        y = (log_softmax if self.log else softmax)(xp, rows, -1)
        return y.reshape(x.shape), (y,)

    def _gradients(self, xp: Any, grad: Array, *saved: Any) -> tuple[Array]:
        (y,) = saved
        backward = log_softmax_backward if self.log else softmax_backward
        return (backward(xp, grad.reshape(y.shape), y, -1).reshape(grad.shape),)


class PRelu(Operator):
    """`x` where `x > 0`, else `slope · x`; the slope is an input and is broadcast."""

    def _compute(self, xp: Any, x: Array, slope: Array) -> Result:
        return leaky_relu(xp, x, slope), (x, slope)

    def _gradients(self, xp: Any, grad: Array, *saved: Any) -> tuple[Array, Array]:
        x, slope = saved
        dslope = unbroadcast(leaky_relu_backward_slope(xp, grad, x), slope.shape)
        return leaky_relu_backward(xp, grad, x, slope), dslope


def _channels(parameter: Array, ndim: int) -> Array:
    return parameter.reshape(-1, *(1,) * (ndim - 2))


def _not_channels(x: Array) -> tuple[int, ...]:
    return (0, *range(2, x.ndim))
