"""Embedding and one-hot rows."""

import numpy as np
import pytest

import xpconv
import xpconv.functional as F


@pytest.mark.parametrize("padding_idx", [None, 1, -1])
@pytest.mark.parametrize("scale_grad_by_freq", [False, True])
@pytest.mark.parametrize("shape", [(), (7,), (2, 3, 4), (0,)])
def test_embedding_is_pytorchs(padding_idx, scale_grad_by_freq, shape, backend):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    indices, weight = rng.integers(0, 5, size=shape), rng.normal(size=(5, 3))
    theirs = torch.tensor(weight, requires_grad=True)
    options = {"padding_idx": padding_idx, "scale_grad_by_freq": scale_grad_by_freq}
    expected = torch.nn.functional.embedding(torch.tensor(indices), theirs, **options)
    grad = rng.normal(size=expected.shape)
    expected.backward(torch.tensor(grad))
    places = xpconv.asarray(np.asarray(indices))
    np.testing.assert_array_equal(
        xpconv.asnumpy(F.embedding(places, xpconv.asarray(weight))), expected.detach().numpy()
    )
    found = F.embedding_backward(xpconv.asarray(grad), places, 5, **options)
    np.testing.assert_allclose(xpconv.asnumpy(found), theirs.grad.numpy(), atol=1e-14)


def test_an_index_out_of_range(backend):
    """An error on the CPU, NaN elsewhere."""
    places, weight = xpconv.asarray(np.array([0, 5])), xpconv.asarray(np.ones((5, 2)))
    if backend == "numpy":
        with pytest.raises(ValueError, match=r"^functional\.embedding: input holds index 5, expected 0 to 4"):
            F.embedding(places, weight)
    else:
        np.testing.assert_array_equal(xpconv.asnumpy(F.embedding(places, weight)), [[1, 1], [np.nan, np.nan]])


def test_embedding_errors():
    weight = np.ones((5, 2))
    for call, error in (
        (lambda: F.embedding(weight, weight), r"^functional\.embedding: input is float64, expected integer"),
        (lambda: F.embedding(np.array([0]), weight[0]), r"^functional\.embedding: weight has shape \(2,\)"),
        (lambda: F.embedding_backward(weight, np.zeros(4, int), 5), r"^functional\.embedding_backward: grad_output has shape"),
        (lambda: F.embedding_backward(weight, np.zeros(5, int), 5, 7), r"padding_idx is 7, expected -5 to 4"),
        (lambda: F.one_hot(weight), r"^functional\.one_hot: input is float64, expected integer class indices"),
    ):  # fmt: skip
        with pytest.raises((TypeError, ValueError), match=error):
            call()


def test_one_hot(backend):
    torch = pytest.importorskip("torch")
    classes = np.array([[0, 2], [1, 2]])
    for count in (-1, 3, 5):
        found = xpconv.asnumpy(F.one_hot(xpconv.asarray(classes), count))
        np.testing.assert_array_equal(
            found, torch.nn.functional.one_hot(torch.tensor(classes), count).numpy()
        )
