"""The processes that `mpiexec` started: how many, which one this is, and that all do the same."""

from __future__ import annotations

import atexit
import os
import sys
from typing import Any

from ..errors import DistributedError
from .waiting import started_mpi

SIZES = "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE"  # of MPICH and others like it, Open MPI, …
SWITCH = "XPCONV_DISTRIBUTED"  # 0: each process is independent
LENGTH = 512  # bytes of what a process says it is about to do
ENDS = "has ended"


def launched() -> bool:
    """Whether `mpiexec` started several processes, and `XPCONV_DISTRIBUTED` is not 0.

    Raises:
        DistributedError: (a RuntimeError) `torchrun` started them, or another with its variables.
    """
    switch = os.environ.get(SWITCH, "").strip()
    if switch not in ("", "0", "1"):
        raise ValueError(f"environment variable {SWITCH} is {switch!r}, expected 0 or 1")
    if switch == "0":
        return False
    if any(_number(name) > 1 for name in SIZES) or "PMIX_RANK" in os.environ:
        return True
    if "RANK" in os.environ and _number("WORLD_SIZE") > 1:
        size = _number("WORLD_SIZE")
        raise DistributedError(
            f"xpconv.distributed: this is one of {size} processes (WORLD_SIZE) of torchrun or the like, and "
            f"the exchange here is by MPI; start them by `mpiexec -n {size} python3 …`, or set "
            f"{SWITCH}=0 to make each process independent"
        )
    return False


def _number(name: str) -> int:
    text = os.environ.get(name, "")
    return int(text) if text.isdecimal() else 0


class Processes:
    """All processes of the program, by MPI. Alone there is one, and MPI is not used."""

    rank: int
    size: int

    def __init__(self) -> None:
        self.rank, self.size = 0, 1
        self.mpi: Any = None
        self._broken = False
        if not launched():
            return
        try:
            MPI = started_mpi()
        except ImportError as cause:
            raise ImportError(
                "xpconv.distributed: mpiexec started several processes, which need mpi4py; pip install "
                f"mpi4py, or set {SWITCH}=0 to make each process independent"
            ) from cause
        self.mpi, world = MPI, MPI.COMM_WORLD
        self.rank, self.size = int(world.Get_rank()), int(world.Get_size())
        started = max(map(_number, SIZES))
        if self.size == 1 < started:
            raise DistributedError(
                f"xpconv.distributed: mpiexec started {started} processes, but mpi4py sees one: it is of "
                f"another MPI ({MPI.Get_library_version().splitlines()[0]}); start by the mpiexec of that one"
            )
        if self.size > 1:
            atexit.register(self._leave)

    def meet(self, action: str, flag: bool = False) -> bool:
        """Wait until all processes are about to do `action`; whether one of them has the flag.

        Such a meeting precedes what processes do together. So processes that do different things, or have
        ended, are an error in all of them, where MPI or NCCL would wait for ever.

        Raises:
            DistributedError: (a RuntimeError) another process is about to do something else, or has ended.
        """
        if self.size == 1:
            return flag
        if self._broken:
            raise DistributedError(f"{action}: the processes are no longer together, after an earlier error")
        texts, flags = self._exchange(action, flag)
        if any(text != texts[0] for text in texts):
            self._broken = True
            raise DistributedError(f"the processes differ: {_listed(texts)}")
        return any(flags)

    def _exchange(self, action: str, flag: bool) -> tuple[list[str], list[bool]]:
        own = bytes([flag]) + action.encode()[: LENGTH - 1].ljust(LENGTH - 1, b"\0")
        found = bytearray(LENGTH * self.size)
        self.mpi.COMM_WORLD.Allgather([own, self.mpi.BYTE], [found, self.mpi.BYTE])
        parts = [found[i : i + LENGTH] for i in range(0, len(found), LENGTH)]
        return [p[1:].rstrip(b"\0").decode(errors="replace") for p in parts], [bool(p[0]) for p in parts]

    def _leave(self) -> None:
        """At the end of this process: notify the others, and fail if they continue without it."""
        if self._broken or self.mpi.Is_finalized():
            return
        error = getattr(sys, "last_value", None)
        reason = "" if error is None else f" by {type(error).__name__}: {error}"
        texts, _ = self._exchange(ENDS + reason, False)
        going_on = [text for text in texts if not text.startswith(ENDS)]
        if not going_on or error is not None:
            return
        print(f"xpconv.distributed: the processes differ: {_listed(texts)}", file=sys.stderr)
        sys.stdout.flush()
        sys.stderr.flush()
        self.mpi.Finalize()  # waits until the others have raised their errors
        os._exit(1)  # an exception in a function of atexit would not change the exit status


def _listed(texts: list[str]) -> str:
    """What the processes do, those that do the same together."""
    ranks: dict[str, list[int]] = {}
    for rank, text in enumerate(texts):
        ranks.setdefault(text, []).append(rank)
    return "; ".join(
        f"rank{'s' * (len(some) > 1)} {', '.join(map(str, some[:8]))}{', …' * (len(some) > 8)}: {text}"
        for text, some in ranks.items()
    )


_processes: Processes | None = None


def processes() -> Processes:
    """The processes of this program."""
    global _processes
    if _processes is None:
        _processes = Processes()
    return _processes
