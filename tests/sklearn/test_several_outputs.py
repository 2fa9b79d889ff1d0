"""The loss of several outputs: the mean of what each output's loss is by itself, over the losses' options."""

from itertools import pairwise

import numpy as np
import pytest

pytest.importorskip("sklearn", reason='pip install -e ".[sklearn]"')

from estimators import FLAT, X, Y

import xpconv
from xpconv.sklearn import ConvClassifier, ConvRegressor
from xpconv.sklearn.targets import SeveralLosses

SIZES = (4, 4, 3)
RNG = np.random.default_rng(0)
SCORES = RNG.normal(size=(20, sum(SIZES)))
TARGETS = np.column_stack([RNG.integers(0, 3, 20) for _ in SIZES])  # the last of four classes never comes
WEIGHT = np.array([1e-3, 5.0, 30.0, 1.0])
ENTROPY, NLL, MARGIN = xpconv.CrossEntropyLoss, xpconv.NLLLoss, xpconv.MultiMarginLoss
CASES = [
    *((kind, {"reduction": r, "ignore_index": i, "weight": w}) for kind in (ENTROPY, NLL) for r in ("mean", "sum")
      for i in (-100, 1) for w in (False, True)),
    *((ENTROPY, {"reduction": r, "label_smoothing": 0.3, "weight": w}) for r in ("mean", "sum") for w in (False, True)),
    *((MARGIN, {"reduction": r, "p": p, "margin": 0.5, "weight": w}) for r in ("mean", "sum") for p in (1, 2)
      for w in (False, True)),
]  # fmt: skip


def parts(array):
    ends = np.cumsum([0, *SIZES])
    return [array[:, a:b] for a, b in pairwise(ends)]


@pytest.mark.sample(4)
@pytest.mark.parametrize(("kind", "options"), CASES)
@pytest.mark.parametrize("weighted", [False, True])
def test_it_is_the_mean_of_the_losses(backend, kind, options, weighted):
    sizes, scores, targets = SIZES, SCORES, TARGETS
    if options["weight"]:  # which all outputs share, so these have as many classes
        sizes, scores, targets = SIZES[:2], SCORES[:, :8], TARGETS[:, :2]
    options = {**options, "weight": xpconv.asarray(WEIGHT) if options["weight"] else None}
    weight = xpconv.asarray(RNG.random(20)) if weighted else None
    several = SeveralLosses(kind(**options), sizes)
    loss, count = several._measured((xpconv.asarray(scores), xpconv.asarray(targets)), weight)
    grad = xpconv.asnumpy(several.backward(0.5))
    assert count == 20
    expected, grads = [], []
    for i, part in enumerate(parts(scores)[: len(sizes)]):
        one = kind(**options)
        expected.append(one._measured((xpconv.asarray(part), xpconv.asarray(targets[:, i])), weight)[0])
        grads.append(xpconv.asnumpy(one.backward(0.5)) / len(sizes))
    np.testing.assert_allclose(float(loss), np.mean([float(e) for e in expected]), rtol=1e-12)
    np.testing.assert_allclose(grad, np.concatenate(grads, axis=1), rtol=1e-12, atol=1e-15)


def test_an_output_whose_samples_are_all_ignored():
    """Its mean is NaN, as by itself; its gradient is 0."""
    targets = TARGETS.copy()
    targets[:, 1] = 1
    several = SeveralLosses(ENTROPY(ignore_index=1), SIZES)
    assert np.isnan(several(SCORES, targets))
    first, second, _ = parts(several.backward())
    assert np.isfinite(first).all()
    assert first.any()
    assert not second.any()


@pytest.mark.parametrize("loss", [ENTROPY, MARGIN])
def test_two_equal_columns_learn_as_one(loss):
    """With class weights in the loss, whose sum divides the loss of an output."""
    weight = np.array([1e-3, 5.0, 30.0, 1.0], "float32")
    one, two = xpconv.Dense(64, 4, rng=0), xpconv.Dense(64, 8)
    two.load_state_dict({name: np.concatenate([array, array]) for name, array in one.state_dict().items()})
    settings = {"loss": loss(weight=weight), "max_epochs": 2, "batch_size": 60, "optimizer": "sgd"}
    expected = ConvClassifier(one, **settings).fit(FLAT, Y).loss_curve_
    found = ConvClassifier(two, **settings).fit(FLAT, np.column_stack([Y, Y]))
    np.testing.assert_allclose(found.loss_curve_[0], expected[0], rtol=1e-6)
    assert found.loss_curve_[1] < found.loss_curve_[0]


@pytest.mark.parametrize("y", [Y, np.column_stack([Y, Y % 2]), np.eye(4, dtype=int)[Y]])
@pytest.mark.parametrize("given", ["instance", "parameter"])
def test_a_loss_without_a_reduction_is_refused(y, given):
    kind = xpconv.BCEWithLogitsLoss if len(np.shape(y)) > 1 and y.shape[1] == 4 else ENTROPY
    settings = {"loss": kind(reduction="none")} if given == "instance" else {"loss__reduction": "none"}
    for estimator in (ConvClassifier(**settings), ConvRegressor(**{**settings, "loss__delta": 1.0})):
        if isinstance(estimator, ConvRegressor):
            estimator = ConvRegressor(loss=xpconv.HuberLoss(reduction="none"))
        with pytest.raises(
            ValueError, match=r"^Conv\w+: loss has reduction='none', expected 'mean' or 'sum'"
        ):
            estimator.fit(X, y)


class Own(xpconv.losses.Loss):
    """A loss of one's own, which overrides what `Loss` calls for each output."""

    def forward(self, input, target):
        return input.sum()


def test_a_loss_of_ones_own_that_has_no_losses_of_samples():
    with pytest.raises(
        TypeError, match=r"^ConvClassifier: loss: y has several outputs, .* Own overrides forward"
    ):
        ConvClassifier(loss=Own()).fit(X, np.column_stack([Y, Y % 2]))
