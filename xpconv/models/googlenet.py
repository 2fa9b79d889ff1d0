"""GoogLeNet (Szegedy et al., 2015), as torchvision's: with BatchNorm, without the auxiliary classifiers.

torchvision's published weights have those, so they load with `strict=False`; they expect images in -1…1
(torchvision's `transform_input`), not normalised by ImageNet's mean and deviation.
"""

from __future__ import annotations

from .. import init
from ..layers import (
    AdaptiveAvgPool2d,
    BatchNorm2d,
    Concat,
    Conv2d,
    Dense,
    Dropout,
    Flatten,
    MaxPool2d,
    ReLU,
    Sequential,
)
from ._common import checked

__all__ = ["googlenet"]


def _conv(channels: int, out: int, kernel: int, stride: int = 1) -> Sequential:
    conv = Conv2d(channels, out, kernel, stride, padding=kernel // 2, bias=False)
    return Sequential({"conv": conv, "bn": BatchNorm2d(out, eps=0.001), "relu": ReLU()})


def _inception(channels: int, b1: int, b2: tuple[int, int], b3: tuple[int, int], b4: int) -> Concat:
    """Four branches, concatenated: 1×1; 1×1 then 3×3, twice; pooled then 1×1."""
    return Concat(
        {
            "branch1": _conv(channels, b1, 1),
            "branch2": Sequential(_conv(channels, b2[0], 1), _conv(*b2, 3)),
            "branch3": Sequential(_conv(channels, b3[0], 1), _conv(*b3, 3)),
            "branch4": Sequential(MaxPool2d(3, stride=1, padding=1), _conv(channels, b4, 1)),
        }
    )


@checked
def googlenet(num_classes: int = 1000, dropout: float = 0.2) -> Sequential:
    """9 inception blocks, for images of 224×224 (15 at least).

    Example:
        >>> from xpconv.models import googlenet
        >>> sum(p.size for p in googlenet().parameters())
        6624904
    """
    model = Sequential(
        {
            "conv1": _conv(3, 64, 7, stride=2),
            "maxpool1": MaxPool2d(3, stride=2, ceil_mode=True),
            "conv2": _conv(64, 64, 1),
            "conv3": _conv(64, 192, 3),
            "maxpool2": MaxPool2d(3, stride=2, ceil_mode=True),
            "inception3a": _inception(192, 64, (96, 128), (16, 32), 32),
            "inception3b": _inception(256, 128, (128, 192), (32, 96), 64),
            "maxpool3": MaxPool2d(3, stride=2, ceil_mode=True),
            "inception4a": _inception(480, 192, (96, 208), (16, 48), 64),
            "inception4b": _inception(512, 160, (112, 224), (24, 64), 64),
            "inception4c": _inception(512, 128, (128, 256), (24, 64), 64),
            "inception4d": _inception(512, 112, (144, 288), (32, 64), 64),
            "inception4e": _inception(528, 256, (160, 320), (32, 128), 128),
            "maxpool4": MaxPool2d(2, ceil_mode=True),
            "inception5a": _inception(832, 256, (160, 320), (32, 128), 128),
            "inception5b": _inception(832, 384, (192, 384), (48, 128), 128),
            "avgpool": AdaptiveAvgPool2d(1),
            "flatten": Flatten(),
            "dropout": Dropout(dropout),
            "fc": Dense(1024, num_classes),
        }
    )
    for _, layer in model.named_layers():
        if isinstance(layer, Conv2d | Dense):
            init.normal_(layer.weight, 0, 0.01)
    return model
