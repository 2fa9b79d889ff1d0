"""Losses of several inputs: what should be near what. `backward` gives a gradient for each."""

from __future__ import annotations

from typing import Any

from ..backend import Array
from ..errors import ShapeError
from ..geometry import to_float
from .base import Loss


class MarginRankingLoss(Loss):
    """`max(0, -t (x₁ - x₂) + margin)`: t = 1 wants x₁ above x₂, t = -1 below.

    As `torch.nn.MarginRankingLoss`: `criterion(input1, input2, target)`, all of one shape.

    Args:
        margin: by how much.
        reduction: `'mean'` over all elements, `'sum'` or `'none'`.

    Example:
        >>> import numpy as np, xpconv
        >>> criterion = xpconv.MarginRankingLoss(margin=1.0)
        >>> float(criterion(np.array([2.0]), np.array([1.5]), np.array([1.0])))
        0.5
        >>> criterion.backward()
        (array([-1.]), array([1.]))
    """

    names = ("input1", "input2", "target")

    def __init__(self, margin: float = 0.0, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.margin = to_float("MarginRankingLoss: margin", margin)

    def _forward(
        self, xp: Any, input1: Array, input2: Array, target: Array
    ) -> tuple[Array, Any, tuple[Any, ...]]:
        self._same(input1, input2, "input2")
        self._same(input1, target)
        loss = self.margin - target * (input1 - input2)
        return xp.maximum(loss, 0), loss.size, (xp.where(loss >= 0, -target, 0),)

    def _backward(self, xp: Any, scale: Any, slope: Array) -> tuple[Array, Array]:
        slope = slope * scale
        return slope, -slope


class CosineEmbeddingLoss(Loss):
    """`1 - cos(x₁, x₂)` where t = 1, `max(0, cos(x₁, x₂) - margin)` where t = -1.

    As `torch.nn.CosineEmbeddingLoss`: `criterion(input1, input2, target)`, inputs `(N, D)` and target `(N,)`,
    or `(D,)` and `()`.

    Args:
        margin: the angle's cosine that unlike vectors may have, -1 to 1.
        reduction: `'mean'` over the pairs, `'sum'` or `'none'`.

    Example:
        >>> import numpy as np, xpconv
        >>> criterion = xpconv.CosineEmbeddingLoss()
        >>> x = np.array([[3.0, 4.0]])
        >>> float(criterion(x, np.array([[1.0, 0.0]]), np.array([1.0])).round(4))
        0.4
        >>> criterion.backward()[0].round(4)
        array([[-0.128,  0.096]])
    """

    names = ("input1", "input2", "target")

    def __init__(self, margin: float = 0.0, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.margin = to_float("CosineEmbeddingLoss: margin", margin)

    def _forward(
        self, xp: Any, input1: Array, input2: Array, target: Array
    ) -> tuple[Array, Any, tuple[Any, ...]]:
        self._same(input1, input2, "input2")
        if input1.ndim not in (1, 2) or target.shape != input1.shape[:-1]:
            raise ShapeError(
                f"CosineEmbeddingLoss: inputs have shape {input1.shape} and target {target.shape}, expected "
                "(N, D) and (N,), or (D,) and ()"
            )
        size1, size2 = ((x * x).sum(axis=-1) + 1e-12 for x in (input1, input2))
        norm = xp.sqrt(size1 * size2)
        cos = (input1 * input2).sum(axis=-1) / norm
        far = xp.maximum(cos - self.margin, 0)
        loss = xp.where(target == 1, 1 - cos, 0) + xp.where(target == -1, far, 0)
        like = (target == 1).astype(cos.dtype)
        unlike = ((target == -1) & (cos >= self.margin)).astype(cos.dtype)
        return loss, loss.size, (input1, input2, size1, size2, norm, cos, unlike - like)

    def _backward(self, xp: Any, scale: Any, *saved: Array) -> tuple[Array, Array]:
        """`d cos/dx₁ = x₂ / (|x₁| |x₂|) - cos · x₁ / |x₁|²`, and likewise for x₂."""
        x1, x2, size1, size2, norm, cos, sign = saved
        slope = (sign * scale)[..., None]
        norm, ratio1, ratio2 = norm[..., None], (cos / size1)[..., None], (cos / size2)[..., None]
        return slope * (x2 / norm - ratio1 * x1), slope * (x1 / norm - ratio2 * x2)


class TripletMarginLoss(Loss):
    """`max(0, d(a, p) - d(a, n) + margin)`: the positive nearer than the negative.

    With `d(x, y) = ‖x - y + eps‖_p` over the last axis, as `torch.nn.TripletMarginLoss` (Balntas et al.,
    2016): `criterion(anchor, positive, negative)`, all `(N, D)` or `(D,)`.

    Args:
        margin: by how much, above 0.
        p: of the norm.
        eps: keeps the norm away from its kink.
        swap: take `min(d(a, n), d(p, n))` for the negative's distance.
        reduction: `'mean'` over the triplets, `'sum'` or `'none'`.

    Example:
        >>> import numpy as np, xpconv
        >>> criterion = xpconv.TripletMarginLoss(eps=0.0)
        >>> a, p, n = np.array([[0.0]]), np.array([[2.0]]), np.array([[2.5]])
        >>> float(criterion(a, p, n))
        0.5
        >>> criterion.backward()
        (array([[0.]]), array([[1.]]), array([[-1.]]))
    """

    names = ("anchor", "positive", "negative")

    def __init__(
        self,
        margin: float = 1.0,
        p: float = 2.0,
        eps: float = 1e-6,
        swap: bool = False,
        reduction: str = "mean",
    ) -> None:
        super().__init__(reduction)
        self.margin = to_float("TripletMarginLoss: margin", margin)
        self.p = to_float("TripletMarginLoss: p", p)
        self.eps = to_float("TripletMarginLoss: eps", eps)
        for argument, value in (("margin", margin), ("p", p)):
            if not value > 0:
                raise ValueError(f"TripletMarginLoss: {argument} is {value}, expected above 0")
        self.swap = bool(swap)

    def _forward(
        self, xp: Any, anchor: Array, positive: Array, negative: Array
    ) -> tuple[Array, Any, tuple[Any, ...]]:
        self._same(anchor, positive, "positive")
        self._same(anchor, negative, "negative")
        if anchor.ndim not in (1, 2):
            raise ShapeError(f"TripletMarginLoss: anchor has shape {anchor.shape}, expected (N, D) or (D,)")
        near, d_near = self._distance(xp, anchor, positive)
        far, d_far = self._distance(xp, anchor, negative)
        swapped = xp.zeros_like(far)
        if self.swap:
            other, d_other = self._distance(xp, positive, negative)
            use = (d_other < d_far)[..., None]
            swapped, far = xp.where(use, other, 0), xp.where(use, 0, far)
            d_far = xp.minimum(d_far, d_other)
        loss = d_near - d_far + self.margin
        active = (loss >= 0).astype(anchor.dtype)
        return xp.maximum(loss, 0), loss.size, (near, far, swapped, active)

    def _backward(self, xp: Any, scale: Any, *saved: Array) -> tuple[Array, Array, Array]:
        near, far, swapped, active = saved
        scale = (active * scale)[..., None]
        return (near - far) * scale, -(near + swapped) * scale, (far + swapped) * scale

    def _distance(self, xp: Any, x: Array, y: Array) -> tuple[Array, Array]:
        """`d = ‖v‖_p` with `v = x - y + eps`, and `dd/dx = sign(v) (|v| / d)^(p-1)` (0 where d is)."""
        v = x - y + self.eps
        size = xp.abs(v)
        d = (size**self.p).sum(axis=-1) ** (1 / self.p)
        ratio = size / xp.where(d == 0, 1, d)[..., None]
        return xp.sign(v) * xp.where(ratio == 0, 0, xp.where(ratio == 0, 1, ratio) ** (self.p - 1)), d
