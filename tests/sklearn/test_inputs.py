"""X: kinds of numbers and arrays, shapes of samples, standardisation."""

import re

import numpy as np
import pytest

pytest.importorskip("sklearn", reason='pip install -e ".[sklearn]"')


from estimators import FAST, FLAT, OWN, QUICK, X, Y, bars, outputs
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import xpconv
from xpconv.errors import ShapeError
from xpconv.sklearn import ConvClassifier, ConvRegressor, ConvTransformer


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


def test_two_numbers_are_an_image():
    """Whether X is a table or `(N, H, W)`; three are its channels too; one is a table."""
    pairs = X.reshape(60, 2, 32)
    for settings, x, shape in (
        ({"input_shape": (2, 32)}, pairs, (1, 2, 32)),
        ({"input_shape": (2, 32)}, FLAT, (1, 2, 32)),
        ({"input_shape": (8, 8)}, X, (1, 8, 8)),
        ({"input_shape": [1, 64]}, FLAT, (1, 1, 64)),
        ({"input_shape": (2, 4, 8)}, X.reshape(60, 2, 4, 8), (2, 4, 8)),
        ({"input_shape": (64,)}, FLAT, (64,)),
        ({"input_shape": 64}, FLAT, (64,)),
        ({}, pairs, (1, 2, 32)),
    ):
        plain = xpconv.Sequential(xpconv.Flatten(), xpconv.Dense(64, 4, rng=0))
        assert ConvClassifier(plain, max_epochs=1, **settings).fit(x, Y).input_shape_ == shape
    without = ConvClassifier(**QUICK).fit(X, Y)
    np.testing.assert_array_equal(
        outputs(ConvClassifier(**QUICK, input_shape=(8, 8)).fit(X, Y)), outputs(without)
    )


def test_signals():
    """They reach a model as `(N, C, L)` if input_shape says so; the rows of a table have one channel."""
    for x, shape in ((X.reshape(60, 2, 32), (2, 32)), (FLAT[:, :32], (1, 32)), (FLAT[:, None], (1, 64))):
        for settings in (QUICK, {**OWN, "max_epochs": 1, "model": along}):
            classifier = ConvClassifier(**settings, input_shape="signals").fit(x, Y)
            assert classifier.input_shape_ == shape
            table = x.reshape(60, -1)
            np.testing.assert_array_equal(outputs(classifier, x[:9]), outputs(classifier, table[:9]))
            one = np.concatenate([outputs(classifier, x[i : i + 1]) for i in range(3)])
            np.testing.assert_allclose(one, outputs(classifier, x[:9])[:3], rtol=1e-5, atol=1e-6)
    with pytest.raises(
        ShapeError, match=r"'signals', but X has samples of shape \(1, 2, 32\), expected \(C, L\)"
    ):
        ConvClassifier(input_shape="signals").fit(X.reshape(60, 1, 2, 32), Y)
    with pytest.raises(ValueError, match=r"input_shape is 'signal', expected .* or 'signals'"):
        ConvClassifier(input_shape="signal").fit(FLAT, Y)


@pytest.mark.parametrize("x", [X.reshape(60, 2, 32), FLAT, X[:, None]])
@pytest.mark.parametrize("settings", [{}, {"input_shape": (2, 32)}])
def test_a_model_of_signals_without_their_shape(x, settings):
    if x.ndim > 3 and settings:
        x = FLAT
    with pytest.raises(
        ShapeError, match=r"^ConvClassifier: model: Conv1d.* if X holds signals .*give input_shape='signals'$"
    ):
        ConvClassifier(along, **settings).fit(x, Y)


def test_the_default_model_of_signals_learns():
    waves = np.random.default_rng(0).normal(size=(60, 2, 12))
    waves[:, 1] += np.where(Y % 2, 1, -1)[:, None] * np.sin(np.arange(12))
    settings = {**FAST, "input_shape": "signals"}
    classifier = ConvClassifier(**settings).fit(waves, Y % 2, sample_weight=1.0 + Y)
    assert isinstance(classifier.model_.network[0], xpconv.Conv1d)
    assert classifier.score(waves, Y % 2) > 0.9
    for length in (1, 2, 9):
        short = ConvClassifier(**{**settings, "max_epochs": 1}).fit(waves[:, :, :length], Y)
        assert short.n_iter_ == 1


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


# --- kinds of tables --------------------------------------------------------------------------------------

WIDTHS = ["bool", *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)), "float16", "float32",
          "float64", ">f4", ">i2"]  # fmt: skip


@pytest.mark.sample(4)
@pytest.mark.parametrize("dtype", WIDTHS)
@pytest.mark.parametrize("kind", [ConvClassifier, ConvRegressor, ConvTransformer])
def test_numbers_of_all_widths(dtype, kind):
    """The model is that of the same numbers in float64."""
    rounded = (FLAT > 1.5) if dtype == "bool" else np.floor(20 * FLAT)
    settings = {"random_state": 0} if kind is ConvTransformer else QUICK_TABLE
    method = "transform" if kind is ConvTransformer else "predict"
    expected = kind(**settings).fit(rounded.astype("float64"), Y)
    given = rounded.astype(dtype)
    given.flags.writeable = False
    found = kind(**settings).fit(given, Y)
    np.testing.assert_array_equal(getattr(found, method)(given), getattr(expected, method)(rounded))


QUICK_TABLE = {"max_epochs": 1, "random_state": 0}


@pytest.mark.parametrize("kind", [ConvClassifier, ConvRegressor, ConvTransformer])
@pytest.mark.parametrize("form", ["csr_matrix", "coo_array", "lil_matrix"])
def test_sparse_x_is_refused_by_scikit_learn(kind, form):
    sparse = pytest.importorskip("scipy.sparse")
    fitted = kind().set_params(**({} if kind is ConvTransformer else QUICK_TABLE)).fit(FLAT, Y)
    for call in (lambda x: kind().fit(x, Y), fitted.transform if kind is ConvTransformer else fitted.predict):
        with pytest.raises(TypeError, match="Sparse data was passed"):
            call(getattr(sparse, form)(FLAT))


@pytest.mark.parametrize("library", ["pandas", "polars"])
@pytest.mark.parametrize("kind", [ConvClassifier, ConvRegressor, ConvTransformer])
def test_data_frames(library, kind):
    """Of columns of several types; what it predicts is that of the array, and the columns are compared."""
    frames = pytest.importorskip(library)
    table = np.floor(20 * FLAT[:, :6])
    columns = {f"p{i}": table[:, i].astype(t) for i, t in enumerate(WIDTHS[1:7])}
    columns["flag"] = table[:, 0] > 10
    columns["half"] = FLAT[:, 0].astype("float32")
    frame, array = frames.DataFrame(columns), np.column_stack([c.astype("float64") for c in columns.values()])
    settings = {"random_state": 0} if kind is ConvTransformer else QUICK_TABLE
    method = "transform" if kind is ConvTransformer else "predict"
    found, expected = kind(**settings).fit(frame, frames.Series(Y)), kind(**settings).fit(array, Y)
    np.testing.assert_array_equal(getattr(found, method)(frame), getattr(expected, method)(array))
    scaler = StandardScaler().fit(frame)  # which has names if scikit-learn finds those of the library
    assert list(getattr(found, "feature_names_in_", [])) == list(getattr(scaler, "feature_names_in_", []))
    if not hasattr(found, "feature_names_in_"):
        return
    with pytest.raises(ValueError, match=r"feature names should match"):
        getattr(found, method)(frame[list(columns)[::-1]])


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_set_output(library):
    frames = pytest.importorskip(library)
    transformer = ConvTransformer(random_state=0).set_output(transform=library)
    frame = transformer.fit_transform(FLAT, Y)
    assert isinstance(frame, frames.DataFrame)
    assert list(frame.columns) == list(transformer.get_feature_names_out())
    pipeline = make_pipeline(StandardScaler(), PCA(5), ConvClassifier(**QUICK_TABLE))
    last = pipeline.set_output(transform=library).fit(FLAT, Y)[-1]
    assert last.n_features_in_ == 5
    if library == "pandas":  # scikit-learn finds no names in frames of recent versions of polars
        assert list(last.feature_names_in_) == [f"pca{i}" for i in range(5)]
    assert pipeline.predict(FLAT).shape == (60,)


def test_tensors_of_pytorch():
    torch = pytest.importorskip("torch")
    expected = ConvClassifier(**QUICK).fit(X, Y)
    for x in (torch.tensor(X), torch.tensor(FLAT).reshape(60, 1, 8, 8)):
        classifier = ConvClassifier(**QUICK).fit(x, torch.tensor(Y))
        np.testing.assert_array_equal(outputs(classifier, x[:9]), outputs(expected))


@pytest.mark.sample(5)
@pytest.mark.parametrize("estimator", [ConvClassifier, ConvRegressor])
@pytest.mark.parametrize(("shape", "warns"), [((2, 32), True), ((32, 2), True), ((12, 48), True), ((1, 4), True),
                                              ((12, 47), False), ((9, 9), False), ((1, 1), False)])  # fmt: skip
def test_signals_that_are_taken_for_images(estimator, shape, warns, recwarn):
    """Three axes hold images, of which no array says that they are signals."""
    x, y = np.random.default_rng(0).normal(size=(12, *shape)), np.arange(12) % 2
    fitted = estimator(max_epochs=1, random_state=0).fit(x, y)
    assert fitted.input_shape_ == (1, *shape)
    text = (
        f"{estimator.__name__}: X has samples of shape {re.escape(str(shape))}, .* give input_shape='signals'"
    )
    assert [bool(re.match(text, str(w.message))) for w in recwarn] == [True] * warns
    recwarn.clear()
    fitted.predict(x)
    fitted.partial_fit(x, y)
    estimator(max_epochs=1, random_state=0, input_shape=shape).fit(x, y)
    assert estimator(max_epochs=1, input_shape="signals").fit(x, y).input_shape_ == shape
    estimator(lambda shape, n: xpconv.Sequential(xpconv.Flatten(), xpconv.LazyLinear(n)), max_epochs=1).fit(
        x, y
    )
    estimator(max_epochs=1).fit(x.reshape(12, -1), y)
    assert not recwarn.list


@pytest.mark.parametrize("shape", [(12, 2, 32), (12, 32), (12, 2, 32, 1)])
def test_a_network_for_signals_names_the_remedy(shape):
    def network(input_shape, n_outputs):
        return xpconv.Sequential(xpconv.Conv1d(2, 4, 3), xpconv.Flatten(), xpconv.LazyLinear(n_outputs))

    with pytest.raises(ShapeError, match=r"if X holds signals .*, give input_shape='signals'"):
        ConvClassifier(network, max_epochs=1).fit(np.zeros(shape), np.arange(12) % 2)


# --- dates ------------------------------------------------------------------------------------------------

DAYS = np.arange(120).reshape(60, 2).astype("M8[D]")
SPANS = DAYS - DAYS[0, 0]


def frame_of(library, **columns):
    frames = pytest.importorskip(library)
    return frames.DataFrame({"a": FLAT[:, 0], **columns})


DATES = {
    "dates": lambda: DAYS,
    "durations": lambda: SPANS,
    "images": lambda: np.arange(240).reshape(60, 2, 2).astype("M8[s]"),
    "objects": lambda: DAYS.astype("M8[s]").astype(object),
    "objects of numpy": lambda: np.array([[1.0, d] for d in DAYS[:, 0]], dtype=object),
    "durations of numpy": lambda: np.array([[1.0, d] for d in SPANS[:, 0]], dtype=object),
    "list": lambda: [list(row) for row in DAYS],
    "tuple of durations": lambda: tuple(map(tuple, SPANS)),
    "list of both": lambda: [[1.0, d] for d in DAYS[:, 0]],
    "list of images": lambda: [[list(row)] * 2 for row in DAYS],
    "list of dates of Python": lambda: DAYS.tolist(),
    "frame": lambda: pytest.importorskip("pandas").DataFrame(DAYS),
    "frame of both": lambda: frame_of("pandas", b=DAYS[:, 0]),
    "frame of durations": lambda: frame_of("pandas", b=SPANS[:, 0]),
    "frame with a zone": lambda: frame_of("pandas", b=pytest.importorskip("pandas").to_datetime(DAYS[:, 0], utc=True)),
    "frame of objects": lambda: frame_of("pandas", b=list(DAYS[:, 0])).astype({"b": object}),
    "frame of categories": lambda: frame_of("pandas", b=DAYS[:, 0]).astype({"b": "category"}),
    "polars": lambda: frame_of("polars", b=DAYS[:, 0]),
    "polars of durations": lambda: frame_of("polars", b=SPANS[:, 0].astype("m8[ms]")),
}  # fmt: skip


@pytest.mark.parametrize("kind", [ConvClassifier, ConvRegressor, ConvTransformer])
@pytest.mark.parametrize("form", DATES)
def test_dates_are_refused(form, kind):
    """They would be trained on as numbers of days or nanoseconds; at predictions, too."""
    x = DATES[form]()
    message = f"{kind.__name__}: X (is|has a column|has values) of (d?type) .*, expected numbers$"
    with pytest.raises(ValueError, match=message):
        kind().fit(x, Y)
    settings, method = ({}, "transform") if kind is ConvTransformer else (QUICK_TABLE, "predict")
    fitted = kind(**settings).fit(FLAT[:, :2], Y)
    with pytest.raises(ValueError, match=message):
        getattr(fitted, method)(x)


def test_objects_and_lists_of_numbers_are_not_taken_for_dates():
    pandas = pytest.importorskip("pandas")
    expected = outputs(ConvClassifier(**QUICK_TABLE).fit(FLAT, Y), FLAT[:9])
    for x in (FLAT.tolist(), FLAT.astype(object), pandas.DataFrame(FLAT).astype(object),
              pandas.DataFrame(FLAT).astype({0: "category"})):  # fmt: skip
        found = ConvClassifier(**QUICK_TABLE).fit(x, Y)
        np.testing.assert_array_equal(outputs(found, FLAT[:9]), expected)
