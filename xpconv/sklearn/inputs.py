"""X as tables, images and batches; differences between versions of scikit-learn."""

from __future__ import annotations

import datetime
import warnings
from collections.abc import Sequence
from math import prod
from numbers import Integral
from typing import Any

import numpy as np

from ..arguments import is_sequence, shown, to_size
from ..arrays import asnumpy
from ..backend import Array, is_array_type
from ..data import batches
from ..errors import ShapeError

try:
    from sklearn.utils.validation import validate_data
except ImportError:  # scikit-learn 1.5

    def validate_data(estimator: Any, *args: Any, **options: Any) -> Any:
        """X, or X and y, checked; notes or compares the number and names of the features."""
        return estimator._validate_data(*args, **options)


Shape = tuple[int, ...]
SIGNALS = "signals"
LONG = 4  # times as long as wide: more likely a signal than an image
DATES = (np.datetime64, np.timedelta64, datetime.date, datetime.timedelta)  # and subclasses, as pandas has
KINDS = (
    "float64",
    "float32",
    "float16",
    "uint8",
    "int8",
    "uint16",
    "int16",
    "bool",
)  # converted by batches


def checked_images(
    estimator: Any, X: Any, dtype: str, first: bool, *, input_shape: Any = None, **options: Any
) -> Any:
    """Check X by scikit-learn; return it in the shape that the model gets, with y if `options` has it.

    Dtypes not in `KINDS` are converted to float64. Batches are converted to `dtype` when they are made.

    Args:
        first: whether this call is a `fit`, which sets the shape and the number of features.
        input_shape: the estimator's argument.
    """
    where = type(estimator).__name__
    table, sample = _table(where, X)
    if not first:
        _check_not_one(where, X, estimator.input_shape_)
    checked = validate_data(estimator, table, reset=first, dtype=list(map(np.dtype, KINDS)), **options)
    table, *others = checked if isinstance(checked, tuple) else (checked,)
    largest = np.finfo(dtype).max
    if (
        table.dtype.itemsize > np.dtype(dtype).itemsize
        and not -largest <= table.min() <= table.max() <= largest
    ):
        raise ValueError(f"Input X contains infinity or a value too large for {np.dtype(dtype)!r}.")
    if first:
        shape = input_shape_of(where, input_shape, sample, table.shape[1])
        if input_shape is None and getattr(estimator, "model", None) is None:
            _warn_of_signals(where, sample)
    else:
        shape = estimator.input_shape_
        check_sample(where, sample, shape)
    images = table.reshape(len(table), *shape)
    return (images, *others) if others else images


def _table(where: str, X: Any) -> tuple[Any, Shape | None]:
    """X as a table, and the shape of a sample before; None if X was a table already."""
    if is_array_type(type(X)) and not isinstance(X, np.ndarray):  # on a GPU
        X = asnumpy(X)
    shape = getattr(X, "shape", None)
    if isinstance(X, list | tuple):
        try:
            array = np.asarray(X)
        except ValueError:  # lists of unequal lengths, for which scikit-learn has the better error
            return X, None
        except TypeError:  # dates among numbers
            _refuse_dates(where, np.asarray(X, dtype=object))
            raise
        _refuse_dates(where, array)
        X, shape = (array, array.shape) if array.ndim > 2 else (X, None)
    else:
        _refuse_dates(where, X)
    if shape is None or len(shape) <= 2:
        return X, None
    if not isinstance(X, np.ndarray) and hasattr(X, "__array__"):  # such as a tensor of PyTorch
        X = np.asarray(X)
    if not isinstance(X, np.ndarray):
        return X, None
    return X.reshape(shape[0], prod(shape[1:])), tuple(shape[1:])


def _refuse_dates(where: str, X: Any) -> None:
    """Raise a ValueError if X holds dates or durations, which scikit-learn would convert to numbers."""
    columns = getattr(X, "dtypes", ())  # of a data frame; a series has one dtype
    for i, dtype in enumerate(columns if hasattr(columns, "__iter__") else ()):
        kind = getattr(dtype, "kind", "")
        if kind == "O" and hasattr(X, "iloc"):  # objects, or categories
            _refuse_dates(where, np.asarray(X.iloc[:, i]))
        elif (kind and kind in "mM") or getattr(dtype, "is_temporal", bool)():  # of pandas, of polars
            raise ValueError(f"{where}: X has a column of dtype {dtype}, expected numbers")
    kind = getattr(getattr(X, "dtype", None), "kind", "")
    if kind and kind in "mM":
        raise ValueError(f"{where}: X is of dtype {X.dtype}, expected numbers")
    if kind == "O" and isinstance(X, np.ndarray):
        for found in set(map(type, X.ravel().tolist())):
            if issubclass(found, DATES):
                raise ValueError(f"{where}: X has values of type {found.__name__}, expected numbers")


def dtype_name(where: str, dtype: Any) -> str:
    """`dtype` as the name of a dtype that models are trained in."""
    try:
        name = np.dtype(dtype).name
    except (TypeError, ValueError):
        name = ""
    if dtype is None or name not in ("float32", "float64"):
        raise ValueError(f"{where}: dtype is {shown(dtype)}, expected 'float32' or 'float64'")
    return name


def input_shape_of(where: str, given: Any, sample: Shape | None, features: int) -> Shape:
    """The shape of a sample for the model: `(features,)`, `(C, L)`, `(C, H, W)`, or `(C, …)` with more axes.

    Two numbers mean `(H, W)`. `"signals"` means X `(N, C, L)`, or signals of one channel in a table `(N, L)`.
    """
    if given is None:
        if sample is None:
            return (features,)
        if _is_channels_last(sample):
            raise ShapeError(
                f"{where}: X has shape (N, {', '.join(map(str, sample))}), which looks like images with "
                "their channels last, but channels come first; give X.transpose(0, 3, 1, 2), or "
                f"input_shape={sample} if it is right as it is"
            )
        return sample if len(sample) > 2 else (1, *sample)
    if isinstance(given, str) and given == SIGNALS:
        if sample is not None and len(sample) != 2:
            raise ShapeError(
                f"{where}: input_shape is 'signals', but X has samples of shape {sample}, expected (C, L), "
                "or a table, whose rows are signals of one channel"
            )
        return (1, features) if sample is None else sample
    if not isinstance(given, Integral) and not (is_sequence(given) and len(given)):
        raise ValueError(
            f"{where}: input_shape is {shown(given)}, expected (H, W) or (C, H, W) for images, or 'signals'"
        )
    sizes = given if is_sequence(given) else (given,)
    shape = tuple(to_size(f"{where}: input_shape", size) for size in sizes)
    if prod(shape) != features:
        raise ShapeError(
            f"{where}: input_shape is {shape}, which has {prod(shape)} values, but a sample of X has "
            f"{features}"
        )
    if shape != sample and _is_channels_last(shape):
        *sides, channels = shape
        fix = f"input_shape={(channels, *sides)}"
        if channels > 1:
            fix += f" and X.reshape(-1, {shape[0]}, {shape[1]}, {channels}).transpose(0, 3, 1, 2)"
        raise ShapeError(
            f"{where}: input_shape is {shape}, which looks like the shape of an image with its channels "
            f"last, but channels come first; give {fix}; if it is right as it is, give "
            "X.reshape(-1, *input_shape) too"
        )
    if len(shape) == 2:
        shape = (1, *shape)
    check_sample(where, sample, shape)
    return shape


def _warn_of_signals(where: str, sample: Shape | None) -> None:
    """Warn if X with three axes, which are taken for gray images, looks like signals of several channels."""
    if sample is not None and len(sample) == 2 and max(sample) >= LONG * min(sample):
        text = (
            f"{where}: X has samples of shape {sample}, which are taken for gray images (H, W); if they are "
            f"signals (C, L), give input_shape='signals'; to silence this, give input_shape={sample}"
        )
        warnings.warn(text, stacklevel=2)


def _is_channels_last(shape: Shape) -> bool:
    """Whether a shape is more likely `(H, W, C)` than `(C, H, W)` with square maps of many channels."""
    return len(shape) == 3 and shape[-1] in (1, 3, 4) and shape[0] > 4 and shape[1] != shape[2]


def check_sample(where: str, sample: Shape | None, shape: Shape) -> None:
    """Raise a ShapeError if X is not a table and its samples do not fit the model's input."""
    if sample is None or sample == shape or (1, *sample) == shape:
        return
    last = len(sample) == 3 and (sample[2], *sample[:2]) == shape
    fix = "; channels come first: give X.transpose(0, 3, 1, 2)" if last else ""
    raise ShapeError(f"{where}: X has samples of shape {sample}, expected {shape}{fix}")


def _check_not_one(where: str, X: Any, shape: Shape) -> None:
    """Raise a ShapeError if X is a single image or signal, which would be taken for several samples."""
    given = tuple(getattr(X, "shape", None) or ())
    if len(given) > 1 and given in (shape, shape[1:]) and prod(given[1:]) != prod(shape):
        raise ShapeError(f"{where}: X has shape {given}, that of one sample; give X[None]")


class Cast:
    """A transform of `batches` that converts inputs, floating targets and weights to the model's dtype."""

    def __init__(self, dtype: str) -> None:
        self.dtype = dtype

    def __call__(self, batch: Sequence[Array], rng: Any) -> tuple[Array, ...]:
        x, *others = batch
        floats = (a.astype(self.dtype, copy=False) if a.dtype.kind == "f" else a for a in others)
        return x.astype(self.dtype, copy=False), *floats


def in_batches(arrays: Sequence[Array], size: int, dtype: str, seed: int | None = None) -> batches:
    """Mini-batches of `(x, target, …)`: shuffled if there is a seed, else in order.

    BatchNorm has no statistics for one sample. If the last batch would have one, all are made a little
    larger.
    """
    count = len(arrays[0])
    if seed is not None and size > 1:
        while count > size and count % size == 1:
            size += 1
    return batches(*arrays, batch_size=size, shuffle=seed is not None, seed=seed or 0, transform=Cast(dtype))


ROWS = 16  # with a multiple of 16 rows, a matrix product rounds each row alike, wherever it is


class CastTable(Cast):
    """`Cast` that also appends rows of zeros, so that each output is exactly the same in any batch."""

    def __call__(self, batch: Sequence[Array], rng: Any) -> tuple[Array, ...]:
        (x,) = super().__call__(batch, rng)
        return (np.pad(x, ((0, -len(x) % ROWS), (0, 0))),)


def for_inference(images: np.ndarray, size: int, dtype: str) -> batches:
    """Batches of inputs alone. Those of a table may end with rows of zeros, whose outputs must be dropped."""
    transform = CastTable(dtype) if images.ndim == 2 else Cast(dtype)
    return batches(images, batch_size=-(-size // ROWS) * ROWS, transform=transform)
