"""The pool of buffers for NumPy arrays: reuse, bounds, and what interrupts it."""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
import time

import numpy as np
import process
import pytest
from deadline import until
from effort import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from interrupts import at_bytecode, interrupt, stop_alarms

import xpconv
from xpconv.kernels.engine import memory

SIZE = 50_000


@pytest.fixture(autouse=True)
def empty_pool():
    memory.free_memory()
    yield
    memory.free_memory()


def check_pool():
    """Buffers are used by one array each, and come back."""
    arrays = [memory.empty((SIZE,), "uint8") for _ in range(6)]
    for i, array in enumerate(arrays):
        array[...] = i
    assert all((array == i).all() for i, array in enumerate(arrays))
    held = memory.held_bytes()
    del arrays, array
    memory.empty((SIZE,), "uint8")
    assert memory.held_bytes() == held


def test_a_view_keeps_its_memory():
    """A buffer is not handed out again while any array uses it."""
    array = memory.empty((1000, 100), "float32")
    address = array.ctypes.data
    assert address % 64 == 0
    view = array[3:].reshape(-1)[5:].view("int32").T
    del array
    assert memory.empty((1000, 100), "float32").ctypes.data != address
    del view
    assert memory.empty((1000, 100), "float32").ctypes.data == address


@settings(max_examples=examples(50))
@given(st.lists(st.tuples(st.integers(1 << 16, 1 << 20), st.booleans(), st.integers(0, 99)), max_size=40))
def test_no_two_arrays_share_memory(orders):
    """Arrays come and go in any order; each keeps what was written into it."""
    alive = []
    for number, (size, drop, which) in enumerate(orders):
        alive.append((number, memory.empty((size,), "uint8")))
        alive[-1][1][...] = number
        if drop:
            del alive[which % len(alive)]
        for mark, array in alive:
            assert (array == mark).all()


def test_all_memory_comes_back():
    memory.free_memory()
    before = memory.held_bytes()
    arrays = [memory.empty((size,), "uint8") for size in (1 << 20, 1 << 25, 1 << 17, 1 << 22)]
    assert memory.held_bytes() > before
    for i in (2, 0, 3, 1):
        arrays[i] = None
    memory.free_memory()
    assert memory.held_bytes() == before


def test_a_steady_loop_asks_for_no_memory(monkeypatch):
    conv = xpconv.Conv2d(16, 32, 3, padding=1, rng=0)
    x = np.ones((16, 16, 32, 32), "float32")

    def step():
        y = conv(x)
        conv.backward(y)

    for _ in range(3):
        step()

    def refuse(size):
        raise AssertionError(f"asked for {size} bytes")

    monkeypatch.setattr(memory, "_aligned", refuse)
    for _ in range(5):
        step()


@pytest.mark.slow
@given(st.integers(1, 1 << 34))
def test_sizes_are_rounded_up_to_few(size):
    rounded = memory._rounded(max(size, memory.LINE))
    assert size <= rounded <= max(memory.LINE, 1.125 * size)
    assert memory._rounded(rounded) == rounded
    few = {memory._rounded(n) for n in range(1 << 12, 1 << 14)}
    assert len(few) <= 2 * 8 + 1


def test_a_small_output_pins_its_own_buffer_only():
    arrays = [memory.empty((n,), "float32") for n in (1 << 22, 50_000, 1 << 20)]
    small = arrays.pop(1)
    del arrays
    memory.free_memory()
    assert small.nbytes <= memory.held_bytes() <= 1.125 * small.nbytes
    with xpconv.no_grad():
        y = xpconv.Conv2d(16, 32, 3, padding=1, rng=0)(np.ones((8, 16, 64, 64), "float32"))[:1].copy()
    memory.free_memory()
    assert memory.held_bytes() <= 1.125 * small.nbytes
    assert y.shape == (1, 32, 64, 64)


@settings(max_examples=examples(30))
@given(st.lists(st.tuples(st.integers(1 << 12, 1 << 24), st.integers(0, 5)), max_size=60))
def test_idle_buffers_are_bounded(orders):
    """By what arrays used at once, and what they may use of larger buffers."""
    memory.free_memory()
    alive, most = [], 0
    for size, drop in orders:
        alive.append(memory.empty((size,), "uint8"))
        most = max(most, sum(array.nbytes for array in alive))
        assert memory.held_bytes() <= 2 * 9 / 8 * most + memory.SLACK
        del alive[:drop]
    del alive
    memory.free_memory()
    assert memory.held_bytes() == 0


def test_a_smaller_array_takes_a_buffer_of_up_to_twice_its_size():
    sizes = 1 << 20, 3 << 18, 1 << 19, 7 << 16
    for size, fits in zip(sizes, (True, True, True, False), strict=True):
        memory.free_memory()
        memory.empty((1 << 20,), "uint8")
        held = memory.held_bytes()
        assert held == 1 << 20
        array = memory.empty((size,), "uint8")
        assert (memory.held_bytes() == held) == fits
        del array


def test_a_step_of_many_sizes_asks_for_no_memory_again(monkeypatch):
    """As training does: activations that shrink by stages and are all saved, then gradients that grow."""

    def step():
        saved = []
        for size in (1 << 22, 1 << 21, 1 << 20):
            saved += [memory.empty((size + more,), "uint8") for more in (0, 70_000, 3)]
            memory.empty((size,), "uint8")
        grad = None
        while saved:
            grad = memory.empty((saved.pop().nbytes,), "uint8"), grad and grad[0]

    step()
    step()
    held = memory.held_bytes()
    monkeypatch.setattr(memory, "_aligned", None)
    for _ in range(5):
        step()
    assert memory.held_bytes() == held


def test_no_more_memory_than_there_is():
    """NumPy's error, whatever the system's own calls raise."""
    for size in (1 << 45, 1 << 62):
        with pytest.raises(MemoryError):
            memory.empty((size,), "uint8")
    check_pool()


def test_an_array_in_a_cycle_gives_its_buffer_back():
    cycle = [memory.empty((SIZE,), "uint8")]
    cycle.append(cycle)
    del cycle
    gc.collect()
    memory.free_memory()
    assert memory.held_bytes() == 0


@pytest.mark.slow
def test_interrupts_at_every_bytecode():
    """Ctrl-C in `empty` and `free_memory`: at worst a buffer is lost for the pool, and freed by its array."""

    def work():
        arrays = [memory.empty((n,), "uint8") for n in (SIZE, SIZE, SIZE // 2, 3 * SIZE)]
        del arrays
        memory.empty((SIZE * 3 // 4,), "uint8")
        memory.free_memory()

    step = 0
    while at_bytecode(step, interrupt, [memory.__file__], work):
        check_pool()
        step += 1
    assert step > 200
    memory.free_memory()
    assert memory.held_bytes() == 0


def test_threads_share_the_pool():
    wrong, stop = [], threading.Event()

    def work(mark):
        rng = np.random.default_rng(mark)
        for _ in range(300):
            arrays = [memory.empty((int(n),), "uint8") for n in rng.integers(4096, 9000, 4)]
            for i, array in enumerate(arrays):
                array[...] = 10 * mark + i
            time.sleep(0)
            wrong.extend(i for i, array in enumerate(arrays) if not (array == 10 * mark + i).all())

    def free():
        while not stop.is_set():
            memory.free_memory()

    freeing = threading.Thread(target=free)
    threads = [threading.Thread(target=work, args=(mark,)) for mark in range(4)]
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for thread in (freeing, *threads):
            thread.start()
        for thread in threads:
            thread.join()
        stop.set()
        freeing.join()
    finally:
        sys.setswitchinterval(before)
    assert not wrong
    memory.free_memory()
    assert memory.held_bytes() == 0


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no interval timers")
def test_a_signal_handler_may_use_the_pool():
    """It runs between any two bytecodes, also within the pool's own functions."""
    wrong, calls, kept = [], [], []

    def handler(*_):
        array = memory.empty((SIZE,), "uint8")
        array[...] = 7
        kept.append(array)
        if len(kept) > 3:
            wrong.extend(1 for array in kept if not (array == 7).all())
            kept.clear()
            memory.free_memory()
        calls.append(1)

    before = signal.signal(signal.SIGALRM, handler)
    try:
        rng = np.random.default_rng(0)
        for _ in until(lambda: len(calls) >= 200, "200 calls of the handler"):
            signal.setitimer(signal.ITIMER_REAL, rng.uniform(1e-5, 1e-4))
            arrays = [memory.empty((SIZE,), "uint8") for _ in range(10)]
            for i, array in enumerate(arrays):
                array[...] = i
            wrong.extend(i for i, array in enumerate(arrays) if not (array == i).all())
    finally:
        stop_alarms(before)
    assert not wrong


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_has_the_pool():
    """Also if another thread was using it at that moment: there is no lock to be left held."""
    arrays = [memory.empty((SIZE,), "uint8")]

    def child():
        arrays.clear()
        memory.free_memory()
        assert memory.held_bytes() == 0

    assert process.forked(child) == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_writes_to_its_own_memory():
    for size in (SIZE, 2 * memory.LARGE):
        array = memory.empty((size,), "uint8")
        array[...] = 1
        assert process.forked(lambda array=array: array.fill(2)) == 0
        assert (array == 1).all()
