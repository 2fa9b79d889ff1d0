"""Vectors of norm 1, and the cosine of the angle between vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..arguments import axis_of, is_sequence, shown, to_float, to_int
from ..backend import Array
from ..errors import ShapeError
from ..losses.base import broadcast_shape, summed_to
from ..ops import vectors as ops
from ._checks import check_shape, enter, public
from ._pointwise import enter_pair

__all__ = ["cosine_similarity", "cosine_similarity_backward", "normalize", "normalize_backward"]


@public
def normalize(input: Array, p: float = 2.0, dim: int | Sequence[int] = 1, eps: float = 1e-12) -> Array:
    """Vectors divided by their norm, as `torch.nn.functional.normalize`: `x / max(‖x‖_p, eps)`.

    `input` has a floating dtype and any shape, which the result has too.

    Args:
        p: the exponent of the norm `(Σ |x|^p)^(1/p)`, at least 0; `math.inf` for the largest |x|; 0 counts
            the numbers other than 0.
        dim: the axis of the vectors, or several axes.
        eps: the smallest divisor.

    Raises:
        ValueError: `p` below 0.
        ShapeError: (a ValueError) there is no such axis.
        DTypeError, BackendError: (TypeErrors) `input` is not an array of a floating dtype.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.normalize(np.array([[3.0, 4.0], [0.0, 2.0]]))
        array([[0.6, 0.8],
               [0. , 1. ]])
    """
    where = "functional.normalize"
    xp, x = enter(where, {"input": input})
    axes, exponent, least = _of_vectors(where, x, dim, p, eps)
    return ops.normalize_vectors(xp, x, exponent, axes, least)


@public
def normalize_backward(
    grad_output: Array, input: Array, p: float = 2.0, dim: int | Sequence[int] = 1, eps: float = 1e-12
) -> Array:
    """Gradient of `normalize` with respect to `input`.

    `grad_output` has the shape of `input`. Other arguments and errors are those of `normalize`.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.normalize_backward(np.array([[1.0, 0.0]]), np.array([[3.0, 4.0]])).round(3)
        array([[ 0.128, -0.096]])
    """
    where = "functional.normalize_backward"
    xp, x, grad = enter_pair(where, grad_output, input, "input")
    axes, exponent, least = _of_vectors(where, x, dim, p, eps)
    return ops.normalize_vectors_backward(xp, grad, x, exponent, axes, least)


@public
def cosine_similarity(x1: Array, x2: Array, dim: int = 1, eps: float = 1e-8) -> Array:
    """Cosine of the angle between vectors, as `torch.nn.functional.cosine_similarity`.

        Σ x₁ x₂ / (max(‖x₁‖, eps) · max(‖x₂‖, eps))        along the axis dim

    `x1` and `x2` have one floating dtype and shapes that broadcast; the result has this shape without `dim`.

    Args:
        dim: the axis of the vectors in the common shape.
        eps: the smallest norm that divides.

    Raises:
        ShapeError: (a ValueError) the shapes do not broadcast, or there is no such axis.
        DTypeError, BackendError: (TypeErrors) arrays of several dtypes or backends, or not floating point.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.cosine_similarity(np.array([[3.0, 4.0]]), np.array([[1.0, 0.0]]))
        array([0.6])
    """
    where = "functional.cosine_similarity"
    xp, first, second, axis, least = _two(where, x1, x2, dim, eps)
    return ops.cosine(xp, first, second, axis, least)


@public
def cosine_similarity_backward(
    grad_output: Array, x1: Array, x2: Array, dim: int = 1, eps: float = 1e-8
) -> tuple[Array, Array]:
    """Gradients of `cosine_similarity` with respect to `x1` and `x2`.

    `grad_output` has the shape of what `cosine_similarity` returned. Other arguments and errors are those of
    `cosine_similarity`.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> d1, d2 = F.cosine_similarity_backward(np.ones(1), np.array([[3.0, 4.0]]), np.array([[1.0, 0.0]]))
        >>> d1.round(3), d2
        (array([[ 0.128, -0.096]]), array([[0. , 0.8]]))
    """
    where = "functional.cosine_similarity_backward"
    xp, first, second, axis, least = _two(where, x1, x2, dim, eps)
    _, _, grad = enter(where, {"x1": x1, "grad_output": grad_output})
    expected = first.shape[:axis] + first.shape[axis + 1 :]
    check_shape(where, "grad_output", grad, expected, f"that of x1 and x2 without the axis dim={dim}")
    dx1, dx2 = ops.cosine_backward(xp, grad, first, second, axis, least)
    return summed_to(dx1, x1.shape), summed_to(dx2, x2.shape)


def _of_vectors(
    where: str, x: Array, dim: object, p: object, eps: object
) -> tuple[tuple[int, ...], float, float]:
    """The axes, the exponent and the smallest divisor, checked."""
    dims = tuple(dim) if is_sequence(dim) else (dim,)
    axes = tuple(axis_of(where, to_int(f"{where}: dim", d), x.shape, "input") for d in dims)
    if len(set(axes)) < len(axes) or not axes:
        raise ShapeError(f"{where}: dim is {shown(dim)}, expected different axes")
    return axes, to_float(f"{where}: p", p, 0), to_float(f"{where}: eps", eps, finite=True)


def _two(where: str, x1: Array, x2: Array, dim: object, eps: object) -> tuple[Any, ...]:
    """`xp`, both arrays in their common shape, the axis and the smallest norm, checked."""
    xp, first, second = enter(where, {"x1": x1, "x2": x2})
    shape = broadcast_shape(first.shape, second.shape)
    if shape is None:
        raise ShapeError(
            f"{where}: x2 has shape {second.shape}, which does not broadcast with {first.shape}, that of x1"
        )
    axis = axis_of(where, to_int(f"{where}: dim", dim), shape, "the common shape")
    first, second = (x if x.shape == shape else xp.broadcast_to(x, shape) for x in (first, second))
    return xp, first, second, axis, to_float(f"{where}: eps", eps, finite=True)
