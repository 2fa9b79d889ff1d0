"""The arithmetic of windows that slide over images, for convolution and pooling in any dimension.

One axis of a window has a kernel size `k`, stride `s`, dilation `d` and padding `(lo, hi)`. Output
position `p` looks through tap `r` at input position `h = p*s - lo + r*d`. Everything here follows
from that line.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import product
from operator import mul
from typing import NamedTuple

Shape = tuple[int, ...]
Pairs = tuple[tuple[int, int], ...]
Bounds = tuple[float, float | None] | None  # of values that `clip` limits; None as the upper one is no limit


class Window(NamedTuple):
    """How a kernel slides over the spatial axes: one entry an axis."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: Pairs
    dilation: tuple[int, ...]

    # Layers ask for these two at every call; a window is a small constant, so it may stay in their caches.

    @lru_cache(maxsize=1024)  # noqa: B019
    def output_shape(self, spatial: tuple[int, ...], ceil_mode: bool = False) -> tuple[int, ...]:
        """The number of window positions along each axis of images of size `spatial`."""
        return tuple(
            output_size(n, k, s, p, d, ceil_mode) for n, k, s, p, d in zip(spatial, *self, strict=True)
        )

    @lru_cache(maxsize=1024)  # noqa: B019
    def taps(self, spatial: tuple[int, ...], output: tuple[int, ...]) -> tuple[Tap, ...]:
        """Every tap of the kernel, in row-major order: `y[tap.out]` sees `x[tap.into]` through it."""
        axes = []
        for n, m, k, s, (lo, _), d in zip(spatial, output, *self, strict=True):
            axis = []
            for r in range(k):
                shift = r * d - lo  # h = p*s + shift, which must be in [0, n)
                first = max(0, -(shift // s))  # smallest p with h >= 0
                last = min(m - 1, (n - 1 - shift) // s)  # largest p with h < n
                if first > last:
                    axis.append((r, slice(0, 0), slice(0, 0)))
                else:
                    axis.append(
                        (r, slice(first, last + 1), slice(first * s + shift, last * s + shift + 1, s))
                    )
            axes.append(axis)
        return tuple(
            Tap(tuple(a[0] for a in combo), tuple(a[1] for a in combo), tuple(a[2] for a in combo))
            for combo in product(*axes)
        )

    def transposed_shape(self, positions: tuple[int, ...]) -> tuple[int, ...]:
        """The smallest size of images that have this number of window positions along each axis."""
        return tuple(
            (n - 1) * s - lo - hi + d * (k - 1) + 1
            for n, k, s, (lo, hi), d in zip(positions, *self, strict=True)
        )

    def fitted(self, spatial: Shape, output: Shape) -> Window:
        """The window with the upper padding that this number of outputs reads; it may be negative."""
        padding = []
        for n, m, k, s, (lo, _), d in zip(spatial, output, *self, strict=True):
            padding.append((lo, (m - 1) * s + d * (k - 1) + 1 - n - lo))
        return self._replace(padding=tuple(padding))

    def mirrored(self, spatial: Shape, output: Shape) -> Window:
        """The window, at stride 1, by which an input position reads all outputs that depend on it.

        It belongs to flipped kernels. Its padding may be negative.
        """
        padding = []
        for n, m, k, _, (lo, _), d in zip(spatial, output, *self, strict=True):
            padding.append((d * (k - 1) - lo, n - m + lo))
        return self._replace(stride=(1,) * len(padding), padding=tuple(padding))

    def steps(self, by_pixel: Sequence[int]) -> tuple[Shape, Shape]:
        """Strides in memory between taps, and between positions of the window, given those between pixels."""
        return tuple(map(mul, by_pixel, self.dilation)), tuple(map(mul, by_pixel, self.stride))

    def overlaps(self) -> int:
        """The largest number of windows that contain the same position."""
        most = 1
        for k, s in zip(self.kernel, self.stride, strict=True):
            most *= -(-k // s)
        return most

    def counts(
        self, spatial: Sequence[int], output: Sequence[int], include_pad: bool
    ) -> list[tuple[int, ...]]:
        """For each axis, how many input (and padding) positions each output's window covers."""
        result = []
        for n, m, k, s, (lo, hi) in zip(spatial, output, self.kernel, self.stride, self.padding, strict=True):
            low, high = (-lo, n + hi) if include_pad else (0, n)
            starts = range(-lo, -lo + m * s, s)
            result.append(tuple(max(0, min(h + k, high) - max(h, low)) for h in starts))
        return result


class Tap(NamedTuple):
    """One position in the kernel, and the slices of output and input that meet through it."""

    offset: tuple[int, ...]
    out: tuple[slice, ...]
    into: tuple[slice, ...]


def output_size(
    size: int, kernel: int, stride: int, padding: tuple[int, int], dilation: int, ceil_mode: bool = False
) -> int:
    """Number of window positions along one axis; zero or less where the kernel does not fit.

    With `ceil_mode` a last window may hang over the end, if it starts inside the input or the lower
    padding (the rule of `torch.nn.MaxPool2d`).

    Example:
        >>> output_size(28, kernel=5, stride=2, padding=(0, 0), dilation=1)
        12
    """
    lo, hi = padding
    room = size + lo + hi - dilation * (kernel - 1) - 1
    if not ceil_mode:
        return room // stride + 1
    count = -(-room // stride) + 1
    return count - 1 if (count - 1) * stride >= size + lo else count


def same_padding(kernel: Sequence[int], dilation: Sequence[int]) -> Pairs:
    """Padding that keeps the size at stride 1; if it is odd, the end gets one more, as in PyTorch."""
    totals = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
    return tuple((t // 2, t - t // 2) for t in totals)
