"""LeNet-5 (LeCun et al., 1998), with ReLU and max pooling as usual today."""

from __future__ import annotations

from ..layers import Conv2d, Dense, Flatten, MaxPool2d, ReLU, Sequential
from ._common import checked

__all__ = ["lenet5"]


@checked
def lenet5(num_classes: int = 10, in_channels: int = 1) -> Sequential:
    """Two convolutions and three dense layers, for images of 28×28.

    Example:
        >>> from xpconv.models import lenet5
        >>> sum(p.size for p in lenet5().parameters())
        61706
    """
    return Sequential(
        Conv2d(in_channels, 6, 5, padding=2), ReLU(), MaxPool2d(2),
        Conv2d(6, 16, 5), ReLU(), MaxPool2d(2),
        Flatten(), Dense(400, 120), ReLU(), Dense(120, 84), ReLU(), Dense(84, num_classes),
    )  # fmt: skip
