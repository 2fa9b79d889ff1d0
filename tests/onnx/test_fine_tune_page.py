"""The page "Fine-tune an ONNX model" runs from top to bottom and says what is so."""

import re
import warnings
from pathlib import Path

import numpy as np
import pytest

import xpconv

for needed in ("onnx", "torch", "sklearn"):
    pytest.importorskip(needed)
onnxruntime = pytest.importorskip("onnxruntime")

PAGE = Path(__file__).parents[2] / "docs" / "fine-tune-onnx.md"


@pytest.mark.slow
def test_the_page_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S)
    assert len(blocks) == 7
    names = {}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning)  # of torch.onnx.export
        exec(compile(blocks[0], str(PAGE), "exec"), names)  # noqa: S102
    for block in blocks[1:]:
        exec(compile(block, str(PAGE), "exec"), names)  # noqa: S102
    graph, x, y = names["graph"], names["x"], names["y"]
    assert names["correct"] > 0.85
    assert names["vectors"].shape == (5, 32)
    assert graph.inputs == ("image",) and graph.outputs == ("scores",)
    session = onnxruntime.InferenceSession("tuned.onnx", providers=["CPUExecutionProvider"])
    (scores,) = session.run(None, {session.get_inputs()[0].name: x[1500:]})
    with xpconv.no_grad():
        np.testing.assert_allclose(graph(x[1500:]), scores, rtol=1e-4, atol=1e-4)
    assert (scores.argmax(1) == y[1500:]).mean() == names["correct"]
    printed = capsys.readouterr().out
    assert "(scores): Dense(32, 1000)" in printed and "of the digits that it has not seen" in printed


def test_the_page_lists_the_operators():
    from xpconv.onnx.node import OPERATORS

    text = PAGE.read_text(encoding="utf-8").partition("## What can be loaded")[2].partition("\n## ")[0]
    assert text.split(":\n", 1)[1].replace("\n", " ").strip().split(", ") == sorted(OPERATORS)
