"""scikit-learn's own checks of estimators: with settings that take less time, with the defaults, on the double."""

import inspect
import re

import numpy as np
import pytest

pytest.importorskip("sklearn", reason='pip install -e ".[sklearn]"')

from sklearn.utils import estimator_checks
from sklearn.utils.estimator_checks import parametrize_with_checks

from xpconv.sklearn import ConvClassifier, ConvRegressor, ConvTransformer

MINI_BATCHES = (
    "a sample that is repeated stands in several mini-batches, one with a larger weight in a single one: as for "
    "MLPClassifier; test_weights_are_repetitions shows it for whole batches"
)
REASONS = {
    "check_sample_weight_equivalence_on_dense_data": MINI_BATCHES,
    "check_sample_weights_invariance": "the same, under its name in version 1.5",
}


ALL = (ConvClassifier, ConvRegressor, ConvTransformer)


def expected_failures(estimator):
    return {} if isinstance(estimator, ConvTransformer) else REASONS


NEW = "expected_failed_checks" in inspect.signature(parametrize_with_checks).parameters  # since version 1.6


def checks(*kinds, step=1, **settings):
    """`parametrize_with_checks` over the estimators, as a list: pytest warns of its generator (version 1.6).

    With a step, every so many checks.
    """
    backend = {name: value for name, value in settings.items() if name == "backend"}
    estimators = [kind(**(backend if kind is ConvTransformer else settings)) for kind in kinds or ALL]
    mark = parametrize_with_checks(
        estimators, **({"expected_failed_checks": expected_failures} if NEW else {})
    ).mark
    names, cases = mark.args
    return pytest.mark.parametrize(names, list(cases)[::step], **mark.kwargs)


@pytest.fixture(autouse=True)
def float32(request, monkeypatch):
    """Other samples beside one may change its last bits: without AVX-512, OpenBLAS rounds a row by its place.

    scikit-learn's checks compare to 1e-7 of each value, or to 1e-7; 1e-6 of the largest is the rounding of float32.
    """

    def compare(actual, expected, atol, err_msg):
        largest = np.abs(expected).max()
        np.testing.assert_allclose(actual, expected, rtol=1e-6, atol=1e-6 * largest, err_msg=err_msg)

    if re.search("check_methods_(sample_order|subset)_invariance", request.node.name):
        for name in ("assert_allclose", "assert_allclose_dense_sparse"):
            monkeypatch.setattr(estimator_checks, name, compare)


def run(estimator, check):
    if (
        not NEW
        and check.func.__name__ in expected_failures(estimator)
        and check.keywords.get("kind") != "ones"
    ):
        pytest.xfail(REASONS[check.func.__name__])
    check(estimator)


@checks(ConvClassifier, max_epochs=3, learning_rate=0.01)
def test_check_estimator(estimator, check):
    run(estimator, check)


@pytest.mark.slow
@checks(ConvRegressor, ConvTransformer, max_epochs=3, learning_rate=0.01)
def test_check_the_other_estimators(estimator, check):
    run(estimator, check)


@pytest.mark.slow
@checks(step=4)  # the defaults train for longer: what the checks find, those above find
def test_check_estimator_with_the_defaults(estimator, check):
    run(estimator, check)


@pytest.mark.slow
@checks(backend="double", step=2, max_epochs=3, learning_rate=0.01)
def test_check_estimator_on_the_double(estimator, check):
    if check.func.__name__ == "check_estimators_pickle":
        pytest.skip("a pickle predicts on NumPy, which rounds float32 otherwise: see test_reproducible.py")
    run(estimator, check)
