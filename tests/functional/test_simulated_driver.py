"""Every function of `xpconv.functional` in CuPy's host code, on a simulated driver: no device computes here.

Kernels are not compiled and do not run, so values mean nothing. What is checked is what the host does: there is no
error, the results are CuPy's arrays of NumPy's shapes and dtypes, nothing waits for the device, and nothing is copied
from the host or to it.
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
