"""Elements by position or by rank: gathers, scatters, the largest, and arrays of zeros and ones."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, ClassVar

from ...arguments import check_room
from ...backend import Array, host
from ...dtypes import is_floating
from ...errors import ShapeError
from ...ops.embedding import embedding_backward
from .operator import Operator, to_axis

Result = tuple[Any, tuple[Any, ...]]


def taken(where: str, xp: Any, x: Array, places: Array, valid: Array, axis: int = 0) -> Array:
    """`x.take(places, axis)`. Where they are not valid: on the host an error, on a device NaN (or 0)."""
    if xp is host().xp:
        if not valid.all():
            raise ShapeError(f"{where}: x has shape {x.shape}, which lacks positions along axis {axis}")
        return x.take(places, axis=axis)
    y = x.take(xp.where(valid, places, 0), axis=axis)
    mask = valid.reshape((*valid.shape, *(1,) * (x.ndim - axis - 1)))
    return xp.where(mask, y, xp.nan if is_floating(x.dtype) else 0).astype(x.dtype, copy=False)


def summed_at(xp: Any, grad: Array, places: Array, count: int) -> Array:
    """The gradient of `count` rows of which `taken` took these: for each the sum over its places."""
    if not grad.size:
        return xp.zeros((count, *grad.shape[places.ndim :]), dtype=grad.dtype)
    flat, rest = places.reshape(-1).astype("int64"), grad.shape[places.ndim :]
    return embedding_backward(xp, grad.reshape(flat.size, -1), flat, count, None, False).reshape(count, *rest)


class _AtPlaces(Operator):
    """Base of operators whose indices are a place in `x` each, once `x` is a list of rows."""

    def _places(self, xp: Any, x: tuple[int, ...], indices: Array) -> tuple[Array, Array, tuple[int, ...]]:
        """For each row that is taken its number, whether there is such a row, and the shape of a row."""
        raise NotImplementedError

    def _output(self, x: tuple[int, ...], indices: Array) -> tuple[int, ...]:
        """The shape of what the indices select."""
        raise NotImplementedError

    def _flat(self, xp: Any, steps: Sequence[tuple[Array, int]]) -> tuple[Array, Array]:
        """The number of the place with these indices along axes of these sizes, and whether it is one."""
        place, valid = None, None
        for index, n in steps:
            fits = (index >= -n) & (index < n)
            own = xp.where(index < 0, index + n, index)
            place = own if place is None else place * n + own
            valid = fits if valid is None else valid & fits
        return place, valid


class _ByElement(_AtPlaces):
    """Places of single elements: the index along one axis is given, those along others are the output's."""

    axis: int

    def _places(self, xp: Any, x: tuple[int, ...], indices: Array) -> tuple[Array, Array, tuple[int, ...]]:
        name = type(self).__name__
        axis = to_axis(f"{name}.forward", self.axis, len(x))
        fits = indices.ndim == len(x) and all(
            m <= n or i == axis for i, (m, n) in enumerate(zip(indices.shape, x, strict=True))
        )
        if not fits:
            raise ShapeError(f"{name}.forward: x has shape {x}, indices {indices.shape}")
        steps = []
        for i, n in enumerate(x):
            along = xp.arange(indices.shape[i]).reshape(-1, *(1,) * (len(x) - 1 - i))
            steps.append((indices if i == axis else along, n))
        place, valid = self._flat(xp, steps)
        return xp.broadcast_to(place, indices.shape), xp.broadcast_to(valid, indices.shape), ()

    def _output(self, x: tuple[int, ...], indices: Array) -> tuple[int, ...]:
        return tuple(indices.shape)


class _ByTuple(_AtPlaces):
    """Places of parts: the last axis of the indices has an index along each of the first axes of `x`.

    `batch_dims` axes before these are the same in `x` and in the indices.
    """

    batch_dims = 0

    def _places(self, xp: Any, x: tuple[int, ...], indices: Array) -> tuple[Array, Array, tuple[int, ...]]:
        batch, many = self.batch_dims, indices.shape[-1] if indices.ndim else 0
        if not indices.ndim > batch or len(x) < batch + many or x[:batch] != indices.shape[:batch]:
            raise ShapeError(f"{type(self).__name__}.forward: x has shape {x}, indices {indices.shape}")
        steps = []
        for i in range(batch):
            steps.append((xp.arange(x[i]).reshape(-1, *(1,) * (indices.ndim - 2 - i)), x[i]))
        steps += [(indices[..., j], x[batch + j]) for j in range(many)]
        if not steps:
            zero = xp.zeros(indices.shape[:-1], dtype="int64")
            return zero, zero == 0, x
        place, valid = self._flat(xp, steps)
        shape = indices.shape[:-1]
        return xp.broadcast_to(place, shape), xp.broadcast_to(valid, shape), x[batch + many :]

    def _output(self, x: tuple[int, ...], indices: Array) -> tuple[int, ...]:
        return (*indices.shape[:-1], *x[self.batch_dims + indices.shape[-1] :])


class _Gathered(_AtPlaces):
    """Base: what is at the places, with the gradients of equal places added, without a scatter."""

    def _compute(self, xp: Any, x: Array, indices: Array) -> Result:
        places, valid, row = self._places(xp, x.shape, indices)
        rows = x.reshape(x.size // max(1, prod(row)) if x.size else 0, *row)
        y = taken(f"{type(self).__name__}.forward", xp, rows, places, valid)
        return y.reshape(self._output(x.shape, indices)), (places, x.shape, row)

    def _gradients(self, xp: Any, grad: Array, *saved: Any) -> tuple[Array | None, ...]:
        places, shape, row = saved
        count = prod(shape) // max(1, prod(row))
        return summed_at(xp, grad.reshape(*places.shape, *row), places, count).reshape(shape), None


class GatherElements(_ByElement, _Gathered):
    """`y[i, j] = x[indices[i, j], j]` for axis 0; negative indices count from the end."""

    def __init__(self, axis: int = 0) -> None:
        self.axis = axis


class GatherND(_ByTuple, _Gathered):
    """`y[i] = x[*indices[i]]`: each row of the indices selects an element or a part of `x`.

    Args:
        batch_dims: how many first axes `x` and the indices have in common.
    """

    def __init__(self, batch_dims: int = 0) -> None:
        self.batch_dims = batch_dims


class _Scattered(_AtPlaces):
    """Base: a copy of `x` with updates at the places.

    Those at equal places add up, or one of them counts: the last on NumPy, any on a GPU; ONNX leaves that
    open. All updates of such a place get its gradient.
    """

    add: bool

    def _compute(self, xp: Any, x: Array, indices: Array, updates: Array) -> Result:
        name = f"{type(self).__name__}.forward"
        places, valid, row = self._places(xp, x.shape, indices)
        if updates.shape != (expected := self._output(x.shape, indices)):
            raise ShapeError(f"{name}: updates have shape {updates.shape}, expected {expected}")
        if xp is host().xp and not valid.all():
            raise ShapeError(f"{name}: an index lies outside of x")
        count = x.size // max(1, prod(row)) if x.size else 0
        rows, flat = x.reshape(count, *row), places.reshape(-1)
        parts = updates.reshape(flat.size, *row)
        if not flat.size:
            y = rows
        elif self.add:
            y = rows + summed_at(xp, parts, flat, count).astype(x.dtype, copy=False)
        else:
            y = rows.copy()
            y[flat] = parts
        return y.reshape(x.shape), (places, valid, x.shape, row, updates.shape)

    def _gradients(self, xp: Any, grad: Array, *saved: Any) -> tuple[Array | None, ...]:
        places, valid, shape, row, updates = saved
        rows = grad.reshape(prod(shape) // max(1, prod(row)), *row)
        own = taken(type(self).__name__, xp, rows, places, valid).reshape(updates)
        if self.add or not places.size:
            return grad, None, own
        rows = rows.copy()
        rows[places.reshape(-1)] = 0
        return rows.reshape(shape), None, own


class ScatterElements(_ByElement, _Scattered):
    """`y = x`, but `y[indices[i, j], j] = updates[i, j]` for axis 0; `add` adds the updates to `x`."""

    axis: int
    add: bool

    def __init__(self, axis: int = 0, add: bool = False) -> None:
        self.axis, self.add = axis, add


class ScatterND(_ByTuple, _Scattered):
    """`y = x`, but `y[*indices[i]] = updates[i]`; `add` adds the updates to `x`."""

    def __init__(self, add: bool = False) -> None:
        self.add = add


class TopK(Operator):
    """The `k` largest along an axis, or smallest, in order; of equal ones the first.

    Args:
        axis: the axis.
        largest: whether the largest are taken.
        indices: whether the output is their positions, int64, instead of themselves.
        k: how many; `inputs` is `("k",)` if that is an input.
    """

    axis: int
    largest: bool
    indices: bool
    k: tuple[int, ...]
    inputs: tuple[str, ...]
    settings: ClassVar[tuple[str, ...]] = ("k",)

    def __init__(
        self,
        axis: int = -1,
        largest: bool = True,
        indices: bool = False,
        k: Sequence[int] = (),
        inputs: Sequence[str] = (),
    ) -> None:
        self.axis, self.largest, self.indices = axis, largest, indices
        self.k, self.inputs = tuple(k), tuple(inputs)

    def _compute(self, xp: Any, x: Array, k: Sequence[int]) -> Result:
        axis = to_axis("TopK.forward", self.axis, x.ndim)
        if len(k) != 1 or not x.ndim or not 0 <= k[0] <= x.shape[axis]:
            raise ShapeError(f"TopK.forward: x has shape {x.shape}, whose axis {axis} has no {k} elements")
        if self.largest:  # the ascending order of the mirror image, read from its end
            order = xp.argsort(xp.flip(x, axis), axis=axis, kind="stable")
            order = x.shape[axis] - 1 - xp.flip(order, axis)
        else:
            order = xp.argsort(x, axis=axis, kind="stable")
        part = (*(slice(None),) * axis, slice(int(k[0])))
        first = order[part]
        y = first.astype("int64") if self.indices else xp.take_along_axis(x, first, axis)
        return y, (order, axis, int(k[0]))

    def _gradients(self, xp: Any, grad: Array, *saved: Any) -> tuple[Array]:
        order, axis, k = saved
        if not k:
            return (xp.zeros(order.shape, dtype=grad.dtype),)
        rank = xp.argsort(order, axis=axis)  # of each element of x
        part = xp.take_along_axis(grad, xp.minimum(rank, k - 1), axis)
        return (xp.where(rank < k, part, 0),)


class NonZero(Operator):
    """The indices of all elements that are not 0, int64 `(ndim, count)`. On a GPU this waits for it."""

    def _compute(self, xp: Any, x: Array) -> Result:
        if not x.ndim:
            return xp.zeros((0, int(x != 0)), dtype="int64"), ()
        return xp.stack(xp.nonzero(x)).astype("int64"), ()


class OneHot(Operator):
    """For each index a 1 at its place along a new axis, and 0 elsewhere; or two other values.

    The inputs are the indices, which count from the end if negative, and the values `[off, on]`.

    Args:
        axis: the new axis of the output.
        depth: its size; `inputs` is `("depth",)` if that is an input.
    """

    axis: int
    depth: tuple[int, ...]
    inputs: tuple[str, ...]
    settings: ClassVar[tuple[str, ...]] = ("depth",)
    same_dtype = False

    def __init__(self, axis: int = -1, depth: Sequence[int] = (), inputs: Sequence[str] = ()) -> None:
        self.axis, self.depth, self.inputs = axis, tuple(depth), tuple(inputs)

    def _compute(self, xp: Any, indices: Array, values: Array, depth: Sequence[int]) -> Result:
        axis = to_axis("OneHot.forward", self.axis, indices.ndim + 1)
        if len(depth) != 1 or depth[0] < 1 or values.shape != (2,):
            raise ShapeError(f"OneHot.forward: depth is {depth}, and the values have shape {values.shape}")
        n = int(depth[0])
        check_room("OneHot.forward: an output", (*indices.shape, n), values.dtype.itemsize)
        index = xp.expand_dims(xp.where(indices < 0, indices + n, indices), axis)
        here = index == xp.arange(n).reshape(-1, *(1,) * (indices.ndim - axis))
        return xp.where(here, values[1], values[0]), (here,)

    def _gradients(self, xp: Any, grad: Array, *saved: Any) -> tuple[Array | None, ...]:
        (here,) = saved
        return None, xp.stack([xp.where(here, 0, grad).sum(), xp.where(here, grad, 0).sum()])


class EyeLike(Operator):
    """1 on a diagonal and 0 elsewhere, in the shape of `x`.

    Args:
        k: how far the diagonal is above the main one.
        dtype: of the output; None is that of `x`.
    """

    k: int
    dtype: str | None
    _dtype_setting = "dtype"

    def __init__(self, k: int = 0, dtype: str | None = None) -> None:
        self.k, self.dtype = k, dtype

    def _compute(self, xp: Any, x: Array) -> Result:
        if x.ndim != 2:
            raise ShapeError(f"EyeLike.forward: x has shape {x.shape}, expected a matrix")
        rows, columns = x.shape
        return xp.eye(rows, columns, self.k, dtype=self.dtype or x.dtype), ()


class Trilu(Operator):
    """The upper or lower triangle of matrices `x (…, M, N)`, with 0 elsewhere.

    Args:
        upper: whether it is the upper one.
        k: how far the last diagonal of it is above the main one; `inputs` is `("k",)` if it is an input.
    """

    upper: bool
    k: tuple[int, ...]
    inputs: tuple[str, ...]
    settings: ClassVar[tuple[str, ...]] = ("k",)

    def __init__(self, upper: bool = True, k: Sequence[int] = (0,), inputs: Sequence[str] = ()) -> None:
        self.upper, self.k, self.inputs = upper, tuple(k), tuple(inputs)

    def _compute(self, xp: Any, x: Array, k: Sequence[int]) -> Result:
        if x.ndim < 2 or len(k) != 1:
            raise ShapeError(f"Trilu.forward: x has shape {x.shape}, and k is {tuple(k)}")
        above = xp.arange(x.shape[-1]) - xp.arange(x.shape[-2])[:, None]
        mask = above >= k[0] if self.upper else above <= k[0]
        return xp.where(mask, x, 0).astype(x.dtype, copy=False), (mask,)

    def _gradients(self, xp: Any, grad: Array, *saved: Any) -> tuple[Array]:
        return (xp.where(saved[0], grad, 0),)
