"""Weights of samples and of classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.utils import compute_class_weight, compute_sample_weight
from sklearn.utils.validation import _check_sample_weight

from ..backend import Array
from .targets import SINGLE, Labels


def sample_weights(where: str, given: Any, X: Array) -> np.ndarray | None:
    """The weights of the samples in float64, or None if none are given."""
    if given is None:
        return None
    weight: np.ndarray = _check_sample_weight(given, X, dtype=np.float64)
    if (weight < 0).any():
        raise ValueError(f"{where}: sample_weight has negative values, the least is {weight.min()}")
    if not weight.any():
        raise ValueError(f"{where}: sample_weight is 0 for all samples, so there is nothing to learn from")
    return weight


def class_weights(where: str, given: Any, labels: Labels, y: np.ndarray, encoded: np.ndarray) -> np.ndarray:
    """The factor of each sample by its class; for several outputs, the product of the factors.

    All of `labels.classes` count as classes, including those that `y` lacks. scikit-learn raises the errors
    if `given` is not a dict, a list of dicts or 'balanced', and for classes that a dict lacks.
    """
    columns = encoded.reshape(len(y), -1).astype(np.intp)
    several = labels.kind != SINGLE and not isinstance(given, str)
    if several and not (isinstance(given, list) and len(given) == columns.shape[1]):
        compute_sample_weight(given, y)  # its error says what is expected
    factors = np.ones(len(y))
    for chosen, classes, column in zip(
        given if several else [given] * columns.shape[1], labels.classes, columns.T, strict=True
    ):
        if isinstance(chosen, str):
            factors *= compute_sample_weight(chosen, classes[column])
            continue
        weights = compute_class_weight(chosen, classes=classes, y=classes)
        for name, weight in zip(classes.tolist(), weights, strict=True):
            if not 0 <= weight < np.inf:
                raise ValueError(
                    f"{where}: class_weight is {weight} for the class {name!r}, expected a finite number of "
                    "at least 0"
                )
        factors = _product(factors, weights[column])
    return factors


def with_weights(
    where: str, arrays: list[np.ndarray], given: Mapping[str, np.ndarray | None], dtype: str, first: str
) -> list[np.ndarray]:
    """Inputs and targets without the samples of weight 0; the weights follow, unless all are 1.

    Args:
        given: the weights by the name of their argument, which are multiplied; or None.
        dtype: that of the model.
        first: `"fit"` scales the weights to mean 1. `"partial_fit"` does not scale them, since the weights of
            one part may be larger than those of another. `"later"` is a later `partial_fit`, whose weights
            may all be 0.
    """
    factors = {name: weight for name, weight in given.items() if weight is not None}
    if not factors:
        return arrays
    weight, names = np.ones(len(arrays[0])), " times ".join(factors)
    for factor in factors.values():
        weight = _product(weight, factor / (factor.max() or 1) if first == "fit" else factor)
    counts = weight > 0
    if counts.any():
        arrays, weight = [a if counts.all() else a[counts] for a in arrays], weight[counts]
    elif first != "later":
        raise ValueError(f"{where}: {names} is 0 for all samples, so there is nothing to learn from")
    if weight.max() > np.finfo(dtype).max:
        raise ValueError(f"{where}: {names} is {weight.max():.3g}, which is too large for {dtype}")
    if first == "fit":
        weight = weight / weight.mean()
    return arrays if (weight == 1).all() else [*arrays, weight]


def _product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """`a * b`, without warnings where it overflows or underflows."""
    with np.errstate(over="ignore", under="ignore"):
        return a * b
