"""Losses against plain loops in float64, on all backends, and against PyTorch where it is installed."""

import inspect
import math
import re

import double
import numpy as np
import pytest
from effort import examples
from hypothesis import given, settings
from hypothesis import strategies as st

import xpconv
from xpconv import BCEWithLogitsLoss, MSELoss, SoftmaxCrossEntropyLoss
from xpconv.errors import BackendError, BackwardError, DTypeError, ShapeError

INTEGERS = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
REDUCTIONS = ["mean", "sum", "none"]
TOLERANCE = {"float64": 1e-12, "float32": 2e-6}  # of the largest value


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


# --- the references: one sample or element at a time -------------------------------------------------


def cross_entropy_naive(x, target):
    """Losses and their gradients, one sample at a time, with Python's exact `fsum`."""
    images = np.moveaxis(x.astype("float64"), min(1, x.ndim - 1), -1)
    losses, grads = np.empty(images.shape[:-1]), np.empty(images.shape)
    if target.shape == x.shape:
        target = np.moveaxis(target.astype("float64"), min(1, x.ndim - 1), -1)
    for at in np.ndindex(losses.shape):
        scores = [float(v) for v in images[at]]
        top = max(scores)
        log_sum = top + math.log(math.fsum(math.exp(v - top) for v in scores))
        weights = target[at] if target.shape == images.shape else np.arange(len(scores)) == target[at]
        losses[at] = math.fsum(float(w) * (log_sum - v) for w, v in zip(weights, scores, strict=True) if w)
        total = math.fsum(map(float, weights))
        grads[at] = [math.exp(v - log_sum) * total - float(w) for w, v in zip(weights, scores, strict=True)]
    return losses, np.moveaxis(grads, -1, min(1, x.ndim - 1))


def mse_naive(x, target):
    pairs = [(float(a), float(b)) for a, b in zip(x.flat, target.flat, strict=True)]
    losses, grads = [(a - b) ** 2 for a, b in pairs], [2 * (a - b) for a, b in pairs]
    return np.reshape(losses, x.shape), np.reshape(grads, x.shape)


def bce_naive(x, target):
    """From the definition, with log σ(x) = -log(1 + exp(-x)), the larger exponential taken out."""

    def log_sigmoid(v):
        return -math.log1p(math.exp(-v)) if v > 0 else v - math.log1p(math.exp(v))

    losses, grads = [], []
    for v, t in zip(map(float, x.flat), map(float, target.flat), strict=True):
        losses.append(-t * log_sigmoid(v) - (1 - t) * log_sigmoid(-v))
        grads.append(math.exp(log_sigmoid(v)) - t)
    return np.reshape(losses, x.shape), np.reshape(grads, x.shape)


NAIVE = {SoftmaxCrossEntropyLoss: cross_entropy_naive, MSELoss: mse_naive, BCEWithLogitsLoss: bce_naive}


def close(got, expected, tolerance, what):
    got = xpconv.asnumpy(got)
    assert got.shape == np.shape(expected), what
    scale = np.abs(expected).max(initial=0.0)
    np.testing.assert_allclose(got, expected, rtol=0, atol=tolerance * scale, err_msg=what)


def check(loss, x, target, backend, dtypes=("float64", "float32")):
    """Value, gradient, dtype and place of a loss by every reduction; nothing modified, no synchronisation."""
    for dtype in dtypes:
        x_, t_ = x.astype(dtype), target.astype(dtype) if target.dtype.kind == "f" else target
        losses, grads = NAIVE[loss](x_, t_)
        tolerance = TOLERANCE[dtype]
        dx, dt = xpconv.asarray(x_.copy()), xpconv.asarray(t_.copy())
        g = normal(*losses.shape, seed=1).astype(dtype)
        spread = np.expand_dims(g, min(1, x.ndim - 1)) if grads.shape != g.shape else g
        outputs = [
            ("mean", losses.mean(), 1.0, grads / losses.size),
            ("mean", losses.mean(), -2.5, -2.5 * grads / losses.size),
            ("sum", losses.sum(), 1.0, grads),
            ("sum", losses.sum(), 3, 3 * grads),
            ("none", losses, 1.0, grads),
            ("none", losses, 0.5, 0.5 * grads),
            ("none", losses, xpconv.asarray(g), grads * spread.astype("float64")),
        ]
        for reduction, expected, grad_output, expected_grad in outputs:
            what = f"{dtype}, {reduction}, times {type(grad_output).__name__}"
            criterion = loss(reduction=reduction)
            with double.count_syncs() as counter:
                value = criterion(dx, dt)
                grad = criterion.backward(grad_output)
            assert counter.n == 0, what
            if backend != "numpy":
                assert isinstance(value, xpconv.get_xp(dx).ndarray), what
            assert value.ndim == np.ndim(expected), what
            assert (str(value.dtype), str(grad.dtype)) == (dtype, dtype), what
            close(value, expected, tolerance, f"loss: {what}")
            close(grad, expected_grad, tolerance, f"gradient: {what}")
        np.testing.assert_array_equal(xpconv.asnumpy(dx), x_)
        np.testing.assert_array_equal(xpconv.asnumpy(dt), t_)


# --- values and gradients ----------------------------------------------------------------------------

SCORES = {
    "matrix": (5, 4),
    "one sample": (3,),
    "images": (2, 3, 4, 2),
    "sequence": (2, 5, 3),
    "one class": (3, 1),
}


def without_classes(shape):
    return shape[: min(1, len(shape) - 1)] + shape[min(1, len(shape) - 1) + 1 :]


def indices(shape, dtype="int64", seed=2):
    classes = shape[min(1, len(shape) - 1)]
    return np.asarray(np.random.default_rng(seed).integers(0, classes, without_classes(shape))).astype(dtype)


def one_hot(shape, dtype):
    axis = min(1, len(shape) - 1)
    classes = np.arange(shape[axis]).reshape(-1, *(1,) * (len(shape) - 1 - axis))
    return (np.expand_dims(indices(shape), axis) == classes).astype(dtype)


def probabilities(shape, dtype="float64"):
    p = np.random.default_rng(3).random(shape)
    return (p / p.sum(axis=min(1, len(shape) - 1), keepdims=True)).astype(dtype)


@pytest.mark.sample(4)
@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize("shape", SCORES.values(), ids=SCORES.keys())
def test_cross_entropy_of_class_indices(shape, dtype, backend):
    check(SoftmaxCrossEntropyLoss, normal(*shape), indices(shape, dtype), backend)


@pytest.mark.sample(4)
@pytest.mark.parametrize("dtype", ["bool", "uint8", "int64", "float64"])
@pytest.mark.parametrize("shape", SCORES.values(), ids=SCORES.keys())
def test_cross_entropy_of_one_hot_rows(shape, dtype, backend):
    target = one_hot(shape, dtype)
    check(SoftmaxCrossEntropyLoss, normal(*shape), target, backend)
    by_index, _ = cross_entropy_naive(normal(*shape), indices(shape))
    by_row, _ = cross_entropy_naive(normal(*shape), target)
    np.testing.assert_allclose(by_row, by_index, rtol=1e-14)


@pytest.mark.parametrize("shape", SCORES.values(), ids=SCORES.keys())
@pytest.mark.parametrize("scale", [1.0, 2.5], ids=["sum to 1", "do not"])
def test_cross_entropy_of_probabilities(shape, scale, backend):
    check(SoftmaxCrossEntropyLoss, normal(*shape), scale * probabilities(shape), backend)


@pytest.mark.sample(4)
@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize("classes", [100, 128, 200, 256, 257, 300])
def test_cross_entropy_of_more_classes_than_the_target_can_count(classes, dtype, backend):
    """Labels of one byte are all valid for any number of classes, also one that a byte does not hold."""
    target = np.array([0, 3, 40, 99], dtype)
    check(SoftmaxCrossEntropyLoss, normal(4, classes), target, backend)


@pytest.mark.parametrize("shape", [(), (1,), (7,), (3, 4), (2, 3, 4, 5)], ids=str)
@pytest.mark.parametrize("loss", [MSELoss, BCEWithLogitsLoss])
def test_elementwise_losses(loss, shape, backend):
    check(loss, 3 * np.asarray(normal(*shape)), np.random.default_rng(4).random(shape), backend)


@pytest.mark.parametrize("loss", NAIVE)
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_gradient_by_finite_differences(loss, reduction, backend):
    x, target = normal(4, 3), probabilities((4, 3))
    g = normal(*loss(reduction="none")(x, target).shape, seed=5) if reduction == "none" else 1.0
    criterion = loss(reduction=reduction)
    criterion(xpconv.asarray(x), xpconv.asarray(target))
    grad = xpconv.asnumpy(criterion.backward(xpconv.asarray(g) if reduction == "none" else g))
    numeric = np.empty_like(x)
    for at in np.ndindex(x.shape):
        step = np.zeros_like(x)
        step[at] = 1e-6
        with xpconv.no_grad():
            above = xpconv.asnumpy(criterion(xpconv.asarray(x + step), xpconv.asarray(target)))
            below = xpconv.asnumpy(criterion(xpconv.asarray(x - step), xpconv.asarray(target)))
        numeric[at] = ((above - below) * g).sum() / 2e-6
    np.testing.assert_allclose(grad, numeric, rtol=1e-7, atol=1e-9)


@settings(max_examples=examples(60))
@given(data=st.data(), loss=st.sampled_from(list(NAIVE)))
def test_losses_drawn(data, loss):
    draw = data.draw
    shape = tuple(draw(st.lists(st.integers(1, 5), min_size=1, max_size=4)))
    x = draw(st.sampled_from([0.1, 1.0, 30.0, 1e4])) * normal(*shape, seed=draw(st.integers(0, 99)))
    target = probabilities(shape)
    if loss is SoftmaxCrossEntropyLoss and draw(st.booleans()):
        target = indices(shape, draw(st.sampled_from(INTEGERS)))
    backend = draw(st.sampled_from(["numpy", "double"]))
    with xpconv.use_backend(backend):
        check(loss, x, target, backend)


# --- the ends of the range ---------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_cross_entropy_is_stable(dtype, backend):
    """Scores of ±1e4, equal ones, and one whose probability underflows: exact and finite."""
    x = np.array(
        [[1e4, -1e4, 0], [-1e4, 1e4, 1e4], [1e4, 1e4, 1e4], [-1e4, -1e4, -1e4], [0, 200, -200]], dtype
    )
    target = np.array([1, 0, 2, 0, 2])
    check(SoftmaxCrossEntropyLoss, x, target, backend, [dtype])
    losses = xpconv.asnumpy(
        SoftmaxCrossEntropyLoss(reduction="none")(xpconv.asarray(x), xpconv.asarray(target))
    )
    np.testing.assert_allclose(losses, [2e4, 2e4 + math.log(2), math.log(3), math.log(3), 400], rtol=1e-6)


def test_cross_entropy_of_a_sure_and_right_answer_is_small_but_not_zero_in_float64(backend):
    """log(1 + ε) rather than log of a rounded probability."""
    x = np.array([[30.0, 0.0]])
    loss = SoftmaxCrossEntropyLoss()(xpconv.asarray(x), xpconv.asarray(np.array([0])))
    np.testing.assert_allclose(float(loss), math.exp(-30), rtol=1e-2)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_bce_is_stable(dtype, backend):
    x = np.array([1e4, 1e4, -1e4, -1e4, 1e4, -1e4, 0, 100, -100], dtype)
    target = np.array([1, 0, 1, 0, 0.5, 0.25, 0.5, 1, 0], dtype)
    check(BCEWithLogitsLoss, x, target, backend, [dtype])
    losses = xpconv.asnumpy(BCEWithLogitsLoss(reduction="none")(xpconv.asarray(x), xpconv.asarray(target)))
    np.testing.assert_allclose(losses[:7], [0, 1e4, 1e4, 0, 5e3, 2.5e3, math.log(2)], rtol=1e-6)


def test_bce_of_sure_and_right_answers_is_small_but_not_zero(backend):
    """log1p(ε) rather than log(1 + ε)."""
    x, target = np.array([20.0, -30, 50, -300]), np.array([1.0, 0, 1, 0])
    losses = BCEWithLogitsLoss(reduction="none")(xpconv.asarray(x), xpconv.asarray(target))
    np.testing.assert_allclose(xpconv.asnumpy(losses), np.log1p(np.exp(-np.abs(x))), rtol=1e-12)


@pytest.mark.parametrize("kind", ["indices", "one hot", "probabilities"])
def test_scores_of_minus_infinity_mask_a_class(kind, backend):
    """As in PyTorch: the masked class has no probability, no gradient, and no say in the others'."""
    x = np.array([[0.0, -np.inf, 1.0], [2.0, 0.5, -np.inf]])
    target = {
        "indices": np.array([2, 0]),
        "one hot": np.array([[0, 0, 1], [1, 0, 0]]),
        "probabilities": np.array([[0.25, 0.0, 0.75], [0.5, 0.5, 0.0]]),
    }[kind]
    criterion = SoftmaxCrossEntropyLoss(reduction="none")
    losses = xpconv.asnumpy(criterion(xpconv.asarray(x), xpconv.asarray(target)))
    grad = xpconv.asnumpy(criterion.backward())
    for i, keep in enumerate([[0, 2], [0, 1]]):
        t = target[i : i + 1, keep] if kind != "indices" else np.array([keep.index(target[i])])
        expected, expected_grad = cross_entropy_naive(x[i : i + 1, keep], t)
        np.testing.assert_allclose(losses[i], expected[0], rtol=1e-12)
        np.testing.assert_allclose(grad[i, keep], expected_grad[0], rtol=1e-12)
        assert np.delete(grad[i], keep) == 0


@pytest.mark.parametrize("loss", NAIVE)
def test_nan_is_not_hidden(loss, backend):
    x, target = normal(3, 4), probabilities((3, 4))
    x[1, 2] = np.nan
    criterion = loss(reduction="none")
    losses = np.isnan(xpconv.asnumpy(criterion(xpconv.asarray(x), xpconv.asarray(target))))
    assert (losses.any(axis=-1) if losses.ndim == 2 else losses).tolist() == [False, True, False]
    grad = np.isnan(xpconv.asnumpy(criterion.backward()))
    assert grad[1, 2]
    assert not grad[[0, 2]].any()


def test_float16(backend):
    """Not promoted, and off by no more than its precision."""
    x, p = normal(4, 3).astype("float16"), probabilities((4, 3), "float16")
    for loss, target in ((SoftmaxCrossEntropyLoss, indices((4, 3))), (MSELoss, p), (BCEWithLogitsLoss, p)):
        losses, grads = NAIVE[loss](x, target)
        criterion = loss()
        value = criterion(xpconv.asarray(x), xpconv.asarray(target))
        grad = criterion.backward()
        assert (str(value.dtype), str(grad.dtype)) == ("float16", "float16")
        close(value, losses.mean(), 4e-3, loss.__name__)
        close(grad, grads / losses.size, 4e-3, loss.__name__)


@pytest.mark.parametrize("loss", NAIVE)
def test_of_nothing(loss, backend):
    """As PyTorch: no mean, a sum of 0, an empty gradient."""
    x = xpconv.asarray(np.zeros((0, 3), "float32"))
    target = xpconv.asarray(
        np.zeros(0, "int64") if loss is SoftmaxCrossEntropyLoss else np.zeros((0, 3), "float32")
    )
    for reduction, expected in (("mean", np.nan), ("sum", 0.0)):
        criterion = loss(reduction=reduction)
        np.testing.assert_equal(float(criterion(x, target)), expected)
        assert criterion.backward().shape == (0, 3)
    assert loss(reduction="none")(x, target).size == 0


@pytest.mark.parametrize("kind", [float, np.float64, np.float32, int])
@pytest.mark.parametrize("loss", NAIVE)
def test_any_number_scales_the_gradient_and_none_promotes_it(loss, kind, backend):
    x, target = normal(4, 3).astype("float32"), probabilities((4, 3), "float32")
    _, grads = NAIVE[loss](x, target)
    for reduction in ("sum", "none"):
        criterion = loss(reduction=reduction)
        criterion(xpconv.asarray(x), xpconv.asarray(target))
        grad = criterion.backward(kind(2))
        assert str(grad.dtype) == "float32"
        close(grad, 2 * grads, 2e-6, reduction)


def test_a_number_on_the_device_scales_the_gradient(backend):
    """A 0-d array, as another loss is: without asking the device for its value."""
    x, target = normal(4, 3), normal(4, 3, seed=1)
    criterion = MSELoss()
    criterion(xpconv.asarray(x), xpconv.asarray(target))
    with double.count_syncs() as counter:
        grad = criterion.backward(xpconv.asarray(np.array(3.0)))
    assert counter.n == 0
    close(grad, 3 * 2 * (x - target) / 12, 1e-12, "gradient")


# --- what is refused ---------------------------------------------------------------------------------

OUT_OF_RANGE = [([0, 3, 1], 3), ([0, 1, -1], -1), ([-99, 1, 2], -99), ([2, 1, 255], 255)]


@pytest.mark.parametrize(("classes", "bad"), OUT_OF_RANGE)
@pytest.mark.parametrize("dtype", INTEGERS)
def test_a_class_out_of_range(classes, bad, dtype, backend):
    """On the CPU an error. On a device, which is not asked, NaN: in the loss and that sample's gradient."""
    if not np.iinfo(dtype).min <= bad <= np.iinfo(dtype).max:
        pytest.skip(f"{dtype} cannot hold {bad}")
    x, target = normal(3, 3), np.array(classes, dtype)
    criterion = SoftmaxCrossEntropyLoss()
    dx, dt = xpconv.asarray(x), xpconv.asarray(target)
    if backend == "numpy":
        with pytest.raises(ValueError, match=rf"class {bad}, expected 0 to 2 \(C = 3\)"):
            criterion(dx, dt)
        with pytest.raises(BackwardError):
            criterion.backward()
        return
    with double.count_syncs() as counter:
        loss, grad = criterion(dx, dt), criterion.backward()
    assert counter.n == 0
    assert math.isnan(float(loss))
    grad, wrong = xpconv.asnumpy(grad), np.array(classes) == bad
    assert np.isnan(grad[wrong]).all()
    _, expected = cross_entropy_naive(x, np.where(wrong, 0, classes))
    np.testing.assert_allclose(grad[~wrong], expected[~wrong] / 3, rtol=1e-12)


def test_a_class_out_of_range_in_images(backend):
    x, target = normal(2, 3, 4, 5), indices((2, 3, 4, 5))
    target[1, 2, 3] = 7
    criterion = SoftmaxCrossEntropyLoss(reduction="none")
    if backend == "numpy":
        with pytest.raises(ValueError, match="class 7, expected 0 to 2"):
            criterion(x, target)
        return
    losses = np.isnan(xpconv.asnumpy(criterion(xpconv.asarray(x), xpconv.asarray(target))))
    grad = np.isnan(xpconv.asnumpy(criterion.backward()))
    assert np.argwhere(losses).tolist() == [[1, 2, 3]]
    assert grad[1, :, 2, 3].all()
    assert grad.sum() == 3


def f32(*shape):
    return xpconv.asarray(np.zeros(shape, "float32"))


def ints(*shape):
    return xpconv.asarray(np.zeros(shape, "int64"))


CE, MSE, BCE = SoftmaxCrossEntropyLoss, MSELoss, BCEWithLogitsLoss
REFUSED = [
    (lambda: CE()(f32(4, 3), ints(3)), ShapeError, "target has shape (3,), expected (4,)"),
    (lambda: CE()(f32(4, 3), ints(4, 1)), ShapeError, "target has shape (4, 1), expected (4,)"),
    (lambda: CE()(f32(4, 3), ints()), ShapeError, "target has shape (), expected (4,)"),
    (lambda: CE()(f32(3), ints(1)), ShapeError, "target has shape (1,), expected ()"),
    (
        lambda: CE()(f32(2, 3, 4, 5), ints(2, 5, 4)),
        ShapeError,
        "target has shape (2, 5, 4), expected (2, 4, 5)",
    ),
    (lambda: CE()(f32(2, 3, 4, 5), ints(2)), ShapeError, "expected (2, 4, 5) (class indices)"),
    (
        lambda: CE()(f32(4, 3), f32(4)),
        DTypeError,
        "target is float32 of shape (4,), expected integer class indices",
    ),
    (lambda: CE()(f32(4, 3), f32(3, 4)), DTypeError, "target is float32 of shape (3, 4)"),
    (lambda: CE()(f32(4, 3), ints(4).astype("bool")), DTypeError, "target is bool of shape (4,)"),
    (
        lambda: CE()(f32(4, 3), f32(4, 3).astype("float64")),
        DTypeError,
        "target is float64 but input is float32",
    ),
    (lambda: CE()(ints(4, 3), ints(4)), DTypeError, "input is int64, expected floating point"),
    (lambda: CE()(f32(), ints()), ShapeError, "input has shape (), expected (N, C), (C,) or (N, C, …)"),
    (lambda: CE()(f32(4, 0), ints(4)), ShapeError, "input has shape (4, 0)"),
    (lambda: CE()(f32(4, 3), [0, 1, 2, 0]), BackendError, "got builtins.list"),
    (lambda: CE()([[0.0, 1.0]], ints(1)), BackendError, "got builtins.list"),
    (lambda: MSE()(f32(4, 1), f32(4)), ShapeError, "target has shape (4,), expected (4, 1)"),
    (lambda: MSE()(f32(4), f32()), ShapeError, "target has shape (), expected (4,)"),
    (lambda: MSE()(f32(4), f32(4).astype("float64")), DTypeError, "target is float64 but input is float32"),
    (lambda: MSE()(f32(4), f32(4).astype("bool")[:1]), ShapeError, "target has shape (1,), expected (4,)"),
    (lambda: MSE()(ints(4), ints(4)), DTypeError, "input is int64, expected floating point"),
    (lambda: BCE()(f32(2, 3), f32(3, 2)), ShapeError, "target has shape (3, 2), expected (2, 3)"),
    (lambda: BCE()(f32(4), ints(4)), DTypeError, "use target.astype('float32')"),
    (lambda: BCE()(f32(4), 1.0), BackendError, "got builtins.float"),
]


@pytest.mark.parametrize(
    ("call", "error", "message"), REFUSED, ids=[f"{i} {row[2]}" for i, row in enumerate(REFUSED)]
)
def test_refused(call, error, message, backend):
    with pytest.raises(error, match=r"^(SoftmaxCrossEntropy|MSE|BCEWithLogits)Loss: .*" + re.escape(message)):
        call()


@pytest.mark.parametrize("loss", NAIVE)
def test_mixed_backends(loss, backend):
    other = "double" if backend == "numpy" else "numpy"
    x, target = f32(4, 3), xpconv.asarray(np.zeros((4, 3), "float32"), backend=other)
    with pytest.raises(
        BackendError, match=rf"{loss.__name__}: input is {backend} but target is {other}; call"
    ):
        loss()(x, target)
    with pytest.raises(
        BackendError, match=rf"{loss.__name__}: input is {other} but target is {backend}; call"
    ):
        loss()(target, x)
    criterion = loss(reduction="none")
    shape = criterion(x, x).shape
    with pytest.raises(BackendError, match=rf"grad_output is {other} but the output was {backend}"):
        criterion.backward(xpconv.asarray(np.zeros(shape, "float32"), backend=other))


@pytest.mark.parametrize("loss", NAIVE)
@pytest.mark.parametrize("reduction", ["avg", "", None, "Mean"])
def test_reductions_that_do_not_exist(loss, reduction):
    with pytest.raises(
        ValueError, match=f"{loss.__name__}: reduction is {reduction!r}, expected one of 'mean', 'sum'"
    ):
        loss(reduction=reduction)


@pytest.mark.parametrize("loss", NAIVE)
def test_each_backward_takes_one_forward(loss, backend):
    """Last in, first out; none under `no_grad`; one refused leaves its forward in place."""
    criterion = loss(reduction="none")
    xs = [normal(n, 3, seed=n) for n in (2, 4)]
    targets = [probabilities(x.shape) for x in xs]
    with pytest.raises(
        BackwardError, match=f"{loss.__name__}.backward: there is no forward without a backward"
    ):
        criterion.backward()
    with xpconv.no_grad():
        criterion(xpconv.asarray(xs[0]), xpconv.asarray(targets[0]))
    with pytest.raises(BackwardError):
        criterion.backward()
    for x, target in zip(xs, targets, strict=True):
        criterion(xpconv.asarray(x), xpconv.asarray(target))
    with pytest.raises(ShapeError, match="grad_output has shape"):
        criterion.backward(xpconv.asarray(np.zeros((9, 9))))
    losses, _ = NAIVE[loss](xs[1], targets[1])
    with pytest.raises(DTypeError, match="grad_output is float32, expected float64"):
        criterion.backward(xpconv.asarray(np.zeros(losses.shape, "float32")))
    for x, target in reversed(list(zip(xs, targets, strict=True))):
        close(criterion.backward(), NAIVE[loss](x, target)[1], 1e-12, "gradient")
    with pytest.raises(BackwardError):
        criterion.backward()


def test_repr_shows_the_settings(backend):
    assert repr(MSELoss()) == "MSELoss()"
    criterion = SoftmaxCrossEntropyLoss(xpconv.asarray(np.ones(3, "float32")), 3, label_smoothing=0.1)
    assert repr(criterion) == (
        "SoftmaxCrossEntropyLoss(weight=float32 (3,), ignore_index=3, label_smoothing=0.1)"
    )
    assert repr(xpconv.BCELoss(xpconv.asarray(np.ones((1, 2))))) == "BCELoss(weight=float64 (1, 2))"
    assert repr(xpconv.FocalLoss(alpha=None)) == "FocalLoss(alpha=None)"

    class Own(xpconv.Loss):
        def __init__(self, power, base=2.0):
            super().__init__("sum")
            self.power, self.base = power, base

    assert repr(Own(3)) == "Own(power=3)"


def test_repr_of_every_loss_shows_every_setting():
    """Each argument of each constructor is an attribute, and shown where it is not as by default."""
    other = {"reduction": "sum", "alpha": 0.5, "blank": 2, "ignore_index": 2, "label_smoothing": 0.5}
    losses = [
        kind for kind in vars(xpconv).values() if inspect.isclass(kind) and issubclass(kind, xpconv.Loss)
    ]
    assert len(losses) > 20
    for kind in losses:
        assert repr(kind()) == f"{kind.__name__}()"
        for name, parameter in inspect.signature(kind).parameters.items():
            value, shows = other.get(name, 2.5), repr
            if name == "p":
                value = {1: 2.0, 2.0: 1.0}[parameter.default]
            if parameter.default is None and name not in other:
                value, shows = np.ones(2), lambda array: "float64 (2,)"
            if isinstance(parameter.default, bool):
                value = not parameter.default
            assert repr(kind(**{name: value})) == f"{kind.__name__}({name}={shows(value)})"


def test_names():
    assert xpconv.CrossEntropyLoss is SoftmaxCrossEntropyLoss
    assert repr(MSELoss("sum")) == "MSELoss(reduction='sum')"
    assert (
        MSELoss().reduction == BCEWithLogitsLoss().reduction == SoftmaxCrossEntropyLoss().reduction == "mean"
    )


# --- against PyTorch ---------------------------------------------------------------------------------

TORCH_TARGETS = {
    "indices": lambda shape, dtype: indices(shape),
    "probabilities": probabilities,
}


def against_torch(ours, theirs, x, target, dtype):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: `pip install torch`")
    there = torch.from_numpy(x.copy()).requires_grad_()
    expected = theirs(there, torch.from_numpy(np.array(target)))
    g = np.asarray(normal(*expected.shape, seed=6), dtype)
    expected.backward(torch.from_numpy(g))
    value = ours(x, target)
    assert str(value.dtype) == dtype
    close(value, expected.detach().numpy(), TOLERANCE[dtype], "loss")
    close(ours.backward(g), there.grad.numpy(), TOLERANCE[dtype], "gradient")


@pytest.mark.parametrize("kind", TORCH_TARGETS)
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_cross_entropy_equals_torch(kind, reduction, dtype):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: `pip install torch`")
    for shape in SCORES.values():
        for scale in (1.0, 100.0):
            x = (scale * normal(*shape)).astype(dtype)
            target = TORCH_TARGETS[kind](shape, dtype)
            theirs = torch.nn.CrossEntropyLoss(reduction=reduction)
            against_torch(SoftmaxCrossEntropyLoss(reduction=reduction), theirs, x, target, dtype)


@pytest.mark.parametrize("name", ["MSELoss", "BCEWithLogitsLoss"])
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_elementwise_losses_equal_torch(name, reduction, dtype):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: `pip install torch`")
    for shape in [(4,), (2, 3), (2, 3, 4, 5)]:
        for scale in (1.0, 100.0):
            x = (scale * normal(*shape)).astype(dtype)
            target = np.random.default_rng(7).random(shape).astype(dtype)
            theirs = getattr(torch.nn, name)(reduction=reduction)
            against_torch(getattr(xpconv, name)(reduction=reduction), theirs, x, target, dtype)
