"""The tree of layers: children, parameters and names; errors for layers in places that are not searched."""

from __future__ import annotations

import inspect
from collections import ChainMap, UserDict, UserList, deque
from collections.abc import Callable, Collection, Iterator, Mapping, ValuesView
from functools import cache
from types import MappingProxyType
from typing import Any, ClassVar, Generic, TypeVar, cast

from ..parameter import Parameter
from .elsewhere import ELSEWHERE
from .settings import Settings, note_change

L = TypeVar("L", bound="Tree[Any]")  # `Layer`, a subclass that is defined later
Self = TypeVar("Self", bound="Tree[Any]")

MAPPINGS = (dict, UserDict, ChainMap, MappingProxyType)
COLLECTIONS = (list, tuple, set, frozenset, deque, UserList, ValuesView, *MAPPINGS)
_is_one: Callable[[type, tuple[type, ...]], bool] = cache(issubclass)  # which takes long for abstract classes


def check_plain(layer: Any, name: str, value: Collection[Any], parts: tuple[type, ...]) -> None:
    """Raise a TypeError if `value`, the collection in attribute `name`, holds one of `parts` at any depth."""
    for place, part in _search(value, parts):
        if isinstance(part, parts):
            raise TypeError(
                f"{type(layer).__name__}: attribute {name} is a {type(value).__name__} with a "
                f"{type(part).__name__} in it (at {name}{place}); this is not searched for parameters, so it "
                "would not be trained. Use a ModuleList or Sequential instead of a list and a ModuleDict "
                "instead of a dict (inner ones too), or assign each layer to its own attribute"
            )


@cache
def _some(types: frozenset[type], parts: tuple[type, ...]) -> bool:
    """Whether one of the `types` is a collection or one of `parts`."""
    return any(issubclass(kind, parts + COLLECTIONS) for kind in types)


def _search(value: Collection[Any], parts: tuple[type, ...]) -> Iterator[tuple[str, Any]]:
    """Yield the place and value of each of `parts` and each collection in `value`, at any depth.

    A collection that occurs more than once is searched once.
    """
    waiting: list[tuple[str, Any]] = [("", value)]
    entered = {id(value)}
    while waiting:
        place, held = waiting.pop()
        for entry, part in _relevant(held, parts):
            yield place + entry, part
            if _is_one(type(part), COLLECTIONS) and id(part) not in entered:
                entered.add(id(part))
                waiting.append((place + entry, part))


def _relevant(held: Any, parts: tuple[type, ...]) -> Iterator[tuple[str, Any]]:
    """Yield the `parts` and collections directly in `held`, with their places; cheap for lists of numbers."""
    is_mapping = _is_one(type(held), MAPPINGS)
    values = held.values() if is_mapping else held
    if _some(frozenset(map(type, values)), parts):
        keys = held if is_mapping else range(len(held))
        for key, part in zip(keys, values, strict=True):
            if isinstance(part, parts + COLLECTIONS):
                yield ("" if isinstance(held, set | frozenset | ValuesView) else f"[{key!r}]"), part
    if is_mapping and _some(frozenset(map(type, held)), parts):
        for key in held:
            if isinstance(key, parts + COLLECTIONS):
                yield ".keys()", key


def name_taken(layer: Any, name: str) -> ValueError:
    """The error for a layer or parameter with the name of a method or another attribute."""
    kind = "a method" if callable(getattr(type(layer), name, None)) else "an attribute"
    whose = type(layer).__name__
    return ValueError(f"{whose}: {name!r} is the name of {kind} of {whose}; give the layer another name")


def check_whole(holder: Any, layers: list[Any]) -> None:
    """Raise a ValueError if, after `fuse`, a change would separate a layer from those folded into it.

    `layers` are the layers that the change moves or removes together.
    """
    parts = [part for layer in layers for _, part in layer.named_layers()]
    carried = {number for part in parts for number in part._carries}
    folded = {part._folded for part in parts if part._folded is not None}
    if carried != folded or not carried.issuperset(n for part in parts for n in part._between):
        raise ValueError(
            f"{type(holder).__name__}: this model is from fuse(), which has folded a BatchNorm or ReLU into "
            "the layer before it: neither can be taken, replaced or removed without the other, and no layer "
            "can be put, replaced or removed between them; change the original model, and fuse that again"
        )


def is_folded_later(layer: Any) -> bool:
    """Whether `fuse` has folded a layer after `layer` into what computes the output of `layer`."""
    parts = [part for _, part in layer.named_layers()]
    folded = {part._folded for part in parts}
    return any(number not in folded for part in parts for number in (*part._carries, *part._between))


def join(*names: str) -> str:
    """The names joined by dots; empty names are left out."""
    return ".".join(filter(None, names))


class Renamed(str):
    """A path to a layer, some arrays of which have other names in the state dict."""

    names: Mapping[str, str]  # whole names, by attribute

    def __new__(cls, path: str, names: Mapping[str, str]) -> Renamed:
        self = super().__new__(cls, path)
        self.names = names
        return self


def array_name(path: str, attribute: str) -> str:
    """The name in the state dict of the parameter or buffer `attribute` of the layer at `path`."""
    if isinstance(path, Renamed) and attribute in path.names:
        return path.names[attribute]
    return join(path, attribute)


class Tree(Settings, Generic[L]):
    """The part of `Layer` that finds parameters, and layers `L`, among its attributes."""

    training: bool = True
    buffer_names: ClassVar[tuple[str, ...]] = ()
    lazy: bool = False  # whether the parameters are made in the first forward
    _thawed_mode: bool | None = None  # while frozen in inference mode: the value of `training` after thawing
    _dtype_later: Any = None  # dtype of a lazy layer's parameters; None takes that of the first input
    listed: ClassVar[tuple[str, ...]] = ()  # attributes with collections of layers that `children` returns
    _carries: tuple[int, ...] = ()  # numbers of the layers that `fuse` folded into this one
    _folded: int | None = None  # of a placeholder: the number of the layer that was folded
    _between: tuple[int, ...] = ()  # numbers of later layers that were folded into earlier ones

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "requires_grad":
            raise AttributeError(
                f"{type(self).__name__}: requires_grad is an attribute of parameters; freeze all those of a "
                "layer with layer.requires_grad_(False)"
            )
        if name in ("forward", "backward"):
            note_change()
        old = vars(self).get(name)
        if isinstance(old, PARTS) or isinstance(value, PARTS):
            self._check_part(name, old, value)
        elif name in vars(self):
            value = self._set_again(name, old, value)
        if isinstance(old, Parameter) or isinstance(value, Parameter):
            self._replace(name, value)
        else:
            super().__setattr__(name, value)

    def __getattr__(self, name: str) -> Any:
        """Called for missing attributes: look in the child with the name "", which adds no prefix."""
        if hasattr(type(self), name):  # a property that raised an AttributeError
            return super().__getattribute__(name)
        found = None if name.startswith("__") else self._find(name)
        if found is None:
            kind = type(self).__name__
            hint = f"; {ELSEWHERE[name]}" if name in ELSEWHERE else ""
            raise AttributeError(f"{kind!r} object has no attribute {name!r}{hint}", name=name, obj=self)
        return found[1]

    def children(self) -> dict[str, L]:
        """The layers directly below this one, by name. The name `""` adds no prefix to the names below it."""
        found: dict[str, Any] = {name: v for name, v in vars(self).items() if isinstance(v, Tree)}
        return found

    def named_children(self) -> Iterator[tuple[str, L]]:
        """Names and layers of `children()`, each layer once."""
        seen: set[int] = set()
        for name, layer in self.children().items():
            if id(layer) not in seen:
                seen.add(id(layer))
                yield name, layer

    def modules(self) -> Iterator[L]:
        """This layer and all layers below it, each once.

        Example:
            >>> import xpconv
            >>> model = xpconv.Sequential(xpconv.Dense(4, 3), xpconv.ReLU())
            >>> [type(layer).__name__ for layer in model.modules()]
            ['Sequential', 'Dense', 'ReLU']
        """
        for _, layer in self.named_layers():
            yield layer

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, L]]:
        """The same as `named_layers`, under PyTorch's name."""
        return self.named_layers(prefix)

    def apply(self: Self, function: Callable[[L], Any]) -> Self:
        """Call `function(layer)` for all layers below, then for this one, as in PyTorch; returns the layer.

        Raises:
            TypeError: `function` is not callable, or is a layer.

        Example:
            >>> import xpconv
            >>> def start(layer):
            ...     if isinstance(layer, xpconv.Dense):
            ...         xpconv.init.constant_(layer.bias, 0)
            >>> model = xpconv.Sequential(xpconv.Dense(2, 2), xpconv.ReLU()).apply(start)
            >>> model[0].bias.data
            array([0., 0.], dtype=float32)
        """
        if not callable(function) or isinstance(function, Tree):
            raise TypeError(
                f"{type(self).__name__}.apply: function is {type(function).__name__}, expected a function of "
                "a layer; to run the model: model(x)"
            )
        for _, layer in self.named_children():
            layer.apply(function)
        function(cast(L, self))
        return self

    def named_layers(self, prefix: str = "") -> Iterator[tuple[str, L]]:
        """This layer and all layers below it with dotted names, each layer once."""
        seen: set[int] = set()
        for name, layer in self._walk(prefix):
            if id(layer) not in seen:
                seen.add(id(layer))
                yield name, layer

    def _running_order(self) -> list[L]:
        """The layers directly below this one, in the order in which they run as far as it is known."""
        return list(self.children().values())

    def _as_they_run(self) -> list[tuple[int, str, L]]:
        """The layers of `named_layers`, with their numbers there, in the order in which they run."""
        order: dict[int, int] = {}
        waiting: list[Any] = [self]
        while waiting:
            layer = waiting.pop()
            if id(layer) not in order:
                order[id(layer)] = len(order)
                waiting += reversed(layer._running_order())
        numbered = [(i, name, layer) for i, (name, layer) in enumerate(self.named_layers())]
        return sorted(numbered, key=lambda item: order[id(item[2])])

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """All parameters with dotted names, in PyTorch's order; a shared parameter once.

        Raises:
            TypeError: an attribute of a layer is a list or the like that holds a layer, as in `parameters()`.

        Example:
            >>> import xpconv
            >>> model = xpconv.Sequential(xpconv.Dense(4, 3), xpconv.ReLU(), xpconv.Dense(3, 2, bias=False))
            >>> [name for name, _ in model.named_parameters()]
            ['0.weight', '0.bias', '2.weight']
        """
        self._check_collections()
        yield from self._named_parameters()

    def _named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """`named_parameters` without a look into collections, for what runs in each step."""
        seen: set[int] = set()
        for prefix, layer in self.named_layers():
            for name, value in vars(layer).items():
                if isinstance(value, Parameter) and id(value) not in seen:
                    seen.add(id(value))
                    yield array_name(prefix, name), value

    def parameters(self) -> list[Parameter]:
        """All parameters, each once, for an optimizer.

        Raises:
            RuntimeError: a lazy layer has no parameters yet, so they would never be trained: run one
                forward first.
            TypeError: an attribute of a layer is a list, tuple, dict or set that holds a layer or a
                `Parameter`, at any depth: these would never be trained.

        Example:
            >>> import xpconv
            >>> [p.shape for p in xpconv.Dense(4, 3).parameters()]
            [(3, 4), (3,)]
        """
        self._check_collections()
        for name, layer in self.named_layers():
            if layer.lazy:
                where = f" (layer {name})" if name else ""
                raise RuntimeError(
                    f"{type(self).__name__}.parameters: {type(layer).__name__}{where} has no parameters "
                    "before its first forward; run one first: `with xpconv.no_grad(): model(x[:1])`"
                )
        return [parameter for _, parameter in self._named_parameters()]

    def _check_collections(self) -> None:
        """Raise a TypeError if a layer or parameter is in a list or another plain collection."""
        for layer in self.modules():
            for name, value in vars(layer).items():
                if _is_one(type(value), COLLECTIONS) and value and name not in layer.listed:
                    check_plain(layer, name, value, PARTS)

    def _learns(self) -> bool:
        """Whether any parameter here or below requires a gradient."""
        return any(parameter.requires_grad for _, parameter in self._named_parameters())

    def _walk(self, prefix: str, above: tuple[int, ...] = ()) -> Iterator[tuple[str, Any]]:
        """Every path to a layer, beginning with `prefix`.

        `above` has the ids of the layers that contain this one.
        """
        if id(self) in above:
            raise ValueError(
                f"{type(self).__name__}: layer {prefix} contains itself; remove it from its own layers"
            )
        yield prefix, self
        for name, child in self.children().items():
            yield from child._walk(join(prefix, name), (*above, id(self)))

    def _find(self, name: str) -> tuple[Any, Any] | None:
        """The pair of the layer that holds the name and the layer or parameter of that name, or None."""
        value = vars(self).get(name)
        return (self, value) if isinstance(value, PARTS) else None

    def _check_part(self, name: str, old: Any, new: Any) -> None:
        """Raise an error if the attribute `name` must not change from `old` to `new`.

        One is a part of the model.
        """
        whose = type(self).__name__
        if isinstance(old, Parameter) and not (new is None or isinstance(new, Parameter)):
            raise TypeError(
                f"{whose}: {name} is a Parameter and was set to {type(new).__name__}, which "
                f"would drop it from the state dict; set layer.{name}.data, or give a Parameter or None"
            )
        if isinstance(old, Tree):
            if not (new is None or isinstance(new, Tree)):
                raise TypeError(
                    f"{whose}: {name} is a layer and was set to {type(new).__name__}; give a Layer or None"
                )
            check_whole(self, [old])
        elif isinstance(new, PARTS):
            defined = getattr(type(self), name, None)
            if hasattr(Tree, name) or inspect.isroutine(defined) or inspect.isdatadescriptor(defined):
                raise name_taken(self, name)

    def forget(self) -> None:
        for layer in self.modules():
            vars(layer).pop("_tapes", None)


PARTS = (Tree, Parameter)
