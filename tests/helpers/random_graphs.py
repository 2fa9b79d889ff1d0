"""Random ONNX graphs of operators with constants, shape arithmetic and several inputs and outputs."""

import random
from math import prod

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSETS = (7, 8, 9, 10, 11, 12, 13, 14, 15, 17, 18, 20, 22)
SHAPES = ((2, 4, 4, 3), (3, 5), (2, 3, 4), (2, 4, 5, 5), (1, 4, 2, 2))
MOST = 3000  # elements of an array
SINCE = {"Erf": 9, "Celu": 12, "HardSwish": 14, "Mish": 18, "Gelu": 20, "ThresholdedRelu": 10, "Shrink": 9}
FUNCTIONS = ("Relu", "LeakyRelu", "Elu", "Sigmoid", "Tanh", "Softplus", "Softsign", "Abs", "Neg", "Selu", "HardSigmoid", "Identity", *SINCE)  # fmt: skip
REDUCTIONS = ("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL2", "ReduceSumSquare", "ReduceL1", "ReduceLogSumExp")  # fmt: skip
STEPS = []


class Draft:
    """A graph that grows; `shapes` has the shapes of its values by name."""

    def __init__(self, seed):
        self.random, self.numbers = random.Random(seed), np.random.default_rng(seed)
        self.opset = self.random.choice(OPSETS)
        self.nodes, self.constants, self.count = [], {}, 0
        self.inputs = {f"x{i}": self.random.choice(SHAPES) for i in range(self.random.choice((1, 1, 2)))}
        self.shapes = dict(self.inputs)

    def one(self, *choices):
        return self.random.choice(choices)

    def name(self):
        self.count += 1
        return f"t{self.count}"

    def constant(self, array):
        """An initializer, or the output of a node Constant."""
        array, name = np.asarray(array), self.name()
        if self.random.random() < 0.3:
            self.nodes.append(helper.make_node("Constant", [], [name], value=numpy_helper.from_array(array)))
        else:
            self.constants[name] = array
        return name

    def ints(self, *numbers):
        return self.constant(np.array(numbers, "int64"))

    def drawn(self, *shape):
        return self.constant(self.numbers.normal(size=shape).astype("float32"))

    def node(self, op, *inputs, outputs=1, **attributes):
        names = [self.name() for _ in range(outputs)]
        self.nodes.append(helper.make_node(op, inputs, names, **attributes))
        return names if outputs > 1 else names[0]

    def give(self, name, *shape):
        self.shapes[name] = tuple(shape)

    def grow(self):
        self.one(*STEPS)(self, x := self.one(*self.shapes), self.shapes[x])


def step(function):
    STEPS.append(function)
    return function


@step
def elementwise(d, x, shape):
    op = d.one(*FUNCTIONS)
    if SINCE.get(op, 7) <= d.opset:
        d.give(d.node(op, x), *shape)


@step
def arithmetic(d, x, shape):
    y = d.one(*d.shapes)
    try:
        whole = np.broadcast_shapes(shape, d.shapes[y])
    except ValueError:
        y, whole = d.drawn(*(d.one(1, n) for n in shape[d.random.randrange(len(shape) + 1) :])), shape
    op = d.one("Add", "Sub", "Mul", *(("Max", "Min", "Sum", "Mean") if d.opset >= 8 else ()))
    d.give(d.node(op, *d.one((x, y), (y, x))), *whole)


@step
def quotient(d, x, shape):
    below = d.node("Add", d.node("Abs", x), d.constant(np.float32(1)))
    d.give(d.node("Div", x, d.node("Sqrt", below)), *shape)


@step
def transpose(d, x, shape):
    if shape:
        order = d.random.sample(range(len(shape)), len(shape))
        d.give(d.node("Transpose", x, perm=order), *(shape[i] for i in order))


@step
def reshape(d, x, shape):
    n = prod(shape)
    first = d.one(*(i for i in range(1, n + 1) if n % i == 0))
    second = d.one(*(i for i in range(1, n // first + 1) if n // first % i == 0))
    target = [first, second, n // first // second]
    given = list(target)
    if d.one(True, False):
        given[d.random.randrange(3)] = -1
    d.give(d.node("Reshape", x, d.ints(*given)), *target)


@step
def computed_shape(d, x, shape):
    if shape:
        d.give(d.node("Reshape", d.node("Flatten", x, axis=0), d.node("Shape", x)), *shape)


@step
def by_size(d, x, shape):
    if shape:
        size = d.node(
            "Gather", d.node("Shape", x), d.constant(np.array(d.random.randrange(len(shape)))), axis=0
        )
        d.give(d.node("Mul", x, d.node("Cast", size, to=TensorProto.FLOAT)), *shape)


@step
def unsqueeze(d, x, shape):
    axis = d.random.randrange(len(shape) + 1)
    if len(shape) < 5:
        y = d.node("Unsqueeze", x, axes=[axis]) if d.opset < 13 else d.node("Unsqueeze", x, d.ints(axis))
        d.give(y, *shape[:axis], 1, *shape[axis:])


@step
def squeeze(d, x, shape):
    if 1 in shape:
        axis = shape.index(1)
        y = d.node("Squeeze", x, axes=[axis]) if d.opset < 13 else d.node("Squeeze", x, d.ints(axis))
        d.give(y, *shape[:axis], *shape[axis + 1 :])


@step
def flatten(d, x, shape):
    axis = d.random.randrange(len(shape) + 1)
    d.give(d.node("Flatten", x, axis=axis), prod(shape[:axis]), prod(shape[axis:]))


@step
def concat(d, x, shape):
    if shape:
        axis = d.random.randrange(len(shape))
        d.give(d.node("Concat", x, x, axis=axis), *shape[:axis], 2 * shape[axis], *shape[axis + 1 :])


@step
def split(d, x, shape):
    axes = [axis for axis, n in enumerate(shape) if n > 1]
    if axes:
        axis = d.one(*axes)
        first = d.random.randrange(1, shape[axis])
        sizes = first, shape[axis] - first
        given, options = ((x,), {"split": sizes}) if d.opset < 13 else ((x, d.ints(*sizes)), {})
        for y, n in zip(d.node("Split", *given, outputs=2, axis=axis, **options), sizes, strict=True):
            d.give(y, *shape[:axis], n, *shape[axis + 1 :])


@step
def cut(d, x, shape):
    if not shape:
        return
    axis, stride = d.random.randrange(len(shape)), d.one(1, 1, 2, -1) if d.opset >= 10 else 1
    start, end = (
        d.one(0, 1, -2) if stride > 0 else 2**31 - 1,
        d.one(-1, 2, 100, 2**31 - 1) if stride > 0 else -(2**31),
    )
    n = len(range(shape[axis])[start : end if stride > 0 else None : stride])
    if n and d.opset < 10:
        d.give(
            d.node("Slice", x, starts=[start], ends=[end], axes=[axis]), *shape[:axis], n, *shape[axis + 1 :]
        )
    elif n:
        given = (d.ints(number) for number in (start, end, axis, stride))
        d.give(d.node("Slice", x, *given), *shape[:axis], n, *shape[axis + 1 :])


@step
def gather(d, x, shape):
    if shape:
        axis = d.random.randrange(len(shape))
        indices = d.numbers.integers(0, shape[axis], size=d.one((), (1,), (3,), (1, 2)))
        d.give(
            d.node("Gather", x, d.constant(indices), axis=axis),
            *shape[:axis],
            *indices.shape,
            *shape[axis + 1 :],
        )


@step
def reduction(d, x, shape):
    if shape:
        op, keep = d.one(*REDUCTIONS), d.one(0, 1)
        axes = sorted(d.random.sample(range(len(shape)), d.random.randrange(1, len(shape) + 1)))
        attribute = d.opset < (13 if op == "ReduceSum" else 18)
        given, options = ((x,), {"axes": axes}) if attribute else ((x, d.ints(*axes)), {})
        sizes = [1 if axis in axes else n for axis, n in enumerate(shape) if keep or axis not in axes]
        d.give(d.node(op, *given, keepdims=keep, **options), *sizes)


@step
def softmax(d, x, shape):
    if shape:
        d.give(d.node(d.one("Softmax", "LogSoftmax"), x, axis=d.random.randrange(len(shape))), *shape)


@step
def product(d, x, shape):
    if len(shape) >= 2:
        n = d.one(2, 3)
        d.give(d.node("MatMul", x, d.drawn(shape[-1], n)), *shape[:-1], n)


@step
def gemm(d, x, shape):
    if len(shape) == 2:
        n = d.one(2, 3)
        factors = {"alpha": d.one(1.0, 0.5), "beta": d.one(1.0, 2.0)}
        d.give(d.node("Gemm", x, d.drawn(n, shape[1]), d.drawn(n), transB=1, **factors), shape[0], n)


@step
def convolution(d, x, shape):
    if len(shape) == 4 and min(shape[2:]) > 1:
        out, kernel, stride, pads = (
            d.one(2, 4),
            (d.one(1, 2), d.one(1, 2)),
            d.one(1, 2),
            [d.one(0, 1) for _ in range(4)],
        )
        bias = [d.drawn(out)] if d.one(True, False) else []
        sizes = [(n + pads[i] + pads[i + 2] - kernel[i]) // stride + 1 for i, n in enumerate(shape[2:])]
        y = d.node("Conv", x, d.drawn(out, shape[1], *kernel), *bias, strides=[stride] * 2, pads=pads)
        d.give(y, shape[0], out, *sizes)


@step
def pool(d, x, shape):
    if len(shape) == 4 and min(shape[2:]) > 1:
        y = d.node(d.one("MaxPool", "AveragePool"), x, kernel_shape=[2, 2])
        d.give(y, *shape[:2], shape[2] - 1, shape[3] - 1)


@step
def global_pool(d, x, shape):
    if len(shape) >= 3:
        d.give(d.node(d.one("GlobalAveragePool", "GlobalMaxPool"), x), *shape[:2], *[1] * (len(shape) - 2))


@step
def resize(d, x, shape):
    if len(shape) == 4 and d.opset >= 11:
        roi = "" if d.opset >= 13 else d.constant(np.zeros(0, "float32"))
        where = d.one("half_pixel", "align_corners", "asymmetric")
        y = d.node(
            "Resize", x, roi, d.constant(np.array([1, 1, 2, 1.5], "float32")),
            mode=d.one("nearest", "linear"), coordinate_transformation_mode=where,
        )  # fmt: skip
        d.give(y, *shape[:2], 2 * shape[2], int(1.5 * shape[3]))


@step
def pad(d, x, shape):
    if shape:
        pads = [d.one(0, 1) for _ in range(2 * len(shape))]
        y = d.node("Pad", x, pads=pads, value=0.5) if d.opset < 11 else d.node("Pad", x, d.ints(*pads))
        d.give(y, *(n + pads[i] + pads[i + len(shape)] for i, n in enumerate(shape)))


@step
def where(d, x, shape):
    if d.opset >= 9:
        d.give(
            d.node("Where", d.node("Greater", x, d.constant(np.float32(0.05))), x, d.node("Neg", x)), *shape
        )


@step
def repeat(d, x, shape):
    if shape and d.opset >= 8:
        times = [d.one(1, 2) for _ in shape]
        d.give(d.node("Tile", x, d.ints(*times)), *(n * m for n, m in zip(shape, times, strict=True)))
        d.give(d.node("Expand", x, d.ints(2, *shape)), 2, *shape)


@step
def normalization(d, x, shape):
    if len(shape) >= 3 and prod(shape[2:]) > 2:
        d.give(d.node("InstanceNormalization", x, d.drawn(shape[1]), d.drawn(shape[1]), epsilon=0.1), *shape)
    elif len(shape) >= 2:
        variance = d.constant(np.linspace(0.5, 2, shape[1], dtype="float32"))
        d.give(d.node("BatchNormalization", x, *(d.drawn(shape[1]) for _ in range(3)), variance), *shape)


def drawn(seed):
    """A model, and arrays for its inputs by name."""
    d = Draft(seed)
    for _ in range(d.random.randrange(2, 14)):
        d.grow()
        if max(map(prod, d.shapes.values())) > MOST:
            break
    made = [name for name in d.shapes if name not in d.inputs] or [d.node("Relu", "x0")]
    infos = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in d.inputs.items()
    ]
    if d.opset < 9:  # these opsets require initializers to be inputs as well
        infos += [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
            for name, array in d.constants.items()
        ]
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in made[-d.one(1, 1, 2) :]
    ]
    stored = [numpy_helper.from_array(array, name) for name, array in d.constants.items()]
    graph = helper.make_graph(d.nodes, "g", infos, outputs, stored)
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", d.opset)], ir_version=8 if d.opset > 8 else 3
    )
    return model, {name: d.numbers.normal(size=shape).astype("float32") for name, shape in d.inputs.items()}


def in_float64(model):
    """The same model with numbers in float64, except for the scales of Resize."""
    wide = onnx.ModelProto.FromString(model.SerializeToString())
    scales = {name for node in wide.graph.node if node.op_type == "Resize" for name in node.input[1:]}
    tensors = [(array.name, array) for array in wide.graph.initializer]
    tensors += [
        (node.output[0], node.attribute[0].t) for node in wide.graph.node if node.op_type == "Constant"
    ]
    for name, array in tensors:
        if array.data_type == TensorProto.FLOAT and name not in scales:
            array.CopyFrom(
                numpy_helper.from_array(numpy_helper.to_array(array).astype("float64"), array.name)
            )
    for info in (*wide.graph.input, *wide.graph.output):
        if info.type.tensor_type.elem_type == TensorProto.FLOAT and info.name not in scales:
            info.type.tensor_type.elem_type = TensorProto.DOUBLE
    for node in wide.graph.node:
        if node.op_type == "Cast":
            node.attribute[0].i = TensorProto.DOUBLE
    return wide
