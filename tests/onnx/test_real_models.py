"""Models that others trained and publish in Python packages, against onnxruntime.

A test is skipped where the package is not installed: `pip install --no-deps PACKAGE`, as none is imported.
"""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import xpconv

pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
draw = pytest.importorskip("PIL.ImageDraw")
image = pytest.importorskip("PIL.Image")

import xpconv.onnx

OCR, NUDE, CAPTCHA, MAGIKA = "rapidocr-onnxruntime", "nudenet", "ddddocr", "magika"


def page(height, width, seed=0):
    """Lines of text over a gradient, as RGB from 0 to 1, (1, 3, H, W)."""
    rng = np.random.default_rng(seed)
    canvas = image.new("RGB", (width, height), (236, 232, 220))
    pen = draw.Draw(canvas)
    size = 22 if height > 60 else 0.7 * height
    for top in np.arange(0.1 * height, height - size, 1.6 * size):
        text = "".join(rng.choice(list("Invoice 2026 TOTAL 41.75 paid")) for _ in range(40))
        pen.text((6, top), text, fill=(20, 20, 60), font_size=size)
    y, x = np.mgrid[:height, :width]
    shade = 0.8 + 0.2 * np.cos(x / width + y / height)[..., None]
    noise = rng.normal(0, 0.01, (height, width, 3))
    return np.clip(np.asarray(canvas) / 255 * shade + noise, 0, 1).transpose(2, 0, 1)[None].astype("float32")


MODELS = {
    "angle of text": (OCR, "models/ch_ppocr_mobile_v2.0_cls_infer.onnx", lambda: page(48, 192) * 2 - 1),
    "places of text": (OCR, "models/ch_PP-OCRv4_det_infer.onnx", lambda: page(96, 160) * 2 - 1),
    "text": (OCR, "models/ch_PP-OCRv4_rec_infer.onnx", lambda: page(48, 160) * 2 - 1),
    "parts of bodies": (NUDE, "320n.onnx", lambda: page(96, 128)),
    "objects": (CAPTCHA, "common_det.onnx", lambda: page(416, 416) * 255),
    "types of files": (
        MAGIKA,
        "models/standard_v3_3/model.onnx",
        lambda: np.random.default_rng(0).integers(0, 257, (3, 2048)).astype("int32"),
    ),
}
SLOW = pytest.mark.slow
CASES = [pytest.param(name, marks=() if name == "angle of text" else SLOW) for name in MODELS]


def path_of(name):
    package, file, _ = MODELS[name]
    spec = find_spec(package.replace("-", "_"))
    for folder in spec.submodule_search_locations or () if spec is not None else ():
        if (Path(folder) / file).is_file():
            return Path(folder) / file
    pytest.skip(f"needs the package {package}: pip install --no-deps {package}")


def expected(path, x):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x})[0]


def close(y, reference):
    y = xpconv.asnumpy(y)
    assert y.shape == reference.shape and y.dtype == reference.dtype
    assert abs(reference).max() > 1e-3  # it has found something
    np.testing.assert_allclose(y, reference, rtol=1e-4, atol=1e-4 * abs(reference).max())


@pytest.mark.parametrize("name", CASES)
def test_outputs_are_those_of_onnxruntime(name):
    path, x = path_of(name), MODELS[name][2]()
    reference = expected(path, x)
    graph = xpconv.onnx.load(path)
    with xpconv.no_grad():
        close(graph(x), reference)
        fused = graph.fuse()
        for _ in range(2):
            close(fused(x), reference)


@pytest.mark.parametrize("name", CASES)
def test_a_step_of_training(name):
    """Each weight on the way to the output gets a gradient, and a step against it lowers the loss."""
    graph, x = xpconv.onnx.load(path_of(name)), MODELS[name][2]()
    y = graph(x)
    target = np.random.default_rng(1).normal(0, abs(y).std(), y.shape).astype("float32")
    graph.backward(y - target, input_grad=False)
    grads = [p.grad for p in graph.parameters()]
    assert all(g is not None and np.isfinite(g).all() for g in grads)
    slope = sum(float((g.astype("float64") ** 2).sum()) for g in grads)
    for p in graph.parameters():
        p.data -= 1e-3 / slope * float(((y - target) ** 2).sum()) * p.grad
    with xpconv.no_grad():
        assert ((graph(x) - target) ** 2).sum() < ((y - target) ** 2).sum()


@pytest.mark.parametrize("name", CASES)
def test_batches_and_other_backends(name, backend):
    if name == "objects":
        pytest.skip("the model takes one image")
    graph, x = xpconv.onnx.load(path_of(name)), MODELS[name][2]()
    several = np.concatenate([x, x[:, ..., ::-1], x])
    reference = expected(path_of(name), several)
    with xpconv.no_grad():
        close(graph(xpconv.asarray(several)), reference)
