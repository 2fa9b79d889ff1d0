"""Data sets in two parts, on the active backend; the digits that scikit-learn contains."""

from __future__ import annotations

import math
from importlib import import_module
from numbers import Integral
from typing import Any, NamedTuple

import numpy as np

from ..arguments import brief, shown, to_float, to_int
from ..arrays import asarray
from ..backend import Array
from ..dtypes import is_floating, to_dtype
from ..errors import DTypeError
from ..signatures import hinted

__all__ = ["Split", "load_digits"]

PARTS = "leave it out; both parts are returned: x_train, y_train, x_test, y_test"
TRANSFORM = "give transform=function(batch, rng) to xpconv.data.batches"
SEED = "give seed="
ELSEWHERE = {  # arguments of torchvision's, Keras' and scikit-learn's functions, and what to use here instead
    **dict.fromkeys(("root", "path", "data_home", "cache_dir", "folder", "directory"), "give data_dir="),
    **dict.fromkeys(("train", "split", "subset", "return_X_y", "as_frame"), PARTS),
    **dict.fromkeys(("transform", "target_transform", "transforms"), TRANSFORM),
    "batch_size": "it is an argument of xpconv.data.batches",
}
_DIGITS = 1797  # number of images in scikit-learn's data set


class Split(
    NamedTuple("Split", [("x_train", Array), ("y_train", Array), ("x_test", Array), ("y_test", Array)])
):
    """A data set in two parts: one for training, one for testing. It is a tuple of these four arrays.

    Attributes:
        x_train: images `(N, C, H, W)`, floating in [0, 1], or uint8 from 0 to 255.
        y_train: their classes `(N,)`, int64.
        x_test: further images `(M, C, H, W)`.
        y_test: their classes `(M,)`.
        classes: the names of the classes, by index, if the data set has names; else None.
    """

    classes: tuple[str, ...] | None = None

    def _replace(self, **changes: Any) -> Split:
        """A copy with other arrays or other `classes`, by name."""
        classes = changes.pop("classes", self.classes)
        split: Split = super()._replace(**changes)
        split.classes = classes
        return split

    __replace__ = _replace  # what `copy.replace` calls

    def __repr__(self) -> str:
        """The shapes and dtypes, without the pixels."""
        parts = zip(self._fields, self, strict=True)
        return f"Split({', '.join(f'{name}={brief(array)}' for name, array in parts)})"


@hinted("load_digits", {**ELSEWHERE, "random_state": SEED})
def load_digits(*, test_size: float = 0.2, seed: int = 0, dtype: Any = "float32") -> Split:
    """Load scikit-learn's 1797 handwritten digits of 8x8 pixels, which it contains, so nothing is downloaded.

    Args:
        test_size: share of the images in the test part, or their number if it is an int. The parts are
            stratified by class, so each has at least 10 images.
        seed: seed of the random split, an int from 0 to 2³² - 1.
        dtype: floating dtype of the images.

    Returns:
        A `Split` with images `(N, 1, 8, 8)` in [0, 1] and int64 classes 0 to 9, on the active backend.

    Raises:
        ImportError: scikit-learn is not installed.
        TypeError, ValueError: `test_size` or `seed` is of the wrong type or out of range.
        DTypeError: (a TypeError) `dtype` is not floating.

    Source:
        E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning
        Repository, 1998 (its test part), through `sklearn.datasets.load_digits`.

    Example:
        >>> from xpconv.data import load_digits
        >>> x_train, y_train, x_test, y_test = load_digits()
        >>> x_train.shape, y_train.shape, x_test.shape, y_test.shape
        ((1437, 1, 8, 8), (1437,), (360, 1, 8, 8), (360,))
    """
    dtype = to_pixel_dtype("load_digits", dtype, eight_bit=False)
    test_size = _test_size(test_size)
    seed = to_int("load_digits: seed", seed, 0)
    if seed >= 2**32:
        raise ValueError(f"load_digits: seed is {shown(seed)}, expected less than 2**32")
    digits = _sklearn("load_digits", "datasets").load_digits()
    split = _sklearn("load_digits", "model_selection").train_test_split
    x_train, x_test, y_train, y_test = split(
        digits.images, digits.target, test_size=test_size, random_state=seed, stratify=digits.target
    )
    return make_split(
        x_train[:, None], y_train, x_test[:, None], y_test, white=16, dtype=dtype, classes=tuple("0123456789")
    )


def make_split(
    x_train: np.ndarray,
    y_train: np.ndarray,
    x_test: np.ndarray,
    y_test: np.ndarray,
    *,
    white: int = 255,
    dtype: np.dtype,
    classes: tuple[str, ...] | None = None,
) -> Split:
    """Bring host images `(N, C, H, W)`, 0 to `white`, and class indices to the active backend."""
    x_train, x_test = (scaled(x, white, dtype) for x in (x_train, x_test))
    y_train, y_test = (y.astype(np.int64) for y in (y_train, y_test))
    split = Split(*map(asarray, (x_train, y_train, x_test, y_test)))
    split.classes = classes
    return split


def scaled(images: np.ndarray, white: int, dtype: np.dtype) -> np.ndarray:
    """Images 0 to `white` in a floating dtype as 0 to 1; unchanged for uint8."""
    x = images.astype(dtype)
    if dtype != "uint8":
        x /= white
    return x


def _test_size(value: object) -> float:
    """`value`, a share or a number of images, if both parts get at least one image per class."""
    where = "load_digits: test_size"
    if isinstance(value, Integral):
        size: float = to_int(where, value)
        count = size
    else:
        size = to_float(where, value, finite=True)
        count = math.ceil(size * _DIGITS)
    if not 10 <= count <= _DIGITS - 10:
        raise ValueError(
            f"{where} is {shown(value)}, expected a share between 0 and 1, or an int, so that each part "
            f"has at least 10 of the {_DIGITS} images"
        )
    return size


def to_pixel_dtype(where: str, dtype: Any, *, eight_bit: bool = True) -> np.dtype:
    """A floating dtype, for pixels from 0 to 1, or, with `eight_bit`, uint8 for pixels as they are stored."""
    found: np.dtype = to_dtype(where, np, "float32" if dtype is None else dtype).newbyteorder("=")
    if not is_floating(found) and not (eight_bit and found == "uint8"):
        raise DTypeError(
            f"{where}: dtype: expected a floating dtype, as pixels are scaled to [0, 1]"
            f"{', or uint8' if eight_bit else ''}, got {found}; try 'float32'"
        )
    return found


def _sklearn(where: str, module: str) -> Any:
    try:
        return import_module(f"sklearn.{module}")
    except ImportError as cause:
        raise ImportError(
            f"{where}: scikit-learn cannot be imported; install it with `pip install scikit-learn`"
        ) from cause
