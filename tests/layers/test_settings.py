"""Settings changed after a layer was made count, or are refused: never is one of no effect in silence."""

import copy
import pickle

import numpy as np
import pytest

import xpconv

X = np.random.default_rng(3).uniform(0.1, 1, size=(2, 4, 8, 8)).astype("float32")
CONV = {"in_channels": 4, "out_channels": 4, "kernel_size": 3, "rng": 0}
CASES = [  # the class, its arguments, and other values for some
    ("Conv2d", {**CONV, "padding": 1}, {"stride": 2, "padding": 0, "dilation": 2, "padding_mode": "circular", "kernel_size": 1, "groups": 2, "algorithm": "direct"}),
    ("ConvTranspose2d", {**CONV, "stride": 2}, {"stride": 3, "padding": 1, "dilation": 2, "output_padding": 1, "groups": 2}),
    ("DepthwiseConv2d", {"in_channels": 4, "kernel_size": 3, "rng": 0}, {"stride": 2, "padding": 1, "dilation": 2}),
    ("MaxPool2d", {"kernel_size": 2}, {"kernel_size": 3, "stride": 1, "padding": 1, "dilation": 2, "ceil_mode": True}),
    ("AvgPool2d", {"kernel_size": 2}, {"kernel_size": 3, "stride": 1, "padding": 1, "count_include_pad": False, "divisor_override": 3}),
    ("LPPool2d", {"norm_type": 2, "kernel_size": 2}, {"norm_type": 3, "kernel_size": 3, "stride": 1}),
    ("Unfold", {"kernel_size": 2}, {"kernel_size": 3, "stride": 2, "padding": 1, "dilation": 2}),
    ("AdaptiveAvgPool2d", {"output_size": 2}, {"output_size": 3}), ("AdaptiveMaxPool2d", {"output_size": 2}, {"output_size": 3}),
    ("ZeroPad2d", {"padding": 1}, {"padding": 2}), ("ReflectionPad2d", {"padding": 1}, {"padding": 2}),
    ("ReplicationPad2d", {"padding": 1}, {"padding": 2}), ("CircularPad2d", {"padding": 1}, {"padding": 2}),
    ("ConstantPad2d", {"padding": 1, "value": 1.0}, {"padding": 2, "value": 3.0}),
    ("Upsample", {"scale_factor": 2, "mode": "bilinear"}, {"scale_factor": 3, "mode": "nearest", "align_corners": True}),
    ("Dropout", {"p": 0.5, "rng": 0}, {"p": 0.1}), ("BatchNorm2d", {"num_features": 4}, {"eps": 0.1}),
    ("GroupNorm", {"num_groups": 2, "num_channels": 4}, {"num_groups": 4, "eps": 0.1}), ("LayerNorm", {"normalized_shape": 8}, {"eps": 0.1}),
    ("LocalResponseNorm", {"size": 2}, {"size": 3, "alpha": 0.1, "beta": 0.5, "k": 2.0}),
    ("PixelShuffle", {"upscale_factor": 1}, {"upscale_factor": 2}), ("ChannelShuffle", {"groups": 1}, {"groups": 2}),
    ("LeakyReLU", {}, {"negative_slope": 0.5}), ("ELU", {}, {"alpha": 0.5}), ("GELU", {}, {"approximate": "tanh"}),
    ("Softplus", {}, {"beta": 2.0, "threshold": 0.1}), ("Hardtanh", {}, {"min_val": 0.2, "max_val": 0.5}),
    ("Threshold", {"threshold": 0.0, "value": 1.0}, {"threshold": 0.5, "value": 2.0}), ("Softmax", {"dim": 1}, {"dim": 2}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "arguments", "setting", "value"),
    [(name, arguments, *item) for name, arguments, others in CASES for item in others.items()],
)
def test_a_setting_counts_or_is_refused(name, arguments, setting, value, backend):
    kind, x = getattr(xpconv, name), xpconv.asarray(X)
    layer, other = kind(**arguments), kind(**{**arguments, setting: value})
    setattr(layer, setting, getattr(layer, setting))  # what it is already
    try:
        setattr(layer, setting, getattr(other, setting))
    except AttributeError as error:
        assert str(error).startswith(f"{name}: {setting} is fixed")  # noqa: PT017
        assert repr(layer) == repr(kind(**arguments))
        return
    np.testing.assert_array_equal(xpconv.asnumpy(layer(x)), xpconv.asnumpy(other(x)))


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])  # noqa: S301
def test_copies_refuse_too(copied):
    layer = copied(xpconv.Conv2d(4, 4, 3))
    with pytest.raises(AttributeError, match=r"^Conv2d: stride is fixed.*make a new"):
        layer.stride = (2, 2)
    lazy = copied(xpconv.LazyConv2d(4, 3))
    lazy(X)
    with pytest.raises(AttributeError, match=r"^Conv2d: padding is fixed"):
        lazy.padding = 1


@pytest.mark.parametrize("change", [
    lambda m: setattr(m, "shortcut", None), lambda m: setattr(m, "body", xpconv.Dense(4, 4)),
    lambda m: setattr(m, "shortcut", xpconv.Dense(4, 4)),
])  # fmt: skip
def test_a_residual_goes_back_through_what_ran(change):
    check_replaced(
        lambda: xpconv.Residual(xpconv.Dense(4, 4, rng=0), shortcut=xpconv.Dense(4, 4, rng=1)), change
    )


@pytest.mark.parametrize("kind", [xpconv.Sequential, xpconv.Parallel, xpconv.Concat])
@pytest.mark.parametrize("change", [
    lambda m: m.pop(0), lambda m: m.append(xpconv.Dense(4, 4)), lambda m: m.__setitem__(1, xpconv.Dense(4, 4)),
    lambda m: m.insert(0, xpconv.Dense(4, 4)),
])  # fmt: skip
def test_containers_go_back_through_what_ran(kind, change):
    check_replaced(lambda: kind(xpconv.Dense(4, 4, rng=0), xpconv.Dense(4, 4, rng=1)), change)


def check_replaced(make, change):
    """As in PyTorch: what replaces a layer between forward and backward has no part in that backward."""
    x, results = X[0, :, 0, :4].copy(), []
    for between in (lambda m: None, change):
        model = make()
        parameters = model.parameters()
        y = model(x)
        between(model)
        results.append([model.backward(np.ones_like(y)), *(p.grad for p in parameters)])
    for plain, changed in zip(*results, strict=True):
        np.testing.assert_array_equal(plain, changed)


@pytest.mark.parametrize(
    "name", ["Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "AlphaDropout", "DropPath"]
)
@pytest.mark.parametrize("later", [0.0, 0.25, 1.0])
def test_dropout_goes_back_with_the_probability_that_it_had(name, later, backend):
    axes = {"Dropout1d": 3, "Dropout3d": 5}.get(name, 4)
    x = xpconv.asarray(np.resize(X, (8, 4, 4, 2, 2)[:axes]))
    layer, other = (getattr(xpconv, name)(0.5, rng=0) for _ in range(2))
    layer(x), other(x)
    other.p = later
    np.testing.assert_array_equal(xpconv.asnumpy(other.backward(x)), xpconv.asnumpy(layer.backward(x)))
