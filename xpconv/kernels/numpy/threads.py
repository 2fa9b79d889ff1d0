"""Work on all cores: a few long-lived threads over blocks of arrays, with BLAS at one thread inside.

NumPy's loops and BLAS release the interpreter lock, so threads run at once as long as each call is long:
give blocks of tens of microseconds at least. A thread that finds the lock taken sleeps, and takes as long to
wake up.
"""

from __future__ import annotations

import ctypes
import functools
import math
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import ContextDecorator, suppress
from contextvars import copy_context

import numpy as np
from numpy.lib.stride_tricks import as_strided

from ...arguments import shown, to_int
from . import blas

Task = Callable[[int], None]

WORTH = 1 << 20  # elements from which a second thread is worth waking
MOST = 4096  # largest number of threads
PRODUCTS = 8  # multiplications in a matrix product that take as long as one element elsewhere

ROWS, LOOKS = 128, 16000  # rows of looks at a signal, of 7 µs each
SWITCH = 2e-5  # seconds that a thread sleeps before it asks for the interpreter lock again
RETRY = 1.0  # seconds after which a thread that could not be started is tried again

_inside = threading.local()  # .busy: this thread works on a block, and must not ask others for help
_interval: float | None = None  # while threads share a job: what the switch interval is without


def cores() -> int:
    """How many this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def count_from_environment() -> tuple[int, str]:
    """How many threads to start with, and the variable that says so; without one, a thread a core."""
    own, openmp = "XPCONV_NUM_THREADS", "OMP_NUM_THREADS"
    text = os.environ.get(own, "").strip()
    if text:
        if not text.isdecimal() or int(text) < 1:
            raise ValueError(f"environment variable {own} is {text!r}, expected a number from 1")
        return int(text), own
    first = os.environ.get(openmp, "").partition(",")[0].strip()  # OpenMP takes a list, one a level
    return (int(first), openmp) if first.isdecimal() and int(first) else (cores(), "")


def _shorten_interval() -> None:
    """Have a thread that waits for the interpreter lock look again soon."""
    global _interval
    _interval = sys.getswitchinterval()
    sys.setswitchinterval(min(SWITCH, _interval))


def _restore_interval() -> None:
    global _interval
    if _interval is not None:
        sys.setswitchinterval(_interval + 5e-7)  # it is cut off to microseconds
        _interval = None


def _wake_in_time() -> None:
    """Have Linux wake this thread when it asked to be, and not up to 50 µs later; from now on."""
    if sys.platform == "linux" and not getattr(_inside, "in_time", False):
        _inside.in_time = True
        set_timer_slack = 29
        ctypes.CDLL(None).prctl(set_timer_slack, ctypes.c_ulong(1), 0, 0, 0)


class _Signal:
    """What a thread waits for until another sets it: awake for about a millisecond, then asleep.

    Asleep from the start where there are more threads than cores.

    A sleeping thread takes as long to wake up as small kernels do. So it looks at a byte first, again and
    again, without the interpreter lock: `any` of an array that has the byte everywhere ends once that is set.
    The array has rows, and the last is of another byte, which is never set. So the thread looks on for some
    microseconds, in which the other lets go of the lock, and need not sleep because of that.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()
        self._bytes = np.zeros(ROWS + 1, bool)
        self._looks = as_strided(self._bytes, (ROWS + 1, LOOKS), (1, 0))
        self._seen = np.empty(ROWS + 1, bool)

    def set(self) -> None:
        self._bytes[:-1] = True
        if self._lock.locked():
            self._lock.release()

    def wait(self) -> None:
        """Until it is set; then it is no longer."""
        if _pool.count <= _cores:
            np.logical_or.reduce(self._looks, axis=1, out=self._seen)
        self._lock.acquire()
        self._bytes[:-1] = False


class _Worker:
    """A thread that waits for a job, does it, and says so."""

    def __init__(self) -> None:
        self._jobs: list[Callable[[], None]] = []  # one at most
        self._stopped = False
        self._go, self._done = _Signal(), _Signal()
        threading.Thread(target=self._loop, name="xpconv", daemon=True).start()

    def _loop(self) -> None:
        _inside.busy = True
        _wake_in_time()
        while not self._stopped:
            self._go.wait()
            if self._jobs:
                with suppress(IndexError):  # taken back just now
                    self._jobs.pop()()
                    self._done.set()

    def start(self, job: Callable[[], None]) -> None:
        """Give it a job."""
        self._jobs.append(job)
        self._go.set()

    def finish(self) -> None:
        """Wait until the job is done, or take it back if it was not begun."""
        try:
            self._jobs.pop()
        except IndexError:
            self._done.wait()

    def stop(self) -> None:
        """End the thread, after the job that it may have."""
        self._stopped = True
        self._go.set()


class Pool:
    """As many threads as asked for, the caller's among them."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._workers: list[_Worker] = []
        self._lock = threading.Lock()
        self._no_thread_before = -math.inf  # after the system refused a thread: time of the next try

    def run(self, task: Task, count: int, share: bool) -> None:
        """Run `task(i)` for every i below `count`, in any order; raise the first error.

        The calling thread runs all of them if it is itself inside a task, if another caller uses the threads,
        or if the system starts none.
        """
        if getattr(_inside, "busy", False):
            for i in range(count):
                task(i)
            return
        helpers = min(count, self.count) - 1 if share and not sys.is_finalizing() else 0
        if helpers < 1 or not self._lock.acquire(blocking=False):
            with one_blas_thread:
                for i in range(count):
                    task(i)
            return
        try:
            self._share(task, count, helpers)
        except BaseException:
            # For example Ctrl-C: a worker may still be running, so all of them are stopped and replaced.
            for worker in self._workers:
                worker.stop()
            self._workers = []
            raise
        finally:
            try:
                _inside.busy = False
                _restore_interval()
            finally:
                self._lock.release()

    def _add_workers(self, count: int) -> None:
        """Start workers up to `count`, or as many as the system allows.

        It refuses a thread when a container or a user has reached its limit of processes, and while the
        interpreter shuts down. Calls then work with the threads that exist.
        """
        if len(self._workers) >= count or time.monotonic() < self._no_thread_before:
            return
        try:
            while len(self._workers) < count:
                self._workers.append(_Worker())
        except RuntimeError:  # "can't start new thread"
            self._no_thread_before = time.monotonic() + RETRY

    def _share(self, task: Task, count: int, helpers: int) -> None:
        self._add_workers(helpers)
        turns = deque(range(count))
        errors: list[BaseException] = []

        def job() -> None:
            try:
                while True:
                    try:
                        i = turns.popleft()
                    except IndexError:
                        return
                    task(i)
            except BaseException as error:  # noqa: BLE001  # raised again in the caller
                turns.clear()
                errors.append(error)

        _wake_in_time()
        with one_blas_thread:
            workers = self._workers[:helpers]
            for worker in workers:
                # In the caller's context, which holds its numpy.errstate.
                worker.start(functools.partial(copy_context().run, job))
            _inside.busy = True
            _shorten_interval()
            try:
                job()
                for worker in workers:
                    worker.finish()
            finally:
                turns.clear()
        if errors:
            raise errors[0]


_cores = cores()
_pool = Pool(count_from_environment()[0])


def run(task: Task, count: int, elements: float = math.inf) -> None:
    """`task(i)` for every i below `count`: on all threads, if the `elements` to work on are worth it."""
    _pool.run(task, count, share(elements) > 1)


def share(elements: float = math.inf) -> int:
    """How many threads `run` has for so much work."""
    return _pool.count if elements >= WORTH else 1


def get_num_threads() -> int:
    """The number of threads that compute with NumPy arrays."""
    return _pool.count


def set_num_threads(count: int) -> None:
    """Use `count` threads from now on, instead of `XPCONV_NUM_THREADS`, `OMP_NUM_THREADS` or all cores."""
    number = to_int("set_num_threads: count", count, 1)
    if number > MOST:
        raise ValueError(f"set_num_threads: count is {shown(number)}, expected at most {MOST}")
    _pool.count = number


def _after_fork() -> None:
    """Reset the pool in the child of a fork: threads do not survive it, so the child starts its own."""
    global _pool, _blas_lock, _blas_users
    _restore_interval()
    _pool = Pool(_pool.count)
    _inside.busy = False
    _blas_lock = threading.Lock()
    if _blas_users and blas.set_num_threads is not None:
        blas.set_num_threads(_blas_before)
    _blas_users = 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


# --- BLAS -------------------------------------------------------------------------------------------


_blas_lock = threading.Lock()
_blas_users = 0
_blas_before = 1


class _OneBlasThread(ContextDecorator):
    """BLAS works in the calling thread alone, until the last of those who asked for it leaves."""

    def __enter__(self) -> None:
        global _blas_users, _blas_before
        if blas.set_num_threads is None:
            return
        with _blas_lock:
            if _blas_users == 0:
                _blas_before = blas.get_num_threads()
                if _blas_before > 1:
                    blas.set_num_threads(1)
            _blas_users += 1

    def __exit__(self, *error: object) -> None:
        global _blas_users
        if blas.set_num_threads is None:
            return
        with _blas_lock:
            _blas_users -= 1
            if _blas_users == 0 and _blas_before > 1:
                blas.set_num_threads(_blas_before)


one_blas_thread = _OneBlasThread()
