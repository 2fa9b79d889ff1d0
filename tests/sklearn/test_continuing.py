"""`partial_fit`, warm starts, early stopping, and estimators before `fit`."""

import numpy as np
import pytest

pytest.importorskip("sklearn", reason='pip install "xpconv[sklearn]"')

from estimators import FAST, FLAT, QUICK, X, Y, outputs, tiny
from sklearn.exceptions import NotFittedError

from xpconv.errors import ShapeError
from xpconv.sklearn import ConvClassifier


def test_partial_fit_goes_on_with_the_optimizer():
    """Two passes over all samples, in one batch each, are an epoch more of `fit`, with momentum."""
    settings = {"batch_size": 60, "random_state": 0, "learning_rate": 0.01}
    passes = ConvClassifier(tiny, **settings)
    for _ in range(3):
        assert passes.partial_fit(X, Y, classes=[0, 1, 2, 3]) is passes
    whole = ConvClassifier(tiny, max_epochs=3, **settings).fit(X, Y)
    np.testing.assert_allclose(outputs(passes), outputs(whole), rtol=1e-3, atol=1e-4)
    assert passes.n_iter_ == 3
    np.testing.assert_allclose(passes.loss_curve_, whole.loss_curve_, rtol=1e-4)
    assert passes.history_["epoch"] == [1, 2, 3]
    again = ConvClassifier(tiny, **settings)
    for _ in range(3):
        again.partial_fit(X, Y, [0, 1, 2, 3])
    np.testing.assert_array_equal(outputs(again), outputs(passes))


def test_partial_fit_of_few_samples():
    """One by one, also of classes that come later; the first sample is alone in its batch."""
    classifier = ConvClassifier(random_state=0)
    classifier.partial_fit(FLAT[:1], Y[:1], classes=[0, 1, 2, 3])
    classifier.partial_fit(FLAT[1:2], Y[1:2]).partial_fit(FLAT[2:5], Y[2:5], classes=np.arange(4))
    np.testing.assert_array_equal(classifier.classes_, [0, 1, 2, 3])
    assert classifier.n_iter_ == 3


def test_partial_fit_errors():
    classifier = ConvClassifier(**FAST)
    with pytest.raises(ValueError, match="classes must be passed on the first call to partial_fit"):
        classifier.partial_fit(X, Y)
    assert not hasattr(classifier, "model_")
    classifier.partial_fit(X[:40], Y[:40], classes=[0, 1, 2, 3])
    before = outputs(classifier)
    with pytest.raises(ValueError, match=r"classes is .*\[0, 1, 9\].*first call it was .*\[0, 1, 2, 3\]"):
        classifier.partial_fit(X, Y, classes=[0, 1, 9])
    with pytest.raises(ValueError, match=r"y has classes that are not in classes_, .*9"):
        classifier.partial_fit(X, np.where(Y == 3, 9, Y))
    with pytest.raises(ShapeError, match=r"y has shape \(60, 2\), expected \(N,\)"):
        classifier.partial_fit(X, np.column_stack([Y, Y]))
    with pytest.raises(ValueError, match="X has 49 features, but ConvClassifier is expecting 64"):
        classifier.partial_fit(X[:, :7, :7], Y)
    np.testing.assert_array_equal(outputs(classifier), before)
    with pytest.raises(ValueError, match="partial_fit has no validation data; set early_stopping=False"):
        ConvClassifier(early_stopping=True).partial_fit(X, Y, classes=[0, 1, 2, 3])
    with pytest.raises(ValueError, match="class_weight='balanced' needs all of y"):
        ConvClassifier(class_weight="balanced").partial_fit(X, Y, classes=[0, 1, 2, 3])


def test_partial_fit_of_several_outputs():
    y = np.column_stack([Y, Y % 2])
    several = ConvClassifier(**QUICK).partial_fit(X[:4], y[:4], classes=[[0, 1, 2, 3], [0, 1]])
    assert several.partial_fit(X, y).predict(X).shape == (60, 2)
    first = np.column_stack([[0, 1], [0, 1]])  # which looks like indicators
    several = ConvClassifier(**QUICK).partial_fit(X[:2], first, classes=[np.arange(4), np.arange(2)])
    assert [len(c) for c in several.classes_] == [4, 2]
    indicators = ConvClassifier(**QUICK).partial_fit(X[:4], y[:4] > 0)
    assert indicators.predict_proba(X).shape == (60, 2)
    with pytest.raises(ValueError, match=r"classes is .*expected a list of 2 arrays"):
        ConvClassifier(**QUICK).partial_fit(X, y, classes=[0, 1, 2])


def test_warm_start():
    classifier = ConvClassifier(tiny, warm_start=True, **FAST).fit(X, Y)
    first = outputs(classifier)
    classifier.fit(X, Y)
    assert classifier.n_iter_ == 8 == len(classifier.loss_curve_) == len(classifier.history_)
    assert classifier.loss_curve_[4] < classifier.loss_curve_[0]
    cold = classifier.set_params(warm_start=False).fit(X, Y)
    np.testing.assert_array_equal(outputs(cold), first)
    assert cold.n_iter_ == 4


def test_early_stopping():
    settings = {"early_stopping": True, "n_iter_no_change": 2, "learning_rate": 0.05, "random_state": 0}
    classifier = ConvClassifier(max_epochs=60, validation_fraction=0.25, **settings).fit(X, Y)
    losses = classifier.history_["valid_loss"]
    assert classifier.n_iter_ < 60
    assert np.argmin(losses) == len(losses) - 3
    assert "has not improved for 2 epochs" in classifier.history_.stopped
    assert classifier.history_["valid_accuracy"]
    weighted = ConvClassifier(max_epochs=3, **settings).fit(X, Y, np.arange(1.0, 61))
    assert len(weighted.history_["valid_loss"]) == 3
    with pytest.raises(
        ValueError, match=r"least populated class|should be greater or equal to the number of classes"
    ):
        ConvClassifier(**settings).fit(X[:4], Y[:4])


def test_a_failed_fit_leaves_the_model():
    classifier = ConvClassifier(**FAST).fit(X, Y)
    before = outputs(classifier)
    with pytest.raises(ValueError, match="optimizer is 'nadamm'; did you mean NAdam"):
        classifier.set_params(optimizer="nadamm").fit(X, Y)
    np.testing.assert_array_equal(outputs(classifier), before)


def test_before_fit():
    for method in ("predict", "predict_proba", "predict_log_proba", "decision_function"):
        with pytest.raises(NotFittedError, match="This ConvClassifier instance is not fitted yet"):
            getattr(ConvClassifier(), method)(X)
