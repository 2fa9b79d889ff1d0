"""Convolution (cross-correlation, as in every deep-learning library) in any dimension."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any

from ..backend import Array, backend_of
from ..geometry import Bounds, Shape, Window
from ..kernels import overridable
from ..layout import empty_images, framed, in_order, pixel_matrix, weight_matrix
from ..sums import total
from .activation import clip
from .channels import channelwise

COLUMN_BYTES = 4 << 20  # of the column buffer: as many images per block as fit, at least one
ALL = (slice(None),)


@overridable
def conv(
    xp: Any,
    x: Array,
    weight: Array,
    bias: Array | None,
    window: Window,
    groups: int = 1,
    algorithm: str = "auto",
    bounds: Bounds = None,
) -> Array:
    """Slide `weight` over `x`.

    With output channel `k` of group `g`, output position `p`, tap `r` and the input channels `c` of
    that group:

        y[n, k, p] = bias[k] + Σ_c Σ_r  x[n, c, p*s - lo + r*d] · weight[k, c, r]

    Shapes: `x (N, C, *S)`, `weight (K, C/groups, *R)`, `bias (K,)`, result `(N, K, *P)`.
    With `bounds` it is then limited to these, which saves a pass over memory for a ReLU that follows.
    Images are channels-last in memory, as then a row of a window is contiguous, and the convolution is one
    matrix product over all pixels. Backward needs `x` and `weight` only: the columns of im2col (as many times
    `x` as there are taps) are computed again, block by block. The gradient of `bias` is the `channel_sum` of
    that of `y`. `algorithm` is the caller's choice (see `Conv2d`); the reference has only one.
    """
    shape = (x.shape[0], weight.shape[0], *window.output_shape(x.shape[2:]))
    if _is_depthwise(weight.shape, groups):
        y = _depthwise(xp, x, weight, window, shape)
    else:
        y = empty_images(xp, shape, x.dtype)
        w = xp.swapaxes(weight_matrix(xp, weight, groups), 1, 2)
        for images, columns in column_blocks(xp, x, window, groups):
            pixel_matrix(xp, y, images, groups)[...] = group_matmul(xp, columns, w)
    if bias is not None:
        y += channelwise(bias, y.ndim)
    return y if bounds is None else clip(xp, y, *bounds)


@overridable
def conv_backward_input(
    xp: Any,
    grad: Array,
    weight: Array,
    x_shape: tuple[int, ...],
    window: Window,
    groups: int = 1,
    algorithm: str = "auto",
) -> Array:
    """Gradient with respect to `x`.

    `x[n, c, h]` enters `y[n, k, p]` through tap `r` exactly where `h = p*s - lo + r*d`, with factor
    `weight[k, c, r]`. So, over all `k` of the group and all such pairs `(p, r)`:

        dx[n, c, h] = Σ_k Σ_(p,r)  grad[n, k, p] · weight[k, c, r]

    The sum over `k` is a matrix product, which gives the gradient of the columns; the sum over `(p, r)` is
    one addition of slices per tap.
    """
    if _is_depthwise(weight.shape, groups):
        return _depthwise_backward_input(xp, grad, weight, x_shape, window)
    if weight.shape[0] == groups > 1:
        return _one_output_backward_input(xp, grad, weight, x_shape, window)
    c = weight.shape[1]
    dx = empty_images(xp, x_shape, grad.dtype, zero=True)
    w = weight_matrix(xp, weight, groups)
    taps = window.taps(x_shape[2:], grad.shape[2:])
    block = max(1, COLUMN_BYTES // (groups * prod(grad.shape[2:]) * w.shape[2] * w.itemsize))
    for start in range(0, x_shape[0], block):
        images = slice(start, start + block)
        columns = group_matmul(xp, pixel_matrix(xp, grad, images, groups), w)
        columns = xp.moveaxis(columns.reshape(groups, -1, *grad.shape[2:], *window.kernel, c), 0, -2)
        part = xp.moveaxis(dx[images], 1, -1)
        part = part.reshape(*part.shape[:-1], groups, c)  # splits the last axis: a view
        for tap in taps:
            part[ALL + tap.into] += columns[ALL + tap.out + tap.offset]
    return dx


@overridable
def conv_backward_weight(
    xp: Any,
    grad: Array,
    x: Array,
    weight_shape: tuple[int, ...],
    window: Window,
    groups: int = 1,
    algorithm: str = "auto",
) -> Array:
    """Gradient with respect to `weight`, which all images and positions share.

        dweight[k, c, r] = Σ_n Σ_p  grad[n, k, p] · x[n, c, p*s - lo + r*d]

    That is the product of the gradient's pixels with the columns.
    """
    if _is_depthwise(weight_shape, groups):
        return _depthwise_backward_weight(xp, grad, x, weight_shape, window)
    k, c = weight_shape[0] // groups, weight_shape[1]
    dw = xp.zeros((groups, k, c * prod(window.kernel)), dtype=x.dtype)
    for images, columns in column_blocks(xp, x, window, groups):
        dw += group_matmul(xp, xp.swapaxes(pixel_matrix(xp, grad, images, groups), 1, 2), columns)
    return xp.moveaxis(dw.reshape(weight_shape[0], *window.kernel, c), -1, 1)


@overridable
def conv_algorithm(
    xp: Any,
    x_shape: tuple[int, ...],
    dtype: Any,
    weight_shape: tuple[int, ...],
    window: Window,
    groups: int = 1,
    algorithm: str = "auto",
) -> str:
    """The name of the algorithm that `conv` uses for arrays of these shapes."""
    return "reference"


# --- the matrix product --------------------------------------------------------------------------------


def column_blocks(xp: Any, x: Array, window: Window, groups: int) -> Iterator[tuple[slice, Array]]:
    """im2col: blocks of images, and their windows as matrices `(groups, pixels, taps*C/groups)`."""
    n, c = x.shape[0], x.shape[1] // groups
    output = window.output_shape(x.shape[2:])
    image = framed(xp, x, window)
    row = c * prod(window.kernel)
    block = max(1, COLUMN_BYTES // (groups * prod(output) * row * x.itemsize))
    blocks = [slice(start, start + block) for start in range(0, n, block)]
    # as_strided, as CuPy's sliding_window_view waits for the device.
    as_strided = backend_of(x).as_strided
    if as_strided is None:
        for images in blocks:
            yield images, _copied_windows(xp, image[images], window, output, groups).reshape(groups, -1, row)
        return
    by_image, *by_pixel, by_channel = image.strides
    taps, positions = window.steps(by_pixel)
    windows = as_strided(
        image,
        (groups, n, *output, *window.kernel, c),
        (c * by_channel, by_image, *positions, *taps, by_channel),
    )
    for images in blocks:
        yield images, windows[:, images].reshape(groups, -1, row)


def _copied_windows(xp: Any, image: Array, window: Window, output: Shape, groups: int) -> Array:
    """The windows `(groups, N, *P, *R, C/groups)` of padded `image (N, *S, C)`, tap by tap."""
    n, c = image.shape[0], image.shape[-1] // groups
    windows = xp.empty((groups, n, *output, *window.kernel, c), dtype=image.dtype)
    padded = window._replace(padding=((0, 0),) * len(output))
    for tap in padded.taps(image.shape[1:-1], output):
        part = image[ALL + tap.into].reshape(n, *output, groups, c)
        windows[ALL * (2 + len(output)) + tap.offset] = xp.moveaxis(part, -2, 0)
    return windows


def group_matmul(xp: Any, a: Array, b: Array) -> Array:
    """`a[g] @ b[g]` for every group; a plain 2-D product for one group, which is faster in BLAS."""
    return xp.matmul(a[0], b[0])[None] if a.shape[0] == 1 else xp.matmul(a, b)


# --- one channel per group, too few for a matrix product: one multiply-add per tap -----------------------


def _is_depthwise(weight_shape: tuple[int, ...], groups: int) -> bool:
    return weight_shape[1] == 1 and groups > 1


def _depthwise(xp: Any, x: Array, weight: Array, window: Window, shape: tuple[int, ...]) -> Array:
    y = empty_images(xp, shape, x.dtype, zero=True)
    x, w, by_group = _split_groups(xp, in_order(xp, x), weight, y)
    for tap in window.taps(x.shape[1:-2], shape[2:]):
        by_group[ALL + tap.out] += x[ALL + tap.into] * w[tap.offset]
    return y


def _depthwise_backward_weight(
    xp: Any, grad: Array, x: Array, weight_shape: tuple[int, ...], window: Window
) -> Array:
    dw = xp.zeros(weight_shape, dtype=x.dtype)
    x, w, grad = _split_groups(xp, in_order(xp, x), dw, in_order(xp, grad))
    axes = tuple(range(x.ndim - 2))
    for tap in window.taps(x.shape[1:-2], grad.shape[1:-2]):
        w[tap.offset] = total(x[ALL + tap.into] * grad[ALL + tap.out], axes)
    return dw


def _depthwise_backward_input(
    xp: Any, grad: Array, weight: Array, x_shape: tuple[int, ...], window: Window
) -> Array:
    dx = empty_images(xp, x_shape, grad.dtype, zero=True)
    part, w, grad = _split_groups(xp, dx, weight, in_order(xp, grad))
    for tap in window.taps(x_shape[2:], grad.shape[1:-2]):
        by_group = grad[ALL + tap.out] * w[tap.offset]
        part[ALL + tap.into] += by_group.sum(axis=-1, keepdims=True)
    return dx


def _one_output_backward_input(
    xp: Any, grad: Array, weight: Array, x_shape: tuple[int, ...], window: Window
) -> Array:
    """For groups of one output and several input channels: depthwise, from outputs to inputs."""
    dx = empty_images(xp, x_shape, grad.dtype, zero=True)
    weight = weight.reshape(-1, 1, *weight.shape[2:])
    grad, w, part = _split_groups(xp, in_order(xp, grad), weight, dx)
    for tap in window.taps(x_shape[2:], grad.shape[1:-2]):
        part[ALL + tap.into] += grad[ALL + tap.out] * w[tap.offset]
    return dx


def _split_groups(xp: Any, x: Array, weight: Array, y: Array) -> tuple[Array, Array, Array]:
    """Views `x (N, *S, G, 1)`, `weight (*R, G, K/G)`, `y (N, *P, G, K/G)`, which broadcast together."""
    groups, per_group = x.shape[1], y.shape[1] // x.shape[1]
    w = weight[:, 0].reshape(groups, per_group, *weight.shape[2:])
    w = xp.moveaxis(w, (0, 1), (-2, -1))
    y = xp.moveaxis(y, 1, -1)
    return xp.moveaxis(x, 1, -1)[..., None], w, y.reshape(*y.shape[:-1], groups, per_group)
