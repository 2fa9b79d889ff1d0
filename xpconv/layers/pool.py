"""Max and average pooling."""

from __future__ import annotations

from math import prod
from typing import Any, ClassVar

from ..arguments import LARGEST, is_sequence, to_bool, to_size, to_tuple
from ..backend import Array
from ..errors import ShapeError
from ..geometry import Bounds, Window
from ..ops import pool as ops
from ..ops.activation import clip_backward
from ..tape import saving
from .layer import Layer, arguments

__all__ = ["AvgPool1d", "AvgPool2d", "AvgPool3d", "MaxPool1d", "MaxPool2d", "MaxPool3d"]

IntOrTuple = int | tuple[int, ...]
MOST_TAPS = 2**20  # positions in a window; each takes a step in Python


class _Pool(Layer):
    """Base of pooling layers: the window and its checks."""

    fixed: ClassVar[tuple[str, ...]] = ("kernel_size", "stride", "padding", "dilation")
    axes: ClassVar[int]

    def __init__(
        self,
        kernel_size: IntOrTuple,
        stride: IntOrTuple | None,
        padding: IntOrTuple,
        dilation: IntOrTuple,
        ceil_mode: bool,
    ) -> None:
        name = type(self).__name__

        def numbers(argument: str, value: object, minimum: int) -> tuple[int, ...]:
            return to_tuple(f"{name}: {argument}", value, self.axes, minimum, or_one=True)

        self.kernel_size: tuple[int, ...] = numbers("kernel_size", kernel_size, 1)
        left_out = stride is None or (is_sequence(stride) and not len(stride))  # () too, as in PyTorch
        self.stride: tuple[int, ...] = self.kernel_size if left_out else numbers("stride", stride, 1)
        self.padding: tuple[int, ...] = numbers("padding", padding, 0)
        self.dilation: tuple[int, ...] = numbers("dilation", dilation, 1)
        self.ceil_mode: bool = to_bool(f"{name}: ceil_mode", ceil_mode)
        if prod(self.kernel_size) > MOST_TAPS:
            raise ValueError(
                f"{name}: kernel_size is {self.kernel_size}, expected at most {MOST_TAPS} positions"
            )
        if any(2 * p > k for p, k in zip(self.padding, self.kernel_size, strict=True)):
            raise ValueError(
                f"{name}: padding is {self.padding}, expected at most half the kernel size {self.kernel_size}"
            )
        self._window = Window(
            self.kernel_size, self.stride, tuple((p, p) for p in self.padding), self.dilation
        )

    def _check_size(self, images: Array) -> None:
        self._positions(f"{type(self).__name__}.forward", images.shape[2:])

    def _positions(self, where: str, spatial: tuple[int, ...]) -> tuple[int, ...]:
        """The size of the output for images of this size; an error if they are too small."""
        output = self._window.output_shape(spatial, self.ceil_mode)
        if min(output) < 1:
            raise ShapeError(
                f"{where}: an image of {spatial} with padding {self.padding} is smaller than the kernel "
                f"{self.kernel_size} (dilation {self.dilation})"
            )
        return output

    def extra_repr(self) -> str:
        return arguments(
            kernel_size=(self.kernel_size, None),
            stride=(self.stride, self.kernel_size),
            padding=(self.padding, 0),
            dilation=(self.dilation, 1),
            ceil_mode=(self.ceil_mode, False),
        )


class _MaxPool(_Pool):
    """Max pooling over `axes` spatial axes; `MaxPool2d` describes it."""

    def __init__(
        self,
        kernel_size: IntOrTuple,
        stride: IntOrTuple | None = None,
        padding: IntOrTuple = 0,
        dilation: IntOrTuple = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__(kernel_size, stride, padding, dilation, ceil_mode)
        self.return_indices: bool = to_bool(f"{type(self).__name__}: return_indices", return_indices)

    def forward(self, x: Array) -> Any:
        return self._clipped(x)

    def _clipped(self, x: Array, bounds: Bounds = None) -> Any:
        xp, images, batched = self._enter_images(x, self.axes)
        self._check_size(images)
        winners = self.return_indices or saving()
        y, winner = ops.max_pool(xp, images, self._window, self.ceil_mode, winners, bounds)
        clipped = None if bounds is None else y
        y = self.keep(y if batched else y[0], xp, winner, images.shape, batched, clipped, bounds)
        if not self.return_indices:
            return y
        indices = ops.max_pool_indices(xp, winner, images.shape[2:], self._window)
        return y, indices if batched else indices[0]

    def backward(self, grad_output: Array, input_grad: bool = True) -> Array | None:
        xp, winner, shape, batched, y, bounds = self.recall(grad_output, input_grad)
        if not input_grad:
            return None
        grad = grad_output if batched else grad_output[None]
        if bounds is not None:
            grad = clip_backward(xp, grad, y, *bounds)
        del y
        grad = ops.max_pool_backward(xp, grad, winner, shape, self._window)
        return grad if batched else grad[0]

    def extra_repr(self) -> str:
        more = arguments(return_indices=(self.return_indices, False))
        return ", ".join(filter(None, [super().extra_repr(), more]))


class MaxPool1d(_MaxPool):
    """Maximum over windows, as `torch.nn.MaxPool1d`.

    `x` `(N, C, L)` or `(C, L)` gives `y` `(N, C, P)` or `(C, P)`. Arguments and errors as for `MaxPool2d`.

    Example:
        >>> import numpy as np, xpconv
        >>> xpconv.MaxPool1d(2)(np.array([[1.0, 5, 4, 2]]))
        array([[5., 4.]])
    """

    axes = 1


class MaxPool2d(_MaxPool):
    """Maximum over windows, as `torch.nn.MaxPool2d`.

    `x` `(N, C, H, W)` or `(C, H, W)` gives `y` `(N, C, P, Q)` or `(C, P, Q)` with
    `P = ⌊(H + 2·padding - dilation·(R-1) - 1)/stride⌋ + 1` (⌈…⌉ with `ceil_mode`). Of equal values the
    first in row-major order gets the gradient. Forward saves one byte per output.

    Args:
        kernel_size, dilation: an int, or one for each axis.
        stride: likewise; default the kernel size. Stride 1 gives overlapping windows.
        padding: likewise, at most half the kernel; a padded pixel is never the maximum.
        return_indices: return `(y, indices)`: the position `h·W + w` of each maximum in its flattened image,
            int64, for `MaxUnpool2d`. `backward` takes the gradient of `y` alone.
        ceil_mode: whether to add a last window that extends beyond the end.

    Raises:
        ValueError: an invalid size, stride or padding.
        ShapeError: (a ValueError) `x` of another rank, or smaller than the window.

    Example:
        >>> import numpy as np, xpconv
        >>> x = np.array([[[1.0, 5, 4], [9, 2, 1], [6, 3, 2]]])
        >>> xpconv.MaxPool2d(2, stride=1)(x)
        array([[[9., 5.],
                [9., 3.]]])
        >>> y, indices = xpconv.MaxPool2d(2, stride=1, return_indices=True)(x)
        >>> indices
        array([[[3, 1],
                [3, 7]]])
    """

    axes = 2


class MaxPool3d(_MaxPool):
    """Maximum over windows, as `torch.nn.MaxPool3d`.

    `x` `(N, C, D, H, W)` or `(C, D, H, W)` gives `y` `(N, C, O, P, Q)` or `(C, O, P, Q)`. Arguments and
    errors as for `MaxPool2d`.

    Example:
        >>> import numpy as np, xpconv
        >>> xpconv.MaxPool3d(2)(np.arange(16.0).reshape(1, 2, 2, 4))
        array([[[[13., 15.]]]])
    """

    axes = 3


class _AvgPool(_Pool):
    """Average pooling over `axes` spatial axes; `AvgPool2d` describes it."""

    def __init__(
        self,
        kernel_size: IntOrTuple,
        stride: IntOrTuple | None = None,
        padding: IntOrTuple = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> None:
        super().__init__(kernel_size, stride, padding, 1, ceil_mode)
        name = type(self).__name__
        self.count_include_pad: bool = to_bool(f"{name}: count_include_pad", count_include_pad)
        if divisor_override is not None:
            divisor_override = to_size(f"{name}: divisor_override", divisor_override, -LARGEST)
            if divisor_override == 0:
                raise ValueError(f"{name}: divisor_override is 0, expected an int to divide by")
        self.divisor_override = divisor_override

    def forward(self, x: Array) -> Array:
        xp, images, batched = self._enter_images(x, self.axes)
        self._check_size(images)
        options = self.count_include_pad, self.divisor_override
        y = ops.avg_pool(xp, images, self._window, self.ceil_mode, *options)
        return self.keep(y if batched else y[0], xp, images.shape, batched, options)

    def backward(self, grad_output: Array, input_grad: bool = True) -> Array | None:
        xp, shape, batched, options = self.recall(grad_output, input_grad)
        if not input_grad:
            return None
        grad = grad_output if batched else grad_output[None]
        grad = ops.avg_pool_backward(xp, grad, shape, self._window, *options)
        return grad if batched else grad[0]

    def extra_repr(self) -> str:
        more = arguments(
            count_include_pad=(self.count_include_pad, True), divisor_override=(self.divisor_override, None)
        )
        return ", ".join(filter(None, [super().extra_repr(), more]))


class AvgPool1d(_AvgPool):
    """Mean over windows, as `torch.nn.AvgPool1d`.

    `x` `(N, C, L)` or `(C, L)` gives `y` `(N, C, P)` or `(C, P)`. Arguments and errors as for `AvgPool2d`.

    Example:
        >>> import numpy as np, xpconv
        >>> xpconv.AvgPool1d(2)(np.array([[1.0, 5, 4, 2]]))
        array([[3., 3.]])
    """

    axes = 1


class AvgPool2d(_AvgPool):
    """Mean over windows, as `torch.nn.AvgPool2d`.

    Shapes as for `MaxPool2d`. Forward saves only the shape of `x`.

    Args:
        kernel_size: an int, or one for each axis.
        stride: likewise; default the kernel size.
        padding: likewise, at most half the kernel; padded with zeros.
        ceil_mode: whether to add a last window that extends beyond the end.
        count_include_pad: whether the zeros of the padding count in the mean.
        divisor_override: divide by this int, which is not 0, instead of by the size of the window.

    Raises:
        ValueError: an invalid size, stride, padding or divisor.
        ShapeError: (a ValueError) `x` of another rank, or smaller than the window.

    Example:
        >>> import numpy as np, xpconv
        >>> x = np.array([[[1.0, 5, 4], [9, 2, 1], [6, 3, 2]]])
        >>> xpconv.AvgPool2d(2, stride=1)(x)
        array([[[4.25, 3.  ],
                [5.  , 2.  ]]])
    """

    axes = 2


class AvgPool3d(_AvgPool):
    """Mean over windows, as `torch.nn.AvgPool3d`.

    `x` `(N, C, D, H, W)` or `(C, D, H, W)` gives `y` `(N, C, O, P, Q)` or `(C, O, P, Q)`. Arguments and
    errors as for `AvgPool2d`.

    Example:
        >>> import numpy as np, xpconv
        >>> xpconv.AvgPool3d(2)(np.arange(16.0).reshape(1, 2, 2, 4))
        array([[[[6.5, 8.5]]]])
    """

    axes = 3
