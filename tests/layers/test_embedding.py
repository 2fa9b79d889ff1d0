"""Embedding: the shared check, sums over repeated indices, renormalised rows, and what it refuses."""

import math

import double
import numpy as np
import pytest
from effort import examples
from hypothesis import given, settings
from hypothesis import strategies as st

import xpconv
from xpconv.testing import assert_layer_ok

REPEATED = [[5, 1, 5], [0, 5, 6]]
UNIQUE = [[4, 1, 5], [0, 3, 6]]
KINDS = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]


class Shifted(xpconv.Layer):
    """`x` plus the vectors of fixed indices: the part of an embedding that has a floating input."""

    def __init__(self, indices, **options):
        self.indices = indices
        self.table = xpconv.Embedding(7, 4, rng=0, **options)

    def forward(self, x):
        return self.keep(x + self.table(xpconv.asarray(self.indices)))

    def backward(self, grad_output, input_grad=True):
        self.recall(grad_output)
        assert self.table.backward(grad_output, input_grad) is None
        return grad_output.copy() if input_grad else None


def lookup_naive(indices, weight):
    y = np.zeros((*np.shape(indices), weight.shape[1]))
    for position in np.ndindex(*np.shape(indices)):
        y[position] = weight[np.asarray(indices)[position]]
    return y


def gradient_naive(indices, grad, size, padding_idx=None, scale_grad_by_freq=False):
    flat = np.reshape(indices, -1).tolist()
    result = np.zeros((size, grad.shape[-1]))
    for v, g in zip(flat, grad.reshape(-1, grad.shape[-1]), strict=True):
        if v != padding_idx:
            result[v] += g / flat.count(v) if scale_grad_by_freq else g
    return result


@pytest.mark.parametrize(
    ("indices", "options"),
    [
        (REPEATED, {}),
        (UNIQUE, {}),
        (3, {}),
        ([3, 3, 3, 3], {}),
        (REPEATED, dict(padding_idx=3)),  # not looked up: that a row has no gradient is no difference's
        (UNIQUE, dict(scale_grad_by_freq=True)),  # each once: else the gradient is not the loss's
        (REPEATED, dict(max_norm=100.0, norm_type=1.0)),  # so that no row moves under the differences
    ],
    ids=str,
)
def test_contract(indices, options, backends):
    def reference(x, **state):
        return x + lookup_naive(indices, state["table.weight"])

    x = np.random.default_rng(1).normal(size=(*np.shape(indices), 4))
    assert_layer_ok(lambda: Shifted(indices, **options), x, reference=reference, backends=backends)


@settings(max_examples=examples(40))
@given(data=st.data())
def test_gradient_sums_over_repeated_indices(data):
    size = data.draw(st.integers(1, 6))
    shape = data.draw(st.sampled_from([(), (1,), (7,), (8,), (9,), (3, 5), (2, 2, 4), (0,), (3, 0)]))
    padding = data.draw(st.none() | st.integers(-size, size - 1))
    options = dict(padding_idx=padding, scale_grad_by_freq=data.draw(st.booleans()))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    indices, g = rng.integers(size, size=shape), rng.normal(size=(*shape, 3))
    for name in ("numpy", "double"):
        with xpconv.use_backend(name):
            layer = xpconv.Embedding(size, 3, rng=0, dtype="float64", **options)
            weight = xpconv.asnumpy(layer.weight.data).copy()
            y = layer(xpconv.asarray(indices))
            np.testing.assert_array_equal(xpconv.asnumpy(y), lookup_naive(indices, weight))
            assert layer.backward(xpconv.asarray(g)) is None
            expected = gradient_naive(indices, g, size, layer.padding_idx, options["scale_grad_by_freq"])
            np.testing.assert_allclose(xpconv.asnumpy(layer.weight.grad), expected, rtol=0, atol=1e-13)


def test_gradient_is_accurate_and_the_same_every_time(backend):
    """Sums of pairs: thousands of float32 of one row lose no digits; float16 ones do not overflow on the way."""
    rng = np.random.default_rng(2)
    indices = np.where(rng.random(5000) < 0.9, 1, rng.integers(9, size=5000))
    g = rng.normal(1.0, 0.1, size=(5000, 2)).astype("float32")
    layer, grads = xpconv.Embedding(9, 2, rng=0), []
    for _ in range(2):
        layer.zero_grad()
        layer(xpconv.asarray(indices))
        layer.backward(xpconv.asarray(g))
        grads.append(xpconv.asnumpy(layer.weight.grad).copy())
    np.testing.assert_array_equal(*grads)
    expected = gradient_naive(indices, g.astype("float64"), 9)
    np.testing.assert_allclose(grads[0], expected, rtol=5e-7)

    half = xpconv.Embedding(2, 1, rng=0, dtype="float16")
    assert half(xpconv.asarray([1, 1, 1])).dtype == "float16"
    half.backward(xpconv.asarray([[6e4], [6e4], [-6e4]], "float16"))
    assert half.weight.grad.dtype == "float16"
    np.testing.assert_array_equal(xpconv.asnumpy(half.weight.grad), np.array([[0], [6e4]], "float16"))


def test_infinite_gradients_stay_in_their_row(backend):
    layer = xpconv.Embedding(3, 1, rng=0)
    layer(xpconv.asarray([0, 1, 2, 0]))
    layer.backward(xpconv.asarray([[1.0], [math.nan], [math.inf], [2.0]], "float32"))
    np.testing.assert_array_equal(xpconv.asnumpy(layer.weight.grad), [[3.0], [math.nan], [math.inf]])


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
@pytest.mark.parametrize("norm_type", [1, 2.0, 3.5, 0.5, math.inf])
@pytest.mark.parametrize("max_norm", [0, 0.5, 1.5, math.inf])
def test_max_norm(max_norm, norm_type, dtype, backend):
    layer = xpconv.Embedding(7, 4, 6, max_norm, norm_type, rng=0, dtype=dtype)
    before = xpconv.asnumpy(layer.weight.data).copy()
    y = layer(xpconv.asarray(REPEATED))
    after = xpconv.asnumpy(layer.weight.data)
    for v, (row, new) in enumerate(zip(before.astype("float64"), after, strict=True)):
        powers = [abs(w) ** norm_type for w in row] if norm_type < math.inf else []
        norm = sum(powers) ** (1 / norm_type) if powers else max(abs(row))
        if v in np.ravel(REPEATED) and norm > max_norm:
            atol = {"float64": 1e-7, "float32": 2e-6, "float16": 2e-3}[dtype]  # of 1e-7 in the divisor
            np.testing.assert_allclose(new, row * (max_norm / norm), rtol=0, atol=atol)
        else:
            np.testing.assert_array_equal(new, before[v])
    assert layer.weight.dtype == dtype
    np.testing.assert_array_equal(xpconv.asnumpy(y), after[np.array(REPEATED)])


def test_max_norm_in_inference_and_of_nothing(backend):
    layer = xpconv.Embedding(3, 2, max_norm=0.1, rng=0).eval()
    before = xpconv.asnumpy(layer.weight.data).copy()
    assert layer(xpconv.asarray(np.zeros((2, 0), "int64"))).shape == (2, 0, 2)
    np.testing.assert_array_equal(xpconv.asnumpy(layer.weight.data), before)
    with xpconv.no_grad():
        layer(xpconv.asarray([1]))
    changed = (xpconv.asnumpy(layer.weight.data) != before).any(axis=1)
    assert changed.tolist() == [False, True, False]


def test_max_norm_in_a_fused_model(backend):
    """Whose parameters are read-only on NumPy."""
    model = xpconv.Sequential(xpconv.Embedding(5, 4, max_norm=0.5, rng=0), xpconv.Flatten()).eval()
    fused = model.fuse()
    for rows in ([[1, 2]], [[3, 1]], [[3, 1]]):
        x = xpconv.asarray(np.array(rows))
        with xpconv.no_grad():
            np.testing.assert_array_equal(xpconv.asnumpy(fused(x)), xpconv.asnumpy(model(x)))


@pytest.mark.parametrize("kind", KINDS)
def test_integers_of_any_kind(kind, backend):
    layer = xpconv.Embedding(7, 4, rng=0)
    x = xpconv.asarray(np.array(REPEATED, kind))
    expected = lookup_naive(REPEATED, xpconv.asnumpy(layer.weight.data))
    np.testing.assert_array_equal(xpconv.asnumpy(layer(x)), expected)
    np.testing.assert_array_equal(xpconv.asnumpy(layer(x.T)), expected.swapaxes(0, 1))
    np.testing.assert_array_equal(xpconv.asnumpy(x), REPEATED)


def test_indices_may_change_before_backward(backend):
    layer = xpconv.Embedding(3, 1, rng=0)
    x = xpconv.asarray([0, 0])
    g = xpconv.asarray([[1.0], [1.0]], "float32")
    layer(x)
    x[...] = 2
    layer.backward(g, input_grad=False)
    np.testing.assert_array_equal(xpconv.asnumpy(layer.weight.grad), [[2.0], [0.0], [0.0]])
    np.testing.assert_array_equal(xpconv.asnumpy(g), [[1.0], [1.0]])


def test_empty_batch(backend):
    layer = xpconv.Embedding(3, 2, scale_grad_by_freq=True, rng=0)
    y = layer(xpconv.asarray(np.zeros((0, 4), "int32")))
    assert y.shape == (0, 4, 2)
    layer.backward(y)
    np.testing.assert_array_equal(xpconv.asnumpy(layer.weight.grad), np.zeros((3, 2)))
    assert layer.weight.grad.dtype == "float32"


def test_nothing_waits_for_the_device():
    with xpconv.use_backend("double"):
        layer = xpconv.Embedding(7, 4, 0, 0.5, scale_grad_by_freq=True, rng=0)
        x = xpconv.asarray(REPEATED)
        with double.count_syncs() as counter:
            layer.backward(layer(x))
        assert counter.n == 0


@pytest.mark.parametrize("bad", [-1, 3, 2**62])
def test_index_out_of_range(bad):
    """An error on the CPU; elsewhere NaN, and no row's gradient."""
    layer = xpconv.Embedding(3, 2, max_norm=0.1, rng=0)
    before = layer.weight.data.copy()
    with pytest.raises(ValueError, match=rf"^Embedding\.forward: x holds index {bad}, expected 0 to 2 "):
        layer(np.array([0, bad]))
    np.testing.assert_array_equal(layer.weight.data, before)
    with xpconv.use_backend("double"):
        layer = xpconv.Embedding(3, 2, rng=0, scale_grad_by_freq=True, max_norm=9.0)
        y = xpconv.asnumpy(layer(xpconv.asarray([0, bad, 2])))
        np.testing.assert_array_equal(y, [before[0], [math.nan] * 2, before[2]])
        layer.backward(xpconv.asarray([[1.0, 1.0], [math.nan] * 2, [2.0, 2.0]], "float32"))
        np.testing.assert_array_equal(xpconv.asnumpy(layer.weight.grad), [[1, 1], [0, 0], [2, 2]])


def test_initial_weight():
    weight = xpconv.Embedding(300, 100, padding_idx=-2, rng=0).weight.data
    assert not weight[298].any()
    rest = np.delete(weight, 298, axis=0)
    assert abs(rest.mean()) < 0.02
    assert abs(rest.std() - 1) < 0.02
    np.testing.assert_array_equal(weight, xpconv.Embedding(300, 100, 298, rng=0).weight.data)


def test_in_a_model():
    """It learns: a table and a Dense tell words apart."""
    model = xpconv.Sequential(xpconv.Embedding(5, 4, rng=0), xpconv.Flatten(), xpconv.Dense(8, 2, rng=1))
    criterion, optimizer = xpconv.SoftmaxCrossEntropyLoss(), xpconv.SGD(model.parameters(), lr=0.5)
    x, target = np.array([[0, 1], [2, 3], [4, 4], [1, 0]]), np.array([0, 1, 0, 1])
    losses = []
    for _ in range(40):
        losses.append(float(criterion(model(x), target)))
        model.zero_grad()
        assert model.backward(criterion.backward(), input_grad=False) is None
        optimizer.step()
    assert losses[-1] < 0.05 < losses[0]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((0, 3), ValueError, "num_embeddings is 0"),
        ((3, -1), ValueError, "embedding_dim is -1"),
        ((2.0, 3), TypeError, "num_embeddings is 2.0"),
        ((3, "4"), TypeError, "embedding_dim is '4'"),
        ((3, 2, 3), ValueError, r"padding_idx is 3, expected -3 to 2 \(num_embeddings=3\)"),
        ((3, 2, -4), ValueError, "padding_idx is -4, expected -3 to 2"),
        ((3, 2, 1.0), TypeError, "padding_idx is 1.0"),
        ((3, 2, True), TypeError, "padding_idx is True"),
        ((3, 2, None, "a"), TypeError, "max_norm is 'a'"),
        ((3, 2, None, -1.0), ValueError, "max_norm is -1.0"),
        ((3, 2, None, math.nan), ValueError, "max_norm is nan"),
        ((3, 2, None, 1.0, None), TypeError, "norm_type is None"),
        ((3, 2, None, 1.0, 0), ValueError, "norm_type is 0, expected a number above 0"),
        ((3, 2, None, 1.0, 2.0, 1), TypeError, "scale_grad_by_freq is 1"),
    ],
)
def test_arguments_refused(arguments, error, message):
    with pytest.raises(error, match=f"^Embedding: {message}"):
        xpconv.Embedding(*arguments)


def test_inputs_refused():
    layer = xpconv.Embedding(3, 2, rng=0)
    for dtype in ("float32", "float64", "bool", "complex64"):
        with pytest.raises(TypeError, match=rf"^Embedding\.forward: x is {dtype}, .*astype\('int64'\)"):
            layer(np.zeros(2, dtype))
    with pytest.raises(xpconv.errors.BackendError, match=r"^Embedding\.forward: x: .*list"):
        layer([0, 1])
    with (
        xpconv.use_backend("double"),
        pytest.raises(xpconv.errors.BackendError, match=r"layer\.to\('double'\)"),
    ):
        layer(xpconv.asarray([0, 1]))
    with pytest.raises(xpconv.errors.BackwardError):
        layer.backward(np.zeros((2, 2), "float32"))
    with pytest.raises(TypeError, match="dtype is int32"):
        xpconv.Embedding(3, 2, dtype="int32")


def test_repr():
    assert repr(xpconv.Embedding(10, 3)) == "Embedding(10, 3)"
    full = xpconv.Embedding(10, 3, -1, 1, math.inf, True)
    assert repr(full) == (
        "Embedding(10, 3, padding_idx=9, max_norm=1.0, norm_type=inf, scale_grad_by_freq=True)"
    )
