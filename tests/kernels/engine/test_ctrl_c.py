"""Processes that get real signals of Ctrl-C and real limits of memory, and go on with right results."""

import os
import signal
import sys
import textwrap

import process
import pytest

SETUP = f"""
import faulthandler
faulthandler.dump_traceback_later({process.LIMIT - 60}, exit=True)  # in place of hanging
"""
SETUP += """
import contextlib, os, signal, sys, threading, time
import numpy as np
import xpconv
from xpconv.kernels.engine import blas, threads
from xpconv.tape import saving

threads.WORTH = 1
threads.set_num_threads(3)
if blas.set_num_threads is not None:
    blas.set_num_threads(2)
x = np.random.default_rng(0).normal(size=(16, 3, 32, 32)).astype("float32")

def make():
    return xpconv.Sequential(
        xpconv.Conv2d(3, 16, 3, padding=1, rng=0), xpconv.BatchNorm2d(16), xpconv.ReLU(), xpconv.MaxPool2d(2),
        xpconv.Conv2d(16, 16, 3, padding=1, groups=16, rng=1), xpconv.Flatten(), xpconv.Dense(16 * 256, 5, rng=2),
    )

def step(model, x=x):
    model.zero_grad()
    y = model(x)
    dx = model.backward(np.ones_like(y))
    return [y, dx, *(p.grad for p in model.parameters())]

def serve(model, x=x):
    with xpconv.no_grad():
        return model(x)

model, fused = make(), make().fuse()
expected = [a.copy() for a in step(model)]
served = serve(fused)
interval = sys.getswitchinterval()

def check(when):
    model.forget()
    for ours, wanted in zip([*step(model), serve(fused)], [*expected, served], strict=True):
        np.testing.assert_allclose(ours, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max(), err_msg=str(when))
    assert saving() and sys.getswitchinterval() == interval, when
    assert blas.get_num_threads is None or blas.get_num_threads() == 2, when
    assert not threads.pool.jobs and not blas._lowered and not blas._callers, when
    done = []
    threads.run(done.append, 9)
    assert sorted(done) == list(range(9)), when
"""


# They set their numbers of threads themselves.
ENV = {name: value for name, value in os.environ.items() if "NUM_THREADS" not in name}


def command(text, *arguments):
    code = SETUP + textwrap.dedent(text)
    return [sys.executable, "-W", "ignore::DeprecationWarning", "-c", code, *map(str, arguments)]


CTRL_C = """
    rng, caught = np.random.default_rng(int(sys.argv[1])), 0
    while caught < int(sys.argv[2]):
        timer = threading.Timer(rng.uniform(0, 0.03), os.kill, (os.getpid(), signal.SIGINT))
        try:
            timer.start()
            while True:
                step(model)
                serve(fused)
        except KeyboardInterrupt:
            caught += 1
        timer.join()
        xpconv.free_memory()
        others = [np.full(n, np.nan, "float32") for n in (1 << 12, 1 << 16, 1 << 18)]  # where buffers were
        check(caught)
        assert all(np.isnan(a).all() for a in others)
    print(caught)
"""


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_memory_that_is_freed_after_ctrl_c_is_written_to_by_nobody(seed):
    """The worker has left before the call ends, so that what others put there stays as it is."""
    assert process.run(command(CTRL_C, seed, 15), env=ENV).stdout == "15\n"


@pytest.mark.skipif(not hasattr(signal, "SIGINT") or os.name == "nt", reason="no signals between processes")
def test_ctrl_c_from_outside_as_from_a_terminal():
    """The process ends as any Python program does, at once."""
    steps = command("print('ready', flush=True)\nwhile True: step(model), serve(fused)")
    with process.started(steps, env=ENV) as running:
        assert running.stdout.readline() == "ready\n"
        running.send_signal(signal.SIGINT)
        _, err = process.output(running)
    assert running.returncode in (-signal.SIGINT, 130)
    assert err.rstrip().endswith("KeyboardInterrupt")


PRESSURE = """
    import resource

    def measure():
        with open("/proc/self/statm") as file:
            return int(file.read().split()[0]) * resource.getpagesize()

    mode, seed = sys.argv[1], int(sys.argv[2])
    wide = xpconv.Sequential(xpconv.Conv2d(3, 16, 3, padding=1, rng=0), xpconv.ReLU()).fuse()
    models = [wide] * 2 if mode == "serving" else [model, make()]
    big = np.ones((1024, 3, 32, 32), "float32")
    act = serve if mode == "serving" else step
    ready, failed, went_on, faults = threading.Barrier(2), [0, 0], [0, 0], []

    def work(i):
        act(models[i])  # OpenBLAS ends the process where it has no memory for a thread's first product
        rng = np.random.default_rng(seed + i)
        ready.wait()
        products = [np.ones((300, 300), "float32") @ np.ones((300, 300), "float32") for _ in range(20)]
        ready.wait()
        if i == 0:
            resource.setrlimit(resource.RLIMIT_AS, (measure() + (int(sys.argv[3]) << 20), resource.RLIM_INFINITY))
        ready.wait()
        while failed[i] < 4 or went_on[i] < 3:
            large = failed[i] < 4 and rng.random() < 0.7
            try:
                act(models[i], big if large else x[:2])
                went_on[i] += not large
            except MemoryError:
                failed[i] += 1
                models[i].forget()
            except BaseException as error:
                faults.append(repr(error))
                return

    workers = [threading.Thread(target=work, args=(i,)) for i in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY,) * 2)
    assert not faults, faults
    assert min(failed) >= 4 and min(went_on) >= 3, (failed, went_on)
    xpconv.free_memory()
    check("afterwards")
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the limit of memory is Linux's")
@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(("mode", "megabytes"), [("training", 40), ("serving", 40)])
def test_two_threads_without_memory_for_a_large_batch(mode, megabytes, seed):
    """Each gets its MemoryError, goes on with small ones, and nobody waits for ever."""
    process.run(command(PRESSURE, mode, seed, megabytes), env=ENV)
