"""What users of scikit-learn and PyTorch try first: errors say what to give instead."""

import numpy as np
import pytest

pytest.importorskip("sklearn", reason='pip install -e ".[sklearn]"')

import sys
import types

from estimators import FLAT, QUICK, X, Y

import xpconv
from xpconv.errors import ShapeError
from xpconv.sklearn import ConvClassifier, ConvRegressor, ConvTransformer


def unpacks(input_shape, n_outputs):
    channels, height, width = input_shape
    return xpconv.Sequential(xpconv.Flatten(), xpconv.Dense(channels * height * width, n_outputs))


def indexes(input_shape, n_outputs):
    return xpconv.Sequential(xpconv.Flatten(), xpconv.Dense(input_shape[1], n_outputs))


def convolves(input_shape, n_outputs):
    return xpconv.Sequential(xpconv.Conv2d(1, 2, 3), xpconv.Flatten(), xpconv.LazyLinear(n_outputs))


@pytest.mark.parametrize("model", [unpacks, indexes, convolves])
@pytest.mark.parametrize(
    ("x", "advice"), [(FLAT, r"\(64,\); for images give input_shape=\(8, 8\)"), (FLAT[:, :60], r"\(60,\); .*=\(H, W\)")]
)  # fmt: skip
def test_a_network_for_images_on_a_table(model, x, advice):
    with pytest.raises(
        ShapeError, match=f"^ConvClassifier: model: .*X is a table, so input_shape is {advice}$"
    ) as info:
        ConvClassifier(model).fit(x, Y)
    assert isinstance(info.value.__cause__, ValueError | IndexError)


def test_an_error_of_a_network_on_images_stays_as_it_is():
    def broken(input_shape, n_outputs):
        raise IndexError("mine")

    with pytest.raises(IndexError, match=r"^mine$"):
        ConvClassifier(broken).fit(X, Y)
    ConvClassifier(unpacks, input_shape=(8, 8), max_epochs=1).fit(FLAT, Y)


@pytest.fixture
def linear(monkeypatch):
    """A class that looks like one of PyTorch, which need not be installed."""
    module = type("Module", (), {"__module__": "torch.nn.modules.module", "__call__": lambda self, x: x})
    monkeypatch.setitem(sys.modules, "torch", types.ModuleType("torch"))
    return type("Linear", (module,), {})


@pytest.mark.parametrize("kind", [ConvClassifier, ConvRegressor, ConvTransformer])
def test_modules_of_pytorch(kind, linear):
    for model in (linear(), linear, lambda input_shape, n_outputs: linear()):
        with pytest.raises(
            TypeError, match=r"Linear, a PyTorch module; convert it: .*load_state_dict.*onnx\.load"
        ):
            kind(model).fit(FLAT, Y)


def test_a_module_of_pytorch_itself():
    torch = pytest.importorskip("torch")
    with pytest.raises(TypeError, match=r"^ConvClassifier: model is Linear, a PyTorch module; convert it"):
        ConvClassifier(torch.nn.Linear(64, 2)).fit(FLAT, Y)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("max_iter", "max_epochs"),
        ("epochs", "max_epochs"),
        ("solver", "optimizer"),
        ("learning_rate_init", "learning_rate"),
        ("hidden_layer_sizes", "model__width"),
        ("width", "model__width"),
        ("batchsize", "batch_size"),
        ("weight_decay", "optimizer__weight_decay"),
    ],
)
def test_other_names_of_parameters(name, meant):
    classifier = ConvClassifier(max_epochs=3)
    with pytest.raises(ValueError, match=rf"^Invalid parameter '{name}' .*; did you mean {meant}\?$"):
        classifier.set_params(max_epochs=9, **{name: 5})
    assert classifier.max_epochs == 3
    with pytest.raises(TypeError, match=rf"unexpected keyword argument '{name}'; did you mean {meant}\?$"):
        ConvClassifier(**{name: 5})


def test_names_that_are_like_no_parameter():
    for estimator, name in ((ConvClassifier(), "zebra"), (ConvTransformer(), "max_iter")):
        with pytest.raises(ValueError, match=f"^Invalid parameter '{name}' .*Valid parameters"):
            estimator.set_params(**{name: 5})
        with pytest.raises(TypeError, match=f"unexpected keyword argument '{name}'$"):
            type(estimator)(**{name: 5})


def test_one_sample():
    colours = np.stack([X, 2 * X, X], 1)
    for x in (X, colours):
        classifier = ConvClassifier(**QUICK).fit(x, Y)
        for call in (classifier.predict, classifier.predict_proba, ConvTransformer().fit(x).transform):
            with pytest.raises(ShapeError, match=r"X has shape \(.*\), that of one sample; give X\[None\]"):
                call(x[0])
        assert classifier.predict(x[0][None]).shape == (1,)
        assert (classifier.predict(x.reshape(len(x), -1)) == classifier.predict(x)).all()
    assert ConvClassifier(**QUICK).fit(X, Y).predict(X[0][None]).shape == (1,)


def test_one_signal():
    classifier = ConvClassifier(input_shape="signals", **QUICK).fit(X, Y)
    with pytest.raises(ShapeError, match=r"X has shape \(8, 8\), that of one sample"):
        classifier.predict(X[0])
    classifier = ConvClassifier(input_shape="signals", **QUICK).fit(FLAT, Y)
    assert classifier.predict(FLAT[:1]).shape == (1,)  # also the shape of the model's input


def test_an_adaptive_rate():
    with pytest.raises(TypeError, match=r'such as schedule="ReduceLROnPlateau"$'):
        ConvClassifier(learning_rate="adaptive").fit(X, Y)
    ConvClassifier(schedule="ReduceLROnPlateau", **QUICK).fit(X, Y)


def test_callbacks_name_the_estimator():
    for callbacks in (1, [1], "early"):
        with pytest.raises(TypeError, match=r"^ConvClassifier: callbacks (has|is) .*expected"):
            ConvClassifier(callbacks=callbacks, **QUICK).fit(X, Y)


def test_numbers_as_text_are_converted():
    """As by `MLPClassifier.fit`."""
    numbers = ConvClassifier(**QUICK).fit(FLAT, Y)
    texts = ConvClassifier(**QUICK).fit(FLAT.astype(str), Y)
    assert np.allclose(texts.predict_proba(FLAT), numbers.predict_proba(FLAT), atol=1e-5)


def test_the_epochs_as_a_data_frame():
    pandas = pytest.importorskip("pandas")
    history = ConvClassifier(**QUICK).fit(X, Y).history_
    frame = pandas.DataFrame(history.to_dict())
    assert list(frame.columns) == history.columns and len(frame) == len(history)
