"""State and shapes: every layer checks what comes in, calls `ops`, and keeps what backward needs."""

from .activation import ReLU, Sigmoid, Tanh
from .base import Layer, Parameter
from .containers import Concat, Parallel, Residual, Sequential
from .conv import Conv2d
from .dropout import Dropout
from .linear import Dense, Linear
from .memory import no_grad
from .norm import BatchNorm2d
from .pool import AvgPool2d, MaxPool2d
from .shape import Flatten

__all__ = [
    "AvgPool2d",
    "BatchNorm2d",
    "Concat",
    "Conv2d",
    "Dense",
    "Dropout",
    "Flatten",
    "Layer",
    "Linear",
    "MaxPool2d",
    "Parallel",
    "Parameter",
    "ReLU",
    "Residual",
    "Sequential",
    "Sigmoid",
    "Tanh",
    "no_grad",
]
