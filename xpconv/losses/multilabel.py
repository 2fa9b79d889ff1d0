"""Multi-label losses: a sample may belong to several classes."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from ..backend import Array, backend_of
from ..errors import DTypeError, ShapeError
from ..ops.hinge import listed, pairwise_hinge
from ..ops.losses import binary_entropy
from ..ops.smooth import sigmoid
from ..sums import sum_over
from .base import Loss, over_classes

__all__ = ["MultiLabelMarginLoss", "MultiLabelSoftMarginLoss"]


class MultiLabelMarginLoss(Loss):
    """`Σ_{t} Σ_{c not a target} max(0, 1 - x_t + x_c) / C`, as `torch.nn.MultiLabelMarginLoss`.

    `input` is `(N, C)` or `(C,)`. `target` is an integer array of the same shape; each row lists the target
    classes and ends at the first -1. Any other class outside [0, C) is treated as in
    `SoftmaxCrossEntropyLoss`.

    Args:
        reduction: `'mean'` over the samples, `'sum'` or `'none'`.

    Example:
        >>> import numpy as np, xpconv
        >>> criterion = xpconv.MultiLabelMarginLoss()
        >>> float(criterion(np.array([[0.1, 0.2, 0.4, 0.8]]), np.array([[3, 0, -1, 1]])).round(4))
        0.85
        >>> criterion.backward()
        array([[-0.5,  0.5,  0.5, -0.5]])
    """

    def _forward(self, xp: Any, input: Array, target: Array) -> tuple[Array, Any, tuple[Any, ...]]:
        name, shape = type(self).__name__, input.shape
        if len(shape) < 2 and target.ndim < 2:  # one sample, or one score of one sample
            input, target = input.reshape(1, -1), target.reshape(1, -1)
        classes = input.shape[-1] if input.ndim == 2 else 0
        if not classes or target.shape != input.shape:
            raise ShapeError(
                f"{name}: input has shape {shape} and target {target.shape}, expected (N, C) or (C,), "
                "the same for both"
            )
        if target.dtype.kind not in "iu":
            raise DTypeError(f"{name}: target is {target.dtype}, expected integer class indices, ended by -1")
        target = target.astype("int64", copy=False)
        valid = ((target >= -1) & (target < classes)).all(axis=-1)
        if backend_of(input).name == "numpy" and not valid.all():
            raise ValueError(f"{name}: target holds a class outside -1 to {classes - 1} (C = {classes})")
        loss, slope = pairwise_hinge(xp, input, listed(xp, target, classes))
        loss = xp.where(valid, loss / classes, math.nan).astype(input.dtype)
        slope = xp.where(valid[:, None], slope / classes, math.nan).astype(input.dtype)
        return loss.reshape(shape[:-1]), loss.size, (slope.reshape(shape),)

    def _backward(self, xp: Any, scale: Any, slope: Array) -> Array:
        return slope * (over_classes(xp, scale, -1) if slope.ndim else scale)


class MultiLabelSoftMarginLoss(Loss):
    """Mean over the classes of `-w_c (t_c log σ(x_c) + (1 - t_c) log σ(-x_c))`.

    As `torch.nn.MultiLabelSoftMarginLoss`. `input` and `target` are `(…, C)`; `target` may hold integers,
    and its shape may broadcast to that of `input`.

    Args:
        weight: the weight of each class, `(C,)`.
        reduction: `'mean'` over the samples, `'sum'` or `'none'`.

    Example:
        >>> import numpy as np, xpconv
        >>> criterion = xpconv.MultiLabelSoftMarginLoss()
        >>> float(criterion(np.array([[0.0, 0.0]]), np.array([[1.0, 0.0]])).round(4))
        0.6931
        >>> criterion.backward()
        array([[-0.25,  0.25]])
    """

    integers = "iu"
    broadcast: ClassVar[tuple[str, ...]] = ("target",)

    def __init__(self, weight: Array | None = None, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.weight: Any = self._weight(weight)

    def _forward(self, xp: Any, input: Array, target: Array) -> tuple[Array, Any, tuple[Any, ...]]:
        input, target = self._paired(xp, input, target)
        if input.ndim == 0 or input.shape[-1] == 0:
            raise ShapeError(f"{type(self).__name__}: input has shape {input.shape}, expected (…, C)")
        weight = 1.0 if self.weight is None else self._like(self.weight, input)
        loss = binary_entropy(xp, input, target) * weight
        slope = (sigmoid(xp, input) - target) * weight / input.shape[-1]
        loss = sum_over(loss, (-1,)) / input.shape[-1]
        return loss, loss.size, (slope,)

    def _backward(self, xp: Any, scale: Any, slope: Array) -> Array:
        return slope * over_classes(xp, scale, -1)
