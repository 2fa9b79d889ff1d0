"""`Communicator`: sums and copies of arrays over all processes."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from ..arguments import about, shown
from ..arrays import asarray, asnumpy
from ..backend import Array, backend_of
from ..dtypes import is_floating
from ..errors import BackendError, DTypeError
from ..kernels.graph import before_replay, capturing, hold
from ..kernels.nccl import nccl_of
from .processes import processes

__all__ = ["Communicator"]


class Communicator:
    """The processes of a program that `mpiexec -n 4 python3 train.py` started, and arrays that they share.

    Arrays on the host go by MPI. Those of CuPy go by NCCL, on the current stream and also within a captured
    step, if each process has a device of its own; else they are copied to the host and sent by MPI. A program
    that is started without mpiexec has one process, and needs neither. All processes must call the same
    methods in the same order: if they do not, or one of them ends, there is an error in all. Make one at the
    beginning of a program, before what can fail in a single process, such as reading files: MPI begins only
    when all processes have made one. Where one ends before that, the others on its machine end with an error
    too (on Linux with MPICH; Open MPI ends them itself); those on other machines wait.

    The processes of `torchrun` have no MPI, and are refused; `LOCAL_RANK` chooses a process's device, though.

    Attributes:
        rank: the number of this process, from 0.
        size: how many processes there are.

    Raises:
        ImportError: there are several processes, and mpi4py is missing.
        DistributedError: (a RuntimeError) mpiexec belongs to another MPI than mpi4py, or `torchrun` started
            the processes.

    Example:
        >>> import numpy as np
        >>> from xpconv.distributed import Communicator
        >>> communicator = Communicator()
        >>> communicator.rank, communicator.size
        (0, 1)
        >>> communicator.average(np.array([1.0, 2.0]))
        array([1., 2.])
    """

    rank: int
    size: int

    def __init__(self) -> None:
        self._processes = processes()
        self.rank, self.size = self._processes.rank, self._processes.size

    def average(self, array: Array) -> Array:
        """Replace an array, in place, by its mean over all processes, and return it.

        Args:
            array: of a floating dtype, and in all processes of the same shape and dtype. Sums of float16 and
                bfloat16 are in float32.

        Raises:
            DTypeError: (a TypeError) it has another dtype.
            TypeError, ValueError: it is a number, or read-only.
            DistributedError: (a RuntimeError) the shapes or dtypes differ, or other processes do something
                else. Nothing has changed then.
        """
        self._check_array("average", array)
        if not is_floating(array.dtype):
            raise DTypeError(f"Communicator.average: array is {array.dtype}, expected a floating dtype")
        self.meet(f"average an array of {array.dtype} {array.shape}")
        self._sum(array)
        array /= self.size
        return array

    def broadcast(self, array: Array) -> Array:
        """Replace an array, in place, by that of rank 0, and return it.

        Args:
            array: in all processes of the same shape and dtype.

        Raises:
            TypeError, ValueError: it is a number, or read-only.
            DistributedError: (a RuntimeError) the shapes or dtypes differ, or other processes do something
                else. Nothing has changed then.

        Example:
            >>> import numpy as np
            >>> from xpconv.distributed import Communicator
            >>> Communicator().broadcast(np.array([1, 2]))
            array([1, 2])
        """
        self._check_array("broadcast", array)
        self.meet(f"broadcast an array of {array.dtype} {array.shape}")
        if self.size > 1 and array.size:
            host = np.ascontiguousarray(asnumpy(array))
            self._mpi.COMM_WORLD.Bcast([host.reshape(-1).view("uint8"), self._mpi.BYTE])
            array[...] = asarray(host.reshape(array.shape), backend=backend_of(array).name)
        return array

    def meet(self, action: str, flag: bool = False) -> bool:
        """Wait until all processes are about to do the same; return whether one of them has the flag.

        Args:
            action: what this process is about to do, a text that is the same in all.
            flag: such as whether this process wants to stop.

        Raises:
            DistributedError: (a RuntimeError) other processes are about to do something else, or have ended.
                The text says which.

        Example:
            >>> from xpconv.distributed import Communicator
            >>> Communicator().meet("begin", flag=False)
            False
        """
        if self.size > 1 and capturing():
            before_replay(partial(self.meet, action))
        return self._processes.meet(action, flag)

    def total(self, array: Array, action: str) -> Array:
        """Replace a vector of float32 or float64, in place, by its sum over all processes, and return it."""
        self.meet(action)
        return self._sum(array)

    def rows(self, vector: Array, action: str) -> Array:
        """The vectors of all processes, as the rows of an array."""
        table = backend_of(vector).xp.zeros((self.size, vector.size), dtype=vector.dtype)
        table[self.rank] = vector
        return self.total(table, action)

    def from_first(self, value: Any) -> Any:
        """A small object that consists of numbers, texts, lists and dicts, as rank 0 has it."""
        return value if self.size == 1 else self._mpi.COMM_WORLD.bcast(value)

    def of_all(self, value: Any) -> list[Any]:
        """A small object of each process."""
        return [value] if self.size == 1 else list(self._mpi.COMM_WORLD.allgather(value))

    def start(self, array: Array) -> None:
        """Start NCCL for arrays like this one, outside of a captured step."""
        xp = backend_of(array).xp
        if self.size > 1 and hasattr(xp, "cuda"):
            nccl_of(xp, self)

    def _sum(self, array: Array) -> Array:
        if self.size == 1 or not array.size:
            return array
        xp: Any = backend_of(array).xp
        if array.dtype.itemsize < 4:
            array[...] = self._sum(array.astype("float32")).astype(array.dtype)
            return array
        if not array.flags.c_contiguous:
            array[...] = self._sum(xp.ascontiguousarray(array))
            return array
        nccl = nccl_of(xp, self) if hasattr(xp, "cuda") else None
        if nccl is not None:
            hold(array)
            nccl.sum(array)
        elif isinstance(array, np.ndarray):
            self._mpi.COMM_WORLD.Allreduce(self._mpi.IN_PLACE, array)
        else:
            array[...] = asarray(self._sum(asnumpy(array).copy()), backend=backend_of(array).name)
        return array

    def _check_array(self, name: str, array: Any) -> None:
        """An array that can be written to, as its values are replaced."""
        if isinstance(array, np.generic | float | int | complex):
            raise TypeError(
                f"Communicator.{name}: array is {shown(array)}, a number, which cannot be replaced in "
                f"place; give an array, e.g. xpconv.asarray([number])"
            )
        try:
            backend_of(array)
        except BackendError as error:
            raise BackendError(f"Communicator.{name}: array: {about('array', error)}") from None
        flags = getattr(array, "flags", None)
        if not getattr(flags, "writeable", True):
            raise ValueError(f"Communicator.{name}: array is read-only, and cannot be replaced; give a copy")

    @property
    def _mpi(self) -> Any:
        return self._processes.mpi

    def __reduce__(self) -> Any:
        return Communicator, ()  # a copy is that of the process which it is in
