"""Convolution of complex arrays as one real convolution; real arrays go to `conv.py` as they are.

A product with `a + ib` is, for real and imaginary parts, the matrix `[[a, -b], [b, a]]`. So a complex
convolution is a real one with twice the channels: those of `x` are its real and imaginary parts in turn, as
they lie in memory, and each weight becomes such a matrix. These are the four real products that a complex one
has, by the algorithm that is fastest for real arrays. Depthwise, the parts are images of their own, and the
real and the imaginary weight a convolution each. Fourier transforms take complex arrays as they are.

The transpose of that matrix belongs to the conjugate `a - ib`, so the real gradients are those of the complex
convolution, in PyTorch's convention, and its adjoints: `⟨conv(x), y⟩ = ⟨x, conv_backward_input(y)⟩` with
`⟨a, b⟩ = Σ conj(a)·b`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..backend import Array
from ..geometry import Window
from . import channels
from . import conv as real


def conv(xp: Any, x: Array, weight: Array, bias: Array | None, window: Window, groups: int = 1) -> Array:
    """`y[n, k, p] = bias[k] + Σ_c Σ_r x[n, c, p*s - lo + r*d] · weight[k, c, r]`, see `ops.conv.conv`."""
    if _as_it_is(xp, x.shape, x.dtype, weight.shape, window, groups):
        return real.conv(xp, x, weight, bias, window, groups)
    if _is_depthwise(weight.shape, groups):
        y = _of_parts(xp, lambda some, w: real.conv(xp, some, w, None, window, groups), x, weight, 1)
        return y if bias is None else y + channels.channelwise(bias, y.ndim)
    if bias is not None:
        bias = xp.ascontiguousarray(bias).view(bias.real.dtype)
    y = real.conv(xp, parts(xp, x), matrices(xp, weight), bias, window, groups)
    return joined(xp, y, x.dtype)


def conv_backward_input(
    xp: Any, grad: Array, weight: Array, x_shape: tuple[int, ...], window: Window, groups: int = 1
) -> Array:
    """`dx[n, c, h] = Σ_k Σ_(p,r) grad[n, k, p] · conj(weight[k, c, r])`."""
    if _as_it_is(xp, x_shape, grad.dtype, weight.shape, window, groups):
        return real.conv_backward_input(xp, grad, conj(weight), x_shape, window, groups)
    if _is_depthwise(weight.shape, groups):
        shape = (2 * x_shape[0], *x_shape[1:])
        return _of_parts(
            xp, lambda g, w: real.conv_backward_input(xp, g, w, shape, window, groups), grad, weight, -1
        )
    shape = (x_shape[0], 2 * x_shape[1], *x_shape[2:])
    dx = real.conv_backward_input(xp, parts(xp, grad), matrices(xp, weight), shape, window, groups)
    return joined(xp, dx, grad.dtype)


def conv_backward_weight(
    xp: Any, grad: Array, x: Array, weight_shape: tuple[int, ...], window: Window, groups: int = 1
) -> Array:
    """`dweight[k, c, r] = Σ_n Σ_p grad[n, k, p] · conj(x[n, c, p*s - lo + r*d])`."""
    if _as_it_is(xp, x.shape, x.dtype, weight_shape, window, groups):
        return real.conv_backward_weight(xp, grad, conj(x), weight_shape, window, groups)
    if _is_depthwise(weight_shape, groups):
        dw, seen = xp.empty(weight_shape, dtype=x.dtype), xp.concatenate((x.real, x.imag))
        for part, first, second in ((dw.real, grad.real, grad.imag), (dw.imag, grad.imag, -grad.real)):
            sent = xp.concatenate((first, second))
            part[...] = real.conv_backward_weight(xp, sent, seen, weight_shape, window, groups)
        return dw
    k, c, *kernel = weight_shape
    shape = (2 * k, 2 * c, *kernel)
    dw = real.conv_backward_weight(xp, parts(xp, grad), parts(xp, x), shape, window, groups)
    return from_matrices(xp, dw, x.dtype)


def _as_it_is(
    xp: Any,
    x_shape: tuple[int, ...],
    dtype: Any,
    weight_shape: tuple[int, ...],
    window: Window,
    groups: int,
) -> bool:
    """Whether `ops.conv` takes arrays of this dtype: real ones, and complex ones that it transforms."""
    if dtype.kind != "c":
        return True
    return real.conv_algorithm(xp, x_shape, dtype, weight_shape, window, groups) == "fft"


def _is_depthwise(weight_shape: tuple[int, ...], groups: int) -> bool:
    """Whether each channel has kernels of its own, for which there is no matrix product to make larger."""
    return weight_shape[1] == 1 < groups


def _of_parts(xp: Any, linear: Callable[[Array, Array], Array], x: Array, weight: Array, sign: int) -> Array:
    """`linear` with real and imaginary parts as images, twice; `sign` is -1 for the conjugate of `weight`."""
    n, images = len(x), xp.concatenate((x.real, x.imag))
    by_real, by_imag = linear(images, weight.real), linear(images, sign * weight.imag)
    y = xp.empty((n, *by_real.shape[1:]), dtype=x.dtype)
    y.real[...] = by_real[:n] - by_imag[n:]
    y.imag[...] = by_real[n:] + by_imag[:n]
    return y


def conj(x: Array) -> Array:
    """The conjugate of complex arrays; real ones as they are."""
    return x.conj() if x.dtype.kind == "c" else x


def channel_sum(xp: Any, grad: Array) -> Array:
    """The gradient of the bias, `dbias[k] = Σ_n Σ_p grad[n, k, p]`."""
    if grad.dtype.kind != "c":
        return channels.channel_sum(xp, grad)
    return channels.channel_sum(xp, parts(xp, grad)).view(grad.dtype)


def parts(xp: Any, x: Array) -> Array:
    """Complex images `(N, C, *S)` as real ones `(N, 2C, *S)`: a view if channels are last in memory."""
    last = xp.ascontiguousarray(xp.moveaxis(x, 1, -1))
    return xp.moveaxis(last.view(x.real.dtype), -1, 1)


def joined(xp: Any, y: Array, dtype: Any) -> Array:
    """The complex images of these `parts`."""
    last = xp.ascontiguousarray(xp.moveaxis(y, 1, -1))
    return xp.moveaxis(last.view(dtype), -1, 1)


def matrices(xp: Any, weight: Array) -> Array:
    """`weight (K, C, *R)` as `(2K, 2C, *R)`: each `a + ib` as `[[a, -b], [b, a]]`."""
    k, c, *kernel = weight.shape
    w = xp.empty((k, 2, c, 2, *kernel), dtype=weight.real.dtype)
    w[:, 0, :, 0] = w[:, 1, :, 1] = weight.real
    w[:, 1, :, 0] = weight.imag
    w[:, 0, :, 1] = -weight.imag
    return w.reshape(2 * k, 2 * c, *kernel)


def from_matrices(xp: Any, dw: Array, dtype: Any) -> Array:
    """The gradient of a complex weight from that of its `matrices`."""
    k, c, *kernel = dw.shape
    dw = dw.reshape(k // 2, 2, c // 2, 2, *kernel)
    result = xp.empty((k // 2, c // 2, *kernel), dtype=dtype)
    result.real[...] = dw[:, 0, :, 0] + dw[:, 1, :, 1]
    result.imag[...] = dw[:, 1, :, 0] - dw[:, 0, :, 1]
    return result
