"""Orders of the samples in an epoch: balanced between classes, or in batches of one group."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..arguments import shown, to_size
from ..arrays import asnumpy
from ..errors import DTypeError, ShapeError

__all__ = ["BalancedSampler", "GroupedSampler"]


class BalancedSampler:
    """Draw every class equally often, for `batches(…, sampler=BalancedSampler(labels))`.

    With k classes, each k samples in succession have one of each class, in random order, so that a batch of
    a multiple of k samples is balanced too. The samples of a class are drawn in random order, and in another
    one when all have been drawn: samples of rare classes appear repeatedly, and some of frequent classes are
    left out.

    Args:
        labels: the class of each sample `(N,)`: ints, bools or text, on any backend.
        size: number of samples in an epoch; default N.

    Raises:
        ShapeError: (a ValueError) `labels` has not one axis, or is empty.
        DTypeError: (a TypeError) `labels` are floating.

    Source:
        Random over- and undersampling: H. He and E. A. Garcia, "Learning from Imbalanced Data", IEEE
        Transactions on Knowledge and Data Engineering 21 (2009). PyTorch's `WeightedRandomSampler` with
        weights of 1/frequency draws the classes equally often on average, but independently.

    Example:
        >>> import numpy as np
        >>> from xpconv.data import BalancedSampler, batches
        >>> y = np.array([0] * 90 + [1] * 10)
        >>> [int(part.sum()) for part, in batches(y, 20, sampler=BalancedSampler(y), seed=0)]
        [10, 10, 10, 10, 10]
    """

    def __init__(self, labels: Any, size: int | None = None) -> None:
        where = "BalancedSampler"
        labels = asnumpy(labels)
        if labels.ndim != 1 or not labels.size:
            raise ShapeError(
                f"{where}: labels has shape {labels.shape}, expected one class for each sample, (N,); for "
                "one-hot labels give labels.argmax(1)"
            )
        if labels.dtype.kind not in "biuUS":
            raise DTypeError(f"{where}: labels is of {labels.dtype}, expected classes: ints, bools or text")
        self.samples: int = len(labels)
        self._size = self.samples if size is None else to_size(f"{where}: size", size)
        inverse, counts = np.unique(labels, return_inverse=True, return_counts=True)[1:]
        self._members = np.split(np.argsort(inverse, kind="stable"), np.cumsum(counts)[:-1])

    def __len__(self) -> int:
        """The number of samples in an epoch."""
        return self._size

    def __repr__(self) -> str:
        return f"BalancedSampler({len(self._members)} classes, size={self._size})"

    def indices(self, rng: np.random.Generator) -> np.ndarray:
        """The indices of the samples of an epoch."""
        rounds = -(-self._size // len(self._members))
        table = np.empty((rounds, len(self._members)), "int64")
        for k, members in enumerate(self._members):
            times = -(-rounds // len(members))
            repeated = np.broadcast_to(members, (times, len(members)))
            table[:, k] = rng.permuted(repeated, axis=1).reshape(-1)[:rounds]
        order: np.ndarray = rng.permuted(table, axis=1).reshape(-1)[: self._size]
        return order


class GroupedSampler:
    """Make batches of samples of one group each, for `batches(…, sampler=GroupedSampler(groups))`.

    For data sets whose samples differ in size: with the size as the group, a batch can be stacked. Every
    sample appears once in an epoch. The samples of a group and the batches are in random order; the last
    batch of each group has its remaining samples, and is left out with `drop_last`. (To keep a whole group on
    one side of a split for training and testing is another task: scikit-learn's `GroupShuffleSplit`.)

    Args:
        groups: the group of each sample: `(N,)` numbers or text, or `(N, k)` for groups such as
            `(height, width)`.

    Raises:
        ShapeError: (a ValueError) `groups` has not one or two axes, or is empty.
        DTypeError: (a TypeError) `groups` are neither numbers nor text.

    Source:
        `GroupedBatchSampler` of torchvision's references for detection, which makes batches of images of like
        aspect ratio.

    Example:
        >>> import numpy as np
        >>> from xpconv.data import GroupedSampler, batches
        >>> sizes = [(28, 28), (32, 32), (28, 28), (32, 32), (28, 28)]
        >>> class Images:
        ...     def __len__(self):
        ...         return 5
        ...     def __getitem__(self, i):
        ...         return np.zeros((1, *sizes[i])), i
        >>> sorted(x.shape for x, _ in batches(Images(), 2, sampler=GroupedSampler(sizes)))
        [(1, 1, 28, 28), (2, 1, 28, 28), (2, 1, 32, 32)]
    """

    def __init__(self, groups: Any) -> None:
        groups = asnumpy(groups)
        if groups.ndim not in (1, 2) or not groups.size:
            raise ShapeError(
                f"GroupedSampler: groups has shape {groups.shape}, expected one group for each sample: (N,) "
                "or (N, k)"
            )
        if groups.dtype.kind not in "biufUS":
            raise DTypeError(f"GroupedSampler: groups is of {groups.dtype}, expected numbers or text")
        inverse, self._counts = np.unique(groups, axis=0, return_inverse=True, return_counts=True)[1:]
        self._group_of = inverse.reshape(-1)
        self.samples: int = len(groups)

    def __len__(self) -> int:
        """The number of samples in an epoch."""
        return self.samples

    def __repr__(self) -> str:
        return f"GroupedSampler({len(self._counts)} groups, {self.samples} samples)"

    def indices(self, rng: np.random.Generator) -> np.ndarray:
        """All samples, group by group, each group in random order."""
        order = rng.permutation(self.samples)
        return order[np.argsort(self._group_of[order], kind="stable")]

    def count(self, batch_size: int, drop_last: bool) -> int:
        """The number of batches in an epoch."""
        return int(self._batches_of_groups(batch_size, drop_last).sum())

    def batches(
        self, rng: np.random.Generator, batch_size: int, drop_last: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        """The indices of an epoch, and bounds: batch k has `indices[bounds[k] : bounds[k + 1]]`."""
        batch_size = min(batch_size, self.samples + 1)  # as NumPy's ints are bounded
        order, each = self.indices(rng), self._batches_of_groups(batch_size, drop_last)
        group = np.repeat(np.arange(len(each)), each)  # of each batch
        within = np.arange(len(group)) - np.repeat(np.cumsum(each) - each, each)  # its number in the group
        ends = np.cumsum(self._counts)[group]
        starts = ends - self._counts[group] + within * batch_size
        sizes = np.minimum(batch_size, ends - starts)
        shuffled = rng.permutation(len(group))
        starts, sizes = starts[shuffled], sizes[shuffled]
        bounds = np.concatenate([[0], np.cumsum(sizes)])
        places = np.arange(bounds[-1]) + np.repeat(starts - bounds[:-1], sizes)
        return order[places], bounds

    def _batches_of_groups(self, batch_size: int, drop_last: bool) -> np.ndarray:
        counts, size = self._counts, min(batch_size, self.samples + 1)  # as NumPy's ints are bounded
        return counts // size if drop_last else -(-counts // size)


def checked_sampler(sampler: Any, samples: int) -> Any:
    """`sampler`, if it has the methods of one, and is for this number of samples, if it states one."""
    if isinstance(sampler, type) or not (
        hasattr(sampler, "__len__") and callable(getattr(sampler, "indices", None))
    ):
        raise TypeError(
            f"batches: sampler is {shown(sampler)}, expected BalancedSampler(labels), GroupedSampler(groups) "
            "or an object with __len__ and indices(rng)"
        )
    of = getattr(sampler, "samples", samples)
    if of != samples:
        raise ShapeError(f"batches: sampler is of {of} samples, but there are {samples}")
    return sampler


def checked_indices(sampler: Any, rng: np.random.Generator, samples: int) -> np.ndarray:
    """The indices of an epoch from `sampler`, if they are valid."""
    order, expected = asnumpy(sampler.indices(rng)), len(sampler)
    where = f"batches: sampler {type(sampler).__name__}.indices"
    if order.shape != (expected,):
        raise ShapeError(f"{where} returned shape {order.shape}, expected ({expected},), as its __len__ says")
    if order.dtype.kind not in "iu":
        raise DTypeError(f"{where} returned {order.dtype}, expected ints")
    if order.size and not (order.min() >= 0 and order.max() < samples):
        raise ShapeError(
            f"{where} returned indices from {order.min()} to {order.max()}, expected 0 to {samples - 1}"
        )
    return order
