"""Global pooling over the whole image: adaptive pooling to one pixel."""

from __future__ import annotations

from typing import ClassVar

from ..signatures import public_errors
from .adaptive_pool import (
    AdaptiveAvgPool1d,
    AdaptiveAvgPool2d,
    AdaptiveAvgPool3d,
    AdaptiveMaxPool1d,
    AdaptiveMaxPool2d,
    AdaptiveMaxPool3d,
)

__all__ = [
    "GlobalAvgPool1d",
    "GlobalAvgPool2d",
    "GlobalAvgPool3d",
    "GlobalMaxPool1d",
    "GlobalMaxPool2d",
    "GlobalMaxPool3d",
]


@public_errors
class _Global:
    """Mixin for adaptive pooling layers: the output is one pixel."""

    fixed: ClassVar[tuple[str, ...]] = ("output_size", "return_indices")

    def __init__(self) -> None:
        super().__init__(1)  # type: ignore[call-arg]  # of the adaptive layer

    def extra_repr(self) -> str:
        return ""


class GlobalAvgPool1d(_Global, AdaptiveAvgPool1d):
    """Mean over the whole length: `AdaptiveAvgPool1d(1)`. `x` `(N, C, L)` gives `y` `(N, C, 1)`.

    Example:
        >>> import numpy as np, xpconv
        >>> xpconv.GlobalAvgPool1d()(np.array([[1.0, 2, 3, 4]]))
        array([[2.5]])
    """


class GlobalAvgPool2d(_Global, AdaptiveAvgPool2d):
    """Mean over the whole image: `AdaptiveAvgPool2d(1)`. `x` `(N, C, H, W)` gives `y` `(N, C, 1, 1)`.

    As ONNX's GlobalAveragePool; use `Flatten` between it and `Dense`. Lin et al. 2014,
    "Network in Network", https://arxiv.org/abs/1312.4400

    Example:
        >>> import numpy as np, xpconv
        >>> xpconv.GlobalAvgPool2d()(np.arange(6.0).reshape(1, 2, 3))
        array([[[2.5]]])
    """


class GlobalAvgPool3d(_Global, AdaptiveAvgPool3d):
    """Mean over the whole volume: `AdaptiveAvgPool3d(1)`.

    `x` `(N, C, D, H, W)` gives `y` `(N, C, 1, 1, 1)`.

    Example:
        >>> import numpy as np, xpconv
        >>> xpconv.GlobalAvgPool3d()(np.arange(8.0).reshape(1, 2, 2, 2))
        array([[[[3.5]]]])
    """


class GlobalMaxPool1d(_Global, AdaptiveMaxPool1d):
    """Maximum over the whole length: `AdaptiveMaxPool1d(1)`. `x` `(N, C, L)` gives `y` `(N, C, 1)`.

    Example:
        >>> import numpy as np, xpconv
        >>> xpconv.GlobalMaxPool1d()(np.array([[1.0, 2, 4, 3]]))
        array([[4.]])
    """


class GlobalMaxPool2d(_Global, AdaptiveMaxPool2d):
    """Maximum over the whole image: `AdaptiveMaxPool2d(1)`. `x` `(N, C, H, W)` gives `y` `(N, C, 1, 1)`.

    Example:
        >>> import numpy as np, xpconv
        >>> xpconv.GlobalMaxPool2d()(np.arange(6.0).reshape(1, 2, 3))
        array([[[5.]]])
    """


class GlobalMaxPool3d(_Global, AdaptiveMaxPool3d):
    """Maximum over the whole volume: `AdaptiveMaxPool3d(1)`.

    `x` `(N, C, D, H, W)` gives `y` `(N, C, 1, 1, 1)`.

    Example:
        >>> import numpy as np, xpconv
        >>> xpconv.GlobalMaxPool3d()(np.arange(8.0).reshape(1, 2, 2, 2))
        array([[[[7.]]]])
    """
