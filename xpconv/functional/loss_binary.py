"""Losses of binary classification, element by element.

Options are those of `torch.nn.functional` without `size_average` and `reduce`, which it deprecates.
"""

from __future__ import annotations

from ..backend import Array
from ..losses.binary import BCELoss, BCEWithLogitsLoss, FocalLoss, HingeEmbeddingLoss, SoftMarginLoss
from ._checks import public
from ._losses import gradient, value

__all__ = [
    "binary_cross_entropy",
    "binary_cross_entropy_backward",
    "binary_cross_entropy_with_logits",
    "binary_cross_entropy_with_logits_backward",
    "hinge_embedding_loss",
    "hinge_embedding_loss_backward",
    "sigmoid_focal_loss",
    "sigmoid_focal_loss_backward",
    "soft_margin_loss",
    "soft_margin_loss_backward",
]


@public
def binary_cross_entropy(
    input: Array, target: Array, weight: Array | None = None, *, reduction: str = "mean"
) -> Array:
    """Cross-entropy of probabilities, as `torch.nn.functional.binary_cross_entropy`.

    `-weight (t log x + (1 - t) log(1 - x))`, the logarithms no smaller than -100. `input` and `target` have
    one shape. Values outside [0, 1] are an error on the CPU, and give NaN on a GPU.

    Args:
        weight: of each element, broadcast to `input`.
        reduction: `'mean'` or `'sum'`, whose result is a 0-d array, or `'none'`.

    Raises:
        ValueError, ShapeError, DTypeError, BackendError: as the loss `xpconv.BCELoss`.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.binary_cross_entropy(np.array([0.25]), np.array([1.0])).round(4)
        np.float64(1.3863)
    """
    return value(
        "binary_cross_entropy",
        BCELoss,
        (
            input,
            target,
        ),
        weight,
        reduction,
    )


@public
def binary_cross_entropy_backward(
    grad_output: Array | float,
    input: Array,
    target: Array,
    weight: Array | None = None,
    *,
    reduction: str = "mean",
) -> Array:
    """Gradient of `binary_cross_entropy` with respect to `input`.

    `grad_output` is a number, or an array of the shape of the loss. Other arguments and errors are those of
    `binary_cross_entropy`.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.binary_cross_entropy_backward(1.0, np.array([0.25]), np.array([1.0]))
        array([-4.])
    """
    return gradient(
        "binary_cross_entropy",
        BCELoss,
        grad_output,
        (
            input,
            target,
        ),
        weight,
        reduction,
    )


@public
def binary_cross_entropy_with_logits(
    input: Array,
    target: Array,
    weight: Array | None = None,
    *,
    reduction: str = "mean",
    pos_weight: Array | None = None,
) -> Array:
    """Cross-entropy of `sigmoid(x)`, as `torch.nn.functional.binary_cross_entropy_with_logits`.

    `-w t log σ(x) - (1 - t) log(1 - σ(x))`, without overflow. `input` and `target` have one shape and
    floating dtype.

    Args:
        weight: of each element, broadcast to `input`.
        reduction: `'mean'` or `'sum'`, whose result is a 0-d array, or `'none'`.
        pos_weight: w, broadcast to `input`.

    Raises:
        ValueError, ShapeError, DTypeError, BackendError: as the loss `xpconv.BCEWithLogitsLoss`.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.binary_cross_entropy_with_logits(np.array([1e4, 0.0]), np.array([1.0, 1.0])).round(4)
        np.float64(0.3466)
    """
    return value(
        "binary_cross_entropy_with_logits",
        BCEWithLogitsLoss,
        (
            input,
            target,
        ),
        weight,
        reduction,
        pos_weight,
    )


@public
def binary_cross_entropy_with_logits_backward(
    grad_output: Array | float,
    input: Array,
    target: Array,
    weight: Array | None = None,
    *,
    reduction: str = "mean",
    pos_weight: Array | None = None,
) -> Array:
    """Gradient of `binary_cross_entropy_with_logits` with respect to `input`.

    `grad_output` is a number, or an array of the shape of the loss. Other arguments and errors are those of
    `binary_cross_entropy_with_logits`.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.binary_cross_entropy_with_logits_backward(1.0, np.array([1e4, 0.0]), np.array([1.0, 1.0]))
        array([ 0.  , -0.25])
    """
    return gradient(
        "binary_cross_entropy_with_logits",
        BCEWithLogitsLoss,
        grad_output,
        (
            input,
            target,
        ),
        weight,
        reduction,
        pos_weight,
    )


@public
def soft_margin_loss(input: Array, target: Array, *, reduction: str = "mean") -> Array:
    """`log(1 + exp(-t x))` for t = ±1, as `torch.nn.functional.soft_margin_loss`.

    `target` may hold integers, and its shape may broadcast to that of `input`.

    Args:
        reduction: `'mean'` or `'sum'`, whose result is a 0-d array, or `'none'`.

    Raises:
        ValueError, ShapeError, DTypeError, BackendError: as the loss `xpconv.SoftMarginLoss`.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.soft_margin_loss(np.array([0.0]), np.array([1])).round(4)
        np.float64(0.6931)
    """
    return value(
        "soft_margin_loss",
        SoftMarginLoss,
        (
            input,
            target,
        ),
        reduction,
    )


@public
def soft_margin_loss_backward(
    grad_output: Array | float, input: Array, target: Array, *, reduction: str = "mean"
) -> Array:
    """Gradient of `soft_margin_loss` with respect to `input`.

    `grad_output` is a number, or an array of the shape of the loss. Other arguments and errors are those of
    `soft_margin_loss`.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.soft_margin_loss_backward(1.0, np.array([0.0]), np.array([1]))
        array([-0.5])
    """
    return gradient(
        "soft_margin_loss",
        SoftMarginLoss,
        grad_output,
        (
            input,
            target,
        ),
        reduction,
    )


@public
def hinge_embedding_loss(
    input: Array, target: Array, margin: float = 1.0, *, reduction: str = "mean"
) -> Array:
    """`x` where t = 1, `max(0, margin - x)` where t = -1, as `torch.nn.functional.hinge_embedding_loss`.

    `target` may hold integers; the shapes of `input` and `target` broadcast.

    Args:
        margin: the smallest distance of dissimilar pairs that has no loss.
        reduction: `'mean'` or `'sum'`, whose result is a 0-d array, or `'none'`.

    Raises:
        ValueError, ShapeError, DTypeError, BackendError: as the loss `xpconv.HingeEmbeddingLoss`.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.hinge_embedding_loss(np.array([0.5, 0.25]), np.array([1, -1]))
        np.float64(0.625)
    """
    return value(
        "hinge_embedding_loss",
        HingeEmbeddingLoss,
        (
            input,
            target,
        ),
        margin,
        reduction,
    )


@public
def hinge_embedding_loss_backward(
    grad_output: Array | float, input: Array, target: Array, margin: float = 1.0, *, reduction: str = "mean"
) -> Array:
    """Gradient of `hinge_embedding_loss` with respect to `input`.

    `grad_output` is a number, or an array of the shape of the loss. Other arguments and errors are those of
    `hinge_embedding_loss`.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.hinge_embedding_loss_backward(1.0, np.array([0.5, 0.25]), np.array([1, -1]))
        array([ 0.5, -0.5])
    """
    return gradient(
        "hinge_embedding_loss",
        HingeEmbeddingLoss,
        grad_output,
        (
            input,
            target,
        ),
        margin,
        reduction,
    )


@public
def sigmoid_focal_loss(
    input: Array, target: Array, alpha: float | None = 0.25, gamma: float = 2.0, reduction: str = "mean"
) -> Array:
    """Binary cross-entropy with less weight on easy samples, as `torchvision.ops.sigmoid_focal_loss`.

    `-α_t (1 - p_t)^γ log p_t` with p = σ(x). `input` and `target` have one shape and floating dtype.

    Args:
        alpha: the weight of the positives, against 1 - alpha; None gives both 1.
        gamma: γ; 0 is plain cross-entropy.
        reduction: `'mean'` or `'sum'`, whose result is a 0-d array, or `'none'`.

    Raises:
        ValueError, ShapeError, DTypeError, BackendError: as the loss `xpconv.FocalLoss`.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.sigmoid_focal_loss(np.array([0.0]), np.array([1.0])).round(4)
        np.float64(0.0433)
    """
    return value(
        "sigmoid_focal_loss",
        FocalLoss,
        (
            input,
            target,
        ),
        alpha,
        gamma,
        reduction,
    )


@public
def sigmoid_focal_loss_backward(
    grad_output: Array | float,
    input: Array,
    target: Array,
    alpha: float | None = 0.25,
    gamma: float = 2.0,
    reduction: str = "mean",
) -> Array:
    """Gradient of `sigmoid_focal_loss` with respect to `input`.

    `grad_output` is a number, or an array of the shape of the loss. Other arguments and errors are those of
    `sigmoid_focal_loss`.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.sigmoid_focal_loss_backward(1.0, np.array([0.0]), np.array([1.0])).round(4)
        array([-0.0746])
    """
    return gradient(
        "sigmoid_focal_loss",
        FocalLoss,
        grad_output,
        (
            input,
            target,
        ),
        alpha,
        gamma,
        reduction,
    )
