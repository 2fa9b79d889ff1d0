"""Mini-batches of arrays, or of the items of a data set, in order, shuffled or sampled."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from ..arguments import brief, shown, to_bool, to_int
from ..backend import Array
from ..errors import BatchError, ShapeError, StateDictError
from ..signatures import hinted
from .samplers import GroupedSampler, checked_indices, checked_sampler
from .settings import ELSEWHERE, to_seed, to_transform, with_size
from .sources import Source, Stream, source_of
from .workers import in_order

__all__ = ["batches"]

Batch = tuple[Array, ...]


class Place(NamedTuple):
    """Where the latest loop is: its epoch, how many batches it has returned, and an object as its identity.

    `loop` is None before a loop, and after one that has ended its epoch: the next loop begins here.
    """

    epoch: int
    batch: int
    loop: object = None


class batches:  # lower-case, like `range`, as it is used like a function
    """Iterate over arrays or a data set in mini-batches; every loop over the object is one epoch.

    Args:
        data: one or more arrays of one backend and equal length along their first axis, such as inputs,
            targets and weights; then, by position or name, `batch_size`. Arrays may be memory-mapped
            (`np.load(path, mmap_mode="r")`): only the rows of a batch are read, and their pages are
            released, so that a file may be larger than the memory. In place of arrays one data set:

            - an object with `__len__` and `__getitem__(i)`, whose items are arrays, numbers, or tuples of
              them, which are stacked. Each item has the same shapes and dtypes.
            - an iterable of such items, which is read in its own order.
        batch_size: samples in a batch; the last batch has the remaining samples.
        shuffle: use a new random order of the samples in every epoch.
        seed: an int, a `numpy.random.Generator`, from which one number is drawn here, or None for fresh
            entropy. The order of an epoch depends on the seed and the number of the epoch, and the `rng` of a
            transform on those and the number of the batch, so they are the same on every backend, for any
            number of workers, and after `load_state_dict`.
        drop_last: omit the last batch if it is not full.
        transform: a function `transform(batch, rng)`, called for each batch with the tuple of its arrays and
            a `numpy.random.Generator`; it returns such a tuple, or one array. It may change the arrays that
            it gets.
        workers: number of threads that make batches in advance: they read the data set and run the
            transform, which must be safe to call from several threads. At most `workers + 1` batches are
            ahead of the loop. Their results are the same as without workers. They see the context of the
            loop, such as `use_backend`. Arrays on a device are indexed and transformed in the thread of the
            loop, on its current stream. Data sets and transforms that run in workers should keep to host
            arrays, and leave the copy to `xpconv.cuda.prefetch`.
        sampler: the order of an epoch in place of `shuffle`: `BalancedSampler`, `GroupedSampler`, or an
            object with `__len__` and `indices(rng)`, which returns that many indices of samples.

    Yields:
        Tuples of arrays: `(x[i], y[i])` for `batches(x, y, …)`, `(x[i],)` for `batches(x, …)`. They are on
        the backend of the arrays: views of them, or copies if they are mapped or if there is an order or a
        transform. On a GPU the order is uploaded once per epoch, and the host does not wait for the device.
        Numbers from a data set are stacked to int64, float64 or bool.

    Raises:
        ShapeError: (a ValueError) lengths of arrays or shapes of items differ, or there is no batch.
        DTypeError: (a TypeError) the dtypes of two items differ.
        BackendError: (a TypeError) arrays are on different backends, or are not arrays.
        BatchError: (a RuntimeError) the data set or the transform raised an error, which is its cause. It
            is raised in place of the batch, with workers too. A MemoryError is raised as it is.
        TypeError, ValueError: an argument is of the wrong type or out of range.

    Example:
        >>> import numpy as np
        >>> from xpconv.data import batches
        >>> x, y = np.arange(10.0).reshape(5, 2), np.array([0, 1, 0, 1, 1])
        >>> for x_batch, y_batch in batches(x, y, 2):
        ...     print(x_batch.shape, y_batch)
        (2, 2) [0 1]
        (2, 2) [0 1]
        (1, 2) [1]
        >>> def noisy(batch, rng):
        ...     x, y = batch
        ...     return x + rng.normal(0, 0.1, x.shape), y
        >>> loader = batches(x, y, 2, shuffle=True, seed=0, drop_last=True, transform=noisy, workers=1)
        >>> len(loader)
        2
        >>> first = next(iter(loader))
        >>> resumed = batches(x, y, 2, shuffle=True, drop_last=True, transform=noisy)
        >>> resumed.load_state_dict(loader.state_dict())
        >>> len(list(resumed)), len(list(resumed))  # the rest of the epoch, and the next one
        (1, 2)
    """

    @hinted("batches", ELSEWHERE)
    def __init__(
        self,
        *data: Any,
        batch_size: int | None = None,
        shuffle: bool = False,
        seed: int | np.random.Generator | None = None,
        drop_last: bool = False,
        transform: Callable[[Batch, np.random.Generator], Any] | None = None,
        workers: int = 0,
        sampler: Any = None,
    ) -> None:
        data, batch_size = with_size(data, batch_size)
        if any(isinstance(one, batches) for one in data):
            raise TypeError("batches: data is an object of batches already; give its arrays or its data set")
        self._source: Source | Stream = source_of(data)
        self._size = to_int("batches: batch_size", batch_size, 1)
        self._shuffle = to_bool("batches: shuffle", shuffle)
        self._drop_last = to_bool("batches: drop_last", drop_last)
        self._workers = to_int("batches: workers", workers, 0)
        self._transform = to_transform(transform)
        self._sampler = self._checked(sampler)
        self._count = self._number_of_batches()
        self._seed = to_seed(seed)
        self._place = Place(0, 0)  # changed in one assignment, so that it is valid after Ctrl-C
        self._part: tuple[int, int] | None = None  # of several processes: rank and number

    def __len__(self) -> int:
        """The number of batches in an epoch."""
        if self._count is None:
            raise TypeError("batches: an iterable without a length has an unknown number of batches")
        return self._count

    def __repr__(self) -> str:
        more = ""
        for name in ("shuffle", "drop_last", "transform", "workers", "sampler"):
            value = getattr(self, f"_{name}")
            if value not in (None, False, 0):
                more += f", {name}={getattr(value, '__name__', None) or brief(value)}"
        return f"batches({self._source}, batch_size={self._size}{more})"

    def __iter__(self) -> Iterator[Batch]:
        epoch, first, unfinished = self._place
        if unfinished is not None:  # the latest loop was left before its end, or still runs
            epoch, first = epoch + 1, 0
        loop = object()
        self._place = Place(epoch, first, loop)
        workers = self._workers if self._source.on_host else 0
        if self._count is not None:
            workers = min(workers, self._count - first)
        seed = self._seed  # which load_state_dict may change meanwhile
        jobs, make = partial(self._jobs, seed, epoch), partial(self._make, seed, epoch)
        restartable = not isinstance(self._source, Stream)
        with closing(in_order(jobs, make, first, workers, restartable)) as made:
            for number, batch in made:
                if self._place.loop is loop:
                    self._place = Place(epoch, number + 1, loop)
                yield batch
                del batch  # while the next one is made, it belongs to the caller alone
        if self._place.loop is loop:
            self._place = Place(epoch + 1, 0)

    def _rewound(self) -> batches:
        """The same batches from the first epoch on, whose loops leave the place of this object as it is."""
        other = copy.copy(self)
        other._place = Place(0, 0)
        return other

    def state_dict(self) -> dict[str, Any]:
        """The seed, the number of the epoch, and how many of its batches the latest loop has handed out.

        To go on in the middle of an epoch, give it to `load_state_dict` of an object with the same data and
        arguments; the number of workers may differ. After the end of a loop it is the beginning of the next
        epoch. The other entries are the settings on which the order depends.

        Example:
            >>> import numpy as np
            >>> from xpconv.data import batches
            >>> loader = batches(np.arange(6), 2, shuffle=True, seed=3)
            >>> for _ in loader:
            ...     break
            >>> state = loader.state_dict()
            >>> state["seed"], state["epoch"], state["batch"]
            (3, 0, 1)
        """
        epoch, batch, _ = self._place
        return {"seed": self._seed, "epoch": epoch, "batch": batch, **self._layout()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from what `state_dict` returned: the next loop begins there, with the seed of the state.

        A state at the beginning of an epoch may be loaded with other settings or data.

        Raises:
            StateDictError: (a ValueError) entries are missing or unknown, or it is in the middle of an epoch
                of other data or settings. Nothing has changed then.
            TypeError, ValueError: an entry is of the wrong type or out of range.
        """
        where, layout = "batches.load_state_dict", self._layout()
        if not isinstance(state, Mapping):
            raise TypeError(f"{where}: state is {shown(state)}, expected a mapping, as state_dict() returns")
        names = {"seed", "epoch", "batch", *layout}
        if set(state) != names:
            missing, unknown = sorted(names - set(state)), sorted(set(state) - names, key=str)
            raise StateDictError(
                f"{where}: missing {missing}, unknown {unknown}; expected what state_dict() returns"
            )
        seed, epoch, batch = (
            to_int(f"{where}: {name}", state[name], 0) for name in ("seed", "epoch", "batch")
        )
        for name, value in layout.items():
            if batch and state[name] != value:
                raise StateDictError(
                    f"{where}: the state is in the middle of an epoch with {name} {shown(state[name])}, but "
                    f"here it is {shown(value)}; make it with the data and settings of the one that was saved"
                )
        if self._count is not None and batch > self._count:
            raise StateDictError(f"{where}: batch is {batch}, but an epoch has {self._count} batches")
        self._seed, self._place = seed, Place(epoch, batch)

    def _layout(self) -> dict[str, Any]:
        """What the order of an epoch depends on, besides the seed."""
        return {
            "samples": self._source.length,
            "batch_size": self._size,
            "shuffle": self._shuffle,
            "drop_last": self._drop_last,
            "sampler": None if self._sampler is None else type(self._sampler).__name__,
        }

    def _checked(self, sampler: Any) -> Any:
        """`sampler`, if it fits the other arguments."""
        n = self._source.length
        if n is None and (self._shuffle or sampler is not None):
            name = "shuffle" if self._shuffle else "sampler"
            raise ValueError(
                f"batches: {name} needs a data set with __len__ and __getitem__, and {self._source} is an "
                "iterable, which is read in its own order"
            )
        if sampler is None or n is None:
            return None
        if self._shuffle:
            raise ValueError(
                "batches: shuffle and sampler exclude each other; a sampler decides on the order"
            )
        return checked_sampler(sampler, n)

    def _number_of_batches(self) -> int | None:
        n = self._source.length
        if n is None:
            return None
        if isinstance(self._sampler, GroupedSampler):
            count = self._sampler.count(self._size, self._drop_last)
        else:
            n = n if self._sampler is None else len(self._sampler)
            count = n // self._size if self._drop_last else -(-n // self._size)
        if not count:
            least = f"{self._size} samples (batch_size), as drop_last is on" if n else "1 sample"
            raise ShapeError(f"batches: {self._source}: expected at least {least}, got {n}")
        return count

    def _jobs(self, seed: int, epoch: int, first: int) -> Iterator[tuple[int, Any]]:
        """The number of each batch from `first`, and what `Source.take` needs for it."""
        if isinstance(self._source, Stream):
            yield from self._source.parts(self._size, self._drop_last, first)
            return
        order, bounds = self._order(self._source, _generator(seed, epoch))
        for number in range(first, len(bounds) - 1):
            part = slice(bounds[number], bounds[number + 1])
            yield number, part if order is None else order[part]

    def _order(self, source: Source, rng: np.random.Generator) -> tuple[Array | None, Any]:
        """The indices of an epoch, None for all in order, and the bounds of the batches in them."""
        n = source.length
        bounds: Any = range(0, len(self) * self._size + 1, self._size)
        if isinstance(self._sampler, GroupedSampler):
            order, bounds = self._sampler.batches(rng, self._size, self._drop_last)
        elif self._sampler is not None:
            order = checked_indices(self._sampler, rng, n)
        elif self._shuffle:
            order = rng.permutation(n)
        else:
            return None, bounds
        return source.indices(order), bounds

    def _make(self, seed: int, epoch: int, number: int, part: Any) -> Batch:
        if self._part is None:
            return self._read(part, number, epoch, _generator(seed, epoch, number))
        rank, size = self._part
        if isinstance(part, slice):
            part = range(self._source.length or 0)[part]
        own = part[rank::size]
        rng = _generator(seed, epoch, number, *[rank] * (rank > 0))
        batch = self._read(own if len(own) else part[:1], number, epoch, rng)
        return batch if len(own) else tuple([array[:0] for array in batch])

    def _read(self, part: Any, number: int, epoch: int, rng: np.random.Generator) -> Batch:
        where = f"batches: batch {number + 1} of epoch {epoch + 1}"  # from 1, as in the errors of `fit`
        if isinstance(part, range):
            part = slice(part.start, part.stop, part.step)
        batch = self._source.take(part, where, writable=self._transform is not None)
        if self._transform is None:
            return batch
        try:
            result = self._transform(batch, rng)
        except MemoryError:
            raise
        except Exception as error:
            raise BatchError(f"{where}: transform: {type(error).__name__}: {error}") from error
        result = tuple(result) if isinstance(result, tuple | list) else (result,)
        if not result or not all(hasattr(a, "shape") and hasattr(a, "dtype") for a in result):
            raise TypeError(f"{where}: transform returned {shown(result)}, expected arrays: return (x, y)")
        return result


def _generator(seed: int, epoch: int, *batch: int) -> np.random.Generator:
    """The generator of an epoch, or of a batch in it; that of epoch 0 is `default_rng(seed)`."""
    return np.random.default_rng(np.random.SeedSequence([seed, epoch], spawn_key=batch))
