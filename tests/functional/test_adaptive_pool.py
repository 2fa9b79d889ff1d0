"""Adaptive pooling against PyTorch: NaN and inf, long axes, and sizes and indices that do not fit."""

import itertools
import tracemalloc

import numpy as np
import pytest

import xpconv
from xpconv import functional as F
from xpconv.errors import ShapeError

torch = pytest.importorskip("torch")
SIZES = [(14, 7), (8, 8), (9, 1), (13, 6), (10, 7), (5, 9), (4, 12), (1, 5), (40, 3), (600, 2), (601, 2)]


def pooled(x, output):
    axes = len(output)
    there = torch.tensor(x, requires_grad=True)
    y = getattr(torch.nn.functional, f"adaptive_avg_pool{axes}d")(there, output)
    return there, y


@pytest.mark.parametrize(("n", "m"), SIZES)
@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("kind", ["layer", "function"])
def test_a_value_that_is_not_finite_stays_in_its_windows(n, m, value, kind, backend):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 2, n, 3))
    x[1, 0, n // 2, 1] = value
    there, expected = pooled(x, (m, 3))
    grad = rng.normal(size=(2, 2, m, 3))
    grad[0, 1, m // 2, 2] = value
    expected.backward(torch.tensor(grad))
    if kind == "layer":
        layer = xpconv.AdaptiveAvgPool2d((m, 3))
        y = layer(xpconv.asarray(x))
        dx = layer.backward(xpconv.asarray(grad))
    else:
        y = F.adaptive_avg_pool2d(xpconv.asarray(x), (m, 3))
        dx = F.adaptive_avg_pool2d_backward(xpconv.asarray(grad), x.shape)
    np.testing.assert_allclose(xpconv.asnumpy(y), expected.detach().numpy(), rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(xpconv.asnumpy(dx), there.grad.numpy(), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("dtype", ["float16", "float32", "complex64"])
@pytest.mark.parametrize("case", [*itertools.product(SIZES[:8:2], SIZES[3:6])])
def test_values_of_other_dtypes(case, dtype, backend):
    (h, p), (w, q) = case
    x = np.random.default_rng(1).normal(size=(2, 3, h, w))
    x = (x + 1j * x[:, ::-1]).astype(dtype) if dtype == "complex64" else x.astype(dtype)
    wide = x.astype("complex128" if dtype == "complex64" else "float64")
    y = F.adaptive_avg_pool2d(xpconv.asarray(x), (p, q))
    dx = F.adaptive_avg_pool2d_backward(y, x.shape)
    assert y.dtype == dx.dtype == dtype and dx.shape == x.shape
    parts = [pooled(part, (p, q)) for part in ((wide.real, wide.imag) if dtype == "complex64" else (wide,))]
    for _, expected in parts:
        expected.backward(expected.detach())
    tolerance = 2e-3 if dtype == "float16" else 2e-6
    for ours, theirs in ((y, [y for _, y in parts]), (dx, [x.grad for x, _ in parts])):
        real, *imag = (part.detach().numpy() for part in theirs)
        expected = real + 1j * imag[0] if imag else real
        np.testing.assert_allclose(xpconv.asnumpy(ours), expected, rtol=tolerance, atol=tolerance)


def test_sums_of_long_windows_keep_float32s_digits(backend):
    x = np.full((1, 1, 3_000_001), 0.1, "float32")
    for m in (2, 3, 1700):
        y = xpconv.asnumpy(F.adaptive_avg_pool1d(xpconv.asarray(x), m))
        np.testing.assert_allclose(y, 0.1, rtol=3e-7)
        dx = F.adaptive_avg_pool1d_backward(xpconv.asarray(x), (1, 1, m))
        np.testing.assert_allclose(xpconv.asnumpy(dx).sum(dtype="f8"), x.sum(dtype="f8"), rtol=3e-7)


@pytest.mark.parametrize(("n", "m"), [(8000, 4000), (8000, 3999), (1, 1 << 20), (1 << 20, 1 << 10)])
def test_memory_grows_with_the_arrays(n, m):
    """Not with their product."""
    tracemalloc.start()
    try:
        y = F.adaptive_avg_pool1d(np.ones((1, 1, n)), m)
        F.adaptive_avg_pool1d_backward(y, (1, 1, n))
        assert tracemalloc.get_traced_memory()[1] < 150 * (n + m) + 2**21
    finally:
        tracemalloc.stop()


def test_sizes_beyond_any_memory_are_refused(backend):
    y = xpconv.asarray(np.ones((2, 3, 2, 2), "float32"))
    indices = xpconv.asarray(np.zeros((2, 3, 2, 2), "int64"))
    for call in (
        lambda size: F.adaptive_avg_pool2d_backward(y, size),
        lambda size: F.adaptive_max_pool2d_backward(y, indices, size),
    ):
        with pytest.raises(ShapeError, match=r"an input of shape \(2, 3, 1000000, 1000000\) takes"):
            call((2, 3, 10**6, 10**6))


@pytest.mark.parametrize("bad", [-1, 16, 10**9])
def test_an_index_outside_is_refused_on_numpy(bad, backend):
    grad, indices = np.ones((1, 1, 4, 4), "float32"), np.array([[[[0, 5], [bad, 7]]]])
    small = np.ones((1, 1, 2, 2), "float32")
    grad, indices, small = map(xpconv.asarray, (grad, indices, small))
    calls = {
        "max_unpool2d_backward": lambda: F.max_unpool2d_backward(grad, indices),
        "adaptive_max_pool2d_backward": lambda: F.adaptive_max_pool2d_backward(small, indices, (1, 1, 4, 4)),
    }
    for name, call in calls.items():
        if backend == "numpy":
            with pytest.raises(ValueError, match=rf"functional.{name}: indices from .*expected 0 to 15"):
                call()
        elif name == "max_unpool2d_backward":
            np.testing.assert_array_equal(xpconv.asnumpy(call())[0, 0], [[1, 1], [np.nan, 1]])
