"""Copies of batches to a GPU while it computes: `xpconv.cuda.prefetch`."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..arguments import shown
from ..arrays import asarray, asnumpy
from ..backend import Array, backend_of
from .batches import Place
from .batches import batches as Batches


def prefetch(batches: Iterable[tuple[Any, ...]]) -> Iterator[tuple[Array, ...]]:
    """Copy batches from the host to the active backend, each while the previous one is being used.

    On a GPU, batches are copied through two pinned buffers on a separate stream. On NumPy, batches are
    returned as they are. Errors of the source are raised. The state of an `xpconv.data.batches` counts the
    batches that were returned here, not the one that is copied in advance.

    Args:
        batches: tuples of host arrays, such as `xpconv.data.batches(images, labels, 64)` of NumPy arrays.

    Example:
        >>> import numpy as np, xpconv
        >>> images, labels = np.zeros((5, 1, 28, 28), "float32"), np.zeros(5, "int64")
        >>> for x, y in xpconv.cuda.prefetch(xpconv.data.batches(images, labels, 2)):
        ...     print(x.shape, y.shape)
        (2, 1, 28, 28) (2,)
        (2, 1, 28, 28) (2,)
        (1, 1, 28, 28) (1,)
    """
    backend = backend_of()
    if not hasattr(backend.xp, "cuda"):
        for batch in _tuples(batches):
            yield tuple(asarray(x, backend=backend.name) for x in batch)
        return
    feed, source = _Feed(backend.xp), _tuples(batches)

    def send() -> list[tuple[Any, Any]]:
        return [(feed.send(batch), _place(batches)) for batch in itertools.islice(source, 1)]

    sent = send()
    try:
        while sent:
            error = None
            try:
                sent += send()
            except BaseException as raised:  # noqa: BLE001  # raised below: the batch before it comes first
                error = raised
            copies, place = sent.pop(0)
            batch = feed.received(*copies)
            with _placed(batches, place):
                yield batch
            if error is not None:
                raise error
    finally:  # if the loop ends early, the next user of the memory must wait for the copy
        for copies, _ in sent:
            feed.received(*copies)


def _place(batches: Any) -> Place | None:
    return batches._place if isinstance(batches, Batches) else None


@contextmanager
def _placed(batches: Any, place: Place | None) -> Iterator[None]:
    """Put the place of the latest loop over `batches` back to `place`, and on again when the block ends.

    An error leaves it there. Nothing changes if another loop has begun, or a state was loaded.
    """
    ahead = _place(batches)
    if (
        place is None
        or ahead is None
        or (ahead.loop is not place.loop and ahead != (place.epoch + 1, 0, None))
    ):
        yield
        return
    batches._place = place
    yield
    if batches._place is place:
        batches._place = ahead


def _tuples(batches: Any) -> Iterator[tuple[Any, ...]]:
    """Each batch as a tuple; a TypeError if it is not a tuple or list."""
    if not isinstance(batches, Iterable) or getattr(batches, "shape", None) == ():
        raise TypeError(f"prefetch: batches is {shown(batches)}, expected tuples of arrays, one a batch")
    for batch in batches:
        if not isinstance(batch, tuple | list):
            raise TypeError(f"prefetch: batches gave {shown(batch)}, expected tuples of arrays, one a batch")
        yield tuple(batch)


class _Feed:
    """Copies to a GPU on a separate stream, from two pinned buffers in turn."""

    def __init__(self, xp: Any) -> None:
        self._xp = xp
        self._stream = xp.cuda.Stream(non_blocking=True)
        # Buffers, each with the event after which they may be written again.
        self._slots: list[tuple[Any, list[Any]]] = [(None, []), (None, [])]

    def send(self, batch: tuple[Any, ...]) -> tuple[list[Array], Any]:
        """Begin to copy; returns the arrays and the event after which they hold the batch."""
        done, old = self._slots.pop(0)
        if done is not None:
            done.synchronize()  # the copy of two batches ago
        host = [asnumpy(x) for x in batch]
        pinned = [self._pinned(x, old[i] if i < len(old) else None) for i, x in enumerate(host)]
        arrays = [self._xp.empty(x.shape, dtype=x.dtype) for x in host]
        # A step in progress may still read this memory, so the copy waits for all kernels launched so far.
        self._stream.wait_event(self._xp.cuda.get_current_stream().record())
        for array, (_, view) in zip(arrays, pinned, strict=True):
            array.set(view, stream=self._stream)
        done = self._stream.record()
        self._slots.append((done, pinned))
        return arrays, done

    def received(self, arrays: list[Array], done: Any) -> tuple[Array, ...]:
        """The arrays, after the current stream has been made to wait for the copy."""
        self._xp.cuda.get_current_stream().wait_event(done)
        return tuple(arrays)

    def _pinned(self, x: np.ndarray, old: Any) -> tuple[Any, np.ndarray]:
        """Pinned memory with a copy of `x`, and a view of it; reuses `old` if that is large enough."""
        memory = old[0] if old is not None and len(old[0]) >= x.nbytes else bytearray()
        if not memory:
            memory = memoryview(self._xp.cuda.alloc_pinned_memory(max(1, x.nbytes)))
        view: np.ndarray = np.frombuffer(memory, x.dtype, x.size).reshape(x.shape)
        view[...] = x
        return memory, view
