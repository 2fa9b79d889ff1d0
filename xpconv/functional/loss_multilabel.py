"""Losses of classification with several classes for each sample.

Options are those of `torch.nn.functional` without `size_average` and `reduce`, which it deprecates.
"""

from __future__ import annotations

from ..backend import Array
from ..losses.multilabel import MultiLabelMarginLoss, MultiLabelSoftMarginLoss
from ._checks import public
from ._losses import gradient, value

__all__ = [
    "multilabel_margin_loss",
    "multilabel_margin_loss_backward",
    "multilabel_soft_margin_loss",
    "multilabel_soft_margin_loss_backward",
]


@public
def multilabel_margin_loss(input: Array, target: Array, *, reduction: str = "mean") -> Array:
    """`Σ_t Σ_c max(0, 1 - x_t + x_c) / C`, as `torch.nn.functional.multilabel_margin_loss`.

    `input` is `(N, C)` or `(C,)`. `target` has its shape; each row lists classes t and ends at the first -1.
    The inner sum is over all classes c that the row does not list.

    Args:
        reduction: `'mean'` or `'sum'`, whose result is a 0-d array, or `'none'`.

    Raises:
        ValueError, ShapeError, DTypeError, BackendError: as the loss `xpconv.MultiLabelMarginLoss`.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.multilabel_margin_loss(np.array([[0.1, 0.2, 0.4, 0.8]]), np.array([[3, 0, -1, 1]])).round(4)
        np.float64(0.85)
    """
    return value(
        "multilabel_margin_loss",
        MultiLabelMarginLoss,
        (
            input,
            target,
        ),
        reduction,
    )


@public
def multilabel_margin_loss_backward(
    grad_output: Array | float, input: Array, target: Array, *, reduction: str = "mean"
) -> Array:
    """Gradient of `multilabel_margin_loss` with respect to `input`.

    `grad_output` is a number, or an array of the shape of the loss. Other arguments and errors are those of
    `multilabel_margin_loss`.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> x, target = np.array([[0.1, 0.2, 0.4, 0.8]]), np.array([[3, 0, -1, 1]])
        >>> F.multilabel_margin_loss_backward(1.0, x, target)
        array([[-0.5,  0.5,  0.5, -0.5]])
    """
    return gradient(
        "multilabel_margin_loss",
        MultiLabelMarginLoss,
        grad_output,
        (
            input,
            target,
        ),
        reduction,
    )


@public
def multilabel_soft_margin_loss(
    input: Array, target: Array, weight: Array | None = None, *, reduction: str = "mean"
) -> Array:
    """Mean binary cross-entropy over classes, as `torch.nn.functional.multilabel_soft_margin_loss`.

    `input` and `target` are `(…, C)`; `target` may hold integers.

    Args:
        weight: of each class, `(C,)`.
        reduction: `'mean'` or `'sum'`, whose result is a 0-d array, or `'none'`.

    Raises:
        ValueError, ShapeError, DTypeError, BackendError: as the loss `xpconv.MultiLabelSoftMarginLoss`.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.multilabel_soft_margin_loss(np.zeros((1, 2)), np.array([[1, 0]])).round(4)
        np.float64(0.6931)
    """
    return value(
        "multilabel_soft_margin_loss",
        MultiLabelSoftMarginLoss,
        (
            input,
            target,
        ),
        weight,
        reduction,
    )


@public
def multilabel_soft_margin_loss_backward(
    grad_output: Array | float,
    input: Array,
    target: Array,
    weight: Array | None = None,
    *,
    reduction: str = "mean",
) -> Array:
    """Gradient of `multilabel_soft_margin_loss` with respect to `input`.

    `grad_output` is a number, or an array of the shape of the loss. Other arguments and errors are those of
    `multilabel_soft_margin_loss`.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.multilabel_soft_margin_loss_backward(1.0, np.zeros((1, 2)), np.array([[1, 0]]))
        array([[-0.25,  0.25]])
    """
    return gradient(
        "multilabel_soft_margin_loss",
        MultiLabelSoftMarginLoss,
        grad_output,
        (
            input,
            target,
        ),
        weight,
        reduction,
    )
