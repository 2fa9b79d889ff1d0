"""Dropout, and its gradients, which take the mask that `return_mask=True` returns."""

from __future__ import annotations

from typing import Any

from ..arguments import named, to_bool
from ..backend import Array, backend_of
from ..checks import owner_of
from ..errors import BackendError, DTypeError
from ..layers.dropout import AlphaDropout, Dropout, Dropout1d, Dropout2d, Dropout3d, _Dropout
from ..ops.dropout import keep_mask
from ..ops.shape import copy
from ..random import RNG, global_source
from ._checks import check_shape, enter, public
from ._pointwise import settings
from ._pooling import array_of

__all__ = [
    "alpha_dropout",
    "alpha_dropout_backward",
    "dropout",
    "dropout1d",
    "dropout1d_backward",
    "dropout2d",
    "dropout2d_backward",
    "dropout3d",
    "dropout3d_backward",
    "dropout_backward",
]


@public
def dropout(
    input: Array,
    p: float = 0.5,
    training: bool = True,
    inplace: bool = False,
    *,
    return_mask: bool = False,
    rng: RNG = None,
) -> Any:
    """Zero each element with probability `p`, scale the rest by `1/(1-p)`, as in PyTorch.

    As `torch.nn.functional.dropout`. `input` has any shape and a floating dtype. A seed gives the same mask
    in every run, but the mask on a GPU differs from that on the CPU.

    Args:
        p: probability, 0 to 1.
        training: whether to drop elements; if False, the result is a copy of `input`.
        inplace: has no effect.
        return_mask: whether to return `(output, mask)`; the boolean mask is True where `input` was kept, and
            None if `training` is False.
        rng: a `numpy.random.Generator` or a seed; None uses the generator of `xpconv.manual_seed`.

    Raises:
        ValueError: `p` is not a probability.
        ShapeError: (a ValueError) an input of another rank.
        DTypeError, BackendError: (TypeErrors) `input` is not an array of a floating dtype.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.dropout(np.ones(8), rng=0)
        array([2., 2., 2., 0., 0., 0., 0., 0.])
    """
    layer = settings("functional.dropout", Dropout, p, inplace, rng=rng)
    return _drop("functional.dropout", layer, input, training, return_mask)


@public
def dropout_backward(grad_output: Array, mask: Array | None, p: float = 0.5) -> Array:
    """Gradient of `dropout` with respect to `input`; `mask` and `p` are those of `dropout`.

    `grad_output` and `mask` have the shape of `input`; `mask` is None if `training` was False.

    Raises:
        ValueError: `p` is not a probability.
        ShapeError: (a ValueError) `mask` has another shape.
        DTypeError, BackendError: (TypeErrors) `mask` is not boolean, or `grad_output` not floating point.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> y, mask = F.dropout(np.ones(4), return_mask=True, rng=0)
        >>> dx = F.dropout_backward(np.ones_like(y), mask)
        >>> dx.shape == y.shape
        True
    """
    layer = settings("functional.dropout_backward", Dropout, p)
    return _back("functional.dropout_backward", layer, grad_output, mask)


@public
def dropout1d(
    input: Array,
    p: float = 0.5,
    training: bool = True,
    inplace: bool = False,
    *,
    return_mask: bool = False,
    rng: RNG = None,
) -> Any:
    """Zero each channel with probability `p`, as `torch.nn.functional.dropout1d`.

    `input` is `(N, C, L)` or `(C, L)`; arguments as for `dropout`.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.dropout1d(np.ones((5, 2)), rng=0)[:, 0]
        array([2., 2., 2., 0., 0.])
    """
    layer = settings("functional.dropout1d", Dropout1d, p, inplace, rng=rng)
    return _drop("functional.dropout1d", layer, input, training, return_mask)


@public
def dropout1d_backward(grad_output: Array, mask: Array | None, p: float = 0.5) -> Array:
    """Gradient of `dropout1d` with respect to `input`; `mask` and `p` are those of `dropout1d`.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> y, mask = F.dropout1d(np.ones((2, 3, 4)), return_mask=True, rng=0)
        >>> dx = F.dropout1d_backward(np.ones_like(y), mask)
        >>> dx.shape == y.shape
        True
    """
    layer = settings("functional.dropout1d_backward", Dropout1d, p)
    return _back("functional.dropout1d_backward", layer, grad_output, mask)


@public
def dropout2d(
    input: Array,
    p: float = 0.5,
    training: bool = True,
    inplace: bool = False,
    *,
    return_mask: bool = False,
    rng: RNG = None,
) -> Any:
    """Zero each channel with probability `p`, as `torch.nn.functional.dropout2d`.

    `input` is `(N, C, H, W)` or `(N, C, L)`; arguments as for `dropout`.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.dropout2d(np.ones((1, 5, 2, 2)), rng=0)[0, :, 0, 0]
        array([2., 2., 2., 0., 0.])
    """
    layer = settings("functional.dropout2d", Dropout2d, p, inplace, rng=rng)
    return _drop("functional.dropout2d", layer, input, training, return_mask)


@public
def dropout2d_backward(grad_output: Array, mask: Array | None, p: float = 0.5) -> Array:
    """Gradient of `dropout2d` with respect to `input`; `mask` and `p` are those of `dropout2d`.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> y, mask = F.dropout2d(np.ones((2, 3, 4, 4)), return_mask=True, rng=0)
        >>> dx = F.dropout2d_backward(np.ones_like(y), mask)
        >>> dx.shape == y.shape
        True
    """
    layer = settings("functional.dropout2d_backward", Dropout2d, p)
    return _back("functional.dropout2d_backward", layer, grad_output, mask)


@public
def dropout3d(
    input: Array,
    p: float = 0.5,
    training: bool = True,
    inplace: bool = False,
    *,
    return_mask: bool = False,
    rng: RNG = None,
) -> Any:
    """Zero each channel with probability `p`, as `torch.nn.functional.dropout3d`.

    `input` is `(N, C, D, H, W)` or `(C, D, H, W)`; arguments as for `dropout`.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.dropout3d(np.ones((5, 2, 2, 2)), rng=0)[:, 0, 0, 0]
        array([2., 2., 2., 0., 0.])
    """
    layer = settings("functional.dropout3d", Dropout3d, p, inplace, rng=rng)
    return _drop("functional.dropout3d", layer, input, training, return_mask)


@public
def dropout3d_backward(grad_output: Array, mask: Array | None, p: float = 0.5) -> Array:
    """Gradient of `dropout3d` with respect to `input`; `mask` and `p` are those of `dropout3d`.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> y, mask = F.dropout3d(np.ones((2, 3, 4, 4, 4)), return_mask=True, rng=0)
        >>> dx = F.dropout3d_backward(np.ones_like(y), mask)
        >>> dx.shape == y.shape
        True
    """
    layer = settings("functional.dropout3d_backward", Dropout3d, p)
    return _back("functional.dropout3d_backward", layer, grad_output, mask)


@public
def alpha_dropout(
    input: Array,
    p: float = 0.5,
    training: bool = False,
    inplace: bool = False,
    *,
    return_mask: bool = False,
    rng: RNG = None,
) -> Any:
    """Dropout that preserves mean 0 and variance 1, as `torch.nn.functional.alpha_dropout`.

    For SELU networks; `input` has any shape. As there, `training` is False by default. Arguments as for
    `dropout`.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.alpha_dropout(np.ones(5), training=True, rng=0).round(4)
        array([ 1.6656,  1.6656,  1.6656, -0.7792, -0.7792])
    """
    layer = settings("functional.alpha_dropout", AlphaDropout, p, inplace, rng=rng)
    return _drop("functional.alpha_dropout", layer, input, training, return_mask)


@public
def alpha_dropout_backward(grad_output: Array, mask: Array | None, p: float = 0.5) -> Array:
    """Gradient of `alpha_dropout` with respect to `input`; `mask` and `p` are those of `alpha_dropout`.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> y, mask = F.alpha_dropout(np.ones(4), training=True, return_mask=True, rng=0)
        >>> dx = F.alpha_dropout_backward(np.ones_like(y), mask)
        >>> dx.shape == y.shape
        True
    """
    layer = settings("functional.alpha_dropout_backward", AlphaDropout, p)
    return _back("functional.alpha_dropout_backward", layer, grad_output, mask)


def _drop(where: str, layer: _Dropout, input: Array, training: bool, return_mask: bool) -> Any:
    xp, x = enter(where, {"input": input})
    draws = to_bool(f"{where}: training", training)
    both = to_bool(f"{where}: return_mask", return_mask)
    with named(f"{where}: input", f"{type(layer).__name__}.forward: x"):
        shape = layer._mask_shape(x)
    if not draws:
        return (copy(x), None) if both else copy(x)
    mask = keep_mask(xp, layer._source or global_source(), shape, layer.p)
    y = layer._apply(x, mask)
    return (y, mask) if both else y


def _back(where: str, layer: _Dropout, grad_output: Array, mask: Array | None) -> Array:
    _, grad = enter(where, {"grad_output": grad_output})
    if mask is None:
        return copy(grad)
    kept = array_of(mask)
    owner = owner_of(where, kept, "mask")
    if owner is not backend_of(grad):
        raise BackendError(f"{where}: grad_output is {backend_of(grad).name} but mask is {owner.name}")
    if kept.dtype.kind != "b":
        raise DTypeError(f"{where}: mask is {kept.dtype}, expected bool, as return_mask=True returns it")
    with named(f"{where}: grad_output", f"{type(layer).__name__}.forward: x"):
        shape = layer._mask_shape(grad)
    check_shape(where, "mask", kept, shape, f"for grad_output {grad.shape}")
    return layer._scale(grad, kept, layer._gain)
