"""Graphs for tests."""

import numpy as np

import xpconv
from xpconv import BatchNorm2d, Conv2d, Dense, Flatten, Graph, MaxPool2d, ReLU

X = np.random.default_rng(0).normal(size=(2, 4, 8, 8))


class Plus(xpconv.Layer):
    """The sum of any number of inputs of one shape."""

    def forward(self, *inputs):
        return self.keep(sum(inputs[1:], inputs[0]), len(inputs))

    def backward(self, grad_output, input_grad=True):
        (count,) = self.recall(grad_output)
        found = (grad_output,) * count
        return (found if count > 1 else found[0]) if input_grad else None


def body(dtype="float32"):
    return {
        "conv": Conv2d(4, 4, 3, padding=1, bias=False, rng=0, dtype=dtype),
        "bn": BatchNorm2d(4, dtype=dtype),
    }


def residual(dtype="float32", outputs="fc", **more):
    layers = body(dtype)
    return Graph(
        {
            "fc": (Dense(64, 3, rng=1, dtype=dtype), "flat"),
            "flat": (Flatten(), "pool"),
            "conv": (layers["conv"], "x"),
            "bn": (layers["bn"], "conv"),
            "sum": (Plus(), "bn", "x"),
            "relu": (ReLU(), "sum"),
            "pool": (MaxPool2d(2), "relu"),
        },
        "x",
        outputs,
        **more,
    )


def close(a, b, rtol=1e-6):
    a, b = map(xpconv.asnumpy, (a, b))
    np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-6 * abs(b).max())


def trained(model, x):
    """`model` in inference mode, with statistics of `x`."""
    for _ in range(3):
        model(x)
    model.forget()
    return model.eval()
