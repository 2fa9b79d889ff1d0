"""An exception at any point of a kernel, such as Ctrl-C, and layers that run in the middle of a kernel: right
results afterwards, the same threads, and no memory that is lost or still written to."""

import contextlib
import gc
import itertools
import os
import signal
import sys
import threading
import time
import weakref

import numpy as np
import pytest
from deadline import until
from interrupts import stop_alarms
from process import LIMIT
from sharing import shared_by

import xpconv
from xpconv.kernels.engine import blas, memory, threads

BLAS_THREADS = 2
TIMES = [20, pytest.param(500, marks=pytest.mark.slow)]  # from each of two senders

needs_timer = pytest.mark.skipif(
    not hasattr(signal, "setitimer"), reason="this system has no interval timers"
)


@pytest.fixture(autouse=True)
def two_threads(monkeypatch):
    """Two threads for however little work, and BLAS at a number of its own, which it has again afterwards."""
    before = blas.get_num_threads and blas.get_num_threads()
    monkeypatch.setattr(threads, "pool", threads.Pool(2))
    if before:
        blas.set_num_threads(BLAS_THREADS)
    running = number_of_threads()
    with shared_by(2):
        yield
    stop_workers()
    wait_for_threads(running)
    if before:
        blas.set_num_threads(before)


@pytest.fixture(autouse=True)
def no_callbacks_of_the_garbage_collector():
    """Hypothesis has one: Python ignores an exception there, so that Ctrl-C would be lost."""
    before = gc.callbacks[:]
    gc.callbacks.clear()
    yield
    gc.callbacks[:] = before


@pytest.fixture
def on_alarm():
    """Sets what an alarm does."""
    before = signal.getsignal(signal.SIGALRM)
    yield lambda handler: signal.signal(signal.SIGALRM, handler)
    stop_alarms(before)


def interrupt(*_):
    raise KeyboardInterrupt


def interrupted_at(function, bytecode):
    """Call it, with Ctrl-C before the bytecode of that number.

    Return where that was, None if it ends before; and the number of bytecodes that were begun.
    """
    begun, place = 0, None

    def trace(frame, event, arg):
        nonlocal begun, place
        frame.f_trace_opcodes = True
        if event == "opcode":
            begun += 1
            if begun == bytecode:
                place = frame.f_code.co_qualname if sys.version_info >= (3, 11) else frame.f_code.co_name
                raise KeyboardInterrupt
        return trace

    def contained():
        """A generator has its own state of exceptions, which Python forgets to reset before some bytecodes."""
        yield function()

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        next(contained())
    except KeyboardInterrupt:
        assert place is not None
    finally:
        sys.settrace(before)
    return place, begun


def number_of_threads():
    """As the system counts them, on Linux."""
    return len(os.listdir("/proc/self/task")) if os.path.isdir("/proc/self/task") else None


def stop_workers():
    while threads.pool.workers:
        threads.pool.workers.popitem()[1].put(None)


def wait_for_threads(count):
    """There are no more than these when those that were told to end have ended."""
    if count is not None:
        for _ in until(lambda: number_of_threads() <= count, f"{count} threads"):
            time.sleep(0.001)


def check_blas(place=None):
    if blas.get_num_threads is not None:
        assert blas.get_num_threads() == BLAS_THREADS, place
    assert not blas._lowered, place


class Network:
    """A small network of all kinds of kernels, its training step, and what that gives undisturbed."""

    def __init__(self):
        rng = np.random.default_rng(0)
        self.x = rng.normal(size=(16, 3, 16, 16)).astype("float32")
        self.dy = rng.normal(size=(16, 5)).astype("float32")
        self.model = xpconv.Sequential(
            xpconv.Conv2d(3, 8, 3, padding=1, rng=0), xpconv.BatchNorm2d(8), xpconv.ReLU(), xpconv.MaxPool2d(2),
            xpconv.Conv2d(8, 8, 3, padding=1, groups=8, rng=1), xpconv.Flatten(), xpconv.Dense(8 * 64, 5, rng=2),
        )  # fmt: skip
        self.expected = [a.copy() for a in self.step()]
        for _ in range(3):
            self.step()

    def forget(self):
        """What a forward saved whose backward an interrupt prevented: at most one, of the model alone."""
        pending = [len(layer._finished()) for layer in self.model.modules()]
        assert pending[0] <= 1 and not any(pending[1:])
        self.model.forget()

    def step(self):
        self.model.zero_grad()
        y = self.model(self.x)
        dx = self.model.backward(self.dy)
        return [y, dx, *(p.grad for p in self.model.parameters())]

    def check(self, place=None):
        self.check_values(place)
        check_blas(place)

    def check_values(self, place=None):
        for ours, expected in zip(self.step(), self.expected, strict=True):
            scale = np.abs(expected).max()
            np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-6 * scale, err_msg=str(place))


def held_bytes():
    """The buffers that are in use."""
    gc.collect()
    memory.free_memory()
    return memory.held_bytes()


# --- the pool ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fresh", [True, False], ids=["starting", "running"])
def test_at_every_bytecode_of_the_pool(fresh):
    """Also while it starts its workers."""
    working = []

    def task(i):
        working.append(i)
        time.sleep(0.0002)
        working.remove(i)

    threads.run(task, 3)
    bytecode, before = 0, number_of_threads()
    while True:
        if fresh:
            stop_workers()
        bytecode += 1
        place, _ = interrupted_at(lambda: threads.run(task, 3), bytecode)
        if place is None:
            break
        if not place.endswith("task"):  # the caller was not in a task, and no worker may be
            assert not working, place
        working.clear()
        check_blas(place)
        done = []
        threads.run(done.append, 20)
        assert sorted(done) == list(range(20)), place
    assert bytecode > 200
    threads.run(task, 3)
    wait_for_threads(before)


@needs_timer
def test_several_in_a_row(on_alarm):
    """The impatient press Ctrl-C again while the first one waits for the worker."""

    def interrupt_the_pool(number, frame):
        while frame is not None and frame.f_code.co_filename != threads.__file__:
            frame = frame.f_back
        if frame is not None:  # no alarm ends the test itself
            pressed.set()
            raise KeyboardInterrupt

    on_alarm(interrupt_the_pool)
    working, both, pressed = [], threading.Barrier(2), threading.Event()

    def task(i):
        both.wait(LIMIT)
        if threading.get_ident() == threading.main_thread().ident:
            signal.setitimer(signal.ITIMER_REAL, 0.002, 0.004)
            return
        working.append(i)
        pressed.wait(LIMIT)
        time.sleep(0.03)  # for the next ones
        working.pop()

    for _ in range(5):
        pressed.clear()
        try:
            with pytest.raises(KeyboardInterrupt):
                threads.run(task, 2)
            assert not working
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    check_blas()


def test_memory_is_free_at_once():
    """Also while a worker is late: it holds no array of a call that has ended."""
    for _ in range(200):
        x = np.ones(10, "float32")
        gone = weakref.ref(x)
        threads.run(lambda i, x=x: x.sum(), 1 + 2)
        del x
        assert gone() is None


def test_tasks_that_run_others():
    """As a destructor may in a worker: some levels deep, and with errors."""

    def run(level, path):
        if level == 3:
            if path == (2, 0, 1) and fail:
                raise KeyError(path)
            done.append(path)
        else:
            threads.run(lambda i: run(level + 1, (*path, i)), 3)

    for _ in range(20):
        done, fail = [], False
        run(0, ())
        assert sorted(done) == [(a, b, c) for a in range(3) for b in range(3) for c in range(3)]
        fail = True
        with pytest.raises(KeyError, match=r"2, 0, 1"):
            run(0, ())
    check_blas()


@needs_timer
def test_a_signal_handler_that_uses_the_pool(on_alarm):
    """At any point of another use of it, including the wait for the worker."""
    calls = []

    def handler(*_):
        done = []
        threads.run(done.append, 5)
        calls.append(sorted(done) == list(range(5)))

    on_alarm(handler)
    rng = np.random.default_rng(0)
    for _ in until(lambda: len(calls) >= 100, "100 calls of the handler"):
        counts = np.zeros(6, int)

        def task(i, counts=counts):
            time.sleep(0.0002 * (i % 3))
            counts[i] += 1

        signal.setitimer(signal.ITIMER_REAL, rng.uniform(1e-5, 1e-3))
        threads.run(task, 6)
        assert (counts == 1).all()
    signal.setitimer(signal.ITIMER_REAL, 0)
    assert all(calls)
    check_blas()


def test_several_callers_of_the_pool():
    """Every task is done once, errors reach their own caller, and BLAS has its threads again at the end."""
    failures = []

    def use(number):
        for k in range(300):
            done = []

            def task(i, done=done, k=k):
                if k % 10 == 3 and i == 2:
                    raise KeyError(number)
                done.append(i)

            try:
                threads.run(task, 4)
            except KeyError as error:
                if error.args != (number,) or k % 10 != 3:
                    failures.append((number, k, error))
            else:
                if sorted(done) != [0, 1, 2, 3] or k % 10 == 3:
                    failures.append((number, k, done))

    callers = [threading.Thread(target=use, args=(number,)) for number in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(LIMIT)
    assert not any(caller.is_alive() for caller in callers)
    assert not failures
    assert len(threads.pool.workers) == 1
    check_blas()


def test_blas_computes_alone_until_the_last_caller_leaves():
    if blas.set_num_threads is None:
        pytest.skip("no BLAS whose threads can be set")
    entered, leave, seen = threading.Event(), threading.Event(), []

    def first():
        entered.set()
        leave.wait(LIMIT)
        seen.append(blas.get_num_threads())

    caller = threading.Thread(target=blas.one_blas_thread, args=(first,))
    caller.start()
    assert entered.wait(LIMIT)
    seen.append(blas.one_blas_thread(blas.get_num_threads))
    seen.append(blas.get_num_threads())
    leave.set()
    caller.join()
    assert seen == [1, 1, 1]
    check_blas()


# --- a training step ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("times", TIMES)
def test_at_bytecodes_of_a_step(times):
    held, network = held_bytes(), Network()
    before, used = number_of_threads(), held_bytes()
    _, total = interrupted_at(network.step, None)
    rng = np.random.default_rng(times)
    for i in range(times):
        place, _ = interrupted_at(network.step, int((i + rng.uniform()) * total / times) + 1)
        network.forget()
        network.check(place)
    wait_for_threads(before)
    assert held_bytes() <= used
    del network
    assert held_bytes() == held


@needs_timer
@pytest.mark.parametrize("times", TIMES)
@pytest.mark.parametrize("sender", ["timer", "thread"])
def test_signals_in_a_step(on_alarm, times, sender):
    """From the system's timer, or from another thread of this process."""
    on_alarm(interrupt)
    held, network = held_bytes(), Network()
    before, used = number_of_threads(), held_bytes()
    start = time.perf_counter()
    for _ in range(10):
        network.step()
    most = (time.perf_counter() - start) / 5
    rng = np.random.default_rng(0)
    main, enough = threading.main_thread().ident, time.monotonic() + LIMIT / 2  # on a busy machine
    for _ in itertools.takewhile(lambda _: time.monotonic() < enough, range(times)):
        delay = rng.uniform(1e-5, most)
        timer = threading.Timer(delay, signal.pthread_kill, (main, signal.SIGALRM))
        end = time.monotonic() + LIMIT
        with contextlib.suppress(KeyboardInterrupt):
            if sender == "timer":
                signal.setitimer(signal.ITIMER_REAL, delay)
            else:
                timer.start()
            while time.monotonic() < end:
                network.step()
        assert time.monotonic() < end, "Ctrl-C was lost"
        network.forget()
        network.check()
    if sender == "thread":
        timer.join()
    wait_for_threads(before)
    assert held_bytes() <= used
    del network
    assert held_bytes() == held


# --- layers in the middle of a kernel ----------------------------------------------------------------------


class Other:
    """A model that runs in the middle of another's step, and whether it gave the right results."""

    def __init__(self):
        self.x = np.random.default_rng(5).normal(size=(8, 3, 16, 16)).astype("float32")
        self.model = xpconv.Sequential(
            xpconv.Conv2d(3, 8, 3, padding=1, rng=5), xpconv.ReLU(), xpconv.MaxPool2d(2),
            xpconv.Conv2d(8, 4, 3, rng=6), xpconv.BatchNorm2d(4), xpconv.Flatten(), xpconv.Dense(144, 5, rng=7),
        )  # fmt: skip
        self.inside, self.results = False, []
        self.expected = self.step()

    def step(self):
        y = self.model(self.x)
        return [y, self.model.backward(y)]

    def run(self):
        """Not within itself."""
        if self.inside:
            return
        self.inside = True
        try:
            same = map(np.array_equal, self.step(), self.expected)
            self.results.append(all(same))
        finally:
            self.inside = False


@needs_timer
@pytest.mark.parametrize("times", [100, pytest.param(300, marks=pytest.mark.slow)])
def test_a_layer_in_a_signal_handler(on_alarm, times):
    network, other = Network(), Other()
    rng = np.random.default_rng(0)

    def handler(*_):
        other.run()
        signal.setitimer(signal.ITIMER_REAL, rng.uniform(1e-5, 3e-3))

    on_alarm(handler)
    handler()
    for _ in until(lambda: len(other.results) >= times, f"{times} results"):
        network.check()
    signal.setitimer(signal.ITIMER_REAL, 0)
    assert all(other.results)
    check_blas()


@pytest.mark.parametrize("times", [100, pytest.param(300, marks=pytest.mark.slow)])
def test_a_layer_in_a_destructor(times):
    """At calls and returns of Python and C functions.

    The garbage collector may call it there. Before Python 3.12 it does so at any allocation, also in the middle
    of `ContextVar.set`, which does not bear that.
    """
    network, other = Network(), Other()
    places, rng, left = set(), np.random.default_rng(0), 0

    class Last:
        def __del__(self):
            other.run()

    def profile(frame, event, arg):
        nonlocal left
        left -= 1
        if left < 0:
            places.add((frame.f_code.co_name, event))
            left = int(rng.integers(1000))
            Last()

    before = sys.getprofile()
    for _ in until(lambda: len(other.results) >= times, f"{times} results"):
        sys.setprofile(profile)
        try:
            network.check()
        finally:
            sys.setprofile(before)
    assert all(other.results)
    assert len(places) > 30


def test_a_layer_in_a_callback_of_numpy():
    """`numpy.seterrcall` names a function to call where a number overflows, in any thread."""
    other = Other()
    errors, inside = [], threading.local()

    def callback(kind, flag):
        if getattr(inside, "now", False):
            return
        inside.now = True
        try:
            with np.errstate(all="ignore"):
                errors.append(all(map(np.array_equal, other.model(other.x)[None], other.expected[:1])))
        finally:
            inside.now = False

    layer = xpconv.Conv2d(3, 8, 3, padding=1, rng=0)
    x = np.full((16, 3, 16, 16), 3e38, "float32")
    with xpconv.no_grad(), np.errstate(over="ignore", invalid="ignore"):
        expected = layer(x)
    with xpconv.no_grad(), np.errstate(over="call", invalid="call", call=callback):
        for _ in range(10):
            np.testing.assert_array_equal(layer(x), expected)
    assert errors
    assert all(errors)
    check_blas()
