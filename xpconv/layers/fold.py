"""im2col and col2im as layers."""

from __future__ import annotations

from typing import ClassVar

from ..arguments import check_room, to_tuple
from ..backend import Array
from ..checks import as_columns, check_fits
from ..geometry import Window
from ..ops import fold as ops
from .layer import Layer, arguments

__all__ = ["Fold", "Unfold"]

IntOrTuple = int | tuple[int, ...]


class _Windows(Layer):
    """Base of `Unfold` and `Fold`: the window and its checks."""

    kernel_size: tuple[int, ...]
    dilation: tuple[int, ...]
    padding: tuple[int, ...]
    stride: tuple[int, ...]
    fixed: ClassVar[tuple[str, ...]] = ("kernel_size", "dilation", "padding", "stride")
    axes = 2

    def _set_window(
        self, kernel_size: IntOrTuple, dilation: IntOrTuple, padding: IntOrTuple, stride: IntOrTuple
    ) -> None:
        name = type(self).__name__
        self.kernel_size = to_tuple(f"{name}: kernel_size", kernel_size, self.axes, 1)
        self.dilation = to_tuple(f"{name}: dilation", dilation, self.axes, 1)
        self.padding = to_tuple(f"{name}: padding", padding, self.axes, 0)
        self.stride = to_tuple(f"{name}: stride", stride, self.axes, 1)
        pairs = tuple((p, p) for p in self.padding)
        self._window = Window(self.kernel_size, self.stride, pairs, self.dilation)

    def extra_repr(self) -> str:
        return arguments(
            kernel_size=(self.kernel_size, None),
            dilation=(self.dilation, 1),
            padding=(self.padding, 0),
            stride=(self.stride, 1),
        )


class Unfold(_Windows):
    """Every window of an image as a column (im2col), as `torch.nn.Unfold`.

        y[n, (c, r, s), (p, q)] = x[n, c, p·stride - padding + r·dilation, q·… + s·…],  zero outside of x

    `x` `(N, C, H, W)` or `(C, H, W)` gives `y` `(N, C·R·S, P·Q)` or `(C·R·S, P·Q)` with
    `P = ⌊(H + 2·padding - dilation·(R-1) - 1)/stride⌋ + 1`; the groups of axes are in row-major order.
    Forward saves only the shape of `x`; backward is `Fold`.

    Args:
        kernel_size, dilation, padding, stride: an int, or one for each axis.

    Raises:
        ValueError: an invalid size, dilation, padding or stride.
        ShapeError: (a ValueError) `x` of another rank, or smaller than the window.

    Example:
        >>> import numpy as np, xpconv
        >>> xpconv.Unfold(kernel_size=2)(np.arange(6.0).reshape(1, 2, 3))
        array([[0., 1.],
               [1., 2.],
               [3., 4.],
               [4., 5.]])
    """

    def __init__(
        self,
        kernel_size: IntOrTuple,
        dilation: IntOrTuple = 1,
        padding: IntOrTuple = 0,
        stride: IntOrTuple = 1,
    ) -> None:
        self._set_window(kernel_size, dilation, padding, stride)

    def forward(self, x: Array) -> Array:
        xp, images, batched = self._enter_images(x, self.axes)
        check_fits("Unfold.forward", x, images.shape[2:], self._window, self.padding)
        padded = (n + 2 * p for n, p in zip(images.shape[2:], self.padding, strict=True))
        check_room("Unfold.forward: a padded image", (*images.shape[:2], *padded), x.dtype.itemsize)
        y = ops.unfold(xp, images, self._window)
        return self.keep(y if batched else y[0], xp, images.shape[2:], batched)

    def backward(self, grad_output: Array, input_grad: bool = True) -> Array | None:
        xp, size, batched = self.recall(grad_output, input_grad)
        if not input_grad:
            return None
        grad = grad_output if batched else grad_output[None]
        grad = ops.fold(xp, grad, size, self._window)
        return grad if batched else grad[0]


class Fold(_Windows):
    """Add up columns as the windows of an image (col2im), as `torch.nn.Fold`.

        y[n, c, h, w] = Σ x[n, (c, r, s), (p, q)]  over h = p·stride - padding + r·dilation, w = …

    `x` `(N, C·R·S, P·Q)` or `(C·R·S, P·Q)` gives `y` `(N, C, *output_size)` or `(C, *output_size)`; P and
    Q as for `Unfold`, of which this is the transpose: where windows overlap, values add up. Forward saves
    nothing; backward is `Unfold`.

    Args:
        output_size: height and width of `y`: an int, or one for each.
        kernel_size, dilation, padding, stride: likewise, as given to `Unfold`.

    Raises:
        ValueError: an invalid size, dilation, padding or stride.
        ShapeError: (a ValueError) `x` of another rank, or not as many rows and columns as an image of
            `output_size` has taps and windows.

    Example:
        >>> import numpy as np, xpconv
        >>> xpconv.Fold(output_size=(2, 3), kernel_size=2)(np.ones((4, 2)))
        array([[[1., 2., 1.],
                [1., 2., 1.]]])
    """

    def __init__(
        self,
        output_size: IntOrTuple,
        kernel_size: IntOrTuple,
        dilation: IntOrTuple = 1,
        padding: IntOrTuple = 0,
        stride: IntOrTuple = 1,
    ) -> None:
        self.output_size: tuple[int, ...] = to_tuple("Fold: output_size", output_size, self.axes, 1)
        self._set_window(kernel_size, dilation, padding, stride)
        if min(self._window.output_shape(self.output_size)) < 1:
            raise ValueError(
                f"Fold: output_size is {self.output_size}, which with padding {self.padding} is smaller than "
                f"the kernel {self.kernel_size} (dilation {self.dilation})"
            )

    def forward(self, x: Array) -> Array:
        xp = self._enter(x)
        columns, batched = as_columns("Fold.forward", x, self.output_size, self._window)
        y = ops.fold(xp, columns, self.output_size, self._window)
        return self.keep(y if batched else y[0], xp, batched)

    def backward(self, grad_output: Array, input_grad: bool = True) -> Array | None:
        xp, batched = self.recall(grad_output, input_grad)
        if not input_grad:
            return None
        grad = ops.unfold(xp, grad_output if batched else grad_output[None], self._window)
        return grad if batched else grad[0]

    def extra_repr(self) -> str:
        return arguments(output_size=(self.output_size, None)) + ", " + super().extra_repr()
