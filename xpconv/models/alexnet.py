"""AlexNet (Krizhevsky, 2014: "One weird trick"), as torchvision's."""

from __future__ import annotations

from ..layers import AdaptiveAvgPool2d, Conv2d, Dense, Dropout, Flatten, MaxPool2d, ReLU, Sequential
from ._common import checked

__all__ = ["alexnet"]


@checked
def alexnet(num_classes: int = 1000, dropout: float = 0.5) -> Sequential:
    """Five convolutions and three dense layers, for images of 224×224 (63 at least).

    Example:
        >>> from xpconv.models import alexnet
        >>> alexnet(num_classes=2)[0][0]
        Conv2d(3, 64, kernel_size=11, stride=4, padding=2)
    """
    features = Sequential(
        Conv2d(3, 64, 11, stride=4, padding=2), ReLU(), MaxPool2d(3, stride=2),
        Conv2d(64, 192, 5, padding=2), ReLU(), MaxPool2d(3, stride=2),
        Conv2d(192, 384, 3, padding=1), ReLU(),
        Conv2d(384, 256, 3, padding=1), ReLU(),
        Conv2d(256, 256, 3, padding=1), ReLU(), MaxPool2d(3, stride=2),
    )  # fmt: skip
    classifier = Sequential(
        Dropout(dropout), Dense(256 * 36, 4096), ReLU(),
        Dropout(dropout), Dense(4096, 4096), ReLU(), Dense(4096, num_classes),
    )  # fmt: skip
    return Sequential(
        {
            "features": features,
            "avgpool": AdaptiveAvgPool2d(6),
            "flatten": Flatten(),
            "classifier": classifier,
        }
    )
