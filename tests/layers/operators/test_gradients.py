"""Every differentiable operator over its options: values against plain NumPy, gradients, backends, files."""

import pickle

import numpy as np
import pytest
from operator_cases import CASES

import xpconv
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
