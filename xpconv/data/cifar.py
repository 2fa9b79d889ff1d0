"""CIFAR-10 and CIFAR-100, from the binary version of their files.

    class (CIFAR-100: coarse class, fine class), a byte each | 3 planes of 32 · 32 bytes: red, green, blue

and that again for each image. The files are read from the archive as it is downloaded, or unpacked.
"""

from __future__ import annotations

import os
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from ..arguments import to_choice
from ..errors import DataFileError
from ..signatures import hinted
from .datasets import ELSEWHERE, Split, make_split, to_pixel_dtype
from .download import RemoteFile, fetch
from .mnist import to_folder

__all__ = ["load_cifar10", "load_cifar100"]

SOURCES = ("https://www.cs.toronto.edu/~kriz",)
CIFAR10 = RemoteFile(
    "cifar-10-binary.tar.gz", "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd", SOURCES
)
CIFAR100 = RemoteFile(
    "cifar-100-binary.tar.gz", "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec", SOURCES
)
OBJECTS = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
PIXELS = 3 * 32 * 32
LARGEST = 1 << 30  # bytes of a file in an archive: more than any of them has


@hinted("load_cifar10", ELSEWHERE)
def load_cifar10(
    data_dir: str | os.PathLike[str] | None = None, *, download: bool | None = None, dtype: Any = "float32"
) -> Split:
    """Load CIFAR-10: 50000 + 10000 colour images of 32x32 pixels in 10 classes.

    Args:
        data_dir: folder with `cifar-10-binary.tar.gz`, or with its files `data_batch_1.bin` to
            `data_batch_5.bin` and `test_batch.bin`, or with their folder `cifar-10-batches-bin`. Default:
            `cifar10` in the folder that the variable `XPCONV_DATA` names, else in `~/.cache/xpconv`.
        download: whether to download the archive (170 MB) if it is missing, by default only to the default
            folder. Its SHA-256 is checked, and the next call continues an interrupted download.
        dtype: a floating dtype for pixels from 0 to 1, or uint8 for 0 to 255.

    Returns:
        A `Split` with images `(N, 3, 32, 32)` and int64 classes, on the active backend; the names of the
        classes (airplane, automobile, …) are in `classes`.

    Raises:
        FileNotFoundError: a file is missing.
        OSError: the archive could not be downloaded; the error says where to put it by hand.
        DataFileError: (a ValueError) a file is damaged.
        DTypeError: (a TypeError) `dtype` is neither floating nor uint8.

    Source:
        A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009,
        https://www.cs.toronto.edu/~kriz/cifar.html.

    Example:
        >>> from xpconv.data import load_cifar10
        >>> load_cifar10("data/cifar", dtype="uint8").x_train.shape  # doctest: +SKIP
        (50000, 3, 32, 32)
    """
    where, dtype = "load_cifar10", to_pixel_dtype("load_cifar10", dtype)
    folder, download = to_folder(where, "cifar10", data_dir, download)
    names = [*(f"data_batch_{k}.bin" for k in range(1, 6)), "test_batch.bin"]
    raw = _read(where, folder, "cifar-10-batches-bin", names, CIFAR10, download)
    *train, test = (_records(where, name, content, (10,)) for name, content in raw)
    images, labels = (np.concatenate(parts) for parts in zip(*train, strict=True))
    return make_split(images, labels[:, 0], test[0], test[1][:, 0], dtype=dtype, classes=OBJECTS)


@hinted("load_cifar100", ELSEWHERE)
def load_cifar100(
    data_dir: str | os.PathLike[str] | None = None,
    *,
    label_mode: str = "fine",
    download: bool | None = None,
    dtype: Any = "float32",
) -> Split:
    """Load CIFAR-100: 50000 + 10000 colour images of 32x32 pixels in 100 classes.

    Args:
        data_dir: folder with `cifar-100-binary.tar.gz`, or with its files `train.bin` and `test.bin`, or with
            their folder `cifar-100-binary`. Default: `cifar100` in the folder that the variable
            `XPCONV_DATA` names, else in `~/.cache/xpconv`.
        label_mode: `'fine'` for the 100 classes, `'coarse'` for the 20 groups of them.
        download, dtype: as in `load_cifar10`.

    Returns, Raises, Source:
        as `load_cifar10`. `classes` is None if the files with the names are missing.

    Example:
        >>> from xpconv.data import load_cifar100
        >>> load_cifar100("data/cifar", label_mode="coarse").x_test.shape  # doctest: +SKIP
        (10000, 3, 32, 32)
    """
    where, dtype = "load_cifar100", to_pixel_dtype("load_cifar100", dtype)
    column = int(to_choice(f"{where}: label_mode", label_mode, ("fine", "coarse")) == "fine")
    folder, download = to_folder(where, "cifar100", data_dir, download)
    names, labels = ["train.bin", "test.bin"], f"{label_mode}_label_names.txt"
    *raw, (_, text) = _read(where, folder, "cifar-100-binary", names, CIFAR100, download, labels)
    train, test = (_records(where, name, content, (20, 100)) for name, content in raw)
    x, y, classes = train[0], train[1][:, column], tuple(text.decode("latin-1").split()) or None
    return make_split(x, y, test[0], test[1][:, column], dtype=dtype, classes=classes)


def _records(
    where: str, name: str, content: bytes, classes: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Images `(N, 3, 32, 32)` and their classes `(N, len(classes))`, each below its number in `classes`."""
    size = len(classes) + PIXELS
    if len(content) % size or not content:
        raise DataFileError(
            f"{where}: {name}: expected records of {size} bytes, got {len(content)} bytes in all, which are "
            f"{len(content) / size:.2f} records; get the archive again"
        )
    rows = np.frombuffer(content, np.uint8).reshape(-1, size)
    labels = rows[:, : len(classes)]
    if (labels >= classes).any():
        raise DataFileError(
            f"{where}: {name}: expected classes below {' and '.join(map(str, classes))}, got "
            f"{labels.max(0).tolist()}; this is not a file of that data set"
        )
    return rows[:, len(classes) :].reshape(-1, 3, 32, 32), labels


def _read(
    where: str, folder: Path, inner: str, names: list[str], file: RemoteFile, download: bool, *more: str
) -> list[tuple[str, bytes]]:
    """Path and content of each of the files: unpacked, or in the archive. Those in `more` may be missing."""
    for place in (folder, folder / inner):
        paths = [place / name for name in names]
        there = [path for path in paths if path.is_file()]
        if len(there) == len(paths):
            paths += [place / name for name in more]
            return [(str(path), path.read_bytes() if path.is_file() else b"") for path in paths]
        if there:
            missing = next(path.name for path in paths if path not in there)
            raise FileNotFoundError(
                f"{where}: {place} has {there[0].name}, but not {missing}; put it there too"
            )
    archive = folder / file.name
    if archive.is_file():
        return _unpacked(where, archive, inner, names, *more)
    if download:
        return _unpacked(where, fetch(where, file, folder), inner, names, *more)
    pickled = "; its Python version, which is pickled, is not read" if any(folder.glob("cifar*py*")) else ""
    raise FileNotFoundError(
        f"{where}: data_dir {folder} has neither {file.name} nor {', '.join(names)}{pickled}; put the "
        "archive "
        f"{file.folders[0]}/{file.name} there, or give download=True"
    )


def _unpacked(where: str, path: Path, inner: str, names: list[str], *more: str) -> list[tuple[str, bytes]]:
    """The files of an archive; none of it is written to the disk."""
    import tarfile  # here, as it makes `import xpconv` slower

    found: dict[str, bytes] = {}
    try:
        with tarfile.open(path, "r:*") as archive:
            for member in archive:
                name = member.name.removeprefix("./").removeprefix(f"{inner}/")
                if name in (*names, *more) and member.isfile() and member.size <= LARGEST:
                    content = archive.extractfile(member)
                    found[name] = b"" if content is None else content.read()
            while archive.fileobj is not None and archive.fileobj.read(1 << 20):
                pass  # to its end, where gzip has the checksum
    except (tarfile.TarError, EOFError, OSError, zlib.error) as cause:
        raise DataFileError(
            f"{where}: {path}: expected an intact archive, got damage ({cause}); get it again"
        ) from cause
    missing = [name for name in names if name not in found]
    if missing:
        raise DataFileError(f"{where}: {path}: expected {inner}/{missing[0]} in the archive, which it lacks")
    return [(f"{path}: {name}", found.get(name, b"")) for name in (*names, *more)]
