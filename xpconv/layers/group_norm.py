"""Normalisation over channels: groups of them, or the neighbours of each (local response)."""

from __future__ import annotations

from typing import Any, ClassVar

from ..arguments import to_bool, to_float, to_size
from ..backend import Array
from ..errors import ShapeError
from ..ops import norm as ops
from ..ops.response_norm import response_norm, response_norm_backward
from ..parameter import Parameter, learns, new_parameter, parameter_dtype
from .layer import Layer, arguments

__all__ = ["GroupNorm", "LocalResponseNorm"]


class GroupNorm(Layer):
    """Normalisation of groups of channels, as `torch.nn.GroupNorm` (Wu and He, 2018).

        y = (x - mean) / √(var + eps) · weight + bias

    `x` and `y` are `(N, C, *)`; `mean` and `var` (biased) are those of each image's group of
    `num_channels/num_groups` channels, in training and inference alike. Forward saves one array like `x`.

    Args:
        num_groups: number of groups; divides `num_channels`.
        num_channels: C.
        eps: added to the variance.
        affine: whether to learn `weight` (starts at 1) and `bias` (starts at 0), both `(C,)`.
        bias: whether to learn `bias` too.
        dtype: floating dtype of the parameters, and so of `x`.

    Raises:
        ValueError: `num_groups` does not divide `num_channels`.
        ShapeError: (a ValueError) `x` of less than two axes, other channels, or a single value to normalise.

    Example:
        >>> import numpy as np, xpconv
        >>> xpconv.GroupNorm(2, 4)(np.array([[1, 2, 0, 9]], "float32")).round(3)
        array([[-1.,  1., -1.,  1.]], dtype=float32)
    """

    fixed: ClassVar[tuple[str, ...]] = ("num_groups", "num_channels", "affine", "bias")

    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        *,
        bias: bool = True,
        dtype: Any = "float32",
    ) -> None:
        name = type(self).__name__
        self.num_groups: int = to_size(f"{name}: num_groups", num_groups)
        self.num_channels: int = to_size(f"{name}: num_channels", num_channels)
        if self.num_channels % self.num_groups:
            raise ValueError(
                f"{name}: num_groups is {num_groups}, which does not divide num_channels = {num_channels}"
            )
        self.eps: float = to_float(f"{name}: eps", eps, finite=True)
        self.affine: bool = to_bool(f"{name}: affine", affine)
        self._has_bias = to_bool(f"{name}: bias", bias)
        dtype = parameter_dtype(name, dtype)
        self.weight: Parameter | None = None
        self.bias: Parameter | None = None
        if self.affine:
            self.weight = new_parameter(name, "weight", (self.num_channels,), dtype, value=1.0)
            if bias:
                self.bias = new_parameter(name, "bias", (self.num_channels,), dtype)

    def forward(self, x: Array) -> Array:
        xp = self._enter(x, self.weight)
        if x.ndim < 2 or x.shape[1] != self.num_channels:
            raise ShapeError(
                f"GroupNorm.forward: x has shape {x.shape}, expected (N, {self.num_channels}, …): "
                f"num_channels={self.num_channels}"
            )
        if x.size == self.num_groups:
            raise ShapeError(
                f"GroupNorm.forward: x has shape {x.shape}: one value per group has no variance; "
                "use a larger batch, fewer groups or larger images"
            )
        weight, bias = (None if p is None else p.data for p in (self.weight, self.bias))
        y, *saved = ops.group_norm(xp, x, weight, bias, self.num_groups, self.eps)
        return self.keep(y, xp, *saved)

    def backward(self, grad_output: Array, input_grad: bool = True) -> Array | None:
        xp, saved, statistics = self.recall(grad_output, input_grad)
        needs = (input_grad, learns(self.weight), learns(self.bias))
        weight = None if self.weight is None else self.weight.data
        dx, dweight, dbias = ops.group_norm_backward(
            xp, grad_output, saved, statistics, weight, self.num_groups, needs
        )
        if learns(self.weight):
            self.weight.accumulate(dweight)
        if learns(self.bias):
            self.bias.accumulate(dbias)
        return dx

    def extra_repr(self) -> str:
        return arguments(
            self.num_groups,
            self.num_channels,
            eps=(self.eps, 1e-5),
            affine=(self.affine, True),
            bias=(self._has_bias, True),
        )


class LocalResponseNorm(Layer):
    """Division by the energy of neighbouring channels, as `torch.nn.LocalResponseNorm` (AlexNet, 2012).

        y_c = x_c / (k + alpha/size · Σ x_i²)^beta,  i from c - ⌊size/2⌋ to c + ⌊(size - 1)/2⌋

    `x` and `y` are `(N, C, *)` with at least one spatial axis; channels beyond the ends count as 0.
    Forward saves `x` and one array like it.

    Args:
        size: number of channels in the sum.
        alpha, beta, k: as in the formula.

    Raises:
        ValueError: `size` below 1.
        ShapeError: (a ValueError) `x` has less than three axes.

    Example:
        >>> import numpy as np, xpconv
        >>> x = np.array([1.0, 2, 3]).reshape(1, 3, 1)
        >>> xpconv.LocalResponseNorm(2, alpha=2.0, beta=1.0)(x).ravel().round(4)
        array([0.5   , 0.3333, 0.2143])
    """

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> None:
        name = type(self).__name__
        self.size: int = to_size(f"{name}: size", size)
        self.alpha: float = to_float(f"{name}: alpha", alpha, finite=True)
        self.beta: float = to_float(f"{name}: beta", beta, finite=True)
        self.k: float = to_float(f"{name}: k", k, finite=True)

    def forward(self, x: Array) -> Array:
        xp = self._enter(x)
        if x.ndim < 3:
            raise ShapeError(
                f"LocalResponseNorm.forward: x has shape {x.shape}, expected (N, C, …) with spatial axes"
            )
        y, d = response_norm(xp, x, self.size, self.alpha, self.beta, self.k)
        return self.keep(y, xp, x, d, (self.size, self.alpha, self.beta))

    def backward(self, grad_output: Array, input_grad: bool = True) -> Array | None:
        xp, x, d, values = self.recall(grad_output, input_grad)
        return response_norm_backward(xp, grad_output, x, d, *values) if input_grad else None

    def extra_repr(self) -> str:
        return arguments(self.size, alpha=(self.alpha, 1e-4), beta=(self.beta, 0.75), k=(self.k, 1.0))
