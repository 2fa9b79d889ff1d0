"""MNIST and Fashion-MNIST, from their original files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from ..arguments import to_bool
from ..errors import DataFileError
from ..signatures import hinted
from .datasets import ELSEWHERE, Split, make_split, to_pixel_dtype
from .download import RemoteFile, data_folder, fetch
from .idx import load_idx, to_path

__all__ = ["load_fashion_mnist", "load_mnist"]

PARTS = ("train-images", 3), ("train-labels", 1), ("t10k-images", 3), ("t10k-labels", 1)  # and their axes
MNIST = (
    ("https://ossci-datasets.s3.amazonaws.com/mnist", "https://storage.googleapis.com/cvdf-datasets/mnist"),
    (
        "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    ),
)
CLOTHES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"
)  # fmt: skip
FASHION = (
    (
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion",
    ),
    (
        "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
    ),
)


@hinted("load_mnist", ELSEWHERE)
def load_mnist(
    data_dir: str | os.PathLike[str] | None = None, *, download: bool | None = None, dtype: Any = "float32"
) -> Split:
    """Load MNIST, or a relative in the same files (KMNIST, EMNIST's digits), from a folder.

    Args:
        data_dir: folder with `train-images-idx3-ubyte`, `train-labels-idx1-ubyte`,
            `t10k-images-idx3-ubyte` and `t10k-labels-idx1-ubyte`, each plain or as `.gz`; names with a
            dot (`train-images.idx3-ubyte`) are found too. Default: `mnist` in the folder that the variable
            `XPCONV_DATA` names, else in `~/.cache/xpconv`.
        download: whether to download the files that are missing (11 MB in all), by default only for the
            default folder. Their SHA-256 is checked, and the next call continues an interrupted download.
        dtype: a floating dtype for pixels from 0 to 1, or uint8 for 0 to 255.

    Returns:
        A `Split` with images `(N, 1, H, W)` and int64 classes, on the active backend; MNIST has
        60000 + 10000 images of 28x28 pixels. Unlike Keras' pairs it is one tuple of four:
        `x_train, y_train, x_test, y_test = load_mnist()`.

    Raises:
        FileNotFoundError: one of the four files is missing.
        OSError: a file could not be downloaded; the error says where to put it by hand.
        DataFileError: (a ValueError) a file is damaged, or does not match its partner.
        DTypeError: (a TypeError) `dtype` is neither floating nor uint8.

    Source:
        Y. LeCun, C. Cortes and C. J. C. Burges, "The MNIST database of handwritten digits",
        http://yann.lecun.com/exdb/mnist/.

    Example:
        >>> from xpconv.data import load_mnist
        >>> load_mnist("data/mnist").x_train.shape  # doctest: +SKIP
        (60000, 1, 28, 28)
    """
    return _load("load_mnist", "mnist", *MNIST, data_dir, download, dtype)


@hinted("load_fashion_mnist", ELSEWHERE)
def load_fashion_mnist(
    data_dir: str | os.PathLike[str] | None = None, *, download: bool | None = None, dtype: Any = "float32"
) -> Split:
    """Load Fashion-MNIST: 60000 + 10000 gray images of 28x28 pixels in 10 classes of clothes.

    Args:
        data_dir: folder of the four files, which have the names of MNIST's; see `load_mnist`. Default:
            `fashion-mnist` in the folder that the variable `XPCONV_DATA` names, else in `~/.cache/xpconv`.
        download: whether to download the files that are missing (31 MB in all), by default only for the
            default folder.
        dtype: a floating dtype for pixels from 0 to 1, or uint8 for 0 to 255.

    Returns, Raises:
        as `load_mnist`; the names of the classes are in `classes`.

    Source:
        H. Xiao, K. Rasul and R. Vollgraf, "Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine
        Learning Algorithms", 2017.

    Example:
        >>> from xpconv.data import load_fashion_mnist
        >>> load_fashion_mnist("data/fashion").x_train.shape  # doctest: +SKIP
        (60000, 1, 28, 28)
    """
    split = _load("load_fashion_mnist", "fashion-mnist", *FASHION, data_dir, download, dtype)
    split.classes = CLOTHES
    return split


def to_folder(where: str, name: str, data_dir: Any, download: Any) -> tuple[Path, bool]:
    """The folder of a data set's files, and whether to download what is missing there."""
    if download is not None:
        download = to_bool(f"{where}: download", download)
    if data_dir is None:
        return data_folder(name), download is not False
    return to_path(f"{where}: data_dir", data_dir).expanduser(), download is True


def _load(
    where: str,
    name: str,
    sources: tuple[str, ...],
    checksums: tuple[str, ...],
    data_dir: Any,
    download: Any,
    dtype: Any,
) -> Split:
    dtype = to_pixel_dtype(where, dtype)
    folder, download = to_folder(where, name, data_dir, download)
    remote = [
        RemoteFile(f"{p}-idx{rank}-ubyte.gz", h, sources)
        for (p, rank), h in zip(PARTS, checksums, strict=True)
    ]
    paths = [_find(where, folder, *part, file, download) for part, file in zip(PARTS, remote, strict=True)]
    x_train, y_train = _read_pair(where, *paths[:2])
    x_test, y_test = _read_pair(where, *paths[2:])
    if x_train.shape[1:] != x_test.shape[1:]:
        raise DataFileError(
            f"{where}: {folder}: expected training and test images of one size, got "
            f"{x_train.shape[1:]} and {x_test.shape[1:]}; take all four files from one data set"
        )
    return make_split(x_train[:, None], y_train, x_test[:, None], y_test, dtype=dtype)


def _find(where: str, folder: Path, part: str, rank: int, file: RemoteFile, download: bool) -> Path:
    names = [f"{part}{sep}idx{rank}-ubyte{end}" for end in ("", ".gz") for sep in "-."]
    for name in names:
        if (folder / name).is_file():
            return folder / name
    if download:
        return fetch(where, file, folder)
    raise FileNotFoundError(
        f"{where}: data_dir {folder} has none of {', '.join(names)}; put the file there, or give "
        "download=True"
    )


def _read_pair(where: str, images_path: Path, labels_path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Images `(N, H, W)` and labels `(N,)` of one part, both uint8."""
    images, labels = load_idx(images_path), load_idx(labels_path)
    for path, array, rank in (images_path, images, 3), (labels_path, labels, 1):
        if array.ndim != rank or array.dtype != np.uint8:
            raise DataFileError(
                f"{where}: {path}: expected uint8 values on {rank} axes, got {array.dtype} of shape "
                f"{array.shape}; check that the file bears its own name"
            )
    if len(images) != len(labels):
        raise DataFileError(
            f"{where}: expected one label for each image, got {len(images)} images in {images_path} and "
            f"{len(labels)} labels in {labels_path}; take both files from one data set"
        )
    return images, labels
