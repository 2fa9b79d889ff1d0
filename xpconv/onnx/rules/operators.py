"""Operators: layers that are one operation, mostly one of ONNX's."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...layers import operators as ops
from ...layers.operators.arithmetic import Clip
from ...layers.operators.operator import Operator
from ...layers.operators.reduction import _Reduction
from ..builder import Builder, Tensor
from ..library import numpy_helper
from .table import rule

# Layers that are the operator of the same name, without attributes.
SAME = (
    ops.Add, ops.Sub, ops.Mul, ops.Div, ops.Pow, ops.Max, ops.Min, ops.Sum, ops.Mean, ops.Where,
    ops.Neg, ops.Abs, ops.Sqrt, ops.Exp, ops.Log, ops.Reciprocal, ops.Sin, ops.Cos, ops.Erf,
    ops.Floor, ops.Ceil, ops.Round, ops.Sign, ops.Not, ops.And, ops.Or, ops.Xor,
    ops.Equal, ops.Greater, ops.GreaterOrEqual, ops.Less, ops.LessOrEqual,
    ops.MatMul, ops.PRelu, ops.Size, ops.Range, ops.NonZero, ops.IsNaN,
    ops.Tan, ops.Sinh, ops.Cosh, ops.Asin, ops.Acos, ops.Atan, ops.Asinh, ops.Acosh, ops.Atanh,
    ops.BitwiseAnd, ops.BitwiseOr, ops.BitwiseXor, ops.BitwiseNot,
)  # fmt: skip


def numbers(layer: Operator, inputs: tuple[Tensor, ...]) -> tuple[list[Tensor], dict[str, Any]]:
    """The inputs of an operator other than its settings, and these: a tensor, a list, or None."""
    first = len(inputs) - len(layer.inputs)
    found: dict[str, Any] = {}
    for name in layer.settings:
        value = getattr(layer, name)
        found[name] = None if value is None else list(value)
    return list(inputs[:first]), found | dict(zip(layer.inputs, inputs[first:], strict=True))


def count_of(b: Builder, given: Any) -> int:
    """How many numbers a setting has."""
    return b.fixed(given, 0)[0] if isinstance(given, Tensor) else len(given or ())


def unknown(ndim: int) -> tuple[None, ...]:
    """The shape of an array of which only the number of axes is known."""
    return (None,) * ndim


@rule(*SAME)
def same(b: Builder, layer: Operator, *inputs: Tensor) -> Any:
    """The operator of the same name."""
    return b.node(type(layer).__name__, *inputs)


@rule(ops.Copy)
def copy(b: Builder, layer: ops.Copy, x: Tensor) -> Any:
    """Identity."""
    return b.node("Identity", x)


@rule(ops.Selu)
def selu(b: Builder, layer: ops.Selu, x: Tensor) -> Any:
    """Selu with its constants."""
    return b.node("Selu", x, alpha=layer.alpha, gamma=layer.gamma)


@rule(ops.HardSigmoid)
def hard_sigmoid(b: Builder, layer: ops.HardSigmoid, x: Tensor) -> Any:
    """HardSigmoid with its constants."""
    return b.node("HardSigmoid", x, alpha=layer.alpha, beta=layer.beta)


@rule(ops.Shrink)
def shrink(b: Builder, layer: ops.Shrink, x: Tensor) -> Any:
    """Shrink with its constants."""
    return b.node("Shrink", x, lambd=layer.lambd, bias=layer.bias)


@rule(Clip)
def clip(b: Builder, layer: Clip, x: Tensor, *bounds: Tensor) -> Any:
    """Clip, whose bounds have the dtype of `x`."""
    given: dict[str, Any] = {"low": layer.low, "high": layer.high}
    given = {name: None if v is None else b.constant(v, x.dtype) for name, v in given.items()}
    given |= dict(zip(layer.bounds, bounds, strict=True))
    return b.node("Clip", x, given["low"], given["high"])


@rule(ops.Cast)
def cast(b: Builder, layer: ops.Cast, x: Tensor) -> Any:
    """Cast."""
    return b.cast(x, layer.target)


@rule(ops.OnesLike)
def ones_like(b: Builder, layer: ops.OnesLike, x: Tensor) -> Any:
    """A constant of the shape of `x`."""
    return filled(b, b.node("Shape", x), 1, layer.target)


@rule(ops.ConstantOfShape)
def constant_of_shape(b: Builder, layer: ops.ConstantOfShape, shape: Tensor) -> Any:
    """ConstantOfShape."""
    return filled(b, shape, layer.value, layer.dtype)


def filled(b: Builder, shape: Tensor, value: Any, dtype: str) -> Any:
    """An array of this shape, all of one value."""
    proto = numpy_helper.from_array(np.array([value], dtype))
    return b.node("ConstantOfShape", shape, like=unknown(count_of(b, shape)), value=proto)


@rule(ops.ArgMax)
def arg_max(b: Builder, layer: ops.ArgMax, x: Tensor) -> Any:
    """ArgMax or ArgMin."""
    options: dict[str, Any] = {
        "keepdims": int(layer.keepdims),
        "select_last_index": int(layer.select_last_index),
    }
    return b.node(type(layer).__name__, x, axis=layer.axis, **options)


@rule(_Reduction)
def reduce(b: Builder, layer: _Reduction, *inputs: Tensor) -> Any:
    """The reduction of the same name, whose axes are an attribute in older opsets."""
    (x,), given = numbers(layer, inputs)
    name, axes, keepdims = type(layer).__name__, given["axes"], int(layer.keepdims)
    noop = int(layer.noop_with_empty_axes)
    if b.opset >= (13 if name == "ReduceSum" else 18):
        like = unknown(x.ndim if keepdims else x.ndim - count_of(b, axes))
        return b.node(name, x, axes, like=like, keepdims=keepdims, noop_with_empty_axes=noop)
    if isinstance(axes, Tensor):
        raise b.too_old("axes that are an input", 18)
    if not axes and noop:
        return b.node("Identity", x)
    options: dict[str, Any] = {"axes": axes or None, "keepdims": keepdims}
    return b.node(name, x, **options)


@rule(ops.Gemm)
def gemm(b: Builder, layer: ops.Gemm, *inputs: Tensor) -> Any:
    """Gemm."""
    options: dict[str, Any] = {"transA": int(layer.trans_a), "transB": int(layer.trans_b)}
    return b.node("Gemm", *inputs, alpha=layer.alpha, beta=layer.beta, **options)


@rule(ops.Reshape)
def reshape(b: Builder, layer: ops.Reshape, *inputs: Tensor) -> Any:
    """Reshape."""
    (x,), given = numbers(layer, inputs)
    like = unknown(count_of(b, given["shape"]))
    return b.node("Reshape", x, given["shape"], like=like, allowzero=int(layer.allowzero) or None)


@rule(ops.FlattenTo2d)
def flatten(b: Builder, layer: ops.FlattenTo2d, x: Tensor) -> Any:
    """Flatten."""
    return b.node("Flatten", x, axis=layer.axis)


@rule(ops.Squeeze, ops.Unsqueeze)
def squeeze(b: Builder, layer: Operator, *inputs: Tensor) -> Any:
    """Squeeze or Unsqueeze."""
    (x,), given = numbers(layer, inputs)
    more = count_of(b, given["axes"]) * (1 if isinstance(layer, ops.Unsqueeze) else -1)
    return b.node(type(layer).__name__, x, given["axes"], like=unknown(max(0, x.ndim + more)))


@rule(ops.Transpose)
def transpose(b: Builder, layer: ops.Transpose, x: Tensor) -> Any:
    """Transpose."""
    return b.node("Transpose", x, perm=layer.perm)


@rule(ops.Expand)
def expand(b: Builder, layer: ops.Expand, *inputs: Tensor) -> Any:
    """Expand."""
    (x,), given = numbers(layer, inputs)
    like = unknown(max(x.ndim, count_of(b, given["shape"])))
    return b.node("Expand", x, given["shape"], like=like)


@rule(ops.Tile)
def tile(b: Builder, layer: ops.Tile, *inputs: Tensor) -> Any:
    """Tile."""
    (x,), given = numbers(layer, inputs)
    return b.node("Tile", x, given["repeats"], like=unknown(x.ndim))


@rule(ops.Concatenate)
def concatenate(b: Builder, layer: ops.Concatenate, *inputs: Tensor) -> Any:
    """Concat."""
    return b.node("Concat", *inputs, axis=layer.axis)


@rule(ops.DepthToSpace, ops.SpaceToDepth)
def blocks(b: Builder, layer: Any, x: Tensor) -> Any:
    """The operator of the same name."""
    return b.node(type(layer).__name__, x, blocksize=layer.blocksize)


@rule(ops.Shape)
def shape(b: Builder, layer: ops.Shape, x: Tensor) -> Any:
    """Shape, with its ends in opset 15 and later, else cut."""
    if (layer.start, layer.end) == (0, None):
        return b.node("Shape", x)
    if b.opset >= 15:
        return b.node("Shape", x, start=layer.start, end=layer.end)
    end = x.ndim if layer.end is None else layer.end
    return b.node("Slice", b.node("Shape", x), [layer.start], [end], [0])


@rule(ops.Slice)
def slice_(b: Builder, layer: ops.Slice, *inputs: Tensor) -> Any:
    """Slice."""
    (x,), given = numbers(layer, inputs)
    return b.node("Slice", x, given["starts"], given["ends"], given["axes"], given["steps"])


@rule(ops.SplitPart)
def split_part(b: Builder, layer: ops.SplitPart, *inputs: Tensor) -> Any:
    """One output of Split; if it is the only one, that of Slice."""
    (x,), given = numbers(layer, inputs)
    sizes: Any = None if layer.parts is not None else given["sizes"]
    count = layer.parts or count_of(b, sizes)
    if count == 1:
        return b.node("Identity", x)
    n = x.shape[layer.axis]
    if sizes is None and b.opset < 18 and isinstance(n, int):
        sizes = [max(0, min(-(-n // count), n + i * (n // -count))) for i in range(count)]
    options: dict[str, Any] = {"num_outputs": count} if sizes is None and b.opset >= 18 else {}
    return b.node("Split", x, sizes, axis=layer.axis, outputs=count, **options)[layer.index]


@rule(ops.Gather)
def gather(b: Builder, layer: ops.Gather, x: Tensor, indices: Tensor) -> Any:
    """Gather."""
    return b.node("Gather", x, indices, axis=layer.axis)


@rule(ops.Pad)
def pad(b: Builder, layer: ops.Pad, *inputs: Tensor) -> Any:
    """Pad; the axes are written out before opset 18."""
    (x, *border), given = numbers(layer, inputs)
    pads, axes = given["pads"], given["axes"]
    if axes is not None and b.opset < 18:
        if isinstance(pads, Tensor) or isinstance(axes, Tensor):
            raise b.too_old("axes with pads that are an input", 18)
        whole = [0] * 2 * x.ndim
        for i, axis in enumerate(axes):
            whole[axis % x.ndim], whole[x.ndim + axis % x.ndim] = pads[i], pads[i + len(axes)]
        pads, axes = whole, None
    value: Any = border[0] if border else None
    if not border and layer.mode == "constant" and layer.value:
        value = b.constant(layer.value, x.dtype)
    return b.node("Pad", x, pads, value, axes, like=unknown(x.ndim), mode=layer.mode)
