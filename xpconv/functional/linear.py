"""The affine map over the last axis, and its gradients."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from ..backend import Array
from ..errors import ShapeError
from ..geometry import Shape
from ..ops import linear_complex as ops
from ._checks import LINEAR, check_shape, enter, public, to_shape

__all__ = ["linear", "linear_bias", "linear_input", "linear_weight"]


@public
def linear(input: Array, weight: Array, bias: Array | None = None) -> Array:
    """An affine map of the last axis, as `torch.nn.functional.linear`.

        y[…, k] = Σ_c input[…, c] · weight[k, c] + bias[k]

    `input` `(…, C)`, `weight` `(K, C)` and `bias` `(K,)` of one floating or complex dtype give `(…, K)`.
    Nothing is conjugated. The gradients are `linear_input`, `linear_weight` and `linear_bias`.

    Raises:
        ShapeError: (a ValueError) arrays whose shapes do not fit one another.
        DTypeError, BackendError: (TypeErrors) integers, several dtypes, or arrays of several backends.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.linear(np.array([1.0, 2]), np.array([[1.0, 10], [0, 1]]), np.array([0.5, 0]))
        array([21.5,  2. ])
    """
    where = "functional.linear"
    xp, x, w, b = enter(where, {"input": input, "weight": weight}, {"bias": bias}, LINEAR)
    _check(where, x.shape, w.shape)
    if b is not None:
        check_shape(where, "bias", b, w.shape[:1], f"weight has shape {w.shape}")
    return ops.linear(xp, x, w, b)


@public
def linear_input(input_size: Sequence[int], weight: Array, grad_output: Array) -> Array:
    """Gradient of `linear` with respect to `input`, which is its adjoint.

        dx[…, c] = Σ_k grad_output[…, k] · conj(weight[k, c])

    `weight` `(K, C)` and `grad_output` `(…, K)` give `(…, C)`, which is `input_size`. Errors as those of
    `linear`.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.linear_input((2,), np.array([[1.0, 10], [0, 1]]), np.array([1.0, 2]))
        array([ 1., 12.])
    """
    where = "functional.linear_input"
    xp, w, grad = enter(where, {"weight": weight, "grad_output": grad_output}, kinds=LINEAR)
    shape = to_shape(where, "input_size", input_size, range(1, 65), "(…, C)")
    _check(where, shape, w.shape, "input_size")
    why = f"input_size {shape}, weight has shape {w.shape}"
    check_shape(where, "grad_output", grad, (*shape[:-1], w.shape[0]), why)
    return ops.linear_backward_input(xp, grad, w)


@public
def linear_weight(input: Array, weight_size: Sequence[int], grad_output: Array) -> Array:
    """Gradient of `linear` with respect to `weight`, which is its adjoint.

        dweight[k, c] = Σ_… grad_output[…, k] · conj(input[…, c])

    `input` `(…, C)` and `grad_output` `(…, K)` give `(K, C)`, which is `weight_size`. Errors as those of
    `linear`.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.linear_weight(np.ones((5, 2)), (3, 2), np.ones((5, 3)))[0]
        array([5., 5.])
    """
    where = "functional.linear_weight"
    xp, x, grad = enter(where, {"input": input, "grad_output": grad_output}, kinds=LINEAR)
    shape = to_shape(where, "weight_size", weight_size, (2,), "(K, C)")
    _check(where, x.shape, shape, weight="weight_size")
    why = f"input has shape {x.shape}, weight_size {shape}"
    check_shape(where, "grad_output", grad, (*x.shape[:-1], shape[0]), why)
    return ops.linear_backward_weight(xp, grad, x)


@public
def linear_bias(grad_output: Array) -> Array:
    """Gradient of `linear` with respect to `bias`: `grad_output` `(…, K)` summed over all but the last axis.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.linear_bias(np.ones((5, 3)))
        array([5., 5., 5.])
    """
    where = "functional.linear_bias"
    xp, grad = enter(where, {"grad_output": grad_output}, kinds=LINEAR)
    if grad.ndim == 0:
        raise ShapeError(f"{where}: grad_output has shape (), expected (…, K)")
    return ops.linear_backward_bias(xp, grad)


def _check(
    where: str, shape: Shape, weight_shape: Shape, argument: str = "input", weight: str = "weight"
) -> None:
    if len(weight_shape) != 2 or not prod(weight_shape):
        raise ShapeError(f"{where}: {weight} has shape {weight_shape}, expected (K, C), neither of them 0")
    if not shape or shape[-1] != weight_shape[1]:
        raise ShapeError(
            f"{where}: {argument} has shape {shape}, expected (…, {weight_shape[1]}) ({weight} has shape "
            f"{weight_shape})"
        )
