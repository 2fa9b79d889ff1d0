"""Padding of the spatial axes, and its adjoint: each border gives its gradient back to its source."""

from __future__ import annotations

from typing import Any

from ..backend import Array
from ..geometry import Pairs

MODES = {"zeros": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}  # torch: numpy


def pad(xp: Any, x: Array, padding: Pairs, mode: str) -> Array:
    """`x (N, C, *S)` with `(lo, hi)` more on each spatial axis, filled as `mode` (torch's name) says."""
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
            inside[0] += below.sum(axis=0)
            inside[n - 1] += above.sum(axis=0)
        elif mode == "circular":
            inside[n - lo :] += below
            inside[:hi] += above
        grad = xp.moveaxis(inside, 0, axis)
    return grad
