"""Workers: the same batches, few ahead, and no thread is left when a loop ends, however it does."""

import gc
import os
import sys
import threading
import time
from pathlib import Path

import interrupts
import numpy as np
import process
import pytest
from deadline import until

import xpconv
from xpconv.data import batches, workers
from xpconv.errors import BatchError

X = np.arange(40)


def slow(batch, rng):
    time.sleep(0.001 * rng.random())
    return (batch[0] + rng.integers(1000),)


def loader(count, transform=slow, **options):
    return batches(X, 3, shuffle=True, seed=5, transform=transform, workers=count, **options)


def epoch(loop):
    return [x.tolist() for (x,) in loop]


def threads():
    return [t.name for t in threading.enumerate() if t.name.startswith("batches-")]


@pytest.fixture(autouse=True)
def no_thread_is_left():
    assert threads() == []
    yield
    assert threads() == []


@pytest.mark.parametrize("count", [1, 2, 4, 30])
def test_any_number_of_workers_gives_the_same(count):
    expected, got = loader(0), loader(count)
    for _ in range(3):
        assert epoch(got) == epoch(expected)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_few_batches_are_ahead(count):
    begun = []

    def note(batch, rng):
        begun.append(1)
        return batch

    for handed, _ in enumerate(loader(count, note), 1):
        most = min(handed + count + 1, 14)
        for _ in until(lambda most=most: len(begun) >= most, f"{most} batches"):  # all that may be
            time.sleep(0.0002)
        time.sleep(0.002)
        assert len(begun) - handed <= count + 1  # and no more


def test_an_iterable_is_read_no_further_than_needed():
    read = []

    class Numbers:
        def __iter__(self):
            for i in range(100):
                read.append(i)
                yield i

    loop = iter(batches(Numbers(), 4, workers=2))
    next(loop)
    time.sleep(0.02)
    assert len(read) <= 4 * 4
    loop.close()


def test_batches_are_freed_when_they_are_handed_out():
    """Of the batches, only those that are ahead and the one in the loop are alive."""
    import weakref

    class Large(np.ndarray):
        pass

    alive = weakref.WeakSet()

    class Box:
        def __init__(self, array):
            self.array, self.shape, self.dtype = array, array.shape, array.dtype
            alive.add(self)

    most = 0
    for (_,) in loader(2, lambda batch, rng: Box(batch[0])):
        time.sleep(0.002)
        most = max(most, len(alive))
    assert most <= 2 + 1 + 1
    gc.collect()


def divide_in_a_loop(count):
    for _ in loader(count):
        1 / 0  # noqa: B018


@pytest.mark.parametrize("count", [1, 3])
def test_threads_end_with_the_loop(count):
    epoch(loader(count))
    assert threads() == []
    for _ in loader(count):
        assert 1 <= len(threads()) <= count
        break
    assert threads() == []
    with pytest.raises(ZeroDivisionError):
        divide_in_a_loop(count)
    assert threads() == []


def test_threads_end_when_an_iterator_is_garbage():
    loop = loader(2)
    iterator = iter(loop)
    next(iterator)
    assert len(threads()) == 2
    del iterator
    assert threads() == []
    cycle = [iter(loop)]
    next(cycle[0])
    cycle.append(cycle)
    del cycle
    gc.collect()
    assert threads() == []


def test_threads_end_after_an_error_that_somebody_holds():
    def fails(batch, rng):
        raise ValueError

    with pytest.raises(BatchError) as caught:
        next(iter(loader(3, fails)))
    assert threads() == [] and caught.value.__cause__ is not None


def test_no_more_threads_than_batches():
    loop = iter(batches(X, 20, workers=10**9))
    next(loop)
    assert len(threads()) <= 2
    assert len(list(loop)) == 1


def test_two_loops_at_once():
    one, other = loader(2), loader(0)
    pairs = [(a[0].tolist(), b[0].tolist()) for a, b in zip(one, one, strict=True)]
    assert [a for a, _ in pairs] == epoch(other)
    assert [b for _, b in pairs] == epoch(other)


def test_workers_have_the_context_of_the_loop():
    seen = []

    def look(batch, rng):
        seen.append((xpconv.get_backend(), np.geterr()["over"], threading.current_thread().name))
        return batch

    with xpconv.use_backend("double"), np.errstate(over="raise"):
        epoch(loader(2, look))
    assert {(name, over) for name, over, _ in seen} == {("double", "raise")}
    assert all(thread.startswith("batches-") for *_, thread in seen)


def test_arrays_on_a_device_are_left_to_the_thread_of_the_loop(backend):
    names = set()

    def look(batch, rng):
        names.add(threading.current_thread().name)
        return batch

    got = batches(xpconv.asarray(X), 3, shuffle=True, seed=5, transform=look, workers=3)
    assert [xpconv.asnumpy(x).tolist() for (x,) in got] == epoch(loader(0, None))
    assert any(name.startswith("batches-") for name in names) == (backend == "numpy")


def test_a_system_that_starts_no_more_threads(monkeypatch):
    start, started = threading.Thread.start, []

    def refuse(self):
        if started:
            raise RuntimeError("can't start new thread")
        started.append(self)
        start(self)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(RuntimeError, match="can't start new thread"):
        epoch(loader(3))


# ---- interruptions ----


def run_one():
    loop = iter(loader(2, None))
    for _ in range(3):
        next(loop)
    loop.close()


def test_ctrl_c_at_every_bytecode():
    files = {workers.__file__, sys.modules[batches.__module__].__file__}
    number = 0
    while interrupts.at_bytecode(number, interrupts.interrupt, files, run_one):
        for _ in until(lambda: not threads(), f"no threads, {number}"):  # one that was being started ends
            time.sleep(0.0001)
        number += 7 if number > 400 else 3
    assert number > 200
    assert epoch(loader(2)) == epoch(loader(0))


def run(code):
    env = process.environment(PYTHONPATH=str(Path(xpconv.__file__).parents[1]))
    begin = "import os, signal, sys, threading, time\nimport numpy as np\nfrom xpconv.data import batches\n"
    return process.run([sys.executable, "-c", begin + code], env=env, check=False)


@pytest.mark.slow
def test_the_interpreter_exits_in_the_middle_of_a_loop():
    code = """
def slow(batch, rng):
    a = np.random.default_rng(0).normal(size=(100, 100))
    for _ in range(20):
        a = np.tanh(a @ a)
    return batch
loop = iter(batches(np.arange(10000), 2, transform=slow, workers=3))
next(loop)
print("end")
"""
    done = run(code)
    assert (done.returncode, done.stdout, done.stderr) == (0, "end\n", "")
    assert run(code + "sys.exit(3)").returncode == 3


@pytest.mark.slow
def test_the_interpreter_exits_although_a_worker_waits_for_ever():
    done = run("""
def hangs(batch, rng):
    if batch[0][0]:
        threading.Event().wait()
    return batch
loop = iter(batches(np.arange(100), 2, transform=hangs, workers=2))
next(loop)
""")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")
def test_a_real_ctrl_c_while_the_loop_waits():
    done = run("""
def slow(batch, rng):
    time.sleep(0.3)
    return batch
try:
    threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
    for _ in batches(np.arange(1000), 1, transform=slow, workers=2):
        pass
except KeyboardInterrupt:
    print([t.name for t in threading.enumerate() if t.name.startswith("batches")])
""")
    assert (done.returncode, done.stdout, done.stderr) == (0, "[]\n", "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_the_child_of_a_fork_goes_on_with_the_loop():
    expected, loop = epoch(loader(0)), iter(loader(2))
    got = [next(loop)[0].tolist() for _ in range(3)]

    def child():
        assert got + [x.tolist() for (x,) in loop] == expected

    assert process.forked(child) == 0
    child()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_the_child_of_a_fork_drops_the_loop():
    loops = [iter(loader(2))]
    next(loops[0])

    def child():
        loops.clear()
        assert epoch(loader(2)) == epoch(loader(0))
        gc.collect()

    assert process.forked(child) == 0
    loops[0].close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_the_child_of_a_fork_cannot_go_on_with_an_iterable():
    loop = iter(batches(iter(range(100)), 2, workers=2))
    next(loop)

    def child():
        with pytest.raises(RuntimeError, match="process that was forked"):
            next(loop)

    assert process.forked(child) == 0
    loop.close()
