"""The `metrics` of `fit` and `evaluate`: names, functions and `Metric`s, as a list of `Metric`s."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from numbers import Real
from typing import Any

from ..arguments import shown
from ..backend import Array
from ..dtypes import is_floating
from ..errors import LayerError, ShapeError
from ..losses import BCELoss, BCEWithLogitsLoss, FocalLoss, MultiLabelSoftMarginLoss
from .metrics import (
    Accuracy,
    IoU,
    MeanAbsoluteError,
    MeanSquaredError,
    Metric,
    TopKAccuracy,
)

TAKEN = ("loss", "epoch", "lr", "seconds", "grad_norm", "batch")  # names of other values in a history
_NAMED: dict[str, Callable[..., Metric]] = {
    "accuracy": Accuracy,
    "iou": IoU,
    "mae": MeanAbsoluteError,
    "mean_absolute_error": MeanAbsoluteError,
    "mse": MeanSquaredError,
    "mean_squared_error": MeanSquaredError,
}
# Losses of outputs that are compared with 0 or 1 one by one, and the outputs that mean 1.
_THRESHOLDS: dict[type, float] = {
    BCEWithLogitsLoss: 0.0, FocalLoss: 0.0, MultiLabelSoftMarginLoss: 0.0, BCELoss: 0.5,
}  # fmt: skip


def is_real(value: Any) -> bool:
    """Whether a number or an array is real, and not complex, a text or an object."""
    dtype: Any = getattr(value, "dtype", None)
    if not hasattr(dtype, "kind"):  # also arrays of other libraries
        return isinstance(value, Real)
    return dtype.kind in "iub" or is_floating(dtype)


class Function(Metric):
    """A user's function of the output and the targets, which returns a mean or a number for each sample."""

    mode: str | None

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(getattr(function, "__name__", type(function).__name__).strip("<>"))
        self.function, self.mode = function, getattr(function, "mode", None)

    def sums(self, output: Array, *targets: Array) -> tuple[Any, ...]:
        try:
            result = self.function(output, *targets)
        except (TypeError, ValueError) as error:
            if isinstance(error, LayerError):
                raise
            kind = TypeError if isinstance(error, TypeError) else ValueError
            given = ", ".join(f"{array.dtype} {tuple(array.shape)}" for array in (output, *targets))
            raise kind(
                f"metric {self.name}: {error}; it is called with output and targets: {given}"
            ) from error
        count, shape = len(targets[0]), tuple(getattr(result, "shape", ()))
        right = is_real(result)
        if right and shape and shape[0] in (count, len(output)) and result.size:
            return result.astype("float64").sum(), result.size
        if shape or not right:
            raise ShapeError(
                f"metric {self.name} returned {shown(result)}, expected a mean, or an array with a number "
                f"for each of the {count} samples"
            )
        wide = result.astype("float64") if hasattr(result, "astype") else float(result)
        return wide * count, count  # float64 first: the product may be out of the range of the result's dtype

    def value(self, total: Any, count: Any) -> float:
        return float(total / count) if count else float("nan")


def to_metrics(where: str, metrics: Any, loss: Any) -> list[Metric]:
    """`metrics`, names, functions and `Metric`s, as a list of `Metric`s with different names."""
    if isinstance(metrics, str | Metric) or callable(metrics):
        metrics = (metrics,)
    if not isinstance(metrics, Iterable) or isinstance(metrics, Mapping):
        raise TypeError(f"{where}: metrics is {shown(metrics)}, expected a list of names and functions")
    found = [_to_metric(where, metric, loss) for metric in metrics]
    taken = set(TAKEN)
    for metric in found:
        if metric.name in taken or metric.name.startswith("valid_"):
            raise ValueError(
                f"{where}: metrics: the name {metric.name!r} is taken; give the metric another name=, or the "
                "function another __name__, by def in place of lambda"
            )
        taken.add(metric.name)
    return found


def _to_metric(where: str, metric: Any, loss: Any) -> Metric:
    if isinstance(metric, Metric):
        if not isinstance(getattr(metric, "name", None), str):
            raise TypeError(f"{where}: {type(metric).__name__}.__init__ does not call super().__init__(name)")
        if metric.mode not in (None, "min", "max"):
            raise ValueError(
                f"{where}: metric {metric.name} has mode {shown(metric.mode)}, expected 'min', 'max' or None"
            )
        return metric
    if isinstance(metric, str):
        ignored = {"ignore_index": loss.ignore_index} if hasattr(loss, "ignore_index") else {}
        limit = next((t for kind, t in _THRESHOLDS.items() if isinstance(loss, kind)), None)
        top = re.fullmatch(r"top([1-9]\d*)_accuracy", metric)
        if top:
            return TopKAccuracy(int(top[1]), **ignored)
        if metric in ("accuracy", "iou"):
            return _NAMED[metric](threshold=limit, **ignored, name=metric)
        if metric in _NAMED:
            return _NAMED[metric](name=metric)
        raise ValueError(
            f"{where}: metrics: there is no metric {metric!r}; there are {', '.join(_NAMED)}, "
            "top5_accuracy (any number), Metrics of xpconv.train, and functions f(output, target)"
        )
    if isinstance(metric, type):
        raise TypeError(f"{where}: metrics has the class {metric.__name__}; give {metric.__name__}()")
    if str(getattr(metric, "__module__", "")).startswith("sklearn."):
        raise TypeError(
            f"{where}: metrics has scikit-learn's {metric.__name__}, which takes the target first, and whose "
            "value need not be a mean over batches; call it with all predictions: "
            f"{metric.__name__}(y, xpconv.asnumpy(xpconv.train.predict(model, x)).argmax(axis=1))"
        )
    if callable(metric):
        return Function(metric)
    raise TypeError(f"{where}: metrics has {shown(metric)}, expected a name, a function or a Metric")
