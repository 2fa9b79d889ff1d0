"""Makes the batch size of a file variable if the file fixes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod
from typing import Any

import numpy as np

from ..arrays import asarray, asnumpy
from ..errors import DataFileError
from ..layers.graph import Graph
from ..tape import no_grad
from .library import numpy_helper

MOST = 2**27  # elements of all inputs in the comparison
FREE = 64  # the size that a free axis has in the comparison


def free_batch(proto: Any, shapes: Mapping[str, Any], array: Callable[[Any], np.ndarray]) -> None:
    """Let the first axis of each input be free, and the first size in the target of each Reshape.

    Args:
        proto: the file's `ModelProto`, which is changed.
        shapes: the known shapes of its values, by name.
        array: reads the array of a `TensorProto`.
    """
    graph = proto.graph
    sizes = set()
    stored = {tensor.name: tensor for tensor in graph.initializer}
    for value in graph.input:
        dims = value.type.tensor_type.shape.dim
        if value.name not in stored and dims and dims[0].HasField("dim_value"):
            sizes.add(dims[0].dim_value)
            dims[0].dim_param = "batch"
    del graph.value_info[:]
    for value in graph.output:
        value.type.tensor_type.ClearField("shape")
    for node in graph.node:
        if node.op_type == "Constant":
            stored.update((node.output[0], a.t) for a in node.attribute if a.name == "value")
    for i, node in enumerate(graph.node):
        tensor = stored.get(node.input[1]) if node.op_type == "Reshape" and len(node.input) > 1 else None
        if tensor is None or node.input[0] in stored or len(tensor.dims) != 1:
            continue
        target = np.array(array(tensor))
        if target.size and int(target[0]) in sizes:
            same = (shapes.get(node.input[0]) or (None,))[0] == target[0]
            if same or -1 not in target:
                target[0] = 0 if same else -1
                if same and (target[1:] != 0).all():
                    others = [a for a in node.attribute if a.name != "allowzero"]  # where 0 is a size
                    del node.attribute[:]
                    node.attribute.extend(others)
                node.input[1] = f"{node.input[1]}_batch_{i}"
                graph.initializer.append(numpy_helper.from_array(target, node.input[1]))


def check_batch(where: str, graph: Graph, fixed: Mapping[str, Any]) -> None:
    """Raise a DataFileError if the outputs for two batches together differ from those for each one.

    Args:
        where: the beginning of the error.
        graph: the graph with a variable batch size.
        fixed: the shape and dtype that the file gave each input, in their order.
    """
    rng = np.random.default_rng(0)
    batches = []
    images = [[FREE if n is None else n for n in shape or ()] for shape, _ in fixed.values()]
    if sum(map(prod, images)) > MOST:
        raise DataFileError(
            f"{where} has inputs of shape {' and '.join(map(str, images))}, too large for the comparison of "
            "batches that dynamic_batch=True needs; load it with dynamic_batch=False"
        )
    for sizes, (_, dtype) in zip(images, fixed.values(), strict=True):
        values = rng.uniform(0, 1, size=(2, *sizes)) if np.dtype(dtype).kind == "f" else np.zeros((2, *sizes))
        batches.append(values.astype(dtype))
    try:
        with no_grad(), np.errstate(all="ignore"):
            one, two = (_run(graph, [x[i] for x in batches]) for i in range(2))
            both = _run(graph, [np.concatenate(list(x)) if x.ndim > 1 else x[0] for x in batches])
        good = all(
            y.shape[:1] == (len(a) + len(b),) and np.allclose(y, np.concatenate([a, b]), 1e-3, 1e-4)
            for a, b, y in zip(one, two, both, strict=True)
        )
        why = "two images give other values, or other shapes, together than one by one"
    except (ValueError, TypeError, LookupError, ArithmeticError) as error:
        good, why = False, str(error)
    if not good:
        raise DataFileError(
            f"{where} computes with the size of its batch, so that dynamic_batch=True cannot free it: {why}; "
            "export the file again with a dynamic batch"
        )


def _run(graph: Graph, inputs: list[np.ndarray]) -> list[np.ndarray]:
    y = graph(*(asarray(x) for x in inputs))
    return [asnumpy(part) for part in (y if isinstance(y, tuple) else (y,))]
