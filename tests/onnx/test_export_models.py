"""Every model of `xpconv.models` as onnxruntime runs it, at batch 1 and 7."""

import numpy as np
import onnxed
import pytest

import xpconv
from xpconv import models

SHAPES = {"lenet5": (1, 28, 28), "small_cnn": (3, 32, 32), "resnet20": (3, 32, 32), "unet": (3, 32, 32)}
QUICK = {"lenet5", "small_cnn", "resnet20", "squeezenet1_1", "mobilenet_v2"}
LARGE = {"alexnet", *(name for name in models.__all__ if name.startswith("vgg"))}


def made(name):
    """A model, whose statistics and biases are not those that all begin with."""
    xpconv.manual_seed(0)
    model = getattr(models, name)()
    if name in LARGE:  # 100 million weights, which say nothing new
        first = model.classifier[0] if name.startswith("vgg") else model.classifier[1]
        model.classifier = xpconv.Sequential(xpconv.Dropout(), xpconv.Dense(first.in_features, 10))
    rng = np.random.default_rng(0)
    for key, array in model._state().items():
        if key.endswith(("running_mean", "bias")):
            array[...] = rng.normal(size=array.shape) / 8
        if key.endswith("running_var"):
            array[...] = rng.uniform(0.5, 2, array.shape)
    return model


@pytest.mark.parametrize("fold", [False, True])
@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n in QUICK else pytest.mark.slow) for n in models.__all__]
)
def test_every_model(name, fold, tmp_path):
    model = made(name)
    if fold and not any("running_mean" in key for key in model._state()):
        pytest.skip("the model has no BatchNorm")
    x = np.zeros((1, *SHAPES.get(name, (3, 64, 64))), "float32")
    path = tmp_path / "model.onnx"
    onnxed.check(model, path, x, batches=(1, 7), fold_batchnorm=fold)
    proto = onnxed.onnx.load(path)
    state = (model.fuse() if fold else model).state_dict()
    for initializer in proto.graph.initializer:
        assert tuple(initializer.dims) == state[initializer.name].shape
    normed = [node.op_type for node in proto.graph.node].count("BatchNormalization")
    if fold and name != "densenet121":
        assert normed == 0
    else:
        used = {key for key in state if not key.endswith("num_batches_tracked")}
        assert fold or {initializer.name for initializer in proto.graph.initializer} == used
