"""The arithmetic of windows that slide over images, for convolution and pooling in any dimension.

One axis of a window has a kernel size `k`, stride `s`, dilation `d` and padding `(lo, hi)`. Output
position `p` looks through tap `r` at input position `h = p*s - lo + r*d`. Everything here follows
from that line.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from itertools import product
from math import isinf, isnan, prod
from numbers import Real
from operator import index
from typing import Any, NamedTuple, TypeGuard

from .errors import ShapeError

Pairs = tuple[tuple[int, int], ...]


class Window(NamedTuple):
    """How a kernel slides over the spatial axes: one entry an axis."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: Pairs
    dilation: tuple[int, ...]

    def output_shape(self, spatial: Sequence[int], ceil_mode: bool = False) -> tuple[int, ...]:
        return _output_shape(self, tuple(spatial), ceil_mode)

    def taps(self, spatial: Sequence[int], output: Sequence[int]) -> tuple[Tap, ...]:
        """Every tap of the kernel, in row-major order: `y[tap.out]` sees `x[tap.into]` through it."""
        return _taps(self, tuple(spatial), tuple(output))

    def overlaps(self) -> int:
        """The largest number of windows that contain the same position."""
        most = 1
        for k, s in zip(self.kernel, self.stride, strict=True):
            most *= -(-k // s)
        return most

    def counts(
        self, spatial: Sequence[int], output: Sequence[int], include_pad: bool
    ) -> list[tuple[int, ...]]:
        """For each axis, how many input (and padding) positions each output's window covers."""
        result = []
        for n, m, k, s, (lo, hi) in zip(spatial, output, self.kernel, self.stride, self.padding, strict=True):
            low, high = (-lo, n + hi) if include_pad else (0, n)
            starts = range(-lo, -lo + m * s, s)
            result.append(tuple(max(0, min(h + k, high) - max(h, low)) for h in starts))
        return result


class Tap(NamedTuple):
    """One position in the kernel, and the slices of output and input that meet through it."""

    offset: tuple[int, ...]
    out: tuple[slice, ...]
    into: tuple[slice, ...]


def output_size(
    size: int, kernel: int, stride: int, padding: tuple[int, int], dilation: int, ceil_mode: bool = False
) -> int:
    """Number of window positions along one axis; zero or less where the kernel does not fit.

    With `ceil_mode` a last window may hang over the end, if it starts inside the input or the lower
    padding (the rule of `torch.nn.MaxPool2d`).

    Example:
        >>> output_size(28, kernel=5, stride=2, padding=(0, 0), dilation=1)
        12
    """
    lo, hi = padding
    room = size + lo + hi - dilation * (kernel - 1) - 1
    if not ceil_mode:
        return room // stride + 1
    count = -(-room // stride) + 1
    return count - 1 if (count - 1) * stride >= size + lo else count


def same_padding(kernel: Sequence[int], dilation: Sequence[int]) -> Pairs:
    """Padding that keeps the size at stride 1; if it is odd, the end gets one more, as in PyTorch."""
    totals = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
    return tuple((t // 2, t - t // 2) for t in totals)


@lru_cache(maxsize=1024)
def _output_shape(window: Window, spatial: tuple[int, ...], ceil_mode: bool) -> tuple[int, ...]:
    return tuple(
        output_size(n, k, s, p, d, ceil_mode) for n, k, s, p, d in zip(spatial, *window, strict=True)
    )


@lru_cache(maxsize=1024)
def _taps(window: Window, spatial: tuple[int, ...], output: tuple[int, ...]) -> tuple[Tap, ...]:
    axes = []
    for n, m, k, s, (lo, _), d in zip(
        spatial, output, window.kernel, window.stride, window.padding, window.dilation, strict=True
    ):
        axis = []
        for r in range(k):
            shift = r * d - lo  # h = p*s + shift, which must be in [0, n)
            first = max(0, -(shift // s))  # smallest p with h >= 0
            last = min(m - 1, (n - 1 - shift) // s)  # largest p with h < n
            if first > last:
                axis.append((r, slice(0, 0), slice(0, 0)))
            else:
                axis.append((r, slice(first, last + 1), slice(first * s + shift, last * s + shift + 1, s)))
        axes.append(axis)
    return tuple(
        Tap(tuple(a[0] for a in combo), tuple(a[1] for a in combo), tuple(a[2] for a in combo))
        for combo in product(*axes)
    )


# --- checks of the arguments of constructors and functions ----------------------------------------------

LARGEST_BYTES = 2**40  # of an array: more than any device has, but the allocation might not fail at once
LARGEST = 2**31 - 1  # of a size: larger than any axis in practice, and the largest int32, which cuDNN uses


def shown(value: object) -> str:
    """The text for `value` in an error: its repr on one line, truncated if it is long."""
    try:
        text = " ".join(repr(value).split())
    except Exception:  # noqa: BLE001  # an int with too many digits, or an object that is not fully constructed
        return f"a {type(value).__name__}"
    return text if len(text) <= 200 else f"{text[:160]}… ({type(value).__name__})"


def brief(value: Any) -> str:
    """The text for `value` in a repr: dtype and shape for an array, else as `shown`."""
    return f"{value.dtype} {tuple(value.shape)}" if hasattr(value, "shape") else shown(value)


def is_sequence(value: object) -> TypeGuard[Sequence[Any]]:
    """Whether `value` is a sequence, such as a tuple or a list, but not text or bytes."""
    return isinstance(value, Sequence) and not isinstance(value, str | bytes | bytearray | memoryview)


def to_int(where: str, value: object, minimum: int | None = None) -> int:
    """`value` as an int, of at least `minimum` if given; `where` is what an error calls it."""
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


def to_tuple(where: str, value: object, axes: int, minimum: int, *, or_one: bool = False) -> tuple[int, ...]:
    """One int per axis, from one int for all axes or a sequence, which with `or_one` may hold one int."""
    if not is_sequence(value):
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
    """Replace the name `inner` by `outer` in errors, for an `outer` that passes its arguments to `inner`."""
    try:
        yield
    except (TypeError, ValueError) as error:
        message = str(error)
        if not message.startswith(f"{inner}: "):
            raise
        raise type(error)(outer + message.removeprefix(inner)) from None


def check_room(what: str, shape: Sequence[int], itemsize: int) -> None:
    """Raise an error for an array too large for any machine, before it is allocated; `what` names it."""
    size = prod(shape) * itemsize
    if size > LARGEST_BYTES:
        much = f"{size / 2**30:.3g} GiB" if size < 2**100 else "more than any memory"
        raise ShapeError(f"{what} of shape {shown(tuple(shape))} takes {much}; give smaller sizes")


def axis_of(where: str, dim: int, shape: tuple[int, ...]) -> int:
    """The axis `dim` of an array `x`, counted from 0; `where` is the layer that asks."""
    if not -len(shape) <= dim < len(shape):
        raise ShapeError(f"{where}: x has shape {shape}, so no axis dim={dim}")
    return dim % len(shape)
