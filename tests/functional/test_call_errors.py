"""Errors of functions called with arrays of two dtypes, in another order, or with a shape in place of an array."""

import numpy as np
import pytest
from fuzzing import bounded

import xpconv
import xpconv.functional as F
from xpconv.errors import BackendError, DTypeError

DTYPES = ("float16", "float32", "float64", "complex64", "complex128")


def mixed():
    """Functions of two arrays, with arguments by name, and the names of these arrays."""
    x, w = np.ones((1, 2, 4, 4)), np.ones((2, 2, 3, 3))
    y = F.conv2d(x, w)
    for shapes, names in (
        ((x, w), ("input", "weight")),
        ((x, w, y[0, :, 0, 0]), ("input", "weight", "bias")),
    ):
        yield "conv2d", dict(zip(("input", "weight", "bias"), shapes, strict=False)), names
        yield "conv_transpose2d", dict(zip(("input", "weight", "bias"), shapes, strict=False)), names
    yield "conv2d_input", dict(input_size=x.shape, weight=w, grad_output=y), ("weight", "grad_output")
    yield "conv2d_weight", dict(input=x, weight_size=w.shape, grad_output=y), ("input", "grad_output")
    yield "linear", dict(input=np.ones((3, 4)), weight=np.ones((2, 4))), ("input", "weight")


@pytest.mark.parametrize("first", DTYPES)
@pytest.mark.parametrize("second", DTYPES)
def test_advised_dtypes_lose_nothing_and_are_accepted(first, second, backend):
    """The error advises `astype` of the arrays that need it; after that the call succeeds."""
    common = np.result_type(first, second)
    for function, arguments, names in mixed():
        if first == second or ("float16" in (first, second) and common.kind == "c"):
            continue
        dtypes = dict(zip(names, (first, second, first), strict=False))
        given = {n: xpconv.asarray(v.astype(dtypes[n])) if n in names else v for n, v in arguments.items()}
        with pytest.raises(DTypeError) as caught:
            getattr(F, function)(**given)
        text = str(caught.value)
        advice = text.partition("; use ")[2].split(" and ")
        for name in names[:2]:
            assert (f"{name}.astype('{common}')" in advice) == (dtypes[name] != common), text
        given = {n: v.astype(str(common)) if n in names else v for n, v in given.items()}
        assert getattr(F, function)(**given).dtype == common


def test_other_kinds_of_dtypes(backend):
    x = xpconv.asarray(np.ones((1, 2, 4, 4), "float32"))
    w = xpconv.asarray(np.ones((2, 2, 3, 3), "int64"))
    with pytest.raises(DTypeError, match=r"use weight.astype\('float32'\)$"):
        F.conv2d(x, w)
    scale = xpconv.asarray(np.ones(4, "complex128"))
    with pytest.raises(
        DTypeError, match=r"layer_norm: weight is complex128, expected floating point; give weight.re"
    ):
        F.layer_norm(x, (4,), scale)
    for loss in (F.mse_loss, F.l1_loss, xpconv.MSELoss()):
        with pytest.raises(DTypeError, match="target is complex64, expected real numbers"):
            loss(x, x.astype("complex64"))


X, W = np.ones((2, 4, 6, 6), "float32"), np.ones((3, 4, 3, 3), "float32")
Y = F.conv2d(X, W)
WRONG = [
    (lambda: F.conv2d(X, W, 1, 1), BackendError, "conv2d: bias is 1, expected an array or None; .* stride=1"),
    (lambda: F.conv2d(X, W, [2, 1]), BackendError, r"bias is \[2, 1\], .* stride=\[2, 1\]"),
    (lambda: F.conv2d(X, W, "same"), BackendError, "bias is 'same', .* padding='same'"),
    (lambda: F.conv2d(X, W, [0.5] * 3), BackendError, "bias: expected an array of numpy.*, got .*list; convert"),
    (lambda: F.conv_transpose1d(X[0], W[0], 2), BackendError, "conv_transpose1d: bias is 2, .* stride=2"),
    (lambda: F.conv2d_weight(W.shape, X, Y), BackendError, r"conv2d_weight: input: .*it takes \(input, weight_size,"),
    (lambda: F.conv2d_input(W, X.shape, Y), BackendError, r"weight: .*it takes \(input_size, weight, grad_output,"),
    (lambda: F.mse_loss(X.shape, X), BackendError, r"mse_loss: input: .*it takes \(input, target, "),
    (lambda: F.relu(None), BackendError, r"relu: input: .*NoneType; it takes \(input, inplace=False\)"),
    (lambda: F.dropout_backward(X, X.shape), BackendError, r"mask: .*it takes \(grad_output, mask, p=0.5\)"),
    (lambda: F.conv2d_input(X, W, Y), TypeError, r"input_size is an array of shape \(2, 4, 6, 6\), .*; give its .shape"),
    (lambda: F.conv2d_weight(X, W, Y), TypeError, r"weight_size is an array of shape \(3, 4, 3, 3\), .*give its .shape"),
    (lambda: F.avg_pool2d_backward(Y, X, 2), TypeError, r"input_size is an array of shape .*; give its .shape"),
    (lambda: F.max_pool2d((2, 2), X), TypeError, r"kernel_size is an array of shape \(2, 4, 6, 6\), expected an int"),
]  # fmt: skip


@pytest.mark.parametrize("case", WRONG, ids=lambda case: case[2])
def test_wrong_calls(case):
    """An error shows no array's contents, and has no hint about layers."""
    call, kind, message = case
    with pytest.raises(kind, match=rf"^functional\..*{message}") as caught:
        call()
    assert not any(word in str(caught.value) for word in ("layer", "Sequential", "forward", "array(["))


def test_missing_names_have_a_hint():
    for name, expected in {
        "conv": "has no attribute 'conv'; the nearest are conv",
        "Conv2d": "the nearest are conv2d, .*; layers are in xpconv: xpconv.Conv2d",
        "BatchNorm2d": "the nearest are batch_norm",
        "max_pool": "max_pool2d",
    }.items():
        with pytest.raises(AttributeError, match=expected):
            getattr(F, name)
    assert dir(F) == sorted(F.__all__)


def test_a_lack_of_memory_names_the_function():
    x = np.ones((1, 1, 4, 4))
    calls = {
        "pad": lambda: F.pad(x, (20_000,) * 4),
        "conv2d": lambda: F.conv2d(x, np.ones((1, 1, 2, 2)), padding=20_000),
        "interpolate": lambda: F.interpolate(np.ones((1, 1, 1, 1)), (40_000, 40_000)),
    }
    with bounded():
        for name, call in calls.items():
            with pytest.raises(MemoryError, match=rf"^functional.{name}: .*; give smaller arrays$"):
                call()


def test_indices_of_another_pooling():
    grad, wrong = np.ones((1, 1, 2, 2)), np.array([[[[0, 2], [8, 99]]]])
    with pytest.raises(
        ValueError, match=r"functional\.max_pool2d_backward: indices hold one that is not in its"
    ):
        F.max_pool2d_backward(grad, wrong, (1, 1, 4, 4), 2)
    with pytest.raises(
        ValueError, match=r"max_unpool2d_backward: indices from 0 to 99, .*indices of max_unpool2d$"
    ):
        F.max_unpool2d_backward(np.ones((1, 1, 4, 4)), wrong)
    y, indices = F.max_pool1d(
        np.ones((1, 1, 1)), 2, padding=1, dilation=2, return_indices=True
    )  # reads nothing
    assert F.max_pool1d_backward(y, indices, (1, 1, 1), 2, padding=1, dilation=2).tolist() == [[[0]]]


def test_weights_of_single_numbers():
    x, target, weight = np.array(2.0), np.array(1.0), np.array(3.0)
    assert (F.mse_loss(x, target, weight=weight), F.huber_loss(x, target, weight=weight)) == (1.0, 1.5)
    assert F.mse_loss_backward(1.0, x, target, weight=weight).tolist() == 2.0
