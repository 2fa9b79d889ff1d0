"""Pooling to a given output size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from ..backend import Array
from ..geometry import to_int
from ..ops import adaptive_pool as ops
from .base import Layer, arguments

Size = int | None | Sequence[int | None]


class _AdaptiveAvgPool(Layer):
    """Over `axes` spatial axes; `AdaptiveAvgPool2d` describes it."""

    axes: ClassVar[int]

    def __init__(self, output_size: Size) -> None:
        name = type(self).__name__
        sizes = output_size if isinstance(output_size, Sequence) else (output_size,) * self.axes
        if len(sizes) != self.axes:
            raise ValueError(
                f"{name}: output_size is {output_size!r}, expected an int, None or {self.axes} of them"
            )
        self.output_size = tuple(None if s is None else to_int(f"{name}: output_size", s, 1) for s in sizes)

    def forward(self, x: Array) -> Array:
        xp = self._enter(x)
        images, batched = self._images(x, self.axes)
        output = tuple(m or n for m, n in zip(self.output_size, images.shape[2:], strict=True))
        y = ops.adaptive_avg_pool(xp, images, output)
        return self.keep(y if batched else y[0], xp, images.shape[2:], batched)

    def backward(self, grad_output: Array, input_grad: bool = True) -> Array | None:
        xp, spatial, batched = self.recall(grad_output)
        if not input_grad:
            return None
        dx = ops.adaptive_avg_pool_backward(xp, grad_output if batched else grad_output[None], spatial)
        return dx if batched else dx[0]

    def extra_repr(self) -> str:
        return arguments(output_size=(self.output_size, ()))


class AdaptiveAvgPool1d(_AdaptiveAvgPool):
    """Means over windows that share out the input, as `torch.nn.AdaptiveAvgPool1d`.

    `x` `(N, C, L)` or `(C, L)` gives `y` `(N, C, output_size)` or `(C, output_size)`.

    Args:
        output_size: length of the output; None keeps that of the input.

    Example:
        >>> import numpy as np, xpconv
        >>> xpconv.AdaptiveAvgPool1d(2)(np.array([[1.0, 2, 3, 4]]))
        array([[1.5, 3.5]])
    """

    axes = 1


class AdaptiveAvgPool2d(_AdaptiveAvgPool):
    """Means over windows that share out the image, as `torch.nn.AdaptiveAvgPool2d`.

    Output p of m along an axis of n is the mean of inputs `⌊p n/m⌋` to `⌈(p+1) n/m⌉ - 1`; windows overlap
    where m does not divide n. `x` `(N, C, H, W)` or `(C, H, W)` gives `y` `(N, C, *output_size)` or
    `(C, *output_size)`. Forward keeps nothing but the shape of `x`.

    Args:
        output_size: an int, or one for each axis; None keeps the input's.

    Raises:
        ValueError: a size that cannot be.
        ShapeError: (a ValueError) `x` of another rank.

    Example:
        >>> import numpy as np, xpconv
        >>> xpconv.AdaptiveAvgPool2d(1)(np.arange(6.0).reshape(1, 2, 3))
        array([[[2.5]]])
    """

    axes = 2


class AdaptiveAvgPool3d(_AdaptiveAvgPool):
    """Means over windows that share out the volume, as `torch.nn.AdaptiveAvgPool3d`.

    `x` `(N, C, D, H, W)` or `(C, D, H, W)` gives `y` `(N, C, *output_size)` or `(C, *output_size)`.

    Args:
        output_size: an int, or one for each axis; None keeps the input's.

    Example:
        >>> import numpy as np, xpconv
        >>> xpconv.AdaptiveAvgPool3d((1, None, 2))(np.zeros((2, 3, 4, 5, 6))).shape
        (2, 3, 1, 5, 2)
    """

    axes = 3
