"""Models of single nodes, and arrays for them."""

from contextlib import suppress

import numpy as np
import onnx
from onnx import helper, numpy_helper

RNG = np.random.default_rng(5)
X = RNG.normal(size=(2, 4, 6, 6)).astype("float32")
ROWS = RNG.normal(size=(3, 4, 5)).astype("float32")
MATRIX = RNG.normal(size=(3, 4)).astype("float32")
MASK = np.array([[True, False, True, True], [False] * 4, [True] * 4])


def draw(*shape):
    return RNG.normal(size=shape).astype("float32")


def ints(*numbers):
    return np.array(numbers, "int64")


def model(nodes, opset, inputs, constants, outputs=("y",), infer=True):
    """A model of `(op, inputs, outputs, attributes)`; `inputs` and `constants` are arrays by name."""
    protos = [helper.make_node(op, i.split(), o.split(), **attributes) for op, i, o, attributes in nodes]
    for proto in protos:
        proto.input[:] = ["" if name == "-" else name for name in proto.input]
    infos = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(x.dtype), x.shape)
        for name, x in inputs.items()
    ]
    results = [onnx.ValueInfoProto(name=name) for name in outputs]
    stored = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(protos, "graph", infos, results, stored)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    return onnx.shape_inference.infer_shapes(made) if infer else made


NUMBERS = [0, -1, 1, 2, 7, 64, 65, 2**31 - 1, 2**31, -(2**31), 2**63 - 1, -(2**63), 10**12]
TEXTS = ["", "x", "y", "w", "Conv", "Reshape", "Loop", "Slice"]


def mutated(proto, rng):
    """The bytes of a model of which some are changed, or left out, or some fields are."""
    if rng.random() < 0.35:
        data = bytearray(proto.SerializeToString())
        if rng.random() < 0.2:
            return bytes(data[: rng.randrange(len(data))])
        for _ in range(rng.choice([1, 1, 2, 5])):
            data[rng.randrange(len(data))] = rng.randrange(256)
        return bytes(data)
    copy = onnx.ModelProto.FromString(proto.SerializeToString())
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        message = rng.choice(list(messages(copy.graph)))
        if fields := message.ListFields():
            with suppress(ValueError):  # of numbers that the field cannot have
                change(message, *rng.choice(fields), rng)
    return copy.SerializeToString()


def messages(message):
    """A message and all within it."""
    yield message
    for field, value in message.ListFields():
        if field.message_type is not None:
            for part in value if field.is_repeated else [value]:
                yield from messages(part)


def change(message, field, value, rng):
    """Change a field of a message: a number, a text, or which parts it has."""
    if field.is_repeated:
        i, j = rng.randrange(len(value)), rng.randrange(len(value))
        if rng.random() < 0.25:
            del value[i]
        elif field.message_type is None:
            value[i] = other(value[i], rng)
        elif rng.random() < 0.5:
            value.append(value[i])
        else:
            value[i].CopyFrom(type(value[j]).FromString(value[j].SerializeToString()))
    elif field.message_type is not None or rng.random() < 0.2:
        message.ClearField(field.name)
    else:
        setattr(message, field.name, other(value, rng))


def other(value, rng):
    """Another value of the type."""
    if isinstance(value, int):
        return rng.choice([*NUMBERS, min(value + 1, 2**63 - 1), max(value - 1, -(2**63))])
    if isinstance(value, float):
        return rng.choice([0.0, -1.0, 1e30, float("nan"), float("inf"), value / 2])
    if isinstance(value, str):
        return rng.choice([*TEXTS, value + "a"])
    return rng.choice([b"", value[:-1], value + b"0", value[::-1], b"\xff" * len(value)])
