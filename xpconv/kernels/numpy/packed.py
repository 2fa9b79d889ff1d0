"""Convolution with few output channels: several pixels of a row side by side as if they were channels.

A product with a matrix of few columns runs at a fraction of the speed. B neighbouring pixels with K channels
each are B·K numbers in one piece of channels-last memory. They are the output of a convolution with stride
B·s and a kernel that holds B shifted copies of the original one, among zeros:

    weight'[(j, k), c, r, s'] = weight[k, c, r, s' - j·s]        for pixel j = 0 … B-1

It takes more products, but wider ones, and copies fewer columns. The gradient of `weight` is the sum over the
copies.
"""

from __future__ import annotations

from operator import setitem

import numpy as np

from ...backend import Array
from ...geometry import Window
from . import columns
from .blocks import Ending, contiguous
from .memory import channels_first, channels_last, taps_first
from .plans import Recorder
from .products import small_kernels
from .scratch import Scratch


def pixels(weight_shape: tuple[int, ...], window: Window, output: tuple[int, ...]) -> int:
    """The B of least cost per pixel: products at the speed of BLAS at that width, and copies of columns."""
    if window.dilation[-1] != 1 or weight_shape[0] > 24:
        return 1
    k, row = weight_shape[0], weight_shape[1]
    for n in window.kernel[:-1]:
        row *= n

    def cost(b: int) -> float:
        length = row * ((b - 1) * window.stride[-1] + window.kernel[-1])
        slower = max(1, 16 / (b * k)) if small_kernels() else 1 + 6 / (b * k)
        return 2 * k * length * slower + 20 * length / b

    return min((b for b in range(1, 9) if output[-1] % b == 0), key=cost)


def conv(recorder: Recorder, x: Array, weight: Array, window: Window, y: Array, ending: Ending) -> None:
    """Write to `y (N, K, *P)`, B pixels at once."""
    b = pixels(weight.shape, window, y.shape[2:])
    s, kernel = window.stride[-1], window.kernel[-1]
    k, c, *taps = weight.shape

    def shift(do: Scratch, copies: Array) -> None:
        do(setitem, copies, ..., 0)
        for j in range(b):
            do(setitem, copies[..., j * s : j * s + kernel, :, j, :], ..., taps_first(weight))

    shape = (*taps[:-1], (b - 1) * s + kernel, c, b, k)
    copies = recorder.prepared("copies", shape, weight.dtype, weight, shift)
    ending = ending.times(b, recorder, "packed bias")
    copies = copies.reshape(*shape[:-2], b * k)
    weight = copies.transpose(copies.ndim - 1, copies.ndim - 2, *range(copies.ndim - 2))
    columns.conv(recorder, x, weight, _packed(x, window, b, y), 1, _side(y, b), ending)


def weight_grad(
    recorder: Recorder, grad: Array, x: Array, weight_shape: tuple[int, ...], window: Window
) -> Array:
    """The gradient of the weight, `dw (K, C, *R)`."""
    b = pixels(weight_shape, window, grad.shape[2:])
    s = window.stride[-1]
    grad = channels_first(contiguous(recorder, "packed gradient", channels_last(grad)))
    packed = _packed(x, window, b, grad)
    shape = (b * weight_shape[0], weight_shape[1], *packed.kernel)
    (copies,) = columns.weight_grad(recorder, _side(grad, b), x, shape, packed, 1)
    dw = recorder.scratch("packed", weight_shape, x.dtype)
    recorder(setitem, dw, ..., 0)
    for j in range(b):
        copy = copies[j * weight_shape[0] : (j + 1) * weight_shape[0]]
        recorder(np.add, dw, copy[..., j * s : j * s + window.kernel[-1]], dw)
    return dw


def _packed(x: Array, window: Window, b: int, y: Array) -> Window:
    s, kernel, (lo, _) = window.stride[-1], window.kernel[-1], window.padding[-1]
    length = (y.shape[-1] - 1) * s + kernel  # pixels of an input row that a row of outputs reads
    return Window(
        (*window.kernel[:-1], (b - 1) * s + kernel),
        (*window.stride[:-1], b * s),
        (*window.padding[:-1], (lo, length - x.shape[-1] - lo)),
        window.dilation,
    )


def _side(y: Array, b: int) -> Array:
    """`(N, K, *P, Q)` as `(N, B·K, *P, Q/B)`: a view of channels-last memory."""
    last = channels_last(y)
    return channels_first(last.reshape(*last.shape[:-2], -1, b * last.shape[-1]))
