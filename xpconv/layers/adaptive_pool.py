"""Pooling to a given output size, and over the whole image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from ..arguments import check_places, check_room, is_sequence, shown, to_bool, to_size
from ..backend import Array
from ..ops import adaptive_pool as ops
from .layer import Layer, arguments

__all__ = [
    "AdaptiveAvgPool1d",
    "AdaptiveAvgPool2d",
    "AdaptiveAvgPool3d",
    "AdaptiveMaxPool1d",
    "AdaptiveMaxPool2d",
    "AdaptiveMaxPool3d",
]

Size = int | None | Sequence[int | None]


class _AdaptivePool(Layer):
    """Base of the adaptive pooling layers, over `axes` spatial axes."""

    output_size: tuple[int | None, ...]
    axes: ClassVar[int]

    def __init__(self, output_size: Size) -> None:
        name = type(self).__name__
        sizes = output_size if is_sequence(output_size) else (output_size,) * self.axes
        if len(sizes) != self.axes:
            raise ValueError(
                f"{name}: output_size is {shown(output_size)}, expected an int, None or {self.axes} of them"
            )
        self.output_size = tuple(None if s is None else to_size(f"{name}: output_size", s) for s in sizes)

    def _output(self, images: Array) -> tuple[int, ...]:
        return tuple(m or n for m, n in zip(self.output_size, images.shape[2:], strict=True))

    def extra_repr(self) -> str:
        return arguments(output_size=(self.output_size, ()))


class _AdaptiveAvgPool(_AdaptivePool):
    """Adaptive average pooling over `axes` spatial axes; `AdaptiveAvgPool2d` describes it."""

    def forward(self, x: Array) -> Array:
        xp, images, batched = self._enter_images(x, self.axes)
        size = self._output(images)
        where = f"{type(self).__name__}.forward: an output"
        check_room(where, images.shape[:2] + size, x.dtype.itemsize)
        check_places(where, size)
        y = ops.adaptive_avg_pool(xp, images, size)
        return self.keep(y if batched else y[0], xp, images.shape[2:], batched)

    def backward(self, grad_output: Array, input_grad: bool = True) -> Array | None:
        xp, spatial, batched = self.recall(grad_output, input_grad)
        if not input_grad:
            return None
        dx = ops.adaptive_avg_pool_backward(xp, grad_output if batched else grad_output[None], spatial)
        return dx if batched else dx[0]


class _AdaptiveMaxPool(_AdaptivePool):
    """Adaptive max pooling over `axes` spatial axes; `AdaptiveMaxPool2d` describes it."""

    def __init__(self, output_size: Size, return_indices: bool = False) -> None:
        super().__init__(output_size)
        self.return_indices: bool = to_bool(f"{type(self).__name__}: return_indices", return_indices)

    def forward(self, x: Array) -> Any:
        xp, images, batched = self._enter_images(x, self.axes)
        size = self._output(images)
        where = f"{type(self).__name__}.forward: an output"
        check_room(where, images.shape[:2] + size, x.dtype.itemsize)
        check_places(where, size)
        y, indices = ops.adaptive_max_pool(xp, images, size)
        y = self.keep(y if batched else y[0], xp, indices, images.shape[2:], batched)
        return (y, indices if batched else indices[0]) if self.return_indices else y

    def backward(self, grad_output: Array, input_grad: bool = True) -> Array | None:
        xp, indices, spatial, batched = self.recall(grad_output, input_grad)
        if not input_grad:
            return None
        grad = grad_output if batched else grad_output[None]
        dx = ops.adaptive_max_pool_backward(xp, grad, indices, spatial)
        return dx if batched else dx[0]

    def extra_repr(self) -> str:
        return arguments(output_size=(self.output_size, ()), return_indices=(self.return_indices, False))


class AdaptiveAvgPool1d(_AdaptiveAvgPool):
    """Means over windows that divide the input, as `torch.nn.AdaptiveAvgPool1d`.

    `x` `(N, C, L)` or `(C, L)` gives `y` `(N, C, output_size)` or `(C, output_size)`.

    Args:
        output_size: length of the output; None is that of the input.

    Example:
        >>> import numpy as np, xpconv
        >>> xpconv.AdaptiveAvgPool1d(2)(np.array([[1.0, 2, 3, 4]]))
        array([[1.5, 3.5]])
    """

    axes = 1


class AdaptiveAvgPool2d(_AdaptiveAvgPool):
    """Means over windows that divide the image, as `torch.nn.AdaptiveAvgPool2d`.

    Output p of m along an axis of n is the mean of inputs `⌊p n/m⌋` to `⌈(p+1) n/m⌉ - 1`; windows overlap
    where m does not divide n. `x` `(N, C, H, W)` or `(C, H, W)` gives `y` `(N, C, *output_size)` or
    `(C, *output_size)`. Forward saves only the shape of `x`.

    Args:
        output_size: an int, or one for each axis; None is the input's.

    Raises:
        ValueError: an invalid size.
        ShapeError: (a ValueError) `x` of another rank.

    Example:
        >>> import numpy as np, xpconv
        >>> xpconv.AdaptiveAvgPool2d(1)(np.arange(6.0).reshape(1, 2, 3))
        array([[[2.5]]])
    """

    axes = 2


class AdaptiveAvgPool3d(_AdaptiveAvgPool):
    """Means over windows that divide the volume, as `torch.nn.AdaptiveAvgPool3d`.

    `x` `(N, C, D, H, W)` or `(C, D, H, W)` gives `y` `(N, C, *output_size)` or `(C, *output_size)`.

    Args:
        output_size: an int, or one for each axis; None is the input's.

    Example:
        >>> import numpy as np, xpconv
        >>> xpconv.AdaptiveAvgPool3d((1, None, 2))(np.zeros((2, 3, 4, 5, 6))).shape
        (2, 3, 1, 5, 2)
    """

    axes = 3


class AdaptiveMaxPool1d(_AdaptiveMaxPool):
    """Maxima over windows that divide the input, as `torch.nn.AdaptiveMaxPool1d`.

    `x` `(N, C, L)` or `(C, L)` gives `y` `(N, C, output_size)` or `(C, output_size)`. Arguments and errors
    as for `AdaptiveMaxPool2d`.

    Example:
        >>> import numpy as np, xpconv
        >>> xpconv.AdaptiveMaxPool1d(2)(np.array([[1.0, 5, 3, 4]]))
        array([[5., 4.]])
    """

    axes = 1


class AdaptiveMaxPool2d(_AdaptiveMaxPool):
    """Maxima over windows that divide the image, as `torch.nn.AdaptiveMaxPool2d`.

    Windows as for `AdaptiveAvgPool2d`. `x` `(N, C, H, W)` or `(C, H, W)` gives `y` `(N, C, *output_size)` or
    `(C, *output_size)`. Of equal values the first in row-major order gets the gradient. Forward saves the
    indices.

    Args:
        output_size: an int, or one for each axis; None is the input's.
        return_indices: return `(y, indices)`: the position of each maximum in its flattened image, int64.

    Raises:
        ValueError: an invalid size.
        ShapeError: (a ValueError) `x` of another rank.

    Example:
        >>> import numpy as np, xpconv
        >>> pool = xpconv.AdaptiveMaxPool2d((1, 2), return_indices=True)
        >>> pool(np.arange(6.0).reshape(1, 2, 3))
        (array([[[4., 5.]]]), array([[[4, 5]]]))
    """

    axes = 2


class AdaptiveMaxPool3d(_AdaptiveMaxPool):
    """Maxima over windows that divide the volume, as `torch.nn.AdaptiveMaxPool3d`.

    `x` `(N, C, D, H, W)` or `(C, D, H, W)` gives `y` `(N, C, *output_size)` or `(C, *output_size)`. Arguments
    and errors as for `AdaptiveMaxPool2d`.

    Example:
        >>> import numpy as np, xpconv
        >>> xpconv.AdaptiveMaxPool3d(1)(np.arange(8.0).reshape(1, 2, 2, 2))
        array([[[[7.]]]])
    """

    axes = 3
