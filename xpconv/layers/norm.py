"""Normalisation layers."""

from __future__ import annotations

from typing import Any, ClassVar

from ..backend import Array, get_xp
from ..errors import ShapeError
from ..geometry import to_int
from ..ops import norm as ops
from ..ops.conv import channel_sum, channelwise
from .base import Layer, arguments, new_parameter


class _BatchNorm(Layer):
    """Batch normalisation over inputs of certain ranks; `BatchNorm2d` describes it."""

    ranks: ClassVar[tuple[int, ...]]
    expected: ClassVar[str]
    buffer_names = ("running_mean", "running_var", "num_batches_tracked")

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        *,
        dtype: Any = "float32",
    ) -> None:
        name = type(self).__name__
        self.num_features = to_int(f"{name}: num_features", num_features, 1)
        self.eps = eps
        self.momentum = momentum
        self.affine = affine
        self.track_running_stats = track_running_stats
        shape = (self.num_features,)
        self.weight = new_parameter(name, "weight", shape, dtype, value=1.0) if affine else None
        self.bias = new_parameter(name, "bias", shape, dtype) if affine else None
        self.running_mean: Array = None
        self.running_var: Array = None
        self.num_batches_tracked: Array = None
        if track_running_stats:
            self.running_mean = new_parameter(name, "running_mean", shape, dtype).data
            self.running_var = new_parameter(name, "running_var", shape, dtype, value=1.0).data
            self.num_batches_tracked = get_xp().zeros((), dtype="int64")

    def forward(self, x: Array) -> Array:
        name = type(self).__name__
        xp = self._enter(x, self.weight, self.running_mean)
        if x.ndim not in self.ranks or x.shape[1] != self.num_features:
            raise ShapeError(
                f"{name}.forward: x has shape {x.shape}, expected {self.expected} with C = "
                f"{self.num_features} (num_features)"
            )
        axes = (0, *range(2, x.ndim))
        from_batch = self.training or self.running_mean is None
        if from_batch:
            count = x.size // self.num_features
            if count == 1:
                raise ShapeError(
                    f"{name}.forward: x has shape {x.shape}: one value a channel has no variance; "
                    "use a larger batch, or eval() with running statistics"
                )
            x_hat, mean, var, inv_std = ops.normalize(xp, x, axes, self.eps)
            if self.training and self.running_mean is not None:
                self.num_batches_tracked += 1
                if count:
                    self._track(mean.reshape(-1), var.reshape(-1) * (count / (count - 1)))
        else:
            inv_std = channelwise(1 / xp.sqrt(self.running_var + self.eps), x.ndim)
            x_hat = (x - channelwise(self.running_mean, x.ndim)) * inv_std
        y = x_hat
        if self.weight is not None and self.bias is not None:
            y = x_hat * channelwise(self.weight.data, x.ndim)
            y += channelwise(self.bias.data, x.ndim)
        return self.keep(y, xp, x_hat, inv_std, from_batch)

    def backward(self, grad_output: Array, input_grad: bool = True) -> Array | None:
        xp, x_hat, inv_std, from_batch = self.recall(grad_output)
        grad = grad_output
        if self.weight is not None and self.bias is not None:
            self.weight.accumulate(channel_sum(xp, grad * x_hat))
            self.bias.accumulate(channel_sum(xp, grad))
            grad = grad * channelwise(self.weight.data, grad.ndim)
        if not input_grad:
            return None
        if not from_batch:
            return grad * inv_std
        return ops.normalize_backward(xp, grad, x_hat, inv_std, (0, *range(2, grad.ndim)))

    def _track(self, mean: Array, var: Array) -> None:
        """Running statistics: exponential with `momentum`, or (None) the plain average of all batches."""
        new: Any = self.momentum
        if new is None:
            new = (1 / self.num_batches_tracked).astype(mean.dtype)
        self.running_mean += new * (mean - self.running_mean)
        self.running_var += new * (var - self.running_var)

    def extra_repr(self) -> str:
        return arguments(
            self.num_features,
            eps=(self.eps, 1e-5),
            momentum=(self.momentum, 0.1),
            affine=(self.affine, True),
            track_running_stats=(self.track_running_stats, True),
        )


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
