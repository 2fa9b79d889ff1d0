"""Convolution with large kernels by Fourier transforms, for any array module, and what it costs.

A correlation is a product of transforms: of a kernel of `R` pixels and pieces of `t` pixels of the image,
each of which gives `t - R + 1` pixels of output (overlap-save). The pieces of all images and channels are
transformed, multiplied by the transformed kernels, which for each frequency is a matrix product over the
channels, and transformed back (`transforms.py`). With a dilation there are gaps between the taps of a
kernel in a piece, and with a stride between the outputs and between the pixels of their gradient. The
rounding error is that of a sum of as many terms as a piece has pixels, relative to the largest of them. Very
large and very small values are scaled by powers of two, so that nothing overflows before the result does.
To limit memory, images and kernels are transformed in blocks, and images again for each block of kernels.

The operations are those of `ops.conv`, bilinear, so without conjugates for complex arrays too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import product
from math import inf, log2, prod
from typing import Any, NamedTuple

from ..backend import Array, ignoring_float_errors
from ..geometry import Shape, Window
from .pieces import count, pieces, put
from .scales import exponents, power, scale_back
from .transforms import Places, backward, forward, frequencies

FEWEST_TAPS = 64  # of kernels that it is considered for
LARGEST_MATRIX = 512  # pixels of a side of a piece: the DFT's matrix has the square of it
BLOCK_BYTES = 1 << 27  # of the transforms of a block of images, and of one of kernels
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
    bytes: int  # of the transforms of a block of images, and of one of kernels
    matrices: bool  # whether products with the matrix of the DFT may be faster than the device's FFTs
    kept: dict[Any, Array]  # such matrices, which `transforms.py` keeps


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
    limit: int = BLOCK_BYTES,
) -> bool:
    """Whether it is faster than a matrix product of columns; `to_input` for the gradient of the input.

    `limit` is that of the device's memory.
    """
    if prod(window.kernel) < FEWEST_TAPS or str(dtype) not in DTYPES or not prod(x_shape):
        return False
    cost = tiling(x_shape, dtype, weight_shape, window, matrices, to_input, limit).cost
    if (
        dtype.kind == "c" and matrices and weight_shape[1] > 1
    ):  # `ops.conv_complex` otherwise computes with real arrays
        x_parts = (x_shape[0], 2 * x_shape[1], *x_shape[2:])
        w_parts = (2 * weight_shape[0], 2 * weight_shape[1], *weight_shape[2:])
        real = dtype.type().real.dtype
        if tiling(x_parts, real, w_parts, window, matrices, to_input, limit).cost < cost:
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
    x_shape: Shape,
    dtype: Any,
    weight_shape: Shape,
    window: Window,
    matrices: bool,
    to_input: bool = False,
    limit: int = BLOCK_BYTES,
) -> Tiling:
    """The tiling with the lowest cost."""
    ways = (False, True) if matrices and len(window.kernel) == 2 and dtype.kind != "c" else (False,)
    output = zip(window.output_shape(x_shape[2:]), window.stride, strict=True)
    spans = x_shape[2:] if to_input else tuple((m - 1) * s + 1 for m, s in output)
    return min(
        _tiling(ratio, by_matrices, spans, x_shape, dtype, weight_shape, window, to_input, limit)
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
    to_input: bool,
    limit: int,
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
    each, kernels = weight_shape[0] * weight_shape[1] // x_shape[1], weight_shape[0] * weight_shape[1]
    sent, found, c, k = x_shape[1], weight_shape[0], weight_shape[1], each
    if to_input:
        sent, found, c, k = found, sent, k, c
    times = -(-k // _kernel_rows(limit, c, tuple(size), dtype, by_matrices))  # each image is transformed
    channels = images * (times * sent + found)
    halves = prod(size) * (1 + is_complex) / 2  # half of a real transform is enough
    total = (REAL_PRODUCT if by_matrices else PRODUCT) * images * kernels * halves
    if by_matrices:
        if max(size) > LARGEST_MATRIX:
            return Tiling(inf, tuple(size), tuple(hop), by_matrices)
        of_rows, of_columns = size[1], 2 * size[0]
        of_kernel = window.kernel[0] * size[1] * (max(window.kernel[1], size[0]) + of_columns)
        total += MATRIX * (channels * (of_rows + of_columns) * prod(size) + kernels * of_kernel)
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
    t = tiling(x.shape, x.dtype, weight.shape, window, on.matrices, limit=on.bytes)
    lows = tuple(lo for lo, _ in window.padding)
    inputs = tuple(map(range, t.size))
    outputs = tuple(range(0, h, s) for h, s in zip(t.hop, window.stride, strict=True))
    kernels = weight.reshape(groups, -1, *weight.shape[1:])
    _filter(on, x, kernels, t, lows, inputs, outputs, _taps(window), 1, y)


@ignoring_float_errors
def input_grad(on: Device, grad: Array, weight: Array, window: Window, dx: Array) -> None:
    """Write the gradient to `dx (N, C, *S)`."""
    groups = dx.shape[1] // weight.shape[1]
    t = tiling(dx.shape, dx.dtype, weight.shape, window, on.matrices, True, on.bytes)
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
    t = tiling(x.shape, x.dtype, dw.shape, window, on.matrices, limit=on.bytes)
    lows = tuple(lo for lo, _ in window.padding)
    inputs = tuple(map(range, t.size))
    outputs = tuple(range(0, h, s) for h, s in zip(t.hop, window.stride, strict=True))
    counts = count(grad.shape[2:], outputs)
    of_x, of_k = exponents(xp, x, 1), exponents(xp, grad, 1)
    c, k = c // groups, k // groups
    dw = dw.reshape(groups, k, *dw.shape[1:])
    for some, rows, read, made in _kernel_blocks(on, groups, k, c, t, x.dtype):
        m, spectra = some.stop - some.start, read.stop - read.start + made.stop - made.start
        total: Any = 0
        for images in _image_blocks(on, n, spectra * prod(counts), t, x.dtype):
            some_pieces = pieces(on, x[images, read], of_x[:, read], lows, counts, t.hop, inputs, m)
            seen = forward(on, some_pieces, inputs, t.size, -1, t.by_matrices)
            some_pieces = pieces(
                on, grad[images, made], of_k[:, made], (0,) * len(lows), counts, t.hop, outputs, m
            )
            sent = forward(on, some_pieces, outputs, t.size, 1, t.by_matrices)
            total = total + _products(on, sent, seen.swapaxes(2, 3))
        if t.by_matrices:  # these are products of all real and imaginary parts
            total = total.reshape(*total.shape[:2], 2, -1, 2, c)
            real = total[:, :, 0, :, 0] - total[:, :, 1, :, 1]
            total = xp.concatenate((real, total[:, :, 0, :, 1] + total[:, :, 1, :, 0]), 2)
        found = backward(on, total, _taps(window), t.size, dw.dtype, t.by_matrices)
        scales = of_k[:, made].reshape(m, -1, 1) + of_x[:, read].reshape(m, 1, c)
        scale_back(xp, found, scales, dw[some, rows])


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
    counts = count(y.shape[2:], outputs)
    of_x, of_k = exponents(xp, x, 0), exponents(xp, kernels.reshape(groups * k, *kernels.shape[2:]), 0)
    of_k = of_k.reshape(groups, k)
    scaled = kernels * power(xp, -of_k, kernels).reshape(groups, k, *(1,) * (kernels.ndim - 2))
    for some, rows, read, made in _kernel_blocks(on, groups, k, c, t, x.dtype):
        factors = forward(on, scaled[some, rows], taps, t.size, sign, t.by_matrices, factors=True)
        m, spectra = some.stop - some.start, read.stop - read.start + made.stop - made.start
        for images in _image_blocks(on, n, spectra * prod(counts), t, x.dtype):
            some_pieces = pieces(on, x[images, read], of_x[images], lows, counts, t.hop, inputs, m)
            seen = forward(on, some_pieces, inputs, t.size, -1, t.by_matrices)
            result = _products(on, factors, seen)
            found = backward(on, result, outputs, t.size, y.dtype, t.by_matrices)
            put(xp, found, counts, of_x[images].reshape(-1, 1, 1) + of_k[some, rows], y[images, made])


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


# --- blocks -------------------------------------------------------------------------------------------


def _image_blocks(on: Device, images: int, spectra: int, t: Tiling, dtype: Any) -> list[slice]:
    """Blocks of as many images as fit in memory with their transforms, `spectra` for each image."""
    step = max(1, on.bytes // (spectra * _spectrum_bytes(t.size, dtype)))
    return [slice(i, i + step) for i in range(0, images, step)]


def _kernel_blocks(
    on: Device, groups: int, k: int, c: int, t: Tiling, dtype: Any
) -> Iterator[tuple[slice, slice, slice, slice]]:
    """Blocks of as many kernels `(G, K, C)` as fit in memory with their transforms: groups, or rows of one.

    Each with the channels of the images that these kernels read and make.
    """
    rows = _kernel_rows(on.bytes, c, t.size, dtype, t.by_matrices)
    step = max(1, rows // k)
    for i, j in product(range(0, groups, step), range(0, k, rows)):
        stop, last = min(i + step, groups), min(j + rows, k)
        yield slice(i, stop), slice(j, last), slice(i * c, stop * c), slice(i * k + j, (stop - 1) * k + last)


def _kernel_rows(limit: int, c: int, size: Shape, dtype: Any, by_matrices: bool) -> int:
    """How many rows of `c` kernels fit in memory with their transforms; matrices need each number twice."""
    return max(1, limit // (c * _spectrum_bytes(size, dtype) * (1 + by_matrices)))


def _spectrum_bytes(size: Shape, dtype: Any) -> int:
    """The bytes of the transform of a piece."""
    return int(2 * prod(frequencies(size, dtype)) * dtype.itemsize // (1 + (dtype.kind == "c")))
