"""Copies of every layer and loss give bit-identical results in further training steps."""

import numpy as np
import pytest
from makers import LAYERS, LOSSES, OTHERS, drawn
from training import COPIES, copied

import xpconv


def inputs_of(name):
    """A layer, and inputs for it."""
    if name in OTHERS:
        layer, inputs = OTHERS[name]()
        yield layer, inputs
    else:
        makers, shape = LAYERS[name]
        for make in makers:
            yield make(), [drawn(shape)]


def step(layer, optimizer, inputs):
    """Output, input gradients and state of one step of training."""
    y = layer(*inputs)
    outputs = y if isinstance(y, tuple) else (y,)
    dx = layer.backward(outputs[0])
    if optimizer is not None:
        optimizer.step()
        optimizer.zero_grad()
    arrays = [*outputs, *(dx if isinstance(dx, tuple) else (dx,)), *layer.state_dict().values()]
    return [xpconv.asnumpy(array).copy() for array in arrays if array is not None]


@pytest.mark.sample(4)
@pytest.mark.parametrize("name", [*LAYERS, *OTHERS])
def test_a_layer_goes_on_in_a_copy(name, backend, tmp_path):
    for layer, inputs in inputs_of(name):
        if layer.lazy:
            layer(*inputs)
            layer.forget()
        learns = bool(layer.parameters())
        optimizer = xpconv.Adam(layer.parameters(), lr=0.1) if learns else None
        for _ in range(2):
            step(layer, optimizer, inputs)
        copies = [copied(how, (layer, optimizer), tmp_path) for how in COPIES]
        expected = [step(layer, optimizer, inputs) for _ in range(2)]
        for other, its_optimizer in copies:
            assert repr(other) == repr(layer)
            for arrays in expected:
                for a, b in zip(arrays, step(other, its_optimizer, inputs), strict=True):
                    np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_goes_on_in_a_copy(name, backend, tmp_path):
    make, kind = LOSSES[name]
    rng = np.random.default_rng(1)
    x, rates = (xpconv.asarray(rng.uniform(0.1, 0.9, (6, 4)), "float32") for _ in range(2))
    t = xpconv.asarray(np.arange(6) % 4) if kind == "classes" else rates
    criterion = make()
    expected = float(criterion(x, t)), xpconv.asnumpy(criterion.backward())
    for how in COPIES:
        other = copied(how, criterion, tmp_path)
        assert float(other(x, t)) == expected[0]
        np.testing.assert_array_equal(xpconv.asnumpy(other.backward()), expected[1])
