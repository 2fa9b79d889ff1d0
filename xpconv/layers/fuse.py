"""What `Layer.fuse` folds: a BatchNorm into the convolution or dense layer before it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import count

from ..backend import backend_of, ignoring_underflow
from ..ops import norm as ops
from ..parameter import Parameter, learns
from .children import Named
from .conv import _Conv, _ConvNd
from .conv_separable import SeparableConv2d
from .conv_transpose import _ConvTranspose
from .layer import Layer, runs_as
from .linear import Dense
from .norm import _BatchNorm
from .shape import Folded, Identity

_numbers = count()
Place = tuple[Named, str, Layer]  # a Sequential, a name in it, and the layer of that name


@ignoring_underflow
def fold(chain: Named, kind: type[Named], uses: Counter[int]) -> None:
    """Fold the layers of `chain`, a `Sequential`, and of those in it that are used only there.

    Args:
        kind: the class `Sequential`, whose module imports this one.
        uses: how often each layer is used in the whole model, by id.
    """
    _fold_chain(_places(chain, list(chain._layers), kind, uses), kind, uses)


@ignoring_underflow
def fold_nodes(graph: Named, names: list[str], kind: type[Named], uses: Counter[int]) -> None:
    """The same for nodes of a graph that run one after the other."""
    _fold_chain(_places(graph, names, kind, uses), kind, uses)


def _places(chain: Named, names: list[str], kind: type[Named], uses: Counter[int]) -> Iterator[Place]:
    """The layers that run one after the other; a Sequential that is also used elsewhere is its own chain."""
    for name in names:
        layer = chain._layers[name]
        if runs_as(layer, kind) and layer._layers and uses[id(layer)] == 1:
            yield from _places(layer, list(layer._layers), kind, uses)
        else:
            yield chain, name, layer


def _fold_chain(places: Iterator[Place], kind: type[Named], uses: Counter[int]) -> None:
    before: _ConvNd | Dense | None = None  # the layer that a BatchNorm here would be folded into
    between: list[Layer] = []  # the layers after it, which do nothing
    for home, name, layer in places:
        empty = runs_as(layer, kind) and not layer._layers
        if empty or runs_as(layer, Identity) or runs_as(layer, Folded):
            between.append(layer)
        elif before is not None and runs_as(layer, _BatchNorm) and _fits(before, layer):
            _fold(before, layer)
            folded = home._layers[name] = _place_holder(before, layer, _expected(before))
            for part in between:
                part._between = (*part._between, *before._carries[-1:])
            between.append(folded)
        else:
            before, between = _linear(layer, uses), []


def _place_holder(into: Layer, layer: Layer, expected: tuple[str, ...] | None = None) -> Folded:
    """A placeholder for `layer`, which is now part of `into`; both hold the same number."""
    folded = Folded(repr(layer), expected)
    folded._folded = next(_numbers)
    into._carries = (*into._carries, folded._folded)
    return folded


def _linear(layer: Layer, uses: Counter[int]) -> _ConvNd | Dense | None:
    """The convolution or dense layer that computes the output of `layer`, if it is used once; else None."""
    if uses[id(layer)] == 1 and runs_as(layer, SeparableConv2d):
        layer = layer.pointwise
    if uses[id(layer)] == 1 and runs_as(layer, _Conv):
        return layer
    if uses[id(layer)] == 1 and runs_as(layer, _ConvTranspose):
        return layer
    return layer if uses[id(layer)] == 1 and runs_as(layer, Dense) else None


def _expected(layer: _ConvNd | Dense) -> tuple[str, ...]:
    """The axes of what `layer` gives for a batch."""
    axes = layer.axes if isinstance(layer, _ConvNd) else 0
    return {0: ("N", "C"), 1: ("N", "C", "L"), 2: ("N", "C", "H", "W"), 3: ("N", "C", "D", "H", "W")}[axes]


def _fits(layer: _ConvNd | Dense, norm: _BatchNorm) -> bool:
    """Whether `norm` has fixed statistics and takes what `layer` gives."""
    if norm.running_mean is None:
        return False
    weight, mean = layer.weight.data, norm.running_mean
    channels = layer.out_channels if isinstance(layer, _ConvNd) else layer.out_features
    return (
        norm.num_features == channels
        and len(_expected(layer)) in norm.ranks
        and (mean.dtype == weight.dtype or weight.dtype.itemsize == 2)
        and backend_of(mean) is backend_of(weight)
    )


def _fold(layer: _ConvNd | Dense, norm: _BatchNorm) -> None:
    """`y = scale · (W x + b) + shift = (scale W) x + (scale b + shift)`: in float64, as new parameters.

    The old ones may be another layer's too.
    """
    weight, bias = layer.weight.data, layer.bias
    xp, dtype = backend_of(weight).xp, weight.dtype
    gamma, beta = (None if p is None else p.data for p in (norm.weight, norm.bias))
    mean, var = norm.running_mean.astype("float64"), norm.running_var.astype("float64")
    scale, shift = ops.batch_norm_as_affine(xp, gamma, beta, norm.eps, mean, var)
    wide = weight.astype("float64")
    if isinstance(layer, _ConvTranspose):  # (in, out/groups, …): a group's inputs are rows one after another
        groups, rest = layer.groups, (1,) * layer.axes
        wide = wide.reshape(groups, -1, *wide.shape[1:]) * scale.reshape(groups, 1, -1, *rest)
        wide = wide.reshape(weight.shape)
    else:
        wide = wide * scale.reshape(-1, *(1,) * (wide.ndim - 1))
    if bias is not None:
        shift = shift + scale * bias.data
    # A folded parameter is frozen only if all parameters that it was computed from are.
    scales = any(map(learns, (layer.weight, norm.weight)))
    shifts = any(map(learns, (bias, norm.bias))) if (bias, norm.bias) != (None, None) else scales
    layer.weight = Parameter(wide.astype(dtype), "weight", requires_grad=scales)
    layer.bias = Parameter(shift.astype(dtype), "bias", requires_grad=shifts)
