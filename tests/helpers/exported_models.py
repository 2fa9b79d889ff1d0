"""The models of `xpconv.models` as the tests of ONNX take them."""

from importlib import import_module
from unittest import mock

import numpy as np
import pytest

import xpconv
from xpconv import models

SHAPES = {"lenet5": (1, 28, 28), "small_cnn": (3, 32, 32), "resnet20": (3, 32, 32), "unet": (3, 32, 32)}
for _name in models.__all__:
    if _name.startswith(("convnext", "resnet", "vgg")):
        SHAPES.setdefault(_name, (3, 32, 32))
QUICK = {"lenet5", "small_cnn", "resnet20", "squeezenet1_1"}
LARGE = {
    "alexnet": "alexnet",
    **{name: "vgg" for name in models.__all__ if name.startswith("vgg")},
}  # their files


class Narrow(xpconv.Dense):
    """Instead of 100 million weights, which say nothing new."""

    def __init__(self, in_features, out_features):
        sizes = [16 if size == 4096 else size for size in (in_features, out_features)]
        super().__init__(*sizes)


def made(name):
    """A model, whose statistics and biases are not those that all begin with."""
    xpconv.manual_seed(0)
    file = import_module(f"xpconv.models.{LARGE.get(name, 'small')}")
    with mock.patch.object(file, "Dense", Narrow if name in LARGE else xpconv.Dense):
        model = getattr(models, name)()
    rng = np.random.default_rng(0)
    for key, array in model._state().items():
        if key.endswith(("running_mean", "bias")):
            array[...] = rng.normal(size=array.shape) / 8
        if key.endswith("running_var"):
            array[...] = rng.uniform(0.5, 2, array.shape)
    return model


def each_model():
    """Their names; the large ones are marked slow."""
    return [pytest.param(n, marks=() if n in QUICK else pytest.mark.slow) for n in models.__all__]
