"""Nothing outside a call changes in the process: not while the library is idle, after steps, after errors and
Ctrl-C, nor in forked children; and idle threads use no CPU time."""

import os
import sys
import textwrap

import process
import pytest

SETUP = """
import ctypes, gc, os, signal, sys, threading, time, warnings

try:
    import threadpoolctl  # which changes the environment itself
except ImportError:
    threadpoolctl = None

before_import = {**os.environ}
import numpy as np
import xpconv
from xpconv.kernels.engine import blas, threads

GET_TIMER_SLACK = 30

def state():
    everything = {
        "environment": {**os.environ},
        "switch interval": sys.getswitchinterval(),
        "recursion limit": sys.getrecursionlimit(),
        "garbage collection": (gc.isenabled(), gc.get_threshold(), len(gc.callbacks)),
        "floating-point errors": np.geterr(),
        "warnings": list(warnings.filters),
        "signals": [signal.getsignal(number) for number in signal.valid_signals()],
        "trace": (sys.gettrace(), sys.getprofile(), threading.gettrace(), threading.getprofile()),
        "folder": os.getcwd(),
        "Python threads": threading.active_count(),
    }
    if blas.get_num_threads is not None:
        everything["BLAS"] = blas.get_num_threads()
    if threadpoolctl is not None:
        everything["thread pools"] = [(p["filepath"], p["num_threads"]) for p in threadpoolctl.threadpool_info()]
    if hasattr(os, "sched_getaffinity"):
        everything["cores"] = os.sched_getaffinity(0)
        everything["scheduling"] = os.sched_getscheduler(0), os.getpriority(os.PRIO_PROCESS, 0)
    if sys.platform == "linux":
        everything["timer slack"] = ctypes.CDLL(None).prctl(GET_TIMER_SLACK, 0, 0, 0, 0)
        everything["signal mask"] = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    return everything

def check(when):
    now = state()
    assert now == before, (when, {k: (before[k], now[k]) for k in before if before[k] != now[k]})

threads.WORTH = 1
threads.set_num_threads(3)
model = xpconv.Sequential(
    xpconv.Conv2d(3, 8, 3, padding=1, rng=0), xpconv.BatchNorm2d(8), xpconv.ReLU(), xpconv.MaxPool2d(2),
    xpconv.Flatten(), xpconv.Dense(8 * 64, 5, rng=1),
)
optimizer = xpconv.SGD(model.parameters(), lr=0.01)
x = np.random.default_rng(0).normal(size=(16, 3, 16, 16)).astype("float32")

def step():
    optimizer.zero_grad()
    y = model(x)
    model.backward(y)
    optimizer.step()
    with xpconv.no_grad():
        model(x)
        fused(x)

fused = model.fuse()
assert before_import == {**os.environ}
sys.setswitchinterval(0.0123)
if blas.set_num_threads is not None:
    blas.set_num_threads(4)
before = state()
"""


def run_python(text):
    """A fresh process, as what a process has once changed no longer shows in it."""
    env = {name: value for name, value in os.environ.items() if "NUM_THREADS" not in name}
    code = SETUP + textwrap.dedent(text)
    process.run([sys.executable, "-W", "ignore::DeprecationWarning", "-c", code], env=env)


def test_steps():
    run_python("""
        for i in range(100):
            step()
            check(i)
        time.sleep(0.1)
        check("idle")
    """)


@pytest.mark.slow
def test_in_another_python_thread():
    """Timer slack is a thread's own."""
    run_python("""
        def train():
            slack = state().get("timer slack")
            for _ in range(5):
                step()
            assert state().get("timer slack") == slack
            done.append(True)

        done = []
        thread = threading.Thread(target=train)
        thread.start()
        thread.join()
        assert done
        check("joined")
    """)


@pytest.mark.slow
def test_a_hosts_own_changes_stay():
    """Between two calls, and within one, those that calls have nothing to do with."""
    run_python("""
        def during(i):
            sys.setswitchinterval(0.004)

        step()
        threads.run(during, 4)
        assert abs(sys.getswitchinterval() - 0.004) < 1e-5
        for count in (2, 1, 3) if blas.set_num_threads is not None else ():
            blas.set_num_threads(count)
            step()
            assert blas.get_num_threads() == count
    """)


def test_errors():
    run_python("""
        both = threading.Barrier(3)

        def task(i):
            both.wait()
            caller = threading.get_ident() == threading.main_thread().ident
            if where == "anywhere" or caller == (where == "caller"):
                raise error

        for where in ("caller", "worker", "anywhere"):
            for error in (KeyError, KeyboardInterrupt, FloatingPointError, SystemExit):
                try:
                    threads.run(task, 3)
                except error:
                    check(f"after {error} in {where}")
                else:
                    raise AssertionError
                try:
                    blas.one_blas_thread(task.missing)
                except AttributeError:
                    check("after another")
                step()
                check("after a step")
    """)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_forked_children():
    """Between steps, and while other threads are within a kernel."""
    run_python("""
        def child():
            pid = os.fork()
            if pid == 0:
                try:
                    check("child")
                    step()
                    check("child after a step")
                    os._exit(0)
                except BaseException as error:
                    print(repr(error), flush=True)
                    os._exit(1)
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0

        child()
        step()
        child()
        check("after forks")

        def train():
            while not stop.is_set():
                other(x)
                other.backward(other(x))

        other = xpconv.Sequential(xpconv.Conv2d(3, 16, 3, rng=0), xpconv.ReLU())
        stop = threading.Event()
        thread = threading.Thread(target=train)
        thread.start()
        before["Python threads"] = 1  # in the child
        for _ in range(10):
            child()
        stop.set()
        thread.join()
        check("after training")
    """)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_fork_within_a_task():
    run_python("""
        def task(i):
            pid = os.fork()
            if pid == 0:
                os._exit(state() != before)
            statuses.append(os.waitpid(pid, 0)[1])

        statuses = []
        before["Python threads"] = 1
        slack = before.pop("timer slack", None)
        state = lambda state=state: {k: v for k, v in state().items() if k in before}
        before = state()
        threads.run(task, 6)
        assert statuses == [0] * 6, statuses
    """)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_fork_within_a_kernel_that_returns_to_it():
    """The child has not the worker that was at a part of it: an error, and everything is right afterwards."""
    run_python("""
        main = threading.get_ident()
        both, forked = threading.Barrier(2), threading.Event()
        pid = None

        def fork(*_):
            global pid
            pid = os.fork()
            if pid:
                forked.set()

        def task(i):
            both.wait()
            if threading.get_ident() != main:
                forked.wait()
            elif where == "task":
                fork()
            else:  # while the caller waits for the worker
                signal.signal(signal.SIGALRM, fork)
                signal.setitimer(signal.ITIMER_REAL, 0.03)

        step()
        threads.set_num_threads(2)
        for where in ("task", "wait"):
            both.reset()
            forked.clear()
            try:
                threads.run(task, 2)
            except RuntimeError as error:
                assert pid == 0 and "forked" in str(error)
                done = []
                threads.run(done.append, 8)
                step()
                os._exit(sorted(done) != list(range(8)))
            assert pid and os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0, where
            step()
    """)


@pytest.mark.slow
def test_idle_threads_use_no_cpu_time():
    """Neither directly after a step."""
    run_python("""
        for _ in range(20):
            step()
        start = time.process_time()
        time.sleep(1.0)
        used = time.process_time() - start
        assert used < 0.02, used
    """)
