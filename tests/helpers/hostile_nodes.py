"""Loads files of one node with attributes, inputs and outputs of all kinds at random: `python hostile_nodes.py SEED COUNT
OPSET [OPERATOR …]`. It prints the node before it loads it, for tests that look on from another process."""

import faulthandler
import os
import random
import sys
import tempfile
import warnings

import numpy as np
from onnx import ModelProto, TensorProto, defs, helper, numpy_helper

import xpconv.onnx
from xpconv.errors import DataFileError, OperatorError

Kind = defs.OpSchema.AttrType
INTS = [-9, -3, -1, 0, 1, 2, 3, 10, 2**31, 2**40, -(2**63), 2**63 - 1]
TEXTS = ["", "SAME_UPPER", "SAME_LOWER", "VALID", "wrap", "a->a", "zz", "linear", "sum", "ij,jk", "....a", "...a...", "a....",
         "...", "..", "->", ",,", "->...", "a...,b->...b", "cubic", "nearest", "NOTSET", "DCR", "\udcff"]  # fmt: skip
MAKERS = {
    Kind.INT: lambda rng: rng.choice(INTS),
    Kind.INTS: lambda rng: [rng.choice(INTS) for _ in range(rng.choice([0, 1, 2, 4, 8]))],
    Kind.FLOAT: lambda rng: rng.choice([0.0, -1.0, 1e30, float("nan"), float("inf")]),
    Kind.FLOATS: lambda rng: [rng.choice([0.0, 1.0, -2.0, 1e30]) for _ in range(rng.choice([0, 1, 3, 4]))],
    Kind.STRING: lambda rng: rng.choice(TEXTS).encode("utf-8", "surrogateescape"),
    Kind.STRINGS: lambda rng: [rng.choice(TEXTS).encode("utf-8", "surrogateescape")] * rng.choice([0, 1, 2]),
    Kind.TENSOR: lambda rng: numpy_helper.from_array(array(rng)),
}


def array(rng):
    shape = rng.choice([(), (0,), (1,), (2,), (4,), (1, 1), (2, 3), (1, 2, 3), (2, 2, 3, 3), (2, 0)])
    size = int(np.prod(shape))
    if rng.random() < 0.6:
        return np.array([rng.choice(INTS) for _ in range(size)], "int64").reshape(shape)
    numbers = np.array([rng.choice([0.0, 1.0, 2.5, -1.0, np.nan, 1e30]) for _ in range(size)]).reshape(shape)
    with np.errstate(all="ignore"):
        return numbers.astype(rng.choice(["float32", "float64", "float16", "bool", "int32", "uint8"]))


def schemas(opset):
    found = {}
    for schema in defs.get_all_schemas_with_history():
        newest = found[schema.name].since_version if schema.name in found else 0
        if schema.domain == "" and newest < schema.since_version <= opset:
            found[schema.name] = schema
    return dict(sorted(found.items()))


def made(schema, opset, rng):
    """A `ModelProto` of one node of an operator, and perhaps of a second, Identity."""
    count = rng.choice([schema.min_input, schema.min_input, min(schema.max_input, 5), rng.randint(0, 5)])
    inputs, stored, names = [helper.make_tensor_value_info("x0", 1, [2, 3])], [], []
    for i in range(count):
        name = "" if rng.random() < 0.1 else f"x{i}"
        names.append(name)
        if i and name and rng.random() < 0.6:
            stored.append(numpy_helper.from_array(array(rng), name))
        elif name:
            shape = [rng.choice([0, 1, 2, 5, None, "n"]) for _ in range(rng.choice([0, 1, 2, 3, 4, 4]))]
            kind = rng.choice(
                [TensorProto.FLOAT] * 4 + [TensorProto.INT64, TensorProto.BOOL, TensorProto.FLOAT16]
            )
            inputs[i and len(inputs) :] = [
                helper.make_tensor_value_info(name, kind, rng.choice([shape] * 5 + [None]))
            ]
    if not any(names):
        names = [*names, "x0"][-max(1, len(names)) :]
    node = helper.make_node(schema.name, names, ["y", "y1", "y2"][: rng.choice([1, 1, 2, 3])])
    for name, attribute in schema.attributes.items():
        if attribute.required or rng.random() < 0.5:
            kind = attribute.type if rng.random() < 0.95 else rng.choice(list(MAKERS))
            if kind in MAKERS:
                value = MAKERS[kind](rng)
                node.attribute.append(helper.make_attribute(name, value, attr_type=kind.value))
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph([node], "graph", inputs, [output], stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def main(seed, count, opset, *operators):
    warnings.simplefilter("ignore")
    faulthandler.enable()
    known = schemas(int(opset))
    loaded = 0
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "model.onnx")
        for name in operators or known:
            rng = random.Random(f"{seed} {name}")
            for _ in range(int(count)):
                proto: ModelProto = made(known[name], int(opset), rng)
                with open(path, "wb") as file:
                    file.write(proto.SerializeToString())
                print(" ".join(str(proto.graph).split())[:1500], flush=True)
                try:
                    xpconv.onnx.load(path, dynamic_batch=rng.random() < 0.2)
                    loaded += 1
                except (DataFileError, OperatorError):
                    pass
    print(f"loaded {loaded}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
