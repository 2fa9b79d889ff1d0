"""Products of matrices."""

from __future__ import annotations

from typing import Any

from ...backend import Array
from ...errors import ShapeError
from ...ops.linear import linear, linear_backward_input, linear_backward_weight, matmul
from .operator import Operator, unbroadcast

Result = tuple[Any, tuple[Any, ...]]


class MatMul(Operator):
    """`a @ b`, as `numpy.matmul`; with matrices `b` that all of `a` shares, as one product.

        da = grad @ bᵀ,    db = aᵀ @ grad

    A vector counts as a matrix of one row (`a`) or column (`b`), which the result lacks.
    """

    def _compute(self, xp: Any, a: Array, b: Array) -> Result:
        if not a.ndim or not b.ndim or a.shape[-1] != b.shape[-2 if b.ndim > 1 else 0]:
            raise ShapeError(f"MatMul.forward: shapes {a.shape} and {b.shape} do not fit each other")
        if b.ndim == 2 and a.ndim > 1 and a.size:
            return linear(xp, a, b.T, None), (a, b)
        return xp.matmul(a, b), (a, b)

    def _gradients(self, xp: Any, grad: Array, *saved: Any) -> tuple[Array, Array]:
        a, b = saved
        if b.ndim == 2 and a.ndim > 1 and a.size:
            return linear_backward_input(xp, grad, b.T), linear_backward_weight(xp, grad, a).T
        left = a[None] if a.ndim == 1 else a
        right = b[:, None] if b.ndim == 1 else b
        if b.ndim == 1:
            grad = grad[..., None]
        if a.ndim == 1:
            grad = grad[..., None, :]
        da = unbroadcast(xp.matmul(grad, xp.swapaxes(right, -1, -2)), left.shape)
        db = unbroadcast(xp.matmul(xp.swapaxes(left, -1, -2), grad), right.shape)
        return da.reshape(a.shape), db.reshape(b.shape)


class Gemm(Operator):
    """`alpha a @ b + beta c` of matrices, each transposed if asked for; `c` is broadcast or left out."""

    def __init__(
        self, alpha: float = 1.0, beta: float = 1.0, trans_a: bool = False, trans_b: bool = False
    ) -> None:
        self.alpha, self.beta, self.trans_a, self.trans_b = alpha, beta, trans_a, trans_b

    def _compute(self, xp: Any, a: Array, b: Array, c: Array | None = None) -> Result:
        left, right = a.T if self.trans_a else a, b.T if self.trans_b else b
        if a.ndim != 2 or b.ndim != 2 or left.shape[1] != right.shape[0]:
            raise ShapeError(f"Gemm.forward: shapes {left.shape} and {right.shape} do not fit each other")
        y = matmul(xp, left, right)
        if self.alpha != 1:
            y = y * self.alpha
        if c is not None:
            y = y + (c if self.beta == 1 else c * self.beta)
        return y, (a, b, None if c is None else c.shape)

    def _gradients(self, xp: Any, grad: Array, *saved: Any) -> tuple[Array | None, ...]:
        a, b, c = saved
        scaled = grad if self.alpha == 1 else grad * self.alpha
        da = matmul(xp, scaled, b if self.trans_b else b.T)
        db = matmul(xp, a if self.trans_a else a.T, scaled)
        grads = da.T if self.trans_a else da, db.T if self.trans_b else db
        if c is None:
            return grads
        return *grads, unbroadcast(grad if self.beta == 1 else grad * self.beta, c)
