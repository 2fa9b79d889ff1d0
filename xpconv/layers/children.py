"""Base classes of containers: access to their layers by name and by position."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, TypeVar

from ..arguments import shown
from .layer import Layer
from .tree import check_whole, name_taken

Self = TypeVar("Self", bound="Listed")


class Named(Layer):
    """An ordered container of named layers, which can be read, replaced, added and removed by name."""

    listed: ClassVar[tuple[str, ...]] = ("_layers",)
    _is_fused = False

    def __init__(self) -> None:
        self._layers: dict[str, Layer] = {}

    def children(self) -> dict[str, Layer]:
        return {**super().children(), **self._layers}

    def __len__(self) -> int:
        return len(self._layers)

    def __getitem__(self, key: Any) -> Any:
        return self._named(key)[1]

    def __setitem__(self, key: Any, layer: Layer) -> None:
        found = self._find(self._name(key))
        if found is not None and found[0] is not self:
            setattr(found[0], key, layer)
        else:
            self._add(key, layer)

    def __delitem__(self, key: Any) -> None:
        home, layer = self._named(key)
        if home is self and key in self._layers:
            check_whole(self, [layer])
            del self._layers[key]
        else:
            delattr(home, key)

    def __setattr__(self, name: str, value: Any) -> None:
        """As in PyTorch, an assigned layer replaces the container's layer of this name or is appended."""
        found = self._find(name)
        if found is not None and found[0] is not self:
            setattr(found[0], name, value)
        elif name in vars(self).get("_layers", {}):
            self._add(name, value)
        elif isinstance(value, Layer):
            if name in vars(self) and vars(self)[name] is None:
                del vars(self)[name]  # a None in place of a layer
            self._add(name, value)
        else:
            super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        found = self._find(name)
        if name in vars(self) or found is None or not isinstance(found[1], Layer):
            super().__delattr__(name)
        else:
            del self[name]

    def __getstate__(self) -> dict[str, Any]:
        """Copy the dict of layers, so that replacing a layer of a shallow copy leaves the original alone."""
        state = super().__getstate__()
        state.pop("_cached_steps", None)
        state.pop("_inference", None)
        return {**state, "_layers": dict(self._layers)} if "_layers" in state else state

    def __dir__(self) -> list[str]:
        names = [name for name in vars(self).get("_layers", {}) if name.isidentifier()]
        return sorted({*super().__dir__(), *names})

    def _find(self, name: str) -> tuple[Layer, Any] | None:
        layers = vars(self).get("_layers", {})
        if name in layers:
            return self, layers[name]
        return super()._find(name) or (layers[""]._find(name) if "" in layers else None)

    def _named(self, name: Any) -> tuple[Layer, Layer]:
        """The pair of the layer that holds the name and the layer of that name.

        A KeyError if there is none.
        """
        found = self._find(self._name(name))
        if found is None or not isinstance(found[1], Layer):
            names = ", ".join(filter(None, self._layers)) or "none"
            raise KeyError(f"{type(self).__name__}: there is no layer {name!r}; there are: {names}")
        return found

    def _name(self, key: Any) -> str:
        if isinstance(key, str):
            return key
        raise TypeError(f"{type(self).__name__}: the key is {shown(key)}, expected a layer's name")

    def _add(self, name: str, layer: object) -> None:
        """Replace the layer of this name, or append the layer under it."""
        if "_layers" not in vars(self):
            raise TypeError(f"{type(self).__name__}: call super().__init__() before setting layers")
        self._check_layer(name, layer)
        if not isinstance(name, str) or "." in name:
            raise ValueError(
                f"{type(self).__name__}: a layer is called {name!r}, expected a name without dots, since "
                "dots join the names in the state dict"
            )
        if name in self._layers:
            check_whole(self, [self._layers[name]])
        else:
            self._check_name(name)
            self._check_open(len(self._layers))
        self._layers[name] = layer  # type: ignore[assignment]  # checked

    def _check_layer(self, name: object, layer: object) -> None:
        if isinstance(layer, Layer):
            return
        hint = "; make an instance of it" if isinstance(layer, type) else ""
        if isinstance(layer, str):
            hint = "; children() maps names to layers: use model[:-1] or children().values()"
        elif isinstance(layer, tuple) and len(layer) == 2 and isinstance(layer[1], Layer):
            hint = "; with names, give a mapping: dict(model.named_children())"
        if isinstance(name, str) and name in self._layers:
            hint += f"; to remove the layer: del model[{name!r}]"
        raise TypeError(f"{type(self).__name__}: layer {name} is {shown(layer)}, expected a Layer{hint}")

    def _check_name(self, name: str) -> None:
        if name and (hasattr(type(self), name) or name in vars(self)):
            raise name_taken(self, name)

    def _check_open(self, index: int) -> None:
        """Raise a ValueError if a layer at `index` would separate layers that `fuse` folded."""
        if self._is_fused:
            layers = list(self._layers.values())
            check_whole(self, layers[:index] or [self])
            check_whole(self, layers[index:])


class Listed(Named):
    """A container whose layers have names and, like the items of a list, positions."""

    def __init__(self, *layers: Layer | Sequence[Layer] | Mapping[str, Layer]) -> None:
        super().__init__()
        items: object = layers[0] if len(layers) == 1 else layers
        if isinstance(items, Mapping):
            for name, layer in items.items():
                self._add(name, layer)
            return
        for layer in items if isinstance(items, Sequence) else layers:
            self._add(str(len(self._layers)), layer)

    def __iter__(self) -> Iterator[Layer]:
        return iter(self._layers.values())

    def __contains__(self, item: object) -> bool:
        if isinstance(item, str):
            return item in self._layers
        return any(layer is item for layer in self._layers.values())

    def __getitem__(self, key: int | str | slice) -> Any:
        if isinstance(key, slice):
            chosen = dict(list(self._layers.items())[key])
            check_whole(self, list(chosen.values()))
            return type(self)(chosen)
        return super().__getitem__(key) if isinstance(key, str) else self._layers[self._name(key)]

    def __setitem__(self, key: int | str, layer: Layer) -> None:
        if isinstance(key, str):
            super().__setitem__(key, layer)
        elif isinstance(key, slice):
            raise TypeError(f"{type(self).__name__}: set layers one by one, not by a slice")
        else:
            self._add(self._name(key), layer)

    def __delitem__(self, key: int | str | slice) -> None:
        if isinstance(key, str):
            super().__delitem__(key)
            return
        removed = list(self._layers)[key] if isinstance(key, slice) else [self._name(key)]
        check_whole(self, [self._layers[name] for name in removed])
        self._set_items([(name, layer) for name, layer in self._layers.items() if name not in removed])

    def pop(self, key: int | str | slice) -> Any:
        """Remove a layer by position or name and return it; a slice returns a container of several layers.

        As with `del model[i]`, numbered layers are renumbered, and layers with other names are not.
        """
        layer = self[key]
        del self[key]
        return layer

    def append(self: Self, layer: Layer) -> Self:
        """Add a layer at the end; returns the container."""
        self._add(self._free_name(), layer)
        return self

    def extend(self: Self, layers: Iterable[Layer]) -> Self:
        """Add layers at the end, in order; returns the container."""
        if isinstance(layers, Mapping) or not isinstance(layers, Iterable) or hasattr(layers, "shape"):
            kind = type(layers).__name__
            raise TypeError(f"{type(self).__name__}.extend: layers is {kind}, expected a list of layers")
        new = list(layers)
        for i, layer in enumerate(new):
            self._check_layer(f"{i} to add", layer)
        for layer in new:
            self.append(layer)
        return self

    def insert(self: Self, index: int, layer: Layer) -> Self:
        """Insert a layer before the one at `index`; returns the container.

        Numbered layers are renumbered; layers with other names are not.
        """
        whose = type(self).__name__
        self._check_layer("to insert", layer)
        count = len(self)
        try:
            number = operator.index(index)
        except TypeError:
            raise TypeError(f"{whose}.insert: index is {index!r}, expected a position") from None
        if not -count <= number <= count:
            raise IndexError(f"{whose}.insert: index {number} is out of range, there are {count} layers")
        items = list(self._layers.items())
        number += count if number < 0 else 0
        self._check_open(number)
        items.insert(number, (self._free_name(), layer))
        self._set_items(items)
        return self

    def _free_name(self) -> str:
        number = len(self._layers)
        while str(number) in self._layers:  # the layers of a slice have the names that they had before
            number += 1
        return str(number)

    def _name(self, key: Any) -> str:
        """The name of the layer at a position; negative ones count from the end."""
        if isinstance(key, str):
            return key
        names, whose = list(self._layers), type(self).__name__
        try:
            number = operator.index(key)
        except TypeError:
            kind = type(key).__name__
            raise TypeError(f"{whose}: index is {kind}, expected a position, a name or a slice") from None
        if not -len(names) <= number < len(names):
            raise IndexError(f"{whose}: index {number} is out of range, there are {len(names)} layers")
        return names[number]

    def _set_items(self, items: list[tuple[str, Layer]]) -> None:
        """Replace all layers, in the same dict, which plans hold.

        Renumber them if all names are numbers.
        """
        if all(name.isdecimal() for name, _ in items):
            items = [(str(i), layer) for i, (_, layer) in enumerate(items)]
        self._layers.clear()
        self._layers.update(items)
