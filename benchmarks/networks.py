"""The networks that are measured, and PyTorch's twin of a network, with the same weights."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

import xpconv
from xpconv import (
    GELU,
    AdaptiveAvgPool2d,
    BatchNorm2d,
    Conv2d,
    Dense,
    Dropout,
    DropPath,
    Flatten,
    Layer,
    LayerNorm,
    MaxPool2d,
    ReLU,
    ReLU6,
    Residual,
    Sequential,
    Sigmoid,
    SiLU,
    SqueezeExcitation,
)
from xpconv.models import convnext, lenet5, mobilenet_v2, resnet18


def mnist_cnn() -> Layer:
    """PyTorch's MNIST example."""
    return Sequential(
        Conv2d(1, 32, 3), ReLU(), Conv2d(32, 64, 3), ReLU(), MaxPool2d(2), Dropout(0.25),
        Flatten(), Dense(64 * 12 * 12, 128), ReLU(), Dropout(0.5), Dense(128, 10),
    )  # fmt: skip


def vgg_like(size: int = 32) -> Layer:
    """Three stages of two 3×3 convolutions, 64 to 256 channels, with BatchNorm."""
    layers: list[Layer] = []
    channels = 3
    for width in (64, 128, 256):
        for _ in range(2):
            layers += [Conv2d(channels, width, 3, padding=1, bias=False), BatchNorm2d(width), ReLU()]
            channels = width
        layers.append(MaxPool2d(2))
    return Sequential(*layers, Flatten(), Dense(channels * (size // 8) ** 2, 10))


def resnet20() -> Layer:
    """As `xpconv.models.resnet20`, which older checkouts lack that `compare.py` measures."""

    def conv(channels: int, out: int, kernel: int, stride: int = 1) -> list[Layer]:
        return [Conv2d(channels, out, kernel, stride, padding=kernel // 2, bias=False), BatchNorm2d(out)]

    layers, channels = [*conv(3, 16, 3), ReLU()], 16
    for width in (16, 32, 64):
        for _ in range(3):
            stride = 1 if width == channels else 2
            shortcut = None if stride == 1 else Sequential(conv(channels, width, 1, stride))
            body = [*conv(channels, width, 3, stride), ReLU(), *conv(width, width, 3)]
            layers += [Residual(body, shortcut=shortcut), ReLU()]
            channels = width
    return Sequential(*layers, AdaptiveAvgPool2d(1), Flatten(), Dense(64, 10))


def large_kernels() -> Layer:
    """Two convolutions with kernels of 31×31, as RepLKNet's are (Ding et al., 2022), but not depthwise."""
    return Sequential(
        Conv2d(3, 8, 31, padding=15), ReLU(), Conv2d(8, 8, 31, padding=15), ReLU(),
        AdaptiveAvgPool2d(1), Flatten(), Dense(8, 10),
    )  # fmt: skip


MODELS: dict[str, tuple[Callable[[], Layer], tuple[int, int, int]]] = {
    "LeNet-5": (lenet5, (1, 28, 28)),
    "MNIST example": (mnist_cnn, (1, 28, 28)),
    "VGG-like 32×32": (vgg_like, (3, 32, 32)),
    "ResNet-20": (resnet20, (3, 32, 32)),
    "MobileNetV2 96×96": (functools.partial(mobilenet_v2, num_classes=10), (3, 96, 96)),
    "ResNet-18 224×224": (resnet18, (3, 224, 224)),
    "Large kernels 64×64": (large_kernels, (3, 64, 64)),
}


class TorchResidual(nn.Module):
    """`xpconv.Residual`."""

    def __init__(self, body: nn.Module, shortcut: nn.Module | None) -> None:
        super().__init__()
        self.body, self.shortcut = body, shortcut

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x) + (x if self.shortcut is None else self.shortcut(x))


class TorchPermute(nn.Module):
    """A permutation of the axes."""

    def __init__(self, axes: tuple[int, ...]) -> None:
        super().__init__()
        self.axes = axes

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.permute(self.axes)


class TorchScale(nn.Module):
    """ConvNeXt's layer scale."""

    def __init__(self, values: torch.Tensor) -> None:
        super().__init__()
        self.layer_scale = nn.Parameter(values)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.layer_scale


class TorchDropPath(nn.Module):
    """`xpconv.DropPath`."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training or self.p == 0:
            return x
        mask = torch.empty((len(x),) + (1,) * (x.ndim - 1), dtype=x.dtype, device=x.device)
        return x * mask.bernoulli_(1 - self.p).div_(1 - self.p)


class TorchSqueezeExcitation(nn.Module):
    """`xpconv.SqueezeExcitation`."""

    def __init__(self, path: nn.Sequential) -> None:
        super().__init__()
        self.path = path

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.path(x.mean((2, 3), keepdim=True))


def leaf(layer: Layer) -> nn.Module | None:
    """PyTorch's module for a layer without weights to be copied by name; None for others."""
    if isinstance(layer, SiLU):
        return nn.SiLU(inplace=True)
    if isinstance(layer, GELU):
        return nn.GELU(layer.approximate)
    if isinstance(layer, Sigmoid):
        return nn.Sigmoid()
    if isinstance(layer, DropPath):
        return TorchDropPath(layer.p)
    if isinstance(layer, convnext._Permute):
        return TorchPermute(layer.axes)
    if isinstance(layer, convnext._LayerScale):
        return TorchScale(torch.from_numpy(xpconv.asnumpy(layer.layer_scale.data).copy()))
    if isinstance(layer, SqueezeExcitation):
        return TorchSqueezeExcitation(nn.Sequential(*map(twin, layer._path())))
    return None


def twin(layer: Layer) -> nn.Module:
    """PyTorch's module for a layer, with its weights; activations in place, as torchvision has them."""
    if isinstance(layer, Sequential):
        return nn.Sequential(*map(twin, layer))
    if isinstance(layer, Residual):
        return TorchResidual(twin(layer.body), layer.shortcut and twin(layer.shortcut))
    if isinstance(layer, ReLU6):
        return nn.ReLU6(inplace=True)
    if isinstance(layer, ReLU):
        return nn.ReLU(inplace=True)
    if isinstance(layer, Flatten):
        return nn.Flatten()
    if isinstance(layer, Dropout):
        return nn.Dropout(layer.p)
    if isinstance(layer, AdaptiveAvgPool2d):
        return nn.AdaptiveAvgPool2d(layer.output_size)
    if isinstance(layer, MaxPool2d):
        return nn.MaxPool2d(layer.kernel_size, layer.stride, layer.padding, layer.dilation)
    module = leaf(layer)
    if module is not None:
        return module
    bias = getattr(layer, "bias", None) is not None
    if isinstance(layer, Conv2d):
        module = nn.Conv2d(
            layer.in_channels, layer.out_channels, layer.kernel_size, layer.stride, layer.padding,
            layer.dilation, layer.groups, bias,
        )  # fmt: skip
    elif isinstance(layer, BatchNorm2d):
        module = nn.BatchNorm2d(layer.num_features, layer.eps, layer.momentum)
    elif isinstance(layer, LayerNorm):
        module = nn.LayerNorm(layer.normalized_shape, layer.eps)
    elif isinstance(layer, Dense):
        module = nn.Linear(layer.in_features, layer.out_features, bias)
    else:
        raise TypeError(f"no twin of {layer!r}: add it to benchmarks/networks.py")
    arrays = {name: xpconv.asnumpy(array) for name, array in layer.state_dict().items()}
    module.load_state_dict({name: torch.from_numpy(np.asarray(a)) for name, a in arrays.items()})
    return module
