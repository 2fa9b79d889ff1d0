"""What each transform does: its geometry, its draws, its limits; and the errors of its settings."""

import colorsys
import re

import numpy as np
import pytest

import xpconv
from xpconv.data.transforms import (
    CenterCrop,
    ColorJitter,
    Compose,
    CutMix,
    Cutout,
    Grayscale,
    MixUp,
    Normalize,
    Pad,
    RandomAffine,
    RandomApply,
    RandomCrop,
    RandomErasing,
    RandomHorizontalFlip,
    RandomResizedCrop,
    RandomRotation,
    RandomVerticalFlip,
    Resize,
    ToDtype,
)
from xpconv.errors import BackendError, DTypeError, ShapeError


def images(n=5, c=3, size=(7, 6), dtype="float32", seed=0):
    x = np.random.default_rng(seed).random((n, c, *size))
    return (x * 256).astype("uint8") if dtype == "uint8" else x.astype(dtype)


def numbered(n, h, w):
    """Pixels with a number of their own, from 1."""
    return np.tile(np.arange(1.0, h * w + 1).reshape(1, 1, h, w), (n, 1, 1, 1))


def run(transform, x, rng=0):
    return xpconv.asnumpy(transform(xpconv.asarray(x), rng))


# --- flips -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("flip", "axis"), [(RandomHorizontalFlip, 3), (RandomVerticalFlip, 2)])
def test_flips(backend, flip, axis):
    x = images(400)
    np.testing.assert_array_equal(run(flip(0), x), x)
    np.testing.assert_array_equal(run(flip(1.0), x), np.flip(x, axis))
    found = run(flip(0.25), x)
    flipped = (found == np.flip(x, axis)).all((1, 2, 3))
    same = (found == x).all((1, 2, 3))
    assert (flipped ^ same).all() and 70 < flipped.sum() < 130


# --- crops and borders -------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["constant", "edge", "reflect", "symmetric"])
def test_random_crop_takes_every_window_alike(backend, mode):
    x = numbered(3000, 4, 5)
    found = run(RandomCrop((3, 4), (1, 0, 2, 1), padding_mode=mode), x)
    border = ((0, 1), (1, 2))  # left, top, right, bottom: (1, 0, 2, 1)
    padded = np.pad(x[0, 0], border, mode=mode)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 4)).reshape(-1, 3, 4)
    counts = [(found[:, 0] == w).all((1, 2)).sum() for w in np.unique(windows, axis=0)]
    assert sum(counts) == 3000 and len(windows) == 3 * 5 and min(counts) > 140


def test_random_crop_of_small_images(backend):
    with pytest.raises(
        ShapeError, match=r"RandomCrop: size is \(9, 3\), but the images with their padding are of "
    ):
        RandomCrop((9, 3))(images())
    assert RandomCrop((9, 3), 1)(images()).shape == (5, 3, 9, 3)  # (7, 6) and 1 on all sides
    x = numbered(500, 3, 6)
    found = run(RandomCrop(5, pad_if_needed=True), x)
    padded = np.pad(x[0, 0], ((2, 2), (0, 0)))  # twice what is missing, as in torchvision
    windows = np.lib.stride_tricks.sliding_window_view(padded, (5, 5)).reshape(-1, 5, 5)
    assert all((found[:, 0] == w).all((1, 2)).any() for w in windows)
    assert (found[:, 0, None] == windows).all((2, 3)).any(1).all()


@pytest.mark.parametrize(
    ("padding", "border"),
    [
        (2, ((2, 2), (2, 2))),
        ((3,), ((3, 3), (3, 3))),
        ((1, 2), ((2, 2), (1, 1))),
        ((1, 2, 3, 4), ((2, 4), (1, 3))),
    ],
)
@pytest.mark.parametrize("mode", ["constant", "edge", "reflect", "symmetric"])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_pad(backend, padding, border, mode, dtype):
    x = images(dtype=dtype)
    np.testing.assert_array_equal(
        run(Pad(padding, padding_mode=mode), x), np.pad(x, ((0, 0), (0, 0), *border), mode=mode)
    )


@pytest.mark.parametrize("make", [lambda **o: Pad(1, **o), lambda **o: RandomCrop(5, 4, **o),
                                  lambda **o: RandomRotation((45, 45), "bilinear", **o)])  # fmt: skip
def test_fill(backend, make):
    x = images(40, dtype="uint8")
    found = run(make(fill=(1, 128, 255)), x)
    assert (found == np.array([1, 128, 255]).reshape(3, 1, 1)).all(1).any()
    assert run(make(fill=0.25), images(40)).dtype == "float32"
    name = type(make()).__name__
    with pytest.raises(
        ShapeError, match=f"{name}: fill has 2 values, expected one, or one for each of 3 channels"
    ):
        make(fill=(1, 2))(x)
    for fill in (0.5, 256, -1):
        with pytest.raises(
            ValueError,
            match=f"{name}: fill is {fill}.*, expected integers from 0 to 255, as the array is uint8",
        ):
            make(fill=fill)(x)
    with pytest.raises(ValueError, match=rf"{name}: fill is 1e\+30, expected numbers that float16 can hold"):
        make(fill=1e30)(images(dtype="float16"))
    with pytest.raises(ValueError, match=f"{name}: mask_fill is 300.0, expected integers from 0 to 255"):
        make(masks=1, mask_fill=300)((x, x), 0)
    _, mask = make(masks=1, mask_fill=255)((xpconv.asarray(x), xpconv.asarray(x[:, 0] // 2)), 0)
    assert (xpconv.asnumpy(mask) == 255).any()


# --- sizes -------------------------------------------------------------------------------------------


def test_resize_by_the_shorter_side():
    assert Resize(4)(images(size=(8, 20))).shape == (5, 3, 4, 10)
    assert Resize((4,))(images(size=(20, 8))).shape == (5, 3, 10, 4)
    assert Resize(5)(images(size=(7, 9))).shape == (5, 3, 5, 6)  # 6.4, rounded down as in torchvision
    assert Resize(7)(images(size=(1, 3))).shape == (5, 3, 7, 21)


@pytest.mark.parametrize("interpolation", ["nearest", "nearest-exact", "bilinear", "bicubic"])
@pytest.mark.parametrize("dtype", ["uint8", "float16", "float32", "float64"])
def test_resize_against_pytorch(backend, interpolation, dtype):
    torch = pytest.importorskip("torch")
    x = images(dtype=dtype)
    smooth = {"antialias": True} if interpolation[:2] == "bi" else {}
    wide = torch.from_numpy(x.astype("float64"))
    expected = torch.nn.functional.interpolate(wide, (3, 11), mode=interpolation, **smooth).numpy()
    expected = np.rint(expected).clip(0, 255) if dtype == "uint8" else expected
    found = run(Resize((3, 11), interpolation), x)
    atol = {"uint8": 1, "float16": 1e-3, "float32": 1e-6, "float64": 1e-12}[dtype]
    np.testing.assert_allclose(found.astype("f8"), expected, atol=atol)


def test_random_resized_crop_draws_boxes_within_its_limits():
    transform = RandomResizedCrop(8, scale=(0.2, 0.5), ratio=(0.5, 2))
    (boxes,) = transform._draw(np.random.default_rng(0), (2000, 3, 40, 30))
    top, left, height, width = boxes.T
    assert (
        (top >= 0).all() and (top + height <= 40).all() and (left >= 0).all() and (left + width <= 30).all()
    )
    share = height * width / 1200
    assert 0.18 < share.min() < 0.22 and 0.45 < share.max() < 0.54
    ratio = width / height
    assert 0.45 < ratio.min() < 0.6 and 1.5 < ratio.max() < 2.1  # a wide one is limited by the image
    assert abs(np.log(ratio).mean()) < 0.15
    for start, room in ((top, 40 - height), (left, 30 - width)):
        assert (start == 0).any() and (start == room).any()
        assert abs((start[room > 0] / room[room > 0]).mean() - 0.5) < 0.03


@pytest.mark.parametrize(
    ("size", "ratio", "box"),
    [((10, 90), (1, 1), (0, 40, 10, 10)), ((90, 10), (1, 2), (40, 0, 10, 10)), ((9, 9), (0.2, 0.3), None)],
)
def test_random_resized_crop_falls_back_to_the_centre(size, ratio, box):
    """Where no try fits, as torchvision does: the largest part of an allowed ratio, else the whole image."""
    transform = RandomResizedCrop(8, scale=(1, 1), ratio=ratio)
    (boxes,) = transform._draw(np.random.default_rng(0), (4, 3, *size))
    box = box or (0, 3, 9, 3)  # narrow: 0.3 of the height
    assert boxes.tolist() == [list(box)] * 4


def test_random_resized_crop_is_the_resized_crop(backend):
    torch = pytest.importorskip("torch")
    x, transform = images(size=(20, 17), dtype="float64"), RandomResizedCrop((6, 9))
    (boxes,) = transform._draw(np.random.default_rng(0), x.shape)
    found = run(transform, x)
    for n, (top, left, height, width) in enumerate(boxes):
        crop = torch.from_numpy(x[n : n + 1, :, top : top + height, left : left + width])
        expected = torch.nn.functional.interpolate(crop, (6, 9), mode="bilinear", antialias=True)
        np.testing.assert_allclose(found[n], expected.numpy()[0], atol=1e-12)


# --- rotation and affine maps ------------------------------------------------------------------------


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
@pytest.mark.parametrize("n", [4, 5])
def test_rotation_by_right_angles_is_exact(backend, n, interpolation):
    x = images(size=(n, n), dtype="float64")
    for quarter in range(-4, 5):
        found = run(RandomRotation((90 * quarter, 90 * quarter), interpolation), x)
        np.testing.assert_allclose(found, np.rot90(x, quarter, (2, 3)), atol=1e-12)


def test_rotation_around_a_point(backend):
    x = numbered(1, 5, 5)
    found = run(RandomRotation((180, 180), center=(1.5, 2.5), fill=-1), x)[
        0, 0
    ]  # the pixel of row 2, column 1
    assert found[2, 1] == x[0, 0, 2, 1] and found[2, 0] == x[0, 0, 2, 2] and found[2, 4] == -1


def test_affine_draws_within_its_limits():
    transform = RandomAffine((10, 20), (0.2, 0.1), (0.5, 2), (5, 8))
    (matrix,) = transform._draw(np.random.default_rng(0), (2000, 3, 41, 31))
    linear = np.linalg.inv(matrix[:, :, :2])
    scale = np.sqrt(np.linalg.det(linear))
    assert 0.5 <= scale.min() < 0.52 and 1.97 < scale.max() <= 2
    angle = np.degrees(np.arctan2(linear[:, 1, 0], linear[:, 0, 0]))
    assert 10 <= angle.min() < 10.1 and 19.9 < angle.max() <= 20
    centre = np.array([15, 20.0])  # of columns, rows
    move = np.einsum("nij,nj->ni", linear, centre - matrix[:, :, 2]) - centre
    np.testing.assert_allclose(move, np.rint(move), atol=1e-9)
    assert np.abs(np.rint(move)).max(0).tolist() == [6, 4]


def test_affine_maps_at_the_limits(backend):
    x = images()
    for scale in (1e-6, 1e6):
        found = run(RandomAffine(0, scale=(scale, scale), interpolation="bilinear", center=(1e6, -1e6)), x)
        assert np.isfinite(found).all()
    assert np.isfinite(run(RandomErasing(1, ratio=(1e-6, 1e6)), x)).all()
    assert np.isfinite(run(RandomResizedCrop(4, ratio=(1e-6, 1e6)), x)).all()


def test_an_affine_map_of_nothing_is_the_image(backend):
    x = images()
    np.testing.assert_allclose(run(RandomAffine(0, interpolation="bilinear"), x), x, atol=1e-6)
    np.testing.assert_array_equal(run(RandomAffine(0), x), x)


# --- colours -----------------------------------------------------------------------------------------


def test_hue_and_saturation_against_the_standard_library(backend):
    x = images(3, dtype="float64")
    for shift in (-0.5, -0.2, 0.0, 0.3, 0.5):
        found = run(ColorJitter(hue=(shift, shift)), x)
        for n, i, j in np.ndindex(3, 7, 6):
            h, s, v = colorsys.rgb_to_hsv(*x[n, :, i, j])
            np.testing.assert_allclose(
                found[n, :, i, j], colorsys.hsv_to_rgb((h + shift) % 1, s, v), atol=1e-12
            )


def test_colours_in_every_order():
    """Each image gets the changes in an order of its own; an order is the same as the changes one by one."""
    x = np.repeat(images(1, dtype="float64"), 300, axis=0)
    brightness, contrast = ColorJitter(brightness=(1.5, 1.5)), ColorJitter(contrast=(0.5, 0.5))
    found = ColorJitter(brightness=(1.5, 1.5), contrast=(0.5, 0.5))(x, 0)
    one, other = contrast(brightness(x)), brightness(contrast(x))
    near_one = np.isclose(found, one).all((1, 2, 3))
    near_other = np.isclose(found, other).all((1, 2, 3))
    assert (near_one ^ near_other).all() and 120 < near_one.sum() < 180


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_colours_stay_in_range(backend, dtype):
    found = run(ColorJitter(5, 5, 5, 0.5), images(50, dtype=dtype))
    top = 255 if dtype == "uint8" else 1
    assert found.min() == 0 and found.max() == top and found.dtype == dtype
    with pytest.raises(
        ShapeError, match=r"ColorJitter: images have 2 channels, expected 1 \(gray\) or 3 \(RGB\)"
    ):
        ColorJitter(1)(images(c=2))
    with pytest.raises(ShapeError, match="Grayscale: images have 4 channels"):
        Grayscale()(images(c=4))


def test_colours_of_images_that_are_not_from_0_to_1():
    with pytest.raises(
        ValueError, match=r"ColorJitter: images have values up to 255, expected 0 to 1; divide by 255"
    ):
        ColorJitter(0.1)(images() * 255 / images().max())
    ColorJitter(0.1)(images() * 1.2 - 0.1)  # as bicubic interpolation makes them


def test_no_colour_change_is_none(backend):
    x = images(dtype="uint8")
    np.testing.assert_array_equal(run(ColorJitter(), x), x)
    assert not np.shares_memory(ColorJitter()(x), x)


def test_gray_images_in_three_channels(backend):
    x = images(c=1)
    np.testing.assert_array_equal(run(Grayscale(3), x), np.repeat(x, 3, 1))
    np.testing.assert_array_equal(run(Grayscale(), x), x)


def test_normalize(backend):
    x = images(dtype="float64")
    np.testing.assert_allclose(run(Normalize(0.5, 2), x), (x - 0.5) / 2)
    mean, std = np.array([0.1, 0.2, 0.3]), np.array([1.0, 2.0, 4.0])
    found = run(Normalize(mean, std), x)
    np.testing.assert_allclose(found, (x - mean[:, None, None]) / std[:, None, None])
    np.testing.assert_allclose(run(Normalize(x.mean(), x.std()), x).std(), 1)
    with pytest.raises(
        ShapeError, match="Normalize: mean has 2 values, expected one, or one for each of 3 channels"
    ):
        Normalize((1, 2), 1)(x)


def test_to_dtype(backend):
    x = np.arange(256, dtype="uint8").reshape(1, 1, 16, 16)
    for dtype in ("float16", "float32", "float64"):
        scaled = run(ToDtype(dtype, scale=True), x)
        assert scaled.dtype == dtype and scaled.max() == 1
        np.testing.assert_array_equal(run(ToDtype("uint8", scale=True), scaled), x)
        plain = run(ToDtype(dtype), x)
        np.testing.assert_array_equal(plain, x.astype(dtype))
        np.testing.assert_array_equal(run(ToDtype("uint8"), plain), x)
    outside = np.array([-0.5, 0, 1, 1.5], "float32").reshape(1, 1, 4)
    assert run(ToDtype("uint8", scale=True), outside).ravel().tolist() == [0, 0, 255, 255]
    for dtype in ("int64", "bool", "complex64", "nonsense"):
        with pytest.raises(DTypeError, match=r"ToDtype: dtype is"):
            ToDtype(dtype)(x)


# --- rectangles --------------------------------------------------------------------------------------


def rectangle(changed):
    """(top, left, bottom, right) of the pixels that are True; None if there are none."""
    rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
    if not len(rows):
        return None
    box = rows[0], columns[0], rows[-1] + 1, columns[-1] + 1
    assert changed[box[0] : box[2], box[1] : box[3]].all() and changed.sum() == len(rows) * len(columns)
    return box


def test_random_erasing(backend):
    x = images(500, size=(20, 30)) + 1
    found = run(RandomErasing(0.5, scale=(0.1, 0.2), ratio=(0.5, 2), value=(0, 0.5, 1)), x)
    boxes = [rectangle((a != b).all(0)) for a, b in zip(found, x, strict=True)]
    assert 200 < sum(b is not None for b in boxes) < 300
    for image, box in zip(found, boxes, strict=True):
        if box is not None:
            top, left, bottom, right = box
            inside = image[:, top:bottom, left:right]
            assert (inside == np.array([0, 0.5, 1]).reshape(3, 1, 1)).all()
            assert 0.08 < (bottom - top) * (right - left) / 600 < 0.22
            assert 0.4 < (bottom - top) / (right - left) < 2.3
    np.testing.assert_array_equal(run(RandomErasing(0), x), x)


def test_random_erasing_with_noise(backend):
    x = images(200, size=(16, 16), dtype="float64") + 100
    found = run(RandomErasing(1, (0.3, 0.3), value="random"), x)
    noise = found[found < 50]
    assert len(noise) > 200 * 3 * 60 and abs(noise.mean()) < 0.02 and abs(noise.std() - 1) < 0.02


def test_cutout_is_cut_off_at_the_border(backend):
    x = np.ones((2000, 1, 6, 5), "uint8")
    found = run(Cutout((3, 2)), x)[:, 0]
    boxes = np.array([rectangle(a == 0) for a in found])
    sizes = boxes[:, 2:] - boxes[:, :2]
    assert sizes.max(0).tolist() == [3, 2] and sizes.min(0).tolist() == [2, 1]
    assert found.mean(0).min() > 0.5 and found.mean(0).max() < 0.95
    assert run(Cutout(50, value=7), x).tolist() == np.full_like(x, 7).tolist()


# --- mixtures ----------------------------------------------------------------------------------------

VALUES = np.array([0.0, 0.3, 1.0])  # image of class k: all pixels VALUES[k]


def classes(n, dtype="float64", c=3):
    y = np.random.default_rng(1).integers(0, 3, n)
    scale = 100 if dtype == "uint8" else 1
    return (np.broadcast_to((VALUES[y] * scale).reshape(n, 1, 1, 1), (n, c, 8, 6))).astype(dtype), y


@pytest.mark.parametrize("form", ["indices", "one-hot", "probabilities"])
@pytest.mark.parametrize("mix", [MixUp, CutMix])
@pytest.mark.parametrize("dtype", ["uint8", "float16", "float32", "float64"])
def test_mixtures_of_images_and_targets_agree(backend, mix, form, dtype):
    """The mean of the pixels is that of the classes by the mixed targets."""
    if mix is MixUp and dtype == "uint8":
        pytest.skip("refused")
    x, y = classes(200, dtype)
    soft = "float32" if dtype == "uint8" else dtype
    given = {"indices": y, "one-hot": np.eye(3, dtype="int64")[y], "probabilities": np.eye(3, dtype=soft)[y]}[
        form
    ]
    transform = mix(num_classes=3 if form == "indices" else None)
    images, targets = transform((xpconv.asarray(x), xpconv.asarray(given)), 0)
    assert images.dtype == dtype and targets.dtype == soft and targets.shape == (200, 3)
    images, targets = xpconv.asnumpy(images).astype("f8"), xpconv.asnumpy(targets).astype("f8")
    scale = 100 if dtype == "uint8" else 1
    near = {"float16": 3e-3, "float64": 1e-12}.get(dtype, 1e-5)
    np.testing.assert_allclose(targets.sum(1), 1, atol=near)
    np.testing.assert_allclose(images.mean((1, 2, 3)) / scale, targets @ VALUES, atol=near)
    assert len(np.unique(targets.max(1).round(3))) > 10  # a share for each image
    if mix is CutMix:
        assert set(np.unique(images)) <= set(x.astype("f8").ravel())
        for image in images:
            parts = np.unique(image)
            assert len(parts) <= 2
            if len(parts) == 2:
                assert any(part_is_box(image[0] == p) for p in parts)


def part_is_box(changed):
    try:
        return rectangle(changed) is not None
    except AssertionError:
        return False


def test_mixtures_in_training(backend):
    """The loss takes the targets."""
    x, y = classes(16, "float32")
    x, y = MixUp(alpha=0.4, num_classes=3)((xpconv.asarray(x), xpconv.asarray(y)), 0)
    model = xpconv.Sequential(xpconv.Flatten(), xpconv.Dense(144, 3, rng=0))
    criterion = xpconv.SoftmaxCrossEntropyLoss()
    assert float(criterion(model(x), y)) > 0
    model.backward(criterion.backward())


def test_mixtures_of_small_batches(backend):
    for n in (0, 1):
        x, y = classes(n)
        for mix in (MixUp(num_classes=3), CutMix(num_classes=3)):
            images, targets, weight = mix(tuple(map(xpconv.asarray, (x, y, np.ones(n)))), 0)
            assert images.shape == x.shape and targets.shape == (n, 3) and weight.shape == (n,)
            np.testing.assert_allclose(xpconv.asnumpy(images), x)
            np.testing.assert_allclose(xpconv.asnumpy(targets), np.eye(3)[y])


@pytest.mark.parametrize("mix", [MixUp, CutMix])
def test_mixtures_refuse(mix):
    x, y = classes(4)
    name, whole = mix.__name__, mix(num_classes=3)
    cases = [
        (whole, x, ShapeError, "got images alone, expected a batch (images, targets)"),
        (whole, (x[0], y[0]), ShapeError, "got one image, expected a batch"),
        (mix(), (x, y), ValueError, "the targets are class indices; give num_classes"),
        (whole, (x, y[:3]), ShapeError, "the targets have shape (3,), expected (4,) (class indices) or (4, num_classes)"),
        (whole, (x, y.reshape(2, 2)), ShapeError, "the targets have shape (2, 2)"),
        (whole, (x, np.zeros((4, 8, 6), int)), ShapeError, "the targets have shape (4, 8, 6)"),
        (whole, (x, np.eye(4)), ShapeError, "the targets have 4 columns, expected num_classes = 3"),
        (whole, (x, y.astype("f4")), DTypeError, "target is float32, expected integer class indices"),
        (whole, (x, np.ones((4, 3), complex)), DTypeError, "the targets are complex128, expected probabilities"),
        (whole, (x, y + 1), ValueError, "target holds class 3, expected 0 to 2"),
        (whole, (x, list(y)), BackendError, "targets: expected an array"),
        (whole, (x, xpconv.asarray(y, backend="double")), BackendError, "the targets are on double but the images are on"),
    ]  # fmt: skip
    for transform, batch, error, message in cases:
        with pytest.raises(error, match=f"^{name}: .*{re.escape(message)}"):
            transform(batch, 0)


# --- one after the other -----------------------------------------------------------------------------


def test_compose_and_functions_of_ones_own(backend):
    x, y = xpconv.asarray(images()), xpconv.asarray(np.arange(5))

    def noise(batch, rng):
        x, y = batch
        return x + xpconv.asarray(rng.normal(size=x.shape).astype("float32")), y + 1

    rng = np.random.default_rng(0)
    expected = noise(RandomHorizontalFlip()((x, y), rng), rng)
    found = Compose([RandomHorizontalFlip(), noise])((x, y), 0)
    np.testing.assert_array_equal(xpconv.asnumpy(found[0]), xpconv.asnumpy(expected[0]))
    np.testing.assert_array_equal(xpconv.asnumpy(found[1]), np.arange(1, 6))
    assert Compose([])(x) is x


def test_random_apply(backend):
    x = images(400)
    y, mask = np.arange(400), (x[:, 0] > 0.5).astype("int64")
    inner = [RandomVerticalFlip(1, masks=2), ColorJitter(brightness=(0.5, 0.5))]
    batch = tuple(map(xpconv.asarray, (x, y, mask)))
    found, same, moved = map(xpconv.asnumpy, RandomApply(inner, 0.25)(batch, 0))
    changed = (found != x).any((1, 2, 3))
    assert 70 < changed.sum() < 130
    np.testing.assert_allclose(found[changed], x[changed][:, :, ::-1] / 2, rtol=1e-6)
    np.testing.assert_array_equal(found[~changed], x[~changed])
    np.testing.assert_array_equal(moved[changed], mask[changed][:, ::-1])
    np.testing.assert_array_equal(moved[~changed], mask[~changed])
    np.testing.assert_array_equal(same, y)
    np.testing.assert_array_equal(run(RandomApply(inner[1:], 1), x), (x * np.float32(0.5)))
    np.testing.assert_array_equal(run(RandomApply(inner[1:], 0), x), x)
    image, label = RandomApply(inner[1:], 1)((xpconv.asarray(x[0]), 3), 0)
    assert image.shape == x[0].shape and label == 3
    with pytest.raises(
        ShapeError, match=r"RandomApply: array 0 of the batch changed from float32 .* to float32 .*keep"
    ):
        RandomApply([Resize(3, masks=2)])(batch, 0)
    with pytest.raises(ShapeError, match="RandomApply: array 1 of the batch changed from int64"):
        RandomApply([MixUp(num_classes=400)])(batch, 0)
    for wrong, message in [
        (lambda batch, rng: batch[0], "expected a tuple of 3 arrays"),
        (lambda batch, rng: batch[:2], "expected a tuple of 3 arrays"),
        (
            lambda batch, rng: (batch[0], None, batch[2]),
            "transforms gave None for array 1, expected an array",
        ),
    ]:
        with pytest.raises(TypeError, match=f"RandomApply: .*{message}"):
            RandomApply([wrong])(batch, 0)


# --- settings ----------------------------------------------------------------------------------------

SETTINGS = [
    (lambda: RandomHorizontalFlip(1.5), ValueError, "RandomHorizontalFlip: p is 1.5, expected a probability from 0 to 1"),
    (lambda: RandomVerticalFlip(-0.1), ValueError, "RandomVerticalFlip: p is -0.1, expected a probability"),
    (lambda: RandomHorizontalFlip("x"), TypeError, "RandomHorizontalFlip: p is 'x', expected a number"),
    (lambda: RandomHorizontalFlip(float("nan")), ValueError, "RandomHorizontalFlip: p is nan"),
    (lambda: RandomHorizontalFlip(masks="y"), TypeError, "RandomHorizontalFlip: masks is 'y', expected an int"),
    (lambda: RandomHorizontalFlip(q=1), TypeError, "RandomHorizontalFlip: "),
    (lambda: RandomCrop(), TypeError, "RandomCrop: "),
    (lambda: RandomCrop(0), ValueError, "RandomCrop: size is 0, expected at least 1"),
    (lambda: RandomCrop((3, 4, 5)), ValueError, "RandomCrop: size is (3, 4, 5), expected an int or 2 of them"),
    (lambda: RandomCrop(3.5), TypeError, "RandomCrop: size is 3.5, expected an int"),
    (lambda: RandomCrop(3, -1), ValueError, "RandomCrop: padding is -1, expected at least 0"),
    (lambda: RandomCrop(3, (1, 2, 3)), ValueError, "RandomCrop: padding is (1, 2, 3), expected an int, (left and right, top"),
    (lambda: RandomCrop(3, 1, 2), TypeError, "RandomCrop: pad_if_needed is 2, expected True or False"),
    (lambda: RandomCrop(3, fill="red"), TypeError, "RandomCrop: fill is 'red', expected a number"),
    (lambda: RandomCrop(3, fill=()), ValueError, "RandomCrop: fill is empty, expected a number, or one for each channel"),
    (lambda: RandomCrop(3, fill=float("inf")), ValueError, "RandomCrop: fill is inf, expected a finite number"),
    (lambda: RandomCrop(3, padding_mode="zeros"), ValueError, "RandomCrop: padding_mode is 'zeros', expected one of 'constant'"),
    (lambda: Pad(1, mask_fill="x"), TypeError, "Pad: mask_fill is 'x', expected a number"),
    (lambda: CenterCrop(-1), ValueError, "CenterCrop: size is -1, expected at least 1"),
    (lambda: Resize(0), ValueError, "Resize: size is 0, expected at least 1"),
    (lambda: Resize((1, 2, 3)), ValueError, "Resize: size is (1, 2, 3), expected an int or 2 of them"),
    (lambda: Resize(3, "lanczos"), ValueError, "Resize: interpolation is 'lanczos', expected one of 'nearest'"),
    (lambda: Resize(3, antialias=None), TypeError, "Resize: antialias is None, expected True or False"),
    (lambda: RandomResizedCrop(3, (0.5, 0.2)), ValueError, "RandomResizedCrop: scale is (0.5, 0.2), expected min <= max between 0 and 1"),
    (lambda: RandomResizedCrop(3, (0.5, 1.2)), ValueError, "RandomResizedCrop: scale is (0.5, 1.2), expected min <= max between 0 and 1"),
    (lambda: RandomResizedCrop(3, 0.5), ValueError, "RandomResizedCrop: scale is 0.5, expected a pair (min, max)"),
    (lambda: RandomResizedCrop(3, ratio=(0, 1)), ValueError, "RandomResizedCrop: ratio is (0, 1), expected numbers above 0"),
    (lambda: RandomRotation(-5), ValueError, "RandomRotation: degrees is -5, expected at least 0"),
    (lambda: RandomRotation((1, 2, 3)), ValueError, "RandomRotation: degrees is (1, 2, 3), expected a number or a pair"),
    (lambda: RandomRotation((5, 2)), ValueError, "RandomRotation: degrees is (5, 2), expected min <= max"),
    (lambda: RandomRotation(1e7), ValueError, "RandomRotation: degrees is 10000000.0, expected min <= max between -1e+06 and 1e+06"),
    (lambda: RandomRotation(5, center=(0, 1e9)), ValueError, "RandomRotation: center is (0, 1000000000.0), expected pixels within 1e6"),
    (lambda: RandomAffine(5, scale=(1e-300, 1)), ValueError, "RandomAffine: scale is (1e-300, 1), expected numbers above 0, from 1e-6 to 1e6"),
    (lambda: RandomErasing(ratio=(1, 1e300)), ValueError, "RandomErasing: ratio is (1, 1e+300), expected numbers above 0, from 1e-6"),
    (lambda: RandomRotation(5, "bicubic"), ValueError, "RandomRotation: interpolation is 'bicubic', expected 'nearest' or 'bilinear'"),
    (lambda: RandomRotation(5, center=3), ValueError, "RandomRotation: center is 3, expected a pair (x, y)"),
    (lambda: RandomAffine(5, 0.1), ValueError, "RandomAffine: translate is 0.1, expected a pair (x, y) of shares"),
    (lambda: RandomAffine(5, (0.1, 1.1)), ValueError, "RandomAffine: translate is (0.1, 1.1), expected shares from 0 to 1"),
    (lambda: RandomAffine(5, scale=(0, 1)), ValueError, "RandomAffine: scale is (0, 1), expected numbers above 0"),
    (lambda: RandomAffine(5, shear=90), ValueError, "RandomAffine: shear is 90, expected min <= max between -89 and 89"),
    (lambda: RandomAffine(5, shear=(1, 2, 3)), ValueError, "RandomAffine: shear is (1, 2, 3), expected a number or a pair"),
    (lambda: ColorJitter(-1), ValueError, "ColorJitter: brightness is -1, expected at least 0"),
    (lambda: ColorJitter(contrast=(-1, 1)), ValueError, "ColorJitter: contrast is (-1, 1), expected min <= max of at least 0"),
    (lambda: ColorJitter(hue=0.6), ValueError, "ColorJitter: hue is 0.6, expected min <= max between -0.5 and 0.5"),
    (lambda: Grayscale(2), ValueError, "Grayscale: num_output_channels is 2, expected 1 or 3"),
    (lambda: Normalize(0, 0), ValueError, "Normalize: std is 0.0, expected numbers above 0"),
    (lambda: Normalize("0", 1), TypeError, "Normalize: mean is '0', expected a number"),
    (lambda: Normalize((0, None), 1), TypeError, "Normalize: mean is None, expected a number"),
    (lambda: ToDtype("float32", scale=1), TypeError, "ToDtype: scale is 1, expected True or False"),
    (lambda: RandomErasing(value="noise"), ValueError, "RandomErasing: value is 'noise', expected a number, one for each channel, or"),
    (lambda: RandomErasing(scale=(0, 2)), ValueError, "RandomErasing: scale is (0, 2), expected min <= max between 0 and 1"),
    (lambda: Cutout(0), ValueError, "Cutout: size is 0, expected at least 1"),
    (lambda: MixUp(alpha=0), ValueError, "MixUp: alpha is 0, expected a number above 0"),
    (lambda: MixUp(0.5), TypeError, "MixUp: "),
    (lambda: CutMix(num_classes=0), ValueError, "CutMix: num_classes is 0, expected at least 1"),
    (lambda: Compose(Resize(3)), TypeError, "Compose: transforms is Resize(size=3), expected a list of transforms"),
    (lambda: Compose([Resize]), TypeError, "expected a transform; make an instance of it"),
    (lambda: Compose([Resize(3), None]), TypeError, "Compose: transforms[1] is None, expected a transform"),
    (lambda: RandomApply([], 2), ValueError, "RandomApply: p is 2, expected a probability from 0 to 1"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "error", "message"), SETTINGS, ids=[m for _, _, m in SETTINGS])
def test_settings(call, error, message):
    with pytest.raises(error, match=re.escape(message)):
        call()
