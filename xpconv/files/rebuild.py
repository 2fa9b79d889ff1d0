"""A model from the description that `architecture.py` makes, which may be damaged or hostile.

Only classes of the package, and those that the caller passes, are called; together they may allocate little
more than the file's arrays take.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from ..arguments import shown
from ..arrays import asarray
from ..dtypes import is_floating
from ..errors import DataFileError
from ..layers import Layer
from ..layers.children import Named
from ..layers.dropout import _Dropout
from ..layers.tree import array_name
from ..parameter import Parameter, limited_memory
from ..random import get_rng_state, global_source, set_rng_state
from ..signatures import is_ours
from .architecture import CLASSES, DEEPEST, FLAGS, GENERATORS, held, is_reserved
from .encoding import Decoder, Encoder

MOST_PATHS = 1_000_000  # from the model to its layers, of which each may occur more than once
SPARE = 2**26  # bytes
SPARE_OF_OWN = 2**32  # with classes of the caller's, which may make layers that are replaced
KEYS: dict[str, type] = {
    "class": str, "own": str, "arguments": dict, "given": dict, "generators": dict, "children": dict,
    "parameters": dict, "tied": dict, "attributes": dict, "flags": list, "counters": dict,
}  # fmt: skip
FAULTS = (TypeError, ValueError, LookupError, AttributeError, RuntimeError, ArithmeticError)


def rebuild(
    where: str,
    content: Mapping[str, Any],
    arrays: Mapping[str, np.ndarray],
    classes: Mapping[str, type[Layer]],
) -> Layer:
    """The model that a file describes, with its arrays on the active backend; `where` begins the errors."""
    random = get_rng_state()
    try:
        spare = SPARE_OF_OWN if classes else SPARE
        with limited_memory(4 * sum(array.nbytes for array in arrays.values()) + spare):
            model = _Builder(where, content, arrays, classes).model()
    finally:
        set_rng_state(random)  # which constructors of a user's may have drawn from
    return model


class _Builder:
    def __init__(
        self,
        where: str,
        content: Mapping[str, Any],
        arrays: Mapping[str, np.ndarray],
        classes: Mapping[str, type[Layer]],
    ) -> None:
        self._where, self._classes, self._arrays = where, classes, arrays
        self._decoder = Decoder(where, arrays)
        self._generators = [self._generator(state) for state in content["generators"]]
        self._nodes = checked_nodes(where, content.get("layers"), len(self._generators))
        self._kinds = [self._kind(i) for i in range(len(self._nodes))]
        self._built: dict[int, Layer] = {}
        self._used: set[int] = set()  # ids of the layers in `_built`

    def model(self) -> Layer:
        model = self._layer(len(self._nodes) - 1)
        for i, layer in self._built.items():
            for name, (j, other) in self._nodes[i].get("tied", {}).items():
                first = vars(self._built[j]).get(other) if j in self._built else None
                there = vars(layer).get(name)
                if not isinstance(first, Parameter) or (there is not None and there.shape != first.shape):
                    raise self._fault(i, f"{name} is {other} of layer {j}, which has no such parameter")
                setattr(layer, name, first)
        places = {id(layer): prefix for prefix, layer in model.named_layers()}
        for i in range(len(self._nodes)):
            if i not in self._built or id(self._built[i]) not in places:
                raise self._fault(i, "it is in no other layer")
            self._fill(i, self._built[i], places[id(self._built[i])])
        return model

    def _fault(self, i: int, what: object) -> DataFileError:
        node = self._nodes[i]
        return DataFileError(f"{self._where}: layer {i}, {node.get('class', node.get('own'))}: {what}")

    # --- layers ----------------------------------------------------------------------------------------

    def _layer(self, i: int, there: Any = None) -> Layer:
        """The layer of this number, made once; `there` is what a constructor made in its place."""
        if i in self._built:
            return self._built[i]
        node = self._nodes[i]
        given = {name: self._layer(j) for name, j in node.get("given", {}).items()}
        layer: Layer = there if self._is_like(there, i) else self._made(i, given)
        self._built[i] = layer
        self._used.add(id(layer))
        try:
            self._set_children(i, layer, node.get("children", {}))
            self._set_attributes(layer, node.get("attributes", {}))
        except FAULTS as error:
            raise error if isinstance(error, DataFileError) else self._fault(i, error) from error
        training, thawed, frozen = node.get("flags", FLAGS)
        if layer.training is not training:
            layer.training = training
        if thawed is not None:
            layer._thawed_mode = thawed
        if frozen:
            vars(layer)["_frozen_later"] = True
        self._check(i, layer)
        return layer

    def _kind(self, i: int) -> type[Layer]:
        node = self._nodes[i]
        if "own" in node:
            if node["own"] not in self._classes:
                raise DataFileError(
                    f"{self._where} has layers of the class {node['own']!r}, which is not one of xpconv; "
                    f"pass it: load_model(path, classes={{{node['own']!r}: …}})"
                )
            return self._classes[node["own"]]
        if node.get("class") not in CLASSES:
            raise self._fault(i, "there is no layer of this name; another version of xpconv may have it")
        return CLASSES[node["class"]]

    def _made(self, i: int, given: dict[str, Layer]) -> Layer:
        node = self._nodes[i]
        arguments = {**self._arguments(i), **given}
        for name, number in node.get("generators", {}).items():
            arguments[name] = self._generators[number]
        try:
            layer = self._kinds[i](**arguments)
            if isinstance(layer, _Dropout) and layer._source is not None:
                state = {**layer._source.state(), "counters": node.get("counters", {})}
                layer._source.set_state("counters", state)
        except FAULTS as error:
            raise self._fault(i, error) from error
        return layer

    def _arguments(self, i: int) -> dict[str, Any]:
        return {
            name: self._decoder.decode(value) for name, value in self._nodes[i].get("arguments", {}).items()
        }

    def _is_like(self, layer: Any, i: int) -> bool:
        """Whether a constructor made the layer with this class and these arguments."""
        node = self._nodes[i]
        if (
            type(layer) is not self._kinds[i]
            or id(layer) in self._used
            or "given" in node
            or "generators" in node
        ):
            return False
        return bool(self._config(layer, i) == node.get("arguments", {}))

    def _config(self, layer: Layer, i: int) -> Any:
        """The arguments as the file has them; None if there are some that no file has."""
        encoder = Encoder("load_model")
        try:
            return {
                name: encoder.encode(
                    f"layers.{i}.{name}", value.name if isinstance(value, np.dtype) else value
                )
                for name, value in layer.get_config().items()
                if not isinstance(value, Layer | np.random.Generator)
            }
        except (TypeError, ValueError):
            return None

    def _set_children(self, i: int, layer: Layer, children: Mapping[str, int]) -> None:
        old = held(layer)
        if isinstance(layer, Named):
            layer._layers.clear()
        for name, j in children.items():
            child = self._layer(j, old.get(name))
            if isinstance(layer, Named):
                layer._add(name, child)
            elif old.get(name) is not child:
                if name.startswith("_") and is_ours(type(layer)):
                    raise self._fault(i, f"it has no layer {name!r}")
                setattr(layer, name or "body", child)
        for name in old if not isinstance(layer, Named) else ():
            if name not in children:
                setattr(layer, name, None)

    def _set_attributes(self, layer: Layer, attributes: Mapping[str, Any]) -> None:
        for name, encoded in attributes.items():
            value, now = self._decoder.decode(encoded), vars(layer).get(name, layer)
            if name.startswith("_") or name in layer.buffer_names or is_reserved(layer, name):
                raise ValueError(f"{name!r} is not an attribute that a file sets")
            if not isinstance(now, Parameter):
                setattr(layer, name, value)
            elif value is not None:  # None in place of a parameter is set by `_fill`
                raise ValueError(f"{name!r} is {shown(value)}, expected a parameter")

    def _check(self, i: int, layer: Layer) -> None:
        """Raise an error if the layer is not what the file says, as one of a user's may be."""
        expected, children = self._nodes[i].get("arguments", {}), self._nodes[i].get("children", {})
        if self._config(layer, i) != expected:
            raise self._fault(
                i,
                f"made with {shown(expected)}, it has {shown(self._config(layer, i))}; a class of your own "
                "must store its arguments as they are, or define get_config(self)",
            )
        self._check_arrays(i, layer, expected)
        if list(held(layer)) != list(children):
            raise self._fault(i, f"it has the layers {list(held(layer))}, expected {list(children)}")

    def _check_arrays(self, i: int, layer: Layer, expected: Mapping[str, Any]) -> None:
        """Raise an error if a class of the user's made an array of another shape of one it was given."""
        config = layer.get_config()
        for name, encoded in expected.items():
            if not (isinstance(encoded, dict) and "$array" in encoded):
                continue
            given, now = self._decoder.decode(encoded), config[name]
            if now.shape != given.shape:
                raise self._fault(
                    i,
                    f"made with {name} of shape {given.shape}, it has {now.shape}; a class of your own "
                    "must store its arguments as they are, or define get_config(self)",
                )

    def _generator(self, encoded: Any) -> np.random.Generator:
        if encoded is None:
            return global_source().generator
        state = self._decoder.decode(encoded)
        kind = state.get("bit_generator") if isinstance(state, dict) else None
        if kind not in GENERATORS:
            raise DataFileError(
                f"{self._where} has a generator {kind!r:.50}, expected {', '.join(GENERATORS)}"
            )
        bits = getattr(np.random, kind)(0)
        try:
            bits.state = state
        except FAULTS as error:
            raise DataFileError(f"{self._where} has a damaged state of a generator: {error}") from error
        return np.random.Generator(bits)

    # --- arrays ----------------------------------------------------------------------------------------

    def _fill(self, i: int, layer: Layer, prefix: str) -> None:
        """Set the parameters and buffers of one layer; `prefix` begins their names in the file."""
        parameters, tied = self._nodes[i].get("parameters", {}), self._nodes[i].get("tied", {})
        try:
            for name in [
                n for n, p in vars(layer).items() if isinstance(p, Parameter) and n not in parameters
            ]:
                setattr(layer, name, None)
            for name, requires_grad in parameters.items():
                if name not in tied:
                    self._set_parameter(layer, name, array_name(prefix, name))
                vars(layer)[name].requires_grad = requires_grad
            for name in layer.buffer_names:
                self._set_buffer(layer, name, array_name(prefix, name))
        except FAULTS as error:
            raise self._fault(i, error) from error

    def _array(self, key: str, like: Any) -> Any:
        """The array of this name, of the shape of `like`, on the active backend."""
        if key not in self._arrays:
            raise ValueError(f"the file has no array {key!r}")
        array = self._arrays[key]
        if like is not None and tuple(like.shape) != array.shape:
            raise ValueError(f"{key} has shape {array.shape}, expected {tuple(like.shape)}")
        return asarray(array)

    def _set_parameter(self, layer: Layer, name: str, key: str) -> None:
        there = vars(layer).get(name)
        array = self._array(key, there)
        if there is None:
            setattr(layer, name, Parameter(array, name))
        else:
            there.data = array

    def _set_buffer(self, layer: Layer, name: str, key: str) -> None:
        there = getattr(layer, name, None)
        if there is None and key not in self._arrays:
            return
        array = self._array(key, there)
        if there is not None and is_floating(array.dtype) != is_floating(there.dtype):
            raise ValueError(f"{key} is {array.dtype}, expected {there.dtype}")
        setattr(layer, name, array)


def checked_nodes(where: str, nodes: Any, generators: int) -> list[dict[str, Any]]:
    """The descriptions of layers, if all are of the right form and no layer is in itself."""
    fault = DataFileError(f"{where} is damaged: its description of layers is not one of xpconv")
    if not isinstance(nodes, list) or not nodes:
        raise fault
    depths: list[int] = []
    paths: list[int] = []
    for i, node in enumerate(nodes):
        if not isinstance(node, dict) or ("class" in node) == ("own" in node):
            raise fault
        if any(not isinstance(value, KEYS.get(key, ())) for key, value in node.items()):
            raise fault
        below = list(node.get("children", {}).values())
        below += [j for j in node.get("given", {}).values() if j not in below]
        places = node.get("tied", {}).values()
        if not _are(below, int, i) or not _are(node.get("generators", {}).values(), int, generators):
            raise fault
        if not all(
            isinstance(p, list) and len(p) == 2 and _are(p[:1], int, i + 1) and _are(p[1:], str)
            for p in places
        ):
            raise fault
        flags = node.get("flags", FLAGS)
        if not _are(node.get("parameters", {}).values(), bool) or not _are_flags(flags):
            raise fault
        depths.append(1 + max((depths[j] for j in below), default=0))
        paths.append(1 + sum(paths[j] for j in below))
        if depths[i] > DEEPEST + 1 or paths[i] > MOST_PATHS:
            raise DataFileError(f"{where} has more than {DEEPEST} levels, or {MOST_PATHS:,} layers")
    return nodes


def _are(values: Iterable[Any], kind: type, below: int | None = None) -> bool:
    return all(type(v) is kind and (below is None or v in range(below)) for v in values)


def _are_flags(flags: Any) -> bool:
    return len(flags) == 3 and _are([flags[0], flags[2], flags[1] is not None and flags[1]], bool)
