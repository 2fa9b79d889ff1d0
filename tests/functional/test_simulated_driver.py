"""Every function of `xpconv.functional` in CuPy's host code, on a simulated driver: no device computes here.

Kernels are neither compiled nor run, so values mean nothing. The tests check what the host does: there is no error, the
results are CuPy arrays with the shapes and dtypes of NumPy's results, nothing waits for the device, and nothing is
copied between host and device.
"""

import functools

import launches
import pytest
from functional_calls import CALLS

launches.require()


@functools.cache
def found():
    return launches.run("import functional_sweep; result = functional_sweep.found()")


@pytest.mark.parametrize("name", CALLS)
def test_function_stays_on_the_device(name):
    assert found()[name] == []
