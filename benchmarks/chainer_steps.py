"""Chainer's training steps; run by `cpu.py --chainer-python` in a Python that has Chainer 7.8 and NumPy 1."""

from __future__ import annotations

import re
import statistics

import chainer
import chainer.functions as F
import chainer.links as L
import measure
import numpy as np


def lenet5() -> chainer.Chain:
    """As `xpconv.models.lenet5`."""
    return chainer.Sequential(
        L.Convolution2D(1, 6, 5, pad=2), F.relu, lambda x: F.max_pooling_2d(x, 2),
        L.Convolution2D(6, 16, 5), F.relu, lambda x: F.max_pooling_2d(x, 2),
        L.Linear(400, 120), F.relu, L.Linear(120, 84), F.relu, L.Linear(84, 10),
    )  # fmt: skip


def mnist_cnn() -> chainer.Chain:
    """As `networks.mnist_cnn`."""
    return chainer.Sequential(
        L.Convolution2D(1, 32, 3), F.relu, L.Convolution2D(32, 64, 3), F.relu,
        lambda x: F.max_pooling_2d(x, 2), lambda x: F.dropout(x, 0.25),
        L.Linear(64 * 12 * 12, 128), F.relu, lambda x: F.dropout(x, 0.5), L.Linear(128, 10),
    )  # fmt: skip


def vgg_like() -> chainer.Chain:
    """As `networks.vgg_like`."""
    layers, channels = [], 3
    for width in (64, 128, 256):
        for _ in range(2):
            layers += [
                L.Convolution2D(channels, width, 3, pad=1, nobias=True),
                L.BatchNormalization(width),
                F.relu,
            ]
            channels = width
        layers.append(lambda x: F.max_pooling_2d(x, 2))
    return chainer.Sequential(*layers, L.Linear(256 * 4 * 4, 10))


def steps(only: str, seconds: float) -> list[tuple[str, float]]:
    """Name, as in the training section, and median seconds of a step."""
    works = [
        ("LeNet-5, batch 64", lenet5, (64, 1, 28, 28)),
        ("LeNet-5, batch 256", lenet5, (256, 1, 28, 28)),
        ("MNIST example, batch 64", mnist_cnn, (64, 1, 28, 28)),
        ("VGG-like 32×32, batch 64", vgg_like, (64, 3, 32, 32)),
    ]
    found = []
    for name, make, shape in works:
        if not re.search(only, f"training: {name}"):
            continue
        rng = np.random.default_rng(0)
        x, y = rng.standard_normal(shape, dtype=np.float32), rng.integers(0, 10, shape[0]).astype(np.int32)
        model = make()
        optimizer = chainer.optimizers.Adam(alpha=1e-3).setup(model)

        def run(model=model, optimizer=optimizer, x=x, y=y) -> None:
            loss = F.softmax_cross_entropy(model(x), y)
            model.cleargrads()
            loss.backward()
            optimizer.update()

        found.append((name, statistics.median(measure.interleaved({"Chainer": run}, seconds, 5)["Chainer"])))
    return found
