"""Convolutions of images in C order against the reference, and copies of planes to channels-last memory."""

import numpy as np
import pytest

from xpconv.geometry import Window
from xpconv.kernels.numpy import blocks, columns, planar
from xpconv.kernels.numpy.conv import conv, conv_backward_weight
from xpconv.ops import conv as reference

REFERENCE = reference.conv.__wrapped__, reference.conv_backward_weight.__wrapped__


def square(axes, size, stride=1, padding=0, dilation=1):
    return Window((size,) * axes, (stride,) * axes, ((padding, padding + 1),) * axes, (dilation,) * axes)


CASES = {  # shapes of x and weight, window
    "1×1": ((3, 20, 15, 14), (30, 20, 1, 1), Window((1, 1), (1, 1), ((0, 0),) * 2, (1, 1))),
    "1×1, padded": ((3, 20, 15, 14), (30, 20, 1, 1), square(2, 1, 1, 1)),
    "1×1, to fewer": ((3, 100, 15, 14), (30, 100, 1, 1), square(2, 1)._replace(padding=((0, 0),) * 2)),
    "1×1, to more": ((3, 20, 15, 14), (100, 20, 1, 1), square(2, 1)._replace(padding=((0, 0),) * 2)),
    "7×7, colours": ((2, 3, 70, 70), (16, 3, 7, 7), square(2, 7, 2, 3)),
    "3×3, dilated": ((3, 20, 15, 14), (30, 20, 3, 3), square(2, 3, 1, 1, 2)),
    "5×5": ((2, 17, 20, 19), (16, 17, 5, 5), square(2, 5, 1, 2)),
    "strided": ((3, 20, 15, 14), (30, 20, 3, 3), square(2, 3, 2, 1)),
    "few input channels": ((3, 3, 32, 32), (64, 3, 3, 3), square(2, 3, 1, 1)),
    "long": ((2, 16, 3000), (16, 16, 5), square(1, 5)),
    "three axes": ((2, 16, 5, 6, 7), (18, 16, 2, 2, 2), square(3, 2)),
    "many images": ((600, 16, 4, 4), (16, 16, 1, 1), Window((1, 1), (1, 1), ((0, 0),) * 2, (1, 1))),
    "planes of pages": ((2, 64, 32, 32), (24, 64, 3, 3), square(2, 3, 2, 1)),
}


def arrays(case, dtype, seed):
    x_shape, w_shape, window = CASES[case]
    rng = np.random.default_rng(seed)
    shapes = x_shape, w_shape, (x_shape[0], w_shape[0], *window.output_shape(x_shape[2:]))
    return *(rng.normal(size=shape).astype(dtype) for shape in shapes), window


@pytest.mark.parametrize("small", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", CASES)
def test_planar_convolution_is_the_reference(case, dtype, small, monkeypatch):
    """Three times, of which the last two repeat a plan; `small` blocks are rows of an image."""
    if small:
        monkeypatch.setattr(planar, "COLUMN_BYTES", 1 << 14)
        monkeypatch.setattr(columns, "COLUMN_BYTES", 1 << 14)
    tolerance = 1e-5 if dtype == "float32" else 1e-13
    for seed in range(3):
        x, w, grad, window = arrays(case, dtype, seed)
        bias = np.random.default_rng(9).normal(size=len(w)).astype(dtype)
        y = conv(np, x, w, bias, window, 1, "columns", (0.0, 1.5))
        expected = REFERENCE[0](np, x.astype("float64"), w, bias, window, 1, "auto", (0.0, 1.5))
        np.testing.assert_allclose(y, expected, rtol=0, atol=tolerance * 30)
        assert planar.pays(x, w.shape, window) == (y.flags.c_contiguous and x.shape[1] >= 16)
        dw = conv_backward_weight(np, grad, x, w.shape, window, 1, "columns")
        expected = REFERENCE[1](np, grad.astype("float64"), x.astype("float64"), w.shape, window)
        np.testing.assert_allclose(dw, expected, rtol=0, atol=tolerance * abs(expected).max())
        assert dw.shape == w.shape
        assert dw.dtype == y.dtype == dtype


def test_the_gradient_alone_may_be_planar():
    x, w, grad, window = arrays("few input channels", "float64", 0)
    expected = conv_backward_weight(np, grad, x, w.shape, window)
    last = np.ascontiguousarray(np.moveaxis(x, 1, -1)).transpose(0, 3, 1, 2)
    assert planar.pays_to_weight(grad, last, w.shape)
    np.testing.assert_allclose(conv_backward_weight(np, grad, last, w.shape, window), expected, rtol=1e-12)
    assert not planar.pays(last, w.shape, window)


def test_not_finite_values_stay_in_place():
    x, w, _, window = arrays("5×5", "float32", 0)
    x[0, 3, 2, 2], x[1, 0, 10, 10] = np.nan, np.inf
    with np.errstate(invalid="ignore"):
        y, expected = conv(np, x, w, None, window, 1, "columns"), REFERENCE[0](np, x, w, None, window)
    np.testing.assert_array_equal(np.isnan(y), np.isnan(expected))
    np.testing.assert_array_equal(np.isinf(y), np.isinf(expected))


@pytest.mark.parametrize(
    "shape", [(3, 64, 32, 32), (2, 256, 16, 16), (5, 32, 64, 64), (2, 128, 1024), (1, 20, 8, 8)]
)
def test_copies_of_planes(shape):
    class Direct:
        def __call__(self, function, *operands):
            function(*operands)

        def scratch(self, name, shape, dtype):
            return np.empty(shape, dtype)

    for dtype in ("float32", "float64"):
        x = np.random.default_rng(0).normal(size=shape).astype(dtype)
        images = np.moveaxis(x, 1, -1)
        for seen in (images, images[1:], images[:, ::2], images[..., :5]):
            out = np.empty(seen.shape, dtype)
            blocks.copy_images(Direct(), out, seen)
            np.testing.assert_array_equal(out, seen)
