"""Checks of the arguments of constructors and functions, and how errors show them.

`to_int(where, value)` and its siblings return `value` as the type they are named after, or raise an error
that begins with `where`, the name of the layer or function and of the argument: `Conv2d: stride`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from math import isinf, isnan, prod
from numbers import Real
from operator import index
from typing import Any, TypeGuard

from .errors import ShapeError
from .geometry import Pairs, same_padding

SHOWN_ELEMENTS = 8  # of an array in an error, at most; of a larger one its shape
MOST_PLACES = 2**22  # along an axis of an output or a window whose parts are listed: some seconds
LARGEST_BYTES = 2**40  # of an array: more than any device has, but the allocation might not fail at once
LARGEST = 2**31 - 1  # of a size: larger than any axis in practice, and the largest int32, which cuDNN uses


def shown(value: object) -> str:
    """The text for `value` in an error: its repr on one line, truncated; the shape of a large array."""
    try:
        if getattr(value, "size", 0) > SHOWN_ELEMENTS and hasattr(value, "dtype"):
            return f"an array of shape {tuple(value.shape)}"  # type: ignore[attr-defined]
        text = " ".join(repr(value).split())
    except Exception:  # noqa: BLE001  # an int with too many digits, or an object that is not fully constructed
        return f"a {type(value).__name__}"
    return text if len(text) <= 200 else f"{text[:160]}… ({type(value).__name__})"


def about(argument: str, error: object) -> str:
    """The text of an error whose fix is written for `x`, for another argument: `xpconv.asarray(target)`."""
    return re.sub(r"\bx\b", argument, str(error)) if argument.isidentifier() else str(error)


def brief(value: Any) -> str:
    """The text for `value` in a repr: dtype and shape for an array, else as `shown`."""
    return f"{value.dtype} {tuple(value.shape)}" if hasattr(value, "shape") else shown(value)


def is_sequence(value: object) -> TypeGuard[Sequence[Any]]:
    """Whether `value` is a sequence, such as a tuple or a list, but not text or bytes."""
    return isinstance(value, Sequence) and not isinstance(value, str | bytes | bytearray | memoryview)


def to_int(where: str, value: object, minimum: int | None = None) -> int:
    """`value` as an int, of at least `minimum` if given; `where` is its name in errors."""
    try:
        result = index(None if isinstance(value, bool) else value)  # type: ignore[arg-type]  # it may fail
    except TypeError:
        raise TypeError(f"{where} is {shown(value)}, expected an int") from None
    if minimum is not None and result < minimum:
        raise ValueError(f"{where} is {shown(result)}, expected at least {minimum}")
    return result


def to_size(where: str, value: object, minimum: int = 1) -> int:
    """`to_int` with an upper limit, for a number of channels, pixels or the like."""
    result = to_int(where, value, minimum)
    if result > LARGEST:
        raise ValueError(f"{where} is {shown(result)}, expected at most {LARGEST}")
    return result


def to_ints(where: str, value: object, minimum: int | None = None) -> tuple[int, ...]:
    """A tuple of any number of ints, from a sequence or a vector."""
    numbers = value.tolist() if hasattr(value, "tolist") else value
    if not is_sequence(numbers):
        raise TypeError(f"{where} is {shown(value)}, expected a sequence of ints")
    return tuple([to_int(where, n, minimum) for n in numbers])


def to_tuple(where: str, value: object, axes: int, minimum: int, *, or_one: bool = False) -> tuple[int, ...]:
    """One int per axis, from one int for all axes or a sequence, which with `or_one` may hold one int."""
    if not is_sequence(value):
        if getattr(value, "ndim", 0):
            raise TypeError(f"{where} is {shown(value)}, expected an int or {axes} of them in a tuple")
        return (to_size(where, value, minimum),) * axes
    if or_one and len(value) == 1:
        value = (value[0],) * axes
    if len(value) != axes:
        raise ValueError(f"{where} is {shown(value)}, expected an int or {axes} of them")
    return tuple(to_size(where, v, minimum) for v in value)


def to_pairs(where: str, value: object, axes: int) -> Pairs:
    """Padding as pairs, from an int, one int per axis (or one for all), or one pair `(lo, hi)` per axis."""
    if is_sequence(value) and any(is_sequence(v) for v in value):
        if len(value) != axes:
            raise ValueError(f"{where} is {shown(value)}, expected one pair for each of the {axes} axes")
        pairs = [to_tuple(f"{where}[{i}]", v, 2, 0) for i, v in enumerate(value)]
    else:
        pairs = [(v, v) for v in to_tuple(where, value, axes, 0, or_one=True)]
    return tuple((lo, hi) for lo, hi in pairs)


def to_conv_padding(
    name: str,
    value: object,
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    dilation: tuple[int, ...],
) -> Pairs:
    """The padding of the convolution `name` as pairs, from `'same'`, `'valid'` or what `to_pairs` takes."""
    if not isinstance(value, str):
        return to_pairs(f"{name}: padding", value, len(kernel))
    if value == "valid":
        return ((0, 0),) * len(kernel)
    if value != "same":
        raise ValueError(f"{name}: padding is {shown(value)}, expected 'same', 'valid' or numbers")
    if any(s != 1 for s in stride):
        raise ValueError(f"{name}: padding='same' needs stride 1, got stride {stride}; give numbers")
    return same_padding(kernel, dilation)


def to_output_padding(
    name: str, value: object, stride: tuple[int, ...], dilation: tuple[int, ...]
) -> tuple[int, ...]:
    """The additional size of the output of the transposed convolution `name`, one int per axis."""
    numbers = to_tuple(f"{name}: output_padding", value, len(stride), 0, or_one=True)
    if any(n >= max(s, d) for n, s, d in zip(numbers, stride, dilation, strict=True)):
        raise ValueError(
            f"{name}: output_padding is {numbers}, expected less than the larger of stride {stride} and "
            f"dilation {dilation}"
        )
    return numbers


def to_float(
    where: str, value: object, minimum: float | None = None, *, nan: bool = False, finite: bool = False
) -> float:
    """A real number, at least `minimum` if given, as a Python float, which does not change an array's dtype.

    NaN is refused unless `nan`; infinities are refused if `finite`.
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        fix = "; give float(…) of the array" if getattr(value, "shape", None) == () else ""
        raise TypeError(f"{where} is {shown(value)}, expected a number{fix}")
    try:
        result = float(value)
    except OverflowError:
        raise ValueError(f"{where} is {shown(value)}, expected a number that a float can hold") from None
    if minimum is not None and not result >= minimum:
        raise ValueError(f"{where} is {value}, expected at least {minimum}")
    if isnan(result) and not nan:
        raise ValueError(f"{where} is {value}, expected a number that is not NaN")
    if finite and isinf(result):
        raise ValueError(f"{where} is {value}, expected a finite number")
    return result


def to_bool(where: str, value: object) -> bool:
    """`value` as a bool, if it is a Python or NumPy bool; `where` is its name in errors."""
    numpys = type(value).__module__ == "numpy" and type(value).__name__ in ("bool", "bool_")
    if not isinstance(value, bool) and not numpys:
        raise TypeError(f"{where} is {shown(value)}, expected True or False")
    return bool(value)


def to_choice(where: str, value: object, choices: Collection[str]) -> str:
    """`value`, if it is one of the strings `choices`. Objects of any other type are refused."""
    if isinstance(value, str) and value in choices:
        return str(value)
    words = [repr(choice) for choice in choices]
    expected = f"one of {', '.join(words)}" if len(words) > 2 else " or ".join(words)
    raise ValueError(f"{where} is {shown(value)}, expected {expected}")


@contextmanager
def named(outer: str, inner: str) -> Iterator[None]:
    """Replace the name `inner` by `outer` in errors, for an `outer` that passes its arguments to `inner`.

    The names may be those of arguments: `named("functional.one_hot: input", "one_hot: target")`.
    """
    try:
        yield
    except (TypeError, ValueError) as error:
        message = str(error)
        if not message.startswith((f"{inner}: ", f"{inner} ")):
            raise
        raise type(error)(outer + message.removeprefix(inner)) from None


def text_width(text: str) -> int:
    """How many letters of usual width are as wide: those of Chinese, Japanese and Korean count twice."""
    from unicodedata import combining, east_asian_width  # here: `import xpconv` does not need it

    return sum(0 if combining(c) else 2 if east_asian_width(c) in "WF" else 1 for c in text)


def check_room(what: str, shape: Sequence[int], itemsize: int) -> None:
    """Raise an error for an array too large for any machine, before it is allocated; `what` names it."""
    size = prod(shape) * itemsize
    if size > LARGEST_BYTES:
        much = f"{size / 2**30:.3g} GiB" if size < 2**100 else "more than any memory"
        raise ShapeError(f"{what} of shape {shown(tuple(shape))} takes {much}; give smaller sizes")


def check_places(what: str, sizes: Sequence[int]) -> None:
    """Raise an error for an axis, or a window, too long for the tables that are made of it."""
    if max(sizes) > MOST_PLACES:
        raise ShapeError(f"{what} of {shown(max(sizes))} along an axis, expected at most {MOST_PLACES:,}")


def axis_of(where: str, dim: int, shape: tuple[int, ...], argument: str = "x") -> int:
    """The axis `dim` of the `argument` of this shape, counted from 0; errors begin with `where`."""
    if not -len(shape) <= dim < len(shape):
        raise ShapeError(f"{where}: {argument} has shape {shape}, so no axis dim={dim}")
    return dim % len(shape)
