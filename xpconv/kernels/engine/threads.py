"""A thread pool for blocks of arrays, with BLAS at one thread inside.

NumPy's loops and BLAS release the interpreter lock, so threads run at once as long as each call is long:
give blocks of tens of microseconds at least. Idle threads sleep.

A signal handler, a destructor or a callback may call `run` at any point, also within another call of it, and
an exception such as `KeyboardInterrupt` may be raised at any point. So there are no locks here: every step
that changes shared state is one call of a built-in method, which is atomic, and is repeated without harm.
"""

from __future__ import annotations

import itertools
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
from typing import Any

from ...arguments import shown, to_int
from ...cores import count_from_environment
from .blas import one_blas_thread

Task = Callable[[int], None]

WORTH = 1 << 20  # elements from which a second thread is worth waking
MOST = 4096  # largest number of threads
PRODUCTS = 8  # multiplications in a matrix product that take as long as one element elsewhere
RETRY = 1.0  # seconds after which a thread that could not be started is tried again


class _Job:
    """The turns `task(0), task(1), …` of a call of `run`, which its caller and workers take one by one."""

    def __init__(self, task: Task, count: int) -> None:
        self.task: Any = task
        self.turns = deque(range(count))
        self.context: Any = copy_context()  # the caller's, which holds its numpy.errstate
        self.workers: list[None] = []  # an entry for every worker that may be in a task
        self.left: SimpleQueue[None] = SimpleQueue()  # an item for every worker that has left
        self.errors: list[BaseException] = []

    def run(self, helpers: int) -> None:
        """All turns; when it returns or raises, no worker is in a task any more."""
        try:
            pool.jobs.add(self)
            for queue in pool.queues(helpers):
                queue.put(self)
            self._take_turns()
            self._finish()
        except BaseException:
            self._finish()
            raise
        if self.errors:
            raise self.errors.pop()

    def help(self) -> None:
        """What a worker does."""
        self.workers.append(None)  # before it takes a turn, so that `_finish` waits for it
        try:
            if self.turns:  # else the call may have ended
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

    def _finish(self) -> None:
        """Wait until all workers have left, also if Ctrl-C comes meanwhile; then let go of all arrays."""
        try:
            self.turns.clear()
            while self.workers:
                self.left.get()
            pool.jobs.discard(self)
            self.task = self.context = None  # a worker that is late has no use for them
        except BaseException:
            self._finish()
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
        self.jobs: set[_Job] = set()  # those going on
        self.retry: float = -math.inf  # after the system refused a thread: time of the next try

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


class Local(threading.local):
    """What `setting` has set for this thread."""

    times: float = 1  # factor of the least work for which `share` uses other threads; `inf`: never
    count = 0  # of threads to divide work for, on which the rounding of sums depends; 0: that of the pool


local: Local = Local()
pool: Pool = Pool(count_from_environment()[0])


def run(task: Task, count: int, elements: float = math.inf) -> None:
    """`task(i)` for every i below `count`: on all threads, if the `elements` to work on are worth it.

    In any order; the first error is raised. A worker that is busy with another call does not help.
    """
    helpers = min(count, share(elements), pool.count) - 1
    if helpers > 0:
        one_blas_thread(_Job(task, count).run, helpers)
    else:
        one_blas_thread(_run_alone, task, count)


def _run_alone(task: Task, count: int) -> None:
    for i in range(count):
        task(i)


def share(elements: float = math.inf) -> int:
    """How many threads `run` has for this amount of work."""
    return (local.count or pool.count) if elements >= WORTH * local.times else 1


def part(i: int, count: int, size: int) -> slice:
    """The i-th of `count` parts of 0…size, which are as equal as possible."""
    return slice(i * size // count, (i + 1) * size // count)


def even(size: int, most: int, parts: int) -> list[tuple[int, int]]:
    """Cut 0…size into slices of at most `most`, with the same number in each of the `parts`, if possible.

    The slices of a part have at most two lengths, the longer ones first.
    """
    count = -(-size // most)
    count = min(size, -(-count // parts) * parts)
    parts = min(parts, count)
    ends = [0]
    for part in range(parts):
        last = size * (part + 1) // parts
        slices = count * (part + 1) // parts - count * part // parts
        for left in range(slices, 0, -1):
            ends.append(ends[-1] - (ends[-1] - last) // left)
    return list(itertools.pairwise(ends))


@contextmanager
def setting(name: str, value: float) -> Iterator[None]:
    """Within this block, an attribute of `local` has this value."""
    before = getattr(local, name)
    setattr(local, name, value)
    try:
        yield
    finally:
        setattr(local, name, before)


def get_num_threads() -> int:
    """The number of threads among which work on NumPy arrays is divided."""
    return local.count or pool.count


def set_num_threads(count: int) -> None:
    """Use `count` threads from now on, instead of `XPCONV_NUM_THREADS`, `OMP_NUM_THREADS` or all cores."""
    number = to_int("set_num_threads: count", count, 1)
    if number > MOST:
        raise ValueError(f"set_num_threads: count is {shown(number)}, expected at most {MOST}")
    pool.count = number


def _after_fork() -> None:
    """In the child of a fork, which has no workers: it starts its own.

    If it was forked by a signal handler or the like in the middle of a job, the job cannot be finished.
    """
    global pool
    jobs = list(pool.jobs)
    pool = Pool(pool.count)
    for job in jobs:
        job.errors.append(RuntimeError("a process that was forked within a kernel cannot finish that kernel"))
        job.turns.clear()
        job.workers.clear()
        job.left.put(None)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
