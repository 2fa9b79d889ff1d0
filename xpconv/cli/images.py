"""Images for the command line: data sets by name, folders, and files."""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .. import data
from ..arguments import text_width
from ..arrays import asnumpy
from ..data.transforms import Compose, RandomCrop, RandomHorizontalFlip
from ..errors import DataFileError
from .image_model import ImageInfo

NAMED: dict[str, Callable[[str | None], data.Split]] = {
    "digits": lambda data_dir: data.load_digits(),  # one test part, whatever the seed of training
    "mnist": data.load_mnist,
    "fashion-mnist": data.load_fashion_mnist,
    "cifar10": data.load_cifar10,
    "cifar100": data.load_cifar100,
}
TRAIN = "train", "training"  # folders that are parts of a set
VALID = "valid", "val", "validation", "test"
SHARE = 0.2  # of a folder's images, to validate with


class Images(NamedTuple):
    """The parts of a data set, as the arguments of `batches`, with the classes `(N,)` of their images."""

    classes: tuple[str, ...]
    shape: tuple[int, int, int]
    train: tuple[Any, ...]
    train_targets: np.ndarray
    valid: tuple[Any, ...]
    valid_targets: np.ndarray
    skipped: int
    folder: Path | None = None  # that they come from
    divided: bool = False  # whether the two parts were one

    @property
    def may_flip(self) -> bool:
        """Whether a mirrored image has the same class: not so for digits and letters, which are gray."""
        return self.shape[0] == 3

    def validation(self, indices: list[int]) -> np.ndarray:
        """The validation images with these indices, `(n, C, H, W)` in [0, 1]."""
        if self.folder is None:
            return np.asarray(asnumpy(self.valid[0])[indices])
        return np.stack([self.valid[0][i][0] for i in indices])

    def names(self, indices: list[int]) -> list[str]:
        """Their files, from the folder on, or their numbers in the test part of a data set by name."""
        if self.folder is None:
            return [f"test image {i}" for i in indices]
        return [str(self.valid[0].paths[i].relative_to(self.folder)) for i in indices]


def option_of(setting: str) -> str:
    """What an option is called, by the name of its value."""
    return f"--{setting.replace('_', '-')}"


def check_data_options(options: argparse.Namespace) -> None:
    """Raise an error if one of the options does not apply to data of this kind.

    Raises:
        DataFileError: (a ValueError) an option does not apply, or there is no such folder.
    """
    name = options.data
    given = [
        option_of(option)
        for option in ("data_dir", "size", "gray", "skip_damaged", "valid")
        if getattr(options, option, None) not in (None, False)
    ]
    if name in NAMED:
        wrong = [option for option in given if option != "--data-dir" or name == "digits"]
        hint = f"; for a folder of that name give {os.path.join('.', name)}" if os.path.isdir(name) else ""
        kind = f"the data set {name}{hint}"
    elif not Path(name).is_dir():
        raise _no_data(name)
    elif "--valid" in given and all(_parts(Path(name))):
        wrong, kind = ["--valid"], f"{name}, which has a folder of images to validate with"
    else:
        wrong, kind = [option for option in given if option == "--data-dir"], f"{name}, a folder of images"
    if wrong:
        raise DataFileError(f"{wrong[0]} does not apply to {kind}; leave it out")


def open_images(
    name: str, *, data_dir: str | None, size: int | None, gray: bool, valid: float, seed: int, skip: bool
) -> Images:
    """The data set of that name, or the folder of images.

    Named sets have a part for testing, which validates. So does a folder that has folders `train` and `valid`
    (or `val`, `test`); of others a share `valid` of each class is set aside.
    """
    if name in NAMED:
        return _named(name, data_dir)
    path = Path(name)
    options: dict[str, Any] = {
        "size": size, "mode": "L" if gray else "RGB", "on_error": "skip" if skip else "raise"
    }  # fmt: skip
    parts = _parts(path)
    if parts[0] and parts[1]:
        train, held = (data.image_folder(part, **options) for part in parts if part)
        if train.classes != held.classes:
            other = sorted(set(train.classes) ^ set(held.classes))
            raise DataFileError(
                f"{path}: only one of {parts[0].name} and {parts[1].name} has {some(other)}; expected the "
                "same classes in both"
            )
        if train.shape != held.shape:
            raise DataFileError(
                f"{path}: the images of {parts[0].name} are {train.shape}, but those of {parts[1].name} are "
                f"{held.shape}; give --size"
            )
        skipped = len(train.skipped) + len(held.skipped)
    else:
        folder = data.image_folder(path, **options)
        _check_split(path, folder, valid)
        train, held = data.train_test_split(folder, test_size=valid, seed=seed, stratify=folder.targets)
        skipped = len(folder.skipped)
    _check_classes(path, train.classes)
    shape = (train.shape[0], train.shape[1], train.shape[2])
    return Images(
        train.classes, shape, (train,), train.targets, (held,), held.targets, skipped,
        path.expanduser(), not all(parts),
    )  # fmt: skip


def _parts(path: Path) -> list[Path | None]:
    """The folders within for training and for validation, None for one that is missing."""
    return [next((path / name for name in names if (path / name).is_dir()), None) for names in (TRAIN, VALID)]


def folders_of(path: Path) -> list[Path]:
    """The folders whose folders are the classes: that itself, or its two parts."""
    parts = [part for part in _parts(path) if part is not None]
    return parts if len(parts) == 2 else [path]


def _check_classes(path: Path, classes: tuple[str, ...]) -> None:
    """An error if there is nothing to tell apart, or a name cannot be written to a file."""
    if len(classes) < 2:
        raise DataFileError(
            f"{path}: there is one class only, {classes[0]}, expected 2 or more: a folder of images for each "
            "(or train/ and valid/ of such folders)"
        )
    for name in classes:
        try:
            name.encode()
        except UnicodeEncodeError:
            raise DataFileError(
                f"{path}: the class {printable(name)} has a name that is not UTF-8; rename the folder"
            ) from None


def _check_split(path: Path, folder: Any, valid: float) -> None:
    """An error if one of the two parts would lack a class."""
    _check_classes(path, folder.classes)
    counts = np.bincount(folder.targets)
    if counts.min() < 2:
        raise DataFileError(
            f"{path}: the class {folder.classes[counts.argmin()]} has one image only, expected 2 or "
            "more: one to train on, one to validate; add images, or give folders train/ and valid/"
        )
    n, count = len(folder), len(folder.classes)
    held = math.ceil(valid * n)
    if not count <= held <= n - count:
        raise DataFileError(
            f"{path}: --valid {valid:g} sets {held} of {n} images aside, expected {count} to {n - count}, so "
            f"that both parts have each of the {count} classes; give --valid between {count / n:.2g} and "
            f"{1 - count / n:.2g}, or more images"
        )


def some(names: Sequence[str]) -> str:
    """The first of the names."""
    return ", ".join(names[:8]) + (", …" if len(names) > 8 else "")


def left_out(count: int) -> str:
    """What is printed about damaged files behind the number of images."""
    return f", {count} damaged file{'s' * (count > 1)} left out" if count else ""


def printable(text: str) -> str:
    """`text` on one line: control characters, and bytes of a file name that are no text, are escaped."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def _no_data(name: str) -> DataFileError:
    found = "that is a file" if os.path.exists(name) else "there is no such folder"
    return DataFileError(
        f"DATA is {name!r}: {found}; give a folder of images by class, or one of {', '.join(NAMED)}"
    )


def padded(text: str, width: int) -> str:
    """`text` and blanks, as wide as so many letters on a terminal."""
    return text + " " * (width - text_width(text))


def _named(name: str, data_dir: str | None) -> Images:
    split = NAMED[name](data_dir)
    targets = asnumpy(split.y_train), asnumpy(split.y_test)
    classes = split.classes or tuple(map(str, range(int(targets[0].max()) + 1)))
    shape = tuple(split.x_train.shape[1:])
    train, valid = (split.x_train, split.y_train), (split.x_test, split.y_test)
    return Images(classes, shape, train, targets[0], valid, targets[1], 0)


def training_transform(images: Images, augment: bool) -> Compose | None:
    """Random crops and, of colour images, flips."""
    if not augment:
        return None
    border = max(1, min(images.shape[1:]) // 8)
    crop = RandomCrop(images.shape[1:], padding=border, padding_mode="reflect")
    return Compose([crop, RandomHorizontalFlip()] if images.may_flip else [crop])


def whole_folder(name: str, info: ImageInfo, skip: bool) -> Any:
    """The folder of images by class, as a model expects them."""
    return data.image_folder(name, info.shape[1:], mode=info.mode, on_error="skip" if skip else "raise")


def files_of(paths: list[str]) -> Iterator[Path]:
    """Image files, and those within folders.

    Raises:
        FileNotFoundError: there is no such file, or a folder has no images.
    """
    for name in paths:
        path = Path(name)
        if path.is_dir():
            found = data.image_files(path)
            if not found:
                raise FileNotFoundError(f"{path} has no image files")
            yield from found
        elif path.exists():
            yield path
        else:
            raise FileNotFoundError(f"there is no file {path}")
