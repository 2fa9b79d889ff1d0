"""The pages of docs/learn: their code runs and prints what they say, and what they quote is in the source."""

import re
from pathlib import Path

import pytest

import xpconv

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs" / "learn").glob("*.md"))
QUOTED = re.compile(r'^```python title="(\S+)"\n(.*?)^```', re.DOTALL | re.MULTILINE)
RUN = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)


@pytest.fixture(params=PAGES, ids=lambda path: path.stem)
def page(request):
    return request.param


def test_the_code_runs(page, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    namespace = {}
    with xpconv.use_backend("numpy"):
        for block in RUN.findall(page.read_text()):
            exec(compile(block, page.name, "exec"), namespace)  # noqa: S102
            printed = capsys.readouterr().out.splitlines()
            assert printed == re.findall(r"^ *print\(.*\)  # (.+)$", block, flags=re.MULTILINE)


def test_quotations_are_in_the_source(page):
    """Each part of a quotation, in this order; `# …` stands for lines that are left out."""
    for file, block in QUOTED.findall(page.read_text()):
        source, start = (ROOT / file).read_text(), 0
        for part in re.split(r"^ *# …\n", block, flags=re.MULTILINE):
            found = ("\n" + source).find("\n" + part, start)
            assert found >= 0, f"{page.name} quotes from {file}, which does not have:\n{part}"
            start = found + len(part)


def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name}: there is no {target}"


def test_a_changed_quotation_is_found():
    assert QUOTED.findall('```python title="a.py"\nx = 1\n```\n') == [("a.py", "x = 1\n")]
    quoted = sum(len(QUOTED.findall(path.read_text())) for path in PAGES)
    assert quoted >= 6
