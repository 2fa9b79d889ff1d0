"""ConvNeXt-Tiny (Liu et al., 2022), as torchvision's."""

from __future__ import annotations

from .. import init
from ..backend import Array
from ..layers import (
    GELU,
    AdaptiveAvgPool2d,
    Conv2d,
    Dense,
    DropPath,
    Flatten,
    Layer,
    LayerNorm,
    Sequential,
)
from ..ops.activation import arithmetic
from ..ops.channels import channel_sum
from ..parameter import new_parameter
from ._common import Block, checked, zero_biases

__all__ = ["convnext_tiny"]


class _Permute(Layer):
    """A permutation of the axes; backward applies its inverse."""

    def __init__(self, axes: tuple[int, ...]) -> None:
        self.axes = axes

    def forward(self, x: Array) -> Array:
        self._enter(x)
        return self.keep(x.transpose(self.axes))

    def backward(self, grad_output: Array, input_grad: bool = True) -> Array | None:
        self.recall(grad_output, input_grad)
        inverse = [self.axes.index(axis) for axis in range(len(self.axes))]
        return grad_output.transpose(inverse) if input_grad else None


class _LayerScale(Layer):
    """One learned factor a channel; its gradient is the channel's sum of `grad · x`."""

    channels: int
    value: float

    def __init__(self, channels: int, value: float) -> None:
        self.channels, self.value = channels, value
        self.layer_scale = new_parameter("LayerScale", "layer_scale", (channels, 1, 1), "float32", value)

    def forward(self, x: Array) -> Array:
        xp = self._enter(x, self.layer_scale)
        return self.keep(arithmetic(xp, "multiply", x, self.layer_scale.data), xp, x)

    def backward(self, grad_output: Array, input_grad: bool = True) -> Array | None:
        xp, x = self.recall(grad_output, input_grad)
        if self.layer_scale.requires_grad:
            slope = channel_sum(xp, arithmetic(xp, "multiply", grad_output, x))
            self.layer_scale.accumulate(slope.reshape(self.layer_scale.shape))
        return arithmetic(xp, "multiply", grad_output, self.layer_scale.data) if input_grad else None


class _ScaleFirst(Sequential):
    """A block and after it the layer scale, whose name comes first, as in torchvision."""

    def children(self) -> dict[str, Layer]:
        layers = super().children()
        return {"": layers[""], **layers}


def _norm(channels: int) -> Sequential:
    """LayerNorm over the channels of images."""
    return Sequential(
        {"last": _Permute((0, 2, 3, 1)), "": LayerNorm(channels, eps=1e-6), "first": _Permute((0, 3, 1, 2))}
    )


def _block(channels: int, drop: float) -> Block:
    """A 7×7 depthwise convolution, then two dense layers a pixel, with four times the channels between."""
    block = Sequential(
        Conv2d(channels, channels, 7, padding=3, groups=channels),
        _Permute((0, 2, 3, 1)),
        LayerNorm(channels, eps=1e-6),
        Dense(channels, 4 * channels),
        GELU(),
        Dense(4 * channels, channels),
        _Permute((0, 3, 1, 2)),
    )
    scaled = {"block": block, "": _LayerScale(channels, 1e-6), "stochastic_depth": DropPath(drop)}
    return Block({"": _ScaleFirst(scaled)})


@checked
def convnext_tiny(num_classes: int = 1000, stochastic_depth: float = 0.1) -> Sequential:
    """18 blocks in four stages, for images of 224×224 (any size from 32).

    Example:
        >>> from xpconv.models import convnext_tiny
        >>> sum(p.size for p in convnext_tiny().parameters())
        28589128
    """
    depths, widths = (3, 3, 9, 3), (96, 192, 384, 768)
    features = [Sequential(Conv2d(3, widths[0], 4, stride=4), _norm(widths[0]))]
    done = 0
    for stage, (depth, width) in enumerate(zip(depths, widths, strict=True)):
        if stage:
            features.append(
                Sequential(_norm(widths[stage - 1]), Conv2d(widths[stage - 1], width, 2, stride=2))
            )
        blocks = []
        for _ in range(depth):
            blocks.append(_block(width, stochastic_depth * done / (sum(depths) - 1)))
            done += 1
        features.append(Sequential(blocks))
    classifier = Sequential(_norm(widths[-1]), Flatten(), Dense(widths[-1], num_classes))
    model = Sequential(
        {"features": Sequential(features), "avgpool": AdaptiveAvgPool2d(1), "classifier": classifier}
    )
    for _, layer in model.named_layers():
        if isinstance(layer, Conv2d | Dense):
            init.trunc_normal_(layer.weight, std=0.02)
    zero_biases(model)
    return model
