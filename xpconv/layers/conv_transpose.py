"""Transposed convolution layers."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from ..arguments import check_room, shown, to_choice, to_output_padding, to_pairs, to_tuple
from ..backend import Array
from ..checks import check_left
from ..errors import ShapeError
from ..geometry import Window
from ..ops import conv_transpose as ops
from ..ops.channels import channel_sum
from ..parameter import learns
from ..random import RNG
from .conv import IntOrTuple, _ConvNd
from .layer import arguments

__all__ = ["ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d"]

PadOrPairs = int | tuple[int, ...] | tuple[tuple[int, int], ...]


class _ConvTranspose(_ConvNd):
    """Transposed convolution over `axes` spatial axes; `ConvTranspose2d` describes it."""

    output_padding: tuple[int, ...]

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: IntOrTuple,
        stride: IntOrTuple = 1,
        padding: PadOrPairs = 0,
        output_padding: IntOrTuple = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: IntOrTuple = 1,
        padding_mode: str = "zeros",
        *,
        dtype: Any = "float32",
        rng: RNG = None,
    ) -> None:
        name = type(self).__name__
        padding_mode = to_choice(f"{name}: padding_mode", padding_mode, ("zeros",))
        if isinstance(padding, str):
            raise ValueError(f"{name}: padding is {shown(padding)}, expected numbers")
        self._set_sizes(out_channels, kernel_size, stride, padding, dilation, groups, padding_mode)
        pairs = to_pairs(f"{name}: padding", padding, self.axes)
        self.output_padding = to_output_padding(name, output_padding, self.stride, self.dilation)
        self._window = Window(self.kernel_size, self.stride, pairs, self.dilation)
        self._set_parameters(in_channels, bias, dtype, rng)

    def _weight_shape(self) -> tuple[int, ...]:
        return (self.in_channels, self.out_channels // self.groups, *self.kernel_size)

    def __call__(self, x: Array, output_size: Sequence[int] | None = None) -> Array:
        """Return `forward(x, output_size)`."""
        return super().__call__(x) if output_size is None else super().__call__(x, output_size)

    def forward(self, x: Array, output_size: Sequence[int] | None = None) -> Array:
        """The layer's output for `x`; `output_size` chooses its size instead of `output_padding`."""
        why = f"in_channels={self.in_channels}"
        xp, images, batched = self._enter_images(x, self.axes, self.in_channels, why, self.weight)
        size = self._output_size(images.shape[2:], output_size, batched)
        whole = (len(images), self.out_channels, *size)
        check_room(f"{type(self).__name__}.forward: an output", whole, x.dtype.itemsize)
        bias = None if self.bias is None else self.bias.data
        y = ops.conv_transpose(xp, images, self.weight.data, bias, size, self._window, self.groups)
        return self.keep(y if batched else y[0], xp, images, batched)

    def backward(self, grad_output: Array, input_grad: bool = True) -> Array | None:
        xp, images, batched = self.recall(grad_output, input_grad)
        grad = grad_output if batched else grad_output[None]
        window, groups, weight = self._window, self.groups, self.weight
        if weight.requires_grad:
            dw = ops.conv_transpose_backward_weight(xp, grad, images, weight.shape, window, groups)
            weight.accumulate(dw)
        if learns(self.bias):
            self.bias.accumulate(channel_sum(xp, grad))
        if not input_grad:
            return None
        grad = ops.conv_transpose_backward_input(xp, grad, weight.data, images.shape, window, groups)
        return grad if batched else grad[0]

    def _flops(self, x: Array, y: Array) -> int:
        return 2 * int(x.size) * prod(self.weight.shape[1:])

    def _output_size(
        self, spatial: tuple[int, ...], given: Sequence[int] | None, batched: bool
    ) -> tuple[int, ...]:
        name = type(self).__name__
        least = self._window.transposed_shape(spatial)
        if given is None:
            size = tuple(a + b for a, b in zip(least, self.output_padding, strict=True))
        else:
            if not isinstance(given, Sequence):
                raise TypeError(f"{name}.forward: output_size is {given!r}, expected {self.axes} ints")
            full = self.axes + 1 + batched  # with the batch and channel axes, whose sizes are ignored
            if len(given) not in (self.axes, full):
                raise ShapeError(
                    f"{name}.forward: output_size is {tuple(given)}, expected {self.axes} or {full} ints"
                )
            size = to_tuple(f"{name}.forward: output_size", tuple(given[-self.axes :]), self.axes, 0)
            most = tuple(a + s - 1 for a, s in zip(least, self.stride, strict=True))
            if any(not a <= n <= b for a, n, b in zip(least, size, most, strict=True)):
                raise ShapeError(
                    f"{name}.forward: output_size is {size}, expected {least} to {most} for x of {spatial}"
                )
        check_left(f"{name}.forward", spatial, self.padding, size)
        return size

    def extra_repr(self) -> str:
        return arguments(
            self.in_channels,
            self.out_channels,
            kernel_size=(self.kernel_size, None),
            stride=(self.stride, 1),
            padding=(self.padding, 0),
            output_padding=(self.output_padding, 0),
            groups=(self.groups, 1),
            bias=(self.bias is not None, True),
            dilation=(self.dilation, 1),
        )


class ConvTranspose1d(_ConvTranspose):
    """1-D transposed convolution, as `torch.nn.ConvTranspose1d`.

        y[n, k, h] = bias[k] + Σ_c Σ_(p,r : h = p·stride - padding + r·dilation) x[n, c, p] · weight[c, k, r]

    `x` `(N, in_channels, P)` or `(in_channels, P)` gives `y` `(N, out_channels, L)` or `(out_channels, L)`
    with `L = (P-1)·stride - left - right + dilation·(R-1) + output_padding + 1`. Arguments, parameters and
    errors are those of `ConvTranspose2d`, with one axis.

    Example:
        >>> import numpy as np, xpconv
        >>> up = xpconv.ConvTranspose1d(8, 4, kernel_size=4, stride=2, padding=1, rng=0)
        >>> up(np.zeros((2, 8, 50), "float32")).shape
        (2, 4, 100)
    """

    axes = 1


class ConvTranspose2d(_ConvTranspose):
    """2-D transposed convolution, as `torch.nn.ConvTranspose2d`; decoders enlarge images with it.

        y[n, k, h, …] = bias[k] + Σ_c Σ_(p,r : h = p·stride - padding + r·dilation, …)
                                      x[n, c, p, …] · weight[c, k, r, …]

    The transpose (not the inverse) of the `Conv2d` with the same arguments: forward computes its input
    gradient. `x` `(N, in_channels, P, Q)` or `(in_channels, P, Q)` gives `y` `(N, out_channels, H, W)` or
    `(out_channels, H, W)` with
    `H = (P-1)·stride - top - bottom + dilation·(R-1) + output_padding + 1`. `weight` is
    `(in_channels, out_channels/groups, R, S)`, `bias` `(out_channels,)`; both start uniform on
    `±1/√(out_channels/groups·R·S)`. Forward saves `x`. See Dumoulin & Visin, arXiv:1603.07285.

    Args:
        in_channels, out_channels: channels of `x` and `y`.
        kernel_size, stride, dilation: an int, or one for each axis, of that `Conv2d`.
        padding: an int, one for each axis, or `((top, bottom), (left, right))`, removed from `y`.
        output_padding: an int, or one for each axis, less than stride or dilation: added to the size of `y`
            at the end, since inputs of several sizes give outputs of one size in `Conv2d`.
        groups: number of groups of channels, convolved separately.
        bias: whether to add a bias.
        padding_mode: `'zeros'`.
        dtype: floating dtype of the parameters, and so of `x`.
        rng: `numpy.random.Generator` or seed for the initial values; None takes that of `manual_seed`.

    `layer(x, output_size)` sets the size of `y` (with or without batch and channels) instead of
    `output_padding`.

    Raises:
        ValueError: an invalid size, stride, group or mode.
        ShapeError: (a ValueError) `x` of another rank or number of channels; an empty `y`; an
            `output_size` that no `output_padding` gives.
        DTypeError, BackendError: (TypeErrors) `x` is not floating, not of the parameters' dtype or backend.

    Example:
        >>> import numpy as np, xpconv
        >>> up = xpconv.ConvTranspose2d(8, 4, kernel_size=3, stride=2, padding=1, rng=0)
        >>> x = np.zeros((2, 8, 16, 16), "float32")
        >>> up(x).shape, up(x, output_size=(32, 32)).shape
        ((2, 4, 31, 31), (2, 4, 32, 32))
    """

    axes = 2


class ConvTranspose3d(_ConvTranspose):
    """3-D transposed convolution, as `torch.nn.ConvTranspose3d`.

        y[n, k, h, …] = bias[k] + Σ_c Σ_(p,r : h = p·stride - padding + r·dilation, …)
                                      x[n, c, p, …] · weight[c, k, r, …]

    `x` `(N, in_channels, O, P, Q)` or `(in_channels, O, P, Q)` gives `y` `(N, out_channels, D, H, W)` or
    without N, sizes as for `ConvTranspose2d`. Arguments, parameters and errors are those of
    `ConvTranspose2d`, with three axes.

    Example:
        >>> import numpy as np, xpconv
        >>> up = xpconv.ConvTranspose3d(8, 4, kernel_size=2, stride=2, rng=0)
        >>> up(np.zeros((2, 8, 4, 8, 8), "float32")).shape
        (2, 4, 8, 16, 16)
    """

    axes = 3
