"""What changes between a forward and its backward: settings and layers have no effect, parameters are an error."""

import copy
import pickle
import threading

import numpy as np
import pytest

import xpconv
from xpconv.errors import BackwardError

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
    "a hook": lambda m: m[2].register_forward_hook(lambda *_: None),
}
CHANGES = {
    "optimizer.step": optimized,
    "by hand": by_hand,
    "in place": scaled,
    "an element": lambda m: m[0].weight.__setitem__((0, 0, 0, 0), 5.0),
    "other data": lambda m: setattr(m[11].weight, "data", m[11].weight.data * 2),
    "another parameter": lambda m: setattr(m[11], "weight", xpconv.Parameter(m[11].weight.data * 2)),
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


@pytest.mark.parametrize("name", CHANGES)
def test_changed_parameters_are_an_error(name, backend):
    """As in PyTorch: backward reads parameters, so the gradients would belong to neither the old nor the new values."""
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
