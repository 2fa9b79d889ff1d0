"""Sums of the loss and the metrics on the device, from which a report computes the values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..arguments import shown
from ..arrays import asarray, asnumpy
from ..backend import Array, Backend, ignore_underflow
from ..errors import ShapeError, StateDictError
from .metric_names import TAKEN, is_real
from .metrics import Metric
from .objective import Batch, Objective


class Totals:
    """Sums over the batches so far, by name, all in one float64 vector on the device.

    `more` has the names and numbers of sums besides those of the first batch.
    """

    def __init__(self, more: Mapping[str, int] | None = None) -> None:
        self.layout: dict[str, list[int]] = {}  # name: the size of each of its sums; 0 for a number
        self.vector: Array = None
        self._more = dict(more or {})
        self._parts: dict[str, list[Array]] = {}

    def add(self, xp: Any, new: Mapping[str, Sequence[Any]]) -> None:
        """Add the sums of a batch, in place; the first call decides the sizes."""
        if self.vector is None:
            self.layout = {name: _lengths(name, parts) for name, parts in new.items()}
            self.layout.update({name: [0] * count for name, count in self._more.items()})
            self._place(xp.zeros(self._size(), dtype="float64"))
        for name, parts in new.items():
            lengths = _lengths(name, parts)
            if lengths != self.layout[name]:
                raise ShapeError(
                    f"metric {name}: sums() returned parts of lengths {lengths} (0: a number) after "
                    f"{self.layout[name]}, expected the same for every batch"
                )
            for place, part in zip(self._parts[name], parts, strict=True):
                place += part  # a view: in place

    def __getitem__(self, name: str) -> list[Array]:
        """The sums of this name, on the device: views of shape (1,) or (n,)."""
        return self._parts[name]

    def _size(self) -> int:
        return sum(n or 1 for sizes in self.layout.values() for n in sizes)

    def _place(self, vector: Array) -> None:
        self.vector, self._parts = vector, self._views(vector)

    def _views(self, vector: Any) -> dict[str, list[Any]]:
        """The parts of a vector by name."""
        found: dict[str, list[Any]] = {}
        start = 0
        for name, sizes in self.layout.items():
            found[name] = []
            for size in sizes:
                found[name].append(vector[start : start + (size or 1)])
                start += size or 1
        return found

    def reset(self) -> None:
        """Begin again, in the same memory, whose address a captured step uses."""
        if self.vector is not None:
            self.vector[...] = 0.0

    def read(self) -> dict[str, list[Any]]:
        """The sums by name, as floats and NumPy arrays; the one time that the host waits for the device."""
        if self.vector is None:
            return {}
        views = self._views(asnumpy(self.vector).copy())
        return {
            name: [
                part if size else float(part[0]) for part, size in zip(parts, self.layout[name], strict=True)
            ]
            for name, parts in views.items()
        }

    def state_dict(self) -> dict[str, Any]:
        """The sums and their sizes."""
        vector = None if self.vector is None else asnumpy(self.vector).copy()
        return {"layout": {name: list(sizes) for name, sizes in self.layout.items()}, "sums": vector}

    def fits(self, where: str, state: Any, names: Iterable[str], epoch: int | None) -> bool:
        """Whether the state is one of sums with these names; within an epoch an error if it is not."""
        expected = {*names, *self._more}
        layout = state.get("layout") if isinstance(state, Mapping) else None
        if not isinstance(layout, Mapping) or "sums" not in state:
            raise StateDictError(f"{where}: the sums are {shown(state)}, expected those of Totals")
        vector = state["sums"]
        size = sum(n or 1 for sizes in layout.values() for n in sizes)
        if vector is None:
            return True
        if set(layout) != expected:
            if epoch is None:
                return False
            here, there = (", ".join(sorted(map(str, some))) or "none" for some in (expected, layout))
            raise StateDictError(
                f"{where}: it was saved within epoch {epoch}, with the values {there}; this run has {here}"
                "; give the metrics and clip_grad_norm of that run until the epoch ends, or resume from the "
                "end of an epoch"
            )
        if size != len(vector):
            raise StateDictError(f"{where}: there are {len(vector)} sums, expected {size}")
        return True

    def load_state_dict(self, state: Mapping[str, Any], backend: str) -> None:
        """Continue from what `state_dict` returned."""
        if state["sums"] is None:
            self.reset()
            return
        layout = {str(name): [int(n) for n in sizes] for name, sizes in state["layout"].items()}
        vector = asarray(asnumpy(state["sums"]).copy(), "float64", backend=backend)
        if self.vector is not None and layout == self.layout:
            self.vector[...] = vector
        else:
            self.layout = layout
            self._place(vector)


def _lengths(name: str, parts: Any) -> list[int]:
    """The length of each sum, 0 for a number."""
    shapes = [getattr(part, "shape", ()) for part in parts] if isinstance(parts, tuple | list) else None
    if shapes is None or any(len(shape) > 1 for shape in shapes) or not all(map(is_real, parts)):
        raise ShapeError(
            f"metric {name}: sums() returned {shown(parts)}, expected a tuple of numbers and 1-d arrays"
        )
    return [int(shape[0]) if shape else 0 for shape in shapes]


def _number(name: str, value: Any) -> float:
    """A value of a metric."""
    try:
        return float(value)
    except (TypeError, ValueError):
        raise TypeError(
            f"metric {name}: value() returned {shown(value)}, expected a number, or a dict of numbers"
        ) from None


def _check_new(metric: Metric, value: Mapping[str, float], taken: set[str]) -> None:
    """Raise an error if a metric returns values under names of others."""
    twice = [str(name) for name in value if str(name) in taken or str(name).startswith("valid_")]
    if twice:
        raise ValueError(
            f"metric {metric.name}: value() returned {', '.join(map(repr, twice))}, expected names that no "
            "other value in the history has; begin them with the name of the metric"
        )


class Meter:
    """Adds up the loss and the metrics of batches."""

    objective: Objective
    metrics: Sequence[Metric]

    def __init__(
        self, objective: Objective, metrics: Sequence[Metric], backend: Backend, norm: bool = False
    ) -> None:
        self.objective, self.metrics = objective, metrics
        self.totals: Totals = Totals({"grad_norm": 2} if norm else None)
        self.communicator: Any = None  # of several processes, whose sums are added
        self.modes: dict[str, str | None] = {metric.name: metric.mode for metric in metrics}
        self._xp, self._on_host = backend.xp, backend.name == "numpy"

    @property
    def names(self) -> list[str]:
        """The names of the sums."""
        return ["loss"] * (self.objective.loss is not None) + [metric.name for metric in self.metrics]

    def add(self, output: Any, batch: Batch) -> tuple[Any, Any, Any]:
        """Add the loss and the metrics of a batch.

        Returns:
            the loss, the divisor of its mean, and the mean of that divisor over all processes.
        """
        inputs, targets, weight = self.objective.split(batch)
        if not hasattr(output, "shape"):
            raise TypeError(
                f"{self.objective.where}: the model returns a {type(output).__name__}, expected one array: "
                "fit computes the gradient of one output only"
            )
        sums: dict[str, Any] = {}
        loss, count = None, None
        if self.objective.loss is not None:
            loss, count = self.objective(output, targets, weight, len(inputs[0]))
            sums["loss"] = self._of_loss(loss, count)
        if self.metrics:
            with ignore_underflow(self._xp):
                for metric in self.metrics:
                    sums[metric.name] = metric.sums(output, *targets)
        mean = count
        if self.communicator is not None:
            sums, mean = self._joint(sums, count if len(inputs[0]) else 0, len(inputs[0]))
        self.totals.add(self._xp, sums)
        return loss, count, mean

    def _joint(
        self, sums: Mapping[str, Sequence[Any]], count: Any, samples: int
    ) -> tuple[dict[str, Any], Any]:
        """The sums over all processes, and the mean of `count`."""
        lengths = {name: _lengths(name, parts) for name, parts in sums.items()}
        vector = self._xp.zeros(1 + sum(n or 1 for sizes in lengths.values() for n in sizes), "float64")
        vector[0] = 0 if count is None else count
        joint: dict[str, list[Any]] = {}
        start = 1
        for name, sizes in lengths.items():
            joint[name] = []
            for part, size in zip(sums[name], sizes, strict=True):
                place = vector[start : start + (size or 1)]
                if samples:  # of none the mean is NaN
                    place[...] = part
                joint[name].append(place if size else place.reshape(()))
                start += size or 1
        self.communicator.total(vector, f"fit: add up {', '.join(lengths)} of a batch")
        return joint, vector[0] / self.communicator.size

    def _of_loss(self, loss: Any, count: Any) -> tuple[Any, Any]:
        """The sum of the losses of a batch, and the number of them."""
        if getattr(loss, "shape", ()) != ():
            raise ShapeError(
                f"{self.objective.where}: the loss has shape {tuple(loss.shape)}, expected a number: a mean "
                "or a sum"
            )
        if not is_real(loss):
            raise TypeError(
                f"{self.objective.where}: the loss returned {shown(loss)}, expected a number: a mean or a sum"
            )
        if not hasattr(loss, "astype") or self._on_host:
            total, count = float(loss), float(count)
        else:
            total = loss.astype("float64")
        if self.objective.reduction == "sum":
            return total, count
        if isinstance(count, int | float):
            return (total * count, count) if count else (0.0, 0)
        return self._xp.where(count == 0, 0.0, total * count), count

    def values(self) -> dict[str, float]:
        """The loss and the metrics of all batches so far; waits for the device."""
        sums = self.totals.read()
        found: dict[str, float] = {}
        for name in ("loss", "grad_norm"):
            if name in sums:
                total, count = sums[name]
                found[name] = total / count if count else float("nan")
        norm = {"grad_norm": found.pop("grad_norm")} if "grad_norm" in found else {}
        for metric in self.metrics if sums else ():
            value = metric.value(*sums[metric.name])
            if isinstance(value, Mapping):
                _check_new(metric, value, {*found, *norm, *TAKEN})
                found.update({str(name): _number(metric.name, v) for name, v in value.items()})
                self.modes.update(dict.fromkeys(map(str, value), metric.mode))
            else:
                found[metric.name] = _number(metric.name, value)
        return {**found, **norm}
