"""ResNet (He et al., 2016), as torchvision's: strides on the 3×3 convolutions (v1.5)."""

from __future__ import annotations

from .. import init
from ..layers import (
    AdaptiveAvgPool2d,
    BatchNorm2d,
    Conv2d,
    Dense,
    Flatten,
    Layer,
    MaxPool2d,
    ReLU,
    Sequential,
)
from ._common import Block, checked

__all__ = ["resnet18", "resnet34", "resnet50", "resnet101", "resnet152"]


def _block(channels: int, width: int, stride: int, bottleneck: bool) -> Sequential:
    """Two 3×3 convolutions, or 1×1, 3×3 and 1×1 with four times the channels at the end, plus the input."""
    out = 4 * width if bottleneck else width
    kernels = [1, 3, 1] if bottleneck else [3, 3]
    widths = [channels, *[width] * (len(kernels) - 1), out]
    body: dict[str, Layer] = {}
    for i, kernel in enumerate(kernels, start=1):
        s = stride if i == (2 if bottleneck else 1) else 1  # on the first 3×3
        body[f"conv{i}"] = Conv2d(widths[i - 1], widths[i], kernel, stride=s, padding=kernel // 2, bias=False)
        body[f"bn{i}"] = BatchNorm2d(widths[i])
        if i < len(kernels):
            body[f"relu{i}"] = ReLU()
    shortcut = None
    if stride != 1 or channels != out:
        shortcut = Sequential(Conv2d(channels, out, 1, stride=stride, bias=False), BatchNorm2d(out))
    return Sequential({"": Block(body, shortcut=shortcut), "relu": ReLU()})


def _resnet(blocks: tuple[int, ...], bottleneck: bool, num_classes: int) -> Sequential:
    model = Sequential(
        {
            "conv1": Conv2d(3, 64, 7, stride=2, padding=3, bias=False),
            "bn1": BatchNorm2d(64),
            "relu": ReLU(),
            "maxpool": MaxPool2d(3, stride=2, padding=1),
        }
    )
    channels = 64
    for stage, count in enumerate(blocks):
        width = 64 * 2**stage
        layers = []
        for i in range(count):
            layers.append(_block(channels, width, 2 if stage and not i else 1, bottleneck))
            channels = 4 * width if bottleneck else width
        model[f"layer{stage + 1}"] = Sequential(layers)
    model["avgpool"] = AdaptiveAvgPool2d(1)
    model["flatten"] = Flatten()
    model["fc"] = Dense(channels, num_classes)
    for _, layer in model.named_layers():
        if isinstance(layer, Conv2d):
            init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return model


@checked
def resnet18(num_classes: int = 1000) -> Sequential:
    """8 blocks of two 3×3 convolutions, for images of 224×224 (any size from 32).

    Example:
        >>> import numpy as np
        >>> from xpconv.models import resnet18
        >>> resnet18(num_classes=10)(np.zeros((2, 3, 32, 32), "float32")).shape
        (2, 10)
    """
    return _resnet((2, 2, 2, 2), False, num_classes)


@checked
def resnet34(num_classes: int = 1000) -> Sequential:
    """16 blocks of two 3×3 convolutions."""
    return _resnet((3, 4, 6, 3), False, num_classes)


@checked
def resnet50(num_classes: int = 1000) -> Sequential:
    """16 bottleneck blocks."""
    return _resnet((3, 4, 6, 3), True, num_classes)


@checked
def resnet101(num_classes: int = 1000) -> Sequential:
    """33 bottleneck blocks."""
    return _resnet((3, 4, 23, 3), True, num_classes)


@checked
def resnet152(num_classes: int = 1000) -> Sequential:
    """50 bottleneck blocks."""
    return _resnet((3, 8, 36, 3), True, num_classes)
