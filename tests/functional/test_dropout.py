"""Dropout: the share of zeros, seeds, masks, and the gradient, which has the same mask."""

import numpy as np
import pytest

import xpconv
import xpconv.functional as F

SHAPES = {  # and the number of axes of which each element is drawn by itself
    "dropout": ((40, 50), 2), "alpha_dropout": ((40, 50), 2), "dropout1d": ((40, 50, 3), 2), "dropout2d": ((40, 50, 3, 2), 2),
    "dropout3d": ((40, 50, 2, 1, 3), 2),
}  # fmt: skip


@pytest.mark.parametrize("name", SHAPES)
def test_output_is_the_layers(name, backend):
    """With the same seed; a mask, whose zeros are about p; whole channels."""
    shape, drawn = SHAPES[name]
    x = xpconv.asarray(np.random.default_rng(0).normal(size=shape))
    layer = getattr(
        xpconv, {"dropout": "Dropout", "alpha_dropout": "AlphaDropout"}.get(name, name.capitalize())
    )
    y, mask = getattr(F, name)(x, 0.3, training=True, return_mask=True, rng=1)
    np.testing.assert_array_equal(xpconv.asnumpy(y), xpconv.asnumpy(layer(0.3, rng=1)(x)))
    mask = xpconv.asnumpy(mask)
    assert mask.shape == shape[:drawn] + (1,) * (len(shape) - drawn)
    assert abs((~mask).mean() - 0.3) < 0.05
    again = getattr(F, name)(x, 0.3, training=True, rng=1)
    np.testing.assert_array_equal(xpconv.asnumpy(again), xpconv.asnumpy(y))


@pytest.mark.parametrize("p", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("name", SHAPES)
def test_backward_is_the_layers(name, p, backend):
    shape, _ = SHAPES[name]
    rng = np.random.default_rng(0)
    x, grad = (xpconv.asarray(rng.normal(size=shape)) for _ in range(2))
    kind = getattr(
        xpconv, {"dropout": "Dropout", "alpha_dropout": "AlphaDropout"}.get(name, name.capitalize())
    )
    layer = kind(p, rng=1)
    layer(x)
    _, mask = getattr(F, name)(x, p, training=True, return_mask=True, rng=1)
    found = getattr(F, f"{name}_backward")(grad, mask, p)
    np.testing.assert_allclose(xpconv.asnumpy(found), xpconv.asnumpy(layer.backward(grad)), rtol=1e-14)


@pytest.mark.parametrize("name", SHAPES)
def test_without_training_there_is_a_copy(name, backend):
    x = xpconv.asarray(np.ones(SHAPES[name][0]))
    y, mask = getattr(F, name)(x, training=False, return_mask=True)
    assert mask is None
    y[...] = 0
    assert xpconv.asnumpy(x).all()
    grad = getattr(F, f"{name}_backward")(x, None)
    np.testing.assert_array_equal(xpconv.asnumpy(grad), 1)


def test_errors():
    x = np.ones((2, 3, 4))
    with pytest.raises(ValueError, match=r"^functional\.dropout: p is 2, expected a probability"):
        F.dropout(x, 2)
    with pytest.raises(
        ValueError, match=r"^functional\.dropout2d: input has shape \(3,\), expected \(N, C, H, W\)"
    ):
        F.dropout2d(x[0, :, 0])
    with pytest.raises(TypeError, match=r"^functional\.dropout: rng is 'a'"):
        F.dropout(x, rng="a")
    with pytest.raises(TypeError, match=r"^functional\.dropout_backward: mask is float64, expected bool"):
        F.dropout_backward(x, x)
    with pytest.raises(
        ValueError, match=r"^functional\.dropout1d_backward: mask has shape \(2, 3, 4\), expected \(2, 3, 1\)"
    ):
        F.dropout1d_backward(x, x > 0)
