"""Every differentiable operator over its options: values against plain NumPy, gradients, backends, files."""

import pickle

import numpy as np
import pytest
from operator_cases import CASES

import xpconv
from xpconv.layers import operators as ops
from xpconv.layers.constant import Weight
from xpconv.testing import assert_layer_ok


@pytest.mark.sample(4)
@pytest.mark.parametrize("name", CASES)
def test_operator(name, backends):
    make, inputs, reference = CASES[name]
    assert_layer_ok(make, inputs, reference=reference, backends=backends)


@pytest.mark.sample(4)
@pytest.mark.parametrize("name", CASES)
def test_file_and_pickle(name, tmp_path):
    make, inputs, _ = CASES[name]
    layer = make()
    xpconv.save_model(layer, tmp_path / "model")
    expected = layer(*inputs)
    for again in (xpconv.load_model(tmp_path / "model"), pickle.loads(pickle.dumps(layer))):  # noqa: S301
        assert repr(again) == repr(layer)
        np.testing.assert_array_equal(again(*inputs), expected)


@pytest.mark.parametrize("join", ["Add", "Sub", "Einsum"])
def test_gradients_of_a_weight_are_its_own(join, backend):
    """The next backward adds to it, and changes neither the gradients of inputs nor what the caller gave."""
    layer = ops.Einsum("ij,ij->ij") if join == "Einsum" else getattr(ops, join)()
    graph = xpconv.Graph({"w": (Weight((2, 3)),), "y": (layer, "x", "w")}, "x", "y")
    graph["w"].value.data[...] = 2
    given = xpconv.asarray(np.ones((2, 3), "float32"))
    found = []
    for _ in range(2):
        graph(given)
        found.append(graph.backward(given))
    expected = np.full((2, 3), 2 if join == "Einsum" else 1, "float32")
    for dx in found:
        np.testing.assert_array_equal(xpconv.asnumpy(dx), expected)
    np.testing.assert_array_equal(xpconv.asnumpy(given), np.ones((2, 3)))
    total = xpconv.asnumpy(graph["w"].value.grad)
    np.testing.assert_array_equal(total, np.full((2, 3), -2 if join == "Sub" else 2))
