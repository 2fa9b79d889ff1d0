"""The checkpoints of a run in a folder: the last ones, and the best."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from ..arguments import to_size
from .atomic import to_path
from .checkpoint import save

NAME = "checkpoint-{:08d}.safetensors"
BEST = "best.safetensors"


class Checkpoints:
    """Files of `save` in a folder, of which the last ones and the best are kept.

    They are called `checkpoint-00000120.safetensors`, by a number that increases, such as that of steps, and
    `best.safetensors`.

    Args:
        folder: is made if there is none.
        last: the number of checkpoints to keep, besides the best; None keeps all.

    Example:
        >>> import tempfile, xpconv
        >>> checkpoints = Checkpoints(tempfile.mkdtemp(), last=2)
        >>> for epoch, loss in enumerate([0.5, 0.3, 0.4, 0.35]):
        ...     path = checkpoints.save(epoch, {"epoch": epoch}, best=loss == 0.3)
        >>> [os.path.basename(path) for path in checkpoints.paths()]
        ['checkpoint-00000002.safetensors', 'checkpoint-00000003.safetensors']
        >>> xpconv.load(checkpoints.latest()), xpconv.load(checkpoints.best())
        ({'epoch': 3}, {'epoch': 1})
    """

    def __init__(self, folder: str | os.PathLike[str], last: int | None = 3) -> None:
        self.folder = to_path("Checkpoints", folder)
        self.last = None if last is None else to_size("Checkpoints: last", last)

    def save(self, number: int, things: Mapping[str, Any], best: bool = False) -> str:
        """Save `things` under a number; with `best` also as the best. Returns the path.

        Then older checkpoints are removed, and those with a higher number: they are of a run that was
        continued from an earlier checkpoint. If the process is killed, the checkpoints before are there.
        """
        os.makedirs(self.folder, exist_ok=True)
        path = os.path.join(self.folder, NAME.format(number))
        if best:  # first: a run that goes on from the checkpoint before makes it again
            save(os.path.join(self.folder, BEST), **things)
        save(path, **things)
        numbers = self._numbers()
        before = [n for n in numbers if n <= number]
        stale = [] if self.last is None else before[: -self.last]
        for n in [*stale, *(n for n in numbers if n > number)]:
            with suppress(FileNotFoundError):
                os.remove(numbers[n])
        return path

    def paths(self) -> list[str]:
        """The checkpoints, from the earliest to the latest."""
        return list(self._numbers().values())

    def latest(self) -> str | None:
        """The checkpoint with the highest number; None if there is none."""
        return next(reversed(self.paths()), None)

    def best(self) -> str | None:
        """The best one; None if there is none."""
        path = os.path.join(self.folder, BEST)
        return path if os.path.isfile(path) else None

    def _numbers(self) -> dict[int, str]:
        """The paths by number, in order."""
        try:
            names = os.listdir(self.folder)
        except FileNotFoundError:
            return {}
        found = [re.fullmatch(r"checkpoint-(\d{8,18})\.safetensors", name) for name in names]
        numbers = {int(match[1]): os.path.join(self.folder, match[0]) for match in found if match}
        return dict(sorted(numbers.items()))
