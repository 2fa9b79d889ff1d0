"""All layers, losses and optimizers in CuPy's host code, on a simulated driver: no device computes here.

Kernels are not compiled and do not run, so values mean nothing. What is checked is what the host does: there is no
error, the results are CuPy's arrays of NumPy's shapes and dtypes, nothing waits for the device, and nothing is copied
from the host or to it.
"""

import launches

launches.require()


def test_layers_losses_and_optimizers_stay_on_the_device():
    found = launches.run("import layer_sweep; result = layer_sweep.found()")
    assert len(found) > 1000
    assert {what: wrong for what, wrong in found.items() if wrong} == {}
