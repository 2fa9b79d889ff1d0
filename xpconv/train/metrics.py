"""Metrics: sums that stay on the device, one vector for all, and values that are computed from them."""

from __future__ import annotations

import re
from typing import Any

from ..arguments import shown, to_bool, to_float, to_int, to_size
from ..backend import Array, get_xp
from ..dtypes import is_floating
from ..errors import DTypeError, ShapeError
from ..signatures import public_errors
from ..sums import occurrences, sum_over, widened

__all__ = ["Accuracy", "IoU", "MeanAbsoluteError", "MeanSquaredError", "Metric", "TopKAccuracy"]


@public_errors
class Metric:
    """Base of metrics. One of your own defines `sums` and `value`.

    Values over a data set are computed from sums over all its batches, not as means of the batches' values.

    Attributes:
        name: the name in `History`.
        mode: `'max'` if larger is better, `'min'` if smaller is, None if neither.

    Example:
        >>> import numpy as np, xpconv
        >>> class Largest(xpconv.train.Metric):
        ...     '''The mean of the largest output of each sample.'''
        ...     def sums(self, output, target):
        ...         return output.max(axis=1).sum(), len(output)
        ...     def value(self, total, count):
        ...         return total / count
        >>> model, y = xpconv.Flatten(), np.array([0, 1])
        >>> data = xpconv.data.batches(np.array([[1.0, 2.0], [3.0, 4.0]]), y, 1)
        >>> xpconv.train.evaluate(model, None, data, metrics=[Largest("largest")])
        {'largest': 3.0}
    """

    mode: str | None = None

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        public_errors(cls)

    def __init__(self, name: str = "") -> None:
        if not isinstance(name, str):
            raise TypeError(f"{type(self).__name__}: name is {shown(name)}, expected a string")
        self.name: str = name or re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(self).__name__).lower()

    def sums(self, output: Array, *targets: Array) -> tuple[Any, ...]:
        """Numbers and 1-d arrays on the device, which are added over the batches."""
        raise TypeError(f"{type(self).__name__} defines no sums(output, target)")

    def value(self, *sums: Any) -> float | dict[str, float]:
        """The value from the total of each sum, a float or NumPy array; or values by their names."""
        raise TypeError(f"{type(self).__name__} defines no value(sum, …)")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"


class _Mean(Metric):
    """Base of metrics that are the mean of a number for each sample or element."""

    def value(self, total: Any, count: Any) -> float:
        return float(total / count) if count else float("nan")


class _OfClasses(_Mean):
    """Base of metrics that compare classes: the index of the largest output along axis 1."""

    mode: str = "max"

    def __init__(self, ignore_index: int = -100, name: str = "") -> None:
        super().__init__(name)
        self.ignore_index: int = to_int(f"{type(self).__name__}: ignore_index", ignore_index)

    def _targets(self, output: Array, target: Array) -> Array:
        """Class indices, of the shape of `output` without axis 1."""
        expected = output.shape[:1] + output.shape[2:]
        if output.ndim < 2:
            raise ShapeError(
                f"{type(self).__name__}: output has shape {output.shape}, expected (N, C, …): scores"
            )
        if output.shape[1] == 1:
            raise ShapeError(
                f"{type(self).__name__}: output has shape {output.shape}, with a single class; for outputs "
                "that mean 0 or 1 give threshold=0 (logits) or 0.5 (probabilities)"
            )
        if target.shape == output.shape:  # one-hot, or probabilities
            return target.argmax(axis=1)
        if target.shape != expected:
            raise ShapeError(
                f"{type(self).__name__}: target has shape {target.shape}, expected {expected} (class indices)"
                f" or {output.shape} (one-hot) for output of shape {output.shape}"
            )
        if target.dtype.kind not in "iub":
            raise DTypeError(
                f"{type(self).__name__}: target is {target.dtype}, expected integer class indices; for "
                "regression use a metric such as 'mean_absolute_error'"
            )
        return target


class Accuracy(_OfClasses):
    """The share of samples, or pixels, whose class is right.

    The class is the index of the largest output along axis 1; targets are class indices or one-hot. With a
    `threshold`, outputs above it are 1, and each is compared with a target of 0 or 1: 0 for logits, 0.5 for
    probabilities. By its name, `metrics=["accuracy"]`, it has the threshold and the `ignore_index` that
    belong to the loss.

    Args:
        threshold: for binary and multi-label outputs; None for classes.
        ignore_index: targets of this class do not count.
        name: the name in `History`.

    Example:
        >>> import numpy as np
        >>> from xpconv.train import Accuracy
        >>> [float(s) for s in Accuracy().sums(np.array([[0.1, 0.9], [0.8, 0.2]]), np.array([1, 1]))]
        [1.0, 2.0]
    """

    threshold: float | None

    def __init__(self, threshold: float | None = None, ignore_index: int = -100, name: str = "") -> None:
        super().__init__(ignore_index, name)
        self.threshold = None if threshold is None else to_float("Accuracy: threshold", threshold)

    def sums(self, output: Array, *targets: Array) -> tuple[Any, ...]:
        target, count_nonzero = targets[0], get_xp(output).count_nonzero
        if self.threshold is not None:
            _same_shape(self, output, target)
            counted = target != self.ignore_index
            hits = ((output > self.threshold) == (target > 0.5)) & counted
            return count_nonzero(hits), count_nonzero(counted)
        target = self._targets(output, target)
        counted = target != self.ignore_index
        hits = output.argmax(axis=1) == target
        if self.ignore_index >= 0:  # else no output is of that class
            hits &= counted
        return count_nonzero(hits), count_nonzero(counted)


class TopKAccuracy(_OfClasses):
    """The share of samples whose class is among the `k` largest outputs; of equal outputs the first counts.

    Args:
        k: at least 1.
        ignore_index: targets of this class do not count.
        name: the name in `History`; default: `top5_accuracy` for k = 5.
    """

    def __init__(self, k: int = 5, ignore_index: int = -100, name: str = "") -> None:
        self.k: int = to_size("TopKAccuracy: k", k)
        super().__init__(ignore_index, name)
        if not name:
            self.name: str = f"top{self.k}_accuracy"

    def sums(self, output: Array, *targets: Array) -> tuple[Any, ...]:
        xp = get_xp(output)
        target = self._targets(output, targets[0])
        counted, classes = target != self.ignore_index, output.shape[1]
        valid = counted & (target >= 0) & (target < classes)
        index = xp.expand_dims(xp.where(valid, target, 0).astype("int64"), 1)
        own = xp.take_along_axis(output, index, axis=1)
        shape = (1, classes) + (1,) * (output.ndim - 2)
        before = (output == own) & (xp.arange(classes).reshape(shape) < index)
        rank = (~(output <= own) | before).sum(axis=1)  # NaN is before all
        return ((rank < self.k) & valid).sum(), counted.sum()


class _Error(_Mean):
    mode: str = "min"

    def sums(self, output: Array, *targets: Array) -> tuple[Any, ...]:
        _same_shape(self, output, targets[0])
        wide = widened(output) if is_floating(output.dtype) else output.astype("float64")
        errors = self._errors(wide - targets[0])
        return sum_over(errors, tuple(range(errors.ndim))), errors.size

    def _errors(self, difference: Array) -> Array:
        raise TypeError(f"{type(self).__name__} defines no _errors(difference)")


class MeanAbsoluteError(_Error):
    """The mean of `|output - target|` over all elements."""

    def _errors(self, difference: Array) -> Array:
        return get_xp(difference).abs(difference)


class MeanSquaredError(_Error):
    """The mean of `(output - target)²` over all elements."""

    def _errors(self, difference: Array) -> Array:
        return difference * difference


class IoU(_OfClasses):
    """Intersection over union of the predicted and the true pixels of a class, and its mean over the classes.

    From the confusion matrix of the whole data set, not as a mean of batches' values. Classes that neither
    occur nor are predicted do not count.

    Args:
        classes: the number of classes; None takes it from the output.
        threshold: for binary masks, outputs `(N, 1, …)` and targets of the same shape: outputs above it are
            class 1.
        per_class: whether `History` gets the value of each class too: `iou_0`, `iou_1`, …
        ignore_index: targets of this class do not count.
        name: the name in `History`.

    Example:
        >>> import numpy as np
        >>> from xpconv.train import IoU
        >>> metric = IoU(per_class=True)
        >>> scores = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
        >>> metric.value(*metric.sums(scores, np.array([0, 0, 1])))
        {'iou': 0.5, 'iou_0': 0.5, 'iou_1': 0.5}
    """

    def __init__(
        self,
        classes: int | None = None,
        threshold: float | None = None,
        per_class: bool = False,
        ignore_index: int = -100,
        name: str = "iou",
    ) -> None:
        super().__init__(ignore_index, name)
        self.classes: int | None = None if classes is None else to_size("IoU: classes", classes)
        self.threshold: float | None = None if threshold is None else to_float("IoU: threshold", threshold)
        self.per_class: bool = to_bool("IoU: per_class", per_class)

    def sums(self, output: Array, *targets: Array) -> tuple[Any, ...]:
        xp, target = get_xp(output), targets[0]
        if self.threshold is not None:
            _same_shape(self, output, target)
            classes, counted = 2, target != self.ignore_index
            predicted, target = (output > self.threshold).astype("int64"), (target > 0.5).astype("int64")
        else:
            target = self._targets(output, target).astype("int64", copy=False)
            classes, predicted = self.classes or output.shape[1], output.argmax(axis=1)
            counted = target != self.ignore_index
        valid = (target >= 0) & (target < classes) & (predicted < classes) & counted
        cells = xp.where(valid, target * classes + predicted, classes * classes)
        return (occurrences(xp, cells.reshape(-1), classes * classes + 1)[:-1],)

    def value(self, confusion: Any) -> float | dict[str, float]:  # type: ignore[override]
        classes = round(len(confusion) ** 0.5)
        counts = confusion.reshape(classes, classes)
        both = counts.diagonal()
        union = counts.sum(axis=0) + counts.sum(axis=1) - both
        each = [float(b / u) if u else float("nan") for b, u in zip(both, union, strict=True)]
        found = [value for value in each if value == value]
        mean = sum(found) / len(found) if found else float("nan")
        if not self.per_class:
            return mean
        return {self.name: mean, **{f"{self.name}_{i}": value for i, value in enumerate(each)}}


def _same_shape(metric: Metric, output: Array, target: Array) -> None:
    if output.shape != target.shape:
        raise ShapeError(
            f"{type(metric).__name__}: target has shape {target.shape}, expected {output.shape}, that of "
            "output"
        )
