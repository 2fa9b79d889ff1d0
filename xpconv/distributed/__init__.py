"""Training in several processes: `mpiexec -n 4 python3 train.py`, one for each device or some CPU cores.

`train.fit` and the command line need no change. In a loop of your own, `parallel` averages the gradients, and
`share` gives each process its samples of a batch. Needs mpi4py and an MPI: `pip install mpi4py mpich` brings
both. With `XPCONV_DISTRIBUTED=0` each process that mpiexec starts is by itself, as for a search of settings.
"""

from .communicator import Communicator
from .parallel import parallel
from .sharing import share

__all__ = ["Communicator", "parallel", "share"]
