"""Training in several processes: `mpiexec -n 4 python3 train.py`, one for each device or some CPU cores.

`train.fit` and the command line need no change. In a loop of your own, `parallel` averages the gradients, and
`share` gives each process its samples of a batch. Needs mpi4py and an MPI: `pip install mpi4py mpich`
installs both. With `XPCONV_DISTRIBUTED=0` the processes that mpiexec starts are independent, as for a search
of hyperparameters.
"""

from .communicator import Communicator
from .parallel import parallel
from .sharing import share

__all__ = ["Communicator", "parallel", "share"]
