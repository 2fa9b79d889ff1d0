"""Binary classification losses, element by element."""

from __future__ import annotations

from typing import Any, ClassVar

from ..arguments import to_float
from ..backend import Array, backend_of
from ..ops.losses import (
    binary_entropy,
    binary_entropy_slope,
    probability_entropy,
    probability_entropy_slope,
    probable,
)
from ..ops.smooth import log_sigmoid, sigmoid
from .elementwise import Elementwise

__all__ = ["BCELoss", "BCEWithLogitsLoss", "FocalLoss", "HingeEmbeddingLoss", "SoftMarginLoss"]


class BCELoss(Elementwise):
    """Binary cross-entropy of probabilities, any shape, as `torch.nn.BCELoss`.

        -weight · (t log x + (1 - t) log(1 - x)),    logarithms no smaller than -100

    `BCEWithLogitsLoss` takes scores instead, and is the more exact. A probability x or t outside [0, 1] is
    a ValueError on the CPU; on a GPU, where the check would stall the stream, it gives NaN.

    Args:
        weight: of each element, broadcast to `input`.
        reduction: `'mean'` over all elements, `'sum'` or `'none'`.

    Example:
        >>> import numpy as np, xpconv
        >>> criterion = xpconv.BCELoss()
        >>> float(criterion(np.array([0.25]), np.array([1.0])).round(4))
        1.3863
        >>> criterion.backward()
        array([-4.])
    """

    def __init__(self, weight: Array | None = None, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.weight: Any = self._weight(weight)

    def _loss(self, xp: Any, x: Array, t: Array) -> Array:
        if backend_of(x).name == "numpy":
            for name, p, fix in (("input", x, "; the loss with logits takes scores"), ("target", t, "")):
                bad = p[~probable(p)].reshape(-1)
                if bad.size:
                    raise ValueError(f"BCELoss: {name} holds {bad[0]}, expected probabilities, 0 to 1{fix}")
        loss = probability_entropy(xp, x, t)
        return loss if self.weight is None else loss * self._like(self.weight, x)

    def _slope(self, xp: Any, x: Array, t: Array) -> Array:
        slope = probability_entropy_slope(xp, x, t)
        return slope if self.weight is None else slope * self._like(self.weight, x)


class BCEWithLogitsLoss(Elementwise):
    """Binary cross-entropy of `sigmoid(x)`, any shape, as `torch.nn.BCEWithLogitsLoss`.

    With a score x, a target t in [0, 1] and the positives' weight w:

        -w t log σ(x) - (1 - t) log(1 - σ(x))

    taken without overflow or cancellation.

    Args:
        weight: of each element, broadcast to `input`.
        reduction: `'mean'` over all elements, `'sum'` or `'none'`.
        pos_weight: w, broadcast to `input`; above 1 it raises recall, below 1 precision.

    Raises:
        ShapeError, DTypeError, BackendError: `target` is not like `input`.

    Example:
        >>> import numpy as np, xpconv
        >>> criterion = xpconv.BCEWithLogitsLoss()
        >>> float(criterion(np.array([1e4, 0.0]), np.array([1.0, 1.0])).round(4))
        0.3466
        >>> criterion.backward()
        array([ 0.  , -0.25])
    """

    def __init__(
        self, weight: Array | None = None, reduction: str = "mean", pos_weight: Array | None = None
    ) -> None:
        super().__init__(reduction)
        self.weight: Any = self._weight(weight)
        self.pos_weight: Any = self._weight(pos_weight, "pos_weight")

    def _loss(self, xp: Any, x: Array, t: Array) -> Array:
        loss = binary_entropy(xp, x, t, self._positive(x))
        return loss if self.weight is None else loss * self._like(self.weight, x)

    def _slope(self, xp: Any, x: Array, t: Array) -> Array:
        slope = binary_entropy_slope(xp, x, t, self._positive(x))
        return slope if self.weight is None else slope * self._like(self.weight, x)

    def _positive(self, x: Array) -> Array | float:
        return 1.0 if self.pos_weight is None else self._like(self.pos_weight, x, "pos_weight")


class SoftMarginLoss(Elementwise):
    """`log(1 + exp(-t x))` for t = ±1, any shape, as `torch.nn.SoftMarginLoss`.

    `target` may hold integers, and its shape may broadcast to that of `input`.

    Args:
        reduction: `'mean'` over all elements, `'sum'` or `'none'`.

    Example:
        >>> import numpy as np, xpconv
        >>> criterion = xpconv.SoftMarginLoss()
        >>> float(criterion(np.array([0.0]), np.array([1.0])).round(4))
        0.6931
        >>> criterion.backward()
        array([-0.5])
    """

    integers = "iu"
    broadcast: ClassVar[tuple[str, ...]] = ("target",)

    def _loss(self, xp: Any, x: Array, t: Array) -> Array:
        return -log_sigmoid(xp, t * x)

    def _slope(self, xp: Any, x: Array, t: Array) -> Array:
        return -t * sigmoid(xp, -t * x)


class HingeEmbeddingLoss(Elementwise):
    """`x` where t = 1, `max(0, margin - x)` where t = -1, as `torch.nn.HingeEmbeddingLoss`.

    `target` may hold integers; the shapes of `target` and `input` broadcast.

    Args:
        margin: smallest distance of dissimilar pairs that has no loss.
        reduction: `'mean'` over all elements, `'sum'` or `'none'`.

    Example:
        >>> import numpy as np, xpconv
        >>> criterion = xpconv.HingeEmbeddingLoss(reduction="none")
        >>> criterion(np.array([0.5, 0.25]), np.array([1.0, -1.0]))
        array([0.5 , 0.75])
        >>> criterion.backward()
        array([ 1., -1.])
    """

    integers = "iub"
    broadcast: ClassVar[tuple[str, ...]] = ("input", "target")

    def __init__(self, margin: float = 1.0, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.margin: float = to_float("HingeEmbeddingLoss: margin", margin)

    def _loss(self, xp: Any, x: Array, t: Array) -> Array:
        return xp.where(t != -1, x, 0) + xp.where(t != 1, xp.maximum(self.margin - x, 0), 0)

    def _slope(self, xp: Any, x: Array, t: Array) -> Array:
        near = (t != 1) & (x <= self.margin)
        return (t != -1).astype(x.dtype) - near.astype(x.dtype)


class FocalLoss(Elementwise):
    """Binary cross-entropy of `sigmoid(x)`, with less weight on easy samples (Lin et al., 2017).

        p_t = t p + (1 - t)(1 - p),    α_t = t α + (1 - t)(1 - α),    loss = -α_t (1 - p_t)^γ log p_t

    with p = σ(x); for t between 0 and 1 the cross-entropy takes log p_t's place, as in
    `torchvision.ops.sigmoid_focal_loss`.

    Args:
        alpha: weight of the positives, against 1 - alpha; None gives both 1.
        gamma: γ; 0 is plain cross-entropy.
        reduction: `'mean'` over all elements, `'sum'` or `'none'`.

    Example:
        >>> import numpy as np, xpconv
        >>> criterion = xpconv.FocalLoss()
        >>> float(criterion(np.array([0.0]), np.array([1.0])).round(4))
        0.0433
        >>> criterion.backward().round(4)
        array([-0.0746])
    """

    def __init__(self, alpha: float | None = 0.25, gamma: float = 2.0, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.alpha: float | None = None if alpha is None else to_float("FocalLoss: alpha", alpha)
        if self.alpha is not None and not 0 <= self.alpha <= 1:
            raise ValueError(f"FocalLoss: alpha is {alpha}, expected a number from 0 to 1, or None")
        self.gamma: float = to_float("FocalLoss: gamma", gamma, 0)

    def _loss(self, xp: Any, x: Array, t: Array) -> Array:
        return self._alpha(t) * self._miss(xp, x, t) ** self.gamma * binary_entropy(xp, x, t)

    def _slope(self, xp: Any, x: Array, t: Array) -> Array:
        """With q = 1 - p_t and the cross-entropy H: `H' = p - t` and `q' = (1 - 2t) p (1 - p)`, so

        α_t (q^γ (p - t) + γ q^(γ-1) q' H)
        """
        p, q = sigmoid(xp, x), self._miss(xp, x, t)
        slope = q**self.gamma * (p - t)
        if self.gamma:
            turn = (1 - 2 * t) * p * (1 - p)
            # Where q is 0, H is 0 too, and the limit of the product is 0.
            power = xp.where(q > 0, xp.where(q > 0, q, 1) ** (self.gamma - 1), 0)
            slope = slope + self.gamma * power * turn * binary_entropy(xp, x, t)
        return self._alpha(t) * slope

    def _alpha(self, t: Array) -> Array | float:
        return 1.0 if self.alpha is None else t * self.alpha + (1 - t) * (1 - self.alpha)

    def _miss(self, xp: Any, x: Array, t: Array) -> Array:
        """`1 - p_t`, from σ(x) and σ(-x), which keeps its digits where p_t is near 1."""
        return t * sigmoid(xp, -x) + (1 - t) * sigmoid(xp, x)
