"""All losses on every backend: value, gradients by finite differences, no host synchronisation, errors."""

import re

import double
import numpy as np
import pytest

import xpconv

RNG = np.random.default_rng(0)
N, C = 4, 3
X = RNG.normal(size=(N, C))
UNIT = RNG.uniform(0.05, 0.95, (N, C))
SIGNS = np.where(RNG.random((N, C)) < 0.5, -1.0, 1.0)
CLASSES = RNG.integers(0, C, N)
WEIGHT = np.array([0.5, 1.0, 2.0])

# loss, inputs, which of them have gradients
CASES = {
    "L1Loss": ({}, (X, UNIT), [0]),
    "SmoothL1Loss": ({"beta": 0.5}, (X, UNIT), [0]),
    "HuberLoss": ({"delta": 0.5}, (X, UNIT), [0]),
    "PoissonNLLLoss": ({"full": True}, (X, UNIT * 4), [0]),
    "KLDivLoss": ({"reduction": "batchmean"}, (X, UNIT), [0]),
    "BCELoss": ({"weight": WEIGHT}, (UNIT, UNIT[::-1]), [0]),
    "BCEWithLogitsLoss": ({"weight": WEIGHT, "pos_weight": WEIGHT}, (X, UNIT), [0]),
    "SoftMarginLoss": ({}, (X, SIGNS), [0]),
    "HingeEmbeddingLoss": ({}, (X, SIGNS), [0]),
    "FocalLoss": ({}, (X, UNIT), [0]),
    "DiceLoss": ({}, (UNIT[..., None], (X > 0)[..., None] * 1.0), [0]),
    "MultiLabelSoftMarginLoss": ({"weight": WEIGHT}, (X, UNIT), [0]),
    "MultiMarginLoss": ({"p": 2, "weight": WEIGHT}, (X, CLASSES), [0]),
    "MultiLabelMarginLoss": ({}, (X, np.array([[0, -1, 2], [2, 1, -1], [-1, 0, 0], [0, 1, 2]])), [0]),
    "NLLLoss": ({"weight": WEIGHT, "ignore_index": 1}, (X, CLASSES), [0]),
    "CrossEntropyLoss": ({"weight": WEIGHT, "ignore_index": 1, "label_smoothing": 0.1}, (X, CLASSES), [0]),
    "MarginRankingLoss": ({"margin": 0.3}, (X, X[::-1], SIGNS), [0, 1]),
    "CosineEmbeddingLoss": ({"margin": 0.1}, (X, X[::-1], SIGNS[:, 0]), [0, 1]),
    "TripletMarginLoss": ({"margin": 3.0, "swap": True}, (X, X[::-1] + 0.5, 2 * UNIT), [0, 1, 2]),
    "GaussianNLLLoss": ({"full": True}, (X, UNIT, 0.5 + UNIT), [0, 2]),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_gradients_backends_and_synchronisations(name, backend):
    options, inputs, graded = CASES[name]
    here = [xpconv.asarray(np.ascontiguousarray(a)) for a in inputs]
    criterion = getattr(xpconv, name)(**options)
    criterion(*here)  # the weights move at the first call
    criterion.forget()
    with double.count_syncs() as counter:
        loss = criterion(*here)
        gradients = criterion.backward(2.0)
    assert counter.n == 0 or backend == "numpy"
    gradients = gradients if isinstance(gradients, tuple) else (gradients,)
    with xpconv.no_grad():
        assert float(loss) == pytest.approx(float(getattr(xpconv, name)(**options)(*inputs)), rel=1e-12)
        for gradient, i in zip(gradients, graded, strict=True):
            direction = np.random.default_rng(i).normal(size=inputs[i].shape)
            shifted = [[*inputs[:i], inputs[i] + e * direction, *inputs[i + 1 :]] for e in (1e-6, -1e-6)]
            above, below = (float(getattr(xpconv, name)(**options)(*s)) for s in shifted)
            expected = 2 * (above - below) / 2e-6
            assert (xpconv.asnumpy(gradient) * direction).sum() == pytest.approx(expected, rel=1e-6, abs=1e-8)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("size", [1e4, -1e4])
@pytest.mark.parametrize(
    "name",
    ["BCEWithLogitsLoss", "SoftMarginLoss", "FocalLoss", "MultiLabelSoftMarginLoss", "CrossEntropyLoss"],
)
def test_stable(name, size, dtype, backend):
    x = xpconv.asarray(np.full((2, 3), size), dtype)
    target = xpconv.asarray(np.array([[1.0, 0, 0], [0, 0, 1]]), dtype)
    criterion = getattr(xpconv, name)()
    assert np.isfinite(float(criterion(x, target)))
    assert np.isfinite(xpconv.asnumpy(criterion.backward())).all()


def f64(*shape):
    return xpconv.asarray(np.full(shape, 0.5))


ERRORS = [
    (lambda: xpconv.CrossEntropyLoss(label_smoothing=1.5), "SoftmaxCrossEntropyLoss: label_smoothing is 1.5, expected"),
    (lambda: xpconv.CrossEntropyLoss(weight=f64(2))(f64(4, 3), f64(4, 3)), "weight has shape (2,), expected (3,), one for each class"),
    (lambda: xpconv.SmoothL1Loss(beta=-1), "SmoothL1Loss: beta is -1, expected at least 0"),
    (lambda: xpconv.HuberLoss(delta=0), "HuberLoss: delta is 0, expected above 0"),
    (lambda: xpconv.MultiMarginLoss(p=3), "MultiMarginLoss: p is 3, expected 1 or 2"),
    (lambda: xpconv.TripletMarginLoss(margin=0), "TripletMarginLoss: margin is 0, expected above 0"),
    (lambda: xpconv.GaussianNLLLoss(eps=0), "GaussianNLLLoss: eps is 0, expected above 0"),
    (lambda: xpconv.FocalLoss(alpha=2), "FocalLoss: alpha is 2, expected a number from 0 to 1, or None"),
    (lambda: xpconv.FocalLoss(gamma=-1), "FocalLoss: gamma is -1, expected at least 0"),
    (lambda: xpconv.KLDivLoss("batch"), "KLDivLoss: reduction is 'batch', expected one of 'mean', 'batchmean'"),
    (lambda: xpconv.MSELoss("batchmean"), "MSELoss: reduction is 'batchmean', expected one of 'mean', 'sum', 'none'"),
    (lambda: xpconv.GaussianNLLLoss()(f64(4, 3), f64(4, 3), f64(3)), "GaussianNLLLoss: var has shape (3,), expected (4, 3)"),
    (lambda: xpconv.DiceLoss()(f64(4, 3), f64(4, 3)), "DiceLoss: input has shape (4, 3), expected (N, C, …)"),
    (lambda: xpconv.CosineEmbeddingLoss()(f64(4, 3), f64(4, 3), f64(3)), "expected (N, D) and (N,), or (D,) and ()"),
    (lambda: xpconv.MarginRankingLoss()(f64(4), f64(3), f64(4)), "MarginRankingLoss: input2 has shape (3,), expected (4,), that of input1"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "message"), ERRORS, ids=[m for _, m in ERRORS])
def test_errors(call, message, backend):
    with pytest.raises(ValueError, match=re.escape(message)):
        call()


def test_wrong_number_of_inputs():
    with pytest.raises(
        TypeError, match=r"TripletMarginLoss: got 2 arrays, expected 3: anchor, positive, negative"
    ):
        xpconv.TripletMarginLoss()(X, X)


def test_bad_values_are_errors_on_the_cpu_and_nan_elsewhere(backend):
    cases = [
        (xpconv.BCELoss(), np.array([0.5, 1.5]), np.array([1.0, 1.0]), "BCELoss: input holds 1.5, expected probabilities"),
        (xpconv.NLLLoss(), np.zeros((2, 3)), np.array([0, 3]), "NLLLoss: target holds class 3, expected 0 to 2"),
        (xpconv.BCELoss(), np.array([0.5, 0.5]), np.array([1.0, -0.5]), "BCELoss: target holds -0.5, expected probabilities"),
        (xpconv.MultiMarginLoss(), np.zeros((2, 3)), np.array([0, 3]), "MultiMarginLoss: target holds class 3"),
        (xpconv.MultiMarginLoss(), np.zeros((2, 3)), np.array([0, -1]), "MultiMarginLoss: target holds a negative class"),
        (xpconv.MultiLabelMarginLoss(), np.zeros((2, 2)), np.array([[0, 2], [0, -1]]), "MultiLabelMarginLoss: target holds a class outside"),
        (xpconv.MultiLabelMarginLoss(), np.zeros(2), np.array([0, -2]), "MultiLabelMarginLoss: target holds a class outside"),
        (xpconv.CrossEntropyLoss(), np.zeros((2, 3)), np.array([[0, 1, 0], [1, 1, 0]]), "SoftmaxCrossEntropyLoss: target is int64 of input's shape (2, 3), expected one-hot rows along axis 1"),
        (xpconv.CrossEntropyLoss(), np.zeros((2, 3)), np.array([[0, 1, 0], [0, 2, 0]]), "expected one-hot rows along axis 1"),
        (xpconv.CrossEntropyLoss(), np.zeros((2, 3)), np.zeros((2, 3), bool), "target is bool of input's shape"),
    ]  # fmt: skip
    for criterion, *inputs, message in cases:
        if backend == "numpy":
            with pytest.raises(ValueError, match=re.escape(message)):
                criterion(*inputs)
        else:
            assert np.isnan(float(criterion(*map(xpconv.asarray, inputs))))
            assert np.isnan(xpconv.asnumpy(criterion.backward())).any()  # of the bad sample


def test_a_negative_variance(backend):
    inputs = [xpconv.asarray(a) for a in (np.zeros(2), np.ones(2), np.array([1.0, -1.0]))]
    criterion = xpconv.GaussianNLLLoss(reduction="none")
    if backend == "numpy":
        with pytest.raises(ValueError, match=r"GaussianNLLLoss: var holds -1\.0, expected at least 0"):
            criterion(*inputs)
        return
    assert np.isnan(xpconv.asnumpy(criterion(*inputs))).tolist() == [False, True]


def half(x):
    """Values that float16 holds, large ones among them; what else is left alone."""
    return (300 * x).round().astype("float16") if np.asarray(x).dtype.kind == "f" else x


@pytest.mark.parametrize(
    ("name", "inputs"),
    [
        ("MSELoss", (half(X), half(X) - 200)),
        ("SmoothL1Loss", (half(X), half(X[::-1]))),
        ("HuberLoss", (half(X), half(X[::-1]))),
        ("BCEWithLogitsLoss", (half(X), (UNIT > 0.5).astype("float16"))),
        ("BCELoss", (UNIT.astype("float16"), (UNIT > 0.2).astype("float16"))),
        ("CrossEntropyLoss", (half(X), CLASSES)),
        ("CosineEmbeddingLoss", (half(X), half(X[::-1]), np.array([1, -1, 1, -1], "float16"))),
        ("TripletMarginLoss", (half(X), half(X[::-1]), half(UNIT))),
        ("DiceLoss", (np.ones((1, 2, 300, 300), "float16"), np.ones((1, 2, 300, 300), "float16"))),
    ],
)
def test_float16_is_computed_in_float32(name, inputs, backend):
    """Squares and sums pass 65504, the largest float16, where loss and gradients do not."""
    wide = [a.astype("float32") if a.dtype.kind == "f" else a for a in inputs]
    exact, criterion = getattr(xpconv, name)(), getattr(xpconv, name)()
    expected, loss = exact(*map(xpconv.asarray, wide)), criterion(*map(xpconv.asarray, inputs))
    assert loss.dtype == "float16"
    np.testing.assert_array_equal(xpconv.asnumpy(loss), xpconv.asnumpy(expected).astype("float16"))
    grads, others = criterion.backward(), exact.backward()
    if not isinstance(grads, tuple):
        grads, others = (grads,), (others,)
    for g, other in zip(grads, others, strict=True):
        assert g.dtype == "float16"
        np.testing.assert_array_equal(xpconv.asnumpy(g), xpconv.asnumpy(other).astype("float16"))


def test_numpys_scalars_promote_nothing():
    x, t = X.astype("float32"), SIGNS.astype("float32")
    one = np.float64(1)
    for criterion in (
        xpconv.HingeEmbeddingLoss(one),
        xpconv.HuberLoss(delta=one),
        xpconv.SmoothL1Loss(beta=one),
    ):
        assert criterion(x, t).dtype == criterion.backward(one).dtype == "float32"
