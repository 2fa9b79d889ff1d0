"""One-hot encoding of class indices."""

from __future__ import annotations

from typing import Any

from ..arguments import check_room, shown, to_size
from ..backend import Array, backend_of
from ..dtypes import is_floating
from ..errors import BackendError, DTypeError

__all__ = ["one_hot"]


def one_hot(target: Array, num_classes: int = -1, *, dtype: Any = "int64") -> Array:
    """One-hot encode class indices, `(…)` to `(…, num_classes)`, as `torch.nn.functional.one_hot`.

    Use it for the targets of `BCEWithLogitsLoss` or `MSELoss`. `CrossEntropyLoss` takes the indices.

    Args:
        target: class indices, integers of any shape.
        num_classes: number of classes; -1 means the largest index plus 1, which synchronises with a GPU.
        dtype: dtype of the result.

    Raises:
        DTypeError, BackendError: (TypeErrors) `target` is not an array of integers, or `dtype` is not
            numeric.
        ValueError: an index is below 0 or not below `num_classes`. On a GPU this is not checked if
            `num_classes` is given; the row of such an index is all 0.

    Example:
        >>> import numpy as np, xpconv
        >>> xpconv.one_hot(np.array([2, 0]), 3)
        array([[0, 0, 1],
               [1, 0, 0]])
        >>> xpconv.one_hot(np.array([2, 0]), 3, dtype="float32").dtype
        dtype('float32')
    """
    try:
        backend = backend_of(target)
    except BackendError as error:
        raise BackendError(f"one_hot: target: {error}") from None
    if target.dtype.kind not in "iu":
        raise DTypeError(f"one_hot: target is {target.dtype}, expected integer class indices")
    try:
        kind = backend.xp.empty(0, dtype="int64" if dtype is None else dtype).dtype.newbyteorder("=")
    except (TypeError, ValueError):
        kind = None
    if kind is None or not (is_floating(kind) or kind.kind in "iub"):
        raise DTypeError(f"one_hot: dtype is {shown(dtype)}, expected one of numbers, such as 'float32'")
    count = to_size("one_hot: num_classes", num_classes, -1)
    if count < 1 and not target.size:
        raise ValueError(f"one_hot: num_classes is {count} and target is empty; give the number of classes")
    if count == 0:
        raise ValueError("one_hot: num_classes is 0, expected at least 1, or -1")
    if count == -1:
        count = int(target.max()) + 1
    if backend.name == "numpy" or num_classes == -1:
        bad = target[(target < 0) | (target >= count)]
        if bad.size:
            known = f"0 to {count - 1}" if count > 0 else "classes from 0 up"
            raise ValueError(f"one_hot: target holds class {bad[0]}, expected {known}")
    check_room("one_hot: the target as rows", (*target.shape, count), kind.itemsize)
    rows = target[..., None] == backend.xp.arange(count)
    return rows.astype(kind)
