"""`Loader`: the `Graph` of an ONNX file, made node by node by the functions of `operators`."""

from __future__ import annotations

import json
import warnings
from math import prod
from typing import Any

import numpy as np

from ..arguments import shown
from ..backend import get_backend, use_backend
from ..errors import DataFileError, OperatorError
from ..files.image_info import check_fields
from ..layers.constant import Constant, HostConstant, Weight
from ..layers.graph import Graph
from ..layers.layer import Layer
from ..layers.operators import BatchNormalization
from ..layers.tree import join
from ..parameter import Parameter, limited_memory
from ..tape import no_grad, separate
from . import operators as operators  # they register themselves
from .contents import OWN, Model
from .inferred import inferred
from .library import defs, onnx
from .node import (
    OPERATORS,
    Assigned,
    Node,
    Operator,
    Output,
    Refused,
    Value,
    attribute_value,
    is_float,
)

SMALL = 64  # elements of integers that are copied to a device once; the same array of more at each use
MOST_RESIZED = 2**16  # outputs along an axis of a constant that a file resizes: each takes its own weights
SPARE = 2**26  # bytes of constants that a file may compute, besides twice its arrays
FAULTS = (TypeError, ValueError, LookupError, ArithmeticError, RuntimeError, MemoryError)
GRAPHS = (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS)
SAME_ORDER = ("Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze")  # operators that only change the axes
RENAMES = (
    *SAME_ORDER,
    "Transpose",
    "Cast",
    "CastLike",
)  # operators whose output can train in place of the input
SHAPES = ("Shape", "Size")  # operators that give integers of the host for any array
RESERVED = {
    *vars(Graph({"a": (None, "x")}, "x", "a")),
    "onnx_names",
    "image_info",
}  # attributes that no node can be called


class Loader:
    """Makes the graph of a `Model`; `graph` is called once."""

    model: Model
    values: dict[str, Value]
    limit: int
    taken: set[str]

    def __init__(self, model: Model) -> None:
        self.model, self.values = model, model.values
        self.origins: dict[str, tuple[Layer, list[Value]]] = {}  # of constants that are computed from weights
        self.reshaped: dict[str, Value] = {}  # for those that have its elements in its order: the weight
        self.layers: dict[str, tuple[Layer, list[Value]]] = {}  # by the name of the output
        self.assigned: list[Assigned] = []
        self.refusals: list[str] = []
        self.unknown: set[str] = set()  # outputs of refused nodes, and of those that depend on them
        self.uses: set[Any] = {name for node in model.nodes for name in node.input} | set(model.outputs)
        stored = sum(prod(item.shape) * item.dtype.itemsize for item in model.stored.values())
        self.limit = SPARE + 2 * stored

    def graph(self) -> Graph:
        """The graph, in inference mode, on the active backend.

        Raises:
            OperatorError: there are nodes that xpconv cannot compute.
        """
        backend = get_backend()
        for name in self.model.stored:
            if name in self.uses:
                self._set(self.values[name], self.model.array(name))
        with use_backend("numpy"), limited_memory(2 * self.limit), no_grad(), separate():
            for name in self.model.tied():
                self._tie(self.values[name])
            for proto in self.model.nodes:
                self._add(proto)
            if self.refusals:
                lines = "".join(f"\n- {line}" for line in dict.fromkeys(self.refusals))
                raise OperatorError(f"{self.model.where} has nodes that xpconv cannot compute:{lines}")
            graph = self._made()
        self._warn()
        return graph.to(backend).eval()

    def _warn(self) -> None:
        """Warn of BatchNormalizations in training mode, whose outputs depend on the rest of the batch."""
        names = [
            name
            for name, (layer, _) in self.layers.items()
            if isinstance(layer, BatchNormalization) and layer.batch_statistics
        ]
        if names:
            warnings.warn(
                f"{self.model.where} was exported in training mode: {shown(names)} normalise by the "
                "statistics of the batch, in inference too; export the model again in eval mode",
                UserWarning,
                stacklevel=4,
            )

    def _tie(self, value: Value) -> None:
        """Make an initializer a value that a layer computes, and so one parameter for all its uses."""
        layer = self._weight(value)
        self.layers[value.name] = layer, []
        self.assigned.append(Assigned(layer, "value", value, ""))
        value.array = None

    @staticmethod
    def _weight(value: Value) -> Weight:
        array = np.array(value.array)
        layer = Weight(array.shape, array.dtype.name)
        layer.value.data = array
        return layer

    # --- nodes ---------------------------------------------------------------------------------------------

    def _add(self, proto: Any) -> None:
        """Compute the outputs of a node, or note its layers."""
        inputs = [self._value(name) if name else None for name in proto.input]
        first = inputs[0] if inputs else None
        if proto.op_type == "Identity" and proto.domain in OWN and first is not None and first.trainable:
            self.values.update(dict.fromkeys(proto.output, first))  # the same weight
            return
        node = Node(
            proto.op_type, proto.name, proto.domain, self.model.opset, inputs,
            [self._value(name) for name in proto.output],
            [bool(name) and name in self.uses for name in proto.output], {}, limit=self.limit,
        )  # fmt: skip
        follows = bool(self.unknown.intersection(proto.input))
        known = False  # whether the operator is; other errors may be due to a node that was refused before
        try:
            function = self._function(node, proto)
            known = True
            outputs = self._outputs(node, function)
            found = inferred(proto, node.opset, node.inputs) if any(map(_is_layer, outputs)) else {}
            for name, output, value in zip(proto.output, outputs, node.outputs, strict=True):
                if isinstance(output, np.ndarray):
                    self._set(value, output)
                    continue
                new = found.get(name, Value(name))
                if value.shape is None:
                    value.shape = new.shape
                value.dtype = new.dtype or value.dtype
                if output is not None:
                    self._note(node, value, new, *output)
        except (Refused, DataFileError) as error:
            if not (known and follows):
                self.refusals.append(f"{node}: {error}")
            self.unknown.update(filter(None, proto.output))
            return
        if follows:
            self.unknown.update(filter(None, proto.output))
        parts = {id(part) for value in node.outputs for part in self._parts(value)}
        self.assigned += [item for item in node.assigned if id(item.layer) in parts]

    def _value(self, name: str) -> Value:
        return self.values.setdefault(name, Value(name))

    def _parts(self, value: Value) -> list[Layer]:
        return list(self.layers[value.name][0].modules()) if value.name in self.layers else []

    def _function(self, node: Node, proto: Any) -> Operator:
        """The function of the node's operator, which gets its attributes."""
        function = OPERATORS.get(node.op) if node.domain in OWN else None
        if function is None:
            domain = f" of the domain {node.domain!r}" if node.domain not in OWN else ""
            known = node.domain in OWN and defs.has(node.op)
            raise node.refused(f"xpconv has no {node.op}" if known else f"the operator{domain} is unknown")
        for attribute in proto.attribute:
            if attribute.type in GRAPHS or attribute.ref_attr_name:
                raise node.refused(f"attribute {attribute.name} is a graph of its own")
            if attribute.type == onnx.AttributeProto.TENSOR:
                self.model.tensors.stored(attribute.t, f"attribute {attribute.name}")
        try:
            node.attributes = {a.name: attribute_value(a) for a in proto.attribute}
        except FAULTS as error:
            raise node.refused(str(error)) from error
        return function

    def _outputs(self, node: Node, function: Operator) -> list[Output | None]:
        """What the operator's function gives for each output; None for those that are not used."""
        try:
            found = function(node)
        except Refused:
            raise
        except FAULTS as error:
            raise node.refused(str(error)) from error
        if node.unread():
            raise node.refused(f"attribute {', '.join(node.unread())} is unknown")
        outputs = found if isinstance(found, list) else [found]
        outputs = [*outputs, *[None] * len(node.outputs)][: len(node.outputs)]
        for i, used in enumerate(node.used):
            if used and outputs[i] is None:
                raise node.refused(f"output {i}, {node.outputs[i].name!r}, is not computed")
        return [output if used else None for output, used in zip(outputs, node.used, strict=True)]

    def _note(self, node: Node, value: Value, new: Value, layer: Layer, values: Any) -> None:
        """Note the layer of an output, or run it if all that it takes is constant."""
        arrays = [given.array for given in values]
        if all(array is not None for array in arrays):
            self._check_fold(node, value, new)
            try:
                with np.errstate(all="ignore"):
                    self._set(value, np.array(layer.eval()(*arrays)))
            except FAULTS as error:
                raise node.refused(str(error)) from error
            self.limit -= value.array.nbytes if value.array is not None else 0  # of all together
            if value.array is not None and is_float(value.array) and any(map(self._trains, values)):
                self.origins[value.name] = layer, list(values)
                value.computed = node.op not in RENAMES or values[0].computed
                if node.op in SAME_ORDER:
                    self.reshaped[value.name] = self.reshaped.get(values[0].name, values[0])
            return
        value.on_host = node.op in SHAPES or not any(map(self._on_device, values))
        self.layers[value.name] = layer, list(values)

    def _trains(self, value: Value) -> bool:
        """Whether a constant is a weight, or computed from one."""
        return value.trainable or value.name in self.origins

    def _on_device(self, value: Value) -> bool:
        """Whether a layer that takes it runs on the device of the model."""
        return self._trains(value) if value.array is not None else not value.on_host

    def _check_fold(self, node: Node, value: Value, new: Value) -> None:
        """Refuse a node of constants whose output, `new`, would be large, before it is computed."""
        shape = new.shape or value.shape or ()
        node.check_size([n for n in shape if n is not None], value.dtype or "float32")
        if node.op in ("Resize", "Upsample") and max((n or 0 for n in shape), default=0) > MOST_RESIZED:
            raise node.refused(f"the output has shape {shape}, more than {MOST_RESIZED:,} along an axis")

    def _set(self, value: Value, array: np.ndarray) -> None:
        """Let a value be constant."""
        array.flags.writeable = False
        value.array, value.shape, value.dtype = array, array.shape, array.dtype
        value.on_host = not is_float(array)

    # --- the graph -----------------------------------------------------------------------------------------

    def _made(self) -> Graph:
        self.names: dict[tuple[str, str], str] = {}  # in the graph, by a value's name and where it is
        self.taken = set(RESERVED)
        self.nodes: dict[str, tuple[Any, ...]] = {}
        inputs = [self._name(name) for name in self.model.inputs]
        for value, (layer, values) in self.layers.items():
            device = any(map(self._on_device, values))
            sources = [self._source(v, device) for v in values]
            self.nodes[self._name(value)] = layer, *sources
        outputs = [self._source(self.values[name], True) for name in self.model.outputs]
        shapes = {self._name(name): self.values[name].shape for name in self.model.inputs}
        declared = {name: shape for name, shape in shapes.items() if shape is not None}
        graph = Graph(self.nodes, inputs, outputs, shapes=declared or None)
        graph._names = self._aliases(graph)
        graph.dtypes = self._dtypes(graph)
        ends = (*self.model.inputs, *self.model.outputs)
        if renamed := {new: name for name in ends if (new := self._name(name)) != name}:
            graph.onnx_names = renamed
        self._add_info(graph)
        return graph

    def _dtypes(self, graph: Graph) -> dict[str, str]:
        """The dtypes of inputs, except for that of the first parameter, which `graph.to` may change."""
        usual = next((str(p.dtype) for _, p in graph.named_parameters()), "float32")
        found = {self._name(name): dtype for name, (_, dtype) in self.model.fixed.items()}
        return {name: str(dtype) for name, dtype in found.items() if dtype is not None and dtype != usual}

    def _name(self, name: str, where: str = "") -> str:
        """The name in the graph of a value: that in the file, as far as it can be a layer's."""
        if (name, where) not in self.names:
            new = name.replace(".", "_")
            while hasattr(Graph, new) or new in self.taken:
                new += "_"
            self.taken.add(new)
            self.names[name, where] = new
        return self.names[name, where]

    def _source(self, value: Value, device: bool) -> str:
        """The name of a node, or an input, that gives this value; `device`: to a layer that runs there."""
        array = value.array
        if array is None:
            return self._name(value.name)
        device = device and (is_float(array) or array.size > SMALL)
        where = "device" if device else "host"
        name = self._name(value.name, where)
        if name not in self.nodes and device and value.name in self.origins:
            layer, values = self.origins[value.name]
            self.nodes[name] = layer, *[self._source(v, True) for v in values]
        if name not in self.nodes:
            if not device:
                layer = HostConstant(array)
            elif value.trainable:
                layer = self._weight(value)
            else:
                layer = Constant(array.shape, array.dtype.name)
                layer.value = np.array(array)
            self.nodes[name] = (layer,)
            if device:
                self.assigned.append(Assigned(layer, "value", value, ""))
        return name

    def _add_info(self, graph: Graph) -> None:
        """Let the graph have the `image_info` of a file, unless that is another program's."""
        try:
            info = json.loads(self.model.metadata.get("image_info", ""))
            check_fields(self.model.where, info)
        except (ValueError, RecursionError):
            return
        graph.image_info = info

    def _aliases(self, graph: Graph) -> dict[str, str]:
        """The names in the state dict, which are the file's; weights of one name are one parameter."""
        paths = {id(layer): path for path, layer in graph.named_layers()}
        shared: dict[tuple[str, str], Parameter] = {}
        owners: dict[str, Any] = {}  # the parameter or array of each name
        aliases = {}
        for item in self.assigned:
            own = getattr(item.layer, item.attribute)
            name = self.reshaped.get(item.value.name, item.value).name
            if isinstance(own, Parameter):
                first = shared.setdefault((name, item.form), own)
                if first is not own and first.shape == own.shape:
                    setattr(item.layer, item.attribute, own := first)
            if owners.setdefault(name, own) is not own:  # the same numbers in another form, or for a buffer
                owners[name := f"{name}.{item.form or len(owners)}"] = own
            aliases[join(paths[id(item.layer)], item.attribute)] = name
        return aliases


def _is_layer(output: Output | None) -> bool:
    return isinstance(output, tuple)
