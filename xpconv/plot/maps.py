"""Kernels, feature maps, and what an image's pixels mean to a model."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import inspection
from ..arguments import is_sequence, shown, to_int
from ..arrays import asnumpy
from ..errors import ShapeError
from ..layers import Layer, Upsample
from ..layers.conv import _ConvNd
from ..layers.conv_transpose import _ConvTranspose
from ..tape import no_grad
from .figures import BAR, DIVERGING, SEQUENTIAL, Figure, Tiles, axes, host, limit, pictures, scale, title

__all__ = ["feature_maps", "grad_cam", "kernels", "saliency"]

MOST = 64  # kernels or maps in a picture
SIDE = 16  # rows and columns, if each channel of each kernel has a tile
IMAGES = 8


def kernels(layer: Layer, ax: Any = None) -> Figure:
    """The kernels of a convolution, up to 64, on one scale: red is positive, blue negative, white is 0.

    Kernels of three channels are shown in colour, with grey for 0. With other numbers of channels, each row
    has a kernel and each column a channel, up to 16 of both. For a 1-d convolution, the rows of a tile are
    its channels; for a 3-d one, the slices of the kernels are in one row.

    Args:
        layer: a convolution, also a transposed one.
        ax: matplotlib's axes to draw into; None makes a figure.

    Returns:
        the figure.

    Raises:
        TypeError: `layer` is not a convolution.
        ImportError: matplotlib is not installed.

    Example:
        >>> import xpconv
        >>> figure = xpconv.plot.kernels(xpconv.Conv2d(3, 16, 5))
    """
    if not isinstance(layer, _ConvNd) or layer.lazy:
        hint = "; its layers are layer.depthwise and layer.pointwise" if hasattr(layer, "pointwise") else ""
        made = " without parameters, which its first forward makes" if getattr(layer, "lazy", False) else ""
        raise TypeError(f"kernels: layer is {shown(layer)}{made}, expected a convolution{hint}")
    weight = host(layer.weight.data)
    if isinstance(layer, _ConvTranspose):
        weight = weight.swapaxes(0, 1)
    size = "×".join(map(str, layer.kernel_size))
    count, channels = weight.shape[:2]
    largest = limit(weight)
    if layer.axes == 1:
        weight = weight[:, None]
    elif layer.axes == 3:
        weight = weight.reshape(count, channels * weight.shape[2], *weight.shape[3:])
    columns, each = None, weight.shape[1]
    if each in (1, 3) and layer.axes < 3:
        weight = weight[:MOST]
        text = f"{_some(count, MOST)} kernel{'s' * (count != 1)} of {size}"
        text += f", {channels} channels" if channels > 1 else ""
    else:
        weight = weight[:SIDE, :SIDE]
        columns, inner = weight.shape[1], "slices" if layer.axes == 3 else "channels"
        text = f"{_some(count, SIDE)} kernels of {size} in rows, {_some(each, SIDE)} {inner} in columns"
    if each == 3 and columns is None:
        tiles = Tiles(np.moveaxis(0.5 + weight / (2 * largest), 1, 3).clip(0, 1))
        ax = axes("kernels", ax, tiles.size)
        tiles.draw(ax, interpolation="nearest")
        text += ", grey is 0"
    else:
        tiles = Tiles(weight.reshape(-1, *weight.shape[2:]), columns, bar=BAR)
        ax = axes("kernels", ax, tiles.size)
        image = tiles.draw(ax, cmap=DIVERGING, vmin=-largest, vmax=largest, interpolation="nearest")
        scale(ax, image, "weight")
    title(ax, text)
    return ax.figure  # type: ignore[no-any-return]


def feature_maps(model: Layer, x: Any, layer: Layer | str, index: int = 0, ax: Any = None) -> Figure:
    """The maps that one layer makes of an image, up to 64, on one scale.

    Args:
        model, x, layer: as in `inspection.feature_maps`; the layer's output is `(N, C, H, W)` or `(N, C, L)`.
        index: which image of the batch.
        ax: matplotlib's axes to draw into; None makes a figure.

    Returns:
        the figure.

    Raises:
        TypeError, ValueError: as `inspection.feature_maps`.
        ShapeError: (a ValueError) the layer's output has other axes.
        IndexError: there is no such image in the batch.
        ImportError: matplotlib is not installed.

    Example:
        >>> import numpy as np, xpconv
        >>> x = np.zeros((1, 3, 32, 32), "float32")
        >>> figure = xpconv.plot.feature_maps(xpconv.models.resnet20(), x, "layer1")
    """
    maps = inspection.feature_maps(model, x, layer)
    if maps.ndim not in (3, 4) or 0 in maps.shape[1:]:
        raise ShapeError(f"feature_maps: the layer gives shape {maps.shape}, expected maps (N, C, H, W)")
    number = to_int("feature_maps: index", index)
    if not -len(maps) <= number < len(maps):
        raise IndexError(f"feature_maps: index is {number}, but the batch has {len(maps)} images")
    one = host(maps[number])
    one = one[:, None] if one.ndim == 2 else one
    count, largest = len(one), limit(one)
    tiles = Tiles(one[:MOST], bar=BAR)
    ax = axes("feature_maps", ax, tiles.size)
    signed = bool((one < 0).any())
    colours, low = (DIVERGING, -largest) if signed else (SEQUENTIAL, 0.0)
    scale(ax, tiles.draw(ax, cmap=colours, vmin=low, vmax=largest), "output")
    size = "×".join(map(str, maps.shape[2:]))
    title(ax, f"{_called(model, layer)}: {_some(count, MOST)} maps of {size}")
    return ax.figure  # type: ignore[no-any-return]


def grad_cam(
    model: Layer, x: Any, layer: Layer | str, target: inspection.Target = None, ax: Any = None
) -> Figure:
    """Grad-CAM over the images, up to 8: the warmer a place, the more it speaks for the class.

    Each map is enlarged to its image and scaled to its own maximum. The upper row has the images themselves.

    Args:
        model, x, layer, target: as in `inspection.grad_cam`; `x` is `(N, C, H, W)`.
        ax: matplotlib's axes to draw into; None makes a figure.

    Returns:
        the figure.

    Raises:
        TypeError, ValueError: as `inspection.grad_cam`.
        ShapeError: (a ValueError) `x` is not a batch of images.
        ImportError: matplotlib is not installed.

    Example:
        >>> import numpy as np, xpconv
        >>> x = np.zeros((1, 3, 32, 32), "float32")
        >>> figure = xpconv.plot.grad_cam(xpconv.models.resnet20(), x, "layer3", 5)
    """
    x, target = _first("grad_cam", x, target)
    images = pictures("grad_cam", x)
    maps = inspection.grad_cam(model, x, layer, target)
    if maps.ndim != 3:
        raise ShapeError(f"grad_cam: the layer gives maps of shape {maps.shape}, expected (N, H, W)")
    with no_grad():
        heat = host(Upsample(size=images.shape[1:3], mode="bilinear")(maps[:, None])[:, 0])
    heat = _to_one(heat, heat.max(axis=(1, 2), keepdims=True, initial=0))
    warm = heat[..., None] * 0.75
    mixed = images * (1 - warm) + _coloured("turbo", 0.5 + heat / 2) * warm
    return _below("grad_cam", ax, images, mixed, target, f"Grad-CAM of {_called(model, layer)}")


def saliency(model: Layer, x: Any, target: inspection.Target = None, ax: Any = None) -> Figure:
    """Saliency below the images, up to 8: the brighter a pixel, the more it changes the score of the class.

    Each map is scaled to its own maximum, without the brightest half of a per cent.

    Args:
        model, x, target: as in `inspection.saliency`; `x` is `(N, C, H, W)`.
        ax: matplotlib's axes to draw into; None makes a figure.

    Returns:
        the figure.

    Raises:
        TypeError, ValueError: as `inspection.saliency`.
        ShapeError: (a ValueError) `x` is not a batch of images.
        ImportError: matplotlib is not installed.

    Example:
        >>> import numpy as np, xpconv
        >>> x = np.zeros((1, 3, 32, 32), "float32")
        >>> figure = xpconv.plot.saliency(xpconv.models.resnet20(), x, target=5)
    """
    x, target = _first("saliency", x, target)
    images = pictures("saliency", x)
    maps = host(inspection.saliency(model, x, target))
    most = (
        np.quantile(maps, 0.995, axis=(1, 2), keepdims=True)
        if maps.size
        else maps.sum(axis=(1, 2), keepdims=True)
    )
    return _below("saliency", ax, images, _coloured("inferno", _to_one(maps, most)), target, "Saliency")


def _first(where: str, x: Any, target: Any) -> tuple[Any, Any]:
    """The first images, and their targets."""
    if not hasattr(x, "shape") or len(x.shape) != 4:
        found = f"has shape {tuple(x.shape)}" if hasattr(x, "shape") else f"is {shown(x)}"
        raise ShapeError(f"{where}: x {found}, expected a batch of images (N, C, H, W)")
    if is_sequence(target) or getattr(target, "shape", ()) != ():
        if len(target) != len(x):
            raise ShapeError(f"{where}: there are {len(target)} targets for {len(x)} images")
        target = target[:IMAGES]
    return x[:IMAGES], target


def _below(where: str, ax: Any, images: Any, others: Any, target: Any, text: str) -> Figure:
    """A row of images above one of others, side by side if it is one of each."""
    count = len(images)
    if not count:
        raise ShapeError(f"{where}: x has no images")
    numbers = (
        [] if target is None else _as_list(target) if hasattr(target, "__len__") else [int(target)] * count
    )
    texts = [f"class {n}" for n in numbers]
    tiles = Tiles(np.concatenate([images, others]), 2 if count == 1 else count, texts, side=2.5)
    ax = axes(where, ax, tiles.size)
    tiles.draw(ax)
    title(ax, text)
    return ax.figure  # type: ignore[no-any-return]


def _some(count: int, most: int) -> str:
    return f"{most} of {count}" if count > most else str(count)


def _as_list(target: Any) -> list[int]:
    """Classes as a list."""
    return [int(n) for n in (asnumpy(target) if hasattr(target, "shape") else target)]


def _to_one(values: Any, most: Any) -> Any:
    """From 0 to 1; all 0 where `most` is 0."""
    return np.nan_to_num((values / np.where(most > 0, most, 1)).clip(0, 1))


def _coloured(name: str, values: Any) -> Any:
    """Values from 0 to 1 as colours `(…, 3)`."""
    from matplotlib import colormaps

    return colormaps[name](values)[..., :3]


def _called(model: Layer, layer: Layer | str) -> str:
    """`layer 4`, by the name in the model, or the class of one without a name."""
    if isinstance(layer, str):
        return f"layer {layer}" if layer else type(model).__name__
    found = (f"layer {name}" for name, part in model.named_layers() if part is layer and name)
    return next(found, type(layer).__name__)
