"""Metrics, against NumPy and scikit-learn, on sets whose last batch is smaller."""

import numpy as np
import pytest

import xpconv
from xpconv import train
from xpconv.data import batches


class Given(xpconv.Layer):
    """A model that returns its input."""

    def forward(self, x):
        return self.keep(x)

    def backward(self, grad_output, input_grad=True):
        self.recall(grad_output)
        return grad_output


def measured(output, target, metrics, loss=None, size=7, **options):
    data = batches(xpconv.asarray(output), xpconv.asarray(target), size)
    return train.evaluate(Given(), loss, data, metrics=metrics, **options)


RNG = np.random.default_rng(0)


@pytest.mark.parametrize("shape", [(50, 4), (20, 4, 3, 5)])
def test_accuracies(shape, backend):
    output = RNG.normal(size=shape).astype("float32")
    target = RNG.integers(0, 4, shape[:1] + shape[2:])
    order = np.argsort(-output, axis=1)
    hits = order == target[:, None]
    found = measured(output, target, ["accuracy", "top2_accuracy", train.TopKAccuracy(4)])
    np.testing.assert_allclose(
        list(found.values()), [hits[:, :1].any(1).mean(), hits[:, :2].any(1).mean(), 1.0], rtol=1e-12
    )
    assert list(found) == ["accuracy", "top2_accuracy", "top4_accuracy"]
    rows = np.moveaxis(np.eye(4)[target], -1, 1)  # one-hot
    assert measured(output, rows, ["accuracy", "top2_accuracy"]) == {n: found[n] for n in list(found)[:2]}


def test_ignored_classes_do_not_count(backend):
    output, target = RNG.normal(size=(50, 3)), RNG.integers(0, 3, 50)
    chosen = target != 1
    expected = (output.argmax(1) == target)[chosen].mean()
    loss = xpconv.SoftmaxCrossEntropyLoss(ignore_index=1)
    assert measured(output, target, "accuracy", loss)["accuracy"] == pytest.approx(expected)
    assert measured(output, target, [train.Accuracy(ignore_index=1)])["accuracy"] == pytest.approx(expected)
    np.testing.assert_allclose(
        measured(output, target, (), loss)["loss"],
        float(loss(xpconv.asarray(output), xpconv.asarray(target))),
    )


def test_ties_and_nan_are_no_hits(backend):
    same = np.zeros((3, 4), "float32")
    assert measured(same, np.array([0, 1, 3]), ["top2_accuracy"])["top2_accuracy"] == pytest.approx(2 / 3)
    output = np.array([[np.nan, 0.0, 1.0], [0.0, 1.0, np.nan]])
    assert measured(output, np.array([0, 1]), [train.TopKAccuracy(1)])["top1_accuracy"] == 0


@pytest.mark.parametrize(("loss", "limit"), [(xpconv.BCEWithLogitsLoss, 0.0), (xpconv.BCELoss, 0.5)])
def test_outputs_that_are_compared_one_by_one(loss, limit, backend):
    output = RNG.uniform(0, 1, (50, 3)) - (0.5 if limit == 0 else 0)
    target = RNG.integers(0, 2, (50, 3)).astype("float64")
    expected = ((output > limit) == (target == 1)).mean()
    assert measured(output, target, ["accuracy"], loss())["accuracy"] == pytest.approx(expected)
    found = measured(output, target, ["iou"], loss())["iou"]
    predicted = output > limit
    each = [
        ((predicted == c) & (target == c)).sum() / ((predicted == c) | (target == c)).sum() for c in (0, 1)
    ]
    assert found == pytest.approx(np.mean(each))


def test_errors(backend):
    output, target = RNG.normal(size=(2, 50, 3)).astype("float32")
    found = measured(output, target, ["mae", "mse", "mean_absolute_error"])
    d = (output - target).astype("float64")
    np.testing.assert_allclose(list(found.values()), [abs(d).mean(), (d**2).mean(), abs(d).mean()], rtol=1e-6)


def test_iou_is_of_the_whole_set_and_not_a_mean_of_batches(backend):
    sklearn = pytest.importorskip("sklearn.metrics")
    output = RNG.normal(size=(20, 4, 3, 5))
    target = RNG.integers(0, 3, (20, 3, 5))  # class 3 does not occur
    output[:, 3] = -10  # and is not predicted
    expected = sklearn.jaccard_score(target.reshape(-1), output.argmax(1).reshape(-1), average=None)
    found = measured(output, target, [train.IoU(per_class=True)])
    assert list(found) == ["iou", "iou_0", "iou_1", "iou_2", "iou_3"]
    np.testing.assert_allclose([found[f"iou_{i}"] for i in range(3)], expected)
    assert np.isnan(found["iou_3"])
    assert found["iou"] == pytest.approx(expected.mean())
    target[:, 0] = -100
    chosen = target != -100
    expected = sklearn.jaccard_score(target[chosen], output.argmax(1)[chosen], average="macro")
    assert measured(output, target, "iou")["iou"] == pytest.approx(expected)


def test_ones_own_functions(backend):
    output, target = RNG.normal(size=(2, 50, 3))

    def per_sample(output, target):
        return abs(output - target).max(axis=1)

    def mean(output, target):
        return (output - target).mean()

    def number(output, target):
        return float(len(output))

    found = measured(output, target, [per_sample, mean, number])
    assert found["per_sample"] == pytest.approx(abs(output - target).max(1).mean())
    assert found["mean"] == pytest.approx((output - target).mean())
    assert found["number"] == pytest.approx((7 * 49 + 1) / 50)
    with pytest.raises(
        ValueError, match=r"metric <lambda>|metric lambda returned .* a number for each of the 7"
    ):
        measured(output, target, lambda output, target: output[:2])
    with pytest.raises(ValueError, match=r"metric lambda returned None"):
        measured(output, target, lambda output, target: None)


WRONG = {
    "accuracy of one column": (np.zeros(4), np.zeros(4, int), "accuracy", r"Accuracy: output has shape \(4,\)"),
    "accuracy of a single class": (np.zeros((4, 1)), np.zeros((4, 1), int), "accuracy", "with a single class; .* give threshold=0"),
    "accuracy of a regression": (np.zeros((4, 2)), np.zeros(4), "accuracy", "target is float64, expected integer class"),
    "other shape": (np.zeros((4, 2)), np.zeros((4, 3), int), "accuracy", r"expected \(4,\) \(class indices\) or \(4, 2\)"),
    "broadcast": (np.zeros((4, 1)), np.zeros(4), "mae", r"target has shape \(4,\), expected \(4, 1\)"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_targets_that_do_not_fit(name):
    output, target, metric, text = WRONG[name]
    with pytest.raises((TypeError, ValueError), match=text):
        measured(output, target, metric)


def test_evaluate_restores_modes_and_needs_something_to_compute():
    model = xpconv.Sequential(xpconv.Dense(3, 2, rng=0), xpconv.Dropout(0.5, rng=0))
    model[1].eval()
    x, y = np.zeros((5, 3), "float32"), np.zeros(5, int)
    first = train.evaluate(model, xpconv.SoftmaxCrossEntropyLoss(), batches(x, y, 2))
    assert [layer.training for layer in (model, *model)] == [True, True, False]
    assert train.evaluate(model, xpconv.SoftmaxCrossEntropyLoss(), batches(x, y, 5)) == pytest.approx(first)
    with pytest.raises(ValueError, match="evaluate: loss is None and there are no metrics"):
        train.evaluate(model, None, batches(x, y, 2))
    with pytest.raises(ValueError, match="evaluate: data gave no batches"):
        train.evaluate(model, None, iter(()), metrics="accuracy")
    with pytest.raises(TypeError, match="evaluate: model is of type MSELoss"):
        train.evaluate(xpconv.MSELoss(), model, batches(x, y, 2))
    with pytest.raises(TypeError, match="evaluate: loss is of type Sequential"):
        train.evaluate(model, model, batches(x, y, 2))


def test_values_too_small_for_float32():
    """Whatever `numpy.seterr` is set to, as in layers."""
    output = np.full((4, 2), 1e-30, "float32")
    with np.errstate(all="raise"):
        assert measured(output, np.zeros((4, 2), "float32"), ["mse", "mae"])["mse"] == 0


@pytest.mark.slow
def test_sums_stay_exact_over_many_samples():
    """In float64: a million batches of float32 losses would lose digits."""
    meter_sum = train.evaluate(
        Given(), None, [(np.full((1, 1), 0.1, "float32"), np.zeros((1, 1), "float32"))] * 20000, metrics="mae"
    )
    assert meter_sum["mae"] == pytest.approx(np.float32(0.1), rel=1e-12)


def test_ignore_index_with_a_threshold(backend):
    output = xpconv.asarray(np.array([[1.0], [-1.0], [-1.0], [1.0]]))
    target = xpconv.asarray(np.array([[1.0], [0.0], [255.0], [255.0]]))
    metric = train.Accuracy(threshold=0, ignore_index=255)
    assert [float(s) for s in metric.sums(output, target)] == [2.0, 2.0]
    (confusion,) = train.IoU(threshold=0, ignore_index=255).sums(output, target)
    assert xpconv.asnumpy(confusion).tolist() == [1, 0, 0, 1]


@pytest.mark.parametrize(
    ("sums", "said"),
    [
        (
            lambda output: output.sum(),
            r"metric mine: sums\(\) returned .*, expected a tuple of numbers and 1-d",
        ),
        (lambda output: (output,), r"metric mine: sums\(\) returned .*, expected a tuple of numbers and 1-d"),
        (lambda output: (output[:, 0],), r"parts of lengths \[1\] \(0: a number\) after \[3\]"),
        (lambda output: (1,) * len(output), r"parts of lengths \[0\] \(0: a number\) after \[0, 0, 0\]"),
    ],
)
def test_sums_of_a_wrong_kind(backend, sums, said):
    class Mine(train.Metric):
        def sums(self, output, *targets):
            return sums(output)

        def value(self, *parts):
            return 0.0

    x, y = xpconv.asarray(np.ones((4, 2))), xpconv.asarray(np.zeros(4, int))
    with pytest.raises(ValueError, match=said):
        train.evaluate(xpconv.Flatten(), None, batches(x, y, 3), metrics=[Mine()])


@pytest.mark.parametrize(
    ("kind", "value"),
    [("int32", 30_000_000), ("uint8", 3), ("int8", -100), ("float16", 60_000.0), ("bool", True), (int, 3)],
)
@pytest.mark.parametrize("place", ["host", "device"])
def test_a_mean_of_any_dtype_is_multiplied_in_float64(kind, value, place, backend):
    """The number of samples times the mean is out of the range of its dtype."""

    def mean(output, target):
        if kind is int:
            return value
        return np.dtype(kind).type(value) if place == "host" else xpconv.asarray(value, kind)

    output, target = np.zeros((300, 2), "float32"), np.zeros(300, int)
    assert measured(output, target, [mean], size=128)["mean"] == float(np.array(value, kind))


@pytest.mark.parametrize("kind", ["uint8", "int32", "bool", "float16"])
def test_errors_of_outputs_of_any_dtype(kind, backend):
    output, target = np.array([[0, 1, 1]]).astype(kind), np.array([[1, 1, 0]]).astype(kind)
    if kind == "int32":
        output = output * 100_000
    errors = output.astype("float64") - target
    found = measured(output, target, ["mae", "mse"])
    assert found == {"mae": np.abs(errors).mean(), "mse": pytest.approx((errors**2).mean())}
