"""Parameters: models, losses, optimizers and schedules by name, class and function; nested ones; wrong ones."""

from functools import partial

import numpy as np
import pytest

pytest.importorskip("sklearn", reason='pip install -e ".[sklearn]"')

from sklearn.base import clone

import xpconv
from xpconv import train
from xpconv.errors import ShapeError
from xpconv.sklearn import ConvClassifier, ConvRegressor

RNG = np.random.default_rng(0)
X = RNG.random((24, 6, 6))
Y = np.arange(24) % 3
ONE = {"max_epochs": 1, "random_state": 0}


def plain(input_shape, n_outputs, width=3, slope=0.1):
    channels = input_shape[0]
    return xpconv.Sequential(
        xpconv.Conv2d(channels, width, 3),
        xpconv.LeakyReLU(slope),
        xpconv.Flatten(),
        xpconv.Dense(width * 16, n_outputs),
    )


# --- models ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (xpconv.models.lenet5, r"xpconv\.models\.lenet5, .*such as lambda input_shape, n_outputs: xpconv\.models\.lenet5\(num_classes=n_outputs, in_channels=input_shape\[0\]\), or a Layer"),
        (xpconv.models.resnet20, r"xpconv\.models\.resnet20\(num_classes=n_outputs\), or"),
        ("resnet20", r"xpconv\.models\.resnet20\(num_classes=n_outputs\), or"),
        (partial(xpconv.models.lenet5, in_channels=1), r"xpconv\.models\.lenet5\(num"),
        (xpconv.Sequential, r"the class Sequential; expected .* n_outputs: xpconv\.Sequential\(…\), or"),
    ],
)  # fmt: skip
def test_what_is_no_builder(model, message):
    with pytest.raises(TypeError, match=message):
        ConvClassifier(model).fit(X, Y)


def test_a_class_of_ones_own_can_be_a_builder():
    class Own(xpconv.Sequential):
        def __init__(self, input_shape, n_outputs):
            super().__init__(xpconv.Flatten(), xpconv.Dense(36, n_outputs))

    assert ConvClassifier(Own, **ONE).fit(X, Y).n_iter_ == 1


@pytest.mark.parametrize(
    ("last", "loss", "y", "message"),
    [
        (
            xpconv.Softmax(dim=1),
            None,
            Y,
            "ends in Softmax, but SoftmaxCrossEntropyLoss expects scores, .* leave that",
        ),
        (xpconv.Sigmoid(), None, Y, "ends in Sigmoid, but SoftmaxCrossEntropyLoss"),
        (xpconv.Softmax(dim=1), "nll", Y, "ends in Softmax, but NLLLoss expects logarithms .* LogSoftmax"),
        (xpconv.Softmax(dim=1), None, np.column_stack([Y, Y % 2]), "ends in Softmax, but SoftmaxCross"),
        (xpconv.Sigmoid(), None, np.eye(3, dtype=int)[Y], "ends in Sigmoid, but BCEWithLogitsLoss"),
    ],
)
def test_a_last_layer_that_the_loss_applies_too(last, loss, y, message):
    def twice(input_shape, n_outputs):
        return xpconv.Sequential(plain(input_shape, n_outputs), xpconv.Sequential(last))

    with pytest.raises(ValueError, match=f"^ConvClassifier: the model {message}"):
        ConvClassifier(twice, loss=loss).fit(X, y)
    fine = ConvClassifier(twice, loss="multi_margin", **ONE)
    if y is Y:
        assert fine.fit(X, y).n_iter_ == 1


def test_losses_of_other_targets():
    for loss in ("cross_entropy", "nll", "mse", "bce"):
        with pytest.raises(
            TypeError, match="y has indicators of several labels, for which there are BCEWith"
        ):
            ConvClassifier(loss=loss).fit(X, np.eye(3, dtype=int)[Y])
    with pytest.raises(
        TypeError, match="loss is SoftmaxCrossEntropyLoss, which is for classes, but y has num"
    ):
        ConvRegressor(loss="cross_entropy").fit(X, Y)
    for loss in ("focal", "multilabel_soft_margin"):
        assert ConvClassifier(loss=loss, **ONE).fit(X, np.eye(3, dtype=int)[Y]).n_iter_ == 1


def test_the_rate_by_both_names():
    expected = ConvClassifier(plain, learning_rate=0.1, **ONE).fit(X, Y)
    assert ConvClassifier(plain, optimizer__lr=0.1, **ONE).fit(X, Y).loss_curve_ == expected.loss_curve_


def test_a_layer_is_trained_as_a_copy():
    layer = plain((1, 6, 6), 3).eval()
    start = layer.state_dict()
    classifier = ConvClassifier(layer, **ONE).fit(X, Y)
    for name, array in layer.state_dict().items():
        np.testing.assert_array_equal(array, start[name])
    assert classifier.model_ is not layer
    assert classifier.model is layer
    assert not layer.training
    still = ConvClassifier(layer, learning_rate=0.0, **ONE).fit(X, Y)
    np.testing.assert_array_equal(still.decision_function(X), layer(X[:, None].astype("float32")))
    layer[0].requires_grad_(False)
    frozen = ConvClassifier(layer, **ONE).fit(X, Y)
    np.testing.assert_array_equal(frozen.model_[0].weight.data, start["0.weight"])
    assert (frozen.model_[3].weight.data != start["3.weight"]).any()


def test_dtypes():
    for dtype in ("float64", np.float64, np.dtype("float64"), float):
        classifier = ConvClassifier(plain, dtype=dtype, **ONE).fit(X, Y)
        assert {str(p.dtype) for p in classifier.model_.parameters()} == {"float64"}
    single = ConvClassifier(plain, **ONE).fit(X, Y)
    np.testing.assert_allclose(
        single.decision_function(X), classifier.decision_function(X), rtol=1e-3, atol=1e-4
    )
    again = ConvClassifier(classifier.model_, **ONE).fit(X, Y)
    assert {str(p.dtype) for p in again.model_.parameters()} == {"float32"}


def test_lazy_layers():
    def lazy(input_shape, n_outputs):
        return xpconv.Sequential(
            xpconv.LazyConv2d(3, 3), xpconv.ReLU(), xpconv.Flatten(), xpconv.LazyLinear(n_outputs)
        )

    first, again = (ConvClassifier(lazy, dtype="float64", **ONE).fit(X, Y) for _ in range(2))
    np.testing.assert_array_equal(first.decision_function(X), again.decision_function(X))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (3, r"ConvClassifier: model is 3, expected a Layer, a function of \(input_shape, n_outputs\)"),
        (lambda input_shape, n_outputs: 3, "returned 3, expected a Layer"),
        (lambda shape: None, "cannot be called with 2 arguments and no parameters"),
        (xpconv.Flatten(), r"the model returns an output of shape \(2, 36\) for x of shape \(2, 1, 6, 6\), "
         r"expected \(2, 3\): 3 scores for each sample; a function model\(input_shape, n_outputs\) gets n_outputs=3"),
        (xpconv.Conv2d(1, 3, 3), r"an output of shape \(2, 3, 4, 4\)"),
        (xpconv.Conv2d(2, 3, 3), "in_channels"),
        (xpconv.MaxPool2d(2, return_indices=True), "returns several outputs"),
        (lambda input_shape, n_outputs: xpconv.Sequential(xpconv.AvgPool2d((6, 2)), xpconv.Flatten()), "the model has no parameters"),
    ],
)  # fmt: skip
def test_wrong_models(model, message):
    with pytest.raises((TypeError, ValueError), match=message):
        ConvClassifier(model).fit(X, Y)
    with pytest.raises(ValueError, match="takes no parameters, but there is model__width; give a function"):
        ConvClassifier(plain((1, 6, 6), 3), model__width=3).fit(X, Y)


def test_a_regressors_model_with_other_outputs():
    with pytest.raises(
        ShapeError, match=r"returns an output of shape \(2, 3\) .*expected \(2, 1\): 1 values for"
    ):
        ConvRegressor(plain((1, 6, 6), 3)).fit(X, Y)


# --- losses, optimizers, schedules ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "loss", ["cross_entropy", "SoftmaxCrossEntropyLoss", "multi_margin", xpconv.MultiMarginLoss, xpconv.CrossEntropyLoss(label_smoothing=0.1)]
)  # fmt: skip
def test_losses(loss):
    classifier = ConvClassifier(plain, loss=loss, **ONE).fit(X, Y)
    assert classifier.predict(X).shape == (24,)
    assert hasattr(classifier, "predict_proba") == ("argin" not in str(loss))
    pair = ConvClassifier(plain, loss=loss, **ONE).fit(X, np.column_stack([Y, Y % 2]))
    assert pair.predict(X).shape == (24, 2)
    if not hasattr(classifier, "predict_proba"):
        with pytest.raises(AttributeError, match="predict_proba"):
            classifier.predict_proba(X)


def test_log_probabilities_as_outputs():
    def logarithms(input_shape, n_outputs):
        return xpconv.Sequential(plain(input_shape, n_outputs), xpconv.LogSoftmax(dim=1))

    classifier = ConvClassifier(logarithms, loss="nll", **ONE).fit(X, Y)
    np.testing.assert_allclose(classifier.predict_log_proba(X), classifier.decision_function(X), atol=1e-6)


@pytest.mark.parametrize(
    "optimizer", ["adam", "SGD", "rmsprop", xpconv.AdamW, lambda params, lr: xpconv.SGD(params, lr=lr)]
)
def test_optimizers(optimizer):
    assert ConvClassifier(plain, optimizer=optimizer, **ONE).fit(X, Y).n_iter_ == 1


@pytest.mark.parametrize(
    ("schedule", "settings", "rates"),
    [
        (None, {}, [0.1, 0.1, 0.1, 0.1]),
        ("step_lr", {"step_size": 2}, [0.1, 0.1, 0.01, 0.01]),
        ("StepLR", {"step_size": 1, "gamma": 0.5}, [0.1, 0.05, 0.025, 0.0125]),
        ("exponential", {"gamma": 0.5}, [0.1, 0.05, 0.025, 0.0125]),
        ("CosineAnnealingLR", {}, [0.1, 0.0853553, 0.05, 0.0146447]),
        (xpconv.CosineAnnealingLR, {"T_max": 2}, [0.1, 0.05, 0.0, 0.05]),
        (lambda optimizer: xpconv.StepLR(optimizer, 1), {}, [0.1, 0.01, 0.001, 0.0001]),
        ("ReduceLROnPlateau", {"patience": 0, "threshold": 10.0}, [0.1, 0.01, 0.001, 0.0001]),
    ],
)
def test_schedules(schedule, settings, rates):
    nested = {f"schedule__{name}": value for name, value in settings.items()}
    classifier = ConvClassifier(
        plain, optimizer="sgd", schedule=schedule, learning_rate=0.1, max_epochs=4, random_state=0, **nested
    ).fit(X, Y)
    np.testing.assert_allclose(classifier.history_["lr"], rates, rtol=1e-4, atol=1e-8)


def test_one_cycle_has_the_length_of_the_training():
    seen = []

    class Look:
        def on_batch_begin(self, run):
            seen.append(run.optimizer.lr)

    settings = {"schedule": "OneCycleLR", "learning_rate": 0.1, "max_epochs": 5, "batch_size": 8}
    ConvClassifier(plain, callbacks=Look(), **settings).fit(X, Y)
    assert len(seen) == 15
    assert max(seen) == pytest.approx(0.1, rel=0.05)
    assert seen[-1] < 1e-4


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"loss": "huberr"}, "ConvClassifier: loss is 'huberr'; did you mean HuberLoss"),
        ({"loss": 3}, "loss is 3, expected the name or the class of a Loss, such as"),
        ({"loss": lambda: 3}, "returned 3, expected a loss of xpconv"),
        ({"loss": "mse"}, "loss is MSELoss, but y has classes, for which there are SoftmaxCrossEntropyLoss, NLLLoss, MultiMarginLoss$"),
        ({"loss": "FocalLoss"}, r"loss is FocalLoss, but y has classes, .*; FocalLoss is for y \(N, labels\) with"),
        ({"loss": "zzz"}, "loss is 'zzz', expected one of BCELoss, .*, TripletMarginLoss$"),
        ({"loss": xpconv.CrossEntropyLoss(), "loss__reduction": "sum"}, "loss is SoftmaxCrossEntropyLoss"),
        ({"optimizer": "adm"}, "optimizer is 'adm'; did you mean .*Adam"),
        ({"optimizer": xpconv.SGD([xpconv.Parameter(np.ones(2))], lr=1)}, r"optimizer is SGD\(…\), which has parameters"),
        ({"optimizer": lambda params, lr: None}, "returned None, expected an Optimizer"),
        ({"schedule": "cosine"}, "schedule is 'cosine'; did you mean .*CosineAnnealing"),
        ({"schedule": lambda optimizer: 1}, "returned 1, expected an LRScheduler"),
        ({"schedule": "StepLR"}, "StepLR.*step_size"),
        ({"learning_rate": 0.1, "optimizer__lr": 0.2}, "learning_rate=0.1 and optimizer__lr=0.2, two names of one"),
        ({"batch_size": 0}, "ConvClassifier: batch_size is 0, expected at least 1"),
        ({"batch_size": "auto"}, "batch_size is 'auto', expected an int"),
        ({"max_epochs": 0}, "max_epochs is 0, expected at least 1"),
        ({"learning_rate": -1}, "learning_rate is -1, expected at least 0"),
        ({"learning_rate": "constant"}, "learning_rate is 'constant', expected a number"),
        ({"dtype": "float16"}, "dtype is 'float16', expected 'float32' or 'float64'"),
        ({"dtype": None}, "dtype is None, expected 'float32' or 'float64'"),
        ({"validation_fraction": 1.0}, "validation_fraction is 1.0, expected more than 0 and less than 1"),
        ({"n_iter_no_change": 0}, "n_iter_no_change is 0, expected at least 1"),
        ({"early_stopping": "yes"}, "early_stopping is 'yes', expected True or False"),
        ({"warm_start": 3}, "warm_start is 3, expected True or False"),
        ({"callbacks": [3]}, "callbacks has 3, expected an object"),
        ({"callbacks": 3}, "ConvClassifier: callbacks is 3, expected a list of callbacks"),
        ({"random_state": "x"}, "ConvClassifier: random_state is 'x', expected an int from 0 to .*cannot be used to seed"),
        ({"random_state": -1}, "ConvClassifier: random_state is -1, expected an int from 0 to 4294967295"),
        ({"random_state": np.random.default_rng(0)}, "ConvClassifier: random_state is Generator"),
        ({"class_weight": "balance"}, "class_weight"),
        ({"backend": 3}, "ConvClassifier: backend is 3, expected a name"),
        ({"backend": "gpu"}, "ConvClassifier: backend: unknown backend 'gpu'.*is called 'cupy' here"),
        ({"verbose": "no"}, "verbose is 'no', expected True or False"),
        ({"dtype": np}, "dtype is .*, expected 'float32' or 'float64'"),
    ],
)  # fmt: skip
def test_wrong_settings(settings, message):
    classifier = ConvClassifier(**settings)  # scikit-learn wants no error here
    with pytest.raises((TypeError, ValueError), match=message):
        classifier.fit(X, Y)
    assert not hasattr(classifier, "model_")


def test_callbacks_are_those_given():
    stop = train.EarlyStopping("loss", patience=1, min_delta=100)
    classifier = ConvClassifier(plain, callbacks=[stop], max_epochs=9, random_state=0).fit(X, Y)
    assert classifier.n_iter_ == 2
    assert stop.epoch == 1
    assert clone(classifier).callbacks[0] is not stop
