"""docs/from-scikit-learn.md: each snippet runs, that of skorch where it is installed, and prints what it says."""

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
            continue
        exec(compile(block, "docs/from-scikit-learn.md", "exec"), namespace)  # noqa: S102
        printed = capsys.readouterr().out.splitlines()
        assert printed == re.findall(r"print\(.*\)  # (.+)", block)


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
