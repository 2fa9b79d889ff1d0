"""Activations without PyTorch: the shared check against formulas, the error function, errors, options."""

import math

import numpy as np
import pytest

import xpconv
from xpconv.ops.special import erf
from xpconv.testing import assert_layer_ok

X = np.random.default_rng(3).normal(size=(2, 4, 3)) * 2


def each(f):
    """A function of one number, number by number."""
    return lambda x: np.array([f(v) for v in x.ravel().tolist()]).reshape(x.shape)


def sigma(v):
    return 1 / (1 + math.exp(-v))


def log1pexp(v):
    return math.log(1 + math.exp(v))


def elu(v, alpha=1.0, rate=1.0):
    return v if v > 0 else alpha * (math.exp(v * rate) - 1)


CASES = {
    "ReLU": (lambda: xpconv.ReLU(), lambda v: max(v, 0.0)),
    "ReLU6": (lambda: xpconv.ReLU6(), lambda v: min(max(v, 0.0), 6.0)),
    "LeakyReLU": (lambda: xpconv.LeakyReLU(0.2), lambda v: v if v > 0 else 0.2 * v),
    "ELU": (lambda: xpconv.ELU(0.7), lambda v: elu(v, 0.7)),
    "SELU": (lambda: xpconv.SELU(), lambda v: 1.0507009873554805 * elu(v, 1.6732632423543772)),
    "CELU": (lambda: xpconv.CELU(2.0), lambda v: elu(v, 2.0, 0.5)),
    "GELU": (lambda: xpconv.GELU(), lambda v: v * (1 + math.erf(v / math.sqrt(2))) / 2),
    "GELU tanh": (
        lambda: xpconv.GELU("tanh"),
        lambda v: v * (1 + math.tanh(math.sqrt(2 / math.pi) * (v + 0.044715 * v**3))) / 2,
    ),
    "SiLU": (lambda: xpconv.SiLU(), lambda v: v * sigma(v)),
    "Mish": (lambda: xpconv.Mish(), lambda v: v * math.tanh(log1pexp(v))),
    "Sigmoid": (lambda: xpconv.Sigmoid(), sigma),
    "LogSigmoid": (lambda: xpconv.LogSigmoid(), lambda v: math.log(sigma(v))),
    "Tanh": (lambda: xpconv.Tanh(), math.tanh),
    "Softplus": (lambda: xpconv.Softplus(2.0, 1.0), lambda v: v if 2 * v > 1 else log1pexp(2 * v) / 2),
    "Softsign": (lambda: xpconv.Softsign(), lambda v: v / (1 + abs(v))),
    "Hardtanh": (lambda: xpconv.Hardtanh(-2, 0.5), lambda v: min(max(v, -2.0), 0.5)),
    "Hardsigmoid": (lambda: xpconv.Hardsigmoid(), lambda v: min(max(v + 3, 0.0), 6.0) / 6),
    "Hardswish": (lambda: xpconv.Hardswish(), lambda v: v * min(max(v + 3, 0.0), 6.0) / 6),
    "Hardshrink": (lambda: xpconv.Hardshrink(0.7), lambda v: v if abs(v) > 0.7 else 0.0),
    "Softshrink": (lambda: xpconv.Softshrink(0.7), lambda v: math.copysign(max(abs(v) - 0.7, 0.0), v)),
    "Tanhshrink": (lambda: xpconv.Tanhshrink(), lambda v: v - math.tanh(v)),
    "Threshold": (lambda: xpconv.Threshold(0.3, 5), lambda v: v if v > 0.3 else 5.0),
}


@pytest.mark.parametrize(("make", "f"), CASES.values(), ids=CASES.keys())
def test_pointwise(make, f, backends):
    for x in (X, X[0, 0]):
        assert_layer_ok(make, x, reference=each(f), backends=backends)


@pytest.mark.parametrize("make", [make for make, _ in CASES.values()], ids=CASES.keys())
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_pointwise_keeps_dtype_and_shape(make, dtype, backend):
    for shape in [(), (0, 3), (2, 3)]:
        layer, x = make(), xpconv.asarray(np.full(shape, 0.75), dtype)
        y = layer(x)
        assert (y.shape, y.dtype) == (shape, np.dtype(dtype))
        dx = layer.backward(x)
        assert (dx.shape, dx.dtype) == (shape, np.dtype(dtype))


@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_gelu_of_large_halves(approximate, backend):
    """x² and x³ overflow; the slope at the ends is 0 and 1 all the same."""
    layer, x = xpconv.GELU(approximate), xpconv.asarray(np.array([-1e4, -300, 300, 1e4]), "float16")
    assert xpconv.asnumpy(layer(x)).tolist() == [0, 0, 300, 1e4]
    assert xpconv.asnumpy(layer.backward(xpconv.get_xp().ones_like(x))).tolist() == [0, 0, 1, 1]


def prelu(x, weight):
    y = x.copy()
    for position in np.ndindex(x.shape):
        if x[position] <= 0:
            y[position] *= weight[position[1] if weight.size > 1 else 0]
    return y


@pytest.mark.parametrize(("count", "x"), [(1, X), (1, X[0, 0]), (4, X), (3, X[0])])
def test_prelu(count, x, backends):
    make = lambda: xpconv.PReLU(count, init=0.3)
    assert_layer_ok(make, x, reference=prelu, backends=backends)


def softmax(x, dim, sign=1):
    y = np.empty_like(x)
    for position in np.ndindex(x.shape):
        line = list(position)
        line[dim] = slice(None)
        y[position] = math.exp(sign * x[position]) / sum(math.exp(sign * v) for v in x[tuple(line)])
    return y


@pytest.mark.parametrize("dim", [0, 1, -1])
def test_softmax(dim, backends):
    assert_layer_ok(lambda: xpconv.Softmax(dim), X, reference=lambda x: softmax(x, dim), backends=backends)
    log = lambda x: np.log(softmax(x, dim))
    assert_layer_ok(lambda: xpconv.LogSoftmax(dim), X, reference=log, backends=backends)
    low = lambda x: softmax(x, dim, -1)
    assert_layer_ok(lambda: xpconv.Softmin(dim), X, reference=low, backends=backends)


@pytest.mark.parametrize("x", [X[None], X])
def test_softmax2d(x, backends):
    assert_layer_ok(xpconv.Softmax2d, x, reference=lambda x: softmax(x, -3), backends=backends)


@pytest.mark.parametrize("dim", [0, 1, -2])
def test_glu(dim, backends):
    def reference(x):
        a, b = np.split(x, 2, axis=dim)
        return a * each(sigma)(b)

    assert_layer_ok(lambda: xpconv.GLU(dim), X, reference=reference, backends=backends)


class Halves(xpconv.Layer):
    """Bilinear of the first three columns and the rest, as a layer of one input."""

    def __init__(self, bias):
        self.layer = xpconv.Bilinear(3, 2, 4, bias=bias, rng=0)

    def forward(self, x):
        return self.keep(self.layer(x[..., :3], x[..., 3:]))

    def backward(self, grad_output, input_grad=True):
        self.recall(grad_output)
        pair = self.layer.backward(grad_output, input_grad)
        return xpconv.get_xp(grad_output).concatenate(pair, axis=-1) if input_grad else None


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(5,), (3, 5), (2, 3, 5)])
def test_bilinear(bias, shape, backends):
    def reference(x, **state):
        weight, shift = state["layer.weight"], state.get("layer.bias", np.zeros(4))
        y = np.zeros((*x.shape[:-1], 4))
        for position in np.ndindex(y.shape):
            row, k = x[position[:-1]], position[-1]
            y[position] = shift[k] + sum(
                row[i] * weight[k, i, j] * row[3 + j] for i in range(3) for j in range(2)
            )
        return y

    x = np.random.default_rng(5).normal(size=shape)
    assert_layer_ok(lambda: Halves(bias), x, reference=reference, backends=backends)


def test_erf_is_that_of_math():
    """To 4 units of the last place, relatively: from 1e-300, over the seam of the two pieces, to beyond 6."""
    x = np.concatenate([np.linspace(-7, 7, 20001), np.geomspace(1e-300, 1, 500), [0.46875, 0.0]])
    expected = np.array([math.erf(v) for v in x])
    np.testing.assert_allclose(erf(np, x), expected, rtol=1e-15, atol=0)
    np.testing.assert_allclose(erf(np, x.astype("f4")), expected, rtol=0, atol=3e-7)
    assert np.isnan(erf(np, np.array([np.nan]))).all()
    np.testing.assert_array_equal(erf(np, np.array([np.inf, -np.inf])), [1, -1])


INPLACE = [
    "ReLU",
    "ReLU6",
    "LeakyReLU",
    "ELU",
    "SELU",
    "CELU",
    "SiLU",
    "Mish",
    "Hardtanh",
    "Hardsigmoid",
    "Hardswish",
]


@pytest.mark.parametrize("name", INPLACE)
def test_inplace_is_taken_and_changes_nothing(name):
    plain, layer = getattr(xpconv, name)(), getattr(xpconv, name)(inplace=True)
    x = X.copy()
    np.testing.assert_array_equal(layer(x), plain(X))
    np.testing.assert_array_equal(x, X)
    np.testing.assert_array_equal(layer.backward(X), plain.backward(X))
    assert repr(layer) == f"{name}(inplace=True)"
    assert repr(plain) == f"{name}()"


def test_repr_is_as_written():
    for text in ("ELU(alpha=2.0)", "Softmax(dim=1)", "GLU(dim=0)", "GELU(approximate='tanh')", "PReLU(num_parameters=3)",
                 "Threshold(threshold=1.0, value=2.0, inplace=True)", "Softmax2d()", "Hardtanh(min_val=0.0)"):  # fmt: skip
        assert repr(eval(f"xpconv.{text}")) == text


ERRORS = [
    (lambda: xpconv.LeakyReLU("a"), TypeError, "LeakyReLU: negative_slope is 'a', expected a number"),
    (lambda: xpconv.CELU(0), ValueError, "CELU: alpha is 0, expected"),
    (lambda: xpconv.GELU("erf"), ValueError, "GELU: approximate is 'erf', expected 'none' or 'tanh'"),
    (lambda: xpconv.Hardtanh(1, 1), ValueError, "Hardtanh: min_val is 1, expected less than max_val=1"),
    (lambda: xpconv.Softshrink(-1), ValueError, "Softshrink: lambd is -1, expected at least 0"),
    (lambda: xpconv.Softplus(0), ValueError, "Softplus: beta is 0, expected"),
    (lambda: xpconv.PReLU(0), ValueError, "PReLU: num_parameters is 0, expected at least 1"),
    (lambda: xpconv.PReLU(dtype="int32"), TypeError, "PReLU: dtype is int32"),
    (lambda: xpconv.PReLU(3)(X.astype("f4")), ValueError, "PReLU.forward: x has shape (2, 4, 3), expected (N, C, …) with C = 3"),
    (lambda: xpconv.PReLU()(X), TypeError, "PReLU.forward: x is float64 but the parameters are float32"),
    (lambda: xpconv.GLU()(X), ValueError, "GLU.forward: x has shape (2, 4, 3), expected an even size at dim=-1"),
    (lambda: xpconv.GLU(3)(X), ValueError, "GLU.forward: x has shape (2, 4, 3), so no axis dim=3"),
    (lambda: xpconv.Softmax(None), TypeError, "Softmax: dim is None, expected an int"),
    (lambda: xpconv.Softmin(-4)(X), ValueError, "Softmin.forward: x has shape (2, 4, 3), so no axis dim=-4"),
    (lambda: xpconv.Softmax2d()(X[0]), ValueError, "Softmax2d.forward: x has shape (4, 3), expected (N, C, H, W) or (C, H, W)"),
    (lambda: xpconv.Mish()(np.arange(3)), TypeError, "Mish.forward: x is int64, expected floating point"),
    (lambda: xpconv.GELU()([1.0]), TypeError, "GELU.forward: x: expected an array"),
]  # fmt: skip


@pytest.mark.parametrize(("act", "error", "message"), ERRORS, ids=[message for _, _, message in ERRORS])
def test_errors_name_layer_argument_and_fix(act, error, message):
    with pytest.raises(error) as caught:
        act()
    assert message in str(caught.value)
