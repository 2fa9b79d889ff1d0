"""The default networks, which begin with a layer that standardises X."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from ..arrays import asarray
from ..errors import ShapeError
from ..layers import (
    BatchNorm1d,
    BatchNorm2d,
    Conv1d,
    Dense,
    Dropout,
    Flatten,
    Layer,
    LazyLinear,
    MaxPool1d,
    ReLU,
    Sequential,
)
from ..models import small_cnn
from .building import called
from .inputs import Shape

BLOCK = 1024  # samples that are converted to float64 at once


def table_model(input_shape: Shape, n_outputs: int, width: int = 128, dropout: float = 0.2) -> Sequential:
    """The default for a table, whose columns have no neighbours: two hidden dense layers."""
    return Sequential(
        Dense(input_shape[0], width), ReLU(),
        Dense(width, width), ReLU(), Dropout(dropout),
        Dense(width, n_outputs),
    )  # fmt: skip


def image_model(input_shape: Shape, n_outputs: int, width: int = 32, dropout: float = 0.2) -> Sequential:
    """The default for images: the convolutions of `xpconv.models.small_cnn`, then a dense layer.

    The dense layer gets the output at each position of the image, whereas `small_cnn` averages over
    positions.
    """
    channels, *sides = input_shape
    stages = list(small_cnn(n_outputs, channels, min(sides), width).children().values())[:-4]
    return Sequential(*stages, Flatten(), Dropout(dropout), LazyLinear(n_outputs))


def signal_model(input_shape: Shape, n_outputs: int, width: int = 32, dropout: float = 0.2) -> Sequential:
    """The default for signals `(C, L)`: the same stages as for images, with 1-D convolutions."""
    channels, length = input_shape
    stages: list[Layer] = []
    for out in (width, 2 * width, 4 * width):
        stages += [Conv1d(channels, out, 5, padding=2, bias=False), BatchNorm1d(out), ReLU()]
        if length >= 8:
            stages.append(MaxPool1d(2))
            length //= 2
        channels = out
    return Sequential(*stages, Flatten(), Dropout(dropout), LazyLinear(n_outputs))


DEFAULTS: dict[int, tuple[Callable[..., Sequential], type[Layer]]] = {  # by the axes of a sample
    1: (table_model, BatchNorm1d), 2: (signal_model, BatchNorm1d), 3: (image_model, BatchNorm2d),
}  # fmt: skip


def default_model(
    where: str, X: np.ndarray, n_outputs: int, weight: Any, dtype: str, nested: dict[str, Any]
) -> Sequential:
    """A layer that standardises the inputs by the statistics of `X`, then a small network for their shape."""
    shape = X.shape[1:]
    if len(shape) not in DEFAULTS:
        raise ShapeError(
            f"{where}: model=None has models for tables, signals and images, but a sample of X has shape "
            f"{shape}; give a model"
        )
    build, kind = DEFAULTS[len(shape)]
    network: Sequential = called(f"{where}: model", build, nested, shape, n_outputs)
    mean, scale, constant = moments(X, weight)
    if X.dtype.itemsize > np.dtype(dtype).itemsize:
        _warn_of_rounding(where, mean, np.where(constant, np.inf, scale), dtype)
    norm = affine(kind, shape[0], dtype)
    scale = np.where(scale < 1e8 * np.finfo(dtype).tiny, 1.0, scale)  # its inverse would overflow
    norm.running_mean[...], norm.weight.data[...] = asarray(mean, dtype), asarray(1 / scale, dtype)
    return Sequential({"standardize": norm, "network": network})


def affine(kind: type[Layer], channels: int, dtype: str) -> Any:
    """A frozen BatchNorm with mean 0 and variance 1."""
    norm: Any = kind(channels, dtype=dtype)  # type: ignore[call-arg]
    return norm.requires_grad_(False, eval=True)


def moments(X: np.ndarray, weight: np.ndarray | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The mean and deviation of each feature or channel, in float64, and which ones are constant.

    The mean of a constant is its exact value, and its deviation is 1. Samples of weight 0 do not count.
    """
    if weight is not None:
        X, weight = X[weight > 0], weight[weight > 0]
    share = np.ones(len(X)) if weight is None else weight / weight.max()
    share /= share.sum()
    rows = X.reshape(len(X), X.shape[1], -1)

    def mean_of(function: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """The mean of `function(x)` by channel, computed in blocks, without a float64 copy of all of X."""
        total = np.zeros(rows.shape[1])
        for i in range(0, len(rows), BLOCK):
            means = function(rows[i : i + BLOCK].astype("float64")).mean(axis=2)
            total += (share[i : i + BLOCK, None] * means).sum(axis=0)
        return total

    low, high = (bound(rows, axis=(0, 2)).astype("float64") for bound in (np.min, np.max))
    constant = low == high
    near = np.where(constant, low, mean_of(lambda x: x))
    span = np.where(constant, 1.0, np.maximum(high - near, near - low))
    offset = mean_of(lambda x: (x - near[:, None]) / span[:, None])  # `near` is rounded
    square = mean_of(lambda x: ((x - near[:, None]) / span[:, None]) ** 2)
    scale = span * np.sqrt(np.maximum(square - offset**2, 0))
    return near + offset * span, np.where(constant, 1.0, scale), constant


def _warn_of_rounding(where: str, mean: np.ndarray, scale: np.ndarray, dtype: str) -> None:
    """Warn if a feature varies by less than a few rounding steps of `dtype`."""
    steps = np.spacing(abs(mean).astype(dtype)).astype("float64")
    lost = np.flatnonzero(scale < 8 * steps)
    if len(lost):
        i = lost[0]
        others = f", like {len(lost) - 1} others," if len(lost) > 1 else ""
        text = (
            f"{where}: feature {i} of X, of mean {mean[i]:.6g} and deviation {scale[i]:.3g}{others} is "
            f"rounded to multiples of {steps[i]:.3g} by {dtype}; give dtype='float64', or standardise X "
            "before, as by StandardScaler in a Pipeline"
        )
        warnings.warn(text, stacklevel=2)
