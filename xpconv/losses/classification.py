"""Classification losses: each sample or pixel belongs to one of C classes."""

from __future__ import annotations

import math
from typing import Any

from ..arguments import to_float, to_int
from ..backend import Array, backend_of
from ..dtypes import is_floating
from ..errors import DTypeError, ShapeError
from ..kernels import overrides
from ..ops.softmax import class_entropy_backward, cross_entropy, cross_entropy_backward, one_hot
from ..sums import sum_over
from .base import Loss, over_classes

__all__ = ["CrossEntropyLoss", "DiceLoss", "MultiMarginLoss", "NLLLoss", "SoftmaxCrossEntropyLoss"]


class _ClassLoss(Loss):
    """Base of losses of class indices: `weight`, `ignore_index`, and one-hot targets."""

    def __init__(
        self, weight: Array | None = None, ignore_index: int = -100, reduction: str = "mean"
    ) -> None:
        super().__init__(reduction)
        self.weight: Any = self._weight(weight)
        self.ignore_index: int = to_int(f"{type(self).__name__}: ignore_index", ignore_index)
        if not -(1 << 63) <= self.ignore_index < 1 << 63:
            raise ValueError(
                f"{type(self).__name__}: ignore_index is {ignore_index}, expected a 64-bit integer"
            )

    def _class_axis(self, input: Array) -> int:
        axis: int = min(1, input.ndim - 1)
        if axis < 0 or input.shape[axis] == 0:
            raise ShapeError(
                f"{type(self).__name__}: input has shape {input.shape}, expected (N, C), (C,) or (N, C, …)"
            )
        if self.weight is not None and tuple(self.weight.shape) != (input.shape[axis],):
            raise ShapeError(
                f"{type(self).__name__}: weight has shape {tuple(self.weight.shape)}, expected "
                f"({input.shape[axis]},), one for each class"
            )
        return axis

    def _class_weights(self, input: Array, axis: int) -> Array | float:
        """`weight`, to broadcast over `input`."""
        if self.weight is None:
            return 1.0
        shape = [1] * input.ndim
        shape[axis] = -1
        return self._like(self.weight.reshape(shape), input)

    def _one_hot(self, xp: Any, input: Array, target: Array, axis: int) -> tuple[Array, Array]:
        """Rows of 0 and 1 like `input`, and which samples count; a class out of range makes its row NaN."""
        name, classes = type(self).__name__, input.shape[axis]
        expected = input.shape[:axis] + input.shape[axis + 1 :]
        if target.dtype.kind not in "iu":
            raise DTypeError(
                f"{name}: target is {target.dtype} of shape {target.shape}, expected integer class indices, "
                f"or probabilities of input's shape {input.shape}"
            )
        if target.shape != expected:
            raise ShapeError(
                f"{name}: target has shape {target.shape}, expected {expected} (class indices) or "
                f"{input.shape} (probabilities) for input of shape {input.shape}"
            )
        if backend_of(input).name == "numpy":
            bad = target[((target < 0) | (target >= classes)) & (target != self.ignore_index)]
            if bad.size:
                raise ValueError(
                    f"{name}: target holds class {bad[0]}, expected 0 to {classes - 1} (C = {classes})"
                )
        return one_hot(xp, target, classes, self.ignore_index, axis, input.dtype)

    def _count(self, xp: Any, rows: Array, counted: Array, weights: Array | float) -> Array:
        """The divisor of `mean`: the weights of the samples that are not ignored. NaN counts as 0."""
        if self.weight is None:
            return counted.sum().astype(rows.dtype)
        return sum_over(xp.where(rows > 0, weights, 0), tuple(range(rows.ndim)))

    def _of_counted(self, xp: Any, scale: Any, counted: Array | None, dtype: Any) -> Any:
        """`scale` for each sample, with 0 for ignored ones, even if all are ignored and the mean is NaN."""
        if counted is None or self.reduction != "mean":
            return scale
        # Not on a GPU, where reading `scale` would wait.
        if backend_of(counted).name == "numpy" and not getattr(scale, "ndim", 0) and math.isfinite(scale):
            return scale
        return xp.where(counted, scale, 0).astype(dtype)


class SoftmaxCrossEntropyLoss(_ClassLoss):
    """Cross-entropy of `softmax(input)` against `target`, as `torch.nn.CrossEntropyLoss`.

    With scores x and class t, or a distribution t over the classes, and class weights w:

        -w_t log softmax(x)[t] = w_t (log Σ_c exp(x_c) - x_t),    or    -Σ_c w_c t_c log softmax(x)[c]

    by log-sum-exp, which cannot overflow. `'mean'` divides by the sum of `w_t` of the samples that
    count, for distributions by the number of samples.

    `input` is `(N, C)`, `(C,)` or `(N, C, *S)`. `target` holds class indices (any integer dtype) of
    shape `(N,)`, `()` or `(N, *S)`, or has `input`'s shape and holds probabilities (`input`'s dtype) or
    one-hot rows (also integer or bool).

    An index outside `[0, C)` raises ValueError on the CPU. On a GPU that check would stall the stream
    at every batch; there it makes the loss and that sample's gradient NaN.

    Args:
        weight: of each class, `(C,)`.
        ignore_index: samples of this class do not count.
        reduction: `'mean'` over the samples (and positions S), `'sum'` or `'none'`.
        label_smoothing: ε, 0 to 1; mixes t with the uniform distribution: `(1 - ε) t + ε / C`.

    Raises:
        ShapeError, DTypeError, BackendError: `input` and `target` do not fit.
        ValueError: a class index is out of range, or `ignore_index` is at least 0 but `target` holds
            probabilities instead of indices.

    Example:
        >>> import numpy as np, xpconv
        >>> criterion = xpconv.SoftmaxCrossEntropyLoss()
        >>> float(criterion(np.array([[0.0, 0.0], [1e4, 0.0]]), np.array([1, 0])).round(4))
        0.3466
        >>> criterion.backward()
        array([[ 0.25, -0.25],
               [ 0.  ,  0.  ]])
    """

    def __init__(
        self,
        weight: Array | None = None,
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(weight, ignore_index, reduction)
        self.label_smoothing: float = to_float(f"{type(self).__name__}: label_smoothing", label_smoothing)
        if not 0 <= self.label_smoothing <= 1:
            raise ValueError(
                f"{type(self).__name__}: label_smoothing is {label_smoothing}, expected a number from 0 to 1"
            )

    def _reduced(self, inputs: tuple[Array, ...], weight: Array | None) -> tuple[Array, Any]:
        """By `class_entropy`, where a kernel has it, for a plain sum or mean of classes by number."""
        if weight is None and self.weight is None and not self.label_smoothing and self.reduction != "none":
            xp = self._enter(*inputs)
            input, target = inputs
            axis = self._class_axis(input)
            rows = input.shape[:axis] + input.shape[axis + 1 :]
            kernel = overrides(xp).get("class_entropy")
            if kernel is not None and target.dtype.kind in "iu" and target.shape == rows:
                found = kernel(xp, input, target, axis, self.ignore_index, self.reduction == "mean")
                if found is not None:
                    loss, *saved, count = found
                    own = (*saved, (self.ignore_index, input.dtype), axis)
                    return self.keep(loss, xp, input.dtype, 1.0, own), count
        return super()._reduced(inputs, weight)

    def _forward(self, xp: Any, input: Array, target: Array) -> tuple[Array, Any, tuple[Any, ...]]:
        axis = self._class_axis(input)
        t, count, counted = self._distribution(xp, input, target, axis)
        loss, p, total = cross_entropy(xp, input, t, axis)
        return loss, loss.size if count is None else count, (p, t, total, counted, axis)

    def _backward(
        self, xp: Any, scale: Any, p: Array, t: Array, total: Array, counted: Any, axis: int
    ) -> Array:
        if t.shape != p.shape:  # classes by number: `total` is the factor of a mean
            return class_entropy_backward(xp, p, t, total, scale, axis, *counted)
        return cross_entropy_backward(xp, p, t, total, self._of_counted(xp, scale, counted, p.dtype), axis)

    def _distribution(
        self, xp: Any, input: Array, target: Array, axis: int
    ) -> tuple[Array, Array | None, Array | None]:
        """The weighted target distribution of each sample, the sum of the weights, and a mask of the samples
        that are not ignored.

        The last two are None if every sample has the same weight and none is ignored.
        """
        weights, smooth = self._class_weights(input, axis), self.label_smoothing
        counted = count = None
        if target.shape == input.shape and (is_floating(target.dtype) or target.dtype.kind in "iub"):
            if self.ignore_index >= 0:
                raise ValueError(
                    f"{type(self).__name__}: ignore_index is {self.ignore_index}, expected below 0, as "
                    f"target has input's shape {input.shape}, so no class indices"
                )
            rows = is_floating(target.dtype)
            t = self._typed(input, target) if rows else self._rows(xp, input, target, axis)
        else:
            t, counted = self._one_hot(xp, input, target, axis)
            count = self._count(xp, t, counted, weights)
        if smooth:
            t = t * (1 - smooth) + smooth / input.shape[axis]
            if counted is not None:
                t = xp.where(xp.expand_dims(counted, axis), t, 0)
        return t * weights, count, counted

    def _rows(self, xp: Any, input: Array, target: Array, axis: int) -> Array:
        """One-hot rows of integers or bools in the dtype of `input`; rows that are not one-hot become NaN."""
        ones = (target == 1).sum(axis=axis, keepdims=True)
        valid = (ones == 1) & ((target != 0).sum(axis=axis, keepdims=True) == 1)
        if backend_of(input).name == "numpy" and not valid.all():
            raise ValueError(
                f"{type(self).__name__}: target is {target.dtype} of input's shape {input.shape}, expected "
                f"one-hot rows along axis {axis}; give probabilities as {input.dtype}, or class indices "
                "without that axis"
            )
        return xp.where(valid, target.astype(input.dtype), math.nan)


CrossEntropyLoss = SoftmaxCrossEntropyLoss


class NLLLoss(_ClassLoss):
    """`-w_t x_t` of log-probabilities x (as from `LogSoftmax`), as `torch.nn.NLLLoss`.

    `input` is `(N, C)`, `(C,)` or `(N, C, *S)`, `target` holds class indices `(N,)`, `()` or `(N, *S)`;
    indices out of range are treated as in `SoftmaxCrossEntropyLoss`.

    Args:
        weight: of each class, `(C,)`.
        ignore_index: samples of this class do not count.
        reduction: `'mean'`, which divides by the sum of the samples' `w_t`, `'sum'` or `'none'`.

    Example:
        >>> import numpy as np, xpconv
        >>> criterion = xpconv.NLLLoss()
        >>> float(criterion(np.log(np.array([[0.25, 0.75]])), np.array([0])).round(4))
        1.3863
        >>> criterion.backward()
        array([[-1.,  0.]])
    """

    def _forward(self, xp: Any, input: Array, target: Array) -> tuple[Array, Any, tuple[Any, ...]]:
        axis = self._class_axis(input)
        t, counted = self._one_hot(xp, input, target, axis)
        weights = self._class_weights(input, axis)
        count = self._count(xp, t, counted, weights)
        others = t == 0  # other classes than the target: loss and gradient 0, also for NaN and infinity
        t = t if self.weight is None else t * xp.where(others, 1, weights)
        return -sum_over(t * xp.where(others, 0, input), (axis,)), count, (t, others, counted, axis)

    def _backward(self, xp: Any, scale: Any, t: Array, others: Array, counted: Array, axis: int) -> Array:
        grad = -t * over_classes(xp, self._of_counted(xp, scale, counted, t.dtype), axis)
        return xp.where(others, 0, grad).astype(t.dtype, copy=False)


class MultiMarginLoss(_ClassLoss):
    """`w_t Σ_{c ≠ t} max(0, margin - x_t + x_c)^p / C`, as `torch.nn.MultiMarginLoss`.

    `input` is `(N, C)` or `(C,)`, `target` holds class indices `(N,)` or `()`.

    Args:
        p: 1 or 2.
        margin: the smallest lead of the right class that has no loss.
        weight: of each class, `(C,)`.
        reduction: `'mean'` over the samples, `'sum'` or `'none'`.

    Example:
        >>> import numpy as np, xpconv
        >>> criterion = xpconv.MultiMarginLoss()
        >>> float(criterion(np.array([[0.5, 0.0]]), np.array([0])))
        0.25
        >>> criterion.backward()
        array([[-0.5,  0.5]])
    """

    def __init__(
        self, p: int = 1, margin: float = 1.0, weight: Array | None = None, reduction: str = "mean"
    ) -> None:
        super().__init__(weight, -1, reduction)
        self.p: float = to_float("MultiMarginLoss: p", p)
        self.margin: float = to_float("MultiMarginLoss: margin", margin)
        if self.p not in (1, 2):
            raise ValueError(f"MultiMarginLoss: p is {p}, expected 1 or 2")

    def _forward(self, xp: Any, input: Array, target: Array) -> tuple[Array, Any, tuple[Any, ...]]:
        axis, shape = self._class_axis(input), input.shape
        if input.ndim > 2:
            raise ShapeError(f"MultiMarginLoss: input has shape {shape}, expected (N, C) or (C,)")
        one = target.shape  # for a single sample, the batch axis may be missing from either array
        if shape[:-1] in ((), (1,)) and one in ((), (1,)):
            input, target, axis = input.reshape(1, -1), target.reshape(1), 1
        if backend_of(input).name == "numpy" and target.dtype.kind == "i" and (target < 0).any():
            raise ValueError("MultiMarginLoss: target holds a negative class, expected 0 to C - 1")
        right, _ = self._one_hot(xp, input, target, axis)
        right = xp.where(xp.expand_dims(target < 0, axis), math.nan, right)  # -1 too, which is ignored there
        weight = right * self._class_weights(input, axis)
        weight = sum_over(weight, (axis,), keepdims=True) / input.shape[axis]
        score = sum_over(right * input, (axis,), keepdims=True)
        miss = (1 - right) * xp.maximum(self.margin - score + input, 0)
        slope = (miss > 0) * (1.0 if self.p == 1 else 2 * miss) * weight
        loss = sum_over((miss if self.p == 1 else miss * miss) * weight, (axis,))
        loss = loss.reshape(one if one in ((), (1,)) and loss.size == 1 else loss.shape)
        return loss, loss.size, (right, slope.astype(input.dtype), axis, shape)

    def _backward(
        self, xp: Any, scale: Any, right: Array, slope: Array, axis: int, shape: tuple[int, ...]
    ) -> Array:
        """`slope` for each class in the margin, and minus their sum for the target class."""
        grad: Array = slope - right * sum_over(slope, (axis,), keepdims=True)
        return (grad * over_classes(xp, scale, axis)).reshape(shape)


class DiceLoss(Loss):
    """1 minus the soft Dice coefficient of each image and class (Milletari et al., 2016).

        1 - (2 Σ p t + smooth) / (Σ p + Σ t + smooth),    sums over the positions S

    `input` holds probabilities p `(N, C, *S)`, such as the output of `Sigmoid` or `Softmax`. `target` holds
    masks t of the same shape, which may be integers or bools.

    Args:
        smooth: keeps empty masks defined, and their gradient small.
        reduction: `'mean'` over the images and classes, `'sum'` or `'none'` (an `(N, C)` array).

    Example:
        >>> import numpy as np, xpconv
        >>> criterion = xpconv.DiceLoss(smooth=0.0)
        >>> p, t = np.array([[[1.0, 0.0, 0.0]]]), np.array([[[1.0, 1.0, 0.0]]])
        >>> float(criterion(p, t).round(4))
        0.3333
        >>> criterion.backward().round(4)
        array([[[-0.4444, -0.4444,  0.2222]]])
    """

    integers = "iub"

    def __init__(self, smooth: float = 1.0, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.smooth: float = to_float("DiceLoss: smooth", smooth, 0)

    def _forward(self, xp: Any, input: Array, target: Array) -> tuple[Array, Any, tuple[Any, ...]]:
        input, target = self._paired(xp, input, target)
        if input.ndim < 3:
            raise ShapeError(f"DiceLoss: input has shape {input.shape}, expected (N, C, …)")
        axes = tuple(range(2, input.ndim))
        both = 2 * sum_over(input * target, axes) + self.smooth
        total = sum_over(input, axes) + sum_over(target, axes) + self.smooth
        loss = 1 - both / total
        return loss, loss.size, (target, both, total)

    def _backward(self, xp: Any, scale: Any, target: Array, both: Array, total: Array) -> Array:
        """`d/dp = -2 t / total + both / total²`."""
        shape = (*both.shape, *(1,) * (target.ndim - 2))
        slope = target * (-2 / total).reshape(shape) + (both / (total * total)).reshape(shape)
        return slope * (scale.reshape(shape) if getattr(scale, "ndim", 0) else scale)
