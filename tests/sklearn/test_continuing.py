"""`partial_fit`, warm starts, early stopping, and estimators before `fit`."""

import numpy as np
import pytest

pytest.importorskip("sklearn", reason='pip install -e ".[sklearn]"')

from inspect import signature

from estimators import FAST, FLAT, QUICK, X, Y, outputs, tiny
from sklearn.exceptions import NotFittedError

import xpconv
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
        ValueError,
        match=r"^ConvClassifier: early_stopping cannot hold out validation_fraction=0\.1 of 4 samples: ",
    ):
        ConvClassifier(**settings).fit(X[:4], Y[:4])
    rare = np.array(["a", "b"], object)[Y % 2]
    rare[7] = "rare label"
    with pytest.raises(
        ValueError, match=r"\['rare label'\]; give another validation_fraction, .* early_stopping=False"
    ):
        ConvClassifier(**settings).fit(X, rare)


@pytest.mark.parametrize(
    "y", [np.where(Y == 3, 9, Y), Y.astype(str), np.column_stack([Y, Y])], ids=["9", "str", "two"]
)
def test_a_warm_start_with_other_classes(y):
    classifier = ConvClassifier(**FAST, warm_start=True).fit(X, Y)
    before = outputs(classifier)
    with pytest.raises(
        ValueError, match=r"; warm_start=True continues with .* for others give warm_start=False$"
    ):
        classifier.fit(X, y)
    np.testing.assert_array_equal(outputs(classifier), before)
    assert classifier.set_params(warm_start=False).fit(X, y).predict(X).shape == y.shape


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


# --- parameters changed between calls of partial_fit ------------------------------------------------------

CLASSES = [0, 1, 2, 3]


def stream(before, after, calls=2):
    """An estimator after `calls` of partial_fit with the parameters `before`, and as many with `after`."""
    classifier = ConvClassifier(tiny, random_state=0, **before)
    for _ in range(calls):
        classifier.partial_fit(X, Y, CLASSES)
    classifier.set_params(**after)
    for _ in range(calls):
        classifier.partial_fit(X, Y)
    return classifier


@pytest.mark.parametrize(
    ("before", "after", "rates"),
    [
        ({}, {"learning_rate": 0.1}, [1e-3, 1e-3, 0.1, 0.1]),
        ({"optimizer__lr": 0.2}, {"optimizer__lr": 0.1}, [0.2, 0.2, 0.1, 0.1]),
        ({}, {"optimizer": "sgd"}, [1e-3] * 4),
        ({}, {"optimizer": "sgd", "learning_rate": 0.1}, [1e-3, 1e-3, 0.1, 0.1]),
        ({}, {"schedule": "StepLR", "schedule__step_size": 1}, [1e-3, 1e-3, 1e-3, 1e-4]),
        ({"schedule": "StepLR", "schedule__step_size": 1}, {}, [1e-3, 1e-4, 1e-5, 1e-6]),
        ({"schedule": "StepLR", "schedule__step_size": 1}, {"batch_size": 7}, [1e-3, 1e-4, 1e-5, 1e-6]),
        ({"schedule": "StepLR", "schedule__step_size": 1}, {"learning_rate": 0.1}, [1e-3, 1e-4, 0.1, 0.01]),
        ({"schedule": "StepLR", "schedule__step_size": 1}, {"schedule__gamma": 0.5}, [1e-3, 1e-4, 1e-3, 5e-4]),
        ({"schedule": "StepLR", "schedule__step_size": 1}, {"optimizer": "sgd"}, [1e-3, 1e-4, 1e-3, 1e-4]),
        ({"schedule": "exponential", "schedule__gamma": 0.1}, {"optimizer__eps": 1e-6}, [1e-3, 1e-4, 1e-3, 1e-4]),
        ({"schedule": lambda optimizer: xpconv.StepLR(optimizer, 1)}, {"schedule": None}, [1e-3, 1e-4, 1e-3, 1e-3]),
    ],
)  # fmt: skip
def test_changed_parameters_hold_from_the_next_call(before, after, rates):
    np.testing.assert_allclose(stream(before, after).history_["lr"], rates)


@pytest.mark.parametrize("calls", [1, 3])
def test_a_schedule_that_changes_within_a_pass(calls):
    """OneCycleLR sets the moments' factors as well, which are the optimizer's own again without it."""
    seen = []

    class Look:
        def on_batch_begin(self, run):
            group = run.optimizer.param_groups[0]
            seen.append((group["lr"], group["betas"][0]))

    cycle = {"schedule": "OneCycleLR", "max_epochs": 2 * calls, "batch_size": 30}
    stream({"callbacks": Look(), **cycle}, {}, calls)
    peak = max(rate for rate, _ in seen)
    assert peak == pytest.approx(1e-3, rel=0.25)
    assert seen[-1][0] < 1e-4
    seen.clear()
    stream({"callbacks": Look(), **cycle}, {"schedule": None}, calls)
    assert seen[-2 * calls :] == [(1e-3, 0.9)] * (2 * calls)
    seen.clear()
    stream({"callbacks": Look()}, cycle, calls)
    assert seen[: 2 * calls] == [(1e-3, 0.9)] * (2 * calls)
    assert seen[2 * calls][0] == pytest.approx(4e-5, rel=1e-3)
    seen.clear()
    stream({"callbacks": Look(), **cycle}, {"learning_rate": 0.1}, calls)
    np.testing.assert_allclose([r for r, _ in seen[2 * calls :]], [100 * r for r, _ in seen[: 2 * calls]])
    with pytest.raises(
        ValueError, match=r"^ConvClassifier: OneCycleLR has total_steps=\d+, .*schedule__total_steps"
    ):
        stream({**cycle, "max_epochs": calls}, {}, calls)
    more = stream({**cycle, "max_epochs": calls}, {"max_epochs": 9}, calls)
    assert more.n_iter_ == 2 * calls


def test_the_moments_of_an_optimizer_stay_under_other_settings():
    settings = {"batch_size": 60, "optimizer": "sgd", "optimizer__momentum": 0.9, "learning_rate": 0.01}
    start = stream(settings, {}, 1)
    step = [a - b for a, b in zip(weights(stream(settings, {}, 1)), weights(start), strict=True)]
    assert not any(d.any() for d in step)
    for after in ({"learning_rate": 0.0}, {"optimizer__momentum": 0.0, "learning_rate": 0.0}):
        still = ConvClassifier(tiny, random_state=0, **settings).partial_fit(X, Y, CLASSES)
        before = weights(still)
        still.set_params(**after).partial_fit(X, Y)
        assert all((a == b).all() for a, b in zip(weights(still), before, strict=True))
    moving = ConvClassifier(tiny, random_state=0, **settings).partial_fit(X, Y, CLASSES)
    nothing = {"class_weight": dict.fromkeys(CLASSES, 0.0)}
    before = weights(moving)
    moving.set_params(**nothing).partial_fit(X, Y)  # the gradient is 0, so that momentum alone moves
    first = [a - b for a, b in zip(weights(moving), before, strict=True)]
    moving.set_params(learning_rate=0.1)
    before = weights(moving)
    moving.partial_fit(X, Y)
    for a, b, step in zip(weights(moving), before, first, strict=True):
        np.testing.assert_allclose(a - b, 9 * step, rtol=1e-3, atol=1e-6)  # 0.9 · 10
    before = weights(moving)
    moving.set_params(optimizer="adam").__delattr__("optimizer__momentum")
    moving.partial_fit(X, Y)
    assert all((a == b).all() for a, b in zip(weights(moving), before, strict=True))


def weights(estimator):
    return [p.data.copy() for p in estimator.model_.parameters()]


OPTIONS = [
    (name, option, parameter.default)
    for name, kind in vars(xpconv.optim).items()
    if isinstance(kind, type) and issubclass(kind, xpconv.Optimizer) and kind is not xpconv.Optimizer
    for option, parameter in signature(kind).parameters.items()
    if option not in ("params", "lr", "nesterov")
]


@pytest.mark.sample(4)
@pytest.mark.parametrize(("name", "option", "default"), OPTIONS)
def test_every_option_of_every_optimizer_may_change(name, option, default):
    if isinstance(default, bool):
        other = not default
    elif isinstance(default, tuple):
        other = tuple(0.9 * number for number in default)
    else:
        other = 0.5 if default is None else 0.5 * default + 0.1
    key = f"optimizer__{option}"
    for before, after in ((default, other), (other, default)):
        classifier = stream({"optimizer": name, key: before, "learning_rate": 1e-4}, {key: after}, 1)
        assert np.isfinite(outputs(classifier)).all()


def test_what_else_changes_between_calls(backend):
    """dtype, backend, loss, batch_size and weights of classes; `model` and the seed do not."""
    for after in (
        {"dtype": "float64"}, {"backend": "numpy"}, {"loss": "multi_margin"}, {"batch_size": 7},
        {"class_weight": {0: 2.0}}, {"model": None}, {"random_state": 5}, {"input_shape": (4, 16)},
    ):  # fmt: skip
        classifier = stream({"schedule": "StepLR", "schedule__step_size": 1}, after)
        assert classifier.n_iter_ == 4
        assert isinstance(classifier.model_[0], xpconv.Conv2d)
        np.testing.assert_allclose(classifier.history_["lr"], [1e-3, 1e-4, 1e-5, 1e-6])
        assert {str(p.dtype) for p in classifier.model_.parameters()} == {after.get("dtype", "float32")}


def test_a_warm_start_takes_the_present_parameters():
    classifier = ConvClassifier(tiny, warm_start=True, max_epochs=1, random_state=0).fit(X, Y)
    before = weights(classifier)
    classifier.set_params(learning_rate=0.0, optimizer="sgd", schedule="OneCycleLR", dtype="float64").fit(
        X, Y
    )
    for a, b in zip(weights(classifier), before, strict=True):
        np.testing.assert_array_equal(a, b)
    classifier.set_params(learning_rate=0.1, schedule=None, max_epochs=3).fit(X, Y)
    np.testing.assert_allclose(classifier.history_["lr"][2:], 0.1)
    assert any((a != b).any() for a, b in zip(weights(classifier), before, strict=True))
