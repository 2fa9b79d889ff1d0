"""The table of rules: which function writes which layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from ...layers.layer import Layer
from ...layers.lazy import Lazy
from ...layers.module_list import ModuleDict, ModuleList
from ...signatures import is_ours
from ..builder import Builder, Tensor

Rule = Callable[..., Any]  # (builder, layer, *inputs) to the output, or a tuple of outputs
Kind = TypeVar("Kind", bound=Rule)

RULES: dict[type[Layer], Rule] = {}
# What ONNX has no form for, and why: classes of layers to a function of the layer, which may give None.
REFUSED: dict[type[Layer], Callable[[Any], str | None]] = {
    ModuleList: lambda layer: "it has no forward",
    ModuleDict: lambda layer: "it has no forward",
    Lazy: lambda layer: (
        "it makes its parameters in its first forward; run one first: `with xpconv.no_grad(): model(x[:1])`"
    ),
}
NO_RULE = (
    "xpconv has no rule for its forward; give the class to_onnx(self, builder, x), described at "
    "xpconv.onnx.Builder, or build the model of xpconv's layers alone"
)


def rule(*kinds: type[Layer]) -> Callable[[Kind], Kind]:
    """Register a function for layers whose forward is that of one of `kinds`."""

    def register(function: Kind) -> Kind:
        RULES.update(dict.fromkeys(kinds, function))
        return function

    return register


def rule_of(layer: Layer) -> Rule | None:
    """The rule for a layer, or its own `to_onnx`, of which the class that is most derived decides.

    None if a class derived from it has another forward.
    """
    if "forward" in vars(layer):
        return None
    for kind in type(layer).__mro__:
        if "to_onnx" in vars(kind):
            return lambda builder, layer, *inputs: layer.to_onnx(builder, *inputs)
        if kind in RULES:
            return RULES[kind]
        if "forward" in vars(kind) or ("__call__" in vars(kind) and not is_ours(kind)):
            return None
    return None


def refusal(layer: Layer) -> str | None:
    """Why a layer cannot be written, or None."""
    hooks = vars(layer).get("_hooks")
    if hooks is not None and (hooks.before or hooks.after):
        return "it has a forward hook, which cannot be exported; remove it: handle.remove()"
    for kind, why in REFUSED.items():
        if isinstance(layer, kind) and (text := why(layer)):
            return text
    return NO_RULE if rule_of(layer) is None else None


def on_images(axes: int, write: Callable[[Tensor], Any], builder: Builder, x: Tensor) -> Any:
    """`write(x)`, for an image without a batch axis too: one is put before it, and taken away again."""
    if x.ndim == axes + 2:
        return write(x)
    result = write(builder.node("Unsqueeze", x, [0]))
    outputs = result if isinstance(result, tuple) else (result,)
    single = tuple(builder.node("Squeeze", y, [0]) for y in outputs)
    return single if isinstance(result, tuple) else single[0]
