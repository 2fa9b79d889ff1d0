"""Windows as ONNX describes them: padding that depends on the size of the input, or is not symmetric."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from ...arguments import to_choice, to_int, to_ints
from ...backend import Array
from ...errors import ShapeError
from ...geometry import Pairs, Window
from ...ops import conv as ops
from ...ops import conv_transpose as transposed
from ...ops.channels import channel_sum
from ...signatures import public_errors
from .operator import Operator

Result = tuple[Any, tuple[Any, ...]]
IMAGES = 2  # axes before the spatial ones
AUTO_PADS = ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER")
OF_AXES = {  # arguments of several ints, and the least that each may be
    "kernel_size": 1, "stride": 1, "pads": None, "dilation": 1, "output_padding": 0, "output_shape": 1,
}  # fmt: skip


class Windowed(Operator):
    """Base of operators with a window. The fields of its subclasses are the arguments of their constructors.

    Args:
        kernel_size: of the window; None takes it from the weight.
        stride, dilation: a sequence with an int for each axis; None is 1.
        pads: the numbers before all axes, then those after; None is 0.
        auto_pad: `'NOTSET'` takes `pads`; `'VALID'` pads nothing; `'SAME_UPPER'` and `'SAME_LOWER'` give
            `⌈size / stride⌉` outputs, with the odd one of the padding after or before the input.
    """

    kernel_size: Any
    stride: Sequence[int] | None
    pads: Sequence[int] | None
    dilation: Sequence[int] | None
    auto_pad: str

    def __post_init__(self) -> None:
        """Keep tuples of ints, which do not change when the caller's sequences do."""
        own, where = vars(self), type(self).__name__
        for name, least in OF_AXES.items():
            if name in own and (own[name] is not None or name == "kernel_size"):
                own[name] = to_ints(f"{where}: {name}", own[name], least)
        own["auto_pad"] = to_choice(f"{where}: auto_pad", self.auto_pad, AUTO_PADS)

    def _window(self, x: Array, kernel: Sequence[int]) -> Window:
        """The window for images `x (N, C, *S)`."""
        axes = len(kernel)
        if x.ndim != axes + IMAGES:
            raise ShapeError(
                f"{type(self).__name__}.forward: x has shape {x.shape}, expected {axes} spatial axes"
            )
        stride, dilation = (tuple(numbers or (1,) * axes) for numbers in (self.stride, self.dilation))
        pads = self.pads or (0,) * 2 * axes
        if not len(stride) == len(dilation) == len(pads) // 2 == axes or len(pads) % 2:
            raise ShapeError(
                f"{type(self).__name__}.forward: x has shape {x.shape}, but there are {len(stride)} strides, "
                f"{len(dilation)} dilations and {len(pads)} pads"
            )
        if self.auto_pad in ("SAME_UPPER", "SAME_LOWER"):
            pairs = same_pads(x.shape[IMAGES:], kernel, stride, dilation, self.auto_pad)
        else:
            pairs = (
                tuple(zip(pads[:axes], pads[axes:], strict=True))
                if self.auto_pad == "NOTSET"
                else ((0, 0),) * axes
            )
        return Window(tuple(kernel), stride, pairs, dilation)

    def _check_window(self, x: Array, window: Window, ceil_mode: bool = False) -> None:
        if min(window.output_shape(tuple(x.shape[IMAGES:]), ceil_mode)) < 1:
            raise ShapeError(
                f"{type(self).__name__}.forward: x has shape {x.shape}: with padding {window.padding} it is "
                f"smaller than the kernel {window.kernel} (dilation {window.dilation})"
            )


def same_pads(
    sizes: Sequence[int], kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int], auto_pad: str
) -> Pairs:
    """The padding with which there are `⌈size / stride⌉` positions along each axis."""
    pairs = []
    for n, k, s, d in zip(sizes, kernel, stride, dilation, strict=True):
        whole = max(0, (-(-n // s) - 1) * s + d * (k - 1) + 1 - n)
        less = whole // 2
        pairs.append((less, whole - less) if auto_pad == "SAME_UPPER" else (whole - less, less))
    return tuple(pairs)


@dataclass(eq=False, repr=False)
class _Convolution(Windowed):
    """Base of convolutions whose weight and bias are inputs, too."""

    stride: Sequence[int] | None = None
    pads: Sequence[int] | None = None
    dilation: Sequence[int] | None = None
    groups: int = 1
    auto_pad: str = "NOTSET"

    kernel_size = None
    _backward_input: ClassVar[Callable[..., Array]]
    _backward_weight: ClassVar[Callable[..., Array]]

    def __post_init__(self) -> None:
        super().__post_init__()
        vars(self)["groups"] = to_int(f"{type(self).__name__}: groups", self.groups, 1)

    def _gradients(self, xp: Any, grad: Array, *saved: Any) -> tuple[Array, ...]:
        x, weight, has_bias, window = saved
        dx = type(self)._backward_input(xp, grad, weight, x.shape, window, self.groups)
        dw = type(self)._backward_weight(xp, grad, x, weight.shape, window, self.groups)
        return (dx, dw, channel_sum(xp, grad)) if has_bias else (dx, dw)


@public_errors
@dataclass(eq=False, repr=False)
class Conv(_Convolution):
    """Convolution of the first input with a weight and bias that are inputs, too.

    It is what `Conv2d` is, for weights that the model computes, and for padding that depends on the size.
    """

    _backward_input = staticmethod(ops.conv_backward_input)
    _backward_weight = staticmethod(ops.conv_backward_weight)

    def _compute(self, xp: Any, x: Array, weight: Array, bias: Array | None = None) -> Result:
        window = self._window(x, weight.shape[IMAGES:])
        if x.shape[1] != weight.shape[1] * self.groups or weight.shape[0] % self.groups:
            raise ShapeError(
                f"Conv.forward: x has shape {x.shape} and weight {weight.shape}, which do not fit "
                f"{self.groups} groups"
            )
        self._check_window(x, window)
        y = ops.conv(xp, x, weight, bias, window, self.groups)
        return y, (x, weight, bias is not None, window)


@public_errors
@dataclass(eq=False, repr=False)
class ConvTranspose(_Convolution):
    """The transpose of `Conv`, with a weight and bias that are inputs.

    Args:
        output_padding: an int for each axis, by which the output is larger; None is 0.
        output_shape: the sizes of the output, from which the padding follows.
    """

    output_padding: Sequence[int] | None = None
    output_shape: Sequence[int] | None = None

    _backward_input = staticmethod(transposed.conv_transpose_backward_input)
    _backward_weight = staticmethod(transposed.conv_transpose_backward_weight)

    def _compute(self, xp: Any, x: Array, weight: Array, bias: Array | None = None) -> Result:
        if x.ndim != weight.ndim or x.shape[1] != weight.shape[0] or x.shape[1] % self.groups:
            raise ShapeError(
                f"ConvTranspose.forward: x has shape {x.shape} and weight {weight.shape}, which do not fit "
                f"{self.groups} groups"
            )
        size, window = self._sizes(x, weight.shape[IMAGES:])
        y = transposed.conv_transpose(xp, x, weight, bias, size, window, self.groups)
        return y, (x, weight, bias is not None, window)

    def _sizes(self, x: Array, kernel: Sequence[int]) -> tuple[tuple[int, ...], Window]:
        """The sizes of the output, and the window."""
        axes = len(kernel)
        stride, dilation = (tuple(numbers or (1,) * axes) for numbers in (self.stride, self.dilation))
        extra = self.output_padding or (0,) * axes
        full = [
            (n - 1) * s + d * (k - 1) + 1 + e
            for n, k, s, d, e in zip(x.shape[IMAGES:], kernel, stride, dilation, extra, strict=True)
        ]
        size: Sequence[int] | None = self.output_shape and self.output_shape[-axes:]
        if size is None and self.auto_pad in ("SAME_UPPER", "SAME_LOWER"):
            size = [n * s for n, s in zip(x.shape[IMAGES:], stride, strict=True)]
        if size is None:
            pads = self.pads if self.pads and self.auto_pad == "NOTSET" else (0,) * 2 * axes
            pairs = tuple(zip(pads[:axes], pads[axes:], strict=True))
            size = [n - low - high for n, (low, high) in zip(full, pairs, strict=True)]
        else:
            pairs = tuple([self._halves(max(0, n - m)) for n, m in zip(full, size, strict=True)])
            # output_shape may include an output_padding. Runtimes compute different sizes for SAME.
            room = [0] * axes if self.output_shape is None else [s - 1 for s in stride]
            most = tuple([n + more for n, more in zip(full, room, strict=True)])
            if any(m > n for n, m in zip(most, size, strict=True)):
                raise ShapeError(
                    f"ConvTranspose.forward: x has shape {x.shape}, whose output is at most {most}, "
                    f"not {tuple(size)}"
                )
        if min(size) < 1:
            raise ShapeError(f"ConvTranspose.forward: x has shape {x.shape}, too small for padding {pairs}")
        return tuple(size), Window(tuple(kernel), stride, pairs, dilation)

    def _halves(self, total: int) -> tuple[int, int]:
        less = total // 2
        return (less, total - less) if self.auto_pad == "SAME_UPPER" else (total - less, less)
