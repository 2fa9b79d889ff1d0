"""The notebook that the library grew from: its numbers, to the digit."""

import importlib
from pathlib import Path

import numpy as np
import pytest

import xpconv

EXAMPLES = Path(__file__).parents[1] / "examples"


def image(rows):
    """`(1, 1, H, W)` on the active backend."""
    return xpconv.asarray(np.array([[rows]], dtype="float64"))


def rows(x):
    return xpconv.asnumpy(x)[0, 0].tolist()


def test_conv_gradients(backend):
    conv = xpconv.Conv2d(1, 1, (2, 3), bias=False, dtype="float64")
    conv.weight.data[...] = image([[0, 1, 0], [1, 0, 0]])
    y = conv(image([[1, 2, 3], [4, 5, 6], [7, 8, 9]]))
    assert rows(y) == [[2 + 4], [5 + 7]]
    dx = conv.backward(image([[10], [20]]))
    assert rows(conv.weight.grad) == [[90, 120, 150], [180, 210, 240]]
    assert rows(dx) == [[0, 10, 0], [10, 20, 0], [20, 0, 0]]


def test_max_pooling_with_overlap(backend):
    pool = xpconv.MaxPool2d(2, stride=1)
    pool(image([[1, 5, 4, 8], [9, 2, 1, 12], [6, 3, 2, 9]]))
    dx = pool.backward(image([[1, 2, 3], [4, 5, 6]]))
    assert rows(dx) == [[0, 2, 0, 0], [5, 0, 0, 9], [0, 5, 0, 0]]


@pytest.mark.parametrize(
    ("layer", "expected"),
    [(xpconv.MaxPool2d, [[9, 5], [9, 3]]), (xpconv.AvgPool2d, [[4.25, 3], [5, 2]])],
)
def test_pooling(layer, expected, backend):
    assert rows(layer(2, stride=1)(image([[1, 5, 4], [9, 2, 1], [6, 3, 2]]))) == expected


def notebooks_xor(parameters, epochs):
    """The notebook's loops for Dense and Sigmoid, with its update of the weights; the losses that it prints."""
    w1, b1, w2, b2 = (p.copy() for p in parameters)
    losses = []
    for epoch in range(epochs):
        loss = 0.0
        for x, y in zip([(0, 0), (0, 1), (1, 0), (1, 1)], [0, 1, 1, 0], strict=True):
            hidden = 1 / (1 + np.exp(-(w1 @ x + b1)))
            out = 1 / (1 + np.exp(-(w2 @ hidden + b2)))
            loss += 0.5 * (out - y) ** 2
            grad2 = (out - y) * out * (1 - out)
            grad1 = (w2.T @ grad2) * hidden * (1 - hidden)
            w2 -= 0.1 * np.outer(grad2, hidden)
            b2 -= 0.1 * grad2
            w1 -= 0.1 * np.outer(grad1, x)
            b1 -= 0.1 * grad1
        if epoch % 500 == 0:
            losses.append(float(loss[0]))
    return losses


@pytest.mark.sample(64)
def test_example_prints_the_numbers_of_the_loops(backend, monkeypatch, capsys):
    monkeypatch.syspath_prepend(EXAMPLES)
    losses = importlib.import_module("notebook").main(["--epochs", "501", "--seed", "3"])
    printed = capsys.readouterr().out
    rng = np.random.default_rng(3)
    parameters = [0.1 * rng.standard_normal(shape) for shape in [(2, 2), (2,), (1, 2), (1,)]]
    np.testing.assert_allclose(losses, notebooks_xor(parameters, 501), rtol=1e-12)
    for numbers in ("[[ 90. 120. 150.]\n [180. 210. 240.]]", "[[ 0. 10.  0.]\n [10. 20.  0.]\n [20.  0.  0.]]",
                    "[[0. 2. 0. 0.]\n [5. 0. 0. 9.]\n [0. 5. 0. 0.]]", "[[4.25 3.  ]\n [5.   2.  ]]"):  # fmt: skip
        assert numbers in printed
    logits, one_hot = np.array([[2.0, 1, 0], [0, 1, 3]]), np.array([[1, 0, 0], [0, 0, 1]])
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert f"SoftmaxCrossEntropyLoss: {-(one_hot * np.log(p + 1e-9)).sum() / 2:.6f}" in printed
