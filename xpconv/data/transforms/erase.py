"""Rectangles of images set to a value."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...backend import Array, Backend
from ...errors import DTypeError
from .base import Transform, filling
from .checks import Values, to_image_size, to_positive_range, to_probability, to_range, to_values
from .sizes import draw_sizes, first_fit

__all__ = ["Cutout", "RandomErasing"]


def in_box(xp: Any, boxes: Array, shape: tuple[int, ...]) -> Array:
    """Which pixels `(N, 1, H, W)` of images lie in the boxes `(top, left, bottom, right)` of `(N, 4)`."""
    top, left, bottom, right = (boxes[:, k, None, None, None] for k in range(4))
    i, j = xp.arange(shape[2])[:, None], xp.arange(shape[3])
    return (i >= top) & (i < bottom) & (j >= left) & (j < right)


class RandomErasing(Transform):
    """Erase a random rectangle of each image, as torchvision's `RandomErasing`. Masks are not changed.

    Args:
        p: the probability for each image.
        scale: range of the area of the rectangle, as a share of the image's.
        ratio: range of its height divided by its width.
        value: what is put there: a number, one for each channel, or `'random'` for standard normal noise in
            each pixel of floating images.

    Source:
        Z. Zhong et al., "Random Erasing Data Augmentation", AAAI 2020.

    Example:
        >>> import numpy as np
        >>> from xpconv.data.transforms import RandomErasing
        >>> images = np.ones((2, 3, 8, 8), "float32")
        >>> RandomErasing(p=1, scale=(0.25, 0.25), ratio=(1, 1))(images, rng=0).mean(axis=(1, 2, 3))
        array([0.75, 0.75], dtype=float32)
    """

    def __init__(
        self,
        p: float = 0.5,
        scale: tuple[float, float] = (0.02, 0.33),
        ratio: tuple[float, float] = (0.3, 3.3),
        value: float | tuple[float, ...] | str = 0,
    ) -> None:
        where = type(self).__name__
        self.p: float = to_probability(f"{where}: p", p)
        self.scale: tuple[float, float] = to_range(f"{where}: scale", scale, lowest=0, highest=1)
        self.ratio: tuple[float, float] = to_positive_range(f"{where}: ratio", ratio)
        if isinstance(value, str) and value != "random":
            raise ValueError(
                f"{where}: value is {value!r}, expected a number, one for each channel, or 'random'"
            )
        self.value: Values | str = value if isinstance(value, str) else to_values(f"{where}: value", value)

    def _check(self, images: Array) -> None:
        if self.value == "random" and images.dtype == "uint8":
            raise DTypeError(
                f"{type(self).__name__}: images are uint8, expected floating point for value='random'; put "
                "ToDtype('float32', scale=True) before this transform"
            )

    def _draw(self, rng: Any, shape: tuple[int, int, int, int]) -> tuple[Any, ...]:
        n, _, h, w = shape
        chosen = rng.random(n) < self.p
        width, height = draw_sizes(rng, n, (h, w), self.scale, self.ratio)
        height, width, found = first_fit((height < h) & (width < w), height, width)
        places = rng.random((2, n))
        top = np.floor(places[0] * (h - height + 1)).astype(int)
        left = np.floor(places[1] * (w - width + 1)).astype(int)
        boxes = np.stack([top, left, top + height, left + width], -1) * (chosen & found)[:, None]
        return (boxes, rng.standard_normal(shape, "float32")) if self.value == "random" else (boxes,)

    def _images(self, backend: Backend, x: Array, *draws: Array) -> Array:
        if isinstance(self.value, str):
            value = draws[1].astype(x.dtype)
        else:
            value = filling(f"{type(self).__name__}: value", backend, x, self.value)
        return backend.xp.where(in_box(backend.xp, draws[0], x.shape), value, x)


class Cutout(Transform):
    """Erase a square of each image, whose centre is any pixel; what reaches out of the image is cut off.

    Args:
        size: height and width of the square; an int means both.
        value: what is put there: a number, or one for each channel.

    Source:
        T. DeVries and G. W. Taylor, "Improved Regularization of Convolutional Neural Networks with Cutout",
        2017.

    Example:
        >>> import numpy as np
        >>> from xpconv.data.transforms import Cutout
        >>> Cutout(2)(np.ones((1, 4, 4)), rng=1)
        array([[[1., 0., 0., 1.],
                [1., 0., 0., 1.],
                [1., 1., 1., 1.],
                [1., 1., 1., 1.]]])
    """

    def __init__(self, size: int | tuple[int, int], value: float | tuple[float, ...] = 0) -> None:
        where = type(self).__name__
        self.size: tuple[int, int] = to_image_size(f"{where}: size", size)
        self.value: Values = to_values(f"{where}: value", value)

    def _draw(self, rng: Any, shape: tuple[int, int, int, int]) -> tuple[Any, ...]:
        start = [rng.integers(0, n, shape[0]) - m // 2 for n, m in zip(shape[2:], self.size, strict=True)]
        return (np.stack([*start, *(s + m for s, m in zip(start, self.size, strict=True))], -1),)

    def _images(self, backend: Backend, x: Array, *draws: Array) -> Array:
        value = filling(f"{type(self).__name__}: value", backend, x, self.value)
        return backend.xp.where(in_box(backend.xp, draws[0], x.shape), value, x)
