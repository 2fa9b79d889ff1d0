"""Arithmetic, comparisons, conversions and products of matrices."""

from __future__ import annotations

import re

import numpy as np

from ...layers import Dense, Identity
from ...layers import operators as layers
from ...layers.layer import Layer
from ...layers.operators.products import letters_of
from ..node import Node, Result, Value, operator
from .common import DTYPES, dtype_of, flag, given, is_floating

BINARY = ("Add", "Sub", "Mul", "Div", "Pow", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual")
LOGIC = ("And", "Or", "Xor", "BitwiseAnd", "BitwiseOr", "BitwiseXor")
UNARY = (
    "Neg",
    "Abs",
    "Sqrt",
    "Exp",
    "Log",
    "Reciprocal",
    "Sin",
    "Cos",
    "Tan",
    "Sinh",
    "Cosh",
    "Asin",
    "Acos",
    "Atan",
    "Asinh",
    "Acosh",
    "Atanh",
    "BitwiseNot",
    "IsNaN",
    "Erf",
    "Floor",
    "Ceil",
    "Round",
    "Sign",
)
VARIADIC = ("Max", "Min", "Sum", "Mean")


@operator(*BINARY, *LOGIC)
def binary(node: Node) -> Result:
    return getattr(layers, node.op)(), [node.input(0), node.input(1)]


@operator(*UNARY, "Not")
def unary(node: Node) -> Result:
    return getattr(layers, node.op)(), [node.input(0)]


@operator(*VARIADIC)
def variadic(node: Node) -> Result:
    return getattr(layers, node.op)(), given(node)


@operator("Mod")
def mod(node: Node) -> Result:
    fmod = flag(node, "fmod", False)
    return layers.Mod(fmod), [node.input(0), node.input(1)]


@operator("BitShift")
def bit_shift(node: Node) -> Result:
    direction = node.text("direction", "")
    if direction not in ("LEFT", "RIGHT"):
        raise node.refused(f"attribute direction is {direction!r}, expected LEFT or RIGHT")
    return layers.BitShift(direction == "LEFT"), [node.input(0), node.input(1)]


@operator("IsInf")
def is_inf(node: Node) -> Result:
    negative, positive = flag(node, "detect_negative", True), flag(node, "detect_positive", True)
    return layers.IsInf(negative, positive), [node.input(0)]


@operator("Einsum")
def einsum(node: Node) -> Result:
    equation = node.text("equation", "")
    values = given(node)
    terms = equation.replace(" ", "").replace("->", ",", 1).split(",")
    if not all(re.fullmatch(r"[A-Za-z]*(\.\.\.)?[A-Za-z]*", term) for term in terms):
        raise node.refused(f"attribute equation is {equation!r:.60}, expected one such as 'ij,jk->ik'")
    if all(value.ndim is not None for value in values):
        letters_of(equation, [value.ndim or 0 for value in values])
    return layers.Einsum(equation), values


@operator("Where")
def where(node: Node) -> Result:
    return layers.Where(), [node.input(0), node.input(1), node.input(2)]


@operator("Identity")
def identity(node: Node) -> Result:
    x = node.input(0)
    return (Identity() if is_floating(x) else layers.Copy()), [x]


@operator("Cast")
def cast(node: Node) -> Result:
    target = dtype_of(node, node.integer("to", 0))
    node.integer("saturate", 1)  # and the mode are for dtypes of 8 bits and less, which are refused
    node.text("round_mode", "up")
    return layers.Cast(target), [node.input(0)]


@operator("CastLike")
def cast_like(node: Node) -> Result:
    node.integer("saturate", 1)
    node.text("round_mode", "up")
    like = node.input(1)
    if like.dtype is None or like.dtype.name not in DTYPES:
        raise node.refused(f"{like.name!r} is {like.dtype}, expected one of {', '.join(DTYPES)}")
    return layers.Cast(like.dtype.name), [node.input(0)]


@operator("MatMul")
def matmul(node: Node) -> Result:
    return layers.MatMul(), [node.input(0), node.input(1)]


@operator("Gemm")
def gemm(node: Node) -> Result:
    alpha, beta = node.number("alpha", 1.0), node.number("beta", 1.0)
    trans_a, trans_b = flag(node, "transA", False), flag(node, "transB", False)
    a, b, c = node.input(0), node.input(1), node.optional(2)
    plain = not trans_a and alpha == 1 and (beta == 1 or c is None)
    # an array of the host, such as a first state, is copied to the device in `layers.Gemm`, not in `Dense`
    layer = _dense(node, b, c, trans_b) if plain and not a.on_host else None
    if layer is not None:
        return layer, [a]
    values = [a, b] if c is None else [a, b, c]
    return layers.Gemm(alpha, beta, trans_a, trans_b), values


def _dense(node: Node, weight: Value, bias: Value | None, transposed: bool) -> Layer | None:
    """`Dense` for a constant weight, and a constant bias or none; None if that is not what the node is."""
    array = weight.own
    if array is None or array.ndim != 2 or not array.size or not is_floating(weight):
        return None
    matrix = array if transposed else array.T
    out, into = matrix.shape
    row: np.ndarray | None = None
    if bias is not None:
        if bias.own is None or bias.own.shape not in ((out,), (1, out)) or bias.dtype != weight.dtype:
            return None
        row = bias.own.reshape(out)
    layer = Dense(into, out, bias=row is not None, dtype=array.dtype.name, rng=0)
    node.assign(layer, "weight", weight, matrix, "" if transposed else "transposed")
    if bias is not None and row is not None:
        node.assign(layer, "bias", bias, row, "" if bias.ndim == 1 else "row")
    return layer
