"""ResNet (He et al., 2016), as torchvision's: strides on the 3×3 convolutions (v1.5). ResNet-20 for CIFAR."""

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

__all__ = ["resnet18", "resnet20", "resnet34", "resnet50", "resnet101", "resnet152"]


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


def _resnet(blocks: tuple[int, ...], bottleneck: bool, num_classes: int, small: bool = False) -> Sequential:
    """Stages of `blocks`, each of twice the width of the one before; `small` for images of 32×32."""
    channels = first = 16 if small else 64
    kernel, stride = (3, 1) if small else (7, 2)
    stem = Conv2d(3, channels, kernel, stride=stride, padding=kernel // 2, bias=False)
    model = Sequential({"conv1": stem, "bn1": BatchNorm2d(channels), "relu": ReLU()})
    if not small:
        model["maxpool"] = MaxPool2d(3, stride=2, padding=1)
    for stage, count in enumerate(blocks):
        width = first * 2**stage
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
def resnet20(num_classes: int = 10) -> Sequential:
    """The small one for CIFAR (section 4.2 of the paper): 9 blocks of two 3×3 convolutions, images of 32×32.

    It has 16, 32 and 64 channels, and no pooling before the first block. Where the size changes, the shortcut
    is a 1×1 convolution with BatchNorm, as in the larger models: the paper's option B, with 0.272 M
    parameters. Option A, which the paper used for CIFAR, pads with zeros and has 0.270 M.

    Example:
        >>> import numpy as np
        >>> from xpconv.models import resnet20
        >>> model = resnet20()
        >>> model(np.zeros((2, 3, 32, 32), "float32")).shape
        (2, 10)
        >>> sum(p.size for p in model.parameters())
        272474
    """
    return _resnet((3, 3, 3), False, num_classes, small=True)


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
