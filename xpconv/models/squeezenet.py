"""SqueezeNet 1.1 (Iandola et al., 2016), as torchvision's."""

from __future__ import annotations

from .. import init
from ..layers import AdaptiveAvgPool2d, Concat, Conv2d, Dropout, Flatten, MaxPool2d, ReLU, Sequential
from ._common import checked, zero_biases

__all__ = ["squeezenet1_1"]


def _fire(channels: int, squeezed: int, expanded: int) -> Sequential:
    """Few channels by 1×1, then half of the new ones by 1×1 and half by 3×3."""
    expand = Concat(
        {"expand1x1": Conv2d(squeezed, expanded, 1), "expand3x3": Conv2d(squeezed, expanded, 3, padding=1)}
    )
    return Sequential(
        {
            "squeeze": Conv2d(channels, squeezed, 1),
            "squeeze_activation": ReLU(),
            "": expand,
            "activation": ReLU(),
        }
    )


@checked
def squeezenet1_1(num_classes: int = 1000, dropout: float = 0.5) -> Sequential:
    """AlexNet's accuracy with a fiftieth of its parameters, for images of 224×224 (17 at least).

    Example:
        >>> from xpconv.models import squeezenet1_1
        >>> sum(p.size for p in squeezenet1_1().parameters())
        1235496
    """
    features = Sequential(
        Conv2d(3, 64, 3, stride=2), ReLU(), MaxPool2d(3, stride=2, ceil_mode=True),
        _fire(64, 16, 64), _fire(128, 16, 64), MaxPool2d(3, stride=2, ceil_mode=True),
        _fire(128, 32, 128), _fire(256, 32, 128), MaxPool2d(3, stride=2, ceil_mode=True),
        _fire(256, 48, 192), _fire(384, 48, 192), _fire(384, 64, 256), _fire(512, 64, 256),
    )  # fmt: skip
    last = Conv2d(512, num_classes, 1)
    model = Sequential(
        {
            "features": features,
            "classifier": Sequential(Dropout(dropout), last, ReLU(), AdaptiveAvgPool2d(1)),
            "flatten": Flatten(),
        }
    )
    for _, layer in model.named_layers():
        if isinstance(layer, Conv2d):
            init.kaiming_uniform_(layer.weight)
    init.normal_(last.weight, 0, 0.01)
    zero_biases(model)
    return model
