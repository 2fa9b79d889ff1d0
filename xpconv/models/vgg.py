"""VGG (Simonyan and Zisserman, 2015), as torchvision's."""

from __future__ import annotations

from .. import init
from ..layers import (
    AdaptiveAvgPool2d,
    BatchNorm2d,
    Conv2d,
    Dense,
    Dropout,
    Flatten,
    Layer,
    MaxPool2d,
    ReLU,
    Sequential,
)
from ._common import checked, zero_biases

__all__ = ["vgg11", "vgg11_bn", "vgg13", "vgg13_bn", "vgg16", "vgg16_bn", "vgg19", "vgg19_bn"]

_CONVS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}  # a stage
_WIDTHS = (64, 128, 256, 512, 512)


def _vgg(depth: int, batch_norm: bool, num_classes: int, dropout: float) -> Sequential:
    layers: list[Layer] = []
    channels = 3
    for convs, width in zip(_CONVS[depth], _WIDTHS, strict=True):
        for _ in range(convs):
            layers += [
                Conv2d(channels, width, 3, padding=1),
                *([BatchNorm2d(width)] if batch_norm else []),
                ReLU(),
            ]
            channels = width
        layers.append(MaxPool2d(2))
    classifier = Sequential(
        Dense(512 * 49, 4096), ReLU(), Dropout(dropout),
        Dense(4096, 4096), ReLU(), Dropout(dropout), Dense(4096, num_classes),
    )  # fmt: skip
    for layer in layers:
        if isinstance(layer, Conv2d):
            init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    for layer in classifier:
        if isinstance(layer, Dense):
            init.normal_(layer.weight, 0, 0.01)
    model = Sequential(
        {
            "features": Sequential(layers),
            "avgpool": AdaptiveAvgPool2d(7),
            "flatten": Flatten(),
            "classifier": classifier,
        }
    )
    zero_biases(model)
    return model


@checked
def vgg11(num_classes: int = 1000, dropout: float = 0.5) -> Sequential:
    """8 convolutions and 3 dense layers, for images of 224×224 (32 at least)."""
    return _vgg(11, False, num_classes, dropout)


@checked
def vgg11_bn(num_classes: int = 1000, dropout: float = 0.5) -> Sequential:
    """`vgg11` with BatchNorm after each convolution."""
    return _vgg(11, True, num_classes, dropout)


@checked
def vgg13(num_classes: int = 1000, dropout: float = 0.5) -> Sequential:
    """10 convolutions and 3 dense layers, for images of 224×224 (32 at least)."""
    return _vgg(13, False, num_classes, dropout)


@checked
def vgg13_bn(num_classes: int = 1000, dropout: float = 0.5) -> Sequential:
    """`vgg13` with BatchNorm after each convolution."""
    return _vgg(13, True, num_classes, dropout)


@checked
def vgg16(num_classes: int = 1000, dropout: float = 0.5) -> Sequential:
    """13 convolutions and 3 dense layers, for images of 224×224 (32 at least)."""
    return _vgg(16, False, num_classes, dropout)


@checked
def vgg16_bn(num_classes: int = 1000, dropout: float = 0.5) -> Sequential:
    """`vgg16` with BatchNorm after each convolution."""
    return _vgg(16, True, num_classes, dropout)


@checked
def vgg19(num_classes: int = 1000, dropout: float = 0.5) -> Sequential:
    """16 convolutions and 3 dense layers, for images of 224×224 (32 at least)."""
    return _vgg(19, False, num_classes, dropout)


@checked
def vgg19_bn(num_classes: int = 1000, dropout: float = 0.5) -> Sequential:
    """`vgg19` with BatchNorm after each convolution."""
    return _vgg(19, True, num_classes, dropout)
