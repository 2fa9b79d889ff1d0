"""docs/from-scikit-learn.md: each snippet runs, but for the one of skorch, and prints what it says."""

import ast
import re
from pathlib import Path

import pytest

pytest.importorskip("sklearn", reason='pip install "xpconv[sklearn]"')

from xpconv.sklearn import ConvClassifier

PAGE = (Path(__file__).parents[2] / "docs" / "from-scikit-learn.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)


@pytest.mark.slow
def test_the_code_runs(capsys):
    namespace = {}
    for block in BLOCKS:
        if "skorch" in block:
            ast.parse(block)
            continue
        exec(compile(block, "docs/from-scikit-learn.md", "exec"), namespace)  # noqa: S102
        printed = capsys.readouterr().out.splitlines()
        assert printed == re.findall(r"print\(.*\)  # (.+)", block)


def test_the_parameters_exist():
    named = set(
        re.findall(
            r"\b(?:ConvClassifier\(|, |\n    )(\w+)=", " ".join(b for b in BLOCKS if "skorch" not in b)
        )
    )
    known = set(ConvClassifier().get_params()) | {"layer", "classes", "width", "dropout", "cv", "padding"}
    assert {name for name in named if "__" not in name} <= known
