"""Recording of CUDA graphs, and the stream, the memory and the cuBLAS handle that they need.

While one graph is recorded, no other graph may be destroyed: that synchronises with the device, which breaks
the recording. Since the garbage collector may run at any time, objects to destroy are put into a list, which
is emptied outside of recordings.
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

_recording = threading.Lock()  # held by the thread that records or destroys
_dead: list[dict[str, Any]] = []  # the attributes of deleted recorders, to be destroyed
_pools: list[Any] = []  # pools of deleted recorders: CuPy frees their memory only when asked


class Graph(NamedTuple):
    """A recorded graph, and the callbacks and objects on the host that it needs."""

    launches: Any
    recording: graph.Recording

    def launch(self, stream: Any) -> None:
        """Launch the graph on `stream`, after its callbacks on the host."""
        for callback in self.recording.callbacks:
            callback()
        self.launches.launch(stream)


class Recorder:
    """Records graphs, which share memory, so they run one after the other and never at the same time.

    Their arrays come from one pool, which exists as long as one of its arrays is in use.
    """

    has_graphs: bool

    def __init__(self, xp: Any) -> None:
        self.xp = xp
        _destroy_dead()
        self.has_graphs = False
        self.stream: Any = xp.cuda.Stream(non_blocking=True)
        self.pool: Any = xp.cuda.MemoryPool(_allocator(xp.cuda, weakref.ref(self)))
        self._latest: Any = None  # the stream of the last launch
        with self.active():
            self.products: Products = Products(xp)

    @contextmanager
    def active(self) -> Iterator[None]:
        """Within this block, the current stream and memory pool are the recorder's.

        The block's work runs after earlier work on the caller's stream, and before later work there.
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
        """Record what `function` launches; return the graph and its result. Call this within `active`.

        Nothing runs on the device. A copy from the host, a synchronisation and the like raise errors of
        various types, after which the recording has ended.
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
                    with suppress(self.xp.cuda.runtime.CUDARuntimeError):  # it may have failed
                        self.stream.end_capture()
                    raise
                launches = self.stream.end_capture()
        finally:
            graph.recording.reset(token)
            _destroy_dead()
        self.has_graphs = True
        return Graph(launches, recording), result

    def follow(self) -> None:
        """Let the current stream wait for graphs that were launched on other streams."""
        stream = self.xp.cuda.get_current_stream()
        if self._latest is not None and self._latest.ptr != stream.ptr:
            stream.wait_event(self._latest.record())
        self._latest = stream

    def launch(self, made: Graph) -> None:
        """Launch a graph on the current stream; call `follow` first."""
        made.launch(self._latest)

    def __del__(self) -> None:
        if sys.is_finalizing():
            return
        _dead.append(dict(vars(self)))
        vars(self).clear()
        _destroy_dead()


def _destroy_dead() -> None:
    """Destroy the attributes of deleted recorders and free unused memory, unless a recording runs."""
    if not _recording.acquire(blocking=False):
        return  # `record` calls this again at its end
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

    After CuPy's out-of-memory error, the pool would free the blocks that no array uses, and try again. It
    must not do so during a recording, or if graphs use these blocks. So the error has another type then.
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
