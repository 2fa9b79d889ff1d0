"""The affine map over the last axis; leading axes are the rows of one matrix product."""

from __future__ import annotations

from typing import Any

from ..backend import Array
from ..geometry import Bounds
from ..kernels import overridable
from ..sums import SERIAL, piece, product, sum_over
from .activation import clip
from .channels import channel_sum


@overridable
def matmul(xp: Any, a: Array, b: Array) -> Array:
    """`a @ b` of two matrices, in pieces whose sums are added in float64 if float32 is too imprecise."""
    most = piece(a, b)
    return product(xp, a, b, most) if most else a @ b


@overridable
def affine(xp: Any, x: Array, weight: Array, bias: Array | None) -> Array:
    """`linear` of a matrix `x (N, C)`."""
    y = matmul(xp, x, weight.T)
    if bias is not None:
        y += bias
    return y


def linear(xp: Any, x: Array, weight: Array, bias: Array | None) -> Array:
    """`y[…, k] = Σ_c x[…, c] · weight[k, c] + bias[k]`."""
    y = affine(xp, rows(x), weight, bias)
    return y.reshape(*x.shape[:-1], weight.shape[0])


def linear_backward_input(xp: Any, grad: Array, weight: Array) -> Array:
    """`dx[…, c] = Σ_k grad[…, k] · weight[k, c]`."""
    dx = matmul(xp, rows(grad), weight)
    return dx.reshape(*grad.shape[:-1], weight.shape[1])


def linear_backward_weight(xp: Any, grad: Array, x: Array) -> Array:
    """`dweight[k, c] = Σ_… grad[…, k] · x[…, c]`, as all rows share the weight."""
    return matmul(xp, rows(grad).T, rows(x))


def linear_backward_bias(xp: Any, grad: Array) -> Array:
    """`dbias[k] = Σ_… grad[…, k]`."""
    grad = rows(grad)
    return sum_over(grad, (0,)) if len(grad) <= SERIAL else channel_sum(xp, grad)


@overridable
def add(xp: Any, a: Array, b: Array, bounds: Bounds = None) -> Array:
    """`a + b` of two arrays of one shape; then, with `bounds`, `clip`. The gradient of each is the sum's."""
    y = a + b
    return y if bounds is None else clip(xp, y, *bounds)


def rows(x: Array) -> Array:
    """All leading axes as one."""
    if x.ndim == 2:
        return x
    count = 1
    for size in x.shape[:-1]:
        count *= size
    return x.reshape(count, x.shape[-1])


def bilinear(xp: Any, x1: Array, x2: Array, weight: Array, bias: Array | None) -> Array:
    """`y[…, k] = Σ_ij x1[…, i] · weight[k, i, j] · x2[…, j] + bias[k]`: linear in the products."""
    y = matmul(xp, _products(x1, x2), weight.reshape(weight.shape[0], -1).T)
    if bias is not None:
        y += bias
    return y.reshape(*x1.shape[:-1], weight.shape[0])


def bilinear_backward_input(xp: Any, grad: Array, x1: Array, x2: Array, weight: Array) -> tuple[Array, Array]:
    """`dx1[…, i] = Σ_kj grad[…, k] · x2[…, j] · weight[k, i, j]`, and so `dx2[…, j]` over `k, i`."""
    out, in1, in2 = weight.shape
    dx1 = matmul(xp, _products(grad, x2), weight.transpose(0, 2, 1).reshape(out * in2, in1))
    dx2 = matmul(xp, _products(grad, x1), weight.reshape(out * in1, in2))
    return dx1.reshape(x1.shape), dx2.reshape(x2.shape)


def bilinear_backward_weight(xp: Any, grad: Array, x1: Array, x2: Array) -> Array:
    """`dweight[k, i, j] = Σ_… grad[…, k] · x1[…, i] · x2[…, j]`."""
    dweight = matmul(xp, rows(grad).T, _products(x1, x2))
    return dweight.reshape(grad.shape[-1], x1.shape[-1], x2.shape[-1])


def _products(a: Array, b: Array) -> Array:
    """`a_i b_j` of each row, as `(rows, I·J)`."""
    a, b = rows(a), rows(b)
    return (a[:, :, None] * b[:, None, :]).reshape(a.shape[0], a.shape[1] * b.shape[1])
