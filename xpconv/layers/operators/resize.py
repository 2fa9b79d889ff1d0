"""Resizing in all modes of ONNX."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import ceil, floor
from typing import Any, NamedTuple

from ...arguments import check_room
from ...backend import Array
from ...dtypes import is_floating
from ...errors import DTypeError, ShapeError
from ...ops.constants import constant
from ...ops.resample import Row, Taps, both_taps, resample, resample_backward
from ...sums import widened
from .operator import Operator, to_axes, to_numbers

Result = tuple[Any, tuple[Any, ...]]


class Sampling(NamedTuple):
    """How positions of the output are found in the input, and what is read there, by ONNX's names."""

    mode: str = "nearest"
    coordinates: str = "half_pixel"
    nearest: str = "round_prefer_floor"
    cubic: float = -0.75
    exclude_outside: bool = False
    antialias: bool = False


class Resize(Operator):
    """`x` resampled along its axes, as ONNX's `Resize`.

    Args:
        mode: `'nearest'`, `'linear'` or `'cubic'`.
        coordinates: where an output lies among the inputs: `'half_pixel'`, `'half_pixel_symmetric'`,
            `'pytorch_half_pixel'`, `'align_corners'`, `'asymmetric'`, `'tf_crop_and_resize'` or
            `'tf_half_pixel_for_nn'`.
        nearest_mode: `'round_prefer_floor'`, `'round_prefer_ceil'`, `'floor'` or `'ceil'`.
        cubic_coeff_a: a of Keys' kernel.
        exclude_outside: whether weights outside of the input are 0, not the border's.
        antialias: whether kernels are wider where the output is smaller.
        extrapolation_value: of what lies outside, for `'tf_crop_and_resize'`.
        axes: the axes that are resized; None are all.
        policy: `'stretch'`, `'not_larger'` or `'not_smaller'`: whether sizes keep the ratio of the input's.
        roi, scales, sizes: a number for each of these axes (`roi`: all starts, then all ends).
        inputs: names of those three that are inputs.
    """

    settings = ("roi", "scales", "sizes")

    def __init__(
        self,
        mode: str = "nearest",
        coordinates: str = "half_pixel",
        nearest_mode: str = "round_prefer_floor",
        cubic_coeff_a: float = -0.75,
        exclude_outside: bool = False,
        antialias: bool = False,
        extrapolation_value: float = 0.0,
        axes: Sequence[int] | None = None,
        policy: str = "stretch",
        roi: Sequence[float] | None = None,
        scales: Sequence[float] | None = None,
        sizes: Sequence[int] | None = None,
        inputs: Sequence[str] = (),
    ) -> None:
        self.mode, self.coordinates, self.nearest_mode = mode, coordinates, nearest_mode
        self.cubic_coeff_a, self.exclude_outside, self.antialias = cubic_coeff_a, exclude_outside, antialias
        self.extrapolation_value, self.policy = extrapolation_value, policy
        self.axes, self.inputs = to_numbers(axes), tuple(inputs)
        self.roi, self.scales, self.sizes = to_numbers(roi), to_numbers(scales), to_numbers(sizes)

    def _compute(self, xp: Any, x: Array, roi: Any, scales: Any, sizes: Any) -> Result:
        if self.mode != "nearest" and not is_floating(x.dtype):
            raise DTypeError(
                f"Resize.forward: x is {x.dtype}, expected floating point for mode {self.mode!r}"
            )
        axes = to_axes("Resize.forward", range(x.ndim) if self.axes is None else self.axes, x.ndim)
        roi = roi or (0.0,) * len(axes) + (1.0,) * len(axes)
        spatial = [x.shape[axis] for axis in axes]
        scales, sizes = self._sizes(spatial, scales, sizes)
        if not len(axes) == len(scales) == len(sizes) == len(roi) // 2 or any(
            m < 0 or (m > 0 and n == 0) for n, m in zip(spatial, sizes, strict=True)
        ):
            raise ShapeError(
                f"Resize.forward: x has shape {x.shape}, which does not fit sizes {tuple(sizes)}"
            )
        whole = list(x.shape)
        for axis, m in zip(axes, sizes, strict=True):
            whole[axis] = int(m)
        check_room("Resize.forward: an output", tuple(whole), x.dtype.itemsize)
        sampling = Sampling(
            self.mode,
            self.coordinates,
            self.nearest_mode,
            self.cubic_coeff_a,
            self.exclude_outside,
            self.antialias,
        )
        taps: list[tuple[Taps, Taps] | None] = [None] * x.ndim
        outside: Any = None
        for i, axis in enumerate(axes):
            ends = (roi[i], roi[i + len(axes)])
            taps[axis], beyond = axis_sampling(sampling, spatial[i], int(sizes[i]), float(scales[i]), ends)
            if any(beyond):
                here = constant(xp, beyond, "bool").reshape(-1, *(1,) * (x.ndim - 1 - axis))
                outside = here if outside is None else outside | here
        y = resample(xp, widened(x), tuple(taps)).astype(x.dtype, copy=False)
        if outside is not None:
            y = xp.where(outside, self.extrapolation_value, y).astype(x.dtype, copy=False)
        return y, (tuple(taps), outside)

    def _sizes(
        self, spatial: Sequence[int], scales: Sequence[float] | None, sizes: Sequence[float] | None
    ) -> tuple[Sequence[float], Sequence[float]]:
        """Scales and sizes, of which one was given; an empty one counts as none."""
        if not sizes:
            scales = scales or ()
            return scales, [floor(n * scale) for n, scale in zip(spatial, scales, strict=False)]
        scales = [m / max(1, n) for m, n in zip(sizes, spatial, strict=False)]
        if self.policy != "stretch" and scales:
            scale = (min if self.policy == "not_larger" else max)(scales)
            scales, sizes = [scale] * len(scales), [floor(scale * n + 0.5) for n in spatial]
        return scales, sizes

    def _gradients(self, xp: Any, grad: Array, *saved: Any) -> tuple[Array]:
        taps, outside = saved
        grad = grad if outside is None else xp.where(outside, 0, grad)
        return (resample_backward(xp, widened(grad), taps),)


@lru_cache(maxsize=256)
def axis_sampling(
    sampling: Sampling, n: int, m: int, scale: float, roi: tuple[float, float]
) -> tuple[tuple[Taps, Taps] | None, tuple[bool, ...]]:
    """How `m` outputs read `n` inputs along an axis, and which of them lie outside; None where `y` is `x`."""
    if not n:
        return None, ()
    centres = [_centre(sampling.coordinates, i, n, m, scale, roi) for i in range(m)]
    crops = sampling.coordinates == "tf_crop_and_resize"
    outside = tuple([crops and not 0 <= c <= n - 1 for c in centres])
    rows = [() if out else _row(sampling, c, n, scale) for c, out in zip(centres, outside, strict=True)]
    if rows == [((i, 1.0),) for i in range(n)]:
        return None, outside
    return (both_taps(rows, n) if rows else _nothing(n)), outside


def _nothing(n: int) -> tuple[Taps, Taps]:
    """For an output without elements."""
    return Taps(((),), None), Taps(((0,) * n,), ((0.0,) * n,))


def _centre(coordinates: str, i: int, n: int, m: int, scale: float, roi: tuple[float, float]) -> float:
    """The position of output `i` among the inputs; `m` is the whole output length, as in PyTorch."""
    if coordinates == "align_corners":
        return 0.0 if m == 1 else i * (n - 1) / (m - 1)
    if coordinates == "asymmetric":
        return i / scale
    if coordinates == "tf_crop_and_resize":
        start, end = roi
        if m == 1:
            return (end + start) * (n - 1) / 2
        return start * (n - 1) + i * (end - start) * (n - 1) / (m - 1)
    if coordinates == "tf_half_pixel_for_nn":
        return (i + 0.5) / scale
    if coordinates == "pytorch_half_pixel" and m == 1:
        return 0.0
    offset = n / 2 * (1 - m / (scale * n)) if coordinates == "half_pixel_symmetric" else 0.0
    return offset + (i + 0.5) / scale - 0.5


def _row(sampling: Sampling, centre: float, n: int, scale: float) -> Row:
    """The inputs that are read at `centre`, and their weights."""
    if sampling.mode == "nearest":
        place = {
            "round_prefer_floor": ceil(centre - 0.5),
            "round_prefer_ceil": floor(centre + 0.5),
            "floor": floor(centre),
            "ceil": ceil(centre),
        }[sampling.nearest]
        return ((min(max(place, 0), n - 1), 1.0),)
    wide = min(scale, 1.0) if sampling.antialias else 1.0
    reach = (1 if sampling.mode == "linear" else 2) / wide
    places = range(ceil(centre - reach), floor(centre + reach) + 1)
    weights = {h: _kernel(sampling, (h - centre) * wide) for h in places}
    if sampling.exclude_outside:
        weights = {h: w for h, w in weights.items() if 0 <= h < n}
    total = sum(weights.values()) if sampling.exclude_outside or sampling.antialias else 1.0
    row: dict[int, float] = {}
    for h, w in weights.items():
        if w:
            place = min(max(h, 0), n - 1)
            row[place] = row.get(place, 0.0) + w / (total or 1.0)
    return tuple(row.items())


def _kernel(sampling: Sampling, t: float) -> float:
    """The weight of an input at distance `t`: a triangle, or Keys' cubic kernel."""
    t, a = abs(t), sampling.cubic
    if sampling.mode == "linear":
        return max(0.0, 1 - t)
    if t <= 1:
        return ((a + 2) * t - (a + 3)) * t * t + 1
    return ((a * t - 5 * a) * t + 8 * a) * t - 4 * a if t < 2 else 0.0
