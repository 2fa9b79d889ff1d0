"""Rotation, translation, scale and shear, with values of its own for each image."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...arguments import is_sequence, shown, to_choice, to_float
from ...backend import Array
from ...ops.warp import affine
from .base import Geometric, in_float
from .checks import LARGEST, Values, to_positive_range, to_range, to_values

__all__ = ["RandomAffine", "RandomRotation"]


class _Affine(Geometric):
    """Base of those two. The draws are one float64 matrix `(2, 3)` for each image."""

    interpolation: str
    mask_fill: float
    fill: Values
    center: tuple[float, ...] | None

    def _set(self, interpolation: Any, fill: Any, center: Any, masks: Any, mask_fill: Any) -> None:
        where = type(self).__name__
        self.interpolation = to_choice(f"{where}: interpolation", interpolation, ("nearest", "bilinear"))
        self.fill = to_values(f"{where}: fill", fill)
        self.mask_fill = to_float(f"{where}: mask_fill", mask_fill, finite=True)
        self.center = center
        if center is not None:
            if not is_sequence(center) or len(center) != 2:
                raise ValueError(f"{where}: center is {shown(center)}, expected a pair (x, y) of pixels")
            self.center = tuple(to_float(f"{where}: center", c, finite=True) for c in center)
            if max(map(abs, self.center)) > LARGEST:
                raise ValueError(
                    f"{where}: center is {shown(center)}, expected pixels within 1e6 of the image"
                )
        self._set_masks(masks)

    def _move(self, xp: Any, x: Array, fill: Array, interpolation: str, *draws: Array) -> Array:
        if interpolation == "nearest":
            return affine(xp, x, draws[0], interpolation, fill)
        return in_float(xp, x, lambda v: affine(xp, v, draws[0], interpolation, fill.astype(v.dtype)))

    def _matrix(
        self, size: tuple[int, int], angle: Any, move: Any, scale: Any, shear: Any
    ) -> tuple[Any, ...]:
        """The map from a place in the result to that in the image, `(N, 2, 3)`, by columns x and rows y.

        A place p of an image moves to `A (p - c) + c + move`, where c is the centre, and A scales, shears and
        then turns clockwise (as rows point down), by torchvision's formula. This is the inverse of that.
        """
        angle, (sx, sy) = np.radians(angle), np.radians(shear)
        a = np.cos(angle - sy) / np.cos(sy)
        c = np.sin(angle - sy) / np.cos(sy)
        b, d = -a * np.tan(sx) - np.sin(angle), np.cos(angle) - c * np.tan(sx)
        inverse = np.stack([d, -b, -c, a], -1).reshape(-1, 2, 2) / np.reshape(
            scale, (-1, 1, 1)
        )  # det A = scale²
        h, w = size
        centre = np.array([w / 2, h / 2] if self.center is None else self.center) - 0.5
        offset = centre[:, None] - inverse @ (centre + np.stack(move, -1))[:, :, None]
        return (np.concatenate([inverse, offset], -1),)


class RandomRotation(_Affine):
    """Rotate each image by an angle of its own, as torchvision's `RandomRotation` without `expand`.

    Args:
        degrees: range `(min, max)` of the angle, counter-clockwise; `d` means `(-d, d)`.
        interpolation: `'nearest'` or `'bilinear'`.
        center: `(x, y)` in pixels from the upper left corner; default: the centre of the image.
        fill: value of the pixels outside of the image, or one for each channel. With bilinear interpolation
            the border is a mixture of image and fill.
        masks: which arrays of a batch are masks, rotated too, with the nearest pixel; see
            `RandomHorizontalFlip`.
        mask_fill: value of the mask outside.

    Example:
        >>> import numpy as np
        >>> from xpconv.data.transforms import RandomRotation
        >>> images = np.arange(4.0).reshape(1, 1, 2, 2)
        >>> RandomRotation((90, 90))(images)
        array([[[[1., 3.],
                 [0., 2.]]]])
    """

    degrees: tuple[float, float]

    def __init__(
        self,
        degrees: float | tuple[float, float],
        interpolation: str = "nearest",
        center: tuple[float, float] | None = None,
        fill: float | tuple[float, ...] = 0,
        *,
        masks: int | tuple[int, ...] | None = None,
        mask_fill: float = 0,
    ) -> None:
        self.degrees = to_range(
            f"{type(self).__name__}: degrees", degrees, around=0, lowest=-LARGEST, highest=LARGEST
        )
        self._set(interpolation, fill, center, masks, mask_fill)

    def _draw(self, rng: Any, shape: tuple[int, int, int, int]) -> tuple[Any, ...]:
        angle = -rng.uniform(*self.degrees, shape[0])
        zero = np.zeros(shape[0])
        return self._matrix(shape[2:], angle, (zero, zero), zero + 1, (zero, zero))


class RandomAffine(_Affine):
    """Turn, move, scale and shear each image by values of its own, as torchvision's `RandomAffine`.

    Args:
        degrees: range `(min, max)` of the angle, clockwise; `d` means `(-d, d)`.
        translate: largest moves `(x, y)`, as shares of width and height; whole pixels are drawn.
        scale: range of the factor.
        shear: range of the angle of shear along x, in degrees; with four numbers, also that along y.
        interpolation, fill, center, masks, mask_fill: as in `RandomRotation`.

    Example:
        >>> import numpy as np
        >>> from xpconv.data.transforms import RandomAffine
        >>> images = np.random.default_rng(0).random((8, 3, 32, 32), dtype="float32")
        >>> transform = RandomAffine(10, translate=(0.1, 0.1), scale=(0.9, 1.1), interpolation="bilinear")
        >>> transform(images, rng=0).shape
        (8, 3, 32, 32)
    """

    degrees: tuple[float, float]
    scale: tuple[float, float] | None

    def __init__(
        self,
        degrees: float | tuple[float, float],
        translate: tuple[float, float] | None = None,
        scale: tuple[float, float] | None = None,
        shear: float | tuple[float, ...] | None = None,
        interpolation: str = "nearest",
        fill: float | tuple[float, ...] = 0,
        center: tuple[float, float] | None = None,
        *,
        masks: int | tuple[int, ...] | None = None,
        mask_fill: float = 0,
    ) -> None:
        where = type(self).__name__
        self.degrees = to_range(f"{where}: degrees", degrees, around=0, lowest=-LARGEST, highest=LARGEST)
        self.translate: tuple[float, ...] | None = None
        if translate is not None:
            if not is_sequence(translate) or len(translate) != 2:
                raise ValueError(
                    f"{where}: translate is {shown(translate)}, expected a pair (x, y) of shares"
                )
            self.translate = tuple(to_float(f"{where}: translate", t, 0) for t in translate)
            if max(self.translate) > 1:
                raise ValueError(f"{where}: translate is {shown(translate)}, expected shares from 0 to 1")
        self.scale = None if scale is None else to_positive_range(f"{where}: scale", scale)
        self.shear: tuple[float, ...] | None = None
        if shear is not None:
            parts = (shear[:2], shear[2:]) if is_sequence(shear) and len(shear) == 4 else (shear,)
            ranges = [to_range(f"{where}: shear", s, around=0, lowest=-89, highest=89) for s in parts]
            self.shear = tuple(angle for pair in ranges for angle in pair)
        self._set(interpolation, fill, center, masks, mask_fill)

    def _draw(self, rng: Any, shape: tuple[int, int, int, int]) -> tuple[Any, ...]:
        n, _, h, w = shape
        angle = rng.uniform(*self.degrees, n)
        tx, ty = self.translate or (0, 0)
        move = np.rint(rng.uniform(-tx * w, tx * w, n)), np.rint(rng.uniform(-ty * h, ty * h, n))
        scale = rng.uniform(*(self.scale or (1, 1)), n)
        x0, x1, y0, y1 = (*(self.shear or (0, 0)), 0, 0)[:4]
        shear = rng.uniform(x0, x1, n), rng.uniform(y0, y1, n)
        return self._matrix((h, w), angle, move, scale, shear)
