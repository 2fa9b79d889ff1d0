"""Infinities, NaN and large values in functions that take Fourier transforms, and indices out of range."""

import numpy as np
import pytest
from functional_cases import CASES, arguments, backward, forward

import xpconv
import xpconv.functional as F


@pytest.mark.sample(4)
@pytest.mark.parametrize(
    ("value", "dtype"), [(np.nan, "float32"), (np.inf, "float32"), (3e38, "float32"), (np.nan, "complex64")]
)
def test_large_kernels_give_no_warnings_and_are_exact_on_request(value, dtype, backend):
    """Warnings are errors in the tests; under `set_exact` only windows that hold the value have NaN."""
    x, w = np.ones((1, 1, 96, 96), dtype), xpconv.asarray(np.ones((1, 1, 16, 16), dtype))
    x[0, 0, 5, 5] = value
    x = xpconv.asarray(x)
    y = F.conv2d(x, w)
    F.conv2d_input((1, 1, 111, 111), w, x)
    F.conv2d_weight(x, w.shape, xpconv.asarray(np.ones(y.shape, dtype)))
    if not np.isnan(value):
        return
    xpconv.set_exact(True)
    try:
        found = xpconv.asnumpy(F.conv2d(x, w))[0, 0]
    finally:
        xpconv.set_exact(False)
    np.testing.assert_allclose(found[6:, 6:], 256)


def test_precision_is_relative_to_a_peak(backend):
    """As the docstring of `conv2d` says."""
    x, w = np.ones((1, 1, 128, 128), "float32"), np.random.default_rng(0).random((1, 1, 16, 16))
    x[0, 0, 10, 10] = 1e6
    weight = xpconv.asarray(w.astype("float32"))
    y = xpconv.asnumpy(F.conv2d(xpconv.asarray(x), weight))[0, 0, 60:, 60:]
    exact = w.astype("float32").sum(dtype="float64")
    assert np.abs(y - exact).max() < 1e-6 * 1e6
    doubled = xpconv.asnumpy(F.conv2d(xpconv.asarray(x.astype("float64")), weight.astype("float64")))
    np.testing.assert_allclose(doubled[0, 0, 60:, 60:], exact, rtol=1e-7)


def test_indices_of_unpooling_are_inside():
    indices = np.array([[[0, 9], [2, 3]]])
    with pytest.raises(ValueError, match="max_unpool2d_backward: indices"):
        F.max_unpool2d_backward(np.ones((1, 3, 3)), indices)


@pytest.mark.parametrize("power", [1.0, 2.0, 3.0, 0.5])
@pytest.mark.parametrize("value", [-np.inf, np.inf])
def test_lp_pool_of_infinities(power, value, backend):
    """As PyTorch, without warnings: an infinite input leaves the gradients of the others finite or infinite."""
    torch = pytest.importorskip("torch")
    x = np.array([[[1.0, 2, value, 4, 5, 6]]])
    seen = torch.tensor(x, requires_grad=True)
    expected = torch.nn.functional.lp_pool1d(seen, power, 2)
    expected.sum().backward()
    y = F.lp_pool1d(xpconv.asarray(x), power, 2)
    np.testing.assert_array_equal(xpconv.asnumpy(y), expected.detach().numpy())
    dx = F.lp_pool1d_backward(xpconv.asarray(np.ones(y.shape)), xpconv.asarray(x), power, 2)
    np.testing.assert_allclose(xpconv.asnumpy(dx), seen.grad.numpy(), rtol=1e-12)


@pytest.mark.parametrize("power", [1.0, 2.0, 3.0, 0.5, -1.0])
def test_lp_pool_of_nan(power, backend):
    torch = pytest.importorskip("torch")
    x = np.array([[[1.0, 2, np.nan, 4, 5, 6, np.nan, np.nan]]])
    seen = torch.tensor(x, requires_grad=True)
    torch.nn.functional.lp_pool1d(seen, power, 2).sum().backward()
    dx = F.lp_pool1d_backward(xpconv.asarray(np.ones((1, 1, 4))), xpconv.asarray(x), power, 2)
    np.testing.assert_allclose(xpconv.asnumpy(dx), seen.grad.numpy(), rtol=1e-12)


@pytest.mark.parametrize("shape", [(2, 3, 11), (2, 3, 5, 6), (1, 3, 3, 4, 5)], ids=str)
@pytest.mark.parametrize("adaptive", [False, True])
@pytest.mark.parametrize("share", [0.1, 0.5, 1.0])
def test_the_last_of_several_nan_is_the_maximum(adaptive, shape, share, backend):
    """Maxima, their indices and their gradients agree with PyTorch, also in windows that hold only NaN."""
    torch = pytest.importorskip("torch")
    rng, axes = np.random.default_rng(0), len(shape) - 2
    x = np.where(rng.random(shape) < share, np.nan, rng.normal(size=shape))
    name = f"adaptive_max_pool{axes}d" if adaptive else f"max_pool{axes}d"
    seen = torch.tensor(x, requires_grad=True)
    expected, places = getattr(torch.nn.functional, name)(seen, 2, return_indices=True)
    y, indices = getattr(F, name)(xpconv.asarray(x), 2, return_indices=True)
    np.testing.assert_array_equal(xpconv.asnumpy(y), expected.detach().numpy())
    np.testing.assert_array_equal(xpconv.asnumpy(indices), places.numpy())
    grad = rng.normal(size=y.shape)
    expected.backward(torch.tensor(grad))
    options = () if adaptive else (2,)
    dx = getattr(F, f"{name}_backward")(xpconv.asarray(grad), indices, shape, *options)
    np.testing.assert_allclose(xpconv.asnumpy(dx), seen.grad.numpy(), rtol=1e-12)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("weight", [None, [0.0, 0.0, 0.0], [1.0, np.nan, np.inf], [2.0, 0.0, 1.0]], ids=str)
def test_classes_that_are_no_target_have_gradient_0(weight, reduction, backend):
    """For any scores and weights, also if the weights sum to 0, as in PyTorch."""
    torch = pytest.importorskip("torch")
    x, target = np.array([[1.0, np.nan, -np.inf], [2.0, np.inf, 3.0]]), np.array([0, 0])
    seen = torch.tensor(x, requires_grad=True)
    weights = None if weight is None else np.array(weight)
    there = None if weight is None else torch.tensor(weights)
    options = {"reduction": reduction}
    expected = torch.nn.functional.nll_loss(seen, torch.tensor(target), there, **options)
    expected.backward(torch.ones_like(expected))
    weights = None if weight is None else xpconv.asarray(weights)
    arrays = xpconv.asarray(x), xpconv.asarray(target), weights
    found = xpconv.asnumpy(F.nll_loss(*arrays, **options))
    np.testing.assert_allclose(found, expected.detach().numpy())
    grad = xpconv.asarray(np.ones(expected.shape)) if reduction == "none" else 1.0
    dx = xpconv.asnumpy(F.nll_loss_backward(grad, *arrays, **options))
    np.testing.assert_allclose(dx, seen.grad.numpy())


@pytest.mark.parametrize("p", [1.0, 2.0, 3.0, np.inf, 0.0])
@pytest.mark.parametrize(
    "values", [[1, np.inf, 2], [1, -np.inf, np.inf], [np.nan, 1, 2], [3, 4, 0], [0, 0, 0]], ids=str
)
def test_vectors_of_norm_1_are_pytorchs(p, values, backend):
    torch = pytest.importorskip("torch")
    x = np.array([values], "float64")
    theirs = torch.tensor(x, requires_grad=True)
    expected = torch.nn.functional.normalize(theirs, p=p)
    expected.sum().backward()
    ours = xpconv.asarray(x)
    np.testing.assert_allclose(xpconv.asnumpy(F.normalize(ours, p=p)), expected.detach().numpy())
    found = F.normalize_backward(xpconv.asarray(np.ones_like(x)), ours, p=p)
    np.testing.assert_allclose(xpconv.asnumpy(found), theirs.grad.numpy(), rtol=1e-6, atol=1e-12)
    F.cosine_similarity(ours, ours)  # without a warning


def test_infinities_stay_where_antialias_reads_few_pixels(backend):
    """Rows of unequal length: the shorter are filled with parts of a weight, none of which is 0."""
    torch = pytest.importorskip("torch")
    x = np.ones((1, 1, 2, 7000), "float32")
    x[..., 2333] = np.inf
    found = F.interpolate(xpconv.asarray(x), (2, 3), mode="bilinear", antialias=True)
    expected = torch.nn.functional.interpolate(torch.tensor(x), (2, 3), mode="bilinear", antialias=True)
    np.testing.assert_allclose(xpconv.asnumpy(found), expected.numpy(), rtol=1e-6)


POINTWISE = [case for case in CASES[: [c.name for c in CASES].index("softmax")] if case.name != "glu"]
CONSTANT = ["relu", "relu6", "hardtanh", "hardsigmoid", "hardswish", "hardshrink", "softshrink", "threshold"]


def gradients(case, value, grad, count=1):
    """PyTorch's gradient and ours for `count` inputs of this value."""
    torch = pytest.importorskip("torch")
    case = case._replace(inputs={"input": np.full(count, value)})
    seen = torch.tensor(case.inputs["input"], requires_grad=True)
    getattr(torch.nn.functional, case.name)(seen, **case.options).backward(
        torch.full((count,), grad).double()
    )
    arrays, options = arguments(case, "float64")
    y = forward(case, arrays, options)
    found = backward(case, xpconv.asarray(np.full(count, grad)), y, *arguments(case, "float64"))[0]
    return float(seen.grad[0]), float(xpconv.asnumpy(found)[0])


def test_gradients_of_activations_of_nan(backend):
    """At NaN that of PyTorch's scalar or vector code, which differ for some; 0 where a function is constant."""
    for case in POINTWISE:
        (scalar, _), (vector, ours) = gradients(case, np.nan, 2.0), gradients(case, np.nan, 2.0, 64)
        assert any(np.allclose(ours, theirs, equal_nan=True) for theirs in (scalar, vector)), str(case)
        if case.name in CONSTANT:
            for grad in (np.nan, np.inf):
                theirs, ours = gradients(case, 0.0 if case.name.endswith("shrink") else -9.0, grad)
                assert theirs == ours == 0, str(case)


def test_the_gradient_of_l1_loss_at_nan_is_0(backend):
    x = xpconv.asarray(np.array([np.nan, -2.0, 3.0]))
    found = F.l1_loss_backward(1.0, x, xpconv.asarray(np.zeros(3)), reduction="sum")
    assert xpconv.asnumpy(found).tolist() == [0, -1, 1]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_activations_of_very_large_numbers_report_no_error(dtype):
    """They and their gradients are finite; CELU with a negative `alpha` is not."""
    largest = np.finfo(dtype).max / 8
    for case in POINTWISE:
        if case.options.get("alpha", 0) < 0:
            continue
        case = case._replace(inputs={"input": np.array([largest, -largest, 1])})
        arrays, options = arguments(case, dtype)
        with np.errstate(over="raise", invalid="raise", divide="raise"):
            y = forward(case, arrays, options)
            dx = backward(case, np.ones(3, dtype), y, *arguments(case, dtype))[0]
        assert np.isfinite(y).all()
        assert np.isfinite(dx).all()
