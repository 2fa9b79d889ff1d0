"""Windows of images: random and central crops, and borders."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...arguments import to_bool, to_choice, to_float
from ...backend import Array
from ...errors import ShapeError
from ...ops.warp import PADDING_MODES, window
from .base import Geometric
from .checks import Values, to_borders, to_image_size, to_values

__all__ = ["CenterCrop", "Pad", "RandomCrop"]


class _Window(Geometric):
    """Base of these three. The draws are the tops and the lefts of the windows."""

    fill: Values
    mask_fill: float
    padding_mode: str = "constant"

    def _set(self, fill: Any, padding_mode: Any, masks: Any, mask_fill: Any) -> None:
        where = type(self).__name__
        self.fill = to_values(f"{where}: fill", fill)
        self.mask_fill = to_float(f"{where}: mask_fill", mask_fill, finite=True)
        self.padding_mode = to_choice(f"{where}: padding_mode", padding_mode, PADDING_MODES)
        self._set_masks(masks)

    def _size(self, size: tuple[int, int]) -> tuple[int, int]:
        """Height and width of the result for images of this size."""
        raise NotImplementedError

    def _move(self, xp: Any, x: Array, fill: Array, interpolation: str, *draws: Array) -> Array:
        top, left = draws
        return window(xp, x, top, left, self._size(x.shape[2:]), self.padding_mode, fill)


class RandomCrop(_Window):
    """Crop each image at a place of its own, as torchvision's `RandomCrop`.

    Args:
        size: height and width of the crop; an int means both.
        padding: border around the image to crop from: an int, `(left and right, top and bottom)` or
            `(left, top, right, bottom)`.
        pad_if_needed: pad images that are smaller than the crop.
        fill: value of the border, or one for each channel, for the mode `'constant'`.
        padding_mode: `'constant'`, `'edge'` (the pixel at the border), `'reflect'` or `'symmetric'` (the
            image mirrored without, or with, that pixel twice).
        masks: which arrays of a batch are masks, cropped alike; see `RandomHorizontalFlip`.
        mask_fill: value of the masks' border.

    Raises:
        ShapeError: (a ValueError) the crop is larger than the padded image.

    Example:
        >>> import numpy as np
        >>> from xpconv.data.transforms import RandomCrop
        >>> images = np.zeros((8, 3, 32, 32), "uint8")
        >>> RandomCrop(32, padding=4, padding_mode="reflect")(images, rng=0).shape
        (8, 3, 32, 32)
    """

    padding: tuple[int, int, int, int] | None

    def __init__(
        self,
        size: int | tuple[int, int],
        padding: int | tuple[int, ...] | None = None,
        pad_if_needed: bool = False,
        fill: float | tuple[float, ...] = 0,
        padding_mode: str = "constant",
        *,
        masks: int | tuple[int, ...] | None = None,
        mask_fill: float = 0,
    ) -> None:
        where = type(self).__name__
        self.size: tuple[int, int] = to_image_size(f"{where}: size", size)
        self.padding = None if padding is None else to_borders(f"{where}: padding", padding)
        self.pad_if_needed: bool = to_bool(f"{where}: pad_if_needed", pad_if_needed)
        self._set(fill, padding_mode, masks, mask_fill)

    def _size(self, size: tuple[int, int]) -> tuple[int, int]:
        return self.size

    def _draw(self, rng: Any, shape: tuple[int, int, int, int]) -> tuple[Any, ...]:
        left, top, right, bottom = self.padding or (0, 0, 0, 0)
        starts = []
        for n, m, (lo, hi) in zip(shape[2:], self.size, ((top, bottom), (left, right)), strict=True):
            more = max(m - (n + lo + hi), 0)
            if more and not self.pad_if_needed:
                raise ShapeError(
                    f"{type(self).__name__}: size is {self.size}, but the images with their padding are of "
                    f"({shape[2] + top + bottom}, {shape[3] + left + right}); pad more, or give "
                    "pad_if_needed=True"
                )
            starts.append(rng.integers(0, n + lo + hi + 2 * more - m, shape[0], endpoint=True) - lo - more)
        return tuple(starts)


class CenterCrop(_Window):
    """Crop the centre of the images, as torchvision's `CenterCrop`; what is smaller is padded with 0.

    Args:
        size: height and width of the crop; an int means both.
        masks: which arrays of a batch are masks, cropped alike; see `RandomHorizontalFlip`.

    Example:
        >>> import numpy as np
        >>> from xpconv.data.transforms import CenterCrop
        >>> CenterCrop(2)(np.arange(16.0).reshape(1, 4, 4))
        array([[[ 5.,  6.],
                [ 9., 10.]]])
    """

    def __init__(self, size: int | tuple[int, int], *, masks: int | tuple[int, ...] | None = None) -> None:
        self.size: tuple[int, int] = to_image_size(f"{type(self).__name__}: size", size)
        self._set_masks(masks)

    def _size(self, size: tuple[int, int]) -> tuple[int, int]:
        return self.size

    def _draw(self, rng: Any, shape: tuple[int, int, int, int]) -> tuple[Any, ...]:
        pairs = zip(shape[2:], self.size, strict=True)
        starts = [
            round((n - m) / 2) if n >= m else -((m - n) // 2) for n, m in pairs
        ]  # as torchvision rounds
        return tuple(np.full(shape[0], start) for start in starts)


class Pad(_Window):
    """Put a border around the images, as torchvision's `Pad`.

    Args:
        padding: width of the border: an int, `(left and right, top and bottom)` or
            `(left, top, right, bottom)`.
        fill, padding_mode, masks, mask_fill: as in `RandomCrop`.

    Example:
        >>> import numpy as np
        >>> from xpconv.data.transforms import Pad
        >>> Pad((1, 0), fill=9)(np.zeros((1, 2, 2)))
        array([[[9., 0., 0., 9.],
                [9., 0., 0., 9.]]])
    """

    def __init__(
        self,
        padding: int | tuple[int, ...],
        fill: float | tuple[float, ...] = 0,
        padding_mode: str = "constant",
        *,
        masks: int | tuple[int, ...] | None = None,
        mask_fill: float = 0,
    ) -> None:
        self.padding: tuple[int, int, int, int] = to_borders(f"{type(self).__name__}: padding", padding)
        self._set(fill, padding_mode, masks, mask_fill)

    def _size(self, size: tuple[int, int]) -> tuple[int, int]:
        left, top, right, bottom = self.padding
        return size[0] + top + bottom, size[1] + left + right

    def _draw(self, rng: Any, shape: tuple[int, int, int, int]) -> tuple[Any, ...]:
        left, top = self.padding[:2]
        return np.full(shape[0], -top), np.full(shape[0], -left)
