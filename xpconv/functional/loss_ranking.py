"""Losses that compare several inputs, and the CTC loss of sequences.

Options are those of `torch.nn.functional` without `size_average` and `reduce`, which it deprecates.
"""

from __future__ import annotations

from typing import Any

from ..backend import Array
from ..losses.ctc import CTCLoss
from ..losses.ranking import CosineEmbeddingLoss, MarginRankingLoss, TripletMarginLoss
from ._checks import public
from ._losses import gradient, value

__all__ = [
    "cosine_embedding_loss",
    "cosine_embedding_loss_backward",
    "ctc_loss",
    "ctc_loss_backward",
    "margin_ranking_loss",
    "margin_ranking_loss_backward",
    "triplet_margin_loss",
    "triplet_margin_loss_backward",
]


@public
def margin_ranking_loss(
    input1: Array, input2: Array, target: Array, margin: float = 0.0, *, reduction: str = "mean"
) -> Array:
    """`max(0, -t (x₁ - x₂) + margin)`, as `torch.nn.functional.margin_ranking_loss`.

    t = 1 if x₁ should exceed x₂, t = -1 if it should be less. The shapes broadcast; `target` may hold
    integers.

    Args:
        margin: by how much one input should exceed the other.
        reduction: `'mean'` or `'sum'`, whose result is a 0-d array, or `'none'`.

    Raises:
        ValueError, ShapeError, DTypeError, BackendError: as the loss `xpconv.MarginRankingLoss`.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.margin_ranking_loss(np.array([2.0]), np.array([1.5]), np.array([1]), margin=1.0)
        np.float64(0.5)
    """
    return value(
        "margin_ranking_loss",
        MarginRankingLoss,
        (
            input1,
            input2,
            target,
        ),
        margin,
        reduction,
    )


@public
def margin_ranking_loss_backward(
    grad_output: Array | float,
    input1: Array,
    input2: Array,
    target: Array,
    margin: float = 0.0,
    *,
    reduction: str = "mean",
) -> tuple[Array, Array]:
    """Gradients of `margin_ranking_loss` with respect to `input1` and `input2`.

    `grad_output` is a number, or an array of the shape of the loss. Other arguments and errors are those of
    `margin_ranking_loss`.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.margin_ranking_loss_backward(1.0, np.array([2.0]), np.array([1.5]), np.array([1]), margin=1.0)
        (array([-1.]), array([1.]))
    """
    grads: tuple[Array, Array] = gradient(
        "margin_ranking_loss",
        MarginRankingLoss,
        grad_output,
        (
            input1,
            input2,
            target,
        ),
        margin,
        reduction,
    )
    return grads


@public
def cosine_embedding_loss(
    input1: Array, input2: Array, target: Array, margin: float = 0.0, *, reduction: str = "mean"
) -> Array:
    """`1 - cos(x₁, x₂)`, or for t = -1 `max(0, cos - margin)`, as in PyTorch.

    As `torch.nn.functional.cosine_embedding_loss`. The inputs are `(N, D)` and `target` `(N,)`, or `(D,)` and
    `()`.

    Args:
        margin: the cosine that unlike vectors may have, -1 to 1.
        reduction: `'mean'` or `'sum'`, whose result is a 0-d array, or `'none'`.

    Raises:
        ValueError, ShapeError, DTypeError, BackendError: as the loss `xpconv.CosineEmbeddingLoss`.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.cosine_embedding_loss(np.array([[3.0, 4.0]]), np.array([[1.0, 0.0]]), np.array([1])).round(4)
        np.float64(0.4)
    """
    return value(
        "cosine_embedding_loss",
        CosineEmbeddingLoss,
        (
            input1,
            input2,
            target,
        ),
        margin,
        reduction,
    )


@public
def cosine_embedding_loss_backward(
    grad_output: Array | float,
    input1: Array,
    input2: Array,
    target: Array,
    margin: float = 0.0,
    *,
    reduction: str = "mean",
) -> tuple[Array, Array]:
    """Gradients of `cosine_embedding_loss` with respect to `input1` and `input2`.

    `grad_output` is a number, or an array of the shape of the loss. Other arguments and errors are those of
    `cosine_embedding_loss`.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> a, b = np.array([[3.0, 4.0]]), np.array([[1.0, 0.0]])
        >>> F.cosine_embedding_loss_backward(1.0, a, b, np.array([1]))[0].round(4)
        array([[-0.128,  0.096]])
    """
    grads: tuple[Array, Array] = gradient(
        "cosine_embedding_loss",
        CosineEmbeddingLoss,
        grad_output,
        (
            input1,
            input2,
            target,
        ),
        margin,
        reduction,
    )
    return grads


@public
def triplet_margin_loss(
    anchor: Array,
    positive: Array,
    negative: Array,
    margin: float = 1.0,
    p: float = 2.0,
    eps: float = 1e-6,
    swap: bool = False,
    *,
    reduction: str = "mean",
) -> Array:
    """`max(0, d(a, p) - d(a, n) + margin)`, as `torch.nn.functional.triplet_margin_loss`.

    The distance d is `‖x - y + eps‖_p` of vectors `(N, D)` or `(D,)`, which broadcast.

    Args:
        margin: by how much the positive should be nearer than the negative.
        p: the order of the norm.
        eps: keeps the norm differentiable.
        swap: whether to use d(p, n) in place of d(a, n) where it is smaller.
        reduction: `'mean'` or `'sum'`, whose result is a 0-d array, or `'none'`.

    Raises:
        ValueError, ShapeError, DTypeError, BackendError: as the loss `xpconv.TripletMarginLoss`.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.triplet_margin_loss(np.zeros((1, 2)), np.ones((1, 2)), np.array([[3.0, 4.0]]), eps=0.0)
        np.float64(0.0)
    """
    return value(
        "triplet_margin_loss",
        TripletMarginLoss,
        (
            anchor,
            positive,
            negative,
        ),
        margin,
        p,
        eps,
        swap,
        reduction,
    )


@public
def triplet_margin_loss_backward(
    grad_output: Array | float,
    anchor: Array,
    positive: Array,
    negative: Array,
    margin: float = 1.0,
    p: float = 2.0,
    eps: float = 1e-6,
    swap: bool = False,
    *,
    reduction: str = "mean",
) -> tuple[Array, Array, Array]:
    """Gradients of `triplet_margin_loss` with respect to `anchor`, `positive` and `negative`.

    `grad_output` is a number, or an array of the shape of the loss. Other arguments and errors are those of
    `triplet_margin_loss`.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> anchor, positive, negative = np.zeros((1, 2)), np.ones((1, 2)), np.array([[1.0, 2.0]])
        >>> F.triplet_margin_loss_backward(1.0, anchor, positive, negative, eps=0.0)[0].round(4)
        array([[-0.2599,  0.1873]])
    """
    grads: tuple[Array, Array, Array] = gradient(
        "triplet_margin_loss",
        TripletMarginLoss,
        grad_output,
        (
            anchor,
            positive,
            negative,
        ),
        margin,
        p,
        eps,
        swap,
        reduction,
    )
    return grads


@public
def ctc_loss(
    log_probs: Array,
    targets: Array,
    input_lengths: Any,
    target_lengths: Any,
    blank: int = 0,
    reduction: str = "mean",
    zero_infinity: bool = False,
) -> Array:
    """`-log P(target)` summed over all alignments, as `torch.nn.functional.ctc_loss`.

    `log_probs` is `(T, N, C)` or `(T, C)`, as from `log_softmax(…, -1)`; `targets` `(N, S)`, or all labels
    one after the other; the lengths `(N,)`. `ctc_loss_backward` gives the gradient of `log_probs` itself;
    PyTorch's includes that through the softmax.

    Args:
        blank: the index of the blank class.
        reduction: `'mean'` divides each loss by the length of its target; `'sum'` or `'none'`.
        zero_infinity: replace an infinite loss and its gradient with 0.

    Raises:
        ValueError, ShapeError, DTypeError, BackendError: as the loss `xpconv.CTCLoss`.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.ctc_loss(np.log(np.full((2, 1, 3), 1 / 3)), np.array([[1]]), (2,), (1,)).round(4)
        np.float64(1.0986)
    """
    return value(
        "ctc_loss",
        CTCLoss,
        (
            log_probs,
            targets,
            input_lengths,
            target_lengths,
        ),
        blank,
        reduction,
        zero_infinity,
    )


@public
def ctc_loss_backward(
    grad_output: Array | float,
    log_probs: Array,
    targets: Array,
    input_lengths: Any,
    target_lengths: Any,
    blank: int = 0,
    reduction: str = "mean",
    zero_infinity: bool = False,
) -> Array:
    """Gradient of `ctc_loss` with respect to `log_probs`.

    `grad_output` is a number, or an array of the shape of the loss. Other arguments and errors are those of
    `ctc_loss`.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.ctc_loss_backward(1.0, np.log(np.full((2, 1, 3), 1 / 3)), np.array([[1]]), (2,), (1,)).round(4)
        array([[[-0.3333, -0.6667,  0.    ]],
        <BLANKLINE>
               [[-0.3333, -0.6667,  0.    ]]])
    """
    return gradient(
        "ctc_loss",
        CTCLoss,
        grad_output,
        (
            log_probs,
            targets,
            input_lengths,
            target_lengths,
        ),
        blank,
        reduction,
        zero_infinity,
    )
