"""Layers that change the shape of their input, or the order of its elements."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from ..arguments import is_sequence, shown, to_int, to_size
from ..backend import Array
from ..errors import ShapeError
from ..ops import shape as ops
from .layer import Layer, arguments

__all__ = ["ChannelShuffle", "Flatten", "Identity", "PixelShuffle", "PixelUnshuffle", "Unflatten"]


class Identity(Layer):
    """`y` is `x`, as `torch.nn.Identity`: a placeholder that takes any arguments and ignores them.

    Example:
        >>> import numpy as np, xpconv
        >>> xpconv.Identity()(np.array([1.0, 2]))
        array([1., 2.])
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def forward(self, x: Array) -> Array:
        self._enter(x)
        return self.keep(x)

    def backward(self, grad_output: Array, input_grad: bool = True) -> Array | None:
        self.recall(grad_output, input_grad)
        return grad_output if input_grad else None


class Folded(Identity):
    """The placeholder of a folded BatchNorm or ReLU: `y` is `x`.

    In place of a BatchNorm it checks the number of axes, as the layer that it was folded into also takes
    unbatched inputs. All other checks are that layer's.
    """

    what: str
    expected: tuple[str, ...] | None

    def __init__(self, what: str, expected: tuple[str, ...] | None = None) -> None:
        self.what, self.expected = what, expected

    def forward(self, x: Array) -> Array:
        if self.expected is not None and x.ndim != len(self.expected):
            raise ShapeError(
                f"{self.what} (folded by fuse()).forward: x has shape {x.shape}, expected "
                f"({', '.join(self.expected)}); use the model from before fuse()"
            )
        return self.keep(x)

    def extra_repr(self) -> str:
        return self.what


class _Reshape(Layer):
    """Base of layers that reshape: backward restores the shape of the input."""

    def backward(self, grad_output: Array, input_grad: bool = True) -> Array | None:
        (shape,) = self.recall(grad_output, input_grad)
        return grad_output.reshape(shape) if input_grad else None


class Flatten(_Reshape):
    """Merge the axes `start_dim` to `end_dim`, in row-major order, as `torch.nn.Flatten`.

    Args:
        start_dim, end_dim: first and last of the axes; negative ones count from the end.

    Raises:
        ShapeError: (a ValueError) `x` has no such axes.

    Example:
        >>> import numpy as np, xpconv
        >>> xpconv.Flatten()(np.zeros((64, 16, 5, 5))).shape
        (64, 400)
    """

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        self.start_dim: int = to_int("Flatten: start_dim", start_dim)
        self.end_dim: int = to_int("Flatten: end_dim", end_dim)

    def forward(self, x: Array) -> Array:
        xp = self._enter(x)
        shape = x.shape or (1,)  # a 0-d array counts as one axis of size 1
        start, end = (d + len(shape) if d < 0 else d for d in (self.start_dim, self.end_dim))
        if not 0 <= start <= end < len(shape):
            raise ShapeError(
                f"Flatten.forward: x has shape {x.shape}, so start_dim={self.start_dim} and "
                f"end_dim={self.end_dim} are not a first and a last axis of it"
            )
        size = prod(shape[start : end + 1])
        return self.keep(ops.reshape(xp, x, (*shape[:start], size, *shape[end + 1 :])), x.shape)

    def extra_repr(self) -> str:
        return arguments(start_dim=(self.start_dim, 1), end_dim=(self.end_dim, -1))


class Unflatten(_Reshape):
    """Split the axis `dim` into several, in row-major order, as `torch.nn.Unflatten`.

    Args:
        dim: the axis; a negative one counts from the end.
        unflattened_size: tuple of the new sizes; one of them may be -1 and is inferred.

    Raises:
        TypeError: `unflattened_size` is not a tuple of ints.
        ValueError: it is empty, has more than one -1 or other negative numbers.
        ShapeError: (a ValueError) `x` has no such axis, or its size is not the product.

    Example:
        >>> import numpy as np, xpconv
        >>> xpconv.Unflatten(1, (16, 5, -1))(np.zeros((64, 400))).shape
        (64, 16, 5, 5)
    """

    def __init__(self, dim: int, unflattened_size: Sequence[int]) -> None:
        self.dim: int = to_int("Unflatten: dim", dim)
        where = "Unflatten: unflattened_size"
        if not is_sequence(unflattened_size):
            raise TypeError(f"{where} is {shown(unflattened_size)}, expected a tuple of ints")
        self.unflattened_size: tuple[int, ...] = tuple(to_size(where, n, -1) for n in unflattened_size)
        if not unflattened_size or self.unflattened_size.count(-1) > 1:
            raise ValueError(f"{where} is {shown(unflattened_size)}, expected sizes, and -1 at most once")

    def forward(self, x: Array) -> Array:
        self._enter(x)
        dim = self.dim + x.ndim if self.dim < 0 else self.dim
        if not 0 <= dim < x.ndim:
            raise ShapeError(f"Unflatten.forward: x has shape {x.shape}, so no axis dim={self.dim}")
        known = prod(n for n in self.unflattened_size if n != -1)
        rest = x.shape[dim] // known if known else 0
        sizes = tuple(rest if n == -1 else n for n in self.unflattened_size)
        if prod(sizes) != x.shape[dim] or (known == 0 and -1 in self.unflattened_size):
            raise ShapeError(
                f"Unflatten.forward: x has shape {x.shape}: axis {self.dim} of {x.shape[dim]} cannot become "
                f"unflattened_size={self.unflattened_size}"
            )
        return self.keep(x.reshape(*x.shape[:dim], *sizes, *x.shape[dim + 1 :]), x.shape)

    def extra_repr(self) -> str:
        return f"dim={self.dim}, unflattened_size={self.unflattened_size}"


class PixelShuffle(Layer):
    """Move channels into pixels, as `torch.nn.PixelShuffle` (Shi et al., 2016).

        y[…, c, h·r + i, w·r + j] = x[…, c·r² + i·r + j, h, w]

    `x` `(…, C·r², H, W)` gives `y` `(…, C, H·r, W·r)`.

    Args:
        upscale_factor: r.

    Raises:
        ShapeError: (a ValueError) `x` of fewer than three axes, or with channels that r² does not divide.

    Example:
        >>> import numpy as np, xpconv
        >>> xpconv.PixelShuffle(2)(np.arange(8.0).reshape(4, 1, 2))
        array([[[0., 2., 1., 3.],
                [4., 6., 5., 7.]]])
    """

    def __init__(self, upscale_factor: int) -> None:
        self.upscale_factor: int = to_size("PixelShuffle: upscale_factor", upscale_factor)

    def forward(self, x: Array) -> Array:
        xp = self._enter(x)
        r = self.upscale_factor
        if x.ndim < 3 or x.shape[-3] % (r * r):
            raise ShapeError(
                f"PixelShuffle.forward: x has shape {x.shape}, expected (…, C, H, W) with C a multiple of "
                f"{r * r} = upscale_factor²"
            )
        return self.keep(ops.pixel_shuffle(xp, x, r), xp, r)

    def backward(self, grad_output: Array, input_grad: bool = True) -> Array | None:
        xp, r = self.recall(grad_output, input_grad)
        return ops.pixel_unshuffle(xp, grad_output, r) if input_grad else None

    def extra_repr(self) -> str:
        return arguments(self.upscale_factor)


class PixelUnshuffle(Layer):
    """Move pixels into channels, as `torch.nn.PixelUnshuffle`; the inverse of `PixelShuffle`.

    `x` `(…, C, H·r, W·r)` gives `y` `(…, C·r², H, W)`.

    Args:
        downscale_factor: r.

    Raises:
        ShapeError: (a ValueError) `x` of fewer than three axes, or with H or W that r does not divide.

    Example:
        >>> import numpy as np, xpconv
        >>> xpconv.PixelUnshuffle(2)(np.array([[[0.0, 2, 1, 3], [4, 6, 5, 7]]])).ravel()
        array([0., 1., 2., 3., 4., 5., 6., 7.])
    """

    def __init__(self, downscale_factor: int) -> None:
        self.downscale_factor: int = to_size("PixelUnshuffle: downscale_factor", downscale_factor)

    def forward(self, x: Array) -> Array:
        xp = self._enter(x)
        r = self.downscale_factor
        if x.ndim < 3 or x.shape[-2] % r or x.shape[-1] % r:
            raise ShapeError(
                f"PixelUnshuffle.forward: x has shape {x.shape}, expected (…, C, H, W) with H and W "
                f"multiples of {r} = downscale_factor"
            )
        return self.keep(ops.pixel_unshuffle(xp, x, r), xp, r)

    def backward(self, grad_output: Array, input_grad: bool = True) -> Array | None:
        xp, r = self.recall(grad_output, input_grad)
        return ops.pixel_shuffle(xp, grad_output, r) if input_grad else None

    def extra_repr(self) -> str:
        return arguments(self.downscale_factor)


class ChannelShuffle(Layer):
    """Interleave the channels of the groups, as `torch.nn.ChannelShuffle` (Zhang et al., 2018).

        y[n, k·groups + g] = x[n, g·(C/groups) + k]

    `x` and `y` are `(N, C, *S)` with at least one axis in S.

    Args:
        groups: number of groups; divides C.

    Raises:
        ShapeError: (a ValueError) `x` of fewer than three axes, or with channels that groups does not divide.

    Example:
        >>> import numpy as np, xpconv
        >>> xpconv.ChannelShuffle(2)(np.arange(6.0).reshape(1, 6, 1)).ravel()
        array([0., 3., 1., 4., 2., 5.])
    """

    def __init__(self, groups: int) -> None:
        self.groups: int = to_size("ChannelShuffle: groups", groups)

    def forward(self, x: Array) -> Array:
        xp = self._enter(x)
        if x.ndim < 3 or x.shape[1] % self.groups:
            raise ShapeError(
                f"ChannelShuffle.forward: x has shape {x.shape}, expected (N, C, *S) with C a multiple of "
                f"{self.groups} = groups"
            )
        return self.keep(ops.channel_shuffle(xp, x, self.groups), xp, x.shape[1] // self.groups)

    def backward(self, grad_output: Array, input_grad: bool = True) -> Array | None:
        xp, groups = self.recall(grad_output, input_grad)
        return ops.channel_shuffle(xp, grad_output, groups) if input_grad else None

    def extra_repr(self) -> str:
        return arguments(self.groups)
