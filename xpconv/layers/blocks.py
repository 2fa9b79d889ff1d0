"""Layers that combine a few others in a fixed pattern."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from ..arguments import shown, to_size
from ..backend import Array
from ..ops.activation import arithmetic
from ..ops.adaptive_pool import global_avg_pool, image_dot
from ..parameter import parameter_dtype
from ..random import RNG, default_rng
from ..tape import position
from .activation import ReLU
from .conv import Conv2d
from .layer import Layer
from .smooth import Sigmoid

__all__ = ["SqueezeExcitation"]


class SqueezeExcitation(Layer):
    """Scale each channel by a function of all channel means, as torchvision's `SqueezeExcitation`.

    The block is from Hu et al. (2018):

        y[n, c] = x[n, c] · s[n, c],  s = scale_activation(fc2(activation(fc1(mean of each channel))))

    `x` and `y` are `(N, C, H, W)` or `(C, H, W)`; `fc1` and `fc2` are 1×1 convolutions, named so in the
    state dict. Forward saves `x` and `s`.

    Args:
        input_channels: C.
        squeeze_channels: channels between `fc1` and `fc2`.
        activation, scale_activation: layers, or functions or classes that return them without arguments.
        dtype: floating dtype of the parameters, and so of `x`.
        rng: `numpy.random.Generator` or seed for the initial values; None takes that of `manual_seed`.

    Raises:
        TypeError, ValueError: a number of channels below 1, or an activation that is not a layer.
        ShapeError: (a ValueError) `x` of another rank or number of channels.

    Example:
        >>> import numpy as np, xpconv
        >>> block = xpconv.SqueezeExcitation(16, 4, rng=0)
        >>> block(np.ones((2, 16, 8, 8), "float32")).shape
        (2, 16, 8, 8)
        >>> [name for name, _ in block.named_parameters()]
        ['fc1.weight', 'fc1.bias', 'fc2.weight', 'fc2.bias']
    """

    fixed: ClassVar[tuple[str, ...]] = ("input_channels", "squeeze_channels")

    def __init__(
        self,
        input_channels: int,
        squeeze_channels: int,
        activation: Layer | Callable[[], Layer] = ReLU,
        scale_activation: Layer | Callable[[], Layer] = Sigmoid,
        *,
        dtype: Any = "float32",
        rng: RNG = None,
    ) -> None:
        name = type(self).__name__
        self.input_channels: int = to_size(f"{name}: input_channels", input_channels)
        self.squeeze_channels: int = to_size(f"{name}: squeeze_channels", squeeze_channels)
        dtype = parameter_dtype(name, dtype)
        rng = default_rng(rng, name)
        self.fc1: Conv2d = Conv2d(self.input_channels, self.squeeze_channels, 1, dtype=dtype, rng=rng)
        self.fc2: Conv2d = Conv2d(self.squeeze_channels, self.input_channels, 1, dtype=dtype, rng=rng)
        self.activation: Layer = self._layer("activation", activation)
        self.scale_activation: Layer = self._layer("scale_activation", scale_activation)

    def _layer(self, argument: str, value: Any) -> Layer:
        where = f"{type(self).__name__}: {argument} is {shown(value)}, expected a Layer or a Layer class"
        layer = value
        if callable(value) and not isinstance(value, Layer):
            try:
                layer = value()
            except TypeError as cause:
                raise TypeError(f"{where} that takes no arguments: {cause}") from cause
        if not isinstance(layer, Layer):
            raise TypeError(where)
        return layer

    def _path(self) -> tuple[Layer, ...]:
        """The layers from the means to the scale, in order."""
        return self.fc1, self.activation, self.fc2, self.scale_activation

    def forward(self, x: Array) -> Array:
        why = f"input_channels={self.input_channels}"
        xp, images, batched = self._enter_images(x, 2, self.input_channels, why, self.fc1.weight)
        start = position()
        scale = global_avg_pool(xp, images)
        for layer in self._path():
            scale = layer._pass(scale)
        y = arithmetic(xp, "multiply", images, scale)
        return self.keep(y if batched else y[0], xp, start, images, scale, batched)

    def backward(self, grad_output: Array, input_grad: bool = True) -> Array | None:
        """`x` acts directly, with the factor `s`, and through each channel's mean over H·W pixels:

        dx = grad · s + dmean / (H·W), dmean from ds = Σ_pixels grad · x, back through the path.
        """
        xp, start, x, scale, batched = self.recall(grad_output, input_grad)
        grad = grad_output if batched else grad_output[None]
        ds: Array = None  # not needed if no gradient is computed from it
        if input_grad or self._learns():
            ds = image_dot(xp, grad, x)
        dmean = self._back_through(self._path(), start, ds, input_grad)
        if dmean is None:
            return None
        dx = arithmetic(xp, "multiply", grad, scale)
        dx += dmean / (x.shape[-2] * x.shape[-1])
        return dx if batched else dx[0]
