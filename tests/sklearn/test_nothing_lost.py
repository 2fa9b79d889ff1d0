"""A training that fails leaves a fitted estimator as it was; what a user's function returns is not changed."""

import numpy as np
import pytest

pytest.importorskip("sklearn", reason='pip install -e ".[sklearn]"')

import xpconv
from xpconv.errors import ShapeError
from xpconv.sklearn import ConvClassifier, ConvRegressor, ConvTransformer

X = np.random.default_rng(0).normal(size=(40, 5))
Y = np.random.default_rng(1).integers(0, 3, 40)
FAST = {"max_epochs": 2, "random_state": 0}


class Stop(Exception):
    pass


class Stops:
    """Fails in the first epoch, after the steps."""

    def on_epoch_end(self, run):
        raise Stop


@pytest.mark.parametrize("kind", [ConvClassifier, ConvRegressor])
@pytest.mark.parametrize("again", ["warm", "partial", "cold"])
def test_an_error_in_training_leaves_the_fitted_estimator(kind, again):
    estimator = kind(**FAST, warm_start=again == "warm").fit(X, Y)
    before, classes = estimator.predict(X), getattr(estimator, "classes_", None)
    estimator.set_params(callbacks=[Stops()])
    learn = estimator.partial_fit if again == "partial" else estimator.fit
    with pytest.raises(Stop):
        learn(X, Y + 2 if again == "cold" else Y)
    np.testing.assert_array_equal(estimator.predict(X), before)
    assert getattr(estimator, "classes_", None) is classes


def test_a_function_may_return_one_layer_for_two_estimators():
    layer = xpconv.Dense(5, 3, rng=0)
    first = ConvClassifier(lambda shape, n: layer, **FAST).fit(X, Y)
    before = first.predict_proba(X)
    ConvClassifier(lambda shape, n: layer, **FAST).fit(X, Y[::-1])
    np.testing.assert_array_equal(first.predict_proba(X), before)
    np.testing.assert_array_equal(layer.weight.data, xpconv.Dense(5, 3, rng=0).weight.data)


@pytest.mark.parametrize("values", [(1, 2), (-1, 1), (0, 5)])
def test_two_integers_other_than_0_and_1_are_labels(values):
    """scikit-learn's `type_of_target` calls such columns indicators."""
    y = np.asarray(values)[np.random.default_rng(2).integers(0, 2, (40, 2))]
    classifier = ConvClassifier(**FAST).fit(X, y)
    for classes in classifier.classes_:
        np.testing.assert_array_equal(classes, values)
    assert set(np.unique(classifier.predict(X))) <= set(values)


def test_square_maps_of_many_channels_are_no_images_with_channels_last():
    images = np.random.default_rng(3).normal(size=(12, 16, 4, 4))
    assert ConvClassifier(max_epochs=1, random_state=0).fit(images, np.arange(12) % 2).input_shape_ == (
        16,
        4,
        4,
    )
    with pytest.raises(ShapeError, match="channels last"):
        ConvClassifier().fit(np.random.default_rng(3).normal(size=(12, 8, 8, 3)), np.arange(12) % 2)


@pytest.mark.parametrize("kind", [ConvClassifier, ConvRegressor, ConvTransformer])
@pytest.mark.parametrize("cause", ["model", "layer", "training", "shape", "nan"])
def test_an_error_in_fit_leaves_all_attributes(kind, cause):
    """Those of scikit-learn too, which says that X has other features."""
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=list("abcde"))
    other = pandas.DataFrame(np.random.default_rng(0).normal(size=(40, 7)), columns=list("tuvwxyz"))
    settings = {"random_state": 0} if kind is ConvTransformer else FAST
    estimator = kind(**settings).fit(frame, Y)
    before = dict(vars(estimator))
    wrong = {
        "model": {"model": 3}, "layer": {"layer": "no"}, "training": {"callbacks": [Stops()]},
        "shape": {"input_shape": (2, 2)}, "nan": {},
    }[cause]  # fmt: skip
    if set(wrong) <= estimator.get_params().keys():
        estimator.set_params(**wrong)
        with pytest.raises((TypeError, ValueError, Stop)):
            estimator.fit(other * (np.nan if cause == "nan" else 1), Y)
        after = {**vars(estimator), **{name: before[name] for name in wrong}}
        assert after.keys() == before.keys()
        assert all(after[name] is before[name] for name in before)
        method = "transform" if kind is ConvTransformer else "predict"
        assert len(getattr(estimator, method)(frame)) == 40
