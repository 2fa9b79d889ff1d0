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
MANY_AWAY = 16  # so many ranges of `_away` become one


class Changing:
    """What stores the number of the latest change of its values."""

    __slots__ = ("_away", "_changed")

    _changed: int
    _away: tuple[range, ...]  # numbers of changes between which it had other values, which it has no more

    def _note_return(self, changed: int, since: int) -> None:
        """Note that it has the values of its change `changed` again, after others since the change `since`.

        A backward is right again if its forward was before those, and an error if it was meanwhile.
        """
        with noting:
            away = *(past for past in self._away if past.stop > changed), range(since, self._changed)
            if len(away) > MANY_AWAY:
                away = (range(away[0].start, away[-1].stop),)
            _set_away(self, away)
            _set_changed(self, changed)

    def _has_changed(self, since: int) -> bool:
        """Whether its values are others than after the change of this number."""
        return self._changed > since or any(since in away for away in self._away)


_set_away, _set_changed = (Changing.__dict__[name].__set__ for name in ("_away", "_changed"))


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
