"""Convolution with large kernels by Fourier transforms, for any array module, and what it costs.

A correlation is a product of transforms: of a kernel of `R` pixels and pieces of `t` pixels of the image,
each of which gives `t - R + 1` pixels of output (overlap-save). The pieces of all images and channels are
transformed, multiplied by the transformed kernels, which for each frequency is a matrix product over the
channels, and transformed back. Dilation is a kernel with zeros between its taps, a stride an output of which
some are left out; in the gradients the output's gradient has zeros between its pixels. The rounding error is
that of a sum of as many terms as a piece has pixels, relative to the largest of them. Very large and very
small values are scaled by powers of two, so that nothing overflows before the result does.

The operations are those of `ops.conv`, bilinear, so without conjugates for complex arrays too.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from math import inf, log2, prod
from typing import Any, NamedTuple

from ..backend import Array, ignoring_float_errors
from ..geometry import Shape, Window
from .scales import exponents, power, scale_back

FEWEST_TAPS = 64  # of kernels that it is considered for
# Times relative to one multiplication and addition in a matrix product (`benchmarks/functional.py` measures):
TRANSFORM = 80.0  # of an element and a step of log2, in a transform
PRODUCT = 50.0  # of a product of two frequencies
COPY = 20.0  # of an element of the columns, for the direct way
STRIDED = 1.5  # times columns of real arrays with a stride, whose copies have short runs of memory
SCATTERED = 3.0  # times a direct input gradient with a stride, which adds up columns tap by tap
DEPTHWISE = 6.0  # of a multiplication and addition without columns
GAIN = 1.25  # from which it is chosen
RATIOS = (1.5, 2.0, 2.5, 3.0, 4.0, 6.0, 10.0, inf)  # sizes of pieces that are tried, in kernels
PRIMES = (2, 3, 5)
DTYPES = ("float32", "float64", "complex64", "complex128")


class Device(NamedTuple):
    """What a device does differently: memory for results, and shares of work."""

    xp: Any
    empty: Callable[[Shape, Any], Array]
    run: Callable[[Callable[[slice], None], int, int], None]  # for slices of a range, and elements in all
    bytes: int  # of the transforms of a block of images


def pays(
    x_shape: Shape, dtype: Any, weight_shape: Shape, window: Window, groups: int, to_input: bool = False
) -> bool:
    """Whether it is faster than a matrix product of columns; `to_input` for the gradient of the input."""
    if prod(window.kernel) < FEWEST_TAPS or str(dtype) not in DTYPES or not prod(x_shape):
        return False
    problem = weight_shape, window, groups
    direct = direct_cost(x_shape, dtype, *problem)
    if max(window.stride) > 1:
        direct *= SCATTERED if to_input else STRIDED if dtype.kind != "c" else 1
    return GAIN * _tiling(x_shape, dtype.kind == "c", *problem)[0] < direct


def direct_cost(x_shape: Shape, dtype: Any, weight_shape: Shape, window: Window, groups: int) -> float:
    """An estimate of the time of columns and their product."""
    pixels = x_shape[0] * prod(window.output_shape(x_shape[2:]))
    columns, products = pixels * x_shape[1] * prod(window.kernel), pixels * prod(weight_shape)
    is_complex = dtype.kind == "c"  # then one is four real ones, on columns of two parts
    if weight_shape[1] == 1 < groups and not is_complex:
        return DEPTHWISE * products
    return (2 * COPY * columns + 4 * products) if is_complex else COPY * columns + products


def piece(x_shape: Shape, dtype: Any, weight_shape: Shape, window: Window, groups: int) -> Shape:
    """The size of the pieces with the lowest cost."""
    return _tiling(x_shape, dtype.kind == "c", weight_shape, window, groups)[1]


@lru_cache(maxsize=1024)
def _tiling(
    x_shape: Shape, is_complex: bool, weight_shape: Shape, window: Window, groups: int
) -> tuple[float, Shape]:
    """The lowest cost, and the size of pieces that has it."""
    reach, spans = _reach(window), _spans(window, x_shape[2:])
    k, c = weight_shape[0], weight_shape[1]
    best: tuple[float, Shape] = (inf, ())
    for ratio in RATIOS:
        size = tuple(good_size(min(m + r - 1, ratio * r)) for m, r in zip(spans, reach, strict=True))
        pieces = x_shape[0] * prod(-(-m // (t - r + 1)) for m, t, r in zip(spans, size, reach, strict=True))
        halves = prod(size) * (1 + is_complex) / 2  # of a real transform half is enough
        transforms = pieces * (x_shape[1] + k) + k * c
        steps = log2(max(2, prod(size)))
        total = TRANSFORM * transforms * halves * steps + PRODUCT * pieces * k * c * halves
        best = min(best, (total, size))
    return best


@lru_cache(maxsize=1024)
def good_size(least: float) -> int:
    """The smallest size from `least` on that has small prime factors only."""
    n = max(1, -int(-least // 1))
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


def _spans(window: Window, spatial: Shape) -> Shape:
    """The size of the output at stride 1, without what comes after the last position."""
    output = window.output_shape(spatial)
    return tuple((m - 1) * s + 1 for m, s in zip(output, window.stride, strict=True))


# --- the three operations -----------------------------------------------------------------------------


@ignoring_float_errors  # infinities give NaN, as in other algorithms without a warning
def conv(on: Device, x: Array, weight: Array, window: Window, y: Array) -> None:
    """Write the convolution to `y (N, K, *P)`."""
    groups = x.shape[1] // weight.shape[1]
    size = piece(x.shape, x.dtype, weight.shape, window, groups)
    full = _spans(window, x.shape[2:])
    lows = tuple(lo for lo, _ in window.padding)
    _correlate(on, x, _spread(on.xp, weight, window.dilation), lows, full, size, groups, y, window.stride)


@ignoring_float_errors
def input_grad(on: Device, grad: Array, weight: Array, window: Window, dx: Array) -> None:
    """Write the gradient to `dx (N, C, *S)`: a correlation with flipped kernels, channels exchanged."""
    groups = dx.shape[1] // weight.shape[1]
    size = piece(dx.shape, dx.dtype, weight.shape, window, groups)
    kernel = _spread(on.xp, weight, window.dilation)
    kernel = on.xp.flip(kernel, tuple(range(2, kernel.ndim)))
    kernel = kernel.reshape(groups, -1, *kernel.shape[1:]).swapaxes(1, 2)
    kernel = kernel.reshape(-1, *kernel.shape[2:])
    lows = tuple(r - 1 - lo for r, (lo, _) in zip(_reach(window), window.padding, strict=True))
    ones = (1,) * len(size)
    spread = _spread(on.xp, grad, window.stride)
    _correlate(on, spread, kernel, lows, dx.shape[2:], size, groups, dx, ones)


@ignoring_float_errors
def weight_grad(on: Device, grad: Array, x: Array, window: Window, dw: Array) -> None:
    """Write the gradient to `dw (K, C/G, *R)`: for each frequency a product over images and pieces."""
    xp, groups = on.xp, x.shape[1] // dw.shape[1]
    size = piece(x.shape, x.dtype, dw.shape, window, groups)
    reach, grad = _reach(window), _spread(xp, grad, window.stride)
    hop = tuple(t - r + 1 for t, r in zip(size, reach, strict=True))
    count = tuple(-(-m // h) for m, h in zip(grad.shape[2:], hop, strict=True))
    lows = tuple(lo for lo, _ in window.padding)
    (n, c), k, places = x.shape[:2], grad.shape[1], prod(count)
    each = frequencies(size, x.dtype)
    kind = _complex(x.dtype)
    of_x, of_k = exponents(xp, x, 1), exponents(xp, grad, 1)
    total = xp.zeros((prod(each), groups, k // groups, c // groups), dtype=kind)
    for images in _image_blocks(on, n, (c + k) * places * prod(each), kind):
        seen = _transformed(on, _pieces(xp, x[images], of_x, lows, count, hop, size), size, kind)
        of_grad = _pieces(xp, grad[images], of_k, (0,) * len(size), count, hop, hop)
        if x.dtype.kind == "c":
            of_grad = of_grad.conj()
        sent = _transformed(on, of_grad, size, kind)
        rows = x[images].shape[0]

        def task(some: slice, seen: Array = seen, sent: Array = sent, rows: int = rows) -> None:
            a = _by_frequency(xp, sent, some, rows, groups)
            b = _by_frequency(xp, seen, some, rows, groups)
            total[some] += xp.matmul(xp.swapaxes(a.conj(), 2, 3), b)

        on.run(task, prod(each), seen.size + sent.size)
    spectra = on.empty((k * (c // groups), *(1,) * len(size), *each), kind)
    spectra.reshape(groups, k // groups, c // groups, -1)[...] = xp.moveaxis(total, 0, -1)
    found = _back(on, spectra, size, reach, dw.dtype)
    taps = (..., *(slice(None, None, d) for d in window.dilation))
    of_c = xp.repeat(of_x.reshape(groups, -1), k // groups, 0)  # of the channels of each kernel
    scale_back(xp, found[taps].reshape(dw.shape), of_k.reshape(k, 1) + of_c, dw)


def _correlate(
    on: Device,
    x: Array,
    kernel: Array,
    lows: Shape,
    output: Shape,
    size: Shape,
    groups: int,
    y: Array,
    steps: Shape,
) -> None:
    """`y[n, k, p] = Σ_c Σ_r x[n, c, p - lo + r] · kernel[k, c, r]` at every `steps`-th of the positions."""
    xp, reach = on.xp, kernel.shape[2:]
    hop = tuple(t - r + 1 for t, r in zip(size, reach, strict=True))
    count = tuple(-(-m // h) for m, h in zip(output, hop, strict=True))
    (n, c), k, places = x.shape[:2], kernel.shape[0], prod(count)
    each, kind = frequencies(size, x.dtype), _complex(x.dtype)
    of_x, of_k = exponents(xp, x, 0), exponents(xp, kernel, 0)
    kernel = kernel * power(xp, -of_k, kernel)
    weights = kernel.conj() if kernel.dtype.kind == "c" else kernel
    weights = weights.reshape(-1, *(1,) * len(size), *reach)
    spectra = _transformed(on, weights, size, kind).reshape(groups, k // groups, c // groups, -1)
    for images in _image_blocks(on, n, (c + k) * places * prod(each), kind):
        rows = x[images].shape[0]
        some_x = of_x[images]
        seen = _transformed(on, _pieces(xp, x[images], some_x, lows, count, hop, size), size, kind)
        result = on.empty((rows * k, places, prod(each)), kind)
        into = result.reshape(rows, groups, k // groups, places, -1)

        def task(some: slice, seen: Array = seen, into: Array = into, rows: int = rows) -> None:
            a = _by_frequency(xp, seen, some, rows, groups)
            b = xp.ascontiguousarray(spectra[..., some].transpose(3, 0, 2, 1)).conj()
            found = xp.matmul(a, b)
            found = found.reshape(len(found), groups, rows, places, k // groups)
            into[..., some] = found.transpose(2, 1, 4, 3, 0)

        on.run(task, prod(each), seen.size + result.size)
        del seen
        scales = some_x.reshape(rows, 1) + of_k.reshape(1, k)
        _put(on, result.reshape(rows * k, *count, *each), size, hop, steps, scales, y[images])


def _put(on: Device, result: Array, size: Shape, hop: Shape, steps: Shape, scales: Array, y: Array) -> None:
    """Transform the results of all pieces back, and write them to `y` in their places."""
    axes = len(size)
    (rows, k), count = y.shape[:2], result.shape[1 : axes + 1]
    found = _back(on, result, size, hop, y.dtype)
    order = [0, *(axis for i in range(axes) for axis in (1 + i, 1 + axes + i))]
    whole = found.transpose(order).reshape(rows, k, *(m * h for m, h in zip(count, hop, strict=True)))
    seen = (..., *(slice(0, (m - 1) * s + 1, s) for m, s in zip(y.shape[2:], steps, strict=True)))
    scale_back(on.xp, whole[seen], scales, y)


# --- transforms ---------------------------------------------------------------------------------------


def frequencies(size: Shape, dtype: Any) -> Shape:
    """The shape of the transform of a piece: real arrays have half of the last axis."""
    return size if dtype.kind == "c" else (*size[:-1], size[-1] // 2 + 1)


def _complex(dtype: Any) -> str:
    return "complex64" if str(dtype) in ("float32", "complex64") else "complex128"


def _spread(xp: Any, x: Array, steps: Shape) -> Array:
    """`x` with zeros between its pixels, which are then `steps` apart."""
    if max(steps) == 1:
        return x
    sizes = ((n - 1) * s + 1 for n, s in zip(x.shape[2:], steps, strict=True))
    wide = xp.zeros((*x.shape[:2], *sizes), dtype=x.dtype)
    pixels = (..., *(slice(None, None, s) for s in steps))
    wide[pixels] = x
    return wide


def _pieces(xp: Any, x: Array, scales: Array, lows: Shape, count: Shape, hop: Shape, size: Shape) -> Array:
    """Pieces that begin `hop` apart, the first one `lows` before `x`: views `(N·C, *count, *size)`.

    They are divided by two to the `scales`.
    """
    sizes = tuple((m - 1) * h + t for m, h, t in zip(count, hop, size, strict=True))
    framed = xp.zeros((x.shape[0] * x.shape[1], *sizes), dtype=x.dtype)
    inside: tuple[slice, ...] = (slice(None), slice(None))
    into: tuple[slice, ...] = inside
    for n, lo, whole in zip(x.shape[2:], lows, sizes, strict=True):
        first, last = max(0, -lo), min(n, whole - lo)
        inside += (slice(first, max(first, last)),)
        into += (slice(first + lo, max(first, last) + lo),)
    xp.multiply(x[inside], power(xp, -scales, x), out=framed.reshape(*x.shape[:2], *sizes)[into])
    by_row, *by_pixel = framed.strides
    hops = (step * h for step, h in zip(by_pixel, hop, strict=True))
    shape = (framed.shape[0], *count, *size)
    return xp.lib.stride_tricks.as_strided(framed, shape, (by_row, *hops, *by_pixel))


def _transformed(on: Device, pieces: Array, size: Shape, kind: str) -> Array:
    """The transforms `(rows, places, F)` of `pieces (rows, *count, *S)`, which zeros fill up to `size`."""
    xp, axes = on.xp, len(size)
    given = pieces.shape[-axes:]
    each = frequencies(size, pieces.dtype)
    result = on.empty((*pieces.shape[:-axes], *each), kind)
    filled = (..., *(slice(0, n) for n in given[:-1]), slice(None))
    transform = xp.fft.fft if pieces.dtype.kind == "c" else xp.fft.rfft
    along = _longer(pieces.shape)

    def task(some: slice) -> None:
        part = (slice(None),) * along + (some,)
        out = result[part]
        if given[:-1] != size[:-1]:
            out[...] = 0
        out[filled] = transform(pieces[part], size[-1], -1)
        for axis in range(-2, -axes - 1, -1):
            out[...] = xp.fft.fft(out, None, axis)

    on.run(task, pieces.shape[along], result.size)
    return result.reshape(pieces.shape[0], -1, prod(each))


def _back(on: Device, spectra: Array, size: Shape, first: Shape, dtype: Any) -> Array:
    """The `first` pixels of the pieces whose transforms are `spectra (rows, *count, *each)`."""
    xp, axes = on.xp, len(size)
    result = on.empty((*spectra.shape[:-axes], *first), dtype)
    transform = xp.fft.ifft if spectra.shape[-1] == size[-1] and dtype.kind == "c" else xp.fft.irfft
    wanted = (..., *(slice(0, n) for n in first[:-1]), slice(None))
    along = _longer(spectra.shape)

    def task(some: slice) -> None:
        part = (slice(None),) * along + (some,)
        values = spectra[part]
        for axis in range(-axes, -1):
            values = xp.fft.ifft(values, None, axis)
        result[part] = transform(values[wanted], size[-1], -1)[..., : first[-1]]

    on.run(task, spectra.shape[along], spectra.size)
    return result


def _longer(shape: Shape) -> int:
    """The axis, of the rows or of the first pieces, that work is divided along."""
    return 0 if shape[0] >= shape[1] else 1


def _by_frequency(xp: Any, spectra: Array, some: slice, rows: int, groups: int) -> Array:
    """`some` frequencies of `(rows·C, places, F)` as contiguous matrices `(f, G, rows·places, C/G)`."""
    parts = spectra[..., some].reshape(rows, groups, -1, *spectra[..., some].shape[1:])
    parts = parts.transpose(4, 1, 0, 3, 2)
    return xp.ascontiguousarray(parts).reshape(*parts.shape[:2], -1, parts.shape[-1])


def _image_blocks(on: Device, images: int, elements: int, kind: str) -> list[slice]:
    """As many images at a time as their transforms fit in memory, of so many elements for each."""
    step = max(1, on.bytes // (elements * (8 if kind == "complex64" else 16)))
    return [slice(i, i + step) for i in range(0, images, step)]
