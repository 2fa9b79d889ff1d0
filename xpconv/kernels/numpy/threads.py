"""Work on all cores: a few long-lived threads over blocks of arrays, with BLAS at one thread inside.

NumPy's loops and BLAS release the interpreter lock, so threads run at once as long as each call is long:
give blocks of tens of microseconds at least. A sleeping thread takes as long to wake up.
"""

from __future__ import annotations

import ctypes
import functools
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from glob import glob
from pathlib import Path
from typing import Any

import numpy as np

Task = Callable[[int], None]

_inside = threading.local()  # .busy: this thread works on a block, and must not ask others for help


def _count_from_environment() -> int:
    for name in ("XPCONV_NUM_THREADS", "OMP_NUM_THREADS"):
        text = os.environ.get(name)
        if text:
            if not text.isdecimal() or int(text) < 1:
                raise ValueError(f"environment variable {name} is {text!r}, expected a number from 1")
            return int(text)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _Worker:
    """A thread that waits for a job, does it, and says so."""

    def __init__(self) -> None:
        self.job: Callable[[], None] = lambda: None
        self._go, self._done = threading.Lock(), threading.Lock()
        self._go.acquire()
        self._done.acquire()
        threading.Thread(target=self._loop, name="xpconv", daemon=True).start()

    def _loop(self) -> None:
        _inside.busy = True
        while True:
            self._go.acquire()
            self.job()
            self._done.release()

    def start(self, job: Callable[[], None]) -> None:
        self.job = job
        self._go.release()

    def wait(self) -> None:
        self._done.acquire()
        self.job = lambda: None


class Pool:
    """As many threads as asked for, the caller's among them."""

    def __init__(self) -> None:
        self.count = _count_from_environment()
        self._workers: list[_Worker] = []
        self._lock = threading.Lock()

    def run(self, task: Task, count: int) -> None:
        """`task(i)` for every i below `count`, in any order, on all threads; the first error comes back.

        From inside a task, or while another caller has the threads, it runs right here.
        """
        helpers = min(count, self.count) - 1
        if helpers < 1 or getattr(_inside, "busy", False) or not self._lock.acquire(blocking=False):
            with one_blas_thread():
                for i in range(count):
                    task(i)
            return
        try:
            self._share(task, count, helpers)
        finally:
            self._lock.release()

    def _share(self, task: Task, count: int, helpers: int) -> None:
        while len(self._workers) < helpers:
            self._workers.append(_Worker())
        turns = iter(range(count))
        errors: list[BaseException] = []

        def job() -> None:
            try:
                for i in turns:  # next() of a range is atomic: each i goes to one thread
                    task(i)
            except BaseException as error:  # noqa: BLE001  # raised again in the caller
                errors.append(error)

        with one_blas_thread():
            workers = self._workers[:helpers]
            for worker in workers:  # in the caller's context, which holds its numpy.errstate
                worker.start(functools.partial(copy_context().run, job))
            _inside.busy = True
            try:
                job()
            finally:
                _inside.busy = False
                for worker in workers:
                    worker.wait()
        if errors:
            raise errors[0]


_pool = Pool()


def run(task: Task, count: int) -> None:
    """`task(i)` for every i below `count`, on all threads."""
    _pool.run(task, count)


def get_num_threads() -> int:
    """Number of threads that NumPy arrays are worked on with."""
    return _pool.count


def set_num_threads(count: int) -> None:
    """Use `count` threads from now on, instead of `XPCONV_NUM_THREADS`, `OMP_NUM_THREADS` or all cores."""
    if count < 1:
        raise ValueError(f"set_num_threads: count is {count}, expected at least 1")
    _pool.count = count


def _after_fork() -> None:
    """Threads do not survive a fork; the child starts its own."""
    global _pool
    count = _pool.count
    _pool = Pool()
    _pool.count = count
    _inside.busy = False


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


# --- BLAS -------------------------------------------------------------------------------------------


def _find_openblas() -> tuple[Any, Any] | None:
    """`(get, set)` of the number of threads of the OpenBLAS that NumPy's wheel brings, if it is there."""
    folder = Path(np.__file__).parent
    for path in glob(str(folder.parent / "numpy.libs" / "*openblas*")) + glob(
        str(folder / ".dylibs" / "*openblas*")
    ):
        library = ctypes.CDLL(path)
        for prefix, suffix in (("scipy_", "64_"), ("", "64_"), ("scipy_", ""), ("", "")):
            get = getattr(library, f"{prefix}openblas_get_num_threads{suffix}", None)
            put = getattr(library, f"{prefix}openblas_set_num_threads{suffix}", None)
            if get is not None and put is not None:
                return get, put
    return None


_openblas = _find_openblas()
_blas_lock = threading.Lock()
_blas_users = 0
_blas_before = 1


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """BLAS works in the calling thread alone, until the last of those who asked for it leaves."""
    global _blas_users, _blas_before
    if _openblas is None:
        yield
        return
    get, put = _openblas
    with _blas_lock:
        if _blas_users == 0:
            _blas_before = get()
            if _blas_before > 1:
                put(1)
        _blas_users += 1
    try:
        yield
    finally:
        with _blas_lock:
            _blas_users -= 1
            if _blas_users == 0 and _blas_before > 1:
                put(_blas_before)
