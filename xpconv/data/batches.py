"""Mini-batches of two arrays, in order or shuffled."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..arguments import to_bool
from ..arrays import asarray
from ..backend import Array, backend_of
from ..errors import BackendError, ShapeError
from ..random import default_rng

__all__ = ["batches"]


class batches:  # lower-case, like `range`, as it is used like a function
    """Iterate over `x` and `y` in mini-batches; every loop over the object is one epoch.

    Args:
        x, y: arrays of one backend and equal length along their first axis: inputs and targets.
        batch_size: samples in a batch; the last batch has the remaining samples.
        shuffle: use a new random order of the samples in every epoch.
        seed: seed of that order (an int or a `numpy.random.Generator`; default: fresh entropy). The order is
            drawn on the host, so the same seed gives the same epochs on every backend.
        drop_last: omit the last batch if it is not full.

    Yields:
        `(x[i], y[i])` on the backend of `x` and `y`: views of them, or copies if `shuffle` is on. On a
        GPU the order is uploaded once per epoch, and the host does not wait for the device.

    Raises:
        ShapeError: (a ValueError) the lengths differ, or there is no batch.
        BackendError: (a TypeError) `x` and `y` are on different backends, or are not arrays.
        TypeError, ValueError: `batch_size` is not a positive integer.

    Example:
        >>> import numpy as np
        >>> from xpconv.data import batches
        >>> x, y = np.arange(10.0).reshape(5, 2), np.array([0, 1, 0, 1, 1])
        >>> for x_batch, y_batch in batches(x, y, 2):
        ...     print(x_batch.shape, y_batch)
        (2, 2) [0 1]
        (2, 2) [0 1]
        (1, 2) [1]
        >>> loader = batches(x, y, 2, shuffle=True, seed=0, drop_last=True)
        >>> loader
        batches(x (5, 2), y (5,), batch_size=2, shuffle=True, drop_last=True)
        >>> len(loader)
        2
    """

    def __init__(
        self,
        x: Array,
        y: Array,
        batch_size: int,
        shuffle: bool = False,
        seed: int | np.random.Generator | None = None,
        *,
        drop_last: bool = False,
    ) -> None:
        try:
            self._backend = backend_of(x, y).name
        except BackendError as cause:
            raise BackendError(f"batches: x and y: {cause}") from None
        if not isinstance(batch_size, (int, np.integer)) or isinstance(batch_size, bool):
            raise TypeError(f"batches: batch_size: expected an int, got {type(batch_size).__name__}")
        if batch_size < 1:
            raise ValueError(f"batches: batch_size: expected 1 or more, got {batch_size}")
        batch_size = int(batch_size)  # a NumPy int might overflow
        shuffle = to_bool("batches: shuffle", shuffle)
        drop_last = to_bool("batches: drop_last", drop_last)
        if not x.shape or x.shape[:1] != y.shape[:1]:
            raise ShapeError(
                "batches: x and y: expected equal lengths along the first axis, "
                f"got shapes {x.shape} and {y.shape}"
            )
        n = x.shape[0]
        self._starts = range(0, n - n % batch_size if drop_last else n, batch_size)
        if not self._starts:
            least = f"batch_size = {batch_size}, as drop_last is on" if n else "1"
            raise ShapeError(f"batches: x and y: expected a length of at least {least}, got {n}")
        self._x, self._y, self._size = x, y, batch_size
        self._shuffle, self._drop_last = shuffle, drop_last
        self._rng = np.random.default_rng() if seed is None else default_rng(seed, "batches", "seed")

    def __len__(self) -> int:
        """The number of batches in an epoch."""
        return len(self._starts)

    def __repr__(self) -> str:
        more = "".join(
            f", {k}={v}" for k, v in (("shuffle", self._shuffle), ("drop_last", self._drop_last)) if v
        )
        return f"batches(x {self._x.shape}, y {self._y.shape}, batch_size={self._size}{more})"

    def __iter__(self) -> Iterator[tuple[Array, Array]]:
        order = None
        if self._shuffle:
            order = asarray(self._rng.permutation(self._x.shape[0]), backend=self._backend)
        for start in self._starts:
            part: Array = slice(start, start + self._size)
            if order is not None:
                part = order[part]
            yield self._x[part], self._y[part]
