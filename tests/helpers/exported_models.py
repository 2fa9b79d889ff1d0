"""The models of `xpconv.models` as the tests of ONNX take them."""

from contextlib import ExitStack
from importlib import import_module
from itertools import product
from unittest import mock

import numpy as np
import pytest

import xpconv
from xpconv import models

SHAPES = {"lenet5": (1, 28, 28), "small_cnn": (3, 32, 32), "resnet20": (3, 32, 32), "unet": (3, 16, 16)}
for _name in models.__all__:
    if _name.startswith(("convnext", "densenet", "efficientnet", "googlenet", "mobilenet", "resnet", "vgg")):
        SHAPES.setdefault(_name, (3, 32, 32))
QUICK = {"lenet5", "small_cnn", "resnet20", "squeezenet1_1"}
DEEP = ("alexnet", "resnet", "vgg")  # the files of models of which some have up to 140 million weights
KINDS = ("BatchNorm2d", "Conv2d", "Dense")


def narrow(kind):
    """Layers with an eighth of the channels where there are many: the same graph, whose weights say nothing new."""

    class Narrow(kind):
        def __init__(self, *sizes, **options):
            sizes = [size // 8 if type(size) is int and size >= 64 else size for size in sizes]
            super().__init__(*sizes, **options)

    return Narrow


def made(name):
    """A model, whose statistics and biases are not those that all begin with."""
    xpconv.manual_seed(0)
    files = [import_module(f"xpconv.models.{file}") for file in DEEP]
    with ExitStack() as stack:
        for file, kind in product(files, KINDS):
            if hasattr(file, kind) and name not in QUICK:
                stack.enter_context(mock.patch.object(file, kind, narrow(getattr(xpconv, kind))))
        model = getattr(models, name)(**({"width": 8} if name == "unet" else {}))
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
