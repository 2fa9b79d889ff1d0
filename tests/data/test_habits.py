"""Errors for what other libraries have under another name, and for data that look like something else."""

import numpy as np
import pytest

import xpconv
from xpconv import data, models
from xpconv.data import batches
from xpconv.data import transforms as T

X, Y = np.zeros((10, 3, 8, 8), "float32"), np.arange(10) % 2
CALLS = {
    "random_state": (lambda: data.train_test_split(X, Y, random_state=0), "^train_test_split: .*'random_state'; give seed="),
    "train_size": (lambda: data.train_test_split(X, train_size=0.5), "give test_size="),
    "shuffle": (lambda: data.train_test_split(X, shuffle=False), r"in order they are x\[:n\] and x\[n:\]"),
    "train": (lambda: data.load_mnist(train=True), "^load_mnist: .*both parts are returned: x_train, "),
    "transform": (lambda: data.load_mnist(transform=abs), "^load_mnist: .*; give transform=.* to xpconv.data.batches"),
    "root": (lambda: data.load_fashion_mnist(root="x"), "^load_fashion_mnist: .*give data_dir="),
    "root of CIFAR": (lambda: data.load_cifar10(root="x"), "^load_cifar10: .*give data_dir="),
    "split of CIFAR": (lambda: data.load_cifar100(split="x"), "^load_cifar100: .*both parts are returned"),
    "digits": (lambda: data.load_digits(random_state=3), "^load_digits: .*give seed="),
    "folder": (lambda: data.image_folder("x", transform=abs), "^image_folder: .*to xpconv.data.batches"),
    "pretrained": (lambda: models.resnet18(pretrained=True), r"^resnet18: .*'pretrained'; leave it out: .*model.load_state_dict\(path\)"),
    "weights": (lambda: models.vgg16(weights="DEFAULT"), "^vgg16: .*'weights'; leave it out"),
    "classes": (lambda: models.unet(classes=3), r"^unet: .*'classes'; give num_classes=; it takes \(in_channels=3"),
    "typing error": (lambda: models.lenet5(nun_classes=3), r"^lenet5: .*'nun_classes'; it takes \(num_classes=10, in_channels=1\)"),
    "too many": (lambda: models.lenet5(1, 1, 1), "^lenet5: too many positional arguments; it takes"),
    "batches of batches": (lambda: batches(batches(X, Y, 5), 5), "^batches: data is an object of batches already"),
    "their shuffling": (lambda: batches(batches(X, Y, 5), batch_size=5, shuffle=True), "batches already"),
    "function of one": (lambda: batches(X, Y, 5, transform=lambda x: x), r"^batches: transform is .*, which takes \(x\); expected a function transform\(batch, rng\)"),
    "function of three": (lambda: batches(X, Y, 5, transform=lambda x, y, rng: x), r"takes \(x, y, rng\); expected"),
    "a class": (lambda: batches(X, Y, 5, transform=T.Grayscale), "expected a function .*; make an instance of it"),
    "masks": (lambda: T.RandomCrop(4, masks=True), r"^RandomCrop: masks is True, expected an int: the place of the masks in a batch, 1 in \(images, masks\)"),
    "masks at 0": (lambda: T.Resize(4, masks=(0,)), "at least 1.*: the place of the masks"),
}  # fmt: skip
NAMES = {
    "ToTensor": (T, "leave it out: images are arrays"),
    "Lambda": (T, r"any function f\(batch, rng\) is a transform"),
    "NoSuchThing": (T, "has no attribute 'NoSuchThing'$"),
    "WeightedRandomSampler": (data, r"give sampler=BalancedSampler\(labels\)"),
    "SubsetRandomSampler": (data, "give shuffle=True"),
}


@pytest.mark.parametrize("name", CALLS)
def test_arguments(name):
    call, message = CALLS[name]
    with pytest.raises((TypeError, ValueError), match=message):
        call()


@pytest.mark.parametrize("name", NAMES)
def test_names(name):
    home, message = NAMES[name]
    with pytest.raises(AttributeError, match=message):
        getattr(home, name)


@pytest.mark.parametrize(
    "transform",
    [lambda batch, rng=None: batch, lambda *arrays: arrays[0], T.Grayscale(3), T.Compose([T.Grayscale(3)])],
)
def test_functions_that_take_a_batch_and_a_generator(transform):
    assert len(list(batches(X, Y, 5, transform=transform))) == 2


MOVING = {
    "flip": lambda **o: T.RandomHorizontalFlip(p=1, **o),
    "crop": lambda **o: T.CenterCrop(6, **o),
    "resize": lambda **o: T.Resize(4, **o),
    "rotation": lambda **o: T.RandomRotation(90, **o),
}


@pytest.mark.parametrize("name", MOVING)
@pytest.mark.parametrize("dtype", ["int64", "bool", "uint8", "float32"])
@pytest.mark.parametrize("channels", [(), (2,)])
@pytest.mark.parametrize("single", [False, True])
def test_masks_are_never_left_behind_silently(name, dtype, channels, single, backend):
    """Beside images they are moved, left by `masks=()`, or an error says to choose."""
    x = xpconv.asarray(np.zeros((3, 8, 8) if single else (4, 3, 8, 8), "float32"))
    mask = xpconv.asarray(np.ones((*(() if single else (4,)), *channels, 8, 8), dtype))
    make = MOVING[name]
    labels = xpconv.asarray(np.arange(4))
    with pytest.raises(
        xpconv.errors.ShapeError, match=r"array 2 of the batch has shape .* give masks=2, .* or masks="
    ):
        make()((x, labels, mask), rng=0)
    moved, _, beside = make(masks=2)((x, labels, mask), rng=0)
    assert moved.shape[-2:] == beside.shape[-2:]
    assert make(masks=())((x, labels, mask), rng=0)[2] is mask


@pytest.mark.parametrize("shape", [(4,), (4, 8), (4, 8, 7), (5, 8, 8), (4, 1, 2, 8, 8)])
def test_other_arrays_are_no_masks(shape):
    other = np.zeros(shape)
    assert T.Resize(4)((np.zeros((4, 3, 8, 8), "float32"), other), rng=0)[1] is other
