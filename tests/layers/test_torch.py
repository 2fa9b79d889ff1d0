"""Every layer against its namesake in PyTorch: output, every gradient, state, and what they refuse."""

import effort
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from oracle import (
    LAYOUTS,
    assert_same,
    channels_last,
    check,
    contiguous,
    covering,
    nn,
    normal,
    numpy_state,
    torch,
    wide,
)

import xpconv

# --- convolution -------------------------------------------------------------------------------------

CONV_OPTIONS = {
    "kernel_size": [1, 3, (2, 3), (4, 1), [3, 2]],
    "stride": [1, 2, (1, 3)],
    "padding": [0, 1, (2, 0), "same", "valid"],
    "dilation": [1, 2, (1, 2)],
    "groups": [1, 2, 4],
    "bias": [True, False],
    "padding_mode": ["zeros", "reflect", "replicate", "circular"],
    "out_channels": [4, 8],
    "shape": [(2, 4, 7, 8), (4, 9, 7), (1, 4, 8, 7)],
    "layout": [np.asarray, *LAYOUTS],
}


@pytest.mark.slow
def test_conv2d_over_all_options():
    """Any three options meet in all their values."""
    count = 0
    for options in covering(CONV_OPTIONS, 3):
        if options["padding"] == "same" and options["stride"] != 1:
            continue
        shape, layout = options.pop("shape"), options.pop("layout")
        try:
            check(lambda m, o=options: m.Conv2d(4, **o), normal(*shape), layout=layout)
        except BaseException:
            print(f"Conv2d(4, {options}) on {shape} as {layout.__name__}")
            raise
        count += 1
    assert count > (200 if effort.thorough else 40)


@st.composite
def convolutions(draw):
    def two(strategy):
        return draw(st.one_of(strategy, st.tuples(strategy, strategy)))

    def pair(value):
        return value if isinstance(value, tuple) else (value, value)

    groups = draw(st.integers(1, 3))
    options = {
        "in_channels": groups * draw(st.integers(1, 3)),
        "out_channels": groups * draw(st.integers(1, 3)),
        "kernel_size": two(st.integers(1, 4)),
        "stride": two(st.integers(1, 3)),
        "padding": two(st.integers(0, 3)),
        "dilation": two(st.integers(1, 3)),
        "groups": groups,
        "bias": draw(st.booleans()),
        "padding_mode": draw(st.sampled_from(["zeros", "reflect", "replicate", "circular"])),
    }
    size = []
    for k, p, d in zip(*(pair(options[n]) for n in ("kernel_size", "padding", "dilation")), strict=True):
        widest = {"reflect": p + 1, "circular": max(p, 1)}.get(options["padding_mode"], 1)
        size.append(max(widest, d * (k - 1) + 1 - 2 * p) + draw(st.integers(0, 5)))
    leading = draw(st.sampled_from([(), (1,), (3,)]))
    return options, (*leading, options["in_channels"], *size), draw(st.sampled_from([np.asarray, *LAYOUTS]))


@settings(max_examples=effort.examples(250))
@given(drawn=convolutions())
def test_conv2d_drawn(drawn):
    options, shape, layout = drawn
    check(lambda m: m.Conv2d(**options), normal(*shape), layout=layout)


@pytest.mark.parametrize("mode", CONV_OPTIONS["padding_mode"])
@pytest.mark.parametrize("options", [{}, {"groups": 2}, {"groups": 4}, {"stride": 2}], ids=str)
def test_conv2d_of_an_empty_batch(options, mode):
    check(lambda m: m.Conv2d(4, 8, 3, padding=1, padding_mode=mode, **options), normal(0, 4, 5, 6))


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_conv2d_spreads_nan_to_the_same_places(groups):
    x = normal(2, 4, 7, 7)
    x[0, 1, 2, 3] = x[1, 3, 6, 0] = np.nan
    xpconv.set_exact(True)
    try:
        check(lambda m: m.Conv2d(4, 4, 3, padding=1, groups=groups), x)
    finally:
        xpconv.set_exact(False)


def test_conv2d_of_sizes_that_networks_have():
    """Deep sums, and more columns than one block of im2col holds."""
    check(lambda m: m.Conv2d(64, 32, 3, padding=1), normal(4, 64, 28, 28))
    check(lambda m: m.Conv2d(3, 16, 7, stride=2, padding=3), normal(5, 3, 64, 64))
    check(lambda m: m.Conv2d(32, 32, 3, padding=1, groups=32), normal(4, 32, 28, 28))


# --- pooling -----------------------------------------------------------------------------------------

POOL_OPTIONS = {
    "kernel_size": [2, 3, (2, 3), (4, 2)],
    "stride": [None, 1, 2, (3, 1)],
    "padding": [0, 1, (1, 0)],
    "ceil_mode": [False, True],
    "shape": [(2, 3, 7, 8), (3, 8, 9), (1, 1, 5, 6)],
}
TIES = np.array([-1.0, 0.0, 1.0])
SPECIAL = np.array([-1.0, 0.0, 1.0, 2.0, np.nan, np.inf, -np.inf])


def pool_check(name, options, x, **kwargs):
    try:
        check(lambda m: getattr(m, name)(**options), x, **kwargs)
    except BaseException:
        print(f"{name}({options}) on {x.shape}")
        raise


@pytest.mark.sample(3)
@pytest.mark.parametrize("values", [None, TIES, SPECIAL], ids=["distinct", "ties", "nan and inf"])
@pytest.mark.parametrize("layout", [np.asarray, channels_last, wide], ids=lambda f: f.__name__)
def test_max_pool2d_over_all_options(values, layout):
    """Any three options; with ties the first takes the gradient, NaN wins, and an infinity is a number."""
    for options in covering({**POOL_OPTIONS, "dilation": [1, 2, (1, 2)]}, 3):
        shape = options.pop("shape")
        if shape[-2] < 7 and options["dilation"] != 1:
            continue  # a window that sees padding only: torch leaves that undefined
        x = normal(*shape) if values is None else np.random.default_rng(1).choice(values, shape)
        pool_check("MaxPool2d", options, x, layout=layout)


def test_avg_pool2d_over_all_options():
    extra = {
        "count_include_pad": [True, False],
        "divisor_override": [None, 1, 7],
        "layout": [np.asarray, *LAYOUTS],
    }
    for options in covering({**POOL_OPTIONS, **extra}, 4):
        shape, layout = options.pop("shape"), options.pop("layout")
        pool_check("AvgPool2d", options, normal(*shape), layout=layout)


@settings(max_examples=effort.examples(200))
@given(data=st.data(), name=st.sampled_from(["MaxPool2d", "AvgPool2d"]))
def test_pools_drawn(data, name):
    draw = data.draw
    kernel = draw(st.tuples(*[st.integers(1, 4)] * 2))
    options = {
        "kernel_size": kernel,
        "stride": draw(st.none() | st.integers(1, 5) | st.tuples(*[st.integers(1, 5)] * 2)),
        "padding": tuple(draw(st.integers(0, k // 2)) for k in kernel),
        "ceil_mode": draw(st.booleans()),
    }
    if name == "AvgPool2d":
        options["count_include_pad"] = draw(st.booleans())
        options["divisor_override"] = draw(st.none() | st.integers(1, 9))
    shape = (
        *draw(st.sampled_from([(), (1,), (2,)])),
        draw(st.integers(1, 3)),
        *(k + draw(st.integers(0, 6)) for k in kernel),
    )
    pool_check(name, options, normal(*shape), layout=draw(st.sampled_from([np.asarray, *LAYOUTS])))


@pytest.mark.parametrize("name", ["MaxPool2d", "AvgPool2d"])
@pytest.mark.parametrize("options", [{}, {"stride": 1}, {"padding": 1, "ceil_mode": True}], ids=str)
def test_pools_of_an_empty_batch(name, options):
    pool_check(name, {"kernel_size": 2, **options}, normal(0, 3, 5, 6))


# --- dense, pointwise, flatten -----------------------------------------------------------------------


@settings(max_examples=effort.examples(60))
@given(data=st.data())
def test_dense_drawn(data):
    draw = data.draw
    ins, outs, bias = draw(st.integers(1, 6)), draw(st.integers(1, 6)), draw(st.booleans())
    shape = (*draw(st.lists(st.integers(0, 4), max_size=4)), ins)
    layout = draw(st.sampled_from([np.asarray, *LAYOUTS]))
    check(lambda m: m.Linear(ins, outs, bias=bias), normal(*shape), layout=layout)


def test_dense_is_the_linear_of_pytorch():
    assert xpconv.Linear is xpconv.Dense


POINTWISE = ["ReLU", "Sigmoid", "Tanh"]


@pytest.mark.parametrize("name", POINTWISE)
@settings(max_examples=effort.examples(30))
@given(
    shape=st.lists(st.integers(0, 4), min_size=1, max_size=5), layout=st.sampled_from([np.asarray, *LAYOUTS])
)
def test_pointwise_drawn(name, shape, layout):
    check(lambda m: getattr(m, name)(), 3 * normal(*shape), layout=layout)


@pytest.mark.parametrize("name", POINTWISE)
def test_pointwise_of_a_single_number(name):
    """PyTorch's take any shape, and so do ours, by their docstrings."""
    check(lambda m: getattr(m, name)(), np.array(0.5))


@pytest.mark.parametrize("name", POINTWISE)
def test_pointwise_of_special_values(name):
    """Ends of the range, both zeros, the kink, NaN (which passes, with its gradient) and infinity."""
    x = np.array([0.0, -0.0, 1e-30, -1e-30, 5, -5, 40, -40, 1e3, -1e3, np.nan, np.inf, -np.inf])
    check(lambda m: getattr(m, name)(), x)


FLATTENS = [(1, -1), (0, -1), (0, 0), (1, 2), (-2, -1), (2, 3), (-4, -3), (3, 3), (-1, 3)]


@pytest.mark.parametrize(("start", "end"), FLATTENS)
@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (0, 3, 4, 5), (2, 3, 0, 5)], ids=str)
def test_flatten(start, end, shape):
    for layout in [np.asarray, *LAYOUTS]:
        check(lambda m: m.Flatten(start, end), normal(*shape), layout=layout)


# --- batch normalisation -----------------------------------------------------------------------------

NORM_OPTIONS = {
    "momentum": [0.1, 0.7, 0.0, 1.0, None],
    "affine": [True, False],
    "track_running_stats": [True, False],
    "eps": [1e-5, 0.5],
    "training": [True, False],
    "layout": [np.asarray, *LAYOUTS],
}


@pytest.mark.slow
def test_batch_norm2d_over_all_options():
    """Running statistics and `num_batches_tracked` after one and three batches: `check` compares the state."""
    for options in covering(NORM_OPTIONS, 4):
        training, layout = options.pop("training"), options.pop("layout")
        for steps in (1, 3):
            try:
                check(
                    lambda m, o=options: m.BatchNorm2d(3, **o), 2 * normal(4, 3, 5, 6) + 1,
                    training=training, steps=steps, layout=layout,
                )  # fmt: skip
            except BaseException:
                print(f"BatchNorm2d(3, {options}), training={training}, layout={layout.__name__}")
                raise


@settings(max_examples=effort.examples(60))
@given(
    shape=st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(1, 5), st.integers(1, 5)),
    training=st.booleans(),
    steps=st.integers(1, 3),
    momentum=st.none() | st.floats(0, 1),
)
def test_batch_norm2d_drawn(shape, training, steps, momentum):
    n, c, h, w = shape
    assume(n * h * w >= 4)  # of two values a channel x̂ is ±1 whatever they are, dx rounding error
    check(lambda m: m.BatchNorm2d(c, momentum=momentum), normal(*shape), training=training, steps=steps)


@pytest.mark.parametrize("momentum", [0.3, None])
@pytest.mark.parametrize("affine", [True, False])
def test_batch_norm2d_learns_in_training_and_then_infers(momentum, affine):
    options = {"momentum": momentum, "affine": affine, "dtype": "float64"}
    ours = xpconv.BatchNorm2d(3, **options)
    theirs = nn.BatchNorm2d(3, **{**options, "dtype": torch.float64})
    for step in range(6):
        mode = step not in (2, 5)  # inference in between must change nothing
        x = normal(4, 3, 5, 5, seed=step) * (1 + step) + step
        assert_same(ours.train(mode)(x), theirs.train(mode)(contiguous(x)), f"step {step}")
        for name, tensor in theirs.state_dict().items():
            assert_same(ours.state_dict()[name], tensor, f"{name} after step {step}")
    assert ours.state_dict()["num_batches_tracked"] == 4


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("momentum", [0.1, None])
def test_batch_norm2d_of_an_empty_batch(training, momentum):
    """PyTorch gives it back empty; the running statistics must survive whatever they do there."""
    check(lambda m: m.BatchNorm2d(3, momentum=momentum), normal(0, 3, 4, 4), training=training)


def test_batch_norm2d_far_from_zero():
    """mean² ≫ variance: about the mean, as in PyTorch; E[x²] - E[x]² would be off by 1e-3 here."""
    x = (normal(8, 2, 6, 6) + 100).astype("float32")
    g = normal(8, 2, 6, 6, seed=1).astype("float32")
    exact = contiguous(x.astype("float64")).requires_grad_()
    expected = nn.BatchNorm2d(2).double()(exact)
    expected.backward(contiguous(g.astype("float64")))
    layer = xpconv.BatchNorm2d(2)
    np.testing.assert_allclose(layer(x), expected.detach().numpy(), rtol=0, atol=1e-4)
    np.testing.assert_allclose(layer.backward(g), exact.grad.numpy(), rtol=0, atol=1e-4)


# --- dropout -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("p", [0.0, 1.0])
@pytest.mark.parametrize("training", [True, False])
def test_dropout_of_all_or_nothing(p, training):
    check(lambda m: m.Dropout(p), normal(3, 4, 5), training=training)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_dropout_in_inference_is_the_identity(p):
    check(lambda m: m.Dropout(p), normal(3, 4, 5), training=False)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_dropout_has_the_distribution_of_pytorch(p, dtype):
    """Elements are 0 or 1/(1-p), to the bit; how many are 0 is binomial (5 sigma), along both axes."""
    n = 400
    ones = np.ones((n, n), dtype)
    layer = xpconv.Dropout(p, rng=0)
    y = layer(ones)
    torch.manual_seed(0)
    theirs = nn.Dropout(p)(torch.from_numpy(ones)).numpy()
    np.testing.assert_array_equal(np.unique(y), np.unique(theirs))
    assert y.dtype == theirs.dtype
    sigma = np.sqrt(p * (1 - p))
    assert abs((y == 0).mean() - p) < 5 * sigma / n
    for axis in (0, 1):
        assert np.abs((y == 0).mean(axis=axis) - p).max() < 5 * sigma / np.sqrt(n)
    np.testing.assert_array_equal(layer.backward(ones), y)  # the same elements, the same scale


# --- models ------------------------------------------------------------------------------------------


def lenet(m):
    return m.Sequential(
        m.Conv2d(1, 6, 5, padding=2), m.Tanh(), m.AvgPool2d(2),
        m.Conv2d(6, 16, 5), m.Sigmoid(), m.AvgPool2d(2), m.Flatten(),
        m.Linear(64, 12), m.ReLU(), m.Linear(12, 10),
    )  # fmt: skip


def vgg(m):
    """No biases before batch normalisation: their gradients are 0, and computed ones rounding errors."""

    def block(ins, outs):
        return m.Sequential(
            m.Conv2d(ins, outs, 3, padding="same", bias=False), m.BatchNorm2d(outs), m.Tanh(),
            m.Conv2d(outs, outs, 3, padding=1, padding_mode="reflect", bias=False),
            m.BatchNorm2d(outs, momentum=None), m.ReLU(),
            m.MaxPool2d(3, stride=2, padding=1),
        )  # fmt: skip

    return m.Sequential(block(1, 4), block(4, 6), m.Flatten(), m.Dropout(0.0), m.Linear(6 * 16, 5))


def mobile(m):
    return m.Sequential(
        m.Conv2d(1, 8, 3, stride=2, padding=1, bias=False), m.BatchNorm2d(8, affine=False), m.ReLU(),
        m.Conv2d(8, 8, 3, padding=1, groups=8, bias=False),
        m.BatchNorm2d(8, track_running_stats=False), m.ReLU(),
        m.Conv2d(8, 16, 1, groups=2), m.MaxPool2d(2, ceil_mode=True), m.Flatten(1, 2), m.Tanh(),
    )  # fmt: skip


def shared(m):
    """One layer twice: its gradient is the sum, and the state names it twice."""
    layer = m.Linear(16, 16)
    return m.Sequential(m.Flatten(2), m.Linear(256, 16), m.Tanh(), layer, m.Tanh(), layer)


MODELS = [lenet, vgg, mobile, shared]


@pytest.mark.parametrize("make", MODELS)
@pytest.mark.parametrize("training", [True, False])
def test_models(make, training):
    check(make, normal(5, 1, 16, 16), training=training, steps=2 if training else 1)


@pytest.mark.parametrize("make", MODELS)
def test_weights_go_both_ways(make):
    """As torch tensors, as NumPy arrays, and back; then both compute the same."""
    theirs = make(nn)
    with torch.no_grad():
        theirs(
            torch.from_numpy(normal(4, 1, 16, 16, seed=9).astype("float32"))
        )  # running statistics of their own
    theirs.eval()
    x = normal(3, 1, 16, 16).astype("float32")
    expected = theirs(torch.from_numpy(x))
    for state in (theirs.state_dict(), numpy_state(theirs)):
        ours = make(xpconv).eval()
        result = ours.load_state_dict(state)
        assert (result.missing_keys, result.unexpected_keys) == ([], [])
        assert_same(ours(x), expected, "output")
        for name, array in ours.state_dict().items():
            assert isinstance(array, np.ndarray)
            assert array.dtype == numpy_state(theirs)[name].dtype
    ours = make(xpconv)
    back = make(nn).eval()
    back.load_state_dict({name: torch.from_numpy(np.asarray(a)) for name, a in ours.state_dict().items()})
    assert_same(ours.eval()(x), back(torch.from_numpy(x)), "output, weights taken from xpconv")


def test_a_loaded_state_is_a_copy():
    theirs = nn.Linear(3, 2)
    ours = xpconv.Dense(3, 2)
    ours.load_state_dict(theirs.state_dict())
    before = theirs.weight.detach().numpy().copy()
    ours.weight.data += 1
    np.testing.assert_array_equal(theirs.weight.detach().numpy(), before)


def test_half_and_double_precision_states_are_cast():
    for kind in (torch.float16, torch.float64):
        theirs = nn.Conv2d(2, 3, 3).to(kind)
        ours = xpconv.Conv2d(2, 3, 3)
        ours.load_state_dict(theirs.state_dict())
        assert ours.weight.dtype == "float32"
        np.testing.assert_array_equal(ours.weight.data, theirs.weight.detach().float().numpy())


STATES = [
    ("another shape", lambda m: m.Linear(4, 2), lambda s: {**s, "weight": s["weight"][:, :3]}),
    ("broadcasts", lambda m: m.Linear(4, 2), lambda s: {**s, "weight": s["weight"][:1]}),
    ("missing", lambda m: m.Linear(4, 2), lambda s: {"weight": s["weight"]}),
    ("unexpected", lambda m: m.Linear(4, 2, bias=False), lambda s: {**s, "bias": s["weight"][:, 0]}),
    ("prefixed", lambda m: m.Linear(4, 2), lambda s: {f"0.{k}": v for k, v in s.items()}),
    ("statistics", lambda m: m.BatchNorm2d(4), lambda s: {k: v for k, v in s.items() if k != "running_var"}),
]


@pytest.mark.parametrize(("make", "spoil"), [row[1:] for row in STATES], ids=[row[0] for row in STATES])
def test_states_that_pytorch_refuses(make, spoil):
    state = spoil(make(nn).state_dict())
    with pytest.raises(RuntimeError):
        make(nn).load_state_dict(state)
    ours = make(xpconv)
    before = ours.state_dict()
    with pytest.raises(xpconv.errors.StateDictError, match="load_state_dict"):
        ours.load_state_dict(state)
    for name, array in ours.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


# --- what PyTorch refuses ----------------------------------------------------------------------------

IMAGE = (2, 4, 6, 6)
REFUSED = {
    # constructors (where torch waits for the first forward, that counts as well)
    "in_channels 0, groups 2": (lambda m: m.Conv2d(3, 4, 3, groups=2), (2, 3, 6, 6)),
    "out_channels by groups": (lambda m: m.Conv2d(4, 3, 3, groups=2), IMAGE),
    "groups 0": (lambda m: m.Conv2d(4, 4, 3, groups=0), IMAGE),
    "groups -1": (lambda m: m.Conv2d(4, 4, 3, groups=-1), IMAGE),
    "channels -1": (lambda m: m.Conv2d(4, -1, 3), IMAGE),
    "kernel -1": (lambda m: m.Conv2d(4, 4, -1), IMAGE),
    "kernel a float": (lambda m: m.Conv2d(4, 4, 2.5), IMAGE),
    "kernel a string": (lambda m: m.Conv2d(4, 4, "3"), IMAGE),
    "stride 0": (lambda m: m.Conv2d(4, 4, 3, stride=0), IMAGE),
    "stride -1": (lambda m: m.Conv2d(4, 4, 3, stride=-1), IMAGE),
    "dilation 0": (lambda m: m.Conv2d(4, 4, 3, dilation=0), IMAGE),
    "padding -1": (lambda m: m.Conv2d(4, 4, 3, padding=-1), IMAGE),
    "padding a float": (lambda m: m.Conv2d(4, 4, 3, padding=0.5), IMAGE),
    "padding mode": (lambda m: m.Conv2d(4, 4, 3, padding=1, padding_mode="mirror"), IMAGE),
    "padding name": (lambda m: m.Conv2d(4, 4, 3, padding="full"), IMAGE),
    "same and strided": (lambda m: m.Conv2d(4, 4, 3, padding="same", stride=2), IMAGE),
    "pool kernel 0": (lambda m: m.MaxPool2d(0), IMAGE),
    "pool kernel of three": (lambda m: m.MaxPool2d((2, 2, 2)), IMAGE),
    "pool stride 0": (lambda m: m.MaxPool2d(2, stride=0), IMAGE),
    "pool stride -1": (lambda m: m.AvgPool2d(2, stride=-1), IMAGE),
    "pool padding": (lambda m: m.MaxPool2d(2, padding=2), IMAGE),
    "pool padding of one axis": (lambda m: m.AvgPool2d((4, 3), padding=(1, 2)), IMAGE),
    "pool padding, dilated": (lambda m: m.MaxPool2d(3, padding=2, dilation=3), IMAGE),
    "pool padding -1": (lambda m: m.MaxPool2d(2, padding=-1), IMAGE),
    "pool dilation 0": (lambda m: m.MaxPool2d(2, dilation=0), IMAGE),
    "divisor 0": (lambda m: m.AvgPool2d(2, divisor_override=0), IMAGE),
    "features -1": (lambda m: m.Linear(4, -1), (2, 4)),
    "p below 0": (lambda m: m.Dropout(-0.1), (2, 4)),
    "p above 1": (lambda m: m.Dropout(1.1), (2, 4)),
    "a class": (lambda m: m.Sequential(m.ReLU), (2, 4)),
    "no layer": (lambda m: m.Sequential(m.ReLU(), 3), (2, 4)),
    # inputs
    "conv of two axes": (lambda m: m.Conv2d(4, 4, 1), (6, 6)),
    "conv of five axes": (lambda m: m.Conv2d(4, 4, 1), (1, 2, 4, 6, 6)),
    "conv channels": (lambda m: m.Conv2d(4, 4, 1), (2, 3, 6, 6)),
    "conv channels, unbatched": (lambda m: m.Conv2d(4, 4, 1), (3, 6, 6)),
    "conv channels, grouped": (lambda m: m.Conv2d(4, 4, 1, groups=2), (2, 2, 6, 6)),
    "conv kernel too large": (lambda m: m.Conv2d(4, 4, 7), IMAGE),
    "conv dilation too large": (lambda m: m.Conv2d(4, 4, 3, dilation=3), IMAGE),
    "conv of no pixels": (lambda m: m.Conv2d(4, 4, 1, padding=1), (2, 4, 0, 6)),
    "reflect too wide": (lambda m: m.Conv2d(4, 4, 3, padding=6, padding_mode="reflect"), IMAGE),
    "circular too wide": (lambda m: m.Conv2d(4, 4, 3, padding=7, padding_mode="circular"), IMAGE),
    "pool of two axes": (lambda m: m.MaxPool2d(2), (6, 6)),
    "pool of five axes": (lambda m: m.AvgPool2d(2), (1, 2, 4, 6, 6)),
    "pool kernel too large": (lambda m: m.MaxPool2d(7), IMAGE),
    "pool of no pixels": (lambda m: m.MaxPool2d(2, stride=1, padding=1), (2, 4, 0, 6)),
    "mean of no pixels": (lambda m: m.AvgPool2d(2, stride=1, padding=1), (2, 4, 6, 0)),
    "dense features": (lambda m: m.Linear(4, 2), (2, 3)),
    "dense features, one row": (lambda m: m.Linear(4, 2), (3,)),
    "norm channels": (lambda m: m.BatchNorm2d(3), IMAGE),
    "norm of two axes": (lambda m: m.BatchNorm2d(4), (2, 4)),
    "norm of three axes": (lambda m: m.BatchNorm2d(4), (4, 6, 6)),
    "norm of one value": (lambda m: m.BatchNorm2d(4), (1, 4, 1, 1)),
    "norm without statistics": (lambda m: m.BatchNorm2d(4, track_running_stats=False).eval(), (1, 4, 1, 1)),
    "flatten start": (lambda m: m.Flatten(), (3,)),
    "flatten end": (lambda m: m.Flatten(1, 4), IMAGE),
    "flatten from end to start": (lambda m: m.Flatten(2, 1), IMAGE),
}  # fmt: skip


@pytest.mark.parametrize(("make", "shape"), REFUSED.values(), ids=REFUSED.keys())
def test_what_pytorch_refuses_is_refused(make, shape):
    with pytest.raises((ValueError, TypeError, RuntimeError, IndexError)):
        make(nn)(torch.zeros(shape))
    with pytest.raises(
        (ValueError, TypeError), match=r"^(Conv|MaxPool|AvgPool|Dense|BatchNorm|Dropout|Seq|Flatten)"
    ):
        make(xpconv)(np.zeros(shape, "float32"))


@pytest.mark.parametrize("dtype", ["float64", "float16", "int64", "uint8", "bool", "complex64"])
@pytest.mark.parametrize(
    "make", [lambda m: m.Conv2d(4, 2, 1), lambda m: m.Linear(6, 2)], ids=["conv", "linear"]
)
def test_no_silent_cast(make, dtype):
    x = np.zeros(IMAGE, dtype)
    with pytest.raises(RuntimeError):
        make(nn)(torch.from_numpy(x))
    with pytest.raises(xpconv.errors.DTypeError, match=dtype):
        make(xpconv)(x)


def test_the_gradient_must_fit_the_output():
    for g in (np.zeros((2, 3)), np.zeros((1, 2)), np.zeros(())):
        ours, theirs = xpconv.Dense(4, 2, dtype="float64"), nn.Linear(4, 2).double()
        y = theirs(torch.zeros(2, 4, dtype=torch.float64))
        ours(np.zeros((2, 4)))
        with pytest.raises(RuntimeError):
            y.backward(torch.from_numpy(g))
        with pytest.raises(xpconv.errors.ShapeError, match=r"expected \(2, 2\)"):
            ours.backward(g)
