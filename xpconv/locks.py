"""The locks of what threads that share one model change."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

update = threading.RLock()  # held while a sum or a statistic that threads share is updated
loading = threading.RLock()  # held while the parameters of a model are replaced, one after the other


class Loads:
    """How many replacements have begun and ended; if neither changes, a forward is of one state."""

    begun = ended = 0


loads: Loads = Loads()


class Changes:
    """Counts changes of parameters' values; each parameter stores the number of its latest change."""

    latest = 0


changes: Changes = Changes()


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
    for lock in (update, loading):
        os.register_at_fork(before=lock.acquire, after_in_parent=lock.release, after_in_child=lock.release)
