"""Mean and deviation of channels: all at once, by blocks, of data sets, and with float64's digits."""

import numpy as np
import pytest

import xpconv
import xpconv.data.statistics as statistics
from xpconv.data import batches, channel_mean_std
from xpconv.data.transforms import Normalize, ToDtype
from xpconv.errors import DTypeError, ShapeError


def images(n=50, c=3, h=5, w=4, dtype="float32"):
    x = np.random.default_rng(0).random((n, c, h, w)) * np.arange(1, c + 1).reshape(c, 1, 1)
    return (x / c * 256).astype("uint8") if dtype == "uint8" else x.astype(dtype)


@pytest.mark.parametrize("dtype", ["uint8", "float16", "float32", "float64"])
@pytest.mark.parametrize("block", [1, 1000, 1 << 24])
def test_against_numpy(backend, monkeypatch, dtype, block):
    monkeypatch.setattr(statistics, "BLOCK", block)
    x = images(dtype=dtype)
    mean, std = channel_mean_std(xpconv.asarray(x))
    wide = x.astype("float64") / (255 if dtype == "uint8" else 1)
    assert type(mean) is type(std) is np.ndarray and mean.dtype == std.dtype == "float64"
    np.testing.assert_allclose(mean, wide.mean((0, 2, 3)), rtol=1e-13)
    np.testing.assert_allclose(std, wide.std((0, 2, 3)), rtol=1e-12)


def test_of_what_yields_images(tmp_path, monkeypatch):
    x, y = images(), np.arange(50)
    expected = channel_mean_std(x)

    class Items:
        def __len__(self):
            return 50

        def __getitem__(self, i):
            return x[i], i  # any i: there is no IndexError at the end

    np.save(tmp_path / "x.npy", x)
    monkeypatch.setattr(statistics, "BLOCK", 999)
    for given in (
        Items(),
        list(x),
        ((a, 0) for a in x),
        iter([x[:20], x[20:20], x[20:]]),
        batches(x, y, 7, shuffle=True, seed=0),
        np.load(tmp_path / "x.npy", mmap_mode="r"),
        x.transpose(0, 2, 3, 1).copy().transpose(0, 3, 1, 2),
    ):
        found = channel_mean_std(given)
        np.testing.assert_allclose(found, expected, rtol=1e-12)
    np.testing.assert_allclose(
        channel_mean_std(x[0]), (x[0].mean((1, 2), "f8"), x[0].astype("f8").std((1, 2))), rtol=1e-12
    )
    different = [x[0], x[1, :, :3], x[2, :, :, :1]]  # sizes may differ
    pixels = np.concatenate([a.reshape(3, -1) for a in different], 1).astype("f8")
    np.testing.assert_allclose(channel_mean_std(different), (pixels.mean(1), pixels.std(1)), rtol=1e-12)


def test_of_large_values_far_from_zero():
    """The variance is not the difference of two large numbers."""
    x = 1e7 + np.random.default_rng(0).integers(0, 4, (300, 1, 20, 20)).astype("float32")
    _, std = channel_mean_std(x)
    np.testing.assert_allclose(std, x.astype("f8").std(), rtol=1e-12)


def test_with_normalize(backend):
    x = xpconv.asarray(images(dtype="uint8"))
    mean, std = channel_mean_std(x)
    y = xpconv.asnumpy(Normalize(mean, std)(ToDtype("float32", scale=True)(x)))
    np.testing.assert_allclose(y.mean((0, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(y.std((0, 2, 3)), 1, atol=1e-5)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (np.zeros((0, 3, 4, 4)), ShapeError, "channel_mean_std: there are no images"),
        ([], ShapeError, "there are no images"),
        (np.zeros((4, 4)), ShapeError, r"images have shape \(4, 4\), expected \(N, C, H, W\) or \(C, H, W\)"),
        (np.zeros((2, 3, 0, 4)), ShapeError, r"images have shape \(2, 3, 0, 4\)"),
        (np.zeros((2, 3, 4, 4), int), DTypeError, "images are int64, expected uint8 or floating point"),
        ([np.zeros((3, 4, 4)), np.zeros((1, 4, 4))], ShapeError, "images have 3 and 1 channels, expected one number"),
        (7, TypeError, "images is 7, expected an array"),
        ("path", TypeError, "images is 'path', expected an array"),
        ({"x": 1}, TypeError, "expected an array"),
        ([1, 2], TypeError, "got 1, expected an array of images"),
    ],
)  # fmt: skip
def test_what_has_no_channels(given, error, message):
    with pytest.raises(error, match=message):
        channel_mean_std(given)


def test_batches_keep_their_place():
    """Their order afterwards, and that of a loop that is going on, are what they would have been."""
    x = images(20)

    def epochs(look):
        loader, seen = batches(x, np.arange(20), 6, shuffle=True, seed=3), []
        for k in range(3):
            if look == "before":
                np.testing.assert_allclose(channel_mean_std(loader), channel_mean_std(x), rtol=1e-12)
            for n, (_, y) in enumerate(loader):
                if look == "within" and n == 1:
                    np.testing.assert_allclose(channel_mean_std(loader), channel_mean_std(x), rtol=1e-12)
                seen.append(y.tolist())
                if k == 0 and n == 2:
                    state = loader.state_dict()
        resumed = batches(x, np.arange(20), 6, shuffle=True)
        resumed.load_state_dict(state)
        if look == "before":  # all images count, not the rest of an epoch alone
            np.testing.assert_allclose(channel_mean_std(resumed), channel_mean_std(x), rtol=1e-12)
        return seen, [y.tolist() for _, y in resumed]

    assert epochs("before") == epochs("within") == epochs(None)
