"""What forwards save for backward, when it is released, and that bad input discards nothing."""

import copy

import numpy as np
import pytest

import xpconv
from xpconv.errors import BackwardError

X = np.random.default_rng(0).normal(size=(3, 5)).astype("float32")


def model():
    return xpconv.Sequential(xpconv.Dense(5, 4, rng=0), xpconv.ReLU(), xpconv.Dense(4, 2, rng=1))


def pending(layer):
    return sum(len(below._finished()) for _, below in layer.named_layers())


def test_backward_frees_what_forward_kept(backend):
    net, x = model(), xpconv.asarray(X)
    y = net(x)
    assert pending(net) == 1
    net.backward(xpconv.get_xp(y).ones_like(y))
    assert pending(net) == 0


def test_last_in_first_out(backend):
    """Two forwards, then their backwards in reverse: a Siamese net."""
    net, a, b = model(), xpconv.asarray(X), xpconv.asarray(2 * X[:2])
    ya, yb = net(a), net(b)
    gb, ga = xpconv.get_xp(a).ones_like(yb), xpconv.get_xp(a).ones_like(ya)
    db, da = net.backward(gb), net.backward(ga)
    alone = model()
    for x, g, d in ((a, ga, da), (b, gb, db)):
        alone(x)
        np.testing.assert_array_equal(xpconv.asnumpy(alone.backward(g)), xpconv.asnumpy(d))


def test_no_grad_keeps_nothing_and_modes_are_another_thing(backend):
    net, x = model(), xpconv.asarray(X)
    with xpconv.no_grad():
        net(x)
    assert pending(net) == 0
    net.eval()(x)
    assert pending(net) == 1
    net.forget()
    assert pending(net) == 0


@pytest.mark.parametrize("decorate", [xpconv.no_grad, xpconv.no_grad()], ids=["no_grad", "no_grad()"])
def test_no_grad_decorates(decorate, backend):
    """With brackets and without, as in PyTorch; calls within calls, errors and methods too."""
    net, x = model(), xpconv.asarray(X)

    @decorate
    def run(x, times, *, fail=False):
        """Its own."""
        if fail:
            raise KeyError(times)
        return net(x) if times == 1 else run(x, times - 1)

    class Holder:
        run = decorate(lambda self, x: net(x))

    assert (run.__name__, run.__doc__) == ("run", "Its own.")
    for call in (lambda: run(x, 1), lambda: run(x, times=3), lambda: Holder().run(x)):
        np.testing.assert_array_equal(xpconv.asnumpy(call()), xpconv.asnumpy(net(x)))
        assert pending(net) == 1
        net.forget()
    with pytest.raises(KeyError):
        run(x, 1, fail=True)
    net(x)
    assert pending(net) == 1

    def generator():
        yield net(x)

    async def later():
        return net(x)

    async def each():
        yield net(x)

    for function in (generator, later, each):
        with pytest.raises(
            TypeError, match=r"no_grad: <function .* body runs later; put `with xpconv\.no_grad"
        ):
            decorate(function)
    with pytest.raises(TypeError, match="no_grad: function is True, expected a function to decorate"):
        decorate(True)


def test_one_no_grad_may_be_entered_within_itself():
    net, block = model(), xpconv.no_grad()
    for _ in range(2):
        with block:
            with block:
                net(X)
            net(X)
    assert pending(net) == 0
    net(X)
    assert pending(net) == 1


def test_a_failed_forward_leaves_nothing_behind(backend):
    broken = xpconv.Sequential(xpconv.Dense(5, 4), xpconv.ReLU(), xpconv.Dense(3, 2))
    x = xpconv.asarray(X)
    part = broken[:2]
    earlier = part(x)
    with pytest.raises(ValueError, match="in_features=3"):
        broken(x)
    assert pending(part) == 1  # those of the earlier, successful forward
    assert pending(broken) == 0
    part.backward(xpconv.get_xp(x).ones_like(earlier))


@pytest.mark.parametrize(
    "block",
    [lambda bad: xpconv.Sequential(xpconv.ReLU(), bad), lambda bad: xpconv.Residual(xpconv.ReLU(), bad)],
)
def test_a_failed_backward_leaves_nothing_behind(block):
    class Failing(xpconv.ReLU):
        def backward(self, grad_output, input_grad=True):
            raise MemoryError

    net = block(Failing())
    x = np.ones((2, 2))
    net(x)
    with pytest.raises(MemoryError):
        net.backward(x)
    assert pending(net) == 0


def test_bad_grad_output_loses_nothing(backend):
    net, x = model(), xpconv.asarray(X)
    y = net(x)
    ones = xpconv.get_xp(x).ones_like(y)
    for wrong, error in [(ones[:2], ValueError), (ones.astype("float64"), TypeError), (None, TypeError)]:
        with pytest.raises(error, match=r"Sequential\.backward: grad_output"):
            net.backward(wrong)
    net.backward(ones)
    with pytest.raises(BackwardError, match=r"Sequential\.backward: there is no forward without a backward"):
        net.backward(ones)


def test_input_grad_false_stops_at_the_first_parameters(backend):
    class Watched(xpconv.Flatten):
        def backward(self, grad_output, input_grad=True):
            raise RuntimeError("nobody needs this gradient")

    net = xpconv.Sequential(Watched(), model())
    x = xpconv.asarray(X.reshape(3, 5, 1))
    ones = xpconv.get_xp(x).ones((3, 2), dtype="float32")
    net(x)
    assert net.backward(ones, input_grad=False) is None
    assert pending(net) == 0
    alone = model()
    alone(xpconv.asarray(X))
    alone.backward(ones)
    for mine, other in zip(net.parameters(), alone.parameters(), strict=True):
        np.testing.assert_array_equal(xpconv.asnumpy(mine.grad), xpconv.asnumpy(other.grad))


def test_many_forwards_without_backward_are_warned_about():
    layer = xpconv.ReLU()
    for _ in range(31):
        layer(X)
    with pytest.warns(RuntimeWarning, match=r"ReLU: 32 forwards had no backward yet.*no_grad"):
        layer(X)


def test_a_layer_of_ones_own():
    class Scale(xpconv.Layer):
        def __init__(self, factor):
            self.factor = xpconv.Parameter(xpconv.asarray(np.array([factor])), "factor")

        def forward(self, x):
            return self.keep(x * self.factor.data, x)

        def backward(self, grad_output, input_grad=True):
            (x,) = self.recall(grad_output)
            self.factor.accumulate((grad_output * x).sum(keepdims=True).reshape(1))
            return grad_output * self.factor.data if input_grad else None

    from xpconv.testing import assert_layer_ok

    assert_layer_ok(
        lambda: Scale(3.0),
        X.astype("float64"),
        reference=lambda x, factor: 3 * x,
        backends=["numpy", "double"],
    )


def test_layer_without_forward():
    with pytest.raises(TypeError, match=r"Layer defines no forward"):
        xpconv.Layer()(X)


def test_copies_hold_everything_but_what_waits():
    net = model()
    y = net(X)
    optimizer = xpconv.Adam(net.parameters())
    other, _ = copy.deepcopy(net), copy.deepcopy(optimizer)
    assert pending(net) == 1
    assert pending(other) == 0
    np.testing.assert_array_equal(other(X), y)


def test_layers_in_a_list_are_refused():
    class Net(xpconv.Layer):
        def __init__(self):
            self.parts = [xpconv.Dense(2, 2), xpconv.ReLU()]

    with pytest.raises(TypeError, match=r"Net: attribute parts is a list with a Dense in it .* ModuleList"):
        Net().parameters()


def test_layers_in_a_dict_are_refused():
    class Net(xpconv.Layer):
        def __init__(self):
            self.sizes = {"in": 2}  # no layers
            self.parts = {"a": xpconv.Dense(2, 2)}

    with pytest.raises(TypeError, match=r"Net: attribute parts is a dict with a Dense in it .* ModuleDict"):
        Net().parameters()


def test_a_parameter_is_not_replaced_by_an_array():
    layer = xpconv.Dense(3, 2)
    with pytest.raises(TypeError, match=r"Dense: weight is a Parameter .* set layer\.weight\.data"):
        layer.weight = np.zeros((2, 3))
    layer.weight = xpconv.Parameter(np.zeros((2, 3)), "weight")
    layer.bias = None
    assert list(layer.state_dict()) == ["weight"]
