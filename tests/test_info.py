"""`python -m xpconv info`: true facts, and advice where there is something to do. Nothing looks at times."""

import os
import re
import sys
import types
from contextlib import contextmanager
from importlib.metadata import version
from importlib.util import find_spec

import numpy as np
import process
import pytest

import xpconv
from xpconv import __main__, info
from xpconv.cores import cores
from xpconv.info import Facts, Rate, advice, collect, report
from xpconv.kernels.cupy import cudnn
from xpconv.kernels.engine import blas

GOOD = Facts(
    versions={"xpconv": "1.2", "Python": "3.12.1", "NumPy": "2.4.6", "CuPy": "not installed"},
    cpu="Some CPU", cores=4, avx512=True, threads=4, blas="OpenBLAS 0.3.31", blas_kernels="SkylakeX",
    blas_threads=4, rate=Rate(1234.4, 1.05, 0.97), load=0.7,
)  # fmt: skip
FOREIGN = GOOD._replace(blas="mkl 2024.1", blas_kernels="", blas_is_ours=False)

ADVICE = {
    "all is well": (GOOD, None),
    "Zen kernels, no AVX-512": (GOOD._replace(avx512=False, blas_kernels="Zen"), None),
    "fewer threads than cores": (GOOD._replace(threads=1, threads_from="OMP_NUM_THREADS"), None),
    "AVX2 kernels": (
        GOOD._replace(blas_kernels="Haswell"),
        r"AVX-512.*Haswell.*\n    OPENBLAS_CORETYPE=SKYLAKEX python -m xpconv info$",
    ),
    "AVX2 kernels of AMD": (GOOD._replace(blas_kernels="Zen"), r"Zen kernels.*OPENBLAS_CORETYPE=SKYLAKEX"),
    "foreign BLAS": (
        FOREIGN,
        r"mkl 2024.1.*cannot limit its threads.*OMP_NUM_THREADS=1 and XPCONV_NUM_THREADS=4",
    ),
    "foreign BLAS, limited": (FOREIGN._replace(omp_num_threads="1"), None),
    "foreign BLAS, says one thread": (FOREIGN._replace(blas_threads=1), None),
    "foreign BLAS, one worker": (FOREIGN._replace(threads=1), None),
    "Accelerate": (FOREIGN._replace(blas="accelerate", omp_num_threads="1"), "VECLIB_MAXIMUM_THREADS=1"),
    "too many threads": (
        GOOD._replace(threads=5, threads_from="XPCONV_NUM_THREADS"),
        "uses 5 threads on 4 cores.*XPCONV_NUM_THREADS=4",
    ),
    "a little other work": (GOOD._replace(rate=Rate(1.0, 1.2, 0.85), load=4.0), None),
    "repeats differ": (
        GOOD._replace(rate=Rate(1.0, 1.83, 0.99)),
        r"too low.*disturbed its measurement: half of the products took 1\.8 times as long as the fastest, or "
        r"longer\. Stop what else runs",
    ),
    "less than its share": (
        GOOD._replace(rate=Rate(1.0, 1.0, 0.512)),
        "measurement: this process got 51% of its cores' time",
    ),
    "high load": (GOOD._replace(load=6.26), r"measurement: the load average was 6\.3 on 4 cores\."),
    "all signs": (
        GOOD._replace(rate=Rate(1.0, 2.0, 0.5), load=9.0),
        r"took 2\.0 times.*; this process got 50%.*; the load average was 9\.0",
    ),
    "backend": (
        GOOD._replace(backend="cupy", backend_error="no CUDA device answers"),
        "^XPCONV_BACKEND=cupy: no CUDA device answers$",
    ),
}


@pytest.mark.parametrize("name", ADVICE)
def test_advice(name):
    facts, pattern = ADVICE[name]
    found = advice(facts)
    if pattern is None:
        assert found == []
    else:
        (text,) = found
        assert re.search(pattern, text, re.DOTALL), text


def test_several_things_at_once_with_the_most_serious_first():
    facts = FOREIGN._replace(backend="cupy", backend_error="gone", threads=9, threads_from="OMP_NUM_THREADS")
    starts = [text.split()[0] for text in advice(facts._replace(blas_kernels="Haswell"))]
    assert starts == ["XPCONV_BACKEND=cupy:", "xpconv", "This", "NumPy's"]


def test_report():
    assert report(GOOD).split("\n") == [
        "versions  xpconv 1.2, Python 3.12.1, NumPy 2.4.6, CuPy not installed",
        "backend   numpy",
        "CPU       Some CPU, 4 cores, AVX-512",
        "GPU       none",
        "threads   4 (one a core)",
        "BLAS      OpenBLAS 0.3.31, SkylakeX kernels, 4 threads",
        "sgemm     1,234 GFLOP/s",
    ]
    facts = GOOD._replace(
        backend="cupy", backend_error="gone", cores=1, avx512=False, threads=2, threads_from="OMP_NUM_THREADS",
        blas_kernels="", blas_threads=0,
    )  # fmt: skip
    assert report(facts).split("\n")[1:] == [
        "backend   cupy (cannot be used, see below)",
        "CPU       Some CPU, 1 core",
        "GPU       none",
        "threads   2 (OMP_NUM_THREADS)",
        "BLAS      OpenBLAS 0.3.31",
        "sgemm     1,234 GFLOP/s",
        "",
        "* XPCONV_BACKEND=cupy: gone",
        "",
        "* xpconv uses 2 threads on 1 core, which is slower than a thread a core: set OMP_NUM_THREADS=1, or",
        "  unset it.",
    ]
    text = report(GOOD._replace(blas_kernels="Haswell"))
    assert text.endswith("\n    OPENBLAS_CORETYPE=SKYLAKEX python -m xpconv info")
    assert max(map(len, text.split("\n"))) <= 100


# --- the facts ---------------------------------------------------------------------------------------


def test_cpu(tmp_path):
    path = tmp_path / "cpuinfo"
    path.write_text(
        "processor\t: 0\nmodel name\t: Some CPU\nflags\t\t: fpu avx2 avx512f avx512dq\nbugs\t: x\n"
    )
    assert info._cpu(path) == ("Some CPU", True)
    path.write_text("model name\t: Old CPU\nflags\t\t: fpu avx2 avx512fx\n")
    assert info._cpu(path) == ("Old CPU", False)
    name, avx512 = info._cpu(tmp_path / "nothing")  # not Linux
    assert name
    assert not avx512


def test_cupy_absent(monkeypatch):
    monkeypatch.setattr(info, "find_spec", lambda name: None)
    assert info._cupy() == ("not installed", "none")


def fake_cupy(monkeypatch, use_backend):
    monkeypatch.setattr(info, "find_spec", lambda name: object())
    monkeypatch.setattr(info.metadata, "packages_distributions", lambda: {"cupy": ["cupy-cuda12x"]})
    monkeypatch.setattr(info.metadata, "version", {"cupy-cuda12x": "14.0.1"}.__getitem__)
    monkeypatch.setattr(info, "use_backend", contextmanager(use_backend))


def test_cupy_with_a_device(monkeypatch):
    runtime = types.SimpleNamespace(
        getDevice=lambda: 3,
        getDeviceProperties={3: {"name": b"Some GPU"}}.__getitem__,
        driverGetVersion=lambda: 13000,
        runtimeGetVersion=lambda: 12090,
    )

    def use_backend(name):
        assert name == "cupy"
        yield types.SimpleNamespace(cuda=types.SimpleNamespace(runtime=runtime))

    fake_cupy(monkeypatch, use_backend)
    assert info._cupy() == ("14.0.1", "Some GPU (driver for CUDA 13.0, runtime 12.9)")


def test_cupy_without_a_device(monkeypatch):
    def use_backend(name):
        raise xpconv.errors.BackendUnavailableError("no") from RuntimeError("driver is too old")
        yield

    fake_cupy(monkeypatch, use_backend)
    assert info._cupy() == ("14.0.1", "none: driver is too old")


def test_cudnn(monkeypatch):
    library = types.SimpleNamespace(backend_version=lambda: 91002)
    monkeypatch.setattr(cudnn, "installed", lambda: (library, None))
    assert info._cudnn() == ("9.10.2", "")
    monkeypatch.setattr(cudnn, "installed", lambda: (None, None))
    assert info._cudnn() == ("not installed", "")
    monkeypatch.setenv("XPCONV_CUDNN", "0")
    assert info._cudnn() == ("off", "")
    problem = xpconv.errors.BackendUnavailableError("no library")
    monkeypatch.setattr(cudnn, "installed", lambda: (None, problem))
    assert info._cudnn() == ("unusable", "no library")
    assert advice(GOOD._replace(cudnn_error="no library")) == ["no library"]


@pytest.mark.skipif(blas.get_num_threads is None, reason="NumPy's BLAS is not its wheels' OpenBLAS")
def test_blas_is_what_threadpoolctl_says():
    threadpoolctl = pytest.importorskip("threadpoolctl", reason='pip install -e ".[benchmarks]"')
    (pool,) = (p for p in threadpoolctl.threadpool_info() if "numpy" in p["filepath"])
    facts = Facts(versions={}, **info._blas())
    assert facts.blas == f"OpenBLAS {pool['version']}"
    assert facts.blas_kernels == pool["architecture"]
    assert facts.blas_threads == pool["num_threads"]
    assert facts.blas_is_ours


@pytest.mark.parametrize("with_threadpoolctl", [False, True])
def test_another_blas(monkeypatch, with_threadpoolctl):
    pools = [
        {"user_api": "openmp", "internal_api": "openmp", "version": None, "num_threads": 8},
        {
            "user_api": "blas",
            "internal_api": "blis",
            "version": "1.0",
            "num_threads": 6,
            "architecture": "zen4",
        },
    ]
    module = types.SimpleNamespace(threadpool_info=lambda: pools)
    monkeypatch.setitem(sys.modules, "threadpoolctl", module)
    monkeypatch.setattr(info, "find_spec", lambda name: module if with_threadpoolctl else None)
    monkeypatch.setattr(blas, "function", lambda name: None)
    built = {"Build Dependencies": {"blas": {"name": "mkl-sdl", "version": "2024.1"}}}
    monkeypatch.setattr(np, "show_config", lambda mode: built)
    expected = {"blas_is_ours": False, "blas": "mkl-sdl 2024.1"}
    if with_threadpoolctl:
        expected |= {"blas": "blis 1.0", "blas_kernels": "zen4", "blas_threads": 6}
    assert info._blas() == expected


@pytest.fixture
def environment(monkeypatch):
    """The variables that are read, unset; and a measurement that does not wait."""
    for name in ("XPCONV_BACKEND", "XPCONV_NUM_THREADS", "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(info, "_sgemm_rate", lambda threads: Rate(12.0))
    monkeypatch.setattr(info, "_load", lambda: 0.5)
    monkeypatch.setattr(xpconv.backend, "_default", None)
    return monkeypatch


def test_collect(environment):
    facts = collect()
    assert facts.versions["xpconv"] == xpconv.__version__
    assert facts.versions["NumPy"] == version("numpy")
    assert facts.versions["Python"] == ".".join(map(str, sys.version_info[:3]))
    assert (facts.backend, facts.backend_error, facts.rate.gflops) == ("numpy", "", 12.0)
    assert facts.threads == facts.cores == cores() >= 1
    assert facts.threads_from == facts.omp_num_threads == ""


def test_where_the_threads_come_from(environment):
    environment.setenv("OMP_NUM_THREADS", "3")
    facts = collect()
    assert (facts.threads, facts.threads_from) == (3, "OMP_NUM_THREADS")
    environment.setenv("XPCONV_NUM_THREADS", "5")
    facts = collect()
    assert (facts.threads, facts.threads_from, facts.omp_num_threads) == (5, "XPCONV_NUM_THREADS", "3")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [("XPCONV_NUM_THREADS", "two", "a number from 1"), ("XPCONV_BACKEND", "cpy", "choose one of")],
)
def test_senseless_variables_are_errors(environment, capsys, name, value, message):
    environment.setenv(name, value)
    assert __main__.main(["info"]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert name in printed.err
    assert message in printed.err


@pytest.mark.skipif(find_spec("cupy") is not None, reason="CuPy is installed")
def test_cupy_that_cannot_be_used_is_told_with_all_the_rest(environment, capsys):
    environment.setenv("XPCONV_BACKEND", "cupy")
    assert __main__.main(["info"]) == 1
    out = " ".join(capsys.readouterr().out.split())
    assert "backend cupy (cannot be used, see below)" in out
    assert "* XPCONV_BACKEND=cupy: backend 'cupy': CuPy cannot be imported." in out
    assert "sgemm 12 GFLOP/s" in out


class Machine:
    """A clock, and products that take so many milliseconds and CPU time, one after the other."""

    def __init__(self, monkeypatch, durations, cpu_share):
        self.now = self.used = 0.0
        self.durations, self.cpu_share = iter(durations), cpu_share
        self.sizes = []
        monkeypatch.setattr(info.np, "matmul", self.matmul)

    def matmul(self, a, b, out):
        took = next(self.durations) / 1000
        self.now += took
        self.used += took * self.cpu_share
        self.sizes.append(len(a))

    def rate(self, threads, seconds):
        return info._sgemm_rate(threads, seconds, lambda: self.now, lambda: self.used)


def test_rate(monkeypatch):
    """A warming product before each; sizes grow until one takes 20 ms, and only those of that size count."""
    machine = Machine(monkeypatch, [9, 1, 9, 5, *[99, 40] * 5], cpu_share=2)
    gflops, spread, share = machine.rate(threads=2, seconds=0.5)
    assert machine.sizes == [256] * 2 + [512] * 2 + [1024] * 10
    assert gflops == pytest.approx(2 * 1024**3 / 0.040 / 1e9)
    assert spread == pytest.approx(1)
    assert share == pytest.approx(1)


def test_rate_on_a_busy_machine(monkeypatch):
    machine = Machine(monkeypatch, [1, 60, 1, 30, 1, 90, 1, 60, 1, 60], cpu_share=1.2)
    gflops, spread, share = machine.rate(threads=2, seconds=0.01)
    assert gflops == pytest.approx(2 * 256**3 / 0.030 / 1e9)
    assert spread == pytest.approx(2)
    assert share == pytest.approx(0.6)
    facts = GOOD._replace(rate=Rate(gflops, spread, share))
    assert "sgemm     1 GFLOP/s (disturbed, see below)" in report(facts)
    assert "* The sgemm rate is likely too low" in report(facts)


@pytest.mark.slow
def test_rate_for_real():
    gflops, spread, share = info._sgemm_rate(1, 0.01)
    assert 0 < gflops < 1e6
    assert spread >= 1
    assert 0 <= share <= 1


def test_load_where_there_is_none(monkeypatch):
    def refuse():
        raise OSError

    monkeypatch.setattr(info.os, "getloadavg", refuse, raising=False)
    assert info._load() == 0
    monkeypatch.delattr(info.os, "getloadavg")
    assert info._load() == 0
    monkeypatch.setattr(info.os, "getloadavg", lambda: (1.5, 2.0, 3.0), raising=False)
    assert info._load() == 1.5


@pytest.mark.slow
def test_command():
    env = {k: v for k, v in os.environ.items() if not k.startswith("XPCONV_")}
    env["OMP_NUM_THREADS"] = "1"
    command = [sys.executable, "-m", "xpconv"]
    done = process.run([*command, "info"], env=env)
    rows = [line.split(None, 1) for line in done.stdout.split("\n\n")[0].strip().split("\n")]
    assert [name for name, _ in rows] == ["versions", "backend", "CPU", "GPU", "threads", "BLAS", "sgemm"]
    assert dict(rows)["threads"] == "1 (OMP_NUM_THREADS)"
    done = process.run(command, check=False, env=env)
    assert done.returncode == 2
    assert "usage: python -m xpconv" in done.stderr
