"""Inference of models that compute across the images of a batch: no plan may run them in pieces of the batch."""

import numpy as np
import pytest

import xpconv
from xpconv import (
    Dense,
    Flatten,
    Graph,
    LogSoftmax,
    ReLU,
    Sequential,
    Sigmoid,
    Softmax,
    Softmin,
    Tanh,
    Unflatten,
)
from xpconv.kernels.engine import inference
from xpconv.layers import operators as ops

END = 2**31 - 1


def part(start, end, step=1, axis=0):
    return ops.Slice([start], [end], [axis], [step])


def merged(*layers):
    """Layers between reshapes that make one row of all images."""
    return [ops.Reshape([1, -1]), *layers, ops.Reshape([-1, 6])]


def turned(*layers):
    """Layers on the transpose, where the images are columns."""
    return [ops.Transpose((1, 0)), *layers, ops.Transpose((1, 0))]


MODELS = {
    **{f"Slice {args}": lambda args=args: [part(*args)] for args in [
        (0, 1), (0, 2), (0, 100), (1, END), (-1, END), (-2, END), (-100, END), (0, -1), (0, END), (0, END, 2),
        (-1, -END, -1), (END, -END, -1), (2, -END, -1), (100, 0, -1), (0, 3, 2),
    ]},
    "Slice of columns": lambda: [part(0, 4, axis=1)],
    "Slice of many columns": lambda: [part(0, 100, axis=1)],
    "turned Slice": lambda: turned(part(0, 100, axis=1)),
    "turned flip": lambda: turned(part(-1, -END, -1, axis=1)),
    "merged flip": lambda: merged(part(-1, -END, -1, axis=1)),
    "SplitPart": lambda: [ops.SplitPart(0, 0, parts=2)],
    "Softmax": lambda: [Softmax(0)],
    "LogSoftmax": lambda: [LogSoftmax(0)],
    "Softmin": lambda: [Softmin(0)],
    "merged Softmax": lambda: merged(Softmax(1)),
    "turned Softmax": lambda: turned(Softmax(1)),
    "Softmax of Flatten": lambda: [Flatten(0), Softmax(0), Unflatten(0, (-1, 6))],
    "Mean": lambda: [ops.ReduceMean([0], keepdims=True)],
    "Gather": lambda: [ops.ReduceMax([0], keepdims=True)],
    "Expand": lambda: [ops.Unsqueeze([0]), ops.Squeeze([0])],
}  # fmt: skip


def graph(*layers):
    names = ["x", *map("l{}".format, range(len(layers)))]
    nodes = {name: (layer, names[i]) for i, (name, layer) in enumerate(zip(names[1:], layers, strict=True))}
    return Graph(nodes, "x", names[-1])


@pytest.mark.parametrize("kind", [Sequential, graph])
@pytest.mark.parametrize("name", MODELS)
def test_outputs(name, kind, backend, monkeypatch):
    monkeypatch.setattr(inference, "PIECE_BYTES", 1)  # each image is a piece of the batch
    for before, after in (([ReLU()], [Tanh()]), ([Dense(6, 6, rng=0)], []), ([], [Sigmoid()])):
        model = kind(*before, *MODELS[name](), *after).eval()
        for n in (1, 7, 2, 1, 130):
            x = xpconv.asarray(np.random.default_rng(n).normal(size=(n, 6)).astype("float32"))
            try:
                expected = model(x)
            except ValueError:  # such as layers on an empty slice
                continue
            for _ in range(2):
                with xpconv.no_grad():
                    y = model(x)
                assert y.shape == expected.shape
                np.testing.assert_allclose(xpconv.asnumpy(y), xpconv.asnumpy(expected), rtol=1e-5, atol=1e-6)


def test_a_model_has_a_plan_whatever_the_first_images_are():
    """Also if they are NaN, infinity or zeros: recording compares the plan's output for them with the layers' output."""
    for value in (0, np.nan, np.inf, -1e30):
        model = Sequential(xpconv.Conv2d(3, 4, 3, rng=0), ReLU(), Flatten(), Dense(64, 3, rng=0)).eval()
        x = np.full((3, 3, 6, 6), value, "float32")
        with xpconv.no_grad(), np.errstate(all="ignore"):
            model(x)
        plans = [
            count
            for count, made in model._inference._chain.plans.values()
            if isinstance(made, inference.Plans)
        ]
        assert plans == [3], value
