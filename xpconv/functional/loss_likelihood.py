"""Negative log likelihoods, and the Kullback-Leibler divergence.

Options are those of `torch.nn.functional` without `size_average` and `reduce`, which it deprecates.
"""

from __future__ import annotations

from ..backend import Array
from ..losses.regression import GaussianNLLLoss, KLDivLoss, PoissonNLLLoss
from ._checks import public
from ._losses import gradient, value

__all__ = [
    "gaussian_nll_loss",
    "gaussian_nll_loss_backward",
    "kl_div",
    "kl_div_backward",
    "poisson_nll_loss",
    "poisson_nll_loss_backward",
]


@public
def poisson_nll_loss(
    input: Array,
    target: Array,
    log_input: bool = True,
    full: bool = False,
    *,
    eps: float = 1e-8,
    reduction: str = "mean",
) -> Array:
    """Negative log likelihood of counts t, as `torch.nn.functional.poisson_nll_loss`.

    `exp(x) - t x` with `log_input`, where x is the logarithm of the rate; else `x - t log(x + eps)`. The
    shapes of `input` and `target` broadcast; `target` may hold integers.

    Args:
        log_input: whether `input` is the logarithm of the rate.
        full: whether to add Stirling's formula for log t!.
        eps: added to the rate, so that its logarithm is finite.
        reduction: `'mean'` or `'sum'`, whose result is a 0-d array, or `'none'`.

    Raises:
        ValueError, ShapeError, DTypeError, BackendError: as the loss `xpconv.PoissonNLLLoss`.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.poisson_nll_loss(np.array([0.0]), np.array([3]))
        np.float64(1.0)
    """
    return value(
        "poisson_nll_loss",
        PoissonNLLLoss,
        (
            input,
            target,
        ),
        log_input,
        full,
        eps,
        reduction,
    )


@public
def poisson_nll_loss_backward(
    grad_output: Array | float,
    input: Array,
    target: Array,
    log_input: bool = True,
    full: bool = False,
    *,
    eps: float = 1e-8,
    reduction: str = "mean",
) -> Array:
    """Gradient of `poisson_nll_loss` with respect to `input`.

    `grad_output` is a number, or an array of the shape of the loss. Other arguments and errors are those of
    `poisson_nll_loss`.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.poisson_nll_loss_backward(1.0, np.array([0.0]), np.array([3]))
        array([-2.])
    """
    return gradient(
        "poisson_nll_loss",
        PoissonNLLLoss,
        grad_output,
        (
            input,
            target,
        ),
        log_input,
        full,
        eps,
        reduction,
    )


@public
def gaussian_nll_loss(
    input: Array,
    target: Array,
    var: Array | float,
    full: bool = False,
    eps: float = 1e-6,
    reduction: str = "mean",
) -> Array:
    """Negative log likelihood of t under a normal distribution, as `torch.nn.functional.gaussian_nll_loss`.

    `(log v + (x - t)² / v) / 2` with the variance v, which has the shape of `input`, or size 1 in one axis,
    or lacks the last axis, or is a number.

    Args:
        full: whether to add log(2π)/2.
        eps: the smallest variance.
        reduction: `'mean'` or `'sum'`, whose result is a 0-d array, or `'none'`.

    Raises:
        ValueError, ShapeError, DTypeError, BackendError: as the loss `xpconv.GaussianNLLLoss`.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.gaussian_nll_loss(np.array([[1.0]]), np.array([[2.0]]), np.array([[2.0]])).round(4)
        np.float64(0.5966)
    """
    return value(
        "gaussian_nll_loss",
        GaussianNLLLoss,
        (
            input,
            target,
            var,
        ),
        full,
        eps,
        reduction,
    )


@public
def gaussian_nll_loss_backward(
    grad_output: Array | float,
    input: Array,
    target: Array,
    var: Array | float,
    full: bool = False,
    eps: float = 1e-6,
    reduction: str = "mean",
) -> tuple[Array, Array]:
    """Gradients of `gaussian_nll_loss` with respect to `input` and `var`.

    `grad_output` is a number, or an array of the shape of the loss. Other arguments and errors are those of
    `gaussian_nll_loss`.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.gaussian_nll_loss_backward(1.0, np.array([[1.0]]), np.array([[2.0]]), np.array([[2.0]]))
        (array([[-0.5]]), array([[0.125]]))
    """
    grads: tuple[Array, Array] = gradient(
        "gaussian_nll_loss",
        GaussianNLLLoss,
        grad_output,
        (
            input,
            target,
            var,
        ),
        full,
        eps,
        reduction,
    )
    return grads


@public
def kl_div(input: Array, target: Array, *, reduction: str = "mean", log_target: bool = False) -> Array:
    """Divergence from log-probabilities x to probabilities t, as `torch.nn.functional.kl_div`.

    `t (log t - x)`, or with `log_target` `exp(t) (t - x)`. The shapes of `input` and `target` broadcast.

    Args:
        reduction: `'mean'`, `'batchmean'` (over the first axis), `'sum'` or `'none'`.
        log_target: whether `target` is the logarithm of t.

    Raises:
        ValueError, ShapeError, DTypeError, BackendError: as the loss `xpconv.KLDivLoss`.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.kl_div(np.log(np.array([[0.5, 0.5]])), np.array([[1.0, 0.0]]), reduction="batchmean").round(4)
        np.float64(0.6931)
    """
    return value(
        "kl_div",
        KLDivLoss,
        (
            input,
            target,
        ),
        reduction,
        log_target,
    )


@public
def kl_div_backward(
    grad_output: Array | float,
    input: Array,
    target: Array,
    *,
    reduction: str = "mean",
    log_target: bool = False,
) -> Array:
    """Gradient of `kl_div` with respect to `input`.

    `grad_output` is a number, or an array of the shape of the loss. Other arguments and errors are those of
    `kl_div`.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> x = np.log(np.array([[0.5, 0.5]]))
        >>> F.kl_div_backward(1.0, x, np.array([[1.0, 0.0]]), reduction="batchmean")
        array([[-1., -0.]])
    """
    return gradient(
        "kl_div",
        KLDivLoss,
        grad_output,
        (
            input,
            target,
        ),
        reduction,
        log_target,
    )
