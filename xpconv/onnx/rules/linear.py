"""Convolutions, dense layers, embeddings, and windows as columns."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from ...layers.conv import _Conv
from ...layers.conv_transpose import _ConvTranspose
from ...layers.embedding import Embedding
from ...layers.fold import Fold, Unfold
from ...layers.linear import Bilinear, Dense
from ..builder import Builder, Tensor
from .shapes import pad
from .table import REFUSED, on_images, rule


def flat(pairs: Any) -> list[int]:
    """Padding in ONNX's order: all begins, then all ends."""
    return [lo for lo, _ in pairs] + [hi for _, hi in pairs]


def _window(window: Any) -> dict[str, Any]:
    return {
        "kernel_shape": window.kernel,
        "strides": window.stride,
        "dilations": window.dilation,
        "pads": flat(window.padding),
    }


@rule(_Conv)
def conv(b: Builder, layer: _Conv, x: Tensor) -> Any:
    """Conv, after Pad if the padding is not of zeros."""

    def write(x: Tensor) -> Any:
        padded = pad(b, x, layer._border, layer.padding_mode)
        return b.node("Conv", padded, layer.weight, layer.bias, group=layer.groups, **_window(layer._window))

    return on_images(layer.axes, write, b, x)


@rule(_ConvTranspose)
def conv_transpose(b: Builder, layer: _ConvTranspose, x: Tensor) -> Any:
    """ConvTranspose; with less padding instead of an `output_padding` that is not below the stride."""

    def write(x: Tensor) -> Any:
        window, extra = layer._window, layer.output_padding
        if all(n < s for n, s in zip(extra, window.stride, strict=True)):
            options = {"output_padding": extra, "group": layer.groups, **_window(window)}
            return b.node("ConvTranspose", x, layer.weight, layer.bias, **options)
        padding = tuple((lo, max(hi - n, 0)) for (lo, hi), n in zip(window.padding, extra, strict=True))
        options = {"group": layer.groups, **_window(window._replace(padding=padding))}
        y = b.node("ConvTranspose", x, layer.weight, **options)
        rest = tuple((0, max(n - hi, 0)) for (_, hi), n in zip(window.padding, extra, strict=True))
        y = pad(b, y, rest)  # where no input reaches
        if layer.bias is None:
            return y
        return b.node("Add", y, b.parameter(layer.bias, (layer.out_channels, *(1,) * layer.axes)))

    return on_images(layer.axes, write, b, x)


@rule(Dense)
def dense(b: Builder, layer: Dense, x: Tensor) -> Any:
    """Gemm, of the rows of `x`, so that the weight is as in the state dict."""
    rows = x if x.ndim == 2 else b.reshape(x, None, layer.in_features)
    y = b.node("Gemm", rows, layer.weight, layer.bias, transB=1)
    return b.reshape(y, *x.shape[:-1], layer.out_features)


@rule(Bilinear)
def bilinear(b: Builder, layer: Bilinear, x1: Tensor, x2: Tensor) -> Any:
    """Einsum."""
    y = b.node("Einsum", x1, layer.weight, x2, equation="...i,kij,...j->...k")
    return y if layer.bias is None else b.node("Add", y, layer.bias)


REFUSED[Embedding] = lambda layer: (
    None if layer.max_norm is None else "with max_norm, its forward changes its weight; set max_norm=None"
)


@rule(Embedding)
def embedding(b: Builder, layer: Embedding, x: Tensor) -> Any:
    """Rows of the weight."""
    integer = x.dtype in ("int32", "int64")
    index = x if integer else b.cast(x, "int64")
    return b.node("Gather", layer.weight, index, axis=0)


def one_hot(channels: int, kernel: tuple[int, ...], dtype: Any) -> np.ndarray:
    """A weight `(channels·taps, 1, *kernel)` whose filter of tap t is 1 there, for each channel."""
    taps = prod(kernel)
    return np.tile(np.eye(taps, dtype=dtype).reshape(taps, 1, *kernel), (channels, 1, *(1,) * len(kernel)))


@rule(Unfold)
def unfold(b: Builder, layer: Unfold, x: Tensor) -> Any:
    """A convolution of each channel with a filter for each tap, which is 1 there."""

    def write(x: Tensor) -> Any:
        (channels,) = b.fixed(x, 1)
        weight = one_hot(channels, layer.kernel_size, x.dtype)
        y = b.node("Conv", x, weight, group=channels, **_window(layer._window))
        return b.reshape(y, y.shape[0], weight.shape[0], prod(b.fixed(y, 2, 3)))

    return on_images(2, write, b, x)


@rule(Fold)
def fold(b: Builder, layer: Fold, x: Tensor) -> Any:
    """The transposed convolution of that."""

    def write(x: Tensor) -> Any:
        window, size = layer._window, layer.output_size
        channels = b.fixed(x, 1)[0] // prod(layer.kernel_size)
        spatial = window.output_shape(size)
        images = b.reshape(x, *x.shape[:2], *spatial)
        least = [
            (n - 1) * s - lo - hi + d * (k - 1) + 1
            for n, k, s, (lo, hi), d in zip(spatial, *window, strict=True)
        ]
        more = [n - m for n, m in zip(size, least, strict=True)]
        weight = one_hot(channels, layer.kernel_size, x.dtype)
        options = {"group": channels, "output_padding": more, **_window(window)}
        return b.node("ConvTranspose", images, weight, **options)

    return on_images(1, write, b, x)
