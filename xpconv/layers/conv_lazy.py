"""Convolutions that learn their number of input channels from their first input."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from ..backend import Array, asnumpy, backend_of, get_xp, use_backend
from ..geometry import to_bool
from ..random import RNG, default_rng
from .base import arguments
from .conv import Conv1d, Conv2d, Conv3d, IntOrTuple, Padding, _Conv
from .parameter import check_floating


class _LazyConv(_Conv):
    """A convolution without parameters, which becomes a `becomes` with them; see `LazyConv2d`."""

    lazy = True
    becomes: ClassVar[type[_Conv]]

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
        name = type(self).__name__
        if dtype is not None:
            check_floating(name, get_xp(), dtype)
        self._later = (to_bool(f"{name}: bias", bias), dtype, default_rng(rng, name))

    def forward(self, x: Array) -> Array:
        self._enter(x)
        self._images(x, self.axes)
        self._become(x.shape[-self.axes - 1], x.dtype, backend_of(x).name)
        return type(self).forward(self, x)  # the class that this layer has now

    def _before_load(self, prefix: str, state: Mapping[str, Any]) -> None:
        key = f"{prefix}.weight" if prefix else "weight"
        if key in state and len(state[key].shape) == self.axes + 2:
            self._become(int(state[key].shape[1]) * self.groups, asnumpy(state[key]).dtype, None)

    def _become(self, in_channels: int, like: Any, backend: str | None) -> None:
        """Make the parameters, of dtype `like` unless another was asked for, and change the class."""
        bias, dtype, rng = self._later
        dtype = like if dtype is None else dtype
        if backend is None:
            self._set_parameters(in_channels, bias, dtype, rng)
        else:
            with use_backend(backend):
                self._set_parameters(in_channels, bias, dtype, rng)
        del self._later
        self._take_flags()
        self.__class__ = self.becomes  # type: ignore[assignment]

    def extra_repr(self) -> str:
        return arguments(
            self.out_channels,
            kernel_size=(self.kernel_size, None),
            stride=(self.stride, 1),
            padding=(self.padding, 0),
            dilation=(self.dilation, 1),
            groups=(self.groups, 1),
            bias=(self._later[0], True),
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
    becomes = Conv1d


class LazyConv2d(_LazyConv):
    """A `Conv2d` that takes `in_channels` from its first input, as `torch.nn.LazyConv2d`.

    Before its first forward (or `load_state_dict`) it has no parameters, and its state dict is empty;
    then it becomes a `Conv2d`, class and all. So run one forward before the optimizer is made: until then
    `parameters()` of any model that holds it is a RuntimeError.

    Args:
        dtype: of the parameters; None takes that of the first input (or of what is loaded). They are made
            on the first input's backend.

    The others are `Conv2d`'s, without `in_channels`; so are shapes and errors.

    Raises:
        ValueError: a size, stride, group or mode that cannot be; `groups` does not divide the channels.

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
    becomes = Conv2d


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
    becomes = Conv3d
