"""The loop of `fit`: epochs, batches and validation."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from itertools import islice
from typing import Any

from ..backend import Array
from ..data.batches import batches
from ..distributed.seeds import separate_seeds
from ..errors import ShapeError
from .evaluate import measure
from .graphs import Graphs
from .meter import Meter
from .objective import Batch, fed, length_of
from .progress import Progress
from .run import INTERRUPTED, Run, is_stateful, place_restored
from .timetable import Timetable
from .together import own_part


class Loop:
    """The epochs and the batches in them."""

    run: Run
    group: int
    timetable: Timetable
    progress: Progress
    size: int
    warned: bool

    def __init__(self, run: Run, group: int, timetable: Timetable, progress: Progress) -> None:
        self.run, self.group, self.timetable, self.progress = run, group, timetable, progress
        self.size = 0  # the number of arrays in a batch
        self.warned = False
        self.graphs: Graphs = Graphs("fit", run, self._step)
        objective = run.meter.objective
        self.valid_meter: Meter = Meter(objective, run.meter.metrics, run.backend)
        run.meter.communicator = self.valid_meter.communicator = run.communicator
        objective.may_be_empty = run.communicator is not None
        stateful = is_stateful(run.valid) and run.valid is not run.train
        self.valid_state: Any | None = run.valid.state_dict() if stateful else None
        if isinstance(run.valid, batches) and self.valid_state is not None:
            self.valid_state["batch"] = 0  # all batches, also after a loop that was left before its end
        self.early: list[Any] = [c for c in run.callbacks if callable(getattr(c, "on_batch_begin", None))]
        self.late: list[Any] = [c for c in run.callbacks if callable(getattr(c, "on_batch_end", None))]

    def run_epochs(self) -> None:
        """All epochs that are left."""
        run = self.run
        run.batches = length_of(run.train)
        within = run.within  # resumed there
        while run.stop is None and (within or run.epoch < run.epochs):
            if run.is_interrupted("its end"):  # after an epoch
                run.stop = INTERRUPTED
                break
            start = time.perf_counter()
            if not within:
                run.epoch, run.batch, run.trained = run.epoch + 1, 0, False
                run.meter.totals.reset()
                if run.communicator is not None:
                    separate_seeds(run.model, run.communicator, run.epoch)
            run.call("on_epoch_begin")
            if run.stop is None:
                self._train(within)
            within = False
            if run.stop is not None or not self._end_epoch(start):
                self.end_partial()
        if run.interrupted or run.within:
            run.call("on_interrupt")

    def _train(self, resumed: bool) -> None:
        """The batches of an epoch."""
        run = self.run
        run.model.train()
        self.graphs.look()
        waiting: list[Batch] = []
        with self.progress.epoch(run):
            for batch in self._source(resumed):
                waiting.append(self._checked(batch))
                if len(waiting) == self.group:
                    self._advance(waiting)
                    waiting = []
                    if run.stop is not None:
                        return
            run.trained = True
            if waiting:
                self._advance(waiting)
        if not run.batch:
            again = "; it gave some in epoch 1: does its __iter__ begin again?" if run.epoch > 1 else ""
            raise ValueError(f"fit: train gave no batches in epoch {run.epoch}{again}")

    def _source(self, resumed: bool) -> Iterator[Any]:
        run = self.run
        if run.trained:
            return iter(())
        if resumed and not is_stateful(run.train):
            return islice(own_part(run.train, run), run.batch, None)
        return iter(fed(own_part(run.train, run), run.backend))  # a resumed one continues

    def _checked(self, batch: Any) -> Batch:
        run = self.run
        arrays = run.meter.objective.checked(batch, run.backend, "train")
        if len(arrays) != self.size:
            if self.size:
                raise ShapeError(
                    f"fit: train gave a batch of {len(arrays)} arrays after batches of {self.size}; expected "
                    "the same number in all"
                )
            self.size = len(arrays)
        return arrays

    def _step(self, *arrays: Array) -> None:
        size = self.size
        self.run.step([arrays[i : i + size] for i in range(0, len(arrays), size)])

    def _advance(self, group: Sequence[Batch]) -> None:
        """One update, from a group of batches."""
        run = self.run
        run.group = group
        for callback in self.early:
            callback.on_batch_begin(run)
        run.lr = run.optimizer.param_groups[0]["lr"]
        if self.graphs.on:
            self.graphs(*(array for batch in group for array in batch))
        else:
            run.step(group)
        run.batch += len(group)
        run.steps += 1
        self.timetable.after_step()
        for callback in self.late:
            callback.on_batch_end(run)
        if run.is_interrupted(f"after batch {run.batch}") and run.stop is None:
            run.stop = INTERRUPTED
        self.progress.batch(run)

    def _end_epoch(self, start: float) -> bool:
        """Validation and the row of this epoch; False if it was interrupted."""
        run = self.run
        row = {"epoch": run.epoch, "lr": run.lr, **run.values()}
        run.history.note_modes(run.meter.modes)
        if run.valid is not None:
            found = self._validate()
            if found is None:
                run.stop = INTERRUPTED
                return False
            row.update({f"valid_{name}": value for name, value in found.items()})
            run.history.note_modes(self.valid_meter.modes, "valid_")
        seconds = time.perf_counter() - start
        run.history.append(row, seconds)
        self.timetable.after_epoch(row)
        run.logs = {**row, "seconds": seconds}
        if run.interrupted:
            run.stop = INTERRUPTED
        run.call("on_epoch_end")
        if run.communicator is not None and run.is_interrupted("after callbacks") and run.stop is None:
            run.stop = INTERRUPTED
        self._warn(row)  # after the callbacks, which may raise an error that says more
        self.progress.row(run)
        return True

    def _warn(self, row: dict[str, float]) -> None:
        """Warn once of a loss that is not finite; `TerminateOnNaN` does so itself for that of training."""
        watched = self.run.step.failed is not None
        names = ["valid_loss"] if watched else ["loss", "valid_loss"]
        found = next((name for name in names if not math.isfinite(row.get(name, 0.0))), None)
        if found is None or self.warned:
            return
        self.warned = True
        more = ""
        if not watched:
            more = (
                "; with callbacks=[xpconv.train.TerminateOnNaN()] training stops before the first NaN or "
                "infinity gets into the model, and says in which layer it was"
            )
        warnings.warn(
            f"fit: {found} is {row[found]} in epoch {self.run.epoch}; look for NaN and very large values in "
            f"the data, or make the learning rate smaller{more}",
            RuntimeWarning,
            stacklevel=6,
        )

    def _validate(self) -> dict[str, float] | None:
        run = self.run
        run.model.eval()
        self.valid_meter.totals.reset()
        if self.valid_state is not None:  # the same order, and random changes, in each epoch
            run.valid.load_state_dict(self.valid_state)
        shared = run.valid is run.train  # the next epoch of training begins where it would without this one
        with (
            place_restored(run.train) if shared else nullcontext(),
            nullcontext() if run.ema is None else run.ema.average_parameters(),
        ):
            done = measure(
                run.model,
                self.valid_meter,
                fed(own_part(run.valid, run), run.backend),
                run.backend,
                "valid",
                lambda: run.is_interrupted("a batch of valid"),
            )
        return self.valid_meter.values() if done else None

    def end_partial(self) -> None:
        """Note the values of an epoch that is not finished."""
        run = self.run
        if run.batch and run.within:
            run.history.partial = {"epoch": run.epoch, "batch": run.batch, **run.values()}
