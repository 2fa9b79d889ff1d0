"""Helpers of the models."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec

from .. import init
from ..arguments import to_float, to_size
from ..layers import Layer, Residual, Sequential
from ..signatures import call_error

P = ParamSpec("P")
WEIGHTS = "leave it out: the model is a new one; then model.load_state_dict(path) loads torchvision's weights"
CLASSES = "give num_classes="
CHANNELS = "images are RGB; for others replace the first layer: model.conv1 = xpconv.Conv2d(1, …)"
ELSEWHERE = {  # arguments of torchvision's, timm's and Keras' functions, and what to use here instead
    **dict.fromkeys(("pretrained", "weights", "pretrained_backbone", "checkpoint_path", "progress"), WEIGHTS),
    **dict.fromkeys(("classes", "n_classes", "num_labels", "out_channels", "out_features"), CLASSES),
    **dict.fromkeys(("in_chans", "in_channels", "input_shape", "input_channels"), CHANNELS),
    "include_top": "remove the last layer: del model[-1]",
}


def checked(build: Callable[P, Sequential]) -> Callable[P, Sequential]:
    """Wrap `build` to check its arguments first: floats must be from 0 to 1, and ints must be sizes."""
    signature = inspect.signature(build)

    @wraps(build)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> Sequential:
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError as error:
            raise call_error(build.__name__, build, error, ELSEWHERE) from None
        for name, value in bound.arguments.items():
            where = f"{build.__name__}: {name}"
            if isinstance(signature.parameters[name].default, float):
                bound.arguments[name] = share = to_float(where, value, 0)
                if share > 1:
                    raise ValueError(f"{where} is {value}, expected a share from 0 to 1")
            else:
                bound.arguments[name] = to_size(where, value)
        return build(*bound.args, **bound.kwargs)

    return wrapper


class Block(Residual):
    """A residual block whose layers' names are its own: `layer1.0.conv1`, not `layer1.0.body.conv1`."""

    names = ("", "downsample")


def zero_biases(model: Layer) -> None:
    """Start all biases at 0."""
    for parameter in model.parameters():
        if parameter.name == "bias":
            init.constant_(parameter, 0)
