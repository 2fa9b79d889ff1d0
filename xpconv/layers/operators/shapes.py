"""Operators that give their input another shape, or read its shape."""

from __future__ import annotations

import math
from collections.abc import Sequence
from math import prod
from typing import Any, ClassVar

from ...arguments import check_room
from ...arrays import asnumpy
from ...backend import Array, host
from ...errors import DTypeError, ShapeError
from ...geometry import Bounds
from ...ops.activation import clip_backward
from ...ops.shape import concatenate, reshape, split
from ...sums import sum_over
from .operator import Operator, read_numbers, to_axes, to_axis, to_numbers, unbroadcast

Result = tuple[Any, tuple[Any, ...]]


class _Reshaped(Operator):
    """Base of operators that only reshape."""

    def _gradients(self, xp: Any, grad: Array, *saved: Any) -> tuple[Array]:
        return (grad.reshape(saved[0]),)


class Reshape(_Reshaped):
    """`x` in another shape, in which one size may be -1 and is inferred, and 0 copies that of `x`.

    Args:
        shape: the sizes.
        allowzero: whether 0 stands for itself.
        inputs: `("shape",)` if the sizes are an input.
    """

    shape: tuple[int, ...]
    allowzero: bool
    inputs: tuple[str, ...]
    settings: ClassVar[tuple[str, ...]] = ("shape",)

    def __init__(
        self, shape: Sequence[int] = (), allowzero: bool = False, inputs: Sequence[str] = ()
    ) -> None:
        self.shape, self.allowzero, self.inputs = tuple(shape), allowzero, tuple(inputs)

    def _compute(self, xp: Any, x: Array, shape: Sequence[int]) -> Result:
        sizes = list(shape)
        if not self.allowzero:
            if any(n == 0 and i >= x.ndim for i, n in enumerate(sizes)):
                raise ShapeError(f"Reshape.forward: x has shape {x.shape}, so {tuple(sizes)} copies no size")
            sizes = [x.shape[i] if n == 0 else n for i, n in enumerate(sizes)]
        known = prod([n for n in sizes if n != -1])
        if sizes.count(-1) == 1 and known:
            sizes[sizes.index(-1)] = x.size // known
        if min(sizes, default=0) < 0 or prod(sizes) != x.size:
            raise ShapeError(f"Reshape.forward: x has shape {x.shape}, which cannot become {tuple(sizes)}")
        return reshape(xp, x, tuple(sizes)), (x.shape,)


class FlattenTo2d(_Reshaped):
    """`x` as a matrix: the axes before `axis` are its rows, the others its columns."""

    def __init__(self, axis: int = 1) -> None:
        self.axis = axis

    def _compute(self, xp: Any, x: Array) -> Result:
        axis = self.axis if self.axis == x.ndim else to_axis("FlattenTo2d", self.axis, x.ndim)
        return reshape(xp, x, (prod(x.shape[:axis]), prod(x.shape[axis:]))), (x.shape,)


class Squeeze(_Reshaped):
    """`x` without the axes `axes`, which are of size 1, or (None) without all such axes."""

    axes: tuple[Any, ...] | None
    inputs: tuple[str, ...]
    settings: ClassVar[tuple[str, ...]] = ("axes",)

    def __init__(self, axes: Sequence[int] | None = None, inputs: Sequence[str] = ()) -> None:
        self.axes, self.inputs = to_numbers(axes), tuple(inputs)

    def _compute(self, xp: Any, x: Array, axes: Sequence[int] | None) -> Result:
        if axes is None:
            found = tuple([axis for axis, n in enumerate(x.shape) if n == 1])
        else:
            found = to_axes("Squeeze.forward", axes, x.ndim)
            if any(x.shape[axis : axis + 1] != (1,) for axis in found):
                raise ShapeError(
                    f"Squeeze.forward: x has shape {x.shape}, whose axes {found} are not all of size 1"
                )
        return x.reshape([n for axis, n in enumerate(x.shape) if axis not in found]), (x.shape,)


class Unsqueeze(_Reshaped):
    """`x` with new axes of size 1, which are at `axes` of the result."""

    axes: tuple[int, ...]
    inputs: tuple[str, ...]
    settings: ClassVar[tuple[str, ...]] = ("axes",)

    def __init__(self, axes: Sequence[int] = (), inputs: Sequence[str] = ()) -> None:
        self.axes, self.inputs = tuple(axes), tuple(inputs)

    def _compute(self, xp: Any, x: Array, axes: Sequence[int]) -> Result:
        found = to_axes("Unsqueeze.forward", axes, x.ndim + len(axes))
        rest = iter(x.shape)
        return x.reshape([1 if i in found else next(rest) for i in range(x.ndim + len(found))]), (x.shape,)


class Copy(Operator):
    """`x` unchanged, of any dtype."""

    def _compute(self, xp: Any, x: Array) -> Result:
        return x, ()

    def _gradients(self, xp: Any, grad: Array, *saved: Any) -> tuple[Array]:
        return (grad,)


class Transpose(Operator):
    """`x` with its axes in another order; None reverses it."""

    def __init__(self, perm: Sequence[int] | None = None) -> None:
        self.perm: tuple[int, ...] | None = None if perm is None else tuple(perm)

    def _compute(self, xp: Any, x: Array) -> Result:
        perm = tuple(reversed(range(x.ndim))) if self.perm is None else self.perm
        if sorted(perm) != list(range(x.ndim)):
            raise ShapeError(
                f"Transpose.forward: x has shape {x.shape}, expected {len(perm)} axes for {perm}"
            )
        back = tuple([perm.index(axis) for axis in range(x.ndim)])
        return xp.transpose(x, perm), (back,)

    def _gradients(self, xp: Any, grad: Array, *saved: Any) -> tuple[Array]:
        return (xp.transpose(grad, saved[0]),)


class Expand(Operator):
    """`x` broadcast with `shape`."""

    shape: tuple[int, ...]
    inputs: tuple[str, ...]
    settings: ClassVar[tuple[str, ...]] = ("shape",)

    def __init__(self, shape: Sequence[int] = (), inputs: Sequence[str] = ()) -> None:
        self.shape, self.inputs = tuple(shape), tuple(inputs)

    def _compute(self, xp: Any, x: Array, shape: Sequence[int]) -> Result:
        try:
            whole = host().xp.broadcast_shapes(x.shape, tuple(shape))
        except ValueError:
            raise ShapeError(
                f"Expand.forward: x has shape {x.shape}, which does not fit {tuple(shape)}"
            ) from None
        return xp.broadcast_to(x, whole).copy(), (x.shape,)

    def _gradients(self, xp: Any, grad: Array, *saved: Any) -> tuple[Array]:
        return (unbroadcast(grad, saved[0]),)


class Tile(Operator):
    """`x` repeated along each axis; the copies' gradients are added."""

    repeats: tuple[int, ...]
    inputs: tuple[str, ...]
    settings: ClassVar[tuple[str, ...]] = ("repeats",)

    def __init__(self, repeats: Sequence[int] = (), inputs: Sequence[str] = ()) -> None:
        self.repeats, self.inputs = tuple(repeats), tuple(inputs)

    def _compute(self, xp: Any, x: Array, repeats: Sequence[int]) -> Result:
        if len(repeats) != x.ndim or min(repeats, default=0) < 0:
            raise ShapeError(f"Tile.forward: x has shape {x.shape}, which does not fit {tuple(repeats)}")
        whole = tuple([n * times for n, times in zip(x.shape, repeats, strict=True)])
        check_room("Tile.forward: an output", whole, x.dtype.itemsize)
        return xp.tile(x, tuple(repeats)), (x.shape, tuple(repeats))

    def _gradients(self, xp: Any, grad: Array, *saved: Any) -> tuple[Array]:
        shape, repeats = saved
        pairs = [pair for sizes in zip(repeats, shape, strict=True) for pair in sizes]
        copies = tuple(range(0, 2 * len(shape), 2))
        return (sum_over(grad.reshape(pairs), copies) if copies else grad,)


class Concatenate(Operator):
    """All inputs one after the other along an axis; each gets its part of the gradient.

    The layer of a node of a `Graph` with any number of inputs: `"both": (Concatenate(1), "a", "b")`.

    Args:
        axis: of the arrays; 1 is the channels of images and the features of rows.

    Raises:
        ShapeError: (a ValueError) the inputs differ along another axis.

    Example:
        >>> import numpy as np
        >>> from xpconv.layers.operators import Concatenate
        >>> join = Concatenate(axis=1)
        >>> join(np.array([[1.0, 2.0]]), np.array([[3.0, 4.0]]))
        array([[1., 2., 3., 4.]])
        >>> join.backward(np.ones((1, 4)))
        (array([[1., 1.]]), array([[1., 1.]]))
    """

    def __init__(self, axis: int) -> None:
        self.axis = axis

    def forward(self, *inputs: Array) -> Array:
        return self._clipped(*inputs)

    def _clipped(self, *inputs: Array, bounds: Bounds = None) -> Array:
        xp, arrays = self._operands(inputs)
        y, saved = self._computed(xp, arrays, {"bounds": bounds})
        return self._save(y, xp, inputs, saved)

    def _compute(self, xp: Any, *inputs: Array, bounds: Bounds = None) -> Result:
        axis = to_axis("Concatenate.forward", self.axis, inputs[0].ndim)
        rest = [x.shape[:axis] + x.shape[axis + 1 :] for x in inputs]
        if any(shape != rest[0] for shape in rest):
            shapes = ", ".join(str(x.shape) for x in inputs)
            raise ShapeError(f"Concatenate.forward: shapes {shapes} differ along other axes than {axis}")
        y = concatenate(xp, axis, *inputs, bounds=bounds)
        sizes = tuple([x.shape[axis] for x in inputs])
        return y, (axis, sizes, None if bounds is None else y, bounds)

    def _gradients(self, xp: Any, grad: Array, *saved: Any) -> tuple[Array, ...]:
        axis, sizes, y, bounds = saved
        if bounds is not None:
            grad = clip_backward(xp, grad, y, *bounds)
        return tuple(split(grad, axis, sizes))


class DepthToSpace(Operator):
    """Channels become blocks of pixels, of which the block's position varies slowest in the channels.

        y[n, c, h·r + i, w·r + j] = x[n, (i·r + j)·C + c, h, w]

    (`PixelShuffle` is the mode "CRD", in which it varies fastest.)
    """

    def __init__(self, blocksize: int) -> None:
        self.blocksize = blocksize

    def _compute(self, xp: Any, x: Array) -> Result:
        return _to_space(xp, x, self.blocksize), ()

    def _gradients(self, xp: Any, grad: Array, *saved: Any) -> tuple[Array]:
        return (_to_depth(xp, grad, self.blocksize),)


class SpaceToDepth(Operator):
    """Blocks of pixels become channels: the inverse of `DepthToSpace`."""

    def __init__(self, blocksize: int) -> None:
        self.blocksize = blocksize

    def _compute(self, xp: Any, x: Array) -> Result:
        return _to_depth(xp, x, self.blocksize), ()

    def _gradients(self, xp: Any, grad: Array, *saved: Any) -> tuple[Array]:
        return (_to_space(xp, grad, self.blocksize),)


def _to_space(xp: Any, x: Array, r: int) -> Array:
    if x.ndim != 4 or x.shape[1] % (r * r):
        raise ShapeError(
            f"DepthToSpace.forward: x has shape {x.shape}, expected (N, C, H, W), C a multiple of {r * r}"
        )
    n, c, h, w = x.shape
    blocks = x.reshape(n, r, r, c // (r * r), h, w)
    return xp.transpose(blocks, (0, 3, 4, 1, 5, 2)).reshape(n, c // (r * r), h * r, w * r)


def _to_depth(xp: Any, x: Array, r: int) -> Array:
    if x.ndim != 4 or x.shape[2] % r or x.shape[3] % r:
        raise ShapeError(
            f"SpaceToDepth.forward: x has shape {x.shape}, expected (N, C, H, W), H and W multiples of {r}"
        )
    n, c, h, w = x.shape
    blocks = x.reshape(n, c, h // r, r, w // r, r)
    return xp.transpose(blocks, (0, 3, 5, 1, 2, 4)).reshape(n, c * r * r, h // r, w // r)


class Shape(Operator):
    """The sizes of `x` from axis `start` to `end`, as int64 on the host."""

    start: int
    end: int | None

    def __init__(self, start: int = 0, end: int | None = None) -> None:
        self.start, self.end = start, end

    def _compute(self, xp: Any, x: Array) -> Result:
        return host().asarray(x.shape[self.start : self.end], "int64"), ()


class Size(Operator):
    """The number of elements of `x`, as int64 on the host."""

    def _compute(self, xp: Any, x: Array) -> Result:
        return host().asarray(x.size, "int64"), ()


class ConstantOfShape(Operator):
    """An array of the host with the sizes in the input, all of one value."""

    value: Any
    dtype: str
    _dtype_setting = "dtype"

    def __init__(self, value: Any, dtype: str) -> None:
        self.value, self.dtype = value, dtype

    def forward(self, *inputs: Array) -> Array:
        (shape,) = inputs
        sizes = read_numbers("ConstantOfShape.forward: shape", shape)
        if min(sizes, default=0) < 0:
            raise ShapeError(f"ConstantOfShape.forward: the sizes are {sizes}, expected at least 0")
        check_room("ConstantOfShape.forward: an output", sizes, 8)
        xp = host().xp
        return self.keep(xp.full(sizes, self.value, dtype=self.dtype), xp, (shape.dtype,), ())


class Range(Operator):
    """`start, start + delta, …` below `limit`, of the three inputs, on the host."""

    def forward(self, *inputs: Array) -> Array:
        if any(x.size != 1 for x in inputs):
            shapes = ", ".join(str(x.shape) for x in inputs)
            raise ShapeError(f"Range.forward: inputs have shapes {shapes}, expected one number each")
        start, limit, delta = (asnumpy(x).reshape(()) for x in inputs)
        if not start.dtype == limit.dtype == delta.dtype:
            raise DTypeError("Range.forward: inputs differ in dtype")
        ends = [x.item() for x in (start, limit, delta)]
        if delta == 0 or not all(map(math.isfinite, ends)):
            raise ShapeError(
                f"Range.forward: start, limit and delta are {ends}, expected numbers, delta not 0"
            )
        count = max(0, math.ceil((ends[1] - ends[0]) / ends[2]))
        check_room("Range.forward: an output", (count,), 8)
        xp = host().xp
        y = (start + xp.arange(count).astype(start.dtype) * delta).astype(start.dtype)
        return self.keep(y, xp, tuple([x.dtype for x in inputs]), ())
