"""Exported models against onnxruntime, or ONNX's reference for what onnxruntime has no kernels for."""

import numpy as np
import pytest

import xpconv

onnx = pytest.importorskip("onnx", reason='onnx is not installed: `pip install -e ".[onnx]"`')
onnxruntime = pytest.importorskip(
    "onnxruntime", reason="onnxruntime is not installed: `pip install onnxruntime`"
)


def session(path):
    """A session of onnxruntime, on one thread."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def run(path, *inputs, reference=False):
    """The outputs that a file gives."""
    if reference:
        from onnx.reference import ReferenceEvaluator

        evaluator = ReferenceEvaluator(str(path))
        return evaluator.run(None, dict(zip(evaluator.input_names, inputs, strict=True)))
    runtime = session(path)
    return runtime.run(None, {i.name: x for i, x in zip(runtime.get_inputs(), inputs, strict=True)})


def inferred(layer, *inputs):
    """What a layer gives in inference, on the host, always as a tuple."""
    with xpconv.no_grad():
        y = layer(*map(xpconv.asarray, inputs))
    return tuple(map(xpconv.asnumpy, y if isinstance(y, tuple) else (y,)))


def same(expected, found, tolerance=1e-5):
    """Equal shapes and dtypes, and values up to `tolerance` of the largest."""
    assert len(expected) == len(found)
    for a, b in zip(expected, found, strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        scale = np.abs(a[np.isfinite(a)]).max(initial=0)
        np.testing.assert_allclose(b, a, rtol=tolerance, atol=tolerance * scale)


def check(layer, path, *inputs, batches=(), tolerance=1e-5, reference=False, **options):
    """Export, and compare on `inputs`; with `batches` on random ones of these sizes, whose batch is free."""
    if layer.lazy:
        inferred(layer, *inputs)
    layer.eval()
    shapes = list(inputs) if not batches else [x[:1] for x in inputs]
    xpconv.onnx.export(layer, path, shapes, dynamic_batch=bool(batches), **options)
    onnx.checker.check_model(str(path), full_check=True)
    rng = np.random.default_rng(5)
    trials = [inputs] if not batches else []
    for n in batches:
        shapes = [(n, *x.shape[1:]) for x in inputs]
        drawn = [rng.normal(size=shape).astype("float32") for shape in shapes]
        trials.append(
            [
                np.resize(x, d.shape) if x.dtype.kind in "iu" else d.astype(x.dtype)
                for x, d in zip(inputs, drawn, strict=True)
            ]
        )
    for trial in trials:
        same(inferred(layer, *trial), run(path, *trial, reference=reference), tolerance)
