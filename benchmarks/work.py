"""What is measured: networks and single convolutions, in xpconv and in PyTorch with the same weights."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from networks import MODELS, twin, vgg_like
from torch import nn

import xpconv
from xpconv import Conv2d, Layer

DEVICE = "cpu"  # of PyTorch's side; xpconv's is the active backend
FORMATS = {"PyTorch": torch.contiguous_format, "PyTorch channels-last": torch.channels_last}


class Contender(NamedTuple):
    """`run` is timed; `output` is what it computes, to check that all compute the same."""

    run: Callable[[], Any]
    output: Callable[[], np.ndarray]


class Workload(NamedTuple):
    """One row of a section; `size` is what grows in a scaling section."""

    section: str
    name: str
    measure: str
    contenders: dict[str, Callable[[], Contender]]
    size: int = 0


# --- contenders --------------------------------------------------------------------------------------------


def make_model(make: Callable[[], Layer]) -> Layer:
    """A model with the same initial weights at every call."""
    xpconv.manual_seed(0)
    return make()


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    """Random numbers in float32."""
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def labels(count: int) -> np.ndarray:
    """Random labels of ten classes."""
    return np.random.default_rng(1).integers(0, 10, count)


def to_torch(x: np.ndarray, memory_format: torch.memory_format) -> torch.Tensor:
    """The array as a tensor on PyTorch's device, in a memory format."""
    return torch.from_numpy(x).to(DEVICE).contiguous(memory_format=memory_format)


def prepare_inference(model: Layer) -> Layer:
    """The model as a user prepares it for inference."""
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
    """The same in PyTorch. `fused` is an option of its Adam that is off by default."""
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
    """The same in PyTorch, in inference mode."""
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
    """The same in PyTorch."""
    layer = twin(make_model(make)).to(DEVICE, memory_format=memory_format)
    x = to_torch(normal(*shape), memory_format).requires_grad_(backward)

    def forward() -> torch.Tensor:
        with torch.inference_mode():
            return layer(x)

    grad = to_torch(normal(*forward().shape, seed=2), memory_format) if backward else None
    inputs = [x, *layer.parameters()]

    def both() -> torch.Tensor:
        return torch.autograd.grad(layer(x), inputs, grad)[0]

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


def works(fused: bool = False) -> Iterator[Workload]:
    """All workloads. `fused` is for PyTorch's Adam."""

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

    def model(section: str, name: str, batch: int) -> Workload:
        make, shape = MODELS[name]
        kind = section if section.endswith("inference") else "training"
        return Workload(section, f"{name}, batch {batch}", "", contenders(kind, make, (batch, *shape)), batch)

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
            yield Workload("convolutions", f"{name}, batch {batch}", measure, {**theirs, **ours})

    for name in ("LeNet-5", "MNIST example", "VGG-like 32×32"):
        yield model("threads", name, 64)
    for name in ("LeNet-5", "MNIST example"):
        for batch in (1, 8, 64, 512):
            yield model("batch size", name, batch)
    for size in (16, 32, 64, 128):
        stack = contenders("training", functools.partial(vgg_like, size), (8, 3, size, size))
        yield Workload("image size", f"VGG-like, batch 8, {size}×{size}", "", stack, size * size)
