"""Every test that takes `backend` runs three times: on NumPy, on the strict double, and on CuPy.

All tests together run in several processes, if pytest-xdist is installed and there is no GPU, whose memory is
measured; `-n 0` runs them in one.
"""

import importlib.util
import os

import double
import emulation
import pytest
from hypothesis import settings

import xpconv
from xpconv.kernels.numpy import blas

collect_ignore = ["helpers"]  # which the tests import as `double`, `oracle`, …: nothing to collect
MOST_PROCESSES = 4
IS_WORKER = "PYTEST_XDIST_WORKER" in os.environ
if IS_WORKER and blas.set_num_threads is not None:
    blas.set_num_threads(1)  # its threads spin while they wait, on the cores of the other processes

double.register()
if emulation.COMPILER:
    double.xp.RawModule = emulation.RawModule
settings.register_profile("xpconv", deadline=None, derandomize=True)
settings.load_profile("xpconv")


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Set the options of pytest-xdist, unless some tests were chosen by their paths, or `-n` was given."""
    option = config.option
    if IS_WORKER or config.args_source is not pytest.Config.ArgsSource.TESTPATHS:
        return
    if getattr(option, "numprocesses", 0) is None and importlib.util.find_spec("cupy") is None:
        option.numprocesses, option.maxprocesses, option.dist = "logical", MOST_PROCESSES, "worksteal"


def cupy_or_skip() -> None:
    """Skip where no device answers; with XPCONV_REQUIRE_GPU=1 that is a failure."""
    try:
        with xpconv.use_backend("cupy"):
            pass
    except xpconv.errors.BackendUnavailableError as error:
        if os.environ.get("XPCONV_REQUIRE_GPU") == "1":
            pytest.fail(f"XPCONV_REQUIRE_GPU=1, but {error}")
        pytest.skip(str(error))


@pytest.fixture(params=["numpy", "double", "cupy"])
def backend(request: pytest.FixtureRequest):
    """The name of the backend that is active during the test."""
    if request.param == "cupy":
        cupy_or_skip()
    with xpconv.use_backend(request.param):
        yield request.param
