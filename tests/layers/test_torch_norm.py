"""Normalisation and regularisation against PyTorch: all options, shapes, layouts, and what they refuse."""

import numpy as np
import pytest
from effort import examples
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from oracle import LAYOUTS, assert_same, check, contiguous, covering, nn, normal, torch

import xpconv

SPATIAL = {1: (6,), 2: (3, 4), 3: (2, 3, 2)}


def compare(make, x, what, **kwargs):
    try:
        check(make, x, **kwargs)
    except BaseException:
        print(what, x.shape, kwargs)
        raise


# --- by channel --------------------------------------------------------------------------------------

OPTIONS = {
    "momentum": [0.1, 0.0, 1.0, None],
    "affine": [True, False],
    "bias": [True, False],
    "track_running_stats": [True, False],
    "eps": [1e-5, 0.5],
    "training": [True, False],
    "layout": [np.asarray, *LAYOUTS],
}


@pytest.mark.parametrize(
    ("axes", "shape"), [(1, (6, 3)), (1, (4, 3, 5)), (2, (4, 3, 3, 3)), (3, (3, 3, 2, 3, 2))]
)
def test_batch_norm_over_all_options(axes, shape):
    for options in covering(OPTIONS, 3):
        training, layout = options.pop("training"), options.pop("layout")
        compare(
            lambda m, o=options: getattr(m, f"BatchNorm{axes}d")(3, **o), 2 * normal(*shape) + 1, options,
            training=training, steps=2, layout=layout,
        )  # fmt: skip


@pytest.mark.parametrize("training", [True, False])
def test_batch_norm_in_float32_takes_float16(training):
    """Parameters, their gradients and running statistics stay in float32."""
    x, g = (normal(6, 3, 4, 5).astype("float16") for _ in range(2))
    ours, theirs = xpconv.BatchNorm2d(3).train(training), nn.BatchNorm2d(3).train(training)
    tensor = torch.tensor(x, requires_grad=True)
    y = theirs(tensor)
    y.backward(torch.tensor(g))
    got = ours(x), ours.backward(g)
    for a, b in zip(got, (y.detach(), tensor.grad), strict=True):
        assert a.dtype == "float16"
        np.testing.assert_allclose(a, b.numpy(), rtol=0, atol=4e-3)
    for a, b in [
        (ours.weight.grad, theirs.weight.grad), (ours.bias.grad, theirs.bias.grad),
        (ours.running_mean, theirs.running_mean), (ours.running_var, theirs.running_var),
    ]:  # fmt: skip
        assert a.dtype == "float32"
        np.testing.assert_allclose(a, b.numpy(), rtol=1e-5, atol=1e-4)


@pytest.mark.sample(2)
@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("leading", [(), (1,), (3,)], ids=str)
def test_instance_norm_over_all_options(axes, leading):
    for options in covering(OPTIONS, 3):
        training, layout = options.pop("training"), options.pop("layout")
        compare(
            lambda m, o=options: getattr(m, f"InstanceNorm{axes}d")(3, **o),
            2 * normal(*leading, 3, *SPATIAL[axes]) + 1, options, training=training, steps=2, layout=layout,
        )  # fmt: skip


@settings(max_examples=examples(40))
@given(data=st.data(), kind=st.sampled_from(["BatchNorm", "InstanceNorm"]), axes=st.integers(1, 3))
def test_channel_norms_drawn(data, kind, axes):
    draw = data.draw
    spatial = draw(st.tuples(*[st.integers(1, 4)] * axes))
    n, c = draw(st.integers(1, 3)), draw(st.integers(1, 4))
    assume(np.prod(spatial) * (n if kind == "BatchNorm" else 1) >= 4)  # of two values x̂ is ±1, dx rounding
    options = {"affine": draw(st.booleans()), "track_running_stats": draw(st.booleans())}
    options["momentum"] = draw(st.none() | st.floats(0, 1))
    compare(
        lambda m: getattr(m, f"{kind}{axes}d")(c, **options), normal(n, c, *spatial), options,
        training=draw(st.booleans()), steps=draw(st.integers(1, 2)), layout=draw(st.sampled_from(LAYOUTS)),
    )  # fmt: skip


EMPTY = [
    (lambda m: m.BatchNorm1d(3), (0, 3)), (lambda m: m.BatchNorm1d(3), (0, 3, 4)),
    (lambda m: m.BatchNorm1d(3, momentum=None), (2, 3, 0)), (lambda m: m.BatchNorm3d(3), (0, 3, 2, 2, 2)),
    (lambda m: m.InstanceNorm1d(3), (0, 3, 4)), (lambda m: m.InstanceNorm2d(3), (0, 3, 4, 4)),
    (lambda m: m.InstanceNorm2d(3, affine=True), (2, 3, 0, 4)), (lambda m: m.InstanceNorm3d(3), (0, 3, 2, 2, 2)),
    (lambda m: m.LayerNorm(4), (0, 4)), (lambda m: m.LayerNorm((3, 4)), (0, 2, 3, 4)),
    (lambda m: m.LayerNorm(0), (2, 0)), (lambda m: m.RMSNorm(4), (0, 4)), (lambda m: m.RMSNorm(0), (2, 0)),
    (lambda m: m.GroupNorm(2, 4), (0, 4)), (lambda m: m.GroupNorm(2, 4), (0, 4, 3, 3)),
    (lambda m: m.LocalResponseNorm(2), (0, 3, 4)), (lambda m: m.LocalResponseNorm(2), (2, 3, 4, 0)),
    (lambda m: m.Dropout1d(1.0), (0, 3, 4)), (lambda m: m.Dropout3d(1.0), (0, 3, 4, 2, 2)),
    (lambda m: m.AlphaDropout(0.5), (0, 3)),
]  # fmt: skip


@pytest.mark.parametrize(("make", "shape"), EMPTY)
@pytest.mark.parametrize("training", [True, False])
def test_of_nothing(make, shape, training):
    check(make, normal(*shape), training=training)


@pytest.mark.parametrize("momentum", [0.1, None])
def test_tracking_instance_norm_survives_an_empty_batch(momentum):
    """PyTorch's running statistics become NaN there; ours stay."""
    layer = xpconv.InstanceNorm2d(3, momentum=momentum, track_running_stats=True)
    before = layer.state_dict()
    assert layer(np.zeros((0, 3, 4, 4), "float32")).shape == (0, 3, 4, 4)
    for name, array in layer.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


def test_instance_norm_of_other_channels_warns_where_they_are_of_no_effect():
    x = normal(2, 4, 3, 3)
    with pytest.warns(UserWarning, match="num_features"):
        expected = nn.InstanceNorm2d(3)(contiguous(x))
    with pytest.warns(UserWarning, match="num_features"):
        y = xpconv.InstanceNorm2d(3)(x)
    assert_same(y, expected, "output")


# --- by image or vector ------------------------------------------------------------------------------


@pytest.mark.parametrize("training", [True, False])
def test_layer_norm_over_all_options(training):
    options = {
        "normalized_shape": [5, (5,), [4, 5], (3, 4, 5), torch.Size((4, 5))],
        "leading": [(), (1,), (2,), (3, 2)],
        "eps": [1e-5, 0.5],
        "elementwise_affine": [True, False],
        "bias": [True, False],
        "layout": [np.asarray, *LAYOUTS],
    }
    for o in covering(options, 3):
        leading, layout, shape = o.pop("leading"), o.pop("layout"), o["normalized_shape"]
        x = 2 * normal(*leading, *((shape,) if isinstance(shape, int) else shape)) + 1
        compare(lambda m, o=o: m.LayerNorm(**o), x, o, training=training, layout=layout)


@pytest.mark.parametrize("training", [True, False])
def test_rms_norm_over_all_options(training):
    options = {
        "normalized_shape": [5, (5,), [4, 5], (3, 4, 5)],
        "leading": [(), (1,), (2,), (3, 2)],
        "eps": [None, 1e-5, 0.5],
        "elementwise_affine": [True, False],
        "layout": [np.asarray, *LAYOUTS],
    }
    for o in covering(options, 3):
        leading, layout, shape = o.pop("leading"), o.pop("layout"), o["normalized_shape"]
        x = 2 * normal(*leading, *((shape,) if isinstance(shape, int) else shape)) + 1
        compare(lambda m, o=o: m.RMSNorm(**o), x, o, training=training, layout=layout)


@settings(max_examples=examples(40))
@given(data=st.data(), name=st.sampled_from(["LayerNorm", "RMSNorm"]))
def test_trailing_norms_drawn(data, name):
    shape = tuple(data.draw(st.lists(st.integers(1, 5), min_size=1, max_size=5)))
    axes = data.draw(st.integers(1, len(shape)))
    assume(np.prod(shape[-axes:]) >= 4)
    layout = data.draw(st.sampled_from(LAYOUTS))
    compare(lambda m: getattr(m, name)(shape[-axes:]), normal(*shape), axes, layout=layout)


@pytest.mark.parametrize("training", [True, False])
def test_group_norm_over_all_options(training):
    options = {
        "num_groups": [1, 2, 3, 6],
        "spatial": [(5,), (3, 4), (2, 3, 2), (2, 1, 2, 2)],
        "n": [1, 3],
        "eps": [1e-5, 0.5],
        "affine": [True, False],
        "bias": [True, False],
        "layout": [np.asarray, *LAYOUTS],
    }
    for o in covering(options, 3):
        spatial, n, layout = o.pop("spatial"), o.pop("n"), o.pop("layout")
        x = 2 * normal(n, 6, *spatial) + 1
        compare(lambda m, o=o: m.GroupNorm(num_channels=6, **o), x, o, training=training, layout=layout)


def test_group_norm_of_vectors():
    check(lambda m: m.GroupNorm(2, 8), normal(3, 8))


@settings(max_examples=examples(40))
@given(data=st.data())
def test_group_norm_drawn(data):
    groups, each, n = (data.draw(st.integers(1, 4)) for _ in range(3))
    spatial = data.draw(st.lists(st.integers(1, 4), max_size=3))
    assume(each * np.prod(spatial) >= 4)
    layout = data.draw(st.sampled_from(LAYOUTS))
    compare(
        lambda m: m.GroupNorm(groups, groups * each),
        normal(n, groups * each, *spatial),
        groups,
        layout=layout,
    )


def test_local_response_norm_over_all_options():
    options = {
        "size": [1, 2, 3, 4, 5, 9, 30],
        "alpha": [1e-4, 0.7],
        "beta": [0.75, 1.0, 0.0, 2.0],
        "k": [1.0, 2, 0.3],
        "shape": [(2, 5, 4), (1, 1, 3), (2, 6, 3, 4), (1, 5, 2, 3, 2), (2, 3, 2, 1, 2, 2)],
        "layout": [np.asarray, *LAYOUTS],
        "training": [True, False],
    }
    for o in covering(options, 3):
        shape, layout, training = o.pop("shape"), o.pop("layout"), o.pop("training")
        x = 2 * normal(*shape)
        compare(lambda m, o=o: m.LocalResponseNorm(**o), x, o, training=training, layout=layout)


FAR = {
    "BatchNorm1d": (lambda m: m.BatchNorm1d(3), (4, 3, 8)),
    "InstanceNorm1d": (lambda m: m.InstanceNorm1d(3), (4, 3, 8)),
    "LayerNorm": (lambda m: m.LayerNorm(8), (4, 3, 8)),
    "GroupNorm": (lambda m: m.GroupNorm(1, 3), (4, 3, 8)),
    "RMSNorm": (lambda m: m.RMSNorm(8), (4, 3, 8)),
    "LocalResponseNorm": (lambda m: m.LocalResponseNorm(3), (4, 3, 8)),
    "AlphaDropout": (lambda m: m.AlphaDropout(0.0), (4, 3, 8)),
}


@pytest.mark.parametrize(("make", "shape"), FAR.values(), ids=FAR.keys())
@pytest.mark.parametrize("scale", [1e-4, 1e4])
def test_at_the_ends_of_the_range(make, shape, scale):
    check(make, scale * np.sign(normal(*shape)) + 0.3 * scale * normal(*shape, seed=5))


# --- dropping ----------------------------------------------------------------------------------------

DROPS = {
    "Dropout1d": [(3, 4, 5), (4, 5)],
    "Dropout2d": [(3, 4, 5, 2)],
    "Dropout3d": [(3, 4, 2, 3, 2), (4, 2, 3, 2)],
    "AlphaDropout": [(7,), (3, 4), (3, 4, 5, 2)],
}
SHAPES = [(name, shape) for name, shapes in DROPS.items() for shape in shapes]


@pytest.mark.parametrize(("name", "shape"), SHAPES)
@pytest.mark.parametrize(
    ("p", "training"), [(0.0, True), (1.0, True), (0.0, False), (0.4, False), (1.0, False)]
)
def test_dropping_all_or_nothing_and_inference(name, shape, p, training):
    for layout in [np.asarray, *LAYOUTS]:
        check(lambda m: getattr(m, name)(p), normal(*shape), training=training, layout=layout)


@pytest.mark.parametrize("p", [0.2, 0.7])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("name", "shape"),
    [("Dropout1d", (300, 40, 2)), ("Dropout1d", (4000, 2)), ("Dropout2d", (300, 40, 2, 2)),
     ("Dropout2d", (300, 40, 3)), ("Dropout3d", (300, 40, 1, 2, 2)), ("Dropout3d", (4000, 2, 1, 2)),
     ("AlphaDropout", (300, 40))],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:dropout2d. Received a 3D:UserWarning")
def test_the_distribution_is_that_of_pytorch(name, shape, p, dtype):
    """The same two values, whole channels in the same places, and how many is binomial (5 sigma)."""
    x = np.ones(shape, dtype)
    y = getattr(xpconv, name)(p, rng=0)(x)
    torch.manual_seed(0)
    theirs = getattr(nn, name)(p)(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(np.unique(y), np.unique(theirs), rtol=1e-6 if dtype == "float32" else 1e-12)
    assert y.dtype == theirs.dtype
    for drawn in (y, theirs):  # along which axes the values are one
        same = [bool((drawn == drawn.take([0], axis=a)).all()) for a in range(drawn.ndim)]
        assert same == [
            bool((theirs == theirs.take([0], axis=a)).all()) or n == 1 for a, n in enumerate(shape)
        ]
    dropped = (y == y.min()).reshape(12000 if shape[0] == 300 else 4000, -1)[:, 0]
    assert abs(dropped.mean() - p) < 5 * np.sqrt(p * (1 - p) / dropped.size)


@pytest.mark.parametrize("p", [0.2, 0.7])
def test_alpha_dropout_of_a_mask_of_ones_and_zeros(p):
    """Where both dropped and where both kept an element, both give the same, and the same gradient."""
    x, g = normal(50, 40), normal(50, 40, seed=1)
    layer = xpconv.AlphaDropout(p, rng=0)
    y = layer(x)
    dx = layer.backward(g)
    there = contiguous(x).requires_grad_()
    torch.manual_seed(0)
    theirs = nn.AlphaDropout(p)(there)
    theirs.backward(contiguous(g))
    kept, theirs_kept = dx != 0, there.grad.numpy() != 0
    for both in (kept & theirs_kept, ~kept & ~theirs_kept):
        assert both.any()
        np.testing.assert_allclose(y[both], theirs.detach().numpy()[both], rtol=1e-12)
        np.testing.assert_allclose(dx[both], there.grad.numpy()[both], rtol=1e-12)


# --- squeeze and excitation --------------------------------------------------------------------------


class TorchSqueezeExcitation(nn.Module):
    """torchvision's, written out."""

    def __init__(self, channels, squeeze, activation=nn.ReLU, scale_activation=nn.Sigmoid):
        super().__init__()
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc1 = nn.Conv2d(channels, squeeze, 1)
        self.fc2 = nn.Conv2d(squeeze, channels, 1)
        self.activation, self.scale_activation = activation(), scale_activation()

    def forward(self, x):
        return x * self.scale_activation(self.fc2(self.activation(self.fc1(self.avgpool(x)))))


@pytest.mark.sample(4)
@pytest.mark.parametrize("shape", [(3, 6, 4, 5), (1, 6, 1, 1), (6, 4, 5), (0, 6, 3, 3)], ids=str)
@pytest.mark.parametrize("activations", [(), ("Tanh",), ("SiLU", "Softplus"), ("ReLU", "Tanh")], ids=str)
def test_squeeze_excitation(shape, activations):
    def make(m):
        block = m.SqueezeExcitation if m is xpconv else TorchSqueezeExcitation
        return block(6, 4, *(getattr(m, name) for name in activations))

    for training in (True, False):
        for layout in [np.asarray, *LAYOUTS]:
            check(make, normal(*shape), training=training, layout=layout, steps=2)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("Dropout", (3, 4)), ("AlphaDropout", (3, 4)), ("Dropout1d", (3, 4, 5)), ("Dropout2d", (3, 4, 5, 2)),
        ("Dropout3d", (3, 4, 2, 3, 2)),
    ],
)  # fmt: skip
def test_dropout_takes_inplace(name, shape):
    check(lambda m: getattr(m, name)(0.3, True), normal(*shape), training=False)
    layer, x = getattr(xpconv, name)(0.3, inplace=True, rng=0), normal(*shape)
    y = layer(x)
    np.testing.assert_array_equal(x, normal(*shape))  # of no effect here: inputs are never modified
    np.testing.assert_array_equal(y, getattr(xpconv, name)(0.3, rng=0)(x))
    assert repr(layer) == f"{name}(p=0.3, inplace=True)" == repr(getattr(nn, name)(0.3, True))


# --- what PyTorch refuses ----------------------------------------------------------------------------

REFUSED = {
    "1d of one axis": (lambda m: m.BatchNorm1d(4), (4,)),
    "1d of four axes": (lambda m: m.BatchNorm1d(4), (2, 4, 3, 3)),
    "1d of other channels": (lambda m: m.BatchNorm1d(4), (2, 3)),
    "1d of one vector": (lambda m: m.BatchNorm1d(4), (1, 4)),
    "3d of four axes": (lambda m: m.BatchNorm3d(4), (2, 4, 3, 3)),
    "3d of one value": (lambda m: m.BatchNorm3d(4), (1, 4, 1, 1, 1)),
    "features -1": (lambda m: m.BatchNorm1d(-1), (2, 4)),
    "instance of two axes": (lambda m: m.InstanceNorm2d(4), (2, 4)),
    "instance of five axes": (lambda m: m.InstanceNorm2d(4), (2, 4, 2, 2, 2)),
    "instance of one pixel": (lambda m: m.InstanceNorm2d(4), (2, 4, 1, 1)),
    "instance of one pixel, unbatched": (lambda m: m.InstanceNorm1d(4), (4, 1)),
    "instance of one pixel, inference": (lambda m: m.InstanceNorm1d(4).eval(), (2, 4, 1)),
    "instance channels": (lambda m: m.InstanceNorm2d(4, affine=True), (2, 3, 2, 2)),
    "instance channels, tracked": (lambda m: m.InstanceNorm3d(4, track_running_stats=True), (2, 3, 2, 2, 2)),
    "layer of no axes": (lambda m: m.LayerNorm(()), (2, 4)),
    "layer of -1": (lambda m: m.LayerNorm(-1), (2, 4)),
    "layer of a float": (lambda m: m.LayerNorm(2.5), (2, 4)),
    "layer of another size": (lambda m: m.LayerNorm(4), (4, 3)),
    "layer of too few axes": (lambda m: m.LayerNorm((3, 4)), (4,)),
    "rms of no axes": (lambda m: m.RMSNorm(()), (2, 4)),
    "rms of another size": (lambda m: m.RMSNorm((3, 4)), (4, 3)),
    "rms of too few axes": (lambda m: m.RMSNorm((3, 4)), (4,)),
    "groups do not divide": (lambda m: m.GroupNorm(3, 4), (2, 4)),
    "groups 0": (lambda m: m.GroupNorm(0, 4), (2, 4)),
    "groups -2": (lambda m: m.GroupNorm(-2, 4), (2, 4)),
    "group of one axis": (lambda m: m.GroupNorm(2, 4), (4,)),
    "group channels": (lambda m: m.GroupNorm(2, 4), (2, 6, 3)),
    "group of one value": (lambda m: m.GroupNorm(4, 4), (1, 4, 1)),
    "response size 0": (lambda m: m.LocalResponseNorm(0), (2, 3, 4)),
    "response size -1": (lambda m: m.LocalResponseNorm(-1), (2, 3, 4)),
    "response of two axes": (lambda m: m.LocalResponseNorm(2), (2, 3)),
    "p below 0": (lambda m: m.Dropout2d(-0.1), (2, 3, 4, 4)),
    "p above 1": (lambda m: m.AlphaDropout(1.1), (2, 3)),
    "p a string": (lambda m: m.Dropout3d("0.5"), (2, 3, 1, 2, 2)),
    "drop 1d of one axis": (lambda m: m.Dropout1d(), (2,)),
    "drop 1d of four axes": (lambda m: m.Dropout1d(), (2, 3, 4, 4)),
    "drop 1d of four axes, inference": (lambda m: m.Dropout1d().eval(), (2, 3, 4, 4)),
}


@pytest.mark.filterwarnings("ignore:input's size at dim:UserWarning")  # before torch raises
@pytest.mark.parametrize(("make", "shape"), REFUSED.values(), ids=REFUSED.keys())
def test_what_pytorch_refuses_is_refused(make, shape):
    with pytest.raises((ValueError, TypeError, RuntimeError, ZeroDivisionError)):
        make(nn)(torch.zeros(shape))
    with pytest.raises(
        (ValueError, TypeError), match=r"^(Batch|Instance|Layer|RMS|Group|LocalResponse|\w*Drop)"
    ):
        make(xpconv)(np.zeros(shape, "float32"))
