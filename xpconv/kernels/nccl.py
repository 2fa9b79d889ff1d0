"""All-reduce on GPUs by NCCL, if each process has a device of its own."""

from __future__ import annotations

import socket
from typing import Any

from ..backend import Array

_started: dict[str, Any] = {}


class Nccl:
    """An NCCL communicator. Not one call of it has run on a device yet."""

    def __init__(self, xp: Any, processes: Any) -> None:
        self._xp, self._nccl = xp, xp.cuda.nccl
        unique = processes.from_first(self._nccl.get_unique_id() if processes.rank == 0 else None)
        self._communicator = self._nccl.NcclCommunicator(processes.size, unique, processes.rank)
        self._types = {"float32": self._nccl.NCCL_FLOAT32, "float64": self._nccl.NCCL_FLOAT64}

    def sum(self, array: Array) -> None:
        """The sum over all processes, in place, on the current stream."""
        place, stream = array.data.ptr, self._xp.cuda.get_current_stream().ptr
        kind = self._types[str(array.dtype)]
        self._communicator.allReduce(place, place, array.size, kind, self._nccl.NCCL_SUM, stream)


def nccl_of(xp: Any, processes: Any) -> Nccl | None:
    """NCCL for the array module of a GPU; None where it is missing or two processes share a device."""
    name = xp.__name__
    if name not in _started:
        there = getattr(getattr(xp.cuda, "nccl", None), "available", False)
        device = f"{socket.gethostname()} {xp.cuda.Device().pci_bus_id}" if there else None
        devices = processes.of_all(device)
        usable = None not in devices and len(set(devices)) == len(devices)
        _started[name] = Nccl(xp, processes) if usable else None
    found: Nccl | None = _started[name]
    return found
