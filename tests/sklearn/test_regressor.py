"""`ConvRegressor`: shapes of y, scaling, losses."""

import numpy as np
import pytest

pytest.importorskip("sklearn", reason='pip install -e ".[sklearn]"')

from sklearn.exceptions import DataConversionWarning

import xpconv
from xpconv.errors import ShapeError
from xpconv.sklearn import ConvRegressor

FAST = {"max_epochs": 8, "learning_rate": 0.01, "random_state": 0, "model__width": 8}
QUICK = {**FAST, "max_epochs": 2}  # where models are compared


def dots(count=80, seed=0):
    """Images with a bright pixel, and its row."""
    rng = np.random.default_rng(seed)
    row, column = rng.integers(0, 6, (2, count))
    images = rng.random((count, 6, 6)) / 4
    images[np.arange(count), row, column] = 1
    return images, row.astype(float), column


X, Y, Z = dots()


def test_numbers_are_learned():
    regressor = ConvRegressor(**FAST).fit(X, Y)
    assert regressor.predict(X).shape == (80,)
    assert regressor.predict(X).dtype == "float64"
    assert regressor.score(*dots(seed=1)[:2]) > 0.8
    assert regressor.n_outputs_ == 1


def test_the_scale_of_y_does_not_matter():
    """A power of two changes no digit, and the network is in the units of y."""
    expected = ConvRegressor(**QUICK).fit(X, Y)
    for factor in (2.0**-30, 2.0**30):
        scaled = ConvRegressor(**QUICK).fit(X, factor * Y)
        np.testing.assert_allclose(scaled.predict(X) / factor, expected.predict(X), rtol=1e-5, atol=1e-5)
        assert scaled.loss_curve_ == expected.loss_curve_
        output = scaled.model_(X[:, None].astype("float32"))
        np.testing.assert_allclose(output[:, 0], scaled.predict(X), rtol=1e-5, atol=1e-6 * factor)
    far = ConvRegressor(**QUICK).fit(X, Y + 1e6)
    np.testing.assert_allclose(far.predict(X) - 1e6, expected.predict(X), atol=0.2)


@pytest.mark.parametrize("loss", ["mse", "l1"])
def test_a_constant_y_is_predicted_exactly(loss):
    given = {**QUICK, "loss": loss, "optimizer": "adamw"}
    assert (ConvRegressor(**given).fit(X, np.full(80, 5.0)).predict(X) == 5).all()
    np.testing.assert_allclose(ConvRegressor(**given).fit(X, np.full(80, 0.1)).predict(X), 0.1, rtol=1e-7)
    weight = np.repeat([1.0, 0.0], 40)
    y = np.column_stack([np.where(weight, 2.0, Y), Y])
    first, second = ConvRegressor(**given).fit(X, y, sample_weight=weight).predict(X).T
    assert (first == 2).all()
    assert np.ptp(second) > 0
    regressor = ConvRegressor(**{**FAST, "loss": loss}).partial_fit(X[:1], Y[:1])
    for _ in range(12):
        regressor.partial_fit(X, Y)
    assert regressor.score(X, Y) > 0.5


@pytest.mark.parametrize("y", [Y.astype(str), Y.astype("datetime64[s]"), Y.astype("S3"), Y * 1j])
def test_y_that_is_not_of_numbers(y):
    with pytest.raises(ValueError, match=r"y is of dtype .*, expected real numbers|Complex data"):
        ConvRegressor(**QUICK).fit(X, y)


def test_several_outputs():
    y = np.column_stack([Y, 1000.0 * Z])
    regressor = ConvRegressor(**FAST).fit(X, y)
    assert regressor.predict(X).shape == (80, 2)
    assert regressor.score(X, y) > 0.8
    with pytest.warns(DataConversionWarning):
        assert ConvRegressor(**FAST).fit(X, Y[:, None]).predict(X).shape == (80,)


def test_a_model_of_ones_own_learns_y_as_it_is():
    """With `(N,)` or `(N, 1)` as its output."""

    def flat(input_shape, n_outputs):
        return xpconv.Sequential(xpconv.Flatten(), xpconv.Dense(36, 1))

    class Squeezed(xpconv.Layer):
        def __init__(self):
            self.dense = xpconv.Dense(36, 1)

        def forward(self, x):
            start = xpconv.tape.position() if hasattr(xpconv, "tape") else 0
            y = self.dense._pass(x.reshape(len(x), -1))
            return self.keep(y[:, 0].copy(), start, x.shape)

        def backward(self, grad_output, input_grad=True):
            start, shape = self.recall(grad_output, input_grad)
            grad = self._back_through([self.dense], start, grad_output[:, None].copy(), input_grad)
            return None if grad is None else grad.reshape(shape)

    settings = {"max_epochs": 3, "random_state": 0, "batch_size": 80}
    regressor = ConvRegressor(flat, **settings).fit(X, 100 * Y)
    assert regressor.loss_curve_[0] > 1000  # not relative to the variance of y
    np.testing.assert_array_equal(
        regressor.predict(X), regressor.model_(X[:, None].astype("float32"))[:, 0].astype("float64")
    )
    squeezed = ConvRegressor(lambda input_shape, n_outputs: Squeezed(), **settings).fit(X, 100 * Y)
    np.testing.assert_allclose(squeezed.predict(X), regressor.predict(X), rtol=1e-4)


@pytest.mark.parametrize(
    "loss", ["mse", "L1Loss", "huber", xpconv.SmoothL1Loss, xpconv.MSELoss(reduction="sum")]
)
def test_losses(loss):
    regressor = ConvRegressor(loss=loss, **FAST).fit(X, Y)
    assert regressor.score(X, Y) > 0.5


def test_a_loss_with_parameters():
    wide = ConvRegressor(loss="huber", loss__delta=1e6, **QUICK).fit(X, Y)
    narrow = ConvRegressor(loss="huber", loss__delta=0.1, **QUICK).fit(X, Y)
    assert (wide.predict(X) != narrow.predict(X)).any()


def test_weights_and_going_on():
    weight = np.where(Y < 3, 1e-6, 1.0)
    regressor = ConvRegressor(**FAST).fit(X, Y, weight)
    error = abs(regressor.predict(X) - Y)
    assert error[Y >= 3].mean() < error[Y < 3].mean()
    partial = ConvRegressor(**FAST).partial_fit(X, Y).partial_fit(X, Y, weight)
    assert partial.n_iter_ == 2
    with pytest.raises(ShapeError, match=r"y has shape \(80, 2\), expected \(N,\), as in the first fit"):
        partial.partial_fit(X, np.column_stack([Y, Z]))
    stopped = ConvRegressor(early_stopping=True, n_iter_no_change=1, **FAST).fit(X, Y)
    assert stopped.history_["valid_loss"]
    with pytest.raises(ValueError, match="y is of dtype <U1, expected real numbers"):
        ConvRegressor().fit(X, np.array(["a", "b"] * 40))


def test_a_loss_that_explodes():
    with (
        np.errstate(all="ignore"),
        pytest.raises(
            ValueError,
            match=r"ConvRegressor: the loss is (inf|nan) in epoch \d; give a smaller learning_rate",
        ),
    ):
        ConvRegressor(optimizer="sgd", learning_rate=1e20, max_epochs=3).fit(X, Y)


def test_defaults_on_a_table_with_features_of_all_scales():
    rng = np.random.default_rng(0)
    table = rng.standard_normal((200, 5))
    y = table @ [1, 2, -1, 0, 3] * 1e4
    x = table * [1e-6, 1, 1e3, 1e6, 10] + [0, 5, 1e4, 0, 1]
    regressor = ConvRegressor(random_state=0).fit(x[:150], y[:150])
    assert regressor.score(x[150:], y[150:]) > 0.9


def test_the_scale_of_y_is_that_of_the_first_part():
    """As `partial_fit` says."""
    x, y = np.random.default_rng(0).normal(size=(60, 4)), np.random.default_rng(1).normal(size=60)
    regressor = ConvRegressor(random_state=0).partial_fit(x, y)
    scale, mean = regressor._coder.scale.copy(), regressor._coder.mean.copy()
    regressor.partial_fit(x, 1000 * y + 50)
    assert (regressor._coder.scale, regressor._coder.mean) == (scale, mean)


@pytest.mark.parametrize("missing", [None, np.nan, np.inf])
def test_targets_of_objects_that_are_no_numbers(missing):
    y = np.arange(len(X)).astype(object)
    y[3] = missing
    with pytest.raises(ValueError, match=r"Input (y )?contains (NaN|infinity)"):
        ConvRegressor(max_epochs=1).fit(X, y)
