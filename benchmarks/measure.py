"""Methods of measuring: interleaved medians, fresh processes, peak memory; and the machine's description.

Only the standard library: nothing here may load NumPy before its environment is set.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import platform
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent

# Contenders share one process, so one's idle threads can disturb the next. OpenBLAS's spin for 2^26 cycles
# (about 26 ms) after its last call and PyTorch's OpenMP ones for a shorter while: a LeNet-5 step of PyTorch
# right after a NumPy matmul took 2.5 times as long as alone. After 50 ms of sleep and two untimed iterations
# (caches are cold by then) it was within some per cent of alone. Passive waiting (OMP_WAIT_POLICY) would cost
# PyTorch up to twice the time, and OPENBLAS_THREAD_TIMEOUT=4 is not what a user runs: both stay unset.
PAUSE = 0.05
TURN = 0.08  # seconds of timed iterations at a stretch


def nothing() -> None:
    """Do nothing: a CPU's work is done when a call returns."""


def interleaved(
    contenders: dict[str, Callable[[], Any]],
    seconds: float,
    rounds: int,
    wait: Callable[[], None] = nothing,
    timed: Callable[[Callable[[], Any], int], float] | None = None,
) -> dict[str, list[float]]:
    """Seconds an iteration of each contender, one number a round.

    In a round each has one turn, in the opposite order of the round before: a pause, untimed iterations,
    timed ones. There are at least `rounds`, and more until `seconds` are over. `wait` waits for the device.
    `timed(run, count)` gives the seconds an iteration by another clock than the host's.
    """

    def host_timed(run: Callable[[], Any], count: int) -> float:
        start = time.perf_counter()
        for _ in range(count):
            run()
        wait()
        return (time.perf_counter() - start) / count

    timed = timed or host_timed
    counts = {}
    for label, run in contenders.items():
        timed(run, 1)  # allocations, caches of plans
        counts[label] = math.ceil(TURN / timed(run, 1))
    samples: dict[str, list[float]] = {label: [] for label in contenders}
    order, end = list(contenders), time.perf_counter() + seconds
    while len(samples[order[0]]) < rounds or time.perf_counter() < end:
        for label in order:
            time.sleep(PAUSE)
            timed(contenders[label], min(2, counts[label]))
            samples[label].append(timed(contenders[label], counts[label]))
        order.reverse()
    return samples


def write(path: Path, result: dict[str, Any]) -> Path:
    """Write a result as JSON, make its folder if need be, and return the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    return path


# --- fresh processes ---------------------------------------------------------------------------------


def fresh(
    function: str, *args: Any, env: dict[str, str] | None = None, python: str = sys.executable, path: str = ""
) -> Any:
    """`module.function(*args)` in a new process; arguments and result travel as JSON."""
    command = [python, str(HERE / "measure.py"), function, json.dumps(args)]
    paths = os.pathsep.join(filter(None, [path, os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": paths, **(env or {})}
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=environment, check=False)
    if done.returncode:
        raise SystemExit(f"benchmarks: {function}{args} failed, see above")
    return json.loads(done.stdout.splitlines()[-1])


def threads_env(threads: int) -> dict[str, str]:
    """The environment variables that give every library that number of threads."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "XPCONV_NUM_THREADS")
    return dict.fromkeys(names, str(threads))


def import_seconds(module: str, repeats: int) -> float:
    """Median time of `import module` in a fresh Python, less that of a bare one."""

    def once(code: str) -> float:
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        return time.perf_counter() - start

    once(f"import {module}")  # bytecode and disk caches
    pairs = [(once(f"import {module}"), once("pass")) for _ in range(repeats)]
    return statistics.median(a for a, _ in pairs) - statistics.median(b for _, b in pairs)


# --- memory --------------------------------------------------------------------------------------------


def _status(field: str) -> int:
    """A field of /proc/self/status in bytes."""
    found = re.search(rf"{field}:\s*(\d+) kB", Path("/proc/self/status").read_text())
    return int(found[1]) * 1024 if found else 0


def peak_over_baseline(work: Callable[[], Any]) -> int:
    """Bytes by which the resident memory grew at its peak while `work()` ran.

    From the kernel's VmHWM, which belongs to this process alone (`ru_maxrss` survives fork and exec), set
    back to the present size first where that is allowed.
    """
    with contextlib.suppress(OSError):  # else the peak is that of all so far, which can only be more
        Path("/proc/self/clear_refs").write_text("5")
    before = _status("VmRSS")
    work()
    return _status("VmHWM") - before


def installed_bytes(package: str) -> int:
    """Size of a package's files on disk, without bytecode."""
    files = metadata.files(package) or []
    paths = [Path(str(f.locate())) for f in files if f.suffix not in (".pyc", ".pth")]
    sources = [p for p in paths if p.exists()]
    if not any(p.name == "__init__.py" for p in sources):  # an editable install lists no sources
        sources = [p for p in (HERE.parent / package).rglob("*") if p.is_file() and p.suffix != ".pyc"]
    return sum(p.stat().st_size for p in sources)


# --- the machine ---------------------------------------------------------------------------------------


def machine(threads: int) -> dict[str, Any]:
    """CPU, threads, versions, and NumPy's BLAS with the kernels that it selected."""
    import numpy as np
    import threadpoolctl
    import torch

    import xpconv

    torch.set_num_threads(threads)
    pools = [
        p for p in threadpoolctl.threadpool_info() if p["user_api"] == "blas" and "numpy" in p["filepath"]
    ]
    cpuinfo = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    model = re.search(r"model name\s*:\s*(.*)", cpuinfo)
    return {
        "cpu": model[1] if model else platform.processor(),
        "cores": os.cpu_count(),
        "avx512": " avx512f " in cpuinfo,
        "threads": threads,
        "system": platform.platform(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "torch": torch.__version__,
        "torch cpu capability": torch.backends.cpu.get_cpu_capability(),
        "xpconv": xpconv.__version__,
        "blas": [f"{p['internal_api']} {p['version']}" for p in pools],
        "kernels": ", ".join(str(p.get("architecture")) for p in pools),
        "OPENBLAS_CORETYPE": os.environ.get("OPENBLAS_CORETYPE"),
    }


def geometric_mean(values: list[float]) -> float:
    """The geometric mean of ratios."""
    return math.exp(sum(map(math.log, values)) / len(values))


def growth(sizes: list[int], values: list[float]) -> float:
    """The largest exponent p in value ∝ size^p between one size and the next."""
    steps = zip(sizes, sizes[1:], values, values[1:], strict=False)
    return max(math.log(b / a) / math.log(n / m) for m, n, a, b in steps if a > 0 and b > 0)


if __name__ == "__main__":
    module, _, name = sys.argv[1].rpartition(".")
    print(json.dumps(getattr(import_module(module), name)(*json.loads(sys.argv[2]))))
