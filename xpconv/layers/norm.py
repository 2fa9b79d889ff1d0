"""Normalisation by the statistics of channels: over the batch (BatchNorm) or each image (InstanceNorm)."""

from __future__ import annotations

from math import prod
from typing import Any, ClassVar

from ..backend import Array, get_xp
from ..errors import ShapeError
from ..geometry import to_int
from ..ops import norm as ops
from ..ops.conv import channel_sum, channelwise
from .base import Layer, Parameter, arguments, new_parameter


class ChannelNorm(Layer):
    """What BatchNorm and InstanceNorm share: all but the axes over which the statistics are taken."""

    buffer_names = ("running_mean", "running_var", "num_batches_tracked")
    defaults: ClassVar[dict[str, Any]] = {
        "eps": 1e-5, "momentum": 0.1, "affine": True, "track_running_stats": True, "bias": True
    }  # fmt: skip

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        *,
        bias: bool = True,
        dtype: Any = "float32",
    ) -> None:
        name = type(self).__name__
        self.num_features = to_int(f"{name}: num_features", num_features, 1)
        self.eps = eps
        self.momentum = momentum
        self.affine = affine
        self.track_running_stats = track_running_stats
        self._has_bias = bool(bias)
        shape = (self.num_features,)
        self.weight: Parameter | None = None
        self.bias: Parameter | None = None
        if affine:
            self.weight = new_parameter(name, "weight", shape, dtype, value=1.0)
            self.bias = new_parameter(name, "bias", shape, dtype) if bias else None
        self.running_mean: Array = None
        self.running_var: Array = None
        self.num_batches_tracked: Array = None
        if track_running_stats:
            self.running_mean = new_parameter(name, "running_mean", shape, dtype).data
            self.running_var = new_parameter(name, "running_var", shape, dtype, value=1.0).data
            self.num_batches_tracked = get_xp().zeros((), dtype="int64")

    def _normalize(self, xp: Any, x: Array, axes: tuple[int, ...], few: str) -> tuple[Array, ...]:
        """The output for a batch, and what backward needs; `few` explains why one value is not enough.

        The statistics are those over `axes`, or the running ones.
        """
        from_batch = self.training or self.running_mean is None
        if from_batch:
            count = prod(x.shape[axis] for axis in axes)
            if count == 1:
                raise ShapeError(f"{type(self).__name__}.forward: x has shape {x.shape}: {few}")
            x_hat, mean, var, inv_std = ops.normalize(xp, x, axes, self.eps)
            if self.training and self.running_mean is not None:
                self._track(mean, var, count)
        else:
            inv_std = channelwise(1 / xp.sqrt(self.running_var + self.eps), x.ndim)
            x_hat = (x - channelwise(self.running_mean, x.ndim)) * inv_std
        y = x_hat
        if self.weight is not None:
            y = x_hat * channelwise(self.weight.data, x.ndim)
        if self.bias is not None:
            y += channelwise(self.bias.data, x.ndim)
        return y, xp, x_hat, inv_std, axes if from_batch else None

    def backward(self, grad_output: Array, input_grad: bool = True) -> Array | None:
        xp, x_hat, inv_std, axes = self.recall(grad_output)
        grad = grad_output.reshape(x_hat.shape)  # one image is a batch of one
        if self.bias is not None:
            self.bias.accumulate(channel_sum(xp, grad))
        if self.weight is not None:
            self.weight.accumulate(channel_sum(xp, grad * x_hat))
            grad = grad * channelwise(self.weight.data, grad.ndim)
        if not input_grad:
            return None
        if axes is None:
            dx = grad * inv_std
        else:
            dx = ops.normalize_backward(xp, grad, x_hat, inv_std, axes)
        return dx.reshape(grad_output.shape)

    def _track(self, mean: Array, var: Array, count: int) -> None:
        """Move the running statistics towards new ones, `(N or 1, C, 1, …)` of `count` values each."""
        raise TypeError(f"{type(self).__name__} defines no _track")

    def _follow(self, momentum: Any, mean: Array, var: Array, count: int) -> None:
        """Running statistics: `momentum` of the way to the new ones; the variance is the unbiased one."""
        self.running_mean += momentum * (_channel_mean(mean) - self.running_mean)
        self.running_var += momentum * (_channel_mean(var) * (count / (count - 1)) - self.running_var)

    def extra_repr(self) -> str:
        values = {**vars(self), "bias": self._has_bias}
        return arguments(self.num_features, **{k: (values[k], v) for k, v in self.defaults.items()})


def _channel_mean(statistic: Array) -> Array:
    """Each image's statistic of a channel, `(N, C, 1, …)`, averaged over the images, `(C,)`."""
    return ops.mean_over(statistic, (0,)).reshape(-1)


class _BatchNorm(ChannelNorm):
    """Batch normalisation over inputs of certain ranks; `BatchNorm2d` describes it."""

    ranks: ClassVar[tuple[int, ...]]
    expected: ClassVar[str]

    def forward(self, x: Array) -> Array:
        xp = self._enter(x, self.weight, self.running_mean)
        if x.ndim not in self.ranks or x.shape[1] != self.num_features:
            raise ShapeError(
                f"{type(self).__name__}.forward: x has shape {x.shape}, expected {self.expected} with C = "
                f"{self.num_features} (num_features)"
            )
        few = "one value a channel has no variance; use a larger batch, or eval() with running statistics"
        return self.keep(*self._normalize(xp, x, (0, *range(2, x.ndim)), few))

    def _track(self, mean: Array, var: Array, count: int) -> None:
        """Exponential with `momentum`, or (None) the plain average of all batches; nothing of nothing."""
        self.num_batches_tracked += 1
        momentum: Any = self.momentum
        if momentum is None:
            momentum = (1 / self.num_batches_tracked).astype(mean.dtype)
        if count:
            self._follow(momentum, mean, var, count)


class BatchNorm1d(_BatchNorm):
    """Batch normalisation of vectors and sequences, as `torch.nn.BatchNorm1d` (Ioffe and Szegedy, 2015).

    `x` and `y` are `(N, C)` or `(N, C, L)`; formula and arguments are those of `BatchNorm2d`.

    Args:
        num_features: C.
        eps, momentum, affine, track_running_stats, bias, dtype: as in `BatchNorm2d`.

    Raises:
        ShapeError: (a ValueError) `x` of another rank or number of channels, or in training a single
            value a channel.

    Example:
        >>> import numpy as np, xpconv
        >>> xpconv.BatchNorm1d(2)(np.array([[1, 5], [3, 5]], "float32")).round(3)
        array([[-1.,  0.],
               [ 1.,  0.]], dtype=float32)
    """

    ranks = (2, 3)
    expected = "(N, C) or (N, C, L)"


class BatchNorm2d(_BatchNorm):
    """Batch normalisation of images, as `torch.nn.BatchNorm2d` (Ioffe and Szegedy, 2015).

        y = (x - mean) / √(var + eps) · weight + bias

    `x` and `y` are `(N, C, H, W)`. In training, `mean` and `var` (biased) are each channel's over the
    batch and the pixels, and the running ones follow, `running_var` with the unbiased variance; in
    inference mode the running ones are used. Forward keeps one array like `x`.

    Args:
        num_features: C.
        eps: added to the variance.
        momentum: weight of the new batch in the running statistics; None averages all batches.
        affine: whether to learn `weight` (starts at 1) and `bias` (starts at 0), both `(C,)`.
        track_running_stats: False uses the batch's statistics in inference mode too.
        bias: whether there is a `bias` beside `weight`.
        dtype: floating dtype of parameters and buffers, and so of `x`.

    Raises:
        ShapeError: (a ValueError) `x` of another rank or number of channels, or in training a single
            value a channel.

    Example:
        >>> import numpy as np, xpconv
        >>> y = xpconv.BatchNorm2d(2)(np.random.default_rng(0).normal(3, 5, (8, 2, 4, 4)).astype("float32"))
        >>> bool(abs(y.mean()) < 1e-6), round(float(y.std()), 4)
        (True, 1.0)
    """

    ranks = (4,)
    expected = "(N, C, H, W)"


class BatchNorm3d(_BatchNorm):
    """Batch normalisation of volumes, as `torch.nn.BatchNorm3d` (Ioffe and Szegedy, 2015).

    `x` and `y` are `(N, C, D, H, W)`; formula and arguments are those of `BatchNorm2d`.

    Args:
        num_features: C.
        eps, momentum, affine, track_running_stats, bias, dtype: as in `BatchNorm2d`.

    Raises:
        ShapeError: (a ValueError) `x` of another rank or number of channels, or in training a single
            value a channel.

    Example:
        >>> import numpy as np, xpconv
        >>> xpconv.BatchNorm3d(4)(np.zeros((2, 4, 3, 8, 8), "float32")).shape
        (2, 4, 3, 8, 8)
    """

    ranks = (5,)
    expected = "(N, C, D, H, W)"
