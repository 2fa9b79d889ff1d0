"""Convolution with large kernels by Fourier transforms, for any array module, and what it costs.

A correlation is a product of transforms: of a kernel of `R` pixels and pieces of `t` pixels of the image,
each of which gives `t - R + 1` pixels of output (overlap-save). The pieces of all images and channels are
transformed, multiplied by the transformed kernels, which for each frequency is a matrix product over the
channels, and transformed back (`transforms.py`). With a dilation there are gaps between the taps of a
kernel in a piece, and with a stride between the outputs and between the pixels of their gradient. The
rounding error is that of a sum of as many terms as a piece has pixels, relative to the largest of them. Very
large and very small values are scaled by powers of two, so that nothing overflows before the result does.

The operations are those of `ops.conv`, bilinear, so without conjugates for complex arrays too.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from itertools import product
from math import inf, log2, prod
from typing import Any, NamedTuple

from ..backend import Array, ignoring_float_errors
from ..geometry import Shape, Window
from .scales import exponents, power, scale_back
from .transforms import Places, backward, forward, frequencies

FEWEST_TAPS = 64  # of kernels that it is considered for
# Times relative to one multiplication and addition in a matrix product (`benchmarks/functional.py` measures):
TRANSFORM = 80.0  # an FFT, per element and log2 of the size
MATRIX = 1.75  # a multiplication and addition in a product with the matrix of the DFT
PRODUCT, REAL_PRODUCT = 50.0, 20.0  # a product of two frequencies, as complex numbers and as their parts
COPY = 20.0  # an element of the columns, in the direct algorithm
STRIDED = 1.5  # times columns of real arrays with a stride, whose copies have short runs of memory
SCATTERED = 3.0  # times a direct input gradient with a stride, which adds up columns tap by tap
DEPTHWISE = 6.0  # of a multiplication and addition without columns
GAIN = 1.25  # from which it is chosen
RATIOS = (1.5, 2.0, 2.5, 3.0, 4.0, 6.0, 10.0, inf)  # sizes of pieces that are tried, in kernels
PRIMES = (2, 3, 5)
DTYPES = ("float32", "float64", "complex64", "complex128")


class Device(NamedTuple):
    """What differs between devices: allocation, how work is divided, and which transforms may be used."""

    xp: Any
    empty: Callable[[Shape, Any], Array]
    run: Callable[[Callable[[slice], None], int, int], None]  # for slices of a range, and elements in all
    bytes: int  # of the transforms of a block of images
    matrices: bool  # whether products with the matrix of the DFT may be faster than the device's FFTs


class Tiling(NamedTuple):
    """How images are cut."""

    cost: float
    size: Shape  # of the pieces
    hop: Shape  # from one piece to the next, a multiple of the stride
    by_matrices: bool


def pays(
    x_shape: Shape,
    dtype: Any,
    weight_shape: Shape,
    window: Window,
    groups: int,
    matrices: bool,
    to_input: bool = False,
) -> bool:
    """Whether it is faster than a matrix product of columns; `to_input` for the gradient of the input."""
    if prod(window.kernel) < FEWEST_TAPS or str(dtype) not in DTYPES or not prod(x_shape):
        return False
    cost = tiling(x_shape, dtype, weight_shape, window, matrices, to_input).cost
    if (
        dtype.kind == "c" and matrices and weight_shape[1] > 1
    ):  # `ops.conv_complex` otherwise computes with real arrays
        x_parts = (x_shape[0], 2 * x_shape[1], *x_shape[2:])
        w_parts = (2 * weight_shape[0], 2 * weight_shape[1], *weight_shape[2:])
        if tiling(x_parts, dtype.type().real.dtype, w_parts, window, matrices, to_input).cost < cost:
            return False
    direct = direct_cost(x_shape, dtype, weight_shape, window, groups)
    if max(window.stride) > 1:
        direct *= SCATTERED if to_input else STRIDED if dtype.kind != "c" else 1
    return GAIN * cost < direct


def direct_cost(x_shape: Shape, dtype: Any, weight_shape: Shape, window: Window, groups: int) -> float:
    """An estimate of the time of columns and their product."""
    pixels = x_shape[0] * prod(window.output_shape(x_shape[2:]))
    columns, products = pixels * x_shape[1] * prod(window.kernel), pixels * prod(weight_shape)
    is_complex = dtype.kind == "c"  # then one is four real ones, on columns of two parts
    if weight_shape[1] == 1 < groups and not is_complex:
        return DEPTHWISE * products
    return (2 * COPY * columns + 4 * products) if is_complex else COPY * columns + products


@lru_cache(maxsize=1024)
def tiling(
    x_shape: Shape, dtype: Any, weight_shape: Shape, window: Window, matrices: bool, to_input: bool = False
) -> Tiling:
    """The tiling with the lowest cost."""
    ways = (False, True) if matrices and len(window.kernel) == 2 and dtype.kind != "c" else (False,)
    output = zip(window.output_shape(x_shape[2:]), window.stride, strict=True)
    spans = x_shape[2:] if to_input else tuple((m - 1) * s + 1 for m, s in output)
    return min(
        _tiling(ratio, by_matrices, spans, x_shape, dtype, weight_shape, window)
        for ratio in RATIOS
        for by_matrices in ways
    )


def _tiling(
    ratio: float,
    by_matrices: bool,
    spans: Shape,
    x_shape: Shape,
    dtype: Any,
    weight_shape: Shape,
    window: Window,
) -> Tiling:
    """Pieces of about `ratio` times the size of the kernel, for an output of these `spans` at stride 1."""
    size, hop, images = [], [], x_shape[0]
    for span, r, s in zip(spans, _reach(window), window.stride, strict=True):
        count = -(-span // int(max(1, min(span, ratio * r - r + 1))))
        step = -(-span // (count * s)) * s
        size.append(step + r - 1 if by_matrices else good_size(step + r - 1))
        hop.append((size[-1] - r + 1) // s * s)
        images *= -(-span // hop[-1])
    is_complex = dtype.kind == "c"
    channels, kernels = images * (x_shape[1] + weight_shape[0]), weight_shape[0] * weight_shape[1]
    halves = prod(size) * (1 + is_complex) / 2  # half of a real transform is enough
    total = (REAL_PRODUCT if by_matrices else PRODUCT) * images * kernels * halves
    if by_matrices:
        total += MATRIX * 3 * (channels * size[0] + kernels * window.kernel[0]) * prod(size)
    else:
        total += TRANSFORM * (channels + kernels) * halves * log2(max(2, prod(size)))
    return Tiling(total, tuple(size), tuple(hop), by_matrices)


@lru_cache(maxsize=1024)
def good_size(least: int) -> int:
    """The smallest size from `least` on that has small prime factors only."""
    n = max(1, least)
    while True:
        rest = n
        for p in PRIMES:
            while rest % p == 0:
                rest //= p
        if rest == 1:
            return n
        n += 1


def _reach(window: Window) -> Shape:
    """The pixels that a dilated kernel covers along each axis."""
    return tuple(d * (k - 1) + 1 for k, d in zip(window.kernel, window.dilation, strict=True))


def _taps(window: Window) -> Places:
    return tuple(range(0, r, d) for r, d in zip(_reach(window), window.dilation, strict=True))


# --- the three operations -----------------------------------------------------------------------------


@ignoring_float_errors  # infinities give NaN, as in other algorithms without a warning
def conv(on: Device, x: Array, weight: Array, window: Window, y: Array) -> None:
    """Write the convolution to `y (N, K, *P)`."""
    groups = x.shape[1] // weight.shape[1]
    t = tiling(x.shape, x.dtype, weight.shape, window, on.matrices)
    lows = tuple(lo for lo, _ in window.padding)
    inputs = tuple(map(range, t.size))
    outputs = tuple(range(0, h, s) for h, s in zip(t.hop, window.stride, strict=True))
    kernels = weight.reshape(groups, -1, *weight.shape[1:])
    _filter(on, x, kernels, t, lows, inputs, outputs, _taps(window), 1, y)


@ignoring_float_errors
def input_grad(on: Device, grad: Array, weight: Array, window: Window, dx: Array) -> None:
    """Write the gradient to `dx (N, C, *S)`."""
    groups = dx.shape[1] // weight.shape[1]
    t = tiling(dx.shape, dx.dtype, weight.shape, window, on.matrices, to_input=True)
    over = tuple(r - 1 for r in _reach(window))
    first = [o - lo for o, (lo, _) in zip(over, window.padding, strict=True)]
    lows = tuple(f // s for f, s in zip(first, window.stride, strict=True))
    inputs = tuple(range(f % s, n, s) for f, s, n in zip(first, window.stride, t.size, strict=True))
    outputs = tuple(range(o, o + h) for o, h in zip(over, t.hop, strict=True))
    kernels = weight.reshape(groups, -1, *weight.shape[1:]).swapaxes(1, 2)
    _filter(on, grad, kernels, t, lows, inputs, outputs, _taps(window), -1, dx)


@ignoring_float_errors
def weight_grad(on: Device, grad: Array, x: Array, window: Window, dw: Array) -> None:
    """Write the gradient to `dw (K, C/G, *R)`: for each frequency a product over images and pieces."""
    xp, groups = on.xp, x.shape[1] // dw.shape[1]
    (n, c), k = x.shape[:2], grad.shape[1]
    t = tiling(x.shape, x.dtype, dw.shape, window, on.matrices)
    lows = tuple(lo for lo, _ in window.padding)
    inputs = tuple(map(range, t.size))
    outputs = tuple(range(0, h, s) for h, s in zip(t.hop, window.stride, strict=True))
    count = _count(grad.shape[2:], outputs)
    of_x, of_k = exponents(xp, x, 1), exponents(xp, grad, 1)
    total: Any = 0
    for images in _image_blocks(on, n, (c + k) * prod(count), t, x.dtype):
        pieces = _pieces(on, x[images], of_x, lows, count, t, inputs, groups)
        seen = forward(on, pieces, inputs, t.size, -1, t.by_matrices)
        pieces = _pieces(on, grad[images], of_k, (0,) * len(lows), count, t, outputs, groups)
        sent = forward(on, pieces, outputs, t.size, 1, t.by_matrices)
        total = total + _products(on, sent, seen.swapaxes(2, 3))
    if t.by_matrices:  # these are products of all real and imaginary parts
        total = total.reshape(*total.shape[:2], 2, k // groups, 2, c // groups)
        real = total[:, :, 0, :, 0] - total[:, :, 1, :, 1]
        total = xp.concatenate((real, total[:, :, 0, :, 1] + total[:, :, 1, :, 0]), 2)
    found = backward(on, total, _taps(window), t.size, dw.dtype, t.by_matrices)
    of_c = xp.repeat(of_x.reshape(groups, -1), k // groups, 0)  # of the channels of each kernel
    scale_back(xp, found.reshape(dw.shape), of_k.reshape(k, 1) + of_c, dw)


def _filter(
    on: Device,
    x: Array,
    kernels: Array,
    t: Tiling,
    lows: Shape,
    inputs: Places,
    outputs: Places,
    taps: Places,
    sign: int,
    y: Array,
) -> None:
    """Convolve pieces of `x`, of which the first begins `lows` before it, with `kernels (G, K, C, *R)`.

    `inputs`, `outputs` and `taps` are the positions of the pixels of `x`, `y` and the kernels in a piece.
    With `sign` 1 it is a correlation.
    """
    xp, n, (groups, k, c) = on.xp, len(x), kernels.shape[:3]
    count = _count(y.shape[2:], outputs)
    of_x, of_k = exponents(xp, x, 0), exponents(xp, kernels.reshape(groups * k, *kernels.shape[2:]), 0)
    of_k = of_k.reshape(groups, k)
    scaled = kernels * power(xp, -of_k, kernels).reshape(groups, k, *(1,) * (kernels.ndim - 2))
    factors = forward(on, scaled, taps, t.size, sign, t.by_matrices, factors=True)
    for images in _image_blocks(on, n, groups * (c + k) * prod(count), t, x.dtype):
        pieces = _pieces(on, x[images], of_x[images], lows, count, t, inputs, groups)
        seen = forward(on, pieces, inputs, t.size, -1, t.by_matrices)
        result = _products(on, factors, seen)
        found = backward(on, result, outputs, t.size, y.dtype, t.by_matrices)
        _put(xp, found, count, of_x[images].reshape(-1, 1, 1) + of_k, y[images])


def _products(on: Device, a: Array, b: Array) -> Array:
    """`a @ b` for each frequency."""
    xp, (groups, each, rows), columns = on.xp, a.shape[:3], b.shape[3]
    result = on.empty((groups, each, rows, columns), b.dtype)
    on.run(
        lambda some: xp.matmul(a[:, some], b[:, some], out=result[:, some]),
        each,
        a.size + b.size + result.size,
    )
    return result


# --- pieces -------------------------------------------------------------------------------------------


def _count(sizes: Shape, places: Places) -> Shape:
    """The number of pieces along each axis."""
    return tuple(-(-n // len(some)) for n, some in zip(sizes, places, strict=True))


def _pieces(
    on: Device, x: Array, scales: Array, lows: Shape, count: Shape, t: Tiling, places: Places, groups: int
) -> Array:
    """Pieces `(G, C, N, *count, *S)` of `x`, the first from `lows` before it, divided by `2**scales`."""
    xp, apart = on.xp, tuple(h // some.step for h, some in zip(t.hop, places, strict=True))
    sizes = tuple(map(len, places))
    whole = tuple((m - 1) * a + n for m, a, n in zip(count, apart, sizes, strict=True))
    framed = on.empty((*x.shape[:2], *whole), x.dtype)
    framed[...] = 0
    inside: tuple[slice, ...] = (slice(None), slice(None))
    into: tuple[slice, ...] = inside
    for n, lo, size in zip(x.shape[2:], lows, whole, strict=True):
        first, last = max(0, -lo), min(n, size - lo)
        inside += (slice(first, max(first, last)),)
        into += (slice(first + lo, max(first, last) + lo),)
    xp.multiply(x[inside], power(xp, -scales, x), out=framed[into])
    by_image, by_channel, *by_pixel = framed.strides
    steps = (step * a for step, a in zip(by_pixel, apart, strict=True))
    shape = (groups, x.shape[1] // groups, len(x), *count, *sizes)
    strides = (shape[1] * by_channel, by_channel, by_image, *steps, *by_pixel)
    return xp.lib.stride_tricks.as_strided(framed, shape, strides)


def _put(xp: Any, found: Array, count: Shape, scales: Array, y: Array) -> None:
    """Write the outputs of pieces, `(G, K, N·places, *S)`, times `2**scales`, to `y (N, G·K, *P)`."""
    axes, (groups, k), n = len(count), found.shape[:2], len(y)
    sizes = found.shape[3:]
    order = (2, 0, 1, *(axis for i in range(axes) for axis in (3 + i, 3 + axes + i)))
    found = found.reshape(groups, k, n, *count, *sizes).transpose(order)
    y = y.reshape(n, groups, k, *y.shape[2:])
    parts = []  # for each axis: the whole pieces, and the last one if `y` ends within it
    for m, size in zip(y.shape[3:], sizes, strict=True):
        whole, rest = divmod(m, size)
        parts.append([(slice(whole), slice(size), slice(whole * size), (whole, size))] if whole else [])
        if rest:
            parts[-1].append((slice(whole, whole + 1), slice(rest), slice(whole * size, m), (1, rest)))
    leading, half = (slice(None),) * 3, scales // 2
    for some in product(*parts):
        seen = found[leading + tuple(s for pieces, pixels, *_ in some for s in (pieces, pixels))]
        into = y[leading + tuple(into for _, _, into, _ in some)]
        into = into.reshape(n, groups, k, *(m for *_, shape in some for m in shape))
        xp.multiply(seen, power(xp, half, y).reshape(n, groups, k, *(1,) * (2 * axes)), out=into)
    xp.multiply(y, power(xp, scales - half, y).reshape(n, groups, k, *(1,) * axes), out=y)


def _image_blocks(on: Device, images: int, spectra: int, t: Tiling, dtype: Any) -> list[slice]:
    """Blocks of as many images as fit in memory with their transforms, `spectra` for each image."""
    each = 2 * prod(frequencies(t.size, dtype)) * dtype.itemsize // (1 + (dtype.kind == "c"))
    step = max(1, on.bytes // (spectra * each))
    return [slice(i, i + step) for i in range(0, images, step)]
