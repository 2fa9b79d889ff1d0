"""Nested parameters such as `model__width`."""

import numpy as np
import pytest

pytest.importorskip("sklearn", reason='pip install -e ".[sklearn]"')

from sklearn.base import clone

import xpconv
from xpconv.sklearn import ConvClassifier, ConvRegressor, ConvTransformer

RNG = np.random.default_rng(0)
X = RNG.random((24, 6, 6))
Y = np.arange(24) % 3
ONE = {"max_epochs": 1, "random_state": 0}


def plain(input_shape, n_outputs, width=3, slope=0.1):
    channels = input_shape[0]
    return xpconv.Sequential(
        xpconv.Conv2d(channels, width, 3),
        xpconv.LeakyReLU(slope),
        xpconv.Flatten(),
        xpconv.Dense(width * 16, n_outputs),
    )


def test_nested_parameters_reach_what_is_built():
    classifier = ConvClassifier(plain, model__width=5, optimizer="sgd", optimizer__momentum=0.9, **ONE)
    assert classifier.get_params()["model__width"] == 5
    assert classifier.get_params(deep=False)["optimizer__momentum"] == 0.9
    assert classifier.fit(X, Y).model_[0].out_channels == 5
    other = clone(classifier).set_params(model__width=2, model__slope=0.5, learning_rate=0.1)
    assert (other.fit(X, Y).model_[0].out_channels, other.model_[1].negative_slope) == (2, 0.5)
    assert classifier.model__width == 5
    assert "model__width=5" in repr(classifier)
    assert "model__width" in classifier._repr_html_()
    default = ConvClassifier(model__width=4, model__dropout=0.0, **ONE).fit(X, Y)
    assert default.model_.network[0].out_channels == 4


def test_unknown_parameters():
    for kind in (ConvClassifier, ConvRegressor, ConvTransformer):
        with pytest.raises(
            TypeError, match=rf"{kind.__name__}.__init__\(\) got an unexpected keyword argument 'widht'"
        ):
            kind(widht=3)
        with pytest.raises(TypeError, match="unexpected keyword argument 'callbacks__x'"):
            kind(callbacks__x=3)
        with pytest.raises(ValueError, match="Invalid parameter 'widht' for estimator"):
            kind().set_params(widht=3)
    with pytest.raises(TypeError, match="unexpected keyword argument 'loss__x'"):
        ConvTransformer(loss__x=3)
    with pytest.raises(
        TypeError,
        match=r"ConvClassifier: model: plain\(input_shape, n_outputs, width=3, slope=0\.1\) cannot .*'widht'",
    ):
        ConvClassifier(plain, model__widht=3).fit(X, Y)
    with pytest.raises(TypeError, match=r"optimizer: Adam\(.*momentum"):
        ConvClassifier(optimizer__momentum=0.9).fit(X, Y)
    with pytest.raises(ValueError, match="there is schedule__gamma, but schedule is None"):
        ConvClassifier(schedule__gamma=0.9).fit(X, Y)


@pytest.mark.parametrize(
    "name", ["model__width", "optimizer__weight_decay", "schedule__step_size", "loss__label_smoothing"]
)
def test_nested_parameters_stay_until_they_are_deleted(name):
    """None is a value; another model, optimizer, loss or schedule gets what the one before had."""
    prefix = name.partition("__")[0]
    classifier = ConvClassifier(**{name: 3})
    for value in (None, "adamw", "adamw"):
        assert classifier.set_params(**{prefix: value}).get_params()[name] == 3
    assert clone(classifier).set_params(**{name: None}).get_params()[name] is None
    delattr(classifier, name)
    assert name not in classifier.get_params()
    assert name not in clone(classifier).get_params()
    assert name not in repr(classifier)


def test_errors_of_nested_parameters_that_do_not_fit_say_how_to_remove_them():
    layer = plain((1, 6, 6), 3)
    with pytest.raises(ValueError, match=r"give a function .*, or remove it: del estimator\.model__width$"):
        ConvClassifier(layer, model__width=3).fit(X, Y)
    with pytest.raises(
        ValueError, match=r"schedule is None; give a schedule, or remove it: del estimator\.schedule__g"
    ):
        ConvClassifier(schedule__gamma=0.9).fit(X, Y)
    with pytest.raises(TypeError, match=r"plain\(.*'widht'; to remove it: del estimator\.model__widht"):
        ConvClassifier(plain, model__widht=0.9).fit(X, Y)
    classifier = ConvClassifier(layer, model__width=3, **ONE)
    del classifier.model__width
    assert classifier.fit(X, Y).n_iter_ == 1
