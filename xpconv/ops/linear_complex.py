"""The affine map of complex arrays as one real product; real arrays pass through to `linear.py`.

As in `conv_complex.py`: the real and imaginary parts are features of their own, each weight a matrix of two
rows, and the real gradients are the complex adjoints.
"""

from __future__ import annotations

from typing import Any

from ..backend import Array
from . import linear as real
from .conv_complex import from_matrices, matrices


def linear(xp: Any, x: Array, weight: Array, bias: Array | None) -> Array:
    """`y[…, k] = Σ_c x[…, c] · weight[k, c] + bias[k]`."""
    if x.dtype.kind != "c":
        return real.linear(xp, x, weight, bias)
    if bias is not None:
        bias = _parts(xp, bias)
    return xp.ascontiguousarray(real.linear(xp, _parts(xp, x), matrices(xp, weight), bias)).view(x.dtype)


def linear_backward_input(xp: Any, grad: Array, weight: Array) -> Array:
    """`dx[…, c] = Σ_k grad[…, k] · conj(weight[k, c])`."""
    if grad.dtype.kind != "c":
        return real.linear_backward_input(xp, grad, weight)
    dx = real.linear_backward_input(xp, _parts(xp, grad), matrices(xp, weight))
    return xp.ascontiguousarray(dx).view(grad.dtype)


def linear_backward_weight(xp: Any, grad: Array, x: Array) -> Array:
    """`dweight[k, c] = Σ_… grad[…, k] · conj(x[…, c])`."""
    if x.dtype.kind != "c":
        return real.linear_backward_weight(xp, grad, x)
    return from_matrices(xp, real.linear_backward_weight(xp, _parts(xp, grad), _parts(xp, x)), x.dtype)


def linear_backward_bias(xp: Any, grad: Array) -> Array:
    """`dbias[k] = Σ_… grad[…, k]`."""
    if grad.dtype.kind != "c":
        return real.linear_backward_bias(xp, grad)
    return xp.ascontiguousarray(real.linear_backward_bias(xp, _parts(xp, grad))).view(grad.dtype)


def _parts(xp: Any, x: Array) -> Array:
    """`(…, C)` complex as `(…, 2C)` real."""
    return xp.ascontiguousarray(x).view(x.real.dtype)
