"""The beginning of several processes: one that ends before it, and launchers without MPI."""

import os
import sys

import process
import pytest
import ranks

from xpconv import cores, distributed
from xpconv.distributed import processes, waiting
from xpconv.errors import DistributedError

EARLY = """
import os, sys
import numpy as np
import xpconv

if os.environ["PMI_RANK"] == "1":
    BODY
model = xpconv.Dense(2, 1)
xpconv.distributed.parallel(model, xpconv.SGD(model.parameters(), lr=0.1))
sys.stdout.write("went on\\n")
"""

# The first process leaves a file when it has said that it waits; the other one takes its time until then.
NOTED = """
import xpconv
from xpconv.distributed import waiting

def say(text, say=waiting._say):
    say(text)
    open("said", "w").close()

waiting.NOTICE, waiting._say = 1.0, say
"""
LATE = """
    import time
    waiting.NOTICE = 1e9
    while not os.path.exists("said"):
        time.sleep(0.05)
"""


@pytest.fixture
def mpi():
    pytest.importorskip("mpi4py")
    if ranks.mpiexec() is None or not sys.platform.startswith("linux"):
        pytest.skip("there is no mpiexec, or no /proc")


@pytest.mark.usefixtures("mpi")
@pytest.mark.slow
@pytest.mark.parametrize("body", ["open('missing')", "sys.exit(0)", "sys.exit(3)"])
def test_a_process_that_ends_before_the_first_communicator(tmp_path, body):
    done = ranks.run(tmp_path, EARLY.replace("BODY", body))
    assert done.returncode != 0
    assert "xpconv.distributed: rank 1 ended before making a Communicator" in done.stderr
    assert "went on" not in done.stdout


@pytest.mark.slow
@pytest.mark.usefixtures("mpi")
def test_processes_that_take_their_time(tmp_path):
    """Within shells, which mpiexec started in their place; a message says what the first one waits for."""
    (tmp_path / "program.py").write_text(EARLY.replace("import xpconv\n", NOTED, 1).replace("BODY", LATE))
    command = [ranks.mpiexec(), "-n", "2", "sh", "-c", f"{sys.executable} program.py; exit $?"]
    done = process.run(command, env=process.environment(PYTHONPATH=str(ranks.ROOT)), cwd=tmp_path)
    assert done.stdout.count("went on") == 2
    assert done.stderr.count("still waiting, after 1 s") == 1
    assert "ended" not in done.stderr.replace("if one has ended", "")


def table(folder, rows):
    for pid, parent, name, state, place in rows:
        one = folder / str(pid)
        one.mkdir()
        (one / "stat").write_text(f"{pid} (a) b) {state} {parent} 1")
        (one / "comm").write_text(name + "\n")
        variables = [b"A=1"] + ([f"MPI_LOCALRANKID={place}".encode()] if place is not None else [])
        (one / "environ").write_bytes(b"\0".join(variables))
    (folder / "self").mkdir()


def test_which_processes_have_ended(tmp_path, monkeypatch):
    own = os.getpid()
    rows = [
        (1, 0, "init", "S", None), (own + 1, 1, "hydra_pmi_proxy", "S", None), (own, own + 1, "python3", "S", 0),
        (own + 3, own + 1, "sh", "S", 1), (own + 4, own + 3, "python3", "R", 1), (own + 5, own + 1, "python3", "Z", 2),
        (own + 6, 1, "hydra_pmi_proxy", "S", None), (own + 7, own + 6, "python3", "S", 3),  # of another program
    ]  # fmt: skip
    table(tmp_path, rows)
    for name in ("MPI_LOCALNRANKS", "PMI_SIZE"):
        monkeypatch.delenv(name, raising=False)
    assert waiting.ended_here(tmp_path) == []  # another MPI
    monkeypatch.setenv("MPI_LOCALNRANKS", "4")
    monkeypatch.setenv("PMI_SIZE", "4")
    assert waiting.ended_here(tmp_path) == ["rank 2", "rank 3"]
    monkeypatch.setenv("PMI_SIZE", "8")
    assert waiting.ended_here(tmp_path)[0] == "process 2 of the 4 on this machine"
    monkeypatch.setenv("MPI_LOCALNRANKS", "2")
    assert waiting.ended_here(tmp_path) == []


def test_a_container_does_not_show_the_others(tmp_path, monkeypatch):
    monkeypatch.setenv("MPI_LOCALNRANKS", "2")
    assert waiting.ended_here(tmp_path / "none") == []
    table(tmp_path, [(1, 0, "tini", "S", None), (os.getpid(), 1, "python3", "S", 0)])
    assert waiting.ended_here(tmp_path) == []


@pytest.fixture
def plain(monkeypatch):
    for name in (*processes.SIZES, "PMIX_RANK", processes.SWITCH, "RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def test_torchrun_is_refused(plain):
    plain.setenv("WORLD_SIZE", "4")
    assert not processes.launched()  # some cluster's variable
    plain.setenv("RANK", "3")
    with pytest.raises(
        DistributedError, match=r"one of 4 processes .* `mpiexec -n 4 python3 …`, or set XPCONV_"
    ):
        processes.launched()
    plain.setattr(processes, "_processes", None)
    with pytest.raises(DistributedError, match="torchrun"):
        distributed.Communicator()
    plain.setenv("XPCONV_DISTRIBUTED", "0")
    assert distributed.Communicator().size == 1
    plain.setenv("XPCONV_DISTRIBUTED", "1")
    plain.setenv("PMI_SIZE", "4")  # mpiexec, with the variables for a library that needs them
    assert processes.launched()
    for name in ("WORLD_SIZE", "PMI_SIZE"):
        plain.setenv(name, "1")
    assert not processes.launched()


def test_threads_are_divided_among_those_of_torchrun(plain):
    for name in ("XPCONV_NUM_THREADS", "OMP_NUM_THREADS", "MPI_LOCALNRANKS", "OMPI_COMM_WORLD_LOCAL_SIZE"):
        plain.delenv(name, raising=False)
    plain.setattr(cores, "cores", lambda: 8)
    plain.setenv("LOCAL_WORLD_SIZE", "4")
    assert cores.count_from_environment() == (2, "")
