"""`ConvClassifier`: kinds of X and y, weights, going on, early stopping."""

import re
import warnings

import numpy as np
import pytest

pytest.importorskip("sklearn", reason='pip install "xpconv[sklearn]"')

from sklearn.exceptions import DataConversionWarning, NotFittedError
from sklearn.utils import compute_sample_weight

import xpconv
from xpconv.errors import ShapeError
from xpconv.sklearn import ConvClassifier

FAST = {"max_epochs": 4, "learning_rate": 0.01, "random_state": 0, "batch_size": 16, "model__width": 8}
QUICK = {**FAST, "max_epochs": 1}  # where models are compared
OWN = {name: value for name, value in FAST.items() if name != "model__width"}  # for models without width


def bars(count=60, size=8, classes=4, seed=0):
    """Images with a bright row in a place that says the class."""
    rng = np.random.default_rng(seed)
    y = np.arange(count) % classes
    images = rng.random((count, size, size))
    images[np.arange(count), 2 * y + 1] += 2
    return images, y


X, Y = bars()
FLAT = X.reshape(len(X), -1)


def outputs(classifier, x=X[:9]):
    return classifier.decision_function(x)


def tiny(input_shape, n_outputs, width=4):
    """A network without dropout or BatchNorm."""
    channels, height, size = input_shape
    conv = xpconv.Conv2d(channels, width, 3, padding=1)
    return xpconv.Sequential(
        conv, xpconv.ReLU(), xpconv.Flatten(), xpconv.Dense(width * height * size, n_outputs)
    )


# --- kinds of X ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("x", "settings"),
    [
        (X, {}),
        (X[:, None], {}),
        (FLAT, {"input_shape": (8, 8)}),
        (FLAT, {"input_shape": (1, 8, 8)}),
        (FLAT, {"input_shape": [1, np.int64(8), 8]}),
        (X.tolist(), {}),
        (np.asfortranarray(X), {}),
        (np.repeat(X, 2, axis=2)[:, :, ::2], {}),
        (X.astype("float32"), {}),
    ],
)
def test_all_forms_of_an_image_give_the_same_model(x, settings):
    expected = ConvClassifier(**QUICK).fit(X, Y)
    classifier = ConvClassifier(**QUICK, **settings).fit(x, Y)
    assert classifier.input_shape_ == (1, 8, 8)
    assert classifier.n_features_in_ == 64
    np.testing.assert_array_equal(outputs(classifier), outputs(expected))
    for form in (X[:9], X[:9, None], FLAT[:9], X[:9].tolist()):
        np.testing.assert_array_equal(outputs(classifier, form), outputs(expected))


@pytest.mark.parametrize(
    "dtype", ["uint8", "int8", "uint16", "int16", "int32", "int64", "bool", "float16", object]
)
def test_kinds_of_numbers(dtype):
    """Integers are left as they are until their batch; the model is that of the same numbers in float64."""
    rounded = (X > 1.5) if dtype == "bool" else np.floor(20 * X)
    expected = ConvClassifier(**QUICK).fit(rounded.astype("float64"), Y)
    given = rounded.astype(dtype)
    given.flags.writeable = False
    classifier = ConvClassifier(**QUICK).fit(given, Y)
    np.testing.assert_array_equal(outputs(classifier, given[:9]), outputs(expected, rounded[:9]))


def test_the_scale_of_the_inputs_does_not_matter():
    """The default model standardises them; a power of two changes no digit."""
    expected = ConvClassifier(**QUICK).fit(X, Y)
    for factor in (2.0**-80, 2.0**20, 2.0**80):
        scaled = ConvClassifier(**QUICK).fit(factor * X, Y)
        np.testing.assert_allclose(outputs(scaled, factor * X[:9]), outputs(expected), rtol=1e-4, atol=1e-5)


def test_a_constant_feature_is_harmless():
    table = np.column_stack([FLAT[:, :20], np.full(len(FLAT), 1e6), np.zeros(len(FLAT))])
    classifier = ConvClassifier(**QUICK).fit(table, Y)
    assert np.isfinite(outputs(classifier, table[:9])).all()


def test_color_images_and_volumes():
    images = np.stack([X, X**2, 1 - X], axis=1)
    assert ConvClassifier(**FAST).fit(images, Y).input_shape_ == (3, 8, 8)
    volumes = np.stack([X, X], axis=1)[:, None]

    def pooled(input_shape, n_outputs):
        assert (input_shape, n_outputs) == ((1, 2, 8, 8), 4)
        return xpconv.Sequential(xpconv.MaxPool3d((2, 1, 8)), xpconv.Flatten(), xpconv.Dense(8, n_outputs))

    assert ConvClassifier(pooled, **{**OWN, "max_epochs": 30}).fit(volumes, Y).score(volumes, Y) > 0.9
    with pytest.raises(ShapeError, match=r"^ConvClassifier: model=None has .*\(1, 2, 8, 8\); give a model"):
        ConvClassifier().fit(volumes, Y)


def along(input_shape, n_outputs):
    return xpconv.Sequential(
        xpconv.Conv1d(input_shape[0], 4, 3), xpconv.AdaptiveAvgPool1d(1), xpconv.Flatten(), xpconv.Dense(4, n_outputs)
    )  # fmt: skip


def test_signals():
    """They reach a model as `(N, C, L)` if input_shape says so; without it X is gray images."""
    signals, rows = X.reshape(60, 2, 32), FLAT[:, :32]
    for settings, x, shape in (
        ({"input_shape": (2, 32)}, signals, (2, 32)),
        ({"input_shape": [1, 32]}, rows, (1, 32)),
        ({"input_shape": (1, 32)}, rows[:, None], (1, 32)),
        ({"input_shape": (2, 16)}, rows, (1, 2, 16)),
        ({"input_shape": (2, 16, 2)}, signals.reshape(60, 2, 16, 2), (2, 16, 2)),
        ({"input_shape": (64,)}, FLAT, (64,)),
        ({}, signals, (1, 2, 32)),
    ):
        classifier = ConvClassifier(**QUICK, **settings).fit(x, Y)
        assert classifier.input_shape_ == shape
        own = (
            along if len(shape) == 2 else xpconv.Sequential(xpconv.Flatten(), xpconv.Dense(np.prod(shape), 4))
        )
        classifier = ConvClassifier(own, **{**OWN, "max_epochs": 1}, **settings).fit(x, Y)
        table = x.reshape(60, -1)
        np.testing.assert_array_equal(outputs(classifier, x[:9]), outputs(classifier, table[:9]))
        one = np.concatenate([outputs(classifier, x[i : i + 1]) for i in range(3)])
        np.testing.assert_allclose(one, outputs(classifier, x[:9])[:3], rtol=1e-5, atol=1e-6)
    with pytest.raises(ShapeError, match=r"X has samples of shape \(1, 2, 32\), expected \(2, 32\)"):
        ConvClassifier(**QUICK, input_shape=(2, 32)).fit(signals[:, None], Y)


@pytest.mark.parametrize(("x", "shape"), [(X.reshape(60, 2, 32), "2, 32"), (FLAT, "1, 64")])
def test_a_model_of_signals_without_their_shape(x, shape):
    with pytest.raises(ShapeError, match=rf"^ConvClassifier: model: Conv1d.* give input_shape=\({shape}\)$"):
        ConvClassifier(along).fit(x, Y)


def test_the_default_model_of_signals_learns():
    waves = np.random.default_rng(0).normal(size=(60, 2, 12))
    waves[:, 1] += np.where(Y % 2, 1, -1)[:, None] * np.sin(np.arange(12))
    classifier = ConvClassifier(**FAST, input_shape=(2, 12)).fit(waves, Y % 2, sample_weight=1.0 + Y)
    assert isinstance(classifier.model_.network[0], xpconv.Conv1d)
    assert classifier.score(waves, Y % 2) > 0.9
    for length in (1, 2, 9):
        assert ConvClassifier(**QUICK, input_shape=(2, length)).fit(waves[:, :, :length], Y).n_iter_ == 1


def test_new_images_are_told_apart():
    assert ConvClassifier(**FAST).fit(X, Y).score(*bars(seed=1)) == 1.0


def test_arrays_of_a_device(backend):
    x = xpconv.asarray(X)
    classifier = ConvClassifier(backend=backend, **QUICK).fit(x, Y)
    assert isinstance(classifier.predict(x), np.ndarray)
    np.testing.assert_array_equal(classifier.predict(x), classifier.predict(X))


def test_names_of_features():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(FLAT, columns=[f"p{i}" for i in range(64)])
    classifier = ConvClassifier(input_shape=(8, 8), **QUICK).fit(frame, pandas.Series(Y).map(str))
    assert list(classifier.feature_names_in_) == list(frame.columns)
    assert set(classifier.predict(frame)) <= set("0123")
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        classifier.predict(FLAT)


# --- kinds of y -----------------------------------------------------------------------------------------


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


# --- weights --------------------------------------------------------------------------------------------


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


# --- going on -------------------------------------------------------------------------------------------


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


# --- bad input ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "x", "message"),
    [
        ({}, X[..., None], r"X has shape \(N, 8, 8, 1\), .* channels last.*X\.transpose\(0, 3, 1, 2\)"),
        ({"input_shape": (8, 9)}, FLAT, r"input_shape is \(8, 9\), which has 72 values, but a sample of X has 64"),
        ({"input_shape": (4, 16)}, X, r"X has samples of shape \(8, 8\), expected \(4, 16\)"),
        ({"input_shape": (8, 8, 1)}, FLAT, r"input_shape is \(8, 8, 1\), .*channels last, .*give input_shape=\(1, 8, 8\); if"),
        ({"input_shape": (8, 8, 1)}, X, "looks like the shape of an image with its channels last"),
        ({"input_shape": (6, 4, 3)}, np.zeros((60, 72)), r"\(3, 6, 4\) and X\.reshape\(-1, 6, 4, 3\)\.transpose\(0, 3, 1, 2\)"),
        ({"input_shape": (1, 8, 8)}, X[..., None], r"expected \(1, 8, 8\); channels come first: .*transpose"),
        ({"input_shape": ()}, FLAT, r"input_shape is \(\), expected \(H, W\), \(C, H, W\) or \(C, L\)"),
        ({"input_shape": (8, 8.0)}, FLAT, r"ConvClassifier: input_shape is 8\.0, expected an int"),
        ({"input_shape": (0, 8)}, FLAT, "expected at least 1"),
        ({}, np.where(X > 2.9, np.nan, X), "Input X contains NaN"),
        ({}, np.where(X > 2.9, np.inf, X), "Input X contains infinity"),
        ({}, X * 1e300, "Input X contains infinity or a value too large for dtype"),
        ({}, X[:50], "inconsistent numbers of samples"),
        ({}, X[0], "inconsistent numbers of samples"),
        ({}, X[0, 0], "Expected 2D array, got 1D array"),
        ({}, np.zeros((0, 8, 8)), "0 sample"),
        ({}, np.zeros((60, 0)), "0 feature"),
        ({}, np.full((60, 3), "a"), "could not convert|dtype"),
        ({}, X * 1j, "Complex data not supported"),
        ({}, [[1.0, 2.0], [3.0]], "inhomogeneous|sequence"),
    ],
)  # fmt: skip
def test_wrong_x(settings, x, message):
    with pytest.raises((ValueError, TypeError), match=message):
        ConvClassifier(**settings).fit(x, Y)


def test_sparse_x_is_refused_by_scikit_learn():
    sparse = pytest.importorskip("scipy.sparse")
    with pytest.raises(TypeError, match="Sparse data was passed"):
        ConvClassifier().fit(sparse.csr_matrix(FLAT), Y)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (None, "requires y to be passed, but the target y is None"),
        (Y + 0.5, "Unknown label type: continuous"),
        (np.where(Y == 1, np.nan, Y), "Input y contains NaN"),
        (np.zeros((60, 2, 2)), "dim|y should be|Found array"),
    ],
)
def test_wrong_y(y, message):
    with pytest.raises(ValueError, match=message):
        ConvClassifier().fit(X, y)


def test_wrong_shapes_later():
    classifier = ConvClassifier(**QUICK).fit(X, Y)
    with pytest.raises(ValueError, match="X has 49 features, but ConvClassifier is expecting 64 features"):
        classifier.predict(X[:, :7, :7])
    with pytest.raises(
        ShapeError, match=r"X has samples of shape \(8, 8, 1\), expected \(1, 8, 8\); channels"
    ):
        classifier.predict(X[..., None])
    with pytest.raises(ShapeError, match=r"X has samples of shape \(4, 16\), expected \(1, 8, 8\)$"):
        classifier.predict(X.reshape(-1, 4, 16))
    with pytest.raises(ValueError, match="0 sample"):
        classifier.predict(X[:0])
    assert classifier.predict(X[:1]).shape == (1,)


def test_channels_last_can_be_meant():
    images = np.repeat(X[:, :, :3].transpose(0, 1, 2)[:, :, None, :], 2, axis=2)[..., :3]
    assert images.shape == (60, 8, 2, 3)
    assert ConvClassifier(input_shape=(8, 2, 3), **QUICK).fit(images, Y).input_shape_ == (8, 2, 3)


def test_no_batch_of_one_sample():
    """BatchNorm cannot learn from it; then all batches are a little larger."""

    def normed(input_shape, n_outputs):
        return xpconv.Sequential(xpconv.Flatten(), xpconv.BatchNorm1d(64), xpconv.Dense(64, n_outputs))

    for count, size in ((33, 32), (65, 32), (10, 3), (5, 2)):
        ConvClassifier(normed, batch_size=size, max_epochs=1).fit(X[:count], Y[:count])
    with pytest.raises(ShapeError, match="one value per channel has no variance; use a larger batch"):
        ConvClassifier(normed, batch_size=1, max_epochs=1).fit(X, Y)


def test_interrupted(monkeypatch):
    import signal

    class Press:
        def on_batch_end(self, run):
            if run.steps == 5:
                signal.raise_signal(signal.SIGINT)

    with pytest.warns(UserWarning, match="Ctrl-C ended the training"):
        classifier = ConvClassifier(callbacks=[Press()], max_epochs=50, random_state=0).fit(X, Y)
    assert classifier.n_iter_ == 2
    assert classifier.predict(X).shape == (60,)


def test_verbose_prints_the_epochs(capsys):
    with warnings.catch_warnings():
        ConvClassifier(verbose=1, max_epochs=2, random_state=0).fit(X, Y)
    assert len(re.findall(r"^ *[12] ", capsys.readouterr().out, re.MULTILINE)) == 2
