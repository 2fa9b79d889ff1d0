"""Conversion of a classifier's y to targets of a loss, and of scores to classes and probabilities."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from sklearn.exceptions import DataConversionWarning
from sklearn.utils.multiclass import check_classification_targets, type_of_target

from ..arguments import shown
from ..backend import Array
from ..errors import ShapeError
from ..losses import (
    BCEWithLogitsLoss,
    FocalLoss,
    Loss,
    MultiLabelSoftMarginLoss,
    MultiMarginLoss,
    NLLLoss,
    SoftmaxCrossEntropyLoss,
)

SINGLE, SEVERAL, INDICATOR = "one label", "several labels", "label indicators"
OF_CLASSES = (SoftmaxCrossEntropyLoss, NLLLoss, MultiMarginLoss)
OF_INDICATORS = (BCEWithLogitsLoss, FocalLoss, MultiLabelSoftMarginLoss)


class Labels:
    """The classes of each output, and the conversions between them and what a model computes.

    `kind` is SINGLE for y of shape `(N,)`, SEVERAL for y with one label in each column, and INDICATOR for
    columns of 0 and 1, each of which states whether a sample has that label.
    """

    kind: str

    def __init__(self, kind: str, classes: Sequence[np.ndarray]) -> None:
        self.kind, self.classes = kind, list(classes)
        self.sizes: list[int] = [1 if kind == INDICATOR else len(c) for c in self.classes]
        self.n_outputs: int = sum(self.sizes)

    @classmethod
    def of(cls, where: str, y: np.ndarray, classes: Any = None, needed: bool = False) -> Labels:
        """The labels of `y`, or for `partial_fit` the given `classes`, which are required if `needed`."""
        columns = [y] if y.ndim == 1 else list(y.T)
        if y.dtype == object:
            for column in columns:
                unique(f"{where}: y", column)
        check_classification_targets(y)
        if classes is None:
            kind = SINGLE if y.ndim == 1 else SEVERAL
            kind = INDICATOR if _is_indicator(y) else kind
            if needed and kind != INDICATOR:
                raise ValueError(f"{where}: classes must be passed on the first call to partial_fit")
            if kind == INDICATOR:
                return cls(kind, [np.array([0, 1])] * len(columns))
            return cls(kind, [unique(f"{where}: y", column) for column in columns])
        listed = isinstance(classes, list | tuple) and all(np.ndim(c) == 1 for c in classes)
        if y.ndim == 1:
            labels = np.asarray(classes)
            if labels.ndim != 1 or not len(labels):
                raise ValueError(f"{where}: classes is {shown(classes)}, expected a list of all labels")
            return cls(SINGLE, [unique(f"{where}: classes", labels)])
        if not listed and _is_indicator(y) and len(classes) == len(columns):
            return cls(INDICATOR, [np.array([0, 1])] * len(columns))
        if not listed or len(classes) != len(columns):
            raise ValueError(
                f"{where}: classes is {shown(classes)}, expected a list of {len(columns)} arrays, one for "
                "each column of y"
            )
        return cls(SEVERAL, [unique(f"{where}: classes", np.asarray(c)) for c in classes])

    def check_same(self, where: str, other: Labels) -> None:
        """Raise an error if `other`, from the `classes` of a later call, has other classes."""
        pairs = zip(self.classes, other.classes, strict=False)
        if len(self.classes) != len(other.classes) or not all(np.array_equal(a, b) for a, b in pairs):
            raise ValueError(
                f"{where}: classes is {_listed(other.public)}, but in the first call it was "
                f"{_listed(self.public)}"
            )

    @property
    def metrics(self) -> Sequence[str]:
        """The metrics that the history has besides the losses."""
        return ("accuracy",) if self.kind == SINGLE and self.n_outputs > 1 else ()

    @property
    def stratified(self) -> bool:
        """Whether the held-out samples are to be stratified by class."""
        return self.kind == SINGLE

    @property
    def public(self) -> Any:
        """`classes_`: an array; a list of arrays for several labels; the columns' numbers for indicators."""
        if self.kind == INDICATOR:
            return np.arange(len(self.classes))
        return self.classes[0] if self.kind == SINGLE else self.classes

    def encode(self, where: str, y: np.ndarray, fix: str = "") -> np.ndarray:
        """Indices of classes `(N,)` or `(N, labels)`, or indicators as float32 `(N, labels)`.

        `fix` is appended to errors about a y that does not fit the classes.
        """
        columns = [y] if y.ndim == 1 else list(y.T)
        if (y.ndim == 1) != (self.kind == SINGLE) or len(columns) != len(self.classes):
            expected = "(N,)" if self.kind == SINGLE else f"(N, {len(self.classes)})"
            raise ShapeError(f"{where}: y has shape {y.shape}, expected {expected}, as in the first fit{fix}")
        found = []
        for column, classes in zip(columns, self.classes, strict=True):
            unknown = np.setdiff1d(unique(f"{where}: y", column), classes)
            if len(unknown):
                raise ValueError(
                    f"{where}: y has classes that are not in classes_, {_listed(unknown)}; classes_ is "
                    f"{classes}{fix}"
                )
            found.append(np.searchsorted(classes, column))
        if self.kind == INDICATOR:
            return np.stack(found, axis=1).astype("float32")
        return found[0] if self.kind == SINGLE else np.stack(found, axis=1)

    def target(self, encoded: np.ndarray, axes: int) -> np.ndarray:
        """The target that the loss gets."""
        return encoded

    def check_loss(self, where: str, loss: Loss) -> None:
        """Raise a TypeError if `loss` is a loss of xpconv's that does not take such targets and scores."""
        indicators = self.kind == INDICATOR
        fitting = OF_INDICATORS if indicators else OF_CLASSES
        if isinstance(loss, fitting):
            return
        if self.kind == SEVERAL and type(loss).forward is not Loss.forward:
            raise TypeError(
                f"{where}: loss: y has several outputs, for each of which a loss has to define _forward and "
                f"_backward, as Loss describes, but {type(loss).__name__} overrides forward"
            )
        if not type(loss).__module__.startswith("xpconv."):
            return
        name, fix = type(loss).__name__, ", ".join(kind.__name__ for kind in fitting)
        if isinstance(loss, OF_CLASSES + OF_INDICATORS):
            form = (
                "(N,) with one class of each sample" if indicators else "(N, labels) with indicators 0 and 1"
            )
            fix += f"; {name} is for y {form}"
        has = "indicators of several labels" if indicators else "classes"
        raise TypeError(f"{where}: loss is {name}, but y has {has}, for which there are {fix}")

    def joint(self, loss: Loss) -> Loss:
        """The loss of all outputs together, given the loss of one."""
        return SeveralLosses(loss, self.sizes) if self.kind == SEVERAL else loss

    def parts(self, scores: np.ndarray) -> list[np.ndarray]:
        """The scores of each output."""
        ends = np.cumsum([0, *self.sizes])
        return [scores[:, a:b] for a, b in pairwise(ends)]

    def decode(self, scores: np.ndarray) -> np.ndarray:
        """The likeliest labels, in the form of y."""
        if self.kind == INDICATOR:
            return (scores > 0).astype(int)
        parts = zip(self.classes, self.parts(scores), strict=True)
        found = [classes[part.argmax(axis=1)] for classes, part in parts]
        return found[0] if self.kind == SINGLE else np.stack(found, axis=1)

    def probabilities(self, scores: np.ndarray) -> Any:
        """Probabilities `(N, classes)`, for several labels a list of these, for indicators `(N, labels)`."""
        found = self.log_probabilities(scores)
        return [np.exp(part) for part in found] if self.kind == SEVERAL else np.exp(found)

    def log_probabilities(self, scores: np.ndarray) -> Any:
        """The logarithms of `probabilities`."""
        if self.kind == INDICATOR:
            return -np.logaddexp(0, -scores)
        found = [log_softmax(part) for part in self.parts(scores)]
        return found[0] if self.kind == SINGLE else found

    def default_loss(self) -> Loss:
        """Binary cross-entropy for indicators, else cross-entropy."""
        return BCEWithLogitsLoss() if self.kind == INDICATOR else SoftmaxCrossEntropyLoss()


def _listed(labels: np.ndarray | list[np.ndarray]) -> str:
    """The text for labels in an error: the labels themselves, and not an array's shape."""
    return shown([a.tolist() for a in labels] if isinstance(labels, list) else labels.tolist())


def _is_indicator(y: np.ndarray) -> bool:
    """Whether y has columns of 0 and 1; `type_of_target` accepts any two integers, such as 1 and 2."""
    return type_of_target(y) == "multilabel-indicator" and bool(np.isin(y, (0, 1)).all())


def unique(where: str, labels: np.ndarray) -> np.ndarray:
    """The sorted labels, each once."""
    try:
        return np.unique(labels)
    except TypeError:
        kinds = sorted({type(label).__name__ for label in labels})
        raise TypeError(
            f"{where} has labels of the types {', '.join(kinds)}, which cannot be compared; give numbers "
            "alone, or strings alone"
        ) from None


def log_softmax(scores: np.ndarray) -> np.ndarray:
    """The logarithm of the softmax along the last axis."""
    scores = scores - scores.max(axis=-1, keepdims=True)
    return scores - np.log(np.exp(scores).sum(axis=-1, keepdims=True))


def as_column(y: np.ndarray) -> np.ndarray:
    """`y`; if it is `(N, 1)`, as `(N,)`, with scikit-learn's warning."""
    if y.ndim != 2 or y.shape[1] != 1:
        return y
    text = (
        "A column-vector y was passed when a 1d array was expected. Please change the shape of y to "
        "(n_samples, ), for example using ravel()."
    )
    warnings.warn(text, DataConversionWarning, stacklevel=2)
    return y[:, 0]


class SeveralLosses(Loss):
    """The mean over several outputs of one loss: `input` `(N, C₁ + C₂ + …)`, `target` `(N, outputs)`.

    With the reduction `'mean'`, the loss of each output is divided by its own divisor, such as the sum of the
    weights of its targets' classes. `Loss` divides by N, so each is multiplied by N over its divisor here.
    """

    loss: Loss
    sizes: list[int]

    def __init__(self, loss: Loss, sizes: Sequence[int]) -> None:
        super().__init__(loss.reduction)
        self.loss, self.sizes = loss, list(sizes)

    def _forward(self, xp: Any, input: Array, target: Array) -> tuple[Array, Any, tuple[Any, ...]]:
        total: Any = 0.0
        saved, start = [], 0
        for i, size in enumerate(self.sizes):
            losses, count, own = self.loss._forward(xp, input[:, start : start + size], target[:, i])
            factor: Any = 1 / len(self.sizes)
            if self.reduction == "mean" and not isinstance(count, int):
                factor = factor * len(input) / xp.where(count == 0, math.nan, count).astype(losses.dtype)
            total, start = total + losses * factor, start + size
            saved.append((factor, own))
        return total, len(input), tuple(saved)

    def _backward(self, xp: Any, scale: Any, *saved: Any) -> Any:
        return xp.concatenate(
            [self.loss._backward(xp, scale * factor, *own) for factor, own in saved], axis=1
        )
