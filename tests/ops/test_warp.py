"""The map of coordinates behind the transforms, against NumPy's pad, SciPy and PyTorch, for each image alone."""

import numpy as np
import pytest

import xpconv
from xpconv.ops import warp
from xpconv.ops.warp import INTERPOLATIONS, PADDING_MODES, affine, resize, window


def images(*shape, dtype="float64", seed=0):
    return np.random.default_rng(seed).random(shape).astype(dtype)


def put(*arrays):
    return [xpconv.asarray(a) for a in arrays]


@pytest.mark.parametrize("mode", PADDING_MODES)
@pytest.mark.parametrize("shape", [(4, 3, 5, 7), (4, 1, 1, 1), (4, 2, 1, 6), (0, 3, 4, 4)], ids=str)
def test_window_is_a_slice_of_the_padded_image(backend, mode, shape):
    """Also where it is many times the image away from it, and where it does not touch it."""
    x = images(*shape)
    top, left = np.array([-9, 0, 3, 12])[: shape[0]], np.array([2, -1, -13, 9])[: shape[0]]
    fill = np.array([0.25, 0.5, 0.75]).reshape(1, 3, 1, 1)[:, : shape[1]]
    found = window(xpconv.get_xp(), *put(x, top, left), (6, 4), mode, *put(fill))
    assert found.shape == (shape[0], shape[1], 6, 4) and found.dtype == x.dtype
    for n in range(shape[0]):
        for c in range(shape[1]):
            options = {"constant_values": fill[0, c, 0, 0]} if mode == "constant" else {}
            padded = np.pad(x[n, c], 20, mode=mode, **options)
            expected = padded[20 + top[n] :, 20 + left[n] :][:6, :4]
            np.testing.assert_array_equal(xpconv.asnumpy(found[n, c]), expected)


def matrices(n, h, w, seed=1):
    """Maps around the centre: turned, scaled, moved."""
    rng = np.random.default_rng(seed)
    linear = np.eye(2) + rng.uniform(-0.6, 0.6, (n, 2, 2))
    centre = np.array([(w - 1) / 2, (h - 1) / 2])
    offset = centre - linear @ centre + rng.uniform(-2, 2, (n, 2))
    return np.concatenate([linear, offset[:, :, None]], 2)


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
@pytest.mark.parametrize("size", [(6, 9), (1, 1), (1, 5)], ids=str)
def test_affine_agrees_with_scipy(backend, size, interpolation):
    ndimage = pytest.importorskip("scipy.ndimage")
    h, w = size
    x, matrix = images(5, 2, h, w), matrices(5, h, w)
    fill = np.array([0.3, -1.0]).reshape(1, 2, 1, 1)
    found = affine(xpconv.get_xp(), *put(x, matrix), interpolation, *put(fill))
    for n in range(5):
        for c in range(2):
            expected = ndimage.affine_transform(
                x[n, c],
                matrix[n, ::-1, 1::-1],  # SciPy's axes are rows, columns
                matrix[n, ::-1, 2],
                order=int(interpolation == "bilinear"),
                mode="grid-constant",
                cval=fill[0, c, 0, 0],
            )
            np.testing.assert_allclose(xpconv.asnumpy(found[n, c]), expected, atol=1e-12)


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
def test_affine_agrees_with_pytorch(backend, interpolation):
    torch = pytest.importorskip("torch")
    n, c, h, w = 6, 3, 7, 10
    x, matrix = images(n, c, h, w), matrices(n, h, w, seed=2)
    found = affine(xpconv.get_xp(), *put(x, matrix), interpolation, *put(np.full((1, 1, 1, 1), 0.5)))
    j, i = np.meshgrid(np.arange(w), np.arange(h))
    places = np.einsum("nkl,lhw->nhwk", matrix, np.stack([j, i, np.ones_like(i)]))
    grid = torch.from_numpy((places + 0.5) * 2 / np.array([w, h]) - 1)
    expected = torch.nn.functional.grid_sample(
        torch.from_numpy(x - 0.5), grid, mode=interpolation, padding_mode="zeros", align_corners=False
    )
    np.testing.assert_allclose(xpconv.asnumpy(found), expected.numpy() + 0.5, atol=1e-12)


BOXES = np.array([[0, 0, 11, 8], [2, 1, 5, 6], [10, 7, 1, 1], [0, 3, 11, 2]])


@pytest.mark.sample(4)
@pytest.mark.parametrize("dense", [0, warp.DENSE, 1000], ids=["rows", "either", "matrix"])
@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize("size", [(5, 4), (11, 8), (17, 13), (1, 20), (3, 2)], ids=str)
def test_resize_of_boxes_agrees_with_pytorch_on_each_crop(
    backend, monkeypatch, size, interpolation, antialias, dense
):
    """Both by the rows that a sum has and by a matrix."""
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(warp, "DENSE", dense)
    x = images(4, 3, 11, 8)
    found = resize(xpconv.get_xp(), *put(x, BOXES), size, interpolation, antialias)
    assert found.shape == (4, 3, *size)
    smooth = {"antialias": antialias, "align_corners": False} if interpolation[:2] == "bi" else {}
    for n, (top, left, height, width) in enumerate(BOXES):
        crop = torch.from_numpy(x[n : n + 1, :, top : top + height, left : left + width])
        expected = torch.nn.functional.interpolate(crop, size, mode=interpolation, **smooth)
        np.testing.assert_allclose(xpconv.asnumpy(found[n : n + 1]), expected.numpy(), atol=1e-12)


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize("size", [(1, 3), (3, 1), (1, 1), (4, 9)], ids=str)
def test_resize_treats_both_axes_alike(backend, size, interpolation):
    """Also where PyTorch 2.13 does not: with antialias, its rows of a result that is one pixel wide are equal."""
    x = images(4, 3, 11, 8)
    found = resize(xpconv.get_xp(), *put(x, BOXES), size, interpolation, True)
    turned = put(x.swapaxes(2, 3), BOXES[:, [1, 0, 3, 2]])
    other = resize(xpconv.get_xp(), *turned, size[::-1], interpolation, True)
    np.testing.assert_allclose(xpconv.asnumpy(found), xpconv.asnumpy(other).swapaxes(2, 3), atol=1e-12)


@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize("size", [(30, 300), (330, 20)], ids=str)
def test_resize_of_large_images(size, interpolation, antialias):
    """Of which few rows or columns are read for a pixel, or nearly all."""
    torch = pytest.importorskip("torch")
    x, boxes = images(2, 2, 310, 290), np.array([[0, 0, 310, 290], [3, 100, 300, 17]])
    found = resize(np, x, boxes, size, interpolation, antialias)
    assert found.dtype == "float64"
    smooth = {"antialias": antialias, "align_corners": False} if interpolation[:2] == "bi" else {}
    for n, (top, left, height, width) in enumerate(boxes):
        crop = torch.from_numpy(x[n : n + 1, :, top : top + height, left : left + width])
        expected = torch.nn.functional.interpolate(crop, size, mode=interpolation, **smooth)
        np.testing.assert_allclose(found[n : n + 1], expected.numpy(), atol=1e-12)


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_resize_of_whole_images_takes_one_box(backend, interpolation):
    x = images(3, 2, 6, 5)
    one = resize(xpconv.get_xp(), *put(x, BOXES[:1] * 0 + [0, 0, 6, 5]), (4, 7), interpolation, True)
    each = resize(xpconv.get_xp(), *put(x, np.tile([0, 0, 6, 5], (3, 1))), (4, 7), interpolation, True)
    np.testing.assert_allclose(xpconv.asnumpy(one), xpconv.asnumpy(each), atol=1e-14)


def test_nothing_waits_for_the_device():
    import double

    with xpconv.use_backend("double"):
        x, matrix, boxes, top, fill = put(
            images(4, 3, 11, 8), matrices(4, 11, 8), BOXES, np.arange(4), np.zeros((1, 1, 1, 1))
        )
        with double.count_syncs() as counter:
            for mode in PADDING_MODES:
                window(double.xp, x, top, top, (6, 6), mode, fill)
            for interpolation in ("nearest", "bilinear"):
                affine(double.xp, x, matrix, interpolation, fill)
            for interpolation in INTERPOLATIONS:
                for antialias in (False, True):
                    resize(double.xp, x, boxes, (5, 5), interpolation, antialias)
        assert counter.n == 0
