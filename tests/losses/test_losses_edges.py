"""Losses at their edges: nothing that counts, broadcasting, integers, traps of NumPy's, many elements, memory."""

import copy
import inspect
import math
import pickle
import re
import tracemalloc
import warnings

import double
import every
import numpy as np
import pytest

import xpconv
from xpconv.errors import DTypeError, ShapeError

RNG = np.random.default_rng(0)
X = RNG.normal(size=(4, 3))
UNIT = RNG.uniform(0.05, 0.95, (4, 3))
SIGNS = np.where(RNG.random((4, 3)) < 0.5, -1.0, 1.0)
REDUCTIONS = ["mean", "sum", "none"]


def oracle():
    return pytest.importorskip("torch", reason="PyTorch is not installed: `pip install torch`")


def against_torch(name, options, inputs, graded, tolerance=1e-10):
    """Value and gradients of `inputs[i]` for i in `graded`, NaN included."""
    torch = oracle()
    there = [torch.from_numpy(np.array(x)) if isinstance(x, np.ndarray) else x for x in inputs]
    for i in graded:
        there[i].requires_grad_()
    if name == "MSELoss":  # whose backward refuses integers before PyTorch 2.13
        there = [x if x.is_floating_point() else x.to(there[0].dtype) for x in there]
    theirs = {k: torch.from_numpy(v) if isinstance(v, np.ndarray) else v for k, v in options.items()}
    expected = getattr(torch.nn, name)(**theirs)(*there)
    g = torch.full(expected.shape, 1.5, dtype=expected.dtype)
    expected.backward(g)
    criterion = getattr(xpconv, name)(**options)
    with double.count_syncs() as counter:
        loss = criterion(*(xpconv.asarray(x) if isinstance(x, np.ndarray) else x for x in inputs))
        grads = criterion.backward(xpconv.asarray(g.numpy()))
    assert counter.n == 0
    grads = grads if isinstance(grads, tuple) else (grads,)
    pairs = [(loss, expected), *zip(grads, [there[i].grad for i in graded], strict=True)]
    for ours, other in pairs:
        ours, other = xpconv.asnumpy(ours), other.detach().numpy()
        assert ours.shape == other.shape
        assert ours.dtype == other.dtype
        np.testing.assert_allclose(ours, other, rtol=tolerance, atol=tolerance)


# --- nothing that counts ------------------------------------------------------------------------------

ONES = np.ones(4, "int64")
ZERO_FOR_ONE = np.array([1.0, 0.0, 2.0])
VOID = [
    ({"ignore_index": 1}, X, ONES),
    ({"ignore_index": 1, "weight": UNIT[0]}, X, ONES),
    ({"weight": ZERO_FOR_ONE}, X, ONES),
    ({"weight": np.zeros(3)}, X, ONES),
    ({"weight": ZERO_FOR_ONE, "ignore_index": 2}, X, np.array([1, 2, 1, 2])),
    ({"ignore_index": 1}, X[0], np.array(1)),
    ({"ignore_index": 1}, RNG.normal(size=(2, 3, 4)), np.ones((2, 4), "int64")),
    ({"ignore_index": 1}, RNG.normal(size=(2, 3, 4, 2)), np.ones((2, 4, 2), "int64")),
    ({}, X[:0], ONES[:0]),
    ({}, np.zeros((2, 3, 0)), np.zeros((2, 0), "int64")),
]


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("case", range(len(VOID)))
def test_where_no_target_counts(case, reduction, backend):
    """The mean is NaN and the gradient of what is ignored 0, so that a void batch spoils no weights."""
    options, x, target = VOID[case]
    against_torch("CrossEntropyLoss", {**options, "reduction": reduction}, (x, target), [0])
    against_torch(
        "CrossEntropyLoss", {**options, "reduction": reduction, "label_smoothing": 0.2}, (x, target), [0]
    )
    if "weight" not in options or x.ndim == 1:
        against_torch("NLLLoss", {**options, "reduction": reduction}, (x, target), [0])


@pytest.mark.parametrize("name", ["CrossEntropyLoss", "NLLLoss"])
def test_a_void_batch_leaves_the_model_as_it_is(name, backend):
    model = xpconv.Dense(3, 3, rng=0)
    criterion = getattr(xpconv, name)()
    loss = criterion(model(xpconv.asarray(X, "float32")), xpconv.asarray(np.full(4, -100)))
    model.backward(criterion.backward())
    assert np.isnan(float(loss))
    assert not xpconv.asnumpy(model.weight.grad).any()


def test_weights_of_zero_for_probabilities(backend):
    for t in (UNIT, np.zeros((4, 3))):
        against_torch("CrossEntropyLoss", {"weight": np.zeros(3)}, (X, t), [0])
    against_torch("MultiMarginLoss", {"weight": np.zeros(3)}, (X, ONES), [0])


EMPTY = {
    "MSELoss": 2, "L1Loss": 2, "SmoothL1Loss": 2, "HuberLoss": 2, "PoissonNLLLoss": 2, "KLDivLoss": 2,
    "BCELoss": 2, "BCEWithLogitsLoss": 2, "SoftMarginLoss": 2, "HingeEmbeddingLoss": 2, "FocalLoss": 2,
    "MultiLabelSoftMarginLoss": 2, "MarginRankingLoss": 3, "TripletMarginLoss": 3, "GaussianNLLLoss": 3,
}  # fmt: skip


@pytest.mark.parametrize("name", EMPTY)
def test_an_empty_batch(name, backend):
    x = xpconv.asarray(np.zeros((0, 3)))
    for reduction, expected in (("mean", np.nan), ("sum", 0.0)):
        criterion = getattr(xpconv, name)(reduction=reduction)
        np.testing.assert_equal(float(criterion(*[x] * EMPTY[name])), expected)
        grads = criterion.backward()
        for grad in grads if isinstance(grads, tuple) else (grads,):
            assert grad.shape == (0, 3)


# --- shapes and dtypes that PyTorch takes ---------------------------------------------------------------

INTEGERS = {
    "MSELoss": (X,), "L1Loss": (X,), "SmoothL1Loss": (X,), "PoissonNLLLoss": (X,), "SoftMarginLoss": (X,),
    "HingeEmbeddingLoss": (X,), "MultiLabelSoftMarginLoss": (X,), "MarginRankingLoss": (X, UNIT),
}  # fmt: skip


@pytest.mark.parametrize("dtype", ["int64", "int32", "int8"])
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("name", INTEGERS)
def test_targets_of_integers(name, reduction, dtype, backend):
    inputs = *INTEGERS[name], SIGNS.astype(dtype)
    against_torch(name, {"reduction": reduction}, inputs, range(len(inputs) - 1))
    narrow = tuple(x.astype("float32") if x.dtype.kind == "f" else x for x in inputs)
    against_torch(name, {"reduction": reduction}, narrow, range(len(inputs) - 1), 1e-5)


def test_other_targets_of_integers(backend):
    against_torch("CosineEmbeddingLoss", {}, (X, UNIT, SIGNS[:, 0].astype("int64")), [0, 1])
    against_torch("GaussianNLLLoss", {}, (X, SIGNS.astype("int64"), UNIT), [0, 2])
    for name in ("MSELoss", "SmoothL1Loss", "PoissonNLLLoss", "HingeEmbeddingLoss"):
        against_torch(name, {}, (X, SIGNS > 0), [0])
    with np.errstate(over="ignore"):
        wide = xpconv.MSELoss()(xpconv.asarray(X.astype("float16")), xpconv.asarray(np.full((4, 3), 300)))
    assert np.isinf(float(wide))  # 90000 is too much for float16, and no integer arithmetic
    assert float(xpconv.SoftMarginLoss()(xpconv.asarray(X), xpconv.asarray(np.ones((4, 3), "uint8")))) < 2


def test_masks_of_dice_may_be_bool(backend):
    mask = RNG.random((2, 3, 4)) < 0.5
    p = RNG.random((2, 3, 4))
    expected = float(xpconv.DiceLoss()(p, mask * 1.0))
    assert float(xpconv.DiceLoss()(xpconv.asarray(p), xpconv.asarray(mask))) == pytest.approx(expected)


@pytest.mark.parametrize("name", ["HuberLoss", "KLDivLoss", "BCELoss", "BCEWithLogitsLoss", "FocalLoss"])
def test_integers_that_pytorch_refuses(name, backend):
    x, t = xpconv.asarray(UNIT), xpconv.asarray(np.ones((4, 3), "int64"))
    with pytest.raises(
        DTypeError, match=rf"{name}: target is int64 but input is float64; use target\.astype"
    ):
        getattr(xpconv, name)()(x, t)


BROADCAST = [
    ((4, 3), (3,)), ((4, 3), (4, 1)), ((4, 3), ()), ((4, 3), (1, 1)), ((3,), (4, 3)), ((4, 1), (1, 3)), ((2, 4, 3), (4, 1)),
]  # fmt: skip


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("shapes", BROADCAST, ids=str)
@pytest.mark.parametrize("name", ["PoissonNLLLoss", "HingeEmbeddingLoss", "KLDivLoss", "SoftMarginLoss", "MultiLabelSoftMarginLoss"])  # fmt: skip
def test_broadcast(name, shapes, reduction, backend):
    a, b = shapes
    x, t = RNG.normal(size=a), np.where(np.asarray(RNG.random(b)) < 0.5, -1.0, 1.0)
    if name == "KLDivLoss":
        t = np.asarray(np.abs(t) / 3)
    if name in ("SoftMarginLoss", "MultiLabelSoftMarginLoss") and np.broadcast_shapes(a, b) != a:
        with pytest.raises(ShapeError, match=rf"{name}: target has shape {re.escape(str(b))}, expected"):
            getattr(xpconv, name)()(xpconv.asarray(x), xpconv.asarray(t))
        return
    with pytest.warns() if name == "KLDivLoss" and reduction == "mean" else np.errstate():
        against_torch(name, {"reduction": reduction}, (x, t), [0])
    if name == "KLDivLoss" and x.ndim:
        against_torch(name, {"reduction": "batchmean"}, (x, t), [0])


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_broadcast_of_pairs_and_triplets(reduction, backend):
    def draw(*shape):
        return np.asarray(RNG.normal(size=shape))

    def signs(*shape):
        return np.where(draw(*shape) < 0, -1.0, 1.0)

    options = {"reduction": reduction}
    for a, b, t in [((4, 3), (4, 1), (4, 3)), ((4, 3), (1, 3), (1, 1)), ((4, 1), (1, 3), (2, 4, 3)[1:]), ((), (), ())]:  # fmt: skip
        against_torch("MarginRankingLoss", options, (draw(*a), draw(*b), signs(*t)), [0, 1])
    for a, b, t in [((4, 3), (1, 3), (4,)), ((4, 3), (4, 3), (1,)), ((1, 3), (1, 3), (4,))]:  # fmt: skip
        against_torch("CosineEmbeddingLoss", options, (draw(*a), draw(*b), signs(*t)), [0, 1])
    for shapes in [((4, 3), (1, 3), (4, 3)), ((2, 4, 3),) * 3, ((), (), ()), ((4, 1), (4, 3), (1, 3)), ((4, 0),) * 3]:  # fmt: skip
        for swap in (False, True):
            inputs = tuple(draw(*shape) for shape in shapes)
            against_torch("TripletMarginLoss", {**options, "swap": swap}, inputs, [0, 1, 2])


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_variances_of_gaussian_nll(reduction, backend):
    shapes = [
        ((4, 3), (4, 3), (1, 3)), ((2, 4, 3), (2, 4, 3), (2, 1, 3)), ((2, 4, 3), (2, 4, 3), (2, 4)),
        ((4, 3), (4, 1), (4, 3)), ((4, 3), (3,), (4, 1)), ((4, 1), (4, 3), (4, 1)), ((), (), ()),
        ((3,), (3,), ()), ((3,), (3,), (1,)), ((1, 3), (1, 3), (1, 1)),
    ]  # fmt: skip
    for x, t, v in shapes:
        inputs = RNG.normal(size=x), np.asarray(RNG.normal(size=t)), np.asarray(RNG.uniform(0.1, 2, v))
        against_torch("GaussianNLLLoss", {"reduction": reduction}, tuple(map(np.asarray, inputs)), [0, 2])
    for v in ((3,), (1, 1), (), (2, 4, 3)):
        with pytest.raises(ShapeError, match=r"GaussianNLLLoss: var has shape .*, expected \(4, 3\), that"):
            xpconv.GaussianNLLLoss()(xpconv.asarray(X), xpconv.asarray(X), xpconv.asarray(np.ones(v)))


def test_a_variance_that_is_a_number(backend):
    torch = oracle()
    expected = float(torch.nn.GaussianNLLLoss()(torch.from_numpy(X), torch.from_numpy(UNIT), 0.5))
    x, t = xpconv.asarray(X), xpconv.asarray(UNIT)
    criterion = xpconv.GaussianNLLLoss()
    for var in (0.5, np.float32(0.5)):
        assert float(criterion(x, t, var)) == pytest.approx(expected, rel=1e-12)
        grads = criterion.backward()
        np.testing.assert_allclose(xpconv.asnumpy(grads[0]), (X - UNIT) / 0.5 / 12, rtol=1e-12)
    with pytest.raises(ValueError, match="GaussianNLLLoss: var is -1, expected at least 0"):
        criterion(x, t, -1)


def test_one_sample_without_its_axis(backend):
    for x, t in [((3,), ()), ((1, 3), ()), ((3,), (1,)), ((1, 3), (1,))]:
        for reduction in REDUCTIONS:
            inputs = RNG.normal(size=x), np.asarray(np.ones(t, "int64"))
            against_torch("MultiMarginLoss", {"reduction": reduction}, inputs, [0])
    for x, t in [((), ()), ((1,), ()), ((), (1,)), ((1,), (1,)), ((1, 1), (1, 1))]:
        for label in (0, -1):
            inputs = np.asarray(RNG.normal(size=x)), np.asarray(np.full(t, label))
            against_torch("MultiLabelMarginLoss", {}, inputs, [0])


def test_ignore_index_needs_indices(backend):
    x = xpconv.asarray(X)
    for target in (UNIT, np.eye(3, dtype="int64")[[0, 1, 2, 0]]):
        with pytest.raises(ValueError, match=r"CrossEntropyLoss: ignore_index is 1, expected below 0, as"):
            xpconv.CrossEntropyLoss(ignore_index=1)(x, xpconv.asarray(target))


# --- choices and numbers ---------------------------------------------------------------------------------

ODD = [
    (lambda: xpconv.MSELoss(reduction=np.array([1, 2])), "MSELoss: reduction is array([1, 2]), expected one of"),
    (lambda: xpconv.MSELoss(reduction=[]), "MSELoss: reduction is [], expected one of"),
    (lambda: xpconv.GaussianNLLLoss(full="yes"), "GaussianNLLLoss: full is 'yes', expected True or False"),
    (lambda: xpconv.PoissonNLLLoss(full=np.array([1, 2])), "PoissonNLLLoss: full is array([1, 2]), expected True or"),
    (lambda: xpconv.TripletMarginLoss(swap=[]), "TripletMarginLoss: swap is [], expected True or False"),
    (lambda: xpconv.TripletMarginLoss(p=-1), "TripletMarginLoss: p is -1, expected at least 0"),
    (lambda: xpconv.MultiMarginLoss(p=np.array([1, 2])), "MultiMarginLoss: p is array([1, 2]), expected a number"),
    (lambda: xpconv.MultiMarginLoss(p=3), "MultiMarginLoss: p is 3, expected 1 or 2"),
    (lambda: xpconv.CrossEntropyLoss(weight=[1.0, 2.0]), "SoftmaxCrossEntropyLoss: weight is a builtins.list, expected an array or None"),
    (lambda: xpconv.BCEWithLogitsLoss(pos_weight=2.0), "BCEWithLogitsLoss: pos_weight is a builtins.float, expected an array"),
    (lambda: xpconv.NLLLoss(weight=np.array(["a"])), "NLLLoss: weight is <U1, expected numbers: an array or None"),
    (lambda: xpconv.NLLLoss(ignore_index=1.5), "NLLLoss: ignore_index is 1.5, expected an int"),
    (lambda: xpconv.NLLLoss(ignore_index=2**70), "NLLLoss: ignore_index is 1180591620717411303424, expected"),
    (lambda: xpconv.FocalLoss(gamma=None), "FocalLoss: gamma is None, expected a number"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "message"), ODD, ids=[message for _, message in ODD])
def test_odd_arguments(call, message):
    with pytest.raises((TypeError, ValueError), match=re.escape(message)):
        call()


def test_numbers_become_pythons(backend):
    """A margin in uint8 would wrap where it is subtracted from."""
    two, one = np.uint8(2), np.uint8(1)
    x, y, t = (xpconv.asarray(a) for a in (X, UNIT, SIGNS))
    assert float(xpconv.HingeEmbeddingLoss(two)(x, t)) == float(xpconv.HingeEmbeddingLoss(2.0)(x, t))
    assert float(xpconv.MarginRankingLoss(two)(x, y, t)) == float(xpconv.MarginRankingLoss(2.0)(x, y, t))
    odd = xpconv.TripletMarginLoss(two, two)
    assert (type(odd.margin), type(odd.p)) == (float, float)
    assert float(odd(x, y, t)) == float(xpconv.TripletMarginLoss(2.0, 2.0)(x, y, t))
    assert type(xpconv.NLLLoss(ignore_index=one).ignore_index) is int
    assert float(xpconv.HuberLoss(delta=two)(x, y)) == float(xpconv.HuberLoss(delta=2.0)(x, y))


def test_weights_of_integers(backend):
    weight = np.array([1, 2, 3])
    for name, t in (("CrossEntropyLoss", ONES), ("BCELoss", UNIT), ("MultiLabelSoftMarginLoss", UNIT)):
        x = UNIT.astype("float32")
        t = t.astype("float32") if t.dtype.kind == "f" else t
        losses = [
            getattr(xpconv, name)(weight=w)(xpconv.asarray(x), xpconv.asarray(t))
            for w in (weight, weight.astype("float64"))
        ]
        assert losses[0].dtype == losses[1].dtype == "float32"
        assert float(losses[0]) == float(losses[1])


# --- triplets ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("eps", [1e-6, 0.0])
@pytest.mark.parametrize("p", [0.5, 1.0, 1.5, 2.0, 3.0, 50.0, math.inf])
def test_norms_of_triplets(p, eps, backend):
    """Distances of 0 and equal differences among them."""
    a = np.array([[0.0, 0], [1, 2], [3, 3], [0.5, 0.1]])
    b = np.array([[0.0, 0], [1, 2.5], [1, 3], [-2, 0.3]])
    c = np.array([[1.0, 0], [1, 2], [0, 0], [0.2, 5]])
    for swap in (False, True):
        options = {"p": p, "eps": eps, "margin": 3.0, "swap": swap, "reduction": "none"}
        against_torch("TripletMarginLoss", options, (a, b, c), [0, 1, 2], 1e-9)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("p", [300.0, 1e8, 1e300])
def test_large_norms_of_triplets_do_not_overflow(p, dtype, backend):
    """They come near the largest difference, whose gradient equal ones share."""
    a, b, c = (np.array(x, dtype) for x in ([[1.8, 0.2, -1.8]], [[0.0, 0, 0]], [[1.8, 0.2, 8.2]]))
    criterion = xpconv.TripletMarginLoss(p=p, eps=0.0, margin=9.0)
    assert float(criterion(*map(xpconv.asarray, (a, b, c)))) == pytest.approx(1.8 - 10 + 9, abs=0.02)
    grads = [xpconv.asnumpy(g) for g in criterion.backward()]
    np.testing.assert_allclose(grads[1], [[-0.5, 0, 0.5]], atol=0.01)
    np.testing.assert_allclose(grads[2], [[0, 0, -1]], atol=1e-6)


def test_norm_0_counts_differences(backend):
    torch = oracle()
    a, b, c = X, X + (UNIT > 0.5), X + (UNIT > 0.3)
    criterion = xpconv.TripletMarginLoss(p=0, eps=0.0, reduction="none")
    expected = torch.nn.TripletMarginLoss(p=0, eps=0.0, reduction="none")(*map(torch.from_numpy, (a, b, c)))
    np.testing.assert_allclose(xpconv.asnumpy(criterion(*map(xpconv.asarray, (a, b, c)))), expected.numpy())
    assert not any(xpconv.asnumpy(g).any() for g in criterion.backward())


# --- under seterr(all="raise") -----------------------------------------------------------------------------

SURE = np.array([[200.0, 0.0, -200.0], [-1e4, 30.0, 90.0], [1e-30, -1e-30, 1e-42]])
HARMLESS = {
    "CrossEntropyLoss": (SURE, np.array([0, 1, 2])),
    "NLLLoss": (-np.abs(SURE), np.array([0, 1, 2])),
    "BCELoss": (np.array([0.0, 1e-42, 1e-30, 1.0, 0.99, 0.5]), np.array([0.0, 0.0, 1e-40, 1.0, 0.0, 1e-30])),
    "BCEWithLogitsLoss": (SURE, np.array([[1.0, 0, 0], [0, 1, 1], [1e-30, 0, 1]])),
    "FocalLoss": (SURE, np.array([[1.0, 0, 0], [0, 1, 1], [0, 0, 1]])),
    "SoftMarginLoss": (SURE, np.where(SURE > 0, 1.0, -1.0)),
    "HingeEmbeddingLoss": (SURE, np.where(SURE > 0, 1.0, -1.0)),
    "MultiLabelSoftMarginLoss": (SURE, (SURE > 0) * 1.0),
    "MultiMarginLoss": (SURE, np.array([0, 1, 2])),
    "MultiLabelMarginLoss": (SURE, np.array([[0, -1, 1], [2, 1, -1], [-1, 0, 0]])),
    "KLDivLoss": (-np.abs(SURE), np.array([[1.0, 0, 0], [1e-40, 0.5, 0.5], [0, 0, 1]])),
    "PoissonNLLLoss": (-np.abs(SURE), np.array([[1.0, 0, 0], [2, 5, 0], [1e-40, 0, 1]])),
    "GaussianNLLLoss": (SURE * 1e-30, SURE * 1e-25, np.abs(SURE) * 1e-30),
    "MSELoss": (SURE * 1e-30, SURE * 1e-28),
    "L1Loss": (SURE * 1e-40, SURE * 1e-42),
    "SmoothL1Loss": (SURE * 1e-30, SURE * 1e-28),
    "HuberLoss": (SURE * 1e-30, SURE * 1e-28),
    "DiceLoss": (np.abs(SURE)[None] * 1e-40, (SURE > 0)[None] * 1.0),
    "MarginRankingLoss": (SURE * 1e-30, SURE * 1e-28, np.where(SURE > 0, 1.0, -1.0)),
    "CosineEmbeddingLoss": (SURE * 1e-30, SURE * 1e-28, np.array([1.0, -1.0, 1.0])),
    "TripletMarginLoss": (SURE * 1e-30, SURE * 1e-28, SURE),
}


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("name", HARMLESS)
def test_nothing_harmless_raises(name, reduction, dtype):
    """A result that underflows to 0 is right."""
    inputs = HARMLESS[name]
    if dtype == "float16":
        inputs = tuple(np.clip(x, -6e4, 6e4) if x.dtype.kind == "f" else x for x in inputs)
    inputs = [x.astype(dtype) if x.dtype.kind == "f" else x for x in inputs]
    options = [{"p": p} for p in (0.5, 1, 2, 3, 300, math.inf)] if name == "TripletMarginLoss" else [{}]
    for option in options:
        criterion = getattr(xpconv, name)(reduction=reduction, **option)
        with np.errstate(all="ignore"):
            expected = criterion(*inputs), criterion.backward()
        with np.errstate(all="raise"):
            loss = criterion(*inputs)
            grads = criterion.backward(1e-3)
        assert np.isfinite(loss).all()
        np.testing.assert_array_equal(loss, expected[0])
        assert all(np.isfinite(g).all() for g in (grads if isinstance(grads, tuple) else (grads,)))


def test_what_is_harmful_still_raises():
    with np.errstate(all="raise"), pytest.raises(FloatingPointError, match="overflow"):
        xpconv.MSELoss()(np.array([1e30], "float32"), np.array([0], "float32"))


def test_a_void_mean_raises_nothing():
    with np.errstate(all="raise"):
        criterion = xpconv.CrossEntropyLoss(ignore_index=1)
        assert np.isnan(criterion(X, ONES))
        assert not criterion.backward().any()


# --- memory -----------------------------------------------------------------------------------------------


def multilabel_naive(x, target):
    classes, loss, grad = len(x), 0.0, np.zeros(len(x))
    listed = list(target[: list(target).index(-1)] if -1 in target else target)
    for t in listed:
        for c in set(range(classes)) - set(listed):
            if 1 - x[t] + x[c] > 0:
                loss += (1 - x[t] + x[c]) / classes
                grad[t] -= 1 / classes
                grad[c] += 1 / classes
    return loss, grad


def lists(n, classes, seed):
    """Targets of all lengths, with classes listed twice among them."""
    rng = np.random.default_rng(seed)
    target = rng.integers(0, classes, (n, classes))
    for row, length in zip(target, rng.integers(0, classes + 1, n), strict=True):
        row[length : length + 1] = -1
    return target


@pytest.mark.parametrize("values", ["random", "integers", "one decimal", "equal"])
def test_multilabel_margin(values, backend):
    """Integers and decimals stand at the kinks, where PyTorch's gradient is 0."""
    x = 2 * np.random.default_rng(1).normal(size=(40, 7))
    x = {"random": x, "integers": x.round(), "one decimal": x.round(1), "equal": 0 * x}[values]
    target = lists(40, 7, 2)
    expected = [multilabel_naive(*row) for row in zip(x, target, strict=True)]
    criterion = xpconv.MultiLabelMarginLoss(reduction="none")
    losses = xpconv.asnumpy(criterion(xpconv.asarray(x), xpconv.asarray(target)))
    np.testing.assert_allclose(losses, [loss for loss, _ in expected], atol=1e-12)
    np.testing.assert_allclose(xpconv.asnumpy(criterion.backward()), [g for _, g in expected], atol=1e-12)
    narrow = x.astype("float32"), target
    against_torch("MultiLabelMarginLoss", {"reduction": "none"}, narrow, [0], 1e-5)


def test_multilabel_margin_with_a_masked_class(backend):
    x = np.array([[0.5, -np.inf, 0.2, 0.1], [1.0, 2.0, -np.inf, 0.0]])
    target = np.array([[0, 2, -1, 0], [3, -1, 0, 0]])
    against_torch("MultiLabelMarginLoss", {"reduction": "none"}, (x, target), [0])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_multilabel_margin_needs_no_table_of_pairs(dtype):
    x = np.random.default_rng(0).normal(size=(8, 2000)).astype(dtype)
    target = lists(8, 2000, 3)
    criterion = xpconv.MultiLabelMarginLoss()
    tracemalloc.start()
    criterion(x, target)
    criterion.backward()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 40 * x.size * 8  # some arrays of N · C; the pairs would be 2000 of them


def test_counts_above_what_float16_holds():
    x = np.ones((70000, 2), "float16")
    for criterion, expected in (
        (xpconv.CrossEntropyLoss(), math.log(2)),
        (xpconv.CrossEntropyLoss(ignore_index=1), math.log(2)),
        (xpconv.CrossEntropyLoss(weight=np.ones(2)), math.log(2)),
    ):
        loss = criterion(x, np.zeros(70000, "int64"))
        assert float(loss) == pytest.approx(expected, rel=1e-3)
        np.testing.assert_allclose(criterion.backward(1e4)[0], [-1e4 / 140000, 1e4 / 140000], rtol=2e-3)


# --- a stack ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", HARMLESS)
def test_forwards_and_backwards_of_one_object(name, backend):
    """Last in, first out; a copy goes on alone."""
    inputs = [x.astype("float64") if x.dtype.kind == "f" else x for x in HARMLESS[name]]
    batches = [[xpconv.asarray(x[:n]) for x in inputs] for n in (1, 3)]
    if name == "DiceLoss":
        batches = [[xpconv.asarray(x[:, :n]) for x in inputs] for n in (1, 3)]
    alone = []
    for batch in batches:
        criterion = getattr(xpconv, name)()
        criterion(*batch)
        alone.append(criterion.backward())
    criterion = copy.deepcopy(getattr(xpconv, name)())
    for batch in batches:
        criterion(*batch)
    for expected in reversed(alone):
        grads = criterion.backward()
        pairs = zip(grads, expected, strict=True) if isinstance(grads, tuple) else [(grads, expected)]
        for a, b in pairs:
            np.testing.assert_array_equal(xpconv.asnumpy(a), xpconv.asnumpy(b))


# --- sweeps over every loss -----------------------------------------------------------------------------------


@pytest.mark.parametrize("reduction", ["mean", "none"])
@pytest.mark.parametrize("name", every.LOSSES)
def test_nothing_comes_from_the_host_nor_waits_for_the_device(name, reduction):
    """What a captured step needs."""
    options, inputs = every.LOSSES[name]
    with xpconv.use_backend("double"):
        options = {k: xpconv.asarray(v) if isinstance(v, np.ndarray) else v for k, v in options.items()}
        criterion = getattr(xpconv, name)(reduction=reduction, **options)
        here = [xpconv.asarray(x) for x in inputs]
        g = xpconv.asarray(xpconv.asnumpy(criterion(*here)) * 0 + 1)
        with double.count_syncs() as counter:
            criterion(*here)
            criterion.backward(g)
        assert (counter.n, counter.copies) == (0, 0)


@pytest.mark.parametrize("name", every.LOSSES)
def test_inputs_by_name(name, backend):
    options, inputs = every.LOSSES[name]
    criterion = getattr(xpconv, name)(**options)
    here = [xpconv.asarray(x) for x in inputs]
    expected = float(criterion(*here))
    assert float(criterion(**dict(zip(criterion.names, here, strict=True)))) == expected
    first, *rest = criterion.names
    assert float(criterion(here[0], **dict(zip(rest, here[1:], strict=True)))) == expected
    with pytest.raises(TypeError, match=f"got 1 arrays and {first} by name, expected {first}, {rest[0]}"):
        criterion(here[0], **{first: here[0]})


@pytest.mark.parametrize("name", every.LOSSES)
def test_copies_go_on(name, backend):
    options, inputs = every.LOSSES[name]
    here = [xpconv.asarray(x) for x in inputs]
    criterion = getattr(xpconv, name)(**options)
    expected = float(criterion(*here))
    for other in (copy.deepcopy(criterion), pickle.loads(pickle.dumps(criterion))):  # noqa: S301
        assert float(other(*here)) == expected
        other.backward()


@pytest.mark.parametrize("name", ["MSELoss", "BCEWithLogitsLoss", "KLDivLoss", "DiceLoss", "L1Loss"])
def test_float16_does_not_mix(name, backend):
    x = xpconv.asarray(UNIT[..., None].astype("float16"))
    with pytest.raises(
        DTypeError, match=f"{name}: target is float32 but input is float16; use target.astype"
    ):
        getattr(xpconv, name)()(x, x.astype("float32"))


ODD_VALUES = [
    None, 1, -1, 2.5, math.nan, math.inf, "mean", "x", b"a", [], [1, 2], (), {}, set(), object(), len, 1j, True, 10**400,
    2**63, np.array([1, 2]), np.array(3.0), np.zeros((0,)), np.zeros((2, 3)), np.zeros((2, 3), "float32"), np.zeros(()),
    np.zeros((2, 3), "float16"), np.zeros((2, 3), bool), np.zeros((2, 3), complex), np.array(["a"]), np.array([None]),
    np.ones((2, 3)).view(np.matrix), np.ma.array([1.0]), np.uint8(2), np.float32(1), np.True_, np.zeros((2, 3), ">f8"),
    np.zeros((2, 3, 4, 5)), np.array([0, 7]), np.zeros((2, 3), "datetime64[s]"), np.zeros((2, 3))[:0], np.array(0, "int8"),
]  # fmt: skip


@pytest.mark.parametrize("name", every.LOSSES)
def test_odd_values_drawn(name):
    """In any place: taken, or refused in words that name the loss."""
    rng = np.random.default_rng(len(name))
    cls, (_, inputs) = getattr(xpconv, name), every.LOSSES[name]
    arguments = list(inspect.signature(cls).parameters)

    def odd():
        return ODD_VALUES[rng.integers(len(ODD_VALUES))]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(250):
            message = f"{cls.__name__}: "
            try:
                criterion = cls(**{a: odd() for a in arguments if rng.random() < 0.2})
                criterion(*(odd() if rng.random() < 0.3 else x for x in inputs))
                criterion.backward(odd() if rng.random() < 0.5 else 1.0)
            except (TypeError, ValueError) as error:
                message = str(error)
            assert re.match(rf"{cls.__name__}(\.backward)?: ", message), message
