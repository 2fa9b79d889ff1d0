"""Single image files, read as `image_folder` reads them, and the image files in a folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from ..arguments import to_choice, to_tuple
from .datasets import scaled, to_pixel_dtype
from .folder import check_folder, check_pillow, damage, images_in, pixels_of
from .idx import to_path

__all__ = ["image_files", "read_image"]


def read_image(
    path: str | os.PathLike[str],
    size: int | tuple[int, int] | None = None,
    *,
    mode: str = "RGB",
    dtype: Any = "float32",
) -> np.ndarray:
    """The image `(C, H, W)` of one file.

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
    file = to_path("read_image: path", path)
    both = None if size is None else to_tuple("read_image: size", size, 2, 1)
    mode = to_choice("read_image: mode", mode, ("RGB", "L"))
    dtype = to_pixel_dtype("read_image", dtype)
    check_pillow("read_image")
    if not file.exists():
        raise FileNotFoundError(f"read_image: there is no file {file}; check the path")
    try:
        pixels = pixels_of(file, mode, both)
    except Exception as cause:  # Pillow raises many; they are chained
        raise damage("read_image", {file: cause}) from cause
    pixels = np.moveaxis(pixels.reshape(*pixels.shape[:2], -1), -1, 0)
    return scaled(np.ascontiguousarray(pixels), 255, dtype)


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
    folder = to_path("image_files: path", path)
    check_folder("image_files", folder, "a folder; read_image reads a file")
    return sorted(images_in(folder))
