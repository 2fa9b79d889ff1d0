"""What `fit` prints: a progress bar for each epoch, and a row of a table after it."""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from ..arguments import to_bool
from .history import aligned, formatted
from .run import Run

REPORTS = 20  # of the bar in an epoch: each waits for the device once


def in_notebook() -> bool:
    """Whether this runs in a notebook's kernel."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return type(shell).__name__ == "ZMQInteractiveShell"


def shows(where: str, verbose: Any) -> bool:
    """Whether to print anything: `verbose`, and for None whether this is a terminal or a notebook."""
    if verbose is None:
        return in_notebook() or sys.stdout.isatty()
    return to_bool(f"{where}: verbose", verbose)


def bar_class(where: str, verbose: Any) -> Any:
    """tqdm's class on a terminal or in a notebook; else None, as if tqdm is missing and `verbose` is None."""
    if not shows(where, verbose) or not (in_notebook() or sys.stderr.isatty()):
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that a notebook has no widgets
            from tqdm.auto import tqdm
    except ImportError as cause:
        if verbose is None:
            return None
        raise ImportError(
            f"{where}: verbose=True needs tqdm for its progress bar; pip install tqdm"
        ) from cause
    return partial(tqdm, leave=False, dynamic_ncols=True, unit="batch")


def bar(where: str, data: Iterable[Any], total: int | None, verbose: Any) -> Iterable[Any]:
    """`data`, with a bar if `bar_class` has one; `total` is the number of batches, if it is known."""
    found = bar_class(where, verbose)
    return data if found is None else found(data, total=total, desc=where)


class Progress:
    """Bars and rows of `fit`."""

    on: bool
    bar_class: Any
    shown: int

    def __init__(self, where: str, verbose: Any) -> None:
        self.on, self.bar_class = shows(where, verbose), bar_class(where, verbose)
        self.bar: Any = None
        self.widths: list[int] = []

    def __enter__(self) -> None:
        pass

    def __exit__(self, *error: object) -> None:
        self._close()

    @contextmanager
    def epoch(self, run: Run) -> Iterator[None]:
        """A bar for the batches of an epoch."""
        if self.bar_class is not None:
            title = f"epoch {run.epoch}/{run.epochs}"
            self.bar = self.bar_class(total=run.batches, initial=run.batch, desc=title)
        self.shown = run.batch
        try:
            yield
        finally:
            self._close()

    def batch(self, run: Run) -> None:
        """Advance the bar, and now and then show the values so far."""
        if self.bar is None:
            return
        every = math.ceil(run.batches / REPORTS) if run.batches else 50
        if run.batch - self.shown >= every or run.batch == run.batches:
            values = {name: formatted(name, value) for name, value in run.values().items()}
            self.bar.set_postfix(values, refresh=False)
            self.bar.update(run.batch - self.shown)
            self.shown = run.batch

    def row(self, run: Run) -> None:
        """Print the values of an epoch, with `*` at those that are the best so far."""
        if not self.on:
            return
        names = [*run.history.columns, "seconds"]
        best, last = run.history._best_rows(), len(run.history) - 1
        row = run.history.rows[-1]
        cells = [formatted(name, row.get(name)) + "*" * (best.get(name) == last) for name in names[:-1]]
        cells.append(formatted("seconds", run.history.seconds[-1]))
        if len(self.widths) != len(names):
            self.widths = [max(len(name), 8 if name != "epoch" else 5) for name in names]
            print(aligned(names, self.widths))
        print(aligned(cells, self.widths), flush=True)

    def say(self, text: str) -> None:
        """Print a line."""
        if self.on:
            print(text, flush=True)

    def end(self, run: Run) -> None:
        """Say why training ended early."""
        for note in run.history._notes():
            self.say(note)

    def _close(self) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None
