"""SplitToSequence and SequenceAt, PyTorch's `chunk` and `split` without optimization, as Split and Slice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .library import helper, onnx

LAST = 2**63 - 1  # the largest int64; a Slice ends where the array does
INTEGERS = tuple(map(onnx.TensorProto.DataType.Value, ("INT32", "INT64")))


def without_sequences(graph: Any, read: Callable[[Any], np.ndarray]) -> None:
    """Change each SequenceAt whose sequence is that of a SplitToSequence to the part that it takes.

    The sizes and the place are nodes Constant. Nodes with others stay, and are refused like all sequences.

    Args:
        graph: of the file; it is changed.
        read: gives the array of a `TensorProto`.
    """
    makers: dict[Any, Any] = {name: node for node in graph.node for name in node.output if name}
    takers: dict[Any, list[Any]] = {}
    for node in graph.node:
        if node.op_type == "SequenceAt" and len(node.input) == 2:
            takers.setdefault(node.input[0], []).append(node)
    names: set[Any] = {*makers, *(item.name for item in (*graph.initializer, *graph.input))}
    for sequence, nodes in takers.items():
        split = makers.get(sequence)
        if split is None or split.op_type != "SplitToSequence" or len(split.input) != 2:
            continue
        sizes = _integers(makers.get(split.input[1]), read)
        places = [_integers(makers.get(node.input[1]), read) for node in nodes]
        if sizes is None or sizes.ndim > 1 or any(place is None or place.size != 1 for place in places):
            continue
        _take(graph, names, split, sizes, nodes, [int(place.item()) for place in places if place is not None])


def _take(
    graph: Any, names: set[Any], split: Any, sizes: np.ndarray, nodes: list[Any], places: list[int]
) -> None:
    """Let `nodes` be the parts at `places`: outputs of a Split, or Slices where all parts have one size.

    A Slice behind the end of the array is empty, where onnxruntime refuses the place.
    """

    def new(name: str) -> str:
        while name in names:
            name += "_"
        names.add(name)
        return name

    axis = next((attribute.i for attribute in split.attribute if attribute.name == "axis"), 0)
    if sizes.ndim:
        if not all(-sizes.size <= place < sizes.size for place in places):
            return
        parts = [new(f"{split.output[0]}.{i}") for i in range(sizes.size)]
        graph.node.append(helper.make_node("Split", list(split.input), parts, axis=axis))
        for node, place in zip(nodes, places, strict=True):
            node.CopyFrom(helper.make_node("Identity", [parts[place]], list(node.output), name=node.name))
        return
    size = int(sizes)
    if size < 1 or min(places) < 0:
        return
    for node, place in zip(nodes, places, strict=True):
        takes = [split.input[0]]
        for number in (place * size, (place + 1) * size, axis):
            takes.append(new(f"{node.output[0]}.at"))
            tensor = helper.make_tensor("", INTEGERS[1], [1], [min(number, LAST)])
            graph.node.append(helper.make_node("Constant", [], takes[-1:], value=tensor))
        node.CopyFrom(helper.make_node("Slice", takes, list(node.output), name=node.name))


def _integers(node: Any, read: Callable[[Any], np.ndarray]) -> np.ndarray | None:
    """The integers of a node Constant; None of any other node."""
    if node is None or node.op_type != "Constant":
        return None
    for attribute in node.attribute:
        if attribute.name == "value" and attribute.type == onnx.AttributeProto.TENSOR:
            return read(attribute.t) if attribute.t.data_type in INTEGERS else None
    return None
