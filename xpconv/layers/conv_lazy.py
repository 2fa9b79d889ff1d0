"""Convolutions that take their number of input channels from their first input."""

from __future__ import annotations

from typing import Any, ClassVar

from ..arguments import to_bool
from ..backend import Array
from ..random import RNG
from .conv import Conv1d, Conv2d, Conv3d, IntOrTuple, Padding, _Conv
from .layer import Layer, arguments
from .lazy import Lazy

__all__ = ["LazyConv1d", "LazyConv2d", "LazyConv3d"]


class _LazyConv(Lazy, _Conv):
    """A convolution whose class changes to `becomes` at its first input; see `LazyConv2d`."""

    def __init__(
        self,
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
        dtype: Any = None,
        rng: RNG = None,
    ) -> None:
        self._set_sizes(out_channels, kernel_size, stride, padding, dilation, groups, padding_mode)
        self._set_algorithm(algorithm)
        self._has_bias = to_bool(f"{type(self).__name__}: bias", bias)
        self._set_later(dtype, rng)

    def forward(self, x: Array) -> Array:
        self._enter_images(x, self.axes)
        return self._first(x, x.shape[-self.axes - 1])

    def _make(self, size: int, dtype: Any, rng: Any) -> None:
        self._set_parameters(size, vars(self).pop("_has_bias"), dtype, rng)

    def _size_of(self, name: str, shape: tuple[int, ...]) -> int | None:
        return shape[1] * self.groups if name == "weight" and len(shape) == self.axes + 2 else None

    def extra_repr(self) -> str:
        return arguments(
            self.out_channels,
            kernel_size=(self.kernel_size, None),
            stride=(self.stride, 1),
            padding=(self.padding, 0),
            dilation=(self.dilation, 1),
            groups=(self.groups, 1),
            bias=(self._has_bias, True),
            padding_mode=(self.padding_mode, "zeros"),
            algorithm=(self.algorithm, "auto"),
        )


class LazyConv1d(_LazyConv):
    """A `Conv1d` that takes `in_channels` from its first input, as `torch.nn.LazyConv1d`.

    See `LazyConv2d`.

    Example:
        >>> import numpy as np, xpconv
        >>> conv = xpconv.LazyConv1d(8, kernel_size=5)
        >>> conv(np.zeros((4, 3, 100), "float32")).shape
        (4, 8, 96)
    """

    axes = 1
    becomes: ClassVar[type[Layer]] = Conv1d


class LazyConv2d(_LazyConv):
    """A `Conv2d` that takes `in_channels` from its first input, as `torch.nn.LazyConv2d`.

    Before its first forward (or `load_state_dict`) it has no parameters, and its state dict is empty;
    then its class becomes `Conv2d`. So run one forward before creating the optimizer: until then
    `parameters()` of a model that contains the layer raises RuntimeError.

    Args:
        dtype: of the parameters; None takes that of the first input (or of the loaded arrays). They are
            created on the first input's backend.

    The other arguments, the shapes and the errors are those of `Conv2d`; there is no `in_channels`.

    Raises:
        ValueError: an invalid size, stride, group or mode; `groups` does not divide the channels.

    Example:
        >>> import numpy as np, xpconv
        >>> conv = xpconv.LazyConv2d(8, kernel_size=3)
        >>> conv, conv.state_dict()
        (LazyConv2d(8, kernel_size=3), {})
        >>> y = conv(np.zeros((4, 3, 32, 32), "float32"))
        >>> conv
        Conv2d(3, 8, kernel_size=3)
    """

    axes = 2
    becomes: ClassVar[type[Layer]] = Conv2d


class LazyConv3d(_LazyConv):
    """A `Conv3d` that takes `in_channels` from its first input, as `torch.nn.LazyConv3d`.

    See `LazyConv2d`.

    Example:
        >>> import numpy as np, xpconv
        >>> conv = xpconv.LazyConv3d(4, kernel_size=3, padding=1)
        >>> conv(np.zeros((2, 3, 8, 8, 8), "float32")).shape
        (2, 4, 8, 8, 8)
    """

    axes = 3
    becomes: ClassVar[type[Layer]] = Conv3d
