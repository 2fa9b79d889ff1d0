"""Sums in losses over ten million float32 numbers, in either order of memory: forward and backward."""

import numpy as np
import pytest

import xpconv

MANY = 10**7


def c_order(shape, seed):
    return np.random.default_rng(seed).random(shape, dtype="float32")


def f_order(shape, seed):
    return c_order(shape[::-1], seed).T


def channels_last(shape, seed):
    return np.moveaxis(c_order((shape[0], *shape[2:], shape[1]), seed), -1, 1) if len(shape) > 2 else f_order(shape, seed)  # fmt: skip


def relative(a, b):
    return abs(float(a) - float(b)) / abs(float(b))


@pytest.mark.slow
@pytest.mark.parametrize("order", [c_order, f_order, channels_last])
def test_sums_of_many_elements(order):
    x, t = order((10, 4, 500, 500), 0), c_order((10, 4, 500, 500), 1)
    for reduction, count in (("mean", MANY), ("sum", 1)):
        wide = np.abs(x.astype("float64") - t).sum()
        criterion = xpconv.L1Loss(reduction)
        assert relative(criterion(x, t), wide / count) < 1e-6
        criterion.forget()
        assert (
            relative(xpconv.MSELoss(reduction)(x, t), ((x.astype("float64") - t) ** 2).sum() / count) < 1e-6
        )
    criterion = xpconv.DiceLoss(reduction="none")
    dice = criterion(x, t)
    wide, aim = x.astype("float64"), t.astype("float64")
    both, total = 2 * (wide * aim).sum((2, 3)) + 1, wide.sum((2, 3)) + aim.sum((2, 3)) + 1
    np.testing.assert_allclose(dice, 1 - both / total, rtol=1e-6)
    np.testing.assert_allclose(
        criterion.backward()[..., 0, 0], -2 * t[..., 0, 0] / total + both / total**2, rtol=1e-4, atol=1e-9
    )


@pytest.mark.slow
@pytest.mark.parametrize(("shape", "order"), [((2, 10**6), f_order), ((10**6, 2), c_order)])
def test_sums_over_many_rows_or_columns(shape, order):
    """What a vector's length, a row's classes and a shared variance sum up, where NumPy adds one by one."""
    x, t = order(shape, 0), order(shape, 1)
    wide, aim = x.astype("float64"), t.astype("float64")
    classes = np.zeros(shape[0], "int64")
    rest = np.log(np.exp(wide).sum(1)) - wide[:, 0]
    assert relative(xpconv.CrossEntropyLoss()(x, classes), rest.mean()) < 1e-5
    soft = (np.log(np.exp(wide).sum(1)) * aim.sum(1) - (aim * wide).sum(1)).mean()
    assert relative(xpconv.CrossEntropyLoss()(x, t), soft) < 1e-5
    weight = c_order(shape[1:], 2)
    expected = (rest * weight[classes]).sum() / weight[classes].sum(dtype="float64")
    assert relative(xpconv.CrossEntropyLoss(weight=weight)(x, classes), expected) < 1e-5
    distance = np.sqrt(((wide - aim + 1e-6) ** 2).sum(1))
    triplet = xpconv.TripletMarginLoss(margin=1e4, reduction="none")(x, t, x) - 1e4
    np.testing.assert_allclose(triplet, distance - 1e-6 * np.sqrt(shape[1]), atol=2e-3)
    cosine = (wide * aim).sum(1) / np.sqrt((wide**2).sum(1) * (aim**2).sum(1))
    ones = np.ones(shape[0], "float32")
    assert relative(xpconv.CosineEmbeddingLoss(reduction="sum")(x, t, ones), (1 - cosine).sum()) < 1e-5
    var = 0.5 + c_order((1, shape[1]), 3)
    criterion = xpconv.GaussianNLLLoss(reduction="sum")
    criterion(x, t, var)
    _, dvar = criterion.backward()
    expected = (0.5 / var - 0.5 * ((wide - aim) / var) ** 2).sum(0, keepdims=True)
    scale = (0.5 / var + 0.5 * ((wide - aim) / var) ** 2).sum(0, keepdims=True)
    assert (np.abs(dvar - expected) / scale).max() < 1e-5


@pytest.mark.slow
def test_cross_entropy_of_many_classes(backend):
    """Equal scores: every rounding of a running sum goes the same way."""
    x = np.full((1, 4 * 10**6), -2.3, "float32")
    x[0, 0] = 0
    criterion = xpconv.CrossEntropyLoss()
    loss = criterion(xpconv.asarray(x), xpconv.asarray(np.array([0])))
    total = np.exp(x.astype("float64")).sum()
    assert relative(loss, np.log(total)) < 1e-6
    grad = xpconv.asnumpy(criterion.backward())
    np.testing.assert_allclose(grad[0, 1:], np.exp(np.float64(x[0, 1])) / total, rtol=1e-5)
    even = xpconv.CrossEntropyLoss()(xpconv.asarray(x), xpconv.asarray(np.full(x.shape, 1e-7, "float32")))
    assert relative(even, 1e-7 * (np.log(total) - x.astype("float64")).sum()) < 2e-6
