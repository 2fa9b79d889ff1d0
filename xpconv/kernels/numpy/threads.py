"""A thread pool for blocks of arrays, with BLAS at one thread inside.

NumPy's loops and BLAS release the interpreter lock, so threads run at once as long as each call is long:
give blocks of tens of microseconds at least. Idle threads sleep, and outside a call of `run` or
`one_blas_thread` nothing in the process is changed.

A signal handler, a destructor or a callback may call `run` at any point, also within another call of it, and
an exception such as `KeyboardInterrupt` may be raised at any point. So there are no locks here: every step
that changes shared state is one call of a built-in method, which is atomic, and is repeated without harm.
"""

from __future__ import annotations

import math
import os
import threading
import time
from _thread import start_new_thread
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from queue import SimpleQueue
from typing import Any, TypeVar

from ...arguments import shown, to_int
from . import blas
from .cores import cores

Task = Callable[[int], None]
Result = TypeVar("Result")

WORTH = 1 << 20  # elements from which a second thread is worth waking
MOST = 4096  # largest number of threads
PRODUCTS = 8  # multiplications in a matrix product that take as long as one element elsewhere
RETRY = 1.0  # seconds after which a thread that could not be started is tried again


def count_from_environment() -> tuple[int, str]:
    """The number of threads to start with, and the variable that gives it; by default one for each core."""
    own, openmp = "XPCONV_NUM_THREADS", "OMP_NUM_THREADS"
    text = os.environ.get(own, "").strip()
    if text:
        if not text.isdecimal() or int(text) < 1:
            raise ValueError(f"environment variable {own} is {text!r}, expected a number from 1")
        return int(text), own
    first = os.environ.get(openmp, "").partition(",")[0].strip()  # OpenMP takes a list, one a level
    return (int(first), openmp) if first.isdecimal() and int(first) else (cores(), "")


class _Job:
    """The turns `task(0), task(1), …` of a call of `run`, which its caller and workers take one by one."""

    def __init__(self, task: Task, count: int) -> None:
        self.task = task
        self.turns = deque(range(count))
        self.context = copy_context()  # the caller's, which holds its numpy.errstate
        self.workers: list[None] = []  # an entry for every worker that may be in a task
        self.left: SimpleQueue[None] = SimpleQueue()  # an item for every worker that has left
        self.errors: list[BaseException] = []

    def run(self, helpers: int) -> None:
        """All turns; when it returns or raises, no worker is in a task any more."""
        try:
            for queue in _pool.queues(helpers):
                queue.put(self)
            self._take_turns()
            self._wait()
        except BaseException:
            self.turns.clear()
            self._wait()
            raise
        finally:
            del self.task  # a worker that is late finds no turn, and keeps no array alive
        if self.errors:
            raise self.errors.pop()

    def help(self) -> None:
        """What a worker does."""
        self.workers.append(None)  # before it takes a turn: `_wait` sees it in time
        try:
            self.context.copy().run(self._take_turns)
        except BaseException as error:  # noqa: BLE001  # raised again in the caller
            self.turns.clear()
            self.errors.append(error)
        self.workers.pop()
        self.left.put(None)

    def _take_turns(self) -> None:
        while True:
            try:
                turn = self.turns.popleft()
            except IndexError:
                return
            self.task(turn)

    def _wait(self) -> None:
        """Until all workers have left, also if Ctrl-C comes meanwhile."""
        try:
            while self.workers:
                self.left.get()
        except BaseException:
            self.turns.clear()
            self._wait()
            raise


def _serve(queue: SimpleQueue[_Job | None]) -> None:
    """A worker: a thread that the interpreter does not wait for at exit."""
    while job := queue.get():
        job.help()
        del job


class Pool:
    """The workers of this process, each with a queue of its own."""

    def __init__(self, count: int) -> None:
        self.count = count  # of threads, the caller's among them
        self.workers: dict[int, SimpleQueue[_Job | None]] = {}
        self.retry = -math.inf  # after the system refused a thread: time of the next try

    def queues(self, count: int) -> list[SimpleQueue[_Job | None]]:
        """Of `count` workers, or of as many as the system starts.

        It refuses a thread when a container or a user has reached its limit of processes, and while the
        interpreter shuts down.
        """
        workers = self.workers
        for number in range(count):
            if number not in workers and time.monotonic() >= self.retry:
                try:
                    self._start(number)
                except RuntimeError:  # "can't start new thread"
                    self.retry = time.monotonic() + RETRY
        return [workers[number] for number in range(count) if number in workers]

    def _start(self, number: int) -> None:
        queue: SimpleQueue[_Job | None] = SimpleQueue()
        try:
            if self.workers.setdefault(number, queue) is queue:  # else another caller starts it
                start_new_thread(_serve, (queue,))  # atomic, which Thread.start is not
        except BaseException:
            if self.workers.get(number) is queue:
                del self.workers[number]
            queue.put(None)  # ends the thread if it was started
            raise


_local = threading.local()
_pool = Pool(count_from_environment()[0])


def run(task: Task, count: int, elements: float = math.inf) -> None:
    """`task(i)` for every i below `count`: on all threads, if the `elements` to work on are worth it.

    In any order; the first error is raised. A worker that is busy with another call does not help.
    """
    helpers = min(count, share(elements)) - 1
    if helpers > 0:
        one_blas_thread(_Job(task, count).run, helpers)
    else:
        one_blas_thread(_run_alone, task, count)


def _run_alone(task: Task, count: int) -> None:
    for i in range(count):
        task(i)


def share(elements: float = math.inf) -> int:
    """How many threads `run` has for so much work."""
    return _pool.count if elements >= WORTH and not getattr(_local, "alone", False) else 1


@contextmanager
def alone(one: bool = True) -> Iterator[None]:
    """Within this block, `share` gives this thread no others: they are busy with the same."""
    before = getattr(_local, "alone", False)
    _local.alone = one
    try:
        yield
    finally:
        _local.alone = before


def get_num_threads() -> int:
    """The number of threads that compute with NumPy arrays."""
    return _pool.count


def set_num_threads(count: int) -> None:
    """Use `count` threads from now on, instead of `XPCONV_NUM_THREADS`, `OMP_NUM_THREADS` or all cores."""
    number = to_int("set_num_threads: count", count, 1)
    if number > MOST:
        raise ValueError(f"set_num_threads: count is {shown(number)}, expected at most {MOST}")
    _pool.count = number


_callers: set[object] = set()  # calls of `one_blas_thread` that have not ended
_lowered: dict[object, int] = {}  # BLAS's number of threads before a call set it to 1


def one_blas_thread(function: Callable[..., Result], *args: Any) -> Result:
    """`function(*args)`, while BLAS computes in the calling thread alone.

    Where several threads are here at once, the last one to leave restores BLAS's number of threads. This is a
    function and no context manager, as Ctrl-C may come before the first line of an `__exit__`.
    """
    if blas.set_num_threads is None:
        return function(*args)
    caller = object()
    try:
        _callers.add(caller)
        count = blas.get_num_threads()
        if count > 1:
            _lowered[caller] = count
            blas.set_num_threads(1)
        result = function(*args)
        _leave(caller)
        return result
    except BaseException:
        _leave(caller)
        raise


def _leave(caller: object) -> None:
    """Forget the caller; restore BLAS's number of threads if it was the last one."""
    _callers.discard(caller)
    lowered = list(_lowered.items())  # first: none of these calls is going on if there are no callers then
    if not _callers:
        for other, count in lowered:
            blas.set_num_threads(count)
            _lowered.pop(other, None)


def _after_fork() -> None:
    """In the child of a fork, where there is one thread: it starts workers of its own."""
    global _pool
    _pool = Pool(_pool.count)
    _callers.clear()
    _leave(None)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
