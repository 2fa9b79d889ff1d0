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


@pytest.mark.sample(6)
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


VIEWS = {  # layers that make columns, or all images, one row or one image, and those that undo it
    "Transpose": (6, [ops.Transpose((1, 0)), ops.Unsqueeze([0])], [ops.Squeeze([0]), ops.Transpose((1, 0))]),
    "Transpose of rows": (1, [ops.Transpose(), ops.Unsqueeze([1])], [ops.Squeeze([1]), ops.Transpose()]),
    "Flatten": (1, [Flatten(0), Unflatten(0, (1, 1, -1))], [Flatten(0), Unflatten(0, (-1, 6))]),
    "FlattenTo2d": (1, [ops.FlattenTo2d(0), ops.Unsqueeze([1])], [ops.Reshape([-1, 6])]),
    "Reshape": (1, [ops.Reshape([1, 1, -1])], [ops.Reshape([-1, 6])]),
    "Reshape to three": (1, [ops.Reshape([3, 1, -1])], [ops.Reshape([-1, 6])]),
    "Reshape and Transpose": (
        6, [ops.Reshape([1, -1, 6]), ops.Transpose((0, 2, 1))], [ops.Transpose((0, 2, 1)), ops.Reshape([-1, 6])],
    ),
}  # fmt: skip
WINDOWS = {
    "causal": lambda c: xpconv.Conv1d(c, c, 3, padding=((2, 0),), rng=0),
    "anticausal": lambda c: xpconv.Conv1d(c, c, 3, padding=((0, 2),), rng=0),
    "dilated": lambda c: xpconv.Conv1d(c, c, 3, padding=2, dilation=2, rng=0),
    "far": lambda c: xpconv.Conv1d(c, c, 2, padding=((60, 0),), dilation=60, rng=0),
    "long": lambda c: xpconv.Conv1d(c, c, 41, padding=20, rng=0),
    "depthwise": lambda c: xpconv.Conv1d(c, c, 3, padding=2, dilation=2, groups=c, rng=0),
    "transposed": lambda c: xpconv.ConvTranspose1d(c, c, 3, padding=2, dilation=2, rng=0),
    "MaxPool": lambda c: xpconv.MaxPool1d(3, 1, padding=1),
    "dilated MaxPool": lambda c: xpconv.MaxPool1d(2, 1, padding=1, dilation=2),
    "AvgPool": lambda c: xpconv.AvgPool1d(3, 1, padding=1),
    "Sequential": lambda c: Sequential(xpconv.Conv1d(c, c, 3, padding=2, dilation=2, rng=0), ReLU()),
    "GroupNorm": lambda c: xpconv.GroupNorm(1, c),
}
IMAGES = {  # all rows as one image
    "causal": lambda: xpconv.Conv2d(1, 1, 3, padding=((2, 0), (1, 1)), rng=0),
    "dilated": lambda: xpconv.Conv2d(1, 1, 3, padding=2, dilation=2, rng=0),
    "transposed": lambda: xpconv.ConvTranspose2d(1, 1, 3, padding=2, dilation=2, rng=0),
    "MaxPool": lambda: xpconv.MaxPool2d(3, 1, padding=1),
    "AvgPool": lambda: xpconv.AvgPool2d(3, 1, padding=1),
    "InstanceNorm": lambda: xpconv.InstanceNorm2d(1),
}


def nested(*layers):
    return Sequential(Sequential(*layers))


def twice(*layers):
    """Layers in both paths of a `Residual` block, which is a single step of a plan."""
    return Sequential(xpconv.Residual(*layers, shortcut=Sequential(*layers)))


def check_large_batches(model, width, monkeypatch):
    monkeypatch.setattr(inference, "PIECE_BYTES", 1)
    model.eval()
    for n in (3, 129, 2, 1, 129):
        x = np.random.default_rng(n).normal(size=(n, width)).astype("float32")
        try:
            expected = model(x)
        except ValueError:  # a single value has no variance
            continue
        for _ in range(2):
            with xpconv.no_grad():
                np.testing.assert_allclose(model(x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.sample(6)
@pytest.mark.parametrize("kind", [Sequential, graph, nested, twice])
@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("view", VIEWS)
def test_windows_between_views(view, window, kind, monkeypatch):
    """A window of which no two images show that it reaches others: one that only looks back, or far."""
    channels, before, after = VIEWS[view]
    check_large_batches(kind(*before, WINDOWS[window](channels), *after), 6, monkeypatch)


@pytest.mark.sample(6)
@pytest.mark.parametrize("width", [1, 2, 3, 6])  # also as many columns as there are images in a trial
@pytest.mark.parametrize("kind", [Sequential, graph, nested, twice])
@pytest.mark.parametrize("window", IMAGES)
def test_windows_on_one_image(window, kind, width, monkeypatch):
    model = kind(ops.Unsqueeze([0, 1]), IMAGES[window](), ops.Squeeze([0, 1]))
    check_large_batches(model, width, monkeypatch)


@pytest.mark.sample(6)
@pytest.mark.parametrize("width", [1, 2, 3])
@pytest.mark.parametrize("kind", [Sequential, graph, nested, twice])
@pytest.mark.parametrize("window", WINDOWS)
def test_windows_on_as_few_columns_as_there_are_images_in_a_trial(window, kind, width, monkeypatch):
    layer = WINDOWS[window](1)
    model = kind(*turned(ops.Unsqueeze([1]), layer, ops.Squeeze([1])))
    check_large_batches(model, width, monkeypatch)


def planned(model):
    """From which step on plans run, and how many steps."""
    found = model._inference._chain.plans.items()
    return [(key[0], count) for key, (count, made) in found if isinstance(made, inference.Plans)]


def test_a_plan_ends_before_a_view_of_all_images():
    model = Sequential(
        xpconv.Conv2d(3, 4, 3, rng=0), ReLU(), Flatten(), Dense(64, 6, rng=0),
        *turned(ops.Unsqueeze([0]), xpconv.Conv1d(6, 6, 3, padding=2, dilation=2, rng=0), ops.Squeeze([0])),
        Dense(6, 6, rng=0), Dense(6, 3, rng=0),
    ).eval()  # fmt: skip
    x = np.random.default_rng(0).normal(size=(5, 3, 6, 6)).astype("float32")
    expected = model(x)
    with xpconv.no_grad():
        np.testing.assert_allclose(model(x), expected, rtol=1e-4, atol=1e-5)
    assert planned(model)[0] == (0, 3)  # with the ReLU in the convolution
    assert planned(model)[-1] == (8, 2)


def test_views_of_each_image_are_in_a_plan():
    model = Sequential(
        ops.Reshape([0, 2, -1]), ops.Transpose((0, 2, 1)), ops.Unsqueeze([1]), ops.Squeeze([1]),
        Sequential(Flatten(), Unflatten(1, (3, 2))), xpconv.Conv1d(3, 4, 1, rng=0), Flatten(),
        xpconv.Residual(Dense(8, 8, rng=0), ReLU()),
    ).eval()  # fmt: skip
    x = np.random.default_rng(0).normal(size=(5, 6)).astype("float32")
    expected = model(x)
    with xpconv.no_grad():
        np.testing.assert_allclose(model(x), expected, rtol=1e-4, atol=1e-5)
    assert planned(model) == [(0, 8)]


def test_a_model_has_a_plan_whatever_the_first_images_are():
    """Also if they are NaN, infinity or zeros: recording compares the plan's output for them with the layers' output."""
    for value in (0, np.nan, np.inf, -1e30):
        model = Sequential(xpconv.Conv2d(3, 4, 3, rng=0), ReLU(), Flatten(), Dense(64, 3, rng=0)).eval()
        x = np.full((3, 3, 6, 6), value, "float32")
        with xpconv.no_grad(), np.errstate(all="ignore"):
            model(x)
        assert planned(model) == [(0, 3)], value
