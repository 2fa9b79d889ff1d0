"""Affine maps, padding, windows as columns and resizing: against PyTorch, by the adjoint test, and what they refuse."""

import numpy as np
import pytest
from adjoints import assert_adjoint, assert_close, draw
from effort import examples
from hypothesis import given, settings
from hypothesis import strategies as st

import xpconv
import xpconv.functional as F
from xpconv.errors import BackendError, DTypeError, ShapeError

DTYPES = ["float32", "float64", "complex64", "complex128"]
MODES = ["constant", "reflect", "replicate", "circular"]


def torch_gradients(function, grad, *arrays):
    """PyTorch's output, and its gradients with respect to the arrays."""
    torch = pytest.importorskip("torch")
    tensors = [torch.tensor(xpconv.asnumpy(a), requires_grad=True) for a in arrays]
    y = function(torch.nn.functional, *tensors)
    y.backward(torch.tensor(xpconv.asnumpy(grad)))
    return y.detach().numpy(), *(t.grad.numpy() for t in tensors)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows", [(), (4,), (0,), (2, 3)], ids=str)
def test_linear(backend, rows, dtype):
    rng = np.random.default_rng(0)
    x, weight, bias, grad = (draw(rng, s, dtype) for s in ((*rows, 5), (3, 5), (3,), (*rows, 3)))
    dx, dweight = F.linear_input(x.shape, weight, grad), F.linear_weight(x, weight.shape, grad)
    expected = torch_gradients(lambda f, *given: f.linear(*given), grad, x, weight, bias)
    for ours, theirs in zip(
        (F.linear(x, weight, bias), dx, dweight, F.linear_bias(grad)), expected, strict=True
    ):
        assert_close(ours, theirs)
    assert_adjoint(lambda x: F.linear(x, weight), lambda y: F.linear_input(x.shape, weight, y), x, grad)
    assert_adjoint(lambda w: F.linear(x, w), lambda y: F.linear_weight(x, weight.shape, y), weight, grad)


@st.composite
def pads(draw_):
    """A shape, pairs that pad or crop it, and a mode that takes them."""
    mode = draw_(st.sampled_from(MODES))
    axes = draw_(st.integers(1, 3))
    sizes = draw_(st.tuples(*[st.integers(2, 5)] * axes))
    batch = draw_(st.sampled_from([(2,), (1, 2), (0, 2)]))
    most = {
        "constant": lambda n: 4,
        "reflect": lambda n: n - 1,
        "replicate": lambda n: 7,
        "circular": lambda n: n,
    }[mode]
    numbers = []
    for n in reversed(sizes):
        lo = draw_(st.integers(-(n - 1), most(n)))
        numbers += [lo, draw_(st.integers(min(0, -(n - 1) - min(lo, 0)), most(n)))]
    if mode == "circular":
        numbers = [max(0, p) for p in numbers]
    return (*batch, *sizes), tuple(numbers), mode


@pytest.mark.parametrize("dtype", DTYPES)
def test_pad(backend, dtype):
    @settings(max_examples=examples(100))
    @given(pads(), st.integers(0, 99))
    def check(case, seed):
        shape, numbers, mode = case
        rng = np.random.default_rng(seed)
        x = draw(rng, shape, dtype)
        y = F.pad(x, numbers, mode)
        grad = draw(rng, y.shape, dtype)
        if 0 not in shape:  # which PyTorch's modes refuse
            expected = torch_gradients(lambda f, x: f.pad(x, numbers, mode), grad, x)
            assert_close(y, expected[0])
            assert_close(F.pad_backward(grad, numbers, mode), expected[1])
        assert_adjoint(lambda x: F.pad(x, numbers, mode), lambda y: F.pad_backward(y, numbers, mode), x, grad)
        assert (
            not np.may_share_memory(xpconv.asnumpy(y), xpconv.asnumpy(x)) or backend != "numpy" or not y.size
        )

    check()


@pytest.mark.parametrize("dtype", ["uint8", "int64", "bool"])
@pytest.mark.parametrize("mode", MODES)
def test_pad_moves_integers(backend, mode, dtype):
    x = np.random.default_rng(0).integers(0, 2, (2, 3, 4)).astype(dtype)
    options = {"value": 1} if mode == "constant" else {}
    numpys = {"replicate": "edge", "circular": "wrap"}.get(mode, mode)
    expected = np.pad(x, ((0, 0), (0, 0), (2, 1)), numpys, **({"constant_values": 1} if options else {}))
    y = F.pad(xpconv.asarray(x), (2, 1), mode, **options)
    assert y.dtype == dtype
    np.testing.assert_array_equal(xpconv.asnumpy(y), expected)


@pytest.mark.parametrize("dtype", DTYPES)
def test_unfold_and_fold(backend, dtype):
    @settings(max_examples=examples(60))
    @given(
        st.tuples(*[st.integers(1, 3)] * 6), st.tuples(*[st.integers(0, 2)] * 2), st.tuples(*[st.integers(0, 3)] * 2),
        st.sampled_from([(), (1,), (2,)]),
    )  # fmt: skip
    def check(windows, padding, more, batch):
        kernel, dilation, stride = windows[:2], windows[2:4], windows[4:]
        size = [
            max(1, d * (k - 1) + 1 - 2 * p + m)
            for k, d, p, m in zip(kernel, dilation, padding, more, strict=True)
        ]
        args = kernel, dilation, padding, stride
        rng = np.random.default_rng(0)
        x = draw(rng, (*batch, 2, *size), dtype)
        y = F.unfold(x, *args)
        grad = draw(rng, y.shape, dtype)
        expected = torch_gradients(lambda f, x: f.unfold(x, *args), grad, x)
        assert_close(y, expected[0])
        assert_close(F.unfold_backward(grad, x.shape, *args), expected[1])
        assert_adjoint(lambda x: F.unfold(x, *args), lambda y: F.unfold_backward(y, x.shape, *args), x, grad)
        z = F.fold(grad, size, *args)
        expected = torch_gradients(lambda f, y: f.fold(y, size, *args), x, grad)
        assert_close(z, expected[0])
        assert_close(F.fold_backward(x, *args), expected[1])
        assert_adjoint(lambda y: F.fold(y, size, *args), lambda x: F.fold_backward(x, *args), grad, x)

    check()


def test_fold_of_integers_and_of_many_overlaps(backend):
    """Exact, also where more windows overlap than float32 adds up precisely."""
    for dtype in ("uint8", "int32", "int64", "complex64", "float32"):
        x = xpconv.asarray(np.ones((1, 400, 1), dtype))
        assert xpconv.asnumpy(F.fold(x, 20, 20)).tolist() == np.ones((1, 1, 20, 20)).tolist()
        many = xpconv.asarray(np.ones((400, 100), dtype))
        y = xpconv.asnumpy(F.fold(many, 29, 20))
        assert y.dtype == dtype
        assert y.max() == 100
        assert y.sum() == 40000
        assert xpconv.asnumpy(F.unfold(xpconv.asarray(y), 20)).shape == (400, 100)
    mask = np.random.default_rng(0).random((2, 3, 5, 6)) > 0.5
    found, expected = (xpconv.asnumpy(F.unfold(xpconv.asarray(a), 2, padding=1)) for a in (mask, mask * 1))
    assert found.dtype == bool
    np.testing.assert_array_equal(found, expected)


RESIZED = [
    ((2, 3, 5), {"size": 7, "mode": "nearest"}), ((2, 3, 5), {"scale_factor": 0.6, "mode": "nearest-exact"}),
    ((2, 3, 5), {"scale_factor": 1.7, "mode": "linear"}), ((0, 3, 5), {"size": 2, "mode": "linear"}),
    ((2, 3, 5, 4), {"scale_factor": (2.0, 1.5), "mode": "bilinear", "align_corners": True}),
    ((2, 3, 5, 4), {"size": (5, 4), "mode": "bilinear"}), ((2, 3, 5, 4), {"size": (3, 9), "mode": "bicubic"}),
    ((2, 3, 5, 4), {"size": (3, 2), "mode": "area"}),
    ((1, 2, 3, 4, 5), {"scale_factor": 1.5, "mode": "trilinear", "recompute_scale_factor": True}),
]  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("shape", "options"), RESIZED, ids=str)
def test_interpolate(backend, shape, options, dtype):
    rng = np.random.default_rng(0)
    x = draw(rng, shape, dtype)
    y = F.interpolate(x, **options)
    grad = draw(rng, y.shape, dtype)
    dx = F.interpolate_backward(grad, shape, **options)
    assert y is not x
    assert dx is not grad
    if shape[0]:  # PyTorch refuses the others
        for part in (np.real, np.imag)[: 1 + (np.dtype(dtype).kind == "c")]:  # PyTorch has no complex one
            expected = torch_gradients(
                lambda f, x: f.interpolate(x, **options), part(xpconv.asnumpy(grad)), part(xpconv.asnumpy(x))
            )
            assert_close(part(xpconv.asnumpy(y)), expected[0])
            assert_close(part(xpconv.asnumpy(dx)), expected[1])
    assert_adjoint(
        lambda x: F.interpolate(x, **options), lambda y: F.interpolate_backward(y, shape, **options), x, grad
    )


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("mode", ["nearest", "nearest-exact"])
def test_interpolate_to_sizes_that_stay_or_double(axes, mode, backend):
    """PyTorch ignores the scale there only with two axes; our gradient is always the adjoint."""
    torch = pytest.importorskip("torch")
    x = np.random.default_rng(0).normal(size=(1, 2, *(5,) * axes))
    for scale in (1.05, 1.1, 1.19, 2.0, 2.05, 2.19, 0.9, [2.1] * axes):
        expected = torch.nn.functional.interpolate(torch.tensor(x), scale_factor=scale, mode=mode).numpy()
        y = xpconv.asnumpy(F.interpolate(xpconv.asarray(x), scale_factor=scale, mode=mode))
        np.testing.assert_array_equal(y, expected)
        back = xpconv.asnumpy(
            F.interpolate_backward(xpconv.asarray(y), x.shape, scale_factor=scale, mode=mode)
        )
        np.testing.assert_allclose((back * x).sum(), (y * y).sum(), rtol=1e-12)


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize("align_corners", [None, True])
def test_interpolate_with_antialias(mode, align_corners, backend):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 3, 8, 9))
    for how in (
        {"size": (3, 5)}, {"size": (1, 1)}, {"size": (20, 4)}, {"scale_factor": 0.4}, {"scale_factor": (0.3, 2.2)},
        {"scale_factor": 0.4, "recompute_scale_factor": True}, {"size": (8, 4)},
    ):  # fmt: skip
        how = {**how, "mode": mode, "align_corners": align_corners, "antialias": True}
        seen = torch.tensor(x, requires_grad=True)
        expected = torch.nn.functional.interpolate(seen, **how)
        y = F.interpolate(xpconv.asarray(x), **how)
        np.testing.assert_allclose(xpconv.asnumpy(y), expected.detach().numpy(), rtol=0, atol=1e-13)
        grad = rng.normal(size=y.shape)
        expected.backward(torch.tensor(grad))
        dx = F.interpolate_backward(xpconv.asarray(grad), x.shape, **how)
        np.testing.assert_allclose(xpconv.asnumpy(dx), seen.grad.numpy(), rtol=0, atol=1e-13)


@pytest.mark.parametrize("mode", ["nearest", "bilinear", "bicubic", "area"])
@pytest.mark.parametrize("size", [(6, 6), (3, 3), (4, 7), (11, 5)])
def test_interpolate_keeps_infinities_in_place(mode, size, backend):
    """An output is infinite where it reads the infinity, NaN where it does so with both signs, else finite."""
    x = np.ones((1, 1, 6, 6))
    x[0, 0, 2, 3] = np.inf
    weights = F.interpolate(xpconv.asarray(np.where(np.isinf(x), 1.0, 0.0)), size, mode=mode)
    y = xpconv.asnumpy(F.interpolate(xpconv.asarray(x), size, mode=mode))
    weights = xpconv.asnumpy(weights)
    np.testing.assert_array_equal(y[weights != 0], np.copysign(np.inf, weights)[weights != 0])
    assert np.isfinite(y[weights == 0]).all()
    grad = np.ones((1, 1, *size))
    grad[0, 0, 1, 1] = np.inf
    dx = xpconv.asnumpy(F.interpolate_backward(xpconv.asarray(grad), x.shape, size, mode=mode))
    share = np.where(np.isinf(grad), 1.0, 0.0)
    weights = xpconv.asnumpy(F.interpolate_backward(xpconv.asarray(share), x.shape, size, mode=mode))
    np.testing.assert_array_equal(dx[weights != 0], np.copysign(np.inf, weights)[weights != 0])
    assert np.isfinite(dx[weights == 0]).all()


def test_interpolate_moves_integers(backend):
    x = xpconv.asarray(np.array([[[1, 2**53 + 1]]]))
    y = F.interpolate(x, scale_factor=2)
    assert xpconv.asnumpy(y).tolist() == [[[1, 1, 2**53 + 1, 2**53 + 1]]]
    assert xpconv.asnumpy(F.interpolate_backward(y, (1, 1, 2), scale_factor=2)).tolist() == [[[2, 2**54 + 2]]]


X = np.ones((2, 3, 4, 4), "float32")
INTS = X.astype("int64")
WRONG = [
    (lambda: F.linear(X, X), ShapeError, r"functional.linear: weight has shape .*, expected \(K, C\)"),
    (lambda: F.linear(X, X[0, 0, :2, :3]), ShapeError, r"input has shape .*, expected \(…, 3\) \(weight has"),
    (lambda: F.linear(X, X[0, 0], X[0, 0]), ShapeError, r"bias has shape \(4, 4\), expected \(4,\)"),
    (lambda: F.linear(INTS, INTS[0, 0]), DTypeError, "input is int64, expected floating point or complex; convert"),
    (lambda: F.linear_input((3, 5), X[0, 0], X), ShapeError, r"input_size has shape \(3, 5\), expected \(…, 4\)"),
    (lambda: F.linear_weight(X, (4, 4), X[0]), ShapeError, r"grad_output has shape .*, expected \(2, 3, 4, 4\)"),
    (lambda: F.pad(X, 1, "edge"), ValueError, "functional.pad: mode is 'edge', expected one of 'constant', 'ref"),
    (lambda: F.pad(X, (1, 2, 3)), ValueError, r"functional.pad: pad is \(1, 2, 3\), expected pairs \(left, right"),
    (lambda: F.pad(X, (1, 0.5)), TypeError, "functional.pad: pad is 0.5, expected an int"),
    (lambda: F.pad(X, (1,) * 10), ShapeError, r"input has shape .*, expected at least 5 axes"),
    (lambda: F.pad(X, (-3, -2)), ShapeError, "an axis of 4 cannot be padded by .-3, -2.: that crops more than"),
    (lambda: F.pad(X, (4, 0, 0, 0), "reflect"), ShapeError, "a reflection reaches 3 at most"),
    (lambda: F.pad(X, (1, 1), "reflect"), ShapeError, "and pad 1 pairs: expected"),
    (lambda: F.pad(X, (2**30,) * 4), ShapeError, "functional.pad: an output of shape .* takes"),
    (lambda: F.pad(X, (1, 1, 1, 1), "reflect", 1.0), ValueError, "value is 1.0, but mode='reflect' has none"),
    (lambda: F.pad(X, 1, value=1j), TypeError, "functional.pad: value is 1j, expected a number"),
    (lambda: F.pad(X.astype("uint8"), 1, value=256), ValueError, "value is 256, expected 0 to 255, as input is ui"),
    (lambda: F.pad(INTS, 1, value=0.5), TypeError, "functional.pad: value is 0.5, expected an int"),
    (lambda: F.pad(np.array(["a"]), 1), DTypeError, "input is <U1, expected floating point, complex, integer or bo"),
    (lambda: F.pad_backward(X, (2, 3)), ShapeError, "an axis of 4 cannot be padded by .-2, -3.: that crops more"),
    (lambda: F.pad_backward(X, (2, 2, 0, 0), "reflect"), ShapeError, "smaller than the borders"),
    (lambda: F.unfold(X, 5), ShapeError, r"functional.unfold: input has shape .* smaller than the kernel \(5, 5\)"),
    (lambda: F.unfold(X, 0), ValueError, "functional.unfold: kernel_size is 0, expected at least 1"),
    (lambda: F.fold(X[0, 0] > 0, 2, 2), DTypeError, "input is bool, expected floating point, complex or integer"),
    (lambda: F.fold(X[0], 5, 2), ShapeError, r"functional.fold: input has shape .*, expected \(N, C·4, 16\) or"),
    (lambda: F.fold(X[0], 2, 5), ShapeError, "smaller than the kernel"),
    (lambda: F.unfold_backward(np.ones((8, 9)), (3, 4, 4), 2), ShapeError, r"expected \(12, 9\) \(input_size is"),
    (lambda: F.unfold_backward(X, 4, 2), TypeError, r"input_size is 4, expected a shape \(N, C, H, W\) or"),
    (lambda: F.interpolate(X), ValueError, "functional.interpolate: size is None and scale_factor is None"),
    (lambda: F.interpolate(X, 2, mode="cubic"), ValueError, "functional.interpolate: mode is 'cubic', expected on"),
    (lambda: F.interpolate(X, 2, mode="linear"), ShapeError, r"input has shape .*, expected \(N, C, W\) for mode='l"),
    (lambda: F.interpolate(X, 2, antialias=True), ValueError, "interpolate: antialias is True, but mode='nearest' has none"),
    (lambda: F.interpolate(X, 2, antialias=1), TypeError, "interpolate: antialias is 1, expected True or False"),
    (lambda: F.pad(X, (-4, 2, 0, 0), "circular"), ShapeError, r"functional.pad: .* by \(-4, 2\): that leaves nothing to wrap"),
    (lambda: F.interpolate(INTS, 2, mode="area"), DTypeError, "input is int64, and mode='area' computes means"),
    (lambda: F.interpolate_backward(X, (2, 3, 2, 2), 5), ShapeError, r"expected \(2, 3, 5, 5\) \(input_size is"),
    (lambda: F.interpolate(X.tolist(), 2), BackendError, "functional.interpolate: input: expected an array"),
]  # fmt: skip


@pytest.mark.sample(3)
@pytest.mark.parametrize("mode", ["bilinear", "bicubic", "area", "nearest"])
@pytest.mark.parametrize("size", [(1, 1), (5, 90), (90, 5), (7, 9), (64, 3), (90, 130)], ids=str)
def test_interpolate_shrinks_and_grows(mode, size, backend):
    """Large and small factors along the two axes; in half precision, exact to the last digits."""
    torch = pytest.importorskip("torch")
    shape = (2, 3, 40, 65)
    x, options = np.random.default_rng(0).uniform(1, 2, size=shape), {"mode": mode}
    if mode.startswith("bi"):
        options["antialias"] = True
    seen = torch.tensor(x, requires_grad=True)
    expected = torch.nn.functional.interpolate(seen, size, **options)
    grad = np.random.default_rng(1).uniform(1, 2, size=expected.shape)
    expected.backward(torch.tensor(grad))
    for dtype, tolerance in (("float64", 1e-12), ("float32", 1e-5), ("float16", 3e-3)):
        y = F.interpolate(xpconv.asarray(x.astype(dtype)), size, **options)
        np.testing.assert_allclose(xpconv.asnumpy(y), expected.detach().numpy(), rtol=tolerance, atol=1e-12)
        dx = F.interpolate_backward(xpconv.asarray(grad.astype(dtype)), shape, size, **options)
        dx, there = xpconv.asnumpy(dx).astype("float64"), seen.grad.numpy()
        np.testing.assert_allclose(dx, there, rtol=0, atol=2 * tolerance * np.abs(there).max())


def test_circular_padding_beyond_what_is_left_is_refused(backend):
    """As in PyTorch: after cropping, the border would be longer than the remaining axis."""
    torch, x = pytest.importorskip("torch"), np.ones((1, 1, 3))
    for pad in ((-1, 3), (3, -1), (-2, 3), (4, 0)):
        with pytest.raises(RuntimeError):
            torch.nn.functional.pad(torch.tensor(x), pad, mode="circular")
        with pytest.raises(ShapeError, match=r"functional\.pad: .* wraps around more than once"):
            F.pad(xpconv.asarray(x), pad, mode="circular")


@pytest.mark.parametrize(("call", "kind", "message"), WRONG)
def test_wrong_arguments_are_named(call, kind, message):
    with pytest.raises(kind, match=message):
        call()


def calls(dtype, batch=2):
    """A call of each function of this half, by its name: the function of its arrays, and these."""
    rng = np.random.default_rng(0)
    x, w, rows = (
        rng.standard_normal((batch, 4, 9, 8)),
        rng.standard_normal((6, 2, 3, 3)),
        rng.standard_normal((batch, 5)),
    )
    weight, y, large = (
        rng.standard_normal((3, 5)),
        rng.standard_normal((batch, 6, 7, 6)),
        rng.standard_normal((6, 4, 9, 8)),
    )
    wide, columns, out = (
        rng.standard_normal((batch, 12, 11, 10)),
        rng.standard_normal((batch, 16, 56)),
        rng.standard_normal((batch, 3)),
    )
    up, padded = rng.standard_normal((batch, 4, 13, 12)), rng.standard_normal((batch, 4, 11, 12))
    small, bias = rng.standard_normal((4, 6, 3, 3)), rng.standard_normal(6)
    resize = {"size": (13, 12), "mode": "bilinear"}
    found = {
        "conv2d": (lambda x, w, b: F.conv2d(x, w, b, groups=2), x, w, bias),
        "conv2d_input": (lambda w, y: F.conv2d_input((batch, 4, 9, 8), w, y, groups=2), w, y),
        "conv2d_weight": (lambda x, y: F.conv2d_weight(x, w.shape, y, groups=2), x, y),
        "conv2d_bias": (F.conv2d_bias, y),
        "conv2d, large": (lambda x, w: F.conv2d(x, w, padding=8), x, large),
        "conv_transpose2d": (lambda x, w: F.conv_transpose2d(x, w, groups=2), x, small),
        "conv_transpose2d_input": (lambda w, g: F.conv_transpose2d_input((batch, 4, 9, 8), w, g, groups=2), small, wide),
        "conv_transpose2d_weight": (lambda x, g: F.conv_transpose2d_weight(x, small.shape, g, groups=2), x, wide),
        "linear": (F.linear, rows, weight, weight[:, 0]),
        "linear_input": (lambda w, y: F.linear_input((batch, 5), w, y), weight, out),
        "linear_weight": (lambda x, y: F.linear_weight(x, (3, 5), y), rows, out),
        "linear_bias": (F.linear_bias, out),
        "pad": (lambda x: F.pad(x, (2, 2, 1, 1), "reflect"), x),
        "pad, constant": (lambda x: F.pad(x, (2, 2, -1, 1), value=0.5), x),
        "pad_backward": (lambda y: F.pad_backward(y, (2, 2, 1, 1), "circular"), padded),
        "unfold": (lambda x: F.unfold(x, 2), x),
        "unfold_backward": (lambda y: F.unfold_backward(y, (batch, 4, 9, 8), 2), columns),
        "fold": (lambda y: F.fold(y, (9, 8), 2), columns),
        "fold_backward": (lambda x: F.fold_backward(x, 2), x),
        "interpolate": (lambda x: F.interpolate(x, **resize), x),
        "interpolate_backward": (lambda y: F.interpolate_backward(y, (batch, 4, 9, 8), **resize), up),
    }  # fmt: skip
    return {
        name: (f, [xpconv.asarray(a.astype(dtype)) for a in arrays]) for name, (f, *arrays) in found.items()
    }


CALLS = list(calls("float64"))


def apart(x):
    """In memory with gaps, and the axes reversed."""
    turned = x.T
    spread = xpconv.get_xp().empty((*turned.shape, 2), dtype=x.dtype)
    spread[..., 0] = turned
    return spread[..., 0].T


@pytest.mark.parametrize("dtype", ["float64", "complex128"])
@pytest.mark.parametrize("name", CALLS)
def test_arrays_in_any_layout(backend, name, dtype):
    """Read-only ones too; inputs are not changed, and results share no memory with them."""
    function, arrays = calls(dtype)[name]
    before = [xpconv.asnumpy(a).copy() for a in arrays]
    expected = xpconv.asnumpy(function(*arrays)).copy()
    assert_close(function(*map(apart, arrays)), expected)
    if backend == "numpy":
        for a in arrays:
            a.flags.writeable = False
    with np.errstate(all="raise"):
        result = function(*arrays)
    assert_close(result, expected)
    for a, b in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(xpconv.asnumpy(a), b)
        assert not xpconv.get_xp().may_share_memory(result, a)


@pytest.mark.parametrize("name", CALLS)
def test_half_precision_and_batches_of_none(backend, name):
    function, arrays = calls("float64")[name]
    expected = xpconv.asnumpy(function(*arrays)).astype("float16")
    function, arrays = calls("float16")[name]
    assert_close(function(*arrays), expected)
    for dtype in ("float32", "complex64", "float16"):
        function, arrays = calls(dtype, batch=0)[name]
        result = function(*arrays)
        assert result.dtype == dtype
        assert 0 in result.shape or not xpconv.asnumpy(result).any()
