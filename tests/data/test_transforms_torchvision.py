"""The functions behind the transforms give torchvision's values; see tests/helpers/torchvision_values.py."""

import json

import numpy as np
import pytest
import torchvision_values as made

import xpconv
from xpconv.data.transforms import (
    CenterCrop,
    ColorJitter,
    Grayscale,
    Normalize,
    RandomAffine,
    RandomRotation,
    Resize,
    ToDtype,
)

EXPECTED = {name: np.array(v) for name, v in json.loads(made.FILE.read_text()).items()}


def given(dtype):
    x = made.image()
    return x if dtype == "uint8" else (x / 255).astype(dtype)


def compare(name, transform, x, atol):
    found = transform(xpconv.asarray(x), 0)
    assert found.dtype == x.dtype
    np.testing.assert_allclose(xpconv.asnumpy(found).astype("f8"), EXPECTED[name], atol=atol, err_msg=name)


def test_the_values_are_those_of_the_script():
    names = {name.split(" ")[0] for name in EXPECTED}
    assert {"affine", "rotate", "resize", "hue", "center_crop", "normalize"} <= names
    assert made.image().shape == (3, 5, 6) and made.image().sum() == 12203


@pytest.mark.parametrize("mode", ["nearest", "bilinear"])
@pytest.mark.parametrize("k", range(len(made.AFFINE)))
def test_affine(backend, k, mode):
    """torchvision takes whole pixels to move; a range of one value is drawn exactly."""
    options = made.AFFINE[k]
    angle, scale, (sx, sy) = options["angle"], options["scale"], options["shear"]
    transform = RandomAffine(
        (angle, angle), scale=(scale, scale), shear=(sx, sx, sy, sy), interpolation=mode, center=options.get("center")
    )  # fmt: skip
    matrix = transform._matrix
    move = [np.full(1, t) for t in options["translate"]]
    transform._matrix = lambda size, angle, _, scale, shear: matrix(size, angle, move, scale, shear)
    compare(f"affine {k} {mode}", transform, given("float64"), 1.1e-5)
    compare(f"affine {k} {mode} uint8", transform, given("uint8"), 1 if mode == "bilinear" else 0)


@pytest.mark.parametrize("mode", ["nearest", "bilinear"])
def test_rotation(backend, mode):
    compare(f"rotate {mode}", RandomRotation((30, 30), mode), given("float64"), 1.1e-5)


@pytest.mark.parametrize("size", made.CENTER_CROPS, ids=str)
def test_center_crop(backend, size):
    compare(f"center_crop {size}", CenterCrop(size), given("uint8"), 0)


@pytest.mark.parametrize(("name", "factor"), made.COLOURS)
def test_colours(backend, name, factor):
    transform = ColorJitter(**{name: (factor, factor)})
    compare(f"{name} {factor}", transform, given("float32"), 1.2e-5)
    compare(f"{name} {factor} gray", transform, given("float32")[:1], 1.2e-5)
    compare(f"{name} {factor} uint8", transform, given("uint8"), 0)


def test_grayscale(backend):
    compare("grayscale", Grayscale(), given("float64"), 1.1e-5)
    compare("grayscale uint8", Grayscale(), given("uint8"), 0)


@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize("size", [[3, 4], [10, 4], [7, 9]], ids=str)
def test_resize(backend, size, antialias):
    """For uint8 torchvision computes in fixed point, so that halves may go the other way."""
    compare(f"resize {size} {antialias}", Resize(size, antialias=antialias), given("float64"), 1.1e-5)
    compare(f"resize {size} {antialias} uint8", Resize(size, antialias=antialias), given("uint8"), 1)


def test_to_dtype_and_normalize(backend):
    for dtype, x in (("float32", given("uint8")), ("uint8", given("float64"))):
        found = ToDtype(dtype, scale=True)(xpconv.asarray(x))
        assert found.dtype == dtype
        np.testing.assert_allclose(xpconv.asnumpy(found), EXPECTED[f"to {dtype}"], atol=1e-5)
    compare("normalize", Normalize((0.2, 0.5, 0.4), (0.3, 0.2, 0.1)), given("float64"), 1.1e-5)
