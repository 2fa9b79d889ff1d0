"""Weights of convolutions are channels-last in an optimizer's buffers on CuPy; everything else is as on NumPy."""

import copy
import pickle

import emulation
import numpy as np
import pytest

import xpconv
from xpconv import asarray, asnumpy

pytestmark = pytest.mark.skipif(emulation.COMPILER is None, reason="g++ is not installed")
MAKERS = {
    "SGD": lambda p: xpconv.SGD(p, lr=0.05, momentum=0.9),
    "AdamW": lambda p: xpconv.AdamW(p, lr=0.01, amsgrad=True),
    "Adagrad": lambda p: xpconv.Adagrad(p, lr=0.05, initial_accumulator_value=0.1),
    "LAMB": lambda p: xpconv.LAMB(p, lr=0.01),
}


def model(dtype="float32"):
    layers = [
        xpconv.Conv2d(2, 4, 3, padding=1, rng=0), xpconv.ReLU(), xpconv.Conv2d(4, 4, 3, groups=4, rng=1),
        xpconv.Flatten(), xpconv.Dense(4 * 3 * 3, 3, rng=2),
    ]  # fmt: skip
    return xpconv.Sequential(*layers).to(dtype=dtype)


def train(net, optimizer, steps=3, dtype="float32"):
    rng = np.random.default_rng(0)
    criterion = xpconv.SoftmaxCrossEntropyLoss()
    for _ in range(steps):
        criterion(net(asarray(rng.normal(size=(6, 2, 5, 5)).astype(dtype))), asarray(np.arange(6) % 3))
        optimizer.zero_grad()
        net.backward(criterion.backward())
        optimizer.step()


def values(net):
    return np.concatenate([asnumpy(p.data).ravel() for p in net.parameters()]).astype("float64")


def states(optimizer):
    entries = optimizer.state_dict()["state"]
    return {(i, name): asnumpy(a) for i, entry in entries.items() for name, a in entry.items()}


@pytest.mark.parametrize("name", MAKERS)
def test_training_and_state_are_those_of_numpy(name):
    found = []
    for backend in ("numpy", "double"):
        with xpconv.use_backend(backend):
            net = model()
            optimizer = MAKERS[name](net.parameters())
            train(net, optimizer)
            found.append((values(net), states(optimizer)))
    (a, b), (c, d) = found
    np.testing.assert_allclose(c, a, rtol=1e-4, atol=1e-6)
    assert b.keys() == d.keys()
    for key in b:
        assert d[key].flags.c_contiguous
        np.testing.assert_allclose(d[key], b[key], rtol=1e-3, atol=1e-6, err_msg=str(key))


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_copies_and_loaded_states_go_on(name, dtype):
    with xpconv.use_backend("double"):
        net = model(dtype)
        optimizer = MAKERS[name](net.parameters())
        train(net, optimizer, dtype=dtype)
        loaded = model(dtype)
        loaded.load_state_dict(net.state_dict())
        restored = MAKERS[name](loaded.parameters())
        restored.load_state_dict(optimizer.state_dict())
        pairs = [(net, optimizer), copy.deepcopy((net, optimizer)), (loaded, restored)]
        pairs.append(pickle.loads(pickle.dumps((net, optimizer))))  # noqa: S301
        for pair in pairs:
            train(*pair, dtype=dtype)
        for other, _ in pairs[1:]:
            np.testing.assert_array_equal(values(other), values(net))


def test_a_copy_from_before_channels_last_keeps_its_order():
    with xpconv.use_backend("double"):
        net = model()
        optimizer = MAKERS["AdamW"](net.parameters())
        train(net, optimizer)
        layout = optimizer._layout
        old = copy.deepcopy((net, optimizer))
        old[1]._moments = {  # as an earlier version would have pickled it
            name: np_flat(optimizer, flat) for name, flat in optimizer._moments.items()
        }
        old[1]._layout = type(layout)(*layout[:3])
        old = copy.deepcopy(old)
        old[1].add_param_group({"params": [xpconv.Parameter(asarray(np.zeros((2, 2, 3, 3), "float32")))]})
        train(net, optimizer)
        train(*old)
        np.testing.assert_array_equal(values(old[0]), values(net))


def np_flat(optimizer, flat):
    return asarray(np.concatenate([asnumpy(view).ravel() for view in optimizer._views(flat)]))


def test_new_parameters_join_with_their_own_moments():
    with xpconv.use_backend("double"):
        together, apart = model(), model()
        first = MAKERS["SGD"](together[0].parameters())
        first.add_param_group({"params": [*together[2].parameters(), *together[4].parameters()]})
        train(together, first)
        train(apart, MAKERS["SGD"](apart.parameters()))
        np.testing.assert_array_equal(values(together), values(apart))
        assert not together[0].weight.data.flags.c_contiguous
