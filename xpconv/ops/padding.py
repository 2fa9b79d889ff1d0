"""Padding of the spatial axes, and its adjoint, which adds the gradient of each border to its source."""

from __future__ import annotations

from typing import Any

from ..backend import Array
from ..geometry import Pairs
from ..sums import sum_over

MODES = {"zeros": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}  # torch: numpy


def pad(xp: Any, x: Array, padding: Pairs, mode: str) -> Array:
    """`x (N, C, *S)` padded by `(lo, hi)` along each spatial axis; `mode` is PyTorch's name."""
    return xp.pad(x, ((0, 0), (0, 0), *padding), mode=MODES[mode])


def pad_backward(xp: Any, grad: Array, padding: Pairs, mode: str) -> Array:
    """Gradient with respect to `x`, one axis after the other, as padding is separable.

    An axis of size `n` is read by the padded one at `h - lo`: inside at `h - lo` itself; below, at
    `lo - h` (reflect), `0` (replicate) or `h - lo + n` (circular); above, likewise. What reads a source
    adds its gradient there; the sources of one border are distinct (or one, for replicate), so each
    border is one slice addition.
    """
    for axis, (lo, hi) in enumerate(padding, start=2):
        if not (lo or hi):
            continue
        grad = xp.moveaxis(grad, axis, 0)
        n = grad.shape[0] - lo - hi
        below, above = grad[:lo], grad[lo + n :]
        inside = grad[lo : lo + n].copy()
        if mode == "reflect":
            inside[1 : lo + 1] += below[::-1]
            inside[n - 1 - hi : n - 1] += above[::-1]
        elif mode == "replicate":
            inside[0] += sum_over(below, (0,))
            inside[n - 1] += sum_over(above, (0,))
        elif mode == "circular":
            inside[n - lo :] += below
            inside[:hi] += above
        grad = xp.moveaxis(inside, 0, axis)
    return grad


def pad_or_crop(xp: Any, x: Array, padding: Pairs, mode: str) -> Array:
    """`pad` with negative numbers that crop: `circular` crops first, other modes last, as in PyTorch."""
    more, less = _parts(padding)
    if mode == "circular":
        return pad(xp, pad_constant(xp, x, less), more, mode)
    return pad_constant(xp, pad(xp, x, more, mode), less)


def pad_or_crop_backward(xp: Any, grad: Array, padding: Pairs, mode: str) -> Array:
    """The two adjoints in the opposite order; what was cropped has gradient 0."""
    more, less = _parts(padding)
    if mode == "circular":
        return pad_constant_backward(xp, pad_backward(xp, grad, more, mode), less)
    return pad_backward(xp, pad_constant_backward(xp, grad, less), more, mode)


def pad_constant(xp: Any, x: Array, padding: Pairs, value: complex = 0.0) -> Array:
    """`x` padded with `value` by `(lo, hi)` along each of its last axes; a negative number crops."""
    more, less = _parts(padding)
    sizes = x.shape[x.ndim - len(padding) :]
    inside = (..., *(slice(-lo, n + hi) for n, (lo, hi) in zip(sizes, less, strict=True)))
    x = x[inside]
    if not any(lo or hi for lo, hi in more):
        return x
    before = ((0, 0),) * (x.ndim - len(padding))
    return xp.pad(x, (*before, *more), mode="constant", constant_values=value)


def pad_constant_backward(xp: Any, grad: Array, padding: Pairs) -> Array:
    """`dx[h] = grad[h + lo]`, and 0 where that was cropped away: the same map with padding negated."""
    return pad_constant(xp, grad, tuple((-lo, -hi) for lo, hi in padding))


def _parts(padding: Pairs) -> tuple[Pairs, Pairs]:
    """The numbers that pad, and those that crop (negative)."""
    more = tuple((max(lo, 0), max(hi, 0)) for lo, hi in padding)
    return more, tuple((min(lo, 0), min(hi, 0)) for lo, hi in padding)
