"""scikit-learn's own checks of estimators: with settings that take less time, with the defaults, on the double."""

import inspect

import pytest

pytest.importorskip("sklearn", reason='pip install "xpconv[sklearn]"')

from sklearn.utils.estimator_checks import parametrize_with_checks

from xpconv.sklearn import ConvClassifier, ConvRegressor, ConvTransformer

KINDS = (ConvClassifier, ConvRegressor, ConvTransformer)
MINI_BATCHES = (
    "a sample that is repeated stands in several mini-batches, one with a larger weight in a single one: as for "
    "MLPClassifier; test_weights_are_repetitions shows it for whole batches"
)
REASONS = {"check_sample_weight_equivalence_on_dense_data": MINI_BATCHES}


def expected_failures(estimator):
    return {} if isinstance(estimator, ConvTransformer) else REASONS


def checks(**settings):
    """`parametrize_with_checks` over all three; version 1.5 has the names of expected failures in a tag."""
    estimators = [
        kind(**(settings if kind is not ConvTransformer else {"backend": settings.get("backend")}))
        for kind in KINDS
    ]
    if "expected_failed_checks" in inspect.signature(parametrize_with_checks).parameters:
        return parametrize_with_checks(estimators, expected_failed_checks=expected_failures)
    return parametrize_with_checks(estimators)


@checks(max_epochs=6, learning_rate=0.005)
def test_check_estimator(estimator, check):
    check(estimator)


@pytest.mark.slow
@checks()
def test_check_estimator_with_the_defaults(estimator, check):
    check(estimator)


@pytest.mark.slow
@checks(backend="double", max_epochs=6, learning_rate=0.005)
def test_check_estimator_on_the_double(estimator, check):
    check(estimator)
