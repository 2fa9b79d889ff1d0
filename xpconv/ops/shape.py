"""Reordering of elements: every forward is a permutation, and its backward is the inverse permutation."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from ..backend import Array
from ..geometry import Bounds
from ..kernels import overridable
from .activation import clip


def copy(x: Array) -> Array:
    """A copy of `x` with the same memory order."""
    return x.copy(order="K")


@overridable
def reshape(xp: Any, x: Array, shape: tuple[int, ...]) -> Array:
    """The same elements in row-major order, in another shape."""
    return x.reshape(shape)


def split(x: Array, axis: int, sizes: Sequence[int]) -> list[Array]:
    """Views of the parts of `x` that have these sizes along `axis`, which counts from 0."""
    before = (slice(None),) * axis
    parts = [(*before, slice(end - n, end)) for n, end in zip(sizes, accumulate(sizes), strict=True)]
    return [x[part] for part in parts]


@overridable
def concatenate(xp: Any, axis: int, *arrays: Array, bounds: Bounds = None) -> Array:
    """The arrays one after the other along `axis`, which counts from 0; backward is `split`.

    Clipped to `bounds`, if there are any.
    """
    y: Array = xp.concatenate(arrays, axis=axis)
    return y if bounds is None else clip(xp, y, *bounds)


def pixel_shuffle(xp: Any, x: Array, r: int) -> Array:
    """`y[…, c, h·r + i, w·r + j] = x[…, c·r² + i·r + j, h, w]`; backward is `pixel_unshuffle`."""
    *lead, c, h, w = x.shape
    x = x.reshape(*lead, c // (r * r), r, r, h, w)
    n = len(lead)
    x = x.transpose(*range(n), n, n + 3, n + 1, n + 4, n + 2)
    return x.reshape(*lead, c // (r * r), h * r, w * r)


def pixel_unshuffle(xp: Any, x: Array, r: int) -> Array:
    """`y[…, c·r² + i·r + j, h, w] = x[…, c, h·r + i, w·r + j]`; backward is `pixel_shuffle`."""
    *lead, c, h, w = x.shape
    x = x.reshape(*lead, c, h // r, r, w // r, r)
    n = len(lead)
    x = x.transpose(*range(n), n, n + 2, n + 4, n + 1, n + 3)
    return x.reshape(*lead, c * r * r, h // r, w // r)


def channel_shuffle(xp: Any, x: Array, groups: int) -> Array:
    """`y[n, k·groups + g] = x[n, g·(C/groups) + k]`; backward is `channel_shuffle` by `C/groups`."""
    n, c, *spatial = x.shape
    return x.reshape(n, groups, c // groups, *spatial).swapaxes(1, 2).reshape(x.shape)
