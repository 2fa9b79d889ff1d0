"""The notebook that the library grew from: its numbers, to the digit."""

import numpy as np
import pytest

import xpconv


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
