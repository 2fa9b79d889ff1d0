"""Resizing in all modes of ONNX."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import floor
from typing import Any, ClassVar, NamedTuple

from ...arguments import check_room
from ...backend import Array, host
from ...dtypes import is_floating
from ...errors import DTypeError, ShapeError
from ...ops.constants import constant
from ...ops.resample import Taps, resample, resample_backward
from ...sums import widened
from .operator import Operator, to_axes, to_numbers

Result = tuple[Any, tuple[Any, ...]]
LONGEST = 2**22  # the most outputs along an axis whose inputs are listed


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
        nearest_mode: `'round_prefer_floor'`, `'round_prefer_ceil'`, `'floor'` or `'ceil'`; or `'simple'`,
            onnxruntime's for opset 10, which is `'ceil'` along axes that shrink and `'floor'` along others.
        cubic_coeff_a: a of Keys' kernel.
        exclude_outside: whether weights outside of the input are 0, not the border's.
        antialias: whether kernels are wider where the output is smaller.
        extrapolation_value: of what lies outside, for `'tf_crop_and_resize'`.
        axes: the axes that are resized; None are all.
        policy: `'stretch'`, `'not_larger'` or `'not_smaller'`: whether sizes keep the ratio of the input's.
        roi, scales, sizes: a number for each of these axes (`roi`: all starts, then all ends).
        inputs: names of those three that are inputs.
    """

    mode: str
    coordinates: str
    nearest_mode: str
    cubic_coeff_a: float
    exclude_outside: bool
    antialias: bool
    extrapolation_value: float
    policy: str
    axes: tuple[Any, ...] | None
    inputs: tuple[str, ...]
    roi: tuple[Any, ...] | None
    scales: tuple[Any, ...] | None
    sizes: tuple[Any, ...] | None
    settings: ClassVar[tuple[str, ...]] = ("roi", "scales", "sizes")

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
        if max(map(int, sizes), default=0) > LONGEST:
            raise ShapeError(f"Resize.forward: sizes are {tuple(sizes)}, expected at most {LONGEST:,}")
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
        return y, (tuple(taps), outside, x.shape)

    def _sizes(
        self, spatial: Sequence[int], scales: Sequence[float] | None, sizes: Sequence[float] | None
    ) -> tuple[Sequence[float], Sequence[float]]:
        """Scales and sizes, of which one was given; an empty one counts as none."""
        if not sizes:
            scales = scales or ()
            return scales, [scaled_size(n, scale) for n, scale in zip(spatial, scales, strict=False)]
        scales = [m / max(1, n) for m, n in zip(sizes, spatial, strict=False)]
        if self.policy != "stretch" and scales:
            scale = (min if self.policy == "not_larger" else max)(scales)
            scales, sizes = [scale] * len(scales), [floor(scale * n + 0.5) for n in spatial]
        return scales, sizes

    def _gradients(self, xp: Any, grad: Array, *saved: Any) -> tuple[Array]:
        taps, outside, shape = saved
        if not grad.size:
            return (xp.zeros(shape, dtype=grad.dtype),)
        grad = grad if outside is None else xp.where(outside, 0, grad)
        return (resample_backward(xp, widened(grad), taps),)


def scaled_size(n: int, scale: float) -> int:
    """The size that `n` is resized to, rounded as in onnxruntime, whose product is float32."""
    float32 = host().xp.float32
    return floor(float(float32(n) * float32(scale)))


def scaled_shape(
    shape: Sequence[int | str | None], scales: Sequence[float], axes: Sequence[int] | None = None
) -> tuple[int | None, ...]:
    """The sizes of an array whose axes are resized by `scales`; None for unknown or free ones."""
    found = [n if isinstance(n, int) else None for n in shape]
    for axis, scale in zip(range(len(found)) if axes is None else axes, scales, strict=False):
        n = found[axis] if -len(found) <= axis < len(found) else None
        if n is not None:
            found[axis] = scaled_size(n, scale)
    return tuple(found)


@lru_cache(maxsize=256)
def axis_sampling(
    sampling: Sampling, n: int, m: int, scale: float, roi: tuple[float, float]
) -> tuple[tuple[Taps, Taps] | None, tuple[bool, ...]]:
    """How `m` outputs read `n` inputs along an axis, and which of them lie outside; None where `y` is `x`."""
    if not n:
        return None, ()
    xp = host().xp
    # onnxruntime's precision: it decides which of two inputs is the nearest where both are as near
    dtype = "float32" if sampling.mode == "nearest" else "float64"
    centres = _centres(sampling.coordinates, xp.arange(m, dtype=dtype), n, *xp.array([scale, *roi], dtype))
    outside = xp.zeros(m, dtype=bool)
    if sampling.coordinates == "tf_crop_and_resize":
        outside = (centres < 0) | (centres > n - 1)
    places, weights = _window(sampling, centres, n, scale)
    weights = xp.where(outside, 0, weights)
    beyond = tuple(outside.tolist())
    if (
        m == n
        and ((weights * (places == xp.arange(n))).sum(0) == 1).all()
        and (abs(weights).sum(0) == 1).all()
    ):
        return None, beyond
    return (_taps(places, weights), _taps(*_transposed(places, weights, n))), beyond


def _centres(coordinates: str, i: Array, n: int, scale: Any, start: Any, end: Any) -> Array:
    """The positions of outputs `i` among the inputs; corners are those of the whole output, as in PyTorch."""
    m = len(i)
    if coordinates == "align_corners":
        return i * (n - 1) / max(1, m - 1)
    if coordinates == "asymmetric":
        return i / scale
    if coordinates == "tf_crop_and_resize":
        if m == 1:
            return i + (end + start) * (n - 1) / 2
        return start * (n - 1) + i * (end - start) * (n - 1) / max(1, m - 1)
    if coordinates == "tf_half_pixel_for_nn":
        return (i + 0.5) / scale
    if coordinates == "pytorch_half_pixel" and m == 1:
        return i
    offset = n / 2 * (1 - m / (scale * n)) if coordinates == "half_pixel_symmetric" else 0
    return offset + (i + 0.5) / scale - 0.5


def _window(sampling: Sampling, centres: Array, n: int, scale: float) -> tuple[Array, Array]:
    """The inputs that are read at each centre, and their weights, both `(taps, outputs)`."""
    xp = host().xp
    if sampling.mode == "nearest":
        place = {
            "round_prefer_floor": xp.ceil(centres - 0.5),
            "round_prefer_ceil": xp.floor(centres + 0.5),
            "floor": xp.floor(centres),
            "ceil": xp.ceil(centres),
            "simple": xp.ceil(centres) if scale < 1 else xp.floor(centres),
        }[sampling.nearest]
        return xp.clip(place, 0, n - 1).astype("int64")[None], xp.ones((1, len(centres)))
    wide = min(scale, 1.0) if sampling.antialias else 1.0
    reach = (1 if sampling.mode == "linear" else 2) / wide
    places = xp.ceil(centres - reach) + xp.arange(floor(2 * reach) + 1)[:, None]
    weights = _kernel(xp, sampling, (places - centres) * wide)
    if sampling.exclude_outside:
        weights = xp.where((places >= 0) & (places < n), weights, 0)
    if sampling.exclude_outside or sampling.antialias:
        total = weights.sum(0)
        weights = weights / xp.where(total == 0, 1, total)
    return xp.clip(places, 0, n - 1).astype("int64"), weights


def _kernel(xp: Any, sampling: Sampling, t: Array) -> Array:
    """The weights of inputs at distances `t`: a triangle, or Keys' cubic kernel."""
    t, a = abs(t), sampling.cubic
    if sampling.mode == "linear":
        return xp.maximum(0, 1 - t)
    near, far = ((a + 2) * t - (a + 3)) * t * t + 1, ((a * t - 5 * a) * t + 8 * a) * t - 4 * a
    return xp.where(t <= 1, near, xp.where(t < 2, far, 0))


def _transposed(places: Array, weights: Array, n: int) -> tuple[Array, Array]:
    """For each of `n` inputs the outputs that read it, and with what weights, `(taps, n)`."""
    xp = host().xp
    taken, outputs = weights != 0, xp.broadcast_to(xp.arange(places.shape[1]), places.shape)
    inputs, outputs, values = places[taken], outputs[taken], weights[taken]
    order = xp.argsort(inputs, kind="stable")
    inputs = inputs[order]
    counts = xp.bincount(inputs, minlength=n)
    rank = xp.arange(len(inputs)) - (xp.cumsum(counts) - counts)[inputs]
    shape = max(1, counts.max(initial=0)), n
    back, factors = xp.zeros(shape, dtype="int64"), xp.zeros(shape)
    back[rank, inputs], factors[rank, inputs] = outputs[order], values[order]
    return back, factors


def _taps(places: Array, weights: Array) -> Taps:
    """The tables as tuples, without taps whose weights are all 0."""
    if not places.shape[1]:
        return Taps(((),), None)
    used = weights.any(axis=1)
    used[0] = True
    indices, factors = (tuple(map(tuple, table[used].tolist())) for table in (places, weights))
    return Taps(indices, None if (weights[used] == 1).all() else factors)
