"""Every layer and loss as part of a captured step: on the double what a recording would refuse, on a GPU the values."""

from importlib import import_module

import double
import emulation
import numpy as np
import pytest
from backends import cupy_or_skip
from makers import LAYERS, LOSSES, OTHERS, drawn

import xpconv
from xpconv.kernels import graph, overrides
from xpconv.ops.constants import constant

NO_LAYERS = {"Layer", "ModuleDict", "ModuleList"}
OTHER_INPUTS = {"Bilinear", "Embedding", "MaxUnpool1d", "MaxUnpool2d", "MaxUnpool3d"}  # they are in `OTHERS`
RANDOM = {"AlphaDropout", "DropPath", "Dropout", "Dropout1d", "Dropout2d", "Dropout3d"}
CASES = [pytest.param(make, shape, name in RANDOM, id=f"{name}{i or ''}")
         for name, (makers, shape) in LAYERS.items() for i, make in enumerate(makers)]  # fmt: skip


def test_every_layer_is_here():
    missing = set(xpconv.layers.__all__) ^ (set(LAYERS) | NO_LAYERS | OTHER_INPUTS)
    assert not missing, f"LAYERS in tests/helpers/makers.py has no row, or one too many, for {missing}"


def a_step(layer):
    """Forward and backward: output, input gradient, parameters' gradients."""

    def step(x, grad):
        layer.zero_grad()
        y = layer(x)
        return (y, layer.backward(grad), *(p.grad for p in layer.parameters()))

    return step


@pytest.fixture
def recorded(monkeypatch):
    """The double, where all matrix products are those that a recording has its own cuBLAS for."""

    def refused(*_, **__):
        raise NotImplementedError("CuPy's own cuBLAS in a captured graph")

    def product(xp, a, b, out=None):
        y = double._wrap(np.matmul(a._a, b._a))
        if out is not None:
            out[...] = y
        return y

    for where, names in ((double.xp, ("matmul", "dot", "tensordot", "einsum", "vdot", "inner", "outer")),
                         (double.ndarray, ("__matmul__", "__rmatmul__", "dot"))):  # fmt: skip
        for name in names:
            if hasattr(where, name):
                monkeypatch.setattr(where, name, refused)
    monkeypatch.setitem(overrides(double.xp), "matmul", product)
    for module, name in ((".conv", "group_matmul"), (".conv", "multiply"), (".gemm", "matmul")):
        monkeypatch.setattr(import_module(f"xpconv.kernels.cupy{module}"), name, product)
    with xpconv.use_backend("double"):
        yield


@pytest.mark.skipif(emulation.COMPILER is None, reason="g++ is not installed")
@pytest.mark.parametrize(("make", "shape", "draws"), CASES)
def test_a_second_step_takes_nothing_from_the_host_and_waits_for_nothing(make, shape, draws, recorded):
    """After the first has made what stays; so it can be recorded."""
    layer, x = make(), drawn(shape)
    step, grad = a_step(layer), drawn(layer(x).shape, 1)
    layer.forget()
    step(x, grad)
    with double.count_syncs() as counter:
        step(x, grad)
    assert (counter.n, counter.copies) == (0, 0)


@pytest.mark.parametrize(("make", "shape", "draws"), CASES)
def test_a_captured_layer_computes_what_it_does_eagerly(make, shape, draws):
    cupy_or_skip()
    with xpconv.use_backend("cupy"):
        layer, x = make(), drawn(shape)
        step, grad = a_step(layer), drawn(layer(x).shape, 1)
        layer.forget()
        fast = xpconv.cuda.capture(step, x, grad, warmup=1)
        x, grad = drawn(shape, 2), drawn(grad.shape, 3)
        found = [xpconv.asnumpy(a) for a in fast(x, grad)]
        if draws:
            assert any((a != xpconv.asnumpy(b)).any() for a, b in zip(found, fast(x, grad), strict=True))
            return
        for a, b in zip(found, step(x, grad), strict=True):
            scale = max(1.0, np.abs(a).max(initial=0))
            np.testing.assert_allclose(a, xpconv.asnumpy(b), rtol=0, atol=2e-6 * scale)


def test_a_table_that_the_warm_up_did_not_need_is_refused_while_recording():
    made = constant(double.xp, (1, 2), "int64")
    token = graph.recording.set(found := graph.Recording())
    try:
        assert constant(double.xp, (1, 2), "int64") is made
        with pytest.raises(RuntimeError, match="a table would be copied from the host"):
            constant(double.xp, (3, 1, 4), "int64")
    finally:
        graph.recording.reset(token)
    assert found.held == [made]  # it lives as long as the graph
    assert constant(double.xp, (3, 1, 4), "int64").get().tolist() == [3, 1, 4]


@pytest.mark.parametrize("name", OTHERS)
def test_captured_layers_of_other_inputs(name):
    cupy_or_skip()
    with xpconv.use_backend("cupy"):
        layer, inputs = OTHERS[name]()

        def step(*inputs):
            layer.zero_grad()
            y = layer(*inputs)
            dx = layer.backward(y)
            grads = [p.grad for p in layer.parameters()] + list(dx if isinstance(dx, tuple) else [dx])
            return (y, *(g for g in grads if g is not None))

        found = [xpconv.asnumpy(a) for a in xpconv.cuda.capture(step, *inputs, warmup=1)(*inputs)]
        for a, b in zip(found, step(*inputs), strict=True):
            np.testing.assert_allclose(a, xpconv.asnumpy(b), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("where", ["double", "cupy"])
def test_captured_losses(name, where, request):
    make, kind = LOSSES[name]
    if where == "cupy":
        cupy_or_skip()
    else:
        request.getfixturevalue("recorded")
    with xpconv.use_backend(where):
        criterion = make()
        x = xpconv.asarray(np.random.default_rng(0).uniform(0.1, 0.9, (6, 4)), dtype="float32")
        rates = np.random.default_rng(1).uniform(0.1, 0.9, (6, 4)).astype("float32")
        t = xpconv.asarray(np.arange(6) % 4 if kind == "classes" else rates)

        def step(x, t):
            return criterion(x, t), criterion.backward()

        loss, grad = (xpconv.asnumpy(a) for a in step(x, t))
        if where == "double":
            with double.count_syncs() as counter:
                step(x, t)
            assert (counter.n, counter.copies) == (0, 0)
            return
        captured = xpconv.cuda.capture(step, x, t)(x, t)
        for a, b in zip((loss, grad), captured, strict=True):
            np.testing.assert_allclose(a, xpconv.asnumpy(b), rtol=1e-6, atol=1e-7)
