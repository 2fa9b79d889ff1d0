"""Processes that differ: an error in all of them, within seconds."""

import pytest
import ranks

pytest.importorskip("mpi4py")
if ranks.mpiexec() is None:
    pytest.skip("there is no mpiexec", allow_module_level=True)

BEGIN = """
import sys
import numpy as np
import xpconv
from xpconv import distributed
from xpconv.distributed import Communicator

c = Communicator()
rank = c.rank

def make(*more):
    return xpconv.Sequential(xpconv.Dense(4, 3, rng=0), xpconv.ReLU(), *more, xpconv.Dense(3, 2, rng=0))

loss = xpconv.MSELoss()

def step(model, optimizer, n=2):
    x = np.ones((n, 4), "float32")
    loss(model(x), np.ones((n, 2), "float32"))
    optimizer.zero_grad()
    model.backward(loss.backward(), input_grad=False)
    optimizer.step()

def started(model):
    optimizer = xpconv.SGD(model.parameters(), lr=0.1)
    distributed.parallel(model, optimizer)
    return optimizer

def reports(function, *args):
    try:
        function(*args)
    except xpconv.errors.DistributedError as error:
        sys.stdout.write(f"[{rank}] {error}\\n")
        raise SystemExit(3)
"""

CAUGHT = {
    "layers": ("model = make(*[xpconv.Dense(3, 3)] * rank)\nreports(started, model)", "rank 1 has 2.weight: float32 (3, 3)"),
    "sizes": ("model = xpconv.Dense(4, 2 + rank)\nreports(started, model)", "rank 1 has weight: float32 (3, 4)"),
    "optimizer": (
        "model = make()\noptimizer = [xpconv.SGD, xpconv.Adam][rank](model.parameters(), lr=0.1)\nreports(distributed.parallel, model, optimizer)",
        "rank 1 has Adam",
    ),
    "rate": (
        "model = make()\noptimizer = xpconv.SGD(model.parameters(), lr=0.1 + rank)\nreports(distributed.parallel, model, optimizer)",
        "'lr': 1.1",
    ),
    "frozen": ("model = make()\nmodel[0].requires_grad_(rank == 0)\nreports(started, model)", "rank 1 has 0.weight is frozen"),
    "gradient": (
        "model = make()\noptimizer = started(model)\nmodel[0].weight.requires_grad = rank == 0\nreports(step, model, optimizer)",
        "rank 1: average the gradients without those of 0.weight",
    ),
    "shapes": ("reports(c.average, np.ones(3 + rank))", "rank 1: average an array of float64 (4,)"),
    "dtypes": ("reports(c.broadcast, np.ones(3, ['float32', 'int64'][rank]))", "rank 1: broadcast an array of int64 (3,)"),
    "calls": ("reports([c.average, c.broadcast][rank], np.ones(3))", "rank 1: broadcast an array"),
    "batches": (
        "data = xpconv.data.batches(np.ones((9 + rank, 4), 'float32'), 2)\nreports(distributed.share, data)",
        "'samples': 10",
    ),
}  # fmt: skip


@pytest.mark.sample(64)
@pytest.mark.parametrize("kind", CAUGHT)
def test_processes_that_differ(tmp_path, kind):
    code, text = CAUGHT[kind]
    done = ranks.run(tmp_path, BEGIN + code + "\nprint('no error')")
    assert "no error" not in done.stdout
    for rank in range(2):
        assert f"[{rank}] " in done.stdout, done.stderr
    assert done.stdout.count(text) == 2, done.stdout
    assert done.returncode != 0


ENDS = {
    "fewer batches": ("for _ in range(5 + rank): step(model, optimizer)", "rank 0: has ended"),
    "an exception": ("step(model, optimizer)\nif rank: raise KeyError('lost')\nstep(model, optimizer)", "has ended by KeyError: 'lost'"),
    "an exit": ("step(model, optimizer)\nif rank: sys.exit(5)\nstep(model, optimizer)", "rank 1: has ended"),
    "within a batch norm": ("if rank: raise ValueError('early')\nstep(model, optimizer)", "has ended by ValueError: early"),
    "one that goes on after an error": (
        "try:\n    c.average(np.ones(2 + rank))\nexcept RuntimeError:\n    step(model, optimizer)",
        "no longer together, after an earlier error",
    ),
}  # fmt: skip


@pytest.mark.sample(64)
@pytest.mark.parametrize("kind", ENDS)
def test_processes_that_end(tmp_path, kind):
    code, text = ENDS[kind]
    done = ranks.run(
        tmp_path, BEGIN + "model = make(xpconv.BatchNorm1d(3))\noptimizer = started(model)\n" + code
    )
    assert done.returncode != 0
    assert text in done.stderr
    assert "DistributedError" in done.stderr


@pytest.mark.slow
def test_processes_that_are_alike_end_well(tmp_path):
    done = ranks.run(
        tmp_path,
        BEGIN
        + "model = make()\noptimizer = started(model)\nstep(model, optimizer)\nsys.stdout.write('fine\\n')",
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("fine") == 2
