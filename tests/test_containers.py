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


def test_parallel(backend):
    def make():
        rng = np.random.default_rng(0)
        return xpconv.Parallel(
            Conv2d(3, 4, 3, padding=1, rng=rng), Sequential(Conv2d(3, 4, 1, rng=rng), Tanh())
        )

    def reference(x, **s):
        return conv(x, s, "0", 1) + np.tanh(conv(x, s, "1.0"))

    assert_layer_ok(make, X, reference=reference, backends=["numpy", backend])


@pytest.mark.parametrize("axis", [1, -3])
def test_concat(axis, backend):
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

    assert_layer_ok(make, X, reference=reference, backends=["numpy", backend])


def test_branches_may_share_a_layer(backend):
    def make():
        shared = Dense(6, 6, rng=0)
        return Concat(shared, Sequential(Tanh(), shared), Parallel(shared, ReLU()), axis=-1)

    def reference(x, **s):
        def dense(x):
            return x @ s["0.weight"].T + s["0.bias"]

        return np.concatenate([dense(x), dense(np.tanh(x)), dense(x) + np.maximum(x, 0)], axis=-1)

    assert_layer_ok(make, X, reference=reference, backends=["numpy", backend])


def test_a_unet_of_nested_concats(backend):
    def make():
        rng = np.random.default_rng(0)
        inner = Sequential(Conv2d(3, 4, 3, padding=1, rng=rng), Tanh())
        middle = Sequential(Concat(Tanh(), inner), Conv2d(7, 3, 1, rng=rng))
        return Sequential(Concat(Tanh(), middle), Conv2d(6, 2, 1, rng=rng))

    def reference(x, **s):
        inner = np.tanh(conv(x, s, "0.1.0.1.0", 1))
        middle = conv(np.concatenate([np.tanh(x), inner], 1), s, "0.1.1")
        return conv(np.concatenate([np.tanh(x), middle], 1), s, "1")

    assert_layer_ok(make, X, reference=reference, backends=["numpy", backend])


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
    assert Sequential()(x) is x
    assert repr(model) == "Sequential(\n  (0): Dense(2, 3)\n  (1): ReLU()\n  (2): Dense(3, 4)\n)"
    assert repr(Residual(ReLU())) == "Residual(\n  (body): Sequential(\n    (0): ReLU()\n  )\n)"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Parallel(Conv2d(3, 4, 1), Conv2d(3, 5, 1)), "Parallel.forward: branch 1 gives shape (2, 5, 5, 6) but branch 0 (2, 4, 5, 6)"),
        (lambda: Concat(Conv2d(3, 4, 1), Conv2d(3, 5, 3)), "Concat.forward: branch 1 gives shape (2, 5, 3, 4) but branch 0 (2, 4, 5, 6); only axis 1 may differ"),
        (lambda: Concat(ReLU(), axis=4), "Concat.forward: axis is 4, but the branches give shape (2, 3, 5, 6)"),
        (lambda: Parallel(), "Parallel.forward: there are no branches"),
    ],
)  # fmt: skip
def test_errors_leave_nothing_behind(make, message):
    layer = make()
    with pytest.raises(ValueError, match=re.escape(message)):
        layer(X.astype("float32"))
    assert not any(below._stack() for _, below in layer.named_layers())
