"""The report of `python -m xpconv info`: backend, device, threads, the speed of BLAS, and advice."""

from __future__ import annotations

import ctypes
import os
import platform
import re
import textwrap
import time
from collections.abc import Callable
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np

from .backend import get_backend, use_backend
from .errors import BackendUnavailableError

AVX2_KERNELS = ("Haswell", "Zen")  # OpenBLAS's names of its kernels for AVX2
NO_DEVICE = "none"
REPEATS = 5  # smallest number of products to time
SPREAD = 1.25  # largest ratio of the median time to the shortest on a quiet machine
SHARE = 0.8  # smallest share of the cores' time that this process gets on a quiet machine


class Rate(NamedTuple):
    """The measured rate of float32 matrix products, with two signs of disturbance by other processes."""

    gflops: float  # of the fastest product
    spread: float = 1.0  # ratio of the median time to the shortest
    share: float = 1.0  # share that this process got of the time of the cores that BLAS uses


class Facts(NamedTuple):
    """The data that the report and the advice are made from."""

    versions: dict[str, str]
    backend: str = "numpy"
    backend_error: str = ""  # why it cannot be used
    gpu: str = NO_DEVICE
    cudnn_error: str = ""
    cpu: str = ""
    cores: int = 1  # that this process may run on
    avx512: bool = False
    threads: int = 1
    threads_from: str = ""  # the environment variable; "" for one a core
    blas: str = ""  # name and version
    blas_kernels: str = ""  # the architecture that they are written for; "" if it does not say
    blas_threads: int = 0  # 0 if it does not say
    blas_is_ours: bool = True  # the OpenBLAS of NumPy's wheels, whose threads xpconv can limit
    rate: Rate = Rate(0.0)
    load: float = 0.0  # the load average before the measurement; 0 if the system has none
    omp_num_threads: str = ""


def collect(cpuinfo: Path = Path("/proc/cpuinfo")) -> Facts:
    """The facts of this machine and this process; it takes about a second.

    Raises:
        ValueError: an environment variable that xpconv reads is invalid.
    """
    from . import __version__
    from .cores import cores, count_from_environment

    count, variable = count_from_environment()
    cpu, avx512 = _cpu(cpuinfo)
    cupy_version, gpu = _cupy()
    cudnn, cudnn_error = _cudnn()
    backend, error = os.environ.get("XPCONV_BACKEND") or "numpy", ""
    try:
        backend = get_backend()
    except BackendUnavailableError as reason:
        error = str(reason)
    load = _load()  # before this process adds to it
    found = _blas()
    versions = {"xpconv": __version__, "Python": platform.python_version(), "NumPy": np.__version__}
    return Facts(
        versions={**versions, "CuPy": cupy_version, "cuDNN": cudnn},
        backend=backend,
        backend_error=error,
        gpu=gpu,
        cudnn_error=cudnn_error,
        cpu=cpu,
        cores=cores(),
        avx512=avx512,
        threads=count,
        threads_from=variable,
        **found,
        rate=_sgemm_rate(min(found.get("blas_threads", 0), cores()) or 1),
        load=load,
        omp_num_threads=os.environ.get("OMP_NUM_THREADS", ""),
    )


def _cpu(cpuinfo: Path) -> tuple[str, bool]:
    """The CPU's name and whether it has AVX-512, from Linux; on other systems the machine type."""
    try:
        text = cpuinfo.read_text()
    except OSError:
        text = ""
    model = re.search(r"^model name\s*:\s*(.+)", text, re.MULTILINE)
    flags = re.search(r"^flags\s*:(.*)", text, re.MULTILINE)
    name = model[1] if model else platform.processor() or platform.machine()
    return name, flags is not None and "avx512f" in flags[1].split()


def _cupy() -> tuple[str, str]:
    """The versions of CuPy and CUDA, and the device."""
    if find_spec("cupy") is None:
        return "not installed", NO_DEVICE
    names = metadata.packages_distributions().get("cupy", [])
    version = metadata.version(names[0]) if names else "of unknown version"
    try:
        with use_backend("cupy") as cupy:
            return version, _device(cupy)
    except BackendUnavailableError as error:
        return version, f"{NO_DEVICE}: {error.__cause__}"


def _cudnn() -> tuple[str, str]:
    """The version of cuDNN, and why it cannot be used."""
    from .kernels.cupy.cudnn import installed

    library, problem = installed()
    if problem is not None:
        return "unusable", str(problem)
    if library is None:
        return "off" if os.environ.get("XPCONV_CUDNN") else "not installed", ""
    number = library.backend_version()
    return f"{number // 10000}.{number // 100 % 100}.{number % 100}", ""


def _device(cupy: Any) -> str:
    runtime = cupy.cuda.runtime
    name = runtime.getDeviceProperties(runtime.getDevice())["name"].decode()
    driver, own = (
        f"{v // 1000}.{v % 1000 // 10}" for v in (runtime.driverGetVersion(), runtime.runtimeGetVersion())
    )
    return f"{name} (driver for CUDA {driver}, runtime {own})"


def _blas() -> dict[str, Any]:
    """NumPy's BLAS: from the OpenBLAS of its wheels, else from threadpoolctl, else from NumPy's build."""
    from .kernels.engine import blas

    config, corename = (blas.function(f"openblas_get_{what}") for what in ("config", "corename"))
    if config is not None and blas.get_num_threads is not None:
        config.restype = corename.restype = ctypes.c_char_p
        return {
            "blas": " ".join(config().decode().split()[:2]),
            "blas_kernels": corename().decode(),
            "blas_threads": blas.get_num_threads(),
        }
    found: dict[str, Any] = {"blas_is_ours": False}
    build: Any = np.show_config(mode="dicts")
    built = build["Build Dependencies"]["blas"]
    found["blas"] = f"{built.get('name', 'unknown')} {built.get('version', '')}".strip()
    if find_spec("threadpoolctl") is not None:
        import threadpoolctl

        pools = [pool for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"]
        for pool in pools[:1]:
            found["blas"] = f"{pool['internal_api']} {pool['version'] or ''}".strip()
            found["blas_kernels"] = pool.get("architecture") or ""
            found["blas_threads"] = pool["num_threads"]
    return found


def _load() -> float:
    """The load average of the last minute, or 0."""
    try:
        return os.getloadavg()[0]
    except (AttributeError, OSError):  # Windows has none
        return 0.0


def _sgemm_rate(
    threads: int,
    seconds: float = 0.5,
    clock: Callable[[], float] = time.perf_counter,
    cpu: Callable[[], float] = time.process_time,
) -> Rate:
    """The best rate of a few float32 matrix products, whose size is chosen to take some 20 ms.

    `cpu` returns the time of this process on all cores, of which BLAS uses `threads`.
    """
    size, used, start = 256, 0.0, clock()
    times: list[float] = []
    while clock() - start < seconds or len(times) < REPEATS:
        a = np.full((size, size), 0.5, "float32")
        product = np.empty_like(a)
        np.matmul(a, a, out=product)
        before, cpu_before = clock(), cpu()
        np.matmul(a, a, out=product)
        took, cpu_took = clock() - before, cpu() - cpu_before
        if took < 0.02 and size < 2048:
            size, times, used = size * 2, [], 0.0
        else:
            times.append(took)
            used += cpu_took
    best, whole = min(times), sum(times)
    return Rate(2 * size**3 / best / 1e9, median(times) / best, min(1.0, used / (whole * threads)))


def report(facts: Facts) -> str:
    """The facts as text, one a row, and after them the advice."""
    variable = facts.threads_from or "one a core"
    kernels = f", {facts.blas_kernels} kernels" if facts.blas_kernels else ""
    workers = f", {_count(facts.blas_threads, 'thread')}" if facts.blas_threads else ""
    rows = {
        "versions": ", ".join(f"{name} {version}" for name, version in facts.versions.items()),
        "backend": facts.backend + (" (cannot be used, see below)" if facts.backend_error else ""),
        "CPU": f"{facts.cpu}, {_count(facts.cores, 'core')}" + (", AVX-512" if facts.avx512 else ""),
        "GPU": facts.gpu,
        "threads": f"{facts.threads} ({variable})",
        "BLAS": facts.blas + kernels + workers,
        "sgemm": f"{facts.rate.gflops:,.0f} GFLOP/s"
        + (" (disturbed, see below)" if _disturbed(facts) else ""),
    }
    lines = [f"{name:10}{text}" for name, text in rows.items()]
    for text in advice(facts):
        first, *commands = text.split("\n")
        lines += [
            "",
            textwrap.fill(f"* {first}", 100, subsequent_indent="  ", break_on_hyphens=False),
            *commands,
        ]
    return "\n".join(lines)


def advice(facts: Facts) -> list[str]:
    """What a user could change, the most serious first; empty if there is nothing."""
    found = []
    if facts.backend_error:
        found.append(f"XPCONV_BACKEND={facts.backend}: {facts.backend_error}")
    if facts.cudnn_error:
        found.append(facts.cudnn_error)
    if facts.threads > facts.cores:
        found.append(
            f"xpconv uses {facts.threads} threads on {_count(facts.cores, 'core')}, which is slower than a "
            f"thread a core: set {facts.threads_from}={facts.cores}, or unset it."
        )
    if facts.avx512 and facts.blas_kernels in AVX2_KERNELS:
        found.append(
            f"This CPU has AVX-512, but NumPy's OpenBLAS runs its {facts.blas_kernels} kernels, which use "
            "AVX2. OPENBLAS_CORETYPE=SKYLAKEX in the environment, before Python starts, can double its "
            "speed; measure with:\n    OPENBLAS_CORETYPE=SKYLAKEX python -m xpconv info"
        )
    variable = "VECLIB_MAXIMUM_THREADS" if facts.blas.startswith("accelerate") else "OMP_NUM_THREADS"
    limited = facts.blas_threads == 1 or (variable == "OMP_NUM_THREADS" and facts.omp_num_threads == "1")
    if not facts.blas_is_ours and facts.threads > 1 and not limited:
        found.append(
            f"NumPy's BLAS ({facts.blas}) is not the OpenBLAS of NumPy's wheels: xpconv cannot limit its "
            "threads inside its own workers, and the two compete for the cores. Set "
            f"{variable}=1 and XPCONV_NUM_THREADS={facts.cores} before Python starts, or install NumPy from "
            "PyPI with pip."
        )
    signs = _disturbed(facts)
    if signs:
        found.append(
            f"The sgemm rate is likely too low, as other work disturbed its measurement: {'; '.join(signs)}. "
            "Stop what else runs (or raise the container's CPU limit) and measure again before comparing it."
        )
    return found


def _disturbed(facts: Facts) -> list[str]:
    """The signs that other processes or a CPU limit took time from the measurement."""
    rate, signs = facts.rate, []
    if rate.spread > SPREAD:
        signs.append(f"half of the products took {rate.spread:.1f} times as long as the fastest, or longer")
    if rate.share < SHARE:
        signs.append(f"this process got {rate.share:.0%} of its cores' time")
    if facts.load > facts.cores:
        signs.append(f"the load average was {facts.load:.1f} on {_count(facts.cores, 'core')}")
    return signs


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + "s" * (number != 1)
