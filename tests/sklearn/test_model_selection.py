"""The estimators in scikit-learn's other tools."""

import numpy as np
import pytest

pytest.importorskip("sklearn", reason='pip install -e ".[sklearn]"')

import sklearn
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.ensemble import StackingClassifier, VotingClassifier
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.inspection import permutation_importance
from sklearn.linear_model import RidgeClassifier
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    cross_val_predict,
    cross_val_score,
    cross_validate,
    learning_curve,
)
from sklearn.multioutput import MultiOutputClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from xpconv.sklearn import ConvClassifier, ConvRegressor

DIGITS = load_digits()
X, Y = DIGITS.data[:240], DIGITS.target[:240]
KEEP = Y < 4
X, Y = X[KEEP], Y[KEEP]
WHERE = {"input_shape": (8, 8), "model__width": 8, "batch_size": 16, "random_state": 0}
FAST = {"max_epochs": 3, "learning_rate": 0.01, **WHERE}


def test_pipeline():
    pipeline = make_pipeline(
        StandardScaler(), PCA(16), ConvClassifier(max_epochs=4, learning_rate=0.01, random_state=0)
    )
    assert pipeline.fit(X, Y).score(X, Y) > 0.9
    images = make_pipeline(StandardScaler(), ConvClassifier(**FAST)).fit(X, Y)
    assert images.score(X, Y) > 0.9
    images.set_params(convclassifier__model__width=4)
    assert images.fit(X, Y)[-1].model_.network[0].out_channels == 4
    weights = np.linspace(0.5, 2, len(Y))
    images.fit(X, Y, convclassifier__sample_weight=weights)


def test_grid_search():
    search = GridSearchCV(ConvClassifier(**FAST), {"model__width": [4], "optimizer": ["adam", "sgd"]}, cv=2)
    search.fit(X, Y)
    assert search.best_score_ > 0.8
    assert search.best_params_["optimizer"] == "adam"
    assert len(search.cv_results_["param_model__width"]) == 2


@pytest.mark.slow
def test_halving_search():
    search = HalvingGridSearchCV(ConvClassifier(**FAST), {"model__width": [4, 8], "batch_size": [16, 32]}, cv=2, factor=2,
                                 resource="max_epochs", min_resources=1, max_resources=4, random_state=0)  # fmt: skip
    assert search.fit(X, Y).best_params_["max_epochs"] == 4


@pytest.mark.slow
def test_cross_val_predict():
    for method, shape in (
        ("predict", (len(Y),)),
        ("predict_proba", (len(Y), 4)),
        ("decision_function", (len(Y), 4)),
    ):
        assert cross_val_predict(ConvClassifier(**FAST), X, Y, cv=2, method=method).shape == shape
    table = cross_val_score(ConvClassifier(**FAST), X, Y, cv=2)
    images = cross_val_score(ConvClassifier(**{**FAST, "input_shape": None}), X.reshape(-1, 8, 8), Y, cv=2)
    np.testing.assert_array_equal(images, table)


@pytest.mark.slow
def test_calibration():
    calibrated = CalibratedClassifierCV(ConvClassifier(**FAST), cv=2).fit(X, Y)
    assert calibrated.score(X, Y) > 0.9


@pytest.mark.slow
def test_ensembles():
    members = [("conv", ConvClassifier(**FAST)), ("bayes", GaussianNB())]
    assert VotingClassifier(members, voting="soft").fit(X / 16, Y).score(X / 16, Y) > 0.9
    assert StackingClassifier(members, RidgeClassifier(), cv=2).fit(X / 16, Y).score(X / 16, Y) > 0.9


@pytest.mark.slow
def test_learning_curve():
    sizes, train_scores, _ = learning_curve(ConvClassifier(**FAST), X, Y, cv=2, train_sizes=[0.5, 1.0])
    assert train_scores.shape == (2, 2)
    _, _, scores = learning_curve(
        ConvClassifier(**FAST), X, Y, cv=2, train_sizes=[0.5, 1.0], exploit_incremental_learning=True
    )
    assert scores.shape == (2, 2)
    assert sizes[1] == 2 * sizes[0]


@pytest.mark.slow
def test_permutation_importance():
    classifier = ConvClassifier(**FAST).fit(X, Y)
    found = permutation_importance(classifier, X, Y, n_repeats=1, random_state=0)
    assert found.importances_mean.shape == (64,)
    assert found.importances_mean[0] == 0  # the pixel in the corner is always 0


@pytest.mark.slow
def test_other_wrappers():
    y = np.column_stack([Y, Y % 2])
    assert MultiOutputClassifier(ConvClassifier(**FAST)).fit(X, y).predict(X).shape == y.shape
    scaled = TransformedTargetRegressor(ConvRegressor(**FAST), transformer=StandardScaler()).fit(X, Y * 1e3)
    assert scaled.score(X, Y * 1e3) > 0.5


def test_metadata_routing():
    weights = np.linspace(0, 2, len(Y))
    with sklearn.config_context(enable_metadata_routing=True):
        classifier = (
            ConvClassifier(**FAST).set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        )
        found = cross_validate(
            classifier, X, Y, cv=2, params={"sample_weight": weights}, return_estimator=True
        )
        pipeline = Pipeline(
            [("scale", StandardScaler().set_fit_request(sample_weight=False)), ("conv", classifier)]
        )
        pipeline.fit(X, Y, sample_weight=weights)
        routing = classifier.set_partial_fit_request(classes=True).get_metadata_routing()
        assert routing.partial_fit.requests["classes"] is True
    plain = cross_validate(ConvClassifier(**FAST), X, Y, cv=2, return_estimator=True)
    pairs = zip(found["estimator"], plain["estimator"], strict=True)
    assert all((a.decision_function(X) != b.decision_function(X)).any() for a, b in pairs)


def test_html():
    assert "ConvClassifier" in make_pipeline(StandardScaler(), ConvClassifier(**FAST))._repr_html_()


@pytest.mark.slow
def test_defaults_on_digits():
    assert cross_val_score(ConvClassifier(random_state=0), DIGITS.images, DIGITS.target, cv=3).mean() >= 0.97


@pytest.mark.slow
def test_any_number_of_jobs():
    grid = {"model__width": [4, 8]}
    one, two = (GridSearchCV(ConvClassifier(**FAST), grid, cv=2, n_jobs=n).fit(X, Y) for n in (1, 2))
    np.testing.assert_array_equal(one.cv_results_["mean_test_score"], two.cv_results_["mean_test_score"])
    np.testing.assert_array_equal(one.decision_function(X), two.decision_function(X))
