"""Random graphs: outputs against onnxruntime, gradients against finite differences, and both again after an export."""

import numpy as np
import onnxed
import pytest

import xpconv
from xpconv.kernels.engine import inference

pytest.importorskip("onnx")

from random_graphs import drawn, in_float64

GRAPHS = 20  # for each seed


def close(expected, found, tolerance=1e-4):
    assert len(expected) == len(found)
    for a, b in zip(expected, found, strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        np.testing.assert_allclose(b, a, rtol=tolerance, atol=tolerance * np.abs(a).max(initial=1))


@pytest.mark.parametrize("seed", [0, *(pytest.param(i, marks=pytest.mark.slow) for i in range(1, 5))])
def test_outputs(seed, tmp_path, monkeypatch):
    monkeypatch.setattr(inference, "PIECE_BYTES", 1)  # each image is a piece of the batch
    for number in range(seed * GRAPHS, (seed + 1) * GRAPHS):
        model, inputs = drawn(number)
        (path := tmp_path / "a.onnx").write_bytes(model.SerializeToString())
        x = list(inputs.values())
        expected = onnxed.run(path, *x)
        graph = xpconv.onnx.load(path)
        for _ in range(2):  # the second call runs plans
            close(expected, onnxed.inferred(graph, *x))
        y = graph(*x)
        close(expected, y if isinstance(y, tuple) else (y,))
        opset = max(13 + 5 * (number % 2), model.opset_import[0].version)
        xpconv.onnx.export(graph, again := tmp_path / "b.onnx", x, opset, dynamic_batch=False)
        close(expected, onnxed.run(again, *x))
        close(expected, onnxed.inferred(xpconv.onnx.load(again).fuse(), *x))


@pytest.mark.parametrize("seed", [0, *(pytest.param(i, marks=pytest.mark.slow) for i in range(1, 5))])
def test_gradients(seed, tmp_path):
    """The derivative in a random direction; skipped if two step sizes disagree, as near a kink."""
    compared = 0
    for number in range(seed * GRAPHS, (seed + 1) * GRAPHS):
        model, inputs = drawn(number)
        (tmp_path / "a.onnx").write_bytes(in_float64(model).SerializeToString())
        graph, rng = xpconv.onnx.load(tmp_path / "a.onnx"), np.random.default_rng(number)
        x = [array.astype("float64") for array in inputs.values()]
        along = [rng.normal(size=array.shape) for array in x]
        y = graph(*x)
        grads = [rng.normal(size=part.shape) for part in (y if isinstance(y, tuple) else (y,))]
        dx = graph.backward(tuple(grads) if isinstance(y, tuple) else grads[0])
        dx = dx if isinstance(dx, tuple) else (dx,)
        slope = sum((a * b).sum() for a, b in zip(dx, along, strict=True) if a is not None)

        def total(h, graph=graph, x=x, along=along, grads=grads):
            parts = onnxed.inferred(graph, *(array + h * a for array, a in zip(x, along, strict=True)))
            return sum((part * grad).sum() for part, grad in zip(parts, grads, strict=True))

        differences = [(total(h) - total(-h)) / (2 * h) for h in (1e-5, 1e-6)]
        scale = max(abs(slope), abs(total(0)), 1)
        if abs(differences[0] - differences[1]) < 1e-4 * scale:
            assert min(abs(d - slope) for d in differences) < 1e-3 * scale, number
            compared += 1
    assert compared > 0.8 * GRAPHS
