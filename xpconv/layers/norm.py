"""Batch normalisation, and the base class that it shares with instance normalisation."""

from __future__ import annotations

from typing import Any, ClassVar

from ..arguments import to_bool, to_float, to_size
from ..backend import Array, get_xp
from ..errors import ShapeError
from ..geometry import Bounds
from ..ops import joint_norm
from ..ops import norm as ops
from ..ops.activation import clip_backward
from ..parameter import Parameter, learns, new_parameter, parameter_dtype
from ..tape import saving
from .layer import Layer, arguments

__all__ = ["BatchNorm1d", "BatchNorm2d", "BatchNorm3d"]


class ChannelNorm(Layer):
    """Base of BatchNorm and InstanceNorm: everything except the axes of the statistics."""

    eps: float
    momentum: float | None
    affine: bool
    track_running_stats: bool
    num_features: int
    fixed: ClassVar[tuple[str, ...]] = ("num_features", "affine", "track_running_stats", "bias")
    buffer_names: ClassVar[tuple[str, ...]] = ("running_mean", "running_var", "num_batches_tracked")
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
        self._set_options(eps, momentum, affine, track_running_stats, bias)
        self._set_arrays(num_features, dtype)

    def _set_options(
        self, eps: float, momentum: float | None, affine: bool, track_running_stats: bool, bias: bool
    ) -> None:
        """Check and store all arguments except the sizes."""
        name = type(self).__name__
        self.eps = to_float(f"{name}: eps", eps, finite=True)
        self.momentum = None if momentum is None else to_float(f"{name}: momentum", momentum, finite=True)
        self.affine = to_bool(f"{name}: affine", affine)
        self.track_running_stats = to_bool(f"{name}: track_running_stats", track_running_stats)
        self._has_bias = to_bool(f"{name}: bias", bias)
        self.weight: Parameter | None = None
        self.bias: Parameter | None = None
        self.running_mean: Array = None
        self.running_var: Array = None
        self.num_batches_tracked: Array = None

    def _set_arrays(self, num_features: int, dtype: Any) -> None:
        name = type(self).__name__
        self.num_features = to_size(f"{name}: num_features", num_features)
        dtype = parameter_dtype(name, dtype)
        shape = (self.num_features,)
        if self.affine:
            self.weight = new_parameter(name, "weight", shape, dtype, value=1.0)
            self.bias = new_parameter(name, "bias", shape, dtype) if self._has_bias else None
        if self.track_running_stats:
            self.running_mean = new_parameter(name, "running_mean", shape, dtype).data
            self.running_var = new_parameter(name, "running_var", shape, dtype, value=1.0).data
            self.num_batches_tracked = get_xp().zeros((), dtype="int64")

    def extra_repr(self) -> str:
        values = {**vars(self), "bias": self._has_bias}
        return arguments(self.num_features, **{k: (values[k], v) for k, v in self.defaults.items()})


class _BatchNorm(ChannelNorm):
    """Batch normalisation over inputs of certain ranks; `BatchNorm2d` describes it."""

    ranks: ClassVar[tuple[int, ...]]
    expected: ClassVar[str]
    _communicator: Any = None  # of the processes that train this layer together

    def forward(self, x: Array) -> Array:
        return self._clipped(x)

    def _clipped(self, x: Array, bounds: Bounds = None) -> Array:
        xp = self._enter(x, self.weight, self.running_mean, or_narrower=True)
        if x.ndim not in self.ranks or x.shape[1] != self.num_features:
            raise ShapeError(
                f"{type(self).__name__}.forward: x has shape {x.shape}, expected {self.expected} with C = "
                f"{self.num_features} (num_features)"
            )
        if self.eps <= 0 and (self.training or self.running_mean is None):
            raise ValueError(f"{type(self).__name__}: eps is {self.eps}, expected above 0 in training")
        few = "one value per channel has no variance; use a larger batch, or eval() with running statistics"
        from_batch = self.training or self.running_mean is None
        joint = None  # the number of values per channel in all processes, if these have statistics in common
        weight, bias = (None if p is None else p.data for p in (self.weight, self.bias))
        if self.training and self._communicator is not None:
            y, mean, inv_std, joint = self._synchronized(xp, x, weight, bias, bounds)
        elif from_batch:
            count = x.size // self.num_features
            if count == 1:
                raise ShapeError(f"{type(self).__name__}.forward: x has shape {x.shape}: {few}")
            if self.training and self.running_mean is not None:
                running = self.running_mean, self.running_var, self.num_batches_tracked
                y, mean, inv_std = ops.normalize_and_track(
                    xp, x, weight, bias, self.eps, bounds, *running, self.momentum
                )
            else:
                y, mean, _, inv_std = ops.normalize_batch(xp, x, weight, bias, self.eps, bounds)
        else:
            mean = self.running_mean.astype("float64") if saving() else self.running_mean
            inv_std = ops.inverse_std(xp, self.running_var, self.eps)
            y = ops.batch_norm(xp, x, weight, bias, mean, inv_std, bounds)
        clipped = None if bounds is None else y
        return self.keep(y, xp, x, mean, inv_std, from_batch, joint, clipped, bounds)

    def _synchronized(
        self, xp: Any, x: Array, weight: Array | None, bias: Array | None, bounds: Bounds
    ) -> tuple[Array, Array, Array, Array]:
        """The output, with the statistics of the samples of all processes; these, and their number."""
        own = joint_norm.packed_statistics(xp, x)
        table = self._communicator.rows(own, f"sum the statistics of a BatchNorm of {self.num_features}")
        mean, var, count = joint_norm.joined_statistics(xp, table)
        if self.running_mean is not None:
            running = self.running_mean, self.running_var, self.num_batches_tracked
            joint_norm.track(xp, mean, var, count, *running, self.momentum)
        inv_std = ops.inverse_std(xp, var, self.eps)
        return ops.batch_norm(xp, x, weight, bias, mean, inv_std, bounds), mean, inv_std, count

    def backward(self, grad_output: Array, input_grad: bool = True) -> Array | None:
        xp, x, mean, inv_std, from_batch, joint, y, bounds = self.recall(grad_output, input_grad)
        weight = None if self.weight is None else self.weight.data
        if joint is None and not (learns(self.weight) or learns(self.bias)):
            if not input_grad:
                return None
            if not from_batch:  # no sums are needed
                return ops.batch_norm_backward_input(xp, grad_output, weight, inv_std, y, bounds)
        if joint is not None and bounds is not None:
            grad_output, bounds = clip_backward(xp, grad_output, y, *bounds), None
        alone = input_grad and joint is None
        dx, dweight, dbias = ops.batch_norm_backward(
            xp, grad_output, x, weight, mean, inv_std, from_batch, alone, y, bounds
        )
        if joint is not None and input_grad:  # as for the layers below
            sums = xp.concatenate([dbias, dweight]).astype("float64")
            sums = self._communicator.total(sums, f"sum the gradients of a BatchNorm of {self.num_features}")
            means = sums.reshape(2, -1) / xp.maximum(joint, 1.0)
            dx = joint_norm.joint_input_grad(xp, grad_output, x, weight, mean, inv_std, means)
        if learns(self.weight):
            self.weight.accumulate(dweight.astype(self.weight.dtype, copy=False))
        if learns(self.bias):
            self.bias.accumulate(dbias.astype(self.bias.dtype, copy=False))
        return dx


class BatchNorm1d(_BatchNorm):
    """Batch normalisation of vectors and sequences, as `torch.nn.BatchNorm1d` (Ioffe and Szegedy, 2015).

    `x` and `y` are `(N, C)` or `(N, C, L)`; formula and arguments are those of `BatchNorm2d`.

    Args:
        num_features: C.
        eps, momentum, affine, track_running_stats, bias, dtype: as in `BatchNorm2d`.

    Raises:
        ShapeError: (a ValueError) `x` of another rank or number of channels, or in training a single
            value per channel.

    Example:
        >>> import numpy as np, xpconv
        >>> xpconv.BatchNorm1d(2)(np.array([[1, 5], [3, 5]], "float32")).round(3)
        array([[-1.,  0.],
               [ 1.,  0.]], dtype=float32)
    """

    ranks: ClassVar[tuple[int, ...]] = (2, 3)
    expected: ClassVar[str] = "(N, C) or (N, C, L)"


class BatchNorm2d(_BatchNorm):
    """Batch normalisation of images, as `torch.nn.BatchNorm2d` (Ioffe and Szegedy, 2015).

        y = (x - mean) / √(var + eps) · weight + bias

    `x` and `y` are `(N, C, H, W)`. In training, `mean` and `var` (biased) are those of each channel over the
    batch and the pixels, and update the running statistics (`running_var` with the unbiased variance);
    inference mode uses the running statistics. Forward saves one array like `x`.

    Args:
        num_features: C.
        eps: added to the variance.
        momentum: weight of the new batch in the running statistics; None averages all batches.
        affine: whether to learn `weight` (starts at 1) and `bias` (starts at 0), both `(C,)`.
        track_running_stats: False uses the batch's statistics in inference mode too.
        bias: whether there is a `bias` beside `weight`.
        dtype: floating dtype of parameters and buffers, and so of `x`; with float32, `x` may also be
            float16 or bfloat16, so that the statistics of a half-precision model are exact.

    Raises:
        ShapeError: (a ValueError) `x` of another rank or number of channels, or in training a single
            value per channel.

    Example:
        >>> import numpy as np, xpconv
        >>> y = xpconv.BatchNorm2d(2)(np.random.default_rng(0).normal(3, 5, (8, 2, 4, 4)).astype("float32"))
        >>> bool(abs(y.mean()) < 1e-6), round(float(y.std()), 4)
        (True, 1.0)
    """

    ranks: ClassVar[tuple[int, ...]] = (4,)
    expected: ClassVar[str] = "(N, C, H, W)"


class BatchNorm3d(_BatchNorm):
    """Batch normalisation of volumes, as `torch.nn.BatchNorm3d` (Ioffe and Szegedy, 2015).

    `x` and `y` are `(N, C, D, H, W)`; formula and arguments are those of `BatchNorm2d`.

    Args:
        num_features: C.
        eps, momentum, affine, track_running_stats, bias, dtype: as in `BatchNorm2d`.

    Raises:
        ShapeError: (a ValueError) `x` of another rank or number of channels, or in training a single
            value per channel.

    Example:
        >>> import numpy as np, xpconv
        >>> xpconv.BatchNorm3d(4)(np.zeros((2, 4, 3, 8, 8), "float32")).shape
        (2, 4, 3, 8, 8)
    """

    ranks: ClassVar[tuple[int, ...]] = (5,)
    expected: ClassVar[str] = "(N, C, D, H, W)"
