"""Checks that convolutions and their gradients share: the window, the padding and the shapes."""

from __future__ import annotations

from functools import lru_cache
from math import prod
from typing import Any, NamedTuple

from ..arguments import (
    check_room,
    is_sequence,
    shown,
    to_conv_padding,
    to_output_padding,
    to_size,
    to_tuple,
)
from ..backend import Array
from ..checks import SPATIAL, as_images, check_fits, check_left
from ..errors import BackendError, ShapeError
from ..geometry import Shape, Window
from ._checks import check_shape, to_shape

IntOrTuple = int | tuple[int, ...]
Padding = str | int | tuple[int, ...] | tuple[tuple[int, int], ...]


class Sliding(NamedTuple):
    """The checked settings of a convolution; `outer` is the length of the weight's first axis."""

    where: str
    window: Window
    groups: int
    padding: object  # as the user gave it
    outer: int
    inner: int  # the channels of the weight's second axis, times the groups
    why: str  # for errors: the weight's shape, from which the numbers of channels follow

    def images(self, x: Array, argument: str) -> tuple[Array, bool]:
        """Check the images that the window slides over; return them as a batch, and whether `x` was one."""
        axes = len(self.window.kernel)
        images, batched = as_images(self.where, x, axes, self.inner, self.why, argument, "weight")
        self.check(x, images.shape, argument)
        return images, batched

    def check(self, x: Any, shape: Shape, argument: str) -> None:
        """Raise an error if no window fits images of this shape, or they are too large with padding."""
        check_fits(self.where, x, shape[2:], self.window, self.padding, argument)
        padded = (n + lo + hi for n, (lo, hi) in zip(shape[2:], self.window.padding, strict=True))
        check_room(f"{self.where}: a padded image", (*shape[:2], *padded), 16)

    def output_shape(self, shape: Shape) -> Shape:
        """The shape of the output for batched images of this shape."""
        return (shape[0], self.outer, *self.window.output_shape(shape[2:]))


class Size(NamedTuple):
    """A given shape of images, used in place of an array in checks."""

    shape: Shape


def sliding(
    where: str,
    axes: int,
    weight_shape: Shape,
    stride: object,
    padding: object,
    dilation: object,
    groups: object,
    argument: str = "weight",
    order: str = "out_channels, in_channels/groups",
) -> Sliding:
    """Check the weight's shape and the arguments of a convolution; of plain ones the result is remembered."""
    plain = {type(stride), type(padding), type(dilation), type(groups)} <= {int, str}
    check = _remembered if plain else _sliding
    return check(where, axes, weight_shape, stride, padding, dilation, groups, argument, order)


def _sliding(
    where: str,
    axes: int,
    weight_shape: Shape,
    stride: object,
    padding: object,
    dilation: object,
    groups: object,
    argument: str,
    order: str,
) -> Sliding:
    kernel_axes = ", ".join(f"k{axis}" for axis in SPATIAL[axes].split(", "))
    if len(weight_shape) != axes + 2:
        raise ShapeError(f"{where}: {argument} has shape {weight_shape}, expected ({order}, {kernel_axes})")
    if 0 in weight_shape:
        raise ShapeError(f"{where}: {argument} has shape {weight_shape}, expected no empty axis")
    kernel = weight_shape[2:]
    steps = to_tuple(f"{where}: stride", stride, axes, 1, or_one=True)
    spread = to_tuple(f"{where}: dilation", dilation, axes, 1, or_one=True)
    pairs = to_conv_padding(where, padding, kernel, steps, spread)
    count = to_size(f"{where}: groups", groups)
    outer = weight_shape[0]
    if outer % count:
        name = order.partition(",")[0]
        raise ValueError(f"{where}: groups is {count}, which does not divide {name} = {outer} of {argument}")
    why = f"{argument} has shape {weight_shape}" + f", groups={count}" * (count > 1)
    window = Window(kernel, steps, pairs, spread)
    return Sliding(where, window, count, padding, outer, weight_shape[1] * count, why)


_remembered = lru_cache(maxsize=256)(_sliding)


def check_bias(where: str, bias: object) -> None:
    """Raise a BackendError if it is a stride or a padding, given as the third argument."""
    if bias is None:
        return
    sizes = bias if is_sequence(bias) and len(bias) else (bias,)
    if isinstance(bias, str) or all(isinstance(n, int) and not isinstance(n, bool) for n in sizes):
        name = "padding" if isinstance(bias, str) else "stride"
        value = shown(bias)
        raise BackendError(
            f"{where}: bias is {value}, expected an array or None; {name} is given by name: {name}={value}"
        )


def image_size(how: Sliding, argument: str, value: object, transposed: bool = False) -> tuple[Shape, bool]:
    """Check a given shape of images; return it with a batch axis, and whether it had one."""
    axes, channels = len(how.window.kernel), how.outer if transposed else how.inner
    form = f"(N, {channels}, {SPATIAL[axes]}) or ({channels}, {SPATIAL[axes]})"
    shape = to_shape(how.where, argument, value, (axes + 1, axes + 2), form)
    if shape[-axes - 1] != channels or 0 in shape[-axes:]:
        raise ShapeError(f"{how.where}: {argument} is {shape}, expected {form} ({how.why})")
    batched = len(shape) == axes + 2
    full = shape if batched else (1, *shape)
    if not transposed:
        how.check(Size(shape), full, argument)
    return full, batched


def weight_size(where: str, axes: int, value: object, order: str) -> Shape:
    """Check a given shape of a weight; return it as a tuple."""
    form = f"({order}, {', '.join('k' + axis for axis in SPATIAL[axes].split(', '))})"
    return to_shape(where, "weight_size", value, (axes + 2,), form)


def as_gradient(where: str, grad: Array, expected: Shape, batched: bool, why: str) -> Array:
    """Check that `grad_output` has the shape `expected`, without N if not `batched`; return it with N."""
    check_shape(where, "grad_output", grad, expected if batched else expected[1:], why)
    return grad if batched else grad[None]


def transposed_size(
    how: Sliding, x: Array, spatial: Shape, output_padding: object, argument: str = "input"
) -> Shape:
    """Height, width, … of the output of a transposed convolution."""
    extra = to_output_padding(how.where, output_padding, how.window.stride, how.window.dilation)
    least = how.window.transposed_shape(spatial)
    size = tuple(a + b for a, b in zip(least, extra, strict=True))
    check_left(how.where, spatial, how.padding, size, argument)
    check_room(f"{how.where}: an output", (how.inner, *size), 16 * max(1, prod(x.shape[: -len(size) - 1])))
    return size
