"""Depthwise and depthwise separable convolutions."""

from __future__ import annotations

from typing import Any, ClassVar

from ..arguments import named, to_bool, to_size
from ..backend import Array
from ..parameter import parameter_dtype
from ..random import RNG, default_rng
from ..tape import position
from .conv import Conv2d, IntOrTuple, Padding
from .layer import Layer, arguments

__all__ = ["DepthwiseConv2d", "SeparableConv2d"]


class DepthwiseConv2d(Conv2d):
    """2-D convolution of each channel by itself, as Keras' `DepthwiseConv2D`.

        y[n, k, p, q] = bias[k] + Σ_(r,s) x[n, c, p·stride - pad + r·dilation, …] · weight[k, 0, r, s]

    with `k = c·m + j`, j < m, for `m = depth_multiplier` filters per channel. It is
    `Conv2d(in_channels, in_channels·m, …, groups=in_channels)`, with its shapes, parameters (`weight` is
    `(in_channels·m, 1, R, S)`) and errors.

    Args:
        in_channels: channels of `x`.
        kernel_size, stride, padding, dilation: as for `Conv2d`.
        depth_multiplier: output channels for each input channel.
        bias, padding_mode, dtype, rng: as for `Conv2d`.

    Example:
        >>> import numpy as np, xpconv
        >>> conv = xpconv.DepthwiseConv2d(8, kernel_size=3, padding=1, depth_multiplier=2, rng=0)
        >>> conv(np.zeros((4, 8, 32, 32), "float32")).shape, conv.weight.shape
        ((4, 16, 32, 32), (16, 1, 3, 3))
    """

    def __init__(
        self,
        in_channels: int,
        kernel_size: IntOrTuple,
        stride: IntOrTuple = 1,
        padding: Padding = 0,
        dilation: IntOrTuple = 1,
        depth_multiplier: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        *,
        dtype: Any = "float32",
        rng: RNG = None,
    ) -> None:
        name = type(self).__name__
        channels = to_size(f"{name}: in_channels", in_channels)
        self.depth_multiplier: int = to_size(f"{name}: depth_multiplier", depth_multiplier)
        super().__init__(
            channels,
            channels * self.depth_multiplier,
            kernel_size,
            stride,
            padding,
            dilation,
            channels,
            bias,
            padding_mode,
            dtype=dtype,
            rng=rng,
        )

    def extra_repr(self) -> str:
        return arguments(
            self.in_channels,
            kernel_size=(self.kernel_size, None),
            stride=(self.stride, 1),
            padding=(self.padding, 0),
            dilation=(self.dilation, 1),
            depth_multiplier=(self.depth_multiplier, 1),
            bias=(self.bias is not None, True),
            padding_mode=(self.padding_mode, "zeros"),
        )


class SeparableConv2d(Layer):
    """2-D depthwise separable convolution, as Keras' `SeparableConv2D`: first space, then channels.

        y = pointwise(depthwise(x))

    `depthwise` is a `DepthwiseConv2d(in_channels, kernel_size, …, bias=False)`, `pointwise` a
    `Conv2d(in_channels·depth_multiplier, out_channels, 1)`. No layer runs in between; for MobileNet's blocks
    (Howard et al., arXiv:1704.04861), which have batch normalisation and ReLU there, use a `Sequential`. It
    takes about `1/out_channels + 1/(R·S)` of the multiplications of a `Conv2d`. `x`
    `(N, in_channels, H, W)` or unbatched gives `y` `(N, out_channels, P, Q)`, sizes as for `Conv2d`. The
    parameters are `depthwise.weight`, `pointwise.weight` and `pointwise.bias`.

    Args:
        in_channels, out_channels: channels of `x` and `y`.
        kernel_size, stride, padding, dilation, padding_mode: of `depthwise`, as for `Conv2d`.
        depth_multiplier: channels between the two for each input channel.
        bias: whether `pointwise` has a bias.
        dtype, rng: as for `Conv2d`.

    Raises:
        ValueError: a size, stride or mode is out of range.
        ShapeError, DTypeError, BackendError: as for `Conv2d`.

    Example:
        >>> import numpy as np, xpconv
        >>> conv = xpconv.SeparableConv2d(8, 16, kernel_size=3, stride=2, padding=1, rng=0)
        >>> conv(np.zeros((4, 8, 32, 32), "float32")).shape
        (4, 16, 16, 16)
        >>> [name for name, _ in conv.named_parameters()]
        ['depthwise.weight', 'pointwise.weight', 'pointwise.bias']
    """

    depthwise: DepthwiseConv2d
    fixed: ClassVar[tuple[str, ...]] = (
        "in_channels",
        "out_channels",
        "kernel_size",
        "stride",
        "padding",
        "dilation",
        "depth_multiplier",
        "bias",
        "padding_mode",
    )

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: IntOrTuple,
        stride: IntOrTuple = 1,
        padding: Padding = 0,
        dilation: IntOrTuple = 1,
        depth_multiplier: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        *,
        dtype: Any = "float32",
        rng: RNG = None,
    ) -> None:
        name = type(self).__name__
        to_size(f"{name}: in_channels", in_channels)
        to_size(f"{name}: out_channels", out_channels)
        bias = to_bool(f"{name}: bias", bias)
        dtype = parameter_dtype(name, dtype)
        rng = default_rng(rng, name)
        with named(name, "DepthwiseConv2d"):
            self.depthwise = DepthwiseConv2d(
                in_channels,
                kernel_size,
                stride,
                padding,
                dilation,
                depth_multiplier,
                False,
                padding_mode,
                dtype=dtype,
                rng=rng,
            )
        between = self.depthwise.out_channels
        self.pointwise: Conv2d = Conv2d(between, out_channels, 1, bias=bias, dtype=dtype, rng=rng)

    def get_config(self) -> dict[str, Any]:
        last = self.pointwise
        config = {**self.depthwise.get_config(), "bias": last.bias is not None}
        return {"in_channels": config.pop("in_channels"), "out_channels": last.out_channels, **config}

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self.fixed and "pointwise" in vars(self):
            raise self._is_fixed(name, value)
        super().__setattr__(name, value)

    def forward(self, x: Array) -> Array:
        start = position()
        return self.keep(self.pointwise._pass(self.depthwise._pass(x)), start)

    def backward(self, grad_output: Array, input_grad: bool = True) -> Array | None:
        (start,) = self.recall(grad_output, input_grad)
        return self._back_through([self.depthwise, self.pointwise], start, grad_output, input_grad)

    def extra_repr(self) -> str:
        first, last = self.depthwise, self.pointwise
        return arguments(
            first.in_channels,
            last.out_channels,
            kernel_size=(first.kernel_size, None),
            stride=(first.stride, 1),
            padding=(first.padding, 0),
            dilation=(first.dilation, 1),
            depth_multiplier=(first.depth_multiplier, 1),
            bias=(last.bias is not None, True),
            padding_mode=(first.padding_mode, "zeros"),
        )
