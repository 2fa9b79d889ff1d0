"""The contents of an ONNX file: its nodes in the order in which they run, shapes and dtypes of its values."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..arguments import shown
from ..errors import DataFileError
from ..layers.graph_checks import order_of
from .batch import free_batch
from .inferred import value_of
from .library import defs, onnx
from .node import VIEWS, Value
from .sequences import without_sequences
from .tensors import Stored, Tensors
from .weights import hoist

OLDEST, SPLIT = 7, 13  # opsets: the oldest that is read, and the first whose Split has its sizes as an input
OWN = ("", "ai.onnx")  # the names of ONNX's own domain


class Model:
    """A file's graph, checked as a whole; of the arrays, only shapes and dtypes have been checked.

    Attributes:
        where: the beginning of errors.
        opset: the version of ONNX's own operators.
        nodes: the `NodeProto`s that the outputs depend on, each after those that it depends on.
        inputs, outputs: names.
        frees: whether its batch was fixed, and has been freed.
        metadata: texts by name.
        fixed: the shape and the dtype that the file gives each input.
    """

    frees: bool
    values: dict[str, Value]

    def __init__(self, path: str, dynamic_batch: bool = False) -> None:
        self.where: str = f"xpconv.onnx.load: {path!r}"
        proto = self._parsed(path)
        graph = proto.graph
        self._check_names(proto)
        self.metadata: dict[Any, Any] = {entry.key: entry.value for entry in proto.metadata_props}
        self.tensors: Tensors = Tensors(self.where, os.path.dirname(os.path.abspath(path)))
        self.opset: int = self._opset(proto)
        self.stored: dict[str, Stored] = {}
        if self.opset >= SPLIT:
            without_sequences(graph, self._constant)
        self.weights = hoist(proto)
        if graph.sparse_initializer or proto.functions:
            what = "sparse initializers, which xpconv does not read"
            if proto.functions:
                what = (
                    f"functions of its own, such as {shown(proto.functions[0].name)}, which xpconv does not "
                    "read; onnx.inliner.inline_local_functions(onnx.load(path)) gives the same model without"
                )
            raise DataFileError(f"{self.where} has {what}")
        for tensor in graph.initializer:
            if tensor.name in self.stored:
                raise DataFileError(f"{self.where} has two initializers called {tensor.name!r}")
            self.stored[tensor.name] = self.tensors.stored(tensor, f"initializer {tensor.name!r}")
        self.inputs: list[Any] = [value.name for value in graph.input if value.name not in self.stored]
        self.outputs: list[Any] = [value.name for value in graph.output]
        if not self.outputs or not self.inputs:
            raise DataFileError(f"{self.where} has no {'inputs' if self.outputs else 'outputs'}")
        self.nodes: list[Any] = self._ordered(graph)
        self.values = self._known(proto)
        self.fixed = {name: (self.values[name].shape, self.values[name].dtype) for name in self.inputs}
        self.frees = dynamic_batch and any(shape and shape[0] is not None for shape, _ in self.fixed.values())
        self._proto = proto

    def free_batch(self, shapes: Mapping[str, Any]) -> None:
        """Let the batch size be free; `shapes`: what is known of those of the values, by name."""
        free_batch(self._proto, shapes, self._target)
        self.tensors = Tensors(self.where, self.tensors.folder)  # all arrays will be read again
        for tensor in self._proto.graph.initializer:
            self.stored[tensor.name] = self.tensors.stored(tensor, f"initializer {tensor.name!r}")
        self.values = self._known(self._proto)

    def _target(self, tensor: Any) -> np.ndarray:
        """The array of a Reshape's target, which other nodes may have and read as well."""
        return self._read(tensor, f"the target {tensor.name!r} of a Reshape")

    def _constant(self, tensor: Any) -> np.ndarray:
        """The array of a Constant, which other nodes may read as well."""
        return self._read(tensor, "the array of a Constant")

    def _read(self, tensor: Any, what: str) -> np.ndarray:
        tensors = Tensors(self.where, self.tensors.folder)
        return tensors.read(tensors.stored(tensor, what), what)

    def _parsed(self, path: str) -> Any:
        try:
            proto = onnx.load_model(path, format="protobuf", load_external_data=False)
        except OSError:
            raise
        except Exception as error:  # protobuf's, of a class that depends on its version
            raise DataFileError(f"{self.where} is not an ONNX file, or is cut short: {error}") from error
        if not (proto.ir_version and proto.graph.output):
            raise DataFileError(f"{self.where} is not an ONNX file, or is cut short: it has no graph")
        return proto

    def _check_names(self, proto: Any) -> None:
        """Names must be text, which protobuf does not ensure, and those of the inputs differ."""
        graph = proto.graph
        names = [text for entry in proto.metadata_props for text in (entry.key, entry.value)]
        ends = [item.name for item in (*graph.input, *graph.output)]
        names += [*ends, *(item.name for item in (*graph.initializer, *graph.value_info))]
        names += [dim.dim_param for item in graph.input for dim in item.type.tensor_type.shape.dim]
        for node in graph.node:
            names += [node.name, node.op_type, node.domain, *node.input, *node.output]
            names += [attribute.name for attribute in node.attribute]
        for name in names:
            if not isinstance(name, str):
                raise DataFileError(f"{self.where} has the text {name!r:.100}, which is not UTF-8")
        if "" in ends:
            raise DataFileError(f"{self.where} has an input or output without a name")
        inputs = [item.name for item in graph.input]
        for name, count in Counter(inputs).items():
            if count > 1:
                raise DataFileError(f"{self.where} has {count} inputs called {name!r}, expected one")

    def _opset(self, proto: Any) -> int:
        versions = [entry.version for entry in proto.opset_import if entry.domain in OWN]
        newest: int = defs.onnx_opset_version()
        if len(set(versions)) != 1:
            raise DataFileError(
                f"{self.where} has {len(versions)} versions of ONNX's operators, expected one"
            )
        if not OLDEST <= versions[0] <= newest:
            hint = "; onnx.version_converter.convert_version(model, 13) makes a newer one"
            raise DataFileError(
                f"{self.where} is of opset {versions[0]}, expected {OLDEST} to {newest}"
                + (hint if versions[0] < OLDEST else ", the newest that the installed onnx has")
            )
        return int(versions[0])

    def _ordered(self, graph: Any) -> list[Any]:
        wiring: dict[str, tuple[str, ...]] = {}
        makers: dict[str, int] = {}
        known = {"", *self.inputs, *self.stored}
        in_order = True
        for number, node in enumerate(graph.node):
            sources = tuple(name for name in node.input if name)
            in_order = in_order and known.issuperset(sources)
            for name in filter(None, node.output):
                if name in known:
                    raise DataFileError(f"{self.where} has two values called {name!r}")
                known.add(name)
                wiring[name], makers[name] = sources, number
        try:
            order = order_of(self.where, wiring, [*self.inputs, *self.stored], self.outputs)
        except ValueError as error:
            raise DataFileError(str(error)) from None
        numbers = list(dict.fromkeys(makers[name] for name in order))
        return [graph.node[i] for i in (sorted(numbers) if in_order else numbers)]

    def _known(self, proto: Any) -> dict[str, Value]:
        """What the file says of its values; what it does not say is unknown."""
        declared = {info.name: info.type for info in (*proto.graph.input, *proto.graph.output)}
        for name in self.inputs:
            if declared[name].WhichOneof("value") not in (None, "tensor_type"):
                kind = declared[name].WhichOneof("value").removesuffix("_type")
                raise DataFileError(f"{self.where}: input {name!r} is a {kind}, expected an array")
        types = {info.name: info.type for info in proto.graph.value_info} | declared
        known = {name: value_of(name, kind) for name, kind in types.items()}
        for name, stored in self.stored.items():
            weight = self.weights.includes(name, stored.shape)
            known[name] = Value(name, shape=stored.shape, dtype=stored.dtype, weight=weight)
        return known

    def tied(self) -> list[str]:
        """The initializers that are one weight in several roles, such as a matrix and its transpose.

        Those with one axis are none of them: exporters store equal biases once.
        """
        root = {name: (name, "") for name, item in self.stored.items() if len(item.shape) > 1}
        roles: dict[str, set[tuple[Any, ...]]] = {name: set() for name in root}
        for node in self.nodes:
            for i, name in enumerate(node.input):
                weight, view = root.get(name, ("", ""))
                if not weight:
                    continue
                if node.op_type in VIEWS and i == 0:
                    for output in node.output:
                        root[output] = weight, view if node.op_type == "Identity" else output
                else:
                    transposed = [a.i for a in node.attribute if a.name == "transB"]
                    roles[weight].add((view, node.op_type, i, *transposed))
        return [name for name, found in roles.items() if len(found) > 1 and self.stored[name].is_float()]

    def array(self, name: str) -> np.ndarray:
        """The array of an initializer."""
        return self.tensors.read(self.stored[name], f"initializer {name!r}")
