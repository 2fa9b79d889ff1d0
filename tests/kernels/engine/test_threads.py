"""Where the system starts no thread, work is done by the threads that there are, with the same results."""

import os
import sys
import textwrap

import numpy as np
import process
import pytest

import xpconv
from xpconv.kernels.engine import blas, threads

X = np.random.default_rng(0).normal(size=(8, 3, 24, 24)).astype("float32")
REFUSALS = ["can't start new thread", "can't create new thread at interpreter shutdown"]


class Clock:
    now = 0.0

    def monotonic(self):
        return self.now


@pytest.fixture
def pool(monkeypatch):
    """A pool of three without workers yet, for which everything is worth sharing; its clock stands still."""
    pool, clock = threads.Pool(3), Clock()
    pool.clock = clock
    monkeypatch.setattr(threads, "pool", pool)
    monkeypatch.setattr(threads, "WORTH", 1)
    monkeypatch.setattr(threads, "time", clock)
    yield pool
    stop(pool)


def stop(pool):
    while pool.workers:
        pool.workers.popitem()[1].put(None)


@pytest.fixture
def system(monkeypatch):
    """Refuses threads after the first few; counts the requests."""
    start = threads.start_new_thread

    class System:
        allowed, asked, text = 0, 0, REFUSALS[0]

    def refuse(*args):
        System.asked += 1
        if System.allowed <= 0:
            raise RuntimeError(System.text)
        System.allowed -= 1
        return start(*args)

    monkeypatch.setattr(threads, "start_new_thread", refuse)
    return System


def train():
    """One training step and one inference; all results."""
    model = xpconv.Sequential(
        xpconv.Conv2d(3, 8, 3, padding=1, rng=0), xpconv.BatchNorm2d(8), xpconv.ReLU(),
        xpconv.MaxPool2d(2), xpconv.Flatten(), xpconv.Dense(8 * 144, 5, rng=1),
    )  # fmt: skip
    y = model(X)
    dx = model.backward(np.ones_like(y))
    with xpconv.no_grad():
        fused = model.fuse()(X)
    return [y, dx, fused, *(p.grad for p in model.parameters())]


@pytest.mark.parametrize("allowed", [0, 1])
@pytest.mark.parametrize("text", REFUSALS)
def test_a_model_runs_on_the_threads_that_there_are(pool, system, allowed, text):
    expected = train_with_all(system)
    stop(pool)
    system.allowed, system.text = allowed, text
    for ours, theirs in zip(train(), expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert len(pool.workers) == allowed
    assert not blas._callers


def train_with_all(system):
    system.allowed = 2
    return train()


def test_it_is_tried_again_after_a_while_and_not_at_every_call(pool, system):
    for _ in range(5):
        threads.run(lambda i: None, 8)
    assert (system.asked, len(pool.workers)) == (1, 0)
    system.allowed = 1
    pool.clock.now += 2 * threads.RETRY
    for _ in range(5):
        threads.run(lambda i: None, 8)
    assert (system.asked, len(pool.workers)) == (3, 1)
    system.allowed = 9
    pool.clock.now += 2 * threads.RETRY
    threads.run(lambda i: None, 8)
    assert len(pool.workers) == 2


def test_errors_come_back_without_threads(pool, system):
    def task(i):
        if i == 3:
            raise KeyError("three")

    with pytest.raises(KeyError, match="three"):
        threads.run(task, 8)
    done = []
    threads.run(done.append, 8)
    assert done == list(range(8))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_that_may_start_none(pool, system):
    system.allowed = 9
    threads.run(lambda i: None, 8)
    system.allowed = 0

    def child():
        done = []
        threads.run(done.append, 8)
        assert sorted(done) == list(range(8))

    assert process.forked(child) == 0


def run_python(text):
    env = process.environment(XPCONV_NUM_THREADS="2")
    done = process.run([sys.executable, "-c", textwrap.dedent(text)], env=env)
    assert "Error" not in done.stderr
    return done.stdout


@pytest.mark.parametrize("before", ["", "run()"])
def test_while_the_interpreter_shuts_down(before):
    """At exit, and from an object that goes after that: with and without workers by then."""
    text = f"""
        import atexit, os, numpy, xpconv
        from xpconv.kernels.engine import threads
        threads.WORTH = 1
        layer, x = xpconv.Conv2d(3, 8, 3, rng=0), numpy.ones((4, 3, 16, 16), "float32")

        def run(layer=layer, x=x, write=os.write):
            write(1, b"%d " % layer(x).shape[1])

        class Last:
            def __del__(self, run=run):
                run()

        atexit.register(run)
        last = Last()
        {before}
    """
    assert run_python(text).split() == ["8"] * (2 + bool(before))


def test_under_a_limit_of_the_system():
    resource = pytest.importorskip("resource")
    if not hasattr(resource, "RLIMIT_NPROC") or not hasattr(os, "setuid"):
        pytest.skip("this system limits no threads")
    text = """
        import os, resource, threading, numpy, xpconv
        from xpconv.kernels.engine import threads
        layer, x = xpconv.Conv2d(3, 8, 3, rng=0), numpy.ones((4, 3, 16, 16), "float32")
        expected = layer(x)  # on one thread: so little is not worth another
        threads.WORTH = 1
        if os.getuid() == 0:
            os.setuid(64321)  # the limit does not bind root
        resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))
        try:
            threading.Thread(target=int).start()
        except RuntimeError:
            print(numpy.allclose(layer(x), expected, atol=1e-6), threading.active_count())
        else:
            print("no limit")
    """
    out = run_python(text).strip()
    if out == "no limit":
        pytest.skip("the limit does not bind here")
    assert out == "True 1"
