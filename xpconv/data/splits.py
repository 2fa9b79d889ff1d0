"""A data set in two random parts."""

from __future__ import annotations

import math
from numbers import Integral
from typing import Any

import numpy as np

from ..arguments import shown, to_float, to_int
from ..arrays import asarray, asnumpy
from ..backend import backend_of
from ..errors import BackendError, ShapeError
from ..random import RNG, default_rng
from ..signatures import hinted

__all__ = ["train_test_split"]


ELSEWHERE = {  # arguments of scikit-learn's function, and what to use here instead
    **dict.fromkeys(("random_state", "rng", "generator"), "give seed="),
    **dict.fromkeys(("train_size", "valid_size", "val_size"), "give test_size=, of the second part"),
    "shuffle": "leave it out: the parts are always random; in order they are x[:n] and x[n:]",
}


@hinted("train_test_split", ELSEWHERE)
def train_test_split(
    *arrays: Any, test_size: float = 0.25, seed: RNG = None, stratify: Any = None
) -> tuple[Any, ...]:
    """Split arrays or data sets of one length in two random parts, as scikit-learn's function of this name.

    Args:
        arrays: arrays, which are split along their first axis and stay on their backend, and data sets that
            take an array of indices, such as an `image_folder`. For the indices alone give `np.arange(n)`.
        test_size: share of the second part, rounded up, or its number of samples if it is an int.
        seed: a seed or a `numpy.random.Generator` for the order, drawn on the host; by default that of
            `manual_seed`.
        stratify: classes `(N,)` of the samples, such as `y`: both parts then have all classes, in shares as
            equal as possible.

    Returns:
        The first and the second part of each: `x_train, x_test, y_train, y_test` for `x, y`.

    Raises:
        ShapeError: (a ValueError) the lengths differ.
        ValueError: a part would be empty, or would lack a class, as a class has one sample only.
        TypeError: an argument is of the wrong type.

    Example:
        >>> import numpy as np
        >>> from xpconv.data import train_test_split
        >>> x, y = np.arange(20).reshape(10, 2), np.array([0, 0, 0, 0, 0, 0, 0, 0, 1, 1])
        >>> x_train, x_test, y_train, y_test = train_test_split(x, y, test_size=0.2, seed=0, stratify=y)
        >>> x_train.shape, y_test
        ((8, 2), array([0, 1]))
    """
    where = "train_test_split"
    if not arrays:
        raise TypeError(f"{where}: expected arrays or data sets to split, got none")
    lengths = [_length(f"{where}: argument {k}", array) for k, array in enumerate(arrays)]
    n = lengths[0]
    if len(set(lengths)) > 1:
        raise ShapeError(f"{where}: expected equal lengths, got {', '.join(map(str, lengths))}")
    count = _count(where, test_size, n)
    rng = default_rng(seed, where, "seed")
    order = rng.permutation(n)
    if stratify is not None:
        order = _stratified(where, order, count, stratify)
    parts = order[count:], order[:count]
    return tuple(_take(array, part) for array in arrays for part in parts)


def _length(where: str, array: Any) -> int:
    if isinstance(array, list | tuple | str | dict) or not hasattr(array, "__getitem__"):
        raise TypeError(f"{where} is {shown(array)}, expected an array or a data set; use numpy.asarray(…)")
    if getattr(array, "shape", None) == ():
        raise ShapeError(f"{where} has shape (), expected at least one axis")
    return len(array)


def _count(where: str, test_size: object, n: int) -> int:
    """The number of samples of the second part."""
    if isinstance(test_size, Integral):
        count = to_int(f"{where}: test_size", test_size)
        fits = 0 < count < n
    else:
        share = to_float(f"{where}: test_size", test_size, finite=True)
        count = math.ceil(share * n)
        fits = 0 < share < 1 and 0 < count < n
    if not fits:
        raise ValueError(
            f"{where}: test_size is {shown(test_size)}, expected a share between 0 and 1, or an int, "
            "so that both "
            f"parts have some of the {n} samples"
        )
    return count


def _stratified(where: str, order: np.ndarray, count: int, stratify: Any) -> np.ndarray:
    """`order` changed so that its first `count` have each class by its share, and at least once."""
    y = asnumpy(stratify)
    if y.shape != order.shape:
        raise ShapeError(
            f"{where}: stratify has shape {y.shape}, expected {order.shape}, a class for each sample"
        )
    names, classes, sizes = np.unique(y, return_inverse=True, return_counts=True)
    if sizes.min() < 2:
        raise ValueError(
            f"{where}: stratify: class {names[sizes.argmin()]!s} has one sample only, expected 2 or "
            "more, so that both "
            "parts get one"
        )
    if not len(names) <= count <= len(y) - len(names):
        raise ValueError(
            f"{where}: the parts have {len(y) - count} and {count} samples, expected at least one for "
            "each of the "
            f"{len(names)} classes in stratify"
        )
    ideal = sizes * (count / len(y))
    shares = np.floor(ideal).astype(int).clip(1, sizes - 1)
    while shares.sum() != count:  # at most one for each class: by the largest remainder
        step = 1 if shares.sum() < count else -1
        possible = (shares < sizes - 1) if step > 0 else (shares > 1)
        shares[np.argmax(np.where(possible, step * (ideal - shares), -np.inf))] += step
    by_class = order[np.argsort(classes[order], kind="stable")]
    starts = np.cumsum(sizes) - sizes
    rank = np.arange(len(y)) - np.repeat(starts, sizes)
    first = np.zeros(len(y), bool)
    first[by_class] = rank < np.repeat(shares, sizes)
    return np.concatenate([order[first[order]], order[~first[order]]])


def _take(array: Any, index: np.ndarray) -> Any:
    try:
        backend = backend_of(array)
    except BackendError as error:
        if hasattr(array, "__array__"):
            raise BackendError(f"train_test_split: {error}") from None
        return array[index]  # of a data set
    return array[asarray(index, backend=backend.name)]
