"""Checks of the settings of transforms, in the forms that torchvision takes them."""

from __future__ import annotations

from typing import Any

from ...arguments import is_sequence, shown, to_float, to_int, to_size, to_tuple

LARGEST = 1e6  # of an angle, a factor or a place: beyond it, coordinates would lose their digits
Values = float | tuple[float, ...]


def to_probability(where: str, value: object) -> float:
    """A number from 0 to 1."""
    p = to_float(where, value)
    if not 0 <= p <= 1:
        raise ValueError(f"{where} is {shown(value)}, expected a probability from 0 to 1")
    return p


def to_image_size(where: str, value: object) -> tuple[int, int]:
    """Height and width, from one int for both or a pair."""
    height, width = to_tuple(where, value, 2, 1, or_one=True)
    return height, width


def to_range(
    where: str,
    value: object,
    *,
    around: float | None = None,
    lowest: float = float("-inf"),
    highest: float = float("inf"),
) -> tuple[float, float]:
    """A pair `(min, max)`; with `around`, also a number `d` for `(max(around - d, lowest), around + d)`."""
    if around is not None and not is_sequence(value):
        d = to_float(where, value, 0, finite=True)
        low, high = max(around - d, lowest), around + d
    else:
        if not is_sequence(value) or len(value) != 2:
            one = "" if around is None else "a number or "
            raise ValueError(f"{where} is {shown(value)}, expected {one}a pair (min, max)")
        low, high = (to_float(where, v, finite=True) for v in value)
    if not lowest <= low <= high <= highest:
        limits = f" between {lowest:g} and {highest:g}" if highest < float("inf") else ""
        limits = limits or (f" of at least {lowest:g}" if lowest > float("-inf") else "")
        raise ValueError(f"{where} is {shown(value)}, expected min <= max{limits}")
    return low, high


def to_positive_range(where: str, value: object) -> tuple[float, float]:
    """As `to_range`, of numbers above 0."""
    low, high = to_range(where, value)
    if low < 1 / LARGEST or high > LARGEST:
        raise ValueError(f"{where} is {shown(value)}, expected numbers above 0, from 1e-6 to 1e6")
    return low, high


def to_values(where: str, value: object) -> Values:
    """One number for all channels, or a tuple with one for each."""
    several = is_sequence(value) or getattr(value, "ndim", 0) == 1
    if not several:
        return to_float(where, value, finite=True)
    numbers = tuple(to_float(where, _plain(v), finite=True) for v in value)  # type: ignore[attr-defined]
    if not numbers:
        raise ValueError(f"{where} is empty, expected a number, or one for each channel")
    return numbers


def _plain(value: Any) -> Any:
    """A scalar of NumPy as Python's, so that the values of `channel_mean_std` are taken."""
    return value.item() if getattr(value, "shape", None) == () and hasattr(value, "item") else value


def to_borders(where: str, value: object) -> tuple[int, int, int, int]:
    """`(left, top, right, bottom)` from an int, `(left and right, top and bottom)` or all four."""
    if not is_sequence(value):
        return (to_size(where, value, 0),) * 4
    sizes = [to_size(where, v, 0) for v in value]
    if len(sizes) not in (1, 2, 4):
        raise ValueError(
            f"{where} is {shown(value)}, expected an int, (left and right, top and bottom) or "
            "(left, top, right, bottom)"
        )
    left, top, right, bottom = sizes * (4 // len(sizes))
    return left, top, right, bottom


def to_masks(where: str, value: object) -> tuple[int, ...] | None:
    """Which arrays of a batch are masks: an index or several, from 1, as 0 is the images; None if unknown."""
    if value is None:
        return None
    try:
        return tuple(to_int(where, v, 1) for v in (value if is_sequence(value) else (value,)))
    except (TypeError, ValueError) as error:
        raise type(error)(f"{error}: the place of the masks in a batch, 1 in (images, masks)") from None
