"""`fit` in several processes, each on its part of every batch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from ..data.batches import batches
from ..distributed import Communicator
from ..distributed.parallel import checked, join
from ..distributed.processes import launched
from ..distributed.sharing import Shares, share_in_place
from .run import Run


def communicator_of(optimizer: Any) -> Communicator | None:
    """That of `distributed.parallel`, or a new one if there are several processes; else None."""
    if optimizer._averaging is not None:
        found: Communicator = optimizer._averaging.communicator
        return found
    if not launched():
        return None
    found = Communicator()
    return found if found.size > 1 else None


@contextmanager
def together(run: Run) -> Iterator[None]:
    """Within this block the processes train the model together, on samples of their own.

    Callbacks that write files are called in the first process alone. `batches` that were shared before stay
    as they are.
    """
    communicator = run.communicator
    if communicator is None:
        yield
        return
    for name, value in _arguments(run).items():
        communicator.meet(f"fit: begin with {name} {value}")
    separate = None
    if run.optimizer._averaging is None:
        separate = join(run.model, run.optimizer, checked(run.model, run.optimizer, communicator))
    sources = {id(data): data for data in (run.train, run.valid)}.values()
    shared = [data for data in sources if isinstance(data, batches) and data._part is None]
    for data in shared:
        share_in_place(data, communicator)
    if communicator.rank:
        run.callbacks = [c for c in run.callbacks if not getattr(c, "first_process_only", False)]
    try:
        yield
    finally:
        if separate is not None:
            separate()
        for data in shared:
            data._part = None


def _arguments(run: Run) -> dict[str, Any]:
    """What must be alike in all processes: arguments by name, and how far a resumed run has come."""
    parts = {name: type(getattr(run, name)).__name__ for name in ("loss", "schedule", "scaler", "ema")}
    return {
        **parts,
        "reduction": run.meter.objective.reduction,
        "values": ", ".join(run.meter.names),
        "epochs": run.epochs,
        "steps": run.steps,
        "valid": "data" if run.valid is not None else None,
        "accumulate": run.timetable.group,
        "clip_grad_norm": run.step.clip,
    }


def own_part(data: Iterable[Any], run: Run) -> Iterable[Any]:
    """The samples of this process, of data that `together` has not shared already."""
    if run.communicator is None or isinstance(data, batches | Shares):
        return data
    return Shares(data, run.communicator)
