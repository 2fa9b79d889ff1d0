"""Transforms in `batches`: the same images for any number of workers, on every backend, and after resuming."""

import numpy as np
import pytest

import xpconv
from xpconv.data import batches
from xpconv.data.transforms import (
    ColorJitter,
    Compose,
    CutMix,
    MixUp,
    Normalize,
    RandomAffine,
    RandomApply,
    RandomCrop,
    RandomErasing,
    RandomHorizontalFlip,
    RandomResizedCrop,
    ToDtype,
)

AUGMENT = Compose(
    [
        RandomCrop(8, padding=2, padding_mode="reflect"),
        RandomHorizontalFlip(),
        ColorJitter(0.2, 0.2, 0.2, 0.1),
        RandomApply([RandomAffine(15, (0.1, 0.1), interpolation="bilinear")]),
        RandomResizedCrop(6, scale=(0.5, 1)),
        ToDtype("float32", scale=True),
        RandomErasing(value="random"),
        Normalize(0.5, 0.25),
        MixUp(num_classes=5),
        CutMix(num_classes=5),
    ]
)


def samples(n=23):
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (n, 3, 8, 8)).astype("uint8"), rng.integers(0, 5, n)


def loader(**options):
    x, y = samples()
    return batches(x, y, batch_size=5, shuffle=True, seed=3, transform=AUGMENT, **options)


def epochs(source, count=2):
    return [[xpconv.asnumpy(a) for a in batch] for _ in range(count) for batch in source]


def assert_same(found, expected, **near):
    assert len(found) == len(expected)
    for batch, other in zip(found, expected, strict=True):
        for a, b in zip(batch, other, strict=True):
            assert a.shape == b.shape and a.dtype == b.dtype
            np.testing.assert_allclose(a, b, **near) if near else np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("workers", [1, 4])
def test_any_number_of_workers(workers):
    expected = epochs(loader())
    assert len(expected) == 10 and expected[0][0].shape == (5, 3, 6, 6) and expected[0][1].shape == (5, 5)
    assert_same(epochs(loader(workers=workers)), expected)


def test_on_every_backend(backend):
    """The images on the device, the transform there."""
    x, y = map(xpconv.asarray, samples())
    with xpconv.use_backend("numpy"):
        expected = epochs(loader())
    found = batches(x, y, batch_size=5, shuffle=True, seed=3, transform=AUGMENT)
    assert all(xpconv.get_xp(*batch) is xpconv.get_xp() for batch in found)
    found = batches(x, y, batch_size=5, shuffle=True, seed=3, transform=AUGMENT)
    assert_same(
        epochs(found), expected, rtol=1e-5, atol=0.02
    )  # 1 of 255, where a half is rounded the other way


@pytest.mark.parametrize("workers", [0, 4])
def test_resumed_in_the_middle_of_an_epoch(workers):
    expected = epochs(loader())
    first = loader(workers=workers)
    started = iter(first)
    begun = [[np.array(a) for a in next(started)] for _ in range(3)]
    state = first.state_dict()
    started.close()
    second = loader(workers=workers)
    second.load_state_dict(state)
    assert_same([*begun, *epochs(second)], expected)


def test_a_mapped_file(tmp_path):
    x, y = samples()
    np.save(tmp_path / "x.npy", x)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    found = batches(mapped, y, batch_size=5, shuffle=True, seed=3, transform=AUGMENT, workers=2)
    assert_same(epochs(found), epochs(loader()))
    for transform in (ToDtype("float32"), RandomCrop(8, 1), Normalize(0.5, 1)):
        given = mapped if not isinstance(transform, Normalize) else mapped.astype("float32")
        assert type(transform(given)) is np.ndarray
    (_, mask) = RandomHorizontalFlip(masks=1)((mapped, mapped[:, 0]))
    assert type(mask) is np.ndarray


def test_when_numpy_raises():
    """Underflow to float16 is no error of the user."""
    with np.errstate(all="raise"):
        epochs(loader())
        half = samples()[0].astype("float16") / np.float16(255)
        for transform in (
            RandomErasing(1, value="random"),
            Normalize(0.5, 1e3),
            RandomAffine(20, interpolation="bilinear"),
        ):
            for seed in range(20):
                transform(half, seed)
