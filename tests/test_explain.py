"""The table of costs, and the choice of how to convolve."""

import numpy as np
import pytest

import xpconv
from xpconv.explain import measure
from xpconv.tape import arrays_in
from xpconv.testing import assert_layer_ok


def model():
    return xpconv.Sequential(
        xpconv.Conv2d(3, 8, 3, padding=1, rng=0), xpconv.ReLU(), xpconv.MaxPool2d(2), xpconv.Flatten(),
        xpconv.Dense(8 * 4 * 4, 5, rng=0),
    )  # fmt: skip


def test_costs(backend):
    """Counted by hand; backward needs x of the convolution, winners and y of MaxPool with ReLU, x of Dense."""
    costs = measure(model(), (3, 8, 8), batch=2)
    assert [cost.name for cost in costs] == ["0", "1", "2", "3", "4"]
    assert [cost.output for cost in costs] == [(2, 8, 8, 8), (2, 8, 8, 8), (2, 8, 4, 4), (2, 128), (2, 5)]
    assert [cost.flops for cost in costs] == [2 * 2 * 512 * 27, 0, 0, 0, 2 * 10 * 128]
    assert [cost.moved for cost in costs] == [
        4 * (2 * 192 + 1024 + 8 * 28), 0, 4 * (1024 + 256), 4 * 512, 4 * (256 + 10 + 129 * 5),
    ]  # fmt: skip
    assert [cost.saved for cost in costs[:3]] == [4 * 2 * 192, 0, 256 + 4 * 256]
    assert all(cost.seconds > 0 for cost in costs)
    assert bool(costs[0].algorithm)
    assert [cost.algorithm for cost in costs[1:]] == ["fused", "", "", ""]


class Gate(xpconv.Layer):
    """`x · tanh(conv(x))`, whose arrays are copied when it ends."""

    def __init__(self):
        self.conv, self.tanh = xpconv.Conv2d(8, 8, 3, padding=1), xpconv.Tanh()

    def forward(self, x):
        gate = self.tanh(self.conv(x))
        return self.keep(x * gate, x, gate)

    def backward(self, grad_output, input_grad=True):
        x, gate = self.recall(grad_output, input_grad)
        return self.conv.backward(self.tanh.backward(grad_output * x)) + grad_output * gate


class Hides(xpconv.Layer):
    """A layer that saves twice, and whose loss and activation, which save too, are no layers of it."""

    def __init__(self):
        relu = xpconv.ReLU()
        self.fc, self.loss, self._activation = xpconv.Dense(8, 8), xpconv.MSELoss(), lambda: relu

    def forward(self, x):
        y = self.fc(self.keep(2 * x, x))
        self.loss(y, y + 1)
        return self.keep(self._activation()(y) * x, x)

    def backward(self, grad_output, input_grad=True):
        raise NotImplementedError


MODELS = {
    "small": (model, (3, 8, 8)),
    "resnet": (lambda: xpconv.models.resnet18(num_classes=3), (3, 32, 32)),
    "densenet": (lambda: xpconv.models.densenet121(num_classes=3), (3, 32, 32)),
    "squeeze and excite": (lambda: xpconv.models.mobilenet_v3_small(num_classes=3)
                           if hasattr(xpconv.models, "mobilenet_v3_small") else xpconv.SqueezeExcitation(3, 2), (3, 32, 32)),
    "clipped sum": (lambda: xpconv.Sequential(xpconv.Residual(xpconv.Conv2d(3, 3, 3, padding=1)), xpconv.ReLU()),
                    (3, 8, 8)),
    "layers of one's own": (lambda: xpconv.Sequential(xpconv.Conv2d(3, 8, 3), Gate(), xpconv.Tanh(), Gate()), (3, 8, 8)),
    "one of one's own": (Gate, (8, 6, 6)),
    "what is no layer of it": (Hides, (8,)),
}  # fmt: skip


@pytest.mark.sample(3)
@pytest.mark.parametrize("name", MODELS)
def test_what_is_kept_is_what_a_forward_keeps(name, backend, no_draws):
    """To the byte: the distinct arrays on the tape, without the parameters and buffers."""
    make, shape = MODELS[name]
    net = make()
    x = xpconv.asarray(np.zeros((2, *shape), "float32"))

    def owner(array):
        while getattr(array, "base", None) is not None and hasattr(array.base, "nbytes"):
            array = array.base
        return array

    own = {id(o): o for o in (owner(p.data) for p in net.parameters())}
    _, tape = net.record(x)
    saved = {id(o): o for o in [owner(a) for entry in tape.entries for a in arrays_in(entry[1])]}
    expected = sum(o.nbytes for i, o in saved.items() if i not in own)
    assert sum(cost.saved for cost in measure(net, shape, batch=2)) == expected


def test_the_table_adds_up():
    lines = xpconv.explain(model(), (3, 8, 8)).splitlines()
    assert len(lines) == 7
    assert lines[-1].split()[:2] == ["total", f"{(2 * 512 * 27 + 2 * 5 * 128) / 1e6:.3g}"]


def test_the_model_is_as_before(backend):
    layers = xpconv.Sequential(
        xpconv.Conv2d(1, 4, 3, rng=0), xpconv.BatchNorm2d(4), xpconv.Dropout(0.5, rng=1)
    )
    before = layers.state_dict()
    xpconv.explain(layers, (1, 6, 6), batch=3)
    for name, array in layers.state_dict().items():
        np.testing.assert_array_equal(xpconv.asnumpy(array), xpconv.asnumpy(before[name]))
    assert layers.training
    assert all("forward" not in vars(layer) for _, layer in layers.named_layers())
    with pytest.raises(xpconv.errors.BackwardError):
        layers.backward(xpconv.asarray(np.ones((3, 4, 4, 4), "float32")))


def test_what_waits_and_what_is_drawn_stay():
    layers = xpconv.Sequential(xpconv.Dropout(0.5, rng=1), xpconv.Dense(8, 3, rng=0))
    x = np.ones((4, 8), "float32")
    mask = xpconv.Dropout(0.5, rng=1)
    first = mask(x)
    np.testing.assert_array_equal(layers[0](x), first)
    assert len(layers[0]._finished()) == 1
    with xpconv.no_grad():
        assert measure(layers, (8,), batch=2)[1].saved == 4 * 2 * 8
    np.testing.assert_array_equal(layers[0](x), mask(x))
    assert layers[0].backward(x).shape == x.shape


def test_shared_layers_and_containers_are_explained():
    shared = xpconv.ReLU()
    block = xpconv.Residual(xpconv.Sequential(xpconv.Conv2d(4, 4, 3, padding=1), shared))
    costs = measure(xpconv.Sequential(block, shared), (4, 5, 5), batch=1)
    assert [cost.layer.partition("(")[0] for cost in costs] == ["Conv2d", "ReLU", "Residual", "ReLU"]


def test_errors_of_explain():
    with pytest.raises(ValueError, match="explain: batch is 0, expected at least 1"):
        xpconv.explain(model(), (3, 8, 8), batch=0)
    with pytest.raises(ValueError, match=r"Conv2d.forward: x has shape \(1, 4, 8, 8\)"):
        xpconv.explain(model(), (4, 8, 8))


# --- algorithm= and set_exact --------------------------------------------------------------------------

LARGE = np.zeros((16, 64, 32, 32), "float32")


@pytest.fixture
def exact():
    xpconv.set_exact(True)
    yield
    xpconv.set_exact(False)


def test_auto_takes_winograd_where_it_is_faster():
    assert xpconv.Conv2d(64, 64, 3, padding=1).algorithm_for(LARGE) == "winograd"
    assert xpconv.Conv2d(64, 64, 3, padding=1, stride=2).algorithm_for(LARGE) == "columns"
    assert xpconv.Conv2d(64, 64, 3, padding=1, algorithm="direct").algorithm_for(LARGE) != "winograd"


def test_exact_rules_winograd_out(exact):
    conv = xpconv.Conv2d(64, 64, 3, padding=1, rng=0)
    assert conv.algorithm_for(LARGE) != "winograd"
    x = np.random.default_rng(0).normal(size=LARGE.shape).astype("float32")
    expected = conv.to(dtype="float64")(x.astype("float64"))
    y = conv.to(dtype="float32")(x)
    assert np.abs(y - expected).max() < 2e-6 * np.abs(expected).max()


@pytest.mark.parametrize("shape", [(2, 3, 7, 6), (3, 9, 9)])
def test_winograd_on_demand(shape):
    """Also where it would not be taken."""
    make = lambda: xpconv.Conv2d(3, 4, 3, padding=((2, 0), (1, 1)), algorithm="winograd", rng=0)
    x = np.random.default_rng(0).normal(size=shape)
    plain = xpconv.Conv2d(3, 4, 3, padding=((2, 0), (1, 1)), algorithm="direct", dtype="float64")

    def reference(x, **state):
        plain.load_state_dict(state)
        with xpconv.no_grad():
            return plain(x)

    assert make().to(dtype="float64").algorithm_for(x) == "winograd"
    assert_layer_ok(make, x, reference=reference)
    assert repr(make()).endswith("algorithm='winograd')")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"algorithm": "fft"}, "Conv2d: algorithm is 'fft', expected one of 'auto', 'direct', 'winograd'"),
        (
            {"algorithm": "winograd", "stride": 2},
            "Conv2d: algorithm='winograd' is for 3×3 kernels with stride",
        ),
        (
            {"algorithm": "winograd", "groups": 2},
            "Conv2d: algorithm='winograd' is for 3×3 kernels with stride",
        ),
    ],
)
def test_errors_of_algorithm(arguments, message):
    with pytest.raises(ValueError, match=message):
        xpconv.Conv2d(4, 4, 3, **arguments)


def test_winograd_is_refused_where_it_is_not(backend):
    """NumPy computes float16 in float32, by Winograd's algorithm too."""
    conv = xpconv.Conv2d(4, 4, 3, algorithm="winograd", dtype="float16")
    x = xpconv.asarray(np.ones((1, 4, 6, 6), "float16"))
    if backend == "numpy":
        direct = xpconv.Conv2d(4, 4, 3, algorithm="direct", dtype="float16")
        direct.load_state_dict(conv.state_dict())
        np.testing.assert_allclose(conv(x), direct(x), rtol=1e-2, atol=1e-2)
        return
    with pytest.raises(
        ValueError, match=r"Conv2d.forward: algorithm='winograd' takes float16, float32 and float64 on numpy"
    ):
        conv(x)


def test_lazy_convolutions_take_the_algorithm_along():
    conv = xpconv.LazyConv2d(4, 3, algorithm="direct")
    assert "algorithm='direct'" in repr(conv)
    conv(LARGE[:1])
    assert conv.algorithm == "direct"


def test_one_image_is_too_few_for_batch_norm():
    """The error says how to give `explain` more, where that would help."""
    small = xpconv.Sequential(xpconv.Flatten(), xpconv.BatchNorm1d(4))
    with pytest.raises(
        xpconv.errors.ShapeError, match=r"give batch=2 or more, or model\.eval\(\) \(layer 1\)"
    ):
        xpconv.explain(small, (1, 2, 2))
    assert "BatchNorm1d(4)" in xpconv.explain(small, (1, 2, 2), batch=2)
    assert "BatchNorm1d(4)" in xpconv.explain(small.eval(), (1, 2, 2))
    groups = xpconv.Sequential(xpconv.Flatten(), xpconv.GroupNorm(4, 4))
    with pytest.raises(xpconv.errors.ShapeError, match=r"give batch=2 or more \(layer 1\)"):
        xpconv.explain(groups, (1, 2, 2))
    assert "GroupNorm(4, 4)" in xpconv.explain(groups, (1, 2, 2), batch=2)
    with pytest.raises(xpconv.errors.ShapeError) as error:
        xpconv.explain(small, (1, 2, 3))
    assert "batch=2" not in str(error.value)
    instances = xpconv.Sequential(xpconv.InstanceNorm2d(4))
    with pytest.raises(xpconv.errors.ShapeError) as error:
        xpconv.explain(instances, (4, 1, 1))
    assert "batch=2" not in str(error.value)
