"""Known models: torchvision's parameters, every name and shape in its order, and a forward and backward."""

import numpy as np
import pytest

import xpconv
from xpconv import models

COUNTS = {
    "lenet5": 61_706, "small_cnn": 94_762, "alexnet": 61_100_840, "squeezenet1_1": 1_235_496, "googlenet": 6_624_904,
    "vgg11": 132_863_336, "vgg13": 133_047_848, "vgg16": 138_357_544, "vgg19": 143_667_240,
    "vgg11_bn": 132_868_840, "vgg13_bn": 133_053_736, "vgg16_bn": 138_365_992, "vgg19_bn": 143_678_248,
    "resnet20": 272_474, "resnet18": 11_689_512, "resnet34": 21_797_672, "resnet50": 25_557_032, "resnet101": 44_549_160,
    "resnet152": 60_192_808, "mobilenet_v2": 3_504_872, "densenet121": 7_978_856,
    "efficientnet_b0": 5_288_548, "convnext_tiny": 28_589_128,
}  # fmt: skip

# torchvision's state dicts, told from its published modules without our layers: (key, shape), in its order.


def affine(name, *shape):
    """A convolution or dense layer with its bias."""
    yield f"{name}.weight", shape
    yield f"{name}.bias", shape[:1]


def bare(name, *shape):
    """A convolution without bias."""
    yield f"{name}.weight", shape


def norm(name, channels):
    """A BatchNorm."""
    for key in ("weight", "bias", "running_mean", "running_var"):
        yield f"{name}.{key}", (channels,)
    yield f"{name}.num_batches_tracked", ()


def conv_norm(conv, bn, *shape):
    yield from bare(conv, *shape)
    yield from norm(bn, shape[0])


def alexnet():
    convs = {
        0: (64, 3, 11, 11),
        3: (192, 64, 5, 5),
        6: (384, 192, 3, 3),
        8: (256, 384, 3, 3),
        10: (256, 256, 3, 3),
    }
    for i, shape in convs.items():
        yield from affine(f"features.{i}", *shape)
    for i, shape in {1: (4096, 9216), 4: (4096, 4096), 6: (1000, 4096)}.items():
        yield from affine(f"classifier.{i}", *shape)


def vgg(plan, batch_norm):
    """A letter a layer: widths 64, 128, 256 and 512 are a, b, c and d; M pools."""
    i, before = 0, 3
    for letter in plan:
        if letter == "M":
            i += 1
            continue
        width = {"a": 64, "b": 128, "c": 256, "d": 512}[letter]
        yield from affine(f"features.{i}", width, before, 3, 3)
        if batch_norm:
            yield from norm(f"features.{i + 1}", width)
        i, before = i + 2 + batch_norm, width
    for i, shape in {0: (4096, 25088), 3: (4096, 4096), 6: (1000, 4096)}.items():
        yield from affine(f"classifier.{i}", *shape)


def resnet(counts, bottleneck, widths=(64, 128, 256, 512), kernel=7, classes=1000):
    before = widths[0]
    yield from conv_norm("conv1", "bn1", before, 3, kernel, kernel)
    for stage, (count, width) in enumerate(zip(counts, widths, strict=True), start=1):
        for block in range(count):
            at = f"layer{stage}.{block}."
            if bottleneck:
                shapes = [(width, before, 1, 1), (width, width, 3, 3), (4 * width, width, 1, 1)]
            else:
                shapes = [(width, before, 3, 3), (width, width, 3, 3)]
            for i, shape in enumerate(shapes, start=1):
                yield from conv_norm(f"{at}conv{i}", f"{at}bn{i}", *shape)
            after = shapes[-1][0]
            if block == 0 and (stage > 1 or bottleneck):
                yield from conv_norm(f"{at}downsample.0", f"{at}downsample.1", after, before, 1, 1)
            before = after
    yield from affine("fc", classes, before)


def mobilenet_v2():
    yield from conv_norm("features.0.0", "features.0.1", 32, 3, 3, 3)
    outs = [16, *[24] * 2, *[32] * 3, *[64] * 4, *[96] * 3, *[160] * 3, 320]
    before = 32
    for i, out in enumerate(outs, start=1):
        at, wide, step = f"features.{i}.conv", before if i == 1 else 6 * before, 0
        if i > 1:
            yield from conv_norm(f"{at}.0.0", f"{at}.0.1", wide, before, 1, 1)
            step = 1
        yield from conv_norm(f"{at}.{step}.0", f"{at}.{step}.1", wide, 1, 3, 3)
        yield from conv_norm(f"{at}.{step + 1}", f"{at}.{step + 2}", out, wide, 1, 1)
        before = out
    yield from conv_norm("features.18.0", "features.18.1", 1280, 320, 1, 1)
    yield from affine("classifier.1", 1000, 1280)


def densenet121():
    yield from conv_norm("features.conv0", "features.norm0", 64, 3, 7, 7)
    for block, (channels, end) in enumerate([(64, 256), (128, 512), (256, 1024), (512, 1024)], start=1):
        for i, width in enumerate(range(channels, end, 32), start=1):
            at = f"features.denseblock{block}.denselayer{i}"
            yield from norm(f"{at}.norm1", width)
            yield from conv_norm(f"{at}.conv1", f"{at}.norm2", 128, width, 1, 1)
            yield from bare(f"{at}.conv2", 32, 128, 3, 3)
        if block < 4:
            yield from norm(f"features.transition{block}.norm", end)
            yield from bare(f"features.transition{block}.conv", end // 2, end, 1, 1)
    yield from norm("features.norm5", 1024)
    yield from affine("classifier", 1000, 1024)


def squeezenet1_1():
    yield from affine("features.0", 64, 3, 3, 3)
    fires = {
        3: (64, 16),
        4: (128, 16),
        6: (128, 32),
        7: (256, 32),
        9: (256, 48),
        10: (384, 48),
        11: (384, 64),
        12: (512, 64),
    }
    for i, (channels, squeezed) in fires.items():
        yield from affine(f"features.{i}.squeeze", squeezed, channels, 1, 1)
        for k in (1, 3):
            yield from affine(f"features.{i}.expand{k}x{k}", 4 * squeezed, squeezed, k, k)
    yield from affine("classifier.1", 1000, 512, 1, 1)


def googlenet():
    """As built with `aux_logits=False`, and as torchvision leaves its pretrained model."""

    def unit(name, *shape):
        return conv_norm(f"{name}.conv", f"{name}.bn", *shape)

    yield from unit("conv1", 64, 3, 7, 7)
    yield from unit("conv2", 64, 64, 1, 1)
    yield from unit("conv3", 192, 64, 3, 3)
    table = {
        "3a": (192, 64, 96, 128, 16, 32, 32), "3b": (256, 128, 128, 192, 32, 96, 64),
        "4a": (480, 192, 96, 208, 16, 48, 64), "4b": (512, 160, 112, 224, 24, 64, 64),
        "4c": (512, 128, 128, 256, 24, 64, 64), "4d": (512, 112, 144, 288, 32, 64, 64),
        "4e": (528, 256, 160, 320, 32, 128, 128), "5a": (832, 256, 160, 320, 32, 128, 128),
        "5b": (832, 384, 192, 384, 48, 128, 128),
    }  # fmt: skip
    for name, (c, one, red3, three, red5, five, pooled) in table.items():
        at = f"inception{name}.branch"
        yield from unit(f"{at}1", one, c, 1, 1)
        yield from unit(f"{at}2.0", red3, c, 1, 1)
        yield from unit(f"{at}2.1", three, red3, 3, 3)
        yield from unit(f"{at}3.0", red5, c, 1, 1)
        yield from unit(f"{at}3.1", five, red5, 3, 3)
        yield from unit(f"{at}4.1", pooled, c, 1, 1)
    yield from affine("fc", 1000, 1024)


def efficientnet_b0():
    yield from conv_norm("features.0.0", "features.0.1", 32, 3, 3, 3)
    before = 32
    stages = [(3, 16, 1), (3, 24, 2), (5, 40, 2), (3, 80, 3), (5, 112, 3), (5, 192, 4), (3, 320, 1)]
    for stage, (kernel, out, count) in enumerate(stages, start=1):
        for i in range(count):
            at, wide, step = f"features.{stage}.{i}.block", before if stage == 1 else 6 * before, 0
            if stage > 1:
                yield from conv_norm(f"{at}.0.0", f"{at}.0.1", wide, before, 1, 1)
                step = 1
            yield from conv_norm(f"{at}.{step}.0", f"{at}.{step}.1", wide, 1, kernel, kernel)
            yield from affine(f"{at}.{step + 1}.fc1", before // 4, wide, 1, 1)
            yield from affine(f"{at}.{step + 1}.fc2", wide, before // 4, 1, 1)
            yield from conv_norm(f"{at}.{step + 2}.0", f"{at}.{step + 2}.1", out, wide, 1, 1)
            before = out
    yield from conv_norm("features.8.0", "features.8.1", 1280, 320, 1, 1)
    yield from affine("classifier.1", 1000, 1280)


def convnext_tiny():
    yield from affine("features.0.0", 96, 3, 4, 4)
    yield from affine("features.0.1", 96)
    for stage, (count, c) in enumerate([(3, 96), (3, 192), (9, 384), (3, 768)]):
        if stage:
            yield from affine(f"features.{2 * stage}.0", c // 2)
            yield from affine(f"features.{2 * stage}.1", c, c // 2, 2, 2)
        for i in range(count):
            at = f"features.{2 * stage + 1}.{i}"
            yield f"{at}.layer_scale", (c, 1, 1)
            yield from affine(f"{at}.block.0", c, 1, 7, 7)
            yield from affine(f"{at}.block.2", c)
            yield from affine(f"{at}.block.3", 4 * c, c)
            yield from affine(f"{at}.block.5", c, 4 * c)
    yield from affine("classifier.0", 768)
    yield from affine("classifier.2", 1000, 768)


PUBLISHED = {
    "alexnet": alexnet(), "mobilenet_v2": mobilenet_v2(), "densenet121": densenet121(),
    "squeezenet1_1": squeezenet1_1(), "googlenet": googlenet(), "efficientnet_b0": efficientnet_b0(),
    "convnext_tiny": convnext_tiny(),
    "resnet18": resnet((2, 2, 2, 2), False), "resnet34": resnet((3, 4, 6, 3), False),
    "resnet50": resnet((3, 4, 6, 3), True), "resnet101": resnet((3, 4, 23, 3), True),
    "resnet152": resnet((3, 8, 36, 3), True), "resnet20": resnet((3, 3, 3), False, (16, 32, 64), 3, 10),
}  # fmt: skip
for depth, plan in {
    11: "aMbMccMddMddM",
    13: "aaMbbMccMddMddM",
    16: "aaMbbMcccMdddMdddM",
    19: "aaMbbMccccMddddMddddM",
}.items():
    PUBLISHED |= {f"vgg{depth}": vgg(plan, False), f"vgg{depth}_bn": vgg(plan, True)}
PUBLISHED = {name: list(pairs) for name, pairs in PUBLISHED.items()}


@pytest.mark.parametrize("name", COUNTS)
def test_number_of_parameters_names_and_shapes(name, no_draws):
    model = getattr(models, name)()
    assert sum(p.size for p in model.parameters()) == COUNTS[name]
    if name in PUBLISHED:
        assert [(key, array.shape) for key, array in model._state().items()] == PUBLISHED[name]


def test_every_model_is_here():
    assert sorted([*COUNTS, "unet"]) == sorted(models.__all__)
    own = ["lenet5", "small_cnn", "unet"]  # which torchvision does not have
    assert sorted([*PUBLISHED, *own]) == sorted(models.__all__)


SIZES = {
    "lenet5": 28,
    "alexnet": 64,
    "convnext_tiny": 32,
    "efficientnet_b0": 32,
    "googlenet": 32,
    "squeezenet1_1": 32,
    "vgg11_bn": 32,
    "resnet50": 32,
    "resnet20": 32,
    "small_cnn": 9,
}


LARGE = {"alexnet", "vgg11_bn", "resnet50"}  # in bytes; their layers are those of the others


@pytest.mark.sample(64)
@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * (n in LARGE)) for n in SIZES])
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


@pytest.mark.parametrize(
    ("size", "pools", "channels"),
    [(1, 0, 64), (8, 1, 64), (28, 3, 128), (32, 3, 128), (64, 3, 128), (224, 5, 256)],
)
def test_small_cnn_fits_images_of_any_size(size, pools, channels):
    """Stages of twice the channels until an image has fewer than 6 pixels a side, and two at least."""
    model = models.small_cnn(num_classes=4, in_channels=2, size=size)
    assert sum(isinstance(layer, xpconv.MaxPool2d) for layer in model) == pools
    assert model[-1].weight.shape == (4, channels)
    with xpconv.no_grad():
        assert model.eval()(np.zeros((3, 2, size, size + 3), "float32")).shape == (3, 4)
