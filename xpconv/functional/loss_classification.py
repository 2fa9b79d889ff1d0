"""Losses of classification with one class for each sample or pixel.

Options are those of `torch.nn.functional` without `size_average` and `reduce`, which it deprecates.
"""

from __future__ import annotations

from ..backend import Array
from ..losses.classification import CrossEntropyLoss, DiceLoss, MultiMarginLoss, NLLLoss
from ._checks import public
from ._losses import gradient, value

__all__ = [
    "cross_entropy",
    "cross_entropy_backward",
    "dice_loss",
    "dice_loss_backward",
    "multi_margin_loss",
    "multi_margin_loss_backward",
    "nll_loss",
    "nll_loss_backward",
]


@public
def cross_entropy(
    input: Array,
    target: Array,
    weight: Array | None = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Array:
    """Cross-entropy of `softmax(input)` against `target`, as `torch.nn.functional.cross_entropy`.

    `input` is `(N, C)`, `(C,)` or `(N, C, *S)`. `target` holds class indices `(N,)`, `()` or `(N, *S)`, or
    has the shape of `input` and holds probabilities or one-hot rows. On a GPU an index out of range gives
    NaN.

    Args:
        weight: of each class, `(C,)`.
        ignore_index: samples of this class do not count.
        reduction: `'mean'`, which divides by the sum of the samples' weights, `'sum'` or `'none'`.
        label_smoothing: the part of the uniform distribution in the targets, 0 to 1.

    Raises:
        ValueError, ShapeError, DTypeError, BackendError: as the loss `xpconv.CrossEntropyLoss`.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.cross_entropy(np.array([[0.0, 0.0], [1e4, 0.0]]), np.array([1, 0])).round(4)
        np.float64(0.3466)
    """
    return value(
        "cross_entropy",
        CrossEntropyLoss,
        (
            input,
            target,
        ),
        weight,
        ignore_index,
        reduction,
        label_smoothing,
    )


@public
def cross_entropy_backward(
    grad_output: Array | float,
    input: Array,
    target: Array,
    weight: Array | None = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Array:
    """Gradient of `cross_entropy` with respect to `input`.

    `grad_output` is a number, or an array of the shape of the loss. Other arguments and errors are those of
    `cross_entropy`.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.cross_entropy_backward(1.0, np.array([[0.0, 0.0], [1e4, 0.0]]), np.array([1, 0]))
        array([[ 0.25, -0.25],
               [ 0.  ,  0.  ]])
    """
    return gradient(
        "cross_entropy",
        CrossEntropyLoss,
        grad_output,
        (
            input,
            target,
        ),
        weight,
        ignore_index,
        reduction,
        label_smoothing,
    )


@public
def nll_loss(
    input: Array,
    target: Array,
    weight: Array | None = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> Array:
    """`-w_t x_t` of log-probabilities x, as `torch.nn.functional.nll_loss`.

    `input` is `(N, C)`, `(C,)` or `(N, C, *S)`, as from `log_softmax`; `target` holds class indices.

    Args:
        weight: of each class, `(C,)`.
        ignore_index: samples of this class do not count.
        reduction: `'mean'`, which divides by the sum of the samples' weights, `'sum'` or `'none'`.

    Raises:
        ValueError, ShapeError, DTypeError, BackendError: as the loss `xpconv.NLLLoss`.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.nll_loss(np.log(np.array([[0.25, 0.75]])), np.array([0])).round(4)
        np.float64(1.3863)
    """
    return value(
        "nll_loss",
        NLLLoss,
        (
            input,
            target,
        ),
        weight,
        ignore_index,
        reduction,
    )


@public
def nll_loss_backward(
    grad_output: Array | float,
    input: Array,
    target: Array,
    weight: Array | None = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> Array:
    """Gradient of `nll_loss` with respect to `input`.

    `grad_output` is a number, or an array of the shape of the loss. Other arguments and errors are those of
    `nll_loss`.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.nll_loss_backward(1.0, np.log(np.array([[0.25, 0.75]])), np.array([0]))
        array([[-1.,  0.]])
    """
    return gradient(
        "nll_loss",
        NLLLoss,
        grad_output,
        (
            input,
            target,
        ),
        weight,
        ignore_index,
        reduction,
    )


@public
def multi_margin_loss(
    input: Array,
    target: Array,
    p: int = 1,
    margin: float = 1.0,
    weight: Array | None = None,
    *,
    reduction: str = "mean",
) -> Array:
    """`w_t Σ_{c ≠ t} max(0, margin - x_t + x_c)^p / C`, as `torch.nn.functional.multi_margin_loss`.

    `input` is `(N, C)` or `(C,)`; `target` holds class indices.

    Args:
        p: 1 or 2.
        margin: by how much the score of the right class should exceed the others.
        weight: of each class, `(C,)`.
        reduction: `'mean'` or `'sum'`, whose result is a 0-d array, or `'none'`.

    Raises:
        ValueError, ShapeError, DTypeError, BackendError: as the loss `xpconv.MultiMarginLoss`.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.multi_margin_loss(np.array([[0.5, 0.0]]), np.array([0]))
        np.float64(0.25)
    """
    return value(
        "multi_margin_loss",
        MultiMarginLoss,
        (
            input,
            target,
        ),
        p,
        margin,
        weight,
        reduction,
    )


@public
def multi_margin_loss_backward(
    grad_output: Array | float,
    input: Array,
    target: Array,
    p: int = 1,
    margin: float = 1.0,
    weight: Array | None = None,
    *,
    reduction: str = "mean",
) -> Array:
    """Gradient of `multi_margin_loss` with respect to `input`.

    `grad_output` is a number, or an array of the shape of the loss. Other arguments and errors are those of
    `multi_margin_loss`.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.multi_margin_loss_backward(1.0, np.array([[0.5, 0.0]]), np.array([0]))
        array([[-0.5,  0.5]])
    """
    return gradient(
        "multi_margin_loss",
        MultiMarginLoss,
        grad_output,
        (
            input,
            target,
        ),
        p,
        margin,
        weight,
        reduction,
    )


@public
def dice_loss(input: Array, target: Array, smooth: float = 1.0, reduction: str = "mean") -> Array:
    """1 minus the soft Dice coefficient of each image and class; PyTorch has no such function.

    `input` holds probabilities `(N, C, *S)`, and `target` masks of the same shape, which may be integers or
    bools.

    Args:
        smooth: added to numerator and denominator, so that the loss of empty masks is defined.
        reduction: `'mean'` or `'sum'`, whose result is a 0-d array, or `'none'`.

    Raises:
        ValueError, ShapeError, DTypeError, BackendError: as the loss `xpconv.DiceLoss`.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.dice_loss(np.array([[[0.5, 0.5, 0.0]]]), np.array([[[1, 1, 0]]])).round(4)
        np.float64(0.25)
    """
    return value(
        "dice_loss",
        DiceLoss,
        (
            input,
            target,
        ),
        smooth,
        reduction,
    )


@public
def dice_loss_backward(
    grad_output: Array | float, input: Array, target: Array, smooth: float = 1.0, reduction: str = "mean"
) -> Array:
    """Gradient of `dice_loss` with respect to `input`.

    `grad_output` is a number, or an array of the shape of the loss. Other arguments and errors are those of
    `dice_loss`.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.dice_loss_backward(1.0, np.array([[[0.5, 0.5, 0.0]]]), np.array([[[1, 1, 0]]])).round(4)
        array([[[-0.3125, -0.3125,  0.1875]]])
    """
    return gradient(
        "dice_loss",
        DiceLoss,
        grad_output,
        (
            input,
            target,
        ),
        smooth,
        reduction,
    )
