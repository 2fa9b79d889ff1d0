"""Image files: which files of a folder they are, and how one is read."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..arguments import to_choice, to_tuple
from ..errors import DataFileError
from .datasets import scaled, to_pixel_dtype
from .idx import to_path

__all__ = ["image_files", "read_image"]

SUFFIXES = frozenset(
    [".bmp", ".gif", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"]
)
NAMED = 10  # files that an error names
ORIENTATION, TURNED = 0x0112, (5, 6, 7, 8)  # EXIF's tag, and its values that swap width and height


def read_image(
    path: str | os.PathLike[str],
    size: int | tuple[int, int] | None = None,
    *,
    mode: str = "RGB",
    dtype: Any = "float32",
) -> np.ndarray:
    """The image `(C, H, W)` of one file, as `image_folder` reads it.

    Args:
        path: of the file.
        size, mode, dtype: as in `image_folder`; without `size` the image has its own.

    Raises:
        FileNotFoundError: there is no such file.
        DataFileError: (a ValueError) it is damaged, or no image.
        ImportError: Pillow is not installed.

    Example:
        >>> import os, tempfile
        >>> from PIL import Image
        >>> from xpconv.data import read_image
        >>> path = os.path.join(tempfile.mkdtemp(), "image.png")
        >>> Image.new("RGB", (40, 30)).save(path)
        >>> read_image(path).shape, read_image(path, 16, mode="L").shape
        ((3, 30, 40), (1, 16, 16))
    """
    file = to_path("read_image: path", path).expanduser()
    both = None if size is None else to_tuple("read_image: size", size, 2, 1)
    mode = to_choice("read_image: mode", mode, ("RGB", "L"))
    dtype = to_pixel_dtype("read_image", dtype)
    need_pillow("read_image")
    if not file.exists():
        raise FileNotFoundError(f"read_image: there is no file {file}; check the path")
    try:
        pixels = read_pixels(file, mode, both)
    except MemoryError:
        raise
    except Exception as cause:  # Pillow raises many; they are chained
        raise damaged_error("read_image", {file: cause}, "remove or replace {}") from cause
    return scaled(pixels, 255, dtype)


def image_files(path: str | os.PathLike[str]) -> list[Path]:
    """The image files in a folder and in the folders within, by suffix, sorted; hidden ones are ignored.

    Raises:
        FileNotFoundError, NotADirectoryError: `path` is not a folder.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from xpconv.data import image_files
        >>> folder = Path(tempfile.mkdtemp())
        >>> for name in ("b.png", "a.jpg", "notes.txt"):
        ...     (folder / name).touch()
        >>> [file.name for file in image_files(folder)]
        ['a.jpg', 'b.png']
    """
    folder = to_path("image_files: path", path).expanduser()
    if not folder.exists():
        raise FileNotFoundError(f"image_files: there is no folder {folder}; check the path")
    if not folder.is_dir():
        raise NotADirectoryError(f"image_files: {folder} is a file; give a folder, or use read_image")
    return sorted(images_within(folder))


def need_pillow(where: str) -> None:
    """An error that says what to install, if Pillow is missing."""
    try:
        import PIL  # noqa: F401
    except ImportError as cause:
        raise ImportError(
            f"{where}: Pillow cannot be imported; install it with `pip install pillow`"
        ) from cause


def images_within(folder: Path) -> Iterator[Path]:
    """The image files within a folder, each once, though links may lead in a circle."""
    seen = set()
    for parent, folders, files in os.walk(folder, followlinks=True):
        state = os.stat(parent)
        if (state.st_dev, state.st_ino) in seen:
            folders.clear()
            continue
        seen.add((state.st_dev, state.st_ino))
        folders[:] = sorted(name for name in folders if name[0] != ".")
        for name in files:
            if name[0] != "." and os.path.splitext(name)[1].lower() in SUFFIXES:
                yield Path(parent, name)


def size_in_header(path: Path) -> tuple[int, ...]:
    """Height and width by the file's header."""
    from PIL import Image

    with Image.open(path) as image:
        size = image.size if image.getexif().get(ORIENTATION) in TURNED else image.size[::-1]
        return tuple(size)


def read_pixels(path: Path, mode: str, size: tuple[int, ...] | None) -> np.ndarray:
    """The image `(C, H, W)`, uint8, in Pillow's mode `'L'` or `'RGB'`."""
    from PIL import Image, ImageOps

    with Image.open(path) as file:
        if size is not None:  # a JPEG is decoded at 1/2, 1/4 or 1/8 of its size, if that is twice the new one
            file.draft(None, (2 * max(size), 2 * max(size)))
        image = ImageOps.exif_transpose(file)
        if image.mode.startswith("I;16"):  # 16 bits, of which Pillow would clip all above 255
            image = Image.fromarray((np.asarray(image) >> 8).astype("uint8"))
        if image.mode in ("I", "F"):
            raise ValueError(f"its pixels have 32 bits (Pillow's mode {image.mode}); store it with 8 bits")
        if image.mode in ("P", "PA") and "transparency" in image.info:
            image = image.convert("RGBA")
        image = image.convert(mode)
        if size is not None:
            image = ImageOps.fit(image, (size[1], size[0]))
        pixels = np.asarray(image)
    return np.ascontiguousarray(np.moveaxis(pixels.reshape(*pixels.shape[:2], -1), -1, 0))


def damaged_error(where: str, damaged: Mapping[Path, Exception], fix: str) -> DataFileError:
    """The error that names the files and the problem of each; `{}` in `fix` is replaced by "it" or "them"."""
    lines = [f"{path} ({_reason(error)})" for path, error in list(damaged.items())[:NAMED]]
    more = f" and {len(damaged) - NAMED} more" if len(damaged) > NAMED else ""
    one = len(damaged) == 1
    what = "1 file is not an intact image" if one else f"{len(damaged)} files are not intact images"
    return DataFileError(f"{where}: {what}: {', '.join(lines)}{more}; {fix.format('it' if one else 'them')}")


def _reason(error: BaseException) -> str:
    """The problem of a file, in a few words."""
    if isinstance(error, DataFileError) and error.__cause__ is not None:
        error = error.__cause__
    if type(error).__name__ == "UnidentifiedImageError":
        return "not an image"
    return " ".join(str(error).split())[:160] or type(error).__name__
