"""Which constants of a file are weights, by the operators that use them."""

from __future__ import annotations

import re
from math import prod
from typing import Any

from .library import helper, onnx
from .node import VIEWS

Places = dict[str, tuple[int, ...]]  # indices of inputs, by operator

# The indices of the inputs that are weights.
PLACES: Places = {
    "Conv": (1, 2), "ConvTranspose": (1, 2), "Gemm": (0, 1, 2), "MatMul": (0, 1), "PRelu": (1,),
    "BatchNormalization": (1, 2), "LayerNormalization": (1, 2), "GroupNormalization": (1, 2),
}  # fmt: skip  # not InstanceNormalization, whose constants are the 1 and 0 of a layer without weights
FIXED: Places = {"BatchNormalization": (3, 4), "OneHot": (2,)}  # of arrays that are not trained
BEFORE_BIAS = ("Conv", "ConvTranspose", "Gemm", "MatMul")  # an Add after them adds a bias
UNNAMED = re.compile(r"val_\d+")  # what PyTorch's exporter calls values without a name of the model's
OWN = "xpconv"  # the name of the producer in files from `export`
FLOATS = tuple(map(onnx.TensorProto.DataType.Value, ("FLOAT", "DOUBLE", "FLOAT16", "BFLOAT16")))


class Weights:
    """The constants of a graph that an operator uses as a weight, or as an array that is not trained.

    There may be a view, such as a Transpose, between constant and operator; but a node Constant that an
    Expand repeats, as the 0 of a Conv without bias, is no weight. A constant that an Add adds to the result
    of a Conv, ConvTranspose, Gemm or MatMul with a weight is a bias, and counts as a weight.
    """

    def __init__(self, graph: Any) -> None:
        self.makers: dict[Any, Any] = {name: node for node in graph.node for name in node.output if name}
        self.known: set[Any] = {tensor.name for tensor in graph.initializer}
        self.weights: set[str] = self._at(graph, PLACES)
        for node in graph.node:
            if node.op_type == "Add" and len(node.input) == 2:
                for name, other in (node.input, node.input[::-1]):
                    if self._is_product(other):
                        self.weights.update(filter(None, [self._constant(name)]))
        self.fixed: set[str] = self._at(graph, FIXED) - self.weights

    def _at(self, graph: Any, places: Places) -> set[str]:
        inputs = [
            node.input[i] for node in graph.node for i in places.get(node.op_type, ()) if i < len(node.input)
        ]
        return set(filter(None, map(self._constant, inputs)))

    def fix_computed(self, graph: Any) -> None:
        """Let arrays be fixed that PyTorch's exporter makes, and that no module has as parameters.

        They are the 1 and 0 of the InstanceNormalization between two Reshapes which a GroupNorm becomes, and
        single numbers without a name of the model's, such as the factor of attention.
        """
        reshaped = {node.input[0] for node in graph.node if node.op_type == "Reshape" and node.input}
        for node in graph.node:
            if node.op_type == "InstanceNormalization" and reshaped.intersection(node.output):
                before = self.makers.get(node.input[0])
                if before is not None and before.op_type == "Reshape":
                    self.fixed.update(filter(None, map(self._constant, node.input[1:3])))
        numbers = {tensor.name for tensor in graph.initializer if prod(tensor.dims) == 1}
        self.fixed.update(name for name in numbers if UNNAMED.fullmatch(name))
        self.fixed -= self.weights

    def includes(self, name: str, shape: tuple[int, ...]) -> bool:
        """Whether an initializer is a weight: an operator uses it as one, or it has axes."""
        return name in self.weights or (bool(shape) and name not in self.fixed)

    def _constant(self, name: str) -> str | None:
        """The constant that a value is or views, if any."""
        seen: set[str] = set()
        filled = False  # whether an Expand repeats it: then a Constant is a number to fill an array with
        while name not in self.known and name in self.makers and name not in seen:
            seen.add(name)
            maker = self.makers[name]
            if maker.op_type == "Constant":
                return None if filled else name
            if maker.op_type not in VIEWS or not maker.input:
                return None
            filled = filled or maker.op_type == "Expand"
            name = maker.input[0]
        return name if name in self.known else None

    def _is_product(self, name: str) -> bool:
        """Whether an operator in `BEFORE_BIAS` computes this value from a weight."""
        maker = self.makers.get(name)
        if maker is None or maker.op_type not in BEFORE_BIAS:
            return False
        return any(self._constant(other) for other in maker.input[:2])


def hoist(proto: Any) -> Weights:
    """Turn the `Constant` nodes of a file that hold weights into initializers; return the weights.

    In a file that xpconv wrote, all weights are initializers already; a `Constant` there must not be trained,
    such as the matrix of an averaging layer.
    """
    graph = proto.graph
    weights = Weights(graph)
    if proto.producer_name == OWN:
        return weights
    weights.fix_computed(graph)
    places = [i for i, node in enumerate(graph.node) if node.op_type == "Constant"]
    for i in reversed(places):
        node = graph.node[i]
        tensor = _value(node) if weights.weights.intersection(node.output) else None
        if tensor is not None and tensor.data_type in FLOATS:
            graph.initializer.append(tensor)
            graph.initializer[-1].name = node.output[0]
            del graph.node[i]
    return weights


def _value(node: Any) -> Any:
    """The array of a `Constant`, as a `TensorProto`, if it has one."""
    for attribute in node.attribute:
        if attribute.name == "value" and attribute.type == onnx.AttributeProto.TENSOR:
            return attribute.t
        if attribute.name == "value_floats":
            return helper.make_tensor("", FLOATS[0], [len(attribute.floats)], attribute.floats)
    return None
