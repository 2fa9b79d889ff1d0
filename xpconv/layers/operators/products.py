"""Products of matrices."""

from __future__ import annotations

from collections.abc import Sequence
from string import ascii_letters as LETTERS
from typing import Any

from ...backend import Array
from ...errors import ShapeError
from ...ops.linear import linear, linear_backward_input, linear_backward_weight, matmul
from ...sums import widened
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
        return xp.matmul(a, b).astype(a.dtype, copy=False), (a, b)  # NumPy gives float32 of bfloat16

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


class Einsum(Operator):
    """Einstein's sum of products, as `numpy.einsum`.

    The gradient of an input is that same sum of `grad` and all other inputs, for the letters of that input.
    Letters of no other array are an axis that was summed, along which the gradient is the same.

    Args:
        equation: such as `'bhwc,kc->bhwk'`; `...` means any axes. No letter is twice in one input.
    """

    def __init__(self, equation: str) -> None:
        self.equation = equation

    def _compute(self, xp: Any, *inputs: Array) -> Result:
        terms, out = letters_of(self.equation, [x.ndim for x in inputs])
        wide = [widened(x) for x in inputs]  # NumPy has none of bfloat16
        y = xp.einsum(f"{','.join(terms)}->{out}", *wide, optimize=True)
        return y.astype(inputs[0].dtype, copy=False), (wide, terms, out)

    def _gradients(self, xp: Any, grad: Array, *saved: Any) -> tuple[Array, ...]:
        inputs, terms, out = saved
        grads = []
        for i, (x, own) in enumerate(zip(inputs, terms, strict=True)):
            others = [out, *terms[:i], *terms[i + 1 :]]
            arrays = [widened(grad), *inputs[:i], *inputs[i + 1 :]]
            sizes = dict(zip(own, x.shape, strict=True))  # an axis of size 1 may have been broadcast
            found = "".join(s for s in own if sizes[s] != 1 and any(s in term for term in others))
            part = xp.einsum(f"{','.join(others)}->{found}", *arrays, optimize=True)
            shape = dict(zip(found, part.shape, strict=True))
            part = part.reshape([shape.get(letter, 1) for letter in own])
            grads.append(xp.broadcast_to(part, x.shape))
        return tuple(grads)


def letters_of(equation: str, ndims: Sequence[int]) -> tuple[list[str], str]:
    """The letters of each input and of the output, with letters for `...`.

    Raises:
        ShapeError: the equation does not fit the inputs' axes, or a letter is twice in one of them.
    """
    left, arrow, out = equation.replace(" ", "").partition("->")
    terms, letters = left.split(","), set(LETTERS)
    if not arrow:
        single = sorted(letter for letter in letters if left.count(letter) == 1)
        out = ("..." if "..." in left else "") + "".join(single)
    if len(terms) == len(ndims):
        rest = [n - len(term.replace("...", "")) for term, n in zip(terms, ndims, strict=True)]
        more = "".join(sorted(letters.difference(equation)))[: max(0, *rest)]
        terms = [t.replace("...", more[len(more) - max(0, n) :]) for t, n in zip(terms, rest, strict=True)]
        out = out.replace("...", more)
    fits = list(map(len, terms)) == list(ndims) and letters.issuperset("".join(terms))
    if not fits or any(len(set(term)) < len(term) for term in (*terms, out)):
        raise ShapeError(
            f"Einsum.forward: inputs have {list(ndims)} axes, expected those of {equation!r}, where no "
            "letter is twice in an input or output"
        )
    if not set("".join(terms)).issuperset(out):
        raise ShapeError(f"Einsum.forward: the output of {equation!r} has letters that no input has")
    return terms, out


class Gemm(Operator):
    """`alpha a @ b + beta c` of matrices, each transposed on request; `c` is broadcast or left out."""

    alpha: float
    beta: float
    trans_a: bool
    trans_b: bool

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
