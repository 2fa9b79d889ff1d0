"""Convolutions and their adjoints: against PyTorch, by the adjoint test, and what they refuse."""

import numpy as np
import pytest
from adjoints import assert_adjoint, assert_close, draw
from effort import examples
from hypothesis import given, settings
from hypothesis import strategies as st

import xpconv
import xpconv.functional as F
from xpconv.errors import BackendError, DTypeError, ShapeError

DTYPES = ["float64", "complex128"]


@st.composite
def cases(draw, transposed=False):
    """Shapes and arguments of a convolution that has an output."""
    axes = draw(st.integers(1, 3))
    small = st.integers(1, 3)
    per_axis = lambda values: draw(st.tuples(*[values] * axes))
    groups = draw(small)
    kernel, stride, dilation = per_axis(small), per_axis(small), per_axis(st.integers(1, 2))
    options = {"stride": stride, "dilation": dilation, "groups": groups}
    reach = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    if transposed:
        positions = per_axis(st.integers(1, 4))
        options["padding"] = tuple(
            draw(st.integers(0, max(0, min(3, ((n - 1) * s + r - 1) // 2))))
            for n, s, r in zip(positions, stride, reach, strict=True)
        )
        options["output_padding"] = tuple(
            draw(st.integers(0, max(s, d) - 1)) for s, d in zip(stride, dilation, strict=True)
        )
        size = positions
    elif max(stride) == 1 and draw(st.booleans()):
        options["padding"] = draw(st.sampled_from(["same", "valid"]))
        size = tuple(n + r - 1 for n, r in zip(per_axis(st.integers(1, 5)), reach, strict=True))
    else:
        options["padding"] = padding = per_axis(st.integers(0, 3))
        size = tuple(max(1, draw(st.integers(r - 2 * p, r + 5))) for r, p in zip(reach, padding, strict=True))
    batch = draw(st.sampled_from([(), (0,), (1,), (3,)]))
    inner, outer = draw(small), draw(small) * groups
    order = (outer, inner)
    x = (*batch, order[0] if transposed else inner * groups, *size)
    return axes, x, (*order, *kernel), options


@pytest.mark.parametrize("dtype", DTYPES)
def test_conv_has_its_adjoints(backend, dtype):
    @settings(max_examples=examples(60))
    @given(cases(), st.integers(0, 99))
    def check(case, seed):
        axes, shape, weight_shape, options = case
        rng = np.random.default_rng(seed)
        conv, to_input, to_weight = (getattr(F, f"conv{axes}d{end}") for end in ("", "_input", "_weight"))
        x, weight = draw(rng, shape, dtype), draw(rng, weight_shape, dtype)
        y = draw(rng, conv(x, weight, **options).shape, dtype)
        assert_adjoint(
            lambda x: conv(x, weight, **options), lambda y: to_input(shape, weight, y, **options), x, y
        )
        assert_adjoint(
            lambda w: conv(x, w, **options), lambda y: to_weight(x, weight_shape, y, **options), weight, y
        )

    check()


@pytest.mark.parametrize("dtype", DTYPES)
def test_conv_transpose_has_its_adjoints(backend, dtype):
    @settings(max_examples=examples(60))
    @given(cases(transposed=True), st.integers(0, 99))
    def check(case, seed):
        axes, shape, weight_shape, options = case
        rng = np.random.default_rng(seed)
        names = (f"conv_transpose{axes}d{end}" for end in ("", "_input", "_weight"))
        conv, to_input, to_weight = (getattr(F, name) for name in names)
        x, weight = draw(rng, shape, dtype), draw(rng, weight_shape, dtype)
        y = draw(rng, conv(x, weight, **options).shape, dtype)
        assert_adjoint(
            lambda x: conv(x, weight, **options), lambda y: to_input(shape, weight, y, **options), x, y
        )
        assert_adjoint(
            lambda w: conv(x, w, **options), lambda y: to_weight(x, weight_shape, y, **options), weight, y
        )

    check()


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "complex128"])
@pytest.mark.parametrize("transposed", [False, True], ids=["conv", "transpose"])
def test_values_and_gradients_are_pytorchs(backend, transposed, dtype):
    torch = pytest.importorskip("torch")

    @settings(max_examples=examples(60))
    @given(cases(transposed), st.integers(0, 99), st.booleans())
    def check(case, seed, with_bias):
        axes, shape, weight_shape, options = case
        rng = np.random.default_rng(seed)
        name = f"conv{'_transpose' * transposed}{axes}d"
        outputs = weight_shape[1] * options["groups"] if transposed else weight_shape[0]
        arrays = [draw(rng, s, dtype) for s in (shape, weight_shape, (outputs,))]
        x, weight, bias = arrays if with_bias else (*arrays[:2], None)
        y = getattr(F, name)(x, weight, bias, **options)
        grad = draw(rng, y.shape, dtype)
        given = [None if a is None else torch.tensor(xpconv.asnumpy(a)) for a in (x, weight, bias)]
        for tensor in given:
            if tensor is not None:
                tensor.requires_grad_()
        theirs = getattr(torch.nn.functional, name)(*given, **options)
        assert_close(y, theirs.detach().numpy())
        theirs.backward(torch.tensor(xpconv.asnumpy(grad)))
        assert_close(getattr(F, f"{name}_input")(shape, weight, grad, **options), given[0].grad.numpy())
        dweight = getattr(F, f"{name}_weight")(x, weight_shape, grad, **options)
        assert_close(dweight, given[1].grad.numpy())
        if with_bias:
            assert_close(getattr(F, f"conv{axes}d_bias")(grad), given[2].grad.numpy())

    check()


X, W = np.ones((2, 3, 8, 8), "float32"), np.ones((4, 3, 3, 3), "float32")
WRONG = [
    (lambda: F.conv2d(X), TypeError, r"functional.conv2d: missing 1 required .* 'weight'; it takes \(input, "),
    (lambda: F.conv2d(X, W, pad=1), TypeError, r"functional.conv2d: got an unexpected keyword argument 'pad'"),
    (lambda: F.conv2d(None, W), BackendError, "functional.conv2d: input: expected an array"),
    (lambda: F.conv2d(X.tolist(), W), BackendError, r"input: .* got builtins.list; convert it with xpconv.asarray"),
    (lambda: F.conv2d(X, W.astype("float64")), DTypeError, "input is float32 but weight is float64; use input"),
    (lambda: F.conv2d(X, W.astype("complex64")), DTypeError, "input is float32 but weight is complex64"),
    (lambda: F.conv2d(X.astype(int), W), DTypeError, "input is int64, expected floating point or complex"),
    (lambda: F.conv2d(X.astype(">f4"), W), DTypeError, "input is >f4, whose byte order"),
    (lambda: F.conv2d(X[0, 0], W), ShapeError, r"input has shape \(8, 8\), expected \(N, 3, H, W\) or"),
    (lambda: F.conv2d(X[:, :2], W), ShapeError, r"2 channels, expected 3 \(weight has shape \(4, 3, 3, 3\)\)"),
    (lambda: F.conv2d(np.moveaxis(X, 1, -1), W), ShapeError, r"give numpy.moveaxis\(input, -1, -3\)"),
    (lambda: F.conv2d(X, W[0]), ShapeError, r"weight has shape .* \(out_channels, in_channels/groups, kH, kW\)"),
    (lambda: F.conv2d(X, W[:, :, :0]), ShapeError, "weight has shape .*, expected no empty axis"),
    (lambda: F.conv2d(X, W, W), ShapeError, r"bias has shape \(4, 3, 3, 3\), expected \(4,\)"),
    (lambda: F.conv2d(X, W, groups=3), ValueError, "groups is 3, which does not divide out_channels = 4 of weight"),
    (lambda: F.conv2d(X, W, stride=0), ValueError, "functional.conv2d: stride is 0, expected at least 1"),
    (lambda: F.conv2d(X, W, stride=1.5), TypeError, "functional.conv2d: stride is 1.5, expected an int"),
    (lambda: F.conv2d(X, W, stride=np.ones(2, int)), TypeError, r"stride is array.*, expected an int or 2 of them in a tuple"),
    (lambda: F.conv2d(X, W, padding=-1), ValueError, "functional.conv2d: padding is -1, expected at least 0"),
    (lambda: F.conv2d(X, W, padding="full"), ValueError, "padding is 'full', expected 'same', 'valid' or num"),
    (lambda: F.conv2d(X, W, padding="same", stride=2), ValueError, "padding='same' needs stride 1, got str"),
    (lambda: F.conv2d(X, W, padding=2**30), ShapeError, r"functional.conv2d: a padded image of .* takes .* GiB"),
    (lambda: F.conv2d(X, W, dilation=5), ShapeError, r"smaller than the kernel \(3, 3\) \(dilation \(5, 5\)\)"),
    (lambda: F.conv2d_input(X.shape, W, X), ShapeError, r"grad_output has shape .*, expected \(2, 4, 6, 6\) \("),
    (lambda: F.conv2d_input((2, 4, 8, 8), W, X), ShapeError, r"input_size is \(2, 4, 8, 8\), expected \(N, 3, "),
    (lambda: F.conv2d_input(8, W, X), TypeError, r"input_size is 8, expected a shape \(N, 3, H, W\) or"),
    (lambda: F.conv2d_weight(X, (4, 2, 3, 3), X), ShapeError, "3 channels, expected 2 .weight_size has shape"),
    (lambda: F.conv2d_weight(X, (3, 3), X), ShapeError, r"weight_size is \(3, 3\), expected \(out_channels, in"),
    (lambda: F.conv2d_bias(X[0, 0]), ShapeError, r"conv2d_bias: grad_output has shape \(8, 8\), expected \(N, K"),
    (lambda: F.conv_transpose2d(X, W), ShapeError, r"3 channels, expected 4 \(weight has shape"),
    (lambda: F.conv_transpose2d(X, W[:3], padding="same"), ValueError, "padding is 'same', expected numbers"),
    (lambda: F.conv_transpose2d(X, W[:3], output_padding=1), ValueError, "output_padding is .1, 1., expected less"),
    (lambda: F.conv_transpose2d(X, W[:3], padding=9), ShapeError, "leaves an output of .-8, -8."),
    (lambda: F.conv_transpose2d(X, W[:3], dilation=2**30), ShapeError, "an output of shape .* takes"),
    (lambda: F.conv_transpose2d_input((2, 3, 8, 8), W, X), ShapeError, r"input_size is .*, expected \(N, 4, "),
    (lambda: F.conv_transpose2d_weight(X, (3, 4, 3, 3), X), ShapeError, r"expected \(2, 4, 10, 10\) \(input has"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "kind", "message"), WRONG)
def test_wrong_arguments_are_named(call, kind, message):
    with pytest.raises(kind, match=message):
        call()


def test_the_given_arrays_decide_where_it_computes():
    """Whatever backend is active; arrays of two backends are an error that names both."""
    x, weight = (xpconv.asarray(a, backend="double") for a in (X, W))
    assert xpconv.get_backend() == "numpy"
    y = F.conv2d(x, weight)
    assert type(y) is type(x)
    assert_close(y, F.conv2d(X, W))
    with pytest.raises(BackendError, match=r"input is double but weight is numpy; use .* backend='double'\)"):
        F.conv2d(x, W)
    with xpconv.use_backend("double"):
        assert type(F.conv2d(X, W)) is np.ndarray


def test_a_parameter_is_its_array():
    layer = xpconv.Conv2d(3, 4, 3, rng=0)
    np.testing.assert_array_equal(F.conv2d(X, layer.weight, layer.bias), layer(X))
    assert type(F.conv2d_bias(layer.weight)) is np.ndarray


def test_layouts_read_only_and_float16(backend):
    rng = np.random.default_rng(0)
    x, weight = rng.standard_normal((2, 6, 9, 8)), rng.standard_normal((4, 3, 3, 3))
    expected = F.conv2d(x, weight, groups=2)
    wide = rng.standard_normal((9, 16, 6, 2))
    for make in (
        np.asfortranarray,
        lambda a: a[..., ::-1].copy()[..., ::-1],
        lambda a: np.repeat(a, 2, -1)[..., ::2],
    ):
        assert_close(F.conv2d(xpconv.asarray(make(x)), xpconv.asarray(make(weight)), groups=2), expected)
    assert_close(
        F.conv2d(xpconv.asarray(wide).transpose(3, 2, 0, 1), xpconv.asarray(weight), groups=2),
        F.conv2d(np.ascontiguousarray(wide.transpose(3, 2, 0, 1)), weight, groups=2),
    )
    half = [xpconv.asarray(a.astype("float16")) for a in (x, weight)]
    assert_close(F.conv2d(*half, groups=2), expected.astype("float16"))
    if backend == "numpy":
        x.flags.writeable = weight.flags.writeable = False
        assert_close(F.conv2d(x, weight, groups=2), expected)
    z = xpconv.asarray(x + 1j * x[::-1])
    w = xpconv.asarray(weight * 1j)
    before = xpconv.asnumpy(z).copy()
    F.conv2d(z, w, groups=2)
    np.testing.assert_array_equal(xpconv.asnumpy(z), before)


def test_imported_when_asked_for():
    assert "functional" in dir(xpconv)
    assert xpconv.functional.conv2d is F.conv2d
    assert set(F.__all__) >= {"conv2d", "conv2d_input", "conv2d_weight", "conv_transpose3d"}
