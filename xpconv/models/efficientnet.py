"""EfficientNet-B0 (Tan and Le, 2019), as torchvision's."""

from __future__ import annotations

import math

from .. import init
from ..layers import (
    AdaptiveAvgPool2d,
    BatchNorm2d,
    Conv2d,
    Dense,
    Dropout,
    DropPath,
    Flatten,
    Layer,
    Sequential,
    SiLU,
    SqueezeExcitation,
)
from ._common import Block, checked, zero_biases

__all__ = ["efficientnet_b0"]

# expansion, kernel, stride of the first, channels, blocks
_STAGES = [
    (1, 3, 1, 16, 1), (6, 3, 2, 24, 2), (6, 5, 2, 40, 2), (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3), (6, 5, 2, 192, 4), (6, 3, 1, 320, 1),
]  # fmt: skip


def _conv(
    channels: int, out: int, kernel: int, stride: int = 1, groups: int = 1, act: bool = True
) -> Sequential:
    conv = Conv2d(channels, out, kernel, stride, padding=kernel // 2, groups=groups, bias=False)
    return Sequential([conv, BatchNorm2d(out), *([SiLU()] if act else [])])


def _mbconv(channels: int, out: int, kernel: int, stride: int, expansion: int, drop: float) -> Layer:
    """Widen, filter depthwise, weigh the channels, narrow; plus the input if it fits."""
    width = channels * expansion
    block: list[Layer] = [_conv(channels, width, 1)] if expansion != 1 else []
    block += [
        _conv(width, width, kernel, stride, groups=width),
        SqueezeExcitation(width, max(1, channels // 4), activation=SiLU()),
        _conv(width, out, 1, act=False),
    ]
    if stride != 1 or channels != out:
        return Sequential({"block": Sequential(block)})
    return Block({"block": Sequential(block), "stochastic_depth": DropPath(drop)})


@checked
def efficientnet_b0(
    num_classes: int = 1000, dropout: float = 0.2, stochastic_depth: float = 0.2
) -> Sequential:
    """16 inverted residuals with squeeze-and-excitation, for images of 224×224 (any size from 32).

    Example:
        >>> from xpconv.models import efficientnet_b0
        >>> sum(p.size for p in efficientnet_b0().parameters())
        5288548
    """
    features = [_conv(3, 32, 3, stride=2)]
    channels, done, total = 32, 0, sum(blocks for *_, blocks in _STAGES)
    for expansion, kernel, stride, out, blocks in _STAGES:
        stage = []
        for i in range(blocks):
            drop = stochastic_depth * done / total
            stage.append(_mbconv(channels, out, kernel, stride if i == 0 else 1, expansion, drop))
            channels, done = out, done + 1
        features.append(Sequential(stage))
    features.append(_conv(channels, 1280, 1))
    last = Dense(1280, num_classes)
    model = Sequential(
        {
            "features": Sequential(features),
            "avgpool": AdaptiveAvgPool2d(1),
            "flatten": Flatten(),
            "classifier": Sequential(Dropout(dropout), last),
        }
    )
    for _, layer in model.named_layers():
        if isinstance(layer, Conv2d):
            init.kaiming_normal_(layer.weight, mode="fan_out")
    bound = 1 / math.sqrt(num_classes)
    init.uniform_(last.weight, -bound, bound)
    zero_biases(model)
    return model
