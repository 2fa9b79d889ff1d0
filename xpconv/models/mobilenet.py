"""MobileNetV2 (Sandler et al., 2018), as torchvision's."""

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
    ReLU6,
    Sequential,
)
from ._common import Block, checked, zero_biases

__all__ = ["mobilenet_v2"]

# expansion, channels, blocks, stride of the first
_STAGES = [
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
]


def _conv(channels: int, out: int, kernel: int, stride: int = 1, groups: int = 1) -> Sequential:
    conv = Conv2d(channels, out, kernel, stride, padding=kernel // 2, groups=groups, bias=False)
    return Sequential(conv, BatchNorm2d(out), ReLU6())


def _inverted_residual(channels: int, out: int, stride: int, expansion: int) -> Layer:
    """Widen by 1×1, filter depthwise, narrow by 1×1 without activation; plus the input if it fits."""
    width = channels * expansion
    body: list[Layer] = [_conv(channels, width, 1)] if expansion != 1 else []
    body += [
        _conv(width, width, 3, stride, groups=width),
        Conv2d(width, out, 1, bias=False),
        BatchNorm2d(out),
    ]
    conv = {"conv": Sequential(body)}
    return Block(conv) if stride == 1 and channels == out else Sequential(conv)


@checked
def mobilenet_v2(num_classes: int = 1000, dropout: float = 0.2) -> Sequential:
    """17 inverted residuals, for images of 224×224 (any size from 32).

    Example:
        >>> from xpconv.models import mobilenet_v2
        >>> sum(p.size for p in mobilenet_v2().parameters())
        3504872
    """
    features: list[Layer] = [_conv(3, 32, 3, stride=2)]
    channels = 32
    for expansion, out, blocks, stride in _STAGES:
        for i in range(blocks):
            features.append(_inverted_residual(channels, out, stride if i == 0 else 1, expansion))
            channels = out
    features.append(_conv(channels, 1280, 1))
    last = Dense(1280, num_classes)
    init.normal_(last.weight, 0, 0.01)
    for _, layer in Sequential(features).named_layers():
        if isinstance(layer, Conv2d):
            init.kaiming_normal_(layer.weight, mode="fan_out")
    model = Sequential(
        {
            "features": Sequential(features),
            "avgpool": AdaptiveAvgPool2d(1),
            "flatten": Flatten(),
            "classifier": Sequential(Dropout(dropout), last),
        }
    )
    zero_biases(model)
    return model
