"""Normalisation of vectors over their last axes: layer norm and root mean square norm."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from ..arguments import is_sequence, shown, to_bool, to_float, to_size
from ..backend import Array
from ..dtypes import epsilon
from ..errors import ShapeError
from ..ops import norm as ops
from ..parameter import Parameter, learns, new_parameter, parameter_dtype
from .layer import Layer, arguments

__all__ = ["LayerNorm", "RMSNorm"]


class _TrailingNorm(Layer):
    """Normalisation over the last axes, `normalized_shape`, with a weight (and a bias) for each element."""

    normalized_shape: tuple[int, ...]
    fixed: ClassVar[tuple[str, ...]] = ("normalized_shape", "elementwise_affine", "bias")

    def __init__(
        self, normalized_shape: int | Sequence[int], elementwise_affine: bool, bias: bool, dtype: Any
    ) -> None:
        name = type(self).__name__
        sizes = normalized_shape if is_sequence(normalized_shape) else (normalized_shape,)
        self.normalized_shape = tuple(to_size(f"{name}: normalized_shape", size, 0) for size in sizes)
        if not self.normalized_shape:
            raise ValueError(
                f"{name}: normalized_shape is {shown(normalized_shape)}, expected at least one axis"
            )
        self.elementwise_affine: bool = to_bool(f"{name}: elementwise_affine", elementwise_affine)
        bias = to_bool(f"{name}: bias", bias)
        dtype = parameter_dtype(name, dtype)
        self.weight: Parameter | None = None
        self.bias: Parameter | None = None
        if self.elementwise_affine:
            self.weight = new_parameter(name, "weight", self.normalized_shape, dtype, value=1.0)
            if bias:
                self.bias = new_parameter(name, "bias", self.normalized_shape, dtype)

    def _axes(self, x: Array) -> tuple[int, ...]:
        """The axes to normalise; raises ShapeError if `x` does not end in `normalized_shape`."""
        axes = len(self.normalized_shape)
        if x.shape[max(0, x.ndim - axes) :] != self.normalized_shape:
            sizes = ", ".join(map(str, self.normalized_shape))
            raise ShapeError(
                f"{type(self).__name__}.forward: x has shape {x.shape}, expected (…, {sizes}): "
                f"normalized_shape={self.normalized_shape}"
            )
        return tuple(range(x.ndim - axes, x.ndim))

    def _normalize(self, xp: Any, x: Array, eps: float, centred: bool) -> Array:
        axes = self._axes(x)
        weight, bias = (None if p is None else p.data for p in (self.weight, self.bias))
        y, *saved = ops.layer_norm(xp, x, weight, bias, axes, eps, centred)
        return self.keep(y, xp, *saved, axes, centred)

    def backward(self, grad_output: Array, input_grad: bool = True) -> Array | None:
        xp, saved, statistics, axes, centred = self.recall(grad_output, input_grad)
        needs = (input_grad, learns(self.weight), learns(self.bias))
        weight = None if self.weight is None else self.weight.data
        dx, dweight, dbias = ops.layer_norm_backward(
            xp, grad_output, saved, statistics, weight, axes, needs, centred
        )
        if learns(self.weight):
            self.weight.accumulate(dweight)
        if learns(self.bias):
            self.bias.accumulate(dbias)
        return dx


class LayerNorm(_TrailingNorm):
    """Normalisation over the last axes, as `torch.nn.LayerNorm` (Ba et al., 2016).

        y = (x - mean) / √(var + eps) · weight + bias

    `x` and `y` are `(*, *normalized_shape)`; `mean` and `var` (biased) are taken over these last axes,
    in training and inference alike. `weight` and `bias` are of `normalized_shape`. Forward
    saves one array like `x`.

    Args:
        normalized_shape: sizes of the axes, or the size of the last one.
        eps: added to the variance.
        elementwise_affine: whether to learn `weight` (starts at 1) and `bias` (starts at 0).
        bias: whether to learn `bias` too.
        dtype: floating dtype of the parameters, and so of `x`.

    Raises:
        ValueError: `normalized_shape` without axes or with a negative size.
        ShapeError: (a ValueError) `x` does not end in `normalized_shape`.

    Example:
        >>> import numpy as np, xpconv
        >>> xpconv.LayerNorm(3)(np.array([[1, 2, 3], [0, 0, 9]], "float32")).round(3)
        array([[-1.225,  0.   ,  1.225],
               [-0.707, -0.707,  1.414]], dtype=float32)
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        *,
        dtype: Any = "float32",
    ) -> None:
        self.eps: float = to_float(f"{type(self).__name__}: eps", eps, finite=True)
        super().__init__(normalized_shape, elementwise_affine, bias, dtype)
        self._has_bias = bool(bias)

    def forward(self, x: Array) -> Array:
        return self._normalize(self._enter(x, self.weight), x, self.eps, True)

    def extra_repr(self) -> str:
        affine = (self.elementwise_affine, True)
        return arguments(
            self.normalized_shape,
            eps=(self.eps, 1e-5),
            elementwise_affine=affine,
            bias=(self._has_bias, True),
        )


class RMSNorm(_TrailingNorm):
    """Division by the root mean square over the last axes, as `torch.nn.RMSNorm` (Zhang and Sennrich, 2019).

        y = x / √(mean(x²) + eps) · weight

    `x` and `y` are `(*, *normalized_shape)`; `weight` is of `normalized_shape`. Forward saves one array
    like `x`.

    Args:
        normalized_shape: sizes of the axes, or the size of the last one.
        eps: added to the mean square; None is the machine epsilon of float32, and of float64 for float64.
        elementwise_affine: whether to learn `weight` (starts at 1).
        dtype: floating dtype of `weight`, and so of `x`.

    Raises:
        ValueError: `normalized_shape` without axes or with a negative size.
        ShapeError: (a ValueError) `x` does not end in `normalized_shape`.

    Example:
        >>> import numpy as np, xpconv
        >>> xpconv.RMSNorm(2)(np.array([[3, 4], [1, -1]], "float32")).round(3)
        array([[ 0.849,  1.131],
               [ 1.   , -1.   ]], dtype=float32)
    """

    eps: float | None

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float | None = None,
        elementwise_affine: bool = True,
        *,
        dtype: Any = "float32",
    ) -> None:
        self.eps = None if eps is None else to_float(f"{type(self).__name__}: eps", eps, finite=True)
        super().__init__(normalized_shape, elementwise_affine, False, dtype)

    def forward(self, x: Array) -> Array:
        xp = self._enter(x, self.weight)
        return self._normalize(xp, x, self._epsilon(x), False)

    def _epsilon(self, x: Any) -> float:
        return epsilon(x.dtype) if self.eps is None else self.eps

    def extra_repr(self) -> str:
        affine = (self.elementwise_affine, True)
        return arguments(self.normalized_shape, eps=(self.eps, None), elementwise_affine=affine)
