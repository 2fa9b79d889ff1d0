"""The hot operations in plain array code: they run on any array module and are the reference.

Shapes: images `(N, C, *spatial)`, weights `(K, C/groups, *kernel)`. Inside, images are channels-last,
as then a window row is contiguous memory and a convolution is one 2-D GEMM over all its pixels. What
is returned is channels-first again, as a view: the next layer finds its channels last at no cost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import prod
from typing import Any

from ..backend import Array
from ..geometry import Window
from ..random import Source
from .sums import piece, product, sum_over, total
from .sums import widened as widened

COLUMN_BYTES = 4 << 20  # of the column buffer: as many images a block as fit, at least one
ALL = (slice(None),)
Bounds = tuple[float, float | None] | None  # of `clip`


def channels_last(xp: Any, x: Array, window: Window) -> Array:
    """`x (N, C, *S)` as `(N, *S, C)` with the window's zeros around it; a view if there are none."""
    x = xp.moveaxis(x, 1, -1)
    if not any(lo or hi for lo, hi in window.padding):
        return x
    sizes = [n + lo + hi for n, (lo, hi) in zip(x.shape[1:-1], window.padding, strict=True)]
    padded = xp.zeros((x.shape[0], *sizes, x.shape[-1]), dtype=x.dtype)
    inside = tuple(slice(lo, lo + n) for n, (lo, _) in zip(x.shape[1:-1], window.padding, strict=True))
    padded[ALL + inside] = x
    return padded


def empty_images(xp: Any, shape: tuple[int, ...], dtype: Any, zero: bool = False) -> Array:
    """A new `(N, C, *S)` array whose memory is channels-last."""
    make = xp.zeros if zero else xp.empty
    return xp.moveaxis(make((shape[0], *shape[2:], shape[1]), dtype=dtype), -1, 1)


# --- convolution as matrix product -----------------------------------------------------------------


def column_blocks(xp: Any, x: Array, window: Window, groups: int) -> Iterator[tuple[slice, Array]]:
    """im2col by blocks of images: which images, and their windows as `(groups, pixels, taps*C/groups)`."""
    n, c = x.shape[0], x.shape[1] // groups
    output = window.output_shape(x.shape[2:])
    image = channels_last(xp, x, window)
    # as_strided, as CuPy's sliding_window_view waits for the device.
    by_image, *by_pixel, by_channel = image.strides
    positions = (step * s for step, s in zip(by_pixel, window.stride, strict=True))
    taps = (step * d for step, d in zip(by_pixel, window.dilation, strict=True))
    windows = xp.lib.stride_tricks.as_strided(
        image,
        (groups, n, *output, *window.kernel, c),
        (c * by_channel, by_image, *positions, *taps, by_channel),
    )
    row = c * prod(window.kernel)
    block = max(1, COLUMN_BYTES // (groups * prod(output) * row * x.itemsize))
    for start in range(0, n, block):
        rows = slice(start, start + block)
        yield rows, windows[:, rows].reshape(groups, -1, row)


def weight_matrix(xp: Any, weight: Array, groups: int) -> Array:
    """`(K, C/G, *R)` as `(G, K/G, taps*C/G)`, in the order of the columns."""
    return xp.moveaxis(weight, 1, -1).reshape(groups, weight.shape[0] // groups, -1)


def pixel_matrix(xp: Any, images: Array, rows: slice, groups: int) -> Array:
    """The images in `rows` of `(N, K, *P)` as `(G, pixels, K/G)`; a view where memory allows."""
    block = xp.moveaxis(images[rows], 1, -1)
    return xp.moveaxis(block.reshape(-1, groups, images.shape[1] // groups), 1, 0)


def group_matmul(xp: Any, a: Array, b: Array) -> Array:
    """`a[g] @ b[g]` for every group; a plain 2-D product for one group, as BLAS likes it best."""
    return xp.matmul(a[0], b[0])[None] if a.shape[0] == 1 else xp.matmul(a, b)


def algorithm(
    xp: Any,
    x_shape: tuple[int, ...],
    dtype: Any,
    weight_shape: tuple[int, ...],
    window: Window,
    groups: int,
    wanted: str = "auto",
) -> str:
    """The name of the algorithm for a convolution of these shapes; this module has only one."""
    return "portable"


def conv(
    xp: Any,
    x: Array,
    weight: Array,
    window: Window,
    groups: int,
    bias: Array | None = None,
    wanted: str = "auto",
    bounds: Bounds = None,
) -> Array:
    """`y (N, K, *P)` = correlation of `x (N, C, *S)` with `weight (K, C/G, *R)`, plus `bias (K,)`.

    Then, with `bounds`, `clip`.
    """
    shape = (x.shape[0], weight.shape[0], *window.output_shape(x.shape[2:]))
    if weight.shape[1] == 1 and groups > 1:
        y = _depthwise(xp, x, weight, window, shape)
    else:
        y = empty_images(xp, shape, x.dtype)
        w = xp.swapaxes(weight_matrix(xp, weight, groups), 1, 2)
        for rows, col in column_blocks(xp, x, window, groups):
            pixel_matrix(xp, y, rows, groups)[...] = group_matmul(xp, col, w)
    if bias is not None:
        y += bias.reshape(-1, *(1,) * (y.ndim - 2))
    return y if bounds is None else clip(xp, y, *bounds)


def conv_weight_grad(
    xp: Any,
    grad: Array,
    x: Array,
    weight_shape: tuple[int, ...],
    window: Window,
    groups: int,
    wanted: str = "auto",
) -> Array:
    """`dw (K, C/G, *R)` from `grad (N, K, *P)`; the columns are made again instead of kept."""
    if weight_shape[1] == 1 and groups > 1:
        return _depthwise_weight_grad(xp, grad, x, weight_shape, window)
    k, c = weight_shape[0] // groups, weight_shape[1]
    dw = xp.zeros((groups, k, c * prod(window.kernel)), dtype=x.dtype)
    for rows, col in column_blocks(xp, x, window, groups):
        dw += group_matmul(xp, xp.swapaxes(pixel_matrix(xp, grad, rows, groups), 1, 2), col)
    return xp.moveaxis(dw.reshape(weight_shape[0], *window.kernel, c), -1, 1)


def conv_input_grad(
    xp: Any,
    grad: Array,
    weight: Array,
    x_shape: tuple[int, ...],
    window: Window,
    groups: int,
    wanted: str = "auto",
) -> Array:
    """`dx (N, C, *S)` from `grad (N, K, *P)`: GEMM to columns, then one slice addition a tap."""
    if weight.shape[1] == 1 and groups > 1:
        return _depthwise_input_grad(xp, grad, weight, x_shape, window)
    c = weight.shape[1]
    dx = empty_images(xp, x_shape, grad.dtype, zero=True)
    w = weight_matrix(xp, weight, groups)
    taps = window.taps(x_shape[2:], grad.shape[2:])
    block = max(1, COLUMN_BYTES // (groups * prod(grad.shape[2:]) * w.shape[2] * w.itemsize))
    for start in range(0, x_shape[0], block):
        rows = slice(start, start + block)
        dcol = group_matmul(xp, pixel_matrix(xp, grad, rows, groups), w)
        dcol = xp.moveaxis(dcol.reshape(groups, -1, *grad.shape[2:], *window.kernel, c), 0, -2)
        part = xp.moveaxis(dx[rows], 1, -1)
        part = part.reshape(*part.shape[:-1], groups, c)  # splits the last axis: a view
        for tap in taps:
            part[ALL + tap.into] += dcol[ALL + tap.out + tap.offset]
    return dx


# --- depthwise: one input channel a group, too thin for a GEMM, so one multiply-add a tap ------------


def _depthwise(xp: Any, x: Array, weight: Array, window: Window, shape: tuple[int, ...]) -> Array:
    y = empty_images(xp, shape, x.dtype, zero=True)
    x, w, by_group = _split_groups(xp, x, weight, y)
    for tap in window.taps(x.shape[1:-2], shape[2:]):
        by_group[ALL + tap.out] += x[ALL + tap.into] * w[tap.offset]
    return y


def _depthwise_weight_grad(
    xp: Any, grad: Array, x: Array, weight_shape: tuple[int, ...], window: Window
) -> Array:
    dw = xp.zeros(weight_shape, dtype=x.dtype)
    x, w, grad = _split_groups(xp, x, dw, grad)
    axes = tuple(range(x.ndim - 2))
    for tap in window.taps(x.shape[1:-2], grad.shape[1:-2]):
        w[tap.offset] = total(x[ALL + tap.into] * grad[ALL + tap.out], axes)
    return dw


def _depthwise_input_grad(
    xp: Any, grad: Array, weight: Array, x_shape: tuple[int, ...], window: Window
) -> Array:
    dx = empty_images(xp, x_shape, grad.dtype, zero=True)
    part, w, grad = _split_groups(xp, dx, weight, grad)
    for tap in window.taps(x_shape[2:], grad.shape[1:-2]):
        by_group = grad[ALL + tap.out] * w[tap.offset]
        part[ALL + tap.into] += by_group.sum(axis=-1, keepdims=True)
    return dx


def _split_groups(xp: Any, x: Array, weight: Array, y: Array) -> tuple[Array, Array, Array]:
    """Views `x (N, *S, G, 1)`, `weight (*R, G, K/G)`, `y (N, *P, G, K/G)`, which broadcast together."""
    groups, per_group = x.shape[1], y.shape[1] // x.shape[1]
    w = weight[:, 0].reshape(groups, per_group, *weight.shape[2:])
    w = xp.moveaxis(w, (0, 1), (-2, -1))
    y = xp.moveaxis(y, 1, -1)
    return xp.moveaxis(x, 1, -1)[..., None], w, y.reshape(*y.shape[:-1], groups, per_group)


# --- pooling ---------------------------------------------------------------------------------------


def for_inference(xp: Any, weight: Array) -> Array:
    """A convolution's weight, laid in memory so that nothing is left to do to it in a forward."""
    return weight


def empty_program(xp: Any, shape: tuple[int, ...], dtype: Any) -> Any:
    """An empty program, whose methods add steps, for images `(n, C, H, W)`; there is none here."""
    return None


def empty_weights(xp: Any) -> dict[Any, Array]:
    """An empty cache of reordered weights, shared by all programs of a chain."""
    return {}


def programs(
    xp: Any, build: Callable[[Any], Any], shape: tuple[int, ...], dtype: Any, weights: dict[Any, Array]
) -> Any:
    """What runs the program that `build` makes of an empty one, for any number of images `(C, H, W)`.

    None here, where there is no empty one.
    """
    return None


def max_pool(
    xp: Any,
    x: Array,
    window: Window,
    output: tuple[int, ...],
    winners: bool = True,
    bounds: Bounds = None,
) -> tuple[Array, Array | None]:
    """Maximum over each window, and (if `winners`) which tap it came from: the first in row-major order.

    Padding never wins: a tap counts only where it meets the input. NaN wins, as in PyTorch.
    With `bounds` the maximum is then cut off at these.
    """
    unset = 255 if prod(window.kernel) < 255 else 2**31 - 1
    y = empty_images(xp, (*x.shape[:2], *output), x.dtype)
    y[...] = -xp.inf
    if not winners:
        for tap in window.taps(x.shape[2:], output):
            y[ALL + ALL + tap.out] = xp.maximum(y[ALL + ALL + tap.out], x[ALL + ALL + tap.into])
        return y if bounds is None else clip(xp, y, *bounds), None
    winner = xp.full_like(y, unset, dtype="uint8" if unset == 255 else "int32")
    for t, tap in enumerate(window.taps(x.shape[2:], output)):
        where = ALL + ALL + tap.out
        value, best, who = x[ALL + ALL + tap.into], y[where], winner[where]
        better = (value > best) | (value != value) | (who == unset)
        y[where] = xp.where(better, value, best)
        winner[where] = xp.where(better, t, who)
    return y if bounds is None else clip(xp, y, *bounds), winner


def max_pool_input_grad(
    xp: Any, grad: Array, winner: Array, x_shape: tuple[int, ...], window: Window
) -> Array:
    """Add each output's gradient at the tap of its maximum: one slice addition per tap, no scatter."""
    dx = empty_images(xp, x_shape, grad.dtype, zero=True)
    for t, tap in enumerate(window.taps(x_shape[2:], grad.shape[2:])):
        where = ALL + ALL + tap.out
        dx[ALL + ALL + tap.into] += xp.where(winner[where] == t, grad[where], 0.0)
    return dx


def sum_pool(xp: Any, x: Array, window: Window, output: tuple[int, ...]) -> Array:
    """Sum over each window; outside the input there are zeros."""
    y = empty_images(xp, (*x.shape[:2], *output), x.dtype, zero=True)
    for tap in window.taps(x.shape[2:], output):
        y[ALL + ALL + tap.out] += x[ALL + ALL + tap.into]
    return y


def sum_pool_input_grad(xp: Any, grad: Array, x_shape: tuple[int, ...], window: Window) -> Array:
    """Every input gets the gradients of all windows that hold it."""
    dx = empty_images(xp, x_shape, grad.dtype, zero=True)
    for tap in window.taps(x_shape[2:], grad.shape[2:]):
        dx[ALL + ALL + tap.into] += grad[ALL + ALL + tap.out]
    return dx


# --- batch normalisation: `(N, C, *S)`, with statistics and coefficients of channels `(C,)` in float64 ---


def channel_sum(xp: Any, x: Array) -> Array:
    """Sums over all but the channels."""
    return total(x, (0, *range(2, x.ndim))).astype("float64", copy=False)


def statistics(xp: Any, x: Array) -> tuple[Array, Array]:
    """Mean and biased variance of the channels; 0 if there are no elements.

    The mean is subtracted first, and then the mean of the differences, so that mean and variance are accurate
    even if mean² ≫ variance.
    """
    x = widened(x)
    count = max(1, x.size // x.shape[1])
    near = (channel_sum(xp, x) / count).astype(x.dtype)
    rest = x - _channelwise(near, x)
    low = channel_sum(xp, rest) / count
    return near + low, channel_sum(xp, rest * rest) / count - low**2


def batch_norm(
    xp: Any,
    x: Array,
    mean: Array,
    inv_std: Array,
    weight: Array | None,
    bias: Array | None,
    bounds: Bounds = None,
) -> Array:
    """`(x - mean) · inv_std · weight + bias`; then, with `bounds`, `clip`."""
    y, rest = _centred(x, mean)
    scale = inv_std if weight is None else inv_std * weight
    y *= _channelwise(scale, y)
    shift = -rest * scale
    y += _channelwise(shift if bias is None else shift + bias, y)
    y = y.astype(x.dtype, copy=False)
    return y if bounds is None else clip(xp, y, *bounds)


def normalize_batch(
    xp: Any, x: Array, weight: Array | None, bias: Array | None, eps: float, bounds: Bounds = None
) -> tuple[Array, Array, Array, Array]:
    """`batch_norm` with the statistics of `x`, and these: mean, variance and `1/√(variance + eps)`."""
    mean, var = statistics(xp, x)
    inv_std = 1 / xp.sqrt(var + eps)
    return batch_norm(xp, x, mean, inv_std, weight, bias, bounds), mean, var, inv_std


def batch_norm_backward(
    xp: Any,
    grad: Array,
    x: Array,
    mean: Array,
    inv_std: Array,
    weight: Array | None,
    from_batch: bool,
    input_grad: bool,
    y: Array | None = None,
    bounds: Bounds = None,
) -> tuple[Array | None, Array, Array]:
    """`dx` (None without `input_grad`), and `dweight`, `dbias` in float64; the formulas are in `ops.norm`.

    `grad` is that of `y` after `clip`, if there are `bounds`.
    """
    if bounds is not None:
        grad = clip_backward(xp, grad, y, *bounds)
    centred, rest = _centred(x, mean)
    dbias = channel_sum(xp, grad)
    dweight = (channel_sum(xp, grad * centred) - rest * dbias) * inv_std
    if not input_grad:
        return None, dweight, dbias
    scale = inv_std if weight is None else inv_std * weight
    dx = grad * _channelwise(scale, centred)
    if from_batch:
        along = -scale / max(1, x.size // x.shape[1])
        slope = along * inv_std * dweight
        centred *= _channelwise(slope, centred)
        dx = dx + centred
        dx += _channelwise(along * dbias - rest * slope, centred)
    return dx.astype(x.dtype, copy=False), dweight, dbias


def follow(xp: Any, running: Array, new: Array, momentum: Any, factor: float = 1.0) -> None:
    """`running += momentum · (new · factor - running)`, in place; `momentum` is a number or a 0-d array."""
    running += momentum * (new * factor - running)


def _centred(x: Array, mean: Array) -> tuple[Array, Array]:
    """`x` minus the mean rounded to its dtype, and the rounding error of the mean, to add to the shift."""
    x = widened(x)
    near = mean.astype(x.dtype)
    return x - _channelwise(near, x), mean - near


def _channelwise(values: Array, x: Array) -> Array:
    return values.astype(x.dtype).reshape(-1, *(1,) * (x.ndim - 2))


# --- element by element ------------------------------------------------------------------------------


def in_blocks(xp: Any, task: Callable[[slice], None], size: int) -> None:
    """Call `task`, which reads its slice of arrays many times, on slices that together cover 0…size.

    Here it is a single slice; `kernels.numpy` uses slices that fit the cache.
    """
    task(slice(0, size))


def scratch(xp: Any, name: str, like: Array) -> Array:
    """An array like another, of any content, for such a `task`: valid until it asks for `name` again."""
    return xp.empty_like(like)


def clip(xp: Any, x: Array, low: float, high: float | None) -> Array:
    """`min(max(x, low), high)`, without `high` no more than the maximum; NaN stays NaN."""
    y = xp.maximum(x, low)
    return y if high is None else xp.minimum(y, high)


def clip_backward(xp: Any, grad: Array, y: Array, low: float, high: float | None) -> Array:
    """`grad` where `low < y < high` (or NaN), else 0."""
    return xp.where(y <= low if high is None else (y <= low) | (y >= high), 0, grad)


def copy(xp: Any, x: Array) -> Array:
    """A copy of `x` with the same memory order."""
    return x.copy(order="K")


def add(xp: Any, a: Array, b: Array, bounds: Bounds = None) -> Array:
    """`a + b` of two arrays of one shape; then, with `bounds`, `clip`."""
    y = a + b
    return y if bounds is None else clip(xp, y, *bounds)


def matmul(xp: Any, a: Array, b: Array) -> Array:
    """`a @ b` of two matrices."""
    most = piece(a, b)
    return product(xp, a, b, most) if most else a @ b


def keep_mask(xp: Any, source: Source, shape: tuple[int, ...], p: float) -> Array:
    """A bool array, False with probability `p`; drawn on the host."""
    return xp.asarray(source.generator.random(shape, dtype="float32") >= p)


def update(
    xp: Any,
    name: str,
    p: Array,
    g: Array,
    moments: list[Array | None],
    settings: Array,
    counters: Array,
    skip: Array | None = None,
) -> bool:
    """Whether there is a kernel for the step of optimizer `name`, and it is done: not here."""
    return False


# --- softmax cross-entropy along `axis` ------------------------------------------------------------------


def one_hot(xp: Any, target: Array, classes: int, ignored: int, axis: int, dtype: Any) -> tuple[Array, Array]:
    """One-hot rows along a new `axis` (NaN for an invalid class), and a mask of samples not `ignored`."""
    target = target.astype("int64", copy=False)
    counted = target != ignored
    valid = ((target >= 0) & (target < classes)) | ~counted
    shape = [1] * (target.ndim + 1)
    shape[axis] = classes
    one = (*target.shape[:axis], 1, *target.shape[axis:])  # as expand_dims does, which takes longer
    rows = target.reshape(one) == xp.arange(classes).reshape(shape)
    rows = (rows & counted.reshape(one)).astype(dtype)
    return xp.where(valid.reshape(one), rows, xp.nan), counted


def cross_entropy(xp: Any, x: Array, t: Array, axis: int) -> tuple[Array, Array, Array]:
    """`-Σ t log p` with `p = softmax(x)` (and 0 · log 0 = 0); `p`; and `Σ t`, which keeps the axis."""
    log_p = x
    if x.size:
        log_p = x - x.max(axis=axis, keepdims=True)
        log_p = log_p - xp.log(sum_over(xp.exp(log_p), (axis,), keepdims=True))
    loss = -sum_over(t * xp.where(t == 0, 0, log_p), (axis,))
    return loss, xp.exp(log_p), sum_over(t, (axis,), keepdims=True)


def cross_entropy_backward(xp: Any, p: Array, t: Array, total: Array, scale: Any, axis: int) -> Array:
    """`(p Σt - t) · scale`; `scale` is a number, or one for each sample."""
    grad = p * total - t
    grad *= xp.expand_dims(scale, axis) if getattr(scale, "ndim", 0) else scale
    return grad
