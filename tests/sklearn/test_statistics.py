"""The statistics by which the default models standardise X and y."""

import numpy as np
import pytest

pytest.importorskip("sklearn", reason='pip install -e ".[sklearn]"')

import math
from fractions import Fraction

from sklearn.metrics import r2_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from xpconv.sklearn import ConvClassifier, ConvRegressor
from xpconv.sklearn.defaults import moments

SPREADS = [(1e6, 1e-3), (-1e9, 1.0), (1e12, 1e-2), (1.7e18, 1e5), (1.0, 1e-8), (0.0, 1e-20), (1e-20, 1e-30)]


@pytest.mark.parametrize(("mean", "spread"), SPREADS)
@pytest.mark.parametrize("weighted", [False, True])
def test_moments_of_a_small_spread_at_a_large_mean(mean, spread, weighted):
    """Against integers of Python, which do not round."""
    x = mean + spread * np.random.default_rng(0).normal(size=(3000, 2))
    weight = np.random.default_rng(1).integers(0, 3, 3000) if weighted else np.ones(3000, int)
    found_mean, scale, constant = moments(x, weight.astype(float) if weighted else None)
    for i in range(2):
        values = [Fraction(v) for v in np.repeat(x[:, i], weight)]
        exact = sum(values) / len(values)
        variance = sum((v - exact) ** 2 for v in values) / len(values)
        np.testing.assert_allclose(found_mean[i], float(exact), rtol=1e-15, atol=1e-15 * spread)
        np.testing.assert_allclose(scale[i], math.sqrt(variance), rtol=1e-9)
    assert not constant.any()


@pytest.mark.parametrize("value", [0.1, 1e6 + 1e-3, -1e300, 1e-300, 0.0])
@pytest.mark.parametrize("shape", [(3001, 2), (100, 2, 5, 5)])
def test_moments_of_a_constant(value, shape):
    x = np.full(shape, value)
    for weight in (None, np.random.default_rng(0).random(shape[0])):
        mean, scale, constant = moments(x, weight)
        np.testing.assert_array_equal(mean, value)
        np.testing.assert_array_equal(scale, 1)
        assert constant.all()
    x[0, 0] += 1  # the weight of a sample decides, and its channel
    weight = np.ones(len(x))
    weight[0] = 0
    assert moments(x, weight)[2].all()
    if abs(value) < 1e6:
        assert list(moments(x, None)[2]) == [False, True]


@pytest.mark.sample(4)
@pytest.mark.parametrize("kind", [ConvClassifier, ConvRegressor])
@pytest.mark.parametrize(("mean", "spread"), SPREADS)
def test_tables_of_a_small_spread_at_a_large_mean(kind, mean, spread):
    """In float64 they are learned as their differences are; in float32 `fit` says what is rounded away."""
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(200, 3))
    y = (noise[:, 0] > 0).astype(int) if kind is ConvClassifier else noise[:, 0]
    x = mean + spread * noise
    settings = {"max_epochs": 10, "learning_rate": 0.01, "random_state": 0}
    double = kind(dtype="float64", **settings).fit(x[:150], y[:150])
    assert double.score(x[150:], y[150:]) > 0.85
    near = (x - mean) / spread
    if mean and spread / abs(mean) < 1e-7:
        pattern = (
            rf"^{kind.__name__}: feature 0 of X, of mean \S+ and deviation \S+, like 2 others, is rounded to"
        )
        with pytest.warns(UserWarning, match=pattern):
            kind(**settings).fit(x, y)
        exact = kind(dtype="float64", **settings).fit(near[:150], y[:150])
        np.testing.assert_allclose(double.predict(x[150:]), exact.predict(near[150:]), atol=0.05)
    else:
        assert kind(**settings).fit(x[:150], y[:150]).score(x[150:], y[150:]) > 0.85


def test_integers_that_float32_rounds():
    """Such as seconds since 1970."""
    seconds = 1_700_000_000 + np.random.default_rng(0).integers(0, 60, (200, 1))
    y = seconds[:, 0] % 60 > 30
    with pytest.warns(
        UserWarning, match=r"rounded to multiples of 128 by float32; give dtype='float64', or stand"
    ):
        ConvClassifier(max_epochs=1).fit(seconds, y)
    settings = {"max_epochs": 10, "learning_rate": 0.01, "random_state": 0}
    assert ConvClassifier(dtype="float64", **settings).fit(seconds, y).score(seconds, y) > 0.95
    scaled = make_pipeline(StandardScaler(), ConvClassifier(**settings)).fit(seconds, y)
    assert scaled.score(seconds, y) > 0.95


@pytest.mark.sample(4)
@pytest.mark.parametrize(("mean", "spread"), [(1e6, 1e-3), (1e12, 1.0), (1e30, 1e27), (1e-300, 1e-301)])
def test_y_of_a_small_spread_at_a_large_mean(mean, spread):
    """The outputs are scaled back in float64."""
    noise = np.random.default_rng(0).normal(size=(200, 2))
    settings = {"max_epochs": 10, "learning_rate": 0.01, "random_state": 0}
    regressor = ConvRegressor(**settings).fit(noise, mean + spread * noise[:, 0])
    expected = ConvRegressor(**settings).fit(noise, noise[:, 0])
    np.testing.assert_allclose((regressor.predict(noise) - mean) / spread, expected.predict(noise), atol=0.05)
    with pytest.raises(
        ValueError, match=r"^ConvRegressor: y has values up to 1e\+300, .* large for float32; give"
    ):
        ConvRegressor(**settings).fit(noise, np.full(200, 1e300))
    far = ConvRegressor(dtype="float64", **settings).fit(noise, 1e300 + 1e297 * noise[:, 0])
    assert r2_score(noise[:, 0], (far.predict(noise) - 1e300) / 1e297) > 0.8
