"""One-hot encoding of class indices, and back."""

from __future__ import annotations

from typing import Any

from ..arguments import about, check_room, shown, to_size
from ..backend import Array, backend_of
from ..dtypes import is_floating, to_dtype
from ..errors import BackendError, DTypeError, ShapeError

__all__ = ["from_one_hot", "one_hot"]


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
        raise BackendError(f"one_hot: target: {about('target', error)}") from None
    if target.dtype.kind not in "iu":
        raise DTypeError(f"one_hot: target is {target.dtype}, expected integer class indices")
    try:
        kind = to_dtype("one_hot", backend.xp, "int64" if dtype is None else dtype).newbyteorder("=")
    except DTypeError:
        kind = None
    if kind is None or not (is_floating(kind) or kind.kind in "iub"):
        raise DTypeError(f"one_hot: dtype is {shown(dtype)}, expected one of numbers, such as 'float32'")
    count = to_size("one_hot: num_classes", num_classes, -1)
    if count < 1 and not target.size:
        raise ValueError(
            f"one_hot: num_classes is {count} and there is no class to count; give the number of classes"
        )
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
    rows = backend.xp.zeros((target.size, count), dtype=kind)
    index = target.reshape(-1).astype("int64")
    inside = (index >= 0) & (index < count)
    rows[backend.xp.arange(target.size), index.clip(0, count - 1)] = inside  # an element of each row
    return rows.reshape(*target.shape, count)


def from_one_hot(rows: Array) -> Array:
    """Class indices of one-hot rows, `(…, num_classes)` to `(…)`: the reverse of `one_hot`.

    Args:
        rows: an array of 0 and 1 of any real dtype, with one 1 in each row.

    Returns:
        int64 indices. Of probabilities, take the likeliest classes by `rows.argmax(-1)` instead.

    Raises:
        ShapeError: (a ValueError) `rows` has no last axis of classes.
        DTypeError, BackendError: (TypeErrors) `rows` is not an array of real numbers.
        ValueError: a row does not have one 1 and else 0. On a GPU this is not checked.

    Example:
        >>> import numpy as np, xpconv
        >>> xpconv.from_one_hot(np.array([[0, 0, 1], [1, 0, 0]]))
        array([2, 0])
    """
    try:
        backend = backend_of(rows)
    except BackendError as error:
        raise BackendError(f"from_one_hot: rows: {about('rows', error)}") from None
    if rows.dtype.kind not in "iub" and not is_floating(rows.dtype):
        raise DTypeError(f"from_one_hot: rows are {rows.dtype}, expected real numbers")
    if not rows.shape or rows.shape[-1] == 0:
        raise ShapeError(f"from_one_hot: rows have shape {rows.shape}, expected (…, num_classes)")
    if backend.name == "numpy":
        wrong = (((rows == 0) | (rows == 1)).all(-1) & ((rows == 1).sum(-1) == 1)) == 0
        if wrong.any():
            raise ValueError(
                f"from_one_hot: a row is {shown(rows[wrong][0].tolist())}, expected one 1 and else 0; of "
                "probabilities take rows.argmax(-1)"
            )
    return rows.argmax(-1).astype("int64")
