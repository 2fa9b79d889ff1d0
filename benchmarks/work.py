"""What is measured: models and single convolutions, each for xpconv and for PyTorch with the same weights."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

import xpconv
from xpconv import (
    AdaptiveAvgPool2d,
    BatchNorm2d,
    Conv2d,
    Dense,
    Dropout,
    Flatten,
    Layer,
    MaxPool2d,
    ReLU,
    ReLU6,
    Residual,
    Sequential,
)
from xpconv.models import lenet5, mobilenet_v2, resnet18

DEVICE = "cpu"  # of PyTorch's side; xpconv's is the active backend
FORMATS = {"PyTorch": torch.contiguous_format, "PyTorch channels-last": torch.channels_last}


class Contender(NamedTuple):
    """`run` is timed; `output` is what it computes, to check that all compute the same."""

    run: Callable[[], Any]
    output: Callable[[], np.ndarray]


class Work(NamedTuple):
    """One row of a section; `size` is what grows in a scaling section."""

    section: str
    name: str
    measure: str
    contenders: dict[str, Callable[[], Contender]]
    size: int = 0


# --- models ----------------------------------------------------------------------------------------------


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
    """For CIFAR (He et al., 2016, section 4.2), with 1×1 convolutions as shortcuts where shapes change."""

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


MODELS: dict[str, tuple[Callable[[], Layer], tuple[int, int, int]]] = {
    "LeNet-5": (lenet5, (1, 28, 28)),
    "MNIST example": (mnist_cnn, (1, 28, 28)),
    "VGG-like 32×32": (vgg_like, (3, 32, 32)),
    "ResNet-20": (resnet20, (3, 32, 32)),
    "MobileNetV2 96×96": (functools.partial(mobilenet_v2, num_classes=10), (3, 96, 96)),
    "ResNet-18 224×224": (resnet18, (3, 224, 224)),
}


# --- PyTorch's side --------------------------------------------------------------------------------------


class TorchResidual(nn.Module):
    """`xpconv.Residual`."""

    def __init__(self, body: nn.Module, shortcut: nn.Module | None) -> None:
        super().__init__()
        self.body, self.shortcut = body, shortcut

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x) + (x if self.shortcut is None else self.shortcut(x))


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
    module: nn.Module
    bias = getattr(layer, "bias", None) is not None
    if isinstance(layer, Conv2d):
        module = nn.Conv2d(
            layer.in_channels, layer.out_channels, layer.kernel_size, layer.stride, layer.padding,
            layer.dilation, layer.groups, bias,
        )  # fmt: skip
    elif isinstance(layer, BatchNorm2d):
        module = nn.BatchNorm2d(layer.num_features, layer.eps, layer.momentum)
    elif isinstance(layer, Dense):
        module = nn.Linear(layer.in_features, layer.out_features, bias)
    else:
        raise TypeError(f"no twin of {layer!r}: add it to benchmarks/work.py")
    arrays = {name: xpconv.asnumpy(array) for name, array in layer.state_dict().items()}
    module.load_state_dict({name: torch.from_numpy(np.asarray(a)) for name, a in arrays.items()})
    return module


def to_torch(x: np.ndarray, memory_format: torch.memory_format) -> torch.Tensor:
    """On the device, in the format."""
    return torch.from_numpy(x).to(DEVICE).contiguous(memory_format=memory_format)


# --- contenders --------------------------------------------------------------------------------------------


def make_model(make: Callable[[], Layer]) -> Layer:
    """The same weights every time."""
    xpconv.manual_seed(0)
    return make()


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    """Float32."""
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def labels(count: int) -> np.ndarray:
    """Ten classes."""
    return np.random.default_rng(1).integers(0, 10, count)


def prepare_inference(model: Layer) -> Layer:
    """All that a user does for inference on xpconv's side."""
    return model.eval().fuse()


def xpconv_training(make: Callable[[], Layer], shape: tuple[int, ...]) -> Contender:
    """Forward, loss, backward and Adam, as in the README."""
    model = make_model(make)
    x, y = xpconv.asarray(normal(*shape)), xpconv.asarray(labels(shape[0]))
    criterion = xpconv.SoftmaxCrossEntropyLoss()
    optimizer = xpconv.Adam(model.parameters(), lr=1e-3)

    def run() -> Any:
        loss = criterion(model(x), y)
        optimizer.zero_grad()
        model.backward(criterion.backward(), input_grad=False)
        optimizer.step()
        return loss

    def output() -> np.ndarray:
        with xpconv.no_grad():
            scores = model.eval()(x)
        model.train()
        return xpconv.asnumpy(scores)

    return Contender(run, output)


def torch_training(
    make: Callable[[], Layer], shape: tuple[int, ...], memory_format: torch.memory_format, fused: bool
) -> Contender:
    """The same. `fused` is an option of PyTorch's Adam that it does not take by itself."""
    model = twin(make_model(make)).to(DEVICE, memory_format=memory_format)
    x, y = to_torch(normal(*shape), memory_format), torch.from_numpy(labels(shape[0])).to(DEVICE)
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=fused or None)

    def run() -> Any:
        loss = criterion(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    def output() -> np.ndarray:
        with torch.inference_mode():
            scores = model.eval()(x)
        model.train()
        return scores.cpu().numpy()

    return Contender(run, output)


def xpconv_inference(make: Callable[[], Layer], shape: tuple[int, ...], fuse: bool = True) -> Contender:
    """Scores under `no_grad`, of the fused model or of the plain one."""
    model, x = make_model(make), xpconv.asarray(normal(*shape))
    model = prepare_inference(model) if fuse else model.eval()

    def run() -> Any:
        with xpconv.no_grad():
            return model(x)

    return Contender(run, lambda: xpconv.asnumpy(run()))


def torch_inference(
    make: Callable[[], Layer], shape: tuple[int, ...], memory_format: torch.memory_format
) -> Contender:
    """The same, in inference mode."""
    model = twin(make_model(make)).to(DEVICE, memory_format=memory_format).eval()
    x = to_torch(normal(*shape), memory_format)

    def run() -> torch.Tensor:
        with torch.inference_mode():
            return model(x)

    return Contender(run, lambda: run().cpu().numpy())


def xpconv_convolution(
    make: Callable[[], Layer], shape: tuple[int, ...], backward: bool, channels_last: bool
) -> Contender:
    """One layer; with `backward`, all three gradients."""

    def image(x: np.ndarray) -> Any:
        xp, x = xpconv.get_xp(), xpconv.asarray(x)
        return xp.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2) if channels_last else x

    layer, x = make_model(make), image(normal(*shape))

    def forward() -> Any:
        with xpconv.no_grad():
            return layer(x)

    grad = image(normal(*forward().shape, seed=2)) if backward else None

    def both() -> Any:
        layer.zero_grad()
        layer(x)
        return layer.backward(grad)

    run = both if backward else forward
    return Contender(run, lambda: xpconv.asnumpy(run()))


def torch_convolution(
    make: Callable[[], Layer], shape: tuple[int, ...], backward: bool, memory_format: torch.memory_format
) -> Contender:
    """The same."""
    layer = twin(make_model(make)).to(DEVICE, memory_format=memory_format)
    x = to_torch(normal(*shape), memory_format).requires_grad_(backward)

    def forward() -> torch.Tensor:
        with torch.inference_mode():
            return layer(x)

    grad = to_torch(normal(*forward().shape, seed=2), memory_format) if backward else None
    wanted = [x, *layer.parameters()]

    def both() -> torch.Tensor:
        return torch.autograd.grad(layer(x), wanted, grad)[0]

    run = both if backward else forward
    return Contender(run, lambda: run().cpu().numpy())


# --- the list ----------------------------------------------------------------------------------------------

# name, batch, size, and the arguments of Conv2d: in, out, kernel, stride, padding, dilation, groups
CONVOLUTIONS: list[tuple[str, int, int, tuple[int, ...]]] = [
    ("5×5 1→6 @28", 64, 28, (1, 6, 5)),
    ("5×5 6→16 @12", 64, 12, (6, 16, 5)),
    ("3×3 64 @32", 64, 32, (64, 64, 3, 1, 1)),
    ("3×3 128 @16", 64, 16, (128, 128, 3, 1, 1)),
    ("3×3 256 @8", 64, 8, (256, 256, 3, 1, 1)),
    ("3×3 64 @56", 8, 56, (64, 64, 3, 1, 1)),
    ("3×3 256 @14", 8, 14, (256, 256, 3, 1, 1)),
    ("3×3 512 @7", 8, 7, (512, 512, 3, 1, 1)),
    ("3×3/2 64→128 @32", 64, 32, (64, 128, 3, 2, 1)),
    ("1×1 256→64 @56", 8, 56, (256, 64, 1)),
    ("7×7/2 3→64 @224", 8, 224, (3, 64, 7, 2, 3)),
    ("depthwise 3×3 96 @56", 8, 56, (96, 96, 3, 1, 1, 1, 96)),
    ("dilated 3×3 64 @32", 64, 32, (64, 64, 3, 1, 2, 2)),
]


def works(fused: bool = False) -> Iterator[Work]:
    """All there is to time."""

    def contenders(kind: str, make: Callable[[], Layer], shape: tuple[int, ...]) -> dict[str, Any]:
        ours, theirs = {
            "training": (xpconv_training, functools.partial(torch_training, fused=fused)),
            "inference": (xpconv_inference, torch_inference),
            "plain inference": (functools.partial(xpconv_inference, fuse=False), torch_inference),
        }[kind]
        all_theirs = {
            label: functools.partial(theirs, make, shape, memory_format=format)
            for label, format in FORMATS.items()
        }
        return {**all_theirs, "xpconv": functools.partial(ours, make, shape)}

    def model(section: str, name: str, batch: int) -> Work:
        make, shape = MODELS[name]
        kind = section if section.endswith("inference") else "training"
        return Work(section, f"{name}, batch {batch}", "", contenders(kind, make, (batch, *shape)), batch)

    steps = [("LeNet-5", 64), ("LeNet-5", 256), ("MNIST example", 64), ("VGG-like 32×32", 64)]
    steps += [("ResNet-20", 64), ("MobileNetV2 96×96", 8)]
    for name, batch in steps:
        yield model("training", name, batch)
    for name in dict.fromkeys(name for name, _ in steps):
        for batch in (1, 64):
            yield model("inference", name, batch)
    yield model("inference", "ResNet-18 224×224", 1)
    for name in MODELS:
        yield model("plain inference", name, 1)

    for name, batch, size, options in CONVOLUTIONS:
        make, shape = functools.partial(Conv2d, *options), (batch, options[0], size, size)
        for measure in ("forward", "forward + backward"):
            both = measure != "forward"
            theirs = {
                label: functools.partial(torch_convolution, make, shape, both, format)
                for label, format in FORMATS.items()
            }
            ours = {
                "xpconv": functools.partial(xpconv_convolution, make, shape, both, False),
                "xpconv channels-last": functools.partial(xpconv_convolution, make, shape, both, True),
            }
            yield Work("convolutions", f"{name}, batch {batch}", measure, {**theirs, **ours})

    for name in ("LeNet-5", "MNIST example", "VGG-like 32×32"):
        yield model("threads", name, 64)
    for name in ("LeNet-5", "MNIST example"):
        for batch in (1, 8, 64, 512):
            yield model("batch size", name, batch)
    for size in (16, 32, 64, 128):
        stack = contenders("training", functools.partial(vgg_like, size), (8, 3, size, size))
        yield Work("image size", f"VGG-like, batch 8, {size}×{size}", "", stack, size * size)
