"""Inference of a `Sequential` by plans, without Python code between the array calls."""

from __future__ import annotations

from collections.abc import Callable
from itertools import repeat
from operator import attrgetter, contains, is_
from typing import Any

from ..backend import Array, backend_of
from ..errors import BackendError
from ..ops import inference as ops
from ..parameter import Parameter
from ..tape import observing
from .children import Named
from .layer import Layer
from .settings import latest_change

MOST = 256  # shapes to remember, besides those with idle plans
Step = Callable[[Array], Array]


class Inference:
    """Runs the layers of a Sequential under `no_grad` by plans, which the first forward of a shape records.

    Plans store what they compute from read-only parameters only, such as those of a fused model, and read
    other parameters at every run. Replacing an array, a setting or a layer makes new plans necessary.
    """

    def __init__(self) -> None:
        self._chain: _Chain | None = None

    def __reduce__(self) -> Any:
        return Inference, ()  # a copy of the container has other layers

    def run(self, container: Any, x: Array) -> Array:
        """The output of the container's layers, run one after the other, for `x`."""
        chain = self._chain
        if chain is None or not chain.is_up_to_date():
            chain = self._chain = _Chain(container)
        return chain.run(x)


class _Chain:
    """A snapshot of layers, and plans for sequences of them; layers that no plan can run are called."""

    def __init__(self, container: Any) -> None:
        steps = container._calls()
        tree = list(
            {id(part): part for _, part in container.named_layers() if part is not container}.values()
        )
        self.attributes = [vars(part) for part in tree]
        containers = [container, *(part for part in tree if isinstance(part, Named))]
        self.lists = [(part._layers, list(part._layers.values())) for part in containers]
        entries: list[tuple[Any, Any, Any]] = [
            (part, name, value)
            for part in tree
            for name, value in vars(part).items()
            if value is None or isinstance(value, Layer | Parameter | bool) or name in part.buffer_names
        ]
        self.owners, self.names, self.values = ([entry[i] for entry in entries] for i in range(3))
        self.parameters = [value for value in self.values if isinstance(value, Parameter)]
        self.arrays = [p.data for p in self.parameters]
        buffers = [getattr(part, name) for part in tree for name in part.buffer_names]
        self.constants = self.arrays + [array for array in buffers if array is not None]
        self.change = latest_change()
        self.steps: list[Step] = [step for step, _ in steps]
        self.may_record = [all(map(_may_record, layers)) for _, layers in steps]
        self.prepared: dict[Any, Array] | None = None
        self.plans: dict[Any, tuple[int, Step]] = {}

    def is_up_to_date(self) -> bool:
        """Whether these are still the layers, settings and parameters that the plans were made with."""
        return (
            self.change == latest_change()
            and all(map(is_, map(getattr, self.owners, self.names, repeat(None)), self.values))
            and all(map(is_, map(attrgetter("data"), self.parameters), self.arrays))
            and all(list(layers.values()) == before for layers, before in self.lists)
            and not any(map(contains, self.attributes, repeat("forward")))
        )

    def run(self, x: Array) -> Array:
        """The output of the layers, run one after the other, for `x`."""
        i = 0
        while i < len(self.steps):
            count, function = self._from(i, x)
            x = function(x)
            i += count
        return x

    def _from(self, i: int, x: Array) -> tuple[int, Step]:
        """The number of steps from `i` on that run as one plan, and the function that runs them."""
        shape = getattr(x, "shape", ())
        if len(shape) < 2 or 0 in shape:
            return 1, self.steps[i]
        key = i, shape[1:], x.dtype, type(x), ops.setting()
        found = self.plans.get(key)
        if found is None:
            if len(self.plans) >= MOST:
                self.plans = {k: plan for k, plan in self.plans.items() if not _is_idle(plan[1])}
            found = self.plans[key] = self._plan(i, x)
        return found

    def _plan(self, i: int, x: Array) -> tuple[int, Step]:
        last = i
        while last < len(self.steps) and self.may_record[last]:
            last += 1
        try:
            xp = backend_of(x).xp
        except BackendError:
            return 1, self.steps[i]
        if self.prepared is None:
            self.prepared = ops.prepared_arrays(xp)
        if self.prepared is None or last == i:
            return 1, self.steps[i]
        count, function = ops.plans(self.steps[i:last], x, self.constants, self.prepared, observing)
        return (1, self.steps[i]) if function is None else (count, function)


def _may_record(layer: Layer) -> bool:
    """Whether the layer and those in it are this package's, in inference mode, without hooks."""
    return not any(
        part.training or part._is_users or part._hooks is not None or "forward" in vars(part)
        for _, part in layer.named_layers()
    )


def _is_idle(function: Any) -> bool:
    """Whether `function` is a method of a layer, or its pool holds no plan."""
    return not hasattr(function, "is_idle") or bool(function.is_idle())
