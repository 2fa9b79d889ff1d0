"""Convolution by Fourier transforms of very large and very small values: finite wherever the result is."""

import numpy as np
import pytest

import xpconv
from xpconv import functional as F

X, W = (2, 2, 60, 60), (3, 2, 15, 15)
LARGEST = {"float32": (3e38, 1e-40), "float64": (1.5e308, 1e-310)}


def drawn(seed, shape, dtype):
    rng = np.random.default_rng(seed)
    values = rng.uniform(-1, 1, shape)
    return (values + 1j * rng.uniform(-1, 1, shape) if dtype[0] == "c" else values).astype(dtype)


@pytest.mark.sample(64)
@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "complex128"])
@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("stride", [1, 2])
def test_large_values_are_computed_as_usual_ones(dtype, swapped, stride, backend):
    """Each of the three operations is bilinear: powers of two are those of the result."""
    real = {"c": {"complex64": "float32"}.get(dtype, "float64")}.get(dtype[0], dtype)
    e = 125 if real == "float32" else 1021
    x, w = xpconv.asarray(drawn(0, X, dtype)), xpconv.asarray(drawn(1, W, dtype))
    grad = xpconv.asarray(drawn(2, F.conv2d(x, w, stride=stride).shape, dtype))
    up, down = (np.ldexp(np.ones((), real), s) for s in ((30 - e, e) if swapped else (e, 30 - e)))
    pairs = [
        (F.conv2d, (x, w)),
        (lambda g, w: F.conv2d_input(X, w, g, stride=stride), (grad, w)),
        (lambda x, g: F.conv2d_weight(x, W, g, stride=stride), (x, grad)),
    ]
    for call, (a, b) in pairs:
        expected, y = xpconv.asnumpy(call(a, b)), xpconv.asnumpy(call(a * up, b * down)) / 2**30
        scale = np.abs(expected).max()
        np.testing.assert_allclose(y, expected, rtol=0, atol=scale * (1e-5 if real == "float32" else 1e-13))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_one_value_near_the_largest(dtype, backend):
    largest, _ = LARGEST[dtype]
    x = np.zeros((2, 1, 80, 80), dtype)
    x[0, 0, 40, 40], x[1, 0, 3, 3] = largest, 1
    y = xpconv.asnumpy(F.conv2d(xpconv.asarray(x), xpconv.asarray(np.ones((1, 1, 21, 21), dtype))))
    assert np.isfinite(y).all()
    np.testing.assert_allclose(y[0, 0, 20:41, 20:41], largest, rtol=1e-5)
    np.testing.assert_allclose(y[1, 0, :4, :4], 1, rtol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_values_below_the_smallest_normal_number(dtype, backend):
    large, small = LARGEST[dtype]
    x, w = np.full((1, 1, 60, 60), small, dtype), np.full((1, 1, 15, 15), large, dtype)
    expected = float(x[0, 0, 0, 0]) * float(w[0, 0, 0, 0]) * 225
    y = xpconv.asnumpy(F.conv2d(xpconv.asarray(x), xpconv.asarray(w)))
    np.testing.assert_allclose(y, expected, rtol=1e-5)
