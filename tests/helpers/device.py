"""`xp.cuda` of the double: streams and CUDA graphs, as far as they can be represented by NumPy.

    with device.present() as cuda: ...    # cuda.log: what was done on streams, in order

While a graph is recorded, nothing is computed as far as anybody can see: what is written then is put back when
the recording ends, and new arrays hold NaN. A launch computes all of it in the same memory. Refused, as by CUDA
and CuPy, is all that waits for the device, copies from the host, or calls CuPy's own cuBLAS; and an error that
passes ends the recording. Stricter than CUDA: a launch is refused if memory that the graph knows, and that was
not allocated in its recording, is no longer in use.
"""

import types
import weakref
from contextlib import contextmanager, nullcontext
from unittest import mock

import double
import emulation
import numpy as np

from xpconv.kernels.cupy import cudnn, recorder

LAUNCH = emulation.RawKernel.__call__


class CUDARuntimeError(RuntimeError):
    pass


def _root(array):
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


def _as_arrays(result):
    """NumPy's scalars as arrays, which they are on a device."""
    if type(result) in (tuple, list):
        return type(result)(map(_as_arrays, result))
    return np.asarray(result) if isinstance(result, np.generic) else result


class _Outside:
    """An array in memory that a graph knows but does not own."""

    def __init__(self, array):
        root = _root(array)
        self._root = weakref.ref(root)
        offset = array.__array_interface__["data"][0] - root.__array_interface__["data"][0]
        self._view = array.shape, array.strides, array.dtype, offset

    def array(self):
        root = self._root()
        if root is None:
            raise AssertionError("a graph uses memory that was freed after its recording")
        shape, strides, dtype, offset = self._view
        flat = root.reshape(-1, order="A" if root.flags.forc else "C").view(np.uint8)
        return np.ndarray(shape, dtype, flat, offset, strides) if flat.size else np.empty(shape, dtype)


class Recording:
    """The operations between `begin_capture` and `end_capture`."""

    def __init__(self):
        self.steps, self.failed = [], False
        self._own, self._before = (
            {},
            [],
        )  # ids of roots of new arrays; copies of arrays before they were written

    def refuse(self, what):
        self.failed = True
        raise CUDARuntimeError(f"operation not permitted when stream is capturing: it {what}")

    def perform(self, function, args, options):
        given = [a for a in (*args, *options.values()) if isinstance(a, np.ndarray)]
        given += [
            a for many in args if type(many) in (list, tuple) for a in many if isinstance(a, np.ndarray)
        ]
        self._keep(given)
        with np.errstate(all="ignore"):
            result = _as_arrays(function(*args, **options))
        new = [r for r in self._arrays(result) if not any(np.may_share_memory(r, a) for a in given)]
        for array in new:
            self._own[id(_root(array))] = _root(array)
        if new or result is None or options.get("out") is not None:  # else views
            step = function, self._referred(args), self._referred(options), result if new else None
            self.steps.append(step)
        return result

    def launch(self, kernel, grid, block, args):
        """A kernel, whose arguments are the double's arrays, numbers and structs."""
        places = [i for i, a in enumerate(args) if isinstance(a, double.ndarray)]
        arrays = [args[i]._a for i in places]
        self._keep(arrays)

        def run(*arrays):
            given = list(args)
            for i, array in zip(places, arrays, strict=True):
                given[i] = double._wrap(array)
            LAUNCH(kernel, grid, block, given)

        run(*arrays)
        args = [None if i in places else a for i, a in enumerate(args)]  # `run` holds no array of others
        self.steps.append((run, self._referred(arrays), {}, None))

    def _keep(self, arrays):
        self._before += [(a, a.copy()) for a in arrays if a.flags.writeable]

    @staticmethod
    def _arrays(result):
        many = result if isinstance(result, (tuple, list)) else [result]
        return [r for r in many if isinstance(r, np.ndarray)]

    def _referred(self, value):
        """`value`, with what stands for arrays that are not the recording's."""
        if isinstance(value, np.ndarray):
            return value if id(_root(value)) in self._own else _Outside(value)
        if type(value) is dict:
            return {k: self._referred(v) for k, v in value.items()}
        return type(value)(map(self._referred, value)) if type(value) in (list, tuple) else value

    def end(self):
        for array, before in reversed(self._before):
            array[...] = before
        for array in self._own.values():
            double._unset(array)
        self._before = []

    def run(self):
        for function, args, options, result in self.steps:
            with np.errstate(all="ignore"):
                found = _as_arrays(function(*_present(args), **_present(options)))
            if result is not None:
                for new, own in zip(self._arrays(found), self._arrays(result), strict=True):
                    own[...] = new


def _present(value):
    if isinstance(value, _Outside):
        return value.array()
    if type(value) is dict:
        return {k: _present(v) for k, v in value.items()}
    return type(value)(map(_present, value)) if type(value) in (list, tuple) else value


class Products:
    """cuBLAS for a graph."""

    alive = 0
    closed = ()  # for each one that was closed, whether that was during a recording

    def __init__(self, xp):
        Products.alive += 1

    def close(self):
        Products.alive -= 1
        Products.closed = (*Products.closed, double.recording is not None)

    def multiply(self, a, b, y):
        double._perform(np.matmul, a._a, b._a, out=y._a)
        return y


def _cuda(log):
    class Event(str):
        def synchronize(self):
            log.append("host waits")

    class Graph:
        launched = 0

        def __init__(self, recorded):
            self.recorded = recorded

        def launch(self, stream):
            log.append(f"launch on {stream.name}")
            if double.recording is not None:
                double.recording.refuse("launches a graph")
            self.launched += 1
            self.recorded.run()

    streams = []  # those that are current, the latest last

    class Stream:
        def __init__(self, name="own", non_blocking=False):
            self.name, self.ptr = name, id(self)

        def __enter__(self):
            log.append(f"enter {self.name}")
            streams.append(self)

        def __exit__(self, *_):
            log.append(f"leave {self.name}")
            streams.pop()

        def record(self):
            return Event(self.name)

        def wait_event(self, event):
            log.append(f"{self.name} waits for {event}")

        def synchronize(self):
            if double.recording is not None:
                double.recording.refuse("waits for the device")
            log.append("synchronize")

        def begin_capture(self):
            double.recording = Recording()

        def end_capture(self):
            found, double.recording = double.recording, None
            found.end()
            if found.failed:
                raise CUDARuntimeError("the capture is invalid")
            return Graph(found)

    class MemoryPool:
        used = 1  # bytes that arrays still have

        def __init__(self, allocator):
            self.malloc = allocator

        def free_all_blocks(self):
            log.append("pool emptied")

        def total_bytes(self):
            return self.used

    def memory(size):
        raise CUDARuntimeError("out of memory")

    streams.append(Stream("caller"))
    return types.SimpleNamespace(
        Stream=Stream, MemoryPool=MemoryPool, Memory=memory, MemoryPointer=None, get_current_stream=lambda: streams[-1],
        Device=lambda: types.SimpleNamespace(id=0), alloc_pinned_memory=bytearray,
        using_allocator=lambda malloc: nullcontext(), runtime=types.SimpleNamespace(CUDARuntimeError=CUDARuntimeError),
    )  # fmt: skip


@contextmanager
def present():
    """Within this block the double has `cuda`."""
    log = []

    def launch(kernel, *args):
        return LAUNCH(kernel, *args) if double.recording is None else double.recording.launch(kernel, *args)

    cuda = _cuda(log)
    with (
        mock.patch.object(emulation.RawKernel, "__call__", launch),
        mock.patch.object(recorder, "Products", Products),
        mock.patch.object(cudnn, "frontend", return_value=None),
        mock.patch.object(recorder, "_pools", []),
        mock.patch.dict(vars(double.xp), cuda=cuda),
        mock.patch.object(Products, "alive", 0),
        mock.patch.object(Products, "closed", ()),
    ):
        try:
            yield types.SimpleNamespace(log=log, Stream=cuda.Stream, MemoryPool=cuda.MemoryPool)
        finally:
            double.recording = None
