"""Fully connected layers of one input and of two."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from .. import init
from ..arguments import to_bool, to_size
from ..backend import Array
from ..errors import ShapeError
from ..ops import linear as ops
from ..parameter import Parameter, learns, new_parameter
from ..random import RNG, default_rng
from .layer import Layer, arguments

__all__ = ["Bilinear", "Dense", "Linear"]


class Dense(Layer):
    """`y = x Wᵀ + b` over the last axis, as `torch.nn.Linear` (and `Linear` is its alias).

    `x` `(*, in_features)` gives `y` `(*, out_features)`; `weight` is `(out_features, in_features)`,
    `bias` `(out_features,)`; both start uniform on `±1/√in_features`. Forward saves `x`.

    Args:
        in_features, out_features: sizes of the last axis of `x` and `y`.
        bias: whether to add a bias.
        dtype: floating dtype of the parameters, and so of `x`.
        rng: `numpy.random.Generator` or seed for the initial values; None takes that of `manual_seed`.

    Raises:
        ValueError: a size below 1.
        ShapeError: (a ValueError) the last axis of `x` is not `in_features`.
        DTypeError, BackendError: (TypeErrors) `x` is not floating, not of the parameters' dtype or backend.

    Example:
        >>> import numpy as np, xpconv
        >>> xpconv.Dense(128, 10, rng=0)(np.zeros((64, 128), "float32")).shape
        (64, 10)
    """

    out_features: int
    in_features: int
    weight: Parameter
    fixed: ClassVar[tuple[str, ...]] = ("in_features", "out_features", "bias")

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        dtype: Any = "float32",
        rng: RNG = None,
    ) -> None:
        self._set_options(out_features, bias)
        self._set_parameters(in_features, dtype, rng)

    def _set_options(self, out_features: int, bias: bool) -> None:
        """Check and store all arguments except `in_features`."""
        name = type(self).__name__
        self.out_features = to_size(f"{name}: out_features", out_features)
        self._has_bias = to_bool(f"{name}: bias", bias)

    def _set_parameters(self, in_features: int, dtype: Any, rng: RNG) -> None:
        name = type(self).__name__
        self.in_features = to_size(f"{name}: in_features", in_features)
        rng = default_rng(rng, name)
        shape = (self.out_features, self.in_features)
        bound = 1 / math.sqrt(self.in_features)
        self.weight = init.uniform_(new_parameter(name, "weight", shape, dtype), -bound, bound, rng)
        self.bias: Parameter | None = None
        if self._has_bias:
            self.bias = init.uniform_(new_parameter(name, "bias", shape[:1], dtype), -bound, bound, rng)

    def forward(self, x: Array) -> Array:
        xp = self._enter(x, self.weight)
        if x.ndim == 0 or x.shape[-1] != self.in_features:
            flatten = " (images go through Flatten() first)" if x.ndim == 4 else ""
            raise ShapeError(
                f"Dense.forward: x has shape {x.shape}, expected (…, {self.in_features}): "
                f"in_features={self.in_features}{flatten}"
            )
        bias = None if self.bias is None else self.bias.data
        y = ops.linear(xp, x, self.weight.data, bias)
        return self.keep(y, xp, x)

    def backward(self, grad_output: Array, input_grad: bool = True) -> Array | None:
        xp, x = self.recall(grad_output, input_grad)
        if self.weight.requires_grad:
            self.weight.accumulate(ops.linear_backward_weight(xp, grad_output, x))
        if learns(self.bias):
            self.bias.accumulate(ops.linear_backward_bias(xp, grad_output))
        return ops.linear_backward_input(xp, grad_output, self.weight.data) if input_grad else None

    def _flops(self, x: Array, y: Array) -> int:
        return 2 * int(y.size) * math.prod(self.weight.shape[1:])

    def extra_repr(self) -> str:
        return arguments(self.in_features, self.out_features, bias=(self.bias is not None, True))


Linear = Dense


class Bilinear(Layer):
    """`y_k = Σ_ij x1_i weight_kij x2_j + bias_k` over the last axes, as `torch.nn.Bilinear`.

    `layer(x1, x2)` with `x1` `(*, in1_features)` and `x2` `(*, in2_features)` gives `(*, out_features)`,
    and `backward` returns the pair of their gradients. `weight`
    `(out_features, in1_features, in2_features)` and `bias` start uniform on ±1/√in1_features. Forward saves
    both inputs.

    Args:
        in1_features, in2_features, out_features: sizes of the last axes of `x1`, `x2` and `y`.
        bias: whether to add a bias.
        dtype: floating dtype of the parameters, and so of both inputs.
        rng: `numpy.random.Generator` or seed for the initial values; None takes that of `manual_seed`.

    Raises:
        ValueError: a size below 1.
        ShapeError: (a ValueError) a last axis of another size, or leading axes that differ.
        DTypeError, BackendError: (TypeErrors) an input is not of the parameters' dtype or backend.

    Example:
        >>> import numpy as np, xpconv
        >>> layer = xpconv.Bilinear(3, 4, 2, dtype="float64", rng=0)
        >>> layer(np.ones((5, 3)), np.ones((5, 4))).shape
        (5, 2)
        >>> [dx.shape for dx in layer.backward(np.ones((5, 2)))]
        [(5, 3), (5, 4)]
    """

    weight: Parameter
    fixed: ClassVar[tuple[str, ...]] = ("in1_features", "in2_features", "out_features", "bias")

    def __init__(
        self,
        in1_features: int,
        in2_features: int,
        out_features: int,
        bias: bool = True,
        *,
        dtype: Any = "float32",
        rng: RNG = None,
    ) -> None:
        name = type(self).__name__
        self.in1_features: int = to_size(f"{name}: in1_features", in1_features)
        self.in2_features: int = to_size(f"{name}: in2_features", in2_features)
        self.out_features: int = to_size(f"{name}: out_features", out_features)
        bias = to_bool(f"{name}: bias", bias)
        rng = default_rng(rng, name)
        shape = (self.out_features, self.in1_features, self.in2_features)
        bound = 1 / math.sqrt(self.in1_features)
        self.weight = init.uniform_(new_parameter(name, "weight", shape, dtype), -bound, bound, rng)
        self.bias: Parameter | None = None
        if bias:
            self.bias = init.uniform_(new_parameter(name, "bias", shape[:1], dtype), -bound, bound, rng)

    def forward(self, x1: Array, x2: Array) -> Array:  # type: ignore[override]  # two inputs
        self._enter(x1, self.weight)
        xp = self._enter(x2, self.weight)
        sizes = (self.in1_features, self.in2_features)
        if (x1.shape[-1:], x2.shape[-1:]) != (sizes[:1], sizes[1:]) or x1.shape[:-1] != x2.shape[:-1]:
            raise ShapeError(
                f"{type(self).__name__}.forward: x1 has shape {x1.shape} and x2 {x2.shape}, expected "
                f"(…, {sizes[0]}) and (…, {sizes[1]}) with the same leading axes"
            )
        bias = None if self.bias is None else self.bias.data
        return self.keep(ops.bilinear(xp, x1, x2, self.weight.data, bias), xp, x1, x2)

    def backward(self, grad_output: Array, input_grad: bool = True) -> tuple[Array, Array] | None:
        xp, x1, x2 = self.recall(grad_output, input_grad)
        if self.weight.requires_grad:
            self.weight.accumulate(ops.bilinear_backward_weight(xp, grad_output, x1, x2))
        if learns(self.bias):
            self.bias.accumulate(ops.linear_backward_bias(xp, grad_output))
        if not input_grad:
            return None
        return ops.bilinear_backward_input(xp, grad_output, x1, x2, self.weight.data)

    def _flops(self, x: Array, y: Array) -> int:
        return 2 * int(y.size) * math.prod(self.weight.shape[1:])

    def extra_repr(self) -> str:
        sizes = (self.in1_features, self.in2_features, self.out_features)
        return arguments(*sizes, bias=(self.bias is not None, True))
