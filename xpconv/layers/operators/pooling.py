"""Pooling with windows as ONNX describes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from ...backend import Array, host
from ...dtypes import is_floating
from ...geometry import Window
from ...ops import pool as ops
from ...ops.constants import constant
from ...signatures import public_errors
from ...sums import widened, widened_for
from .windows import IMAGES, Windowed

Result = tuple[Any, tuple[Any, ...]]
Counts = tuple[tuple[int, ...], ...]


@dataclass(eq=False, repr=False)
class _Pool(Windowed):
    """Base of pooling operators; `ceil_mode` adds a last window that extends beyond the end."""

    kernel_size: Sequence[int]
    stride: Sequence[int] | None = None
    pads: Sequence[int] | None = None
    dilation: Sequence[int] | None = None
    auto_pad: str = "NOTSET"
    ceil_mode: bool = False

    def _prepared(self, x: Array) -> tuple[Window, tuple[int, ...]]:
        """The window, and the sizes of the output."""
        window = self._window(x, self.kernel_size)
        self._check_window(x, window, self.ceil_mode)
        return window, window.output_shape(tuple(x.shape[IMAGES:]), self.ceil_mode)


@public_errors
@dataclass(eq=False, repr=False)
class MaxPool(_Pool):
    """The maximum over windows, of integers as well; as `MaxPool2d`, with any padding.

    Args:
        indices: whether the output is the position of each maximum instead, as int64: its place in `x` as a
            whole.
        column_major: whether positions count down the columns of an image first.
    """

    indices: bool = False
    column_major: bool = False

    def _compute(self, xp: Any, x: Array) -> Result:
        window, _ = self._prepared(x)
        integers = not is_floating(x.dtype)
        y, winner = ops.max_pool(xp, x.astype("float64") if integers else x, window, self.ceil_mode)
        if self.indices:
            return self._positions(xp, x.shape, winner, window), ()
        return y.astype(x.dtype, copy=False), (winner, x.shape, window)

    def _positions(self, xp: Any, shape: tuple[int, ...], winner: Array, window: Window) -> Array:
        sizes = shape[IMAGES:]
        place = ops.max_pool_indices(xp, winner, sizes, window)
        if self.column_major:
            rest, place, step = place, 0, 1
            for n, stride in zip(sizes, [prod(sizes[i + 1 :]) for i in range(len(sizes))], strict=True):
                place, rest, step = place + rest // stride * step, rest % stride, step * n
        planes = xp.arange(prod(shape[:IMAGES]), dtype="int64") * prod(sizes)
        return place + planes.reshape(*shape[:IMAGES], *(1,) * len(sizes))

    def _gradients(self, xp: Any, grad: Array, *saved: Any) -> tuple[Array]:
        winner, shape, window = saved
        return (ops.max_pool_backward(xp, grad, winner, shape, window),)


@public_errors
@dataclass(eq=False, repr=False)
class AveragePool(_Pool):
    """The mean over windows, as `AvgPool2d`, with any padding and dilation.

    Args:
        count_include_pad: whether padding counts, as zeros.
    """

    count_include_pad: bool = False

    def _compute(self, xp: Any, x: Array) -> Result:
        window, output = self._prepared(x)
        counts = self._counts(tuple(x.shape[IMAGES:]), output, window)
        wide = widened(widened_for(x, prod(window.kernel)))
        y = _divided(xp, ops.window_sums(xp, wide, window, self.ceil_mode), counts)
        return y.astype(x.dtype, copy=False), (counts, x.shape, window)

    def _counts(self, spatial: tuple[int, ...], output: tuple[int, ...], window: Window) -> Counts:
        """For each axis, how many positions each window holds; at least 1, as some hold none."""
        axes = []
        for n, m, k, s, (low, high), d in zip(spatial, output, *window, strict=True):
            first, last = (-low, n + high) if self.count_include_pad else (0, n)
            starts = -low + s * host().xp.arange(m)
            before, within = -((starts - first) // d), -((starts - last) // d)  # taps before each end
            axes.append(tuple((within.clip(0, k) - before.clip(0, k)).clip(1).tolist()))
        return tuple(axes)

    def _gradients(self, xp: Any, grad: Array, *saved: Any) -> tuple[Array]:
        counts, shape, window = saved
        scaled = _divided(xp, widened_for(widened(grad), window.overlaps()), counts)
        return (ops.window_sums_backward(xp, scaled, shape, window),)


def _divided(xp: Any, y: Array, counts: Counts) -> Array:
    """`y` divided by the number of positions in each window, the product of `counts` over the axes."""
    for axis, numbers in enumerate(counts):
        shape = (-1, *(1,) * (len(counts) - 1 - axis))
        y = y / constant(xp, numbers, str(y.dtype)).reshape(shape)
    return y


@public_errors
@dataclass(eq=False, repr=False)
class LpPool(_Pool):
    """`(Σ |x|^p)^(1/p)` over windows; where that is 0, the gradient is 0."""

    p: int = 2

    def _compute(self, xp: Any, x: Array) -> Result:
        window, _ = self._prepared(x)
        wide = widened(widened_for(x, prod(window.kernel)))
        total = ops.window_sums(xp, abs(wide) ** self.p, window, self.ceil_mode)
        y = total ** (1 / self.p)
        return y.astype(x.dtype, copy=False), (x, y, total, window)

    def _gradients(self, xp: Any, grad: Array, *saved: Any) -> tuple[Array]:
        x, y, total, window = saved
        scaled = grad * xp.where(total == 0, 0, y / xp.where(total == 0, 1, total))
        spread = ops.window_sums_backward(xp, scaled, x.shape, window)
        return (spread * xp.sign(x) * abs(x) ** (self.p - 1),)
