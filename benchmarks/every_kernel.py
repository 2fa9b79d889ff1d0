"""Layers, a loss and optimizers that together launch every CUDA kernel there is."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Any

import numpy as np

from xpconv.kernels.cupy import launch
from xpconv.layers.operators import HardSigmoid


def there() -> set[str]:
    """The names of all kernels in the sources."""
    sources = Path(launch.__file__).parent.glob("*.cu")
    return {name for f in sources for name in re.findall(r"__global__ void (\w+)\(", f.read_text())}


def watch() -> set[str]:
    """A set to which the name of each kernel is added when it is launched, from now on."""
    launched: set[str] = set()
    find = launch._kernel

    def found(xp: Any, file: str, dtype: str, wide: bool, name: str, *others: Any) -> Any:
        launched.add(name)
        return find(xp, file, dtype, wide, name, *others)

    launch._kernel = found  # type: ignore[assignment]
    return launched


def layers(x: Any) -> list[tuple[Any, tuple[int, ...]]]:
    """Layers, each with the shape of an input; `x` is the package xpconv."""
    return [
        (x.Conv2d(3, 5, 3, 2, 1, rng=0), (2, 3, 9, 8)),
        (x.Conv2d(4, 6, 1, groups=2, rng=0), (2, 4, 5, 5)),
        (x.Conv3d(2, 3, 2, dilation=2, rng=0), (2, 2, 5, 5, 5)),
        (x.ConvTranspose2d(3, 2, 3, 2, rng=0), (2, 3, 5, 4)),
        (x.Conv2d(4, 8, 3, padding=1, groups=4, rng=0), (2, 4, 7, 6)),
        (x.BatchNorm2d(3), (4, 3, 7, 7)),
        (x.BatchNorm2d(3, momentum=None), (4, 3, 5, 5)),
        (x.BatchNorm2d(67), (3, 67, 40, 40)),
        (x.BatchNorm2d(8), (4, 8, 7, 7)),
        (x.Conv2d(8, 8, 3, padding=1, groups=8, rng=0), (2, 8, 7, 6)),
        (x.MaxPool2d(3, 2, 1), (2, 3, 9, 9)),
        (x.MaxPool2d(3, 2, 1), (2, 8, 9, 9)),
        (x.MaxPool2d(16), (2, 8, 32, 32)),
        (x.AvgPool2d(2), (2, 8, 9, 9)),
        (x.MaxPool2d(16), (2, 3, 32, 32)),
        (x.AvgPool2d(2), (2, 3, 9, 9)),
        (x.AdaptiveAvgPool2d(3), (2, 3, 9, 7)),
        (x.ReLU(), (3, 1001)),
        (x.ReLU6(), (2, 3, 5, 5)),
        (x.GELU(), (2, 9)),
        (x.GELU("tanh"), (2, 9)),
        *((make(), (3, 7)) for make in (x.Sigmoid, x.LogSigmoid, x.Softplus, x.SiLU, x.Mish, x.Tanh)),
        *((make(), (3, 7)) for make in (x.LeakyReLU, x.ELU, x.Hardsigmoid, x.Hardswish)),
        (HardSigmoid(0.3), (3, 7)),
        (x.AdaptiveMaxPool2d(3), (2, 3, 9, 7)),
        (x.AdaptiveAvgPool2d(1), (2, 3, 9, 7)),
        (x.SqueezeExcitation(6, 2, rng=0), (2, 6, 30, 30)),
        (x.DropPath(0.5), (4, 3, 5, 5)),
        (x.LocalResponseNorm(3), (2, 5, 4, 3)),
        (x.LayerNorm(5), (3, 5)),
        (x.Softmax(1), (3, 5, 4)),
        (x.LogSoftmax(-1), (3, 3000)),
        (x.LayerNorm((3, 30, 30)), (2, 3, 30, 30)),
        (x.RMSNorm(5), (700, 5)),
        (x.GroupNorm(2, 6), (2, 6, 5, 4)),
        (x.GroupNorm(1, 4), (1, 4, 30, 40)),
        (x.InstanceNorm2d(3, affine=True), (2, 3, 9, 8)),
        (x.InstanceNorm2d(3, track_running_stats=True), (2, 3, 9, 8)),
        (x.Dropout(0.5), (5, 7)),
        (x.Dense(33, 10, rng=0), (4, 33)),
        (x.Residual(x.Conv2d(3, 3, 3, padding=1, rng=0)), (2, 3, 6, 6)),
        (x.Sequential(x.Residual(x.Conv2d(4, 4, 3, padding=1, rng=0)), x.ReLU()), (2, 4, 6, 6)),
        (x.Sequential(x.BatchNorm2d(8), x.ReLU()), (4, 8, 7, 7)),
        (x.Sequential(x.BatchNorm2d(3), x.ReLU6()), (4, 3, 7, 7)),
        (x.InstanceNorm2d(3, track_running_stats=True), (2, 3, 9, 8)),
    ]


def run(xpconv: Any, dtype: str) -> None:
    """Run all layers, the loss and the optimizers on the active backend."""
    rng = np.random.default_rng(0)
    for layer, shape in layers(xpconv):
        layer.to(dtype=dtype)
        layer.backward(layer(xpconv.asarray(rng.normal(size=shape), dtype=dtype)))
    criterion = xpconv.SoftmaxCrossEntropyLoss()
    for one in (
        xpconv.BCELoss(),
        xpconv.BCEWithLogitsLoss(),
        xpconv.SmoothL1Loss(),
        xpconv.HuberLoss(),
        xpconv.KLDivLoss(reduction="sum"),
    ):
        for count in (7, 11000):
            scores = xpconv.asarray(rng.uniform(size=(count, 3)), dtype=dtype)
            one(scores, scores)
            one.backward(1.0)
    for one, count in (
        (xpconv.SoftmaxCrossEntropyLoss(), 700),
        (xpconv.SoftmaxCrossEntropyLoss(label_smoothing=0.1), 7),
    ):
        one(xpconv.asarray(rng.normal(size=(count, 5)), dtype=dtype), xpconv.asarray(np.arange(count) % 5))
        one.backward()
    momentum = functools.partial(xpconv.SGD, lr=0.1, momentum=0.9)
    others = [
        xpconv.Adam,
        xpconv.AdamW,
        xpconv.NAdam,
        xpconv.RAdam,
        xpconv.RMSprop,
        xpconv.Adagrad,
        xpconv.Adadelta,
        xpconv.Adamax,
        xpconv.Lion,
        xpconv.LARS,
        xpconv.LAMB,
    ]
    for make in [momentum, *others]:
        model = xpconv.Dense(7, 5, dtype=dtype, rng=0)
        xpconv.ExponentialMovingAverage(model).update()
        optimizer = make(model.parameters())
        scaler = xpconv.GradScaler() if dtype == "float16" else None
        for _ in range(2):
            x = xpconv.asarray(rng.normal(size=(6, 7)), dtype=dtype)
            criterion(model(x), xpconv.asarray(np.arange(6) % 5))
            optimizer.zero_grad()
            model.backward(criterion.backward(scaler.scale) if scaler else criterion.backward())
            if scaler:
                scaler.step(optimizer)
                scaler.update()
            else:
                optimizer.step()
