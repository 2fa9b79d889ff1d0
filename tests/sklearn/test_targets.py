"""y of `ConvClassifier`: labels, several outputs, indicators."""

import numpy as np
import pytest

pytest.importorskip("sklearn", reason='pip install -e ".[sklearn]"')

from estimators import FAST, OWN, QUICK, X, Y, outputs, tiny
from sklearn.exceptions import DataConversionWarning

import xpconv
from xpconv.errors import ShapeError
from xpconv.sklearn import ConvClassifier


@pytest.mark.parametrize(
    "names",
    [[3, 5, 7, 9], list("abcd"), [-1.0, 0.0, 1.0, 2.0], [10**12, 1, 2, 3], np.array(list("zyxw"), object)],
)
def test_labels(names):
    names = np.array(names)
    expected = ConvClassifier(**QUICK).fit(X, Y)
    classifier = ConvClassifier(**QUICK).fit(X, np.sort(names)[Y])
    np.testing.assert_array_equal(classifier.classes_, np.sort(names))
    assert classifier.classes_.dtype == names.dtype
    np.testing.assert_array_equal(outputs(classifier), outputs(expected))
    np.testing.assert_array_equal(classifier.predict(X), np.sort(names)[expected.predict(X)])


def test_two_classes():
    y = np.where(Y < 2, "no", "yes")
    classifier = ConvClassifier(**FAST).fit(X, y)
    decision, probability = classifier.decision_function(X), classifier.predict_proba(X)
    assert decision.shape == (len(X),)
    np.testing.assert_allclose(probability[:, 1], 1 / (1 + np.exp(-decision.astype(float))), rtol=1e-12)
    np.testing.assert_allclose(probability.sum(axis=1), 1, rtol=1e-15)
    np.testing.assert_array_equal(classifier.predict(X) == "yes", decision > 0)
    np.testing.assert_allclose(classifier.predict_log_proba(X), np.log(probability), atol=1e-12)
    assert classifier.score(X, y) == 1.0


def test_one_class():
    classifier = ConvClassifier(**QUICK).fit(X, np.full(len(X), "only"))
    assert set(classifier.predict(X)) == {"only"}
    np.testing.assert_array_equal(classifier.predict_proba(X), np.ones((len(X), 1)))


def test_logarithms_of_tiny_probabilities():
    classifier = ConvClassifier(**FAST).fit(X, Y)
    logarithms = classifier.predict_log_proba(1e4 * X)
    assert np.isfinite(logarithms).all()
    assert (classifier.predict_proba(1e4 * X) == 0).any()


def test_several_labels_of_each_sample():
    y = np.column_stack([Y, np.array([5, 7, 9])[Y % 3]])
    classifier = ConvClassifier(max_epochs=10, learning_rate=0.01, random_state=0).fit(X, y)
    assert [list(c) for c in classifier.classes_] == [[0, 1, 2, 3], [5, 7, 9]]
    assert classifier.n_outputs_ == 7
    probability = classifier.predict_proba(X)
    assert [p.shape for p in probability] == [(60, 4), (60, 3)]
    for p, logarithm in zip(probability, classifier.predict_log_proba(X), strict=True):
        np.testing.assert_allclose(p.sum(axis=1), 1)
        np.testing.assert_allclose(np.exp(logarithm), p, rtol=1e-12)
    assert outputs(classifier).shape == (9, 7)
    predicted = classifier.predict(X)
    np.testing.assert_array_equal(predicted[:, 1], np.array([5, 7, 9])[probability[1].argmax(axis=1)])
    weight = np.arange(1.0, 61)
    assert classifier.score(X, y) == (predicted == y).all(axis=1).mean() > 0.9
    assert classifier.score(X, y, weight) == np.average((predicted == y).all(axis=1), weights=weight)


def test_several_labels_learn_the_mean_of_the_losses():
    """Two columns that are the same have the loss of one."""
    settings = {**OWN, "max_epochs": 1, "batch_size": 60}
    scores = []

    def started(input_shape, n_outputs):
        model = tiny(input_shape, n_outputs)
        scores.append(model(X[:, None].astype("float32")))
        return model

    pair = ConvClassifier(started, **settings).fit(X, np.column_stack([Y + 4, Y]))
    criterion = xpconv.SoftmaxCrossEntropyLoss()
    mean = (criterion(scores[0][:, :4], Y) + criterion(scores[0][:, 4:], Y)) / 2
    np.testing.assert_allclose(pair.loss_curve_, [mean], rtol=1e-5)


def test_label_indicators():
    y = np.column_stack([Y == 0, Y < 2, Y > 2]).astype(int)
    classifier = ConvClassifier(max_epochs=8, learning_rate=0.01, random_state=0).fit(X, y)
    np.testing.assert_array_equal(classifier.classes_, [0, 1, 2])
    probability = classifier.predict_proba(X)
    assert probability.shape == (60, 3)
    np.testing.assert_allclose(probability, 1 / (1 + np.exp(-classifier.decision_function(X).astype(float))))
    np.testing.assert_allclose(classifier.predict_log_proba(X), np.log(probability), atol=1e-12)
    np.testing.assert_array_equal(classifier.predict(X), probability > 0.5)
    assert classifier.score(X, y) > 0.95
    scipy_sparse = pytest.importorskip("scipy.sparse")
    sparse = ConvClassifier(max_epochs=8, learning_rate=0.01, random_state=0).fit(
        X, scipy_sparse.csr_matrix(y)
    )
    np.testing.assert_array_equal(outputs(sparse), outputs(classifier))


def test_a_column_of_labels():
    with pytest.warns(DataConversionWarning, match="column-vector y"):
        classifier = ConvClassifier(**FAST).fit(X, Y[:, None])
    assert classifier.predict(X).shape == (60,)


@pytest.mark.parametrize("classes", [3, {0, 1, 2, 3}, [], [[0, 1, 2, 3]], "abc", {0: 1}])
def test_classes_that_are_no_list(classes):
    with pytest.raises(ValueError, match=r"^ConvClassifier: classes is .*, expected a list of all labels$"):
        ConvClassifier().partial_fit(X, Y, classes=classes)


def test_labels_that_cannot_be_compared():
    y = np.array(["a", "b", "c", None], object)[Y]
    with pytest.raises(
        TypeError, match=r"^ConvClassifier: y has labels of the types NoneType, str, which cannot"
    ):
        ConvClassifier().fit(X, y)
    with pytest.raises(TypeError, match=r"^ConvClassifier: classes has labels of the types NoneType, str"):
        ConvClassifier().partial_fit(X, Y.astype(str), classes=np.array(["a", None], object))


def test_a_score_of_other_outputs():
    classifier = ConvClassifier(**QUICK).fit(X, np.column_stack([Y, Y % 2]))
    with pytest.raises(ShapeError, match=r"^ConvClassifier\.score: y has shape \(60,\), expected \(60, 2\)$"):
        classifier.score(X, Y)
