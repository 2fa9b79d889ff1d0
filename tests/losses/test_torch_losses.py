"""Every loss against its namesake in PyTorch: value and gradients, over all options, in float64 and float32."""

import warnings

import numpy as np
import pytest
from oracle import TOLERANCE, covering, nn, torch

import xpconv

N, C = 5, 4
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, C))
SIGNS = np.where(RNG.random((N, C)) < 0.5, -1.0, 1.0)
BINARY = RNG.integers(0, 2, (N, C)).astype(float)
UNIT = RNG.uniform(0.01, 0.99, (N, C))
COUNTS = RNG.integers(0, 5, (N, C)).astype(float)
CLASSES = RNG.integers(0, C, N)
SOFT = RNG.dirichlet(np.ones(C), N)
WEIGHT = RNG.uniform(0.5, 2, C)
REDUCTIONS = ["mean", "sum", "none"]
LOG_P = np.log(RNG.dirichlet(np.ones(C), N))

# name: inputs (the floating ones but the target get gradients), number of those, options
CASES = {
    "MSELoss": ((X, UNIT), 1, {}),
    "L1Loss": ((X, UNIT), 1, {}),
    "SmoothL1Loss": ((X, UNIT), 1, {"beta": [1.0, 0.3, 0.0]}),
    "HuberLoss": ((X, UNIT), 1, {"delta": [1.0, 0.3]}),
    "PoissonNLLLoss": ((UNIT, COUNTS), 1, {"log_input": [True, False], "full": [False, True], "eps": [1e-8, 1e-2]}),
    "KLDivLoss": ((LOG_P, SOFT), 1, {"log_target": [False, True]}),
    "BCELoss": ((UNIT, BINARY), 1, {"weight": [None, WEIGHT]}),
    "BCEWithLogitsLoss": ((4 * X, UNIT), 1, {"weight": [None, WEIGHT], "pos_weight": [None, WEIGHT[::-1].copy()]}),
    "SoftMarginLoss": ((X, SIGNS), 1, {}),
    "HingeEmbeddingLoss": ((X, SIGNS), 1, {"margin": [1.0, 0.3]}),
    "MultiLabelSoftMarginLoss": ((X, BINARY), 1, {"weight": [None, WEIGHT]}),
    "MultiMarginLoss": ((X, CLASSES), 1, {"p": [1, 2], "margin": [1.0, 0.3], "weight": [None, WEIGHT]}),
    "MultiLabelMarginLoss": ((X, np.array([[3, 0, -1, 1], [-1, 1, 2, 3], [2, -1, 0, 0], [0, 1, 2, 3], [1, 2, -1, -1]])), 1, {}),
    "NLLLoss": ((LOG_P, CLASSES), 1, {"weight": [None, WEIGHT], "ignore_index": [-100, 1]}),
    "CrossEntropyLoss": ((X, CLASSES), 1, {"weight": [None, WEIGHT], "ignore_index": [-100, 1], "label_smoothing": [0.0, 0.3]}),
    "MarginRankingLoss": ((X, X[::-1].copy(), SIGNS), 2, {"margin": [0.0, 0.5]}),
    "CosineEmbeddingLoss": ((X, X[::-1].copy(), SIGNS[:, 0].copy()), 2, {"margin": [0.0, 0.5, -0.5]}),
    "TripletMarginLoss": ((X, X[::-1] + 0.3, X[[1, 2, 3, 4, 0]] * 2), 3, {"margin": [1.0, 3.0], "p": [2.0, 1.0, 3.0], "swap": [False, True], "eps": [1e-6, 0.1]}),
    "GaussianNLLLoss": ((X, UNIT, 0.1 + UNIT), 3, {"full": [False, True], "eps": [1e-6, 0.5]}),
}  # fmt: skip


def compare(name, inputs, graded, options, reduction):
    """Value, and the gradients of the `graded` first floating inputs (all but targets)."""
    for dtype in ("float64", "float32"):
        here = [a.astype(dtype) if a.dtype.kind == "f" else a.astype("int64") for a in inputs]
        copies = [a.copy() for a in here]
        there = [torch.from_numpy(a.copy()) for a in here]
        grads = [i for i in range(len(here)) if i < graded and not (name == "GaussianNLLLoss" and i == 1)]
        for i in grads:
            there[i].requires_grad_()
        torch_options = {
            k: torch.from_numpy(v.astype(dtype)) if isinstance(v, np.ndarray) else v
            for k, v in options.items()
        }
        ours = getattr(xpconv, name)(reduction=reduction, **options)
        loss = ours(*here)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # KLDivLoss: 'mean' will mean 'batchmean' one day
            expected = getattr(nn, name)(reduction=reduction, **torch_options)(*there)
        expected_values = expected.detach().numpy()
        assert loss.dtype == dtype
        assert loss.shape == expected_values.shape
        tolerance = TOLERANCE[dtype] * max(1e-3, np.abs(expected_values).max())
        np.testing.assert_allclose(loss, expected_values, rtol=0, atol=tolerance)
        g = np.random.default_rng(1).normal(size=expected_values.shape).astype(dtype)
        expected.backward(torch.from_numpy(np.asarray(g)))
        result = ours.backward(g)
        result = result if isinstance(result, tuple) else (result,)
        assert len(result) == len(grads)
        for mine, i in zip(result, grads, strict=True):
            other = there[i].grad.numpy()
            assert mine.dtype == dtype
            np.testing.assert_allclose(
                mine, other, rtol=0, atol=TOLERANCE[dtype] * max(1e-3, np.abs(other).max())
            )
        for a, b in zip(here, copies, strict=True):
            np.testing.assert_array_equal(a, b)  # inputs are not modified


ALL = [(name, options) for name, (_, _, table) in CASES.items() for options in covering(table, 3)]


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize(("name", "options"), ALL, ids=[f"{n}-{i}" for i, (n, _) in enumerate(ALL)])
def test_loss(name, options, reduction):
    inputs, graded, _ = CASES[name]
    compare(name, inputs, graded, options, reduction)


@pytest.mark.parametrize("log_target", [False, True])
def test_batchmean(log_target):
    compare("KLDivLoss", (LOG_P, SOFT), 1, {"log_target": log_target}, "batchmean")


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_cross_entropy_of_probabilities_and_images(reduction):
    images = np.random.default_rng(2).normal(size=(2, C, 3, 2))
    masks = np.random.default_rng(3).integers(0, C, (2, 3, 2))
    soft = np.moveaxis(np.random.default_rng(4).dirichlet(np.ones(C), (2, 3, 2)), -1, 1).copy()
    for options in covering(
        {"weight": [None, WEIGHT], "label_smoothing": [0.0, 0.2], "ignore_index": [-100, 2]}, 2
    ):
        compare("CrossEntropyLoss", (images, masks), 1, options, reduction)
        compare("CrossEntropyLoss", (X[0], np.array(2)), 1, options | {"ignore_index": -100}, reduction)
        compare("CrossEntropyLoss", (images, soft), 1, options | {"ignore_index": -100}, reduction)
        compare(
            "NLLLoss",
            (images, masks),
            1,
            {k: v for k, v in options.items() if k != "label_smoothing"},
            reduction,
        )


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_single_samples(reduction):
    for name in ("MultiMarginLoss", "NLLLoss"):
        compare(name, (LOG_P[0], np.array(1)), 1, {}, reduction)
    compare("MultiLabelMarginLoss", (X[0], np.array([3, 0, -1, 1])), 1, {}, reduction)
    compare("CosineEmbeddingLoss", (X[0], X[1], np.array(-1.0)), 2, {}, reduction)
    compare("TripletMarginLoss", (X[0], X[1], X[2]), 3, {}, reduction)
    compare("MultiLabelSoftMarginLoss", (X[0], BINARY[0]), 1, {}, reduction)


@pytest.mark.parametrize("var", [UNIT[:, :1] + 0.1, UNIT[:, 0] + 0.1])
def test_gaussian_nll_with_one_variance_a_row(var):
    for reduction in REDUCTIONS:
        compare("GaussianNLLLoss", (X, UNIT, var), 3, {}, reduction)


def test_all_ignored_is_nan():
    criterion = xpconv.CrossEntropyLoss(ignore_index=1)
    assert np.isnan(criterion(X, np.ones(N, int)))
    assert np.isnan(xpconv.NLLLoss(weight=np.array([1.0, 0, 1, 1]))(LOG_P, np.ones(N, int)))
    assert np.isnan(xpconv.MSELoss()(np.zeros((0, 2)), np.zeros((0, 2))))


@pytest.mark.parametrize("gamma", [2.0, 0.0, 0.5, 3.0])
@pytest.mark.parametrize("alpha", [0.25, None, 0.9])
@pytest.mark.parametrize("target", [BINARY, UNIT])
def test_focal(gamma, alpha, target):
    """PyTorch has none: by autograd from the formula."""
    x = torch.from_numpy(3 * X).requires_grad_()
    t = torch.from_numpy(target)
    p = torch.sigmoid(x)
    entropy = nn.functional.binary_cross_entropy_with_logits(x, t, reduction="none")
    loss = entropy * (1 - (p * t + (1 - p) * (1 - t))) ** gamma
    loss = loss if alpha is None else loss * (alpha * t + (1 - alpha) * (1 - t))
    loss.sum().backward()
    ours = xpconv.FocalLoss(alpha, gamma, reduction="none")
    np.testing.assert_allclose(ours(3 * X, target), loss.detach().numpy(), rtol=1e-10)
    np.testing.assert_allclose(ours.backward(), x.grad.numpy(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("smooth", [1.0, 0.0])
def test_dice(smooth):
    p, t = (
        np.random.default_rng(0).random((2, 3, 4, 5)),
        np.random.default_rng(1).integers(0, 2, (2, 3, 4, 5)) * 1.0,
    )
    x, y = torch.from_numpy(p).requires_grad_(), torch.from_numpy(t)
    loss = 1 - (2 * (x * y).sum((2, 3)) + smooth) / (x.sum((2, 3)) + y.sum((2, 3)) + smooth)
    g = np.random.default_rng(2).normal(size=(2, 3))
    loss.backward(torch.from_numpy(g))
    ours = xpconv.DiceLoss(smooth, reduction="none")
    np.testing.assert_allclose(ours(p, t), loss.detach().numpy(), rtol=1e-12)
    np.testing.assert_allclose(ours.backward(g), x.grad.numpy(), rtol=1e-12)
    mean = xpconv.DiceLoss(smooth)
    assert mean(p, t) == pytest.approx(float(loss.detach().mean()))
