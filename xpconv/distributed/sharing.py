"""`share`: the samples of each batch that belong to this process."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from typing import Any

from ..arguments import shown
from ..data.batches import batches
from .communicator import Communicator

__all__ = ["share"]


def share(data: Iterable[Any], communicator: Communicator | None = None) -> Iterable[Any]:
    """The same batches, of which each process gets its own samples: of a batch of 64, one of four gets 16.

    Together the processes see each sample as often as one would, none twice. Row `i` of a batch belongs to
    rank `i % size`. Where the size of a batch is no multiple of that, the parts differ by one sample, and of
    a batch with fewer samples than processes some are empty; `drop_last=True` leaves out the last batch.

    Args:
        data: `xpconv.data.batches`, of which only the own samples are read and transformed; their seed, place
            and order become those of rank 0, and the rank is a part of the seed of a transform. Or another
            iterable of batches, tuples of arrays, which gives the same ones in all processes.
        communicator: None makes one.

    Returns:
        for `batches` an object of that kind, which has the same number of batches; else an iterable.

    Raises:
        TypeError: an argument is of another type.
        DistributedError: (a RuntimeError) the processes have different numbers of samples or batches, or
            other settings.

    Example:
        >>> import numpy as np, xpconv
        >>> data = xpconv.data.batches(np.arange(6), 4)
        >>> [x for x, in xpconv.distributed.share(data)]
        [array([0, 1, 2, 3]), array([4, 5])]
    """
    if communicator is not None and not isinstance(communicator, Communicator):
        raise TypeError(f"share: communicator is {shown(communicator)}, expected a Communicator or None")
    if isinstance(data, str | bytes | dict) or not isinstance(data, Iterable) or hasattr(data, "shape"):
        raise TypeError(
            f"share: data is {shown(data)}, expected something that iterates over batches, such as "
            "xpconv.data.batches(x, y, 64)"
        )
    communicator = communicator or Communicator()
    if not isinstance(data, batches):
        return Shares(data, communicator)
    other = copy.copy(data)
    share_in_place(other, communicator)
    return other


def share_in_place(data: batches, communicator: Communicator) -> None:
    """Let `data` give the own samples alone, in the order of rank 0."""
    if communicator.size == 1:
        return
    communicator.meet(f"share batches: {data._layout()}")
    seed, epoch, batch = communicator.from_first([data._seed, *data._place[:2]])
    data._seed, data._place = seed, data._place._replace(epoch=epoch, batch=batch)
    data._part = communicator.rank, communicator.size


class Shares:
    """The own samples of the batches of an iterable."""

    def __init__(self, data: Iterable[Any], communicator: Communicator) -> None:
        self._data, self._part = data, slice(communicator.rank, None, communicator.size)

    def __iter__(self) -> Iterator[Any]:
        for batch in self._data:
            yield own_rows(batch, self._part)

    def __len__(self) -> int:
        return len(self._data)  # type: ignore[arg-type]


def own_rows(batch: Any, part: slice) -> Any:
    """The own rows of each array in a batch, or of a batch that is an array."""
    if isinstance(batch, tuple | list):
        return tuple(own_rows(array, part) for array in batch)
    return batch[part] if getattr(batch, "shape", ()) else batch
