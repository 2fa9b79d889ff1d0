"""Data sets of digit images, scaled to [0, 1], on the active backend."""

from __future__ import annotations

import math
import os
from importlib import import_module
from numbers import Integral
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..arguments import brief, shown, to_float, to_int
from ..arrays import asarray
from ..backend import Array
from ..dtypes import is_floating, to_dtype
from ..errors import DataFileError, DTypeError
from .idx import load_idx, to_path

__all__ = ["Split", "load_digits", "load_mnist"]

_DIGITS = 1797  # number of images in scikit-learn's data set
_MNIST_TEST = 10_000  # OpenML has MNIST in one table: the training images, then these


class Split(NamedTuple):
    """A data set in two parts: one for training, one for testing.

    Attributes:
        x_train: images `(N, C, H, W)`, floating, in [0, 1].
        y_train: their classes `(N,)`, int64.
        x_test: further images `(M, C, H, W)`.
        y_test: their classes `(M,)`.
    """

    x_train: Array
    y_train: Array
    x_test: Array
    y_test: Array

    def __repr__(self) -> str:
        """The shapes and dtypes, without the pixels."""
        parts = zip(self._fields, self, strict=True)
        return f"Split({', '.join(f'{name}={brief(array)}' for name, array in parts)})"


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
    dtype = _floating("load_digits", dtype)
    test_size = _test_size(test_size)
    seed = to_int("load_digits: seed", seed, 0)
    if seed >= 2**32:
        raise ValueError(f"load_digits: seed is {shown(seed)}, expected less than 2**32")
    digits = _sklearn("load_digits", "datasets").load_digits()
    split = _sklearn("load_digits", "model_selection").train_test_split
    x_train, x_test, y_train, y_test = split(
        digits.images, digits.target, test_size=test_size, random_state=seed, stratify=digits.target
    )
    return _make_split(x_train, y_train, x_test, y_test, white=16, dtype=dtype)


def load_mnist(data_dir: str | os.PathLike[str] | None = None, *, dtype: Any = "float32") -> Split:
    """Load MNIST, or a relative in the same files (Fashion-MNIST, KMNIST), from a folder or OpenML.

    Args:
        data_dir: folder with `train-images-idx3-ubyte`, `train-labels-idx1-ubyte`,
            `t10k-images-idx3-ubyte` and `t10k-labels-idx1-ubyte`, each plain or as `.gz`; names with a
            dot (`train-images.idx3-ubyte`) are found too. Default: scikit-learn fetches `mnist_784` from
            OpenML, once, into its cache (`~/scikit_learn_data`).
        dtype: floating dtype of the images.

    Returns:
        A `Split` with images `(N, 1, H, W)` in [0, 1] and int64 classes, on the active backend; MNIST has
        60000 + 10000 images of 28x28 pixels.

    Raises:
        FileNotFoundError: one of the four files is missing.
        DataFileError: (a ValueError) a file is damaged, or does not match its partner.
        ImportError: without `data_dir`, scikit-learn is not installed.
        OSError: without `data_dir`, OpenML could not be reached.
        DTypeError: (a TypeError) `dtype` is not floating.

    Source:
        Y. LeCun, C. Cortes and C. J. C. Burges, "The MNIST database of handwritten digits",
        http://yann.lecun.com/exdb/mnist/.

    Example:
        >>> from xpconv.data import load_mnist
        >>> load_mnist("data/mnist").x_train.shape  # doctest: +SKIP
        (60000, 1, 28, 28)
    """
    dtype = _floating("load_mnist", dtype)
    if data_dir is None:
        return _fetch_mnist(dtype)
    folder = to_path("load_mnist: data_dir", data_dir)
    x_train, y_train = _read_pair(folder, "train")
    x_test, y_test = _read_pair(folder, "t10k")
    if x_train.shape[1:] != x_test.shape[1:]:
        raise DataFileError(
            f"load_mnist: {folder}: expected training and test images of one size, got "
            f"{x_train.shape[1:]} and {x_test.shape[1:]}; take all four files from one data set"
        )
    return _make_split(x_train, y_train, x_test, y_test, white=255, dtype=dtype)


def _read_pair(folder: Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    """Images `(N, H, W)` and labels `(N,)` of one part, both uint8."""
    images_path, labels_path = _find(folder, f"{part}-images", 3), _find(folder, f"{part}-labels", 1)
    images, labels = load_idx(images_path), load_idx(labels_path)
    for path, array, rank in (images_path, images, 3), (labels_path, labels, 1):
        if array.ndim != rank or array.dtype != np.uint8:
            raise DataFileError(
                f"load_mnist: {path}: expected uint8 values on {rank} axes, got {array.dtype} of shape "
                f"{array.shape}; check that the file bears its own name"
            )
    if len(images) != len(labels):
        raise DataFileError(
            f"load_mnist: expected one label for each image, got {len(images)} images in {images_path} and "
            f"{len(labels)} labels in {labels_path}; take both files from one data set"
        )
    return images, labels


def _find(folder: Path, stem: str, rank: int) -> Path:
    names = [f"{stem}{sep}idx{rank}-ubyte{end}" for end in ("", ".gz") for sep in "-."]
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise FileNotFoundError(
        f"load_mnist: data_dir {folder} has none of {', '.join(names)}; "
        "put the file there, or leave data_dir out to fetch MNIST from OpenML"
    )


def _fetch_mnist(dtype: np.dtype) -> Split:
    fetch = _sklearn("load_mnist", "datasets").fetch_openml
    try:  # the other parser would need pandas
        x, y = fetch("mnist_784", version=1, as_frame=False, return_X_y=True, parser="liac-arff")
    except Exception as cause:  # any error is chained below
        raise OSError(
            f"load_mnist: could not fetch 'mnist_784' from OpenML ({type(cause).__name__}: {cause}). Check "
            "the network, or download the four IDX files and pass their folder: load_mnist(data_dir=...)"
        ) from cause
    x = x.reshape(-1, 28, 28)
    n = len(x) - _MNIST_TEST
    return _make_split(x[:n], y[:n], x[n:], y[n:], white=255, dtype=dtype)


def _make_split(
    x_train: np.ndarray,
    y_train: np.ndarray,
    x_test: np.ndarray,
    y_test: np.ndarray,
    *,
    white: int,
    dtype: np.dtype,
) -> Split:
    """Bring host images `(N, H, W)`, 0 to `white`, and labels (numbers or their text) to the backend."""

    def pixels(images: np.ndarray) -> Array:
        x = images[:, np.newaxis].astype(dtype)
        x /= white
        return asarray(x)

    def classes(labels: np.ndarray) -> Array:
        return asarray(labels.astype(np.int64))

    return Split(pixels(x_train), classes(y_train), pixels(x_test), classes(y_test))


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


def _floating(where: str, dtype: Any) -> np.dtype:
    found: np.dtype = to_dtype(where, np, "float32" if dtype is None else dtype).newbyteorder("=")
    if not is_floating(found):
        raise DTypeError(
            f"{where}: dtype: expected a floating dtype, as pixels are scaled to [0, 1], got {found}; "
            "try 'float32'"
        )
    return found


def _sklearn(where: str, module: str) -> Any:
    try:
        return import_module(f"sklearn.{module}")
    except ImportError as cause:
        raise ImportError(
            f'{where}: scikit-learn cannot be imported; install it with `pip install "xpconv[examples]"`'
        ) from cause
