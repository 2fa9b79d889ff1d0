"""`load_state_dict` of a model that other threads serve: each output is of one state, and nobody waits for ever."""

import os
import signal
import threading
import time

import numpy as np
import pytest
from deadline import until
from interrupts import at_bytecode, interrupt, stop_alarms
from process import LIMIT, forked

import xpconv
from xpconv import BatchNorm2d, Conv2d, Dense, Flatten, MaxPool2d, ReLU, Residual, Sequential, locks
from xpconv.layers import state

X = np.random.default_rng(0).normal(size=(2, 3, 8, 8)).astype("float32")


def make(kind="fused"):
    xpconv.manual_seed(0)
    model = Sequential(
        Conv2d(3, 8, 3, padding=1), BatchNorm2d(8), ReLU(), Residual(Conv2d(8, 8, 3, padding=1)), ReLU(), MaxPool2d(2),
        Flatten(), Dense(8 * 16, 40), ReLU(), Dense(40, 5),
    ).eval()  # fmt: skip
    return model.fuse() if kind.startswith("fused") else model


def run(model, x=X):
    with xpconv.no_grad():
        return model(x)


def run_saving(model):
    y = model(X)
    model.forget()
    return y


def states_of(model, count=2):
    for seed in range(count):
        rng = np.random.default_rng(seed)
        yield {
            name: np.abs(rng.normal(size=a.shape)).astype(a.dtype) / 9
            for name, a in model.state_dict().items()
        }


def is_one_of(y, expected):
    return any(np.abs(y - e).max() <= 1e-4 * np.abs(e).max() for e in expected)


class Servers:
    """Threads that serve, and what they gave that is of no state."""

    def __init__(self, serve, expected, count=2):
        self.served, self.faults, self.stop = 0, [], threading.Event()

        def work():
            try:
                while not self.stop.is_set():
                    y = serve()
                    self.served += 1
                    if not is_one_of(y, expected):
                        self.faults.append("of two states")
            except Exception as error:  # noqa: BLE001  # whatever it is
                self.faults.append(repr(error))

        self.threads = [threading.Thread(target=work, daemon=True) for _ in range(count)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *error):
        self.stop.set()
        for thread in self.threads:
            thread.join(LIMIT)
        assert not any(thread.is_alive() for thread in self.threads)


@pytest.mark.sample(4)
@pytest.mark.parametrize("serve", [run, run_saving])
@pytest.mark.parametrize("kind", ["fused", "plain", "fused, under an optimizer", "plain, on the double"])
@pytest.mark.parametrize("part", [False, True])
def test_every_output_is_of_one_state(kind, serve, part):
    """Also where a part of the model is loaded by itself."""
    with xpconv.use_backend("double" if "double" in kind else "numpy"):
        model, x = make(kind), xpconv.asarray(X)
        optimizer = xpconv.SGD(model.parameters(), lr=0.1) if "optimizer" in kind else None
        loaded = model[3] if part else model
        states = list(states_of(loaded))
        expected = []
        for given in states:
            loaded.load_state_dict(given)
            expected.append(xpconv.asnumpy(run(model, x)))

        def once():
            with xpconv.use_backend("double" if "double" in kind else "numpy"):
                return xpconv.asnumpy(run(model, x) if serve is run else saved())

        def saved():
            y = model(x)
            model.forget()
            return y

        with Servers(once, expected, 1 if serve is run_saving else 2) as servers:
            for loads, _ in enumerate(until(lambda: servers.served >= 100 or servers.faults, "100 outputs")):
                loaded.load_state_dict(states[loads % 2])
                time.sleep(0.001 * (loads % 3))
                assert is_one_of(once() if serve is run else expected[0], expected)
        assert not servers.faults
        loaded.load_state_dict(states[0])
        np.testing.assert_allclose(xpconv.asnumpy(run(model, x)), expected[0], rtol=1e-4)
        del optimizer


def test_averages_in_place_of_the_parameters():
    model = make("plain")
    states = list(states_of(model))
    model.load_state_dict(states[0])
    ema = xpconv.ExponentialMovingAverage(model)
    averaged = run(model)
    model.load_state_dict({k: v for k, v in states[1].items() if "running" not in k}, strict=False)
    expected = [averaged, run(model)]
    with Servers(lambda: run(model), expected) as servers:
        for _ in until(lambda: servers.served >= 100 or servers.faults, "100 outputs"):
            with ema.average_parameters():
                assert is_one_of(run(model), expected[:1])
            assert is_one_of(run(model), expected[1:])
    assert not servers.faults


def test_two_that_load_at_once():
    model = make()
    states = list(states_of(model))
    expected = [(model.load_state_dict(s), run(model))[1] for s in states]

    def load():
        for given in states * 10:
            model.load_state_dict(given)

    with Servers(lambda: run(model), expected, 1) as servers:
        loaders = [threading.Thread(target=load, daemon=True) for _ in range(2)]
        for thread in loaders:
            thread.start()
        for thread in loaders:
            thread.join(LIMIT)
            assert not thread.is_alive()
        assert is_one_of(run(model), expected)
    assert not servers.faults


def test_a_state_that_does_not_fit_changes_nothing_for_those_served():
    model = make()
    bad = {**model.state_dict(), "9.bias": np.ones(7, "float32")}
    expected = [run(model)]
    with Servers(lambda: run(model), expected) as servers:
        for _ in range(30):
            with pytest.raises(xpconv.errors.StateDictError, match=r"9\.bias has shape"):
                model.load_state_dict(bad)
    assert not servers.faults


def test_a_layer_that_loads_within_its_own_forward():
    class Loads(xpconv.Layer):
        """The thread that loads is the one that would have to wait."""

        def __init__(self, given):
            self.inner, self.given = Dense(3, 2), given

        def forward(self, x):
            self.inner.load_state_dict(self.given)
            return self.inner(x)

    given = {"weight": np.full((2, 3), 2.0, "float32"), "bias": np.zeros(2, "float32")}
    model = Sequential(Loads(given)).eval()
    np.testing.assert_array_equal(run(model, np.ones((1, 3), "float32")), [[6, 6]])


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no interval timers")
def test_a_signal_handler_that_serves_while_this_thread_loads():
    model = make()
    states = list(states_of(model))
    results, before = [], signal.getsignal(signal.SIGALRM)

    def handler(*_):
        results.append(run(model).shape)
        signal.setitimer(signal.ITIMER_REAL, 0.0007)

    signal.signal(signal.SIGALRM, handler)
    try:
        handler()
        for _ in until(lambda: len(results) > 30, "30 results"):
            model.load_state_dict(states[len(results) % 2])
    finally:
        stop_alarms(before)
    expected = [(model.load_state_dict(s), run(model))[1] for s in states]
    assert is_one_of(run(model), expected[1:])


@pytest.mark.parametrize("optimizer", [False, True])
def test_after_ctrl_c_a_model_is_of_one_state(optimizer):
    """The old one before the first array is written, then the new one; and the next forward waits for nobody."""
    model = make("plain")
    kept = xpconv.SGD(model.parameters(), lr=0.1) if optimizer else None
    old, new = states_of(model)
    found, number = set(), 0
    files = {state.__file__, xpconv.parameter.__file__}
    while True:
        model.load_state_dict(old)
        number += 1 + number // 20
        done = not at_bytecode(number, interrupt, files, lambda: model.load_state_dict(new))
        now = model.state_dict()
        same = [all(np.array_equal(now[k], s[k]) for k in s) for s in (old, new)]
        assert any(same), number
        found.add(same.index(True))
        assert run(model).shape == (2, 5)
        assert locks.loading.acquire(timeout=LIMIT)
        locks.loading.release()
        if done:
            break
    assert found == {0, 1}
    del kept


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_forked_while_another_thread_loads():
    model = make()
    states = list(states_of(model))
    expected = [(model.load_state_dict(s), run(model))[1] for s in states]
    stop = threading.Event()

    def load():
        while not stop.is_set():
            for given in states:
                model.load_state_dict(given)

    def child():
        assert is_one_of(run(model), expected)

    thread = threading.Thread(target=load, daemon=True)
    thread.start()
    try:
        for _ in range(10):
            assert forked(child) == 0
    finally:
        stop.set()
        thread.join(LIMIT)
