"""Loaded graphs on infinity, NaN and numbers near the limits of float32: no warning escapes, as these are results."""

import warnings
from contextlib import nullcontext

import numpy as np
import pytest

import xpconv
from xpconv.layers import operators

onnx = pytest.importorskip("onnx")

from onnx_cases import CASES  # they need onnx
from onnx_models import model

SPECIAL = np.array([np.inf, -np.inf, np.nan, 3e38, -3e38, 1e-40, 0, -0.0, 1, -1], "float32")


def special(x, shift=0):
    """An array like `x`, with these numbers if it is floating."""
    return np.resize(np.roll(SPECIAL, shift), x.shape).astype(x.dtype) if x.dtype.kind == "f" else x


def loaded(path, *args, **options):
    path.write_bytes(model(*args, **options).SerializeToString())
    return xpconv.onnx.load(path)


def run(graph, *inputs):
    """Inference twice, since plans repeat what they have recorded; then forward and backward in both modes."""
    inputs = [xpconv.asarray(x) for x in inputs]
    with xpconv.no_grad():
        graph(*inputs), graph(*inputs)
    for mode in (graph.train, graph.eval):
        mode()
        y = graph(*inputs)
        parts = y if isinstance(y, tuple) else (y,)
        grads = [xpconv.asarray(special(xpconv.asnumpy(part), 3)) for part in parts]
        graph.backward(tuple(grads) if isinstance(y, tuple) else grads[0])


@pytest.mark.sample(4)
@pytest.mark.parametrize("name", [name for name in CASES if not name.startswith("Range")])  # infinitely many
def test_every_operator(name, backend, tmp_path):
    op, opsets, inputs, attributes, outputs, order = CASES[name]
    arrays = {key: np.asarray(value) for key, value in inputs.items()}
    first = next(iter(arrays))
    given, constants = {first: arrays[first]}, {k: v for k, v in arrays.items() if k != first}
    made = [(op, order, " ".join(outputs), attributes)], opsets[-1], given, constants, outputs
    graph = loaded(tmp_path / "model.onnx", *made)
    for shift in (0, 4):
        run(graph, special(arrays[first], shift))


LAYERS = [
    ("Conv", "x w b", "conv", {"pads": [1, 1, 1, 1]}),
    ("BatchNormalization", "conv s b m v", "norm", {}),
    ("Sigmoid", "norm", "gate", {}),
    ("Mul", "norm gate", "swish", {}),
    ("InstanceNormalization", "swish s b", "instance", {}),
    ("AveragePool", "instance", "pool", {"kernel_shape": [2, 2], "strides": [2, 2]}),
    ("Gelu", "pool", "gelu", {}),
    ("Flatten", "gelu", "flat", {}),
    ("Gemm", "flat f", "scores", {}),
    ("Softmax", "scores", "y", {}),
]


def network(path, w=0.5, **changed):
    rng = np.random.default_rng(0)
    numbers = {"s": 2, "b": 1, "m": 0, "v": 1, **changed}
    channels = {name: np.full(4, value, "float32") for name, value in numbers.items()}
    constants = {
        "w": np.full((4, 3, 3, 3), w, "float32"),
        "f": rng.normal(size=(64, 5)).astype("float32"),
        **channels,
    }
    return loaded(path, LAYERS, 20, {"x": np.zeros((2, 3, 8, 8), "float32")}, constants)


@pytest.mark.parametrize("value", [np.inf, np.nan, 3e38])
def test_a_network(value, backend, tmp_path):
    x = np.random.default_rng(1).normal(size=(2, 3, 8, 8)).astype("float32")
    x[0, 0, 0, 0] = value
    for graph in (network(tmp_path / "a.onnx"), network(tmp_path / "b.onnx", w=value)):
        run(graph, x)
        run(graph.fuse(), x)
        run(graph, special(x))
    outer = xpconv.Sequential(graph, xpconv.Dense(5, 2)).eval()  # of both there is one plan
    with np.errstate(all="ignore"):
        outer(xpconv.asarray(x))
    with xpconv.no_grad():
        for _ in range(3):
            outer(xpconv.asarray(x))


@pytest.mark.parametrize("name", "sbmv")
@pytest.mark.parametrize("value", [0, -1, -np.inf, np.nan])
def test_weights_of_a_normalisation(name, value, backend, tmp_path):
    graph = network(tmp_path / "a.onnx", w=np.inf, **{name: value})
    x = np.random.default_rng(1).normal(size=(2, 3, 8, 8)).astype("float32")
    run(graph, x)
    run(graph.fuse(), x)
    graph.shapes = None
    xpconv.onnx.export(graph, tmp_path / "b.onnx", (3, 8, 8), fold_batchnorm=True)


def test_seterr_still_finds_the_origin():
    """`numpy.seterr(all="raise")`, by which the README says to find where a NaN begins."""
    graph = xpconv.Graph({"a": (xpconv.Softmax(1), "x"), "b": (xpconv.ReLU(), "a")}, "x", "b").eval()
    x = np.full((2, 3), np.inf, "float32")
    with np.errstate(all="raise"), pytest.raises(FloatingPointError):
        graph(x)
    with np.errstate(all="raise"), pytest.raises(FloatingPointError), xpconv.no_grad():
        graph(x)
    before = np.geterr()
    assert np.isnan(graph(x)).all()
    assert np.geterr() == before


def test_seterr_passes_over_operators():
    """Operators compute what ONNX defines, without errors."""
    x = np.zeros((1, 1), "float32")
    graph = xpconv.Graph({"y": (operators.Div(), "x", "x")}, "x", "y").eval()
    for mode in (nullcontext, xpconv.no_grad):
        with np.errstate(all="raise"), mode():
            assert np.isnan(graph(x)).all()


def in_row(*layers):
    """A graph of layers one after the other."""
    names = ["x", *map("l{}".format, range(len(layers)))]
    nodes = {name: (layer, names[i]) for i, (name, layer) in enumerate(zip(names[1:], layers, strict=True))}
    return xpconv.Graph(nodes, "x", names[-1])


NOISY = {
    "layer": lambda: xpconv.Softmax(1),
    "operator": operators.Log,
    "graph": lambda: in_row(xpconv.Softmax(1)),
}
KINDS = {"Sequential": xpconv.Sequential, "Graph": in_row, "inner": lambda *a: xpconv.Sequential(in_row(*a))}


@pytest.mark.sample(4)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("before", [(), ("layer",), ("operator",), ("graph",)], ids=str)
@pytest.mark.parametrize("noisy", NOISY)
@pytest.mark.parametrize("after", [(), ("layer",), ("operator",), ("graph",)], ids=str)
def test_what_a_plan_reports(kind, before, noisy, after):
    """A layer gives the same NumPy warnings and errors alone and in a plan, whatever else the plan contains."""
    finite = {"layer": xpconv.Sigmoid, "operator": operators.Abs, "graph": lambda: in_row(xpconv.Sigmoid())}
    if noisy == "operator":
        good, bad = np.ones((2, 3), "float32"), np.full((2, 3), -1, "float32")
        finite["layer"], finite["graph"] = xpconv.Identity, lambda: in_row(xpconv.Identity())
        before = tuple("layer" if part == "operator" else part for part in before)
    else:
        good, bad = np.ones((2, 3), "float32"), np.full((2, 3), np.inf, "float32")
        before = tuple("operator" for part in before)

    def made():
        layers = [finite[part]() for part in before], NOISY[noisy](), [finite[part]() for part in after]
        return KINDS[kind](*layers[0], layers[1], *layers[2]).eval()

    model = made()
    with xpconv.no_grad():
        model(good)  # makes the plan
    for state in STATES:
        for one in (model, made()):  # whose first call under no_grad makes the plan
            reports = [
                report(one, bad, state, mode) for mode in (nullcontext, xpconv.no_grad, xpconv.no_grad)
            ]
            assert len(set(reports)) == 1, (state, reports)
    assert bool(report(model, bad, "raise", xpconv.no_grad)) == (noisy != "operator")
    warns = noisy == "layer" and kind == "Sequential"
    assert bool(report(model, bad, "warn", xpconv.no_grad)) == warns
    assert not report(made(), bad, "ignore", xpconv.no_grad)


STATES = ["raise", "warn", "ignore", "call", "log"]


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("value", ["running_var", "weight", "x"])
@pytest.mark.parametrize("size", [6, 40])
def test_what_the_first_call_reports(state, fused, value, size):
    """What is reported without a plan, and at the first call not more than at later ones."""
    model = xpconv.Sequential(
        xpconv.Conv2d(3, 8, 3, rng=0), xpconv.BatchNorm2d(8, eps=2**-17), xpconv.ReLU()
    ).eval()
    x = np.random.default_rng(0).normal(size=(4, 3, size, size)).astype("float32")
    if value == "running_var":
        model[1].running_var[...] = -model[1].eps
    elif value == "weight":
        model[0].weight.fill(np.inf)
    else:
        x[...] = np.float32(3e38)
    if fused:
        with np.errstate(all="ignore"):
            model = model.fuse()
    plain = set(report(model, x, state, nullcontext))
    reports = [report(model, x, state, xpconv.no_grad) for _ in range(3)]
    assert len(set(reports)) == 1
    if value == "x":  # an algorithm may subtract infinities that another one adds
        assert bool(reports[0]) == bool(plain)
    else:
        assert set(reports[0]) == plain
    if state == "ignore":
        assert not plain
    elif value == "running_var" and not fused:
        assert any("divide by zero" in text for text in plain)


@pytest.mark.parametrize("state", STATES)
def test_a_prepared_weight_that_is_not_finite(state):
    """What a plan would compute of it once is reported at each run."""
    layer = xpconv.Conv2d(8, 8, 3, algorithm="winograd")
    layer.weight.fill(np.inf)
    model = xpconv.Sequential(layer, xpconv.ReLU()).eval().fuse()
    x = np.ones((1, 8, 16, 16), "float32")
    plain = report(model, x, state, nullcontext)
    assert bool(plain) == (state != "ignore")
    for _ in range(3):
        assert report(model, x, state, xpconv.no_grad) == plain


def report(model, x, state, mode):
    """What NumPy warns of, logs, calls a function with, or raises as an error."""
    found = []

    class Log:
        def __call__(self, kind, flag):
            found.append(kind)

        def write(self, message):
            found.append(message)

    with (
        np.errstate(all=state, call=Log()),
        mode(),
        warnings.catch_warnings(record=True) as caught,
    ):
        warnings.simplefilter("always")
        try:
            model(x)
        except FloatingPointError as error:
            found.append(str(error))
    return *found, *(str(warning.message) for warning in caught)
