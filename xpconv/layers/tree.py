"""Checks of a tree of layers: names, what cannot be parted, and layers where nothing would find them."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator
from typing import Any

COLLECTIONS = (list, tuple, dict, set, frozenset, deque)

ELSEWHERE = {  # what PyTorch's modules have under another name
    "add_module": "set it: model[name] = layer, or layer.name = other",
    "register_module": "set it: model[name] = layer, or layer.name = other",
    "register_parameter": "set it: self.name = xpconv.Parameter(array, 'name')",
    "register_buffer": "set it, and list its name in the class: buffer_names = ('name',)",
    "register_forward_hook": "there are no hooks: put the work into a layer of your own",
    "register_full_backward_hook": "there are no hooks: put the work into a layer of your own",
    "buffers": "buffers are in state_dict(), by name",
    "named_buffers": "buffers are in state_dict(), by name",
    "cuda": "use layer.to('cupy')",
    "cpu": "use layer.to('numpy')",
    "float": "use layer.to(dtype='float32')",
    "double": "use layer.to(dtype='float64')",
    "half": "use layer.to(dtype='float16')",
    "bfloat16": "use layer.to(dtype='bfloat16')",
}


def check_plain(layer: Any, name: str, value: Collection[Any], parts: tuple[type, ...]) -> None:
    """A TypeError if one of `parts` is anywhere in `value`, a collection that is the attribute `name`."""
    for place, part in _search(value, parts):
        if isinstance(part, parts):
            raise TypeError(
                f"{type(layer).__name__}: attribute {name} is a {type(value).__name__} with a "
                f"{type(part).__name__} in it (at {name}{place}); this is not searched for parameters, so it "
                "would not be trained. Make a list a ModuleList and a dict a ModuleDict (inner ones too), or "
                "a Sequential, or give each an attribute of its own"
            )


def _search(value: Collection[Any], parts: tuple[type, ...]) -> Iterator[tuple[str, Any]]:
    """All of `parts` and all collections in a collection, with their places; each is entered once."""
    waiting: list[tuple[str, Any]] = [("", value)]
    entered = {id(value)}
    while waiting:
        place, held = waiting.pop()
        for entry, part in _relevant(held, parts):
            yield place + entry, part
            if isinstance(part, COLLECTIONS) and id(part) not in entered:
                entered.add(id(part))
                waiting.append((place + entry, part))


def _relevant(held: Any, parts: tuple[type, ...]) -> Iterator[tuple[str, Any]]:
    """What is in one collection, but for numbers and the like: those go by in C."""
    values = held.values() if isinstance(held, dict) else held
    kinds = parts + COLLECTIONS
    if any(issubclass(kind, kinds) for kind in set(map(type, values))):
        keys = held if isinstance(held, dict) else range(len(held))
        for key, part in zip(keys, values, strict=True):
            if isinstance(part, kinds):
                yield ("" if isinstance(held, set | frozenset) else f"[{key!r}]"), part
    if isinstance(held, dict) and any(issubclass(kind, kinds) for kind in set(map(type, held))):
        for key in held:
            if isinstance(key, kinds):
                yield ".keys()", key


def name_taken(layer: Any, name: str) -> ValueError:
    """The error where a part is to be called as something else is already."""
    kind = "a method" if callable(getattr(type(layer), name, None)) else "an attribute"
    whose = type(layer).__name__
    return ValueError(f"{whose}: {name!r} is the name of {kind} of {whose}; give the layer another name")


def check_whole(holder: Any, layers: list[Any]) -> None:
    """After `fuse`, a layer and what was folded into it go together: what stands there is what runs."""
    parts = [part for layer in layers for _, part in layer.named_layers()]
    carried = {number for part in parts for number in part._carries}
    folded = {part._folded for part in parts if part._folded is not None}
    if carried != folded:
        raise ValueError(
            f"{type(holder).__name__}: this model is from fuse(), which has put a BatchNorm or ReLU into the "
            "layer before: neither can be replaced or taken out without the other, and nothing can come "
            "between; change the model from before fuse(), and fuse again"
        )
