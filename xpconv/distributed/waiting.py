"""The beginning of MPI, which waits for all processes: an error if one of them has ended before."""

from __future__ import annotations

import ctypes
import os
import sys
import time
from pathlib import Path
from threading import Event, Thread
from typing import Any

POLL = 0.5  # seconds between two checks of the other processes
NOTICE = 60.0  # seconds until a message says what a process waits for
LAUNCHERS = "hydra", "mpiexec"  # of MPICH and those like it: the beginnings of their processes' names


def started_mpi() -> Any:
    """The module `mpi4py.MPI`, after MPI has begun in all processes.

    MPI_Init returns when all processes have called it. It is called without Python's lock, so that a thread
    can look at the other processes meanwhile.
    """
    import mpi4py

    usual = mpi4py.rc.initialize
    mpi4py.rc.initialize = False
    if mpi4py.rc.finalize is None:
        mpi4py.rc.finalize = usual
    try:
        from mpi4py import MPI
    finally:
        mpi4py.rc.initialize = usual
    if not MPI.Is_initialized():
        begun = Event()
        Thread(target=_watch, args=(begun,), name="xpconv MPI_Init", daemon=True).start()
        try:
            # mpi4py itself would keep the lock; the functions are those of the MPI that it is linked with
            init = getattr(ctypes.CDLL(MPI.__file__), "MPI_Init_thread", None)
            level = ctypes.c_int(MPI.THREAD_MULTIPLE)
            if init is None:
                MPI.Init_thread()
            else:
                init(None, None, level, ctypes.byref(level))
        finally:
            begun.set()
    return MPI


def _watch(begun: Event) -> None:
    """End this process if one that it waits for has ended; MPI_Init can be left in no other way."""
    start, before, noted = time.monotonic(), [""], False
    while not begun.wait(POLL):
        ended = ended_here()
        if ended and ended == before:  # twice: the processes do not begin at the same moment
            _say(f"{' and '.join(ended)} ended before making a Communicator, which all processes must make")
            os._exit(1)  # mpiexec ends the others then
        before = ended
        if not noted and time.monotonic() - start > NOTICE:
            noted = True
            _say(
                f"still waiting, after {NOTICE:.0f} s, until all processes make a Communicator; if one has "
                "ended, end this program"
            )


def _say(text: str) -> None:
    sys.stdout.flush()
    print(f"xpconv.distributed: {text}", file=sys.stderr, flush=True)


def ended_here(processes: Path = Path("/proc")) -> list[str]:
    """Those processes of the program that mpiexec started on this machine and that have ended.

    Known on Linux with MPICH, whose variables number the processes of a machine; else there are none.
    """
    count = os.environ.get("MPI_LOCALNRANKS", "")
    if not count.isdecimal():
        return []
    parents: dict[int, int] = {}
    places: dict[int, str] = {}
    for folder in processes.glob("[0-9]*"):
        try:
            state, parent = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()[:2]
            if state in "ZX":  # it has ended
                continue
            parents[int(folder.name)] = int(parent)
            variables = (folder / "environ").read_bytes().split(b"\0")
        except OSError:  # it has just ended, or belongs to another user
            continue
        for variable in variables:
            if variable.startswith(b"MPI_LOCALRANKID="):
                places[int(folder.name)] = variable.partition(b"=")[2].decode()
    top = _launcher(os.getpid(), parents, places)
    try:
        if not (processes / str(top) / "comm").read_text().startswith(LAUNCHERS):
            return []  # such as in a container of its own, where the others are not seen
    except OSError:
        return []
    alive = {place for pid, place in places.items() if _launcher(pid, parents, places) == top}
    missing = [str(i) for i in range(int(count)) if str(i) not in alive]
    if os.environ.get("PMI_SIZE") == count:
        return [f"rank {i}" for i in missing]
    return [f"process {i} of the {count} on this machine" for i in missing]


def _launcher(pid: int, parents: dict[int, int], places: dict[int, str]) -> int:
    """The nearest ancestor that is not itself one of the processes that were started, or 0."""
    while pid in places:
        pid = parents.get(pid, 0)
    return pid
