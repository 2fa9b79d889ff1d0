"""Products of float16 are those of float32, rounded once, and BLAS never gets a 16-bit matrix."""

import numpy as np
import pytest
from operations import ours, reference

import xpconv
from xpconv.geometry import Window

RNG = np.random.default_rng(0)


def half(*shape):
    return RNG.normal(size=shape).astype("float16")


def wide(a):
    return a.astype("float32") if isinstance(a, np.ndarray) else a


CONVOLUTIONS = [  # shapes of input and weight, stride, groups: each algorithm, and empty arrays
    ((2, 3, 9, 8), (5, 3, 3, 3), 1, 1), ((2, 32, 12, 12), (32, 32, 3, 3), 1, 1),
    ((33, 4, 6, 6), (8, 4, 3, 3), 1, 1), ((2, 6, 9, 9), (6, 1, 3, 3), 2, 6),
    ((2, 6, 9, 9), (4, 3, 2, 2), 2, 2), ((0, 3, 9, 8), (5, 3, 3, 3), 1, 1), ((2, 3, 7), (4, 3, 3), 1, 1),
]  # fmt: skip


@pytest.mark.parametrize(("image", "kernel", "stride", "groups"), CONVOLUTIONS)
def test_convolutions(image, kernel, stride, groups):
    axes = len(image) - 2
    x, weight, bias = half(*image), half(*kernel), half(kernel[0])
    window = Window(kernel[2:], (stride,) * axes, ((1, 1),) * axes, (1,) * axes)
    size = window.output_shape(image[2:])
    grad = half(image[0], kernel[0], *size)
    for name, arguments in (
        ("conv", (x, weight, bias, window, groups, "auto", (0.0, None))),
        ("conv_backward_input", (grad, weight, image, window, groups)),
        ("conv_backward_weight", (grad, x, kernel, window, groups)),
    ):
        found = getattr(ours, name)(np, *arguments)
        expected = getattr(ours, name)(np, *map(wide, arguments))
        assert found.dtype == "float16"
        np.testing.assert_array_equal(found, expected.astype("float16"))
        np.testing.assert_allclose(
            found, getattr(reference, name)(np, *map(wide, arguments)), rtol=2e-3, atol=2e-3
        )


@pytest.mark.parametrize(("m", "k", "n"), [(3, 4, 5), (64, 3000, 7), (1, 9, 4), (0, 3, 4), (3, 0, 4)])
def test_matrices(m, k, n):
    a, b, bias = half(m, k), half(n, k), half(n)
    for found, expected in (
        (ours.matmul(np, a, b.T), ours.matmul(np, wide(a), wide(b).T)),
        (ours.affine(np, a, b, bias), ours.affine(np, wide(a), wide(b), wide(bias))),
        (ours.affine(np, a, b, None), ours.affine(np, wide(a), wide(b), None)),
    ):
        assert found.dtype == "float16"
        np.testing.assert_array_equal(found, expected.astype("float16"))


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (lambda: xpconv.Dense(8, 4), (3, 8)), (lambda: xpconv.Conv2d(4, 6, 3), (2, 4, 7, 7)),
        (lambda: xpconv.ConvTranspose2d(4, 6, 3, stride=2), (2, 4, 7, 7)), (lambda: xpconv.Conv1d(4, 4, 3), (2, 4, 9)),
        (lambda: xpconv.Upsample(scale_factor=2, mode="bilinear"), (2, 4, 5, 5)),
        (lambda: xpconv.AdaptiveAvgPool2d(3), (2, 4, 7, 7)), (lambda: xpconv.AvgPool2d(2), (2, 4, 8, 8)),
        (lambda: xpconv.BatchNorm2d(4), (8, 4, 7, 7)), (lambda: xpconv.SqueezeExcitation(4, 2), (2, 4, 7, 7)),
    ],
)  # fmt: skip
def test_no_product_of_a_layer_is_of_float16(layer, shape, monkeypatch):
    """NumPy's own function for matrices never sees 16 bits, in training and in inference."""
    from xpconv.kernels.numpy import linear

    matmul = np.matmul

    def watched(a, b, *rest, **options):
        assert a.dtype.itemsize > 2
        return matmul(a, b, *rest, **options)

    for module in (np, linear):
        monkeypatch.setattr(module, "matmul" if module is np else "quiet_matmul", watched)
    model, x = layer().to(dtype="float16"), half(*shape)
    y = model(x)
    assert y.dtype == model.backward(np.ones_like(y)).dtype == "float16"
    with xpconv.no_grad():
        assert model.eval()(x).dtype == "float16"
