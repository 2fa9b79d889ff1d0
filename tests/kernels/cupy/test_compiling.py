"""The first use of a dtype compiles several files at once; real CuPy on a simulated driver (`helpers/launches.py`)."""

import launches
from process import LIMIT

launches.require()

CODE = """
import threading
from cupy.cuda import compiler
from xpconv.kernels.cupy import launch

plain, calls, lock = compiler._compile_module_with_cache, [], threading.Lock()
all_there = threading.Barrier(len(launch.TOGETHER))

def compile_together(source, *args, **options):
    files = [name for name in launch.TOGETHER if source == launch.source(name, "float32", False)[0]]
    with lock:
        calls.extend(files)
    if files and CORES > 1:
        all_there.wait(LIMIT)  # an error, unless all are being compiled
    FAULT
    return plain(source, *args, **options)

compiler._compile_module_with_cache = compile_together
launch.cores = lambda: CORES
x = cp.zeros((2, 3, 6, 6), "float32")
try:
    model = xpconv.Sequential(xpconv.Conv2d(3, 4, 3, padding=1), xpconv.BatchNorm2d(4), xpconv.ReLU(), xpconv.MaxPool2d(2))
    model.backward(cp.zeros_like(model(x)))
    problem = ""
except Exception as error:
    problem = str(error)
result = sorted(calls), sorted(launch.TOGETHER), problem
"""


def run(cores, fault="pass", together="CORES > 1"):
    return launches.run(
        CODE.replace("CORES > 1", together)
        .replace("CORES", str(cores))
        .replace("FAULT", fault)
        .replace("LIMIT", str(LIMIT - 60))
    )


def test_the_files_of_a_training_step_are_compiled_at_once():
    """Each once, by one thread a file: each waits here for the others."""
    calls, together, problem = run(8)
    assert problem == ""
    assert calls == together


def test_one_core_compiles_what_is_needed():
    calls, together, problem = run(1)
    assert problem == ""
    assert set(calls) < set(together)
    assert len(calls) == len(set(calls))


def test_an_error_is_that_of_the_call():
    _, _, problem = run(8, "if files == ['norm.cu']: raise RuntimeError('no NVRTC')", "False")
    assert "no NVRTC" in problem
