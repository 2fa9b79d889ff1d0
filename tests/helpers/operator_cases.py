"""Operators over their options: for each a function that makes it, its inputs, and plain NumPy."""

import numpy as np
from scipy import special

from xpconv.layers import operators as ops

RNG = np.random.default_rng(7)


def draw(*shape):
    """Numbers away from 0, of which no two are close to each other."""
    count = int(np.prod(shape))
    values = (np.arange(count) + 1) * 1.7 / max(count, 1) + 0.3
    return (RNG.permutation(values) * RNG.choice([-1, 1], count)).reshape(shape)


def positive(*shape):
    return abs(draw(*shape))


def ints(*numbers):
    return np.array(numbers, "int64")


A, B, ROW, ONE = draw(2, 3, 4), draw(2, 3, 4) * 1.01, draw(4), draw(3, 1)
IMAGES = draw(2, 4, 6, 6)

ARITHMETIC = {
    "Add": (lambda: ops.Add(), (A, ROW), np.add),
    "Add, both broadcast": (lambda: ops.Add(), (ROW, ONE), np.add),
    "Sub": (lambda: ops.Sub(), (ONE, A), np.subtract),
    "Mul": (lambda: ops.Mul(), (A, ONE), np.multiply),
    "Div": (lambda: ops.Div(), (A, ROW), np.divide),
    "Pow": (lambda: ops.Pow(), (positive(2, 3), draw(3)), np.power),
    "Mod": (lambda: ops.Mod(fmod=True), (A, ROW * 1.37), np.fmod),
    "Pow of integers": (lambda: ops.Pow(), (A, ints(2)), np.power),
    "Pow, 0": (lambda: ops.Pow(), (A, ints(0, 1, 2, 3)), np.power),
    "Max of one": (lambda: ops.Max(), (A,), lambda a: a),
    "Max": (lambda: ops.Max(), (A, B, ROW), lambda a, b, c: np.maximum(np.maximum(a, b), c)),
    "Min": (lambda: ops.Min(), (A, B), np.minimum),
    "Sum": (lambda: ops.Sum(), (A, ROW, ONE), lambda a, b, c: a + b + c),
    "Mean": (lambda: ops.Mean(), (A, ROW), lambda a, b: (a + b) / 2),
    "Where": (lambda: ops.Where(), (ints(1, 0, 1, 0), A, ONE), np.where),
    "Clip": (lambda: ops.Clip(-0.6, 0.9), (A,), lambda x: np.clip(x, -0.6, 0.9)),
    "Clip, low": (lambda: ops.Clip(-0.6), (A,), lambda x: np.maximum(x, -0.6)),
    "Clip, inputs": (
        lambda: ops.Clip(bounds=("low", "high")), (A, np.array(-0.6), np.array(0.9)), lambda x, a, b: np.clip(x, a, b),
    ),
    "Clip, bounds crossed": (
        lambda: ops.Clip(bounds=("low", "high")), (A, np.array(0.6), np.array(-0.9)), lambda x, a, b: np.clip(x, a, b),
    ),
    "Clip, one input": (lambda: ops.Clip(low=-0.5, bounds=("high",)), (A, np.array(0.4)), lambda x, b: np.clip(x, -0.5, b)),
}  # fmt: skip
ELEMENTWISE = {
    "Neg": (lambda: ops.Neg(), (A,), np.negative),
    "Abs": (lambda: ops.Abs(), (A,), np.abs),
    "Sqrt": (lambda: ops.Sqrt(), (positive(3, 4),), np.sqrt),
    "Exp": (lambda: ops.Exp(), (A,), np.exp),
    "Log": (lambda: ops.Log(), (positive(3, 4),), np.log),
    "Reciprocal": (lambda: ops.Reciprocal(), (A,), lambda x: 1 / x),
    "Sin": (lambda: ops.Sin(), (A,), np.sin),
    "Cos": (lambda: ops.Cos(), (A,), np.cos),
    "Tan": (lambda: ops.Tan(), (A * 0.6,), np.tan),
    "Sinh": (lambda: ops.Sinh(), (A,), np.sinh),
    "Cosh": (lambda: ops.Cosh(), (A,), np.cosh),
    "Asin": (lambda: ops.Asin(), (A * 0.4,), np.arcsin),
    "Acos": (lambda: ops.Acos(), (A * 0.4,), np.arccos),
    "Atan": (lambda: ops.Atan(), (A,), np.arctan),
    "Asinh": (lambda: ops.Asinh(), (A,), np.arcsinh),
    "Acosh": (lambda: ops.Acosh(), (positive(3, 4) + 1,), np.arccosh),
    "Atanh": (lambda: ops.Atanh(), (A * 0.4,), np.arctanh),
    "Hardmax": (lambda: ops.Hardmax(1), (A,), lambda x: 1.0 * (x == x.max(1, keepdims=True))),
    "LpNormalization": (
        lambda: ops.LpNormalization(1), (A,), lambda x: x / np.sqrt((x * x).sum(1, keepdims=True)),
    ),
    "LpNormalization, 1": (
        lambda: ops.LpNormalization(-1, 1), (A,), lambda x: x / abs(x).sum(-1, keepdims=True),
    ),
    "Erf": (lambda: ops.Erf(), (A,), special.erf),
    "Floor": (lambda: ops.Floor(), (A * 2.9 + 0.013,), np.floor),
    "Ceil": (lambda: ops.Ceil(), (A * 2.9 + 0.013,), np.ceil),
    "Round": (lambda: ops.Round(), (A * 2.9 + 0.013,), np.round),
    "Sign": (lambda: ops.Sign(), (A,), np.sign),
    "Copy": (lambda: ops.Copy(), (A,), lambda x: x),
    "Selu": (lambda: ops.Selu(2.0, 3.0), (A,), lambda x: 3 * np.where(x > 0, x, 2 * (np.exp(x) - 1))),
    "HardSigmoid": (lambda: ops.HardSigmoid(0.7, 0.4), (A,), lambda x: np.clip(0.7 * x + 0.4, 0, 1)),
    "Shrink": (
        lambda: ops.Shrink(0.8, 0.3), (A,), lambda x: np.where(x < -0.8, x + 0.3, np.where(x > 0.8, x - 0.3, 0)),
    ),
    "PRelu": (lambda: ops.PRelu(), (A, ONE), lambda x, a: np.where(x > 0, x, a * x)),
    "FlatSoftmax": (
        lambda: ops.FlatSoftmax(1), (A,), lambda x: special.softmax(x.reshape(2, 12), 1).reshape(x.shape),
    ),
    "FlatSoftmax, axis 0": (lambda: ops.FlatSoftmax(0), (A,), special.softmax),
    "FlatSoftmax, log": (
        lambda: ops.FlatSoftmax(-2, log=True), (A,), lambda x: special.log_softmax(x.reshape(2, 12), 1).reshape(x.shape),
    ),
}  # fmt: skip
REDUCTION = {
    "ReduceSum": (lambda: ops.ReduceSum(), (A,), lambda x: x.sum(keepdims=True)),
    "ReduceSum, axis": (lambda: ops.ReduceSum((1,)), (A,), lambda x: x.sum(1, keepdims=True)),
    "ReduceSum, noop": (lambda: ops.ReduceSum((), noop_with_empty_axes=True), (A,), lambda x: x),
    "ReduceMean": (lambda: ops.ReduceMean((-1, 0), keepdims=False), (A,), lambda x: x.mean((0, 2))),
    "ReduceMean, input": (lambda: ops.ReduceMean(inputs=("axes",)), (A, ints(1)), lambda x, a: x.mean(1, keepdims=True)),
    "ReduceMax": (lambda: ops.ReduceMax((0, 2), keepdims=False), (A,), lambda x: x.max((0, 2))),
    "ReduceMin": (lambda: ops.ReduceMin((1,)), (A,), lambda x: x.min(1, keepdims=True)),
    "ReduceL2": (lambda: ops.ReduceL2((1,)), (A,), lambda x: np.sqrt((x * x).sum(1, keepdims=True))),
    "ReduceL1": (lambda: ops.ReduceL1((1,)), (A,), lambda x: abs(x).sum(1, keepdims=True)),
    "ReduceLogSum": (lambda: ops.ReduceLogSum((1, 2)), (positive(2, 3, 4),), lambda x: np.log(x.sum((1, 2), keepdims=True))),
    "ReduceLogSumExp": (
        lambda: ops.ReduceLogSumExp((0, -1), keepdims=False), (A,), lambda x: special.logsumexp(x, (0, 2)),
    ),
    "ReduceProd": (lambda: ops.ReduceProd((0, 2)), (A,), lambda x: x.prod((0, 2), keepdims=True)),
    "ReduceProd, 0": (
        lambda: ops.ReduceProd((1,), keepdims=False), (A * (A.min() + 0.1 < A),), lambda x: x.prod(1),
    ),
    "CumSum": (lambda: ops.CumSum((1,)), (A,), lambda x: x.cumsum(1)),
    "CumSum, from the end": (
        lambda: ops.CumSum((-1,), exclusive=True, reverse=True), (A,), lambda x: np.flip(np.flip(x, 2).cumsum(2), 2) - x,
    ),
    "CumSum, input": (lambda: ops.CumSum(inputs=("axis",)), (A, ints(2)), lambda x, a: x.cumsum(2)),
    "ReduceSumSquare": (lambda: ops.ReduceSumSquare(keepdims=False), (A,), lambda x: (x * x).sum()),
}  # fmt: skip
PRODUCTS = {
    "MatMul": (lambda: ops.MatMul(), (draw(3, 4), draw(4, 2)), np.matmul),
    "MatMul, shared": (lambda: ops.MatMul(), (A, draw(4, 5)), np.matmul),
    "MatMul, batches": (lambda: ops.MatMul(), (draw(2, 1, 3, 4), draw(5, 4, 2)), np.matmul),
    "MatMul, batches of b": (lambda: ops.MatMul(), (draw(3, 4), draw(5, 4, 2)), np.matmul),
    "MatMul, vectors": (lambda: ops.MatMul(), (draw(4), draw(4)), np.matmul),
    "MatMul, row": (lambda: ops.MatMul(), (draw(4), draw(5, 4, 2)), np.matmul),
    "MatMul, row and matrix": (lambda: ops.MatMul(), (draw(4), draw(4, 2)), np.matmul),
    "MatMul, column": (lambda: ops.MatMul(), (A, draw(4)), np.matmul),
    "Einsum": (lambda: ops.Einsum("bij, jk -> bik"), (A, draw(4, 2)), np.matmul),
    "Einsum, ellipsis": (
        lambda: ops.Einsum("...i,i...->i..."), (draw(2, 4), draw(4, 2)), lambda a, b: np.einsum("ai,ia->ia", a, b),
    ),
    "Einsum, summed letters": (
        lambda: ops.Einsum("ij,jk,l"), (draw(2, 3), draw(3, 4), draw(2)), lambda a, b, c: np.einsum("ij,jk,l->ikl", a, b, c),
    ),
    "Einsum, sum": (lambda: ops.Einsum("ijk->j"), (A,), lambda a: a.sum((0, 2))),
    "Gemm": (lambda: ops.Gemm(), (draw(3, 4), draw(4, 2)), np.matmul),
    "Gemm, all": (
        lambda: ops.Gemm(0.5, 2.0, True, True), (draw(4, 3), draw(2, 4), draw(2)), lambda a, b, c: a.T @ b.T / 2 + 2 * c,
    ),
    "Gemm, column": (lambda: ops.Gemm(trans_b=True), (draw(3, 4), draw(2, 4), draw(3, 1)), lambda a, b, c: a @ b.T + c),
}  # fmt: skip
SHAPES = {
    "Reshape": (lambda: ops.Reshape((0, -1)), (A,), lambda x: x.reshape(2, 12)),
    "Reshape, input": (lambda: ops.Reshape(inputs=("shape",)), (A, ints(4, -1)), lambda x, s: x.reshape(4, 6)),
    "FlattenTo2d": (lambda: ops.FlattenTo2d(2), (A,), lambda x: x.reshape(6, 4)),
    "FlattenTo2d, 0": (lambda: ops.FlattenTo2d(0), (A,), lambda x: x.reshape(1, 24)),
    "FlattenTo2d, last": (lambda: ops.FlattenTo2d(3), (A,), lambda x: x.reshape(24, 1)),
    "Squeeze": (lambda: ops.Squeeze(), (draw(1, 3, 1),), np.squeeze),
    "Squeeze, axes": (lambda: ops.Squeeze((-1,)), (draw(1, 3, 1),), lambda x: x.squeeze(-1)),
    "Unsqueeze": (lambda: ops.Unsqueeze((0, -1)), (A,), lambda x: x[None, ..., None]),
    "Unsqueeze, input": (lambda: ops.Unsqueeze(inputs=("axes",)), (A, ints(1)), lambda x, a: x[:, None]),
    "Transpose": (lambda: ops.Transpose(), (A,), np.transpose),
    "Transpose, perm": (lambda: ops.Transpose((2, 0, 1)), (A,), lambda x: x.transpose(2, 0, 1)),
    "Expand": (lambda: ops.Expand((2, 1, 4)), (ONE,), lambda x: np.broadcast_to(x, (2, 3, 4))),
    "Expand, input": (lambda: ops.Expand(inputs=("shape",)), (ONE, ints(3, 2)), lambda x, s: np.broadcast_to(x, (3, 2))),
    "Tile": (lambda: ops.Tile((2, 1, 3)), (A,), lambda x: np.tile(x, (2, 1, 3))),
    "Tile, input": (lambda: ops.Tile(inputs=("repeats",)), (ONE, ints(1, 2)), lambda x, r: np.tile(x, (1, 2))),
    "Concatenate": (lambda: ops.Concatenate(-2), (A, draw(2, 1, 4), B), lambda *x: np.concatenate(x, 1)),
    "Concatenate, one": (lambda: ops.Concatenate(0), (A,), lambda x: x),
    "DepthToSpace": (
        lambda: ops.DepthToSpace(2), (draw(2, 8, 2, 3),),
        lambda x: x.reshape(2, 2, 2, 2, 2, 3).transpose(0, 3, 4, 1, 5, 2).reshape(2, 2, 4, 6),
    ),
    "SpaceToDepth": (
        lambda: ops.SpaceToDepth(2), (IMAGES,),
        lambda x: np.concatenate([x[:, :, i::2, j::2] for i in (0, 1) for j in (0, 1)], 1),
    ),
}  # fmt: skip
INDEXING = {
    "Slice": (lambda: ops.Slice((1, -2), (9, 0), (1, 2), (1, -1)), (A,), lambda x: x[:, 1:, -2:0:-1]),
    "Slice, input": (
        lambda: ops.Slice((-9,), axes=(2,), inputs=("ends", "steps")), (A, ints(-1), ints(2)), lambda x, e, s: x[..., :-1:2],
    ),
    "Slice, backwards": (lambda: ops.Slice((99,), (-99,), steps=(-2,)), (IMAGES,), lambda x: x[::-2]),
    "Slice, nothing": (lambda: ops.Slice((2,), (1,), (1,)), (A,), lambda x: x[:, 2:1]),
    "SplitPart": (lambda: ops.SplitPart(1, 2, sizes=(1, 3)), (A,), lambda x: x[..., 1:]),
    "SplitPart, last": (lambda: ops.SplitPart(1, -1, parts=2), (draw(2, 5),), lambda x: x[:, 3:]),
    "SplitPart, input": (lambda: ops.SplitPart(0, 1, inputs=("sizes",)), (A, ints(2, 1)), lambda x, s: x[:, :2]),
    "Gather": (lambda: ops.Gather(1), (A, ints(2, 0, -1, 2)), lambda x, i: x.take(i, 1)),
    "Gather, scalar": (lambda: ops.Gather(-1), (A, np.array(1)), lambda x, i: x[..., 1]),
    "Gather, matrix": (lambda: ops.Gather(), (A, ints([0, 1, 1], [1, 1, 0])), lambda x, i: x[i]),
    "Gather, none": (lambda: ops.Gather(2), (A, ints()), lambda x, i: x[..., :0]),
    "GatherElements": (
        lambda: ops.GatherElements(1), (A, ints([[2, 0], [-1, 2], [2, 2], [0, 1]])),
        lambda x, i: np.take_along_axis(x[:1, :, :2], i, 1),
    ),
    "GatherND": (lambda: ops.GatherND(), (A, ints([1, 2], [0, -1], [1, 2])), lambda x, i: x[i[:, 0], i[:, 1]]),
    "GatherND, batch": (
        lambda: ops.GatherND(1), (A, ints([[2]], [[-3]])), lambda x, i: np.stack([x[0, 2:], x[1, :1]]),
    ),
    "ScatterElements": (
        lambda: ops.ScatterElements(-1), (A[0], ints([1], [-1]), draw(2, 1)),
        lambda x, i, u: np.stack([np.r_[x[0, :1], u[0], x[0, 2:]], np.r_[x[1, :3], u[1]], x[2]]),
    ),
    "ScatterElements, add": (
        lambda: ops.ScatterElements(add=True), (A[0], ints([2, 2], [2, 0]), draw(2, 2)),
        lambda x, i, u: x + np.pad([[0, u[1, 1]], [0, 0], [u[0, 0] + u[1, 0], u[0, 1]]], ((0, 0), (0, 2))),
    ),
    "ScatterND": (
        lambda: ops.ScatterND(), (A, ints([1, 2], [0, 0]), draw(2, 4)),
        lambda x, i, u: np.stack([[u[1], x[0, 1], x[0, 2]], [x[1, 0], x[1, 1], u[0]]]),
    ),
    "ScatterND, add": (
        lambda: ops.ScatterND(add=True), (A, ints([1], [1]), draw(2, 3, 4)), lambda x, i, u: np.stack([x[0], x[1] + u.sum(0)]),
    ),
    "TopK": (lambda: ops.TopK(1, k=(2,)), (A,), lambda x: -np.sort(-x, 1)[:, :2]),
    "TopK, smallest": (lambda: ops.TopK(largest=False, inputs=("k",)), (A, ints(3)), lambda x, k: np.sort(x)[..., :3]),
    "TopK, none": (lambda: ops.TopK(k=(0,)), (A,), lambda x: x[..., :0]),
    "Trilu": (lambda: ops.Trilu(), (A,), np.triu),
    "Trilu, lower": (lambda: ops.Trilu(False, inputs=("k",)), (A, ints(-1)), lambda x, k: np.tril(x, -1)),
    "OneHot": (
        lambda: ops.OneHot(1, (3,)), (ints([0, 2], [-1, 1]), draw(2)),
        lambda i, v: np.where(np.eye(3)[i % 3].transpose(0, 2, 1), v[1], v[0]),
    ),
    "Pad": (
        lambda: ops.Pad(pads=(1, 0, 2, 0, 1, -1), value=1.5), (A,),
        lambda x: np.pad(x[:, :, :-1], ((1, 0), (0, 1), (2, 0)), constant_values=1.5),
    ),
    "Pad, value": (
        lambda: ops.Pad(pads=(1, 2), axes=(1,)), (A, np.array(0.7)),
        lambda x, v: np.pad(x, ((0, 0), (1, 2), (0, 0)), constant_values=v),
    ),
    "Pad, inputs": (
        lambda: ops.Pad(inputs=("pads", "axes")), (A, ints(1, 2), ints(-1)), lambda x, p, a: np.pad(x, ((0, 0), (0, 0), (1, 2))),
    ),
    "Pad, reflect": (
        lambda: ops.Pad("reflect", (0, 1, 3, 0, 2, 0)), (A,), lambda x: np.pad(x, ((0, 0), (1, 2), (3, 0)), "reflect"),
    ),
    "Pad, edge": (
        lambda: ops.Pad("edge", (2, 1, 0, 1, 4, 1)), (A,), lambda x: np.pad(x, ((2, 1), (1, 4), (0, 1)), "edge"),
    ),
    "Pad, wrap": (lambda: ops.Pad("wrap", (3, 4), (2,)), (A,), lambda x: np.pad(x, ((0, 0), (0, 0), (3, 4)), "wrap")),
}  # fmt: skip


def group_norm(x, scale, bias, groups):
    split = x.reshape(len(x), groups, -1)
    y = (split - split.mean(2, keepdims=True)) / np.sqrt(split.var(2, keepdims=True) + 0.1)
    times = x.shape[1] // len(scale)
    shape = (-1, *(1,) * (x.ndim - 2))
    return y.reshape(x.shape) * scale.repeat(times).reshape(shape) + bias.repeat(times).reshape(shape)


def layer_norm(x, scale, bias, axes):
    return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + 0.1) * scale + bias


def batch_norm(x, scale, bias, mean, var):
    c = (slice(None), None, None)
    return (x - mean[c]) / np.sqrt(var[c] + 0.1) * scale[c] + bias[c]


def lrn(x):
    squares = np.pad(x * x, ((0, 0), (1, 2), (0, 0), (0, 0)))
    return x * (2 + 0.3 / 4 * sum(squares[:, i : i + x.shape[1]] for i in range(4))) ** -0.75


NORMALIZATION = {
    "BatchNormalization": (
        lambda: ops.BatchNormalization(0.1), (IMAGES, draw(4), draw(4), draw(4), positive(4)), batch_norm,
    ),
    "BatchNormalization, training": (
        lambda: ops.BatchNormalization(0.1, batch_statistics=True), (IMAGES, draw(4), draw(4), ints(0, 0, 0, 0), ints(1, 1, 1, 1)),
        lambda x, s, b, *_: batch_norm(x, s, b, x.mean((0, 2, 3)), x.var((0, 2, 3))),
    ),
    "GroupNormalization": (
        lambda: ops.GroupNormalization(2, 0.1), (IMAGES, draw(4), draw(4)), lambda x, s, b: group_norm(x, s, b, 2),
    ),
    "GroupNormalization, by group": (
        lambda: ops.GroupNormalization(2, 0.1), (IMAGES, draw(2), draw(2)), lambda x, s, b: group_norm(x, s, b, 2),
    ),
    "GroupNormalization, by channel": (
        lambda: ops.GroupNormalization(None, 0.1), (IMAGES, draw(4), draw(4)), lambda x, s, b: group_norm(x, s, b, 4),
    ),
    "LayerNormalization": (
        lambda: ops.LayerNormalization(1, 0.1), (A, draw(3, 4), draw(4)), lambda x, s, b: layer_norm(x, s, b, (1, 2)),
    ),
    "LayerNormalization, no bias": (
        lambda: ops.LayerNormalization(-1, 0.1), (A, draw(4)), lambda x, s: layer_norm(x, s, 0, (2,)),
    ),
    "LayerStatistics": (lambda: ops.LayerStatistics(1), (A,), lambda x: x.mean((1, 2), keepdims=True)),
    "LayerStatistics, inverse": (
        lambda: ops.LayerStatistics(-1, 0.1, inverse=True), (A,), lambda x: (x.var(2, keepdims=True) + 0.1) ** -0.5,
    ),
    "LRN": (lambda: ops.LRN(4, 0.3, 0.75, 2.0), (draw(2, 5, 3, 3),), lrn),
}  # fmt: skip
CASES = ARITHMETIC | ELEMENTWISE | REDUCTION | PRODUCTS | SHAPES | INDEXING | NORMALIZATION
