"""The backends of the tests: importing this registers the double, with emulated CUDA kernels where g++ is installed."""

import os

import double
import emulation
import pytest

import xpconv

REQUIRES_GPU = os.environ.get("XPCONV_REQUIRE_GPU") == "1"
double.register()
if emulation.COMPILER:
    double.xp.RawModule = emulation.RawModule


def cupy_or_skip() -> None:
    """Skip where no device answers; with XPCONV_REQUIRE_GPU=1 that is a failure."""
    try:
        with xpconv.use_backend("cupy"):
            pass
    except xpconv.errors.BackendUnavailableError as error:
        if REQUIRES_GPU:
            pytest.fail(f"XPCONV_REQUIRE_GPU=1, but {error}")
        pytest.skip(str(error))
