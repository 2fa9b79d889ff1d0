"""The page "Fine-tune an ONNX model" runs from top to bottom and says what is so."""

import json
import warnings

import numpy as np
import pytest
from pages import ROOT, blocks, needed, run_page

import xpconv

PAGE = ROOT / "docs" / "fine-tune-onnx.md"
TEXT = PAGE.read_text(encoding="utf-8")
for library in (*needed(blocks(TEXT)), "onnx", "onnxscript"):
    pytest.importorskip(library)
onnxruntime = pytest.importorskip("onnxruntime")


@pytest.mark.slow
def test_the_page_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="copyreg|torch")  # of torch.onnx.export, about itself
        run_page(PAGE, capsys)
    from sklearn.datasets import load_digits

    digits = load_digits()
    x, y = (digits.images[1500:, None] / 16).astype("float32"), digits.target[1500:]
    session = onnxruntime.InferenceSession("tuned.onnx", providers=["CPUExecutionProvider"])
    (scores,) = session.run(None, {"image": x})
    assert (scores.argmax(1) == y).mean() > 0.8
    info = json.loads(session.get_modelmeta().custom_metadata_map["image_info"])
    assert info == {"classes": [str(n) for n in range(10)], "shape": [1, 8, 8]}
    graph = xpconv.onnx.load("tuned.onnx")
    with xpconv.no_grad():
        np.testing.assert_allclose(graph(x), scores, rtol=1e-5, atol=1e-5 * abs(scores).max())


def test_the_page_lists_the_operators():
    from xpconv.onnx.node import OPERATORS

    text = TEXT.partition("## What can be loaded")[2].partition("\n\nSome of them")[0]
    assert text.split(":\n", 1)[1].replace("\n", " ").strip().split(", ") == sorted(OPERATORS)
