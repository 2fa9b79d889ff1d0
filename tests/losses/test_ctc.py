"""CTCLoss against all alignments one by one, finite differences and PyTorch; `one_hot`."""

import itertools
import math
import re
import warnings

import double
import numpy as np
import pytest

import xpconv
from xpconv.errors import BackendError, DTypeError, ShapeError

T, N, C, S = 7, 5, 4, 3
RNG = np.random.default_rng(0)
SCORES = 2 * RNG.normal(size=(T, N, C))
TARGETS = np.array([[1, 2, 3], [1, 1, 2], [2, 2, 2], [3, 0, 0], [0, 0, 0]])
INPUTS, WANTED = (7, 5, 7, 4, 3), (3, 3, 3, 1, 0)


def log_softmax(x):
    x = x - x.max(-1, keepdims=True)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


LOG_P = log_softmax(SCORES)


def naive(log_p, target, blank=0):
    """The sum over all alignments that read as `target`: equal neighbours are one, then blanks go."""
    total = 0.0
    for path in itertools.product(range(log_p.shape[1]), repeat=len(log_p)):
        if [c for c, _ in itertools.groupby(path) if c != blank] == list(target):
            total += math.exp(sum(log_p[t, c] for t, c in enumerate(path)))
    return -math.log(total) if total else math.inf


def strict(backend):
    """Nothing may underflow, overflow or be invalid. The double is NumPy inside, and only stands in for CuPy."""
    return np.errstate(all="raise") if backend == "numpy" else np.errstate()


def on_device(*inputs):
    return [xpconv.asarray(x) if isinstance(x, np.ndarray) else x for x in inputs]


@pytest.mark.parametrize("blank", [0, 3])
def test_all_alignments(blank, backend):
    targets = (TARGETS - (blank == 3)) % C
    losses = xpconv.CTCLoss(blank, "none")(*on_device(LOG_P, targets, INPUTS, WANTED))
    expected = [
        naive(LOG_P[:n, i], targets[i, :m], blank)
        for i, (n, m) in enumerate(zip(INPUTS, WANTED, strict=True))
    ]
    np.testing.assert_allclose(xpconv.asnumpy(losses), expected, rtol=1e-12)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_gradient_by_finite_differences(reduction, backend):
    """With respect to the log-probabilities themselves, whatever they sum to."""
    criterion = xpconv.CTCLoss(reduction=reduction)
    g = RNG.normal(size=N) if reduction == "none" else 1.0
    x = LOG_P + 0.3 * RNG.normal(size=LOG_P.shape)
    criterion(*on_device(x, TARGETS, INPUTS, WANTED))
    grad = xpconv.asnumpy(criterion.backward(xpconv.asarray(g) if reduction == "none" else g))
    with xpconv.no_grad():
        for i in range(12):
            step = np.random.default_rng(i).normal(size=x.shape)
            above, below = (
                xpconv.asnumpy(criterion(*on_device(x + e * step, TARGETS, INPUTS, WANTED)))
                for e in (1e-6, -1e-6)
            )
            assert (grad * step).sum() == pytest.approx(
                ((above - below) * g).sum() / 2e-6, rel=1e-6, abs=1e-8
            )


def against_torch(scores, targets, inputs, wanted, tolerance=1e-10, **options):
    """Through LogSoftmax, as PyTorch's gradient holds that of the softmax already."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: `pip install torch`")
    z = torch.from_numpy(scores.copy()).requires_grad_()
    there = [torch.from_numpy(x) if isinstance(x, np.ndarray) else x for x in (targets, inputs, wanted)]
    expected = torch.nn.CTCLoss(**options)(z.log_softmax(-1), *there)
    expected.sum().backward()
    layer, criterion = xpconv.LogSoftmax(-1), xpconv.CTCLoss(**options)
    loss = criterion(layer(xpconv.asarray(scores)), *on_device(targets, inputs, wanted))
    grad = layer.backward(criterion.backward(xpconv.asarray(np.ones(loss.shape, scores.dtype))))
    for ours, other in ((loss, expected), (grad, z.grad)):
        ours, other = xpconv.asnumpy(ours), other.detach().numpy()
        assert (ours.shape, ours.dtype) == (other.shape, other.dtype)
        np.testing.assert_allclose(ours, other, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_as_pytorch(reduction, backend):
    options = {"reduction": reduction}
    together = np.concatenate([row[:n] for row, n in zip(TARGETS, WANTED, strict=True)])
    for targets in (TARGETS, together, TARGETS.astype("int32")):
        against_torch(SCORES, targets, INPUTS, WANTED, **options)
        against_torch(SCORES, targets, np.array(INPUTS), np.array(WANTED), **options)
    against_torch(SCORES.astype("float32"), TARGETS, INPUTS, WANTED, 1e-5, **options)
    against_torch(SCORES, TARGETS % 3, INPUTS, WANTED, blank=3, **options)
    for lengths in ((5,), (2,)), (np.array(5), np.array(2)):
        against_torch(SCORES[:, 0], TARGETS[0, :2], *lengths, **options)
    against_torch(SCORES[:, :1], TARGETS[:1], (7,), (3,), **options)


@pytest.mark.parametrize("zero_infinity", [False, True])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_targets_that_no_alignment_fits(reduction, zero_infinity, backend):
    """Too few frames, too few for the blanks between equal labels, none; and such as fit beside them."""
    inputs, wanted = (2, 5, 4, 0, 0), (3, 3, 3, 1, 0)
    with warnings.catch_warnings(), strict(backend):
        warnings.simplefilter("error")
        against_torch(SCORES, TARGETS, inputs, wanted, reduction=reduction, zero_infinity=zero_infinity)


def test_masked_classes(backend):
    """Log-probabilities of -inf."""
    x = SCORES.copy()
    x[:, :, 3] = -np.inf
    criterion = xpconv.CTCLoss(reduction="none")
    with strict(backend):
        losses = xpconv.asnumpy(criterion(*on_device(log_softmax(x), TARGETS, INPUTS, WANTED)))
        grad = xpconv.asnumpy(criterion.backward())
    assert np.isinf(losses).tolist() == [True, False, False, True, False]
    assert np.isfinite(grad[:, [1, 2, 4]]).all()
    assert losses[1] == pytest.approx(naive(log_softmax(x)[:5, 1], TARGETS[1]), rel=1e-12)


def test_long_sequences_in_float32(backend):
    """Products of thousands of probabilities keep their digits."""
    scores = np.random.default_rng(1).normal(size=(800, 2, 5))
    targets = np.random.default_rng(2).integers(1, 5, (2, 120))
    inputs = log_softmax(scores), targets, (800, 700), (120, 100)
    exact, rounded = xpconv.CTCLoss(), xpconv.CTCLoss()
    narrow = inputs[0].astype("float32"), *inputs[1:]
    expected = exact(*on_device(narrow[0].astype("float64"), *inputs[1:]))
    loss = rounded(*on_device(*narrow))
    assert loss.dtype == "float32"
    assert float(loss) == pytest.approx(float(expected), rel=1e-6)
    grad, other = xpconv.asnumpy(rounded.backward()), xpconv.asnumpy(exact.backward())
    np.testing.assert_allclose(grad, other, rtol=1e-5, atol=1e-10)


def test_of_nothing(backend):
    for reduction, expected in (("mean", np.nan), ("sum", 0.0)):
        criterion = xpconv.CTCLoss(reduction=reduction)
        np.testing.assert_equal(float(criterion(*on_device(LOG_P[:, :0], TARGETS[:0], (), ()))), expected)
        assert criterion.backward().shape == (T, 0, C)
    against_torch(SCORES[:, :2], TARGETS[:2, :0], (7, 6), (0, 0))
    assert np.isinf(float(xpconv.CTCLoss()(*on_device(LOG_P[:0, :1], TARGETS[:1], (0,), (3,)))))


def test_no_synchronisation(backend):
    """Neither with lengths of the host nor of the device; a bad one there gives NaN."""
    log_p, targets = on_device(LOG_P, TARGETS)
    together = xpconv.asarray(np.concatenate([row[:n] for row, n in zip(TARGETS, WANTED, strict=True)]))
    expected = float(xpconv.CTCLoss()(log_p, targets, INPUTS, WANTED))
    lengths = on_device(np.array(INPUTS), np.array(WANTED))
    for given in (
        (targets, INPUTS, WANTED),
        (targets, *lengths),
        (together, INPUTS, WANTED),
        (together, *lengths),
    ):
        criterion = xpconv.CTCLoss()
        with double.count_syncs() as counter:
            loss = criterion(log_p, *given)
            criterion.backward()
        assert counter.n == 0 or backend == "numpy"
        assert float(loss) == pytest.approx(expected, rel=1e-12)
    if backend == "numpy":
        return
    for bad in ((np.array([8, 5, 7, 4, 3]), WANTED), (INPUTS, np.array([3, 4, 3, 1, 0])), (INPUTS, np.array([-1, 3, 3, 1, 0]))):  # fmt: skip
        losses = xpconv.CTCLoss(reduction="none")(log_p, targets, *on_device(*map(np.array, bad)))
        assert np.isnan(xpconv.asnumpy(losses)).sum() == 1
    wrong = TARGETS.copy()
    wrong[0, 1] = C
    criterion = xpconv.CTCLoss(reduction="none")
    losses = xpconv.asnumpy(criterion(log_p, xpconv.asarray(wrong), INPUTS, WANTED))
    grad = xpconv.asnumpy(criterion.backward())
    assert np.isnan(losses).tolist() == [True] + [False] * 4
    assert np.isnan(grad[:, 0]).all()
    assert np.isfinite(grad[:, 1:]).all()


def ctc(log_p=LOG_P, targets=TARGETS, inputs=INPUTS, wanted=WANTED, **options):
    return xpconv.CTCLoss(**options)(*on_device(log_p, targets, inputs, wanted))


ERRORS = [
    (lambda: ctc(inputs=(8, 5, 7, 4, 3)), ValueError, "input_lengths[0] is 8, expected 0 to 7"),
    (lambda: ctc(inputs=(-1, 5, 7, 4, 3)), ValueError, "input_lengths[0] is -1, expected 0 to 7"),
    (lambda: ctc(wanted=(3, 4, 3, 1, 0)), ValueError, "target_lengths[1] is 4, expected 0 to 3"),
    (lambda: ctc(inputs=(7, 5)), ShapeError, "input_lengths has 2 numbers, expected 5, one for each sequence"),
    (lambda: ctc(inputs=7), TypeError, "input_lengths is 7, expected integers: a tuple or an array"),
    (lambda: ctc(inputs=(7.0, 5, 7, 4, 3)), TypeError, "input_lengths[0] is 7.0, expected an int"),
    (lambda: ctc(wanted=np.array([3.0, 3, 3, 1, 0])), DTypeError, "target_lengths is float64, expected integers"),
    (lambda: ctc(targets=TARGETS[:4]), ShapeError, "targets has shape (4, 3), expected (5, S), or (n,) with n the sum of target_lengths, 10"),
    (lambda: ctc(targets=TARGETS.reshape(-1)), ShapeError, "targets has shape (15,), expected (5, S), or (n,)"),
    (lambda: ctc(targets=TARGETS * 1.0), DTypeError, "targets is float64, expected integer labels"),
    (lambda: ctc(LOG_P[0, 0]), ShapeError, "log_probs has shape (4,), expected (T, N, C) or (T, C)"),
    (lambda: ctc(blank=4), ShapeError, "log_probs has shape (7, 5, 4), expected (T, N, C) or (T, C) with C above 4, the blank"),
    (lambda: ctc(blank=-1), ValueError, "blank is -1, expected at least 0"),
    (lambda: ctc(zero_infinity="no"), TypeError, "zero_infinity is 'no', expected True or False"),
    (lambda: ctc(TARGETS[:, :, None]), DTypeError, "log_probs is int64, expected floating point"),
    (lambda: xpconv.CTCLoss()(xpconv.asarray(LOG_P), TARGETS.tolist(), INPUTS, WANTED), BackendError, "got builtins.list"),
    (lambda: xpconv.CTCLoss()(xpconv.asarray(LOG_P)), TypeError, "got 1 arrays, expected 4: log_probs, targets, input_lengths"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "error", "message"), ERRORS, ids=[m for _, _, m in ERRORS])
def test_errors(call, error, message, backend):
    with pytest.raises(error, match="CTCLoss: .*" + re.escape(message)):
        call()


def test_a_label_out_of_range():
    bad = TARGETS.copy()
    bad[1, 2] = 4
    with pytest.raises(ValueError, match=r"CTCLoss: targets holds label 4, expected 0 to 3 \(C = 4\)"):
        ctc(targets=bad)
    bad[1, 2], bad[4] = 2, -7  # what is beyond a length may be anything
    assert float(ctc(targets=bad)) == float(ctc())


# --- one_hot ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(), (4,), (2, 3), (0,), (2, 0, 3)], ids=str)
def test_one_hot(shape, backend):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: `pip install torch`")
    target = np.asarray(np.random.default_rng(0).integers(0, 5, shape))
    expected = torch.nn.functional.one_hot(torch.from_numpy(target), 6).numpy()
    with double.count_syncs() as counter:
        rows = xpconv.one_hot(xpconv.asarray(target), 6)
    assert counter.n == 0
    assert rows.dtype == "int64"
    np.testing.assert_array_equal(xpconv.asnumpy(rows), expected)
    for dtype in ("float32", "bool", "uint8"):
        rows = xpconv.one_hot(xpconv.asarray(target.astype("uint8")), 6, dtype=dtype)
        assert rows.dtype == dtype
        np.testing.assert_array_equal(xpconv.asnumpy(rows), expected.astype(dtype))
    if target.size:
        rows = xpconv.one_hot(xpconv.asarray(target))
        np.testing.assert_array_equal(
            xpconv.asnumpy(rows), torch.nn.functional.one_hot(torch.from_numpy(target)).numpy()
        )


def test_one_hot_errors(backend):
    target = xpconv.asarray(np.array([0, 2, 1]))
    with pytest.raises(DTypeError, match="one_hot: target is float64, expected integer class indices"):
        xpconv.one_hot(xpconv.asarray(np.zeros(3)), 2)
    with pytest.raises(BackendError, match=r"one_hot: target: .*list"):
        xpconv.one_hot([0, 1], 2)
    with pytest.raises(
        ValueError, match="one_hot: num_classes is -1 and there is no class to count; give the number"
    ):
        xpconv.one_hot(target[:0])
    with pytest.raises(TypeError, match=r"one_hot: num_classes is 2.5, expected an int"):
        xpconv.one_hot(target, 2.5)
    with pytest.raises(ValueError, match="one_hot: target holds class -1, expected 0 to 1"):
        xpconv.one_hot(target - 1)
    if backend == "numpy":
        with pytest.raises(ValueError, match="one_hot: target holds class 2, expected 0 to 1"):
            xpconv.one_hot(target, 2)
    else:
        np.testing.assert_array_equal(xpconv.asnumpy(xpconv.one_hot(target, 2)), [[1, 0], [0, 0], [0, 1]])


@pytest.mark.parametrize("dtype", ["x", 1, object(), "complex64", "datetime64[s]", [], np.zeros(2), "U3"])
def test_one_hot_refuses_other_dtypes(dtype, backend):
    with pytest.raises(DTypeError, match=r"one_hot: dtype is .*, expected one of numbers, such as 'float32'"):
        xpconv.one_hot(xpconv.asarray(np.array([0, 1])), 2, dtype=dtype)


@pytest.mark.parametrize("count", [2**63, 10**400, -2, "3", None, True, np.array([1, 2])])
def test_one_hot_refuses_other_numbers_of_classes(count, backend):
    with pytest.raises((TypeError, ValueError), match="one_hot: num_classes is "):
        xpconv.one_hot(xpconv.asarray(np.array([0, 1])), count)


def test_one_hot_dtypes_and_messages(backend):
    target = xpconv.asarray(np.array([1, 0]))
    assert xpconv.one_hot(target, 2, dtype=None).dtype == "int64"
    assert xpconv.one_hot(target, 2, dtype=">f4").dtype.isnative
    with pytest.raises(ValueError, match="one_hot: target holds class -2, expected classes from 0 up"):
        xpconv.one_hot(target - 3)
    with pytest.raises(ValueError, match="one_hot: num_classes is 0, expected at least 1, or -1"):
        xpconv.one_hot(target, 0)
