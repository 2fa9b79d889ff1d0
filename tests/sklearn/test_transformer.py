"""`ConvTransformer`: layers, training, names of the features."""

import numpy as np
import pytest

pytest.importorskip("sklearn", reason='pip install -e ".[sklearn]"')

from sklearn.linear_model import RidgeClassifier
from sklearn.pipeline import make_pipeline

import xpconv
from xpconv.sklearn import ConvClassifier, ConvTransformer

RNG = np.random.default_rng(0)
X = RNG.random((40, 8, 8))
Y = (X[:, :4].mean(axis=(1, 2)) > X[:, 4:].mean(axis=(1, 2))).astype(int)


def network():
    return xpconv.Sequential(
        {
            "conv": xpconv.Conv2d(1, 3, 3, padding=1, rng=0),
            "norm": xpconv.BatchNorm2d(3),
            "pool": xpconv.MaxPool2d(4),
            "flat": xpconv.Flatten(),
            "drop": xpconv.Dropout(0.5),
            "fc": xpconv.Dense(12, 2, rng=1),
        }
    )


def test_features_of_a_named_layer(backend):
    model = network().to(backend)
    state = {name: xpconv.asnumpy(array) for name, array in model.state_dict().items()}
    for layer, size in (("conv", 192), ("pool", 12), ("fc", 2)):
        transformer = ConvTransformer(model, layer, backend=backend).fit(X)
        found = transformer.transform(X)
        expected = xpconv.inspection.feature_maps(model, xpconv.asarray(X[:, None], "float32"), layer)
        assert found.shape == (40, size)
        assert isinstance(found, np.ndarray)
        np.testing.assert_allclose(found, xpconv.asnumpy(expected).reshape(40, -1), rtol=1e-6, atol=1e-6)
    for name, array in model.state_dict().items():  # nothing was trained
        np.testing.assert_array_equal(xpconv.asnumpy(array), state[name])
    assert model.training


def test_the_layer_before_the_last_one():
    assert ConvTransformer(network()).fit(X).layer_ == "drop"
    frozen = network().requires_grad_(False)
    assert ConvTransformer(frozen).fit(X).layer_ == "drop"
    frozen["norm"].requires_grad_(True)
    assert ConvTransformer(frozen).fit(X).layer_ == "conv"
    assert ConvTransformer(xpconv.models.resnet20(num_classes=5), dtype="float64").fit(
        RNG.random((2, 3, 32, 32))
    ).transform(RNG.random((5, 3, 32, 32))).shape == (5, 64)
    with pytest.raises(
        ValueError, match="no layer of the model comes before one that learns; name one by layer="
    ):
        ConvTransformer(xpconv.Sequential(xpconv.Dense(64, 2))).fit(X.reshape(40, -1))


def test_training_an_estimator():
    classifier = ConvClassifier(max_epochs=3, random_state=0, model__width=8)
    transformer = ConvTransformer(classifier).fit(X, Y)
    assert not hasattr(classifier, "model_")
    fitted = classifier.fit(X, Y)
    features = transformer.transform(X)
    last = fitted.model_.network[-1]
    np.testing.assert_allclose(
        features @ last.weight.data.T + last.bias.data,
        fitted.model_(X[:, None].astype("float32")),
        rtol=1e-4,
        atol=1e-5,
    )
    weighted = ConvTransformer(classifier).fit(X, Y, sample_weight=np.arange(1, 41))
    assert (weighted.transform(X) != features).any()
    assert ConvTransformer(classifier, "network.0").fit(X, Y).transform(X).shape == (40, 512)
    with pytest.raises(ValueError, match="requires y to be passed"):
        transformer.fit(X)
    transformer.set_params(model__max_epochs=1, model__model__width=4)
    assert (classifier.max_epochs, classifier.model__width) == (1, 4)
    assert transformer.get_params()["model__model__width"] == 4
    assert transformer.fit(X, Y).transform(X).shape[1] < features.shape[1]


def test_random_features():
    table = X.reshape(40, -1)
    first, again = (ConvTransformer(random_state=3).fit_transform(table) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert first.shape == (40, 128)
    assert (ConvTransformer(random_state=4).fit_transform(table) != first).any()
    wide = ConvTransformer(input_shape=(8, 8), random_state=3, model__width=16)
    assert wide.fit_transform(table).shape[1] == wide._n_features_out == len(wide.get_feature_names_out())


def test_names_and_frames():
    pandas = pytest.importorskip("pandas")
    transformer = ConvTransformer(network(), "pool").fit(X)
    assert list(transformer.get_feature_names_out()[:2]) == ["convtransformer0", "convtransformer1"]
    frame = transformer.set_output(transform="pandas").transform(X)
    assert isinstance(frame, pandas.DataFrame)
    assert list(frame.columns) == list(transformer.get_feature_names_out())


def test_in_a_pipeline():
    pipeline = make_pipeline(ConvTransformer(network(), "conv"), RidgeClassifier()).fit(X, Y)
    assert pipeline.score(X, Y) > 0.7


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((network(), "pol"), "ConvTransformer: there is no layer 'pol' in the model; there are pool"),
        ((network(), 3), "layer is 3, expected the name of a layer, or None"),
        ((ConvClassifier,), r"model is the class ConvClassifier; give ConvClassifier\(…\)"),
        ((7,), "model is 7, expected a Layer, a function"),
        ((lambda input_shape, n_outputs: None,), "returned None, expected a Layer"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises((TypeError, ValueError), match=message):
        ConvTransformer(*arguments).fit(X, Y)
    with pytest.raises(ValueError, match="give width to the ConvClassifier itself"):
        ConvTransformer(ConvClassifier(), model__width=3).fit(X, Y)


@pytest.mark.slow
def test_a_refit_leaves_nothing_of_the_one_before():
    """With an estimator and without one, on images and tables, with names of features and without."""
    pandas = pytest.importorskip("pandas")
    table = X.reshape(40, -1)
    frame = pandas.DataFrame(table, columns=[f"p{i}" for i in range(64)])
    trained, plain = ConvClassifier(max_epochs=1, random_state=0), network()
    cases = [({"model": trained, "layer": None}, X), ({"model": plain, "layer": "pool"}, X), ({"model": None, "layer": None}, frame),
             ({"model": None, "layer": None}, table), ({"model": trained, "layer": None}, frame)]  # fmt: skip
    fresh = [ConvTransformer(random_state=0).set_params(**settings).fit(x, Y) for settings, x in cases]
    for first, x in cases:
        for (second, other), once in zip(cases, fresh, strict=True):
            again = ConvTransformer(random_state=0).set_params(**first).fit(x, Y)
            again.set_params(**second).fit(other, Y)
            assert vars(again).keys() == vars(once).keys()
            np.testing.assert_array_equal(again.transform(other), once.transform(other))
            assert hasattr(again, "estimator_") == (second["model"] is trained)
