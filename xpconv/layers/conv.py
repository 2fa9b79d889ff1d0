"""Convolution layers."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from .. import init
from ..arguments import check_room, to_bool, to_choice, to_conv_padding, to_pairs, to_size, to_tuple
from ..backend import Array, backend_of, get_xp
from ..checks import check_fits
from ..errors import ShapeError
from ..geometry import Bounds, Pairs, Window
from ..ops import conv as ops
from ..ops.activation import clip_backward
from ..ops.channels import channel_sum
from ..ops.padding import MODES, pad, pad_backward
from ..parameter import Parameter, learns, new_parameter
from ..random import RNG, default_rng
from .layer import Layer, arguments

__all__ = ["Conv1d", "Conv2d", "Conv3d"]

ALGORITHMS = ("auto", "direct", "winograd")
IntOrTuple = int | tuple[int, ...]
Padding = str | int | tuple[int, ...] | tuple[tuple[int, int], ...]


class _ConvNd(Layer):
    """Base of convolutions and transposed convolutions: sizes, groups and parameters."""

    out_channels: int
    kernel_size: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int
    in_channels: int
    fixed: ClassVar[tuple[str, ...]] = (
        "in_channels",
        "out_channels",
        "kernel_size",
        "stride",
        "padding",
        "output_padding",
        "dilation",
        "groups",
        "depth_multiplier",
        "bias",
        "padding_mode",
        "algorithm",
    )
    axes: ClassVar[int]
    weight: Parameter
    bias: Parameter | None

    def _set_sizes(
        self,
        out_channels: int,
        kernel_size: IntOrTuple,
        stride: IntOrTuple,
        padding: Padding,
        dilation: IntOrTuple,
        groups: int,
        padding_mode: str,
    ) -> None:
        """Check and store all arguments except `in_channels`."""
        name = type(self).__name__
        self.out_channels = to_size(f"{name}: out_channels", out_channels)
        self.kernel_size = to_tuple(f"{name}: kernel_size", kernel_size, self.axes, 1)
        self.stride = to_tuple(f"{name}: stride", stride, self.axes, 1, or_one=True)
        self.dilation = to_tuple(f"{name}: dilation", dilation, self.axes, 1, or_one=True)
        self.groups = to_size(f"{name}: groups", groups)
        self.padding: Padding = padding if isinstance(padding, str) else self._numbers(padding)
        self.padding_mode = padding_mode
        self._check_groups("out_channels", self.out_channels)

    def _numbers(self, padding: object) -> tuple[int, ...] | Pairs:
        """Padding as one int per axis, or as pairs if the two sides of an axis differ."""
        pairs = to_pairs(f"{type(self).__name__}: padding", padding, self.axes)
        return tuple(lo for lo, _ in pairs) if all(lo == hi for lo, hi in pairs) else pairs

    def _check_groups(self, argument: str, channels: int) -> None:
        if channels % self.groups:
            name = type(self).__name__
            groups = self.groups
            raise ValueError(f"{name}: groups is {groups}, which does not divide {argument} = {channels}")

    def _set_parameters(self, in_channels: int, bias: bool, dtype: Any, rng: RNG) -> None:
        name = type(self).__name__
        self.in_channels = to_size(f"{name}: in_channels", in_channels)
        self._check_groups("in_channels", self.in_channels)
        bias = to_bool(f"{name}: bias", bias)
        rng = default_rng(rng, name)
        shape = self._weight_shape()
        bound = 1 / math.sqrt(init.fans(shape)[0])
        self.weight = init.uniform_(new_parameter(name, "weight", shape, dtype), -bound, bound, rng)
        self.bias = None
        if bias:
            shape = (self.out_channels,)
            self.bias = init.uniform_(new_parameter(name, "bias", shape, dtype), -bound, bound, rng)

    def _weight_shape(self) -> tuple[int, ...]:
        return (self.out_channels, self.in_channels // self.groups, *self.kernel_size)


class _Conv(_ConvNd):
    """Convolution over `axes` spatial axes; `Conv2d` describes it."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: IntOrTuple,
        stride: IntOrTuple = 1,
        padding: Padding = 0,
        dilation: IntOrTuple = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        *,
        algorithm: str = "auto",
        dtype: Any = "float32",
        rng: RNG = None,
    ) -> None:
        self._set_sizes(out_channels, kernel_size, stride, padding, dilation, groups, padding_mode)
        self._set_algorithm(algorithm)
        self._set_parameters(in_channels, bias, dtype, rng)

    def _set_algorithm(self, algorithm: str) -> None:
        name = type(self).__name__
        algorithm = to_choice(f"{name}: algorithm", algorithm, ALGORITHMS)
        kind = self.kernel_size, self.stride, self.dilation, self.groups
        if algorithm == "winograd" and kind != ((3, 3), (1, 1), (1, 1), 1):
            raise ValueError(
                f"{name}: algorithm='winograd' is for 3×3 kernels with stride, dilation and groups 1, got "
                f"kernel {self.kernel_size}, stride {self.stride}, dilation {self.dilation}, groups "
                f"{self.groups}; use 'auto'"
            )
        self.algorithm = algorithm

    def _set_sizes(
        self,
        out_channels: int,
        kernel_size: IntOrTuple,
        stride: IntOrTuple,
        padding: Padding,
        dilation: IntOrTuple,
        groups: int,
        padding_mode: str,
    ) -> None:
        name = type(self).__name__
        padding_mode = to_choice(f"{name}: padding_mode", padding_mode, MODES)
        super()._set_sizes(out_channels, kernel_size, stride, padding, dilation, groups, padding_mode)
        pairs = to_conv_padding(name, self.padding, self.kernel_size, self.stride, self.dilation)
        none = ((0, 0),) * self.axes
        zeros = padding_mode == "zeros"
        self._border = none if zeros else pairs
        self._wide = max(max(pair) for pair in pairs) > 1024  # the padded image may be too large
        self._window = Window(self.kernel_size, self.stride, pairs if zeros else none, self.dilation)

    def _check_room(self, images: Array) -> None:
        padding = self._window.padding if self.padding_mode == "zeros" else self._border
        sizes = [n + lo + hi for n, (lo, hi) in zip(images.shape[2:], padding, strict=True)]
        shape = (*images.shape[:2], *sizes)
        check_room(f"{type(self).__name__}.forward: a padded image", shape, images.dtype.itemsize)

    def forward(self, x: Array) -> Array:
        return self._clipped(x)

    def _clipped(self, x: Array, bounds: Bounds = None) -> Array:
        why = f"in_channels={self.in_channels}"
        xp, images, batched = self._enter_images(x, self.axes, self.in_channels, why, self.weight)
        if self._wide:
            self._check_room(images)
        padded = self._pad(xp, images)
        check_fits(f"{type(self).__name__}.forward", x, padded.shape[2:], self._window, self.padding)
        if self.algorithm == "winograd" and self.algorithm_for(x) != "winograd":
            raise ValueError(
                f"{type(self).__name__}.forward: algorithm='winograd' takes float16, float32 and float64 on "
                f"numpy, got {x.dtype} on {backend_of(x).name}; use 'auto'"
            )
        bias = None if self.bias is None else self.bias.data
        y = ops.conv(xp, padded, self.weight.data, bias, self._window, self.groups, self.algorithm, bounds)
        clipped = None if bounds is None else y
        return self.keep(y if batched else y[0], xp, images, batched, clipped, bounds)

    def backward(self, grad_output: Array, input_grad: bool = True) -> Array | None:
        xp, images, batched, y, bounds = self.recall(grad_output, input_grad)
        window, groups, weight = self._window, self.groups, self.weight
        if not (input_grad or weight.requires_grad or learns(self.bias)):
            return None
        grad = grad_output if batched else grad_output[None]
        if bounds is not None:
            grad = clip_backward(xp, grad, y, *bounds)
        del y
        if weight.requires_grad:
            padded = self._pad(xp, images)
            dw = ops.conv_backward_weight(xp, grad, padded, weight.shape, window, groups, self.algorithm)
            weight.accumulate(dw)
        if learns(self.bias):
            self.bias.accumulate(channel_sum(xp, grad))
        if not input_grad:
            return None
        shape, bordered = images.shape, self.padding_mode != "zeros"
        if bordered:
            sizes = [lo + n + hi for n, (lo, hi) in zip(shape[2:], self._border, strict=True)]
            shape = (*shape[:2], *sizes)
        grad = ops.conv_backward_input(xp, grad, weight.data, shape, window, groups, self.algorithm)
        if bordered:
            grad = pad_backward(xp, grad, self._border, self.padding_mode)
        return grad if batched else grad[0]

    def algorithm_for(self, x: Array) -> str:
        """The name of the algorithm of `forward(x)`: `'winograd'`, `'stripes'`, … (see `explain`).

        Example:
            >>> import numpy as np, xpconv
            >>> xpconv.Conv2d(64, 64, 3, padding=1).algorithm_for(np.zeros((8, 64, 32, 32), "float32"))
            'winograd'
        """
        xp, (images, _) = get_xp(x), self._images(x, self.axes, self.in_channels)
        shape = self._pad(xp, images).shape
        return ops.conv_algorithm(
            xp, shape, x.dtype, self.weight.shape, self._window, self.groups, self.algorithm
        )

    def _flops(self, x: Array, y: Array) -> int:
        return 2 * int(y.size) * math.prod(self.weight.shape[1:])

    def _pad(self, xp: Any, images: Array) -> Array:
        """Add a border if `padding_mode` is not zeros; the convolution itself pads with zeros."""
        if self.padding_mode == "zeros" or not any(lo or hi for lo, hi in self._border):
            return images
        widest = {"reflect": -1, "circular": 0}.get(self.padding_mode)
        for size, border in zip(images.shape[2:], self._border, strict=True):
            if size == 0 or (widest is not None and max(border) > size + widest):
                raise ShapeError(
                    f"{type(self).__name__}.forward: padding_mode={self.padding_mode!r} with padding "
                    f"{border} needs a larger image than {size} along that axis"
                )
        return pad(xp, images, self._border, self.padding_mode)

    def extra_repr(self) -> str:
        return arguments(
            self.in_channels,
            self.out_channels,
            kernel_size=(self.kernel_size, None),
            stride=(self.stride, 1),
            padding=(self.padding, 0),
            dilation=(self.dilation, 1),
            groups=(self.groups, 1),
            bias=(self.bias is not None, True),
            padding_mode=(self.padding_mode, "zeros"),
            algorithm=(self.algorithm, "auto"),
        )


class Conv1d(_Conv):
    """1-D convolution, as `torch.nn.Conv1d`.

        y[n, k, p] = bias[k] + Σ_c Σ_r x[n, c, p·stride - pad + r·dilation] · weight[k, c, r]

    `x` `(N, in_channels, L)` or `(in_channels, L)` gives `y` `(N, out_channels, P)` or `(out_channels, P)`
    with `P = ⌊(L + left + right - dilation·(R-1) - 1)/stride⌋ + 1`. Arguments, parameters and errors are
    those of `Conv2d`, with one axis; asymmetric padding is `((left, right),)`.

    Example:
        >>> import numpy as np, xpconv
        >>> conv = xpconv.Conv1d(3, 8, kernel_size=5, padding="same", rng=0)
        >>> conv(np.zeros((4, 3, 100), "float32")).shape
        (4, 8, 100)
    """

    axes = 1


class Conv2d(_Conv):
    """2-D convolution, as `torch.nn.Conv2d`.

        y[n, k, p, q] = bias[k] + Σ_c Σ_(r,s) x[n, c, p·stride - pad + r·dilation, …] · weight[k, c, r, s]

    `x` `(N, in_channels, H, W)` or `(in_channels, H, W)` gives `y` `(N, out_channels, P, Q)` or
    `(out_channels, P, Q)` with `P = ⌊(H + top + bottom - dilation·(R-1) - 1)/stride⌋ + 1`. `weight` is
    `(out_channels, in_channels/groups, R, S)`, `bias` `(out_channels,)`; both start uniform on
    `±1/√fan_in`. Forward saves `x` for backward, but no im2col columns.

    Args:
        in_channels, out_channels: channels of `x` and `y`.
        kernel_size, stride, dilation: an int, or one for each axis.
        padding: an int, one for each axis, `((top, bottom), (left, right))`, `'valid'` (none) or `'same'`
            (`y` has the size of `x`; stride 1 only; an odd total has its extra pixel at the end).
        groups: number of groups of channels, convolved separately; `groups=in_channels` is depthwise.
        bias: whether to add a bias.
        padding_mode: `'zeros'`, `'reflect'`, `'replicate'` or `'circular'`.
        algorithm: `'auto'` selects the fastest for the shapes (see `explain`); `'direct'` one that rounds
            like the formula, which `set_exact` selects for all layers; `'winograd'` Winograd's, for 3×3
            kernels with stride, dilation and groups 1, on NumPy.
        dtype: floating dtype of the parameters, and so of `x`.
        rng: `numpy.random.Generator` or seed for the initial values; None takes that of `manual_seed`.

    Raises:
        ValueError: an invalid size, stride, group, mode or algorithm.
        ShapeError: (a ValueError) `x` of another rank or number of channels, or smaller than the kernel.
        DTypeError, BackendError: (TypeErrors) `x` is not floating, not of the parameters' dtype or backend.

    Example:
        >>> import numpy as np, xpconv
        >>> conv = xpconv.Conv2d(3, 8, kernel_size=3, stride=2, padding=1, rng=0)
        >>> conv(np.zeros((4, 3, 32, 32), "float32")).shape
        (4, 8, 16, 16)
    """

    axes = 2


class Conv3d(_Conv):
    """3-D convolution, as `torch.nn.Conv3d`.

        y[n, k, p, …] = bias[k] + Σ_c Σ_(r,s,t) x[n, c, p·stride - pad + r·dilation, …] · weight[k, c, r, …]

    `x` `(N, in_channels, D, H, W)` or `(in_channels, D, H, W)` gives `y` `(N, out_channels, O, P, Q)` or
    without N, sizes as for `Conv2d`. Arguments, parameters and errors are those of `Conv2d`, with three
    axes; asymmetric padding is `((front, back), (top, bottom), (left, right))`.

    Example:
        >>> import numpy as np, xpconv
        >>> conv = xpconv.Conv3d(1, 4, kernel_size=3, stride=(1, 2, 2), padding=1, rng=0)
        >>> conv(np.zeros((2, 1, 8, 16, 16), "float32")).shape
        (2, 4, 8, 8, 8)
    """

    axes = 3
