"""Known models: as many parameters as torchvision publishes, its names, and a forward and backward."""

import numpy as np
import pytest

import xpconv
from xpconv import init, models

COUNTS = {
    "lenet5": 61_706, "alexnet": 61_100_840, "squeezenet1_1": 1_235_496, "googlenet": 6_624_904,
    "vgg11": 132_863_336, "vgg13": 133_047_848, "vgg16": 138_357_544, "vgg19": 143_667_240,
    "vgg11_bn": 132_868_840, "vgg13_bn": 133_053_736, "vgg16_bn": 138_365_992, "vgg19_bn": 143_678_248,
    "resnet18": 11_689_512, "resnet34": 21_797_672, "resnet50": 25_557_032, "resnet101": 44_549_160,
    "resnet152": 60_192_808, "mobilenet_v2": 3_504_872, "densenet121": 7_978_856,
    "efficientnet_b0": 5_288_548, "convnext_tiny": 28_589_128,
}  # fmt: skip

# Some of torchvision's names and shapes: the first, one deep inside, the last.
NAMES = {
    "alexnet": {"features.0.weight": (64, 3, 11, 11), "features.10.bias": (256,), "classifier.6.weight": (1000, 4096)},
    "vgg16_bn": {"features.0.weight": (64, 3, 3, 3), "features.41.running_var": (512,), "classifier.3.bias": (4096,)},
    "resnet50": {"conv1.weight": (64, 3, 7, 7), "layer3.5.bn3.running_mean": (1024,), "layer4.0.downsample.0.weight": (2048, 1024, 1, 1), "fc.bias": (1000,)},
    "mobilenet_v2": {"features.0.0.weight": (32, 3, 3, 3), "features.1.conv.0.0.weight": (32, 1, 3, 3), "features.17.conv.3.num_batches_tracked": (), "classifier.1.weight": (1000, 1280)},
    "densenet121": {"features.conv0.weight": (64, 3, 7, 7), "features.denseblock3.denselayer24.conv2.weight": (32, 128, 3, 3), "features.transition2.conv.weight": (256, 512, 1, 1), "features.norm5.bias": (1024,), "classifier.bias": (1000,)},
    "squeezenet1_1": {"features.0.weight": (64, 3, 3, 3), "features.12.expand3x3.weight": (256, 64, 3, 3), "features.3.squeeze.bias": (16,), "classifier.1.weight": (1000, 512, 1, 1)},
    "googlenet": {"conv1.conv.weight": (64, 3, 7, 7), "conv3.bn.weight": (192,), "inception4e.branch3.1.conv.weight": (128, 32, 3, 3), "inception5b.branch4.1.bn.running_mean": (128,), "fc.weight": (1000, 1024)},
    "efficientnet_b0": {"features.0.0.weight": (32, 3, 3, 3), "features.1.0.block.0.0.weight": (32, 1, 3, 3), "features.6.3.block.2.fc1.weight": (48, 1152, 1, 1), "features.7.0.block.3.1.bias": (320,), "classifier.1.bias": (1000,)},
    "convnext_tiny": {"features.0.0.weight": (96, 3, 4, 4), "features.0.1.weight": (96,), "features.5.8.layer_scale": (384, 1, 1), "features.1.0.block.3.weight": (384, 96), "features.6.1.weight": (768, 384, 2, 2), "classifier.0.bias": (768,), "classifier.2.weight": (1000, 768)},
}  # fmt: skip


@pytest.fixture
def no_draws(monkeypatch):
    """Leave weights at zero: memory that nobody touches costs nothing."""
    monkeypatch.setattr(init, "_fill", lambda parameter, values: parameter)
    monkeypatch.setattr(init, "default_rng", lambda rng: Zeros())


class Zeros:
    def uniform(self, low, high, shape):
        return np.broadcast_to(0.0, shape)

    normal = uniform


@pytest.mark.parametrize("name", COUNTS)
def test_number_of_parameters_and_names(name, no_draws):
    model = getattr(models, name)()
    assert sum(p.size for p in model.parameters()) == COUNTS[name]
    shapes = {key: array.shape for key, array in model._state().items()}
    for key, shape in NAMES.get(name, {}).items():
        assert shapes[key] == shape


def test_every_model_is_here():
    assert sorted([*COUNTS, "unet"]) == sorted(models.__all__)


SIZES = {
    "lenet5": 28,
    "alexnet": 64,
    "convnext_tiny": 32,
    "efficientnet_b0": 32,
    "googlenet": 32,
    "squeezenet1_1": 32,
    "vgg11_bn": 32,
    "resnet50": 32,
}


@pytest.mark.parametrize("name", SIZES)
def test_trains(name):
    """A forward and backward that gives every parameter a finite gradient, none of them zero throughout."""
    xpconv.manual_seed(0)
    model = getattr(models, name)(num_classes=3)
    channels = 1 if name == "lenet5" else 3
    x = np.random.default_rng(0).normal(size=(4, channels, SIZES[name], SIZES[name])).astype("float32")
    criterion = xpconv.SoftmaxCrossEntropyLoss()
    y = model(x)
    assert y.shape == (4, 3)
    criterion(y, np.array([0, 1, 2, 0]))
    assert model.backward(criterion.backward()).shape == x.shape
    for key, parameter in model.named_parameters():
        assert np.isfinite(parameter.grad).all(), key
        if not key.endswith("bias"):  # before a BatchNorm a bias has none
            assert parameter.grad.any(), key
