"""Losses that compare several inputs; `backward` returns a gradient for each."""

from __future__ import annotations

from typing import Any, ClassVar

from ..arguments import to_bool, to_float
from ..backend import Array
from ..errors import ShapeError
from ..ops.vectors import p_norm
from ..sums import sum_over
from .base import Loss, broadcast_shape, summed_to

__all__ = ["CosineEmbeddingLoss", "MarginRankingLoss", "TripletMarginLoss"]


class MarginRankingLoss(Loss):
    """`max(0, -t (x₁ - x₂) + margin)`: t = 1 for x₁ above x₂, t = -1 for below.

    As `torch.nn.MarginRankingLoss`: `criterion(input1, input2, target)`. The arrays have the same number of
    axes and their shapes broadcast; `target` may hold integers.

    Args:
        margin: the smallest difference that has no loss.
        reduction: `'mean'` over all elements, `'sum'` or `'none'`.

    Example:
        >>> import numpy as np, xpconv
        >>> criterion = xpconv.MarginRankingLoss(margin=1.0)
        >>> float(criterion(np.array([2.0]), np.array([1.5]), np.array([1.0])))
        0.5
        >>> criterion.backward()
        (array([-1.]), array([1.]))
    """

    names: ClassVar[tuple[str, ...]] = ("input1", "input2", "target")
    integers = "iu"

    def __init__(self, margin: float = 0.0, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.margin: float = to_float("MarginRankingLoss: margin", margin)

    def _forward(
        self, xp: Any, input1: Array, input2: Array, target: Array
    ) -> tuple[Array, Any, tuple[Any, ...]]:
        shape1, shape2 = input1.shape, input2.shape
        input2, target = self._typed(input1, input2, "input2"), self._typed(input1, target)
        input1, input2, target = self._stretched(xp, input1, input2, target)
        loss = self.margin - target * (input1 - input2)
        return xp.maximum(loss, 0), loss.size, (xp.where(loss >= 0, -target, 0), shape1, shape2)

    def _backward(
        self, xp: Any, scale: Any, slope: Array, shape1: tuple[int, ...], shape2: tuple[int, ...]
    ) -> tuple[Array, Array]:
        slope = slope * scale
        return summed_to(slope, shape1), summed_to(-slope, shape2)


class CosineEmbeddingLoss(Loss):
    """`1 - cos(x₁, x₂)` where t = 1, `max(0, cos(x₁, x₂) - margin)` where t = -1.

    As `torch.nn.CosineEmbeddingLoss`: `criterion(input1, input2, target)`, inputs `(N, D)` and target `(N,)`,
    or `(D,)` and `()`; an N of 1 broadcasts, and `target` may hold integers.

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

    names: ClassVar[tuple[str, ...]] = ("input1", "input2", "target")
    integers = "iub"

    def __init__(self, margin: float = 0.0, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.margin: float = to_float("CosineEmbeddingLoss: margin", margin)

    def _forward(
        self, xp: Any, input1: Array, input2: Array, target: Array
    ) -> tuple[Array, Any, tuple[Any, ...]]:
        shapes = input1.shape, input2.shape
        input2, target = self._typed(input1, input2, "input2"), self._typed(input1, target)
        input1, input2 = self._stretched(xp, input1, input2)
        rows = broadcast_shape(input1.shape[:-1], target.shape)
        same = shapes[0][-1:] == shapes[1][-1:]
        if input1.ndim not in (1, 2) or target.ndim != input1.ndim - 1 or rows is None or not same:
            raise ShapeError(
                f"CosineEmbeddingLoss: inputs have shapes {shapes[0]} and {shapes[1]} and target "
                f"{target.shape}, expected (N, D) and (N,), or (D,) and ()"
            )
        size1, size2 = (sum_over(x * x, (-1,)) + 1e-12 for x in (input1, input2))
        norm = xp.sqrt(size1) * xp.sqrt(size2)
        cos = sum_over(input1 * input2, (-1,)) / norm
        far = xp.maximum(cos - self.margin, 0)
        loss = xp.where(target == 1, 1 - cos, 0) + xp.where(target == -1, far, 0)
        like = (target == 1).astype(cos.dtype)
        unlike = ((target == -1) & (cos >= self.margin)).astype(cos.dtype)
        return loss, loss.size, (shapes, input1, input2, size1, size2, norm, cos, unlike - like)

    def _backward(self, xp: Any, scale: Any, *saved: Any) -> tuple[Array, Array]:
        """`d cos/dx₁ = x₂ / (|x₁| |x₂|) - cos · x₁ / |x₁|²`, and likewise for x₂."""
        (shape1, shape2), x1, x2, size1, size2, norm, cos, sign = saved
        slope = (sign * scale)[..., None]
        norm, ratio1, ratio2 = norm[..., None], (cos / size1)[..., None], (cos / size2)[..., None]
        grad1, grad2 = slope * (x2 / norm - ratio1 * x1), slope * (x1 / norm - ratio2 * x2)
        return summed_to(grad1, shape1), summed_to(grad2, shape2)


class TripletMarginLoss(Loss):
    """`max(0, d(a, p) - d(a, n) + margin)`: the positive nearer than the negative.

    With `d(x, y) = ‖x - y + eps‖_p` over the last axis, as `torch.nn.TripletMarginLoss` (Balntas et al.,
    2016): `criterion(anchor, positive, negative)`, all `(…, D)`, whose shapes broadcast.

    Args:
        margin: the smallest difference that has no loss, above 0.
        p: exponent of the norm, at least 0. `math.inf` gives the largest difference; equal largest
            differences share the gradient. 0 counts the differences and has no gradient.
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

    names: ClassVar[tuple[str, ...]] = ("anchor", "positive", "negative")

    def __init__(
        self,
        margin: float = 1.0,
        p: float = 2.0,
        eps: float = 1e-6,
        swap: bool = False,
        reduction: str = "mean",
    ) -> None:
        super().__init__(reduction)
        self.margin: float = to_float("TripletMarginLoss: margin", margin)
        self.p: float = to_float("TripletMarginLoss: p", p, 0)
        self.eps: float = to_float("TripletMarginLoss: eps", eps)
        if not self.margin > 0:
            raise ValueError(f"TripletMarginLoss: margin is {margin}, expected above 0")
        self.swap: bool = to_bool("TripletMarginLoss: swap", swap)

    def _forward(
        self, xp: Any, anchor: Array, positive: Array, negative: Array
    ) -> tuple[Array, Any, tuple[Any, ...]]:
        shapes = anchor.shape, positive.shape, negative.shape
        positive = self._typed(anchor, positive, "positive")
        negative = self._typed(anchor, negative, "negative")
        anchor, positive, negative = self._stretched(xp, anchor, positive, negative)
        if not anchor.ndim:
            anchor, positive, negative = (x.reshape(1) for x in (anchor, positive, negative))
        near, d_near = self._distance(xp, anchor, positive)
        far, d_far = self._distance(xp, anchor, negative)
        swapped = xp.zeros_like(far)
        if self.swap:
            other, d_other = self._distance(xp, positive, negative)
            # Equal distances each take a part of the gradient, as in PyTorch.
            nearer = (0.5 * (d_other <= d_far) + 0.5 * (d_other < d_far)).astype(far.dtype)[..., None]
            swapped, far = nearer * other, (1 - nearer) * far
            d_far = xp.minimum(d_far, d_other)
        loss = d_near - d_far + self.margin
        active = (loss >= 0).astype(anchor.dtype)
        return xp.maximum(loss, 0), loss.size, (shapes, near, far, swapped, active)

    def _backward(self, xp: Any, scale: Any, *saved: Any) -> tuple[Array, Array, Array]:
        shapes, near, far, swapped, active = saved
        scale = (active * scale)[..., None]
        grads = (near - far) * scale, -(near + swapped) * scale, (far + swapped) * scale
        anchor, positive, negative = map(summed_to, grads, shapes)
        return anchor, positive, negative

    def _distance(self, xp: Any, x: Array, y: Array) -> tuple[Array, Array]:
        """`dd/dx` of `d = ‖v‖_p` with `v = x - y + eps` along the last axis, and `d`."""
        norm, slope = p_norm(xp, x - y + self.eps, self.p, (-1,))
        return slope, norm[..., 0]
