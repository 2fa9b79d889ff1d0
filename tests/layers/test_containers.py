"""Sequential, Residual, Parallel, Concat: order, names, gradients through every path."""

import re

import numpy as np
import pytest
from reference import conv_naive

import xpconv
from xpconv import Concat, Conv2d, Dense, Parallel, ReLU, Residual, Sequential, Tanh
from xpconv.testing import assert_layer_ok

X = np.random.default_rng(7).normal(size=(2, 3, 5, 6))


def conv(x, s, name, pad=0):
    return conv_naive(x, s[f"{name}.weight"], s[f"{name}.bias"], padding=((pad, pad),) * 2)


def test_parallel(backends):
    def make():
        rng = np.random.default_rng(0)
        return xpconv.Parallel(
            Conv2d(3, 4, 3, padding=1, rng=rng), Sequential(Conv2d(3, 4, 1, rng=rng), Tanh())
        )

    def reference(x, **s):
        return conv(x, s, "0", 1) + np.tanh(conv(x, s, "1.0"))

    assert_layer_ok(make, X, reference=reference, backends=backends)


@pytest.mark.parametrize("axis", [1, -3])
def test_concat(axis, backends):
    def make():
        rng = np.random.default_rng(0)
        branches = {
            "wide": Conv2d(3, 4, 3, padding=1, rng=rng),
            "thin": Conv2d(3, 2, 1, rng=rng),
            "x": Tanh(),
        }
        return xpconv.Concat(branches, axis=axis)

    def reference(x, **s):
        return np.concatenate([conv(x, s, "wide", 1), conv(x, s, "thin"), np.tanh(x)], axis=1)

    assert_layer_ok(make, X, reference=reference, backends=backends)


def test_branches_may_share_a_layer(backends):
    def make():
        shared = Dense(6, 6, rng=0)
        return Concat(shared, Sequential(Tanh(), shared), Parallel(shared, ReLU()), axis=-1)

    def reference(x, **s):
        def dense(x):
            return x @ s["0.weight"].T + s["0.bias"]

        return np.concatenate([dense(x), dense(np.tanh(x)), dense(x) + np.maximum(x, 0)], axis=-1)

    assert_layer_ok(make, X, reference=reference, backends=backends)


def test_a_unet_of_nested_concats(backends):
    def make():
        rng = np.random.default_rng(0)
        inner = Sequential(Conv2d(3, 4, 3, padding=1, rng=rng), Tanh())
        middle = Sequential(Concat(Tanh(), inner), Conv2d(7, 3, 1, rng=rng))
        return Sequential(Concat(Tanh(), middle), Conv2d(6, 2, 1, rng=rng))

    def reference(x, **s):
        inner = np.tanh(conv(x, s, "0.1.0.1.0", 1))
        middle = conv(np.concatenate([np.tanh(x), inner], 1), s, "0.1.1")
        return conv(np.concatenate([np.tanh(x), middle], 1), s, "1")

    assert_layer_ok(make, X, reference=reference, backends=backends)


def test_names_indices_slices_and_append():
    model = Sequential(Dense(2, 3), ReLU(), Dense(3, 4))
    assert len(model) == 3
    assert [type(layer).__name__ for layer in model] == ["Dense", "ReLU", "Dense"]
    assert model[-1] is model[2]
    tail = model[1:]
    assert list(tail.state_dict()) == ["2.weight", "2.bias"]  # a slice keeps its names, as in PyTorch
    tail.append(Dense(4, 1))
    assert list(tail.state_dict()) == ["2.weight", "2.bias", "3.weight", "3.bias"]
    assert [n for n, _ in Sequential({"a": Dense(1, 1), "b": ReLU()}).named_parameters()] == [
        "a.weight",
        "a.bias",
    ]
    assert len(Sequential([ReLU(), ReLU()])) == len(Sequential((ReLU(), ReLU()))) == 2
    assert Concat(ReLU(), ReLU(), axis=-1)[:1].axis == -1
    x = np.ones((1, 2), "float32")
    np.testing.assert_array_equal(Sequential()(x), x)
    assert repr(model) == "Sequential(\n  (0): Dense(2, 3)\n  (1): ReLU()\n  (2): Dense(3, 4)\n)"
    assert repr(Residual(ReLU())) == "Residual(\n  (body): Sequential(\n    (0): ReLU()\n  )\n)"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Parallel(Conv2d(3, 4, 1), Conv2d(3, 5, 1)), "Parallel.forward: branch 1 gives shape (2, 5, 5, 6) but branch 0 (2, 4, 5, 6)"),
        (lambda: Concat(Conv2d(3, 4, 1), Conv2d(3, 5, 3)), "Concat.forward: branch 1 gives shape (2, 5, 3, 4) but branch 0 (2, 4, 5, 6); only axis 1 may differ"),
        (lambda: Concat(ReLU(), axis=4), "Concat.forward: axis is 4, but branches give shape (2, 3, 5, 6)"),
        (lambda: Parallel(), "Parallel.forward: there are no branches"),
    ],
)  # fmt: skip
def test_errors_leave_nothing_behind(make, message):
    layer = make()
    with pytest.raises(ValueError, match=re.escape(message)):
        layer(X.astype("float32"))
    assert not any(below._finished() for _, below in layer.named_layers())


class Doubled(xpconv.BatchNorm2d):
    """A forward of its own, which Sequential must not go round."""

    def forward(self, x):
        return super().forward(x) * 2


def blocks():
    """What does the work of a ReLU after it, and what does not."""
    body = [Conv2d(4, 4, 3, padding=1), xpconv.BatchNorm2d(4), ReLU(), Conv2d(4, 4, 1), xpconv.BatchNorm2d(4)]
    relu = ReLU()
    return Sequential(
        Conv2d(3, 4, 3), ReLU(), Residual(body), ReLU(), xpconv.BatchNorm2d(4), xpconv.ReLU6(), Doubled(4), relu,
        Conv2d(4, 4, 1), xpconv.Hardtanh(-0.5, 0.5), xpconv.BatchNorm2d(4), relu, xpconv.LeakyReLU(),
    )  # fmt: skip


def test_a_layer_that_cuts_off_gives_and_keeps_what_two_layers_do(backend):
    """Against the layers called one by one; and not back through those after a forward of the model."""
    xpconv.manual_seed(0)
    with xpconv.use_backend(backend):
        model = blocks()
        x = xpconv.asarray(X.astype("float32"))

        def forward():
            y = x
            for layer in model:
                y = layer(y)
            return y

        def backward(grad):
            for layer in reversed(list(model)):
                grad = layer.backward(grad)
            return grad

        def grads():
            found = [xpconv.asnumpy(p.grad) for p in model.parameters()]
            model.zero_grad()
            return found

        expected = xpconv.asnumpy(forward())
        g = xpconv.asarray(np.random.default_rng(1).normal(size=expected.shape).astype("float32"))
        dx = xpconv.asnumpy(backward(g))
        dw = grads()
        for back in (model.backward, lambda g: model.backward(g, input_grad=False)):
            np.testing.assert_allclose(xpconv.asnumpy(model(x)), expected, rtol=1e-5, atol=1e-6)
            result = back(g)
            if result is not None:
                np.testing.assert_allclose(xpconv.asnumpy(result), dx, rtol=1e-4, atol=1e-6)
            for ours, theirs in zip(grads(), dw, strict=True):
                np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5 * np.abs(theirs).max())
            assert not model._finished(), "nothing is left to go back through"
        model(x)
        with pytest.raises(xpconv.errors.BackwardError, match=r"LeakyReLU.*backward of the model"):
            backward(g)
        assert len(model._finished()) == 1


@pytest.mark.parametrize("clip", [ReLU(), xpconv.ReLU6(), xpconv.Hardtanh(-0.5, 2.0)], ids=str)
@pytest.mark.parametrize(
    "pool",
    [
        xpconv.MaxPool2d(2),
        xpconv.MaxPool2d(3, stride=2, padding=1),
        xpconv.MaxPool2d(3, stride=1),
        xpconv.MaxPool2d(2, ceil_mode=True),
        xpconv.MaxPool2d(3, stride=1, padding=1, dilation=7),  # a window may see nothing but padding
    ],
    ids=str,
)
@pytest.mark.parametrize("first", [[], [xpconv.BatchNorm2d(3)]], ids=["input", "normed"])
def test_a_cut_off_before_a_maximum_is_done_after_it(first, pool, clip, backend):
    """With ties, all that is cut off, and NaN; against the layers called one by one."""
    x = np.random.default_rng(3).integers(-9, 9, (2, 3, 15, 16)).astype("float64")
    x[0, 0, :6, :6] = -1
    x[0, 1, 3:9, 3:9] = 9
    if not first:
        x[1, 2, 4, 5] = np.nan
    model = Sequential(*first, clip, pool).to(backend, dtype="float64")
    x = xpconv.asarray(x, backend=backend)
    y = x
    for layer in model:
        y = layer(y)
    g = np.random.default_rng(4).normal(size=y.shape)
    g = grad = xpconv.asarray(g, backend=backend)
    for layer in reversed(list(model)):
        grad = layer.backward(grad)
    np.testing.assert_array_equal(xpconv.asnumpy(model(x)), xpconv.asnumpy(y))
    np.testing.assert_allclose(
        xpconv.asnumpy(model.backward(g)), xpconv.asnumpy(grad), rtol=1e-12, atol=1e-12
    )
    with xpconv.no_grad():
        np.testing.assert_array_equal(xpconv.asnumpy(model(x)), xpconv.asnumpy(y))


def test_a_maximum_with_a_backward_of_its_own_stays_in_its_place():
    class Loud(xpconv.MaxPool2d):
        def backward(self, grad_output, input_grad=True):
            self.seen = grad_output
            return super().backward(grad_output, input_grad)

    model = Sequential(ReLU(), Loud(2))
    y = model(np.full((1, 1, 4, 4), -1.0))
    dx = model.backward(np.ones_like(y))
    np.testing.assert_array_equal(model[1].seen, np.ones_like(y))
    np.testing.assert_array_equal(dx, 0)


def test_only_what_is_exactly_a_relu_joins():
    class Mine(ReLU):
        def forward(self, x):
            return super().forward(x) + 1

    x = np.full((2, 3, 4, 4), -1, "float32")
    patched = ReLU()
    patched.forward = lambda x: ReLU.forward(patched, x) + 1
    for relu in (Mine(), patched):
        y = Sequential(Conv2d(3, 3, 1), relu)(x)
        assert y.min() >= 1
    norm = Doubled(3).eval()
    np.testing.assert_array_equal(Sequential(norm, ReLU())(-x), norm(-x))


def test_a_nameless_child_has_its_own_attributes():
    """As the blocks of ResNets: `training` of the outer container is not that of the block in it."""
    block = xpconv.Residual(xpconv.Dense(2, 2))
    model = xpconv.Sequential({"": xpconv.Sequential({"": block}), "relu": xpconv.ReLU()})
    for mode in (False, True, False, True):
        assert {layer.training for layer in model.train(mode).modules()} == {mode}
    block.note, model.note = 1, 2
    assert (block.note, model.note) == (1, 2)
    assert model.body is block.body
    model.body = xpconv.Tanh()
    assert isinstance(block.body, xpconv.Tanh)
