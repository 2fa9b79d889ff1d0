"""Threads that make batches in advance, and return them in order.

Ctrl-C, a signal handler or a destructor may run between any two steps, so there are no locks here: threads
pass jobs and results through `SimpleQueue`, whose methods are atomic.
"""

from __future__ import annotations

import atexit
import math
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple, TypeAlias
from weakref import WeakSet, ref

Jobs: TypeAlias = Iterator[tuple[int, Any]]
Make: TypeAlias = Callable[[int, Any], Any]
EXIT_SECONDS = 1.0  # for which the interpreter waits at its exit for threads that are making a batch


class Made(NamedTuple):
    """What a thread has made: batch `number`, or the error in its place."""

    number: int
    batch: Any = None
    error: BaseException | None = None


Ticket: TypeAlias = "SimpleQueue[Made | None]"  # where a batch is put once it is made; None after the last


def in_order(
    jobs: Callable[[int], Jobs], make: Make, first: int, workers: int, restartable: bool = True
) -> Generator[tuple[int, Any], None, None]:
    """`(number, make(number, part))` for each `(number, part)` of `jobs(first)`, in that order.

    With workers, both are called in threads, and at most `workers + 1` results are made or being made while
    the caller has the one before. An error is raised in the place of its result. When the iterator ends, for
    whatever reason, no thread is left. In the child of a fork, which has no threads, new ones make the rest,
    if `jobs` is `restartable`.
    """
    if not workers:
        for number, part in jobs(first):
            yield number, make(number, part)
        return
    while True:
        team, made = _Team(jobs(first), make), None
        try:
            team.start(workers)
            while team.is_here() and (made := team.next()) is not None:
                if made.error is not None:
                    raise made.error
                first = made.number + 1
                yield made.number, made.batch
                made = None  # while it waits, the batch belongs to the caller alone
        finally:
            made = None
            team.close()
        if team.is_here():
            return
        if not restartable:
            raise RuntimeError(
                "batches: a process that was forked in the middle of a loop with workers over an iterable "
                "cannot continue it; begin the loop after the fork"
            )


class _Team:
    """The threads of one iterator, and the results that it has requested.

    They hold no reference to it: if it is gone without a `close`, as after Ctrl-C within that, they end.
    """

    def __init__(self, jobs: Jobs, make: Make) -> None:
        self._turn: SimpleQueue[Jobs] = SimpleQueue()  # holds `jobs` while no thread takes one
        self._turn.put(jobs)
        self._tickets: SimpleQueue[Any] = SimpleQueue()  # for the threads, in order; anything else ends them
        self._pending: deque[Ticket] = deque()  # the same tickets, for the caller
        self._threads: list[threading.Thread] = []
        self._process = os.getpid()
        self._work = partial(_work, self._turn, self._tickets, make, ref(self, self._tickets.put))

    def is_here(self) -> bool:
        """Whether this is the process of the threads, and not a child of it."""
        return os.getpid() == self._process

    def start(self, workers: int) -> None:
        teams.add(self)
        for _ in range(workers + 1):
            self._ask()
        for i in range(workers):
            run = copy_context().run  # the caller's context, such as `use_backend`
            thread = threading.Thread(target=run, args=(self._work,), name=f"batches-{i}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def next(self) -> Made | None:
        """The next result; waits for it, and requests another one."""
        made = self._pending.popleft().get()
        self._ask()
        return made

    def close(self, until: float = math.inf) -> None:
        """End the threads and wait for them, but not longer than `until`. Each ends what it is making."""
        if not self.is_here():
            return
        try:
            self._end()
            if sys.is_finalizing():  # they do not run any more
                return
            for thread in self._threads:
                if thread.is_alive() and thread is not threading.current_thread():
                    thread.join(None if until == math.inf else max(0.0, until - time.monotonic()))
        except BaseException:
            self._end()
            raise

    def _end(self) -> None:
        with suppress(Empty):
            while True:
                self._tickets.get_nowait()
        self._tickets.put(None)

    def _ask(self) -> None:
        ticket: Ticket = SimpleQueue()
        self._pending.append(ticket)
        self._tickets.put(ticket)


def _work(turn: SimpleQueue[Jobs], tickets: SimpleQueue[Any], make: Make, _: object) -> None:
    """What a thread does. Who has the turn takes a ticket and a job, so that both are in order."""
    while True:
        jobs = turn.get()
        ticket = tickets.get()
        if not isinstance(ticket, SimpleQueue):
            tickets.put(None)  # for the next thread
            turn.put(jobs)
            return
        try:
            job, error = next(jobs, None), None
        except BaseException as raised:  # noqa: BLE001  # raised again in the caller
            job, error = None, raised
        turn.put(jobs)
        if job is not None:
            ticket.put(_made(make, *job))
        else:
            ticket.put(None if error is None else Made(-1, error=error))
        del jobs, ticket, job, error  # while it waits, they belong to the caller alone


def _made(make: Make, number: int, part: Any) -> Made:
    try:
        return Made(number, make(number, part))
    except BaseException as error:  # noqa: BLE001  # raised again in the caller
        return Made(number, error=error)


teams: WeakSet[_Team] = WeakSet()


@atexit.register
def _close_all() -> None:
    """End all threads before the interpreter does, which stops them anywhere."""
    until = time.monotonic() + EXIT_SECONDS
    for team in list(teams):
        team.close(until)
