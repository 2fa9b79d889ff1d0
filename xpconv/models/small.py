"""`small_cnn`: a plain CNN for images of any size, to begin with."""

from __future__ import annotations

from ..layers import (
    BatchNorm2d,
    Conv2d,
    Dense,
    Dropout,
    Flatten,
    GlobalAvgPool2d,
    Layer,
    MaxPool2d,
    ReLU,
    Sequential,
)
from ._common import checked

__all__ = ["small_cnn"]

SMALLEST = 6  # the shortest side of an image that is still halved


@checked
def small_cnn(
    num_classes: int = 10, in_channels: int = 3, size: int = 32, width: int = 32, dropout: float = 0.2
) -> Sequential:
    """Two to five stages of a 3×3 convolution, BatchNorm, ReLU and MaxPool; then the mean and a dense layer.

    Channels double from stage to stage, from `width` to `8 · width` at most. There are as many stages as it
    takes to make the image smaller than 6 pixels. Its first convolution has stride 2 if it has 64 or more.

    Args:
        num_classes: the number of scores.
        in_channels: channels of the images.
        size: the shorter side of the images. The model takes other sizes too.
        width: channels of the first stage.
        dropout: probability of dropout before the dense layer.

    Example:
        >>> import numpy as np
        >>> from xpconv.models import small_cnn
        >>> model = small_cnn(num_classes=10, in_channels=1, size=28)
        >>> model(np.zeros((2, 1, 28, 28), "float32")).shape, sum(p.size for p in model.parameters())
        ((2, 10), 94186)
    """
    layers: list[Layer] = []
    stride = 2 if size >= 64 else 1
    size, channels, out = size // stride, in_channels, width
    for stage in range(5):
        if stage >= 2 and size < SMALLEST:
            break
        layers += [Conv2d(channels, out, 3, stride, padding=1, bias=False), BatchNorm2d(out), ReLU()]
        if size >= SMALLEST:
            layers.append(MaxPool2d(2))
            size //= 2
        channels, out, stride = out, min(2 * out, 8 * width), 1
    return Sequential(*layers, GlobalAvgPool2d(), Flatten(), Dropout(dropout), Dense(channels, num_classes))
