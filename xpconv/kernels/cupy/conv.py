"""Convolution by cuDNN, Fourier transforms or a matrix product per block (im2col); depthwise by kernels."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import prod
from typing import Any

from ...backend import Array
from ...geometry import Bounds, Window
from ...sums import total
from .. import fft, graph, precision
from ..exact import is_exact
from . import cudnn
from .gemm import ALL, group_matmul, multiply, pixel_matrix, weight_matrix
from .launch import (
    SUMS,
    check_device,
    dense,
    empty_images,
    ends,
    geometry,
    lanes,
    launch,
    name_of,
    pixels,
    taps,
)

FILE = "conv.cu"
COLUMN_BYTES = 1 << 28  # of the column buffer: as many images per block as fit, at least one
FEW, MANY = 4, 128  # channels
SMALL = 64  # pixels of an image
LENGTH = 32  # pixels per thread, in sequence
LARGE = float(1 << 28)  # cost of a direct convolution above which transforms may be faster
SUMMANDS = 1 << 22  # partial sums of a depthwise weight's gradient, at most


def conv_algorithm(
    xp: Any,
    x_shape: tuple[int, ...],
    dtype: Any,
    weight_shape: tuple[int, ...],
    window: Window,
    groups: int = 1,
    algorithm: str = "auto",
) -> str:
    """The algorithm of forward."""
    dtype = xp.dtype(dtype)
    if dtype.kind == "c":
        pays = _by_fft(x_shape, dtype, weight_shape, window, groups, algorithm)
        return "fft" if pays else "reference"
    if _is_depthwise(weight_shape, groups):
        return "depthwise"
    y_shape = (x_shape[0], weight_shape[0], *window.output_shape(x_shape[2:]))
    plan = _cudnn(xp, "y", dtype, x_shape, weight_shape, y_shape, window, algorithm)
    if plan is not None:
        return "cudnn"
    return "fft" if _by_fft(x_shape, dtype, weight_shape, window, groups, algorithm) else "columns"


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
    """Bias and bounds are applied in the same launch, or in one after it."""
    output = window.output_shape(x.shape[2:])
    y = empty_images(xp, (x.shape[0], weight.shape[0], *output), x.dtype)
    if x.dtype.kind == "c":
        if not _by_fft(x.shape, x.dtype, weight.shape, window, groups, algorithm):
            return None
        fft.conv(_device(xp), x, weight, window, y)
        return y if bias is None else y + bias.reshape(-1, *(1,) * len(output))
    ending = ends(bounds)
    offset = 0 if bias is None else dense(xp, bias)
    if _is_depthwise(weight.shape, groups):
        width = lanes(groups) if groups == weight.shape[0] else 1
        launch(
            xp, FILE, "depthwise", y.size, pixels(xp, x), _taps_first(xp, weight), y, offset,
            groups, weight.shape[0] // groups, *ending, width, geometry(xp, window, x.shape[2:], output),
            each=width,
        )  # fmt: skip
        return y
    plan = _cudnn(xp, "y", x.dtype, x.shape, weight.shape, y.shape, window, algorithm)
    if plan is not None:
        check_device(xp, "a convolution", x, weight, y)
        cudnn.run(xp, plan, x, weight, y)
    elif _by_fft(x.shape, x.dtype, weight.shape, window, groups, algorithm):
        fft.conv(_device(xp), x, weight, window, y)
    else:
        w = weight_matrix(xp, weight, groups, flip=True)
        for images, col in column_blocks(xp, x, window, groups):
            group_matmul(xp, col, w, pixel_matrix(xp, y, images, groups))
    if bias is not None or bounds is not None:
        launch(xp, FILE, "finish", y.size, y, offset, weight.shape[0], *ending)
    return y


def conv_backward_weight(
    xp: Any,
    grad: Array,
    x: Array,
    weight_shape: tuple[int, ...],
    window: Window,
    groups: int = 1,
    algorithm: str = "auto",
) -> Array:
    """Depthwise by partial sums, whose number is limited."""
    k, c = weight_shape[0] // groups, weight_shape[1]
    if x.dtype.kind == "c":
        if not _by_fft(x.shape, x.dtype, weight_shape, window, groups, algorithm):
            return None
        dw = xp.ndarray(weight_shape, x.dtype)
        fft.weight_grad(_device(xp), grad, x, window, dw)
        return dw
    if _is_depthwise(weight_shape, groups):
        count = grad.size // weight_shape[0]
        length = max(LENGTH, -(-count * prod(weight_shape) // SUMMANDS))
        parts = -(-count // length)
        sums = xp.ndarray((parts, taps(window), weight_shape[0]), SUMS[name_of(x.dtype)])
        launch(
            xp, FILE, "depthwise_weight", sums.size, pixels(xp, grad), pixels(xp, x), sums, groups, k, count,
            length, geometry(xp, window, x.shape[2:], grad.shape[2:]),
        )  # fmt: skip
        dw = xp.ndarray((weight_shape[0], taps(window)), x.dtype)
        dw[...] = total(sums, (0,)).T
        return dw.reshape(weight_shape)
    plan = _cudnn(xp, "w", x.dtype, x.shape, weight_shape, grad.shape, window, algorithm)
    if plan is not None:
        dw = empty_images(xp, weight_shape, x.dtype)
        check_device(xp, "a convolution", x, dw, grad)
        cudnn.run(xp, plan, x, dw, grad)
        return dw
    if _by_fft(x.shape, x.dtype, weight_shape, window, groups, algorithm):
        dw = xp.ndarray(weight_shape, x.dtype)
        fft.weight_grad(_device(xp), grad, x, window, dw)
        return dw
    dw, everything = None, slice(0, x.shape[0])
    for images, col in column_blocks(xp, x, window, groups):
        alone = images in (ALL, everything)  # otherwise partial sums of float16 are not rounded
        part = xp.ndarray((groups, k, c * taps(window)), x.dtype if alone else SUMS[name_of(x.dtype)])
        multiply(xp, pixel_matrix(xp, grad, images, groups, flip=True), col, part)
        dw = part if dw is None else dw + part
    if dw is None:
        dw = xp.zeros((groups, k, c * taps(window)), dtype=x.dtype)
    dw = dw.astype(x.dtype, copy=False)
    return xp.moveaxis(dw.reshape(weight_shape[0], *window.kernel, c), -1, 1)


def conv_backward_input(
    xp: Any,
    grad: Array,
    weight: Array,
    x_shape: tuple[int, ...],
    window: Window,
    groups: int = 1,
    algorithm: str = "auto",
) -> Array:
    """The columns' gradients are gathered, so no atomic additions are needed."""
    dx = empty_images(xp, x_shape, grad.dtype)
    if grad.dtype.kind == "c":
        if not _by_fft(x_shape, grad.dtype, weight.shape, window, groups, algorithm):
            return None
        fft.input_grad(_device(xp), grad, weight, window, dx)
        return dx
    if _is_depthwise(weight.shape, groups):
        width = lanes(groups) if groups == weight.shape[0] else 1
        launch(
            xp, FILE, "depthwise_input", dx.size, pixels(xp, grad), _taps_first(xp, weight), dx,
            groups, weight.shape[0] // groups, width, geometry(xp, window, x_shape[2:], grad.shape[2:]),
            each=width,
        )  # fmt: skip
        return dx
    plan = _cudnn(xp, "x", grad.dtype, x_shape, weight.shape, grad.shape, window, algorithm)
    if plan is not None:
        check_device(xp, "a convolution", dx, weight, grad)
        cudnn.run(xp, plan, dx, weight, grad)
        return dx
    if _by_fft(x_shape, grad.dtype, weight.shape, window, groups, algorithm):
        fft.input_grad(_device(xp), grad, weight, window, dx)
        return dx
    w = weight_matrix(xp, weight, groups)
    if _is_product(window, groups, x_shape, grad.shape):
        group_matmul(xp, pixel_matrix(xp, grad, ALL, 1), w, pixel_matrix(xp, dx, ALL, 1))
        return dx
    sums = SUMS[name_of(grad.dtype)]  # the dtype of the columns' gradients, which are summed over the taps
    row, step, where = w.shape[2], prod(grad.shape[2:]), geometry(xp, window, x_shape[2:], grad.shape[2:])
    for images in blocks(x_shape[0], groups * step * row * xp.dtype(sums).itemsize):
        part = dx[images]
        col = xp.ndarray((groups, part.shape[0] * step, row), sums)
        multiply(xp, pixel_matrix(xp, grad, images, groups), w, col)
        launch(
            xp, FILE, "from_columns", part.size, col, part, groups, weight.shape[1], col.shape[1], where,
            dtype=name_of(grad.dtype),
        )  # fmt: skip
    return dx


def _cudnn(
    xp: Any,
    output: str,
    dtype: Any,
    x: tuple[int, ...],
    w: tuple[int, ...],
    y: tuple[int, ...],
    window: Window,
    algorithm: str,
) -> Any:
    """cuDNN's plan; None if there is none, or a matrix product is faster.

    In strict float32, without tensor cores, cuDNN's channels-last convolutions are slower than cuBLAS's
    products, except those by Winograd or Fourier transforms (`benchmarks/README.md` has figures).
    """
    if name_of(dtype) == "float32" and not precision.tf32_allowed():
        if taps(window) == 1 or max(window.stride) > 1:
            return None
        exact = algorithm == "direct" or is_exact()  # in cuDNN, sums over all pixels have larger errors
        small = w[1] >= MANY and prod(y[2:]) <= SMALL
        if (w[1] <= FEW or exact) if output == "w" else small:
            return None
    return cudnn.find(xp, output, dtype, x, w, y, window, algorithm)


def _by_fft(
    x_shape: tuple[int, ...],
    dtype: Any,
    weight_shape: tuple[int, ...],
    window: Window,
    groups: int,
    algorithm: str,
) -> bool:
    """Whether to use Fourier transforms: for large convolutions, not in a capture, where cuFFT may fail."""
    if algorithm != "auto" or is_exact() or graph.capturing():
        return False
    problem = x_shape, dtype, weight_shape, window, groups
    return fft.pays(*problem, matrices=False, limit=COLUMN_BYTES) and fft.direct_cost(*problem) >= LARGE


def _device(xp: Any) -> fft.Device:
    def run(task: Callable[[slice], None], count: int, elements: int) -> None:
        task(slice(0, count))

    return fft.Device(xp, xp.empty, run, COLUMN_BYTES, False, {})


def _is_depthwise(weight_shape: tuple[int, ...], groups: int) -> bool:
    return weight_shape[1] == 1 and groups > 1


def blocks(images: int, image_bytes: int) -> Iterator[slice]:
    """Images whose columns fit the buffer."""
    step = max(1, COLUMN_BYTES // max(1, image_bytes))
    return (slice(i, min(i + step, images)) for i in range(0, images, step))


def column_blocks(xp: Any, x: Array, window: Window, groups: int) -> Iterator[tuple[slice, Array]]:
    """As `ops.conv.column_blocks`: views of `x` if a window is one pixel."""
    c = x.shape[1] // groups
    output = window.output_shape(x.shape[2:])
    if _is_product(window, groups, x.shape, (*x.shape[:2], *output)):
        yield ALL, pixel_matrix(xp, x, ALL, 1)
        return
    row = c * taps(window)
    for images in blocks(x.shape[0], groups * prod(output) * row * x.itemsize):
        part = x if images == slice(0, x.shape[0]) else x[images]
        count = part.shape[0] * prod(output)
        col = xp.ndarray((groups, count, row), x.dtype)
        launch(
            xp, FILE, "columns", groups * row * -(-count // LENGTH), pixels(xp, part), col, groups, c, count,
            LENGTH, geometry(xp, window, x.shape[2:], output),
        )  # fmt: skip
        yield images, col


def _is_product(window: Window, groups: int, x_shape: tuple[int, ...], y_shape: tuple[int, ...]) -> bool:
    """Whether images are their own columns: one tap that reads each pixel once."""
    shifted = any(low for low, _ in window.padding)
    return groups == taps(window) == max(window.stride) == 1 and x_shape[2:] == y_shape[2:] and not shifted


def _taps_first(xp: Any, weight: Array) -> Array:
    """`(K, 1, *R)` as contiguous `(taps, K)`."""
    return dense(xp, weight.reshape(weight.shape[0], -1).T)
