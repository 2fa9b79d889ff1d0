"""Every test that takes `backend` runs three times: on NumPy, on the strict double, and on CuPy."""

import os
import sys
from pathlib import Path

import pytest
from hypothesis import settings

sys.path.insert(0, str(Path(__file__).parent))  # the tests' own helpers: double, reference

import double
import emulation

import xpconv

double.register()
if emulation.COMPILER:
    double.xp.RawModule = emulation.RawModule
settings.register_profile("xpconv", deadline=None, derandomize=True)
settings.load_profile("xpconv")


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
