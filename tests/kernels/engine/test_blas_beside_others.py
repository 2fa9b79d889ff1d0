"""The number of BLAS's threads if other code in the process also sets it: threadpoolctl and scikit-learn."""

import threading
import time

import numpy as np
import pytest
from process import LIMIT
from sharing import shared_by

import xpconv
from xpconv.kernels.engine import blas

threadpoolctl = pytest.importorskip("threadpoolctl", reason='pip install -e ".[benchmarks]"')
pytestmark = pytest.mark.skipif(blas.set_num_threads is None, reason="no BLAS whose threads can be set")

X = np.random.default_rng(0).normal(size=(8, 3, 16, 16)).astype("float32")


@pytest.fixture(autouse=True)
def four_threads():
    """Four threads of BLAS, and two of the pool even for little work."""
    before = blas.get_num_threads()
    blas.set_num_threads(4)
    with shared_by(2):
        yield
    blas.set_num_threads(before)


class Training:
    """A thread that trains; at the end, its results must be those of training alone."""

    def __init__(self):
        self.model = xpconv.Sequential(
            xpconv.Conv2d(3, 16, 3, rng=0), xpconv.Flatten(), xpconv.Dense(3136, 5, rng=1)
        )
        self.expected = self.step()
        self.steps, self.wrong, self.stop = 0, 0, threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)

    def step(self):
        y = self.model(X)
        return [y, self.model.backward(y)]

    def run(self):
        while not self.stop.is_set():
            self.wrong += not all(map(np.array_equal, self.step(), self.expected))
            self.steps += 1

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *error):
        while self.steps < 5 and self.thread.is_alive() and not error[0]:
            time.sleep(0.001)
        self.stop.set()
        self.thread.join(LIMIT)
        assert not self.thread.is_alive()
        assert not self.wrong


def within_a_call(function, then=lambda: None):
    """Call `function` in this thread during `one_blas_thread` of another thread, and `then` after that."""
    entered, leave = threading.Event(), threading.Event()

    def inside():
        entered.set()
        leave.wait(LIMIT)

    other = threading.Thread(target=blas.one_blas_thread, args=(inside,))
    other.start()
    assert entered.wait(LIMIT)
    function()
    leave.set()
    other.join(LIMIT)
    assert not other.is_alive()
    then()


def test_a_limit_that_begins_within_a_call_holds_until_it_ends():
    """The end of a call does not restore the number from before the limit."""
    limit = []
    within_a_call(lambda: limit.append(threadpoolctl.threadpool_limits(3, user_api="blas")))
    assert blas.get_num_threads() == 3
    xpconv.Dense(3, 2)(np.ones((4, 3), "float32"))
    assert blas.get_num_threads() == 3
    limit[0].restore_original_limits()


def test_a_limit_that_ends_within_a_call_gives_its_number_back():
    limit = threadpoolctl.threadpool_limits(2, user_api="blas")
    within_a_call(limit.restore_original_limits)
    assert blas.get_num_threads() == 4


def test_a_number_that_is_set_within_a_call_holds():
    within_a_call(lambda: blas.set_num_threads(3))
    assert blas.get_num_threads() == 3
    within_a_call(lambda: within_a_call(lambda: blas.set_num_threads(2)))
    assert blas.get_num_threads() == 2


def test_limits_in_the_thread_that_computes():
    layer = xpconv.Conv2d(3, 8, 3, rng=0)
    for count in (3, 1, 2):
        with threadpoolctl.threadpool_limits(count, user_api="blas"):
            layer(X)
            assert blas.get_num_threads() == count
        assert blas.get_num_threads() == 4


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["limits", "KMeans"])
def test_one_limit_around_all_threads_keeps_the_number(kind):
    """The remedy that `blas.py` names: a call does not change a number that is already 1."""
    cluster = pytest.importorskip("sklearn.cluster", reason='pip install -e ".[sklearn]"')
    points = np.random.default_rng(0).normal(size=(200, 3))
    expected = cluster.KMeans(2, n_init=1, random_state=0).fit(points).labels_
    with threadpoolctl.threadpool_limits(1, user_api="blas"), Training():
        for _ in range(20):
            if kind == "limits":
                with threadpoolctl.threadpool_limits(1, user_api="blas"):
                    time.sleep(0.001)
            else:
                found = cluster.KMeans(2, n_init=1, random_state=0).fit(points).labels_
                np.testing.assert_array_equal(found, expected)
    assert blas.get_num_threads() == 4


def test_results_are_right_beside_kmeans_and_the_number_can_be_set_again():
    """Without that limit the number may stay at 1, if KMeans reads it during a call."""
    cluster = pytest.importorskip("sklearn.cluster", reason='pip install -e ".[sklearn]"')
    points = np.random.default_rng(0).normal(size=(200, 3))
    expected = cluster.KMeans(2, n_init=1, random_state=0).fit(points).labels_
    with Training():
        for _ in range(20):
            found = cluster.KMeans(2, n_init=1, random_state=0).fit(points).labels_
            np.testing.assert_array_equal(found, expected)
    assert blas.get_num_threads() in (1, 4)
    assert not blas._lowered
    assert not blas._callers
    blas.set_num_threads(4)
    xpconv.Conv2d(3, 8, 3, rng=0)(X)
    assert blas.get_num_threads() == 4
