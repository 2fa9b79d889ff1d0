"""The values of pixels: brightness, contrast, saturation and hue; gray, scaled and normalised images."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...arguments import shown, to_bool, to_int
from ...backend import Array, Backend
from ...dtypes import is_floating, to_dtype
from ...errors import DTypeError, ShapeError
from ...sums import total, widened
from .base import Transform, filling
from .checks import Values, to_range, to_values

__all__ = ["ColorJitter", "Grayscale", "Normalize", "ToDtype"]


class ColorJitter(Transform):
    """Change brightness, contrast, saturation and hue of each image, as torchvision's `ColorJitter`.

    Each image has factors of its own, and an order of its own in which these four are applied. The results
    are clipped to [0, 1] (floating) or [0, 255] (uint8, rounded down after each of the four, as torchvision
    does). Gray images have no saturation and no hue.

    Args:
        brightness: range of a factor for the image; a number `d` means `(max(0, 1 - d), 1 + d)`.
        contrast: range of a factor for the difference from the image's mean gray, likewise.
        saturation: range of a factor for the difference from the gray image, likewise.
        hue: range of what is added to the hue, within -0.5 to 0.5, where 1 is the whole circle; `d` means
            `(-d, d)`.

    Raises:
        ShapeError: (a ValueError) the images have neither 1 nor 3 channels.
        ValueError: floating images have values above 2, so they are not from 0 to 1; on a GPU this is not
            checked.

    Example:
        >>> import numpy as np
        >>> from xpconv.data.transforms import ColorJitter
        >>> images = np.full((2, 3, 4, 4), 100, "uint8")
        >>> ColorJitter(brightness=(0.5, 0.5))(images)[:, 0, 0, 0]
        array([50, 50], dtype=uint8)
    """

    brightness: tuple[float, float]
    saturation: tuple[float, float]

    def __init__(
        self,
        brightness: float | tuple[float, float] = 0,
        contrast: float | tuple[float, float] = 0,
        saturation: float | tuple[float, float] = 0,
        hue: float | tuple[float, float] = 0,
    ) -> None:
        where = type(self).__name__
        self.brightness = to_range(f"{where}: brightness", brightness, around=1, lowest=0)
        self.contrast: tuple[float, float] = to_range(f"{where}: contrast", contrast, around=1, lowest=0)
        self.saturation = to_range(f"{where}: saturation", saturation, around=1, lowest=0)
        self.hue: tuple[float, float] = to_range(f"{where}: hue", hue, around=0, lowest=-0.5, highest=0.5)

    def _check(self, images: Array) -> None:
        where = type(self).__name__
        check_channels(where, images)
        if images.dtype != "uint8" and isinstance(images, np.ndarray) and images.size and images.max() > 2:
            raise ValueError(  # not on a GPU, for which the check would wait
                f"{where}: images have values up to {float(images.max()):g}, expected 0 to 1; divide by 255, "
                "and put Normalize after this transform"
            )

    def _active(self) -> list[int]:
        """Which of the four change anything."""
        ranges = (self.brightness, self.contrast, self.saturation, self.hue)
        return [
            k
            for k, (limits, none) in enumerate(zip(ranges, (1, 1, 1, 0), strict=True))
            if limits != (none, none)
        ]

    def _draw(self, rng: Any, shape: tuple[int, int, int, int]) -> tuple[Any, ...]:
        """The factors for each of the four; then for each stage and change, the images that get it there."""
        ranges, active = (self.brightness, self.contrast, self.saturation, self.hue), self._active()
        factors = [rng.uniform(*limits, shape[0]) for limits in ranges]
        order = rng.permuted(np.tile(np.array(active, int), (shape[0], 1)), axis=1)
        groups = [np.flatnonzero(order[:, stage] == k) for stage in range(len(active)) for k in active]
        return (*factors, *groups)

    def _images(self, backend: Backend, x: Array, *draws: Array) -> Array:
        xp, eight_bit = backend.xp, x.dtype == "uint8"
        y = x.astype("float32") if eight_bit else widened(x).copy()
        changes = (_brightness, _contrast, _saturation, _hue)
        active, groups = self._active(), iter(draws[4:])
        for _ in active:
            for k in active:
                index = next(groups)
                if len(index):
                    factor = draws[k][index][:, None, None, None]
                    y[index] = changes[k](xp, y[index], factor, eight_bit)
        return y.astype(x.dtype, copy=False)


def check_channels(where: str, images: Array) -> None:
    """Raise a ShapeError if the images are neither gray nor RGB."""
    if images.shape[1] not in (1, 3):
        raise ShapeError(f"{where}: images have {images.shape[1]} channels, expected 1 (gray) or 3 (RGB)")


def gray(x: Array, eight_bit: bool = False) -> Array:
    """`(N, 1, H, W)`: the luma of RGB, by the weights of ITU-R BT.601."""
    if x.shape[1] == 1:
        return x
    y = 0.2989 * x[:, 0:1] + 0.587 * x[:, 1:2] + 0.114 * x[:, 2:3]
    return _rounded_down(y) if eight_bit else y


def _rounded_down(x: Array) -> Array:
    return x.astype("int32").astype(x.dtype)


def _clipped(y: Array, eight_bit: bool) -> Array:
    return _rounded_down(y.clip(0, 255)) if eight_bit else y.clip(0, 1)


def _blend(x: Array, y: Array, factor: Array, eight_bit: bool) -> Array:
    return _clipped(x * factor.astype(x.dtype) + y * (1 - factor).astype(x.dtype), eight_bit)


def _brightness(xp: Any, x: Array, factor: Array, eight_bit: bool) -> Array:
    return _clipped(x * factor.astype(x.dtype), eight_bit)


def _contrast(xp: Any, x: Array, factor: Array, eight_bit: bool) -> Array:
    y = gray(x, eight_bit)
    mean = (total(y, (1, 2, 3), keepdims=True) / (y.shape[2] * y.shape[3])).astype(x.dtype)
    return _blend(x, mean, factor, eight_bit)


def _saturation(xp: Any, x: Array, factor: Array, eight_bit: bool) -> Array:
    if x.shape[1] == 1:
        return x
    return _blend(x, gray(x, eight_bit), factor, eight_bit)


def _hue(xp: Any, x: Array, factor: Array, eight_bit: bool) -> Array:
    """By the HSV model, whose hue runs from red (0) over green (1/3) and blue (2/3) back to red (1)."""
    if x.shape[1] == 1:
        return x
    x = x / 255 if eight_bit else x
    red, green, blue = x[:, 0:1], x[:, 1:2], x[:, 2:3]
    value = xp.maximum(xp.maximum(red, green), blue)
    spread = value - xp.minimum(xp.minimum(red, green), blue)
    some = xp.where(spread > 0, spread, 1)
    sixths = xp.where(
        value == red,
        (green - blue) / some,
        xp.where(value == green, 2 + (blue - red) / some, 4 + (red - green) / some),
    )
    sixths = (sixths + 6 * factor.astype(x.dtype)) % 6
    # The channel n sixths away is at full value within one sixth, and falls to value - spread over the next.
    parts = [(sixths + n) % 6 for n in (5, 3, 1)]
    y = value - spread * xp.concatenate([xp.minimum(p, 4 - p).clip(0, 1) for p in parts], axis=1)
    return _rounded_down(y * 255.999) if eight_bit else y


class Grayscale(Transform):
    """The luma of RGB images, `0.2989 R + 0.587 G + 0.114 B`, as torchvision's `Grayscale`.

    Args:
        num_output_channels: 1, or 3 for three equal channels.

    Example:
        >>> import numpy as np
        >>> from xpconv.data.transforms import Grayscale
        >>> Grayscale()(np.array([255, 100, 0], "uint8").reshape(3, 1, 1))
        array([[[134]]], dtype=uint8)
    """

    def __init__(self, num_output_channels: int = 1) -> None:
        where = f"{type(self).__name__}: num_output_channels"
        self.num_output_channels: int = to_int(where, num_output_channels)
        if self.num_output_channels not in (1, 3):
            raise ValueError(f"{where} is {self.num_output_channels}, expected 1 or 3")

    def _check(self, images: Array) -> None:
        check_channels(type(self).__name__, images)

    def _images(self, backend: Backend, x: Array, *draws: Array) -> Array:
        y = gray(x.astype("float32") if x.dtype == "uint8" else widened(x)).astype(x.dtype)
        return backend.xp.concatenate([y] * 3, axis=1) if self.num_output_channels == 3 else y


class Normalize(Transform):
    """`(x - mean) / std` for each channel, as torchvision's `Normalize`.

    Args:
        mean, std: one number, or one for each channel, such as those of `channel_mean_std`.

    Raises:
        DTypeError: (a TypeError) the images are uint8; put `ToDtype("float32", scale=True)` before.

    Example:
        >>> import numpy as np
        >>> from xpconv.data.transforms import Normalize
        >>> Normalize(mean=(0.5, 1), std=(0.5, 2))(np.ones((2, 1, 1)))
        array([[[1.]],
        <BLANKLINE>
               [[0.]]])
    """

    def __init__(self, mean: float | tuple[float, ...], std: float | tuple[float, ...]) -> None:
        where = type(self).__name__
        self.mean: Values = to_values(f"{where}: mean", mean)
        self.std: Values = to_values(f"{where}: std", std)
        if min(self.std if isinstance(self.std, tuple) else (self.std,)) <= 0:
            raise ValueError(f"{where}: std is {self.std}, expected numbers above 0")

    def _check(self, images: Array) -> None:
        if images.dtype == "uint8":
            raise DTypeError(
                f"{type(self).__name__}: images are uint8, expected floating point; put "
                "ToDtype('float32', scale=True) before this transform"
            )

    def _images(self, backend: Backend, x: Array, *draws: Array) -> Array:
        wide, where = widened(x), type(self).__name__
        mean, std = (
            filling(f"{where}: {name}", backend, wide, getattr(self, name)) for name in ("mean", "std")
        )
        return ((wide - mean) / std).astype(x.dtype, copy=False)


class ToDtype(Transform):
    """Images in another dtype, as torchvision's `ToDtype`.

    Args:
        dtype: `'uint8'` or a floating dtype.
        scale: whether 0 to 255 of uint8 become 0 to 1 of floating dtypes, and the reverse, instead of the
            same numbers. In the conversion to uint8, values outside are clipped.

    Example:
        >>> import numpy as np
        >>> from xpconv.data.transforms import ToDtype
        >>> ToDtype("float32", scale=True)(np.full((1, 1, 2), 51, "uint8"))
        array([[[0.2, 0.2]]], dtype=float32)
    """

    def __init__(self, dtype: Any, scale: bool = False) -> None:
        where = type(self).__name__
        found = to_dtype(where, np, dtype)
        if found != "uint8" and not is_floating(found):
            raise DTypeError(f"{where}: dtype is {shown(dtype)}, expected 'uint8' or a floating dtype")
        self.dtype: str = str(found.name)
        self.scale: bool = to_bool(f"{where}: scale", scale)

    def _images(self, backend: Backend, x: Array, *draws: Array) -> Array:
        dtype = backend.xp.dtype(self.dtype)
        if dtype == x.dtype or (dtype != "uint8" and x.dtype != "uint8"):
            return x.astype(dtype)
        if dtype == "uint8":
            y = widened(x)
            return (y * 255.999 if self.scale else y).clip(0, 255).astype("uint8")
        y = x.astype(dtype if dtype.itemsize > 2 else "float32")
        return (y / 255 if self.scale else y).astype(dtype, copy=False)
