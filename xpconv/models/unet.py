"""U-Net (Ronneberger et al., 2015), with BatchNorm and padded convolutions, for segmentation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..arguments import to_size
from ..backend import Array
from ..errors import ShapeError
from ..layers import (
    BatchNorm2d,
    Concat,
    Conv2d,
    ConvTranspose2d,
    Identity,
    Layer,
    MaxPool2d,
    ReLU,
    Sequential,
)
from ._common import checked

__all__ = ["unet"]


def _convs(channels: int, out: int) -> Sequential:
    return Sequential(
        Conv2d(channels, out, 3, padding=1, bias=False), BatchNorm2d(out), ReLU(),
        Conv2d(out, out, 3, padding=1, bias=False), BatchNorm2d(out), ReLU(),
    )  # fmt: skip


class UNet(Sequential):
    """The model of `unet`: a Sequential that checks height and width."""

    multiple: int

    def __init__(self, *layers: Layer | Mapping[str, Layer], multiple: int = 1) -> None:
        super().__init__(*layers)
        self.multiple = to_size("UNet: multiple", multiple)  # of which height and width must be multiples

    def __call__(self, *inputs: Any, **named: Any) -> Array:
        shape = getattr(inputs[0], "shape", ()) if inputs else ()
        sizes = shape[-2:] if len(shape) in (3, 4) else ()
        if any(size % self.multiple for size in sizes):
            good = " and ".join(str(max(1, round(size / self.multiple)) * self.multiple) for size in sizes)
            raise ShapeError(
                f"unet: x has shape {tuple(shape)}, expected height and width that are multiples of "
                f"{self.multiple}, as the model halves and doubles them; pad or resize the images, "
                f"e.g. to {good}"
            )
        return super().__call__(*inputs, **named)


@checked
def unet(in_channels: int = 3, num_classes: int = 2, width: int = 64, depth: int = 4) -> Sequential:
    """U-Net: `depth` levels of downsampling and upsampling, with a skip connection at each level.

    It maps images `(N, in_channels, H, W)` to scores `(N, num_classes, H, W)`. H and W must be multiples of
    `2**depth`; other sizes raise a `ShapeError`. The model is nested: a level has its own convolutions and a
    skip connection around all deeper levels.

    Example:
        >>> import numpy as np
        >>> from xpconv.models import unet
        >>> unet(num_classes=3, width=4, depth=2)(np.zeros((1, 3, 16, 16), "float32")).shape
        (1, 3, 16, 16)
    """
    if depth > 16:
        raise ValueError(f"unet: depth is {depth}, expected at most 16: images of {2**16} pixels a side")
    below: Layer = _convs(width * 2 ** (depth - 1), width * 2**depth)
    for level in reversed(range(depth)):
        here = width * 2**level
        before = in_channels if level == 0 else here // 2
        inner = Sequential(
            {"pool": MaxPool2d(2), "below": below, "up": ConvTranspose2d(2 * here, here, 2, stride=2)}
        )
        below = Sequential(
            {
                "down": _convs(before, here),
                "across": Concat({"skip": Identity(), "inner": inner}),
                "merge": _convs(2 * here, here),
            }
        )
    return UNet({"levels": below, "head": Conv2d(width, num_classes, 1)}, multiple=2**depth)
