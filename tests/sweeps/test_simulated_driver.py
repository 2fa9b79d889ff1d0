"""All layers, losses and optimizers in CuPy's host code, on a simulated driver: no device computes here.

Kernels are neither compiled nor run, so values mean nothing. The tests check what the host does: there is no error, the
results are CuPy arrays with the shapes and dtypes of NumPy's results, nothing waits for the device, and nothing is
copied between host and device.
"""

import launches

launches.require()


def test_layers_losses_and_optimizers_stay_on_the_device():
    found = launches.run("import layer_sweep; result = layer_sweep.found()")
    assert len(found) > 1000
    assert {what: wrong for what, wrong in found.items() if wrong} == {}
