"""Transposed convolution in any dimension, of real and complex arrays: the convolution's own gradients.

The input gradient of `conv_complex.py` has the conjugate of the weight. The transpose has not, so it
conjugates the weight first.
"""

from __future__ import annotations

from typing import Any

from ..backend import Array
from ..geometry import Window
from .channels import channelwise
from .conv_complex import conj, conv, conv_backward_input, conv_backward_weight


def conv_transpose(
    xp: Any,
    x: Array,
    weight: Array,
    bias: Array | None,
    size: tuple[int, ...],
    window: Window,
    groups: int = 1,
) -> Array:
    """The transpose of `conv` as a linear map: for real arrays its output is the input gradient of `conv`.

    Input position `p` writes through tap `r` to output position `h = p*s - lo + r*d`. With the output
    channels `k` of the group of `c`, over all such pairs:

        y[n, k, h] = bias[k] + Σ_c Σ_(p,r)  x[n, c, p] · weight[c, k, r]

    Shapes: `x (N, C, *P)`, `weight (C, K/groups, *R)`, `bias (K,)`, result `(N, K, *size)`.
    """
    shape = (x.shape[0], weight.shape[1] * groups, *size)
    y = conv_backward_input(xp, x, conj(weight), shape, window, groups)
    if bias is not None:
        y += channelwise(bias, y.ndim)
    return y


def conv_transpose_backward_input(
    xp: Any, grad: Array, weight: Array, x_shape: tuple[int, ...], window: Window, groups: int = 1
) -> Array:
    """Gradient with respect to `x`: the transpose of the transpose, `conv` without a bias.

    dx[n, c, p] = Σ_k Σ_r  grad[n, k, p*s - lo + r*d] · conj(weight[c, k, r])
    """
    grad, window = _written(grad, window, x_shape[2:])
    return conv(xp, grad, conj(weight), None, window, groups)


def conv_transpose_backward_weight(
    xp: Any, grad: Array, x: Array, weight_shape: tuple[int, ...], window: Window, groups: int = 1
) -> Array:
    """Gradient with respect to `weight`: that of `conv`, with image and gradient exchanged.

    dweight[c, k, r] = Σ_n Σ_p  conj(x[n, c, p]) · grad[n, k, p*s - lo + r*d]
    """
    grad, window = _written(grad, window, x.shape[2:])
    return conj(conv_backward_weight(xp, x, grad, weight_shape, window, groups))


def _written(grad: Array, window: Window, positions: tuple[int, ...]) -> tuple[Array, Window]:
    """The part of `grad` that `positions` of `x` write to, and the window that reads only these from it.

    They write to `h < reach = (P-1)*s + d*(R-1) + 1 - lo`: positions beyond hold only the bias.
    """
    part: tuple[slice, ...] = (slice(None), slice(None))
    padding = []
    for n, m, k, s, (lo, _), d in zip(
        grad.shape[2:], positions, window.kernel, window.stride, window.padding, window.dilation, strict=True
    ):
        reach = (m - 1) * s + d * (k - 1) + 1 - lo
        part += (slice(0, max(0, reach)),)
        padding.append((lo + min(0, reach), max(0, reach - n)))
    return grad[part], window._replace(padding=tuple(padding))
