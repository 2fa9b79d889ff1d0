"""Wrong X and y, shapes that do not fit later, batches of one sample, interruption."""

import numpy as np
import pytest

pytest.importorskip("sklearn", reason='pip install -e ".[sklearn]"')

import re
import warnings

from estimators import FLAT, QUICK, X, Y

import xpconv
from xpconv.errors import ShapeError
from xpconv.sklearn import ConvClassifier


@pytest.mark.parametrize(
    ("settings", "x", "message"),
    [
        ({}, X[..., None], r"X has shape \(N, 8, 8, 1\), .* channels last.*X\.transpose\(0, 3, 1, 2\)"),
        ({"input_shape": (8, 9)}, FLAT, r"input_shape is \(8, 9\), which has 72 values, but a sample of X has 64"),
        ({"input_shape": (4, 16)}, X, r"X has samples of shape \(8, 8\), expected \(1, 4, 16\)"),
        ({"input_shape": (8, 8, 1)}, FLAT, r"input_shape is \(8, 8, 1\), .*channels last, .*give input_shape=\(1, 8, 8\); if"),
        ({"input_shape": (8, 8, 1)}, X, "looks like the shape of an image with its channels last"),
        ({"input_shape": (6, 4, 3)}, np.zeros((60, 72)), r"\(3, 6, 4\) and X\.reshape\(-1, 6, 4, 3\)\.transpose\(0, 3, 1, 2\)"),
        ({"input_shape": (1, 8, 8)}, X[..., None], r"expected \(1, 8, 8\); channels come first: .*transpose"),
        ({"input_shape": ()}, FLAT, r"input_shape is \(\), expected \(H, W\) or \(C, H, W\) for images, or 'signals'$"),
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
        ({}, FLAT.astype("M8[s]"), r"ConvClassifier: X is of dtype datetime64\[s\], expected numbers"),
        ({}, [[1.0, 2.0], [3.0]], "inhomogeneous|sequence"),
    ],
)  # fmt: skip
def test_wrong_x(settings, x, message):
    with pytest.raises((ValueError, TypeError), match=message):
        ConvClassifier(**settings).fit(x, Y)


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
