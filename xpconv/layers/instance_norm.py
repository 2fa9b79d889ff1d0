"""Normalisation of each channel of each image by itself."""

from __future__ import annotations

import warnings
from math import prod
from typing import Any, ClassVar

from ..backend import Array
from ..errors import ShapeError
from ..ops import norm as ops
from ..ops.channels import channel_sum, channelwise
from ..parameter import learns
from .norm import ChannelNorm

__all__ = ["InstanceNorm1d", "InstanceNorm2d", "InstanceNorm3d"]


class _InstanceNorm(ChannelNorm):
    """Instance normalisation with `axes` spatial axes; `InstanceNorm2d` describes it."""

    axes: ClassVar[int]
    defaults: ClassVar[dict[str, Any]] = {
        **ChannelNorm.defaults,
        "affine": False,
        "track_running_stats": False,
    }

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = False,
        track_running_stats: bool = False,
        *,
        bias: bool = True,
        dtype: Any = "float32",
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, bias=bias, dtype=dtype)

    def forward(self, x: Array) -> Array:
        name = type(self).__name__
        xp = self._enter(x, self.weight, self.running_mean)
        if x.ndim not in (self.axes + 1, self.axes + 2):
            spatial = ", ".join("DHW"[3 - self.axes :]) if self.axes > 1 else "L"
            raise ShapeError(
                f"{name}.forward: x has shape {x.shape}, expected (N, C, {spatial}) or (C, {spatial})"
            )
        channels = x.shape[-self.axes - 1]
        if channels != self.num_features:
            problem = (
                f"{name}.forward: x has shape {x.shape}, so {channels} channels, expected "
                f"{self.num_features} (num_features={self.num_features})"
            )
            if self.affine or self.track_running_stats:
                raise ShapeError(problem)
            warnings.warn(f"{problem}; of no effect with affine=False", UserWarning, stacklevel=3)
        images = x if x.ndim == self.axes + 2 else x[None]
        few = "one pixel per image has no variance; use larger images"
        y, *saved = self._normalize(xp, images, tuple(range(2, images.ndim)), few)
        return self.keep(y.reshape(x.shape), xp, *saved)

    def _normalize(self, xp: Any, x: Array, axes: tuple[int, ...], few: str) -> tuple[Array, ...]:
        """The output for a batch, and what backward needs; `few` is the error text for a single value.

        The statistics are those over `axes`, or the running ones.
        """
        from_batch, weight, bias = self.training or self.running_mean is None, self.weight, self.bias
        if from_batch:
            count = prod(x.shape[axis] for axis in axes)
            if count == 1:
                raise ShapeError(f"{type(self).__name__}.forward: x has shape {x.shape}: {few}")
            if self.running_mean is None and x.shape[1]:
                scale, shift = (None if p is None else p.data for p in (weight, bias))
                return *ops.group_norm(xp, x, scale, shift, x.shape[1], self.eps), None, x.shape
            x_hat, mean, var, inv_std = ops.normalize(xp, x, axes, self.eps)
            if self.training and self.running_mean is not None and self.momentum is not None:
                running = self.running_mean, self.running_var
                ops.track_images(xp, *running, mean, var, count, self.momentum)
        else:
            x_hat, inv_std = ops.normalize_by(xp, x, self.running_mean, self.running_var, self.eps)
        y = x_hat
        if weight is not None:
            y = x_hat * channelwise(weight.data, x.ndim)
        if bias is not None:
            y += channelwise(bias.data, x.ndim)
        return y, x_hat, inv_std, axes if from_batch else None, None

    def backward(self, grad_output: Array, input_grad: bool = True) -> Array | None:
        xp, x_hat, inv_std, axes, by_groups = self.recall(grad_output, input_grad)
        if by_groups is not None:
            return self._backward_by_groups(xp, grad_output, x_hat, inv_std, by_groups, input_grad)
        grad = grad_output.reshape(x_hat.shape)  # one image is a batch of one
        if learns(self.bias):
            self.bias.accumulate(channel_sum(xp, grad))
        if learns(self.weight):
            self.weight.accumulate(channel_sum(xp, grad * x_hat))
        if not input_grad:
            return None
        if self.weight is not None:
            grad = grad * channelwise(self.weight.data, grad.ndim)
        if axes is None:
            dx = grad * inv_std
        else:
            dx = ops.normalize_backward(xp, grad, x_hat, inv_std, axes)
        return dx.reshape(grad_output.shape)

    def _backward_by_groups(
        self, xp: Any, grad: Array, saved: Array, statistics: Array, shape: tuple[int, ...], input_grad: bool
    ) -> Array | None:
        """Of groups of one channel; `shape` is that of the batch."""
        weight = None if self.weight is None else self.weight.data
        needs = (input_grad, learns(self.weight), learns(self.bias))
        dx, dweight, dbias = ops.group_norm_backward(
            xp, grad.reshape(shape), saved, statistics, weight, shape[1], needs
        )
        if learns(self.weight):
            self.weight.accumulate(dweight)
        if learns(self.bias):
            self.bias.accumulate(dbias)
        return None if dx is None else dx.reshape(grad.shape)


class InstanceNorm1d(_InstanceNorm):
    """Instance normalisation of sequences, as `torch.nn.InstanceNorm1d` (Ulyanov et al., 2016).

    `x` and `y` are `(N, C, L)` or `(C, L)`; formula and arguments are those of `InstanceNorm2d`.

    Args:
        num_features: C.
        eps, momentum, affine, track_running_stats, bias, dtype: as in `InstanceNorm2d`.

    Raises:
        ShapeError: (a ValueError) `x` of another rank or number of channels, or a single value per channel.

    Example:
        >>> import numpy as np, xpconv
        >>> xpconv.InstanceNorm1d(2)(np.array([[1, 3], [0, 9]], "float32")).round(3)
        array([[-1.,  1.],
               [-1.,  1.]], dtype=float32)
    """

    axes = 1


class InstanceNorm2d(_InstanceNorm):
    """Instance normalisation of images, as `torch.nn.InstanceNorm2d` (Ulyanov et al., 2016).

        y = (x - mean) / √(var + eps) · weight + bias

    `x` and `y` are `(N, C, H, W)` or `(C, H, W)`. `mean` and `var` (biased) are those of each channel of
    each image, in training and inference alike; with `track_running_stats`, training averages the images'
    means and unbiased variances, and inference uses these averages. Forward saves one array like `x`.

    Args:
        num_features: C.
        eps: added to the variance.
        momentum: weight of the new batch in the running statistics; None leaves these unchanged.
        affine: whether to learn `weight` (starts at 1) and `bias` (starts at 0), both `(C,)`.
        track_running_stats: whether to update running statistics in training and use them in inference.
        bias: whether there is a `bias` beside `weight`.
        dtype: floating dtype of parameters and buffers, and so of `x`.

    Raises:
        ShapeError: (a ValueError) `x` of another rank, a single value per channel, or other channels than C
            (only a warning where C is not used).

    Example:
        >>> import numpy as np, xpconv
        >>> xpconv.InstanceNorm2d(1)(np.array([[[1, 2], [3, 4]]], "float32")).round(3)
        array([[[-1.342, -0.447],
                [ 0.447,  1.342]]], dtype=float32)
    """

    axes = 2


class InstanceNorm3d(_InstanceNorm):
    """Instance normalisation of volumes, as `torch.nn.InstanceNorm3d` (Ulyanov et al., 2016).

    `x` and `y` are `(N, C, D, H, W)` or `(C, D, H, W)`; formula and arguments are those of `InstanceNorm2d`.

    Args:
        num_features: C.
        eps, momentum, affine, track_running_stats, bias, dtype: as in `InstanceNorm2d`.

    Raises:
        ShapeError: (a ValueError) `x` of another rank or number of channels, or a single value per channel.

    Example:
        >>> import numpy as np, xpconv
        >>> xpconv.InstanceNorm3d(4)(np.zeros((2, 4, 3, 8, 8), "float32")).shape
        (2, 4, 3, 8, 8)
    """

    axes = 3
