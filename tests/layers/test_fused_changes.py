"""A fused model whose parameters and layers change between inferences: the new ones count, whoever changed them."""

import copy
import pickle
import threading

import numpy as np
import pytest

import xpconv
from xpconv import Conv2d, Dense, Dropout, Flatten, MaxPool2d, Parameter, ReLU, Residual, Sequential
from xpconv.layers import inference
from xpconv.optim import Optimizer

X = np.random.default_rng(0).normal(size=(3, 3, 8, 8)).astype("float32")


def make():
    """With each of the steps that prepare weights: Winograd's, a matrix, depthwise, transposed."""
    xpconv.manual_seed(0)
    model = Sequential(
        Conv2d(3, 16, 3, padding=1), ReLU(),
        Residual(Conv2d(16, 16, 3, padding=1, algorithm="winograd"), shortcut=Conv2d(16, 16, 1)), ReLU(),
        Conv2d(16, 16, 3, padding=1, groups=16), MaxPool2d(2), Flatten(), Dropout(0.5), Dense(16 * 16, 70),
        ReLU(), Dense(70, 5, bias=False),
    )  # fmt: skip
    return model.fuse()


def run(model, x=X):
    with xpconv.no_grad():
        return model(x)


def layer_by_layer(model, x=X):
    """What a copy gives that has no plans."""
    return copy.deepcopy(model)(x)


def check(model, x=X):
    expected = layer_by_layer(model, x)
    for _ in range(2):
        np.testing.assert_allclose(run(model, x), expected, rtol=0, atol=2e-5 * np.abs(expected).max())
    return expected


def has_prepared(model):
    """Whether its plans hold what they compute of parameters."""
    return bool(model._inference._chain.prepared)


def train(model, optimizer, count=2):
    criterion = xpconv.MSELoss()
    for _ in range(count):
        criterion(model(X), np.ones((3, 5), "float32"))
        optimizer.zero_grad()
        model.backward(criterion.backward())
        optimizer.step()


def other_state(seed=3):
    rng = np.random.default_rng(seed)
    return {n: rng.normal(size=a.shape).astype("float32") / 9 for n, a in make().state_dict().items()}


OPTIMIZERS = {
    kind.__name__: kind
    for kind in vars(xpconv).values()
    if isinstance(kind, type) and issubclass(kind, Optimizer) and kind is not Optimizer
}


@pytest.mark.sample(3)
@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("first", ["optimizer", "inference"])
def test_fine_tuning(name, first):
    """Inference, training and inference in turn: as a model does that never had a plan."""
    fused, plain = make(), make()
    if first == "inference":
        run(fused)
        assert has_prepared(fused)
    optimizers = [OPTIMIZERS[name](m.parameters(), lr=0.01) for m in (fused, plain)]
    before = run(fused)
    for _ in range(2):
        for model, optimizer in zip((fused, plain), optimizers, strict=True):
            train(model.eval(), optimizer)
        after = run(fused)
        expected = layer_by_layer(plain)
        np.testing.assert_allclose(after, expected, rtol=0, atol=1e-4 * np.abs(expected).max())
        assert np.abs(after - before).max() > 0
        check(fused)
        before = after


def test_a_step_without_a_training_forward_since():
    """Gradients from before, or set by hand: nothing tells the plans but the parameters themselves."""
    fused = make()
    optimizer = xpconv.SGD(fused.parameters(), lr=0.1)
    run(fused)
    for _ in range(2):
        for parameter in fused.parameters():
            parameter.grad = np.ones(parameter.shape, "float32")
        before = run(fused)
        optimizer.step()
        assert (check(fused) != before).any()
    again = fused.fuse()  # in memory of its own: with prepared arrays
    run(again)
    assert has_prepared(again)
    assert not has_prepared(fused)


class Wrapped(xpconv.Layer):
    """A user's layer with a model in it."""

    def __init__(self, model):
        self.model = model

    def forward(self, x):
        return self.keep(self.model(x))

    def backward(self, grad_output, input_grad=True):
        self.recall(grad_output)
        return self.model.backward(grad_output, input_grad)


KINDS = {
    "Sequential": lambda model: model, "nested": lambda model: Sequential(Sequential(*list(model)[:6]), *list(model)[6:]),
    "Wrapped": Wrapped, "Residual": lambda model: Sequential(*list(model)[:5], Residual(ReLU()), *list(model)[5:]),
    "Concat": lambda model: xpconv.Concat(Sequential(*list(model)), Sequential(Flatten(), Dense(192, 5, rng=0))),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("optimizer", ["SGD", "Adam"])
@pytest.mark.parametrize("looks", ["between", "everywhere"])
def test_a_look_between_backward_and_the_step(kind, optimizer, looks):
    """It may not leave the weights of before the step with the next inference."""
    models = [KINDS[kind](make()).fuse() for _ in range(2)]
    looked, plain = models
    optimizers = [OPTIMIZERS[optimizer](m.parameters(), lr=0.01) for m in models]
    outputs = []
    for _ in range(3):
        for model, steps in zip(models, optimizers, strict=True):
            steps.zero_grad()
            if model is looked and looks == "everywhere":
                run(model)
            y = model(X)
            if model is looked and looks == "everywhere":
                run(model)
            model.backward(np.ones_like(y))
            if model is looked:
                run(model)
                run(model, X[:1])
            steps.step()
        outputs.append(run(looked))
        for x in (X, X[:1]):
            expected = layer_by_layer(plain, x)
            np.testing.assert_allclose(run(looked, x), expected, rtol=0, atol=1e-4 * np.abs(expected).max())
    assert not np.array_equal(outputs[0], outputs[2])


def test_reloading_under_an_optimizer():
    fused = make()
    optimizer = xpconv.Adam(fused.parameters(), lr=1e-3)
    run(fused)
    fused.load_state_dict(other_state())
    check(fused)
    train(fused, optimizer)
    check(fused)


def set_by_hand(model):
    model[0].weight[...] = 0.1
    model[4].weight += 0.5


def assign(model):
    for parameter in model.parameters():
        parameter.data = parameter.data * 0.9 + 0.01


def assign_and_back(model):
    own = [p.data for p in model.parameters()]
    assign(model)
    run(model)
    for parameter, data in zip(model.parameters(), own, strict=True):
        parameter.data = data


def average(model):
    ema = xpconv.ExponentialMovingAverage(model, decay=0.5)
    assign(model)
    ema.update()
    own = run(model)
    with ema.average_parameters():
        assert (check(model) != own).any()
    np.testing.assert_array_equal(run(model), own)


def new_parameter(model):
    model[0].weight = Parameter(np.full((16, 3, 3, 3), 0.1, "float32"), "weight")


def new_bias(model):
    model[10].bias = Parameter(np.ones(5, "float32"), "bias")


def no_bias(model):
    model[0].bias = None


def new_layer(model):
    model["10"] = Dense(70, 4, rng=1)


def new_layer_inside(model):
    model[2].body["0"] = Conv2d(16, 16, 3, padding=1, rng=1)


def new_body(model):
    model[2].body = Sequential(Conv2d(16, 16, 1, rng=1))


def new_shortcut(model):
    model[2].shortcut = Conv2d(16, 16, 1, rng=5)


CHANGES = {
    "load_state_dict": lambda model: model.load_state_dict(other_state()),
    "load_state_dict of a part": lambda model: model[2].load_state_dict(
        {k[2:]: v for k, v in other_state().items() if k.startswith("2.")}
    ),
    "init": lambda model: [xpconv.init.normal_(p, rng=1) for p in model.parameters()],
    "init constant": lambda model: xpconv.init.constant_(model[8].bias, 2.0),
    "train, eval and in place": lambda model: model.train().eval()[0].weight.data.fill(0.1),
    "there and back": lambda model: model.to(dtype="float64").to(dtype="float32"),
    "free_memory": lambda model: xpconv.free_memory(),
    "zero_grad": lambda model: model.zero_grad(),
    **{
        f.__name__: f
        for f in (
            set_by_hand, assign, assign_and_back, average, new_parameter, new_bias, no_bias, new_layer,
            new_layer_inside, new_body, new_shortcut,
        )
    },
}  # fmt: skip


@pytest.mark.sample(3)
@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("optimizer", [False, True])
def test_changes(name, optimizer):
    fused = make()
    kept = xpconv.SGD(fused.parameters(), lr=0.1) if optimizer else None
    before = check(fused)
    for _ in range(2):
        CHANGES[name](fused)
        after = check(fused)
    if name not in ("there and back", "free_memory", "zero_grad", "average", "assign_and_back"):
        assert after.shape != before.shape or (after != before).any()
    del kept


def pickled(pair):
    return pickle.loads(pickle.dumps(pair, 5))  # noqa: S301  # our own


@pytest.mark.parametrize("copier", [copy.deepcopy, pickled])
@pytest.mark.parametrize("together", [False, True])
def test_copies(copier, together):
    """They hold prepared arrays if nothing else has their memory, train, and leave the original as it is."""
    fused = make()
    before = run(fused)
    optimizer = xpconv.SGD(fused.parameters(), lr=0.1) if together else None
    twin, its = copier((fused, optimizer))
    np.testing.assert_allclose(run(twin), before, rtol=0, atol=1e-5)
    assert has_prepared(twin) is not together
    train(twin, its or xpconv.SGD(twin.parameters(), lr=0.1))
    assert (check(twin) != before).any()
    np.testing.assert_allclose(run(fused), before, rtol=0, atol=1e-5)


def test_arrays_in_place_by_hand_are_refused_or_seen():
    """A view of an optimizer's memory is never read-only; the parameters of a fused model are."""
    fused = make()
    run(fused)
    with pytest.raises(ValueError, match="read-only"):
        fused[0].weight.data[...] = 0
    check(fused)
    optimizer = xpconv.SGD(fused.parameters(), lr=0.1)
    run(fused)
    fused[0].weight.data[...] = 0
    optimizer._data[-5:] = 1
    check(fused)
    shared = np.zeros(1000, "float32")
    other = make()
    other[0].bias.data = shared[:16]
    run(other)
    shared[...] = 3
    check(other)


@pytest.mark.parametrize("change", [
    lambda p: p.fill(0.25), lambda p: p.sort(), lambda p: p.sort(axis=0), lambda p: p.partition(1),
    lambda p: p.put([0, 3], [5.0, 6.0]), lambda p: np.add.at(p, 0, 3.0), lambda p: np.negative.at(p, [0, 1]),
])  # fmt: skip
def test_methods_that_write_to_the_array(change):
    fused = make()
    run(fused)
    expected = fused[0].weight.data.copy()
    change(expected)
    change(fused[0].weight)
    np.testing.assert_array_equal(fused[0].weight.data, expected)
    check(fused)


def test_an_inference_while_a_parameter_is_written():
    """Another thread's, which reads some of the old and some of the new."""
    fused = make()

    class Value:
        def __array__(self, dtype=None, copy=None):
            run(fused)
            return np.full(16, 0.5, "float32")

    for parameter in (fused[0].bias, fused[4].bias):
        parameter._write(Value())
        np.testing.assert_array_equal(parameter.data, 0.5)
        check(fused)
    with pytest.raises(ValueError, match="could not broadcast"):
        fused[0].bias._write(np.ones(5))


@pytest.mark.parametrize("read_only", [False, True])
def test_a_plan_reads_the_arrays_that_it_is_up_to_date_with(read_only, monkeypatch):
    """Not those that another thread puts in their place while it is made, and takes away again."""
    fused = make()
    plans = inference.ops.plans

    def swapped(*arguments):
        own = [p.data for p in fused.parameters()]
        for parameter, data in zip(fused.parameters(), own, strict=True):
            parameter.data = data * 0 + 1
            parameter.data.flags.writeable = not read_only
        try:
            return plans(*arguments)
        finally:
            for parameter, data in zip(fused.parameters(), own, strict=True):
                parameter.data = data

    monkeypatch.setattr(inference.ops, "plans", swapped)
    check(fused)


@pytest.mark.slow
def test_reloading_while_another_thread_serves():
    fused = make()
    states = [other_state(i) for i in range(2)]
    expected = []
    for state in states:
        fused.load_state_dict(state)
        expected.append(layer_by_layer(fused))
    errors, stop = [], threading.Event()

    def serve():
        try:
            while not stop.is_set():
                run(fused)
        except Exception as error:  # noqa: BLE001  # whatever it is
            errors.append(error)

    server = threading.Thread(target=serve)
    server.start()
    try:
        for i in range(50):
            fused.load_state_dict(states[i % 2])
            wanted = expected[i % 2]
            np.testing.assert_allclose(run(fused), wanted, rtol=0, atol=1e-4 * np.abs(wanted).max())
    finally:
        stop.set()
        server.join()
    assert not errors
