"""Rules for layers that select, sort or sum elements; each becomes one node, named in the docstring."""

from __future__ import annotations

from typing import Any

from ...layers import operators as ops
from ...layers.operators.operator import Operator
from ..builder import Builder, Tensor
from .operators import numbers, unknown
from .table import rule


@rule(ops.Mod)
def mod(b: Builder, layer: ops.Mod, x: Tensor, y: Tensor) -> Any:
    """Mod. For floating arrays, ONNX only has the remainder with the sign of `x`."""
    if not layer.fmod and x.dtype.kind not in "iu":
        raise b.refused("Mod without fmod is for integers; use Mod(fmod=True)")
    return b.node("Mod", x, y, fmod=int(layer.fmod))


@rule(ops.BitShift)
def bit_shift(b: Builder, layer: ops.BitShift, x: Tensor, y: Tensor) -> Any:
    """BitShift."""
    return b.node("BitShift", x, y, direction="LEFT" if layer.left else "RIGHT")


@rule(ops.IsInf)
def is_inf(b: Builder, layer: ops.IsInf, x: Tensor) -> Any:
    """IsInf."""
    signs: dict[str, Any] = {
        "detect_negative": int(layer.detect_negative),
        "detect_positive": int(layer.detect_positive),
    }
    return b.node("IsInf", x, **signs)


@rule(ops.Einsum)
def einsum(b: Builder, layer: ops.Einsum, *inputs: Tensor) -> Any:
    """Einsum."""
    return b.node("Einsum", *inputs, equation=layer.equation)


@rule(ops.CumSum)
def cum_sum(b: Builder, layer: ops.CumSum, *inputs: Tensor) -> Any:
    """CumSum, whose axis is an input."""
    (x,), given = numbers(layer, inputs)
    axis = given["axis"]
    if not isinstance(axis, Tensor):
        axis = b.constant(int(axis[0]), "int64")
    return b.node("CumSum", x, axis, exclusive=int(layer.exclusive), reverse=int(layer.reverse))


@rule(ops.TopK)
def top_k(b: Builder, layer: ops.TopK, *inputs: Tensor) -> Any:
    """One output of TopK."""
    (x,), given = numbers(layer, inputs)
    largest = int(layer.largest)
    return b.node("TopK", x, given["k"], outputs=2, like=unknown(x.ndim), axis=layer.axis, largest=largest)[
        int(layer.indices)
    ]


@rule(ops.Hardmax, ops.GatherElements)
def along_axis(b: Builder, layer: Any, *inputs: Tensor) -> Any:
    """The operator of the same name, with an axis."""
    return b.node(type(layer).__name__, *inputs, axis=layer.axis)


@rule(ops.LpNormalization)
def lp_normalization(b: Builder, layer: ops.LpNormalization, x: Tensor) -> Any:
    """LpNormalization."""
    return b.node("LpNormalization", x, axis=layer.axis, p=layer.p)


@rule(ops.GatherND)
def gather_nd(b: Builder, layer: ops.GatherND, x: Tensor, indices: Tensor) -> Any:
    """GatherND."""
    return b.node("GatherND", x, indices, batch_dims=layer.batch_dims)


@rule(ops.ScatterElements, ops.ScatterND)
def scatter(b: Builder, layer: Any, *inputs: Tensor) -> Any:
    """The operator of the same name, which can add since opset 16."""
    options: dict[str, Any] = {"axis": layer.axis} if isinstance(layer, ops.ScatterElements) else {}
    if layer.add:
        if b.opset < 16:
            raise b.too_old("an addition", 16)
        options["reduction"] = "add"
    return b.node(type(layer).__name__, *inputs, **options)


@rule(ops.OneHot)
def one_hot(b: Builder, layer: ops.OneHot, *inputs: Tensor) -> Any:
    """OneHot."""
    (indices, values), given = numbers(layer, inputs)
    return b.node("OneHot", indices, given["depth"], values, like=unknown(indices.ndim + 1), axis=layer.axis)


@rule(ops.EyeLike)
def eye_like(b: Builder, layer: ops.EyeLike, x: Tensor) -> Any:
    """EyeLike."""
    y = b.node("EyeLike", x, k=layer.k)
    return y if layer.dtype is None else b.cast(y, layer.dtype)


@rule(ops.Trilu)
def trilu(b: Builder, layer: Operator, *inputs: Tensor) -> Any:
    """Trilu."""
    (x,), given = numbers(layer, inputs)
    k = given["k"]
    return b.node(
        "Trilu", x, k if isinstance(k, Tensor) else b.constant(int(k[0]), "int64"), upper=int(layer.upper)
    )
