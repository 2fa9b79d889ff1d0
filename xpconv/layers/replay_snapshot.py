"""The layers, settings and arrays of a model on which a recorded graph depends."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from itertools import repeat
from operator import attrgetter, contains, is_, is_not
from typing import Any

from ..parameter import Parameter
from ..random import Source, global_source
from .settings import latest_change

# Attributes to leave out; of replaced parameters it has the objects.
_OWN = ("_tapes", "_replays", "_cached_steps", "_inference", "_hooks", "_replaced", "training")


class Snapshot:
    """The layers, settings and arrays of a model at the time of a recording."""

    def __init__(self, model: Any) -> None:
        parts = list({id(part): part for _, part in model.named_layers() if part is not model}.values())
        root = weakref.proxy(model)  # the model refers to this snapshot
        self._root, self.layers, self._change = root, [root, *parts], latest_change()
        self._attributes = [vars(part) for part in parts]
        lists = [part for part in self.layers if hasattr(part, "_layers")]
        self._lists = [(part, list(part._layers.values())) for part in lists]
        entries = [
            (part, name, value)
            for part in self.layers
            for name, value in part.__dict__.items()
            if name not in _OWN and (part._is_users or _is_plain(value) or name in part.buffer_names)
        ]
        self._owners, self._names, self._values = ([entry[i] for entry in entries] for i in range(3))
        found = [value for value in self._values if isinstance(value, Parameter)]
        self.parameters = list({id(p): p for p in found}.values())
        self._arrays = [p.data for p in self.parameters]

    def is_current(self) -> bool:
        """Whether the model has the same layers, settings and arrays."""
        return (
            self._change == latest_change()
            and all(map(is_, map(getattr, self._owners, self._names, repeat(None)), self._values))
            and all(map(is_, map(attrgetter("data"), self.parameters), self._arrays))
            and all(list(part._layers.values()) == before for part, before in self._lists)
        )

    def is_special(self) -> bool:
        """Whether a layer has hooks, or functions of a user in place of its own."""
        return (
            any(map(is_not, map(attrgetter("_hooks"), self.layers), repeat(None)))
            or any(contains(self._root.__dict__, name) for name in ("forward", "backward"))
            or any(map(contains, self._attributes, repeat("forward")))
            or any(map(contains, self._attributes, repeat("backward")))
        )

    def state(self) -> tuple[Any, ...]:
        """The modes of the layers, and which parameters are frozen."""
        return (
            tuple(map(attrgetter("training"), self.layers)),
            tuple(map(attrgetter("requires_grad"), self.parameters)),
        )

    def draws(self) -> Iterator[tuple[Any, Source, dict[str, Any]]]:
        """The layers that draw random numbers, the stream that each draws from, and its counters."""
        for layer in self.layers:
            if "_source" in layer.__dict__:
                source = layer._source or global_source()
                yield layer, source, dict(source.counters)


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, Parameter | bool) or hasattr(value, "named_layers")
