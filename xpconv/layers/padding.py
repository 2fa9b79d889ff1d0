"""Padding layers, as those of `torch.nn`: the borders of images, or with negative numbers a crop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from ..arguments import LARGEST, is_sequence, shown, to_float, to_size
from ..backend import Array
from ..checks import check_pad
from ..geometry import Pairs
from ..ops import padding as ops
from .layer import Layer, arguments

__all__ = [
    "CircularPad1d", "CircularPad2d", "CircularPad3d", "ConstantPad1d", "ConstantPad2d", "ConstantPad3d",
    "ReflectionPad1d", "ReflectionPad2d", "ReflectionPad3d", "ReplicationPad1d", "ReplicationPad2d",
    "ReplicationPad3d", "ZeroPad1d", "ZeroPad2d", "ZeroPad3d",
]  # fmt: skip

Padding = int | Sequence[int]


class _Pad(Layer):
    """Base of the padding layers, with the numbers in the order of PyTorch: the last axis first."""

    fixed: ClassVar[tuple[str, ...]] = ("padding",)
    axes: ClassVar[int]

    def __init__(self, padding: Padding) -> None:
        name = type(self).__name__
        numbers = padding if is_sequence(padding) else (padding,) * (2 * self.axes)
        if len(numbers) != 2 * self.axes:
            order = ", ".join(("left", "right", "top", "bottom", "front", "back")[: 2 * self.axes])
            raise ValueError(f"{name}: padding is {shown(padding)}, expected an int or ({order})")
        self.padding: tuple[int, ...] = tuple(to_size(f"{name}: padding", p, -LARGEST) for p in numbers)
        self._pairs: Pairs = tuple(zip(self.padding[::2], self.padding[1::2], strict=True))[::-1]

    def extra_repr(self) -> str:
        return arguments(padding=(self.padding, None))


class _ConstantPad(_Pad):
    """Padding with a value; `ConstantPad2d` describes it."""

    def __init__(self, padding: Padding, value: float) -> None:
        super().__init__(padding)
        self.value: float = to_float(f"{type(self).__name__}: value", value, nan=True)

    def forward(self, x: Array) -> Array:
        xp = self._enter(x)
        check_pad(f"{type(self).__name__}.forward", x, self._pairs, "constant")
        return self.keep(ops.pad_constant(xp, x, self._pairs, self.value), xp)

    def backward(self, grad_output: Array, input_grad: bool = True) -> Array | None:
        (xp,) = self.recall(grad_output, input_grad)
        return ops.pad_constant_backward(xp, grad_output, self._pairs) if input_grad else None

    def extra_repr(self) -> str:
        return arguments(padding=(self.padding, None), value=(self.value, None))


class _ZeroPad(_ConstantPad):
    """Padding with zeros."""

    fixed: ClassVar[tuple[str, ...]] = ("padding", "value")
    extra_repr = _Pad.extra_repr

    def __init__(self, padding: Padding) -> None:
        super().__init__(padding, 0.0)


class _BorderPad(_Pad):
    """Padding with values of the image; `mode` is that of `ops.padding.pad_or_crop`."""

    mode: ClassVar[str]

    def forward(self, x: Array) -> Array:
        xp, images, batched = self._enter_images(x, self.axes)
        check_pad(f"{type(self).__name__}.forward", x, self._pairs, self.mode)
        y = ops.pad_or_crop(xp, images, self._pairs, self.mode)
        return self.keep(y if batched else y[0], xp, batched)

    def backward(self, grad_output: Array, input_grad: bool = True) -> Array | None:
        xp, batched = self.recall(grad_output, input_grad)
        if not input_grad:
            return None
        grad = grad_output if batched else grad_output[None]
        grad = ops.pad_or_crop_backward(xp, grad, self._pairs, self.mode)
        return grad if batched else grad[0]


class ZeroPad1d(_ZeroPad):
    """As `ZeroPad2d` on one axis: `x` is `(…, W)`, `padding` an int or `(left, right)`.

    Example:
        >>> import numpy as np, xpconv
        >>> xpconv.ZeroPad1d((2, 1))(np.array([[1.0, 2, 3]]))
        array([[0., 0., 1., 2., 3., 0.]])
    """

    axes = 1


class ZeroPad2d(_ZeroPad):
    """Images with borders of zeros, as `torch.nn.ZeroPad2d`.

    `x` is `(…, H, W)`, and `y` `(…, top + H + bottom, left + W + right)`.

    Args:
        padding: an int, or `(left, right, top, bottom)`; a negative number crops.

    Raises:
        ValueError: another count of numbers.
        ShapeError: (a ValueError) `x` of another rank, or padding that crops more than there is.

    Example:
        >>> import numpy as np, xpconv
        >>> x = np.array([[[1.0, 2], [3, 4]]])
        >>> xpconv.ZeroPad2d((1, 1, 1, 0))(x)
        array([[[0., 0., 0., 0.],
                [0., 1., 2., 0.],
                [0., 3., 4., 0.]]])
    """

    axes = 2


class ZeroPad3d(_ZeroPad):
    """As `ZeroPad2d` on three axes: `x` is `(…, D, H, W)`, `padding` an int or
    `(left, right, top, bottom, front, back)`.

    Example:
        >>> import numpy as np, xpconv
        >>> xpconv.ZeroPad3d(1)(np.ones((1, 2, 3, 4))).shape
        (1, 4, 5, 6)
    """

    axes = 3


class ConstantPad1d(_ConstantPad):
    """As `ConstantPad2d` on one axis: `x` is `(…, W)`, `padding` an int or `(left, right)`.

    Example:
        >>> import numpy as np, xpconv
        >>> xpconv.ConstantPad1d((2, 1), 9.0)(np.array([[1.0, 2, 3]]))
        array([[9., 9., 1., 2., 3., 9.]])
    """

    axes = 1


class ConstantPad2d(_ConstantPad):
    """Images with borders of a constant, as `torch.nn.ConstantPad2d`.

    Shapes and errors as for `ZeroPad2d`.

    Args:
        padding: an int, or `(left, right, top, bottom)`; a negative number crops.
        value: the value of the border.

    Example:
        >>> import numpy as np, xpconv
        >>> x = np.array([[[1.0, 2], [3, 4]]])
        >>> xpconv.ConstantPad2d((1, 1, 1, 0), 9.0)(x)
        array([[[9., 9., 9., 9.],
                [9., 1., 2., 9.],
                [9., 3., 4., 9.]]])
    """

    axes = 2


class ConstantPad3d(_ConstantPad):
    """As `ConstantPad2d` on three axes: `x` is `(…, D, H, W)`, `padding` an int or
    `(left, right, top, bottom, front, back)`.

    Example:
        >>> import numpy as np, xpconv
        >>> xpconv.ConstantPad3d(1, 9.0)(np.ones((1, 2, 3, 4))).shape
        (1, 4, 5, 6)
    """

    axes = 3


class ReflectionPad1d(_BorderPad):
    """As `ReflectionPad2d` on one axis: `x` is `(N, C, W)` or `(C, W)`, `padding` an int or `(left, right)`.

    Example:
        >>> import numpy as np, xpconv
        >>> xpconv.ReflectionPad1d((2, 1))(np.array([[1.0, 2, 3]]))
        array([[3., 2., 1., 2., 3., 2.]])
    """

    axes: ClassVar[int] = 1
    mode: ClassVar[str] = "reflect"


class ReflectionPad2d(_BorderPad):
    """Images with borders of their mirror image, as `torch.nn.ReflectionPad2d`.

    `x` is `(N, C, H, W)` or `(C, H, W)`, and `y` `(…, top + H + bottom, left + W + right)`.

    Args:
        padding: an int, or `(left, right, top, bottom)`; a negative number crops.

    Raises:
        ValueError: another count of numbers.
        ShapeError: (a ValueError) `x` of another rank, or padding that reaches the size of its axis or
            leaves nothing.

    Example:
        >>> import numpy as np, xpconv
        >>> x = np.array([[[1.0, 2], [3, 4]]])
        >>> xpconv.ReflectionPad2d((1, 1, 1, 0))(x)
        array([[[4., 3., 4., 3.],
                [2., 1., 2., 1.],
                [4., 3., 4., 3.]]])
    """

    axes: ClassVar[int] = 2
    mode: ClassVar[str] = "reflect"


class ReflectionPad3d(_BorderPad):
    """As `ReflectionPad2d` on three axes: `x` is `(N, C, D, H, W)` or `(C, D, H, W)`, `padding` an int or
    `(left, right, top, bottom, front, back)`.

    Example:
        >>> import numpy as np, xpconv
        >>> xpconv.ReflectionPad3d(1)(np.ones((1, 2, 3, 4))).shape
        (1, 4, 5, 6)
    """

    axes: ClassVar[int] = 3
    mode: ClassVar[str] = "reflect"


class ReplicationPad1d(_BorderPad):
    """As `ReplicationPad2d` on one axis: `x` is `(N, C, W)` or `(C, W)`, `padding` an int or `(left, right)`.

    Example:
        >>> import numpy as np, xpconv
        >>> xpconv.ReplicationPad1d((2, 1))(np.array([[1.0, 2, 3]]))
        array([[1., 1., 1., 2., 3., 3.]])
    """

    axes: ClassVar[int] = 1
    mode: ClassVar[str] = "replicate"


class ReplicationPad2d(_BorderPad):
    """Images with borders of the outermost pixels, as `torch.nn.ReplicationPad2d`.

    Shapes, argument and errors as for `ReflectionPad2d`, but padding may be larger than its axis.

    Example:
        >>> import numpy as np, xpconv
        >>> x = np.array([[[1.0, 2], [3, 4]]])
        >>> xpconv.ReplicationPad2d((1, 1, 1, 0))(x)
        array([[[1., 1., 2., 2.],
                [1., 1., 2., 2.],
                [3., 3., 4., 4.]]])
    """

    axes: ClassVar[int] = 2
    mode: ClassVar[str] = "replicate"


class ReplicationPad3d(_BorderPad):
    """As `ReplicationPad2d` on three axes: `x` is `(N, C, D, H, W)` or `(C, D, H, W)`, `padding` an int or
    `(left, right, top, bottom, front, back)`.

    Example:
        >>> import numpy as np, xpconv
        >>> xpconv.ReplicationPad3d(1)(np.ones((1, 2, 3, 4))).shape
        (1, 4, 5, 6)
    """

    axes: ClassVar[int] = 3
    mode: ClassVar[str] = "replicate"


class CircularPad1d(_BorderPad):
    """As `CircularPad2d` on one axis: `x` is `(N, C, W)` or `(C, W)`, `padding` an int or `(left, right)`.

    Example:
        >>> import numpy as np, xpconv
        >>> xpconv.CircularPad1d((2, 1))(np.array([[1.0, 2, 3]]))
        array([[2., 3., 1., 2., 3., 1.]])
    """

    axes: ClassVar[int] = 1
    mode: ClassVar[str] = "circular"


class CircularPad2d(_BorderPad):
    """Images with borders of their opposite side, as `torch.nn.CircularPad2d`.

    Shapes, argument and errors as for `ReflectionPad2d`, but padding may be as large as its axis.

    Example:
        >>> import numpy as np, xpconv
        >>> x = np.array([[[1.0, 2], [3, 4]]])
        >>> xpconv.CircularPad2d((1, 1, 1, 0))(x)
        array([[[4., 3., 4., 3.],
                [2., 1., 2., 1.],
                [4., 3., 4., 3.]]])
    """

    axes: ClassVar[int] = 2
    mode: ClassVar[str] = "circular"


class CircularPad3d(_BorderPad):
    """As `CircularPad2d` on three axes: `x` is `(N, C, D, H, W)` or `(C, D, H, W)`, `padding` an int or
    `(left, right, top, bottom, front, back)`.

    Example:
        >>> import numpy as np, xpconv
        >>> xpconv.CircularPad3d(1)(np.ones((1, 2, 3, 4))).shape
        (1, 4, 5, 6)
    """

    axes: ClassVar[int] = 3
    mode: ClassVar[str] = "circular"
