"""Lookup of vectors by index, and one-hot rows."""

from __future__ import annotations

from ..arguments import named, to_bool, to_int, to_size
from ..backend import Array, backend_of
from ..checks import owner_of
from ..errors import BackendError, DTypeError, ShapeError
from ..losses import targets
from ..ops import embedding as ops
from ._checks import enter, public
from ._pooling import array_of

__all__ = ["embedding", "embedding_backward", "one_hot"]


@public
def embedding(input: Array, weight: Array, padding_idx: int | None = None) -> Array:
    """The rows `weight[input]`, as `torch.nn.functional.embedding`.

    `input` `(*)` of any integer dtype and `weight` `(V, D)` give `(*, D)`. On a GPU the row of an index
    outside `[0, V)` is NaN. There is no `max_norm`, which would change `weight`.

    Args:
        padding_idx: only checked here: it affects the gradient alone, as does `scale_grad_by_freq`, an
            argument of `embedding_backward`.

    Raises:
        ValueError: on the CPU, an index outside `[0, V)`; a `padding_idx` that is none of the rows.
        ShapeError, DTypeError, BackendError: `input` is not of integers, or `weight` is not a floating
            matrix.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.embedding(np.array([[2, 0]]), np.array([[0.0, 1], [2, 3], [4, 5]]))
        array([[[4., 5.],
                [0., 1.]]])
    """
    where = "functional.embedding"
    xp, table = enter(where, {"weight": weight})
    if table.ndim != 2:
        raise ShapeError(f"{where}: weight has shape {table.shape}, expected (V, D): one row for each index")
    _row(where, padding_idx, table.shape[0], f"weight has shape {table.shape}")
    indices = _indices(where, input, table, "weight", table.shape[0])
    return ops.embedding(xp, indices.reshape(-1), table).reshape(*indices.shape, table.shape[1])


@public
def embedding_backward(
    grad_output: Array,
    input: Array,
    num_embeddings: int,
    padding_idx: int | None = None,
    scale_grad_by_freq: bool = False,
) -> Array:
    """Gradient of `embedding` with respect to `weight`, `(num_embeddings, D)`: sums over equal indices.

    Args:
        grad_output: the gradient of the output, `(*, D)`.
        input: the indices `(*)`.
        num_embeddings: V, the number of rows of the weight.
        padding_idx: a row that gets no gradient; negative ones count from the end.
        scale_grad_by_freq: divide the gradient of each row by the number of times it occurs.

    Raises:
        ValueError, ShapeError, DTypeError, BackendError: the arguments do not fit one another.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.embedding_backward(np.ones((3, 2)), np.array([1, 0, 1]), 3)
        array([[1., 1.],
               [2., 2.],
               [0., 0.]])
    """
    where = "functional.embedding_backward"
    xp, grad = enter(where, {"grad_output": grad_output})
    size = to_size(f"{where}: num_embeddings", num_embeddings)
    padding_idx = _row(where, padding_idx, size, f"num_embeddings={size}")
    by_frequency = to_bool(f"{where}: scale_grad_by_freq", scale_grad_by_freq)
    indices = _indices(where, input, grad, "grad_output", size)
    if grad.shape[:-1] != indices.shape or not grad.ndim:
        raise ShapeError(
            f"{where}: grad_output has shape {grad.shape}, expected that of input, {indices.shape}, "
            "and one more axis"
        )
    rows = grad.reshape(indices.size, grad.shape[-1])
    return ops.embedding_backward(xp, rows, indices.reshape(-1), size, padding_idx, by_frequency)


@public
def one_hot(input: Array, num_classes: int = -1) -> Array:
    """One-hot rows of class indices, int64, as `torch.nn.functional.one_hot`.

    `input` `(*)` of any integer dtype gives `(*, num_classes)`. With -1 `num_classes` is the largest index
    plus 1, which synchronises with a GPU. `xpconv.one_hot` takes a `dtype`.

    Raises:
        ValueError: an index below 0 or not below `num_classes`. On a GPU its row is all 0, if `num_classes`
            is given.
        DTypeError, BackendError: (TypeErrors) `input` is not an array of integers.

    Example:
        >>> import numpy as np, xpconv.functional as F
        >>> F.one_hot(np.array([2, 0]), 3)
        array([[0, 0, 1],
               [1, 0, 0]])
    """
    with named("functional.one_hot", "one_hot"), named("functional.one_hot: input", "one_hot: target"):
        return targets.one_hot(array_of(input), num_classes)


def _row(where: str, padding_idx: int | None, size: int, why: str) -> int | None:
    """Check `padding_idx`; return it counted from the start. `why` names what has the number of rows."""
    if padding_idx is None:
        return None
    row = to_int(f"{where}: padding_idx", padding_idx)
    if not -size <= row < size:
        raise ValueError(f"{where}: padding_idx is {row}, expected {-size} to {size - 1} ({why})")
    return row % size


def _indices(where: str, input: Array, other: Array, name: str, size: int) -> Array:
    """Check the indices; return them as int64. On a GPU the range is not checked, which would synchronise."""
    indices = array_of(input)
    owner = owner_of(where, indices, "input")
    if owner is not backend_of(other):
        raise BackendError(
            f"{where}: input is {owner.name} but {name} is {backend_of(other).name}; use "
            f"xpconv.asarray({name}, backend={owner.name!r})"
        )
    if indices.dtype.kind not in "iu":
        raise DTypeError(f"{where}: input is {indices.dtype}, expected integer indices")
    if owner.name == "numpy" and indices.size and not 0 <= indices.min() <= indices.max() < size:
        bad = indices.min() if indices.min() < 0 else indices.max()
        raise ValueError(f"{where}: input holds index {bad}, expected 0 to {size - 1}")
    return indices.astype("int64", copy=False)
