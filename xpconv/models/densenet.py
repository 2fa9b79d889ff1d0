"""DenseNet (Huang et al., 2017), as torchvision's."""

from __future__ import annotations

from .. import init
from ..layers import (
    AdaptiveAvgPool2d,
    AvgPool2d,
    BatchNorm2d,
    Concat,
    Conv2d,
    Dense,
    Flatten,
    Identity,
    MaxPool2d,
    ReLU,
    Sequential,
)
from ._common import checked, zero_biases

__all__ = ["densenet121"]

GROWTH, BOTTLENECK = 32, 128


def _dense_layer(channels: int) -> Concat:
    """Compute 32 channels from all previous ones, and append them."""
    new = Sequential(
        {
            "norm1": BatchNorm2d(channels),
            "relu1": ReLU(),
            "conv1": Conv2d(channels, BOTTLENECK, 1, bias=False),
            "norm2": BatchNorm2d(BOTTLENECK),
            "relu2": ReLU(),
            "conv2": Conv2d(BOTTLENECK, GROWTH, 3, padding=1, bias=False),
        }
    )
    return Concat({"input": Identity(), "": new})


@checked
def densenet121(num_classes: int = 1000) -> Sequential:
    """Blocks of 6, 12, 24 and 16 dense layers, for images of 224×224 (any size from 32).

    Example:
        >>> from xpconv.models import densenet121
        >>> sum(p.size for p in densenet121().parameters())
        7978856
    """
    features = Sequential(
        {
            "conv0": Conv2d(3, 64, 7, stride=2, padding=3, bias=False),
            "norm0": BatchNorm2d(64),
            "relu0": ReLU(),
            "pool0": MaxPool2d(3, stride=2, padding=1),
        }
    )
    channels = 64
    blocks = (6, 12, 24, 16)
    for i, count in enumerate(blocks, start=1):
        layers = {f"denselayer{j + 1}": _dense_layer(channels + j * GROWTH) for j in range(count)}
        features[f"denseblock{i}"] = Sequential(layers)
        channels += count * GROWTH
        if i < len(blocks):
            features[f"transition{i}"] = Sequential(
                {
                    "norm": BatchNorm2d(channels),
                    "relu": ReLU(),
                    "conv": Conv2d(channels, channels // 2, 1, bias=False),
                    "pool": AvgPool2d(2),
                }
            )
            channels //= 2
    features["norm5"] = BatchNorm2d(channels)
    for _, layer in features.named_layers():
        if isinstance(layer, Conv2d):
            init.kaiming_normal_(layer.weight)
    model = Sequential(
        {
            "features": features,
            "relu": ReLU(),
            "avgpool": AdaptiveAvgPool2d(1),
            "flatten": Flatten(),
            "classifier": Dense(channels, num_classes),
        }
    )
    zero_biases(model)
    return model
