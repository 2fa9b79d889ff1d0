"""Images in folders by class, each read when it is indexed."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from ..arguments import is_sequence, to_choice, to_int, to_tuple
from ..arrays import asarray
from ..backend import Array
from ..errors import DataFileError, ShapeError
from ..signatures import hinted
from .datasets import TRANSFORM, scaled, to_pixel_dtype
from .idx import to_path
from .image_files import SUFFIXES, damaged_error, images_within, need_pillow, read_pixels, size_in_header

__all__ = ["image_folder"]

FIX = "remove or replace {}, or give on_error='skip'"  # of damaged files

T = TypeVar("T")


ELSEWHERE = {  # arguments of torchvision's and Keras' functions, and what to use here instead
    **dict.fromkeys(("transform", "target_transform"), TRANSFORM),
    **dict.fromkeys(("root", "directory"), "give path="),
    **dict.fromkeys(("image_size", "img_size", "target_size"), "give size="),
    **dict.fromkeys(("color_mode", "grayscale"), "give mode='RGB' or 'L'"),
    **dict.fromkeys(("validation_split", "subset"), "xpconv.data.train_test_split divides the folder"),
    **dict.fromkeys(("batch_size", "shuffle", "seed"), "it is an argument of xpconv.data.batches"),
}


class image_folder:  # lower-case like `batches`, as it is used like a function
    """A data set of images in a folder with a folder for each class, such as `animals/cat/17.jpg`.

    It has a length, and item `i` is the pair of an image `(C, H, W)`, a NumPy array, and the index of its
    class. `batches(folder, batch_size=32, workers=4)` reads images while the model trains; `folder.load()`
    reads all. An index array or a slice gives a part of it, as `train_test_split(folder,
    stratify=folder.targets)` does.

    Classes are the folders in `path`, sorted by name, with the images in them and in folders within them.
    Files are images by their suffix (jpg, png, bmp, gif, tif, webp, ppm and relatives). Others, hidden ones
    (with a dot) and images outside of class folders are ignored. Links are followed. Photos are rotated as
    their EXIF data specify.

    Args:
        path: the folder.
        size: height and width that all images get (an int means both), scaled and cut at the longer side
            around the centre, so that nothing is distorted. None takes the images as they are, if all have
            one size.
        mode: `'RGB'` or `'L'` (gray): what all images are converted to.
        dtype: a floating dtype for pixels from 0 to 1, or uint8 for 0 to 255.
        on_error: `'raise'` or `'skip'`: what to do about files that are no images or are damaged. The first
            raises an error that names all which cannot be opened, and an error when an image that breaks
            off is read. The second reads all images once to find them, and leaves them out.

    Attributes:
        classes: names of the classes.
        targets: index of the class of each image, int64 `(N,)`, a NumPy array.
        paths: file of each image.
        skipped: files that were left out.

    Raises:
        FileNotFoundError, NotADirectoryError: `path` is not a folder.
        DataFileError: (a ValueError) there are damaged files, or no images of a class.
        ShapeError: (a ValueError) `size` is None and images differ in size.
        ImportError: Pillow is not installed.

    Example:
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> from PIL import Image
        >>> from xpconv.data import batches, image_folder
        >>> with TemporaryDirectory() as path:
        ...     for name in ("cat/1.png", "cat/2.png", "dog/1.png"):
        ...         file = Path(path, name)
        ...         file.parent.mkdir(exist_ok=True)
        ...         Image.new("RGB", (40, 30)).save(file)
        ...     folder = image_folder(path, size=32)
        ...     x, y = folder.load()
        >>> folder.classes, x.shape, y
        (('cat', 'dog'), (3, 3, 32, 32), array([0, 0, 1]))
    """

    paths: list[Path]

    @hinted("image_folder", ELSEWHERE)
    def __init__(
        self,
        path: str | os.PathLike[str],
        size: int | tuple[int, int] | None = None,
        *,
        mode: str = "RGB",
        dtype: Any = "float32",
        on_error: str = "raise",
    ) -> None:
        self.path: Path = to_path("image_folder: path", path).expanduser()
        self.size = None if size is None else to_tuple("image_folder: size", size, 2, 1)
        self.mode: str = to_choice("image_folder: mode", mode, ("RGB", "L"))
        self.dtype = to_pixel_dtype("image_folder", dtype)
        on_error = to_choice("image_folder: on_error", on_error, ("raise", "skip"))
        need_pillow("image_folder")
        found = _scan(self.path)
        self.classes: tuple[str, ...] = tuple(found)
        self.paths = [path for paths in found.values() for path in paths]
        self.targets = np.repeat(np.arange(len(found)), [len(paths) for paths in found.values()])
        self.skipped: list[Path] = []
        look = size_in_header if on_error == "raise" else self._size_as_read
        looks = list(_in_threads(_attempt(look), self.paths))
        damaged = {p: e for p, e in zip(self.paths, looks, strict=True) if isinstance(e, Exception)}
        if damaged and on_error == "raise":
            raise damaged_error("image_folder", damaged, FIX)
        self._leave_out(damaged)
        if self.size is None:
            self.size = self._common_size([s for s in looks if not isinstance(s, Exception)])

    def __len__(self) -> int:
        return len(self.paths)

    def __repr__(self) -> str:
        names = ", ".join(self.classes[:8]) + (", …" if len(self.classes) > 8 else "")
        return f"image_folder({str(self.path)!r}, {len(self)} images of {self.shape}, classes {names})"

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of an image, `(C, H, W)`."""
        return (len(self.mode), *(self.size or ()))

    def __getitem__(self, index: Any) -> Any:
        """The image and the class index of item `index`; for a slice or an index array, that part of the
        folder."""
        if isinstance(index, slice) or is_sequence(index) or getattr(index, "shape", ()) != ():
            part = copy.copy(self)
            try:
                numbers = np.arange(len(self))[index if isinstance(index, slice) else np.asarray(index)]
            except IndexError as error:
                raise IndexError(f"image_folder: index: {error}") from None
            part.paths, part.targets = [self.paths[i] for i in numbers], self.targets[numbers]
            return part
        i = to_int("image_folder: index", index)
        if not -len(self) <= i < len(self):
            raise IndexError(f"image_folder: index is {i}, but there are {len(self)} images")
        return self._read(self.paths[i]), int(self.targets[i])

    def load(self) -> tuple[Array, Array]:
        """Read all images, in threads.

        Returns:
            The images `(N, C, H, W)` and their class indices `(N,)`, int64, on the active backend.

        Raises:
            DataFileError: (a ValueError) some files are damaged; it names them.
        """
        x = np.empty((len(self), *self.shape), self.dtype)

        def read(i: int) -> None:
            x[i] = self._read(self.paths[i])

        results = list(_in_threads(_attempt(read), range(len(self))))
        damaged = {p: e for p, e in zip(self.paths, results, strict=True) if isinstance(e, Exception)}
        if damaged:
            raise damaged_error("image_folder", damaged, FIX)
        return asarray(x), asarray(self.targets)

    def _read(self, path: Path) -> np.ndarray:
        """The image `(C, H, W)` of a file."""
        try:
            pixels = read_pixels(path, self.mode, self.size)
        except MemoryError:
            raise
        except Exception as cause:  # Pillow raises many; they are chained
            raise damaged_error("image_folder", {path: cause}, FIX) from cause
        if pixels.shape != self.shape:
            raise ShapeError(f"image_folder: {path}: expected an image of {self.shape}, got {pixels.shape}")
        return scaled(pixels, 255, self.dtype)

    def _size_as_read(self, path: Path) -> tuple[int, ...]:
        return read_pixels(path, self.mode, self.size).shape[1:]

    def _leave_out(self, damaged: dict[Path, Exception]) -> None:
        sound = np.array([path not in damaged for path in self.paths], bool)
        self.skipped, self.paths = list(damaged), [path for path in self.paths if path not in damaged]
        self.targets = self.targets[sound]
        empty = sorted(set(range(len(self.classes))) - set(self.targets.tolist()))
        if empty:
            raise DataFileError(
                f"image_folder: {self.path / self.classes[empty[0]]} has no intact image; put images "
                "there, or remove the folder"
            )

    def _common_size(self, sizes: list[Any]) -> tuple[int, ...]:
        """The one size of all images."""
        other = next((i for i, size in enumerate(sizes) if size != sizes[0]), None)
        if other is not None:
            raise ShapeError(
                f"image_folder: images differ in size: {self.paths[0]} has {sizes[0]} (height, width), but "
                f"{self.paths[other]} has {sizes[other]}; give size=, to which all are scaled"
            )
        return tuple(sizes[0])


def _scan(path: Path) -> dict[str, list[Path]]:
    """The image files of each class, both sorted by name."""
    if not path.exists():
        raise FileNotFoundError(f"image_folder: there is no folder {path}; check the path")
    if not path.is_dir():
        raise NotADirectoryError(f"image_folder: {path} is a file; give the folder of the classes' folders")
    names = sorted(entry.name for entry in os.scandir(path) if entry.is_dir() and entry.name[0] != ".")
    if not names:
        raise DataFileError(
            f"image_folder: {path} has no folders; put the images of each class into a folder of its "
            "own there, "
            "such as cat/1.jpg"
        )
    found = {name: sorted(images_within(path / name)) for name in names}
    for name, files in found.items():
        if not files:
            raise DataFileError(
                f"image_folder: {path / name} has no images ({', '.join(sorted(SUFFIXES))}); put some "
                "there, or remove the folder"
            )
    return found


def _attempt(function: Callable[[Any], T]) -> Callable[[Any], T | Exception]:
    """`function`, whose errors are results."""

    def attempt(value: Any) -> T | Exception:
        try:
            return function(value)
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001  # Pillow raises many; the caller names the file
            return error

    return attempt


def _in_threads(function: Callable[[Any], T], values: Any) -> Iterator[T]:
    with ThreadPoolExecutor() as pool:  # Pillow decodes without Python's lock
        yield from pool.map(function, values)
