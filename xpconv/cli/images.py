"""Images for the command line: data sets by name, folders, files, and what a model expects of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .. import data
from ..arrays import asnumpy
from ..data.transforms import Compose, Normalize, RandomCrop, RandomHorizontalFlip
from ..errors import DataFileError
from ..layers.layer import Layer

DIGITS = tuple("0123456789")
FASHION = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
NAMED: dict[str, Callable[..., Any]] = {
    "digits": lambda data_dir, seed: data.load_digits(seed=seed),
    "mnist": lambda data_dir, seed: data.load_mnist(data_dir),
    "fashion-mnist": lambda data_dir, seed: data.load_fashion_mnist(data_dir),
    "cifar10": lambda data_dir, seed: data.load_cifar10(data_dir),
    "cifar100": lambda data_dir, seed: data.load_cifar100(data_dir),
}
TRAIN, VALID = (
    ("train", "training"),
    ("valid", "val", "validation", "test"),
)  # folders that are parts of a set


class ImageInfo(NamedTuple):
    """What a model of the command line expects of an image, and what its classes are called."""

    classes: tuple[str, ...]
    shape: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def mode(self) -> str:
        """Pillow's mode of the images."""
        return "L" if self.shape[0] == 1 else "RGB"

    @property
    def normalize(self) -> Normalize:
        """The transform that model and training share."""
        return Normalize(self.mean, self.std)

    def attach(self, model: Layer) -> None:
        """Store it in the model, whose file then has it."""
        model.image_info = {name: list(value) for name, value in self._asdict().items()}

    @classmethod
    def of(cls, model: Layer, path: str) -> ImageInfo:
        """That of a model from a file.

        Raises:
            DataFileError: the model was not made by `xpconv train`.
        """
        found = getattr(model, "image_info", None)
        if not isinstance(found, dict) or sorted(found) != sorted(cls._fields):
            raise DataFileError(
                f"{path}: the model has no image_info, the classes, shape, mean and deviation of its images; "
                "give a file that `xpconv train` wrote"
            )
        return cls(*(tuple(found[name]) for name in cls._fields))


class Images(NamedTuple):
    """The parts of a data set, as the arguments of `batches`, with the classes `(N,)` of their images."""

    classes: tuple[str, ...]
    shape: tuple[int, int, int]
    train: tuple[Any, ...]
    train_targets: np.ndarray
    valid: tuple[Any, ...]
    valid_targets: np.ndarray
    skipped: int

    @property
    def may_flip(self) -> bool:
        """Whether a mirrored image has the same class: not so for digits and letters, which are gray."""
        return self.shape[0] == 3


def open_images(
    name: str, *, data_dir: str | None, size: int | None, gray: bool, valid: float, seed: int, skip: bool
) -> Images:
    """The data set of that name, or the folder of images.

    Named sets have a part for testing, which validates. So does a folder that has folders `train` and `valid`
    (or `val`, `test`); of others a share `valid` of each class is set aside.
    """
    if name in NAMED:
        return _named(name, data_dir, seed)
    path = Path(name)
    if not path.is_dir():
        raise _no_data(name)
    options: dict[str, Any] = {
        "size": size, "mode": "L" if gray else "RGB", "on_error": "skip" if skip else "raise"
    }  # fmt: skip
    parts = [_first_folder(path, names) for names in (TRAIN, VALID)]
    if parts[0] and parts[1]:
        train, held = (data.image_folder(part, **options) for part in parts if part)
        if train.classes != held.classes:
            raise DataFileError(
                f"{path}: the classes of {parts[0].name} are {', '.join(train.classes)}, but those of "
                f"{parts[1].name} are {', '.join(held.classes)}; they must be the same"
            )
        if train.shape != held.shape:
            raise DataFileError(
                f"{path}: the images of {parts[0].name} are {train.shape}, but those of {parts[1].name} are "
                f"{held.shape}; give --size"
            )
        skipped = len(train.skipped) + len(held.skipped)
    else:
        folder = data.image_folder(path, **options)
        train, held = data.train_test_split(folder, test_size=valid, seed=seed, stratify=folder.targets)
        skipped = len(folder.skipped)
    shape = (train.shape[0], train.shape[1], train.shape[2])
    return Images(train.classes, shape, (train,), train.targets, (held,), held.targets, skipped)


def _first_folder(path: Path, names: tuple[str, ...]) -> Path | None:
    return next((path / name for name in names if (path / name).is_dir()), None)


def _no_data(name: str) -> DataFileError:
    return DataFileError(
        f"DATA is {name!r}: there is no such folder, and the data sets by name are {', '.join(NAMED)}"
    )


def _named(name: str, data_dir: str | None, seed: int) -> Images:
    split = NAMED[name](data_dir, seed)
    targets = asnumpy(split.y_train), asnumpy(split.y_test)
    names = {"fashion-mnist": FASHION, "digits": DIGITS, "mnist": DIGITS}.get(name)
    classes = names or tuple(getattr(split, "classes", None) or map(str, range(int(targets[0].max()) + 1)))
    shape = tuple(split.x_train.shape[1:])
    train, valid = (split.x_train, split.y_train), (split.x_test, split.y_test)
    return Images(classes, shape, train, targets[0], valid, targets[1], 0)


def training_transform(images: Images, info: ImageInfo, augment: bool) -> Compose:
    """Random crops and, of colour images, flips; then the normalisation."""
    if not augment:
        return Compose([info.normalize])
    border = max(1, min(images.shape[1:]) // 8)
    crop = RandomCrop(images.shape[1:], padding=border, padding_mode="reflect")
    flips = [RandomHorizontalFlip()] if images.may_flip else []
    return Compose([crop, *flips, info.normalize])


def whole_folder(name: str, info: ImageInfo) -> Any:
    """The folder of images by class, as a model expects them.

    Raises:
        DataFileError: there is no such folder.
    """
    if not Path(name).is_dir():
        raise _no_data(name)
    return data.image_folder(name, info.shape[1:], mode=info.mode)


def files_of(paths: list[str]) -> Iterator[Path]:
    """Image files, and those within folders.

    Raises:
        FileNotFoundError: there is no such file, or a folder has no images.
    """
    for name in paths:
        path = Path(name)
        if path.is_dir():
            found = sorted(data.image_files(path))
            if not found:
                raise FileNotFoundError(f"{path} has no image files")
            yield from found
        elif path.exists():
            yield path
        else:
            raise FileNotFoundError(f"there is no file {path}")
