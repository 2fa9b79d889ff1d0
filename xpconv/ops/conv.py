"""Convolution (cross-correlation, as every deep-learning library means it) in any dimension."""

from __future__ import annotations

from typing import Any

from .. import kernels
from ..backend import Array
from ..geometry import Window
from ..kernels.portable import Bounds as Bounds


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
    With `bounds` it is then cut off at these, which saves a pass over memory for a ReLU that follows.
    Backward needs `x` and `weight` only: the columns of im2col (as many times `x` as there are taps)
    are made again block by block.
    """
    return kernels.of(xp).conv(xp, x, weight, window, groups, bias, algorithm, bounds)


def weight_for_inference(xp: Any, weight: Array) -> Array:
    """The same values, laid in memory so that `conv` has nothing left to do to them."""
    arranged: Array = kernels.of(xp).for_inference(xp, weight)
    return arranged


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
    """
    return kernels.of(xp).conv_input_grad(xp, grad, weight, x_shape, window, groups, algorithm)


def conv_backward_weight(
    xp: Any,
    grad: Array,
    x: Array,
    weight_shape: tuple[int, ...],
    window: Window,
    groups: int = 1,
    algorithm: str = "auto",
) -> Array:
    """Gradient with respect to `weight`: every image and position used the same one.

    dweight[k, c, r] = Σ_n Σ_p  grad[n, k, p] · x[n, c, p*s - lo + r*d]
    """
    return kernels.of(xp).conv_weight_grad(xp, grad, x, weight_shape, window, groups, algorithm)


def conv_algorithm(
    xp: Any, x: Array, weight_shape: tuple[int, ...], window: Window, groups: int, algorithm: str
) -> str:
    """The name of the algorithm that `conv` uses for these arguments."""
    name: str = kernels.of(xp).algorithm(xp, x.shape, x.dtype, weight_shape, window, groups, algorithm)
    return name


def conv_transpose(
    xp: Any,
    x: Array,
    weight: Array,
    bias: Array | None,
    size: tuple[int, ...],
    window: Window,
    groups: int = 1,
) -> Array:
    """The transpose of `conv` as a linear map: its output is what `conv` computes as the input gradient.

    Input position `p` writes through tap `r` to output position `h = p*s - lo + r*d`. With the output
    channels `k` of the group of `c`, over all such pairs:

        y[n, k, h] = bias[k] + Σ_c Σ_(p,r)  x[n, c, p] · weight[c, k, r]

    Shapes: `x (N, C, *P)`, `weight (C, K/groups, *R)`, `bias (K,)`, result `(N, K, *size)`.
    """
    shape = (x.shape[0], weight.shape[1] * groups, *size)
    y = kernels.of(xp).conv_input_grad(xp, x, weight, shape, window, groups)
    if bias is not None:
        y += channelwise(bias, y.ndim)
    return y


def conv_transpose_backward_input(
    xp: Any, grad: Array, weight: Array, x_shape: tuple[int, ...], window: Window, groups: int = 1
) -> Array:
    """Gradient with respect to `x`: the transpose of the transpose, `conv` without a bias.

    dx[n, c, p] = Σ_k Σ_r  grad[n, k, p*s - lo + r*d] · weight[c, k, r]
    """
    grad, window = _written(grad, window, x_shape[2:])
    return kernels.of(xp).conv(xp, grad, weight, window, groups)


def conv_transpose_backward_weight(
    xp: Any, grad: Array, x: Array, weight_shape: tuple[int, ...], window: Window, groups: int = 1
) -> Array:
    """Gradient with respect to `weight`: that of `conv`, with image and gradient in each other's place.

    dweight[c, k, r] = Σ_n Σ_p  x[n, c, p] · grad[n, k, p*s - lo + r*d]
    """
    grad, window = _written(grad, window, x.shape[2:])
    return kernels.of(xp).conv_weight_grad(xp, x, grad, weight_shape, window, groups)


def _written(grad: Array, window: Window, positions: tuple[int, ...]) -> tuple[Array, Window]:
    """The part of `grad` that `positions` of `x` write to, and the window that reads just them from it.

    They write to `h < reach = (P-1)*s + d*(R-1) + 1 - lo`: beyond it `output_padding` has only the bias.
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


def channel_sum(xp: Any, grad: Array) -> Array:
    """Gradient with respect to what is added once a channel: the sum over everything else, `(C,)`."""
    return kernels.of(xp).channel_sum(xp, grad).astype(grad.dtype, copy=False)


def channelwise(values: Array, ndim: int) -> Array:
    """`(C,)` as `(C, 1, …)`, to broadcast over `(N, C, *S)`."""
    return values.reshape(-1, *(1,) * (ndim - 2))
