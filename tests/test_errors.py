"""Bad input raises an error that names the layer, the argument, what was expected and what came."""

import re

import numpy as np
import pytest

import xpconv
from xpconv import (
    AvgPool2d,
    BatchNorm2d,
    BCEWithLogitsLoss,
    Conv2d,
    Dense,
    Dropout,
    Flatten,
    MaxPool2d,
    MSELoss,
    ReLU,
    Residual,
    Sequential,
    SoftmaxCrossEntropyLoss,
)  # fmt: skip


def f32(*shape):
    return xpconv.asarray(np.zeros(shape, "float32"))


@pytest.mark.parametrize(
    ("channels", "shape", "message"),
    [
        (1, (64, 8, 9), "64 channels, expected 1 (in_channels=1); this is one image (64, H, W): for a batch of gray "
                        "ones give x[:, None]"),
        (1, (64, 8, 9, 1), "8 channels, expected 1 (in_channels=1); channels come before H, W: give numpy.moveaxis(x, -1, -3)"),
        (3, (8, 9, 3), "8 channels, expected 3 (in_channels=3); channels come before H, W: give numpy.moveaxis(x, -1, -3)"),
        (3, (2, 4, 8, 9), "4 channels, expected 3 (in_channels=3)"),
        (1, (2, 3, 8, 9), "3 channels, expected 1 (in_channels=1); for colours make the layer with 3 channels, or give gray images"),
        (1, (3, 8, 9), "or give gray images; this is one image (3, H, W): for a batch of gray ones give x[:, None]"),
        (1, (4, 8, 9), "4 channels, or give gray images; this is one image (4, H, W): for a batch of gray ones give x[:, None]"),
        (1, (8, 9, 3), "; for colours make the layer with 3 channels, and give numpy.moveaxis(x, -1, -3)"),
        (1, (2, 8, 9, 4), "; for colours make the layer with 4 channels, and give numpy.moveaxis(x, -1, -3)"),
        (1, (8, 9, 1), "; channels come before H, W: give numpy.moveaxis(x, -1, -3)"),
        (3, (1, 8, 9), "so 1 channel, expected 3 (in_channels=3); gray images are repeated for three channels: give x.repeat(3, axis=-3)"),
        (3, (2, 1, 8, 9), "1 channel, expected 3 (in_channels=3); gray images are repeated for three channels: give x.repeat(3, axis=-3)"),
    ],
)  # fmt: skip
def test_images_in_another_order(channels, shape, message):
    with pytest.raises(ValueError, match=re.escape(message) + "$"):
        Conv2d(channels, 2, 3)(np.zeros(shape, "float32"))


def ints(*shape):
    return xpconv.asarray(np.zeros(shape, "uint8"))


CONSTRUCTORS = [
    (lambda: Conv2d(0, 8, 3), ValueError, "Conv2d: in_channels is 0, expected at least 1"),
    (lambda: Conv2d(3, -8, 3), ValueError, "Conv2d: out_channels is -8, expected at least 1"),
    (lambda: Conv2d(3, 8, 0), ValueError, "Conv2d: kernel_size is 0, expected at least 1"),
    (lambda: Conv2d(3, 8, (3, -1)), ValueError, "Conv2d: kernel_size is -1, expected at least 1"),
    (lambda: Conv2d(3, 8, 2.5), TypeError, "Conv2d: kernel_size is 2.5, expected an int"),
    (lambda: Conv2d(3, 8, (3, 3, 3)), ValueError, "Conv2d: kernel_size is (3, 3, 3), expected an int or 2 of them"),
    (lambda: Conv2d(3, 8, 3, stride=0), ValueError, "Conv2d: stride is 0, expected at least 1"),
    (lambda: Conv2d(3, 8, 3, dilation=0), ValueError, "Conv2d: dilation is 0, expected at least 1"),
    (lambda: Conv2d(3, 8, 3, padding=-1), ValueError, "Conv2d: padding is -1, expected at least 0"),
    (lambda: Conv2d(3, 8, 3, padding=((1, 2), (0, -1))), ValueError, "Conv2d: padding[1] is -1, expected at least 0"),
    (lambda: Conv2d(3, 8, 3, padding=((1, 2),)), ValueError, "expected one pair for each of the 2 axes"),
    (lambda: Conv2d(3, 8, 3, padding="full"), ValueError, "Conv2d: padding is 'full', expected 'same', 'valid'"),
    (lambda: Conv2d(3, 8, 3, stride=2, padding="same"), ValueError, "padding='same' needs stride 1, got stride (2, 2)"),
    (lambda: Conv2d(3, 8, 3, groups=2), ValueError, "Conv2d: groups is 2, which does not divide in_channels = 3"),
    (lambda: Conv2d(4, 9, 3, groups=2), ValueError, "Conv2d: groups is 2, which does not divide out_channels = 9"),
    (lambda: Conv2d(4, 8, 3, groups=0), ValueError, "Conv2d: groups is 0, expected at least 1"),
    (lambda: Conv2d(4, 8, 3, padding_mode="mirror"), ValueError, "padding_mode is 'mirror', expected one of 'zeros', 'reflect'"),
    (lambda: MaxPool2d(0), ValueError, "MaxPool2d: kernel_size is 0, expected at least 1"),
    (lambda: MaxPool2d(2, stride=0), ValueError, "MaxPool2d: stride is 0, expected at least 1"),
    (lambda: MaxPool2d(2, padding=2), ValueError, "MaxPool2d: padding is (2, 2), expected at most half the kernel size (2, 2)"),
    (lambda: AvgPool2d(2, divisor_override=0), ValueError, "AvgPool2d: divisor_override is 0, expected an int to divide by"),
    (lambda: Dense(0, 3), ValueError, "Dense: in_features is 0, expected at least 1"),
    (lambda: Dense(3, 2, dtype="int32"), TypeError, "dtype is int32, expected a floating dtype"),
    (lambda: Dense(3, 2, dtype="foo"), TypeError, "Dense: dtype is 'foo', which is no dtype of numpy"),
    (lambda: Dense(3, 2).to(dtype="foo"), TypeError, "Dense.to: dtype is 'foo', which is no dtype of numpy"),
    (lambda: Dense(3, 2).load_state_dict(None), TypeError, "state is NoneType, expected a mapping of names"),
    (lambda: BatchNorm2d(-1), ValueError, "BatchNorm2d: num_features is -1, expected at least 1"),
    (lambda: Dropout(1.5), ValueError, "Dropout: p is 1.5, expected a probability from 0 to 1"),
    (lambda: Sequential(Dense(2, 2), ReLU), TypeError, "Sequential: layer 1 is <class 'xpconv.layers.activation.ReLU'>, expected a Layer; make an instance"),
    (lambda: Sequential({"a.b": ReLU()}), ValueError, "Sequential: a layer is called 'a.b', expected a name without dots"),
    (lambda: Sequential({1: ReLU()}), ValueError, "Sequential: a layer is called 1, expected a name"),
    (lambda: Residual(ReLU(), shortcut=ReLU), TypeError, "Residual: shortcut is <class 'xpconv.layers.activation.ReLU'>, expected a Layer or None"),
    (lambda: xpconv.Concat(ReLU(), axis=0.5), TypeError, "Concat: axis is 0.5, expected an int"),
    (lambda: xpconv.manual_seed(-1), ValueError, "manual_seed: seed is -1, expected at least 0"),
    (lambda: xpconv.manual_seed("x"), TypeError, "manual_seed: seed is 'x', expected an int"),
    (lambda: Dense(3, 2, rng=-1), ValueError, "rng is -1, expected at least 0"),
    (lambda: Dense(3, 2, dtype="V2"), TypeError, "Dense: dtype is V2, expected a floating dtype"),
    (lambda: Conv2d(3, 8, True), TypeError, "Conv2d: kernel_size is True, expected an int"),
    (lambda: MSELoss(reduction="avg"), ValueError, "MSELoss: reduction is 'avg', expected one of 'mean', 'sum', 'none'"),
]  # fmt: skip

FORWARDS = [
    (lambda: Conv2d(3, 8, 3)(f32(8, 8)), ValueError, "Conv2d.forward: x has shape (8, 8), expected (N, 3, H, W) or (3, H, W)"),
    (lambda: Conv2d(3, 8, 3)(f32(2, 4, 8, 8)), ValueError, "Conv2d.forward: x has shape (2, 4, 8, 8), so 4 channels, expected 3 (in_channels=3)"),
    (lambda: Conv2d(3, 8, 5)(f32(2, 3, 4, 8)), ValueError, "it is smaller than the kernel (5, 5) (dilation (1, 1)); pad more"),
    (lambda: Conv2d(3, 8, 3, dilation=4)(f32(2, 3, 8, 8)), ValueError, "it is smaller than the kernel (3, 3) (dilation (4, 4)); pad more"),
    (lambda: Conv2d(3, 8, 3, padding=8, padding_mode="reflect")(f32(2, 3, 8, 8)), ValueError, "padding_mode='reflect' with padding (8, 8) needs a larger image than 8"),
    (lambda: Conv2d(3, 8, 3, padding=9, padding_mode="circular")(f32(2, 3, 8, 8)), ValueError, "padding_mode='circular' with padding (9, 9) needs a larger image than 8"),
    (lambda: Conv2d(3, 8, 3)(ints(2, 3, 8, 8)), TypeError, "Conv2d.forward: x is uint8, expected floating point; convert it, e.g. images 0…255 with x.astype('float32') / 255"),
    (lambda: Conv2d(3, 8, 3)(f32(2, 3, 8, 8).astype("float64")), TypeError, "x is float64 but the parameters are float32; use x.astype('float32') or layer.to(dtype='float64')"),
    (lambda: Conv2d(3, 8, 3)([[1.0]]), TypeError, "Conv2d.forward: x: expected an array of"),
    (lambda: MaxPool2d(2)(f32(3, 3)), ValueError, "MaxPool2d.forward: x has shape (3, 3), expected (N, C, H, W) or (C, H, W)"),
    (lambda: AvgPool2d(5)(f32(1, 3, 3)), ValueError, "AvgPool2d.forward: an image of (3, 3) with padding (0, 0) is smaller than the kernel (5, 5)"),
    (lambda: MaxPool2d(2)(ints(1, 4, 4)), TypeError, "MaxPool2d.forward: x is uint8, expected floating point"),
    (lambda: Dense(4, 2)(f32(2, 3)), ValueError, "Dense.forward: x has shape (2, 3), expected (…, 4): in_features=4"),
    (lambda: Dense(4, 2)(f32(2, 1, 2, 2)), ValueError, "(images go through Flatten() first)"),
    (lambda: Dense(4, 2)(f32()), ValueError, "Dense.forward: x has shape (), expected (…, 4)"),
    (lambda: ReLU()(ints(3)), TypeError, "ReLU.forward: x is uint8, expected floating point"),
    (lambda: BatchNorm2d(3)(f32(2, 3)), ValueError, "BatchNorm2d.forward: x has shape (2, 3), expected (N, C, H, W) with C = 3 (num_features)"),
    (lambda: BatchNorm2d(3)(f32(2, 4, 2, 2)), ValueError, "BatchNorm2d.forward: x has shape (2, 4, 2, 2), expected (N, C, H, W) with C = 3"),
    (lambda: BatchNorm2d(3)(f32(1, 3, 1, 1)), ValueError, "one value per channel has no variance"),
    (lambda: Flatten(3)(f32(2, 3)), ValueError, "Flatten.forward: x has shape (2, 3), so start_dim=3 and end_dim=-1 are not a first and a last axis"),
    (lambda: Residual(Conv2d(3, 4, 1))(f32(1, 3, 2, 2)), ValueError, "Residual.forward: the body gives shape (1, 4, 2, 2) but x has (1, 3, 2, 2); give a shortcut"),
    (lambda: SoftmaxCrossEntropyLoss()(f32(4, 3), f32(4, 2)), TypeError, "expected integer class indices, or probabilities of input's shape (4, 3)"),
    (lambda: SoftmaxCrossEntropyLoss()(f32(4, 3), ints(3)), ValueError, "target has shape (3,), expected (4,) (class indices) or (4, 3) (probabilities)"),
    (lambda: MSELoss()(f32(4, 1), f32(4)), ValueError, "MSELoss: target has shape (4,), expected (4, 1), that of input; use target.reshape((4, 1))"),
    (lambda: MSELoss()(f32(2, 3), f32(2)), ValueError, "MSELoss: target has shape (2,), expected (2, 3), that of input; give one value for each element of input"),
    (lambda: xpconv.FocalLoss()(f32(2, 3), ints(2)), ValueError, "that of input; give one value for each element of input; classes go in one-hot"),
    (lambda: xpconv.DiceLoss()(f32(2, 3, 4, 4), ints(2, 4, 4)), ValueError, "DiceLoss: target has shape (2, 4, 4), expected (2, 3, 4, 4), that of input; give one value for each element of input; classes go in one-hot"),
    (lambda: Sequential(MaxPool2d(2, return_indices=True), ReLU())(f32(1, 4, 4)), TypeError, "got builtins.tuple; a layer with several outputs (such as pooling with return_indices=True) belongs in a layer of your own"),
    (lambda: Flatten().summary(8), TypeError, "Flatten.summary: input_shape is 8, expected a tuple: that of one image, without the batch axis"),
    (lambda: Sequential(Conv2d(1, 2, 3)).summary((2, 1, 8, 8)), ValueError, "Sequential.summary: input_shape is (2, 1, 8, 8), that of one image, without the batch axis; give (1, 8, 8): Conv2d.forward: x has shape (1, 2, 1, 8, 8)"),
    (lambda: BCEWithLogitsLoss()(f32(4), f32(4).astype("float64")), TypeError, "target is float64 but input is float32; use target.astype('float32')"),
    (lambda: MSELoss()(ints(4), ints(4)), TypeError, "MSELoss: input is uint8, expected floating point"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "error", "message"), CONSTRUCTORS, ids=[m for _, _, m in CONSTRUCTORS])
def test_constructors(call, error, message):
    with pytest.raises(error, match=re.escape(message)):
        call()


@pytest.mark.parametrize(("call", "error", "message"), FORWARDS, ids=[m for _, _, m in FORWARDS])
def test_forwards(call, error, message, backend):
    with pytest.raises(error, match=re.escape(message)):
        call()


def test_an_error_names_the_place_in_the_model(backend):
    block = Residual(Sequential(ReLU(), Conv2d(3, 2, 1)))
    model = Sequential({"stem": Conv2d(1, 2, 3), "block": block})
    place = r"^Conv2d\.forward: x has shape \(1, 2, 2, 2\), .* \(layer block\.body\.0\.1\)$"
    with pytest.raises(xpconv.errors.ShapeError, match=place):
        model(f32(1, 1, 4, 4))
    with pytest.raises(xpconv.errors.DTypeError, match=r"\(layer stem\)$"):
        model(f32(1, 1, 4, 4).astype("float64"))
    with pytest.raises(xpconv.errors.BackendError, match=r"\(layer stem\)$"):
        model([1.0])
    with pytest.raises(xpconv.errors.ShapeError, match=r"expected \(N, 1, H, W\) or \(1, H, W\)$"):
        model.children()["stem"](f32(4))  # by itself it is in no model
    transposed = Sequential(xpconv.ConvTranspose2d(3, 2, 1))
    with pytest.raises(xpconv.errors.ShapeError, match=r"^ConvTranspose2d\.forward: .* \(layer 0\)$"):
        transposed(f32(1, 2, 4, 4))


def test_mixed_backends(backend):
    other = "double" if backend == "numpy" else "numpy"
    x, layer = xpconv.asarray(np.zeros((2, 4), "float32"), backend=other), Dense(4, 2)
    with pytest.raises(
        TypeError,
        match=rf"Dense.forward: x is {other} but its parameters are {backend}; call layer.to\('{other}'\)",
    ):
        layer(x)
    y = layer(xpconv.asarray(x))
    with pytest.raises(
        TypeError, match=rf"Dense.backward: grad_output is {other} but the output was {backend}"
    ):
        layer.backward(xpconv.asarray(y, backend=other))
    with pytest.raises(TypeError, match=rf"MSELoss: input is {backend} but target is {other}"):
        MSELoss()(y, xpconv.asarray(y, backend=other))


def test_load_state_dict_changes_all_or_nothing(backend):
    layer = Sequential(Dense(3, 2), Dense(2, 2))
    before = layer.state_dict()
    state = {
        "0.weight": np.ones((2, 3)),
        "0.bias": np.ones(3),
        "1.weight": np.ones((2, 2)),
        "2.bias": np.ones(2),
    }
    with pytest.raises(
        ValueError,
        match=re.escape(
            "Sequential.load_state_dict: missing: 1.bias; unexpected: 2.bias; 0.bias has shape (3,), expected (2,)"
        ),
    ):
        layer.load_state_dict(state)
    for name, array in layer.state_dict().items():
        np.testing.assert_array_equal(xpconv.asnumpy(array), xpconv.asnumpy(before[name]))
    state["0.bias"] = np.ones(2)
    result = layer.load_state_dict(state, strict=False)
    assert result == (["1.bias"], ["2.bias"])
    assert xpconv.asnumpy(layer[1].weight.data).tolist() == [[1, 1], [1, 1]]


class Foreign:
    """An array of another library."""

    dtype, shape, ndim = np.dtype("float32"), (2, 3), 2


X = np.zeros((2, 3), "float32")
FOREIGN = {
    "target": lambda: MSELoss()(X, Foreign()),
    "weight": lambda: SoftmaxCrossEntropyLoss(weight=Foreign()),
    "grad_output": lambda: backward_of_a_foreign_gradient(),
    "rows": lambda: xpconv.from_one_hot(Foreign()),
    "x": lambda: ReLU()(Foreign()),
}


def backward_of_a_foreign_gradient():
    layer = ReLU()
    layer(X)
    layer.backward(Foreign())


@pytest.mark.parametrize("argument", FOREIGN)
def test_the_fix_for_another_librarys_array_names_the_argument(argument):
    with pytest.raises(xpconv.errors.BackendError, match=rf"convert it with xpconv\.asarray\({argument}\)"):
        FOREIGN[argument]()


def test_what_torch_cuda_has_is_named_with_what_to_use():
    for name in ("is_available", "synchronize", "empty_cache", "device_count"):
        with pytest.raises(AttributeError, match=rf"'xpconv.cuda' has no attribute '{name}'; .*(use|cupy)"):
            getattr(xpconv.cuda, name)
    with pytest.raises(AttributeError, match=r"no attribute 'nothing'$"):
        xpconv.cuda.nothing  # noqa: B018
