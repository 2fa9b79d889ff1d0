"""Whole models against twins built from PyTorch's layers: keys, output, every gradient, running statistics.

In training mode in float64: in float32 a rounding error that takes one ReLU across its kink changes gradients by
1e-2, in PyTorch as here. In inference mode in float32 too.
"""

import numpy as np
import pytest
from oracle import contiguous, nn, numpy_state, torch

import xpconv
from xpconv import models

functional = torch.nn.functional


class TorchBasicBlock(nn.Module):
    def __init__(self, channels, width, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = None
        if stride != 1 or channels != width:
            self.downsample = nn.Sequential(
                nn.Conv2d(channels, width, 1, stride, bias=False), nn.BatchNorm2d(width)
            )

    def forward(self, x):
        y = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))
        return functional.relu(y + (x if self.downsample is None else self.downsample(x)))


class TorchResNet18(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        widths = [64, 64, 128, 256, 512]
        for i in range(1, 5):
            first = TorchBasicBlock(widths[i - 1], widths[i], 1 if i == 1 else 2)
            setattr(self, f"layer{i}", nn.Sequential(first, TorchBasicBlock(widths[i], widths[i], 1)))
        self.fc = nn.Linear(512, num_classes)

    def forward(self, x):
        x = self.maxpool(functional.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(x.mean((2, 3)))


def torch_conv(channels, out, kernel, stride=1, groups=1):
    conv = nn.Conv2d(channels, out, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(out), nn.ReLU6())


class TorchInverted(nn.Module):
    def __init__(self, channels, out, stride, expansion):
        super().__init__()
        width = channels * expansion
        layers = [] if expansion == 1 else [torch_conv(channels, width, 1)]
        layers += [
            torch_conv(width, width, 3, stride, width),
            nn.Conv2d(width, out, 1, bias=False),
            nn.BatchNorm2d(out),
        ]
        self.conv = nn.Sequential(*layers)
        self.add = stride == 1 and channels == out

    def forward(self, x):
        return x + self.conv(x) if self.add else self.conv(x)


class TorchMobileNetV2(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        features, channels = [torch_conv(3, 32, 3, 2)], 32
        for t, c, n, s in [
            (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)
        ]:  # fmt: skip
            for i in range(n):
                features.append(TorchInverted(channels, c, s if i == 0 else 1, t))
                channels = c
        self.features = nn.Sequential(*features, torch_conv(320, 1280, 1))
        self.classifier = nn.Sequential(nn.Dropout(0.0), nn.Linear(1280, num_classes))

    def forward(self, x):
        return self.classifier(self.features(x).mean((2, 3)))


class TorchDenseLayer(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.norm1, self.conv1 = nn.BatchNorm2d(channels), nn.Conv2d(channels, 128, 1, bias=False)
        self.norm2, self.conv2 = nn.BatchNorm2d(128), nn.Conv2d(128, 32, 3, padding=1, bias=False)

    def forward(self, x):
        y = self.conv1(functional.relu(self.norm1(x)))
        return torch.cat([x, self.conv2(functional.relu(self.norm2(y)))], 1)


class TorchDenseNet121(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        f = self.features = nn.Sequential()
        f.add_module("conv0", nn.Conv2d(3, 64, 7, 2, 3, bias=False))
        f.add_module("norm0", nn.BatchNorm2d(64))
        f.add_module("relu0", nn.ReLU())
        f.add_module("pool0", nn.MaxPool2d(3, 2, 1))
        channels = 64
        for i, count in enumerate((6, 12, 24, 16), start=1):
            block = nn.Sequential()
            for j in range(count):
                block.add_module(f"denselayer{j + 1}", TorchDenseLayer(channels))
                channels += 32
            f.add_module(f"denseblock{i}", block)
            if i < 4:
                transition = nn.Sequential()
                transition.add_module("norm", nn.BatchNorm2d(channels))
                transition.add_module("relu", nn.ReLU())
                transition.add_module("conv", nn.Conv2d(channels, channels // 2, 1, bias=False))
                transition.add_module("pool", nn.AvgPool2d(2))
                f.add_module(f"transition{i}", transition)
                channels //= 2
        f.add_module("norm5", nn.BatchNorm2d(channels))
        self.classifier = nn.Linear(channels, num_classes)

    def forward(self, x):
        return self.classifier(functional.relu(self.features(x)).mean((2, 3)))


def torch_convs(channels, out):
    return nn.Sequential(
        nn.Conv2d(channels, out, 3, padding=1, bias=False), nn.BatchNorm2d(out), nn.ReLU(),
        nn.Conv2d(out, out, 3, padding=1, bias=False), nn.BatchNorm2d(out), nn.ReLU(),
    )  # fmt: skip


class TorchUNet(nn.Module):
    """Written flat: the way down, the bottom, the way up; named as ours, which is nested."""

    def __init__(self, in_channels, num_classes, width, depth):
        super().__init__()
        self.depth = depth
        for level in range(depth):
            here = width * 2**level
            setattr(self, f"down{level}", torch_convs(in_channels if level == 0 else here // 2, here))
            setattr(self, f"up{level}", nn.ConvTranspose2d(2 * here, here, 2, stride=2))
            setattr(self, f"merge{level}", torch_convs(2 * here, here))
        self.bottom = torch_convs(width * 2 ** (depth - 1), width * 2**depth)
        self.head = nn.Conv2d(width, num_classes, 1)

    def forward(self, x):
        skips = []
        for level in range(self.depth):
            skips.append(getattr(self, f"down{level}")(x))
            x = functional.max_pool2d(skips[-1], 2)
        x = self.bottom(x)
        for level in reversed(range(self.depth)):
            x = torch.cat([skips[level], getattr(self, f"up{level}")(x)], 1)
            x = getattr(self, f"merge{level}")(x)
        return self.head(x)


def unet_name(name, depth):
    """The name in our nested U-Net of a parameter of the flat one."""
    part, _, rest = name.partition(".")
    if part == "head":
        return name
    below = "across.inner.below."
    if part == "bottom":
        return "levels." + below * depth + rest
    kind, level = part[:-1], int(part[-1])
    return (
        "levels."
        + below * level
        + {"down": "down.", "up": "across.inner.up.", "merge": "merge."}[kind]
        + rest
    )


CASES = {
    "resnet18": (lambda: models.resnet18(10), lambda: TorchResNet18(10), (4, 3, 64, 64)),
    "mobilenet_v2": (
        lambda: models.mobilenet_v2(10, dropout=0.0),
        lambda: TorchMobileNetV2(10),
        (4, 3, 64, 64),
    ),
    "densenet121": (lambda: models.densenet121(10), lambda: TorchDenseNet121(10), (3, 3, 32, 32)),
    "unet": (lambda: models.unet(3, 4, width=8, depth=3), lambda: TorchUNet(3, 4, 8, 3), (2, 3, 32, 40)),
}


def pair(name, dtype, training):
    """Our model, its twin with the same weights, and the twin's names in ours."""
    make, make_twin, shape = CASES[name]
    torch.manual_seed(0)
    twin = make_twin().to(getattr(torch, dtype)).train(training)
    ours = make().to(dtype=dtype).train(training)
    rename = (lambda n: unet_name(n, 3)) if name == "unet" else (lambda n: n)
    state = {rename(n): a for n, a in numpy_state(twin).items()}
    if name != "unet":
        assert list(ours.state_dict()) == list(state)
    ours.load_state_dict(state)
    return ours, twin, rename, shape


def assert_same_pass(ours, twin, rename, x, tolerance):
    """Forward and backward: the output and all gradients, each relative to its largest value."""

    def close(a, b, what):
        b = b.detach().numpy()
        assert a.dtype == b.dtype, what
        assert np.abs(b).max() > 0, what  # something to compare
        assert np.abs(a - b).max() <= tolerance * np.abs(b).max() + 1e-12, what

    there = contiguous(x).requires_grad_()
    y, expected = ours(x), twin(there)
    g = np.random.default_rng(1).normal(size=y.shape).astype(x.dtype)
    expected.backward(contiguous(g))
    dx = ours.backward(g)
    close(y, expected, "output")
    close(dx, there.grad, "input gradient")
    gradients = dict(ours.named_parameters())
    assert len(gradients) == len(list(twin.parameters()))
    for parameter, tensor in twin.named_parameters():
        close(gradients[rename(parameter)].grad, tensor.grad, parameter)


SLOW = {"densenet121", "mobilenet_v2", "resnet18"}  # `test_twin_float32` has them by default


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * (n in SLOW)) for n in CASES])
def test_twin(name):
    """In training mode and float64, with the running statistics."""
    ours, twin, rename, shape = pair(name, "float64", training=True)
    assert_same_pass(ours, twin, rename, np.random.default_rng(0).normal(size=shape), 1e-8)
    state = ours.state_dict()
    for key, array in numpy_state(twin).items():
        np.testing.assert_allclose(state[rename(key)], array, rtol=1e-9, atol=1e-12, err_msg=key)


def image_far_from_kinks(twin, monkeypatch):
    """Of some small images the one whose activations stay farthest from where ReLU bends.

    There rounding would decide whether a gradient passes, in PyTorch as here.
    """
    margins = []

    def watched(function, bends):
        def watch(z, *args, **kwargs):
            nearest = min(float((z - bend).abs().min()) for bend in bends)
            margins.append(nearest / float(z.abs().max()))
            return function(z, *args, **kwargs)

        return watch

    best, image = -1.0, None
    with monkeypatch.context() as patch:
        patch.setattr(functional, "relu", watched(functional.relu, [0]))
        patch.setattr(functional, "hardtanh", watched(functional.hardtanh, [0, 6]))  # ReLU6
        for seed in range(40):
            x = np.random.default_rng(seed).normal(size=(1, 3, 32, 32)).astype("float32")
            margins.clear()
            with torch.no_grad():
                twin(contiguous(x))
            if min(margins) > best:
                best, image = min(margins), x
    return image


@pytest.mark.sample(16)
@pytest.mark.parametrize("name", CASES)
def test_twin_float32(name, monkeypatch):
    """In inference mode, with the statistics of a batch of noise, so that signals keep their size."""
    ours, twin, rename, shape = pair(name, "float32", training=True)
    for module in twin.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # the average of all batches: here, of one
    with torch.no_grad():
        twin(contiguous(np.random.default_rng(0).normal(size=shape).astype("float32")))
    ours.load_state_dict({rename(key): array for key, array in numpy_state(twin).items()})
    twin.eval()
    assert_same_pass(ours.eval(), twin, rename, image_far_from_kinks(twin, monkeypatch), 1e-4)


def test_weights_go_back():
    twin, ours = TorchResNet18(10), models.resnet18(10)
    twin.load_state_dict({name: torch.from_numpy(np.asarray(a)) for name, a in ours.state_dict().items()})
    x = np.random.default_rng(0).normal(size=(1, 3, 32, 32)).astype("float32")
    with torch.no_grad(), xpconv.no_grad():
        expected = twin.eval()(torch.from_numpy(x)).numpy()
        np.testing.assert_allclose(ours.eval()(x), expected, atol=1e-4 * np.abs(expected).max())
