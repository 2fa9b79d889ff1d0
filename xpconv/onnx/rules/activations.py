"""Activations, softmax and dropout."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ...layers import activation as act
from ...layers import shrink, smooth
from ...layers.dropout import _Dropout
from ...layers.shape import Folded, Identity
from ...layers.softmax import LogSoftmax, Softmax
from ..builder import Builder, Tensor
from .table import rule

# layers that are an operator: its name, and its attributes by those of the layer
OPERATORS: dict[Any, tuple[str, Callable[[Any], dict[str, Any]]]] = {
    act.ReLU: ("Relu", lambda layer: {}),
    act.LeakyReLU: ("LeakyRelu", lambda layer: {"alpha": layer.negative_slope}),
    act.ELU: ("Elu", lambda layer: {"alpha": layer.alpha}),
    act.SELU: ("Selu", lambda layer: dict(zip(("alpha", "gamma"), layer._values()[:2], strict=True))),
    act.Hardsigmoid: ("HardSigmoid", lambda layer: {"alpha": 1 / 6, "beta": 0.5}),
    smooth.Sigmoid: ("Sigmoid", lambda layer: {}),
    smooth.Tanh: ("Tanh", lambda layer: {}),
    smooth.Softsign: ("Softsign", lambda layer: {}),
    shrink.Hardshrink: ("Shrink", lambda layer: {"lambd": layer.lambd, "bias": 0.0}),
    shrink.Softshrink: ("Shrink", lambda layer: {"lambd": layer.lambd, "bias": layer.lambd}),
}


@rule(*OPERATORS)
def operator(b: Builder, layer: Any, x: Tensor) -> Tensor:
    """One node."""
    name, attributes = next(OPERATORS[kind] for kind in type(layer).__mro__ if kind in OPERATORS)
    tensor: Tensor = b.node(name, x, **attributes(layer))
    return tensor


@rule(Identity, Folded, _Dropout)
def identity(b: Builder, layer: Any, x: Tensor) -> Tensor:
    """Nothing, in inference."""
    return x


@rule(act.ReLU6, act.Hardtanh)
def clip(b: Builder, layer: Any, x: Tensor) -> Any:
    """`min(max(x, low), high)`."""
    return b.node("Clip", x, *map(float, layer._bounds()))


@rule(act.PReLU)
def prelu(b: Builder, layer: act.PReLU, x: Tensor) -> Any:
    """A slope for each channel, or one."""
    channels = layer.num_parameters
    shape = (1,) * x.ndim if channels == 1 else (channels,) + (1,) * (x.ndim - 2)
    return b.node("PRelu", x, b.parameter(layer.weight, shape))


@rule(act.CELU)
def celu(b: Builder, layer: act.CELU, x: Tensor) -> Any:
    """`max(x, 0) + min(alpha (exp(x/alpha) - 1), 0)`; the operator is for float32 alone."""
    if x.dtype == "float32":
        return b.node("Celu", x, alpha=layer.alpha)
    power = b.node("Exp", b.node("Div", b.node("Min", x, 0.0), layer.alpha))
    below = b.node("Mul", b.node("Sub", power, 1.0), layer.alpha)
    return b.node("Add", b.node("Relu", x), below)


@rule(act.Hardswish)
def hardswish(b: Builder, layer: act.Hardswish, x: Tensor) -> Any:
    """The operator, from opset 14 on."""
    if b.opset >= 14:
        return b.node("HardSwish", x)
    return b.node("Mul", x, b.node("HardSigmoid", x, alpha=1 / 6, beta=0.5))


@rule(smooth.LogSigmoid)
def log_sigmoid(b: Builder, layer: smooth.LogSigmoid, x: Tensor) -> Any:
    """`-log(1 + exp(-x))`."""
    return b.node("Neg", b.node("Softplus", b.node("Neg", x)))


@rule(smooth.Softplus)
def softplus(b: Builder, layer: smooth.Softplus, x: Tensor) -> Any:
    """`log(1 + exp(beta x)) / beta`, and `x` above the threshold, where that is not the same."""
    z = x if layer.beta == 1 else b.node("Mul", x, layer.beta)
    y = b.node("Softplus", z)
    y = y if layer.beta == 1 else b.node("Div", y, layer.beta)
    if layer.threshold >= 20 and x.dtype != "float64":
        return y
    return b.node("Where", b.node("Greater", z, layer.threshold), x, y)


@rule(smooth.SiLU)
def silu(b: Builder, layer: smooth.SiLU, x: Tensor) -> Any:
    """`x / (1 + exp(-x))`."""
    return b.node("Mul", x, b.node("Sigmoid", x))


@rule(smooth.Mish)
def mish(b: Builder, layer: smooth.Mish, x: Tensor) -> Any:
    """The operator, from opset 18 on."""
    if b.opset >= 18:
        return b.node("Mish", x)
    return b.node("Mul", x, b.node("Tanh", b.node("Softplus", x)))


@rule(smooth.GELU)
def gelu(b: Builder, layer: smooth.GELU, x: Tensor) -> Any:
    """The operator, from opset 20 on; before it, its formula."""
    if b.opset >= 20:
        return b.node("Gelu", x, approximate=layer.approximate)
    if layer.approximate == "tanh":
        cube = b.node("Mul", b.node("Mul", b.node("Mul", x, x), x), 0.044715)
        inner = b.node("Tanh", b.node("Mul", b.node("Add", x, cube), math.sqrt(2 / math.pi)))
    else:
        inner = b.node("Erf", b.node("Div", x, math.sqrt(2)))
    return b.node("Mul", b.node("Mul", x, b.node("Add", inner, 1.0)), 0.5)


@rule(smooth.Tanhshrink)
def tanhshrink(b: Builder, layer: smooth.Tanhshrink, x: Tensor) -> Any:
    """`x - tanh(x)`."""
    return b.node("Sub", x, b.node("Tanh", x))


@rule(smooth.GLU)
def glu(b: Builder, layer: smooth.GLU, x: Tensor) -> Any:
    """The first half of an axis times the sigmoid of the second."""
    (size,) = b.fixed(x, layer.dim)
    first, second = b.node("Split", x, [size // 2] * 2, axis=layer.dim, outputs=2)
    return b.node("Mul", first, b.node("Sigmoid", second))


@rule(shrink.Threshold)
def threshold(b: Builder, layer: shrink.Threshold, x: Tensor) -> Any:
    """A constant up to a limit."""
    value = b.constant(layer.value, x.dtype)
    return b.node("Where", b.node("LessOrEqual", x, layer.threshold), value, x)


@rule(Softmax)
def softmax(b: Builder, layer: Softmax, x: Tensor) -> Any:
    """Softmax, LogSoftmax and Softmin, which are Softmax of `-x`."""
    if not x.ndim:
        return b.reshape(softmax(b, layer, b.reshape(x, 1)))
    z = x if layer.sign > 0 else b.node("Neg", x)
    return b.node("LogSoftmax" if isinstance(layer, LogSoftmax) else "Softmax", z, axis=layer.dim)
