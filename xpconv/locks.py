"""The locks of what threads that share one model change."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import repeat

update = threading.RLock()  # held while a sum or a statistic that threads share is updated
loading = threading.RLock()  # held while the parameters of a model are replaced, one after the other
noting = threading.RLock()  # held while a change gets its number, and what has changed notes it


class Loads:
    """How many replacements have begun and ended; if neither changes, a forward is of one state."""

    begun = ended = 0


loads: Loads = Loads()


class Changes:
    """Counts changes of parameters' values, and replacements of a layer's parameters.

    Each parameter and layer stores the number of its latest change, and a tape that of the latest change
    before its forward ended. A change is recorded before it is made, since Ctrl-C may end it half-way, and
    after it, since another thread's forward may end in between.
    """

    latest = 0


changes: Changes = Changes()


class Changing:
    """What stores the number of the latest change of its values."""

    __slots__ = ("_changed",)

    _changed: int


_set_changed = Changing.__dict__["_changed"].__set__


def note_changes(parameters: Iterable[Changing]) -> None:
    """Record that the values of these change, so that a backward of an earlier forward is an error.

    It has to be called before the change and after it: see `Changes`.
    """
    with noting:
        changes.latest += 1
        for _ in map(_set_changed, parameters, repeat(changes.latest)):
            pass


@contextmanager
def replacing() -> Iterator[None]:
    """Within this block this thread replaces parameters; forwards that meet it run again, after it."""
    with loading:
        loads.begun += 1
        try:
            yield
        finally:
            loads.ended += 1


if hasattr(os, "register_at_fork"):  # a child must not inherit a lock from another thread that holds it
    # The last one registered is acquired first, so the innermost, `noting`, is registered first.
    for lock in (noting, update, loading):
        os.register_at_fork(before=lock.acquire, after_in_parent=lock.release, after_in_child=lock.release)
