"""Reordering of channels and pixels. Each gradient is the inverse reordering, which is the adjoint."""

from __future__ import annotations

from ..arguments import to_size
from ..backend import Array
from ..errors import ShapeError
from ..ops import shape as ops
from ..tape import shares
from ._checks import MOVED, enter, public

__all__ = [
    "channel_shuffle",
    "channel_shuffle_backward",
    "pixel_shuffle",
    "pixel_shuffle_backward",
    "pixel_unshuffle",
    "pixel_unshuffle_backward",
]


@public
def pixel_shuffle(input: Array, upscale_factor: int) -> Array:
    """Move channels into pixels, as `torch.nn.functional.pixel_shuffle`.

        output[…, c, h·r + i, w·r + j] = input[…, c·r² + i·r + j, h, w]

    `input` `(…, C·r², H, W)` of any dtype gives `(…, C, H·r, W·r)`, with `upscale_factor` r.

    Raises:
        ShapeError: (a ValueError) fewer than three axes, or channels that r² does not divide.
        BackendError: (a TypeError) `input` is not an array.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.pixel_shuffle(np.arange(8.0).reshape(4, 1, 2), 2)
        array([[[0., 2., 1., 3.],
                [4., 6., 5., 7.]]])
    """
    return _into_pixels("functional.pixel_shuffle", input, "input", "upscale_factor", upscale_factor)


@public
def pixel_shuffle_backward(grad_output: Array, upscale_factor: int) -> Array:
    """Gradient of `pixel_shuffle` with respect to `input`: `pixel_unshuffle(grad_output)`.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.pixel_shuffle_backward(np.array([[[0.0, 2, 1, 3], [4, 6, 5, 7]]]), 2).ravel()
        array([0., 1., 2., 3., 4., 5., 6., 7.])
    """
    where = "functional.pixel_shuffle_backward"
    return _into_channels(where, grad_output, "grad_output", "upscale_factor", upscale_factor)


@public
def pixel_unshuffle(input: Array, downscale_factor: int) -> Array:
    """Move pixels into channels, as `torch.nn.functional.pixel_unshuffle`: the inverse of `pixel_shuffle`.

    `input` `(…, C, H·r, W·r)` of any dtype gives `(…, C·r², H, W)`, with `downscale_factor` r.

    Raises:
        ShapeError: (a ValueError) fewer than three axes, or H or W that r does not divide.
        BackendError: (a TypeError) `input` is not an array.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.pixel_unshuffle(np.array([[[0.0, 2, 1, 3], [4, 6, 5, 7]]]), 2).ravel()
        array([0., 1., 2., 3., 4., 5., 6., 7.])
    """
    return _into_channels("functional.pixel_unshuffle", input, "input", "downscale_factor", downscale_factor)


@public
def pixel_unshuffle_backward(grad_output: Array, downscale_factor: int) -> Array:
    """Gradient of `pixel_unshuffle` with respect to `input`: `pixel_shuffle(grad_output)`.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.pixel_unshuffle_backward(np.arange(8.0).reshape(4, 1, 2), 2)
        array([[[0., 2., 1., 3.],
                [4., 6., 5., 7.]]])
    """
    where = "functional.pixel_unshuffle_backward"
    return _into_pixels(where, grad_output, "grad_output", "downscale_factor", downscale_factor)


@public
def channel_shuffle(input: Array, groups: int) -> Array:
    """Interleave the channels of the groups, as `torch.nn.functional.channel_shuffle`.

        output[n, k·groups + g] = input[n, g·(C/groups) + k]

    `input` `(N, C, *S)` of any dtype, with at least one axis in S, gives an array of its shape.

    Raises:
        ShapeError: (a ValueError) fewer than three axes, or channels that `groups` does not divide.
        BackendError: (a TypeError) `input` is not an array.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.channel_shuffle(np.arange(6).reshape(1, 6, 1), 2).ravel()
        array([0, 3, 1, 4, 2, 5])
    """
    xp, x, groups = _grouped("functional.channel_shuffle", input, "input", groups)
    return _apart(ops.channel_shuffle(xp, x, groups), x)


@public
def channel_shuffle_backward(grad_output: Array, groups: int) -> Array:
    """Gradient of `channel_shuffle` with respect to `input`; both have the same shape.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.channel_shuffle_backward(np.array([0, 3, 1, 4, 2, 5]).reshape(1, 6, 1), 2).ravel()
        array([0, 1, 2, 3, 4, 5])
    """
    xp, grad, groups = _grouped("functional.channel_shuffle_backward", grad_output, "grad_output", groups)
    return _apart(ops.channel_shuffle(xp, grad, grad.shape[1] // groups), grad)


def _into_pixels(where: str, x: Array, name: str, argument: str, factor: int) -> Array:
    xp, x = enter(where, {name: x}, kinds=MOVED)
    r = to_size(f"{where}: {argument}", factor)
    if x.ndim < 3 or x.shape[-3] % (r * r):
        raise ShapeError(
            f"{where}: {name} has shape {x.shape}, expected (…, C, H, W) with C a multiple of "
            f"{r * r} = {argument}²"
        )
    return _apart(ops.pixel_shuffle(xp, x, r), x)


def _into_channels(where: str, x: Array, name: str, argument: str, factor: int) -> Array:
    xp, x = enter(where, {name: x}, kinds=MOVED)
    r = to_size(f"{where}: {argument}", factor)
    if x.ndim < 3 or x.shape[-2] % r or x.shape[-1] % r:
        raise ShapeError(
            f"{where}: {name} has shape {x.shape}, expected (…, C, H, W) with H and W "
            f"multiples of {r} = {argument}"
        )
    return _apart(ops.pixel_unshuffle(xp, x, r), x)


def _grouped(where: str, x: Array, name: str, groups: int) -> tuple[object, Array, int]:
    xp, x = enter(where, {name: x}, kinds=MOVED)
    groups = to_size(f"{where}: groups", groups)
    if x.ndim < 3 or x.shape[1] % groups:
        raise ShapeError(
            f"{where}: {name} has shape {x.shape}, expected (N, C, *S) with C a multiple of {groups} = groups"
        )
    return xp, x, groups


def _apart(y: Array, x: Array) -> Array:
    """`y`, or a copy of it if it shares memory with `x`, as when there is nothing to reorder."""
    return ops.copy(y) if shares(y, (x,)) else y
