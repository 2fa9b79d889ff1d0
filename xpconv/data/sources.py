"""Where the samples of batches come from: arrays, data sets with an index, and iterables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NoReturn, TypeAlias

import numpy as np

from ..arguments import brief, shown
from ..arrays import asarray, asnumpy
from ..backend import Array, backend_of, plain
from ..errors import BackendError, BatchError, DTypeError, ShapeError
from .mapped import announce, is_mapped, release

Part: TypeAlias = "slice | Array"


class Arrays:
    """Arrays of one backend and length; a batch has the same rows of each."""

    def __init__(self, arrays: Sequence[Any]) -> None:
        try:
            self._backend = backend_of(*arrays).name
        except BackendError as cause:
            raise BackendError(f"batches: {cause}") from None
        self._arrays = tuple(arrays)
        shapes = [array.shape for array in arrays]
        if () in shapes or len({shape[0] for shape in shapes}) != 1:
            raise ShapeError(
                "batches: expected arrays of equal lengths along their first axes, got shapes "
                f"{' and '.join(map(str, shapes))}"
            )
        self.length: int = shapes[0][0]
        self.on_host: bool = self._backend == "numpy"

    def __repr__(self) -> str:
        return ", ".join(map(brief, self._arrays))

    def indices(self, order: np.ndarray) -> Array:
        """`order` where the arrays are."""
        return asarray(order, backend=self._backend)

    def take(self, part: Part, where: str, writable: bool) -> tuple[Array, ...]:
        """The rows of each array; with `writable` no views."""
        if self.on_host and not isinstance(part, slice):
            for array in self._arrays:
                announce(array, part)
        rows = [plain(array)[part] for array in self._arrays]
        if isinstance(part, slice):
            rows = [row.copy() if writable or is_mapped(row) else row for row in rows]
        release(self._arrays)
        return tuple(rows)


class Items:
    """The items of an object with `__len__` and `__getitem__`."""

    on_host = True

    def __init__(self, items: Any) -> None:
        self._items = items
        self.length: int = len(items)

    def __repr__(self) -> str:
        return f"{type(self._items).__name__} of {self.length}"

    def indices(self, order: np.ndarray) -> np.ndarray:
        return order

    def take(self, part: Part, where: str, writable: bool) -> tuple[Array, ...]:
        """The items, stacked."""
        indices = range(self.length)[part] if isinstance(part, slice) else part.tolist()
        return stack([self._item(i, where) for i in indices], indices, where)

    def _item(self, i: int, where: str) -> Any:
        try:
            return self._items[i]
        except MemoryError:
            raise
        except Exception as error:
            raise BatchError(f"{where}: item {i} of the data set: {type(error).__name__}: {error}") from error


class Stream:
    """The items of an iterable, in its order."""

    on_host = True
    length = None

    def __init__(self, items: Iterable[Any]) -> None:
        self._items = items

    def __repr__(self) -> str:
        return type(self._items).__name__

    def parts(self, size: int, drop_last: bool, first: int) -> Iterator[tuple[int, Any]]:
        """The number of each batch from `first`, with the number of its first item and its items."""
        items = self._numbered(size)
        number, any_batch = first, bool(first)
        for _ in islice(items, first * size):
            pass
        while part := list(islice(items, size)):
            if len(part) == size or not drop_last:
                any_batch = True
                yield number, part
            number += 1
        if not any_batch:
            raise ShapeError(
                f"batches: {self} gave fewer items than one batch has. A generator can be read only once: "
                "give an object whose __iter__ begins anew"
            )

    def _numbered(self, size: int) -> Iterator[tuple[int, Any]]:
        i = 0
        try:
            for item in self._items:
                yield i, item
                i += 1
        except MemoryError:
            raise
        except Exception as error:
            raise BatchError(
                f"batches: batch {i // size + 1}: item {i} of {self}: {type(error).__name__}: {error}"
            ) from error

    def take(self, part: list[tuple[int, Any]], where: str, writable: bool) -> tuple[Array, ...]:
        """The items, stacked."""
        indices, items = zip(*part, strict=True)
        return stack(items, indices, where)


Source: TypeAlias = "Arrays | Items"


def source_of(data: Sequence[Any]) -> Source | Stream:
    """The source for the positional arguments of `batches`."""
    if not data:
        raise TypeError("batches: data is missing: batches(x, y, 64)")
    one = data[0]
    if len(data) > 1 or isinstance(one, np.ndarray) or hasattr(one, "toarray") or _is_array(one):
        return Arrays(data)
    indexed = hasattr(type(one), "__len__") and hasattr(type(one), "__getitem__")
    if indexed and not isinstance(one, tuple | Mapping | str | bytes):
        return Items(one)
    if isinstance(one, Iterable) and not indexed:
        return Stream(one)
    fix = "; give its arrays one by one: batches(*data, 64)" if isinstance(one, tuple) else ""
    raise TypeError(
        f"batches: data is {shown(one)}, expected arrays, a data set with __len__ and __getitem__, or an "
        f"iterable of items{fix}"
    )


def _is_array(value: Any) -> bool:
    try:
        backend_of(value)
    except BackendError:
        return False
    return True


def stack(items: Sequence[Any], indices: Sequence[int], where: str) -> tuple[Array, ...]:
    """The arrays of a batch from its items; `indices` are their numbers in errors."""
    rows = [item if isinstance(item, tuple) else (item,) for item in items]
    for i, row in zip(indices, rows, strict=True):
        if len(row) != len(rows[0]) or not row:
            raise ShapeError(
                f"{where}: item {i} has {len(row)} arrays, but item {indices[0]} has {len(rows[0])}; "
                "expected the same number, at least 1, in each"
            )
    return tuple(
        _stack_one(column, indices, f"{where}: array {k} of" if len(rows[0]) > 1 else f"{where}:")
        for k, column in enumerate(zip(*rows, strict=True))
    )


def _stack_one(values: Sequence[Any], indices: Sequence[int], where: str) -> Array:
    arrays = [_to_array(value, f"{where} item {i}") for i, value in zip(indices, values, strict=True)]
    first = arrays[0]
    for i, array in zip(indices, arrays, strict=True):
        if array.shape != first.shape:
            _differ(ShapeError, where, "shape", (i, array.shape), (indices[0], first.shape))
        if array.dtype != first.dtype:
            _differ(DTypeError, where, "dtype", (i, array.dtype), (indices[0], first.dtype))
    try:
        xp = backend_of(*arrays).xp
    except BackendError as cause:
        raise BackendError(f"{where} items: {cause}") from None
    stacked = xp.stack(arrays)
    release(arrays)
    return stacked


def _differ(kind: type[Exception], where: str, what: str, one: Any, other: Any) -> NoReturn:
    raise kind(
        f"{where} item {one[0]} has {what} {one[1]}, but item {other[0]} has {other[1]}; items of one batch "
        f"are stacked, so give them one {what}" + (", or use a GroupedSampler" if what == "shape" else "")
    )


def _to_array(value: Any, where: str) -> Array:
    """An item, or an array of it, as an array of numbers."""
    array = plain(value) if _is_array(value) else None
    number = isinstance(value, bool | int | float | complex)
    if array is None and (number or hasattr(value, "__array__") or hasattr(value, "__array_interface__")):
        try:
            array = asnumpy(value)
        except (TypeError, ValueError, RuntimeError) as cause:  # such as that of a tensor with a gradient
            raise DTypeError(f"{where}: {cause}") from cause
    if array is None or array.dtype.kind in "OUSMm":
        fix = {list: "; give tuple(item) for several arrays, numpy.asarray(item) for one"}.get(
            type(value), ""
        )
        raise DTypeError(
            f"{where} is {shown(value)}, expected an array of numbers, a number, or a tuple of them{fix}"
        )
    return array
