"""Mirror images, each with probability `p`."""

from __future__ import annotations

from typing import Any

from ...backend import Array
from .base import Geometric
from .checks import to_probability

__all__ = ["RandomHorizontalFlip", "RandomVerticalFlip"]


class _Flip(Geometric):
    _mirrored: tuple[Any, ...]  # the index of the pixels of a mirrored image

    def __init__(self, p: float = 0.5, *, masks: int | tuple[int, ...] | None = None) -> None:
        self.p: float = to_probability(f"{type(self).__name__}: p", p)
        self._set_masks(masks)

    def _draw(self, rng: Any, shape: tuple[int, int, int, int]) -> tuple[Any, ...]:
        return (rng.random(shape[0]) < self.p,)

    def _move(self, xp: Any, x: Array, fill: Array, interpolation: str, *draws: Array) -> Array:
        return xp.where(draws[0][:, None, None, None], x[self._mirrored], x)


class RandomHorizontalFlip(_Flip):
    """Swap left and right of each image with probability `p`, as torchvision's `RandomHorizontalFlip`.

    Args:
        p: the probability for each image.
        masks: which arrays of a batch are masks to be flipped with their images, by index: `(1,)` or 1 is
            the second. They are `(N, H, W)` or `(N, C, H, W)`, of any dtype. By default an array of such a
            shape is an error; `masks=()` leaves it as it is.

    Example:
        >>> import numpy as np
        >>> from xpconv.data.transforms import RandomHorizontalFlip
        >>> images = np.arange(6.0).reshape(1, 1, 2, 3)
        >>> RandomHorizontalFlip(p=1)(images, rng=0)
        array([[[[2., 1., 0.],
                 [5., 4., 3.]]]])
    """

    _mirrored = (..., slice(None, None, -1))


class RandomVerticalFlip(_Flip):
    """Swap top and bottom of each image with probability `p`, as torchvision's `RandomVerticalFlip`.

    Args:
        p: the probability for each image.
        masks: which arrays of a batch are masks to be flipped with their images; see `RandomHorizontalFlip`.

    Example:
        >>> import numpy as np
        >>> from xpconv.data.transforms import RandomVerticalFlip
        >>> images = np.arange(6.0).reshape(1, 1, 2, 3)
        >>> RandomVerticalFlip(p=1)(images, rng=0)
        array([[[[3., 4., 5.],
                 [0., 1., 2.]]]])
    """

    _mirrored = (..., slice(None, None, -1), slice(None))
