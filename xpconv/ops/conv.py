"""Convolution (cross-correlation, as every deep-learning library means it) in any dimension."""

from __future__ import annotations

from typing import Any

from ..backend import Array
from ..geometry import Window
from ..kernels import portable as kernels


def conv(xp: Any, x: Array, weight: Array, bias: Array | None, window: Window, groups: int = 1) -> Array:
    """Slide `weight` over `x`.

    With output channel `k` of group `g`, output position `p`, tap `r` and the input channels `c` of
    that group:

        y[n, k, p] = bias[k] + Σ_c Σ_r  x[n, c, p*s - lo + r*d] · weight[k, c, r]

    Shapes: `x (N, C, *S)`, `weight (K, C/groups, *R)`, `bias (K,)`, result `(N, K, *P)`.
    Backward needs `x` and `weight` only: the columns of im2col (as many times `x` as there are taps)
    are made again block by block.
    """
    y = kernels.conv(xp, x, weight, window, groups)
    if bias is not None:
        y += channelwise(bias, y.ndim)
    return y


def conv_backward_input(
    xp: Any, grad: Array, weight: Array, x_shape: tuple[int, ...], window: Window, groups: int = 1
) -> Array:
    """Gradient with respect to `x`.

    `x[n, c, h]` enters `y[n, k, p]` through tap `r` exactly where `h = p*s - lo + r*d`, with factor
    `weight[k, c, r]`. So, over all `k` of the group and all such pairs `(p, r)`:

        dx[n, c, h] = Σ_k Σ_(p,r)  grad[n, k, p] · weight[k, c, r]
    """
    return kernels.conv_input_grad(xp, grad, weight, x_shape, window, groups)


def conv_backward_weight(
    xp: Any, grad: Array, x: Array, weight_shape: tuple[int, ...], window: Window, groups: int = 1
) -> Array:
    """Gradient with respect to `weight`: every image and position used the same one.

    dweight[k, c, r] = Σ_n Σ_p  grad[n, k, p] · x[n, c, p*s - lo + r*d]
    """
    return kernels.conv_weight_grad(xp, grad, x, weight_shape, window, groups)


def channel_sum(xp: Any, grad: Array) -> Array:
    """Gradient with respect to what is added once a channel: the sum over everything else, `(C,)`."""
    return grad.sum(axis=tuple(range(2, grad.ndim))).sum(axis=0)


def channelwise(values: Array, ndim: int) -> Array:
    """`(C,)` as `(C, 1, …)`, to broadcast over `(N, C, *S)`."""
    return values.reshape(-1, *(1,) * (ndim - 2))
