"""The code of docs/deploy.md, in order, in one namespace; what it prints is what the page says."""

import re
from pathlib import Path

import pytest

for needed in ("onnx", "onnxruntime", "safetensors", "torch"):
    pytest.importorskip(needed)

PAGE = (Path(__file__).parents[2] / "docs" / "deploy.md").read_text()


def test_the_page(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    namespace, seen = {}, 0
    for block in re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL):
        exec(compile(block, "deploy.md", "exec"), namespace)  # noqa: S102
        printed = capsys.readouterr().out.splitlines()
        assert printed == re.findall(r"^ *print\(.*\)  # (.+)$", block, flags=re.MULTILINE)
        seen += len(printed)
    assert seen >= 8


def test_the_table_has_the_arguments_of_export():
    import inspect

    import xpconv

    named = set(re.findall(r"^\| `(\w+)|, `(\w+)` \|", PAGE, flags=re.MULTILINE))
    names = {name for pair in named for name in pair if name}
    assert names == set(inspect.signature(xpconv.onnx.export).parameters) - {"model", "path", "input_shape"}
