"""Weights of samples and of classes."""

import numpy as np
import pytest

pytest.importorskip("sklearn", reason='pip install -e ".[sklearn]"')

from estimators import FAST, FLAT, QUICK, X, Y, outputs, tiny
from sklearn.base import clone
from sklearn.linear_model import SGDClassifier
from sklearn.utils import compute_class_weight, compute_sample_weight

import xpconv
from xpconv.sklearn import ConvClassifier, ConvRegressor


def test_weights_are_repetitions():
    """In a batch of all samples: those of weight 0 are left out, their scale does not matter."""
    rng = np.random.default_rng(0)
    times = rng.integers(0, 4, len(X))
    settings = {"batch_size": 1000, "max_epochs": 5, "random_state": 0, "dtype": "float64"}
    repeated = ConvClassifier(tiny, **settings).fit(X.repeat(times, 0), Y.repeat(times))
    weighted = ConvClassifier(tiny, **settings).fit(X, Y, times)
    np.testing.assert_allclose(outputs(weighted), outputs(repeated), rtol=1e-8)
    np.testing.assert_allclose(weighted.loss_curve_, repeated.loss_curve_, rtol=1e-12)
    scaled = ConvClassifier(tiny, **settings).fit(X, Y, times * 1e6)
    np.testing.assert_allclose(outputs(scaled), outputs(weighted), rtol=1e-8)
    table = {**settings, "model__dropout": 0.0}
    repeated = ConvClassifier(**table).fit(FLAT.repeat(times, 0), Y.repeat(times))
    weighted = ConvClassifier(**table).fit(FLAT, Y, times)
    np.testing.assert_allclose(outputs(weighted, FLAT[:9]), outputs(repeated, FLAT[:9]), rtol=1e-5)


def test_equal_weights_are_none():
    expected = ConvClassifier(**QUICK).fit(X, Y)
    for weight in (np.ones(60), np.full(60, 7.0), 3):
        np.testing.assert_array_equal(outputs(ConvClassifier(**QUICK).fit(X, Y, weight)), outputs(expected))


@pytest.mark.parametrize("columns", [1, 2])
def test_class_weights_are_sample_weights(columns):
    y = Y if columns == 1 else np.column_stack([Y, Y % 2])
    rare = np.r_[0:60, 0:60:4]
    x, y = X[rare], y[rare]
    for chosen in ("balanced", {0: 5.0, 2: 0.5} if columns == 1 else [{0: 5.0}, {1: 2.0}]):
        expected = ConvClassifier(**QUICK).fit(x, y, compute_sample_weight(chosen, y))
        classifier = ConvClassifier(class_weight=chosen, **QUICK).fit(x, y)
        np.testing.assert_array_equal(outputs(classifier), outputs(expected))
    both = ConvClassifier(class_weight="balanced", **QUICK).fit(x, y, np.arange(75))
    factors = compute_sample_weight("balanced", y) * np.arange(75)
    np.testing.assert_allclose(outputs(both), outputs(ConvClassifier(**QUICK).fit(x, y, factors)))


def test_class_weights_of_indicators():
    y = np.column_stack([Y == 0, Y < 2]).astype(int)
    plain = ConvClassifier(**QUICK).fit(X, y)
    weighted = ConvClassifier(class_weight="balanced", **QUICK).fit(X, y)
    assert (outputs(plain) != outputs(weighted)).any()


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (np.full(60, -1.0), r"ConvClassifier: sample_weight has negative values, the least is -1.0"),
        (np.zeros(60), "sample_weight is 0 for all samples|at least one non-zero|all zero|zero"),
        (np.full(60, np.nan), "NaN"),
        (np.ones(5), r"sample_weight\.shape"),
        (np.ones((60, 1)), "1D|1-dim|1d"),
    ],
)
def test_wrong_weights(weight, message):
    with pytest.raises(ValueError, match=message):
        ConvClassifier(**FAST).fit(X, Y, weight)


# --- weights in partial_fit -----------------------------------------------------------------------------

STEP = {"optimizer": "sgd", "learning_rate": 0.01, "batch_size": 60, "random_state": 0, "dtype": "float64"}
KINDS = {
    "labels": (Y, [0, 1, 2, 3]),
    "several outputs": (np.column_stack([Y, Y % 2]), [[0, 1, 2, 3], [0, 1]]),
    "indicators": (np.column_stack([Y == 0, Y < 2]).astype(int), None),
}


def linear(input_shape, n_outputs):
    return xpconv.Sequential(xpconv.Flatten(), xpconv.Dense(64, n_outputs, rng=0))


def change(estimator):
    """Of the weights, by training."""
    return estimator.model_[1].weight.data - xpconv.Dense(64, estimator.n_outputs_, rng=0).weight.data


@pytest.mark.parametrize("name", [*KINDS, "numbers"])
@pytest.mark.parametrize("factor", [0.25, 3.0, 100.0])
def test_partial_fit_takes_weights_as_they_are(name, factor):
    """A step of SGD is proportional to a weight of all samples, as in scikit-learn's SGDClassifier."""

    def step(weight):
        if name == "numbers":
            return change(ConvRegressor(linear, **STEP).partial_fit(X, Y, sample_weight=weight))
        y, classes = KINDS[name]
        return change(ConvClassifier(linear, **STEP).partial_fit(X, y, classes, weight))

    np.testing.assert_allclose(step(np.full(60, factor)), factor * step(None), rtol=1e-9, atol=1e-12)
    weight = np.random.default_rng(0).random(60)
    np.testing.assert_allclose(step(factor * weight), factor * step(weight), rtol=1e-9, atol=1e-12)


def test_scikit_learns_sgd_takes_weights_as_they_are():
    """The oracle of the test before."""
    first, second = (
        SGDClassifier(loss="log_loss", penalty=None, learning_rate="constant", eta0=1e-4, shuffle=False)
        .partial_fit(FLAT, Y > 1, [False, True], np.full(60, factor))
        .coef_
        for factor in (1.0, 3.0)
    )
    np.testing.assert_allclose(second, 3 * first, rtol=0.2)


@pytest.mark.sample(4)
@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("rows", [slice(0, 60), slice(0, 1), slice(0, 60, 4), slice(1, 60, 2)])
def test_class_weights_in_parts_that_lack_classes(name, rows):
    """All classes of the first call count, whatever those of the part."""
    y, classes = KINDS[name]
    chosen = {0: 3.0, 3: 0.5} if name == "labels" else [{0: 3.0}, {1: 0.5}]
    columns = y.reshape(60, -1)
    pairs = zip(columns.T, [chosen] if name == "labels" else chosen, strict=True)
    factors = np.prod([[weights.get(label, 1.0) for label in column] for column, weights in pairs], axis=0)
    for estimator in (ConvClassifier(linear, **STEP), ConvClassifier(**QUICK)):
        expected = (
            clone(estimator).partial_fit(X, y, classes).partial_fit(X[rows], y[rows], None, factors[rows])
        )
        found = clone(estimator).partial_fit(X, y, classes).set_params(class_weight=chosen)
        found.partial_fit(X[rows], y[rows])
        np.testing.assert_array_equal(outputs(found), outputs(expected))
        first = clone(estimator).set_params(class_weight=chosen).partial_fit(X[rows], y[rows], classes)
        assert np.isfinite(outputs(first)).all()


def test_a_part_whose_classes_have_the_weight_0():
    """It learns nothing; if it is the first, there are no statistics of X to begin with."""
    classifier = ConvClassifier(linear, class_weight={0: 0}, **STEP).partial_fit(X, Y, [0, 1, 2, 3])
    before = outputs(classifier)
    only = Y == 0
    np.testing.assert_array_equal(outputs(classifier.partial_fit(X[only], Y[only])), before)
    assert classifier.n_iter_ == 2
    with pytest.raises(
        ValueError, match=r"^ConvClassifier: class_weight is 0 for all samples, so there is noth"
    ):
        ConvClassifier(class_weight={0: 0}).partial_fit(X[only], Y[only], [0, 1, 2, 3])


# --- wrong and extreme class weights ----------------------------------------------------------------------


@pytest.mark.parametrize("partial", [False, True])
@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        (
            dict.fromkeys(range(4), 0),
            "ConvClassifier: class_weight is 0 for all samples, so there is nothing",
        ),
        (
            {1: -1.0},
            "ConvClassifier: class_weight is -1.0 for the class 1, expected a finite number of at least 0",
        ),
        ({2: np.nan}, "class_weight is nan for the class 2"),
        ({2: np.inf}, "class_weight is inf for the class 2"),
        ({2: None}, "class_weight is nan for the class 2"),
    ],
)
def test_class_weights_that_scikit_learn_does_not_check(chosen, message, partial):
    classifier = ConvClassifier(class_weight=chosen, **FAST)
    with pytest.raises(ValueError, match=message):
        classifier.partial_fit(X, Y, [0, 1, 2, 3]) if partial else classifier.fit(X, Y)
    assert not [name for name in vars(classifier) if name.endswith("_")]


WRONG = [{7: 2.0}, {7: 2.0, 1: 3.0}, [1, 2, 3, 4], [{0: 1}], (1, 2, 3, 4), "balance", 3, {0: "a"}]


@pytest.mark.parametrize("chosen", WRONG)
@pytest.mark.parametrize("partial", [False, True])
def test_errors_of_class_weights_are_scikit_learns(chosen, partial):
    with pytest.raises((TypeError, ValueError)) as expected:
        compute_class_weight(chosen, classes=np.arange(4), y=Y)
    classifier = ConvClassifier(class_weight=chosen, **FAST)
    with pytest.raises(type(expected.value)) as found:
        classifier.partial_fit(X, Y, [0, 1, 2, 3]) if partial else classifier.fit(X, Y)
    assert str(found.value).replace("compute_sample_weight must be an instance of 'dict', an instance of 'list'",
                                    "compute_class_weight must be an instance of 'dict'") == str(expected.value)  # fmt: skip


@pytest.mark.parametrize(
    "chosen", [{0: 1}, [{0: 1}], [{0: 1}] * 3, ({0: 1}, {0: 2}), [{9: 1.0}, {0: 2}], "balance"]
)
@pytest.mark.parametrize("name", ["several outputs", "indicators"])
def test_errors_of_several_class_weights_are_scikit_learns(chosen, name):
    y = KINDS[name][0]
    with pytest.raises(ValueError) as expected:  # noqa: PT011  # whichever scikit-learn's is
        compute_sample_weight(chosen, y)
    with pytest.raises(type(expected.value)) as found:
        ConvClassifier(class_weight=chosen, **FAST).fit(X, y)
    assert str(found.value) == str(expected.value)


def test_an_element_that_is_no_dict():
    with pytest.raises(ValueError, match="parameter of compute_class_weight must be an instance of 'dict'"):
        ConvClassifier(class_weight=[3, {0: 2}]).fit(X, KINDS["several outputs"][0])


def test_balanced_needs_all_of_y():
    for chosen, y in (("balanced", Y), (["balanced", {0: 1}], KINDS["several outputs"][0])):
        with pytest.raises(
            ValueError, match="class_weight='balanced' needs all of y, which partial_fit does not"
        ):
            ConvClassifier(class_weight=chosen).partial_fit(X, y, [0, 1, 2, 3])
    one, both = ConvClassifier(**QUICK), ConvClassifier(**QUICK)
    y = KINDS["several outputs"][0][np.r_[0:60, 0:60:4]]
    x = X[np.r_[0:60, 0:60:4]]
    both.set_params(class_weight="balanced").fit(x, y)
    np.testing.assert_array_equal(
        outputs(one.set_params(class_weight=["balanced", "balanced"]).fit(x, y)), outputs(both)
    )


@pytest.mark.parametrize("largest", [1e300, 1e308, 1e-300])
def test_extreme_weights(largest):
    """Only their ratios matter to `fit`; `partial_fit` refuses those that the model's dtype lacks."""
    factors = np.array([1, 0.5, 0.25, 1]) * largest
    chosen = dict(enumerate(factors))
    expected = ConvClassifier(class_weight=dict(enumerate(factors / largest)), **QUICK).fit(X, Y)
    for settings, weight in (({"class_weight": chosen}, None), ({}, factors[Y])):
        found = ConvClassifier(**QUICK, **settings).fit(X, Y, weight)
        np.testing.assert_allclose(outputs(found), outputs(expected), rtol=1e-4, atol=1e-5)
        if largest > 1:
            name = "class_weight" if settings else "sample_weight"
            with pytest.raises(
                ValueError, match=rf"^ConvClassifier: {name} is 1e\+30[08], which is too large for fl"
            ):
                ConvClassifier(**QUICK, **settings).partial_fit(X, Y, [0, 1, 2, 3], weight)
    both = ConvClassifier(class_weight=chosen, **QUICK).fit(X, Y, factors[Y])
    assert np.isfinite(outputs(both)).all()
    if largest > 1:
        with pytest.raises(ValueError, match="sample_weight times class_weight is inf, which is too large"):
            ConvClassifier(class_weight=chosen, **QUICK).partial_fit(X, Y, [0, 1, 2, 3], factors[Y])
    with pytest.raises(ValueError, match="sample_weight times class_weight is 0 for all samples"):
        ConvClassifier(class_weight={0: 0, 1: 0}).fit(X, Y, np.where(Y < 2, largest, 0))
    regressor = ConvRegressor(**QUICK).fit(X, Y, factors[Y])
    same = ConvRegressor(**QUICK).fit(X, Y, factors[Y] / largest)
    np.testing.assert_allclose(regressor.predict(X), same.predict(X), rtol=1e-4, atol=1e-5)
