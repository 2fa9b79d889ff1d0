"""`model.fuse()`: the same output without BatchNorm, and only where the order is sure."""

import copy

import numpy as np
import pytest

import xpconv
from xpconv import (
    BatchNorm1d,
    BatchNorm2d,
    BatchNorm3d,
    Concat,
    Conv1d,
    Conv2d,
    Conv3d,
    ConvTranspose1d,
    ConvTranspose2d,
    ConvTranspose3d,
    Dense,
    DepthwiseConv2d,
    Flatten,
    Identity,
    LazyConv2d,
    Parallel,
    ReLU,
    Residual,
    SeparableConv2d,
    Sequential,
    models,
)
from xpconv.layers.fuse import Folded
from xpconv.layers.norm import _BatchNorm


def normal(*shape):
    return np.random.default_rng(1).normal(size=shape)


def lively(model, dtype="float64"):
    """The model with statistics and affine parameters as training leaves them, in training mode."""
    rng = np.random.default_rng(2)
    for _, layer in model.named_layers():
        if isinstance(layer, _BatchNorm):
            c = layer.num_features
            state = {
                "weight": rng.uniform(0.5, 1.5, c), "bias": rng.normal(size=c) / 2,
                "running_mean": rng.normal(size=c) / 2, "running_var": rng.uniform(0.3, 1.5, c),
            }  # fmt: skip
            layer.load_state_dict(state, strict=False)
    return model.to(dtype=dtype)


def run(model, x):
    with xpconv.no_grad():
        return model(x)


def norms(model):
    return [name for name, layer in model.named_layers() if isinstance(layer, _BatchNorm)]


def folded(model, what="BatchNorm"):
    layers = model.named_layers()
    return [name for name, layer in layers if isinstance(layer, Folded) and layer.what.startswith(what)]


def check(model, x, names, tolerance=1e-12):
    """Fused at `names` and nowhere else; the same output, to `tolerance` of the largest; the model untouched."""
    before, text = model.state_dict(), repr(model)
    fused = model.fuse()
    assert folded(fused) == names
    assert norms(fused) == [name for name in norms(model) if name not in names]
    assert repr(model) == text
    assert all(layer.training for _, layer in model.named_layers())
    assert not any(layer.training for _, layer in fused.named_layers())
    assert not {id(layer) for _, layer in fused.named_layers()} & {id(n) for _, n in model.named_layers()}
    expected = xpconv.asnumpy(run(copy.deepcopy(model).eval(), x))
    y = run(fused, x)
    assert y.dtype == x.dtype
    np.testing.assert_allclose(xpconv.asnumpy(y), expected, rtol=0, atol=tolerance * np.abs(expected).max())
    after = model.state_dict()
    assert list(after) == list(before)
    for name, array in before.items():
        np.testing.assert_array_equal(xpconv.asnumpy(after[name]), xpconv.asnumpy(array))
    return fused


PAIRS = {
    "Conv1d": (lambda: (Conv1d(4, 6, 3, padding=1, padding_mode="reflect"), BatchNorm1d(6)), (3, 4, 7)),
    "Conv2d": (lambda: (Conv2d(4, 6, 3, stride=2, padding=1, bias=False), BatchNorm2d(6)), (3, 4, 7, 6)),
    "Conv2d, groups": (lambda: (Conv2d(4, 6, 3, padding=1, groups=2), BatchNorm2d(6)), (3, 4, 7, 6)),
    "Conv3d": (lambda: (Conv3d(4, 6, 2), BatchNorm3d(6)), (2, 4, 3, 4, 5)),
    "DepthwiseConv2d": (
        lambda: (DepthwiseConv2d(4, 3, depth_multiplier=2, bias=False), BatchNorm2d(8)),
        (3, 4, 7, 6),
    ),
    "SeparableConv2d": (lambda: (SeparableConv2d(4, 6, 3), BatchNorm2d(6)), (3, 4, 7, 6)),
    "ConvTranspose1d": (lambda: (ConvTranspose1d(4, 6, 3, stride=2), BatchNorm1d(6)), (3, 4, 7)),
    "ConvTranspose2d, groups": (
        lambda: (ConvTranspose2d(4, 6, 3, stride=2, groups=2, bias=False), BatchNorm2d(6)),
        (3, 4, 5, 4),
    ),
    "ConvTranspose3d": (lambda: (ConvTranspose3d(4, 6, 2, groups=2), BatchNorm3d(6)), (2, 4, 3, 2, 3)),
    "Dense": (lambda: (Dense(4, 6, bias=False), BatchNorm1d(6)), (5, 4)),
    "not affine": (lambda: (Conv2d(4, 6, 3), BatchNorm2d(6, affine=False)), (3, 4, 7, 6)),
    "no bias": (lambda: (Conv2d(4, 6, 3, bias=False), BatchNorm2d(6, bias=False, eps=0.1)), (3, 4, 7, 6)),
}


def make_pair(name, dtype="float64"):
    make, shape = PAIRS[name]
    xpconv.manual_seed(0)
    return lively(Sequential(*make()), dtype), normal(*shape).astype(dtype)


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-12), ("float32", 1e-5), ("float16", 1e-2)])
def test_pairs(name, dtype, tolerance, backend):
    model, x = make_pair(name, dtype)
    fused = check(model, xpconv.asarray(x), ["1"], tolerance)
    assert {p.dtype for p in fused.parameters()} == {np.dtype(dtype)}
    layer = fused[0].pointwise if name.startswith("Sep") else fused[0]
    assert layer.bias is not None
    assert list(fused.state_dict())[-1].startswith("0.")


def test_a_norm_in_float32_goes_into_a_layer_in_float16(backend):
    model, x = make_pair("Dense", "float16")
    model[1].to(dtype="float32")
    fused = check(model, xpconv.asarray(x), ["1"], 1e-2)
    assert {str(p.dtype) for p in fused.parameters()} == {"float16"}


def test_the_values():
    """y = (2·x - 1)/√(4 + 0) · 3 + 5 = 3·x + 3.5"""
    model = Sequential(Dense(1, 1, bias=False, dtype="float64"), BatchNorm1d(1, eps=0, dtype="float64"))
    values = [
        ("0.weight", [[2]]),
        ("1.weight", [3]),
        ("1.bias", [5]),
        ("1.running_mean", [1]),
        ("1.running_var", [4]),
    ]
    model.load_state_dict({name: np.array(v, "float64") for name, v in values}, strict=False)
    fused = model.fuse()
    assert {k: v.tolist() for k, v in fused.state_dict().items()} == {"0.weight": [[3.0]], "0.bias": [3.5]}


def conv_norm(c, out, **options):
    return [Conv2d(c, out, 3, padding=1, **options), BatchNorm2d(out)]


def test_nested_and_named(backend):
    xpconv.manual_seed(0)
    model = Sequential(
        {
            "stem": Sequential(Sequential(Conv2d(2, 4, 3, padding=1)), Identity()),
            "norm": BatchNorm2d(4),  # of the convolution in the stem
            "relu": ReLU(),
            "": Residual(*conv_norm(4, 4), ReLU(), shortcut=Sequential(conv_norm(4, 4))),
            "both": Parallel(Sequential(conv_norm(4, 4)), Conv2d(4, 4, 1)),
            "side": Concat({"a": Sequential({"": Sequential(conv_norm(4, 3))}), "b": Identity()}),
            "last": BatchNorm2d(7),
            "after": Sequential([BatchNorm2d(7), *conv_norm(7, 2), BatchNorm2d(2)]),
            "flatten": Flatten(),
            "fc": Dense(2 * 5 * 6, 3),
            "out": BatchNorm1d(3),
        }
    )
    assert norms(model)[1] == "body.1"
    names = ["norm", "body.1", "shortcut.1", "both.0.1", "side.a.1", "after.2", "after.3", "out"]
    fused = check(lively(model), xpconv.asarray(normal(3, 2, 5, 6)), names)
    assert list(fused.children()) == list(model.children())
    assert set(fused.state_dict()) <= set(model.state_dict())  # all convolutions had a bias
    assert repr(fused[1]) == "Folded(BatchNorm2d(4))"
    again = fused.fuse()
    assert folded(again) == names
    for name, array in fused.state_dict().items():
        np.testing.assert_array_equal(xpconv.asnumpy(again.state_dict()[name]), xpconv.asnumpy(array))


# --- ReLU and its kin ----------------------------------------------------------------------------------

CLIPS = {
    "ReLU": (ReLU, (0.0, None)), "ReLU6": (xpconv.ReLU6, (0.0, 6.0)),
    "Hardtanh": (lambda: xpconv.Hardtanh(-0.2, 0.3), (-0.2, 0.3)),
}  # fmt: skip
CONVS = {
    "winograd": (lambda: Conv2d(16, 24, 3, padding=1, algorithm="winograd"), (2, 16, 9, 10)),
    "columns": (lambda: Conv2d(8, 6, 3, stride=2, padding=1), (2, 8, 9, 10)),
    "pointwise, no bias": (lambda: Conv2d(8, 6, 1, bias=False), (2, 8, 9, 10)),
    "few channels": (lambda: Conv2d(1, 6, 5), (16, 1, 28, 28)),
    "depthwise": (lambda: Conv2d(8, 8, 3, padding=1, groups=8), (2, 8, 9, 10)),
    "groups": (lambda: Conv2d(8, 6, 3, groups=2), (2, 8, 9, 10)),
    "circular": (lambda: Conv2d(8, 6, 3, padding=1, padding_mode="circular"), (2, 8, 9, 10)),
    "1d": (lambda: Conv1d(8, 6, 3), (2, 8, 9)),
    "3d": (lambda: Conv3d(2, 3, 2), (2, 2, 4, 5, 6)),
    "separable": (lambda: SeparableConv2d(4, 6, 3), (2, 4, 9, 10)),
}


@pytest.mark.sample(4)
@pytest.mark.parametrize("clip", CLIPS)
@pytest.mark.parametrize("conv", CONVS)
@pytest.mark.parametrize("dtype", ["float32", pytest.param("float64", marks=pytest.mark.slow)])
def test_activation_after_a_convolution(conv, clip, dtype, backend):
    """One layer, the same output and gradients; to rounding, as the weight lies in memory in another order."""
    if conv == "winograd" and xpconv.get_xp().__name__ != "numpy":
        pytest.skip("algorithm='winograd' is NumPy's")
    xpconv.manual_seed(0)
    (make, shape), (activation, bounds) = CONVS[conv], CLIPS[clip]
    model = Sequential(make(), activation()).to(dtype=dtype)
    fused = model.fuse()
    steps = fused._steps().steps
    assert steps == ([(fused[0], None), (fused[1], None)] if conv == "separable" else [(fused[0], fused[1])])
    assert fused[1]._bounds() == bounds
    tolerance = {"float32": 1e-5, "float64": 1e-13}[dtype]

    def same(ours, theirs):
        ours, theirs = xpconv.asnumpy(ours), xpconv.asnumpy(theirs)
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance * max(1, np.abs(theirs).max()))

    for some in (shape, shape[1:]):
        x = xpconv.asarray(normal(*some).astype(dtype))
        y = fused(x)
        same(y, model(x))
        g = xpconv.asarray(normal(*y.shape).astype(dtype))
        same(fused.backward(g), model.backward(g))
    for ours, theirs in zip(fused.parameters(), model.parameters(), strict=True):
        same(ours.data, theirs.data)
        same(ours.grad, theirs.grad)


def test_nothing_is_folded_past_an_activation():
    xpconv.manual_seed(0)
    model = lively(Sequential(*conv_norm(4, 4), ReLU(), BatchNorm2d(4), ReLU(), Dense(5, 5), ReLU()))
    fused = check(model, normal(2, 4, 6, 5), ["1"])
    assert [layer for layer, clip in fused._steps().steps if clip is fused[2]] == [fused[0]]
    again = check(fused.train(), normal(2, 4, 6, 5), ["1"])
    assert [layer for layer, clip in again._steps().steps if clip is again[2]] == [again[0]]
    relu = ReLU()  # in two places, of which one is after a convolution
    model = Sequential(relu, Conv2d(4, 4, 3, dtype="float64"), relu)
    assert [type(layer) for layer in check(model, normal(2, 4, 6, 5), [])] == [ReLU, Conv2d, ReLU]
    conv = Conv2d(4, 4, 3, padding=1, dtype="float64")  # and a convolution in two
    check(Sequential(conv, ReLU(), conv), normal(2, 4, 6, 5), [])


class Own(xpconv.Layer):
    """Calls its parts in an order of its own."""

    def __init__(self, first, second):
        self.first, self.second = first, second

    def forward(self, x):
        return self.keep(self.first(self.second(x)))


class Doubled(Conv2d):
    """A forward of its own."""

    def forward(self, x):
        return abs(super().forward(x))


class Backwards(Sequential):
    """Runs its layers from the last to the first."""

    def forward(self, x):
        for layer in reversed(list(self)):
            x = layer(x)
        return x


class Halved(BatchNorm2d):
    def forward(self, x):
        return super().forward(x) / 2


class Named(Sequential):
    """Only a name."""


ALONE = {
    "BatchNorm alone": lambda: BatchNorm2d(4),
    "before a conv": lambda: Sequential(BatchNorm2d(4), Conv2d(4, 4, 3)),
    "something between": lambda: Sequential(Conv2d(4, 4, 3), ReLU(), BatchNorm2d(4)),
    "no statistics": lambda: Sequential(Conv2d(4, 4, 3), BatchNorm2d(4, track_running_stats=False)),
    "after such a one": lambda: Sequential(
        Conv2d(4, 4, 3), BatchNorm2d(4, track_running_stats=False), BatchNorm2d(4)
    ),
    "own order": lambda: Own(Conv2d(4, 4, 3), BatchNorm2d(4)),
    "own order in a Sequential": lambda: Sequential(Own(BatchNorm2d(4), Conv2d(4, 4, 3)), BatchNorm2d(4)),
    "own forward, conv": lambda: Sequential(Doubled(4, 4, 3), BatchNorm2d(4)),
    "own forward, Sequential": lambda: Backwards(Conv2d(4, 4, 3), BatchNorm2d(4)),
    "own forward, nested": lambda: Sequential(Backwards(Conv2d(4, 4, 3)), BatchNorm2d(4)),
    "own forward, BatchNorm": lambda: Sequential(Conv2d(4, 4, 3), Halved(4)),
    "branches": lambda: Parallel(Conv2d(4, 4, 1), BatchNorm2d(4)),
    "after a residual": lambda: Sequential(Residual(Conv2d(4, 4, 3, padding=1)), BatchNorm2d(4)),
    "InstanceNorm": lambda: Sequential(Conv2d(4, 4, 3), xpconv.InstanceNorm2d(4, track_running_stats=True)),
    "no BatchNorm": lambda: Sequential(Conv2d(4, 4, 3), ReLU()),
}


@pytest.mark.parametrize("name", ALONE)
def test_left_as_it_is(name):
    xpconv.manual_seed(0)
    check(lively(ALONE[name]()), normal(2, 4, 6, 5), [])


def shared_conv():
    conv = Conv2d(4, 4, 3, padding=1)
    return Sequential(conv, BatchNorm2d(4), ReLU(), conv, BatchNorm2d(4))


def shared_norm():
    norm = BatchNorm2d(4)
    return Sequential(Conv2d(4, 4, 3), norm, ReLU(), norm, Conv2d(4, 4, 3), norm)


def shared_block():
    block = Sequential(*conv_norm(4, 4), ReLU())
    return Sequential(block, Conv2d(4, 4, 1), block)


def shared_ending():
    block = Sequential(ReLU(), Conv2d(4, 4, 3, padding=1))
    return Sequential(block, BatchNorm2d(4), block)


def shared_parameter():
    first, second = Conv2d(4, 4, 3), Conv2d(4, 4, 3)
    second.weight = first.weight
    return Sequential(first, BatchNorm2d(4), second, BatchNorm2d(4), ReLU())


def shared_pointwise():
    first = SeparableConv2d(4, 4, 3)
    return Sequential(first, BatchNorm2d(4), first.pointwise)


def held_elsewhere():
    conv = Conv2d(4, 4, 3, padding=1)
    return Own(Sequential(conv, BatchNorm2d(4)), conv)


SHARED = {
    shared_conv: [], shared_norm: ["1", "5"], shared_block: ["0.1"], shared_ending: [],
    shared_parameter: ["1", "3"], shared_pointwise: [], held_elsewhere: [],
}  # fmt: skip


@pytest.mark.parametrize("make", SHARED, ids=lambda make: make.__name__)
def test_shared_layers(make):
    """Only what is right in every place where it stands."""
    xpconv.manual_seed(0)
    model = lively(make())
    if make is shared_norm:  # one BatchNorm in three places: its name is the first's, the middle one stays
        fused = model.fuse()
        assert [type(layer) for layer in fused] == [Conv2d, Folded, ReLU, BatchNorm2d, Conv2d, Folded]
        x = normal(2, 4, 7, 8)
        expected = run(model.eval(), x)
        np.testing.assert_allclose(run(fused, x), expected, rtol=0, atol=1e-12 * np.abs(expected).max())
        return
    check(model, normal(2, 4, 7, 8), SHARED[make])


def test_subclass_that_only_has_a_name_is_fused():
    fused = check(lively(Named(conv_norm(4, 4))), normal(2, 4, 6, 5), ["1"])
    assert type(fused) is Named


def test_sizes_that_do_not_fit_stay_errors():
    for model, x in [
        (Sequential(Conv2d(4, 6, 3), BatchNorm2d(5)), normal(2, 4, 6, 5)),
        (Sequential(Conv2d(4, 6, 3), BatchNorm1d(6)), normal(2, 4, 6, 5)),
        (Sequential(Dense(4, 6), BatchNorm2d(6)), normal(2, 4)),
        (
            Sequential(Dense(4, 6), BatchNorm1d(6)),
            normal(2, 6, 4),
        ),  # BatchNorm1d would take the 6 in the middle
        (Sequential(Conv1d(4, 6, 1), BatchNorm1d(6)), normal(4, 6)),  # and here the length
    ]:
        with pytest.raises(xpconv.errors.ShapeError, match=r"layer 1\)"):
            run(model.to(dtype="float64").fuse(), x)
    mixed = Sequential(Conv2d(4, 6, 3), BatchNorm2d(6, dtype="float64")).fuse()
    with pytest.raises(xpconv.errors.DTypeError, match="layer 1"):
        run(mixed, normal(2, 4, 6, 5).astype("float32"))


def test_lazy_convolution_is_fused_once_it_knows_its_channels():
    model = Sequential(LazyConv2d(6, 3, rng=0), BatchNorm2d(6))
    x = normal(2, 4, 6, 5)
    assert folded(model.fuse()) == []
    model.to(dtype="float64")
    run(model.eval(), x)
    check(lively(model.train()), x, ["1"])


def test_the_copy_shares_nothing_and_trains(backend):
    xpconv.manual_seed(0)
    model = lively(Sequential(*conv_norm(2, 4), ReLU(), Flatten(), Dense(4 * 5 * 6, 3)))
    x = xpconv.asarray(normal(3, 2, 5, 6))
    model.backward(xpconv.get_xp().ones_like(model(x)))
    waiting = model(x)
    before = {p.name: xpconv.asnumpy(p.grad) for p in model.parameters()}
    fused = model.fuse()
    assert all(p.grad is None for p in fused.parameters())
    y = fused(x)
    dx = fused.backward(xpconv.get_xp().ones_like(y))
    model.backward(xpconv.get_xp().ones_like(waiting))  # what waited is still there
    assert {p.name for p in model.parameters()} == set(before)
    for parameter in fused.parameters():
        parameter[...] = 0
    assert all(bool((abs(xpconv.asnumpy(p.data)) > 0).any()) for p in model.parameters())
    reference = copy.deepcopy(model).eval()
    expected = reference.backward(xpconv.get_xp().ones_like(reference(x)))
    np.testing.assert_allclose(xpconv.asnumpy(dx), xpconv.asnumpy(expected), rtol=1e-10, atol=1e-12)


def test_place_holder():
    fused = Sequential(Conv2d(1, 2, 3), BatchNorm2d(2)).fuse()
    x = np.ones((1, 2, 3, 3), "float32")
    assert fused[1](x) is x
    assert fused[1].backward(x) is x
    assert fused[1](x) is x
    assert fused[1].backward(x, input_grad=False) is None
    assert copy.deepcopy(fused)[1].extra_repr() == "BatchNorm2d(2)"
    assert fused.summary((1, 5, 5)).rows[2][1:] == ("Folded(BatchNorm2d(2))", "(1, 2, 3, 3)", "0", "0", "0")


# --- the models --------------------------------------------------------------------------------------

# Size of the images, and how many BatchNorms remain: those before a convolution.
MODELS = {
    "resnet18": (32, 0), "resnet50": (32, 0), "mobilenet_v2": (32, 0), "efficientnet_b0": (32, 0),
    "googlenet": (32, 0), "densenet121": (32, 58 + 3 + 1), "unet": (16, 0), "vgg11_bn": (32, 0),
}  # fmt: skip


class Small(Dense):
    """For VGG's classifiers of 120 million parameters, which are not run here."""

    def __init__(self, in_features, out_features):
        super().__init__(1, 1)


def make_model(name, dtype):
    xpconv.manual_seed(0)
    if name == "unet":
        return lively(models.unet(width=4, depth=2), dtype)
    if name.startswith("vgg"):
        return lively(Sequential(getattr(models, name)(num_classes=2)[0]), dtype)
    return lively(getattr(models, name)(num_classes=10), dtype)


LARGE = {"densenet121", "efficientnet_b0", "googlenet", "resnet50", "vgg11_bn"}  # whose parts others have


@pytest.mark.sample(64)
@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        *(pytest.param(name, "float32", marks=[pytest.mark.slow] * (name in LARGE)) for name in MODELS),
        *(pytest.param(name, "float64", marks=pytest.mark.slow) for name in MODELS if name not in LARGE),
    ],
)
def test_models(name, dtype, monkeypatch):
    monkeypatch.setattr(models.vgg, "Dense", Small)
    size, left = MODELS[name]
    model = make_model(name, dtype)
    wanted = norms(model)
    if name == "densenet121":
        stay = [n for n in wanted if n.endswith(("norm1", "norm", "norm5"))]
        wanted = [n for n in wanted if n not in stay]
        assert len(stay) == left
    tolerance = {"float64": 1e-12, "float32": 1e-5}[dtype]
    fused = check(model, normal(2, 3, size, size).astype(dtype), wanted, tolerance)
    assert len(norms(fused)) == left
