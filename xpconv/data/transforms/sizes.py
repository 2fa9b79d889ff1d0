"""Images in another size: all of them, or a random part of each."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...arguments import is_sequence, to_bool, to_choice, to_size
from ...backend import Array
from ...ops.warp import INTERPOLATIONS, resize
from .base import Geometric, in_float
from .checks import to_image_size, to_positive_range, to_range

__all__ = ["RandomResizedCrop", "Resize"]


class _Resize(Geometric):
    """Base of both. The draws are the boxes `(top, left, height, width)` to scale."""

    interpolation: str
    antialias: bool = True

    def _set(self, interpolation: Any, antialias: Any, masks: Any) -> None:
        where = type(self).__name__
        self.interpolation = to_choice(f"{where}: interpolation", interpolation, INTERPOLATIONS)
        self.antialias = to_bool(f"{where}: antialias", antialias)
        self._set_masks(masks)

    def _size(self, size: tuple[int, int]) -> tuple[int, int]:
        raise NotImplementedError

    def _move(self, xp: Any, x: Array, fill: Array, interpolation: str, *draws: Array) -> Array:
        size, smooth = self._size(x.shape[2:]), self.antialias
        if interpolation.startswith("nearest"):
            return resize(xp, x, draws[0], size, interpolation, smooth)
        return in_float(xp, x, lambda v: resize(xp, v, draws[0], size, interpolation, smooth))


class Resize(_Resize):
    """Scale the images to another size, as torchvision's `Resize`.

    Args:
        size: `(height, width)`, or the length of the shorter side, to which the longer one keeps its ratio.
        interpolation: `'nearest'`, `'nearest-exact'`, `'bilinear'` or `'bicubic'`.
        antialias: when making images smaller with the last two, average all the pixels that a new one covers.
        masks: which arrays of a batch are masks, scaled with the nearest pixel; see `RandomHorizontalFlip`.

    Example:
        >>> import numpy as np
        >>> from xpconv.data.transforms import Resize
        >>> Resize(2)(np.arange(16.0).reshape(1, 4, 4), rng=0).round(2)
        array([[[ 3.57,  5.14],
                [ 9.86, 11.43]]])
        >>> Resize(32)(np.zeros((5, 3, 64, 96))).shape
        (5, 3, 32, 48)
    """

    size: tuple[int, int] | int

    def __init__(
        self,
        size: int | tuple[int, int],
        interpolation: str = "bilinear",
        *,
        antialias: bool = True,
        masks: int | tuple[int, ...] | None = None,
    ) -> None:
        where = f"{type(self).__name__}: size"
        pair = is_sequence(size) and len(size) != 1
        self.size = (
            to_image_size(where, size) if pair else to_size(where, size[0] if is_sequence(size) else size)
        )
        self._set(interpolation, antialias, masks)

    def _size(self, size: tuple[int, int]) -> tuple[int, int]:
        if isinstance(self.size, tuple):
            return self.size
        short = min(size)
        height, width = (n * self.size // short for n in size)
        return height, width

    def _draw(self, rng: Any, shape: tuple[int, int, int, int]) -> tuple[Any, ...]:
        return (np.array([[0, 0, *shape[2:]]]),)


class RandomResizedCrop(_Resize):
    """Scale a random part of each image to one size, as torchvision's `RandomResizedCrop`.

    Args:
        size: height and width of the result; an int means both.
        scale: range of the area of the part, as a share of the image's.
        ratio: range of its width divided by its height.
        interpolation, antialias, masks: as in `Resize`.

    Example:
        >>> import numpy as np
        >>> from xpconv.data.transforms import RandomResizedCrop
        >>> RandomResizedCrop(24, scale=(0.5, 1.0))(np.zeros((8, 3, 32, 32)), rng=0).shape
        (8, 3, 24, 24)
    """

    def __init__(
        self,
        size: int | tuple[int, int],
        scale: tuple[float, float] = (0.08, 1.0),
        ratio: tuple[float, float] = (3 / 4, 4 / 3),
        interpolation: str = "bilinear",
        *,
        antialias: bool = True,
        masks: int | tuple[int, ...] | None = None,
    ) -> None:
        where = type(self).__name__
        self.size: tuple[int, int] = to_image_size(f"{where}: size", size)
        self.scale: tuple[float, float] = to_range(f"{where}: scale", scale, lowest=0, highest=1)
        self.ratio: tuple[float, float] = to_positive_range(f"{where}: ratio", ratio)
        self._set(interpolation, antialias, masks)

    def _size(self, size: tuple[int, int]) -> tuple[int, int]:
        return self.size

    def _draw(self, rng: Any, shape: tuple[int, int, int, int]) -> tuple[Any, ...]:
        n, _, h, w = shape
        height, width = draw_sizes(rng, n, (h, w), self.scale, self.ratio)
        fits = (height > 0) & (height <= h) & (width > 0) & (width <= w)
        height, width, found = first_fit(fits, height, width)
        narrow, wide = self.ratio  # of what is taken if nothing fitted: the largest central part
        whole_width = w if w / h <= wide else max(round(h * wide), 1)
        whole_height = h if w / h >= narrow else max(round(w / narrow), 1)
        places = rng.random((2, n))
        top = np.floor(places[0] * (h - height + 1)).astype(int)
        left = np.floor(places[1] * (w - width + 1)).astype(int)
        whole = (h - whole_height) // 2, (w - whole_width) // 2, whole_height, whole_width
        return (np.where(found[:, None], np.stack([top, left, height, width], -1), np.array(whole)),)


def draw_sizes(
    rng: Any, n: int, size: tuple[int, int], scale: tuple[float, float], ratio: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray]:
    """Heights and widths `(n, 10)`, ten tries an image: `scale` is that of areas, `ratio` width by height."""
    area = size[0] * size[1] * rng.uniform(*scale, (n, 10))
    shape = np.exp(rng.uniform(*np.log(ratio), (n, 10)))
    return np.rint(np.sqrt(area / shape)).astype(int), np.rint(np.sqrt(area * shape)).astype(int)


def first_fit(
    fits: np.ndarray, height: np.ndarray, width: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Height and width of the first try that fits, 0 where there is none, and where there is one."""
    found = fits.max(axis=1)
    rows, tries = np.arange(len(fits)), fits.argmax(1)
    return height[rows, tries] * found, width[rows, tries] * found, found
