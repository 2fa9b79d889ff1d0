"""What changes between a forward and its backward: settings and layers have no effect, parameters are an error."""

import copy
import pickle
import threading

import numpy as np
import pytest

import xpconv
from xpconv.errors import BackwardError
from xpconv.locks import changes

X = np.random.default_rng(0).normal(size=(3, 2, 4, 4))
GRAD = np.random.default_rng(1).normal(size=(3, 3))


def make():
    with_weights = xpconv.Residual(xpconv.Conv2d(4, 4, 3, padding=1, rng=2), xpconv.ReLU())
    return xpconv.Sequential(
        xpconv.Conv2d(2, 4, 3, padding=1, rng=0), xpconv.BatchNorm2d(4), xpconv.LeakyReLU(0.1),
        xpconv.MaxPool2d(2), xpconv.Dropout(0.5, rng=1), with_weights, xpconv.GroupNorm(2, 4), xpconv.ELU(),
        xpconv.Softplus(), xpconv.AvgPool2d(2), xpconv.Flatten(), xpconv.Dense(4, 3, rng=3),
    ).to(dtype="float64")  # fmt: skip


def optimized(model):
    for p in model.parameters():
        p.grad = xpconv.get_xp().ones_like(p.data)
    xpconv.SGD(model.parameters(), lr=0.1).step()
    model.zero_grad()


def by_hand(model):
    for p in model.parameters():
        p.data -= 0.1


def averaged(model, function):
    ema = xpconv.ExponentialMovingAverage(model, decay=0.5)
    for average in ema.averages.values():
        average += 1.0
    with ema.average_parameters():
        function()


def scaled(model):
    model[11].weight *= 2


HARMLESS = {
    "a replaced layer": lambda m: m.__setitem__(0, xpconv.Conv2d(2, 4, 1, dtype="float64")),
    "a layer removed": lambda m: m.pop(2),
    "a layer inserted": lambda m: m.insert(3, xpconv.Tanh()),
    "a layer appended": lambda m: m.append(xpconv.Dense(3, 2, dtype="float64")),
    "eval": lambda m: m.eval(),
    "frozen": lambda m: m[0].requires_grad_(False),
    "slope": lambda m: setattr(m[2], "negative_slope", 0.7),
    "alpha": lambda m: setattr(m[7], "alpha", 3.0),
    "beta": lambda m: setattr(m[8], "beta", 5.0),
    "p": lambda m: setattr(m[4], "p", 0.1),
    "eps": lambda m: setattr(m[1], "eps", 1.0),
    "divisor": lambda m: setattr(m[9], "divisor_override", 7),
    "body": lambda m: setattr(m[5], "body", xpconv.Identity()),
    "shortcut": lambda m: setattr(m[5], "shortcut", xpconv.Conv2d(4, 4, 1, dtype="float64")),
    "a fused copy": lambda m: m.fuse(),
    "a copy": lambda m: copy.deepcopy(m),
    "a pickle": lambda m: pickle.loads(pickle.dumps(m)),  # noqa: S301
    "an optimizer": lambda m: xpconv.Adam(m.parameters()),
    "an average": lambda m: xpconv.ExponentialMovingAverage(m),
    "a look": lambda m: (m.state_dict(), m.summary(), repr(m)),
    "another model": lambda m: optimized(make()),
    "the same parameter": lambda m: setattr(m[11], "weight", m[11].weight),
    "statistics alone": lambda m: m.load_state_dict({"1.running_mean": np.ones(4)}, strict=False),
    "a hook": lambda m: m[2].register_forward_hook(lambda *_: None),
    "a move to where it is": lambda m: m.to(xpconv.get_backend(), dtype="float64"),
}
CHANGES = {
    "optimizer.step": optimized,
    "by hand": by_hand,
    "in place": scaled,
    "an element": lambda m: m[0].weight.__setitem__((0, 0, 0, 0), 5.0),
    "other data": lambda m: setattr(m[11].weight, "data", m[11].weight.data * 2),
    "another parameter": lambda m: setattr(m[11], "weight", xpconv.Parameter(m[11].weight.data * 2)),
    "a copied parameter": lambda m: setattr(m[11], "weight", copy.deepcopy(m[11].weight)),
    "load_state_dict of one": lambda m: m.load_state_dict({"11.weight": np.ones((3, 4))}, strict=False),
    "averages in between": lambda m: averaged(m, lambda: None),
    "averages and a step": lambda m: averaged(m, lambda: optimized(m)),
    "a step before averages": lambda m: (optimized(m), averaged(m, lambda: None)),
    "init": lambda m: xpconv.init.xavier_normal_(m[11].weight),
    "load_state_dict": lambda m: m.load_state_dict({k: v * 2 for k, v in m.state_dict().items()}),
    "in an inner layer": lambda m: m[5].body[0].weight.fill(0.0),
}


def gradients(model, change):
    y, tape = model.record(xpconv.asarray(X))
    change(model)
    return xpconv.asnumpy(y), xpconv.asnumpy(model.pullback(tape, xpconv.asarray(GRAD)))


@pytest.mark.parametrize("name", HARMLESS)
def test_gradients_are_those_of_the_forward(name, backend):
    y, dx = gradients(make(), lambda m: None)
    found = gradients(make(), HARMLESS[name])
    np.testing.assert_array_equal(found[0], y)
    np.testing.assert_allclose(found[1], dx, rtol=1e-12)


def test_a_move_to_where_it_is_discards_nothing(backend):
    model = make()
    y = model(xpconv.asarray(X))
    model.to(backend, dtype="float64")
    np.testing.assert_array_equal(
        xpconv.asnumpy(model.backward(xpconv.asarray(GRAD))), gradients(make(), len)[1]
    )
    model(xpconv.asarray(X))
    model.to(dtype="float32").to(dtype="float64")
    with pytest.raises(BackwardError, match="no forward without a backward"):
        model.backward(y)


def test_ufuncs_that_write():
    layer = dense(rng=0)
    for write in (
        lambda p: np.add(p, 1, out=p),
        lambda p: np.add.at(p, (0, 0), 1),
        lambda p: p.clip(0, 1, out=p),
    ):
        layer(GRAD)
        write(layer.weight)
        with pytest.raises(BackwardError, match="weight of Dense has changed"):
            layer.backward(GRAD)


@pytest.mark.parametrize("name", CHANGES)
def test_changed_parameters_are_an_error(name, backend):
    """Any parameter of a layer that ran: backward reads parameters, so gradients would mix old and new values."""
    model = make()
    with pytest.raises(
        BackwardError, match=r"^Sequential\.backward: weight of \w+ has changed since the forward"
    ):
        gradients(model, CHANGES[name])
    assert all(p.grad is None for p in model.parameters())
    model(xpconv.asarray(X))
    CHANGES[name](model)
    with pytest.raises(BackwardError, match="forward again"):
        model.backward(xpconv.asarray(GRAD))
    y = model(xpconv.asarray(X))  # the model still works
    assert model.backward(xpconv.asarray(GRAD)).shape == X.shape
    assert y.shape == GRAD.shape


def test_layers_by_themselves_and_within_a_users(backend):
    class Twice(xpconv.Layer):
        def __init__(self):
            self.inner = xpconv.Dense(3, 3, rng=0, dtype="float64")

        def forward(self, x):
            return self.keep(self.inner(x) * 2)

        def backward(self, grad_output, input_grad=True):
            self.recall(grad_output)
            return self.inner.backward(grad_output * 2, input_grad)

    x = xpconv.asarray(GRAD)
    for layer in (Twice(), xpconv.Dense(3, 3, rng=0, dtype="float64"), xpconv.LazyLinear(3, dtype="float64")):
        layer(x)
        layer.backward(x)
        layer(x)
        for p in layer.parameters():
            p += 1
        with pytest.raises(BackwardError, match=r"of (Dense|LazyLinear) has changed"):
            layer.backward(x)


def test_parameters_that_did_not_run(backend):
    """Two models, of which one is updated before the other's backward, as in adversarial training."""
    maker, judge = xpconv.Dense(3, 3, rng=0), xpconv.Dense(3, 1, rng=1)
    optimizer = xpconv.SGD(judge.parameters(), lr=0.1)
    fake = maker(xpconv.asarray(GRAD.astype("float32")))
    for _ in range(3):
        y = judge(fake)
        optimizer.zero_grad()
        grad = judge.backward(xpconv.get_xp().ones_like(y))
        optimizer.step()
    assert maker.backward(grad).shape == GRAD.shape


def test_a_change_of_another_thread_counts():
    model = make()
    model(X)
    worker = threading.Thread(target=optimized, args=(model,))
    worker.start()
    worker.join()
    with pytest.raises(BackwardError, match="has changed"):
        model.backward(GRAD)


def dense(**options):
    return xpconv.Dense(3, 3, dtype="float64", **options)


def test_parameters_that_are_older_than_the_forward(backend):
    x, old = xpconv.asarray(GRAD), dense(rng=5)
    model = xpconv.Sequential(dense(rng=0), xpconv.Tanh(), dense(rng=1))
    a, b = model[0], model[2]

    def swap():
        a.weight, b.weight = b.weight, a.weight

    def there_and_back():
        swap()
        swap()

    def deleted():
        weight = a.weight
        del a.weight
        a.weight = weight

    changes = {
        "weight": [lambda: setattr(a, "weight", old.weight), swap, there_and_back, deleted],
        "bias": [lambda: setattr(a, "bias", old.bias), lambda: setattr(a, "bias", None)],
    }
    for name, each in changes.items():
        for change in each:
            model(x)
            change()
            with pytest.raises(BackwardError, match=f"{name} of Dense has changed"):
                model.backward(x)
            model.forget()
            model(x)
            model.backward(x)


def test_shared_and_late_parameters_are_no_change(backend):
    x = xpconv.asarray(GRAD)
    model = xpconv.Sequential(dense(rng=0), xpconv.LazyLinear(3, dtype="float64"), dense(rng=1))
    model[2].weight = model[0].weight
    model(x)
    assert model.backward(x).shape == x.shape
    for copied in (copy.deepcopy(model), pickle.loads(pickle.dumps(model)), copy.copy(model[2])):  # noqa: S301
        assert "_replaced" not in vars(copied)
        copied(x)
        assert copied.backward(x).shape == x.shape
    other = xpconv.Sequential(xpconv.LazyLinear(3, dtype="float64"))
    other.load_state_dict(xpconv.Sequential(dense(rng=2)).state_dict())
    other(x)
    assert other.backward(x).shape == x.shape
    other.to(dtype="float32")
    other(x.astype("float32"))
    assert other.backward(x.astype("float32")).shape == x.shape


def test_a_loss_within_a_layer():
    class WithLoss(xpconv.Layer):
        def __init__(self):
            self.inner, self.other = dense(rng=0), dense(rng=1)
            self.loss = xpconv.MSELoss()

        def forward(self, x):
            return self.keep(xpconv.get_xp().asarray(self.loss(self.inner(x), x)))

        def backward(self, grad_output, input_grad=True):
            self.recall(grad_output)
            return self.inner.backward(self.loss.backward() * grad_output, input_grad)

    layer = WithLoss()
    layer(GRAD)
    layer.other.weight += 1  # which did not run
    assert layer.backward(np.ones(())).shape == GRAD.shape


def test_averages_change_parameters_when_they_come_and_when_they_go(backend):
    x, layer = xpconv.asarray(GRAD), dense(rng=0)
    ema = xpconv.ExponentialMovingAverage(layer)
    _, before = layer.record(x)
    with ema.average_parameters():
        _, within = layer.record(x)
        layer.pullback(within, x)
        _, last = layer.record(x)
    for tape in (before, last):
        with pytest.raises(BackwardError, match="has changed"):
            layer.pullback(tape, x)
    _, after = layer.record(x)
    layer.pullback(after, x)


class Interrupting(Exception):
    """In place of Ctrl-C."""


def test_a_change_that_is_interrupted_counts(monkeypatch):
    def write(data):
        data += 1
        raise Interrupting

    def interrupted(_self, run, part):
        _self._data += 1
        raise Interrupting

    def step(layer):
        layer.weight.grad = np.ones((3, 3))
        xpconv.SGD([layer.weight], lr=0.1).step()

    monkeypatch.setattr(xpconv.SGD, "_update_part", interrupted)
    for change in (lambda layer: layer.weight._change(write), step):
        layer = dense(rng=0)
        layer(GRAD)
        before = layer.weight.data.copy()
        with pytest.raises(Interrupting):
            change(layer)
        assert (layer.weight.data != before).all()
        with pytest.raises(BackwardError, match="weight of Dense has changed"):
            layer.backward(GRAD)


def test_a_skipped_step_is_no_change():
    """Where no GPU has to be waited for to know it."""
    layer = dense(rng=0)
    optimizer, scaler = xpconv.SGD(layer.parameters(), lr=0.1), xpconv.GradScaler()
    _, tape = layer.record(GRAD)
    for value in (np.inf, 1.0):
        for p in layer.parameters():
            p.grad = np.full(p.shape, value)
        scaler.step(optimizer)
        scaler.update()
        if value == np.inf:
            layer.pullback(tape, GRAD)
    with pytest.raises(BackwardError, match="weight of Dense has changed"):
        layer.pullback(tape, GRAD)


def test_each_change_has_a_number_of_its_own():
    before = changes.latest
    parameters = [xpconv.Parameter(np.zeros(1)) for _ in range(4)]
    threads = [threading.Thread(target=lambda p=p: [p.fill(0) for _ in range(500)]) for p in parameters]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert changes.latest == before + 4 + 2 * 4 * 500


def test_a_replayed_step_is_a_change():
    layer = dense(rng=0)
    optimizer = xpconv.SGD(layer.parameters(), lr=0.1)
    layer(GRAD)
    optimizer._prepare_replay([True, False])
    with pytest.raises(BackwardError, match="weight of Dense has changed"):
        layer.backward(GRAD)
