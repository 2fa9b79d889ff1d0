"""Padding in all modes, and its gradient."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..arguments import LARGEST, is_sequence, shown, to_choice, to_float, to_int, to_size
from ..backend import Array, backend_of
from ..checks import check_pad
from ..errors import ShapeError
from ..geometry import Pairs, Shape
from ..ops import padding as ops
from ._checks import EXACT, MOVED, enter, public

__all__ = ["pad", "pad_backward"]

MODES = ("constant", "reflect", "replicate", "circular")


@public
def pad(
    input: Array, pad: int | Sequence[int], mode: str = "constant", value: complex | None = None
) -> Array:
    """Pad the last axes of an array, as `torch.nn.functional.pad`.

    `input` `(…, W)` with `pad=(left, right)` gives `(…, left + W + right)`; further pairs are for the axes
    before: `(left, right, top, bottom)`. A negative number crops. `input` has a floating, complex, integer or
    boolean dtype.

    Args:
        pad: pairs of ints, the last axis first; an int is `(pad, pad)`.
        mode: `'constant'`, for any number of axes; `'reflect'`, `'replicate'` or `'circular'`, for images
            `(N, C, *S)` or `(C, *S)`, of which all axes in S (one to three) are padded.
        value: the value of the border in mode `'constant'`; None means 0.

    Raises:
        ValueError: an odd count of numbers, more pairs than axes, an unknown mode, or a value for another
            mode.
        ShapeError: (a ValueError) `input` of another rank; padding larger than the mode allows; an empty
            result.
        DTypeError, BackendError: (TypeErrors) `input` is not an array of numbers.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.pad(np.array([[1, 2, 3]]), (2, 1))
        array([[0, 0, 1, 2, 3, 0]])
        >>> F.pad(np.array([[1, 2, 3]]), (2, 1), mode="reflect")
        array([[3, 2, 1, 2, 3, 2]])
    """
    where = "functional.pad"
    xp, x = enter(where, {"input": input}, kinds=MOVED)
    pairs = _pairs(where, pad)
    kind = to_choice(f"{where}: mode", mode, MODES)
    if kind == "constant":
        fill = _value(where, xp, x.dtype, value)
        check_pad(where, x, pairs, kind, "input")
        y = ops.pad_constant(xp, x, pairs, fill)
        return y.copy() if backend_of(x).may_share_memory(y, x) else y
    if value is not None:
        raise ValueError(f"{where}: value is {shown(value)}, but mode={kind!r} has none; leave it None")
    images = _images(where, x, pairs, "input")
    check_pad(where, x, pairs, kind, "input")
    y = ops.pad_or_crop(xp, images, pairs, kind).reshape(
        *x.shape[: x.ndim - len(pairs)], *_sizes(x.shape, pairs)
    )
    return y.copy() if backend_of(x).may_share_memory(y, x) else y


@public
def pad_backward(grad_output: Array, pad: int | Sequence[int], mode: str = "constant") -> Array:
    """Gradient of `pad` with respect to `input`, which is its adjoint.

    `grad_output` has the shape of what `pad` returned, and a floating, complex or integer dtype; the result
    has the shape of `input`. The gradient of a border element is added to the element that was copied there;
    in mode `'constant'` it is dropped. Cropped elements have gradient 0. Arguments and errors are those of
    `pad`.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.pad_backward(np.ones((1, 6)), (2, 1))
        array([[1., 1., 1.]])
        >>> F.pad_backward(np.ones((1, 6)), (2, 1), mode="reflect")
        array([[1., 3., 2.]])
    """
    where = "functional.pad_backward"
    xp, grad = enter(where, {"grad_output": grad_output}, kinds=EXACT)
    pairs = _pairs(where, pad)
    kind = to_choice(f"{where}: mode", mode, MODES)
    back = tuple((-lo, -hi) for lo, hi in pairs)
    if kind == "constant":
        check_pad(where, grad, back, kind, "grad_output")
        dx = ops.pad_constant_backward(xp, grad, pairs)
        return dx.copy() if backend_of(grad).may_share_memory(dx, grad) else dx
    images = _images(where, grad, pairs, "grad_output")
    before = grad.ndim - len(pairs)
    source = Size((*grad.shape[:before], *_sizes(grad.shape, back)), grad.dtype)
    if min(source.shape[before:]) < 1:
        raise ShapeError(
            f"{where}: grad_output has shape {grad.shape}, smaller than the borders pad={shown(pad)} alone"
        )
    check_pad(where, source, pairs, kind, "input")
    dx = ops.pad_or_crop_backward(xp, images, pairs, kind).reshape(source.shape)
    return dx.copy() if backend_of(grad).may_share_memory(dx, grad) else dx


class Size:
    """The shape and dtype of an array, used in place of the array in checks."""

    shape: Shape
    dtype: Any
    ndim: int

    def __init__(self, shape: Shape, dtype: Any) -> None:
        self.shape, self.dtype, self.ndim = shape, dtype, len(shape)


def _pairs(where: str, pad: object) -> Pairs:
    """`(lo, hi)` for each of the last axes, in their order."""
    numbers = pad if is_sequence(pad) else (pad, pad)
    if len(numbers) % 2 or not numbers:
        raise ValueError(f"{where}: pad is {shown(pad)}, expected pairs (left, right, top, bottom, …)")
    sizes = [to_size(f"{where}: pad", n, -LARGEST) for n in numbers]
    return tuple(zip(sizes[::2], sizes[1::2], strict=True))[::-1]


def _sizes(shape: Shape, pairs: Pairs) -> Shape:
    return tuple(n + lo + hi for n, (lo, hi) in zip(shape[len(shape) - len(pairs) :], pairs, strict=True))


def _images(where: str, x: Array, pairs: Pairs, argument: str) -> Array:
    """`x` with one or two axes before those that are padded, as `(N, C, *S)`."""
    axes = len(pairs)
    if axes > 3 or x.ndim not in (axes + 1, axes + 2) or 0 in x.shape[x.ndim - axes - 1 :]:
        raise ShapeError(
            f"{where}: {argument} has shape {x.shape}, and pad {axes} pairs: expected (N, C, *S) or (C, *S) "
            "with one to three axes S, a pair for each, and none of them empty"
        )
    return x if x.ndim == axes + 2 else x[None]


def _value(where: str, xp: Any, dtype: Any, value: object) -> complex:
    """The value of the border, which `dtype` can hold."""
    name = f"{where}: value"
    if value is None:
        return 0
    if dtype.kind == "c" and isinstance(value, complex):
        return value
    if dtype.kind not in "iub":
        return to_float(name, value, nan=True)
    number = int(value) if isinstance(value, bool) else to_int(name, value)
    low, high = (0, 1) if dtype.kind == "b" else (xp.iinfo(dtype).min, xp.iinfo(dtype).max)
    if not low <= number <= high:
        raise ValueError(f"{name} is {shown(value)}, expected {low} to {high}, as input is {dtype}")
    return number
