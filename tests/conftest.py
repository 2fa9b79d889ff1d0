"""Every test that takes `backend` runs three times: on NumPy, on the strict double, and on CuPy if it is installed.

All tests together run in several processes, if pytest-xdist is installed and there is no GPU, whose memory is
measured; `-n 0` runs them in one.
"""

import functools
import gc
import importlib.util
import os
import signal
import sys
import zlib
from pathlib import Path

import effort
import numpy as np
import pytest
from backends import REQUIRES_GPU, cupy_or_skip
from hypothesis import settings

import xpconv
from xpconv import init
from xpconv.kernels.engine import blas

collect_ignore = ["helpers"]  # which the tests import as `double`, `oracle`, …: nothing to collect
HAS_CUPY = importlib.util.find_spec("cupy") is not None
MOST_PROCESSES = 4
# These draw up to 57 million weights.
LONG_EXAMPLES = {"xpconv.models.alexnet.alexnet", "xpconv.models.convnext.convnext_tiny"}
IS_WORKER = "PYTEST_XDIST_WORKER" in os.environ
if IS_WORKER and blas.set_num_threads is not None:
    blas.set_num_threads(1)  # its threads spin while they wait, on the cores of the other processes

settings.register_profile("xpconv", deadline=None, derandomize=True)
settings.load_profile("xpconv")


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Set the options of pytest-xdist, unless some tests were chosen by their paths, or `-n` was given."""
    option = config.option
    if IS_WORKER or config.args_source is not pytest.Config.ArgsSource.TESTPATHS:
        return
    if getattr(option, "numprocesses", 0) is None and not HAS_CUPY:
        option.numprocesses, option.maxprocesses, option.dist = "logical", MOST_PROCESSES, "worksteal"


def pytest_configure(config: pytest.Config) -> None:
    effort.thorough = config.option.markexpr != "not slow"
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # a shell's background job; some tests send Ctrl-C
        signal.signal(signal.SIGINT, signal.default_int_handler)  # to themselves, or to processes they start
    if getattr(config.option, "dist", "no") != "no" and not IS_WORKER:
        config.pluginmanager.register(Failures(config))


class Failures:
    """Prints at once what fails: a run in several processes that is stopped prints no summary."""

    def __init__(self, config: pytest.Config) -> None:
        self.plugins = config.pluginmanager

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        terminal = self.plugins.get_plugin("terminalreporter")
        if report.failed and terminal is not None:
            terminal.ensure_newline()
            terminal.write_line(f"FAILED {report.nodeid}\n{report.longreprtext[-3000:]}", red=True)


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """The garbage collector leaves out the many objects that pytest makes of the tests, now and later."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of a test marked `sample(n)` the first case, and about one in n of the others, are not slow; always the same."""
    seen = set()
    for item in items:
        test, mark = item.nodeid.partition("[")[0], item.get_closest_marker("sample")
        if (
            mark and test in seen and zlib.crc32(item.name.encode()) % mark.args[0]
        ) or item.name in LONG_EXAMPLES:
            item.add_marker("slow")
        seen.add(test)


@pytest.hookimpl
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Generators of a test's module and of the helpers begin anew: which tests ran before does not change the draws."""
    for names in (vars(getattr(item, "module", pytest)), *_helpers()):
        for value in (names.get("RNG"), names.get("rng")):
            if isinstance(value, np.random.Generator):
                value.bit_generator.state = type(value.bit_generator)(value.bit_generator.seed_seq).state


@functools.cache
def _helpers() -> list[dict[str, object]]:
    """The names of those modules of `tests/helpers` that have a generator."""
    folder = str(Path(__file__).parent / "helpers")
    found = [
        vars(m) for m in list(sys.modules.values()) if (getattr(m, "__file__", "") or "").startswith(folder)
    ]
    return [names for names in found if "RNG" in names or "rng" in names]


@pytest.fixture(params=["numpy", "double", "cupy"] if HAS_CUPY or REQUIRES_GPU else ["numpy", "double"])
def backend(request: pytest.FixtureRequest):
    """The name of the backend that is active during the test."""
    if request.param == "cupy":
        cupy_or_skip()
    with xpconv.use_backend(request.param):
        yield request.param


@pytest.fixture(params=["double", "cupy"] if HAS_CUPY or REQUIRES_GPU else ["double"])
def backends(request: pytest.FixtureRequest):
    """NumPy and another one, by name: for `assert_layer_ok`, which checks the layer on both and compares them."""
    if request.param == "cupy":
        cupy_or_skip()
    return ["numpy", request.param]


class Zeros:
    """A generator of random numbers that are all 0."""

    def uniform(self, low: float, high: float, shape: tuple[int, ...]) -> np.ndarray:
        return np.broadcast_to(0.0, shape)

    normal = uniform


@pytest.fixture
def no_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights of new layers stay zero, which makes large models at no cost: memory that nobody touches has none."""
    monkeypatch.setattr(init, "_fill", lambda where, parameter, draw: parameter)
    monkeypatch.setattr(init, "default_rng", lambda rng, where: Zeros())
