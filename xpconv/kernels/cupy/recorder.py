"""Recording of CUDA graphs, and the stream, the memory and the cuBLAS handle that they need.

While one is recorded, no other may be destroyed: that waits for the device, which ends the recording. The
garbage collector may come at any time, so what is to be destroyed then waits in a list.
"""

from __future__ import annotations

import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

from .. import graph
from .gemm import Products

_recording = threading.Lock()  # held by the one thread that records, or destroys
_dead: list[dict[str, Any]] = []  # what recorders that are gone had
_pools: list[Any] = []  # theirs: a CuPy pool holds its memory until it is freed explicitly


class Graph(NamedTuple):
    """A recorded graph, and what it needs on the host."""

    launches: Any
    recording: graph.Recording

    def launch(self, stream: Any) -> None:
        """Run it on `stream`."""
        for callback in self.recording.callbacks:
            callback()
        self.launches.launch(stream)


class Recorder:
    """Records graphs that run one after the other, never at the same time: they share memory.

    What a graph allocates comes from one pool, which lives as long as an array of it is in use.
    """

    def __init__(self, xp: Any) -> None:
        self.xp = xp
        _destroy_dead()
        self.has_graphs = False
        self.stream = xp.cuda.Stream(non_blocking=True)
        self.pool = xp.cuda.MemoryPool(_allocator(xp.cuda, weakref.ref(self)))
        self._latest: Any = None  # the stream of the latest launch
        with self.active():
            self.products = Products(xp)

    @contextmanager
    def active(self) -> Iterator[None]:
        """Within this block, work goes to the recorder's stream and takes its memory from the pool.

        It comes after what was launched on the caller's stream before, and before what will be afterwards.
        """
        cuda = self.xp.cuda
        caller = cuda.get_current_stream()
        self.stream.wait_event(caller.record())
        try:
            with self.stream, cuda.using_allocator(self.pool.malloc):
                yield
        finally:
            caller.wait_event(self.stream.record())

    def record(self, function: Callable[[], Any]) -> tuple[Graph, Any]:
        """What `function` launches as a graph, and what it returns; call this within `active`.

        Nothing runs on the device. A table that is missing, a synchronisation and the like are errors of
        several kinds; the recording has ended then.
        """
        if graph.capturing():
            raise RuntimeError("a graph is being recorded already, and a graph cannot contain another")
        recording = graph.Recording(self.products)
        token = graph.recording.set(recording)
        try:
            with _recording:
                self.stream.begin_capture()
                try:
                    result = function()
                except BaseException:
                    with suppress(self.xp.cuda.runtime.CUDARuntimeError):  # the recording has failed
                        self.stream.end_capture()
                    raise
                launches = self.stream.end_capture()
        finally:
            graph.recording.reset(token)
            _destroy_dead()
        self.has_graphs = True
        return Graph(launches, recording), result

    def follow(self) -> None:
        """Let the current stream wait for the graphs that were launched on others."""
        stream = self.xp.cuda.get_current_stream()
        if self._latest is not None and self._latest.ptr != stream.ptr:
            stream.wait_event(self._latest.record())
        self._latest = stream

    def launch(self, made: Graph) -> None:
        """Run a graph on the current stream, after `follow`."""
        made.launch(self._latest)

    def __del__(self) -> None:
        if sys.is_finalizing():
            return
        _dead.append(dict(vars(self)))
        vars(self).clear()
        _destroy_dead()


def _destroy_dead() -> None:
    """Destroy what recorders that are gone had, and free unused memory; not during a recording."""
    if not _recording.acquire(blocking=False):
        return  # the recording does it at its end
    try:
        while _dead:
            parts = _dead.pop()
            if "products" in parts:
                parts.pop("products").close()
            if "pool" in parts:
                _pools.append(parts.pop("pool"))
        for pool in _pools[:]:
            pool.free_all_blocks()
            if not pool.total_bytes():
                _pools.remove(pool)
    finally:
        _recording.release()


def _allocator(cuda: Any, owner: Any) -> Callable[[int], Any]:
    """The allocator of a recorder's pool.

    If memory runs out, the pool frees the blocks that no array uses, and asks again. It must not if graphs
    use them, or in a recording: so that is another error to it.
    """

    def allocate(size: int) -> Any:
        try:
            return cuda.MemoryPointer(cuda.Memory(size), 0)
        except cuda.runtime.CUDARuntimeError as cause:
            recorder = owner()
            if not graph.capturing() and not (recorder is not None and recorder.has_graphs):
                raise
            raise RuntimeError(f"no memory for {size} bytes in the graph; use a smaller batch") from cause

    return allocate
