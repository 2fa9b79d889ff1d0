"""Initial values: fans, bounds, distributions, and the same seed the same model on every backend."""

import itertools
import math

import numpy as np
import pytest

import xpconv
from xpconv import init

SHAPES = {  # weight: inputs that an output sees, outputs that an input reaches
    (10, 4): (4, 10),
    (1, 1): (1, 1),
    (16, 3, 5, 5): (75, 400),
    (16, 3, 5, 2): (30, 160),
    (8, 6, 3): (18, 24),
    (4, 2, 3, 2, 5): (60, 120),
}


def parameter(*shape, dtype="float32"):
    return xpconv.Parameter(xpconv.asarray(np.full(shape, np.nan, dtype)))


def values(p):
    return xpconv.asnumpy(p.data)


# --- fans and gains ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("shape", "expected"), SHAPES.items(), ids=str)
def test_fans(shape, expected):
    assert init.fans(shape) == expected


@pytest.mark.parametrize(
    ("groups", "kernel", "fan_in"),
    [(1, (3, 3), 108), (2, (3, 3), 54), (12, (3, 3), 9), (3, (1, 5), 20), (1, (1, 1), 12)],
)
def test_fan_in_is_how_many_inputs_an_output_has(groups, kernel, fan_in):
    """Counted: the inputs to which an output pixel has a gradient. Groups divide them, taps multiply them."""
    conv = xpconv.Conv2d(12, 24, kernel, groups=groups, rng=0)
    assert init.fans(conv.weight.shape)[0] == fan_in
    y = conv(np.ones((1, 12, 7, 7), "float32"))
    g = np.zeros_like(y)
    g[0, 5, 2, 1] = 1
    assert np.count_nonzero(conv.backward(g)) == fan_in


GAINS = {
    "linear": 1,
    "sigmoid": 1,
    "tanh": 5 / 3,
    "relu": math.sqrt(2),
    "leaky_relu": math.sqrt(2),
    "selu": 0.75,
}


@pytest.mark.parametrize(("nonlinearity", "expected"), GAINS.items())
def test_gain(nonlinearity, expected):
    assert init.gain(nonlinearity) == pytest.approx(expected, rel=1e-15)


def test_gain_of_a_leaky_slope():
    assert init.gain("leaky_relu", 0.2) == pytest.approx(math.sqrt(2 / 1.04), rel=1e-15)
    assert init.gain("leaky_relu", math.sqrt(5)) == pytest.approx(math.sqrt(1 / 3), rel=1e-15)
    assert init.gain("relu", 0.2) == math.sqrt(2)


# --- distributions -----------------------------------------------------------------------------------

LARGE = (128, 64, 3, 3)
IN, OUT = 576, 1152
COUNT = math.prod(LARGE)

UNIFORM = {  # bound
    "kaiming": (init.kaiming_uniform_, {}, math.sqrt(2 * 3 / IN)),
    "kaiming relu": (init.kaiming_uniform_, dict(nonlinearity="relu"), math.sqrt(2 * 3 / IN)),
    "kaiming fan_out": (
        init.kaiming_uniform_,
        dict(mode="fan_out", nonlinearity="linear"),
        math.sqrt(3 / OUT),
    ),
    "kaiming slope": (init.kaiming_uniform_, dict(a=math.sqrt(5)), math.sqrt(1 / IN)),
    "kaiming tanh": (init.kaiming_uniform_, dict(nonlinearity="tanh"), 5 / 3 * math.sqrt(3 / IN)),
    "xavier": (init.xavier_uniform_, {}, math.sqrt(6 / (IN + OUT))),
    "xavier gain": (init.xavier_uniform_, dict(gain=5 / 3), 5 / 3 * math.sqrt(6 / (IN + OUT))),
    "plain": (init.uniform_, dict(low=-0.25, high=0.25), 0.25),
}
NORMAL = {  # standard deviation
    "kaiming": (init.kaiming_normal_, {}, math.sqrt(2 / IN)),
    "kaiming fan_out": (init.kaiming_normal_, dict(mode="fan_out", nonlinearity="relu"), math.sqrt(2 / OUT)),
    "kaiming slope": (init.kaiming_normal_, dict(a=1.0), math.sqrt(1 / IN)),
    "kaiming selu": (init.kaiming_normal_, dict(nonlinearity="selu"), 0.75 / math.sqrt(IN)),
    "xavier": (init.xavier_normal_, {}, math.sqrt(2 / (IN + OUT))),
    "xavier gain": (init.xavier_normal_, dict(gain=2.0), 2 * math.sqrt(2 / (IN + OUT))),
    "plain": (init.normal_, dict(std=0.02), 0.02),
    "default": (init.normal_, {}, 1.0),
}


def assert_moments(x, mean, std, kurtosis):
    """Sample mean and deviation within 4 standard errors; no two axes' means alike by more than that."""
    assert abs(x.mean() - mean) < 4 * std / math.sqrt(x.size)
    assert abs(x.std() / std - 1) < 4 * math.sqrt((kurtosis - 1) / 4 / x.size)
    for axis in range(x.ndim):
        means = x.mean(axis=tuple(a for a in range(x.ndim) if a != axis))
        assert np.abs(means - mean).max() < 4.5 * std / math.sqrt(x.size / x.shape[axis])


@pytest.mark.parametrize(("fill", "options", "bound"), UNIFORM.values(), ids=UNIFORM.keys())
def test_uniform(fill, options, bound, backend):
    p = parameter(*LARGE)
    assert fill(p, **options, rng=1) is p
    x = values(p).astype("float64")
    assert np.abs(x).max() <= bound * (1 + 1e-7)
    assert np.abs(x).max() > bound * (1 - 20 / COUNT)  # and it gets there
    assert_moments(x, 0, bound / math.sqrt(3), kurtosis=9 / 5)
    counts, _ = np.histogram(x, bins=16, range=(-bound, bound))
    assert np.abs(counts - COUNT / 16).max() < 4.5 * math.sqrt(COUNT / 16)


@pytest.mark.parametrize(("fill", "options", "std"), NORMAL.values(), ids=NORMAL.keys())
def test_normal(fill, options, std, backend):
    p = parameter(*LARGE)
    assert fill(p, **options, rng=1) is p
    x = values(p).astype("float64")
    assert_moments(x, 0, std, kurtosis=3)
    for z, share in ((1, 0.682689), (2, 0.954500), (3, 0.997300)):
        assert abs((np.abs(x) < z * std).mean() - share) < 4 * math.sqrt(share * (1 - share) / COUNT)


def test_bounds_and_means_are_taken(backend):
    p = parameter(200, 50)
    x = values(init.uniform_(p, 2.0, 3.0, rng=0))
    assert 2.0 <= x.min() < 2.01
    assert 2.99 < x.max() <= 3.0
    assert_moments(values(init.uniform_(p, rng=0)), 0.5, math.sqrt(1 / 12), kurtosis=9 / 5)
    assert_moments(values(init.normal_(p, 5.0, 0.5, rng=0)), 5.0, 0.5, kurtosis=3)
    np.testing.assert_array_equal(values(init.constant_(p, -1.5)), np.full((200, 50), -1.5, "float32"))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("fill", [f for f, _, _ in (*UNIFORM.values(), *NORMAL.values())])
def test_in_place_and_of_the_same_dtype(fill, dtype, backend):
    """The same array, its dtype, and the same numbers in every precision."""
    p, exact = parameter(6, 4, 3, 3, dtype=dtype), parameter(6, 4, 3, 3, dtype="float64")
    array = p.data
    fill(p, rng=3)
    fill(exact, rng=3)
    assert p.data is array
    assert str(p.dtype) == dtype
    np.testing.assert_array_equal(values(p), values(exact).astype(dtype))


# --- seeds -------------------------------------------------------------------------------------------


def build(rng=None):
    return xpconv.Sequential(
        xpconv.Conv2d(2, 6, 3, rng=rng), xpconv.BatchNorm2d(6), xpconv.ReLU(),
        xpconv.Conv2d(6, 6, (1, 3), groups=3, dtype="float64", rng=rng), xpconv.Flatten(),
        xpconv.Dense(12, 5, rng=rng), xpconv.Dropout(0.5, rng=rng),
    )  # fmt: skip


def state(model):
    return {name: xpconv.asnumpy(array).copy() for name, array in model.state_dict().items()}


def assert_equal_to_the_bit(a, b):
    assert list(a) == list(b)
    for name, array in a.items():
        assert array.dtype == b[name].dtype
        assert array.tobytes() == b[name].tobytes(), name


@pytest.mark.parametrize(
    "make", [lambda: build(7), lambda: build(np.random.default_rng(7))], ids=["seed", "generator"]
)
def test_the_same_seed_is_the_same_model_on_every_backend(make, backend):
    here = state(make())
    with xpconv.use_backend("numpy"):
        assert_equal_to_the_bit(state(make()), here)


def test_manual_seed_is_the_same_model_on_every_backend(backend):
    def make():
        xpconv.manual_seed(11)
        return state(build())

    here = make()
    with xpconv.use_backend("numpy"):
        assert_equal_to_the_bit(make(), here)
    for name in ("0.weight", "3.weight", "5.weight"):
        assert len(np.unique(here[name])) > 1


def test_manual_seed_starts_again_and_moves_on(backend):
    xpconv.manual_seed(0)
    first, second = state(build()), state(build())
    xpconv.manual_seed(0)
    assert_equal_to_the_bit(state(build()), first)
    assert_equal_to_the_bit(state(build()), second)
    xpconv.manual_seed(1)
    other = state(build())
    for name in ("0.weight", "0.bias", "5.weight"):
        assert (first[name] != second[name]).all()
        assert (first[name] != other[name]).all()


def test_a_seed_of_its_own_leaves_the_global_one_alone():
    xpconv.manual_seed(5)
    expected = values(xpconv.Dense(4, 3).weight).copy()
    xpconv.manual_seed(5)
    xpconv.Conv2d(2, 2, 3, rng=0)
    init.normal_(parameter(3, 3), rng=np.random.default_rng(0))
    np.testing.assert_array_equal(values(xpconv.Dense(4, 3).weight), expected)


def test_a_generator_moves_on_and_a_seed_does_not(backend):
    rng = np.random.default_rng(0)
    a, b = xpconv.Dense(4, 3, rng=rng), xpconv.Dense(4, 3, rng=rng)
    assert (values(a.weight) != values(b.weight)).all()
    c, d = xpconv.Dense(4, 3, rng=0), xpconv.Dense(4, 3, rng=0)
    np.testing.assert_array_equal(values(c.weight), values(d.weight))
    np.testing.assert_array_equal(values(a.weight), values(c.weight))


def test_weight_and_bias_are_drawn_apart():
    """One seed for both must not make the bias the weight's first values."""
    layer = xpconv.Dense(1, 50, rng=0)
    assert abs(np.corrcoef(values(layer.weight)[:, 0], values(layer.bias))[0, 1]) < 0.5


def test_a_bias_left_out_changes_no_weight():
    with_bias, without = xpconv.Conv2d(2, 4, 3, rng=0), xpconv.Conv2d(2, 4, 3, bias=False, rng=0)
    np.testing.assert_array_equal(values(with_bias.weight), values(without.weight))


# --- what layers start with --------------------------------------------------------------------------

LAYERS = {
    "dense": (lambda **k: xpconv.Dense(100, 80, **k), 100),
    "conv": (lambda **k: xpconv.Conv2d(16, 80, 3, **k), 144),
    "conv, rectangular": (lambda **k: xpconv.Conv2d(16, 80, (1, 5), **k), 80),
    "conv, grouped": (lambda **k: xpconv.Conv2d(16, 80, 3, groups=4, **k), 36),
    "conv, depthwise": (lambda **k: xpconv.Conv2d(80, 80, 5, groups=80, **k), 25),
}


@pytest.mark.parametrize(("make", "fan_in"), LAYERS.values(), ids=LAYERS.keys())
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_default_bounds(make, fan_in, dtype, backend):
    """Weight and bias uniform on ±1/√fan_in, as PyTorch's."""
    layer, bound = make(dtype=dtype, rng=2), 1 / math.sqrt(fan_in)
    for p in (layer.weight, layer.bias):
        x = values(p)
        assert x.dtype == dtype
        assert np.abs(x).max() <= bound * (1 + 1e-7)
        assert np.abs(x).max() > bound * (1 - 20 / x.size)
        assert abs(x.mean()) < 4 * bound / math.sqrt(3 * x.size)
        assert abs(x.std() * math.sqrt(3) / bound - 1) < 4 * math.sqrt(1 / 5 / x.size)


@pytest.mark.parametrize(("make", "fan_in"), LAYERS.values(), ids=LAYERS.keys())
def test_default_bounds_are_those_of_pytorch(make, fan_in):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: `pip install torch`")
    ours = make(rng=0)
    torch.manual_seed(0)
    theirs = (
        torch.nn.Linear(100, 80) if isinstance(ours, xpconv.Dense)
        else torch.nn.Conv2d(ours.in_channels, 80, ours.kernel_size, groups=ours.groups)
    )  # fmt: skip
    for p, t in ((ours.weight, theirs.weight), (ours.bias, theirs.bias)):
        t = t.detach().numpy()
        assert p.shape == t.shape
        assert np.abs(p.data).max() == pytest.approx(np.abs(t).max(), rel=40 / p.size)
        assert p.data.std() == pytest.approx(t.std(), rel=6 * math.sqrt(1 / 5 / p.size))


def test_batch_norm_starts_as_the_identity(backend):
    layer = xpconv.BatchNorm2d(3)
    expected = {"weight": [1, 1, 1], "bias": [0, 0, 0], "running_mean": [0, 0, 0], "running_var": [1, 1, 1]}
    for name, array in expected.items():
        np.testing.assert_array_equal(xpconv.asnumpy(layer.state_dict()[name]), array)
    assert xpconv.asnumpy(layer.state_dict()["num_batches_tracked"]) == 0


@pytest.mark.parametrize("mode", ["fan_in", "fan_out"])
@pytest.mark.parametrize("nonlinearity", ["relu", "tanh", "linear", "leaky_relu"])
def test_formulas_are_those_of_pytorch(mode, nonlinearity):
    """Bounds and deviations: large samples of both."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: `pip install torch`")
    torch.manual_seed(0)
    options = {"a": 0.3, "mode": mode, "nonlinearity": nonlinearity}
    for name, more in itertools.product(["uniform_", "normal_"], ["kaiming", "xavier"]):
        p, t = parameter(*LARGE), torch.empty(LARGE)
        own = options if more == "kaiming" else {"gain": init.gain(nonlinearity, 0.3)}
        getattr(init, f"{more}_{name}")(p, **own, rng=0)
        getattr(torch.nn.init, f"{more}_{name}")(t, **own)
        assert p.data.std() == pytest.approx(float(t.std()), rel=0.03)
        if name == "uniform_":
            assert np.abs(p.data).max() == pytest.approx(float(t.abs().max()), rel=1e-2)
    assert init.gain(nonlinearity, 0.3) == pytest.approx(
        torch.nn.init.calculate_gain(nonlinearity, 0.3), rel=1e-15
    )


# --- what is refused ---------------------------------------------------------------------------------

FANNED = [init.kaiming_uniform_, init.kaiming_normal_, init.xavier_uniform_, init.xavier_normal_]


@pytest.mark.parametrize("shape", [(), (5,)], ids=str)
def test_no_fan(shape, backend):
    with pytest.raises(
        xpconv.errors.ShapeError, match=r"has no fan-in; expected a weight \(out, in, \*kernel\)"
    ):
        init.fans(shape)
    for fill in FANNED:
        with pytest.raises(ValueError, match="has no fan-in"):
            fill(parameter(*shape))


@pytest.mark.parametrize("fill", FANNED[:2])
def test_unknown_names(fill):
    with pytest.raises(
        ValueError, match=f"init.{fill.__name__}: mode is 'fan', expected 'fan_in' or 'fan_out'"
    ):
        fill(parameter(3, 2), mode="fan")
    with pytest.raises(
        ValueError,
        match=f"init.{fill.__name__}: nonlinearity is 'swish', expected one of 'linear', 'sigmoid'",
    ):
        fill(parameter(3, 2), nonlinearity="swish")


@pytest.mark.parametrize(
    "make", [xpconv.Dense, lambda a, b, **k: xpconv.Conv2d(a, b, 3, **k)], ids=["dense", "conv"]
)
def test_bad_seeds_and_dtypes(make):
    with pytest.raises(ValueError, match="rng is -1, expected at least 0"):
        make(3, 2, rng=-1)
    with pytest.raises(xpconv.errors.DTypeError, match="dtype is int64, expected a floating dtype"):
        make(3, 2, dtype="int64")
