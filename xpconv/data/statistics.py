"""Mean and deviation of the channels of images."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..arguments import shown
from ..arrays import asnumpy
from ..backend import Array, is_array_type, plain
from ..dtypes import is_floating
from ..errors import DTypeError, ShapeError
from .batches import batches

__all__ = ["channel_mean_std"]

BLOCK = 1 << 24  # bytes of images at a time


def channel_mean_std(images: Any) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each channel, for `Normalize`, in float64 and block by block.

    Args:
        images: images `(N, C, H, W)` on either backend, also mapped from a file; or a data set or an
            iterable, whose items are images `(C, H, W)` or batches of them, or tuples that begin with such,
            as an `image_folder`, `batches(…)` or a generator. uint8 images count as x / 255, as
            `ToDtype("float32", scale=True)` makes them. Of `batches(…)` one whole epoch is read; their next
            epoch stays what it would have been, unless they read from a generator, which is used up then.

    Returns:
        The means and the deviations (over all pixels, not estimates for more), NumPy arrays `(C,)`.

    Raises:
        ShapeError: (a ValueError) there are no images, or they differ in their number of channels.
        DTypeError: (a TypeError) the images are neither uint8 nor floating.
        TypeError: `images` is none of these.

    Example:
        >>> import numpy as np
        >>> from xpconv.data import channel_mean_std
        >>> images = np.array([0.0, 1.0, 2.0, 4.0]).reshape(1, 2, 1, 2)
        >>> channel_mean_std(images)
        (array([0.5, 3. ]), array([0.5, 1. ]))
    """
    count = 0
    mean = squares = np.zeros(0)  # squares: of the distances from the mean
    for block in _blocks(images):
        xp_mean = block.mean(axis=(0, 2, 3), dtype="float64")
        away = block.astype("float64") - xp_mean[:, None, None]
        n, block_mean = block.size // block.shape[1], asnumpy(xp_mean)
        block_squares = asnumpy((away * away).sum(axis=(0, 2, 3)))
        if block.dtype == "uint8":
            block_mean, block_squares = block_mean / 255, block_squares / 255**2
        if count == 0:
            mean, squares = np.zeros_like(block_mean), np.zeros_like(block_mean)
        elif mean.shape != block_mean.shape:
            raise ShapeError(
                f"channel_mean_std: images have {len(mean)} and {len(block_mean)} channels, expected "
                "one number"
            )
        difference, count = block_mean - mean, count + n
        mean = mean + difference * (n / count)
        squares = squares + block_squares + difference**2 * (n * (count - n) / count)
    if count == 0:
        raise ShapeError("channel_mean_std: there are no images")
    return mean, np.sqrt(squares / count)


def _blocks(images: Any) -> Iterator[Array]:
    """Images `(N, C, H, W)`, a few at a time and none empty."""
    if is_array_type(type(images)):
        x = _checked(images)
        step = max(1, BLOCK // max(1, x[:1].nbytes))
        for start in range(0, len(x), step):
            yield x[start : start + step]
        return
    if isinstance(images, batches):
        images = images._rewound()
    data_set = hasattr(images, "__len__") and hasattr(images, "__getitem__")
    if isinstance(images, str | dict) or not (data_set or hasattr(images, "__iter__")):
        raise TypeError(
            f"channel_mean_std: images is {shown(images)}, expected an array (N, C, H, W), a data set or an "
            "iterable"
        )
    for item in (images[i] for i in range(len(images))) if data_set else images:
        x = _checked(item[0] if isinstance(item, tuple | list) else item)
        if len(x):
            yield x


def _checked(x: Any) -> Array:
    if not is_array_type(type(x)):
        raise TypeError(f"channel_mean_std: got {shown(x)}, expected an array of images")
    if x.ndim not in (3, 4) or 0 in x.shape[-3:]:
        raise ShapeError(f"channel_mean_std: images have shape {x.shape}, expected (N, C, H, W) or (C, H, W)")
    if x.dtype != "uint8" and not is_floating(x.dtype):
        raise DTypeError(f"channel_mean_std: images are {x.dtype}, expected uint8 or floating point")
    x = plain(x)
    return x if x.ndim == 4 else x[None]
