"""docs/from-scikit-learn.md: each snippet runs, that of skorch where it is installed, and prints what it says."""

import importlib.util
import json
import re
from pathlib import Path

import pytest

pytest.importorskip("sklearn", reason='pip install -e ".[sklearn]"')

from xpconv.cli import main
from xpconv.sklearn import ConvClassifier

PAGE = (Path(__file__).parents[2] / "docs" / "from-scikit-learn.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)


@pytest.mark.slow
def test_the_code_runs(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    has_onnx = importlib.util.find_spec("onnx") is not None
    namespace = {}
    for block in BLOCKS:
        if "skorch" in block or ("xpconv.onnx" in block and not has_onnx):
            continue
        exec(compile(block, "docs/from-scikit-learn.md", "exec"), namespace)  # noqa: S102
        printed = capsys.readouterr().out.splitlines()
        assert printed == re.findall(r"print\(.*\)  # (.+)", block)
    if has_onnx:
        check_the_command(namespace, tmp_path, capsys)


def check_the_command(namespace, folder, capsys):
    """`xpconv predict` with the files that the page exports gives the labels of images from 0 to 255."""
    image = pytest.importorskip("PIL.Image")
    digits, classifier = namespace["digits"], namespace["fitted"]
    paths = []
    for i in range(20):
        paths.append(str(folder / f"{i:02}.png"))
        image.fromarray((digits.images[i] / 16 * 255).round().astype("uint8")).save(paths[-1])
    for file in ("digits.onnx", "digits.safetensors"):
        main(["predict", str(folder / file), *paths, "--json"])
        rows = json.loads(capsys.readouterr().out)
        found = [row["predictions"][0]["class"] for row in rows]
        assert found == [str(label) for label in classifier.predict(digits.images[:20] / 16)]
        assert sum(a == str(b) for a, b in zip(found, digits.target, strict=False)) >= 19


@pytest.mark.slow
def test_the_code_of_skorch_runs():
    pytest.importorskip("skorch", reason="pip install skorch")
    (block,) = (block for block in BLOCKS if "skorch" in block)
    namespace = {}
    exec(compile(block, "docs/from-scikit-learn.md", "exec"), namespace)  # noqa: S102
    assert namespace["search"].best_score_ > 0.9


def test_the_parameters_exist():
    named = set(
        re.findall(
            r"\b(?:ConvClassifier\(|, |\n    )(\w+)=", " ".join(b for b in BLOCKS if "skorch" not in b)
        )
    )
    known = set(ConvClassifier().get_params()) | {"layer", "classes", "width", "dropout", "cv", "padding"}
    assert {name for name in named if "__" not in name} <= known
