"""A model's layers as JSON: the class of each, its constructor's arguments, children, parameters and flags.

The layers are a list, each once, in which those in a layer come before it; a number stands for the layer at
that position, and the model is the last. `rebuild.py` reads it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import layers as public
from ..arguments import shown
from ..layers import Layer, operators
from ..layers.children import Named
from ..layers.constant import Constant, HostConstant, Weight
from ..layers.dropout import _Dropout
from ..layers.shape import Folded
from ..models._common import Block
from ..models.convnext import _LayerScale, _Permute, _ScaleFirst
from ..models.unet import UNet
from ..parameter import Parameter
from ..random import global_source
from ..signatures import is_ours
from .encoding import Encoder

DEEPEST = 200  # levels of layers
FLAGS = [True, None, False]  # training, the mode after thawing, whether a lazy layer is frozen
GENERATORS = ("MT19937", "PCG64", "PCG64DXSM", "Philox", "SFC64")
OWN = (Block, UNet, _LayerScale, _Permute, _ScaleFirst, Constant, HostConstant, Weight)
CLASSES: dict[str, type[Layer]] = {
    kind.__name__: kind
    for kind in (*vars(public).values(), *vars(operators).values(), *OWN)
    if isinstance(kind, type) and issubclass(kind, Layer) and kind is not Layer
}


class Description:
    """The layers of a model and their random generators; `encoder` gets the arrays among the arguments."""

    def __init__(self, model: Layer, encoder: Encoder) -> None:
        self.layers: list[dict[str, Any]] = []
        self.generators: list[Any] = []
        self._encoder = encoder
        self._numbers: dict[int, int] = {}  # of layers by id
        self._places: dict[int, list[Any]] = {}  # of parameters by id: layer and attribute
        self._generators: dict[int, int] = {}  # numbers by id
        self._own: dict[str, type] = {}  # classes by name
        self._add(model, "", 0)

    def _add(self, layer: Layer, path: str, depth: int) -> int:
        """Append a layer, after those in it, if it is not there; returns its number."""
        if id(layer) in self._numbers:
            return self._numbers[id(layer)]
        if depth > DEEPEST:
            raise ValueError(f"save_model: layer {path:.100}… is more than {DEEPEST} levels deep")
        where = f"save_model: {type(layer).__name__}" + (f" (layer {path})" if path else "")
        kind = self._class(where, layer)
        below = {
            name: self._add(child, f"{path}.{name}".strip("."), depth + 1)
            for name, child in held(layer).items()
        }
        config = layer.get_config()
        self._check_learned(where, layer, config)
        given = {
            name: self._given(where, name, v, below) for name, v in config.items() if isinstance(v, Layer)
        }
        number = self._numbers[id(layer)] = len(self.layers)
        generators = {n: v for n, v in config.items() if isinstance(v, np.random.Generator)}
        arguments = {
            name: self._encoded(where, number, name, value)
            for name, value in config.items()
            if name not in given and name not in generators
        }
        node = {
            **kind,
            "arguments": arguments,
            "given": given,
            "generators": {name: self._generator(where, value) for name, value in generators.items()},
            "children": below,
            **self._parameters(layer, number),
            "attributes": self._attributes(where, layer, number, config),
            "flags": [layer.training, layer._thawed_mode, vars(layer).get("_frozen_later", False)],
        }
        if isinstance(layer, _Dropout) and layer._source is not None:
            node["counters"] = layer._source.state()["counters"]
        self.layers.append({key: value for key, value in node.items() if value not in ({}, FLAGS)})
        return number

    def _class(self, where: str, layer: Layer) -> dict[str, str]:
        """The name of the layer's class; errors for layers that no file can hold."""
        kind, name = type(layer), type(layer).__name__
        if layer._carries or layer._folded is not None or isinstance(layer, Folded):
            raise ValueError(
                f"{where} is from fuse(); save the model from before, and fuse what load_model returns"
            )
        for function in ("forward", "backward"):
            if function in vars(layer):
                raise TypeError(
                    f"{where}: {function} was assigned to the layer, and a file holds no functions; write a "
                    "class with this method"
                )
        if CLASSES.get(name) is kind:
            return {"class": name}
        if self._own.setdefault(name, kind) is not kind:
            raise ValueError(f"{where}: the model has two classes of this name; rename one")
        return {"own": name}

    def _check_learned(self, where: str, layer: Layer, config: dict[str, Any]) -> None:
        """Raise an error if an argument is the layer's parameter: what it was made from is not known."""
        for name, value in config.items():
            if isinstance(value, Parameter) and vars(layer).get(name) is value:
                raise TypeError(
                    f"{where}: the argument {name} of {type(layer).__name__}(…) cannot be read from the "
                    f"layer, as self.{name} is a Parameter; define get_config(self), which returns "
                    f"{{{name!r}: what __init__ takes, …}}, such as self.{name}.data.item() for a number"
                )

    def _given(self, where: str, name: str, layer: Layer, below: dict[str, int]) -> int:
        """The number of a layer that is an argument."""
        number = self._numbers.get(id(layer), -1)
        if number not in below.values():
            raise TypeError(
                f"{where}: the argument {name} is a layer, but none of its layers; define get_config(self)"
            )
        return number

    def _parameters(self, layer: Layer, number: int) -> dict[str, Any]:
        """The parameters, with `requires_grad`, and those that are the same as an earlier one."""
        own = {name: p for name, p in vars(layer).items() if isinstance(p, Parameter)}
        places = {name: self._places.setdefault(id(p), [number, name]) for name, p in own.items()}
        return {
            "parameters": {name: p.requires_grad for name, p in own.items()},
            "tied": {name: place for name, place in places.items() if place != [number, name]},
        }

    def _attributes(self, where: str, layer: Layer, number: int, config: dict[str, Any]) -> dict[str, Any]:
        """Further public attributes with plain values, such as names of classes."""
        found = {}
        for name, value in vars(layer).items():
            if name.startswith("_") or name in (*config, *layer.buffer_names, "training", "lazy"):
                continue
            if not isinstance(value, Parameter | Layer) and _is_plain(value):
                if is_reserved(layer, name):
                    raise ValueError(
                        f"{where}: {name} is an attribute of the class; call that of the layer otherwise"
                    )
                found[name] = self._encoder.encode(f"layers.{number}.{name}", value)
        return found

    def _encoded(self, where: str, number: int, name: str, value: Any) -> Any:
        value = value.name if isinstance(value, np.dtype) else value
        try:
            return self._encoder.encode(f"layers.{number}.{name}", value)
        except (TypeError, ValueError) as error:
            raise type(error)(
                f"{where}: {name} is {shown(value)}, which a file cannot hold; define get_config(self) with "
                "arguments that it can"
            ) from error

    def _generator(self, where: str, generator: np.random.Generator) -> int:
        """The number of a generator; None means that of `manual_seed`."""
        if id(generator) not in self._generators:
            number = self._generators[id(generator)] = len(self.generators)
            bits = generator.bit_generator
            if generator is global_source().generator:
                self.generators.append(None)
            elif type(bits).__name__ not in GENERATORS:
                raise TypeError(
                    f"{where}: its rng is a {type(bits).__name__}, expected one of {', '.join(GENERATORS)}"
                )
            else:
                self.generators.append(self._encoder.encode(f"generators.{number}", bits.state))
        return self._generators[id(generator)]


def held(layer: Layer) -> dict[str, Layer]:
    """The layers directly in this one, by name, in the order in which a container runs them."""
    return dict(layer._layers) if isinstance(layer, Named) else layer.children()


def is_reserved(layer: Layer, name: str) -> bool:
    """Whether a class of the package has an attribute of this name, which a file must not hide."""
    home = next((kind for kind in type(layer).__mro__ if name in vars(kind)), None)
    return home is not None and is_ours(home)


def _is_plain(value: Any) -> bool:
    try:
        Encoder("save_model").encode("", value)
    except (TypeError, ValueError):
        return False
    return True
