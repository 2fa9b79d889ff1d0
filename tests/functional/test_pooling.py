"""Pooling over drawn shapes and windows: the adjoint of means, and PyTorch's values, indices and gradients."""

import numpy as np
import pytest
from adjoints import assert_adjoint, assert_close, draw
from effort import examples
from hypothesis import given, settings
from hypothesis import strategies as st

import xpconv
import xpconv.functional as F


@st.composite
def windows(draw, dilated=False):
    """The number of axes, the shape of an input, and arguments that fit it."""
    axes = draw(st.integers(1, 3))
    per_axis = lambda values: draw(st.tuples(*[values] * axes))
    kernel = per_axis(st.integers(1, 4))
    options = {
        "kernel_size": kernel,
        "stride": draw(st.sampled_from([None, per_axis(st.integers(1, 4))])),
        "padding": tuple(draw(st.integers(0, k // 2)) for k in kernel),
        "ceil_mode": draw(st.booleans()),
    }
    reach = kernel
    if dilated:
        options["dilation"] = dilation = per_axis(st.integers(1, 3))
        reach = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    spatial = [
        max(1, r - 2 * p) + draw(st.integers(0, 5)) for r, p in zip(reach, options["padding"], strict=True)
    ]
    return axes, (*draw(st.sampled_from([(), (1,), (2,)])), draw(st.integers(1, 3)), *spatial), options


@pytest.mark.parametrize("dtype", ["float64", "complex128"])
def test_average_pooling_has_its_adjoint(backend, dtype):
    """Real values are PyTorch's too."""

    @settings(max_examples=examples(60))
    @given(windows(), st.booleans(), st.sampled_from([None, 3, -2]), st.integers(0, 99))
    def check(case, count_include_pad, divisor, seed):
        axes, shape, options = case
        options["count_include_pad"] = count_include_pad
        if axes > 1:
            options["divisor_override"] = divisor
        rng = np.random.default_rng(seed)
        pool, back = getattr(F, f"avg_pool{axes}d"), getattr(F, f"avg_pool{axes}d_backward")
        x = draw(rng, shape, dtype)
        y = pool(x, **options)
        grad = draw(rng, y.shape, dtype)
        assert_adjoint(lambda x: pool(x, **options), lambda g: back(g, shape, **options), x, grad)
        fits = all(n >= k for n, k in zip(shape[-axes:], options["kernel_size"], strict=True))
        if (
            dtype == "float64" and fits and (torch := torch_or_none())
        ):  # PyTorch refuses some that padding fills
            theirs = torch.tensor(xpconv.asnumpy(x))
            assert_close(y, getattr(torch.nn.functional, f"avg_pool{axes}d")(theirs, **options).numpy())

    check()


@pytest.mark.parametrize("dtype", ["float64", "complex128"])
def test_adaptive_average_pooling_has_its_adjoint(backend, dtype):
    @settings(max_examples=examples(60))
    @given(windows(), st.integers(1, 7), st.integers(0, 99))
    def check(case, size, seed):
        axes, shape, _ = case
        rng = np.random.default_rng(seed)
        pool, back = (getattr(F, f"adaptive_avg_pool{axes}d{end}") for end in ("", "_backward"))
        x = draw(rng, shape, dtype)
        grad = draw(rng, pool(x, size).shape, dtype)
        assert_adjoint(lambda x: pool(x, size), lambda g: back(g, shape), x, grad)

    check()


def test_max_pooling_is_pytorchs(backend):
    """Values, indices, and the gradient by the indices, also of small integers, which are often equal."""
    torch = pytest.importorskip("torch")

    @settings(max_examples=examples(100))
    @given(windows(dilated=True), st.booleans(), st.integers(0, 99))
    def check(case, ties, seed):
        axes, shape, options = case
        rng = np.random.default_rng(seed)
        x = rng.integers(0, 3, size=shape).astype("float64") if ties else rng.normal(size=shape)
        name = f"max_pool{axes}d"
        theirs = torch.tensor(x, requires_grad=True)
        expected, places = getattr(torch.nn.functional, name)(theirs, **options, return_indices=True)
        y, indices = getattr(F, name)(xpconv.asarray(x), **options, return_indices=True)
        assert_close(y, expected.detach().numpy())
        seen = xpconv.asnumpy(y) != -np.inf  # a window that sees no input has no index
        np.testing.assert_array_equal(xpconv.asnumpy(indices)[seen], places.numpy()[seen])
        grad = rng.normal(size=y.shape) * seen
        expected.backward(torch.tensor(grad))
        back = getattr(F, f"{name}_backward")
        found = back(xpconv.asarray(grad), indices, shape, **options)
        np.testing.assert_allclose(xpconv.asnumpy(found), theirs.grad.numpy(), atol=1e-13)
        whole = (
            getattr(F, name)(xpconv.asarray(x.astype("int16")), **options) if ties and seen.all() else None
        )
        assert whole is None or (xpconv.asnumpy(whole) == xpconv.asnumpy(y)).all()

    check()


def torch_or_none():
    try:
        import torch
    except ImportError:
        return None
    return torch


LARGE: list[tuple[tuple[int, ...], dict]] = [
    ((26, 25), {"kernel_size": (26, 25)}),
    ((26, 25), {"kernel_size": (9, 8), "stride": 1}),
    ((26, 25), {"kernel_size": (3, 24), "stride": (2, 5), "ceil_mode": True}),
    ((26, 25), {"kernel_size": (12, 7), "stride": (5, 3), "padding": (6, 1), "count_include_pad": False}),
    ((26, 25), {"kernel_size": 10, "stride": 3, "padding": 5, "ceil_mode": True, "divisor_override": 7}),
    ((9, 11, 5), {"kernel_size": (9, 11, 5)}),
    ((9, 11, 5), {"kernel_size": (6, 7, 2), "stride": (3, 1, 2), "padding": (3, 0, 1), "ceil_mode": True}),
]


@pytest.mark.parametrize("kind", ["avg", "lp"])
@pytest.mark.parametrize(("spatial", "options"), LARGE, ids=str)
def test_large_windows(kind, spatial, options, backend):
    """Sums over large windows are computed along one axis after the other."""
    torch = pytest.importorskip("torch")
    name, shape = f"{kind}_pool{len(spatial)}d", (2, 3, *spatial)
    if kind == "lp":
        taken = {n: v for n, v in options.items() if n in ("kernel_size", "stride", "ceil_mode")}
        options = {"norm_type": 2.0, **taken}
    x = np.random.default_rng(0).uniform(0.5, 1.5, size=shape)
    seen = torch.tensor(x, requires_grad=True)
    expected = getattr(torch.nn.functional, name)(seen, **options)
    grad = np.random.default_rng(1).normal(size=expected.shape)
    expected.backward(torch.tensor(grad))
    y = getattr(F, name)(xpconv.asarray(x), **options)
    np.testing.assert_allclose(xpconv.asnumpy(y), expected.detach().numpy(), rtol=1e-12)
    needs = {"input_size": shape} if kind == "avg" else {"input": xpconv.asarray(x)}
    dx = getattr(F, f"{name}_backward")(xpconv.asarray(grad), **needs, **options)
    np.testing.assert_allclose(xpconv.asnumpy(dx), seen.grad.numpy(), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("spatial", "options"),
    [
        *LARGE,
        ((40, 9), {"kernel_size": (9, 8), "dilation": (4, 1), "padding": 4}),
        ((80, 4), {"kernel_size": (70, 3), "stride": 2}),
    ],
    ids=str,
)
def test_maxima_of_large_windows(spatial, options, backend):
    """Also of equal values, -∞ and NaN, with indices; gradients are added window by window."""
    torch = pytest.importorskip("torch")
    options = {n: v for n, v in options.items() if n not in ("count_include_pad", "divisor_override")}
    name, shape = f"max_pool{len(spatial)}d", (2, 3, *spatial)
    rng = np.random.default_rng(0)
    for values in ([0, 1, 2], [-np.inf, -1], [0, 1, np.nan]):
        x = rng.choice(
            np.array(values, "float64"), shape, p=[1 - 0.01 * (len(values) - 1), *[0.01] * (len(values) - 1)]
        )
        seen = torch.tensor(x, requires_grad=True)
        expected, places = getattr(torch.nn.functional, name)(seen, **options, return_indices=True)
        y, indices = getattr(F, name)(xpconv.asarray(x), **options, return_indices=True)
        np.testing.assert_array_equal(xpconv.asnumpy(y), expected.detach().numpy())
        np.testing.assert_array_equal(xpconv.asnumpy(indices), places.numpy())
        np.testing.assert_array_equal(
            xpconv.asnumpy(getattr(F, name)(xpconv.asarray(x), **options)), xpconv.asnumpy(y)
        )
        grad = rng.normal(size=y.shape)
        expected.backward(torch.tensor(grad))
        dx = getattr(F, f"{name}_backward")(xpconv.asarray(grad), indices, shape, **options)
        np.testing.assert_allclose(xpconv.asnumpy(dx), seen.grad.numpy(), rtol=1e-12, atol=1e-12)
        if np.isfinite(values).all():
            whole = getattr(F, name)(xpconv.asarray(x.astype("int16")), **options, return_indices=True)
            np.testing.assert_array_equal(xpconv.asnumpy(whole[0]), xpconv.asnumpy(y))
            np.testing.assert_array_equal(xpconv.asnumpy(whole[1]), xpconv.asnumpy(indices))
