"""Losses for regression.

Options are those of `torch.nn.functional` without `size_average` and `reduce`, which it deprecates.
"""

from __future__ import annotations

from ..backend import Array
from ..losses.regression import HuberLoss, L1Loss, MSELoss, SmoothL1Loss
from ._checks import public
from ._losses import gradient, value

__all__ = [
    "huber_loss",
    "huber_loss_backward",
    "l1_loss",
    "l1_loss_backward",
    "mse_loss",
    "mse_loss_backward",
    "smooth_l1_loss",
    "smooth_l1_loss_backward",
]


@public
def mse_loss(input: Array, target: Array, *, reduction: str = "mean", weight: Array | None = None) -> Array:
    """Squared error `(x - t)²`, as `torch.nn.functional.mse_loss`.

    `input` has a floating dtype and any shape; `target` has the same shape, and may hold integers.

    Args:
        reduction: `'mean'` or `'sum'`, whose result is a 0-d array, or `'none'`.
        weight: a factor for each element, like `input`; `'mean'` divides by the sum of the factors.

    Raises:
        ValueError, ShapeError, DTypeError, BackendError: as the loss `xpconv.MSELoss`.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.mse_loss(np.array([1.0, 2.0]), np.array([0.0, 0.0]))
        np.float64(2.5)
    """
    return value(
        "mse_loss",
        MSELoss,
        (input, target),
        reduction,
        weight=weight,
    )


@public
def mse_loss_backward(
    grad_output: Array | float,
    input: Array,
    target: Array,
    *,
    reduction: str = "mean",
    weight: Array | None = None,
) -> Array:
    """Gradient of `mse_loss` with respect to `input`.

    `grad_output` is a number, or an array of the shape of the loss. Other arguments and errors are those of
    `mse_loss`.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.mse_loss_backward(1.0, np.array([1.0, 2.0]), np.array([0.0, 0.0]))
        array([1., 2.])
    """
    return gradient(
        "mse_loss",
        MSELoss,
        grad_output,
        (input, target),
        reduction,
        weight=weight,
    )


@public
def l1_loss(input: Array, target: Array, *, reduction: str = "mean", weight: Array | None = None) -> Array:
    """Absolute error `|x - t|`, as `torch.nn.functional.l1_loss`.

    `input` has a floating dtype and any shape; `target` has the same shape, and may hold integers.

    Args:
        reduction: `'mean'` or `'sum'`, whose result is a 0-d array, or `'none'`.
        weight: a factor for each element, like `input`; `'mean'` divides by the sum of the factors.

    Raises:
        ValueError, ShapeError, DTypeError, BackendError: as the loss `xpconv.L1Loss`.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.l1_loss(np.array([1.0, 2.0]), np.array([0.0, 0.0]))
        np.float64(1.5)
    """
    return value(
        "l1_loss",
        L1Loss,
        (input, target),
        reduction,
        weight=weight,
    )


@public
def l1_loss_backward(
    grad_output: Array | float,
    input: Array,
    target: Array,
    *,
    reduction: str = "mean",
    weight: Array | None = None,
) -> Array:
    """Gradient of `l1_loss` with respect to `input`.

    `grad_output` is a number, or an array of the shape of the loss. Other arguments and errors are those of
    `l1_loss`.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.l1_loss_backward(1.0, np.array([1.0, 2.0]), np.array([0.0, 0.0]))
        array([0.5, 0.5])
    """
    return gradient(
        "l1_loss",
        L1Loss,
        grad_output,
        (input, target),
        reduction,
        weight=weight,
    )


@public
def smooth_l1_loss(input: Array, target: Array, *, reduction: str = "mean", beta: float = 1.0) -> Array:
    """Squared near 0, absolute beyond `beta`, as `torch.nn.functional.smooth_l1_loss`.

    With `d = |x - t|`: `d² / (2 beta)` if `d < beta`, else `d - beta/2`. `input` and `target` have one shape
    and floating dtype.

    Args:
        reduction: `'mean'` or `'sum'`, whose result is a 0-d array, or `'none'`.
        beta: the error at which the two parts meet; 0 is `l1_loss`.

    Raises:
        ValueError, ShapeError, DTypeError, BackendError: as the loss `xpconv.SmoothL1Loss`.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.smooth_l1_loss(np.array([1.0, 2.0]), np.array([0.0, 0.0]))
        np.float64(1.0)
    """
    return value(
        "smooth_l1_loss",
        SmoothL1Loss,
        (input, target),
        reduction,
        beta,
    )


@public
def smooth_l1_loss_backward(
    grad_output: Array | float, input: Array, target: Array, *, reduction: str = "mean", beta: float = 1.0
) -> Array:
    """Gradient of `smooth_l1_loss` with respect to `input`.

    `grad_output` is a number, or an array of the shape of the loss. Other arguments and errors are those of
    `smooth_l1_loss`.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.smooth_l1_loss_backward(1.0, np.array([1.0, 2.0]), np.array([0.0, 0.0]))
        array([0.5, 0.5])
    """
    return gradient(
        "smooth_l1_loss",
        SmoothL1Loss,
        grad_output,
        (input, target),
        reduction,
        beta,
    )


@public
def huber_loss(
    input: Array,
    target: Array,
    reduction: str = "mean",
    delta: float = 1.0,
    weight: Array | None = None,
) -> Array:
    """Squared near 0, absolute beyond `delta`, as `torch.nn.functional.huber_loss`.

    With `d = |x - t|`: `d²/2` if `d < delta`, else `delta (d - delta/2)`. `input` and `target` have one
    shape and floating dtype.

    Args:
        reduction: `'mean'` or `'sum'`, whose result is a 0-d array, or `'none'`.
        delta: the error at which the two parts meet, above 0.
        weight: a factor for each element, like `input`; `'mean'` divides by the number of elements, as in
            PyTorch, where that of `mse_loss` divides by the sum of the factors.

    Raises:
        ValueError, ShapeError, DTypeError, BackendError: as the loss `xpconv.HuberLoss`.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.huber_loss(np.array([1.0, 2.0]), np.array([0.0, 0.0]))
        np.float64(1.0)
    """
    return value(
        "huber_loss",
        HuberLoss,
        (input, target),
        reduction,
        delta,
        weight=weight,
    )


@public
def huber_loss_backward(
    grad_output: Array | float,
    input: Array,
    target: Array,
    reduction: str = "mean",
    delta: float = 1.0,
    weight: Array | None = None,
) -> Array:
    """Gradient of `huber_loss` with respect to `input`.

    `grad_output` is a number, or an array of the shape of the loss. Other arguments and errors are those of
    `huber_loss`.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.huber_loss_backward(1.0, np.array([1.0, 2.0]), np.array([0.0, 0.0]))
        array([0.5, 0.5])
    """
    return gradient(
        "huber_loss",
        HuberLoss,
        grad_output,
        (input, target),
        reduction,
        delta,
        weight=weight,
    )
