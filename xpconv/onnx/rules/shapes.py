"""Padding, and layers that change the shape of their input or the order of its elements."""

from __future__ import annotations

from math import prod
from typing import Any

from ...geometry import Pairs
from ...layers.padding import _BorderPad, _ConstantPad
from ...layers.shape import ChannelShuffle, Flatten, PixelShuffle, PixelUnshuffle, Unflatten
from ..builder import Builder, Size, Tensor
from .table import on_images, rule

MODES = {"zeros": "constant", "reflect": "reflect", "replicate": "edge"}  # ONNX's names


def pad(b: Builder, x: Tensor, pairs: Pairs, mode: str = "zeros", value: float = 0.0) -> Tensor:
    """`x` with borders along its last axes; negative numbers crop."""
    more = [(max(lo, 0), max(hi, 0)) for lo, hi in pairs]
    less = [(min(lo, 0), min(hi, 0)) for lo, hi in pairs]
    if mode == "circular":
        return _wrap(b, _crop(b, x, less), more)
    if any(lo or hi for lo, hi in more):
        before = [0] * (x.ndim - len(pairs))
        pads = before + [lo for lo, _ in more] + before + [hi for _, hi in more]
        constant = b.constant(value, x.dtype) if mode == "zeros" and value else None
        x = b.node("Pad", x, pads, constant, mode=MODES[mode])
    return _crop(b, x, less)


def _crop(b: Builder, x: Tensor, pairs: list[tuple[int, int]]) -> Tensor:
    for axis, (lo, hi) in enumerate(pairs, start=x.ndim - len(pairs)):
        if lo or hi:
            x = b.node("Slice", x, [-lo], [b.fixed(x, axis)[0] + hi], [axis])
    return x


def _wrap(b: Builder, x: Tensor, pairs: list[tuple[int, int]]) -> Tensor:
    """Padding with the other end of each axis."""
    for axis, (lo, hi) in enumerate(pairs, start=x.ndim - len(pairs)):
        (size,) = b.fixed(x, axis)
        parts = [b.node("Slice", x, [size - lo], [size], [axis])] if lo else []
        parts += [x]
        parts += [b.node("Slice", x, [0], [hi], [axis])] if hi else []
        x = x if len(parts) == 1 else b.node("Concat", *parts, axis=axis)
    return x


@rule(_ConstantPad)
def constant_pad(b: Builder, layer: _ConstantPad, x: Tensor) -> Tensor:
    """Pad with a value, of any number of axes."""
    return pad(b, x, layer._pairs, "zeros", layer.value)


@rule(_BorderPad)
def border_pad(b: Builder, layer: _BorderPad, x: Tensor) -> Any:
    """Pad with values of the image."""
    return on_images(layer.axes, lambda x: pad(b, x, layer._pairs, layer.mode), b, x)


@rule(Flatten)
def flatten(b: Builder, layer: Flatten, x: Tensor) -> Any:
    """Flatten, where it does the same, else Reshape."""
    if not x.ndim:
        return b.reshape(x, 1)
    start, end = layer.start_dim % x.ndim, layer.end_dim % x.ndim
    if (start, end) == (1, x.ndim - 1) and x.ndim > 1:
        return b.node("Flatten", x, axis=1)
    merged = x.shape[start : end + 1]
    size: Size = merged[0]
    if len(merged) > 1:
        size = prod(merged) if all(isinstance(n, int) for n in merged) else None  # type: ignore[arg-type]
    return b.reshape(x, *x.shape[:start], size, *x.shape[end + 1 :])


@rule(Unflatten)
def unflatten(b: Builder, layer: Unflatten, x: Tensor) -> Tensor:
    """Reshape."""
    dim, sizes = layer.dim % x.ndim, list[Size](layer.unflattened_size)
    if -1 in sizes:
        known = prod(n for n in layer.unflattened_size if n != -1)
        whole = x.shape[dim]
        sizes[sizes.index(-1)] = whole // known if isinstance(whole, int) else None
    return b.reshape(x, *x.shape[:dim], *sizes, *x.shape[dim + 1 :])


@rule(PixelShuffle)
def pixel_shuffle(b: Builder, layer: PixelShuffle, x: Tensor) -> Any:
    """DepthToSpace in order CRD, of a batch of images; else Reshape and Transpose."""
    r = layer.upscale_factor
    if x.ndim == 4:
        return b.node("DepthToSpace", x, blocksize=r, mode="CRD")
    channels, height, width = b.fixed(x, -3, -2, -1)
    leading = x.shape[:-3]
    split = b.reshape(x, *leading, channels // r**2, r, r, height, width)
    y = _transpose(b, split, (0, 3, 1, 4, 2))
    return b.reshape(y, *leading, channels // r**2, height * r, width * r)


@rule(PixelUnshuffle)
def pixel_unshuffle(b: Builder, layer: PixelUnshuffle, x: Tensor) -> Tensor:
    """Reshape and Transpose: SpaceToDepth has the channels in another order."""
    r = layer.downscale_factor
    channels, height, width = b.fixed(x, -3, -2, -1)
    leading = x.shape[:-3]
    split = b.reshape(x, *leading, channels, height // r, r, width // r, r)
    y = _transpose(b, split, (0, 2, 4, 1, 3))
    return b.reshape(y, *leading, channels * r**2, height // r, width // r)


def _transpose(b: Builder, x: Tensor, order: tuple[int, ...]) -> Tensor:
    """The last axes in another order."""
    first = x.ndim - len(order)
    tensor: Tensor = b.node("Transpose", x, perm=[*range(first), *(first + i for i in order)])
    return tensor


@rule(ChannelShuffle)
def channel_shuffle(b: Builder, layer: ChannelShuffle, x: Tensor) -> Tensor:
    """Reshape, Transpose, Reshape."""
    batch, groups = x.shape[0], layer.groups
    channels, *spatial = b.fixed(x, *range(1, x.ndim))
    split = b.reshape(x, batch, groups, channels // groups, prod(spatial))
    return b.reshape(b.node("Transpose", split, perm=[0, 2, 1, 3]), batch, channels, *spatial)
