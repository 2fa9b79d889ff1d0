"""Pooling in any dimension."""

from __future__ import annotations

from functools import lru_cache
from itertools import product
from math import prod
from typing import Any

from ..backend import Array, ignoring_float_errors
from ..geometry import Bounds, Window
from ..kernels import overridable
from ..layout import empty_images
from ..sums import widened, widened_for
from .activation import clip
from .constants import constant

IMAGES = (slice(None), slice(None))  # all, with all channels
MOST_TAPS = 64  # in windows that are pooled tap by tap


@overridable
def max_pool(
    xp: Any,
    x: Array,
    window: Window,
    ceil_mode: bool = False,
    winners: bool = True,
    bounds: Bounds = None,
) -> tuple[Array, Array | None]:
    """`y[n, c, p] = max over taps r of x[n, c, p*s - lo + r*d]`, and the number of the winning tap.

    Padding never wins; NaN does. Among equals the first in row-major order wins. The winner takes one
    byte per output (four for kernels of 255 taps and more), and is all that backward needs; without
    `winners` it is None. With `bounds` the maximum is then limited to these. `x` may hold integers.
    """
    if len(_parts(window)[2]) > 1:
        y, winner = _max_by_axes(xp, x, window, ceil_mode, winners)
        return y if bounds is None else clip(xp, y, *bounds), winner
    output = window.output_shape(x.shape[2:], ceil_mode)
    unset = 255 if prod(window.kernel) < 255 else 2**31 - 1
    y = empty_images(xp, (*x.shape[:2], *output), x.dtype)
    y[...] = xp.iinfo(x.dtype).min if x.dtype.kind in "iu" else -xp.inf
    if not winners:
        for tap in window.taps(x.shape[2:], output):
            y[IMAGES + tap.out] = xp.maximum(y[IMAGES + tap.out], x[IMAGES + tap.into])
        return y if bounds is None else clip(xp, y, *bounds), None
    winner = xp.full_like(y, unset, dtype="uint8" if unset == 255 else "int32")
    for t, tap in enumerate(window.taps(x.shape[2:], output)):
        where = IMAGES + tap.out
        value, best, who = x[IMAGES + tap.into], y[where], winner[where]
        better = (value > best) | (value != value) | (who == unset)
        y[where] = xp.where(better, value, best)
        winner[where] = xp.where(better, t, who)
    return y if bounds is None else clip(xp, y, *bounds), winner


def _max_by_axes(
    xp: Any, x: Array, window: Window, ceil_mode: bool, winners: bool
) -> tuple[Array, Array | None]:
    """`max_pool` along one axis after the other: the last one first, so that the first of equals wins.

    A winner r along an axis is the input `h = p*s - lo + r*d`, and that has a winner along the axes after it.
    """
    y, winner, later = x, None, 1
    for axis in reversed(range(len(window.kernel))):
        k, s, d = window.kernel[axis], window.stride[axis], window.dilation[axis]
        lo, n = window.padding[axis][0], y.shape[axis + 2]
        y, tap = max_pool(xp, y, _parts(window)[2][axis], ceil_mode, winners)
        if tap is None:
            continue
        number, seen = tap.astype("int64"), tap < k
        if winner is not None:
            p = xp.arange(y.shape[axis + 2], dtype="int64").reshape(-1, *(1,) * (y.ndim - axis - 3))
            inner = xp.take_along_axis(winner, xp.clip(p * s - lo + number * d, 0, n - 1), axis + 2)
            number, seen = number * later + inner, seen & (inner >= 0)
        winner, later = xp.where(seen, number, -1), later * k
    if winner is None:
        return y, None
    if later < 255:
        return y, xp.where(winner < 0, 255, winner).astype("uint8")
    return y, xp.where(winner < 0, 2**31 - 1, winner).astype("int32")


def max_pool_indices(xp: Any, winner: Array, spatial: tuple[int, ...], window: Window) -> Array:
    """The position of each maximum in its flattened image: `h = p*s - lo + r*d` along each axis."""
    weight = [prod(spatial[axis + 1 :]) for axis in range(len(spatial))]
    taps = list(product(*(range(0, k * d, d) for k, d in zip(window.kernel, window.dilation, strict=True))))
    offsets = tuple(sum(h * w for h, w in zip(tap, weight, strict=True)) for tap in taps)
    # A window that sees no input has no winner, so an unset one.
    indices = constant(xp, offsets, "int64")[xp.minimum(winner, len(taps) - 1)]
    for axis, (s, (lo, _), w) in enumerate(zip(window.stride, window.padding, weight, strict=True), start=2):
        start = (xp.arange(winner.shape[axis], dtype="int64") * s - lo) * w
        indices += start.reshape(-1, *(1,) * (winner.ndim - 1 - axis))
    return indices


def max_pool_winners(xp: Any, indices: Array, spatial: tuple[int, ...], window: Window) -> Array:
    """The number of the winning tap from the position of the maximum: the inverse of `max_pool_indices`.

    Along each axis `h = p*s - lo + r*d`, so `r = (h - p*s + lo) / d`. Where that is no tap, nothing wins.
    """
    winner = xp.zeros(indices.shape, dtype="int32")
    valid = (indices >= 0) & (indices < prod(spatial))
    for axis, (k, s, (lo, _), d) in enumerate(zip(*window, strict=True)):
        h = indices // prod(spatial[axis + 1 :]) % spatial[axis]
        p = xp.arange(indices.shape[axis + 2], dtype="int64").reshape(-1, *(1,) * (len(spatial) - 1 - axis))
        offset = h - (p * s - lo)
        tap = offset // d
        valid &= (tap >= 0) & (tap < k) & (tap * d == offset)
        winner = winner * k + tap.astype("int32")
    if prod(window.kernel) < 255:
        return xp.where(valid, winner, 255).astype("uint8")
    return xp.where(valid, winner, 2**31 - 1).astype("int32")


def max_unpool(xp: Any, x: Array, indices: Array, size: tuple[int, ...]) -> Array:
    """`y[n, c].flat[indices[n, c, p]] = x[n, c, p]`, zeros elsewhere; of equal indices the last one counts.

    Computed by a search instead of a scatter, as a scatter with equal indices has no order on a GPU: each
    position of `y` searches the sorted indices for the last one equal to it. An index outside
    the image gives NaN.
    """
    pixels, planes = prod(size), x.shape[0] * x.shape[1]
    inside = (indices >= 0) & (indices < pixels)
    values = xp.where(inside, x, xp.nan).astype(x.dtype, copy=False).reshape(-1)
    plane = xp.arange(planes, dtype="int64").reshape(*x.shape[:2], *(1,) * len(size))
    flat = (xp.clip(indices, 0, pixels - 1) + plane * pixels).reshape(-1)
    if not flat.size:
        return xp.zeros((*x.shape[:2], *size), dtype=x.dtype)
    order = xp.argsort(flat, kind="stable")
    flat = flat[order]
    position = xp.arange(planes * pixels, dtype="int64")
    last = xp.maximum(xp.searchsorted(flat, position, side="right") - 1, 0)
    y = xp.where(flat[last] == position, values[order[last]], 0)
    return y.astype(x.dtype, copy=False).reshape(*x.shape[:2], *size)


def max_unpool_backward(xp: Any, grad: Array, indices: Array) -> Array:
    """Each `x` gets the gradient of its position: `dx[n, c, p] = grad[n, c].flat[indices[n, c, p]]`.

    An index outside the image gives NaN.
    """
    pixels = prod(grad.shape[2:])
    inside = (indices >= 0) & (indices < pixels)
    flat = xp.clip(indices, 0, pixels - 1).reshape(*indices.shape[:2], prod(indices.shape[2:]))
    dx = xp.take_along_axis(grad.reshape(*grad.shape[:2], pixels), flat, axis=2).reshape(indices.shape)
    return xp.where(inside, dx, xp.nan).astype(grad.dtype, copy=False)


@overridable
def max_pool_backward(xp: Any, grad: Array, winner: Array, x_shape: tuple[int, ...], window: Window) -> Array:
    """An output depends only on its winner, so each `x[h]` gets the gradients of the windows that it won:

        dx[n, c, h] = Σ over (p, r) with p*s - lo + r*d = h and winner[n, c, p] = r  of  grad[n, c, p]

    That is one addition of slices per tap, so no scatter.
    """
    wide = widened_for(grad, window.overlaps())
    dx = empty_images(xp, x_shape, wide.dtype, zero=True)
    for t, tap in enumerate(window.taps(x_shape[2:], grad.shape[2:])):
        where = IMAGES + tap.out
        dx[IMAGES + tap.into] += xp.where(winner[where] == t, wide[where], 0.0)
    return dx.astype(grad.dtype, copy=False)


@overridable
def sum_pool(xp: Any, x: Array, window: Window, ceil_mode: bool = False) -> Array:
    """`y[n, c, p] = Σ_r x[n, c, p*s - lo + r*d]`, zeros outside; summed in the dtype of `x`."""
    output = window.output_shape(x.shape[2:], ceil_mode)
    y = empty_images(xp, (*x.shape[:2], *output), x.dtype, zero=True)
    for tap in window.taps(x.shape[2:], output):
        y[IMAGES + tap.out] += x[IMAGES + tap.into]
    return y


@overridable
def sum_pool_backward(xp: Any, grad: Array, x_shape: tuple[int, ...], window: Window) -> Array:
    """Every input gets the gradients of all windows that hold it:

    dx[n, c, h] = Σ over (p, r) with p*s - lo + r*d = h  of  grad[n, c, p]
    """
    dx = empty_images(xp, x_shape, grad.dtype, zero=True)
    for tap in window.taps(x_shape[2:], grad.shape[2:]):
        dx[IMAGES + tap.into] += grad[IMAGES + tap.out]
    return dx


def window_sums(xp: Any, x: Array, window: Window, ceil_mode: bool = False) -> Array:
    """`sum_pool`; large windows are summed along one axis after the other."""
    for part in _parts(window)[2]:
        x = sum_pool(xp, x, part, ceil_mode)
    return x


def window_sums_backward(xp: Any, grad: Array, x_shape: tuple[int, ...], window: Window) -> Array:
    """`sum_pool_backward`; for large windows along one axis after the other, beginning with the last."""
    parts = _parts(window)[2]
    if len(parts) == 1:
        return sum_pool_backward(xp, grad, x_shape, window)
    for axis in range(len(parts) + 1, 1, -1):  # the axes after it already have the sizes of `x`
        grad = sum_pool_backward(xp, grad, grad.shape[:axis] + x_shape[axis:], parts[axis - 2])
    return grad


@lru_cache(maxsize=1024)
def _parts(window: Window) -> tuple[int, int, tuple[Window, ...]]:
    """The number of taps, the most windows that hold an input, and the windows to pool one after the other.

    A large window becomes one window per axis, which slides along that axis only.
    """
    taps, axes = prod(window.kernel), len(window.kernel)
    if taps <= MOST_TAPS or taps == max(window.kernel):
        return taps, window.overlaps(), (window,)
    still = Window((1,) * axes, (1,) * axes, ((0, 0),) * axes, (1,) * axes)
    parts = []
    for axis in range(axes):
        pairs: Any = zip(still, window, strict=True)
        parts.append(Window(*[(*a[:axis], b[axis], *a[axis + 1 :]) for a, b in pairs]))
    return taps, window.overlaps(), tuple(parts)


def avg_pool(
    xp: Any,
    x: Array,
    window: Window,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Array:
    """`y[n, c, p] = Σ_r x[n, c, p*s - lo + r] / size[p]`, zeros outside.

    `size` counts the taps over input and padding (not beyond it, as with `ceil_mode`), over
    the input alone without `count_include_pad`, or is `divisor_override`.
    """
    taps, _, parts = _parts(window)
    y = widened(widened_for(x, taps))
    for part in parts:
        y = sum_pool(xp, y, part, ceil_mode)
    y = _divide(xp, y, x.shape[2:], window, count_include_pad, divisor_override)
    return y.astype(x.dtype, copy=False)


def avg_pool_backward(
    xp: Any,
    grad: Array,
    x_shape: tuple[int, ...],
    window: Window,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Array:
    """Every input of a window has an equal part in its mean:

    dx[n, c, h] = Σ over (p, r) with p*s - lo + r = h  of  grad[n, c, p] / size[p]
    """
    scaled = _divide(xp, grad.copy(), x_shape[2:], window, count_include_pad, divisor_override)
    _, overlaps, parts = _parts(window)
    wide = widened_for(scaled, overlaps)
    back = sum_pool_backward if len(parts) == 1 else window_sums_backward
    return back(xp, wide, x_shape, window).astype(grad.dtype, copy=False)


@ignoring_float_errors  # a root of a negative sum is NaN, and infinities are as in PyTorch
def lp_pool(xp: Any, x: Array, window: Window, norm_type: float, ceil_mode: bool) -> tuple[Array, Array]:
    """`y[n, c, p] = (Σ_r x[n, c, p*s + r]^q)^(1/q)` with `q = norm_type`, and the sum under the root.

    The sum is the mean times the size of the kernel, as in PyTorch: so a window that extends
    beyond the end with `ceil_mode` counts as if it were full.
    """
    total = avg_pool(xp, widened(x) ** norm_type, window, ceil_mode) * prod(window.kernel)
    return (total ** (1 / norm_type)).astype(x.dtype, copy=False), total


@ignoring_float_errors
def lp_pool_backward(xp: Any, grad: Array, x: Array, total: Array, window: Window, norm_type: float) -> Array:
    """With `y = total^(1/q)`, `dy/dtotal = total^(1/q - 1) / q` and `dtotal/dx = q x^(q-1)`:

    dx[n, c, h] = x[n, c, h]^(q-1) · Σ over windows p with h  of  grad[p] · total[p]^(1/q - 1)

    Where the sum is zero, the root has no slope, and the gradient is set to zero. In windows that hold a NaN
    the gradient is zero if q = 1, otherwise NaN, as in PyTorch.
    """
    zero = (total == 0) | (total != total) if norm_type == 1 else total == 0
    slope = xp.where(zero, 0, widened(grad) * xp.where(zero, 1, total) ** (1 / norm_type - 1))
    slope = slope.astype(total.dtype, copy=False)
    spread = avg_pool_backward(xp, slope * prod(window.kernel), x.shape, window)
    return (spread * widened(x) ** (norm_type - 1)).astype(x.dtype, copy=False)


def _divide(
    xp: Any,
    y: Array,
    spatial: tuple[int, ...],
    window: Window,
    count_include_pad: bool,
    divisor_override: int | None,
) -> Array:
    """Divide in place by the window sizes: they are products of one count per axis."""
    if divisor_override is not None:
        y /= divisor_override
        return y
    for axis, counts in enumerate(window.counts(spatial, y.shape[2:], count_include_pad)):
        if len(set(counts)) == 1:
            y /= counts[0]
        else:
            sizes = constant(xp, tuple(counts), str(y.dtype))
            y /= sizes.reshape(-1, *(1,) * (len(spatial) - 1 - axis))
    return y
